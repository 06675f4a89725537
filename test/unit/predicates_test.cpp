// Random predicates over random customers in random zones: the walk from flip to flip finds exactly what stepping through every
// minute, and a microsecond after it, finds.
//
//   LIFECYCLE_CASES=n  how many (predicate, customer, instant) to try; default 300,000

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <set>

#include "compare.hpp"
#include "random.hpp"
#include "rules/membership.hpp"
#include "rules/windows.hpp"
#include "zone.hpp"

using namespace lifecycle::rules;
using namespace lifecycle::test;

namespace {

constexpr std::int64_t kLength = 10 * kDay;

// What one predicate needs to know of the clock, and its value at an instant.
struct Predicate {
    std::function<bool(Instant)> holds;
    std::function<void(const std::function<void(Instant)>&)> flips;
};

Predicate instant_term(Random& random) {
    auto op = kComparisons[random.between(0, 5)];
    Instant edge = random.between(-100, kLength / kMinute) * kMinute;
    return {[=](Instant t) { return holds(op, t, edge); },
            [=](auto& sink) {
                Flips f = flips_of(op, edge);
                sink(f.first);
                if (f.second != kNever) sink(f.second);
            }};
}

Predicate wall_term(Random& random, const MadeUpZone& zone) {
    auto op = kComparisons[random.between(0, 5)];
    constexpr Unit kUnits[] = {Unit::none, Unit::hour, Unit::day, Unit::week, Unit::month};
    Unit unit = kUnits[random.between(0, 4)];
    Wall edge = random.between(-100, kLength / kMinute) * kMinute;
    if (random.chance(50)) edge = floor_to(unit, edge);
    return {[=, &zone](Instant t) { return holds(op, floor_to(unit, zone.wall_of(t)), edge); },
            [=, &zone](auto& sink) { flips_of_wall(op, unit, edge, zone, sink); }};
}

Predicate window_term(Random& random) {
    auto counted = std::make_shared<std::vector<Counted>>();
    for (int n = static_cast<int>(random.between(0, 8)); n > 0; --n) {
        Instant from = random.between(-500, kLength / kMinute) * kMinute;
        Instant until = random.chance(20) ? kNever : from + random.between(-10, 3000) * kMinute;
        counted->push_back({from, until, Decimal{random.between(-50, 100), 2}});
    }
    auto begun = std::make_shared<std::vector<Total>>(counted->size());
    auto ended = std::make_shared<std::vector<Total>>(counted->size());
    Window window;
    EXPECT_TRUE(make_window(*counted, *begun, *ended, &window));
    std::int64_t enough = random.between(0, 4);
    bool by_amount = random.chance(50);
    return {[=](Instant t) {
                // The plain sum, against what the running totals say.
                std::int64_t count = 0, amount = 0;
                for (const Counted& c : *counted) {
                    if (!(c.from <= t && t < c.until)) continue;
                    ++count;
                    amount += static_cast<std::int64_t>(c.amount.units);
                }
                Total total = at(window, t);
                EXPECT_EQ(total.count, count);
                EXPECT_EQ(total.amount.units, amount);
                return by_amount ? amount > enough * 20 : count >= enough;
            },
            [=, keep = std::make_pair(begun, ended)](auto& sink) {
                for (const Total& t : window.begun) sink(t.at);
                for (const Total& t : window.ended) sink(t.at);
            }};
}

Predicate tree(Random& random, const MadeUpZone& zone, int depth) {
    if (depth == 0 || random.chance(20)) {
        int die = static_cast<int>(random.between(0, 2));
        return die == 0 ? instant_term(random) : die == 1 ? wall_term(random, zone) : window_term(random);
    }
    auto a = tree(random, zone, depth - 1);
    auto b = tree(random, zone, depth - 1);
    auto flips = [=](auto& sink) {
        a.flips(sink);
        b.flips(sink);
    };
    switch (random.between(0, 3)) {
        case 0: return {[=](Instant t) { return a.holds(t) && b.holds(t); }, flips};
        case 1: return {[=](Instant t) { return a.holds(t) || b.holds(t); }, flips};
        case 2: return {[=](Instant t) { return a.holds(t) != b.holds(t); }, flips};
        default: return {[=](Instant t) { return !a.holds(t); }, flips};
    }
}

struct World {
    std::vector<Predicate> predicates;
    std::set<Instant> flips;
    std::vector<std::vector<Instant>> seen;

    Instant next_flip(Instant after) const {
        auto next = flips.upper_bound(after);
        return next == flips.end() ? kNever : *next;
    }
    void evaluate(Instant at, Held into) {
        for (std::size_t i = 0; i < predicates.size(); ++i) into[i] = predicates[i].holds(at);
    }
    void changed(Instant at, Held from, Held to) {
        for (std::size_t i = 0; i < predicates.size(); ++i) {
            if (from[i] != to[i]) seen[i].push_back(at);
        }
    }
};

}  // namespace

TEST(Predicates, FlipExactlyWhenSteppingFindsThatTheyDo) {
    const char* wanted = std::getenv("LIFECYCLE_CASES");
    std::int64_t cases = wanted ? std::atoll(wanted) : 300'000;
    Random random;
    while (cases > 0) {
        auto zone = MadeUpZone::random(random, -kDay, kLength + kDay);
        World world;
        for (int i = 0; i < 4; ++i) world.predicates.push_back(tree(random, zone, 3));
        world.seen.resize(world.predicates.size());
        for (const Predicate& p : world.predicates) p.flips([&](Instant t) { world.flips.insert(t); });

        std::vector<std::uint8_t> held(4), scratch(4);
        world.evaluate(0, held);
        auto last = held;
        std::vector<std::vector<Instant>> expected(4);
        for (Instant t = 0; t <= kLength; t += kMinute) {
            for (Instant moment : {t, t + 1}) {
                world.evaluate(moment, scratch);
                for (std::size_t i = 0; i < 4; ++i) {
                    if (scratch[i] != last[i]) expected[i].push_back(moment);
                }
                last = scratch;
                cases -= 4;
            }
        }
        walk_forward(world, 0, kLength + 1, held, scratch);
        ASSERT_EQ(world.seen, expected);
    }
}
