#include "pg/pick.hpp"

#include "pg/table.hpp"

namespace lifecycle::pg {

namespace {

constexpr int kLooks = 3;

struct Search {
    Rows* rows;
    Relation index;
    IndexScanDesc scan;
    TupleTableSlot* head;  // empty: there is no more
};

bool is_on(Relation index, std::span<const AttrNumber> columns) {
    const FormData_pg_index* form = index->rd_index;
    if (!form->indisvalid || form->indnkeyatts < static_cast<int>(columns.size())) return false;
    if (RelationGetIndexPredicate(index) != NIL) return false;
    for (size_t i = 0; i < columns.size(); ++i) {
        if (form->indkey.values[i] != columns[i]) return false;
    }
    return true;
}

Relation find_index(Relation table, std::span<const AttrNumber> columns) {
    ListCell* c;
    foreach (c, RelationGetIndexList(table)) {
        Relation index = index_open(lfirst_oid(c), AccessShareLock);
        if (is_on(index, columns)) return index;
        index_close(index, NoLock);
    }
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("table \"lifecycle.%s\" has lost an index", RelationGetRelationName(table)), errhint("Create it again as it was."));
}

void go_on(Search& s, const Picking& picking) {
    while (index_getnext_slot(s.scan, ForwardScanDirection, s.head)) {
        if (picking.wanted(s.head, picking.arg)) return;
    }
    ExecClearTuple(s.head);
}

Search begin(Rows* rows, const Picking& picking, Snapshot snapshot) {
    Search s{rows, find_index(rows->relation, picking.index), nullptr, table_slot_create(rows->relation, nullptr)};
    ScanKeyData keys[4];
    int count = 0;
    for (const Condition& c : picking.conditions)
        ScanKeyEntryInitialize(&keys[count++], 0, c.column, c.strategy, InvalidOid, s.index->rd_indcollation[c.column - 1], c.function, c.value);
    s.scan = begin_index_scan(rows->relation, s.index, snapshot, count);
    index_rescan(s.scan, keys, count, nullptr, 0);
    go_on(s, picking);
    return s;
}

void end(Search& s) {
    ExecDropSingleTupleTableSlot(s.head);
    index_endscan(s.scan);
    index_close(s.index, NoLock);
}

// The row at the head; nullptr: somebody else is at it, or has been (*changed). What others have changed is not locked as it is now: most
// often it is theirs, and they would wait for us.
HeapTuple lock(const Search& s, Snapshot snapshot, bool* changed) {
    ItemPointerData tid = s.head->tts_tid;
    TM_FailureData failure;
    TM_Result result = table_tuple_lock(s.rows->relation, &tid, snapshot, s.rows->slot, GetCurrentCommandId(false), LockTupleExclusive, LockWaitSkip,
                                        0, &failure);
    *changed = *changed || result == TM_Updated;
    if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
        ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("could not serialize access due to concurrent update"));
    HeapTuple row = nullptr;
    if (result == TM_Ok) row = ExecCopySlotHeapTuple(s.rows->slot);
    ExecClearTuple(s.rows->slot);
    return row;
}

// Whether to look again: none was to be had, and some have been passed over that others have changed since the snapshot. What has been picked
// is not met twice.
bool pick_once(const Picking& picking, int64 limit) {
    Snapshot snapshot = RegisterSnapshot(present());
    Array<Search> searches;
    for (Rows* rows : picking.tables) {
        if (RelationGetNumberOfBlocks(rows->relation) > 0) searches.push(begin(rows, picking, snapshot));
    }
    bool changed = false;
    int64 picked = 0;
    while (picked < limit) {
        Search* first = nullptr;
        for (Search& s : searches) {
            if (!TTS_EMPTY(s.head) && (first == nullptr || picking.before(s.head, first->head))) first = &s;
        }
        if (first == nullptr) break;
        if (HeapTuple row = lock(*first, snapshot, &changed)) {
            picking.take(first->rows, row, picking.arg);
            ++picked;
        }
        go_on(*first, picking);
        CHECK_FOR_INTERRUPTS();
    }
    for (Search& s : searches) end(s);
    UnregisterSnapshot(snapshot);
    return changed && picked == 0;
}

}  // namespace

void pick(const Picking& picking, int64 limit) {
    for (int looks = 0; looks < kLooks && pick_once(picking, limit); ++looks) {
    }
}

}  // namespace lifecycle::pg
