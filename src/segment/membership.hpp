#pragma once

#include "customer/change.hpp"

namespace lifecycle::segment {

// Brings the memberships of a batch up to date: writes segment_member and the history with the instants at which predicates flipped,
// raises a signal for each segment entered, and works out when time alone could change something next.
void classify(Batch batch);

// Whether some predicate reads points or tiers, whose past only the loyalty room knows.
bool read_loyalty();

// What can wait until nothing else is to do: folds the deltas of the segments' sizes.
void tidy();

}  // namespace lifecycle::segment
