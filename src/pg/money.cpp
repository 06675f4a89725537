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

Datum to_numeric(rules::Decimal amount) {
    // Most amounts are a whole number of cents that fits 64 bits, for which the server has a short cut.
    constexpr int64 kTens[] = {1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000, 1'000'000'000, 10'000'000'000, 100'000'000'000, 1'000'000'000'000};
    static_assert(std::size(kTens) == rules::Decimal::kScale + 1);
    int64 unit = kTens[rules::Decimal::kScale - Min(amount.digits, rules::Decimal::kScale)];
    bool small = amount.units >= std::numeric_limits<int64>::min() && amount.units <= std::numeric_limits<int64>::max();
    __int128 whole = small ? __int128{static_cast<int64>(amount.units) / unit} : amount.units / unit;
    if (whole >= std::numeric_limits<int64>::min() && whole <= std::numeric_limits<int64>::max())
        return NumericGetDatum(int64_div_fast_to_numeric(static_cast<int64>(whole), amount.digits));

    char buffer[64];
    auto written = amount.format({buffer, sizeof buffer - 1});
    buffer[sizeof buffer - 1] = '\0';  // format() writes at the end of its buffer
    return DirectFunctionCall3(numeric_in, CStringGetDatum(written.data()), ObjectIdGetDatum(InvalidOid),
                               Int32GetDatum(-1));
}

}  // namespace lifecycle::pg
