#include "rules/calendar.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

constexpr std::int64_t kDaysTo2000 = 730'425;  // from 0000-03-01

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

}  // namespace

// Years are counted from March, so that the leap day is the last of its year.
std::int64_t days_of(Date date) {
    std::int64_t year = date.year - (date.month <= 2);
    std::int64_t era = floor_div(year, 400);
    std::int64_t year_of_era = year - era * 400;
    std::int64_t day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - kDaysTo2000;
}

Date date_of(std::int64_t days) {
    days += kDaysTo2000;
    std::int64_t era = floor_div(days, 146'097);
    std::int64_t day_of_era = days - era * 146'097;
    std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    std::int64_t month = (5 * day_of_year + 2) / 153;
    int m = static_cast<int>(month < 10 ? month + 3 : month - 9);
    return {static_cast<int>(year_of_era + era * 400 + (m <= 2)), m, static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1)};
}

bool is_leap(int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

std::int64_t day_of(Wall wall) { return floor_div(wall, kDay); }

Wall floor_to(Unit unit, Wall wall) {
    constexpr std::int64_t kHour = 3600 * kMicroseconds;
    if (unit == Unit::none) return wall;
    if (unit == Unit::hour) return floor_div(wall, kHour) * kHour;
    std::int64_t days = floor_div(wall, kDay);
    if (unit == Unit::week) return (floor_div(days + 5, 7) * 7 - 5) * kDay;  // 2000-01-01 was a Saturday
    if (unit != Unit::day) {
        Date date = date_of(days);
        if (unit == Unit::quarter) date.month -= (date.month - 1) % 3;
        if (unit == Unit::year) date.month = 1;
        days = days_of({date.year, date.month, 1});
    }
    return days * kDay;
}

Wall next_unit(Unit unit, Wall wall) {
    Wall begin = floor_to(unit, wall);
    switch (unit) {
        case Unit::none: return wall + 1;
        case Unit::hour: return begin + 3600 * kMicroseconds;
        case Unit::day: return begin + kDay;
        case Unit::week: return begin + 7 * kDay;
        case Unit::month: return floor_to(unit, begin + 31 * kDay);
        case Unit::quarter: return floor_to(unit, begin + 92 * kDay);
        case Unit::year: return floor_to(unit, begin + 366 * kDay);
    }
    return begin;
}

std::int64_t anniversary_in(int year, Date of, LeapDay leap) {
    bool moved = of.month == 2 && of.day == 29 && !is_leap(year);
    if (!moved) return days_of({year, of.month, of.day});
    switch (leap) {
        case LeapDay::february_28: return days_of({year, 2, 28});
        case LeapDay::march_1: return days_of({year, 3, 1});
        case LeapDay::skip: break;
    }
    return kNoDay;
}

}  // namespace lifecycle::rules
