#include "loyalty/packed_lots.hpp"

#include "pg/packed.hpp"

namespace lifecycle::loyalty {

namespace {

constexpr size_t kLongestLot = 2 + 4 * pg::kLongestNumber;

pg::PackedReader read(Datum packed) { return {"lots of points", pg::view(packed)}; }

void put_lot(pg::PackedWriter& bytes, const PackedLot& lot, uint8 rule) {
    bytes.byte(static_cast<uint8>(lot.order));
    bytes.byte(rule);
    bytes.number(pg::zigzag(lot.points));
    bytes.number(pg::zigzag(lot.active_at));
    bytes.number(pg::since(lot.active_at, lot.recorded_at));
    bytes.number(lot.expires_at == rules::kNever ? 0 : pg::since(lot.active_at, lot.expires_at) + 1);
}

}  // namespace

size_t count_lots(Datum packed) { return read(packed).byte(); }

Datum pack_lots(const PackedLot& first) {
    pg::PackedWriter bytes{2 + pg::kLongestNumber + first.rule.size() + kLongestLot};
    bytes.byte(1);
    bytes.byte(1);
    bytes.string(first.rule);
    put_lot(bytes, first, 0);
    return bytes.finish();
}

Datum with_lot(Datum packed, const PackedLot& lot) {
    auto before = read(packed);
    size_t size = before.rest().size();
    uint8 lots = before.byte();
    uint8 names = before.byte();
    auto all = before.rest();
    uint8 rule = names;
    for (uint8 i = 0; i < names; ++i) {
        if (before.string() == lot.rule) rule = i;
    }
    if (lots == PG_UINT8_MAX || rule == PG_UINT8_MAX) elog(ERROR, "too many lots of points in a row");
    pg::PackedWriter bytes{size + pg::kLongestNumber + lot.rule.size() + kLongestLot};
    bytes.byte(static_cast<uint8>(lots + 1));
    bytes.byte(static_cast<uint8>(rule == names ? names + 1 : names));
    bytes.bytes(all.substr(0, all.size() - before.rest().size()));
    if (rule == names) bytes.string(lot.rule);
    bytes.bytes(before.rest());
    put_lot(bytes, lot, rule);
    return bytes.finish();
}

pg::Array<PackedLot> unpack_lots(Datum packed) {
    auto reader = read(packed);
    pg::Array<PackedLot> lots;
    pg::Array<std::string_view> names;
    uint8 count = reader.byte();
    for (uint8 left = reader.byte(); left > 0; --left) names.push(reader.string());
    lots.reserve(count);
    for (; count > 0; --count) {
        PackedLot lot{};
        lot.order = reader.byte();
        uint8 rule = reader.byte();
        if (rule >= names.size) reader.corrupted();
        lot.rule = names[rule];
        lot.points = pg::unzigzag(reader.number());
        lot.active_at = pg::unzigzag(reader.number());
        lot.recorded_at = pg::after(lot.active_at, reader.number());
        uint64 expires = reader.number();
        lot.expires_at = expires == 0 ? rules::kNever : pg::after(lot.active_at, expires - 1);
        lots.push(lot);
    }
    return lots;
}

}  // namespace lifecycle::loyalty

using namespace lifecycle;

// lifecycle.unpack_lots(lots): a row for each.
LIFECYCLE_FUNCTION(lifecycle_unpack_lots) {
    auto lots = loyalty::unpack_lots(PointerGetDatum(PG_GETARG_BYTEA_P_COPY(0)));  // the names point into it
    InitMaterializedSRF(fcinfo, 0);
    auto* result = castNode(ReturnSetInfo, fcinfo->resultinfo);
    int64 n = 0;
    for (const loyalty::PackedLot& lot : lots) {
        Datum values[] = {Int64GetDatum(++n), Int32GetDatum(lot.order), pg::to_checked_text(lot.rule), Int64GetDatum(lot.points), TimestampTzGetDatum(lot.active_at),
                          TimestampTzGetDatum(lot.expires_at), TimestampTzGetDatum(lot.recorded_at)};
        bool nulls[std::size(values)] = {};
        nulls[5] = lot.expires_at == rules::kNever;
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
    return Datum{0};
}
