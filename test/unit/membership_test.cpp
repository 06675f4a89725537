#include "rules/membership.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "compare.hpp"
#include "random.hpp"

using namespace lifecycle::rules;
using namespace lifecycle::test;

namespace {

using Bytes = std::vector<std::uint8_t>;

struct Stay {
    std::size_t segment;
    Instant at;
    bool entered;
    bool operator==(const Stay&) const = default;
};

struct Term {
    ClockComparison op;
    Instant edge;
};

// A customer whose segments are made of comparisons with the clock: a segment holds if all of its terms do.
struct World {
    std::vector<std::vector<Term>> segments;
    std::vector<std::uint8_t> dimensions;
    std::vector<Stay> seen;
    int evaluations = 0;
    int changes = 0;

    std::vector<Instant> flips() const {
        std::vector<Instant> all;
        for (const auto& segment : segments) {
            for (const Term& term : segment) {
                Flips f = flips_of(term.op, term.edge);
                if (f.first != kNever) all.push_back(f.first);
                if (f.second != kNever) all.push_back(f.second);
            }
        }
        return all;
    }
    Instant next_flip(Instant after) const {
        Instant next = kNever;
        for (Instant f : flips()) {
            if (f > after && f < next) next = f;
        }
        return next;
    }
    Instant previous_flip(Instant at_or_before) const {
        Instant previous = kBeginning;
        for (Instant f : flips()) {
            if (f <= at_or_before && f > previous) previous = f;
        }
        return previous;
    }
    void evaluate(Instant at, Held into) {
        ++evaluations;
        for (std::size_t i = 0; i < segments.size(); ++i) {
            into[i] = 1;
            for (const Term& term : segments[i]) into[i] &= holds(term.op, at, term.edge);
        }
        keep_first_of_dimension(dimensions, into);
    }
    void changed(Instant at, Held from, Held to) {
        ++changes;
        for (std::size_t i = 0; i < segments.size(); ++i) {
            if (from[i] != to[i]) seen.push_back({i, at, to[i] != 0});
        }
    }
    Bytes at(Instant t) {
        Bytes held(segments.size());
        evaluate(t, held);
        return held;
    }
};

World some_world(Random& random) {
    World world;
    for (auto n = random.between(1, 5); n > 0; --n) {
        std::vector<Term> terms;
        for (auto k = random.between(0, 3); k > 0; --k) {
            Instant edge = random.chance(5) ? (random.chance(50) ? kNever : kBeginning) : random.between(0, 60);
            terms.push_back({kComparisons[random.between(0, 5)], edge});
        }
        world.segments.push_back(terms);
        world.dimensions.push_back(static_cast<std::uint8_t>(random.between(0, 2)));
    }
    return world;
}

// The life of a customer of the playbook whose last order was at 0, with a day of one microsecond.
World life_after_an_order() {
    auto from = [](Instant day) { return Term{ClockComparison::greater_equal, day}; };
    auto until = [](Instant day) { return Term{ClockComparison::less, day}; };
    return {{{until(60)}, {from(60), until(90)}, {from(90), until(180)}, {from(180)}}, {1, 1, 1, 1}, {}};
}

}  // namespace

TEST(Dimension, OnlyTheFirstThatHoldsCounts) {
    Bytes held{1, 0, 1, 1, 1, 1};
    keep_first_of_dimension(Bytes{1, 1, 1, 2, 0, 2}, held);
    EXPECT_EQ(held, (Bytes{1, 0, 0, 1, 1, 0}));
}

TEST(Dimension, NeighboursAndThoseFarApartExcludeEachOther) {
    Bytes held{1, 1, 1, 0, 1};
    keep_first_of_dimension(Bytes{1, 1, 1, 1, 1}, held);
    EXPECT_EQ(held, (Bytes{1, 0, 0, 0, 0}));
}

TEST(Dimension, SegmentsWithoutOneDoNotExcludeEachOther) {
    Bytes held{1, 1, 0};
    keep_first_of_dimension(Bytes{0, 0, 0}, held);
    EXPECT_EQ(held, (Bytes{1, 1, 0}));
}

TEST(WalkForward, FindsEveryFlipOfAYearThatNobodyWatched) {
    World world = life_after_an_order();
    Bytes held = world.at(0), scratch(4);
    EXPECT_EQ(walk_forward(world, 0, 365, held, scratch), kNever);
    EXPECT_EQ(held, (Bytes{0, 0, 0, 1}));
    std::vector<Stay> expected{{0, 60, false}, {1, 60, true}, {1, 90, false}, {2, 90, true}, {2, 180, false}, {3, 180, true}};
    EXPECT_EQ(world.seen, expected);
}

TEST(WalkForward, SaysWhenToLookAgain) {
    World world = life_after_an_order();
    Bytes held = world.at(0), scratch(4);
    EXPECT_EQ(walk_forward(world, 0, 59, held, scratch), 60);
    EXPECT_TRUE(world.seen.empty());
    EXPECT_EQ(walk_forward(world, 59, 60, held, scratch), 90);
    EXPECT_EQ(world.seen.size(), 2u);
}

TEST(WalkForward, EvaluatesNothingWhenNothingIsDue) {
    World world = life_after_an_order();
    Bytes held = world.at(0), scratch(4);
    world.evaluations = 0;
    walk_forward(world, 0, 59, held, scratch);
    EXPECT_EQ(world.evaluations, 0);
}

TEST(WalkForward, KeepsQuietAboutAnInstantAtWhichNothingChanges) {
    Term never{ClockComparison::less, 0}, passing{ClockComparison::greater_equal, 50};
    World world{{{never, passing}}, {0}, {}};
    Bytes held = world.at(10), scratch(1);
    walk_forward(world, 10, 100, held, scratch);
    EXPECT_EQ(world.changes, 0);
}

TEST(WalkBack, FindsSinceWhenTheCustomerIsAtRisk) {
    World world = life_after_an_order();
    Bytes pending = world.at(75), scratch(4);
    std::vector<Instant> since(4, -1);
    EXPECT_EQ(walk_back(world, 0, 75, kNever, pending, since, scratch), 0u);
    EXPECT_EQ(since, (std::vector<Instant>{-1, 60, -1, -1}));
}

TEST(WalkBack, LeavesOpenWhatHasHeldAllTheWay) {
    World world = life_after_an_order();
    Bytes pending = world.at(30), scratch(4);
    std::vector<Instant> since(4, -1);
    EXPECT_EQ(walk_back(world, 0, 30, kNever, pending, since, scratch), 1u);
    EXPECT_EQ(pending, (Bytes{1, 0, 0, 0}));
    EXPECT_EQ(since[0], -1);
}

TEST(MembershipProperty, WalkingForwardAgreesWithLookingAtEveryInstant) {
    Random random;
    for (int run = 0; run < 5000; ++run) {
        World world = some_world(random);
        Instant from = random.between(-3, 60), to = from + random.between(0, 40);
        Bytes held = world.at(from), scratch(held.size());
        Instant next = walk_forward(world, from, to, held, scratch);

        World watched = world;
        watched.seen.clear();
        Bytes before = watched.at(from);
        for (Instant t = from + 1; t <= to; ++t) {
            Bytes now = watched.at(t);
            watched.changed(t, before, now);
            before = now;
        }
        ASSERT_EQ(world.seen, watched.seen) << "run " << run;
        ASSERT_EQ(held, before) << "run " << run;
        // Nothing changes until the instant at which it wants to look again.
        for (Instant t = to + 1; t < next && t < 70; ++t) ASSERT_EQ(watched.at(t), held) << "run " << run;
    }
}

TEST(MembershipProperty, LookingBackOverSeveralStretchesAgreesWithLookingAtEveryInstant) {
    Random random;
    for (int run = 0; run < 5000; ++run) {
        // Between purchases the facts stay the same; with each purchase another world begins.
        struct Stretch {
            Instant from, to;
            World world;
        };
        std::vector<Stretch> stretches;
        std::size_t segments = 0;
        Instant at = random.between(-3, 10);
        Instant beginning = at;
        for (auto n = random.between(1, 4); n > 0; --n) {
            Stretch s{at, at + random.between(0, 20), some_world(random)};
            if (stretches.empty()) segments = s.world.segments.size();
            s.world.segments.resize(segments);
            s.world.dimensions.resize(segments);
            at = s.to + 1;
            stretches.push_back(s);
        }
        Bytes pending = stretches.back().world.at(stretches.back().to), scratch(segments), held = pending;
        std::vector<Instant> since(segments, kNever);
        std::size_t open = 0;
        Instant later = kNever;
        for (std::size_t k = stretches.size(); k-- > 0;) {
            open = walk_back(stretches[k].world, stretches[k].from, stretches[k].to, later, pending, since, scratch);
            if (open == 0) break;
            later = stretches[k].from;
        }

        for (std::size_t i = 0; i < segments; ++i) {
            if (!held[i]) {
                ASSERT_EQ(since[i], kNever);
                continue;
            }
            Instant expected = kNever;  // held since before the beginning
            for (std::size_t k = stretches.size(); k-- > 0 && expected == kNever;) {
                for (Instant t = stretches[k].to; t >= stretches[k].from; --t) {
                    if (stretches[k].world.at(t)[i]) continue;
                    expected = t + 1;
                    break;
                }
            }
            ASSERT_EQ(pending[i] != 0, expected == kNever) << "run " << run << ", from " << beginning;
            ASSERT_EQ(since[i], expected) << "run " << run << ", segment " << i;
        }
        ASSERT_EQ(open, static_cast<std::size_t>(std::count(pending.begin(), pending.end(), 1)));
    }
}
