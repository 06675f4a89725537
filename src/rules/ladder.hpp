#pragma once

#include <span>

#include "rules/decimal.hpp"

namespace lifecycle::rules {

inline constexpr int kNoTier = -1;

// The highest tier whose threshold the spend has reached, or kNoTier. `thresholds` ascend with the tiers' ranks.
int tier_for(Decimal spend, std::span<const Decimal> thresholds);

}  // namespace lifecycle::rules
