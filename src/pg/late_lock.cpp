#include "pg/late_lock.hpp"

#include <utility>

#include "pg/finger.hpp"

namespace lifecycle::pg {

LateLock late_lock = {};

namespace {

[[noreturn]] void raise_changed() {
    ereport(ERROR, errcode(kRowWasChanged), errmsg("a row was changed by another session after this one had read it"));
    pg_unreachable();
}

// Whether nobody has changed the version or holds it. A lock leaves its trace in the next version, too.
bool is_free(HeapTupleHeader row) {
    if ((row->t_infomask & HEAP_XMAX_INVALID) != 0) return true;
    if (!HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask) || (row->t_infomask & HEAP_XMAX_IS_MULTI) != 0) return false;
    TransactionId holder = HeapTupleHeaderGetRawXmax(row);
    return !TransactionIdIsCurrentTransactionId(holder) && !TransactionIdIsInProgress(holder);
}

}  // namespace

HeapTuple read_to_update(TableWriter* w, Datum key, bool* certain) {
    *certain = false;
    if (!ActiveSnapshotSet()) return nullptr;
    // Older than the present, but what has been changed since shows it.
    Finger finger = point(w, GetActiveSnapshot());
    HeapTuple row = read_row(finger, key, certain);
    if (row == nullptr) return nullptr;
    *certain = is_free(row->t_data);
    if (!*certain) return nullptr;
    late_lock = {w, row->t_self};
    return row;
}

void lock_late_row() {
    LateLock late = std::exchange(late_lock, {});
    TupleTableSlot* slot = table_slot_create(late.table->relation, nullptr);
    TM_FailureData failure;
    TM_Result result = table_tuple_lock(late.table->relation, &late.tid, GetActiveSnapshot(), slot, GetCurrentCommandId(false), LockTupleNoKeyExclusive,
                                        LockWaitSkip, 0, &failure);
    ExecDropSingleTupleTableSlot(slot);
    if (result != TM_Ok) raise_changed();
}

NewEntries update_late_row(HeapTuple row) {
    LateLock late = std::exchange(late_lock, {});
    NewEntries needed;
    if (update_unless_held(late.table->relation, &late.tid, row, &needed) != TM_Ok) raise_changed();
    return needed;
}

}  // namespace lifecycle::pg
