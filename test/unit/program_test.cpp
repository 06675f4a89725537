#include "rules/program.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

// Days count from 0; a year has 100 of them.
struct Days {
    Instant window = 100;
    Instant grace_days = 0;

    Instant leaves(Instant t) const { return t + window; }
    Instant year_after(Instant t) const { return (t / 100 + 1) * 100; }
    Instant grace(Instant t) const { return t + grace_days; }
};

Decimal euros(std::int64_t n) { return {static_cast<__int128>(n) * 1'000'000'000'000, 0}; }

struct Case {
    Period period = Period::rolling;
    Downgrade policy = Downgrade::recompute;
    Days days = {};
    std::vector<Earned> earned = {};
    std::vector<TakenBack> taken = {};
    struct Version {
        Instant from;
        std::vector<Decimal> thresholds;
    };
    std::vector<Version> versions = {};  // after the first one

    // "day:tier day:tier ...", tiers being . b s g
    std::string story(Instant until, Standing* standing = nullptr) const {
        const std::vector<Decimal> thresholds{euros(100), euros(500), euros(1000)};
        std::vector<Thresholds> all{{kBeginning, thresholds}};
        for (const Version& v : versions) all.push_back({v.from, v.thresholds});
        std::vector<Decimal> net(earned.size());
        std::string told;
        int last = kNoTier;
        Standing s = follow(period, policy, all, earned, taken, until, days, net, [&](Instant t, int tier, Decimal) {
            if (tier == last) return;
            last = tier;
            told += (told.empty() ? "" : " ") + std::to_string(t) + ":" + ".bsg"[tier + 1];
        });
        if (standing != nullptr) *standing = s;
        return told;
    }
};

constexpr Instant kAges = 1000;

TEST(Program, RollingUpAtOnceAndDownWhenThePurchaseLeavesTheWindow) {
    Case c{.earned = {{10, euros(90)}, {20, euros(10)}, {30, euros(500)}}};
    EXPECT_EQ(c.story(kAges), "20:b 30:s 130:.");
    c.earned.push_back({115, euros(100)});
    EXPECT_EQ(c.story(kAges), "20:b 30:s 130:b 215:.");
}

TEST(Program, GraceKeepsATierAndAPurchaseInItSavesIt) {
    Case c{.days = {.grace_days = 20}, .earned = {{0, euros(500)}}};
    EXPECT_EQ(c.story(kAges), "0:s 120:.");
    c.earned.push_back({119, euros(500)});
    EXPECT_EQ(c.story(kAges), "0:s 239:.");
    c.earned[1].at = 120;  // the tier ends and is reached again at one instant
    EXPECT_EQ(c.story(kAges), "0:s 240:.");
    c.earned[1].at = 121;
    EXPECT_EQ(c.story(kAges), "0:s 120:. 121:s 241:.");
}

TEST(Program, PoliciesOfDowngrading) {
    Case c{.policy = Downgrade::none, .earned = {{0, euros(1000)}}};
    EXPECT_EQ(c.story(kAges), "0:g");
    c.policy = Downgrade::one_down;
    EXPECT_EQ(c.story(kAges), "0:g 100:s 200:b 300:.");
    c.policy = Downgrade::recompute;
    EXPECT_EQ(c.story(kAges), "0:g 100:.");
}

TEST(Program, AYearsTierIsKeptThroughTheNextYear) {
    Case c{.period = Period::calendar_year, .earned = {{50, euros(500)}}};
    EXPECT_EQ(c.story(kAges), "50:s 200:.");
    c.earned.push_back({150, euros(100)});  // enough for bronze in the second year
    EXPECT_EQ(c.story(kAges), "50:s 200:b 300:.");
    c.earned[1].amount = euros(500);
    EXPECT_EQ(c.story(kAges), "50:s 300:.");
    c.days.grace_days = 10;
    c.earned[1] = {205, euros(500)};  // in grace, and towards the third year already
    EXPECT_EQ(c.story(kAges), "50:s 410:.");
    c.policy = Downgrade::one_down;
    EXPECT_EQ(c.story(kAges), "50:s 410:b 510:.");
}

TEST(Program, SpendOfTwoYearsDoesNotAddUp) {
    Case c{.period = Period::calendar_year, .earned = {{90, euros(400)}, {110, euros(400)}}};
    EXPECT_EQ(c.story(kAges), "90:b 300:.");
}

TEST(Program, WhatIsTakenBackNeverWas) {
    Case c{.days = {.grace_days = 50}, .earned = {{0, euros(400)}, {10, euros(600)}}, .taken = {{20, euros(600), 1}}};
    EXPECT_EQ(c.story(kAges), "0:b 10:g 20:b 150:.");  // no grace for gold, but for bronze
    c.taken[0].amount = euros(1);
    EXPECT_EQ(c.story(50), "0:b 10:g 20:s");
    c.taken = {{20, euros(300), 1}, {30, euros(300), 1}};
    EXPECT_EQ(c.story(50), "0:b 10:g 20:s 30:b");
    c.taken = {{20, euros(601), 1}};  // more than it was: out of the latest others
    EXPECT_EQ(c.story(50), "0:b 10:g 20:b");
    c.taken = {{20, euros(950), kLatest}};
    EXPECT_EQ(c.story(50), "0:b 10:g 20:.");
    // A tier that is held by grace only falls if it was won by what goes.
    c.taken = {{120, euros(600), 1}};
    EXPECT_EQ(c.story(120), "0:b 10:g 120:b");
}

TEST(Program, SaysUntilWhenATierIsValidAndWhatIsMissing) {
    Case c{.days = {.grace_days = 5}, .earned = {{0, euros(400)}, {10, euros(600)}}};
    Standing s;
    c.story(50, &s);
    EXPECT_EQ(s.valid_until, 105);
    EXPECT_EQ(s.missing, euros(400));
    EXPECT_EQ(s.next_event, 100);
    EXPECT_EQ(s.spend, euros(1000));
    c.earned.push_back({60, euros(600)});  // announced: it is not counted on, but looked at when its time has come
    c.story(50, &s);
    EXPECT_EQ(s.valid_until, 105);
    EXPECT_EQ(s.missing, euros(400));
    EXPECT_EQ(s.next_event, 60);
    c.taken = {{45, euros(600), 2}};  // and taken back before: nothing else pays for it
    c.story(50, &s);
    EXPECT_EQ(s.spend, euros(1000));
    c.earned.pop_back();
    c.taken.clear();
    c.period = Period::calendar_year;
    c.story(50, &s);
    EXPECT_EQ(s.valid_until, 205);
    EXPECT_EQ(s.missing, euros(1000));
    c.story(150, &s);
    EXPECT_EQ(s.spend, euros(0));
    EXPECT_EQ(s.valid_until, 205);
    c.policy = Downgrade::none;
    c.story(150, &s);
    EXPECT_EQ(s.valid_until, kNever);
}

TEST(Program, FromADateOnTiersCostSomethingElse) {
    Case c{.days = {.window = kNever / 2}, .earned = {{0, euros(90)}, {10, euros(500)}}};
    c.versions = {{50, {euros(50), euros(600), euros(2000)}}};
    Standing s;
    EXPECT_EQ(c.story(49, &s), "10:s");
    EXPECT_EQ(s.next_event, 50);
    EXPECT_EQ(s.valid_until, 50);
    EXPECT_EQ(s.missing, euros(10));
    EXPECT_EQ(c.story(kAges), "10:s 50:b");
    c.versions.push_back({70, {euros(5), euros(590), euros(591)}});
    EXPECT_EQ(c.story(kAges), "10:s 50:b 70:s");
    c.days.grace_days = 30;  // before it is over, silver costs less again
    EXPECT_EQ(c.story(kAges), "10:s");
    c.days.grace_days = 0;
    c.policy = Downgrade::none;
    EXPECT_EQ(c.story(kAges), "10:s");
    // Before somebody has earned anything, nothing happens.
    Case later{.days = {.window = kNever / 2}, .earned = {{60, euros(550)}}, .versions = {{50, {euros(0), euros(600), euros(2000)}}}};
    EXPECT_EQ(later.story(kAges), "60:b");
}

TEST(Program, WhatWasWonInAYearIsKeptWhateverTiersCostFromThenOn) {
    Case c{.period = Period::calendar_year, .earned = {{50, euros(500)}}};
    c.versions = {{60, {euros(100), euros(600), euros(1000)}}};
    EXPECT_EQ(c.story(kAges), "50:s 200:.");
    c.versions[0].from = 100;  // at the turn of the year
    EXPECT_EQ(c.story(kAges), "50:s 200:.");
    c.earned.push_back({150, euros(500)});  // no longer good for silver
    EXPECT_EQ(c.story(kAges), "50:s 200:b 300:.");
    c.taken = {{170, euros(100), 0}};  // and never was
    EXPECT_EQ(c.story(kAges), "50:s 170:b 300:.");
}

// Looked at from any later instant, the past is what it was: time alone rewrites nothing.
TEST(Program, TheStoryUpToAnInstantIsTheBeginningOfEveryLongerOne) {
    Random random;
    for (int round = 0; round < 500; ++round) {
        Case c;
        c.period = static_cast<Period>(random.between(1, 3));
        c.policy = static_cast<Downgrade>(random.between(0, 2));
        c.days = {.window = random.between(1, 150), .grace_days = random.between(0, 30)};
        Instant t = 0;
        for (std::int64_t n = random.between(0, 12); n > 0; --n) {
            t += random.between(0, 60);
            c.earned.push_back({t, euros(random.between(0, 600))});
            if (random.chance(30)) c.taken.push_back({t, euros(random.between(0, 600)), random.chance(50) ? kLatest : c.earned.size() - 1});
        }
        Instant from = 0;
        for (std::int64_t n = random.between(0, 3); n > 0; --n) {
            from += random.between(1, 200);
            std::int64_t bronze = random.between(1, 300), silver = bronze + random.between(1, 300);
            c.versions.push_back({from, {euros(bronze), euros(silver), euros(silver + random.between(1, 300))}});
        }
        std::string whole = c.story(kAges);
        for (Instant until = 0; until < 800; until += random.between(1, 50)) {
            std::string part = c.story(until);
            ASSERT_EQ(whole.substr(0, part.size()), part) << until;
        }
    }
}

// Everything taken back, in any order and in any parts, leaves nothing.
TEST(Program, NothingRemainsOfWhatIsTakenBackInFull) {
    Random random;
    for (int round = 0; round < 500; ++round) {
        Case c{.period = static_cast<Period>(random.between(1, 3)), .policy = static_cast<Downgrade>(random.between(0, 2))};
        std::int64_t n = random.between(1, 8);
        for (std::int64_t i = 0; i < n; ++i) c.earned.push_back({i * 10, euros(random.between(1, 900))});
        for (std::size_t i = 0; i < c.earned.size(); ++i) {
            Decimal half = euros(static_cast<std::int64_t>(c.earned[i].amount.units / euros(1).units) / 2);
            c.taken.push_back({n * 10, half, i});
            c.taken.push_back({n * 10, *subtract(c.earned[i].amount, half), random.chance(50) ? i : kLatest});
        }
        Standing s;
        c.story(n * 10, &s);
        ASSERT_EQ(s.tier, kNoTier);
    }
}

}  // namespace
