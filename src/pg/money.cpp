#include "pg/money.hpp"

#include <cstring>
#include <limits>

namespace lifecycle::pg {

std::optional<rules::Decimal> to_decimal(Datum numeric) {
    if (numeric_is_nan(DatumGetNumeric(numeric)) || numeric_is_inf(DatumGetNumeric(numeric))) return std::nullopt;
    char* text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
    auto amount = rules::Decimal::parse(text);
    pfree(text);
    return amount;
}

Datum to_numeric(rules::Decimal amount) {
    // Most amounts are a whole number of cents that fits 64 bits, for which the server has a short cut.
    __int128 whole = amount.units;
    for (int k = rules::Decimal::kScale; k > amount.digits; --k) whole /= 10;
    if (whole >= std::numeric_limits<int64>::min() && whole <= std::numeric_limits<int64>::max())
        return NumericGetDatum(int64_div_fast_to_numeric(static_cast<int64>(whole), amount.digits));

    char buffer[64];
    auto written = amount.format({buffer, sizeof buffer - 1});
    buffer[sizeof buffer - 1] = '\0';  // format() writes at the end of its buffer
    return DirectFunctionCall3(numeric_in, CStringGetDatum(written.data()), ObjectIdGetDatum(InvalidOid),
                               Int32GetDatum(-1));
}

}  // namespace lifecycle::pg
