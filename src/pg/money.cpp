#include "pg/money.hpp"

#include <cstring>
#include <limits>

namespace lifecycle::pg {

// The server exports no way from numeric to an integer with decimals but by text, which would be read for each order and each purchase
// of the ledger. Its stored form is part of the disk format and has not changed since 9.1: two header bytes say sign, decimals and weight
// (longer ones in four), then come digits to the base 10,000.
std::optional<rules::Decimal> to_decimal(Datum value) {
    const struct varlena* numeric = PG_DETOAST_DATUM_PACKED(value);
    const char* stored = VARDATA_ANY(numeric);  // maybe not aligned
    auto word = [&](int i) {
        uint16 w;
        memcpy(&w, stored + i * sizeof w, sizeof w);
        return w;
    };
    int count = static_cast<int>(VARSIZE_ANY_EXHDR(numeric) / sizeof(uint16));
    constexpr uint16 kKind = 0xC000, kSpecial = 0xC000, kShort = 0x8000, kNegative = 0x4000;
    uint16 header = word(0);
    if ((header & kKind) == kSpecial) return std::nullopt;  // NaN, infinite

    bool is_short = (header & kKind) == kShort;
    bool negative = is_short ? (header & 0x2000) != 0 : (header & kKind) == kNegative;
    int decimals = is_short ? (header & 0x1F80) >> 7 : header & 0x3FFF;
    int weight = is_short ? static_cast<int>(header & 0x3F) - static_cast<int>(header & 0x40) : static_cast<int16>(word(1));
    int first = is_short ? 1 : 2;

    constexpr int kLowestWeight = -rules::Decimal::kScale / 4;
    constexpr int kHighestWeight = 5;  // 10^24 whole units, as Decimal::parse has it
    if (count > first && weight > kHighestWeight) return std::nullopt;
    __int128 units = 0;
    int place = weight;
    for (int i = first; i < count; ++i, --place) {
        if (place >= kLowestWeight) {
            units = units * 10000 + word(i);
        } else if (word(i) != 0) {
            return std::nullopt;  // more precise than can be kept
        }
    }
    for (int missing = count > first ? Max(place + 1, kLowestWeight) : kLowestWeight; missing > kLowestWeight; --missing) units *= 10000;
    return rules::Decimal{negative ? -units : units, static_cast<std::uint8_t>(Min(decimals, rules::Decimal::kScale))};
}

// The same form the other way.
Datum to_numeric(rules::Scaled number) {
    constexpr uint16 kShort = 0x8000, kNegative = 0x2000;
    constexpr int kDecimalsShift = 7, kMostDecimals = 63, kWeightBits = 0x7F, kMostDigits = 12;
    if (number.scale < 0 || number.scale > kMostDecimals) elog(ERROR, "unexpected number of decimals: %d", number.scale);
    unsigned __int128 rest = number.value < 0 ? -static_cast<unsigned __int128>(number.value) : static_cast<unsigned __int128>(number.value);
    int missing = (4 - number.scale % 4) % 4;  // up to whole digits to the base 10,000
    for (int k = 0; k < missing; ++k) rest *= 10;

    uint16 digits[kMostDigits];
    int first = kMostDigits;
    auto take = [&](uint64 part) { digits[--first] = static_cast<uint16>(part); };
    for (; rest > std::numeric_limits<uint64>::max(); rest /= 10000) take(static_cast<uint64>(rest % 10000));
    for (auto low = static_cast<uint64>(rest); low != 0; low /= 10000) take(low % 10000);
    int weight = first == kMostDigits ? 0 : kMostDigits - first - 1 - (number.scale + missing) / 4;
    int end = kMostDigits;
    while (end > first && digits[end - 1] == 0) --end;

    Size size = VARHDRSZ + sizeof(uint16) * static_cast<Size>(1 + end - first);
    auto* numeric = static_cast<char*>(palloc(size));
    SET_VARSIZE(numeric, size);
    auto header = static_cast<uint16>(kShort | (number.value < 0 ? kNegative : 0) | number.scale << kDecimalsShift | (weight & kWeightBits));
    memcpy(numeric + VARHDRSZ, &header, sizeof header);
    memcpy(numeric + VARHDRSZ + sizeof header, digits + first, sizeof(uint16) * static_cast<Size>(end - first));
    return PointerGetDatum(numeric);
}

Datum to_numeric(rules::Decimal amount) {
    int digits = Min(static_cast<int>(amount.digits), rules::Decimal::kScale);
    int64 unit = rules::Decimal::unit_of(digits);
    // Most amounts are few enough units for 64 bits, in which a division takes a fraction of the time.
    bool small = amount.units >= std::numeric_limits<int64>::min() && amount.units <= std::numeric_limits<int64>::max();
    return to_numeric(rules::Scaled{small ? __int128{static_cast<int64>(amount.units) / unit} : amount.units / unit, digits});
}

}  // namespace lifecycle::pg
