#pragma once

#include "pg/text.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

// The field by which a backfill is ordered: the customer, or the order where the table names no customer.
inline int key_field(const Source& source) { return source.by_order ? field::item_order : 0; }
inline std::string_view backfill_key(const Source& source, const Fact& fact) {
    return source.by_order ? pg::view(fact.fields[field::item_order - 1]) : fact.customer;
}

// The rows of a table under one snapshot, as the values of their fields, in the order of their keys. On disk where there are many.
struct History {
    MemoryContext context;
    Tuplestorestate* values;
    TupleTableSlot* slot;  // the first row that has not been handed out, if `ahead`
    bool ahead;
    int64 rows;  // read
    int64 left;  // not handed out; those that do not count, or are in quarantine, are not among them
};

// Reads the table; bad rows go into quarantine. Only keys after `after`, if not null. The result outlives the transaction if `context`
// does and `across_transactions` is set; close() must then be called, after an error too.
History* open_history(Source* source, Snapshot snapshot, const std::string_view* after, MemoryContext context, bool across_transactions);

// The facts of the next keys: of as many as make up `wanted` rows, and of the last of them whole. Returns how many rows.
int64 read_history(History* history, Reader* reader, int64 wanted, std::string_view* last_key);

void close_history(History* history);

}  // namespace lifecycle::source
