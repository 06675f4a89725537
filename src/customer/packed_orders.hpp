// How the latest orders lie in the customer's row (pg/packed.hpp): how many there are, a byte; then of each the id, the instant and the
// amount: how many decimals, a byte, and how many of the last of them, as a number, or where that is too large the units as two.
#pragma once

#include <string_view>

#include "pg/array.hpp"
#include "rules/decimal.hpp"
#include "rules/instant.hpp"

namespace lifecycle::customer {

struct PackedOrder {
    std::string_view id;
    rules::Instant at;
    rules::Decimal amount;
};

size_t count_orders(Datum packed);
Datum pack_orders(std::span<const PackedOrder> orders);
// A longer copy. There are 255 at the most.
Datum with_order(Datum packed, const PackedOrder& order);
pg::Array<PackedOrder> unpack_orders(Datum packed);  // the ids lie in `packed`

}  // namespace lifecycle::customer
