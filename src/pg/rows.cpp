#include "pg/rows.hpp"

#include "pg/form.hpp"
#include "pg/late_lock.hpp"
#include "pg/table.hpp"

namespace lifecycle::pg {

Rows* open_rows(Oid table) {
    lock_what_was_read();
    auto* rows = static_cast<Rows*>(palloc0(sizeof(Rows)));
    rows->relation = table_open(table, RowExclusiveLock);
    rows->slot = table_slot_create(rows->relation, nullptr);
    return rows;
}

void look_again(Rows* rows) {
    if (rows->scan != nullptr) {
        Snapshot seen = rows->scan->xs_snapshot;
        index_endscan(rows->scan);
        UnregisterSnapshot(seen);
        rows->scan = nullptr;
    }
    ExecClearTuple(rows->slot);
}

void close_rows(Rows* rows) {
    look_again(rows);
    if (rows->key != nullptr) index_close(rows->key, NoLock);
    if (rows->state != nullptr) {
        ExecCloseIndices(rows->target);
        FreeExecutorState(rows->state);
    }
    ExecDropSingleTupleTableSlot(rows->slot);
    table_close(rows->relation, NoLock);
}

bool is_plain(Rows* rows, Relation parent, int checks) {
    Oid ours = RelationGetNamespace(parent);
    for (Relation relation : {rows->relation, parent}) {
        const TriggerDesc* triggers = relation->trigdesc;
        for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
            if (get_func_namespace(triggers->triggers[i].tgfoid) != ours) return false;
        }
    }
    const TupleConstr* constraints = RelationGetDescr(rows->relation)->constr;
    if (constraints != nullptr && (constraints->num_check != checks || constraints->has_generated_stored)) return false;
    return convert_tuples_by_name(RelationGetDescr(rows->relation), RelationGetDescr(parent)) == nullptr;
}

HeapTuple row_at(Rows* rows, ItemPointer tid) {
    if (!table_tuple_fetch_row_version(rows->relation, tid, SnapshotAny, rows->slot)) elog(ERROR, "a locked row has gone");
    HeapTuple row = ExecCopySlotHeapTuple(rows->slot);
    ExecClearTuple(rows->slot);
    return row;
}

namespace {

// What the executor keeps to write the indexes of a table, whatever they are.
void write_indexes(Rows* rows, TupleTableSlot* slot, NewEntries which) {
    if (rows->state == nullptr) {
        rows->state = CreateExecutorState();
        MemoryContext caller = MemoryContextSwitchTo(rows->state->es_query_cxt);
        rows->target = makeNode(ResultRelInfo);
        InitResultRelInfo(rows->target, rows->relation, 0, nullptr, 0);
        ExecOpenIndices(rows->target, false);
        MemoryContextSwitchTo(caller);
    }
    insert_index_entries(rows->target, slot, rows->state, which);
    ResetPerTupleExprContext(rows->state);
}

}  // namespace

HeapTuple change_row(Rows* rows, ItemPointer tid, const Datum* values, const bool* nulls) {
    HeapTuple row = form_row(RelationGetDescr(rows->relation), values, nulls);
    ExecForceStoreHeapTuple(row, rows->slot, false);
    NewEntries needed = update_tuple(rows->relation, tid, rows->slot);
    if (needed != NewEntries::none) write_indexes(rows, rows->slot, needed);
    ExecClearTuple(rows->slot);
    return row;
}

void add_rows(Rows* rows, std::span<const HeapTuple> added) {
    Array<TupleTableSlot*> slots;
    for (HeapTuple row : added) {
        TupleTableSlot* slot = MakeSingleTupleTableSlot(RelationGetDescr(rows->relation), &TTSOpsHeapTuple);
        ExecStoreHeapTuple(row, slot, false);
        slots.push(slot);
    }
    table_multi_insert(rows->relation, slots.data, static_cast<int>(slots.size), GetCurrentCommandId(true), 0, nullptr);
    for (TupleTableSlot* slot : slots) {
        write_indexes(rows, slot, NewEntries::all);
        ExecDropSingleTupleTableSlot(slot);
    }
}

namespace {

void begin_taking(Rows* rows) {
    if (rows->key == nullptr) {
        RelationGetIndexList(rows->relation);
        if (!OidIsValid(rows->relation->rd_pkindex))
            ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("table \"lifecycle.%s\" has lost its primary key", RelationGetRelationName(rows->relation)),
                    errhint("Create it again as it was."));
        rows->key = index_open(rows->relation->rd_pkindex, AccessShareLock);
    }
    rows->scan = begin_index_scan(rows->relation, rows->key, RegisterSnapshot(present()), 1);
}

// Deletes the version at `tid`. It may have been changed since it was seen: then *newest is the row as it is now, locked.
bool remove(Rows* rows, ItemPointerData tid, HeapTuple* newest) {
    *newest = nullptr;
    TM_FailureData failure;
    TM_Result result = table_tuple_delete(rows->relation, &tid, GetCurrentCommandId(true), rows->scan->xs_snapshot, InvalidSnapshot, true,
                                          &failure, false);
    if (result == TM_Ok) return true;
    if (IsolationUsesXactSnapshot() && result != TM_SelfModified)
        ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("could not serialize access due to concurrent update"));
    if (result != TM_Updated) return false;
    result = table_tuple_lock(rows->relation, &tid, rows->scan->xs_snapshot, rows->slot, GetCurrentCommandId(false), LockTupleExclusive,
                              LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    if (result == TM_Ok) *newest = ExecCopySlotHeapTuple(rows->slot);
    return false;
}

}  // namespace

HeapTuple take_row(Rows* rows, int64 key, bool (*wanted)(HeapTuple, TupleDesc, void*), void* arg) {
    if (rows->scan == nullptr) begin_taking(rows);
    ScanKeyData number;
    ScanKeyInit(&number, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
    index_rescan(rows->scan, &number, 1, nullptr, 0);
    TupleDesc layout = RelationGetDescr(rows->relation);
    while (index_getnext_slot(rows->scan, ForwardScanDirection, rows->slot)) {
        HeapTuple row = ExecCopySlotHeapTuple(rows->slot);
        HeapTuple newest;
        if (!wanted(row, layout, arg)) continue;
        if (remove(rows, row->t_self, &newest)) return row;
        if (newest != nullptr && wanted(newest, layout, arg) && remove(rows, newest->t_self, &row)) return newest;
        return nullptr;
    }
    return nullptr;
}

}  // namespace lifecycle::pg
