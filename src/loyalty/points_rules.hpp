// The rules by which points are earned, as the configuration has them.
#pragma once

#include "customer/change.hpp"
#include "rules/points.hpp"

namespace lifecycle::loyalty {

struct PointsRule {
    Datum name;
    std::string_view earns_on;
    std::string_view event;
    rules::Earning earning;
    bool has_min_amount;
    rules::Decimal min_amount;
    bool tier_multiplier;
    Interval pending;
    bool has_expiry;
    Interval expiry;
    std::string_view expiry_rounding;  // empty: none
    Instant valid_from, valid_until;

    bool fits(std::string_view occasion, std::string_view its_event, Instant at, rules::Decimal amount) const {
        return earns_on == occasion && event == its_event && valid_from <= at && at < valid_until &&
               (!has_min_amount || amount >= min_amount);
    }
};

struct Points {
    pg::Array<PointsRule> rules;
    bool on_orders;
    bool on_consents;
    bool on_seasons;
    bool on_birthdays;
    bool on_referrals;
    bool on_activities;
    bool on_streaks;
    bool kept;  // somebody may have points
    bool has_point_value;
    rules::Decimal point_value;
    pg::Array<rules::Decimal> multipliers;  // of the tiers, by rank

    rules::Decimal multiplier(int tier) const;
};

// Read anew if the configuration has changed: at the start of a batch only.
const Points& refresh_points();

// When points of a rule that were earned at an instant can be spent, and until when; in the zone now in force.
struct Lifetime {
    Instant active_at;
    Instant expires_at;  // kNever: they do not expire
};
Lifetime lifetime_of(const PointsRule& rule, Instant earned_at);

// The year of an instant; the beginning of the birthday in a year, for 29 February as lifecycle.shop has it (kNever: not in this year). In the zone
// now in force.
int calendar_year(Instant t);
Instant birthday_in(DateADT birthday, int year);

// The first day, month, quarter or year that begins at `t` or later, in the zone now in force.
Instant round_up(Instant t, std::string_view unit);

}  // namespace lifecycle::loyalty
