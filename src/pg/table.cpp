#include "pg/table.hpp"

namespace lifecycle::pg {

namespace {

constexpr size_t kRowsPerFlush = 500;

void insert_index_entries(TableWriter* w, TupleTableSlot* slot) {
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];
    for (int i = 0; i < w->index_count; ++i) {
        Relation index = w->indexes[i];
        FormIndexDatum(w->infos[i], slot, nullptr, values, nulls);
        index_insert(index, values, nulls, &slot->tts_tid, w->relation,
                     index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, w->infos[i]);
    }
}

void flush(TableWriter* w) {
    if (w->waiting == 0) return;
    table_multi_insert(w->relation, w->slots.data, static_cast<int>(w->waiting), GetCurrentCommandId(true), 0, nullptr);
    for (size_t i = 0; i < w->waiting; ++i) {
        insert_index_entries(w, w->slots[i]);
        ExecClearTuple(w->slots[i]);
    }
    w->waiting = 0;
}

void fill(TupleTableSlot* slot, const Datum* values, const bool* nulls) {
    HeapTuple tuple = heap_form_tuple(slot->tts_tupleDescriptor, const_cast<Datum*>(values), const_cast<bool*>(nulls));
    ExecStoreHeapTuple(tuple, slot, true);
}

TupleTableSlot* make_slot(TableWriter* w) {
    return MakeSingleTupleTableSlot(RelationGetDescr(w->relation), &TTSOpsHeapTuple);
}

}  // namespace

TableWriter* open_writer(Oid table) {
    auto* w = static_cast<TableWriter*>(palloc0(sizeof(TableWriter)));
    w->relation = table_open(table, RowExclusiveLock);
    List* oids = RelationGetIndexList(w->relation);
    ListCell* c;
    foreach (c, oids) {
        if (w->index_count == static_cast<int>(std::size(w->indexes)))
            elog(ERROR, "table \"%s\" has more indexes than expected", RelationGetRelationName(w->relation));
        Relation index = index_open(lfirst_oid(c), RowExclusiveLock);
        if (!index->rd_index->indisready) {
            index_close(index, RowExclusiveLock);
            continue;
        }
        IndexInfo* info = BuildIndexInfo(index);
        if (info->ii_Expressions != NIL || info->ii_Predicate != NIL)
            ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("index \"%s\" on table \"lifecycle.%s\" is partial or on an expression",
                           RelationGetRelationName(index), RelationGetRelationName(w->relation)),
                    errhint("Drop it: pg_lifecycle writes this table directly and keeps plain indexes only."));
        if (index->rd_index->indisprimary) w->primary_key = RelationGetRelid(index);
        w->indexes[w->index_count] = index;
        w->infos[w->index_count] = info;
        ++w->index_count;
    }
    list_free(oids);
    return w;
}

void close_writer(TableWriter* w) {
    flush(w);
    for (TupleTableSlot* slot : w->slots) ExecDropSingleTupleTableSlot(slot);
    if (w->single != nullptr) ExecDropSingleTupleTableSlot(w->single);
    for (int i = 0; i < w->index_count; ++i) index_close(w->indexes[i], NoLock);
    table_close(w->relation, NoLock);
}

void insert(TableWriter* w, const Datum* values, const bool* nulls) {
    if (w->waiting == w->slots.size)
        w->slots.push(make_slot(w));
    fill(w->slots[w->waiting++], values, nulls);
    if (w->waiting == kRowsPerFlush) flush(w);
}

void update(TableWriter* w, ItemPointer tid, const Datum* values, const bool* nulls) {
    if (w->single == nullptr) w->single = make_slot(w);
    fill(w->single, values, nulls);
    if (update_tuple(w->relation, tid, w->single)) insert_index_entries(w, w->single);
    ExecClearTuple(w->single);
}

namespace {

// READ COMMITTED looks at the present, as a statement of its own would.
Snapshot present() { return IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot(); }

HeapTuple find(TableWriter* w, std::span<const Datum> key, Snapshot snapshot) {
    ScanKeyData keys[2];
    Relation index = index_open(w->primary_key, NoLock);
    for (size_t i = 0; i < key.size(); ++i)
        ScanKeyInit(&keys[i], index->rd_index->indkey.values[i], BTEqualStrategyNumber, F_TEXTEQ, key[i]);  // COLLATE "C"
    index_close(index, NoLock);
    SysScanDesc scan = systable_beginscan(w->relation, w->primary_key, true, snapshot, static_cast<int>(key.size()), keys);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) tuple = heap_copytuple(tuple);
    systable_endscan(scan);
    return tuple;
}

}  // namespace

HeapTuple find(TableWriter* w, std::span<const Datum> key) {
    Snapshot snapshot = RegisterSnapshot(present());
    HeapTuple tuple = find(w, key, snapshot);
    UnregisterSnapshot(snapshot);
    return tuple;
}

HeapTuple find_and_lock(TableWriter* w, Datum key) {
    for (;;) {
        Snapshot snapshot = RegisterSnapshot(present());
        HeapTuple tuple = find(w, {&key, 1}, snapshot);
        if (tuple == nullptr) {
            UnregisterSnapshot(snapshot);
            return nullptr;
        }
        TupleTableSlot* slot = table_slot_create(w->relation, nullptr);
        TM_FailureData failure;
        TM_Result result = table_tuple_lock(w->relation, &tuple->t_self, snapshot, slot, GetCurrentCommandId(false),
                                            LockTupleNoKeyExclusive, LockWaitBlock,
                                            IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
        UnregisterSnapshot(snapshot);
        if (result == TM_Ok) {
            HeapTuple locked = ExecCopySlotHeapTuple(slot);
            locked->t_self = slot->tts_tid;
            ExecDropSingleTupleTableSlot(slot);
            return locked;
        }
        ExecDropSingleTupleTableSlot(slot);
        if (IsolationUsesXactSnapshot())
            ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("could not serialize access due to concurrent update"));
        if (result != TM_Deleted && result != TM_Updated) elog(ERROR, "unexpected result of locking a row: %d", result);
        CHECK_FOR_INTERRUPTS();  // it was deleted while we waited: look again
    }
}

void remove(TableWriter* w, ItemPointer tid) { simple_table_tuple_delete(w->relation, tid, GetActiveSnapshot()); }

}  // namespace lifecycle::pg
