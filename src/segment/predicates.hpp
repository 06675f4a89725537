// The segment room: customer rows come in, memberships and the instants at which they could change go out.
#pragma once

#include "segment/formula.hpp"
#include "segment/functions.hpp"

namespace lifecycle::segment {

struct Segment {
    int id;
    Datum name;
    std::string_view name_view;
    uint8 dimension;  // a number for each dimension, 0: none
    bool timeless;    // reads nothing that purchases or time change: entered when it was found
    bool unremembered;  // reads what is kept for the present only, such as the profile: since when it holds is on record and nowhere else
    int parameter;    // takes the result, for in_segment() in other predicates; 0: none asks
    uint32 formula;   // what it stands for, see Formulas
    ErrorData* broken;  // what keeps it from being compiled: its members stay who they were; nullptr: nothing
};

// All segments, compiled, in the order of dimension and rank.
struct Segments {
    pg::Array<Segment> list;
    pg::Array<uint8> dimensions;  // of each segment
    pg::Array<uint32> order;      // in which to judge them: those that others ask for with in_segment() before these
    Formulas formulas;
    bool asked_dimensions[256];   // in which a segment is that others ask for
    Calls calls;
    pg::Evaluator* evaluator;
    uint8 lifecycle_dimension;    // shown as a column of the customer; 0: no segment names it
    uint8 engagement_dimension;
    bool reads_amounts;           // one of them reads what purchases add up to
    bool reads_loyalty;           // ... points or tiers, whose past only the loyalty room knows
};

// Read anew if the configuration has changed: at the start of a batch only.
const Segments& refresh_segments();

// A predicate that is no segment, compiled alone in the current memory context. Its in_segment() refers to the segments there are.
const Segments* compile_alone(std::string_view predicate);
// The same for a condition of a scenario, which may ask for context(). `defining`: it is said anew, and refused if it can never work.
const Segments* compile_condition(std::string_view condition, bool defining = false);

// Row `n` of the last result, of lifecycle.customer, as a customer to whom nothing happens until `now`. It lives as long as the result.
void load_still(Change* change, uint64 n, Instant now);

// Whether such a predicate holds for a customer as the pipeline has made it so far, at the instant it has come to. One that raises an error
// does not. `context`: what context() is, a jsonb; 0: NULL.
bool holds(const Segments& alone, Change& change, Datum context = 0);

}  // namespace lifecycle::segment
