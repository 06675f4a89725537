#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// What heap_form_tuple() does, in half the time: rows of our tables have many columns, most of them empty or a number, for each of which the server
// calls two functions.
HeapTuple form_row(TupleDesc layout, const Datum* values, const bool* nulls);
// The same for a row that is only needed as long as `memory`, where it lies unless it is a large one.
struct RowMemory {
    HeapTupleData row;
    alignas(MAXIMUM_ALIGNOF) char bytes[BLCKSZ / 4];
};
HeapTuple form_here(RowMemory* memory, TupleDesc layout, const Datum* values, const bool* nulls);
// The way back; the values lie in the row.
void deform_row(HeapTuple row, TupleDesc layout, Datum* values, bool* nulls);
// Into a slot for heap tuples, which knows its columns then and need not take the row apart again.
void form_into(TupleTableSlot* slot, const Datum* values, const bool* nulls);
// The same for index_form_tuple().
IndexTuple form_entry(TupleDesc layout, const Datum* values, const bool* nulls);

}  // namespace lifecycle::pg
