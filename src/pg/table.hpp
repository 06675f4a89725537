// Writing our own tables without a statement: many rows at once, and no executor start for one.
//
// Meant for tables whose rows this module alone writes: no trigger, check, foreign key or generated column of theirs is
// evaluated, and their indexes are plain, but for leaving out what is NULL. Rows are visible to what follows after written().
#pragma once

#include "pg/array.hpp"

namespace lifecycle::pg {

struct TableWriter {
    Relation relation;
    Relation primary_key;  // nullptr until it is asked for
    bool has_indexes;      // they have been opened
    Relation indexes[4];
    IndexInfo* infos[4];   // nullptr until it is asked for
    bool leaves_out_null[4];
    int index_count;
    Array<TupleTableSlot*> slots;  // rows waiting for the next flush
    size_t waiting;
    MemoryContext memory;          // which they are in
    AttrNumber gathered_by;        // 0: they are written as they come
    Array<ItemPointerData>* places;  // nullptr, or where the rows that were inserted have come to lie, in their order, as far as they are written
    TupleTableSlot* found;
};

bool is_empty(Oid table);  // has never had a row, or none since TRUNCATE

// Whether a writer does to this table all that a statement would: it has the columns and checks that it was made with, no trigger fires for new
// rows, and no index is more than a plain one.
bool is_plain(Oid table, int columns, int checks);

TableWriter* open_writer(Oid table);
// One that gathers many rows before it writes them, and puts them in the order of a column, an instant: whoever looks for those of some instant later
// finds them on few pages. It may stay open from batch to batch; nobody finds the rows until it is closed.
TableWriter* open_gatherer(Oid table, AttrNumber instant);
void close_writer(TableWriter* writer);  // flushes
void flush(TableWriter* writer);         // writes what waits

// The values are copied; the row is written at the latest when the writer is closed.
void insert(TableWriter* writer, const Datum* values, const bool* nulls);
// The row at `tid`, which this transaction has locked or read_to_update() has read. Its unique keys stay as they are. `head` is where its chain of
// versions begins, if that is known; it follows the row where that has to move.
void update(TableWriter* writer, ItemPointer tid, const Datum* values, const bool* nulls, ItemPointer head);
void remove(TableWriter* writer, ItemPointer tid);
// The row at `tid`, if the snapshot sees one there whose first columns have exactly these values. InvalidSnapshot: this transaction has seen it there.
bool remove_same(TableWriter* writer, ItemPointer tid, std::span<const Datum> values, Snapshot snapshot);

// The row with this key, of texts and instants, in the table's primary key, as others have left it until now. False: there is none.
bool find(TableWriter* writer, std::span<const Datum> key, ItemPointer tid);

Relation primary_key_of(TableWriter* writer);

// Copies of all rows whose primary key begins with one of these texts, in the order of the texts.
Array<HeapTuple> rows_of(TableWriter* writer, std::span<const Datum> first);

// A row was deleted while we waited for it: whoever asked has to look again from the start. Never seen by users.
inline constexpr int kRowWasDeleted = MAKE_SQLSTATE('L', 'C', '0', '0', '1');

// The same, locked against changes by others; a copy of the row, or nullptr. Error kRowWasDeleted.
HeapTuple find_and_lock(TableWriter* writer, Datum key);

// READ COMMITTED looks at the present, as a statement of its own would.
Snapshot present();

// Makes what was written visible to the statements that follow.
inline void written() { CommandCounterIncrement(); }

}  // namespace lifecycle::pg
