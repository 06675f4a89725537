// The segment room: customer rows come in, memberships and the instants at which they could change go out.
#pragma once

#include "customer/change.hpp"
#include "pg/expression.hpp"

namespace lifecycle::segment {

struct Segment {
    int id;
    Datum name;
    std::string_view name_view;
    uint8 dimension;  // a number for each dimension, 0: none
    bool timeless;    // reads nothing that purchases or time change: entered when it was found
    ExprState* predicate;
};

// All segments, compiled, in the order of dimension and rank.
struct Segments {
    pg::Array<Segment> list;
    pg::Array<uint8> dimensions;     // of each segment
    pg::Array<ExprState*> edges;     // see pg::ClockTerms; edge i is parameter i + 2
    pg::Array<pg::ClockTerm> terms;
    pg::Evaluator* evaluator;
    uint8 lifecycle_dimension;       // shown as a column of the customer; 0: no segment names it
    uint8 engagement_dimension;
};

// Read anew if the configuration has changed: at the start of a batch only.
const Segments& refresh_segments();

}  // namespace lifecycle::segment
