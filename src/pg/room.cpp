#include "pg/room.hpp"

#include <fcntl.h>

namespace lifecycle::pg {

#ifdef LIFECYCLE_SERVER_EXTENDS_BY_ONE

namespace {

// Beyond what is needed now a quarter of what there is, but not much.
constexpr BlockNumber kPart = 4;
constexpr BlockNumber kMostPages = 128;  // one megabyte

// False: the pages are for the server to add.
bool reserve(Relation table, BlockNumber first, BlockNumber count) {
    char* path = relpathperm(table->rd_node, MAIN_FORKNUM);
    BlockNumber segment = first / RELSEG_SIZE;
    if (segment > 0) path = psprintf("%s.%u", path, segment);
    int file = OpenTransientFile(path, O_RDWR | PG_BINARY);
    if (file < 0) return false;
    auto begin = static_cast<off_t>(first % RELSEG_SIZE) * BLCKSZ;
    int failed = posix_fallocate(file, begin, static_cast<off_t>(count) * BLCKSZ);
    CloseTransientFile(file);
    return failed == 0;
}

// Read by nobody before: what the file has there is known to be zeros. Who scans the table may have met the page since it was reserved.
Size add_page(Relation table, BlockNumber block) {
    Buffer buffer = ReadBufferExtended(table, MAIN_FORKNUM, block, RBM_ZERO_AND_LOCK, nullptr);
    Page page = BufferGetPage(buffer);
    if (PageIsNew(page)) {
        PageInit(page, BufferGetPageSize(buffer), 0);
        MarkBufferDirty(buffer);
    }
    Size room = PageGetHeapFreeSpace(page);
    UnlockReleaseBuffer(buffer);
    return room;
}

void add_pages(Relation table, BlockNumber needed) {
    BlockNumber first = RelationGetNumberOfBlocks(table);
    // The server makes the files, each with its first page.
    if (first > 0 && first % RELSEG_SIZE == 0) return;
    BlockNumber count = Max(needed, Min(first / kPart, kMostPages));
    count = Min(count, RELSEG_SIZE - first % RELSEG_SIZE);
    if (!reserve(table, first, count)) return;
    for (BlockNumber block = first; block < first + count; ++block) RecordPageWithFreeSpace(table, block, add_page(table, block));
    FreeSpaceMapVacuumRange(table, first, first + count);
}

// A page that is all but empty; whether there are enough of them is not known, but then more are added soon.
bool has_room(Relation table) { return GetPageWithFreeSpace(table, BLCKSZ - BLCKSZ / 8) != InvalidBlockNumber; }

}  // namespace

void make_room(Relation table, Size bytes) {
    auto needed = static_cast<BlockNumber>(bytes / BLCKSZ + 1);
    if (needed == 1 || has_room(table)) return;
    LockRelationForExtension(table, ExclusiveLock);
    if (!has_room(table)) add_pages(table, needed);
    UnlockRelationForExtension(table, ExclusiveLock);
}

#else

void make_room(Relation, Size) {}

#endif

}  // namespace lifecycle::pg
