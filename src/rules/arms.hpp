#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lifecycle::rules {

// Where a customer stands in an experiment, in 1/10 000: a function of the experiment's name and the customer's id and of nothing else,
// so it is the same after a restore and on every node. FNV-1a over both, finished as splitmix64 is (Steele, Lea, Flood 2014).
inline constexpr int kParts = 10'000;
int part_of(std::string_view salt, std::string_view customer);

// Held out: `share` of all customers, in 1/10 000.
inline bool is_held_out(std::string_view salt, std::string_view customer, int share) { return part_of(salt, customer) < share; }

// Which of weighted alternatives a customer gets; -1: there is none of any weight. Making one heavier moves customers to it and from
// others only across the borders between neighbours.
int choose(std::string_view salt, std::string_view customer, std::span<const int> weights);

}  // namespace lifecycle::rules
