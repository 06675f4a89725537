// Coupons that arrive as a field of orders. Those that a checkout redeems itself never come here.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::loyalty {

// Redeems the coupons that the batch's orders name, and restores those of orders that were cancelled.
void take_in_coupons(Batch batch);

// Somebody who is to get an offer's code for a purpose.
struct Binding {
    Datum customer, offer, purpose;
    Datum zone;  // 0: the shop's
    bool bound;  // afterwards: the code is there, or the offer needs none
};
// Issues the codes. The customers are locked. Who has a code for the purpose already keeps it.
void bind_coupons(std::span<Binding> wanted, Instant now);

// Marks coupons that have ended; puts back those that were reserved in vain.
void tidy_coupons();

}  // namespace lifecycle::loyalty
