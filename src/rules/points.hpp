#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "rules/decimal.hpp"

namespace lifecycle::rules {

// More points than this nobody has: sums of a million such numbers still fit 64 bits.
inline constexpr std::int64_t kMostPoints = 1'000'000'000'000;

// What an amount earns: rate points for each whole unit of the currency, times the multiplier, plus a fixed number times the
// multiplier; rounded down once, at the end. An amount below zero earns nothing by its rate. std::nullopt: more than kMostPoints.
struct Earning {
    Decimal rate;
    Decimal fixed;
};
std::optional<std::int64_t> points_for(Decimal amount, const Earning& earning, Decimal multiplier);

// The part of some points that belongs to a part of an amount, rounded to the nearest (a half goes up). Shares of growing parts grow, and
// the whole has all points: what successive refunds take back is the difference of two shares, and adds up to the points exactly.
// A part below zero counts as none, one beyond the whole as the whole; an amount of nothing has no parts.
std::int64_t share_of_points(std::int64_t points, Decimal part, Decimal whole);

// Shares out `total` in proportion to the weights, by the largest remainder: each part is its exact share rounded down, and what is then
// left goes one by one to the largest remainders, the first of equals first. The parts add up to the total, and where the total is at
// most the sum of the weights, no part exceeds its weight. Weights are not negative; if all are zero, nothing is shared out.
void apportion(std::int64_t total, std::span<const std::int64_t> weights, std::span<std::int64_t> parts);

}  // namespace lifecycle::rules
