// How lots of points lie in the customer's row (pg/packed.hpp): a number of lots and of names of rules, a byte each; the names; then the lots: which
// of recent_orders and which name, a byte each, and as numbers of seven bits a byte the points, when they become active, when it was written and when they
// expire, each but the first two from that instant on.
#pragma once

#include <string_view>

#include "pg/array.hpp"
#include "rules/instant.hpp"

namespace lifecycle::loyalty {

struct PackedLot {
    int order;  // which of recent_orders, from 1 on
    std::string_view rule;
    int64 points;
    rules::Instant active_at;
    rules::Instant expires_at;  // kNever: it does not
    rules::Instant recorded_at;
};

size_t count_lots(Datum packed);
Datum pack_lots(const PackedLot& first);
// A longer copy. There are 255 lots and rules at the most.
Datum with_lot(Datum packed, const PackedLot& lot);
pg::Array<PackedLot> unpack_lots(Datum packed);  // the names lie in `packed`

}  // namespace lifecycle::loyalty
