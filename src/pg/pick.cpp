#include "pg/pick.hpp"

#include "pg/table.hpp"
#include "pg/versions.hpp"

namespace lifecycle::pg {

namespace {

constexpr int kLooks = 3;

struct Search {
    Rows* rows;
    Relation index;
    BTScanInsert key;
    Snapshot snapshot;
    // The leaf that is being read, as it was then.
    BlockNumber leaf;
    XLogRecPtr state;
    bool barren;  // no row that we know of will ever come from it
    BlockNumber next;
    Array<ItemPointerData> entries;
    size_t done;
    Buffer page;           // of the table
    Holder holder;
    TupleTableSlot* head;  // empty: there is no more
};

bool is_on(Relation index, std::span<const AttrNumber> columns) {
    const FormData_pg_index* form = index->rd_index;
    if (!form->indisvalid || index->rd_rel->relam != BTREE_AM_OID || form->indnkeyatts < static_cast<int>(columns.size())) return false;
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

// A queue leaves dead entries where its next row is looked for, and the server gets rid of them only once no snapshot is old enough to see the
// rows, and with asynchronous commit not before the log is on disk. Until then every search would go to the table for each of them. A leaf whose
// rows have all gone for good stays barren until something is written on it, which its LSN tells. It is remembered by this session, which saves
// others nothing but needs no lock.
struct Leaf {
    Oid file;
    BlockNumber block;
};

struct BarrenLeaf {
    Leaf leaf;
    XLogRecPtr state;
};

constexpr long kLeavesRemembered = 8192;
HTAB* barren_leaves = nullptr;

Leaf leaf_of(const Search& s) { return {s.index->rd_rel->relfilenode, s.leaf}; }

// Where changes of a page leave no trace in its LSN nothing is believed, nor is it by transactions that see the past.
bool leaves_traces(const Search& s) {
    return RelationNeedsWAL(s.index) && !XLogRecPtrIsInvalid(s.state) && !IsolationUsesXactSnapshot();
}

bool is_barren(const Search& s) {
    if (barren_leaves == nullptr || !leaves_traces(s)) return false;
    Leaf leaf = leaf_of(s);
    auto* known = static_cast<const BarrenLeaf*>(hash_search(barren_leaves, &leaf, HASH_FIND, nullptr));
    return known != nullptr && known->state == s.state;
}

void remember_barren(const Search& s) {
    if (!leaves_traces(s)) return;
    if (barren_leaves != nullptr && hash_get_num_entries(barren_leaves) >= kLeavesRemembered) {
        hash_destroy(barren_leaves);
        barren_leaves = nullptr;
    }
    if (barren_leaves == nullptr) {
        HASHCTL control{};
        control.keysize = sizeof(Leaf);
        control.entrysize = sizeof(BarrenLeaf);
        barren_leaves = hash_create("barren leaves of pg_lifecycle", 256, &control, HASH_ELEM | HASH_BLOBS);
    }
    Leaf leaf = leaf_of(s);
    static_cast<BarrenLeaf*>(hash_search(barren_leaves, &leaf, HASH_ENTER, nullptr))->state = s.state;
}

// Whether what began here has been deleted, by a transaction that has committed, or was never there: nobody's rollback brings it back.
bool has_gone(Relation table, Buffer buffer, ItemPointerData tid) {
    Page page = BufferGetPage(buffer);
    OffsetNumber place = ItemPointerGetOffsetNumber(&tid);
    for (;;) {
        if (place < FirstOffsetNumber || place > PageGetMaxOffsetNumber(page)) return true;
        ItemId id = PageGetItemId(page, place);
        if (ItemIdIsRedirected(id)) {
            place = static_cast<OffsetNumber>(ItemIdGetRedirect(id));
            continue;
        }
        if (!ItemIdIsNormal(id)) return true;
        HeapTupleData version = row_on(table, buffer, place);
        TransactionId dead_after;
        HTSV_Result fate = HeapTupleSatisfiesVacuumHorizon(&version, buffer, &dead_after);
        if (fate != HEAPTUPLE_DEAD && fate != HEAPTUPLE_RECENTLY_DEAD) return false;
        if (!HeapTupleIsHotUpdated(&version)) return true;
        place = ItemPointerGetOffsetNumber(&version.t_data->t_ctid);
    }
}

// Whether the snapshot sees a row here that is to be had; if so, it is at the head.
bool visit(Search& s, ItemPointerData tid) {
    Relation table = s.rows->relation;
    BlockNumber block = ItemPointerGetBlockNumber(&tid);
    if (!BufferIsValid(s.page) || BufferGetBlockNumber(s.page) != block) {
        s.page = ReleaseAndReadBuffer(s.page, table, block);
        heap_page_prune_opt(table, s.page);
    }
    LockBuffer(s.page, BUFFER_LOCK_SHARE);
    HeapTuple row = &reinterpret_cast<BufferHeapTupleTableSlot*>(s.head)->base.tupdata;
    ItemPointerData version = tid;
    bool found = heap_hot_search_buffer(&version, table, s.page, s.snapshot, row, nullptr, true);
    s.barren = s.barren && !found && has_gone(table, s.page, tid);
    bool free = found && !is_held(row, &s.holder);
    LockBuffer(s.page, BUFFER_LOCK_UNLOCK);
    if (free) ExecStoreBufferHeapTuple(row, s.head, s.page);
    return free;
}

// Negative: what is looked for lies before the entry.
int32 compare(const Search& s, Page page, OffsetNumber entry) { return _bt_compare(s.index, s.key, page, entry); }

// The first entry with which the text compares as less than `bound`.
OffsetNumber first_entry(const Search& s, Page page, int32 bound) {
    OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
    auto high = static_cast<OffsetNumber>(PageGetMaxOffsetNumber(page) + 1);
    while (low < high) {
        auto middle = static_cast<OffsetNumber>(low + (high - low) / 2);
        if (compare(s, page, middle) >= bound) {
            low = static_cast<OffsetNumber>(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

void add_entry(Search& s, const Picking& picking, Page page, OffsetNumber entry) {
    ItemId id = PageGetItemId(page, entry);
    if (ItemIdIsDead(id)) return;
    auto* tuple = reinterpret_cast<IndexTuple>(PageGetItem(page, id));
    bool null;
    Datum instant = index_getattr(tuple, static_cast<int>(picking.index.size()), RelationGetDescr(s.index), &null);
    if (null || DatumGetTimestampTz(instant) > picking.until) {
        s.barren = false;
    } else if (!BTreeTupleIsPosting(tuple)) {
        s.entries.push(tuple->t_tid);
    } else {
        for (int i = 0; i < BTreeTupleGetNPosting(tuple); ++i) s.entries.push(*BTreeTupleGetPostingN(tuple, i));
    }
}

void read_leaf(Search& s, const Picking& picking, Buffer buffer) {
    Page page = BufferGetPage(buffer);
    BTPageOpaque opaque = BTPageGetOpaque(page);
    s.leaf = BufferGetBlockNumber(buffer);
    s.state = BufferGetLSNAtomic(buffer);
    s.next = P_RIGHTMOST(opaque) ? P_NONE : opaque->btpo_next;
    PredicateLockPage(s.index, s.leaf, s.snapshot);
    OffsetNumber first = P_FIRSTDATAKEY(opaque), last = PageGetMaxOffsetNumber(page);
    if (P_IGNORE(opaque) || first > last || is_barren(s)) return;
    int32 at_end = compare(s, page, last);
    if (at_end > 0) return;
    OffsetNumber from = first_entry(s, page, 1);
    auto to = at_end == 0 ? static_cast<OffsetNumber>(last + 1) : first_entry(s, page, 0);
    if (at_end < 0) s.next = P_NONE;
    s.barren = from == first && to > last;
    for (; from < to; ++from) add_entry(s, picking, page, from);
}

bool read_next_leaf(Search& s, const Picking& picking) {
    for (;;) {
        if (s.barren) remember_barren(s);
        s.barren = false;
        s.entries.clear();
        s.done = 0;
        if (s.next == P_NONE) return false;
        Buffer buffer = _bt_getbuf(s.index, s.next, BT_READ);
        read_leaf(s, picking, buffer);
        _bt_relbuf(s.index, buffer);
        if (!s.entries.empty()) return true;
        CHECK_FOR_INTERRUPTS();
    }
}

void go_on(Search& s, const Picking& picking) {
    do {
        while (s.done < s.entries.size) {
            if (visit(s, s.entries[s.done++]) && picking.wanted(s.head, picking.arg)) return;
        }
    } while (read_next_leaf(s, picking));
    ExecClearTuple(s.head);
}

Search begin(Rows* rows, const Picking& picking, Snapshot snapshot) {
    Search s{.rows = rows,
             .index = find_index(rows->relation, picking.index),
             .key = nullptr,
             .snapshot = snapshot,
             .leaf = InvalidBlockNumber,
             .state = InvalidXLogRecPtr,
             .barren = false,
             .next = P_NONE,
             .entries = {},
             .done = 0,
             .page = InvalidBuffer,
             .holder = {},
             .head = MakeSingleTupleTableSlot(RelationGetDescr(rows->relation), &TTSOpsBufferHeapTuple)};
    s.key = _bt_mkscankey(s.index, nullptr);
    s.key->keysz = 1;
    s.key->anynullkeys = false;
    s.key->scankeys[0].sk_flags &= ~SK_ISNULL;
    s.key->scankeys[0].sk_argument = picking.text;
    pgstat_count_index_scan(s.index);
    Buffer buffer = search_leaf(rows->relation, s.index, s.key, snapshot, BT_READ);
    if (buffer == InvalidBuffer) {
        PredicateLockRelation(s.index, snapshot);
    } else {
        read_leaf(s, picking, buffer);
        _bt_relbuf(s.index, buffer);
    }
    go_on(s, picking);
    return s;
}

void end(Search& s) {
    ExecDropSingleTupleTableSlot(s.head);
    if (BufferIsValid(s.page)) ReleaseBuffer(s.page);
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
