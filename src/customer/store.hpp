#pragma once

#include "customer/change.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

// Locks the customers of a batch, which are sorted by id, in that order, and loads their rows. Then whoever else changes one of
// them waits until this transaction ends, so that two orders at once both count. `late`: a single customer may be read without a lock, which
// comes with what is done next (pg/late_lock.hpp); the caller begins again without this where lost_race().
pg::TableWriter* lock(Batch batch, bool late = false);

// The same for customers known by their ids only, so that what is worked out later, batch by batch, finds them locked.
void lock_sorted(std::span<const Datum> ids);

// Writes the rows and arms the timers. `rows` is what lock() has returned.
void store(Batch batch, pg::TableWriter* rows);

// Of several batches, before the first and after the last.
void begin(Gathered* gathered);
void write(Gathered* gathered);

// Another session has created one of the new customers meanwhile, or changed one that was not locked yet: what was worked out is to be undone and done
// again.
bool lost_race(const ErrorData* error);

// A customer whose timer has run out.
struct Due {
    std::string_view customer;
    Row row;
    ItemPointerData tid, head;
    ItemPointerData timer;       // invalid if it has been moved meanwhile
    ItemPointerData member_row;  // as the timer has it
};

// How far the timers have been looked through. What this transaction has worked off or others are working on is not passed over again for each
// batch; whoever keeps it from batch to batch reserves room for the id where it lasts.
struct Position {
    Instant due = rules::kBeginning;
    pg::Array<char> customer = {};
};

// Customers for whom time has made something due, locked, at most `limit` of them from a position on, which moves behind them; those that are
// being worked on elsewhere are left to them. Sorted by id.
std::span<Due> lock_due(Instant now, int limit, Position* after);
// What lock() does, for a batch that lock_due() has locked.
pg::TableWriter* load(Batch batch, std::span<const Due> due);
// The earliest timer, or kNever.
Instant next_due();
// Puts off the customer whose timer ran out first.
void postpone_first(Instant now);
// The next customers after `after` in the order of their ids, locked and loaded as in lock(), each a copy of `blank`.
Batch lock_next(std::string_view after, int limit, const Change& blank);
// Ids of customers after `after` in the order of their ids.
std::span<std::string_view> some_customers(std::string_view after, int limit);

}  // namespace lifecycle::customer
