// What statements of the shop have done to rows, on its way to becoming facts.
#pragma once

#include "source/source.hpp"

namespace lifecycle::source {

// Rows of the attached table or of a partition or child of it, whose columns may stand in another order, as rows of the attached table.
struct Layout {
    TupleTableSlot* raw;
    TupleTableSlot* common;  // nullptr: there is no difference
    AttrMap* map;
};

// For rows of `relation`, as minimal tuples.
Layout make_layout(const Source* source, Relation relation);
Layout make_layout(const Source* source, TupleDesc layout);
void drop_layout(const Layout& layout);
// The row in `layout.raw` as the attached table would have it.
TupleTableSlot* as_attached(const Layout& layout);

// One change of a row for the inbox: what it was and what it is, as json; 0: it was or is not there.
struct Letter {
    Datum gone;
    Datum arrived;
};

// Reads changes of rows of one source after the other. The facts of all stay in the reader; what else the changes of a source say
// is written by finish().
struct Intake {
    Reader reader;
    bool to_inbox;               // the source's changes are for the inbox
    bool backfilling;            // and for its backfill, which is not done
    pg::Array<Datum> gone;       // rows that went or changed, as json, if quarantine may hold them
    pg::Array<Letter> letters;
    const Source* asked;         // the source about which `held` tells
    bool quarantined;            // quarantine holds rows of the source
    bool held;                   // it does, or, for the inbox, the inbox
    const Source* reads;         // the source whose rows `row_reader` makes from json
    FmgrInfo* row_reader;
};

// What a trigger function was called with; an error if it was not called as a trigger.
TriggerData* trigger_data(FunctionCallInfo call, const char* function);

Intake make_intake(MemoryContext context);
// The source whose changes come next; an error if it is not attached or its mapping has ceased to work. With `now`, they are taken in
// even if the source is asynchronous or its backfill is not done.
void turn_to(Intake* intake, const char* source, bool now = false);
// Whether the two versions of a row agree in everything that the source reads.
bool reads_the_same(const Source* source, TupleTableSlot* before, TupleTableSlot* after);
// The source, if an UPDATE that changes nothing that it reads is known to say nothing, as far as that can be told without a subtransaction and
// a look at what is held back; else nullptr.
const Source* says_enough(const char* name, Oid relation);
// Whether an UPDATE has touched nothing that the source reads, and so says nothing.
bool leaves_facts_alone(TriggerData* trigger);
// A row has come (before: nullptr), gone (after: nullptr) or changed. `held`: what it was may have been in quarantine until it was said.
void read_change(Intake* intake, TupleTableSlot* before, TupleTableSlot* after, bool held = false);
void finish(Intake* intake);

}  // namespace lifecycle::source
