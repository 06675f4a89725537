// Randomness for property tests: the same on every run, and printed, so that a failure can be repeated.
#pragma once

#include <cstdint>
#include <cstdio>
#include <random>

namespace lifecycle::test {

struct Random {
    static constexpr std::uint64_t kSeed = 20260301;
    std::mt19937_64 engine{kSeed};

    Random() { std::printf("seed %llu\n", static_cast<unsigned long long>(kSeed)); }

    std::int64_t between(std::int64_t low, std::int64_t high) {
        return std::uniform_int_distribution<std::int64_t>(low, high)(engine);
    }
    bool chance(int percent) { return between(1, 100) <= percent; }
};

}  // namespace lifecycle::test
