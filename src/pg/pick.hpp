// SELECT ... ORDER BY ... LIMIT ... FOR UPDATE SKIP LOCKED over tables that are alike, in the order of a B-tree that each of them has. What dead rows
// leave in such an index is passed over by the page.
#pragma once

#include "pg/rows.hpp"

namespace lifecycle::pg {

struct Picking {
    std::span<Rows* const> tables;
    std::span<const AttrNumber> index;  // the columns that it is on: of a text first, of an instant last
    Datum text;                         // only rows with this text
    TimestampTz until;                  // only rows whose instant is not later
    bool (*wanted)(TupleTableSlot* row, void* arg);
    bool (*before)(TupleTableSlot* a, TupleTableSlot* b);
    void (*take)(Rows* table, HeapTuple row, void* arg);  // a copy; it is locked
    void* arg;
};

void pick(const Picking& picking, int64 limit);

}  // namespace lifecycle::pg
