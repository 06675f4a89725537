// The purchase ledger as it lies on disk: a row is a run of purchases of one source and kind; orders that came one by one wait in the
// customer's row until they fill one.
#pragma once

#include "customer/change.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

struct Run {
    ItemPointerData tid;  // invalid: the orders that wait in the customer's row
    std::span<Fact> purchases;
    bool changed;
};

// How many runs these customers have in the ledger: rows of the last result, by customer, who is in its first column.
uint64 read_runs(std::span<const Datum> customers);
Run load_run(uint64 row);
Run recent_orders(const Row& row);

// Opened when it is first needed.
pg::TableWriter* ledger_writer(pg::TableWriter*& writer);

// Cuts purchases into runs of one source and kind.
void write_runs(pg::TableWriter* writer, std::string_view customer, std::span<const Fact> purchases);

// What is left of the orders in the customer's row.
void keep_recent(Row& row, std::span<const Fact> orders);
// One more order into the customer's row. False: it has to go to the ledger itself.
bool add_recent(Row& row, const Fact& order, pg::TableWriter*& ledger, std::string_view customer);

}  // namespace lifecycle::customer
