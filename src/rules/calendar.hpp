#pragma once

#include <cstdint>
#include <limits>

#include "rules/instant.hpp"

namespace lifecycle::rules {

// What a clock on the wall shows, in microseconds since 2000-01-01 00:00 there. In one zone a wall time can come twice, or never.
using Wall = std::int64_t;

inline constexpr std::int64_t kMicroseconds = 1'000'000;
inline constexpr std::int64_t kDay = 86'400 * kMicroseconds;

// Far enough from the ends of time that a year more or less does not leave it.
inline constexpr bool is_within_calendar(Wall t) {
    constexpr std::int64_t kMargin = 1000 * 366 * kDay;
    return t > kBeginning + kMargin && t < kNever - kMargin;
}

struct Date {
    int year;
    int month;  // 1 to 12
    int day;    // 1 to 31

    friend bool operator==(const Date&, const Date&) = default;
};

// Days since 2000-01-01, in the Gregorian calendar without end.
std::int64_t days_of(Date date);
Date date_of(std::int64_t days);
bool is_leap(int year);
std::int64_t day_of(Wall wall);

// How finely a truncated clock is looked at.
enum class Unit : std::uint8_t { none, hour, day, week, month, quarter, year };

// The beginning of the unit that a wall time lies in, and of the one after it. Weeks begin on Monday.
Wall floor_to(Unit unit, Wall wall);
Wall next_unit(Unit unit, Wall wall);

// How long zones are from UTC at most, with room to spare: local mean time at the date line was almost 16 hours.
inline constexpr std::int64_t kFarthestFromUtc = 16 * 3600 * kMicroseconds;

// What a zone says of an instant: its offset, and the next transition if there is one.
struct ZoneRule {
    std::int64_t offset;             // wall = instant + offset
    Instant until = kNever;          // the offset changes here
};

// Every instant at which a zone's wall clock could pass `wall`, forwards or backwards: where it shows it, and where it jumps
// nearby. Some are too many, never one too few. Zone: ZoneRule at(Instant).
template <class Zone, class Sink>
void passings(Wall wall, const Zone& zone, Sink&& sink) {
    Instant from = wall - kFarthestFromUtc;
    Instant to = wall + kFarthestFromUtc;
    for (Instant t = from;;) {
        ZoneRule rule = zone.at(t);
        sink(wall - rule.offset);
        if (rule.until > to || rule.until <= t) return;
        sink(rule.until);
        t = rule.until;
    }
}

// What somebody born on 29 February does in a common year.
enum class LeapDay : std::uint8_t { february_28, march_1, skip };

// The day on which an anniversary is celebrated in a year; days since 2000, or std::numeric_limits::min() for none.
inline constexpr std::int64_t kNoDay = std::numeric_limits<std::int64_t>::min();
std::int64_t anniversary_in(int year, Date of, LeapDay leap);

}  // namespace lifecycle::rules
