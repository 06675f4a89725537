#include "pg/versions.hpp"

#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

// By how much a row may grow from one version to the next and still find room on a page that is not crowded.
constexpr Size kGrowth = 128;

Buffer read_page(Relation table, const ItemPointerData* tid) {
    Buffer page = ReadBuffer(table, ItemPointerGetBlockNumber(tid));
    LockBuffer(page, BUFFER_LOCK_SHARE);
    return page;
}

bool begins_with(Relation table, HeapTuple row, std::string_view text) {
    bool null;
    Datum first = heap_getattr(row, 1, RelationGetDescr(table), &null);
    const void* found = DatumGetPointer(first);
    return !VARATT_IS_EXTENDED(found) || VARATT_IS_SHORT(found) ? view(first) == text : false;  // not with a page locked
}

// What is wanted of a row, or nullptr.
struct Wanted {
    HeapTuple* copy;
    Holder* holder;
    const std::string_view* text;
};

Found visit(Relation table, ItemPointer tid, Snapshot snapshot, Wanted wanted) {
    Buffer buffer = read_page(table, tid);
    HeapTupleData row;
    bool seen = heap_hot_search_buffer(tid, table, buffer, snapshot, &row, nullptr, true);
    // Rows of a table that keeps no room for their next versions come and go; what is gone is left to VACUUM.
    bool changes = RelationGetFillFactor(table, HEAP_DEFAULT_FILLFACTOR) < HEAP_DEFAULT_FILLFACTOR;
    bool crowded = seen && changes && PageGetHeapFreeSpace(BufferGetPage(buffer)) < row.t_len + kGrowth;
    if (seen && wanted.text != nullptr) seen = begins_with(table, &row, *wanted.text);
    if (seen && wanted.copy != nullptr) *wanted.copy = heap_copytuple(&row);
    bool held = seen && wanted.holder != nullptr && is_held(&row, wanted.holder);
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    if (crowded) heap_page_prune_opt(table, buffer);  // what the snapshot sees stays where it is
    ReleaseBuffer(buffer);
    return !seen ? Found::none : held ? Found::held : Found::free;
}

bool row_has(HeapTuple row, TupleDesc layout, std::span<const Datum> values) {
    Datum found[MaxHeapAttributeNumber];
    bool nulls[MaxHeapAttributeNumber];
    heap_deform_tuple(row, layout, found, nulls);
    for (int i = 0; i < static_cast<int>(values.size()); ++i) {
        Form_pg_attribute column = TupleDescAttr(layout, i);
        if (nulls[i]) return false;
        if (column->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(found[i]))) return false;  // not with a page locked
        if (!datum_image_eq(found[i], values[static_cast<size_t>(i)], column->attbyval, column->attlen)) return false;
    }
    return true;
}

}  // namespace

bool is_held(HeapTuple row, Holder* holder) {
    constexpr uint16 kFreeOrShared = HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED | HEAP_XMAX_IS_MULTI;
    uint16 flags = row->t_data->t_infomask;
    if ((flags & kFreeOrShared) != 0 || HEAP_XMAX_IS_KEYSHR_LOCKED(flags)) return false;
    TransactionId xmax = HeapTupleHeaderGetRawXmax(row->t_data);
    if (TransactionIdEquals(xmax, holder->last)) return true;
    if (TransactionIdIsCurrentTransactionId(xmax) || !TransactionIdIsInProgress(xmax)) return false;
    holder->last = xmax;
    return true;
}

HeapTupleData row_on(Relation table, Buffer page, OffsetNumber place) {
    Page content = BufferGetPage(page);
    ItemId id = PageGetItemId(content, place);
    HeapTupleData row{.t_len = ItemIdGetLength(id), .t_self = {}, .t_tableOid = RelationGetRelid(table),
                      .t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(content, id))};
    ItemPointerSet(&row.t_self, BufferGetBlockNumber(page), place);
    return row;
}

bool may_be_there(const ItemPointerData& tid, BlockNumber pages) {
    return ItemPointerIsValid(&tid) && ItemPointerGetBlockNumber(&tid) < pages && ItemPointerGetOffsetNumber(&tid) <= MaxHeapTuplesPerPage;
}

bool find_version(Relation table, ItemPointer tid, Snapshot snapshot) { return visit(table, tid, snapshot, {}) != Found::none; }

Found find_free_version(Relation table, ItemPointer tid, Snapshot snapshot, Holder* holder, const std::string_view* text) {
    return visit(table, tid, snapshot, {.copy = nullptr, .holder = holder, .text = text});
}

HeapTuple read_version(Relation table, ItemPointerData tid, Snapshot snapshot) {
    HeapTuple copy = nullptr;
    visit(table, &tid, snapshot, {.copy = &copy, .holder = nullptr, .text = nullptr});
    return copy;
}

bool has_values(Relation table, ItemPointer tid, std::span<const Datum> values, Snapshot snapshot) {
    TupleDesc layout = RelationGetDescr(table);
    if (layout->natts < static_cast<int>(values.size())) return false;
    Buffer buffer = read_page(table, tid);
    Page page = BufferGetPage(buffer);
    OffsetNumber place = ItemPointerGetOffsetNumber(tid);
    bool same = place <= PageGetMaxOffsetNumber(page) && ItemIdIsNormal(PageGetItemId(page, place));
    if (same) {
        HeapTupleData row = row_on(table, buffer, place);
        same = (snapshot == InvalidSnapshot || HeapTupleSatisfiesVisibility(&row, snapshot, buffer)) && row_has(&row, layout, values);
    }
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    ReleaseBuffer(buffer);
    return same;
}

ItemPointerData head_of(Relation table, ItemPointerData tid) {
    Buffer buffer = read_page(table, &tid);
    OffsetNumber heads[MaxHeapTuplesPerPage];
    heap_get_root_tuples(BufferGetPage(buffer), heads);
    OffsetNumber head = heads[ItemPointerGetOffsetNumber(&tid) - 1];
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    ReleaseBuffer(buffer);
    ItemPointerSetOffsetNumber(&tid, head);
    return tid;
}

}  // namespace lifecycle::pg
