#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "random.hpp"
#include "rules/arms.hpp"
#include "rules/caps.hpp"
#include "rules/send_window.hpp"

using namespace lifecycle::rules;

namespace {
constexpr int at(int hour, int minute = 0) { return hour * 60 + minute; }
constexpr SendWindow kAlways{};
}  // namespace

TEST(SendWindow, IsHalfOpen) {
    SendWindow office{at(9), at(17)};
    EXPECT_FALSE(is_open(office, {0, at(8, 59)}));
    EXPECT_TRUE(is_open(office, {0, at(9)}));
    EXPECT_TRUE(is_open(office, {0, at(16, 59)}));
    EXPECT_FALSE(is_open(office, {0, at(17)}));
}

TEST(SendWindow, QuietNightsLeaveTheDay) {
    SendWindow window = outside_quiet(at(22), at(8));
    EXPECT_FALSE(is_open(window, {3, at(22)}));
    EXPECT_FALSE(is_open(window, {3, at(3)}));
    EXPECT_TRUE(is_open(window, {3, at(8)}));
    Opening opening = next_opening(window, kAlways, {3, at(22, 30)});
    EXPECT_EQ(opening.days, 1);
    EXPECT_EQ(opening.minute, at(8));
    opening = next_opening(window, kAlways, {3, at(1)});
    EXPECT_EQ(opening.days, 0);
    EXPECT_EQ(opening.minute, at(8));
}

TEST(SendWindow, OverMidnightBelongsToTheDayItBegins) {
    SendWindow friday_night{at(20), at(2), 1 << 4};
    EXPECT_TRUE(is_open(friday_night, {4, at(23)}));
    EXPECT_TRUE(is_open(friday_night, {5, at(1)}));
    EXPECT_FALSE(is_open(friday_night, {5, at(20)}));
    EXPECT_FALSE(is_open(friday_night, {4, at(1)}));
}

TEST(SendWindow, NeverIsNever) {
    EXPECT_LT(next_opening({0, at(12)}, {at(12), at(24)}, {0, at(3)}).days, 0);
    EXPECT_LT(next_opening({0, at(24), 0}, kAlways, {0, at(3)}).days, 0);
}

TEST(SendWindow, FindsTheFirstMinuteThatBruteForceFinds) {
    lifecycle::test::Random random;
    auto below = [&](int n) { return static_cast<int>(random.between(0, n - 1)); };
    for (int n = 0; n < 3000; ++n) {
        auto window = [&] {
            return SendWindow{below(48) * 30, below(49) * 30, static_cast<std::uint8_t>(below(128))};
        };
        SendWindow a = window();
        SendWindow b = window();
        WallMinute from{below(7), below(kMinutesPerDay)};
        Opening expected{-1, 0};
        for (int ahead = 0; ahead < 9 * kMinutesPerDay && expected.days < 0; ++ahead) {
            int minute = from.minute + ahead;
            WallMinute then{(from.weekday + minute / kMinutesPerDay) % 7, minute % kMinutesPerDay};
            if (is_open(a, then) && is_open(b, then)) expected = {minute / kMinutesPerDay, minute % kMinutesPerDay};
        }
        Opening found = next_opening(a, b, from);
        EXPECT_EQ(found.days, expected.days) << n;
        EXPECT_EQ(found.minute, expected.minute) << n;
    }
}

TEST(Arms, StayWhatTheyAre) {
    // Changing these values moves every customer of every running experiment to another arm.
    EXPECT_EQ(part_of("cart_recovery", "42"), 1387);
    EXPECT_EQ(part_of("cart_recovery", "ann@example.org"), 9714);
    EXPECT_NE(part_of("welcome", "42"), part_of("cart_recovery", "42"));
    EXPECT_NE(part_of("ab", "c"), part_of("a", "bc"));
}

TEST(Arms, SharesComeOut) {
    int held = 0;
    int first = 0;
    const int weights[] = {1, 3};
    for (int i = 0; i < 20'000; ++i) {
        held += is_held_out("s", std::to_string(i), 1000);
        first += choose("s", std::to_string(i), weights) == 0;
    }
    EXPECT_NEAR(held, 2000, 150);
    EXPECT_NEAR(first, 5000, 250);
}

TEST(Arms, WithoutWeightThereIsNoChoice) {
    const int none[] = {0, 0};
    const int second[] = {0, 5};
    EXPECT_EQ(choose("s", "42", none), -1);
    EXPECT_EQ(choose("s", "42", second), 1);
    EXPECT_EQ(choose("s", "42", {}), -1);
}

TEST(Caps, Roll) {
    const Cap caps[] = {{100, 2}, {1000, 5}};
    EXPECT_EQ(allowed_at(caps, std::vector<Instant>{}, 50), 50);
    EXPECT_EQ(allowed_at(caps, std::vector<Instant>{10}, 50), 50);
    EXPECT_EQ(allowed_at(caps, std::vector<Instant>{10, 40}, 50), 110);
    EXPECT_EQ(allowed_at(caps, std::vector<Instant>{10, 40}, 110), 110);
    EXPECT_EQ(allowed_at(caps, std::vector<Instant>{0, 200, 400, 600, 800}, 900), 1000);
}

TEST(Caps, NoneAllowedAndNoCap) {
    const Cap none[] = {{100, 0}};
    const Cap no_cap[] = {{100, -1}};
    EXPECT_EQ(allowed_at(none, std::vector<Instant>{}, 50), kNever);
    EXPECT_EQ(allowed_at(no_cap, std::vector<Instant>{1, 2, 3}, 50), 50);
}
