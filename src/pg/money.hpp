// numeric <-> rules::Decimal.
#pragma once

#include "pg/postgres.hpp"
#include "rules/decimal.hpp"

namespace lifecycle::pg {

// std::nullopt: NaN, infinite, too large or with more decimals than a Decimal keeps.
std::optional<rules::Decimal> to_decimal(Datum numeric);
Datum to_numeric(rules::Decimal amount);
Datum to_numeric(rules::Scaled number);

}  // namespace lifecycle::pg
