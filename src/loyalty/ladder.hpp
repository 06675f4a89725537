// The loyalty program and its tiers, as the configuration has them.
#pragma once

#include "customer/change.hpp"
#include "rules/program.hpp"

namespace lifecycle::loyalty {

struct Ladder {
    pg::Array<rules::Decimal> thresholds;  // of all versions, one after the other
    pg::Array<rules::Thresholds> versions;
    pg::Array<Datum> names;
    rules::Period period;
    rules::Downgrade downgrade;
    bool counts_points;
    Interval period_length, grace;
    bool warns;
    Interval warn_before;
    bool any_grants;   // tiers given by hand
    bool any_rewards;  // a tier comes with an offer

    // Whether a tier follows from more than the present revenue: from when something was earned, or from what has to be looked up.
    bool has_terms() const { return period != rules::Period::lifetime || counts_points || versions.size > 1; }

    // Whether time alone may end a tier: the history may then go on after the latest purchase.
    bool tiers_end() const { return has_terms() || any_grants; }
};

// Read anew if the configuration has changed: at the start of a batch only.
const Ladder& refresh_ladder();

// Follows the customers of a batch through the terms of their tiers: gives every moment its tier and spend, and adds the moments
// at which time alone has changed them.
void follow_terms(Change& change, const Ladder& ladder);

// Lets the tiers given by hand win while they are valid.
void apply_grants(Batch batch, const Ladder& ladder);

}  // namespace lifecycle::loyalty
