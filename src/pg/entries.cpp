#include "pg/entries.hpp"

#include <algorithm>
#include <utility>

#include "pg/form.hpp"
#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

// Larger ones are rare, and whether they fit at all is the server's to say.
constexpr Size kLargestEntry = 1024;

// What the log takes for an entry that is written by itself, besides the entry.
constexpr Size kLogOverhead = 56;

// What is the same byte by byte is equal in any collation, and in an index of messages that is mostly so.
bool is_same_text(Oid type, Datum a, Datum b) { return type == TEXTOID && view(a) == view(b); }

int32 compare_column(const Leaves& l, int column, Datum a, Datum b) {
    const ScanKeyData& k = l.key->scankeys[column];
    if (a == b || is_same_text(l.index->rd_opcintype[column], a, b)) return 0;
    int32 order = DatumGetInt32(FunctionCall2Coll(const_cast<FmgrInfo*>(&k.sk_func), k.sk_collation, a, b));
    return (k.sk_flags & SK_BT_DESC) != 0 ? -order : order;
}

// Mostly the first column decides, and the way to its comparison function is several times as long as the comparison.
int32 compare_first(const Leaves& l, const NewEntry& a, const NewEntry& b) {
    switch (l.kind) {
        case FirstColumn::Kind::bytes: return a.first.text.compare(b.first.text);
        case FirstColumn::Kind::number: return order_of(a.first.number, b.first.number);
        default: return compare_column(l, 0, a.first_value, b.first_value);
    }
}

int32 compare_keys(const Leaves& l, const NewEntry& a, const NewEntry& b) {
    int32 order = compare_first(l, a, b);
    TupleDesc layout = RelationGetDescr(l.index);
    for (int i = 1; order == 0 && i < IndexRelationGetNumberOfKeyAttributes(l.index); ++i) {
        bool null;
        Datum x = index_getattr(a.tuple, i + 1, layout, &null);
        Datum y = index_getattr(b.tuple, i + 1, layout, &null);
        order = compare_column(l, i, x, y);
    }
    return order;
}

// Those that are left to the server come last.
bool precedes(const Leaves& l, const NewEntry& a, const NewEntry& b) {
    if (a.tuple == nullptr || b.tuple == nullptr) return a.tuple != nullptr && b.tuple == nullptr;
    int32 order = compare_keys(l, a, b);
    return order != 0 ? order < 0 : ItemPointerCompare(const_cast<ItemPointer>(a.tids), const_cast<ItemPointer>(b.tids)) < 0;
}

// Where rows have unique keys, their place among equal ones is no question: there must not be any.
void aim_at(const Leaves& l, const NewEntry& e, size_t row) {
    TupleDesc layout = RelationGetDescr(l.index);
    l.key->scankeys[0].sk_argument = e.first_value;
    for (int i = 1; i < l.key->keysz; ++i) {
        bool null;
        l.key->scankeys[i].sk_argument = index_getattr(e.tuple, i + 1, layout, &null);
    }
    l.key->scantid = l.unique ? nullptr : const_cast<ItemPointer>(&e.tids[row]);
}

// How an entry that was aimed at compares with one on a page.
int32 compare_at(const Leaves& l, const NewEntry& e, Page page, OffsetNumber place) {
    bool same;
    int order = compare_first(e.first, reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, place))), &same);
    return order != 0 ? order : _bt_compare(l.index, l.key, page, place);
}

// The first entry from `low` on that does not lie before the one aimed at; `equal`: it is the same.
OffsetNumber find_place(const Leaves& l, const NewEntry& e, Page page, OffsetNumber low, bool* equal) {
    auto high = static_cast<OffsetNumber>(PageGetMaxOffsetNumber(page) + 1);
    *equal = false;
    OffsetNumber middle = low;  // mostly the one that the entry before has found
    while (low < high) {
        int32 order = compare_at(l, e, page, middle);
        if (order == 0) *equal = true;
        if (order > 0) {
            low = static_cast<OffsetNumber>(middle + 1);
        } else {
            high = middle;
        }
        middle = static_cast<OffsetNumber>(low + (high - low) / 2);
    }
    return low;
}

// What is to be added to a page, and where.
struct Addition {
    IndexTuple tuple;
    OffsetNumber place;
    size_t rows;
};

struct Run {
    Array<Addition> additions;
    Size bytes = 0;   // what they take up there
    size_t rows = 0;  // whose they are
};

// How many rows of the same key one entry can take.
size_t most_rows(Size size, size_t rows, Size room) {
    Size list = MAXALIGN_DOWN(Min(room, kLargestEntry));
    return list < size + 2 * sizeof(ItemPointerData) ? 1 : Min(rows, (list - size) / sizeof(ItemPointerData));
}

// Whether nothing on the page comes before the row that is aimed at, from that place on.
bool comes_next(const Leaves& l, const NewEntry& e, Page page, OffsetNumber place) {
    if (!P_RIGHTMOST(BTPageGetOpaque(page)) && compare_at(l, e, page, P_HIKEY) >= 0) return false;
    return place > PageGetMaxOffsetNumber(page) || compare_at(l, e, page, place) < 0;
}

// An entry of as many of the rows, from `row` on, as find room behind what the run has already; none: the server has to see to them.
Addition fit(const Leaves& l, Page page, const NewEntry& e, size_t row, OffsetNumber place, Size room) {
    constexpr Addition kNone{nullptr, 0, 0};
    if (e.tuple == nullptr || MAXALIGN(IndexTupleSize(e.tuple)) > room) return kNone;
    bool rightmost = P_RIGHTMOST(BTPageGetOpaque(page));
    bool at_end = place > PageGetMaxOffsetNumber(page);
    if (!at_end || !rightmost) aim_at(l, e, row);
    // What would be the same as the upper bound may lie on the next page.
    if (!rightmost && compare_at(l, e, page, P_HIKEY) >= 0) return kNone;
    bool equal = false;
    if (!at_end) place = find_place(l, e, page, place, &equal);
    if (equal) return kNone;
    size_t rows = most_rows(IndexTupleSize(e.tuple), e.rows - row, room);
    if (rows > 1 && (!at_end || !rightmost)) {
        aim_at(l, e, row + rows - 1);
        if (!comes_next(l, e, page, place)) rows = 1;
    }
    bool as_it_is = rows == 1 && row == 0;
    return {as_it_is ? e.tuple : _bt_form_posting(e.tuple, const_cast<ItemPointer>(&e.tids[row]), static_cast<int>(rows)), place, rows};
}

Run find_run(const Leaves& l, Page page, std::span<const NewEntry> entries) {
    Run run;
    Size room = PageGetFreeSpace(page);
    OffsetNumber place = P_FIRSTDATAKEY(BTPageGetOpaque(page));
    for (const NewEntry& e : entries) {
        if (l.unique && !run.additions.empty() && compare_keys(l, (&e)[-1], e) == 0) break;
        for (size_t row = 0; row < e.rows;) {
            Addition item = fit(l, page, e, row, place, room);
            if (item.tuple == nullptr) return run;
            place = item.place;
            row += item.rows;
            run.rows += item.rows;
            Size size = MAXALIGN(IndexTupleSize(item.tuple)) + sizeof(ItemIdData);
            run.bytes += size;
            room -= Min(room, size);
            run.additions.push(item);
        }
    }
    return run;
}

// Whether the log had better get the page as it is then; entry by entry must not be much less.
bool is_page_worth_logging(const Run& run, Page page) {
    Size used = BLCKSZ - PageGetExactFreeSpace(page) + run.bytes;
    return 2 * (run.bytes + run.additions.size * kLogOverhead) >= used;
}

void add(const Leaves& l, Page page, IndexTuple tuple, OffsetNumber place) {
    if (PageAddItem(page, reinterpret_cast<Item>(tuple), IndexTupleSize(tuple), place, false, false) == InvalidOffsetNumber)
        elog(PANIC, "could not add an entry to a page of index \"%s\"", RelationGetRelationName(l.index));
}

// As the server does. A record may turn into an image of the page, which must not show what the records after it add.
void log_entry(Buffer buffer, IndexTuple tuple, OffsetNumber place) {
    xl_btree_insert record{.offnum = place};
    XLogBeginInsert();
    XLogRegisterData(reinterpret_cast<char*>(&record), SizeOfBtreeInsert);
    XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
    XLogRegisterBufData(0, reinterpret_cast<char*>(tuple), static_cast<int>(IndexTupleSize(tuple)));
    XLogRecPtr end = XLogInsert(RM_BTREE_ID, XLOG_BTREE_INSERT_LEAF);
    PageSetLSN(BufferGetPage(buffer), end);
}

void write(const Leaves& l, Buffer buffer, const Run& run) {
    CheckForSerializableConflictIn(l.index, nullptr, BufferGetBlockNumber(buffer));
    Page page = BufferGetPage(buffer);
    bool whole = is_page_worth_logging(run, page);
    bool logged = RelationNeedsWAL(l.index);
    START_CRIT_SECTION();
    MarkBufferDirty(buffer);
    for (size_t k = 0; k < run.additions.size; ++k) {
        auto place = static_cast<OffsetNumber>(run.additions[k].place + k);
        add(l, page, run.additions[k].tuple, place);
        if (logged && !whole) log_entry(buffer, run.additions[k].tuple, place);
    }
    if (logged && whole) log_newpage_buffer(buffer, true);
    END_CRIT_SECTION();
}

}  // namespace

FirstColumn::Kind first_column_of(Relation index, const BTScanInsertData* key) {
    if ((key->scankeys[0].sk_flags & SK_BT_DESC) != 0) return FirstColumn::Kind::other;
    if (begins_with_number(index)) return FirstColumn::Kind::number;
    bool bytes = index->rd_opcintype[0] == TEXTOID && index->rd_indcollation[0] == C_COLLATION_OID;
    return bytes ? FirstColumn::Kind::bytes : FirstColumn::Kind::other;
}

bool open_leaves(Relation table, Relation index, Leaves* leaves) {
    if (index->rd_rel->relam != BTREE_AM_OID) return false;
    BTScanInsert key = _bt_mkscankey(index, nullptr);
    _bt_metaversion(index, &key->heapkeyspace, &key->allequalimage);
    if (!key->heapkeyspace) return false;  // made before PostgreSQL 12, and upgraded ever since
    key->anynullkeys = false;
    key->keysz = IndexRelationGetNumberOfKeyAttributes(index);
    for (int i = 0; i < key->keysz; ++i) key->scankeys[i].sk_flags &= ~SK_ISNULL;
    FirstColumn::Kind kind = first_column_of(index, key);
    // Numbers and instants often follow those that were written last.
    BlockNumber likely = kind == FirstColumn::Kind::number ? RelationGetTargetBlock(index) : InvalidBlockNumber;
    bool lists = !index->rd_index->indisunique && key->allequalimage && BTGetDeduplicateItems(index);
    *leaves = {table, index, key, kind, index->rd_index->indisunique, lists, likely};
    return true;
}

NewEntry make_entry(const Leaves& l, const Datum* values, const bool* nulls, const ItemPointerData* tid, size_t row) {
    NewEntry left_to_server{nullptr, 0, {}, row, 1, tid};
    for (int i = 0; i < IndexRelationGetNumberOfAttributes(l.index); ++i) {
        if (nulls[i]) return left_to_server;
    }
    IndexTuple tuple = form_entry(RelationGetDescr(l.index), values, nulls);
    if (IndexTupleSize(tuple) > kLargestEntry) return left_to_server;
    tuple->t_tid = *tid;
    bool null;
    Datum first = index_getattr(tuple, 1, RelationGetDescr(l.index), &null);
    return {tuple, first, first_column(l.kind, l.kind == FirstColumn::Kind::bytes ? view(first) : std::string_view{}, first), row, 1, tid};
}

bool join_entry(const Leaves& l, NewEntry* e, const Datum* values, const bool* nulls, size_t row) {
    if (!l.lists || e->tuple == nullptr || row != e->row + e->rows) return false;
    TupleDesc layout = RelationGetDescr(l.index);
    for (int i = 0; i < layout->natts; ++i) {
        bool null;
        Form_pg_attribute column = TupleDescAttr(layout, i);
        Datum value = index_getattr(e->tuple, i + 1, layout, &null);
        if (nulls[i] || !datum_image_eq(value, values[i], column->attbyval, column->attlen)) return false;
    }
    ++e->rows;
    return true;
}

void sort_entries(const Leaves& l, std::span<NewEntry> entries) {
    auto before = [&](const NewEntry& a, const NewEntry& b) { return precedes(l, a, b); };
    if (!std::is_sorted(entries.begin(), entries.end(), before)) std::sort(entries.begin(), entries.end(), before);
}

namespace {

// Whether the entry aimed at belongs on this page and on no other.
bool covers(const Leaves& l, const NewEntry& e, Page page) {
    BTPageOpaque opaque = BTPageGetOpaque(page);
    if (!P_ISLEAF(opaque) || P_IGNORE(opaque) || P_FIRSTDATAKEY(opaque) > PageGetMaxOffsetNumber(page)) return false;
    return (P_RIGHTMOST(opaque) || compare_at(l, e, page, P_HIKEY) < 0) && compare_at(l, e, page, P_FIRSTDATAKEY(opaque)) > 0;
}

// The first leaf on which the key could be, locked. Whoever enters the same key has to come by it, too, and waits until we are done.
Buffer find_leaf(Leaves& l, const NewEntry& e) {
    BlockNumber likely = std::exchange(l.likely, InvalidBlockNumber);
    if (likely != InvalidBlockNumber) {
        Buffer buffer = _bt_getbuf(l.index, likely, BT_WRITE);
        if (covers(l, e, BufferGetPage(buffer))) return buffer;
        _bt_relbuf(l.index, buffer);
    }
    return search_leaf(l.table, l.index, l.key, nullptr, BT_WRITE);
}

}  // namespace

void take_off(std::span<NewEntry>* entries, size_t rows) {
    while (rows > 0 && rows >= entries->front().rows) {
        rows -= entries->front().rows;
        *entries = entries->subspan(1);
    }
    if (rows == 0) return;
    NewEntry& e = entries->front();
    e.row += rows;
    e.rows -= rows;
    e.tids += rows;
    e.tuple->t_tid = *e.tids;
}

bool write_run(Leaves& l, std::span<NewEntry>* entries) {
    const NewEntry& first = entries->front();
    if (first.tuple == nullptr) return false;
    aim_at(l, first, 0);
    Buffer buffer = find_leaf(l, first);
    if (!BufferIsValid(buffer)) return false;
    Page page = BufferGetPage(buffer);
    BTPageOpaque opaque = BTPageGetOpaque(page);
    size_t written = 0;
    if (!P_IGNORE(opaque) && !P_INCOMPLETE_SPLIT(opaque)) {
        Run run = find_run(l, page, *entries);
        written = run.rows;
        if (written > 0) write(l, buffer, run);
    }
    // The server keeps there the last leaf of an index, if that is where it has written, and makes sure that it is.
    if (l.kind == FirstColumn::Kind::number) RelationSetTargetBlock(l.index, BufferGetBlockNumber(buffer));
    _bt_relbuf(l.index, buffer);
    take_off(entries, written);
    return written > 0;
}

}  // namespace lifecycle::pg
