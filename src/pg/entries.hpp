// Index entries of many new rows. Those that come to lie on one leaf of a B-tree are written there at one go; whatever is not that simple is left
// to the server, entry by entry: a page that is full, a key that is there already, one with a NULL in it.
#pragma once

#include "pg/array.hpp"
#include "pg/first_column.hpp"

namespace lifecycle::pg {

struct NewEntry {
    IndexTuple tuple;  // nullptr: the server has to insert it
    Datum first_value;
    FirstColumn first;
    size_t row;        // of those that are written together
};

struct Leaves {
    Relation table, index;
    BTScanInsert key;
    FirstColumn::Kind kind;
    bool unique;
    BlockNumber likely;  // the leaf on which the last entries were written; InvalidBlockNumber: there is none worth a look
};

// False: the index has to be written by the server.
bool open_leaves(Relation table, Relation index, Leaves* leaves);
NewEntry make_entry(const Leaves& leaves, const Datum* values, const bool* nulls, ItemPointerData tid, size_t row);
void sort_entries(const Leaves& leaves, std::span<NewEntry> entries);

// Writes the first of these entries, which are sorted, as many as follow one another on a page and find room there. 0: the server has to insert the
// first of them.
size_t write_run(Leaves& leaves, std::span<const NewEntry> entries);

}  // namespace lifecycle::pg
