#include "rules/codes.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "random.hpp"

using namespace lifecycle::rules;
using lifecycle::test::Random;

namespace {

std::string random_code(Random& random, std::size_t length) {
    std::vector<std::uint8_t> bytes(length * 4);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.between(0, 255));
    std::string code(length, ' ');
    EXPECT_TRUE(make_code(bytes, code));
    return code;
}

std::string normal(std::string_view code) {
    std::string room(code.size(), ' ');
    return std::string(normal_code(code, room));
}

TEST(Codes, HaveNoLettersThatLookAlike) {
    for (char c : std::string_view("01OIL")) EXPECT_EQ(kCodeAlphabet.find(c), std::string_view::npos) << c;
}

TEST(Codes, EveryCodeThatIsMadeIsOne) {
    Random random;
    for (std::size_t length = kShortestCode; length <= kLongestCode; ++length) {
        for (int i = 0; i < 100; ++i) EXPECT_TRUE(is_code(random_code(random, length)));
    }
}

TEST(Codes, OneWrongCharacterIsNoticed) {
    Random random;
    for (int round = 0; round < 200; ++round) {
        std::string code = random_code(random, static_cast<std::size_t>(random.between(6, 30)));
        for (std::size_t i = 0; i < code.size(); ++i) {
            for (char c : kCodeAlphabet) {
                std::string wrong = code;
                wrong[i] = c;
                EXPECT_EQ(is_code(wrong), c == code[i]) << code << ' ' << wrong;
            }
        }
    }
}

TEST(Codes, TwoCharactersThatHaveChangedPlacesAreNoticed) {
    Random random;
    for (int round = 0; round < 200; ++round) {
        std::string code = random_code(random, static_cast<std::size_t>(random.between(6, 30)));
        for (std::size_t i = 0; i < code.size(); ++i) {
            for (std::size_t k = i + 1; k < code.size(); ++k) {
                std::string wrong = code;
                std::swap(wrong[i], wrong[k]);
                EXPECT_EQ(is_code(wrong), code[i] == code[k]) << code << ' ' << wrong;
            }
        }
    }
}

TEST(Codes, AreNotMadeOfTooFewRandomBytes) {
    std::string code(10, ' ');
    std::vector<std::uint8_t> passed_over(100, 31);
    EXPECT_FALSE(make_code(passed_over, code));
    std::vector<std::uint8_t> eight(8, 5);
    EXPECT_FALSE(make_code(eight, code));
    std::vector<std::uint8_t> nine(9, 5);
    EXPECT_TRUE(make_code(nine, code));
}

TEST(Codes, EachCharacterIsAsLikelyAsAnyOther) {
    Random random;
    std::map<char, int> seen;
    constexpr int kCodes = 20'000;
    for (int i = 0; i < kCodes; ++i) {
        for (char c : random_code(random, 10)) ++seen[c];
    }
    ASSERT_EQ(seen.size(), kCodeAlphabet.size());
    double expected = kCodes * 10.0 / kCodeAlphabet.size();
    for (auto [c, n] : seen) EXPECT_NEAR(n, expected, expected * 0.06) << c;
}

TEST(Codes, AreComparedWithoutCaseSpacesAndHyphens) {
    EXPECT_EQ(normal("abcd-EFGH 23"), "ABCDEFGH23");
    EXPECT_EQ(normal(" - "), "");
    EXPECT_EQ(normal("Grüße-5"), "GRüßE5");
}

TEST(Codes, WhatIsTooShortTooLongOrOfOtherLettersIsNone) {
    EXPECT_FALSE(is_code(""));
    EXPECT_FALSE(is_code("22222"));
    EXPECT_TRUE(is_code("222222"));
    EXPECT_FALSE(is_code(std::string(31, '2')));
    EXPECT_FALSE(is_code("22222O"));
    EXPECT_FALSE(is_code("22222a"));
}

}  // namespace
