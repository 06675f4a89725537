// Lots of points that nothing has happened to since an order earned them. They wait with their order, in the customer's row, which the order writes
// anyway; when the orders there move to the ledger, their lots move to lifecycle.points_run, as packed as they. Anything but another such order
// that concerns the customer's points settles them all first: then each is a row of its own, and can change.
#pragma once

#include "customer/change.hpp"
#include "pg/table.hpp"

namespace lifecycle::loyalty {

struct RecentLot {
    std::string_view rule;
    int64 points;
    Instant active_at;
    Instant expires_at;
};

inline bool has_recent_lots(const Row& row) { return !row.nulls[kLots] || !row.nulls[kPackedLots]; }

// So many wait in a row; it should not grow beyond what stays out of TOAST. Their numbers follow one by one: the sequence counts in steps of as many.
inline constexpr size_t kRecentLots = 16;

// Moves the lots of these customers, as their rows are in the table, to where they can change. Before anything of the following.
void settle_recent_lots(std::span<Change* const> changes);

// Where the orders that have earned the lots in the row have moved on, so do they. `runs` is opened when it is first needed.
void follow_orders(Change& change, pg::TableWriter*& runs);

// Adds what the order has earned that was the last to come to recent_ids, kRecentLots at most; `number` is for the first lot in a row.
bool needs_number(const Change& change, size_t lots);
void keep_recent_lots(Change& change, std::span<const RecentLot> lots, int64 number, pg::TableWriter*& runs);

// The lots in a row that can be spent: when they expire, and how many points each has.
struct ReadyLot {
    Instant expires_at;
    int64 points;
};
pg::Array<ReadyLot> ready_lots(const Row& row);

// Under which references the ledger may have entries of a customer. Most orders are new, and need not be looked up.
bool may_have_entries(const Row& row, std::string_view reference);
void note_reference(Row& row, std::string_view reference);  // where it is known of all
void note_no_references(Row& row);
// Whether a lot waits under this reference, with the customer as the table has it.
bool is_waiting(const Change& change, std::string_view reference);

}  // namespace lifecycle::loyalty
