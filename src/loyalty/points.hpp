// Points: occasions come in, lots and entries of the ledger go out.
//
// An occasion is whatever a rule of lifecycle.points_rule can reward: an order, a consent, a birthday, whatever stands in Change::occurrences.
// Taken in with the latest that is known of it, as often as one likes, it ends with the points it should have: what was earned before
// stays, what refunds have undone is taken back, what is new earns.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::loyalty {

// The stage: gathers the occasions, rewards them, lets points become available and expire as time has it, and writes the balance into
// the rows and moments.
void keep_points(Batch batch);

}  // namespace lifecycle::loyalty
