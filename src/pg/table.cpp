#include "pg/table.hpp"

#include <algorithm>

#include "pg/entries.hpp"
#include "pg/finger.hpp"
#include "pg/form.hpp"
#include "pg/late_lock.hpp"
#include "pg/room.hpp"
#include "pg/versions.hpp"

namespace lifecycle::pg {

namespace {

// Enough to fill pages at one go; each of them keeps a slot, which has to be made and dropped.
constexpr size_t kRowsPerFlush = 250;
constexpr size_t kRowsGathered = 32768;

// A partial index may leave out rows whose first key is NULL, and no others.
bool leaves_out_null_only(const IndexInfo* info) {
    if (list_length(info->ii_Predicate) != 1 || !IsA(linitial(info->ii_Predicate), NullTest)) return false;
    auto* test = linitial_node(NullTest, info->ii_Predicate);
    return test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) && castNode(Var, test->arg)->varattno == info->ii_IndexAttrNumbers[0];
}

bool is_null(Relation index, AttrNumber column) { return heap_attisnull(index->rd_indextuple, column, nullptr); }

IndexInfo* info_of(TableWriter* w, int i) {
    if (w->infos[i] == nullptr) w->infos[i] = BuildIndexInfo(w->indexes[i]);
    return w->infos[i];
}

// As FormIndexDatum() does for an index that has no expressions. False: the index leaves this row out.
bool take_columns(const TableWriter* w, int i, TupleTableSlot* slot, Datum* values, bool* nulls) {
    const Form_pg_index index = w->indexes[i]->rd_index;
    AttrNumber last = 0;
    for (int k = 0; k < index->indnatts; ++k) last = Max(last, index->indkey.values[k]);
    slot_getsomeattrs(slot, last);
    for (int k = 0; k < index->indnatts; ++k) {
        int column = index->indkey.values[k] - 1;
        values[k] = slot->tts_values[column];
        nulls[k] = slot->tts_isnull[column];
    }
    return !w->leaves_out_null[i] || !nulls[0];
}

void insert_index_entry(TableWriter* w, int i, TupleTableSlot* slot, bool is_new) {
    Datum values[INDEX_MAX_KEYS];
    bool nulls[INDEX_MAX_KEYS];
    Relation index = w->indexes[i];
    if (!take_columns(w, i, slot, values, nulls)) return;
    index_insert(index, values, nulls, &slot->tts_tid, w->relation,
                 is_new && index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info_of(w, i));
}

// Only once entries are to be written: most updates need none.
void open_indexes(TableWriter* w) {
    if (w->has_indexes) return;
    w->has_indexes = true;
    List* oids = RelationGetIndexList(w->relation);
    ListCell* c;
    foreach (c, oids) {
        if (w->index_count == static_cast<int>(std::size(w->indexes)))
            elog(ERROR, "table \"%s\" has more indexes than expected", RelationGetRelationName(w->relation));
        // Without a lock of its own: whoever wants to drop or rebuild an index waits for those who hold one on its table.
        Relation index = RelationIdGetRelation(lfirst_oid(c));
        if (!index->rd_index->indisready) {
            RelationClose(index);
            continue;
        }
        bool plain = is_null(index, Anum_pg_index_indexprs) && is_null(index, Anum_pg_index_indpred);
        IndexInfo* info = plain ? nullptr : BuildIndexInfo(index);
        if (info != nullptr && (info->ii_Expressions != NIL || (info->ii_Predicate != NIL && !leaves_out_null_only(info))))
            ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("index \"%s\" on table \"lifecycle.%s\" is partial or on an expression",
                           RelationGetRelationName(index), RelationGetRelationName(w->relation)),
                    errhint("Drop it: pg_lifecycle writes this table directly and keeps plain indexes only."));
        w->indexes[w->index_count] = index;
        w->infos[w->index_count] = info;
        w->leaves_out_null[w->index_count] = !plain;
        ++w->index_count;
    }
    list_free(oids);
}

void insert_index_entries(TableWriter* w, TupleTableSlot* slot, NewEntries which) {
    open_indexes(w);
    for (int i = 0; i < w->index_count; ++i) {
        if (which == NewEntries::summarizing && !is_summarizing(info_of(w, i))) continue;
        insert_index_entry(w, i, slot, false);
    }
}

TupleTableSlot* make_slot(TableWriter* w) {
    return MakeSingleTupleTableSlot(RelationGetDescr(w->relation), &TTSOpsHeapTuple);
}

// Slots that share the relation's own description each make the transaction keep count of it, which takes longer the more there are. From the
// second slot on they share a copy that nobody counts.
TupleTableSlot* make_waiting_slot(TableWriter* w) {
    if (w->slots.empty()) return make_slot(w);
    TupleDesc shared = w->slots.size > 1 ? w->slots[1]->tts_tupleDescriptor : CreateTupleDescCopy(RelationGetDescr(w->relation));
    return MakeSingleTupleTableSlot(shared, &TTSOpsHeapTuple);
}

constexpr size_t kRowsWorthSorting = 8;

// Rows of the same key share an entry of an index as long as they lie in order; pages that were free are taken in any.
void sort_by_place(std::span<TupleTableSlot*> slots) {
    auto before = [](TupleTableSlot* a, TupleTableSlot* b) { return ItemPointerCompare(&a->tts_tid, &b->tts_tid) < 0; };
    if (!std::is_sorted(slots.begin(), slots.end(), before)) std::sort(slots.begin(), slots.end(), before);
}

// A page of the index after the other; what is not so simple, such as a page that has to be split, is the server's to do.
void insert_by_page(TableWriter* w, Leaves& leaves, int i) {
    Array<NewEntry> entries;
    Array<ItemPointerData> tids;  // stay where they are
    entries.reserve(w->waiting);
    tids.reserve(w->waiting);
    for (size_t k = 0; k < w->waiting; ++k) {
        Datum values[INDEX_MAX_KEYS];
        bool nulls[INDEX_MAX_KEYS];
        if (!take_columns(w, i, w->slots[k], values, nulls)) continue;
        const ItemPointerData* tid = &tids.push(w->slots[k]->tts_tid);
        if (!entries.empty() && join_entry(leaves, &entries[entries.size - 1], values, nulls, k)) continue;
        entries.push(make_entry(leaves, values, nulls, tid, k));
    }
    sort_entries(leaves, entries.span());
    for (auto rest = entries.span(); !rest.empty();) {
        if (write_run(leaves, &rest)) continue;
        insert_index_entry(w, i, w->slots[rest[0].row], true);
        take_off(&rest, 1);
    }
}

void insert_many(TableWriter* w, int i) {
    MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "index entries", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(scratch);
    Leaves leaves;
    bool by_page = open_leaves(w->relation, w->indexes[i], &leaves);
    if (by_page) insert_by_page(w, leaves, i);
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(scratch);
    for (size_t k = 0; !by_page && k < w->waiting; ++k) insert_index_entry(w, i, w->slots[k], true);
}

// Few are worth it only where their place is likely to be the one of those before them.
void insert_few(TableWriter* w, int i) {
    Leaves leaves;
    if (begins_with_number(w->indexes[i]) && open_leaves(w->relation, w->indexes[i], &leaves)) {
        insert_by_page(w, leaves, i);
        return;
    }
    for (size_t k = 0; k < w->waiting; ++k) insert_index_entry(w, i, w->slots[k], true);
}

struct Waiting {
    TimestampTz at;
    size_t n;
    TupleTableSlot* slot;
};

// Returns the rows as they are sorted then, and with them as how many they came.
Array<Waiting> sort_by_instant(TableWriter* w) {
    Array<Waiting> rows;
    rows.reserve(w->waiting);
    for (size_t k = 0; k < w->waiting; ++k) {
        bool null;
        rows.push({DatumGetTimestampTz(slot_getattr(w->slots[k], w->gathered_by, &null)), k, w->slots[k]});
    }
    std::sort(rows.begin(), rows.end(), [](const Waiting& a, const Waiting& b) { return a.at != b.at ? a.at < b.at : a.n < b.n; });
    for (size_t k = 0; k < w->waiting; ++k) w->slots[k] = rows[k].slot;
    return rows;
}

// Those that wait, on pages as full as they are to be.
Size bytes_waiting(const TableWriter* w) {
    Size bytes = 0;
    for (size_t k = 0; k < w->waiting; ++k) {
        bytes += MAXALIGN(reinterpret_cast<HeapTupleTableSlot*>(w->slots[k])->tuple->t_len) + sizeof(ItemIdData);
    }
    return bytes * 100 / static_cast<Size>(RelationGetFillFactor(w->relation, HEAP_DEFAULT_FILLFACTOR));
}

// `sorted`: empty if they are as they came.
void note_places(TableWriter* w, std::span<const Waiting> sorted) {
    if (w->places == nullptr) return;
    size_t before = w->places->size;
    MemoryContext caller = MemoryContextSwitchTo(w->memory);
    w->places->reserve(before + w->waiting);
    MemoryContextSwitchTo(caller);
    w->places->size += w->waiting;
    for (size_t k = 0; k < w->waiting; ++k) w->places->data[before + (sorted.empty() ? k : sorted[k].n)] = w->slots[k]->tts_tid;
}

void place(TableWriter* w, std::span<const Waiting> sorted) {
    table_multi_insert(w->relation, w->slots.data, static_cast<int>(w->waiting), GetCurrentCommandId(true), 0, nullptr);
    note_places(w, sorted);
    sort_by_place({w->slots.data, w->waiting});
}

// What the server allocates for them is not left to a writer that lasts.
void place_many(TableWriter* w) {
    MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "rows", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(scratch);
    Array<Waiting> sorted;
    if (w->gathered_by != 0) sorted = sort_by_instant(w);
    make_room(w->relation, bytes_waiting(w));
    place(w, sorted.span());
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(scratch);
}

}  // namespace

void flush(TableWriter* w) {
    if (w->waiting == 0) return;
    open_indexes(w);
    if (w->waiting >= kRowsPerFlush) {
        place_many(w);
    } else {
        place(w, {});
    }
    // One index after the other: the pages of each are met once, not again and again between those of the others.
    for (int i = 0; i < w->index_count; ++i) {
        if (w->waiting >= kRowsWorthSorting) {
            insert_many(w, i);
        } else {
            insert_few(w, i);
        }
    }
    for (size_t k = 0; k < w->waiting; ++k) ExecClearTuple(w->slots[k]);
    w->waiting = 0;
}

bool is_empty(Oid table) {
    Relation relation = table_open(table, AccessShareLock);
    bool empty = RelationGetNumberOfBlocks(relation) == 0;
    table_close(relation, NoLock);
    return empty;
}

namespace {

bool fires_for_new_rows(const TriggerDesc* triggers) {
    return triggers != nullptr && (triggers->trig_insert_before_row || triggers->trig_insert_after_row || triggers->trig_insert_instead_row ||
                                   triggers->trig_insert_before_statement || triggers->trig_insert_after_statement);
}

bool is_plain_index(Oid oid) {
    Relation index = RelationIdGetRelation(oid);
    bool plain = is_null(index, Anum_pg_index_indexprs) && is_null(index, Anum_pg_index_indpred);
    RelationClose(index);
    return plain;
}

}  // namespace

bool is_plain(Oid table, int columns, int checks) {
    Relation relation = table_open(table, RowExclusiveLock);
    TupleDesc layout = RelationGetDescr(relation);
    bool plain = layout->natts == columns && (layout->constr == nullptr ? 0 : layout->constr->num_check) == checks &&
                 !fires_for_new_rows(relation->trigdesc);
    if (relation->rd_rel->relkind == RELKIND_RELATION) {
        List* indexes = RelationGetIndexList(relation);
        plain = plain && list_length(indexes) <= static_cast<int>(std::size(TableWriter{}.indexes));
        ListCell* c;
        foreach (c, indexes) plain = plain && is_plain_index(lfirst_oid(c));
        list_free(indexes);
    }
    table_close(relation, NoLock);
    return plain;
}

TableWriter* open_writer(Oid table) {
    lock_what_was_read();
    auto* w = static_cast<TableWriter*>(palloc0(sizeof(TableWriter)));
    w->relation = table_open(table, RowExclusiveLock);
    w->memory = CurrentMemoryContext;
    return w;
}

TableWriter* open_gatherer(Oid table, AttrNumber instant) {
    TableWriter* w = open_writer(table);
    w->gathered_by = instant;
    return w;
}

void close_writer(TableWriter* w) {
    if (late_lock.table == w) forget_late_lock();
    flush(w);
    for (TupleTableSlot* slot : w->slots) ExecDropSingleTupleTableSlot(slot);
    if (w->found != nullptr) ExecDropSingleTupleTableSlot(w->found);
    for (int i = 0; i < w->index_count; ++i) RelationClose(w->indexes[i]);
    if (w->primary_key != nullptr) RelationClose(w->primary_key);
    table_close(w->relation, NoLock);
}

void insert(TableWriter* w, const Datum* values, const bool* nulls) {
    MemoryContext caller = MemoryContextSwitchTo(w->memory);
    if (w->waiting == w->slots.size) w->slots.push(make_waiting_slot(w));
    form_into(w->slots[w->waiting++], values, nulls);
    if (w->waiting == (w->gathered_by == 0 ? kRowsPerFlush : kRowsGathered)) flush(w);
    MemoryContextSwitchTo(caller);
}

void update(TableWriter* w, ItemPointer tid, const Datum* values, const bool* nulls, ItemPointer head) {
    RowMemory memory;
    HeapTuple tuple = form_here(&memory, RelationGetDescr(w->relation), values, nulls);
    NewEntries needed = late_lock.table == w ? update_late_row(tuple) : update_tuple(w->relation, tid, tuple);
    if (needed == NewEntries::all) *head = tuple->t_self;
    if (needed != NewEntries::none) {
        TupleTableSlot* slot = make_slot(w);
        ExecStoreHeapTuple(tuple, slot, false);
        insert_index_entries(w, slot, needed);
        ExecDropSingleTupleTableSlot(slot);
    }
    if (tuple != &memory.row) heap_freetuple(tuple);
}

Snapshot present() { return IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot(); }

Relation primary_key_of(TableWriter* w) {
    if (w->primary_key != nullptr) return w->primary_key;
    if (!w->relation->rd_indexvalid) list_free(RelationGetIndexList(w->relation));  // which finds out
    if (!OidIsValid(w->relation->rd_pkindex))
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("table \"lifecycle.%s\" has lost its primary key", RelationGetRelationName(w->relation)),
                errhint("Create it again as it was."));
    return w->primary_key = RelationIdGetRelation(w->relation->rd_pkindex);
}

bool find(TableWriter* w, std::span<const Datum> key, ItemPointer tid) {
    Snapshot snapshot = RegisterSnapshot(present());
    Finger finger = point(w, snapshot);
    bool found = find_row(finger, key, tid);
    UnregisterSnapshot(snapshot);
    return found;
}

Array<HeapTuple> rows_of(TableWriter* w, std::span<const Datum> first) {
    Array<HeapTuple> rows;
    Snapshot snapshot = RegisterSnapshot(present());
    Finger finger = point(w, snapshot);
    for (Datum text : first) read_rows(finger, text, &rows);
    UnregisterSnapshot(snapshot);
    return rows;
}

HeapTuple find_and_lock(TableWriter* w, Datum key) {
    if (w->found == nullptr) w->found = table_slot_create(w->relation, nullptr);
    Snapshot snapshot = RegisterSnapshot(present());
    Finger finger = point(w, snapshot);
    ItemPointerData tid;
    if (!find_row(finger, {&key, 1}, &tid)) {
        UnregisterSnapshot(snapshot);
        return nullptr;
    }
    TM_FailureData failure;
    TM_Result result = table_tuple_lock(w->relation, &tid, snapshot, w->found, GetCurrentCommandId(false),
                                        LockTupleNoKeyExclusive, LockWaitBlock,
                                        IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    UnregisterSnapshot(snapshot);
    if (result == TM_Ok) {
        HeapTuple locked = ExecCopySlotHeapTuple(w->found);
        locked->t_self = w->found->tts_tid;
        ExecClearTuple(w->found);
        return locked;
    }
    ExecClearTuple(w->found);
    if (IsolationUsesXactSnapshot())
        ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                errmsg("could not serialize access due to concurrent update"));
    if (result != TM_Deleted && result != TM_Updated) elog(ERROR, "unexpected result of locking a row: %d", result);
    ereport(ERROR, errcode(kRowWasDeleted), errmsg("a row was deleted while this session waited for it"));
}

bool remove_same(TableWriter* w, ItemPointer tid, std::span<const Datum> values, Snapshot snapshot) {
    if (!has_values(w->relation, tid, values, snapshot)) return false;
    TM_FailureData failure;
    return table_tuple_delete(w->relation, tid, GetCurrentCommandId(true), GetActiveSnapshot(), InvalidSnapshot, true, &failure, false) == TM_Ok;
}

void remove(TableWriter* w, ItemPointer tid) { simple_table_tuple_delete(w->relation, tid, GetActiveSnapshot()); }

}  // namespace lifecycle::pg
