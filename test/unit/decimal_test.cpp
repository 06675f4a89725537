#include "rules/decimal.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "random.hpp"

using lifecycle::rules::Decimal;
using lifecycle::rules::share;
using lifecycle::test::Random;

namespace {

Decimal money(std::string_view text) {
    auto amount = Decimal::parse(text);
    EXPECT_TRUE(amount) << text;
    return amount.value_or(Decimal{});
}

std::string text(Decimal amount) {
    char buffer[64];
    return std::string(amount.format(buffer));
}

// An amount as a shop might write it, from a tenth of a cent to billions.
std::string some_amount(Random& random) {
    std::string s = random.chance(30) ? "-" : "";
    s += std::to_string(random.between(0, random.chance(50) ? 200 : 9'999'999'999));
    auto decimals = random.between(0, Decimal::kScale);
    if (decimals > 0) {
        s += '.';
        for (int i = 0; i < decimals; ++i) s += static_cast<char>('0' + random.between(0, 9));
    }
    return s;
}

std::string text(lifecycle::rules::Scaled number) {
    bool negative = number.value < 0;
    auto rest = static_cast<unsigned __int128>(negative ? -number.value : number.value);
    std::string s;
    for (int k = 0; k < number.scale || rest != 0 || k == number.scale; ++k, rest /= 10) {
        if (k == number.scale && k > 0) s.insert(0, 1, '.');
        s.insert(0, 1, static_cast<char>('0' + static_cast<int>(rest % 10)));
    }
    return negative ? '-' + s : s;
}

bool is_zero(const std::string& s) { return s.find_first_of("123456789") == std::string::npos; }

}  // namespace

TEST(Decimal, ReadsAndWritesAmountsAsTheyWereWritten) {
    for (const char* s : {"0", "7", "19.99", "19.90", "-0.01", "0.000000000001", "123456789012345678901234"}) EXPECT_EQ(text(money(s)), s);
    EXPECT_EQ(text(money("+5.0")), "5.0");
    EXPECT_EQ(text(money(".5")), "0.5");
    EXPECT_EQ(text(money("5.")), "5");
    EXPECT_EQ(text(money("007")), "7");
    EXPECT_EQ(text(money("-0")), "0");
}

TEST(Decimal, RefusesWhatIsNoPlainNumber) {
    for (const char* s : {"", "-", "+", ".", "-.", "NaN", "Infinity", "1e3", "1,5", "1.2.3", " 1", "1 ", "--1", "0x10", "1_000"})
        EXPECT_FALSE(Decimal::parse(s)) << s;
}

TEST(Decimal, RefusesMoreDecimalsThanItKeepsUnlessTheyAreZeros) {
    EXPECT_FALSE(Decimal::parse("0.0000000000001"));
    EXPECT_EQ(money("1.5000000000000000"), money("1.5"));
    EXPECT_EQ(text(money("1.5000000000000000")), "1.500000000000");
}

TEST(Decimal, RefusesAmountsThatDoNotFit) {
    EXPECT_TRUE(Decimal::parse("1000000000000000000000000"));
    EXPECT_FALSE(Decimal::parse("1000000000000000000000000.000000000001"));
    EXPECT_FALSE(Decimal::parse("-1000000000000000000000001"));
    EXPECT_FALSE(Decimal::parse("99999999999999999999999999999999999999999999999999999999"));
}

TEST(Decimal, AddsExactlyWhereFloatingPointDoesNot) {
    EXPECT_EQ(*lifecycle::rules::add(money("0.1"), money("0.2")), money("0.3"));
    Decimal sum;
    for (int i = 0; i < 1000; ++i) sum = *add(sum, money("0.01"));
    EXPECT_EQ(text(sum), "10.00");
}

TEST(Decimal, SumShowsAsManyDecimalsAsItsWidestPart) {
    EXPECT_EQ(text(*add(money("1.5"), money("2.25"))), "3.75");
    EXPECT_EQ(text(*add(money("2.250"), money("1"))), "3.250");
    EXPECT_EQ(text(*subtract(money("5"), money("0.10"))), "4.90");
}

TEST(Decimal, RefusesASumThatLeavesTheRange) {
    Decimal most = money("1000000000000000000000000");
    EXPECT_FALSE(add(most, money("0.01")));
    EXPECT_FALSE(subtract(money("-1000000000000000000000000"), money("0.01")));
    EXPECT_TRUE(subtract(most, most));
}

// The right sides are what PostgreSQL 15 answers.
TEST(Decimal, ShareHasTheDecimalsOfNumeric) {
    auto of = [](std::string_view sum, std::int64_t count) { return text(share(money(sum), count).value_or(lifecycle::rules::Scaled{})); };
    EXPECT_EQ(of("10.00", 3), "3.3333333333333333");
    EXPECT_EQ(of("2.00", 3), "0.66666666666666666667");
    EXPECT_EQ(of("0.01", 7), "0.00142857142857142857");
    EXPECT_EQ(of("9999.99", 10000), "0.99999900000000000000");
    EXPECT_EQ(of("50000.50", 3), "16666.833333333333");
    EXPECT_EQ(of("-50000.50", 7), "-7142.9285714285714286");
    EXPECT_EQ(of("0.00", 3), "0.00000000000000000000");
    EXPECT_EQ(of("999999.99", 1000), "999.9999900000000000");
    EXPECT_EQ(of("0.000000000001", 999999999), "0.0000000000000000000010000000010000000010");
    EXPECT_EQ(of("123.456789012345", 9), "13.7174210013716667");
    EXPECT_EQ(of("999999.999999", 2), "499999.999999500000");
    EXPECT_EQ(of("-0.15", 2), "-0.07500000000000000000");
}

TEST(Decimal, ShareLeavesWhatIsUnusualToOthers) {
    EXPECT_FALSE(share(money("1000001"), 3));
    EXPECT_FALSE(share(money("-1000001"), 3));
    EXPECT_FALSE(share(money("1"), 0));
    EXPECT_FALSE(share(money("1"), 1'000'000'001));
}

TEST(Decimal, EqualAmountsAreEqualHoweverTheyAreWritten) {
    EXPECT_EQ(money("5"), money("5.000"));
    EXPECT_LT(money("4.999"), money("5"));
    EXPECT_GT(money("-1"), money("-1.000000000001"));
}

TEST(DecimalProperty, WhatIsReadIsWrittenAgain) {
    Random random;
    for (int i = 0; i < 20000; ++i) {
        std::string s = some_amount(random);
        std::string expected = is_zero(s) && s[0] == '-' ? s.substr(1) : s;
        ASSERT_EQ(text(money(s)), expected);
    }
}

TEST(DecimalProperty, TakingAwayWhatWasAddedGivesBackWhatWasThere) {
    Random random;
    for (int i = 0; i < 20000; ++i) {
        Decimal a = money(some_amount(random)), b = money(some_amount(random));
        ASSERT_EQ(*subtract(*add(a, b), b), a);
        ASSERT_EQ(*add(a, b), *add(b, a));
    }
}

TEST(DecimalProperty, CentsBehaveAsWholeNumbers) {
    Random random;
    auto cents = [](std::int64_t n) {
        std::string digits = std::to_string(n < 0 ? -n : n);
        if (digits.size() < 3) digits.insert(0, 3 - digits.size(), '0');
        return money((n < 0 ? "-" : "") + digits.substr(0, digits.size() - 2) + "." + digits.substr(digits.size() - 2));
    };
    for (int i = 0; i < 20000; ++i) {
        std::int64_t a = random.between(-1'000'000, 1'000'000), b = random.chance(10) ? a : random.between(-1'000'000, 1'000'000);
        ASSERT_EQ(*add(cents(a), cents(b)), cents(a + b));
        ASSERT_EQ(*subtract(cents(a), cents(b)), cents(a - b));
        ASSERT_EQ(cents(a) < cents(b), a < b);
        ASSERT_EQ(cents(a) == cents(b), a == b);
    }
}
