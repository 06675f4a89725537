// An order or a visit in each of so many days, weeks or months on end.
#pragma once

#include "loyalty/occasions.hpp"

namespace lifecycle::loyalty {

// Compares the streaks that a customer has completed, as far as is known now, with those that have points: adds the new ones, and those that
// what was withdrawn has broken.
void gather_streaks(Change& change, const Points& points, bool has_purchases, pg::Array<Occasion>* into);

}  // namespace lifecycle::loyalty
