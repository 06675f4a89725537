// Bloom filters in the customer's row: whether something may have been met before. Most that an order brings is new, and need not be looked up.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::customer {

bool may_have_seen(const Row& row, Column filter, std::string_view name);  // true where there is no filter
void note_seen(Row& row, Column filter, std::string_view name);            // nothing where there is none
void begin_seen(Row& row, Column filter);                                  // with nothing in it

}  // namespace lifecycle::customer
