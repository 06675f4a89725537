// The rows of lifecycle.timer, read from a position on in the order of its primary key, (instant, text).
//
// Of a thousand that have run out among millions, each leads to a page of its own of another table, which no processor has at hand: waiting for it
// takes as long as all the rest. Rows say where they lead, so those pages are sent for while the ones before are being worked on.
#pragma once

#include "pg/table.hpp"
#include "pg/versions.hpp"

namespace lifecycle::pg {

struct Queued {
    TimestampTz at;
    Datum text;  // good until the next one is asked for
    ItemPointerData target;  // where the row begins that it leads to, when this one was written; invalid: not known
    ItemPointerData beside;  // another place that was noted then
    ItemPointerData tid;
    bool held;  // somebody else is at it, most likely taking it off
};

struct Queue {
    static constexpr size_t kAhead = 16;  // they are read
    struct Entry {
        Queued row;
        Buffer page;  // of its target, until what is wanted there has been sent for
    };

    IndexScanDesc scan;
    TupleTableSlot* slot;
    Relation target;
    BlockNumber target_pages;
    Holder holder;
    bool ended;
    size_t read, taken;  // how many
    Entry entries[kAhead];
};

Queue open_queue(TableWriter* table, Snapshot snapshot, TimestampTz after, Datum after_text, TimestampTz until, Relation target);
bool next_of(Queue& queue, Queued* queued);
void close_queue(Queue& queue);

}  // namespace lifecycle::pg
