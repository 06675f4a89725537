// The loyalty room: numbers come in, tiers go out. A tier is a function of the purchases up to the instant asked about, and of nothing
// else; its history is therefore exact to the purchase that brought the change about.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::loyalty {

// Gives every moment its tier, writes those that have ended into the history and raises a signal for a customer who has risen.
void award_tiers(Batch batch);

// Whether it is points that count towards a tier: then they are kept first.
bool tiers_count_points();

// Whether a tier may end without a purchase: its term does, or it was given for a time.
bool tiers_end();

// The name of a tier found in Moment::tier; NULL for none.
Datum tier_name(int tier, bool* null);

// The tier of that name, or rules::kNoTier.
int tier_named(std::string_view name);

// The tier a row shows, as Moment::tier would have it.
int tier_of(const Row& row);

}  // namespace lifecycle::loyalty
