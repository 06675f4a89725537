// Index entries of many new rows. Those that come to lie on one leaf of a B-tree are written there at one go, those of the same key as the list that
// the server would make of them later; whatever is not that simple is left to the server, entry by entry: a page that is full, a key that is there
// already, one with a NULL in it.
#pragma once

#include "pg/array.hpp"
#include "pg/first_column.hpp"

namespace lifecycle::pg {

struct NewEntry {
    IndexTuple tuple;  // of the first row; nullptr: the server has to insert it
    Datum first_value;
    FirstColumn first;
    size_t row;        // the first, of those that are written together
    size_t rows;       // so many share it
    const ItemPointerData* tids;
};

struct Leaves {
    Relation table, index;
    BTScanInsert key;
    FirstColumn::Kind kind;
    bool unique;
    bool lists;          // rows of the same key may share an entry
    BlockNumber likely;  // the leaf on which the last entries were written; InvalidBlockNumber: there is none worth a look
};

// False: the index has to be written by the server.
bool open_leaves(Relation table, Relation index, Leaves* leaves);
NewEntry make_entry(const Leaves& leaves, const Datum* values, const bool* nulls, const ItemPointerData* tid, size_t row);
// Whether this row has the key of the entry of the rows before it; then it is the next of them. The tids follow one another in memory.
bool join_entry(const Leaves& leaves, NewEntry* entry, const Datum* values, const bool* nulls, size_t row);
void sort_entries(const Leaves& leaves, std::span<NewEntry> entries);

// Writes the first of these entries, which are sorted, as many as follow one another on a page and find room there, and takes them off. False: the
// server has to insert the first of the rows.
bool write_run(Leaves& leaves, std::span<NewEntry>* entries);
void take_off(std::span<NewEntry>* entries, size_t rows);

}  // namespace lifecycle::pg
