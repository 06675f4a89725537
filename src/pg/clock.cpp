#include "pg/clock.hpp"

namespace lifecycle::pg {

namespace {
TimestampTz frozen_at = DT_NOBEGIN;
}

rules::Instant now() { return clock_is_frozen() ? frozen_at : GetCurrentTimestamp(); }

bool clock_is_frozen() { return frozen_at != DT_NOBEGIN; }

void freeze_clock(TimestampTz instant) { frozen_at = instant; }

bool parse_clock(const char* value, TimestampTz* result) {
    if (value == nullptr || *value == '\0') {
        *result = DT_NOBEGIN;
        return true;
    }
    char buffer[MAXDATELEN + MAXDATEFIELDS];
    char* field[MAXDATEFIELDS];
    int type[MAXDATEFIELDS];
    int fields;
    int kind;
    int zone;
    fsec_t fsec;
    struct pg_tm tm;
    if (ParseDateTime(value, buffer, sizeof buffer, field, type, MAXDATEFIELDS, &fields) != 0) return false;
    if (!decode_datetime(field, type, fields, &kind, &tm, &fsec, &zone) || kind != DTK_DATE) return false;
    return tm2timestamp(&tm, fsec, &zone, result) == 0;
}

rules::Instant add_interval(rules::Instant t, const Interval* span) {
    if (!rules::is_finite(t)) return t;
    return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(t),
                                                   PointerGetDatum(span)));
}

pg_tz* find_zone(const char* name) {
    pg_tz* zone = pg_tzset(name);
    return zone != nullptr && pg_tz_acceptable(zone) ? zone : nullptr;
}

pg_tz* use_zone(pg_tz* zone) {
    pg_tz* previous = session_timezone;
    session_timezone = zone;
    return previous;
}

pg_tz* zone_of(const char* customer_zone, pg_tz* shop_zone) {
    if (customer_zone != nullptr) {
        pg_tz* zone = find_zone(customer_zone);
        if (zone != nullptr) return zone;
    }
    return shop_zone != nullptr ? shop_zone : pg_tzset("GMT");
}

void restore_zone(pg_tz* previous) { session_timezone = previous; }

}  // namespace lifecycle::pg

using namespace lifecycle;

// lifecycle.now(): what a statement sees as now stays the same while it runs.
LIFECYCLE_FUNCTION(lifecycle_now) {
    PG_RETURN_TIMESTAMPTZ(pg::clock_is_frozen() ? pg::now() : GetCurrentStatementStartTimestamp());
}
