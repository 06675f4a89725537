#include "rules/ladder.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

int tier_for(Decimal spend, std::span<const Decimal> thresholds) {
    int tier = kNoTier;
    for (std::size_t i = 0; i < thresholds.size() && spend >= thresholds[i]; ++i) tier = static_cast<int>(i);
    return tier;
}

}  // namespace lifecycle::rules
