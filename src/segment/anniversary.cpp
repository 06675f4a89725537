#include "segment/anniversary.hpp"

namespace lifecycle::segment {

Instant begin_of(const Anniversary& a, int64 day) {
    Datum midnight = DirectFunctionCall1(date_timestamptz, DateADTGetDatum(static_cast<DateADT>(day)));
    return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, midnight, PointerGetDatum(a.before)));
}

bool celebrates(const Anniversary& a, Instant at) {
    int64 today = rules::day_of(pg::wall_of(at, pg::zone_in_force()));
    int year = rules::date_of(today).year;
    for (int y = std::max(year, a.first_year); y <= year + reach_of(a); ++y) {
        int64 day = rules::anniversary_in(y, a.of, a.leap);
        if (day == rules::kNoDay || day < today) continue;
        if (day > kLastDay) return false;
        return day == today || (a.before != nullptr && at >= begin_of(a, day));
    }
    return false;
}

}  // namespace lifecycle::segment
