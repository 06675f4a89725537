// How the segments that a customer is in lie in the customer's row (pg/packed.hpp): of each its number and since when.
#pragma once

#include "pg/array.hpp"
#include "rules/instant.hpp"

namespace lifecycle::customer {

struct PackedMembership {
    int32 segment_id;
    rules::Instant since;
};

Datum pack_memberships(std::span<const PackedMembership> memberships);
pg::Array<PackedMembership> unpack_memberships(Datum packed);

}  // namespace lifecycle::customer
