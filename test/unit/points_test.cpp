#include "rules/points.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

Decimal number(std::string_view text) { return *Decimal::parse(text); }
const Decimal kOnce = number("1");

std::optional<std::int64_t> earn(std::string_view amount, std::string_view rate, std::string_view multiplier = "1",
                                 std::string_view fixed = "0") {
    return points_for(number(amount), {number(rate), number(fixed)}, number(multiplier));
}

std::vector<std::int64_t> shares(std::int64_t total, const std::vector<std::int64_t>& weights) {
    std::vector<std::int64_t> parts(weights.size(), -1);
    apportion(total, weights, parts);
    return parts;
}

using Parts = std::vector<std::int64_t>;

TEST(PointsFor, AnAmountEarnsByItsRateRoundedDownOnce) {
    EXPECT_EQ(earn("19.99", "1"), 19);
    EXPECT_EQ(earn("19.99", "0.1"), 1);
    EXPECT_EQ(earn("0.99", "1"), 0);
    EXPECT_EQ(earn("33.33", "1.5", "1.5"), 74);  // 74.9925, not 49 * 1.5
    EXPECT_EQ(earn("10.50", "1", "2"), 21);
}

TEST(PointsFor, AFixedNumberIsMultipliedToo) {
    EXPECT_EQ(earn("0", "0", "1", "50"), 50);
    EXPECT_EQ(earn("0", "0", "1.25", "50"), 62);
    EXPECT_EQ(earn("0.5", "1", "1", "0.5"), 1);
    EXPECT_EQ(earn("100", "1", "0", "50"), 0);
}

TEST(PointsFor, NothingIsEarnedByAnAmountBelowZero) {
    EXPECT_EQ(earn("-100", "1"), 0);
    EXPECT_EQ(earn("-100", "1", "1", "5"), 5);
}

TEST(PointsFor, TheLargestAmountsNeitherOverflowNorEarnWithoutLimit) {
    EXPECT_EQ(earn("999999999999999999", "1"), std::nullopt);
    EXPECT_EQ(earn("999999999999999999", "1000000", "1000000", "999999999999999999"), std::nullopt);
    EXPECT_EQ(earn("999999999999999999.999999999999", "0.000001"), 999'999'999'999);
    EXPECT_EQ(earn("1000000000000", "1"), kMostPoints);
    EXPECT_EQ(earn("1000000000001", "1"), std::nullopt);
}

TEST(ShareOfPoints, RoundsToTheNearest) {
    EXPECT_EQ(share_of_points(100, number("1"), number("3")), 33);
    EXPECT_EQ(share_of_points(100, number("2"), number("3")), 67);
    EXPECT_EQ(share_of_points(1, number("1"), number("2")), 1);
    EXPECT_EQ(share_of_points(1, number("0.49"), number("1")), 0);
}

TEST(ShareOfPoints, TheEndsAreExact) {
    EXPECT_EQ(share_of_points(77, number("0"), number("10")), 0);
    EXPECT_EQ(share_of_points(77, number("-3"), number("10")), 0);
    EXPECT_EQ(share_of_points(77, number("10"), number("10")), 77);
    EXPECT_EQ(share_of_points(77, number("11"), number("10")), 77);
    EXPECT_EQ(share_of_points(77, number("11"), number("0")), 0);
}

TEST(ShareOfPoints, FitsWhateverFits) {
    Decimal whole = number("999999999999999999.999999999999");
    Decimal less = *subtract(whole, number("0.000000000001"));
    EXPECT_EQ(share_of_points(kMostPoints, less, whole), kMostPoints);
    EXPECT_EQ(share_of_points(kMostPoints, number("500000000000000000"), whole), kMostPoints / 2);
}

TEST(ShareOfPoints, RefundsInAnyPartsTakeBackExactlyWhatWasEarned) {
    Random random;
    for (int round = 0; round < 2000; ++round) {
        std::int64_t points = random.between(0, 5000);
        std::int64_t left = random.between(1, 100'000);
        Decimal whole{static_cast<__int128>(left) * 10'000'000'000, 2};
        Decimal refunded{};
        std::int64_t taken = 0;
        while (left > 0) {
            std::int64_t cents = random.between(1, left);
            left -= cents;
            Decimal more = *add(refunded, Decimal{static_cast<__int128>(cents) * 10'000'000'000, 2});
            std::int64_t part = share_of_points(points, more, whole) - share_of_points(points, refunded, whole);
            ASSERT_GE(part, 0);
            taken += part;
            refunded = more;
        }
        ASSERT_EQ(taken, points);
    }
}

TEST(Apportion, TheLargestRemaindersGetWhatIsLeft) {
    EXPECT_EQ(shares(10, {1, 1, 1}), (Parts{4, 3, 3}));
    EXPECT_EQ(shares(5, {50, 30, 20}), (Parts{3, 1, 1}));  // 2.5, 1.5, 1.0
    EXPECT_EQ(shares(7, {5, 3, 1}), (Parts{4, 2, 1}));     // 3.89, 2.33, 0.78
    EXPECT_EQ(shares(1, {1, 2}), (Parts{0, 1}));
}

TEST(Apportion, NothingToShareOrNobodyToShareItWith) {
    EXPECT_EQ(shares(0, {3, 4}), (Parts{0, 0}));
    EXPECT_EQ(shares(5, {0, 0}), (Parts{0, 0}));
    EXPECT_EQ(shares(5, {}), (Parts{}));
    EXPECT_EQ(shares(5, {0, 3}), (Parts{0, 5}));
}

TEST(Apportion, PartsAddUpAndNeverExceedTheirWeights) {
    Random random;
    for (int round = 0; round < 5000; ++round) {
        Parts weights(static_cast<std::size_t>(random.between(1, 8)));
        for (auto& w : weights) w = random.between(0, 3) == 0 ? 0 : random.between(1, kMostPoints);
        std::int64_t sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
        std::int64_t total = random.between(0, sum);
        Parts parts = shares(total, weights);
        ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}), total);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            ASSERT_LE(parts[i], weights[i]);
            __int128 quota = sum == 0 ? 0 : static_cast<__int128>(total) * weights[i] / sum;
            ASSERT_TRUE(parts[i] == quota || parts[i] == quota + 1);
        }
    }
}

}  // namespace
