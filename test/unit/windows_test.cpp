#include "rules/windows.hpp"

#include <gtest/gtest.h>

#include <vector>

using namespace lifecycle::rules;

namespace {

struct Made {
    std::vector<Total> begun, ended;
    Window window;
    bool fits;

    explicit Made(std::vector<Counted> counted) : begun(counted.size()), ended(counted.size()) {
        fits = make_window(counted, begun, ended, &window);
    }
};

}  // namespace

TEST(Windows, CountFromTheBeginningUpToTheEnd) {
    Made m({{100, 200, {5, 0}}, {150, 250, {7, 0}}});
    EXPECT_EQ(at(m.window, 99).count, 0);
    EXPECT_EQ(at(m.window, 100).count, 1);
    EXPECT_EQ(at(m.window, 150).count, 2);
    EXPECT_EQ(at(m.window, 150).amount.units, 12);
    EXPECT_EQ(at(m.window, 199).count, 2);
    EXPECT_EQ(at(m.window, 200).count, 1);
    EXPECT_EQ(at(m.window, 200).amount.units, 7);
    EXPECT_EQ(at(m.window, 250).count, 0);
    EXPECT_EQ(at(m.window, 250).amount.units, 0);
}

TEST(Windows, WhatNeverEndsCountsForGood) {
    Made m({{100, kNever, {5, 0}}});
    EXPECT_EQ(at(m.window, kNever - 1).count, 1);
}

TEST(Windows, WhatEndsBeforeItBeginsNeverCounts) {
    Made m({{100, 100, {5, 0}}, {100, 50, {5, 0}}});
    EXPECT_EQ(at(m.window, 75).count, 0);
    EXPECT_EQ(at(m.window, 100).count, 0);
}

TEST(Windows, SayWhenASumLeavesTheRange) {
    Decimal largest = *Decimal::parse("1000000000000000000000000");
    EXPECT_FALSE(Made({{1, 10, largest}, {2, 10, largest}}).fits);
    EXPECT_TRUE(Made({{1, 10, largest}}).fits);
}
