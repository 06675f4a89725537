#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "rules/instant.hpp"

namespace lifecycle::rules {

// Which segments a customer is in: one byte each, in the order of the segments.
using Held = std::span<std::uint8_t>;

// Within one dimension a customer is in the first segment, by rank, whose predicate holds, and in no other.
// `dimension` names each segment's dimension by a number, 0 for none; segments are ordered by rank within it.
void keep_first_of_dimension(std::span<const std::uint8_t> dimension, Held held);

// Walks one customer, whose facts do not change meanwhile, from `from` (already evaluated into `held`) to `to`, stopping at
// each instant at which a clock comparison changes, so that a walk of a week finds the flips of each day in it.
// World: Instant next_flip(Instant after); void evaluate(Instant at, Held into); void changed(Instant at, Held from, Held to).
// Returns the next flip after `to`.
template <class World>
Instant walk_forward(World& world, Instant from, Instant to, Held held, Held scratch) {
    Instant flip = world.next_flip(from);
    while (flip <= to && flip != kNever) {  // `to` may be the end of time
        world.evaluate(flip, scratch);
        bool differs = false;
        for (std::size_t i = 0; i < held.size(); ++i) differs |= held[i] != scratch[i];
        if (differs) {
            world.changed(flip, held, scratch);
            for (std::size_t i = 0; i < held.size(); ++i) held[i] = scratch[i];
        }
        flip = world.next_flip(flip);
    }
    return flip;
}

// Looks back over a stretch [from, to] in which the facts did not change and finds since when each segment still open in
// `pending` has been held without a break. `later` is where the stretch already looked at begins, kNever if this is the
// first, in which case what is pending is held at `to`. World: Instant previous_flip(Instant at_or_before);
// void evaluate(Instant at, Held into). What is found is cleared in `pending` and its instant written to `since`.
// Returns how many stay pending: those that were held all the way back to `from`.
template <class World>
std::size_t walk_back(World& world, Instant from, Instant to, Instant later, Held pending, std::span<Instant> since,
                      Held scratch) {
    std::size_t open = 0;
    for (auto p : pending) open += p;

    // Between two flips nothing changes, so each piece is judged by its first instant.
    while (open > 0) {
        Instant flip = world.previous_flip(to);
        Instant start = flip > from ? flip : from;
        if (later != kNever) {
            world.evaluate(start, scratch);
            for (std::size_t i = 0; i < pending.size(); ++i) {
                if (!pending[i] || scratch[i]) continue;
                pending[i] = 0;
                since[i] = later;
                --open;
            }
        }
        if (start == from) break;
        later = start;
        to = start - 1;
    }
    return open;
}

}  // namespace lifecycle::rules
