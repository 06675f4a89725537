// Customers who turned out to be somebody else: lifecycle.merge().
#pragma once

#include "customer/change.hpp"

namespace lifecycle::customer {

// Facts of customers who have been merged become those of whom they were merged into.
std::span<const Fact> follow_merged(std::span<const Fact> facts);

// Refuses a batch that would create a customer who has been merged meanwhile: it is read again, and follows then.
void check_not_merged(Batch batch);

}  // namespace lifecycle::customer
