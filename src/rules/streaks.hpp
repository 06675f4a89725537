#pragma once

#include <cstddef>
#include <span>

#include "rules/calendar.hpp"

namespace lifecycle::rules {

// "Something in each of so many days, weeks or months, one after the other."
struct Streak {
    int length;  // two or more
    Unit unit;   // day, week or month
};

// Days, weeks (from Monday) or months, numbered without a gap.
std::int64_t number_of(Unit unit, Date date);
Date first_day(Unit unit, std::int64_t number);

// Where streaks are complete: `units` are the numbers, ascending, of those in which something was done. Each run of neighbours is cut into
// streaks from its beginning, so that nothing counts twice. complete(i): with units[i].
template <class Complete>
void streaks_in(std::span<const std::int64_t> units, int length, Complete&& complete) {
    int run = 0;
    for (std::size_t i = 0; i < units.size(); ++i) {
        if (i > 0 && units[i] == units[i - 1]) continue;
        run = i > 0 && units[i] == units[i - 1] + 1 ? run + 1 : 1;
        if (run % length == 0) complete(i);
    }
}

}  // namespace lifecycle::rules
