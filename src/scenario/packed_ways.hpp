// How the enrolments that are kept in a customer's row lie there (pg/packed.hpp), one after the other.
#pragma once

#include <string_view>

#include "pg/array.hpp"
#include "rules/instant.hpp"

namespace lifecycle::scenario {

struct PackedWay {
    std::string_view scenario, anchor;
    rules::Instant anchor_at;
    int version;
    bool decided;  // a step has been; if so, the last one's position, and when
    int last_position;
    rules::Instant last_at;
    rules::Instant next_due;  // kNever: none
    rules::Instant enrolled_at;
};

// The same with one more at the end; 0: there is none yet.
Datum with_way(Datum packed, const PackedWay& way);
// Their texts point into what is given.
pg::Array<PackedWay> unpack_ways(Datum packed);

}  // namespace lifecycle::scenario
