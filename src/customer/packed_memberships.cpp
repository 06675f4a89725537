#include "customer/packed_memberships.hpp"

#include "pg/packed.hpp"

namespace lifecycle::customer {

Datum pack_memberships(std::span<const PackedMembership> memberships) {
    pg::PackedWriter bytes{memberships.size() * 2 * pg::kLongestNumber};
    for (const PackedMembership& m : memberships) {
        bytes.number(pg::zigzag(m.segment_id));
        bytes.number(pg::zigzag(m.since));
    }
    return bytes.finish();
}

pg::Array<PackedMembership> unpack_memberships(Datum packed) {
    pg::PackedReader reader{"segments", pg::view(packed)};
    pg::Array<PackedMembership> memberships;
    while (!reader.rest().empty()) {
        auto id = static_cast<int32>(pg::unzigzag(reader.number()));
        memberships.push({id, pg::unzigzag(reader.number())});
    }
    return memberships;
}

}  // namespace lifecycle::customer

using namespace lifecycle;

// lifecycle.unpack_memberships(memberships): a row for each.
LIFECYCLE_FUNCTION(lifecycle_unpack_memberships) {
    auto memberships = customer::unpack_memberships(PG_GETARG_DATUM(0));
    InitMaterializedSRF(fcinfo, 0);
    auto* result = castNode(ReturnSetInfo, fcinfo->resultinfo);
    for (const customer::PackedMembership& m : memberships) {
        Datum values[] = {Int32GetDatum(m.segment_id), TimestampTzGetDatum(m.since)};
        bool nulls[std::size(values)] = {};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
    return Datum{0};
}
