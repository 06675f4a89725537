// SELECT ... ORDER BY ... LIMIT ... FOR UPDATE SKIP LOCKED over tables that are alike, in the order of an index that each of them has.
#pragma once

#include "pg/rows.hpp"

namespace lifecycle::pg {

struct Condition {
    int16 column;  // of the index
    StrategyNumber strategy;
    RegProcedure function;
    Datum value;
};

struct Picking {
    std::span<Rows* const> tables;
    std::span<const AttrNumber> index;  // the columns that the index is on
    std::span<const Condition> conditions;
    bool (*wanted)(TupleTableSlot* row, void* arg);
    bool (*before)(TupleTableSlot* a, TupleTableSlot* b);
    void (*take)(Rows* table, HeapTuple row, void* arg);  // a copy; it is locked
    void* arg;
};

void pick(const Picking& picking, int64 limit);

}  // namespace lifecycle::pg
