#include "rules/flips.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

Flips flips_of(ClockComparison comparison, Instant edge) {
    if (!is_finite(edge)) return {};  // against an infinite edge a comparison never changes
    Instant beyond = edge + 1;
    switch (comparison) {
        case ClockComparison::less:
        case ClockComparison::greater_equal:
            return {edge, kNever};
        case ClockComparison::less_equal:
        case ClockComparison::greater:
            return {beyond, kNever};
        case ClockComparison::equal:
        case ClockComparison::not_equal:
            return {edge, beyond};
    }
    return {};
}

}  // namespace lifecycle::rules
