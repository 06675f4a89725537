// Amounts in other currencies than the shop's.
#pragma once

#include <optional>

#include "customer/change.hpp"

namespace lifecycle::customer {

// What one unit of a currency was worth in the shop's on the day of an instant, as numeric.
std::optional<Datum> rate_of(std::string_view currency, Instant at);

// Works out the amount in the shop's currency. False: it is not a number that can be added up.
bool convert(Fact* fact);

}  // namespace lifecycle::customer
