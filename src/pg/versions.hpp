// Rows of a table by where they lie, without the executor: which version of them a snapshot sees, and whether somebody is at it.
#pragma once

#include <span>
#include <string_view>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// Who held the last row that was found to be held; it may have let go of it since.
struct Holder {
    TransactionId last = InvalidTransactionId;
};

// Whether somebody else has locked the row against changes or is changing it, as far as that can be seen without a lock. To find that out by trying
// to lock it means to lock the page against everybody and to ask for two heavyweight locks. The page is locked.
bool is_held(HeapTuple row, Holder* holder);

// What lies on a page of the table, which is pinned and locked, at a place that holds a row.
HeapTupleData row_on(Relation table, Buffer page, OffsetNumber place);

// Whether a table of so many pages may have a row there: places that were noted may be from before it was written anew.
bool may_be_there(const ItemPointerData& tid, BlockNumber pages);

// The version of the row at `tid` (the head of a chain of versions) that the snapshot sees. The executor would prune the page on
// every visit, one dead version at a time; an order's path has no time for that and waits until the next version would find no room, where there is to be
// one (fillfactor).
bool find_version(Relation table, ItemPointer tid, Snapshot snapshot);
// A copy of it; nullptr: the snapshot sees none.
HeapTuple read_version(Relation table, ItemPointerData tid, Snapshot snapshot);

enum class Found { none, held, free };
// Says also whether somebody holds it. With a text, only a row that begins with it is found, and `tid` may be any place that a row has ever had.
Found find_free_version(Relation table, ItemPointer tid, Snapshot snapshot, Holder* holder, const std::string_view* text = nullptr);

// Whether a row lies at `tid`, which the snapshot sees if there is one, whose first columns have exactly these values.
bool has_values(Relation table, ItemPointer tid, std::span<const Datum> values, Snapshot snapshot);

// Where the chain begins that the version at `tid` belongs to. Looks at all rows of the page.
ItemPointerData head_of(Relation table, ItemPointerData tid);

}  // namespace lifecycle::pg
