#include "rules/codes.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

constexpr std::size_t kLetters = kCodeAlphabet.size();
static_assert(kLetters == 31);

// Each place weighs differently: what is left of the sum tells a changed character or a changed order. The check character has weight
// one and makes the sum of a whole code come to zero.
std::size_t weighted_sum(std::string_view characters) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < characters.size(); ++i) sum += kCodeAlphabet.find(characters[i]) * (characters.size() - i);
    return sum % kLetters;
}

}  // namespace

std::string_view normal_code(std::string_view code, std::span<char> into) {
    std::size_t n = 0;
    for (char c : code) {
        if (c == ' ' || c == '-' || c == '\t' || c == '\n' || c == '\r') continue;
        into[n++] = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return {into.data(), n};
}

bool make_code(std::span<const std::uint8_t> random, std::span<char> code) {
    std::size_t n = 0;
    for (std::uint8_t byte : random) {
        if (n + 1 == code.size()) break;
        std::size_t letter = byte & 31;
        if (letter < kLetters) code[n++] = kCodeAlphabet[letter];
    }
    if (n + 1 != code.size()) return false;
    code[n] = kCodeAlphabet[0];
    std::size_t sum = weighted_sum({code.data(), code.size()});
    code[n] = kCodeAlphabet[(kLetters - sum) % kLetters];
    return true;
}

bool is_code(std::string_view code) {
    if (code.size() < kShortestCode || code.size() > kLongestCode) return false;
    for (char c : code) {
        if (kCodeAlphabet.find(c) == std::string_view::npos) return false;
    }
    return weighted_sum(code) == 0;
}

}  // namespace lifecycle::rules
