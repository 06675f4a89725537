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
    int64 offset;  // wall = instant + offset
};
Steady steady[8];
size_t next_steady = 0;

// The one from `from` to `until`; nullptr: the clock is changed on the way.
const Steady* steady_over(rules::Instant from, rules::Instant until) {
    for (const Steady& s : steady) {
        if (s.zone == session_timezone && s.from <= from && until < s.until) return &s;
    }
    rules::ZoneRule rule = Zone{session_timezone}.at(from);
    for (Steady& s : steady) {
        if (s.zone != session_timezone || s.until != rule.until || s.offset != rule.offset) continue;
        s.from = Min(s.from, from);
        return until < rule.until ? &s : nullptr;
    }
    Steady& s = steady[next_steady];
    s = {session_timezone, from, rule.until, rule.offset};
    next_steady = (next_steady + 1) % lengthof(steady);
    return until < rule.until ? &s : nullptr;
}

// Between these nothing here overflows.
bool is_ordinary(rules::Instant t) {
    constexpr rules::Instant kEarliest = -100'000'000'000'000'000, kLatest = -10 * kEarliest;
    return t >= kEarliest && t <= kLatest;
}

// Where an instant and a wall time meet, each with a day around it in which the clock is not changed: neither is ambiguous there.
bool wall_of(rules::Instant t, rules::Wall* wall) {
    const Steady* s = is_ordinary(t) ? steady_over(t - rules::kDay, t + rules::kDay) : nullptr;
    if (s != nullptr) *wall = t + s->offset;
    return s != nullptr;
}

bool instant_of(rules::Wall wall, rules::Instant* t) {
    constexpr int64 kAround = rules::kDay + rules::kFarthestFromUtc;
    const Steady* s = is_ordinary(wall) ? steady_over(wall - kAround, wall + kAround) : nullptr;
    if (s != nullptr) *t = wall - s->offset;
    return s != nullptr;
}

// Days and hours without asking the calendar; false: only it knows. A day is kept away from the next change of the clock, where one wall
// time may mean two instants.
bool add_days(rules::Instant t, const Interval* span, rules::Instant* result) {
    constexpr int32 kManyDays = 100000;
    if (span->month != 0 || span->day < 0 || span->day > kManyDays || !is_ordinary(t)) return false;
    if (span->time < -kManyDays * rules::kDay || span->time > kManyDays * rules::kDay) return false;
    *result = t + span->day * rules::kDay;
    if (span->day > 0 && steady_over(t, *result + rules::kDay) == nullptr) return false;
    *result += span->time;
    return true;
}

// The same with months first, on the wall. From the end of a month one comes to the end of another, if that is shorter.
bool add_months(rules::Instant t, const Interval* span, rules::Instant* result) {
    constexpr int32 kManyMonths = 12000;
    rules::Wall wall;
    if (span->month <= 0 || span->month > kManyMonths || !wall_of(t, &wall)) return false;
    int64 day = rules::day_of(wall);
    rules::Date date = rules::date_of(day);
    int month = date.month - 1 + span->month;
    int64 first = rules::days_of({date.year + month / 12, month % 12 + 1, 1});
    ++month;
    int64 last = rules::days_of({date.year + month / 12, month % 12 + 1, 1}) - 1;
    rules::Instant later;
    if (!instant_of(Min(first + date.day - 1, last) * rules::kDay + (wall - day * rules::kDay), &later)) return false;
    Interval rest = *span;
    rest.month = 0;
    return add_days(later, &rest, result);
}

}  // namespace

bool round_up(rules::Instant t, rules::Unit unit, rules::Instant* next) {
    rules::Wall wall;
    if (!wall_of(t, &wall)) return false;
    *next = t;
    rules::Wall begin = rules::floor_to(unit, wall);
    // The server counts on from where the unit begins.
    return wall == begin || (instant_of(begin, next) && instant_of(rules::next_unit(unit, wall), next));
}

rules::Instant add_interval(rules::Instant t, const Interval* span) {
    if (!rules::is_finite(t)) return t;
    rules::Instant result;
    if (add_days(t, span, &result) || add_months(t, span, &result)) return result;
    return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(t),
                                                   PointerGetDatum(span)));
}

pg_tz* find_zone(const char* name) {
    pg_tz* zone = pg_tzset(name);
    return zone != nullptr && pg_tz_acceptable(zone) ? zone : nullptr;
}

pg_tz* zone_named(const char* name) {
    int east = 0;
    switch (zone_abbreviation(downcase_truncate_identifier(name, static_cast<int>(strlen(name)), false), &east)) {
        case TZ:
        case DTZ: return pg_tzset_offset(-east);  // which counts westwards
        case DYNTZ: return nullptr;
        default: return find_zone(name);
    }
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

rules::Instant open_from(const rules::SendWindow& a, const rules::SendWindow& b, rules::Instant t) {
    if (!rules::is_within_calendar(t)) return t;
    rules::Wall wall = wall_of(t, zone_in_force());
    int64 day = rules::day_of(wall);
    auto minute = static_cast<int>((wall - day * rules::kDay) / (60 * rules::kMicroseconds));
    int weekday = static_cast<int>(((day + 5) % 7 + 7) % 7);  // 2000-01-01 was a Saturday
    rules::Opening opening = rules::next_opening(a, b, {weekday, minute});
    if (opening.days < 0) return rules::kNever;
    if (opening.days == 0 && opening.minute == minute) return t;
    return instant_of((day + opening.days) * rules::kDay + opening.minute * 60 * rules::kMicroseconds);
}

}  // namespace lifecycle::pg

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_now) {
    PG_RETURN_TIMESTAMPTZ(pg::statement_now());
}
