#pragma once

#include <cstdint>

#include "rules/calendar.hpp"

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

// The same for a wall clock, truncated to a unit or not, compared with a wall time: every instant at which the comparison can
// change, and maybe some at which it does not. Zone and sink as for passings().
template <class Zone, class Sink>
void flips_of_wall(ClockComparison comparison, Unit unit, Wall edge, const Zone& zone, Sink&& sink) {
    if (!is_within_calendar(edge)) return;
    if (unit != Unit::none) {
        // A truncated clock moves from one beginning of a unit to the next.
        passings(floor_to(unit, edge), zone, sink);
        passings(next_unit(unit, edge), zone, sink);
        return;
    }
    Flips flips = flips_of(comparison, edge);
    passings(flips.first, zone, sink);
    if (flips.second != kNever) passings(flips.second, zone, sink);
}

}  // namespace lifecycle::rules
