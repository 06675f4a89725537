// Index entries of many new rows. Those that come to lie on one leaf of a B-tree are written there at one go; whatever is not that simple is left
// to the server, entry by entry: a page that is full, a key that is there already, one with a NULL in it.
#pragma once

#include <string_view>

#include "pg/array.hpp"

namespace lifecycle::pg {

struct NewEntry {
    IndexTuple tuple;  // nullptr: the server has to insert it
    Datum first;       // its first column
    std::string_view text;  // the same, where it is text that is compared by its bytes
    size_t row;        // of those that are written together
};

struct Leaves {
    Relation table, index;
    BTScanInsert key;
    bool by_bytes;   // the first column is text that is compared by its bytes
    bool by_number;  // it is a whole number or an instant
    bool unique;
};

// Whether the first column is text in the ascending order of its bytes.
bool compares_bytes(Relation index, const BTScanInsertData* key);

// False: the index has to be written by the server.
bool open_leaves(Relation table, Relation index, Leaves* leaves);
NewEntry make_entry(const Leaves& leaves, const Datum* values, const bool* nulls, ItemPointerData tid, size_t row);
void sort_entries(const Leaves& leaves, std::span<NewEntry> entries);

// Writes the first of these entries, which are sorted, as many as follow one another on a page and find room there. 0: the server has to insert the
// first of them.
size_t write_run(const Leaves& leaves, std::span<const NewEntry> entries);

}  // namespace lifecycle::pg
