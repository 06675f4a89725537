// Rows of a table by the first column of its primary key, many keys in ascending order: where the next one lies on the page of the index on
// which the last one was found, the way down from the index's root is spared.
#pragma once

#include "pg/first_column.hpp"
#include "pg/table.hpp"
#include "pg/versions.hpp"

namespace lifecycle::pg {

struct Finger {
    TableWriter* table;
    Relation index;
    Snapshot snapshot;
    BTScanInsert key;
    FirstColumn::Kind kind;
    FirstColumn first;           // of the key
    BlockNumber leaf;            // where the last key was looked for
    OffsetNumber next;           // on it, where the search for the next one begins
    Array<ItemPointerData> found;  // entries of the present key
    Holder holder;
};

Finger point(TableWriter* table, Snapshot snapshot);

// The head of the row with this key, of the first columns of the primary key, as the snapshot sees it. False: there is none.
bool find_row(Finger& finger, std::span<const Datum> key, ItemPointer tid);

// A copy of the row with this key, a unique one, as the snapshot sees it; nullptr: it sees none. *certain: then there is none, neither one that has
// come since.
HeapTuple read_row(Finger& finger, Datum key, bool* certain);

// Copies of the rows with this key, as the snapshot sees them, are added to `rows`.
void read_rows(Finger& finger, Datum key, Array<HeapTuple>* rows);

// A row that is to go. `place` is where it is looked for first, if that is known, and invalid when it is gone.
struct Doomed {
    Datum values[3];  // of the first columns, the first two of which are the primary key
    ItemPointer place;
};
void remove_rows(TableWriter* table, std::span<const Doomed> doomed);

// The row with this key, a unique one, of a table that begins with it, locked against changes by others; a copy, as it is now. nullptr: there is none,
// or somebody holds it. `head`: where it is looked for first, if that is known, and where it begins.
HeapTuple lock_unless_held(Finger& finger, Datum key, ItemPointer head);

}  // namespace lifecycle::pg
