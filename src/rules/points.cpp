#include "rules/points.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

constexpr __int128 kOne = 1'000'000'000'000;  // one whole unit of a Decimal
static_assert(Decimal::kScale == 12);

// The product of two numbers that are not negative, rounded down to a Decimal's smallest unit; no more than `limit`.
__int128 product(__int128 a, __int128 b, __int128 limit) {
    if (b == kOne) return a < limit ? a : limit;  // as most rates and multipliers are
    __int128 a1 = a / kOne, a0 = a % kOne;
    __int128 b1 = b / kOne, b0 = b % kOne;
    if (a1 > 0 && b1 > limit / a1) return limit;  // and so is every term below, which is smaller
    // a1 < 10^24 and b0 < 10^12 by the range of a Decimal; each term fits.
    __int128 sum = a1 * b1 * kOne;
    sum += a1 * b0 + a0 * b1 + a0 * b0 / kOne;
    return sum < limit ? sum : limit;
}

// In 64 bits, where it fits, a division takes a fraction of the time.
__int128 whole(__int128 units) {
    auto low = static_cast<std::uint64_t>(units);
    return units == low ? __int128{low / static_cast<std::uint64_t>(kOne)} : units / kOne;
}

}  // namespace

std::optional<std::int64_t> points_for(Decimal amount, const Earning& earning, Decimal multiplier) {
    constexpr __int128 kLimit = (static_cast<__int128>(kMostPoints) + 1) * kOne;
    auto positive = [](Decimal d) -> __int128 { return d.units > 0 ? d.units : 0; };
    __int128 by_amount = product(positive(amount), positive(earning.rate), kLimit);
    __int128 points = whole(product(by_amount + positive(earning.fixed), positive(multiplier), kLimit));
    if (points > kMostPoints) return std::nullopt;
    return static_cast<std::int64_t>(points);
}

std::int64_t share_of_points(std::int64_t points, Decimal part, Decimal whole) {
    if (whole.units <= 0 || part.units <= 0 || points <= 0) return 0;
    if (part >= whole) return points;
    // points * part / whole, one binary digit of `points` at a time: the product itself would not fit.
    std::int64_t quotient = 0;
    __int128 remainder = 0;
    for (int bit = 62; bit >= 0; --bit) {
        quotient *= 2;
        remainder *= 2;
        if (points >> bit & 1) remainder += part.units;
        while (remainder >= whole.units) {
            remainder -= whole.units;
            ++quotient;
        }
    }
    return quotient + (remainder * 2 >= whole.units ? 1 : 0);
}

void apportion(std::int64_t total, std::span<const std::int64_t> weights, std::span<std::int64_t> parts) {
    __int128 sum = 0;
    for (std::int64_t weight : weights) sum += weight;
    for (std::int64_t& part : parts) part = 0;
    if (sum == 0 || total == 0) return;

    std::int64_t left = total;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        parts[i] = static_cast<std::int64_t>(static_cast<__int128>(total) * weights[i] / sum);
        left -= parts[i];
    }
    auto remainder = [&](std::size_t i) { return static_cast<__int128>(total) * weights[i] % sum; };
    // Fewer are left than there are remainders. A handful of lots: looking for the largest each time is quick enough.
    __int128 below = sum;
    std::size_t next = 0;
    while (left > 0) {
        // The largest remainder that has not had its turn: below the last one, or equal to it and further on.
        std::size_t best = weights.size();
        for (std::size_t i = 0; i < weights.size(); ++i) {
            __int128 r = remainder(i);
            if (r > below || (r == below && i < next)) continue;
            if (best == weights.size() || r > remainder(best)) best = i;
        }
        below = remainder(best);
        next = best + 1;
        ++parts[best];
        --left;
    }
}

}  // namespace lifecycle::rules
