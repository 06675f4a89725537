#include "loyalty/streaks.hpp"

#include <algorithm>
#include <charconv>

#include "customer/ledger.hpp"
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/statement.hpp"
#include "rules/streaks.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement read_visits{
    .sql = "SELECT e.occurred_at FROM lifecycle.engagement AS e"
           " WHERE e.customer_id = $1 AND e.type = 'visit' AND e.occurred_at <= $2 ORDER BY e.occurred_at",
    .types = {TEXTOID, TIMESTAMPTZOID}};
// Streaks that have had points, and whether they still have.
pg::Statement read_rewarded{
    .sql = "SELECT substr(l.reference, 8), max(l.earned_at) FILTER (WHERE NOT l.closed) FROM lifecycle.points_lot_settled AS l"
           " WHERE l.customer_id = $1 AND l.origin = 'streak' GROUP BY l.reference",
    .types = {TEXTOID}};

// As points_rule.event has it: "order:4 weeks"; the table's check keeps it well-formed.
rules::Streak parse(std::string_view event) {
    rules::Streak streak{0, rules::Unit::month};
    std::from_chars(event.data() + event.find(':') + 1, event.data() + event.size(), streak.length);
    if (event.ends_with(" days")) streak.unit = rules::Unit::day;
    if (event.ends_with(" weeks")) streak.unit = rules::Unit::week;
    return streak;
}

// When the customer ordered, but for orders that were refunded in full.
pg::Array<Instant> orders_of(const Change& change) {
    pg::Array<Instant> at;
    auto purchases = customer::purchases_of(change);
    for (const Fact& order : purchases) {
        if (order.kind != FactKind::order || order.at > change.now) continue;
        rules::Decimal left = order.amount;
        for (const Fact& refund : purchases) {
            if (refund.kind == FactKind::refund && refund.at <= change.now && refund.order == order.id)
                left = rules::subtract(left, refund.amount).value_or(left);
        }
        if (left > rules::Decimal{} || left == order.amount) at.push(order.at);
    }
    return at;
}

pg::Array<Instant> visits_of(const Change& change) {
    pg::Array<Instant> at;
    Datum args[] = {change.after.values[kCustomerId], TimestampTzGetDatum(change.now)};
    uint64 rows = read_visits.run(args);
    for (uint64 i = 0; i < rows; ++i) at.push(DatumGetTimestampTz(pg::cell(i, 1).value));
    return at;
}

bool has_visits(const Change& change) {
    return std::any_of(change.facts.begin(), change.facts.end(), [](const Fact& f) { return f.kind == FactKind::engagement; }) ||
           std::any_of(change.touched.begin(), change.touched.end(), [](const Happening& h) { return h.kind == FactKind::engagement; });
}

// A streak that had points, or has them.
struct Rewarded {
    std::string_view key;
    Instant at;     // kNever: they were taken back
    bool complete;  // as far as is known now
};

struct Comparison {
    Change& change;
    pg::Array<Rewarded> rewarded;
    pg::Array<Occasion>* into;

    void add(std::string_view event, std::string_view key, Instant at, bool known, bool gone) {
        into->push({&change, "streak", event, key, 0, at, {}, {}, gone, known});
    }

    void compare(std::string_view event, std::span<const Instant> done) {
        rules::Streak streak = parse(event);
        pg::Array<int64> units;
        for (Instant t : done) units.push(rules::number_of(streak.unit, rules::date_of(rules::day_of(pg::wall_of(t, pg::zone_in_force())))));
        rules::streaks_in(units.span(), streak.length, [&](size_t i) {
            rules::Date day = rules::first_day(streak.unit, units[i]);
            std::string_view key = psprintf("%s:%04d-%02d-%02d", pg::to_cstring(event), day.year, day.month, day.day);
            Rewarded* before = std::find_if(rewarded.begin(), rewarded.end(), [&](const Rewarded& r) { return r.key == key; });
            bool known = before != rewarded.end();
            if (known) before->complete = true;
            if (!known || before->at != done[i]) add(event, key, done[i], known, false);
        });
        for (const Rewarded& r : rewarded) {
            bool mine = r.key.size() > event.size() && r.key.starts_with(event) && r.key[event.size()] == ':';
            if (mine && !r.complete && r.at != rules::kNever) add(event, r.key, r.at, true, true);
        }
    }
};

}  // namespace

void gather_streaks(Change& change, const Points& points, bool has_purchases, pg::Array<Occasion>* into) {
    bool visits = has_visits(change);
    auto concerns = [&](std::string_view event) { return event.starts_with("order:") ? has_purchases : visits; };
    if (!std::any_of(points.rules.begin(), points.rules.end(), [&](const PointsRule& r) { return r.earns_on == "streak" && concerns(r.event); }))
        return;
    Comparison comparison{change, {}, into};
    uint64 rows = change.existed ? read_rewarded.run({&change.after.values[kCustomerId], 1}) : 0;
    for (uint64 i = 0; i < rows; ++i)
        comparison.rewarded.push({pg::text_cell(i, 1), pg::cell(i, 2).null ? rules::kNever : DatumGetTimestampTz(pg::cell(i, 2).value), false});
    pg::keep_zone([&] {
        pg::use_zone(customer::zone_of(change.after));
        for (const PointsRule& rule : points.rules) {
            if (rule.earns_on != "streak" || !concerns(rule.event)) continue;
            auto same = [&](const PointsRule& r) { return r.earns_on == "streak" && r.event == rule.event; };
            if (std::find_if(points.rules.begin(), points.rules.end(), same) != &rule) continue;  // another rule for the same streak
            auto done = rule.event.starts_with("order:") ? orders_of(change) : visits_of(change);
            comparison.compare(rule.event, done.span());
        }
    });
}

}  // namespace lifecycle::loyalty
