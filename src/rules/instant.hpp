#pragma once

#include <cstdint>
#include <limits>

namespace lifecycle::rules {

// A point in time in microseconds since 2000-01-01 00:00 UTC, the scale PostgreSQL's timestamptz uses,
// so that an instant crosses the boundary unchanged. The two ends mean what they mean there.
using Instant = std::int64_t;

inline constexpr Instant kNever = std::numeric_limits<Instant>::max();
inline constexpr Instant kBeginning = std::numeric_limits<Instant>::min();

inline constexpr bool is_finite(Instant t) { return t != kNever && t != kBeginning; }

}  // namespace lifecycle::rules
