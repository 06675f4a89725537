// Reading a table as it was at one instant, sorted by customer.
//
// Sorted, because each customer is then worked out once, from all of its rows, instead of once in every batch that happens to hold one of
// them. The mapping is evaluated before the sort: the values of a few fields are a fraction of a shop's row.
#include "source/history.hpp"

#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/text.hpp"
#include "source/quarantine.hpp"

namespace lifecycle::source {

namespace {

constexpr size_t kBadRowsPerInsert = 1000;
constexpr int kRowsPerReset = 10000;

// The fields of the kind, then the number of the row: of two rows of one customer the first comes first.
TupleDesc layout_of(const KindSpec& kind) {
    int n = static_cast<int>(kind.fields.size());
    TupleDesc layout = CreateTemplateTupleDesc(n + 1);
    for (int i = 0; i < n; ++i)
        TupleDescInitEntry(layout, static_cast<AttrNumber>(i + 1), kind.fields[i].name, kind.fields[i].type, -1, 0);
    TupleDescInitEntry(layout, static_cast<AttrNumber>(n + 1), "row number", INT8OID, -1, 0);
    return layout;
}

Tuplesortstate* begin_sort(TupleDesc layout, int key) {
    AttrNumber keys[] = {static_cast<AttrNumber>(key + 1), static_cast<AttrNumber>(layout->natts)};
    Oid operators[] = {lookup_type_cache(TEXTOID, TYPECACHE_LT_OPR)->lt_opr, lookup_type_cache(INT8OID, TYPECACHE_LT_OPR)->lt_opr};
    Oid collations[] = {C_COLLATION_OID, InvalidOid};
    bool nulls_first[] = {false, false};
    return tuplesort_begin_heap(layout, 2, keys, operators, collations, nulls_first, maintenance_work_mem, nullptr, TUPLESORT_NONE);
}

struct Scan {
    Source* source;
    Snapshot snapshot;
    const std::string_view* after;
    Reader reader;
    Tuplesortstate* sort;
    TupleTableSlot* values;  // a row on its way into the sort
    int64 rows;
    int64 counted;
};

void reset(Scan* scan) {
    if (!scan->reader.bad.empty()) quarantine(scan->source->name, scan->reader.bad.span());
    MemoryContextReset(scan->reader.context);
    scan->reader = Reader{scan->source, scan->reader.context, {}, {}, nullptr, 0};
}

void read_into_sort(Scan* scan, TupleTableSlot* row) {
    Values v;
    ++scan->rows;
    bool counts = read_row(&scan->reader, row, false, &v);
    scan->reader.facts.clear();
    if (scan->reader.bad.size == kBadRowsPerInsert || scan->rows % kRowsPerReset == 0) reset(scan);
    if (!counts || (scan->after != nullptr && pg::view(v.values[key_field(*scan->source)]) <= *scan->after)) return;

    ++scan->counted;
    size_t n = scan->source->fields.size;
    ExecClearTuple(scan->values);
    for (size_t i = 0; i < n; ++i) {
        scan->values->tts_isnull[i] = v.nulls[i];
        scan->values->tts_values[i] = v.values[i];
        // What is stored beside the shop's row may have gone by the time it is used.
        if (!v.nulls[i] && TupleDescAttr(scan->values->tts_tupleDescriptor, i)->attlen == -1 &&
            VARATT_IS_EXTERNAL(DatumGetPointer(v.values[i])))
            scan->values->tts_values[i] = PointerGetDatum(PG_DETOAST_DATUM(v.values[i]));
    }
    scan->values->tts_isnull[n] = false;
    scan->values->tts_values[n] = Int64GetDatum(scan->rows);
    ExecStoreVirtualTuple(scan->values);
    tuplesort_puttupleslot(scan->sort, scan->values);
}

// A table, or one of the partitions or children of the one that is attached, whose columns may stand in another order.
void read_table(Scan* scan, Relation table, TupleDesc layout) {
    TupleTableSlot* own = table_slot_create(table, nullptr);
    TupleConversionMap* map = convert_tuples_by_name(RelationGetDescr(table), layout);
    TupleTableSlot* converted = map == nullptr ? nullptr : MakeSingleTupleTableSlot(layout, &TTSOpsVirtual);
    TableScanDesc rows = table_beginscan(table, scan->snapshot, 0, nullptr);
    while (table_scan_getnextslot(rows, ForwardScanDirection, own)) {
        CHECK_FOR_INTERRUPTS();
        read_into_sort(scan, map == nullptr ? own : execute_attr_map_slot(map->attrMap, own, converted));
    }
    table_endscan(rows);
    ExecDropSingleTupleTableSlot(own);
    if (converted != nullptr) ExecDropSingleTupleTableSlot(converted);
}

void read_tables(Scan* scan) {
    Relation attached = relation_open(scan->source->relation, AccessShareLock);
    TupleDesc layout = CreateTupleDescCopy(RelationGetDescr(attached));
    relation_close(attached, NoLock);
    ListCell* c;
    foreach (c, find_all_inheritors(scan->source->relation, AccessShareLock, nullptr)) {
        Relation table = relation_open(lfirst_oid(c), NoLock);
        if (table->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
            ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is a foreign table", RelationGetRelationName(table)),
                    errhint("Attach without backfill, or detach this partition."));
        bool holds_rows = table->rd_rel->relkind == RELKIND_RELATION && !RELATION_IS_OTHER_TEMP(table);
        if (holds_rows) read_table(scan, table, layout);
        relation_close(table, NoLock);
    }
}

}  // namespace

History* open_history(Source* source, Snapshot snapshot, const std::string_view* after, MemoryContext context, bool across_transactions) {
    pg::fault_point("backfill.read");
    customer::current_shop();
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle backfill", ALLOCSET_DEFAULT_SIZES);
    TupleDesc layout = layout_of(*source->kind);
    Scan scan{source, snapshot, after, Reader{source, memory, {}, {}, nullptr, 0}, begin_sort(layout, key_field(*source)),
              MakeSingleTupleTableSlot(layout, &TTSOpsVirtual), 0, 0};
    // The types of the table's columns may run code of its owner where a bad row is written down.
    pg::as_owner_of(source->relation, [&] { read_tables(&scan); });
    reset(&scan);
    tuplesort_performsort(scan.sort);

    MemoryContext caller = MemoryContextSwitchTo(context);
    auto* history = static_cast<History*>(palloc0(sizeof(History)));
    history->context = context;
    history->values = tuplestore_begin_heap(false, across_transactions, maintenance_work_mem);
    history->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(layout), &TTSOpsMinimalTuple);
    MemoryContextSwitchTo(caller);
    history->rows = scan.rows;
    history->left = scan.counted;
    while (tuplesort_gettupleslot(scan.sort, true, false, history->slot, nullptr)) {
        CHECK_FOR_INTERRUPTS();
        tuplestore_puttupleslot(history->values, history->slot);
    }
    ExecClearTuple(history->slot);
    tuplesort_end(scan.sort);
    ExecDropSingleTupleTableSlot(scan.values);
    MemoryContextDelete(memory);
    return history;
}

int64 read_history(History* history, Reader* reader, int64 wanted, std::string_view* last_key) {
    int64 rows = 0;
    size_t fields = reader->source->fields.size;
    int key = key_field(*reader->source);
    MemoryContext caller = MemoryContextSwitchTo(history->context);
    for (;;) {
        if (!history->ahead) history->ahead = tuplestore_gettupleslot(history->values, true, true, history->slot);
        if (!history->ahead) break;
        slot_getallattrs(history->slot);
        bool another = rows == 0 || pg::view(history->slot->tts_values[key]) != *last_key;
        if (rows >= wanted && another) break;
        Values v;
        for (size_t i = 0; i < fields; ++i) {
            v.values[i] = history->slot->tts_values[i];
            v.nulls[i] = history->slot->tts_isnull[i];
        }
        MemoryContextSwitchTo(reader->context);
        if (another) *last_key = pg::view(pg::to_text(pg::view(v.values[key])));
        Verdict verdict = read_values(reader, v, false);
        if (verdict.message != nullptr) ereport(ERROR, errcode(verdict.sqlstate), errmsg("%s", verdict.message));
        MemoryContextSwitchTo(history->context);
        history->ahead = false;
        ++rows;
    }
    MemoryContextSwitchTo(caller);
    history->left -= rows;
    return rows;
}

void close_history(History* history) { tuplestore_end(history->values); }

}  // namespace lifecycle::source
