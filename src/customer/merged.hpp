// Customers who turned out to be somebody else: lifecycle.merge().
#pragma once

#include "customer/change.hpp"

namespace lifecycle::customer {

// Facts of customers who have been merged become those of whom they were merged into.
std::span<const Fact> follow_merged(std::span<const Fact> facts);

// Refuses customers that have just been created if they have been merged meanwhile: their facts are read again, and follow then.
void check_not_merged(std::span<const Datum> created);

}  // namespace lifecycle::customer
