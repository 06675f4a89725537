#include "loyalty/points_rules.hpp"

#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/memory.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Cached<Points> points;

pg::Statement read_rules{
    .sql = "SELECT r.name, r.earns_on, r.event, r.rate, r.points, r.min_amount, r.tier_multiplier, r.pending, r.expiry,"
           "       r.expiry_rounding, r.valid_from, r.valid_until"
           "  FROM lifecycle.points_rule AS r WHERE EXISTS (SELECT FROM lifecycle.loyalty_program) ORDER BY r.name"};
pg::Statement read_program{
    .sql = "SELECT p.point_value, true FROM lifecycle.loyalty_program AS p"
           " UNION ALL SELECT NULL, true FROM lifecycle.points_entry_id_seq AS s WHERE s.is_called"};
pg::Statement read_multipliers{
    .sql = "SELECT t.points_multiplier FROM lifecycle.tier AS t"
           " WHERE EXISTS (SELECT FROM lifecycle.loyalty_program) ORDER BY t.rank"};

// The table's checks keep these within range.
rules::Decimal decimal_at(uint64 row, int column) { return pg::to_decimal(pg::cell(row, column).value).value_or(rules::Decimal{}); }

PointsRule rule_at(uint64 row) {
    PointsRule rule{};
    rule.name = pg::to_datum(pg::view(pg::cell(row, 1).value));
    rule.earns_on = pg::text_cell(row, 2);
    rule.event = pg::text_cell(row, 3);
    rule.earning = {decimal_at(row, 4), decimal_at(row, 5)};
    rule.has_min_amount = !pg::cell(row, 6).null;
    if (rule.has_min_amount) rule.min_amount = decimal_at(row, 6);
    rule.tier_multiplier = DatumGetBool(pg::cell(row, 7).value);
    rule.pending = *DatumGetIntervalP(pg::cell(row, 8).value);
    rule.has_expiry = !pg::cell(row, 9).null;
    if (rule.has_expiry) rule.expiry = *DatumGetIntervalP(pg::cell(row, 9).value);
    rule.expiry_rounding = pg::text_cell(row, 10);
    rule.valid_from = DatumGetTimestampTz(pg::cell(row, 11).value);
    rule.valid_until = DatumGetTimestampTz(pg::cell(row, 12).value);
    return rule;
}

}  // namespace

rules::Decimal Points::multiplier(int tier) const {
    constexpr rules::Decimal kOnce{1'000'000'000'000, 0};
    return tier >= 0 && static_cast<size_t>(tier) < multipliers.size ? multipliers[tier] : kOnce;
}

const Points& refresh_points() {
    if (points.is_current()) return *points.value;
    MemoryContext caller = points.begin();
    auto* fresh = pg::make<Points>();
    MemoryContextSwitchTo(caller);
    uint64 rows = read_rules.run();
    MemoryContextSwitchTo(points.context);
    for (uint64 i = 0; i < rows; ++i) {
        PointsRule rule = rule_at(i);
        fresh->on_orders |= rule.earns_on == "order";
        fresh->on_consents |= rule.earns_on == "consent";
        fresh->on_seasons |= rule.earns_on == "season";
        fresh->on_birthdays |= rule.earns_on == "birthday";
        fresh->on_referrals |= rule.earns_on == "referral" || rule.earns_on == "referred";
        fresh->on_streaks |= rule.earns_on == "streak";
        fresh->on_activities |= rule.earns_on == "review" || rule.earns_on == "event";
        fresh->rules.push(rule);
    }
    MemoryContextSwitchTo(caller);
    rows += read_program.run();
    fresh->kept = rows > 0;
    if (SPI_processed > 0 && !pg::cell(0, 1).null) {
        fresh->has_point_value = true;
        fresh->point_value = decimal_at(0, 1);
    }
    rows = read_multipliers.run();
    MemoryContextSwitchTo(points.context);
    for (uint64 i = 0; i < rows; ++i) fresh->multipliers.push(decimal_at(i, 1));
    MemoryContextSwitchTo(caller);
    points.finish(fresh);
    return *fresh;
}

Instant round_up(Instant t, std::string_view unit) {
    using rules::Unit;
    Unit known = unit == "day" ? Unit::day : unit == "month" ? Unit::month : unit == "quarter" ? Unit::quarter : unit == "year" ? Unit::year : Unit::none;
    Instant next;
    if (known != Unit::none && pg::round_up(t, known, &next)) return next;
    Instant begin = DatumGetTimestampTz(
        DirectFunctionCall2(timestamptz_trunc, pg::to_datum(unit), TimestampTzGetDatum(t)));
    if (begin == t) return t;
    Interval span{};
    span.day = unit == "day" ? 1 : 0;
    span.month = unit == "month" ? 1 : unit == "quarter" ? 3 : unit == "year" ? 12 : 0;
    return pg::add_interval(begin, &span);
}

int calendar_year(Instant t) {
    struct pg_tm parts;
    fsec_t fraction;
    int zone;
    if (timestamp2tm(t, &zone, &parts, &fraction, nullptr, nullptr) != 0) return 0;
    return parts.tm_year;
}

Instant birthday_in(DateADT birthday, int year) {
    rules::Date born = rules::date_of(birthday);
    int64 day = rules::anniversary_in(year, born, customer::current_shop().leap_birthday);
    if (day == rules::kNoDay) return rules::kNever;
    return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, DateADTGetDatum(static_cast<DateADT>(day))));
}

Lifetime lifetime_of(const PointsRule& rule, Instant earned_at) {
    Lifetime life{pg::add_interval(earned_at, &rule.pending), rules::kNever};
    if (!rule.has_expiry) return life;
    life.expires_at = pg::add_interval(life.active_at, &rule.expiry);
    if (!rule.expiry_rounding.empty()) life.expires_at = round_up(life.expires_at, rule.expiry_rounding);
    return life;
}

}  // namespace lifecycle::loyalty

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_share_of_points) {
    auto part = pg::to_decimal(PG_GETARG_DATUM(1));
    auto whole = pg::to_decimal(PG_GETARG_DATUM(2));
    if (!part || !whole) ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the amount is out of range"));
    PG_RETURN_INT64(rules::share_of_points(PG_GETARG_INT64(0), *part, *whole));
}

LIFECYCLE_FUNCTION(lifecycle_apportion) {
    auto weights = pg::elements_of(PG_GETARG_DATUM(1));
    size_t n = static_cast<size_t>(weights.count);
    auto wanted = pg::zeroed<int64>(n);
    auto parts = pg::zeroed<int64>(n);
    for (size_t i = 0; i < n; ++i) {
        wanted[i] = weights.nulls[i] ? 0 : DatumGetInt64(weights.values[i]);
        if (wanted[i] < 0)
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a weight is negative"), errdetail("It is " INT64_FORMAT ".", wanted[i]));
    }
    rules::apportion(PG_GETARG_INT64(0), {wanted.data(), n}, {parts.data(), n});
    pg::Array<Datum> result;
    for (int64 part : parts) result.push(Int64GetDatum(part));
    PG_RETURN_DATUM(pg::array_of(INT8OID, result.span(), nullptr));
}
