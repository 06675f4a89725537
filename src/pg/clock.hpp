// The clock: every "now" in this extension comes from here, so that a test can stop it.
#pragma once

#include "pg/postgres.hpp"
#include "rules/calendar.hpp"
#include "rules/send_window.hpp"

namespace lifecycle::pg {

// The instant at which the engine works: the frozen clock, or the real time to the microsecond.
rules::Instant now();
// lifecycle.now(): what a statement sees as now stays the same while it runs.
rules::Instant statement_now();
bool clock_is_frozen();

// For the setting lifecycle.clock. An empty text parses as DT_NOBEGIN, which means: not frozen.
bool parse_clock(const char* value, TimestampTz* result);
void freeze_clock(TimestampTz instant);
// What freeze_clock() was told last.
TimestampTz frozen_clock();

// t + n units of a calendar or clock interval, in the zone now in force (see use_zone).
rules::Instant add_interval(rules::Instant t, const Interval* span);

// The beginning of the next unit of the wall clock, `t` itself if one begins there. False: near a change of the clock, where only the server's
// own arithmetic will do.
bool round_up(rules::Instant t, rules::Unit unit, rules::Instant* next);

// Makes a zone the one in which timestamps are taken apart until restore_zone(). Predicates and step delays count days in
// the customer's zone, never in that of whoever happens to run them. An unknown name leaves the fallback in force.
pg_tz* find_zone(const char* name);
// The one that AT TIME ZONE and date_trunc() mean by a name: to them CET is an abbreviation, an hour ahead in summer too. nullptr also where what an
// abbreviation means has changed in the course of time.
pg_tz* zone_named(const char* name);
pg_tz* use_zone(pg_tz* zone);
void restore_zone(pg_tz* previous);

// Runs `body`, which may switch zones as it likes: whatever happens, the session's own is back in force afterwards.
template <class F>
void keep_zone(F&& body) {
    pg_tz* own = use_zone(nullptr);
    use_zone(own);
    PG_TRY();
    {
        body();
    }
    PG_FINALLY();
    {
        restore_zone(own);
    }
    PG_END_TRY();
}

// The zone in which a customer's days are counted: the customer's, then the shop's, then UTC. Either may be null or unknown.
pg_tz* zone_of(const char* customer_zone, pg_tz* shop_zone);

// A zone as rules/calendar.hpp wants to see it.
struct Zone {
    pg_tz* tz;
    rules::ZoneRule at(rules::Instant t) const;
};
inline Zone zone_in_force() { return {session_timezone}; }
rules::Wall wall_of(rules::Instant t, Zone zone);
// When the wall clock of the zone in force shows this: one that it skips means as much later, of two the later.
rules::Instant instant_of(rules::Wall wall);

// The first instant from `t` on at which both windows are open in the zone in force; kNever: there is none.
rules::Instant open_from(const rules::SendWindow& a, const rules::SendWindow& b, rules::Instant t);

}  // namespace lifecycle::pg
