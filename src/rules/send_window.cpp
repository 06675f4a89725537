#include "rules/send_window.hpp"

#include <initializer_list>

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

constexpr bool has_day(const SendWindow& window, int weekday) { return (window.days >> ((weekday + 7) % 7) & 1) != 0; }

}  // namespace

SendWindow outside_quiet(int quiet_from, int quiet_until) { return {quiet_until, quiet_from, 0x7F}; }

bool is_open(const SendWindow& window, WallMinute at) {
    if (window.from == window.until) return has_day(window, at.weekday);
    if (window.from < window.until) return has_day(window, at.weekday) && at.minute >= window.from && at.minute < window.until;
    if (at.minute >= window.from) return has_day(window, at.weekday);
    return at.minute < window.until && has_day(window, at.weekday - 1);
}

Opening next_opening(const SendWindow& a, const SendWindow& b, WallMinute from) {
    auto open = [&](int days, int minute) {
        WallMinute at{(from.weekday + days) % 7, minute};
        return is_open(a, at) && is_open(b, at);
    };
    if (open(0, from.minute)) return {0, from.minute};
    // It can open only where one of the windows does, or a day begins.
    for (int days = 0; days <= 8; ++days) {
        int best = kMinutesPerDay;
        for (int minute : {0, a.from, b.from}) {
            if ((days > 0 || minute > from.minute) && minute < best && open(days, minute)) best = minute;
        }
        if (best < kMinutesPerDay) return {days, best};
    }
    return {-1, 0};
}

}  // namespace lifecycle::rules
