#include "loyalty/packed_lots.hpp"

#include <cstring>

#include "pg/text.hpp"

namespace lifecycle::loyalty {

namespace {

constexpr size_t kLongestNumber = 10;
constexpr size_t kLongestLot = 2 + 4 * kLongestNumber;

uint64 zigzag(int64 n) { return static_cast<uint64>(n) << 1 ^ static_cast<uint64>(n >> 63); }
int64 unzigzag(uint64 n) { return static_cast<int64>(n >> 1) ^ -static_cast<int64>(n & 1); }

// Whatever instants these are: they wrap around.
uint64 since(rules::Instant from, rules::Instant t) { return zigzag(static_cast<int64>(static_cast<uint64>(t) - static_cast<uint64>(from))); }
rules::Instant after(rules::Instant from, uint64 n) { return static_cast<int64>(static_cast<uint64>(from) + static_cast<uint64>(unzigzag(n))); }

unsigned char* put_number(unsigned char* at, uint64 n) {
    for (; n >= 0x80; n >>= 7) *at++ = static_cast<unsigned char>(n | 0x80);
    *at++ = static_cast<unsigned char>(n);
    return at;
}

[[noreturn]] void corrupted() { ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the lots of points of a customer cannot be read")); }

struct Reader {
    const unsigned char* at;
    const unsigned char* end;

    explicit Reader(std::string_view bytes) : at{reinterpret_cast<const unsigned char*>(bytes.data())}, end{at + bytes.size()} {}

    uint8 byte() {
        if (at == end) corrupted();
        return *at++;
    }
    uint64 number() {
        uint64 n = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            uint8 b = byte();
            n |= static_cast<uint64>(b & 0x7F) << shift;
            if (b < 0x80) return n;
        }
        corrupted();
    }
    std::string_view name() {
        uint64 size = number();
        if (size > static_cast<uint64>(end - at)) corrupted();
        std::string_view name{reinterpret_cast<const char*>(at), size};
        at += size;
        return name;
    }
};

unsigned char* put_lot(unsigned char* at, const PackedLot& lot, uint8 rule) {
    *at++ = static_cast<unsigned char>(lot.order);
    *at++ = rule;
    at = put_number(at, zigzag(lot.points));
    at = put_number(at, zigzag(lot.active_at));
    at = put_number(at, since(lot.active_at, lot.recorded_at));
    return put_number(at, lot.expires_at == rules::kNever ? 0 : since(lot.active_at, lot.expires_at) + 1);
}

unsigned char* put_name(unsigned char* at, std::string_view name) {
    at = put_number(at, name.size());
    memcpy(at, name.data(), name.size());
    return at + name.size();
}

// Bytes that are being written.
struct Bytes {
    bytea* value;
    unsigned char* start;
    unsigned char* at;

    explicit Bytes(size_t room)
        : value{static_cast<bytea*>(palloc(VARHDRSZ + room))}, start{reinterpret_cast<unsigned char*>(VARDATA(value))}, at{start} {}

    void put(const void* bytes, size_t size) {
        memcpy(at, bytes, size);
        at += size;
    }
    Datum finish() {
        SET_VARSIZE(value, VARHDRSZ + (at - start));
        return PointerGetDatum(value);
    }
};

}  // namespace

size_t count_lots(Datum packed) { return Reader{pg::view(packed)}.byte(); }

Datum pack_lots(const PackedLot& first) {
    Bytes bytes{2 + kLongestNumber + first.rule.size() + kLongestLot};
    *bytes.at++ = 1;
    *bytes.at++ = 1;
    bytes.at = put_name(bytes.at, first.rule);
    bytes.at = put_lot(bytes.at, first, 0);
    return bytes.finish();
}

Datum with_lot(Datum packed, const PackedLot& lot) {
    auto before = pg::view(packed);
    Reader reader{before};
    uint8 lots = reader.byte();
    uint8 names = reader.byte();
    const unsigned char* first_name = reader.at;
    uint8 rule = names;
    for (uint8 i = 0; i < names; ++i) {
        if (reader.name() == lot.rule) rule = i;
    }
    if (lots == PG_UINT8_MAX || rule == PG_UINT8_MAX) elog(ERROR, "too many lots of points in a row");
    Bytes bytes{before.size() + kLongestNumber + lot.rule.size() + kLongestLot};
    *bytes.at++ = static_cast<unsigned char>(lots + 1);
    *bytes.at++ = static_cast<unsigned char>(rule == names ? names + 1 : names);
    bytes.put(first_name, static_cast<size_t>(reader.at - first_name));
    if (rule == names) bytes.at = put_name(bytes.at, lot.rule);
    bytes.put(reader.at, static_cast<size_t>(reader.end - reader.at));
    bytes.at = put_lot(bytes.at, lot, rule);
    return bytes.finish();
}

pg::Array<PackedLot> unpack_lots(Datum packed) {
    Reader reader{pg::view(packed)};
    pg::Array<PackedLot> lots;
    pg::Array<std::string_view> names;
    uint8 count = reader.byte();
    for (uint8 left = reader.byte(); left > 0; --left) names.push(reader.name());
    lots.reserve(count);
    for (; count > 0; --count) {
        PackedLot lot{};
        lot.order = reader.byte();
        uint8 rule = reader.byte();
        if (rule >= names.size) corrupted();
        lot.rule = names[rule];
        lot.points = unzigzag(reader.number());
        lot.active_at = unzigzag(reader.number());
        lot.recorded_at = after(lot.active_at, reader.number());
        uint64 expires = reader.number();
        lot.expires_at = expires == 0 ? rules::kNever : after(lot.active_at, expires - 1);
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
        Datum values[] = {Int64GetDatum(++n), Int32GetDatum(lot.order), pg::to_datum(lot.rule), Int64GetDatum(lot.points), TimestampTzGetDatum(lot.active_at),
                          TimestampTzGetDatum(lot.expires_at), TimestampTzGetDatum(lot.recorded_at)};
        bool nulls[std::size(values)] = {};
        nulls[5] = lot.expires_at == rules::kNever;
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
    return Datum{0};
}
