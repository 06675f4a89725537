// Coupons that arrive as a field of orders. Those that a checkout redeems itself never come here.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::loyalty {

// Redeems the coupons that the batch's orders name, and restores those of orders that were cancelled.
void take_in_coupons(Batch batch);

// Marks coupons that have ended; puts back those that were reserved in vain.
void tidy_coupons();

}  // namespace lifecycle::loyalty
