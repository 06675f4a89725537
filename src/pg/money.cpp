#include "pg/money.hpp"

#include <cstring>

namespace lifecycle::pg {

std::optional<rules::Decimal> to_decimal(Datum numeric) {
    if (numeric_is_nan(DatumGetNumeric(numeric)) || numeric_is_inf(DatumGetNumeric(numeric))) return std::nullopt;
    char* text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
    auto amount = rules::Decimal::parse(text);
    pfree(text);
    return amount;
}

Datum to_numeric(rules::Decimal amount) {
    char buffer[64];
    auto written = amount.format({buffer, sizeof buffer - 1});
    buffer[sizeof buffer - 1] = '\0';  // format() writes at the end of its buffer
    return DirectFunctionCall3(numeric_in, CStringGetDatum(written.data()), ObjectIdGetDatum(InvalidOid),
                               Int32GetDatum(-1));
}

}  // namespace lifecycle::pg
