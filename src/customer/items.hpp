// Orders that get their amount, and items and deliveries that get their customer, from one another.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::customer {

// Orders whose amount is the sum of their items: adds to the facts of a batch what their items have made of them.
void price_orders(Batch batch);

// Items and deliveries that name no customer are those of whoever placed their order; what is nobody's yet is put aside, and comes with the
// order. Returns the facts of known customers.
std::span<const Fact> assign_owners(std::span<const Fact> facts);

}  // namespace lifecycle::customer
