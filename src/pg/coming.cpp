#include "pg/coming.hpp"

#include <algorithm>

#include "pg/versions.hpp"

namespace lifecycle::pg {

namespace {

struct PageNote {
    XLogRecPtr state;  // of the page when its rows were looked at; 0: they have to be
    TimestampTz earliest;
};

// What is known of the pages of a table.
struct Notes {
    Oid table = InvalidOid;
    Oid file = InvalidOid;  // TRUNCATE makes a new one
    AttrNumber instant = InvalidAttrNumber;
    Array<PageNote> pages{};
};

constexpr BlockNumber kPagesRemembered = 1 << 20;

Notes all_notes[4];
size_t next_notes = 0;

Notes& notes_on(Relation table, AttrNumber instant) {
    Oid oid = RelationGetRelid(table);
    auto* found = std::find_if(std::begin(all_notes), std::end(all_notes), [&](const Notes& n) { return n.table == oid; });
    if (found == std::end(all_notes)) {
        found = &all_notes[next_notes];
        next_notes = (next_notes + 1) % lengthof(all_notes);
    }
    Oid file = table->rd_rel->relfilenode;
    if (found->table != oid || found->file != file || found->instant != instant) {
        found->pages.clear();
        *found = {oid, file, instant, found->pages};
    }
    return *found;
}

void make_room(Notes& notes, BlockNumber pages) {
    MemoryContext caller = MemoryContextSwitchTo(CacheMemoryContext);
    notes.pages.reserve(pages);
    while (notes.pages.size < pages) notes.pages.push({InvalidXLogRecPtr, DT_NOBEGIN});
    MemoryContextSwitchTo(caller);
}

struct Look {
    Relation table;
    AttrNumber instant, number;
    TimestampTz until;
    Coming* coming;
};

// Looks at the rows of a page that is locked. False: it may look different without having been written, once transactions have ended.
bool look_at_rows(const Look& look, Buffer buffer, TimestampTz* earliest) {
    Page page = BufferGetPage(buffer);
    TupleDesc layout = RelationGetDescr(look.table);
    bool settled = true;
    for (OffsetNumber n = FirstOffsetNumber; n <= PageGetMaxOffsetNumber(page); ++n) {
        if (!ItemIdIsNormal(PageGetItemId(page, n))) continue;
        HeapTupleData row = row_on(look.table, buffer, n);
        TransactionId dead_after;
        HTSV_Result fate = HeapTupleSatisfiesVacuumHorizon(&row, buffer, &dead_after);
        if (fate == HEAPTUPLE_DEAD || fate == HEAPTUPLE_RECENTLY_DEAD) continue;
        settled = settled && fate == HEAPTUPLE_LIVE;
        bool null;
        TimestampTz instant = DatumGetTimestampTz(heap_getattr(&row, look.instant, layout, &null));
        if (null) continue;
        *earliest = std::min(*earliest, instant);
        if (instant <= look.until) {
            look.coming->come.push(heap_getattr(&row, look.number, layout, &null));
        } else {
            look.coming->next = std::min(look.coming->next, instant);
        }
    }
    return settled;
}

void look_at_page(const Look& look, Buffer buffer, PageNote* note) {
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    XLogRecPtr state = PageGetLSN(BufferGetPage(buffer));
    if (!XLogRecPtrIsInvalid(state) && note->state == state && note->earliest > look.until) {
        look.coming->next = std::min(look.coming->next, note->earliest);
    } else {
        TimestampTz earliest = DT_NOEND;
        bool settled = look_at_rows(look, buffer, &earliest);
        // Where changes of a page leave no trace in its LSN nothing is remembered.
        *note = {settled && RelationNeedsWAL(look.table) ? state : InvalidXLogRecPtr, earliest};
    }
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

}  // namespace

Coming coming(Oid oid, const char* instant, const char* number, TimestampTz until) {
    Coming result{{}, DT_NOEND};
    Relation table = table_open(oid, AccessShareLock);
    Look look{table, get_attnum(oid, instant), get_attnum(oid, number), until, &result};
    if (look.instant == InvalidAttrNumber || look.number == InvalidAttrNumber)
        elog(ERROR, "table \"%s\" lacks column \"%s\" or \"%s\"", RelationGetRelationName(table), instant, number);
    BlockNumber pages = RelationGetNumberOfBlocks(table);
    Notes& notes = notes_on(table, look.instant);
    make_room(notes, std::min(pages, kPagesRemembered));
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    for (BlockNumber n = 0; n < pages; ++n) {
        CHECK_FOR_INTERRUPTS();
        PageNote forgotten{};
        Buffer buffer = ReadBufferExtended(table, MAIN_FORKNUM, n, RBM_NORMAL, strategy);
        look_at_page(look, buffer, n < notes.pages.size ? &notes.pages[n] : &forgotten);
        ReleaseBuffer(buffer);
    }
    FreeAccessStrategy(strategy);
    table_close(table, NoLock);
    return result;
}

}  // namespace lifecycle::pg
