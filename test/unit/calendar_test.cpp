#include "rules/calendar.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "random.hpp"

using namespace lifecycle::rules;
using namespace lifecycle::test;

namespace {

constexpr std::int64_t kHour = 3600 * kMicroseconds;

std::chrono::sys_days y2k() { return std::chrono::sys_days{std::chrono::year{2000} / 1 / 1}; }

Wall wall(int year, int month, int day, int hour = 0, int minute = 0) {
    return days_of({year, month, day}) * kDay + hour * kHour + minute * 60 * kMicroseconds;
}

}  // namespace

TEST(Calendar, AgreesWithTheStandardLibrary) {
    for (std::int64_t days = -400'000; days < 400'000; days += 1 + (days & 3)) {
        std::chrono::year_month_day expected{y2k() + std::chrono::days{days}};
        Date date = date_of(days);
        ASSERT_EQ(date, (Date{int(expected.year()), int(unsigned(expected.month())), int(unsigned(expected.day()))}));
        ASSERT_EQ(days_of(date), days);
        ASSERT_EQ(is_leap(date.year), expected.year().is_leap());
    }
}

TEST(Calendar, UnitsBeginWhereTheyShould) {
    Wall t = wall(2026, 11, 18, 15, 30);  // a Wednesday
    EXPECT_EQ(floor_to(Unit::none, t), t);
    EXPECT_EQ(floor_to(Unit::hour, t), wall(2026, 11, 18, 15));
    EXPECT_EQ(floor_to(Unit::day, t), wall(2026, 11, 18));
    EXPECT_EQ(floor_to(Unit::week, t), wall(2026, 11, 16));
    EXPECT_EQ(floor_to(Unit::month, t), wall(2026, 11, 1));
    EXPECT_EQ(floor_to(Unit::quarter, t), wall(2026, 10, 1));
    EXPECT_EQ(floor_to(Unit::year, t), wall(2026, 1, 1));
    EXPECT_EQ(floor_to(Unit::year, wall(1999, 12, 31)), wall(1999, 1, 1));
    EXPECT_EQ(floor_to(Unit::week, wall(2000, 1, 1)), wall(1999, 12, 27));
}

TEST(Calendar, UnitsFollowOneAnother) {
    Random random;
    for (Unit unit : {Unit::hour, Unit::day, Unit::week, Unit::month, Unit::quarter, Unit::year}) {
        for (int i = 0; i < 20'000; ++i) {
            Wall t = random.between(-100'000 * kDay, 100'000 * kDay);
            Wall begin = floor_to(unit, t);
            Wall next = next_unit(unit, t);
            ASSERT_LE(begin, t);
            ASSERT_GT(next, t);
            ASSERT_EQ(floor_to(unit, begin), begin);
            ASSERT_EQ(floor_to(unit, next), next);
            ASSERT_EQ(floor_to(unit, next - 1), begin);
        }
    }
}

TEST(Calendar, LeapDaysAreCelebratedAsTheShopSays) {
    Date leap{2004, 2, 29};
    EXPECT_EQ(anniversary_in(2028, leap, LeapDay::skip), days_of({2028, 2, 29}));
    EXPECT_EQ(anniversary_in(2027, leap, LeapDay::february_28), days_of({2027, 2, 28}));
    EXPECT_EQ(anniversary_in(2027, leap, LeapDay::march_1), days_of({2027, 3, 1}));
    EXPECT_EQ(anniversary_in(2027, leap, LeapDay::skip), kNoDay);
    EXPECT_EQ(anniversary_in(2100, leap, LeapDay::february_28), days_of({2100, 2, 28}));
    EXPECT_EQ(anniversary_in(2027, {1990, 2, 28}, LeapDay::march_1), days_of({2027, 2, 28}));
}
