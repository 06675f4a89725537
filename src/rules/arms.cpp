#include "rules/arms.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

std::uint64_t hash(std::string_view bytes, std::uint64_t state) {
    for (char c : bytes) {
        state ^= static_cast<unsigned char>(c);
        state *= 0x100000001B3;
    }
    return state;
}

}  // namespace

int part_of(std::string_view salt, std::string_view customer) {
    constexpr char kBetween[] = "\x1F";
    std::uint64_t h = hash(customer, hash(kBetween, hash(salt, 0xCBF29CE484222325)));
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9;
    h = (h ^ h >> 27) * 0x94D049BB133111EB;
    h ^= h >> 31;
    return static_cast<int>(h % kParts);
}

int choose(std::string_view salt, std::string_view customer, std::span<const int> weights) {
    std::int64_t total = 0;
    for (int weight : weights) total += weight;
    if (total <= 0) return -1;
    std::int64_t place = part_of(salt, customer) * total;
    std::int64_t end = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        end += weights[i];
        if (place < end * kParts) return static_cast<int>(i);
    }
    return -1;
}

}  // namespace lifecycle::rules
