#pragma once

#include <cstdint>

namespace lifecycle::rules {

inline constexpr int kMinutesPerDay = 24 * 60;

// When in the week something may be sent, by the clock on the wall. A window that begins later than it ends goes over midnight and
// belongs to the day on which it begins.
struct SendWindow {
    int from = 0;                // minute of the day at which it opens
    int until = kMinutesPerDay;  // and at which it closes; the same minute: open all day
    std::uint8_t days = 0x7F;    // bit 0 is Monday
};

// The window that is left when it must be quiet from one minute of the day to another.
SendWindow outside_quiet(int quiet_from, int quiet_until);

// A place in the week.
struct WallMinute {
    int weekday;  // 0 is Monday
    int minute;   // of the day
};

bool is_open(const SendWindow& window, WallMinute at);

// How long until a minute at which all windows are open, in whole days and the minute of that day; days < 0: never.
struct Opening {
    int days;
    int minute;
};
Opening next_opening(const SendWindow& a, const SendWindow& b, WallMinute from);

}  // namespace lifecycle::rules
