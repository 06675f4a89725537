#pragma once

#include <cstdint>
#include <span>

#include "rules/decimal.hpp"
#include "rules/instant.hpp"

namespace lifecycle::rules {

// Something that counts in [from, until): an order in the 30 days from its own instant on.
struct Counted {
    Instant from;
    Instant until;  // kNever: for good
    Decimal amount;
};

// A point at which a running total changes, with the total from there on.
struct Total {
    Instant at;
    std::int64_t count;
    Decimal amount;
};

// What counts at an instant, in a time that grows with the logarithm of what there is: all that has begun less all that has ended.
struct Window {
    std::span<Total> begun;
    std::span<Total> ended;
};

// Fills the two running totals, each as long as `counted`, which loses what never counts. False: a sum leaves the range.
bool make_window(std::span<Counted> counted, std::span<Total> begun, std::span<Total> ended, Window* window);

Total at(const Window& window, Instant t);

}  // namespace lifecycle::rules
