// The gates between a step that is due and its message, in their fixed order.
#include <algorithm>

#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/statement.hpp"
#include "rules/arms.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// What was put into the outbox within the longest window of a cap, and not taken out again unsent.
pg::Statement read_sent{
    .sql = "SELECT e.customer_id, s.channel, e.decided_at FROM lifecycle.enrolment_step AS e"
           "  JOIN lifecycle.step AS s ON (s.scenario, s.position) = (e.scenario, e.position) AND s.class = 'marketing'"
           "  JOIN lifecycle.channel AS c ON c.name = s.channel AND num_nonnulls(c.cap_per_day, c.cap_per_week, c.cap_per_month) > 0"
           " WHERE e.customer_id = ANY ($1) AND e.outcome = 'enqueued' AND e.decided_at > $2 - interval '720 hours'"
           "   AND NOT EXISTS (SELECT FROM lifecycle.outbox AS o"
           "                    WHERE o.customer_id = e.customer_id AND o.idempotency_key = concat_ws(':', e.scenario, e.position, e.anchor, e.customer_id)"
           "                      AND o.status IN ('cancelled', 'expired'))"
           " ORDER BY e.customer_id, e.decided_at",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};

// The first instant from `now` on at which neither the channel's quiet hours nor the step's window keep it; kNever: there is none.
Instant open_from(const Channel& channel, const Step& step, Instant now) {
    if (!rules::is_within_calendar(now)) return now;
    rules::Wall wall = pg::wall_of(now, pg::zone_in_force());
    int64 day = rules::day_of(wall);
    auto minute = static_cast<int>((wall - day * rules::kDay) / (60 * rules::kMicroseconds));
    int weekday = static_cast<int>(((day + 5) % 7 + 7) % 7);  // 2000-01-01 was a Saturday
    rules::Opening opening = rules::next_opening(channel.open, step.window, {weekday, minute});
    if (opening.days < 0) return rules::kNever;
    if (opening.days == 0 && opening.minute == minute) return now;
    return pg::instant_of((day + opening.days) * rules::kDay + opening.minute * 60 * rules::kMicroseconds);
}

Instant within_caps(Work& work, const Enrolment& e, const Step& step, const Channel& channel) {
    // What was there before is sorted by customer; what this batch has added follows.
    pg::Array<Instant> sent;
    auto before = work.sent.span().first(work.sent_before);
    auto first = std::lower_bound(before.begin(), before.end(), e.change, [](const Sent& s, const Change* c) { return s.change < c; });
    for (; first != before.end() && first->change == e.change; ++first) {
        if (first->channel == step.channel) sent.push(first->at);
    }
    for (const Sent& s : work.sent.span().subspan(work.sent_before)) {
        if (s.change == e.change && s.channel == step.channel) sent.push(s.at);
    }
    return rules::allowed_at(channel.caps, sent.span(), e.change->now);
}

}  // namespace

bool consents(const Row& row, int column) {
    return column < 0 || (!row.nulls[column] && pg::view(row.values[column]) == "granted");
}

void load_sent(Work& work, Batch batch) {
    if (!work.scenarios.any_caps) return;
    pg::Array<Datum> customers;
    const Change* last = nullptr;
    for (const Enrolment& e : work.enrolments) {
        if (e.change != last) customers.push(e.change->after.values[kCustomerId]);
        last = e.change;
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), TimestampTzGetDatum(batch[0].now)};
    uint64 rows = read_sent.run(args);
    size_t b = 0;
    for (uint64 i = 0; i < rows; ++i) {
        auto id = pg::view(pg::cell(i, 1).value);
        while (batch[b].customer_id != id) ++b;  // both are sorted
        for (size_t c = 0; c < work.scenarios.channels.size; ++c) {
            if (work.scenarios.channels[c].name == pg::view(pg::cell(i, 2).value))
                work.sent.push({&batch[b], static_cast<int>(c), DatumGetTimestampTz(pg::cell(i, 3).value)});
        }
    }
    work.sent_before = work.sent.size;
}

Gate ask_gates(Work& work, const Enrolment& e, const Step& step) {
    Change& change = *e.change;
    if (!consents(change.after, step.consent_column)) return {"no_consent"};
    if (step.condition != nullptr && !segment::holds(*step.condition, change, e.context)) return {"excluded"};
    Instant wait = change.now;
    const Channel& channel = work.scenarios.channels[step.channel];
    if (step.marketing) {
        if (e.scenario->exclusion != nullptr && segment::holds(*e.scenario->exclusion, change, e.context)) return {"excluded"};
        if (rules::is_held_out("holdout", change.customer_id, customer::current_shop().holdout) ||
            rules::is_held_out(e.scenario->name_view, change.customer_id, e.scenario->holdout))
            return {"holdout", rules::kBeginning, true};
        if (channel.capped) {
            wait = within_caps(work, e, step, channel);
            if (wait > change.now) return wait == rules::kNever ? Gate{"capped"} : Gate{"capped", wait};
        }
    }
    static constexpr Channel kNeverQuiet{};
    Instant open = open_from(step.marketing ? channel : kNeverQuiet, step, change.now);
    if (open > change.now) return open == rules::kNever ? Gate{"window_passed"} : Gate{"quiet_hours", open};
    return {};
}

}  // namespace lifecycle::scenario
