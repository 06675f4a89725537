// Days that come back every year, in the customer's zone.
#pragma once

#include <algorithm>

#include "pg/clock.hpp"
#include "segment/member.hpp"

namespace lifecycle::segment {

// A date may lie where no instant does; nobody celebrates that.
inline constexpr int64 kLastDay = rules::kNever / rules::kDay - 1000 * 366;

bool celebrates(const Anniversary& a, Instant at);

// The instant from which on the anniversary that falls on this day (since 2000) holds.
Instant begin_of(const Anniversary& a, int64 day);

// Between two that are celebrated.
inline int longest_gap(const Anniversary& a) {
    constexpr int kBetweenLeapDays = 9;  // across 2100
    return a.leap == rules::LeapDay::skip && a.of.month == 2 && a.of.day == 29 ? kBetweenLeapDays : 1;
}

// How many years away the next one may be, seen from any instant.
inline int reach_of(const Anniversary& a) {
    constexpr int kRounded = 2;  // hours, and what a change to summer time makes of them
    int64 days = 0;
    if (a.before != nullptr) {
        int64 days_of_month = a.before->month > 0 ? 31 : 28;
        days = std::max(a.before->month * days_of_month + a.before->day + a.before->time / rules::kDay + kRounded, int64{0});
    }
    return longest_gap(a) + 1 + static_cast<int>(days / 365);
}

// Calls `sink` with the instants near `around` at which it may begin or end to hold: all between the one before and the one after. If the
// first one is still to come, however far away, these are the instants near that.
template <class Sink>
void each_flip(const Anniversary& a, Instant around, Sink&& sink) {
    if (!a.known || !rules::is_within_calendar(around)) return;
    pg::Zone zone = pg::zone_in_force();
    int year = rules::date_of(rules::day_of(pg::wall_of(around, zone))).year;
    int reach = reach_of(a);
    int last_year = std::max(year + reach, a.first_year + longest_gap(a));
    for (int y = std::max(year - reach, a.first_year); y <= last_year; ++y) {
        int64 day = rules::anniversary_in(y, a.of, a.leap);
        if (day == rules::kNoDay) continue;
        if (day > kLastDay) return;
        if (a.before != nullptr) sink(begin_of(a, day));
        rules::passings(day * rules::kDay, zone, sink);
        rules::passings((day + 1) * rules::kDay, zone, sink);
    }
}

}  // namespace lifecycle::segment
