#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lifecycle::rules {

// Letters and digits that nobody takes for one another, in print or over the telephone: no 0 and O, no 1, I and L. There are 31, a
// prime, which is what makes the check character catch every single wrong character and every two that have changed places.
inline constexpr std::string_view kCodeAlphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";
inline constexpr std::size_t kShortestCode = 6;
inline constexpr std::size_t kLongestCode = 30;  // the check tells as many places apart

// A code as it is compared: upper case, without the spaces and hyphens that people put in. Writes at most code.size() characters to `into`
// and returns the part used. What is not ASCII stays as it is.
std::string_view normal_code(std::string_view code, std::span<char> into);

// Fills `code` from random bytes, each character as likely as any other, the last one being the check character. Bytes that would make
// some characters likelier are passed over, so a few more than code.size() are wanted; false: there were too few.
bool make_code(std::span<const std::uint8_t> random, std::span<char> code);

// Whether a normal code is one that make_code() could have made: its characters are of the alphabet and its check character is right.
bool is_code(std::string_view code);

}  // namespace lifecycle::rules
