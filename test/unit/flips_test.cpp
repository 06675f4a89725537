#include "rules/flips.hpp"

#include <gtest/gtest.h>

#include "compare.hpp"

using namespace lifecycle::rules;
using lifecycle::test::holds;
using lifecycle::test::kComparisons;

TEST(Flips, BeforeAndFromAnInstantChangeAtIt) {
    EXPECT_EQ(flips_of(ClockComparison::less, 1000).first, 1000);
    EXPECT_EQ(flips_of(ClockComparison::greater_equal, 1000).first, 1000);
    EXPECT_EQ(flips_of(ClockComparison::less, 1000).second, kNever);
}

TEST(Flips, UpToAndAfterAnInstantChangeOneMicrosecondLater) {
    EXPECT_EQ(flips_of(ClockComparison::less_equal, 1000).first, 1001);
    EXPECT_EQ(flips_of(ClockComparison::greater, 1000).first, 1001);
}

TEST(Flips, ExactlyAtAnInstantChangesTwice) {
    for (auto op : {ClockComparison::equal, ClockComparison::not_equal}) {
        EXPECT_EQ(flips_of(op, 1000).first, 1000);
        EXPECT_EQ(flips_of(op, 1000).second, 1001);
    }
}

TEST(Flips, AgainstAnInfiniteEdgeNothingEverChanges) {
    for (auto op : kComparisons) {
        for (Instant edge : {kNever, kBeginning}) {
            EXPECT_EQ(flips_of(op, edge).first, kNever);
            EXPECT_EQ(flips_of(op, edge).second, kNever);
        }
    }
}

TEST(FlipsProperty, AreExactlyTheInstantsAtWhichTheComparisonChanges) {
    for (auto op : kComparisons) {
        for (Instant edge : {Instant{0}, Instant{-5}, Instant{1'000'000}}) {
            Flips f = flips_of(op, edge);
            for (Instant now = edge - 5; now <= edge + 5; ++now) {
                bool changes = holds(op, now - 1, edge) != holds(op, now, edge);
                bool said = now == f.first || now == f.second;
                EXPECT_EQ(said, changes) << "comparison " << static_cast<int>(op) << ", edge " << edge << ", now " << now;
            }
        }
    }
}
