#include "rules/purchases.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

Decimal euros(int n) { return *Decimal::parse(std::to_string(n) + ".00"); }
Purchase order(Instant at, int amount) { return {at, euros(amount), PurchaseKind::order}; }
Purchase refund(Instant at, int amount) { return {at, euros(amount), PurchaseKind::refund}; }

PurchaseNumbers numbers_after(std::initializer_list<Purchase> purchases) {
    PurchaseNumbers numbers;
    for (const Purchase& p : purchases) numbers = *after(numbers, p);
    return numbers;
}

}  // namespace

TEST(Purchases, NobodyHasBoughtAnythingAtFirst) {
    PurchaseNumbers none;
    EXPECT_EQ(none.order_count, 0);
    EXPECT_EQ(none.first_order_at, kNever);
    EXPECT_EQ(none.last_order_at, kNever);
}

TEST(Purchases, FirstOrderIsFirstAndLast) {
    auto n = numbers_after({order(100, 40)});
    EXPECT_EQ(n.order_count, 1);
    EXPECT_EQ(n.revenue, euros(40));
    EXPECT_EQ(n.first_order_at, 100);
    EXPECT_EQ(n.last_order_at, 100);
    EXPECT_EQ(n.previous_order_at, kNever);
}

TEST(Purchases, PreviousOrderIsTheOneBeforeTheLast) {
    auto n = numbers_after({order(100, 1), order(200, 2), order(300, 3)});
    EXPECT_EQ(n.first_order_at, 100);
    EXPECT_EQ(n.previous_order_at, 200);
    EXPECT_EQ(n.last_order_at, 300);
    EXPECT_EQ(n.revenue, euros(6));
}

TEST(Purchases, RefundTakesMoneyAndNothingElse) {
    auto before = numbers_after({order(100, 40), order(200, 40)});
    auto n = *after(before, refund(300, 50));
    EXPECT_EQ(n.revenue, euros(30));
    EXPECT_EQ(n.latest_at, 300);
    n.revenue = before.revenue;
    n.latest_at = before.latest_at;
    EXPECT_EQ(n, before);
}

TEST(Purchases, RevenueMayBecomeNegative) { EXPECT_EQ(numbers_after({refund(100, 5)}).revenue, euros(-5)); }

TEST(Purchases, RevenueThatCannotBeKeptExactlyIsRefused) {
    Purchase huge{100, *Decimal::parse("1000000000000000000000000"), PurchaseKind::order};
    auto n = after({}, huge);
    ASSERT_TRUE(n);
    EXPECT_FALSE(after(*n, order(200, 1)));
}

TEST(PurchasesProperty, AgreesWithLookingAtAllOfThemAtOnce) {
    Random random;
    for (int run = 0; run < 2000; ++run) {
        std::vector<Purchase> all;
        for (auto n = random.between(0, 12); n > 0; --n) {
            auto amount = static_cast<int>(random.between(0, 500));
            all.push_back(random.chance(75) ? order(random.between(0, 20), amount) : refund(random.between(0, 20), amount));
        }
        std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.at < b.at; });
        PurchaseNumbers n;
        for (const Purchase& p : all) n = *after(n, p);

        std::vector<Instant> orders;
        Decimal revenue;
        for (const Purchase& p : all) {
            if (p.kind == PurchaseKind::order) orders.push_back(p.at);
            revenue = *(p.kind == PurchaseKind::order ? add(revenue, p.amount) : subtract(revenue, p.amount));
        }
        ASSERT_EQ(n.order_count, static_cast<std::int64_t>(orders.size()));
        ASSERT_EQ(n.revenue, revenue);
        ASSERT_EQ(n.first_order_at, orders.empty() ? kNever : orders.front());
        ASSERT_EQ(n.last_order_at, orders.empty() ? kNever : orders.back());
        ASSERT_EQ(n.previous_order_at, orders.size() < 2 ? kNever : orders[orders.size() - 2]);
        ASSERT_EQ(n.latest_at, all.empty() ? kBeginning : all.back().at);
    }
}
