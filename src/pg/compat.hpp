// What differs between PostgreSQL 15 and 18, and the only place that asks for the version.
#pragma once

#if PG_VERSION_NUM < 150000
#error "pg_lifecycle needs PostgreSQL 15 or later"
#endif

extern "C" {
#if PG_VERSION_NUM >= 160000
#include "utils/guc_hooks.h"
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
}

namespace lifecycle::pg {

// Which indexes need an entry for a new version of a row. None: a heap-only update.
enum class NewEntries { none, summarizing, all };

#if PG_VERSION_NUM >= 160000
inline NewEntries entries_for(TU_UpdateIndexes indexes) {
    return indexes == TU_None ? NewEntries::none : indexes == TU_Summarizing ? NewEntries::summarizing : NewEntries::all;
}
#endif

inline NewEntries update_tuple(Relation relation, ItemPointer tid, TupleTableSlot* slot) {
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes indexes = TU_None;
    simple_table_tuple_update(relation, tid, slot, GetActiveSnapshot(), &indexes);
    return entries_for(indexes);
#else
    bool indexes = false;
    simple_table_tuple_update(relation, tid, slot, GetActiveSnapshot(), &indexes);
    return indexes ? NewEntries::all : NewEntries::none;
#endif
}

// The same of a heap table, without the way through a slot.
inline NewEntries update_tuple(Relation relation, ItemPointer tid, HeapTuple row) {
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes indexes = TU_None;
    simple_heap_update(relation, tid, row, &indexes);
    return entries_for(indexes);
#else
    simple_heap_update(relation, tid, row);
    return HeapTupleIsHeapOnly(row) ? NewEntries::none : NewEntries::all;
#endif
}

// The same without waiting for whoever holds the row.
inline TM_Result update_unless_held(Relation relation, ItemPointer tid, HeapTuple row, NewEntries* needed) {
    TM_FailureData failure;
    LockTupleMode mode;
    CommandId command = GetCurrentCommandId(true);
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes indexes = TU_None;
    TM_Result result = heap_update(relation, tid, row, command, InvalidSnapshot, false, &failure, &mode, &indexes);
    *needed = entries_for(indexes);
#else
    TM_Result result = heap_update(relation, tid, row, command, InvalidSnapshot, false, &failure, &mode);
    *needed = HeapTupleIsHeapOnly(row) ? NewEntries::none : NewEntries::all;
#endif
    return result;
}

inline void insert_index_entries(ResultRelInfo* table, TupleTableSlot* slot, EState* state, NewEntries which) {
#if PG_VERSION_NUM >= 160000
    List* again = ExecInsertIndexTuples(table, slot, state, false, false, nullptr, NIL, which == NewEntries::summarizing);
#else
    List* again = ExecInsertIndexTuples(table, slot, state, false, false, nullptr, NIL);
#endif
    list_free(again);
}

inline bool is_summarizing([[maybe_unused]] const IndexInfo* index) {
#if PG_VERSION_NUM >= 160000
    return index->ii_Summarizing;
#else
    return false;
#endif
}

inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

// The page of a B-tree on which entries of the key begin, locked (BT_READ or BT_WRITE); InvalidBuffer: there is none.
inline Buffer search_leaf([[maybe_unused]] Relation table, Relation index, BTScanInsert key, [[maybe_unused]] Snapshot snapshot, int access) {
    Buffer buffer;
#if PG_VERSION_NUM >= 170000
    BTStack stack = _bt_search(index, table, key, &buffer, access);
#elif PG_VERSION_NUM >= 160000
    BTStack stack = _bt_search(index, table, key, &buffer, access, snapshot);
#else
    BTStack stack = _bt_search(index, key, &buffer, access, snapshot);
#endif
    _bt_freestack(stack);
    return buffer;
}

// The root of a B-tree, or what stands for it, locked for reading; InvalidBuffer: the index is empty.
inline Buffer root_of([[maybe_unused]] Relation table, Relation index) {
#if PG_VERSION_NUM >= 160000
    return _bt_getroot(index, table, BT_READ);
#else
    return _bt_getroot(index, BT_READ);
#endif
}

// Whether the snapshot has been given up since (old_snapshot_threshold), which raises an error.
inline void check_age([[maybe_unused]] Snapshot snapshot, [[maybe_unused]] Relation relation, [[maybe_unused]] Page page) {
#if PG_VERSION_NUM < 170000
    TestForOldSnapshot(snapshot, relation, page);
#endif
}

inline xl_seq_rec sequence_record(Relation sequence) {
#if PG_VERSION_NUM >= 160000
    return {.locator = sequence->rd_locator};
#else
    return {.node = sequence->rd_node};
#endif
}

#if PG_VERSION_NUM < 160000
#define LIFECYCLE_SERVER_EXTENDS_BY_ONE
#endif

// Parses a timestamptz without touching the catalogs, so that a setting can be read before there is a transaction.
inline bool decode_datetime(char** field, int* ftype, int nf, int* dtype, struct pg_tm* tm, fsec_t* fsec, int* tz) {
#if PG_VERSION_NUM >= 160000
    DateTimeErrorExtra extra;
    return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &extra) == 0;
#else
    return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz) == 0;
#endif
}

// Until 16 a tree walker was declared as taking any function, since then one with a void* context: a typed one needs a cast.
template <class Context>
inline bool walk_expression(Node* node, bool (*walker)(Node*, Context*), Context* context) {
#if PG_VERSION_NUM >= 160000
    return expression_tree_walker(node, reinterpret_cast<tree_walker_callback>(reinterpret_cast<void (*)()>(walker)), context);
#else
    return expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

template <class Context>
inline bool walk_raw_expression(Node* node, bool (*walker)(Node*, Context*), Context* context) {
    auto* untyped = const_cast<void*>(static_cast<const void*>(context));
#if PG_VERSION_NUM >= 160000
    return raw_expression_tree_walker(node, reinterpret_cast<tree_walker_callback>(reinterpret_cast<void (*)()>(walker)), untyped);
#else
    return raw_expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), untyped);
#endif
}

template <class Context>
inline Node* mutate_expression(Node* node, Node* (*mutator)(Node*, Context*), Context* context) {
#if PG_VERSION_NUM >= 160000
    return expression_tree_mutator(node, reinterpret_cast<tree_mutator_callback>(reinterpret_cast<void (*)()>(mutator)), context);
#else
    return expression_tree_mutator(node, reinterpret_cast<Node* (*)()>(reinterpret_cast<void (*)()>(mutator)), context);
#endif
}

// What kind of abbreviation of a zone this is, in lower case, and how many seconds east of Greenwich it is, if that never changes.
inline int zone_abbreviation(const char* name, int* east) {
    pg_tz* zone;
#if PG_VERSION_NUM >= 160000
    int type;
    DateTimeErrorExtra extra;
    DecodeTimezoneAbbrev(0, name, &type, east, &zone, &extra);
    return type;
#else
    return DecodeTimezoneAbbrev(0, const_cast<char*>(name), east, &zone);
#endif
}

inline ItemPointer item_pointer(Datum d) { return static_cast<ItemPointer>(static_cast<void*>(DatumGetPointer(d))); }

// The number of this process in the array of processes, by which another can set its latch.
inline int my_process_number() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyProc->pgprocno;
#endif
}

inline PGPROC* process_by_number(int number) { return &ProcGlobal->allProcs[number]; }

inline uint32 worker_wait_event() {
#if PG_VERSION_NUM >= 170000
    static uint32 event = 0;
    if (event == 0) event = WaitEventExtensionNew("LifecycleWorkerMain");
    return event;
#else
    return PG_WAIT_EXTENSION;
#endif
}

}  // namespace lifecycle::pg

#ifdef PG_MODULE_MAGIC_EXT
#define LIFECYCLE_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "pg_lifecycle", .version = "0.1.0")
#else
#define LIFECYCLE_MODULE_MAGIC PG_MODULE_MAGIC
#endif
