#pragma once

#include "customer/change.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

// Locks the customers of a batch, which are sorted by id, in that order, and loads their rows. Then whoever else changes one of
// them waits until this transaction ends, so that two orders at once both count.
pg::TableWriter* lock(Batch batch);

// The same for customers known by their ids only, so that what is worked out later, batch by batch, finds them locked.
void lock_sorted(std::span<const Datum> ids);

// Writes the rows and arms the timers. `rows` is what lock() has returned.
void store(Batch batch, pg::TableWriter* rows);

// Another session has created one of the new customers meanwhile: what was worked out is to be undone and done again.
bool lost_race(const ErrorData* error);

// Customers for whom time has made something due, locked, at most `limit` of them; those that are being worked on elsewhere are
// left to them. Sorted by id.
std::span<std::string_view> lock_due(Instant now, int limit);
// The earliest timer, or kNever.
Instant next_due();
// Puts off the customer whose timer ran out first.
void postpone_first(Instant now);
// Ids of customers after `after` in the order of their ids.
std::span<std::string_view> some_customers(std::string_view after, int limit);

}  // namespace lifecycle::customer
