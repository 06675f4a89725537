// Rows of tables that are not ours alone: shops poll them, index them, and may put triggers on them. They are written without
// statements while nothing stands on them that only a statement sees to.
#pragma once

#include "pg/array.hpp"

namespace lifecycle::pg {

struct Rows {
    Relation relation;
    TupleTableSlot* slot;
    IndexScanDesc scan;  // of the primary key, while rows are taken
    Relation key;
    EState* state;  // with the indexes, once one has to be written
    ResultRelInfo* target;
};

Rows* open_rows(Oid table);
void close_rows(Rows* rows);

// Whether writing the table directly is as good as a statement: rows look as those of `parent` do, no trigger is on it but ours, no
// check but `checks` that hold for whatever we write, and nothing is generated.
bool is_plain(Rows* rows, Relation parent, int checks);

// A copy of the row version at `tid`, which this transaction has locked.
HeapTuple row_at(Rows* rows, ItemPointer tid);
// Puts these values in its place; returns the new row.
HeapTuple change_row(Rows* rows, ItemPointer tid, const Datum* values, const bool* nulls);
void add_rows(Rows* rows, std::span<const HeapTuple> added);

// Deletes the row whose primary key begins with this number, if it is `wanted`, and returns it; nullptr: there is none such. Waits for
// whoever has locked it. One that others have changed meanwhile counts as it is now.
HeapTuple take_row(Rows* rows, int64 key, bool (*wanted)(HeapTuple, TupleDesc, void*), void* arg);
// Lets take_row() look again at the present.
void look_again(Rows* rows);

}  // namespace lifecycle::pg
