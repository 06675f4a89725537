// Days that come back every year, in the customer's zone.
#pragma once

#include <algorithm>

#include "pg/clock.hpp"
#include "segment/member.hpp"

namespace lifecycle::segment {

bool celebrates(const Anniversary& a, Instant at);

// The instant from which on the anniversary that falls on this day (since 2000) holds.
Instant begin_of(const Anniversary& a, int64 day);

// How many years away the next one may be, seen from any instant.
inline int reach_of(const Anniversary& a) {
    constexpr int kLongestGap = 9;  // between two 29 Februaries, across 2100
    int gap = a.leap == rules::LeapDay::skip && a.of.month == 2 && a.of.day == 29 ? kLongestGap : 1;
    return gap + 1 + (a.before != nullptr ? a.before->month / 12 + a.before->day / 365 : 0);
}

// Calls `sink` with the instants near `around` at which it may begin or end to hold: all between the one before and the one after.
template <class Sink>
void each_flip(const Anniversary& a, Instant around, Sink&& sink) {
    if (!a.known || !rules::is_within_calendar(around)) return;
    pg::Zone zone = pg::zone_in_force();
    int year = rules::date_of(rules::day_of(pg::wall_of(around, zone))).year;
    int reach = reach_of(a);
    for (int y = std::max(year - reach, a.first_year); y <= year + reach; ++y) {
        int64 day = rules::anniversary_in(y, a.of, a.leap);
        if (day == rules::kNoDay) continue;
        if (a.before != nullptr) sink(begin_of(a, day));
        rules::passings(day * rules::kDay, zone, sink);
        rules::passings((day + 1) * rules::kDay, zone, sink);
    }
}

}  // namespace lifecycle::segment
