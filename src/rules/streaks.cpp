#include "rules/streaks.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

// 2000-01-01 was a Saturday: Monday 1999-12-27 begins week 0.
constexpr std::int64_t kSaturday = 5;

std::int64_t number_of(Unit unit, Date date) {
    if (unit == Unit::month) return date.year * std::int64_t{12} + date.month - 1;
    std::int64_t days = days_of(date);
    if (unit == Unit::day) return days;
    std::int64_t since_monday = days + kSaturday;
    return (since_monday - (since_monday % 7 + 7) % 7) / 7;
}

Date first_day(Unit unit, std::int64_t number) {
    if (unit == Unit::month) return {static_cast<int>(number / 12), static_cast<int>(number % 12) + 1, 1};
    return date_of(unit == Unit::day ? number : number * 7 - kSaturday);
}

}  // namespace lifecycle::rules
