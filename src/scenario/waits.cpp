// What goals and waiting steps are about: whether something has happened in time.
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/statement.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// From what is kept, because it may have happened while the scenario was paused, or the worker away.
pg::Statement read_awaited{
    .sql = "SELECT u.n, min(h.at) FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS u (customer_id, kind, name, since, until, n)"
           " CROSS JOIN LATERAL (SELECT a.at FROM lifecycle.activity AS a WHERE a.customer_id = u.customer_id AND a.kind = u.kind AND u.name IN ('', a.id)"
           "                     UNION ALL SELECT p.at FROM lifecycle.purchase AS p"
           "                                WHERE u.kind = 'order' AND p.customer_id = u.customer_id AND p.kind = 'order') AS h"
           "  WHERE h.at >= u.since AND h.at < u.until GROUP BY u.n",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}};

}  // namespace

Instant happened_now(const Change& change, const Awaited& awaited, Instant since, Instant until) {
    Instant first = rules::kNever;
    auto note = [&](Instant at) {
        if (at >= since && at < until) first = Min(first, at);
    };
    if (awaited.kind == FactKind::order) {
        for (const Fact& order : change.orders_taken_in) note(order.at);
    } else {
        for (const Happening& h : change.happened) {
            if (h.kind == awaited.kind && (awaited.name.empty() || h.id == awaited.name)) note(h.at);
        }
    }
    return first;
}

void load_awaited(Work& work) {
    pg::Array<Datum> customers, kinds, names, since, until;
    pg::Array<Enrolment*> waiting;
    for (Enrolment& e : work.enrolments) {
        if (e.scenario == nullptr || !e.scenario->runs) continue;
        const Step* step = step_from(*e.scenario, e.last_position + 1);
        if (step == nullptr || step->wait_for.kind == FactKind::count) continue;
        pg::use_zone(customer::zone_of(e.change->after));
        Instant end = Min(window_of(e, *step, e.last_at).due, e.change->now + 1);
        e.awaited_at = happened_now(*e.change, step->wait_for, e.last_at, end);
        customers.push(e.change->after.values[kCustomerId]);
        kinds.push(pg::to_datum(std::string_view{spec_of(step->wait_for.kind).name}));
        names.push(pg::to_datum(step->wait_for.name));
        since.push(TimestampTzGetDatum(e.last_at));
        until.push(TimestampTzGetDatum(end));
        waiting.push(&e);
    }
    if (waiting.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(kinds.span()), pg::text_array(names.span()),
                    pg::instant_array(since.span()), pg::instant_array(until.span())};
    uint64 rows = read_awaited.run(args);
    for (uint64 i = 0; i < rows; ++i) {
        Enrolment& e = *waiting[DatumGetInt64(pg::cell(i, 1).value) - 1];
        e.awaited_at = Min(e.awaited_at, DatumGetTimestampTz(pg::cell(i, 2).value));
    }
}

}  // namespace lifecycle::scenario
