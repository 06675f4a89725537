// Reading a row in order to update it, without locking it first: a lock is a write, with a record in the log, and mostly nobody else is there. Whether
// somebody was, the update finds out; then what was worked out is undone and done again by whoever began it, with a lock.
//
// This is only right as long as nothing but this row is read and written in between: what else there is of a customer changes under the row's lock,
// maybe without a change of the row. So the first statement or table that is come to on the way locks the row after all.
#pragma once

#include "pg/table.hpp"

namespace lifecycle::pg {

// Somebody else has changed or locked a row after it was read. Never seen by users.
inline constexpr int kRowWasChanged = MAKE_SQLSTATE('L', 'C', '0', '0', '2');

struct LateLock {
    TableWriter* table;  // nullptr: no row waits for its lock
    ItemPointerData tid;
};
extern LateLock late_lock;

// A copy of the row with this key, to be updated through the same writer or not at all; nullptr: there is none. *certain is false where that cannot be
// told, or somebody is at it: look again with find_and_lock().
HeapTuple read_to_update(TableWriter* table, Datum key, bool* certain);

// Before anything but the row is read or written. Error kRowWasChanged.
void lock_late_row();
inline void lock_what_was_read() {
    if (unlikely(late_lock.table != nullptr)) lock_late_row();
}

inline void forget_late_lock() { late_lock.table = nullptr; }

// Of update(). Error kRowWasChanged.
NewEntries update_late_row(HeapTuple row);

}  // namespace lifecycle::pg
