#include "scenario/packed_ways.hpp"

#include "pg/packed.hpp"

namespace lifecycle::scenario {

namespace {

enum Flags : uint8 { kDecided = 1, kHasNext = 2, kAllFlags = 3 };

// Instants are written as their distance from the anchor's, near which they lie.
PackedWay take_way(pg::PackedReader& reader) {
    PackedWay way{};
    uint8 flags = reader.byte();
    if ((flags & ~kAllFlags) != 0) reader.corrupted();
    way.scenario = reader.string();
    way.anchor = reader.string();
    way.anchor_at = pg::unzigzag(reader.number());
    way.enrolled_at = pg::after(way.anchor_at, reader.number());
    way.version = static_cast<int>(pg::unzigzag(reader.number()));
    way.decided = (flags & kDecided) != 0;
    if (way.decided) {
        way.last_position = static_cast<int>(pg::unzigzag(reader.number()));
        way.last_at = pg::after(way.anchor_at, reader.number());
    }
    way.next_due = (flags & kHasNext) != 0 ? pg::after(way.anchor_at, reader.number()) : rules::kNever;
    return way;
}

}  // namespace

Datum with_way(Datum packed, const PackedWay& way) {
    std::string_view before = packed == 0 ? std::string_view{} : pg::view(packed);
    pg::PackedWriter bytes{before.size() + 1 + way.scenario.size() + way.anchor.size() + 8 * pg::kLongestNumber};
    bytes.bytes(before);
    bytes.byte(static_cast<uint8>((way.decided ? kDecided : 0) | (way.next_due != rules::kNever ? kHasNext : 0)));
    bytes.string(way.scenario);
    bytes.string(way.anchor);
    bytes.number(pg::zigzag(way.anchor_at));
    bytes.number(pg::since(way.anchor_at, way.enrolled_at));
    bytes.number(pg::zigzag(way.version));
    if (way.decided) {
        bytes.number(pg::zigzag(way.last_position));
        bytes.number(pg::since(way.anchor_at, way.last_at));
    }
    if (way.next_due != rules::kNever) bytes.number(pg::since(way.anchor_at, way.next_due));
    return bytes.finish();
}

pg::Array<PackedWay> unpack_ways(Datum packed) {
    pg::PackedReader reader{"enrolments", pg::view(packed)};
    pg::Array<PackedWay> ways;
    while (!reader.rest().empty()) ways.push(take_way(reader));
    return ways;
}

}  // namespace lifecycle::scenario

using namespace lifecycle;

// lifecycle.unpack_ways(ways): a row for each.
LIFECYCLE_FUNCTION(lifecycle_unpack_ways) {
    auto ways = scenario::unpack_ways(PointerGetDatum(PG_GETARG_BYTEA_P_COPY(0)));  // the texts point into it
    InitMaterializedSRF(fcinfo, 0);
    auto* result = castNode(ReturnSetInfo, fcinfo->resultinfo);
    for (const scenario::PackedWay& way : ways) {
        Datum values[] = {pg::to_checked_text(way.scenario), pg::to_checked_text(way.anchor), TimestampTzGetDatum(way.anchor_at), Int32GetDatum(way.version),
                          Int32GetDatum(way.last_position), TimestampTzGetDatum(way.last_at), TimestampTzGetDatum(way.next_due), TimestampTzGetDatum(way.enrolled_at)};
        bool nulls[std::size(values)] = {false, false, false, false, !way.decided, !way.decided, way.next_due == rules::kNever, false};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
    return Datum{0};
}
