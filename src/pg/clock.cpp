#include "pg/clock.hpp"

namespace lifecycle::pg {

namespace {
TimestampTz frozen_at = DT_NOBEGIN;
}

rules::Instant now() { return clock_is_frozen() ? frozen_at : GetCurrentTimestamp(); }

rules::Instant statement_now() { return clock_is_frozen() ? now() : GetCurrentStatementStartTimestamp(); }

bool clock_is_frozen() { return frozen_at != DT_NOBEGIN; }

void freeze_clock(TimestampTz instant) { frozen_at = instant; }

TimestampTz frozen_clock() { return frozen_at; }

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

namespace {

// A stretch of time in which a zone's clock is not changed: whole days have 24 hours there.
struct Steady {
    pg_tz* zone;
    rules::Instant from, until;
};
Steady steady[8];
size_t next_steady = 0;

bool is_steady(rules::Instant from, rules::Instant until) {
    for (const Steady& s : steady) {
        if (s.zone == session_timezone && s.from <= from && until < s.until) return true;
    }
    rules::Instant change = Zone{session_timezone}.at(from).until;
    for (Steady& s : steady) {
        if (s.zone != session_timezone || s.until != change) continue;
        s.from = Min(s.from, from);
        return until < change;
    }
    steady[next_steady] = {session_timezone, from, change};
    next_steady = (next_steady + 1) % lengthof(steady);
    return until < change;
}

// Days and hours without asking the calendar; false: only it knows. A day is kept away from the next change of the clock, where one wall
// time may mean two instants.
bool add_days(rules::Instant t, const Interval* span, rules::Instant* result) {
    constexpr rules::Instant kEarliest = -100'000'000'000'000'000, kLatest = -10 * kEarliest;
    constexpr int32 kManyDays = 100000;
    if (span->month != 0 || span->day < 0 || span->day > kManyDays || t < kEarliest || t > kLatest) return false;
    if (span->time < -kManyDays * rules::kDay || span->time > kManyDays * rules::kDay) return false;
    *result = t + span->day * rules::kDay;
    if (span->day > 0 && !is_steady(t, *result + rules::kDay)) return false;
    *result += span->time;
    return true;
}

}  // namespace

rules::Instant add_interval(rules::Instant t, const Interval* span) {
    if (!rules::is_finite(t)) return t;
    rules::Instant result;
    if (add_days(t, span, &result)) return result;
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

rules::ZoneRule Zone::at(rules::Instant t) const {
    constexpr pg_time_t kEpoch = static_cast<pg_time_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
    pg_time_t seconds = static_cast<pg_time_t>(t / USECS_PER_SEC - (t % USECS_PER_SEC < 0)) + kEpoch;
    pg_time_t boundary;
    long before, after;
    int before_dst, after_dst;
    int found = pg_next_dst_boundary(&seconds, &before, &before_dst, &boundary, &after, &after_dst, tz);
    if (found < 0) return {0, rules::kNever};
    return {before * USECS_PER_SEC, found == 0 ? rules::kNever : static_cast<rules::Instant>(boundary - kEpoch) * USECS_PER_SEC};
}

rules::Wall wall_of(rules::Instant t, Zone zone) { return t + zone.at(t).offset; }

rules::Instant instant_of(rules::Wall wall) {
    return DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, TimestampGetDatum(wall)));
}

}  // namespace lifecycle::pg

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_now) {
    PG_RETURN_TIMESTAMPTZ(pg::statement_now());
}
