// What a comparison with the clock means, said once more and as plainly as possible.
#pragma once

#include "rules/flips.hpp"

namespace lifecycle::test {

using rules::ClockComparison;

inline constexpr ClockComparison kComparisons[] = {ClockComparison::less,      ClockComparison::less_equal,
                                                   ClockComparison::equal,     ClockComparison::not_equal,
                                                   ClockComparison::greater_equal, ClockComparison::greater};

inline bool holds(ClockComparison op, rules::Instant now, rules::Instant edge) {
    switch (op) {
        case ClockComparison::less: return now < edge;
        case ClockComparison::less_equal: return now <= edge;
        case ClockComparison::equal: return now == edge;
        case ClockComparison::not_equal: return now != edge;
        case ClockComparison::greater_equal: return now >= edge;
        case ClockComparison::greater: return now > edge;
    }
    return false;
}

}  // namespace lifecycle::test
