#include "loyalty/balance.hpp"

#include <algorithm>

#include "pg/statement.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement settle_points{.sql = "SELECT lifecycle.settle_points($1, $2)", .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};
pg::Statement read_balances{
    .sql = "SELECT u.n, coalesce(sum(l.available), 0)::bigint, min(l.due_at)"
           "  FROM unnest($1) WITH ORDINALITY AS u (customer_id, n)"
           "  LEFT JOIN lifecycle.points_lot_settled AS l ON l.customer_id = u.customer_id AND l.due_at IS NOT NULL GROUP BY u.n",
    .types = {TEXTARRAYOID}};
// What has changed since an instant; -infinity: everything.
pg::Statement read_steps{
    .sql = "SELECT u.n, e.at, sum(e.points)::bigint FROM unnest($1, $2) WITH ORDINALITY AS u (customer_id, since, n)"
           "  JOIN lifecycle.points_entry_settled AS e ON e.customer_id = u.customer_id AND e.at > u.since"
           " WHERE e.points <> 0 GROUP BY u.n, e.at ORDER BY u.n, e.at",
    .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

// Customers of a batch, as arguments.
struct Some {
    pg::Array<Change*> changes;
    pg::Array<Datum> customers, instants;

    void add(Change& change, Instant at) {
        changes.push(&change);
        customers.push(change.after.values[kCustomerId]);
        instants.push(TimestampTzGetDatum(at));
    }
    uint64 run(pg::Statement& statement) {
        Datum args[] = {pg::text_array(customers.span()), pg::instant_array(instants.span())};
        return statement.run(args);
    }
    Change& change_of(uint64 row) { return *changes[DatumGetInt64(pg::cell(row, 1).value) - 1]; }
};

Instant as_of(const Change& change) { return change.before.instant(kAsOf, rules::kBeginning); }

// Puts the steps between the moments, so that every stage that follows sees the customer as of each of them.
void weave(Change& change, Balance& balance) {
    auto& steps = balance.steps;
    int64 points = change.from_scratch ? 0 : DatumGetInt64(change.before.values[kPoints]);
    if (steps.empty()) {  // most shops keep no points
        for (Moment& moment : change.moments) moment.points = points;
        change.after.set(kPoints, Int64GetDatum(points));
        return;
    }
    std::sort(steps.begin(), steps.end(), [](auto& a, auto& b) { return a.at < b.at; });
    pg::Array<Moment> moments;
    moments.reserve(change.moments.size() + steps.size);
    Moment last = change.base;
    size_t next = 0;
    auto take_steps = [&](Instant until) {
        while (next < steps.size && steps[next].at < until) {
            Instant at = steps[next].at;
            for (; next < steps.size && steps[next].at == at; ++next) points += steps[next].points;
            last.at = at;
            last.points = points;
            moments.push(last);
        }
    };
    for (const Moment& moment : change.moments) {
        take_steps(moment.at);
        for (; next < steps.size && steps[next].at == moment.at; ++next) points += steps[next].points;
        last = moment;
        last.points = points;
        moments.push(last);
    }
    take_steps(rules::kNever);
    change.moments = moments.span();
    change.after.set(kPoints, Int64GetDatum(points));
}

}  // namespace

void Balances::settle() {
    Some due;
    for (Change& change : batch) {
        if (!change.existed || change.before.instant(kLoyaltyDueAt, rules::kNever) > change.now) continue;
        due.add(change, change.now);
        of(change).recount = true;
    }
    if (!due.changes.empty()) due.run(settle_points);
}

void Balances::show() {
    Some counted;
    Some timed;
    for (Change& change : batch) {
        if (!change.existed) continue;
        Balance& balance = of(change);
        balance.recount |= change.recount || change.replay;
        if (balance.recount) counted.add(change, change.now);
        if (balance.recount || change.from_scratch) timed.add(change, change.from_scratch ? rules::kBeginning : as_of(change));
    }
    auto totals = pg::zeroed<int64>(batch.size());
    if (!counted.changes.empty()) {
        Datum arg = pg::text_array(counted.customers.span());
        uint64 rows = read_balances.run({&arg, 1});
        for (uint64 i = 0; i < rows; ++i) {
            Change& change = counted.change_of(i);
            totals[static_cast<size_t>(&change - batch.data())] = DatumGetInt64(pg::cell(i, 2).value);
            if (!pg::cell(i, 3).null) of(change).due_at(DatumGetTimestampTz(pg::cell(i, 3).value));
        }
    }
    if (!timed.changes.empty()) {
        for (Change* change : timed.changes) of(*change).steps.clear();
        uint64 rows = timed.run(read_steps);
        for (uint64 i = 0; i < rows; ++i)
            of(timed.change_of(i)).step(DatumGetTimestampTz(pg::cell(i, 2).value), DatumGetInt64(pg::cell(i, 3).value));
    }
    for (Change& change : batch) {
        Balance& balance = of(change);
        if (balance.recount && !change.from_scratch) {
            // What was changed at the very instant up to which the customer was known already.
            int64 rest = totals[static_cast<size_t>(&change - batch.data())] - DatumGetInt64(change.before.values[kPoints]);
            for (const Balance::Step& step : balance.steps) rest -= step.points;
            if (rest != 0) balance.step(as_of(change), rest);
        }
        Instant known = change.existed ? change.before.instant(kLoyaltyDueAt, rules::kNever) : rules::kNever;
        balance.due_at(change.tier_due);
        if (!balance.recount || (known > change.now && !change.replay)) balance.due_at(known);
        change.after.set_instant(kLoyaltyDueAt, balance.due);
        if (!change.moments.empty() || !balance.steps.empty()) weave(change, balance);
    }
}

}  // namespace lifecycle::loyalty
