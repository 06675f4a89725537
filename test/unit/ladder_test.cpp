#include "rules/ladder.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

Decimal euros(std::string_view text) { return *Decimal::parse(text); }

enum Tier { bronze, silver, gold, vip };
const std::vector<Decimal> kThresholds{euros("100"), euros("500"), euros("1000"), euros("5000")};

}  // namespace

TEST(Ladder, EachTierBeginsExactlyAtItsThreshold) {
    EXPECT_EQ(tier_for(euros("0"), kThresholds), kNoTier);
    EXPECT_EQ(tier_for(euros("99.99"), kThresholds), kNoTier);
    EXPECT_EQ(tier_for(euros("100"), kThresholds), bronze);
    EXPECT_EQ(tier_for(euros("499.999999999999"), kThresholds), bronze);
    EXPECT_EQ(tier_for(euros("500.00"), kThresholds), silver);
    EXPECT_EQ(tier_for(euros("1000"), kThresholds), gold);
    EXPECT_EQ(tier_for(euros("5000"), kThresholds), vip);
    EXPECT_EQ(tier_for(euros("1000000"), kThresholds), vip);
}

TEST(Ladder, WhoHasGotMoreBackThanPaidHasNoTier) { EXPECT_EQ(tier_for(euros("-1"), kThresholds), kNoTier); }

TEST(Ladder, WithoutTiersNobodyHasOne) { EXPECT_EQ(tier_for(euros("5000"), {}), kNoTier); }

TEST(Ladder, TierFromZeroIsEverybodys) {
    std::vector<Decimal> thresholds{euros("0"), euros("10")};
    EXPECT_EQ(tier_for(euros("0"), thresholds), 0);
}

TEST(LadderProperty, IsTheHighestThatIsReachedAndGrowsWithTheSpend) {
    Random random;
    for (int run = 0; run < 5000; ++run) {
        std::vector<Decimal> thresholds;
        Decimal::Units at = 0;
        for (auto n = random.between(0, 6); n > 0; --n) thresholds.push_back({at += random.between(1, 50), 0});
        Decimal spend{random.between(-10, 310), 0}, more{spend.units + random.between(0, 50), 0};

        int expected = kNoTier;
        for (std::size_t i = 0; i < thresholds.size(); ++i) {
            if (thresholds[i] <= spend) expected = static_cast<int>(i);
        }
        ASSERT_EQ(tier_for(spend, thresholds), expected);
        ASSERT_LE(tier_for(spend, thresholds), tier_for(more, thresholds));
    }
}
