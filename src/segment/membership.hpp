#pragma once

#include "customer/change.hpp"

namespace lifecycle::segment {

// Brings the memberships of a batch up to date: writes segment_member and the history with the instants at which predicates flipped,
// raises a signal for each segment entered, and works out when time alone could change something next.
void classify(Batch batch);

}  // namespace lifecycle::segment
