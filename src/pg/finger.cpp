#include "pg/finger.hpp"

#include "pg/entries.hpp"
#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

// How the key compares with an entry; negative: it lies before it.
int32 compare(const Finger& f, Page page, OffsetNumber entry) {
    auto* tuple = reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, entry)));
    bool same;
    int order = compare_first(f.first, tuple, &same);
    if (order != 0 || (same && f.key->keysz == 1 && !BTreeTupleIsPivot(tuple))) return order;
    return _bt_compare(f.index, f.key, page, entry);
}

// Whether all entries of the key are on this page, if there are any. The page may have become anything since it was left.
bool covers(const Finger& f, Page page) {
    BTPageOpaque opaque = BTPageGetOpaque(page);
    if (!P_ISLEAF(opaque) || P_IGNORE(opaque) || P_FIRSTDATAKEY(opaque) > PageGetMaxOffsetNumber(page)) return false;
    return (P_RIGHTMOST(opaque) || compare(f, page, P_HIKEY) < 0) && compare(f, page, P_FIRSTDATAKEY(opaque)) > 0;
}

// The page itself, or the one to its right where the key lies behind its bounds: it may have been split since its parent was read.
Buffer move_right(const Finger& f, Buffer buffer) {
    for (;;) {
        Page page = BufferGetPage(buffer);
        check_age(f.snapshot, f.index, page);
        BTPageOpaque opaque = BTPageGetOpaque(page);
        if (!P_IGNORE(opaque) && (P_RIGHTMOST(opaque) || compare(f, page, P_HIKEY) <= 0)) return buffer;
        if (P_RIGHTMOST(opaque)) elog(ERROR, "fell off the end of index \"%s\"", RelationGetRelationName(f.index));
        buffer = _bt_relandgetbuf(f.index, buffer, opaque->btpo_next, BT_READ);
    }
}

// The first entry from `low` on that does not lie before the key.
OffsetNumber first_from(const Finger& f, Page page, OffsetNumber low) {
    auto high = static_cast<OffsetNumber>(PageGetMaxOffsetNumber(page) + 1);
    while (low < high) {
        auto middle = static_cast<OffsetNumber>(low + (high - low) / 2);
        if (compare(f, page, middle) > 0) {
            low = static_cast<OffsetNumber>(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

// The last entry of an inner page that lies before the key: entries of the key begin below it. The first of a page lies before everything.
BlockNumber child(const Finger& f, Page page) {
    OffsetNumber behind = first_from(f, page, static_cast<OffsetNumber>(P_FIRSTDATAKEY(BTPageGetOpaque(page)) + 1));
    return BTreeTupleGetDownLink(reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, OffsetNumberPrev(behind)))));
}

// As _bt_search() does for a reader, but for the way in which keys are compared.
Buffer descend(const Finger& f) {
    Buffer buffer = root_of(f.table->relation, f.index);
    while (buffer != InvalidBuffer) {
        buffer = move_right(f, buffer);
        Page page = BufferGetPage(buffer);
        if (P_ISLEAF(BTPageGetOpaque(page))) break;
        buffer = _bt_relandgetbuf(f.index, buffer, child(f, page), BT_READ);
    }
    return buffer;
}

// A page on which the key's entries begin, if there are any, locked for reading; InvalidBuffer: the index is empty.
Buffer find_leaf(Finger& f) {
    if (f.leaf != InvalidBlockNumber) {
        Buffer buffer = _bt_getbuf(f.index, f.leaf, BT_READ);
        if (covers(f, BufferGetPage(buffer))) return buffer;
        _bt_relbuf(f.index, buffer);
    }
    Buffer buffer = descend(f);
    f.leaf = buffer == InvalidBuffer ? InvalidBlockNumber : BufferGetBlockNumber(buffer);
    f.next = InvalidOffsetNumber;
    return buffer;
}

// The first entry that does not lie before the key.
OffsetNumber first_entry(const Finger& f, Page page) {
    OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(page));
    if (f.next > low && f.next <= PageGetMaxOffsetNumber(page) && compare(f, page, static_cast<OffsetNumber>(f.next - 1)) > 0) {
        low = f.next;
        if (compare(f, page, low) <= 0) return low;
        ++low;
    }
    return first_from(f, page, low);
}

void note_entry(Finger& f, Page page, OffsetNumber entry) {
    ItemId id = PageGetItemId(page, entry);
    if (ItemIdIsDead(id)) return;
    auto* tuple = reinterpret_cast<IndexTuple>(PageGetItem(page, id));
    if (!BTreeTupleIsPosting(tuple)) {
        f.found.push(tuple->t_tid);
        return;
    }
    for (int i = 0; i < BTreeTupleGetNPosting(tuple); ++i) f.found.push(*BTreeTupleGetPostingN(tuple, i));
}

// Where the rows with this key lie. Nothing stays locked: the rows are looked at with a snapshot that does not see what may come to lie there.
void look_up(Finger& f, std::span<const Datum> key) {
    f.found.clear();
    f.key->keysz = static_cast<int>(key.size());
    for (size_t i = 0; i < key.size(); ++i) {
        f.key->scankeys[i].sk_argument = key[i];
        f.key->scankeys[i].sk_flags &= ~SK_ISNULL;
    }
    f.first = first_column(f.kind, f.kind == FirstColumn::Kind::bytes ? view(key[0]) : std::string_view{}, key[0]);
    pgstat_count_index_scan(f.index);
    Buffer buffer = find_leaf(f);
    if (buffer == InvalidBuffer) {
        PredicateLockRelation(f.index, f.snapshot);
        return;
    }
    PredicateLockPage(f.index, BufferGetBlockNumber(buffer), f.snapshot);
    Page page = BufferGetPage(buffer);
    OffsetNumber entry = first_entry(f, page);
    for (;;) {
        for (; entry <= PageGetMaxOffsetNumber(page) && compare(f, page, entry) == 0; ++entry) note_entry(f, page, entry);
        BTPageOpaque opaque = BTPageGetOpaque(page);
        if (entry <= PageGetMaxOffsetNumber(page) || P_RIGHTMOST(opaque) || compare(f, page, P_HIKEY) < 0) break;
        do {
            buffer = _bt_relandgetbuf(f.index, buffer, opaque->btpo_next, BT_READ);
            page = BufferGetPage(buffer);
            opaque = BTPageGetOpaque(page);
        } while (P_IGNORE(opaque) && !P_RIGHTMOST(opaque));
        PredicateLockPage(f.index, BufferGetBlockNumber(buffer), f.snapshot);
        entry = P_FIRSTDATAKEY(opaque);
    }
    f.leaf = BufferGetBlockNumber(buffer);
    f.next = entry;
    _bt_relbuf(f.index, buffer);
}

}  // namespace

Finger point(TableWriter* table, Snapshot snapshot) {
    Relation index = primary_key_of(table);
    BTScanInsert key = _bt_mkscankey(index, nullptr);
    key->anynullkeys = false;
    return {table, index, snapshot, key, first_column_of(index, key), {}, InvalidBlockNumber, InvalidOffsetNumber, {}, {}};
}

bool find_row(Finger& f, std::span<const Datum> key, ItemPointer tid) {
    look_up(f, key);
    for (const ItemPointerData& head : f.found) {
        *tid = head;
        if (find_version(f.table->relation, tid, f.snapshot)) return true;
    }
    return false;
}

HeapTuple read_row(Finger& f, Datum key, bool* certain) {
    look_up(f, {&key, 1});
    *certain = f.found.empty();
    for (const ItemPointerData& tid : f.found) {
        if (HeapTuple row = read_version(f.table->relation, tid, f.snapshot)) return row;
    }
    return nullptr;
}

void read_rows(Finger& f, Datum key, Array<HeapTuple>* rows) {
    look_up(f, {&key, 1});
    for (const ItemPointerData& tid : f.found) {
        if (HeapTuple row = read_version(f.table->relation, tid, f.snapshot)) rows->push(row);
    }
}

void remove_rows(TableWriter* w, std::span<const Doomed> doomed) {
    if (doomed.empty()) return;
    Snapshot snapshot = RegisterSnapshot(present());
    Finger finger = point(w, snapshot);
    BlockNumber pages = RelationGetNumberOfBlocks(w->relation);
    for (const Doomed& row : doomed) {
        if (may_be_there(*row.place, pages) && remove_same(w, row.place, row.values, snapshot)) {
            ItemPointerSetInvalid(row.place);
            continue;
        }
        ItemPointerData tid;
        if (find_row(finger, {row.values, 2}, &tid)) remove(w, &tid);
    }
    UnregisterSnapshot(snapshot);
}

namespace {

HeapTuple lock_version(Finger& f, ItemPointer tid) {
    TableWriter* w = f.table;
    if (w->found == nullptr) w->found = table_slot_create(w->relation, nullptr);
    TM_FailureData failure;
    TM_Result result = table_tuple_lock(w->relation, tid, f.snapshot, w->found, GetCurrentCommandId(false), LockTupleNoKeyExclusive, LockWaitSkip,
                                        IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
        ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("could not serialize access due to concurrent update"));
    HeapTuple locked = nullptr;
    if (result == TM_Ok) {
        locked = ExecCopySlotHeapTuple(w->found);
        locked->t_self = w->found->tts_tid;
    }
    ExecClearTuple(w->found);
    return locked;
}

}  // namespace

HeapTuple lock_unless_held(Finger& f, Datum key, ItemPointer head) {
    TableWriter* w = f.table;
    std::string_view text = view(key);
    ItemPointerData tid = *head;
    // Where many are due, another session is at work on some of them.
    Found found = ItemPointerIsValid(head) ? find_free_version(w->relation, &tid, f.snapshot, &f.holder, &text) : Found::none;
    f.found.clear();
    if (found != Found::none) {
        f.found.push(*head);
    } else {
        look_up(f, {&key, 1});
    }
    for (size_t i = 0; found == Found::none && i < f.found.size; ++i) {
        *head = tid = f.found[i];
        found = find_free_version(w->relation, &tid, f.snapshot, &f.holder);
    }
    return found == Found::free ? lock_version(f, &tid) : nullptr;
}

}  // namespace lifecycle::pg
