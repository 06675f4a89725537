#include "pg/queue.hpp"

#include "pg/entries.hpp"

namespace lifecycle::pg {

namespace {

constexpr size_t kHalfway = Queue::kAhead / 2;

ItemPointerData place_in(const TupleTableSlot* slot, int column) {
    ItemPointerData nowhere;
    ItemPointerSetInvalid(&nowhere);
    if (column >= slot->tts_tupleDescriptor->natts || slot->tts_isnull[column]) return nowhere;
    return *item_pointer(slot->tts_values[column]);
}

Queued read_row(Queue& queue) {
    TupleTableSlot* slot = queue.slot;
    slot_getallattrs(slot);
    auto* row = reinterpret_cast<BufferHeapTupleTableSlot*>(slot);
    LockBuffer(row->buffer, BUFFER_LOCK_SHARE);
    bool held = is_held(row->base.tuple, &queue.holder);
    LockBuffer(row->buffer, BUFFER_LOCK_UNLOCK);
    return {DatumGetTimestampTz(slot->tts_values[0]), datumCopy(slot->tts_values[1], false, -1), place_in(slot, 2), place_in(slot, 3), slot->tts_tid, held};
}

const ItemIdData* item_of(const Queue::Entry& entry, OffsetNumber place) { return PageGetItemId(BufferGetPage(entry.page), place); }

void send_for(const void* from, Size bytes) {
    auto* line = static_cast<const char*>(from);
    for (Size done = 0; done < bytes; done += PG_CACHE_LINE_SIZE / 2) __builtin_prefetch(line + done);
}

// What says where on its page the row lies.
void send_for_item(const Queue& queue, Queue::Entry* entry) {
    ItemPointer target = &entry->row.target;
    if (!may_be_there(*target, queue.target_pages)) {
        ItemPointerSetInvalid(target);
        return;
    }
    entry->page = ReadBuffer(queue.target, ItemPointerGetBlockNumber(target));
    send_for(BufferGetPage(entry->page), sizeof(PageHeaderData));
    send_for(item_of(*entry, ItemPointerGetOffsetNumber(target)), sizeof(ItemIdData));
}

// The row itself. What is read here is not locked: it may be wrong, and then it is for nothing.
void send_for_row(Queue::Entry* entry) {
    if (!BufferIsValid(entry->page)) return;
    ItemIdData item = *item_of(*entry, ItemPointerGetOffsetNumber(&entry->row.target));
    if (ItemIdIsRedirected(&item) && ItemIdGetRedirect(&item) <= MaxHeapTuplesPerPage) item = *item_of(*entry, ItemIdGetRedirect(&item));
    send_for(reinterpret_cast<const char*>(BufferGetPage(entry->page)) + ItemIdGetOffset(&item), ItemIdGetLength(&item));
    ReleaseBuffer(entry->page);
    entry->page = InvalidBuffer;
}

Queue::Entry& entry(Queue& queue, size_t number) { return queue.entries[number % Queue::kAhead]; }

void read_ahead(Queue& queue) {
    while (!queue.ended && queue.read < queue.taken + Queue::kAhead) {
        queue.ended = !index_getnext_slot(queue.scan, ForwardScanDirection, queue.slot);
        if (queue.ended) break;
        Queue::Entry& next = entry(queue, queue.read++);
        next = {read_row(queue), InvalidBuffer};
        send_for_item(queue, &next);
        if (queue.read > kHalfway) send_for_row(&entry(queue, queue.read - 1 - kHalfway));
    }
}

}  // namespace

Queue open_queue(TableWriter* table, Snapshot snapshot, TimestampTz after, Datum after_text, TimestampTz until, Relation target) {
    Relation index = primary_key_of(table);
    Queue queue{.scan = begin_index_scan(table->relation, index, snapshot, 2),
                .slot = table_slot_create(table->relation, nullptr),
                .target = target,
                .target_pages = RelationGetNumberOfBlocks(target),
                .holder = {},
                .ended = false,
                .read = 0,
                .taken = 0,
                .entries = {}};
    // (instant, text) > (after, after_text) is one condition, a row comparison, so that the scan begins there.
    auto* members = static_cast<ScanKey>(palloc0(2 * sizeof(ScanKeyData)));
    ScanKeyEntryInitialize(&members[0], SK_ROW_MEMBER, 1, BTGreaterStrategyNumber, InvalidOid, InvalidOid, F_TIMESTAMPTZ_CMP, TimestampTzGetDatum(after));
    ScanKeyEntryInitialize(&members[1], SK_ROW_MEMBER | SK_ROW_END, 2, BTGreaterStrategyNumber, InvalidOid, index->rd_indcollation[1], F_BTTEXTCMP, after_text);
    ScanKeyData keys[2] = {};
    keys[0].sk_flags = SK_ROW_HEADER;
    keys[0].sk_attno = 1;
    keys[0].sk_strategy = BTGreaterStrategyNumber;
    keys[0].sk_argument = PointerGetDatum(members);
    ScanKeyEntryInitialize(&keys[1], 0, 1, BTLessEqualStrategyNumber, InvalidOid, InvalidOid, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(until));
    index_rescan(queue.scan, keys, 2, nullptr, 0);
    return queue;
}

bool next_of(Queue& queue, Queued* queued) {
    if (queue.taken > 0) pfree(DatumGetPointer(queued->text));
    read_ahead(queue);
    if (queue.taken == queue.read) return false;
    Queue::Entry& next = entry(queue, queue.taken++);
    send_for_row(&next);  // if it was not, being among the last
    *queued = next.row;
    return true;
}

void close_queue(Queue& queue) {
    for (size_t n = queue.taken; n < queue.read; ++n) {
        if (BufferIsValid(entry(queue, n).page)) ReleaseBuffer(entry(queue, n).page);
    }
    index_endscan(queue.scan);
    ExecDropSingleTupleTableSlot(queue.slot);
}

}  // namespace lifecycle::pg
