#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

namespace lifecycle::rules {

// An exact amount of money: a whole number of 10^-12 units. Sums of amounts are exact, and adding an amount and
// taking it away again gives back precisely what was there, which floating point does not.
// `digits` is how many decimals the amount was written with; a sum shows as many as its widest part, as numeric does.
struct Decimal {
    static constexpr int kScale = 12;

    // What one in the last of so many decimals is worth, in units.
    static std::int64_t unit_of(int decimals) {
        static constexpr std::int64_t kTens[] = {1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000, 1'000'000'000, 10'000'000'000,
                                                 100'000'000'000, 1'000'000'000'000};
        static_assert(std::size(kTens) == kScale + 1);
        return kTens[kScale - decimals];
    }

    // PostgreSQL's allocator aligns to 8 bytes, where a plain __int128 would want 16.
    using Units [[gnu::aligned(8)]] = __int128;

    Units units = 0;
    std::uint8_t digits = 0;

    // std::nullopt: not a plain decimal number, more than kScale decimals, or larger than fits.
    static std::optional<Decimal> parse(std::string_view text);

    // Writes the number without a terminating zero and returns the part of `buffer` used; 64 bytes always suffice.
    std::string_view format(std::span<char> buffer) const;

    friend bool operator==(Decimal a, Decimal b) { return a.units == b.units; }
    friend auto operator<=>(Decimal a, Decimal b) { return a.units <=> b.units; }
};

static_assert(alignof(Decimal) == 8);

// Whether a single amount is small enough (below 10^18 whole units) that a million of them can be added up.
bool is_addable(Decimal amount);

// The range check makes every sum of fewer than 2^20 amounts safe without a check of its own; longer ones are
// checked where they are stored.
std::optional<Decimal> add(Decimal a, Decimal b);
std::optional<Decimal> subtract(Decimal a, Decimal b);

// A whole number of 10^-scale.
struct Scaled {
    Decimal::Units value;
    int scale;
};

// What each of `count` has of a sum, with as many decimals as PostgreSQL's numeric gives a quotient: sixteen digits that matter, and rounded as
// there. std::nullopt: more than the usual amounts and counts.
std::optional<Scaled> share(Decimal sum, std::int64_t count);

}  // namespace lifecycle::rules
