#pragma once

#include <cstdint>

#include "rules/instant.hpp"

namespace lifecycle::rules {

// A comparison of the clock with an edge that does not depend on the clock: "now <op> edge".
enum class ClockComparison : std::uint8_t { less, less_equal, equal, not_equal, greater_equal, greater };

// The instants at which a clock comparison changes its value: one, or two for = and <>. Time is counted in whole
// microseconds, so what holds "up to and including" an instant changes one microsecond after it.
struct Flips {
    Instant first = kNever;
    Instant second = kNever;  // kNever: there is only one
};

Flips flips_of(ClockComparison comparison, Instant edge);

}  // namespace lifecycle::rules
