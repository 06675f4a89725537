#include "customer/packed_orders.hpp"

#include "pg/money.hpp"
#include "pg/packed.hpp"

namespace lifecycle::customer {

namespace {

pg::PackedReader read(Datum packed) { return {"latest orders", pg::view(packed)}; }

constexpr uint8 kLarge = 0x80;

size_t room_for(const PackedOrder& order) { return 4 * pg::kLongestNumber + order.id.size() + 1; }

void put_amount(pg::PackedWriter& bytes, rules::Decimal amount) {
    int64 unit = rules::Decimal::unit_of(amount.digits);
    if (amount.units >= PG_INT64_MIN && amount.units <= PG_INT64_MAX && static_cast<int64>(amount.units) % unit == 0) {
        bytes.byte(amount.digits);
        bytes.number(pg::zigzag(static_cast<int64>(amount.units) / unit));
    } else {
        bytes.byte(amount.digits | kLarge);
        bytes.number(static_cast<uint64>(amount.units));
        bytes.number(pg::zigzag(static_cast<int64>(amount.units >> 64)));
    }
}

rules::Decimal take_amount(pg::PackedReader& reader) {
    rules::Decimal amount;
    uint8 digits = reader.byte();
    amount.digits = digits & static_cast<uint8>(~kLarge);
    if (amount.digits > rules::Decimal::kScale) reader.corrupted();
    if ((digits & kLarge) != 0) {
        uint64 low = reader.number();
        amount.units = static_cast<__int128>(pg::unzigzag(reader.number())) << 64 | low;
    } else {
        amount.units = static_cast<__int128>(pg::unzigzag(reader.number())) * rules::Decimal::unit_of(amount.digits);
    }
    return amount;
}

void put_order(pg::PackedWriter& bytes, const PackedOrder& order) {
    bytes.string(order.id);
    bytes.number(pg::zigzag(order.at));
    put_amount(bytes, order.amount);
}

}  // namespace

size_t count_orders(Datum packed) { return read(packed).byte(); }

Datum pack_orders(std::span<const PackedOrder> orders) {
    size_t room = 1;
    for (const PackedOrder& order : orders) room += room_for(order);
    pg::PackedWriter bytes{room};
    bytes.byte(static_cast<uint8>(orders.size()));
    for (const PackedOrder& order : orders) put_order(bytes, order);
    return bytes.finish();
}

Datum with_order(Datum packed, const PackedOrder& order) {
    auto before = read(packed);
    pg::PackedWriter bytes{before.rest().size() + room_for(order)};
    uint8 count = before.byte();
    if (count == PG_UINT8_MAX) elog(ERROR, "too many orders in a row");
    bytes.byte(static_cast<uint8>(count + 1));
    bytes.bytes(before.rest());
    put_order(bytes, order);
    return bytes.finish();
}

pg::Array<PackedOrder> unpack_orders(Datum packed) {
    auto reader = read(packed);
    pg::Array<PackedOrder> orders;
    uint8 count = reader.byte();
    orders.reserve(count);
    for (; count > 0; --count) {
        PackedOrder order{};
        order.id = reader.string();
        order.at = pg::unzigzag(reader.number());
        order.amount = take_amount(reader);
        orders.push(order);
    }
    return orders;
}

}  // namespace lifecycle::customer

using namespace lifecycle;

// lifecycle.unpack_orders(orders): a row for each.
LIFECYCLE_FUNCTION(lifecycle_unpack_orders) {
    auto orders = customer::unpack_orders(PointerGetDatum(PG_GETARG_BYTEA_P_COPY(0)));  // the ids point into it
    InitMaterializedSRF(fcinfo, 0);
    auto* result = castNode(ReturnSetInfo, fcinfo->resultinfo);
    int32 nth = 0;
    for (const customer::PackedOrder& order : orders) {
        Datum values[] = {Int32GetDatum(++nth), pg::to_checked_text(order.id), TimestampTzGetDatum(order.at), pg::to_numeric(order.amount)};
        bool nulls[std::size(values)] = {};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
    return Datum{0};
}
