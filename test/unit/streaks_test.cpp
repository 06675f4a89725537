#include "rules/streaks.hpp"

#include <gtest/gtest.h>

#include <vector>

using namespace lifecycle::rules;

namespace {

std::vector<std::size_t> complete(std::vector<std::int64_t> units, int length) {
    std::vector<std::size_t> found;
    streaks_in(units, length, [&](std::size_t i) { found.push_back(i); });
    return found;
}

using Found = std::vector<std::size_t>;

TEST(Streaks, AreRunsCutFromTheirBeginning) {
    EXPECT_EQ(complete({}, 3), Found{});
    EXPECT_EQ(complete({1, 2}, 3), Found{});
    EXPECT_EQ(complete({1, 2, 3}, 3), Found{2});
    EXPECT_EQ(complete({1, 2, 4, 5, 6}, 3), Found{4});
    EXPECT_EQ(complete({1, 2, 3, 4, 5}, 3), Found{2});
    EXPECT_EQ(complete({1, 2, 3, 4, 5, 6}, 3), (Found{2, 5}));
    EXPECT_EQ(complete({1, 1, 2, 2, 2, 3}, 3), Found{5});
    EXPECT_EQ(complete({-2, -1, 0}, 3), Found{2});
}

TEST(Streaks, UnitsAreNumberedWithoutAGap) {
    for (Unit unit : {Unit::day, Unit::week, Unit::month}) {
        std::int64_t last = number_of(unit, date_of(-2000));
        for (std::int64_t day = -1999; day < 12000; ++day) {
            Date date = date_of(day);
            std::int64_t number = number_of(unit, date);
            bool begins = unit == Unit::day || (unit == Unit::week && (day + 5) % 7 == 0) || (unit == Unit::month && date.day == 1);
            ASSERT_EQ(number, begins ? last + 1 : last) << day;
            if (begins) {
                ASSERT_EQ(first_day(unit, number), date);
            }
            last = number;
        }
    }
}

}  // namespace
