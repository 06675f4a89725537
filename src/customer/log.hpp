// The facts that are logged as they are: their tables, and what of them is news.
#pragma once

#include "customer/change.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

// Writes the facts of a batch to the tables of their kinds and notes what is news in each Change: touched, happened, late_touch.
void take_in_log(Batch batch);

// Which of the signs of life something is; nullptr: none.
Instant Touches::* sort_of_touch(FactKind kind, std::string_view id);

// Facts of no known customer, such as items of a cart that nobody has ordered yet: kept in the tables under an empty id.
void log_orphans(std::span<const Fact> facts);

// Customers whose history is worked out again, or for whom something that was known has fallen due.
struct Recall {
    Change* change;
    bool everything;  // else what has fallen due only
};
// Adds to touched and happened what is in the tables already.
void recall(std::span<const Recall> customers);

// Shows the open cart of each customer for whom that may have changed.
void show_carts(Batch batch);

// A row of the last result that has the customer, then the fields of a kind; copied into the current memory context.
Fact logged_fact(uint64 row, const KindSpec& kind);

// The logged facts from lifecycle.track() that a fact of the same customer would replace.
void find_tracked(const Fact& like, pg::Array<Fact>* into);

// Reads what a source ($1) has said of a kind: the customer, then the fields.
pg::Statement& logged_by_source(const KindSpec& kind);

}  // namespace lifecycle::customer
