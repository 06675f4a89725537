#include "scenario/enrolments.hpp"

#include "customer/shop.hpp"
#include "loyalty/loyalty.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/statement.hpp"
#include "rules/schedule.hpp"
#include "scenario/scenarios.hpp"

namespace lifecycle::scenario {

namespace {

pg::Statement read_known{
    .sql = "SELECT u.n FROM unnest($1, $2, $3) WITH ORDINALITY AS u (customer_id, scenario, anchor, n)"
           " WHERE EXISTS (SELECT FROM lifecycle.enrolment AS e"
           "  WHERE (e.customer_id, e.scenario, e.anchor) = (u.customer_id, u.scenario, u.anchor))",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_open{
    .sql = "SELECT e.customer_id, e.scenario, e.anchor, e.anchor_at, e.last_position, e.next_due_at"
           "  FROM lifecycle.enrolment AS e WHERE e.customer_id = ANY ($1) AND e.status = 'active' ORDER BY e.customer_id",
    .types = {TEXTARRAYOID}};
pg::Statement write_enrolments{
    .sql = "INSERT INTO lifecycle.enrolment AS e"
           " (customer_id, scenario, anchor, anchor_at, status, last_position, next_due_at, end_reason, enrolled_at, ended_at)"
           " SELECT u.customer_id, u.scenario, u.anchor, u.anchor_at, u.status, NULLIF(u.last_position, -1), u.next_due_at,"
           "        u.end_reason, $9, CASE WHEN u.status <> 'active' THEN $9 END"
           "   FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)"
           "     AS u (customer_id, scenario, anchor, anchor_at, status, last_position, next_due_at, end_reason)"
           " ON CONFLICT (customer_id, scenario, anchor) DO UPDATE SET status = EXCLUDED.status,"
           " last_position = EXCLUDED.last_position, next_due_at = EXCLUDED.next_due_at, end_reason = EXCLUDED.end_reason,"
           " ended_at = EXCLUDED.ended_at",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID,
              TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement write_decisions{
    .sql = "INSERT INTO lifecycle.enrolment_step (customer_id, scenario, anchor, position, outcome, reason, decided_at)"
           " SELECT u.*, $7 FROM unnest($1, $2, $3, $4, $5, $6) AS u",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};

struct Enrolment {
    Change* change;
    const Scenario* scenario;  // nullptr: no longer active or paused
    Datum scenario_name;
    Datum anchor;
    Instant anchor_at;
    int last_position;
    Instant next_due;
    const char* status;
    const char* end_reason;
    bool fresh;
    bool touched;
};

struct Decision {
    const Enrolment* enrolment;
    int position;
    const char* reason;  // nullptr: enqueued
};

struct Work {
    const Scenarios& scenarios;
    pg::Array<Enrolment> enrolments;
    pg::Array<Decision> decisions;
    Outgoing* outgoing;
};

constexpr int kNoPosition = -1;

void start(Work& work, Change& change, const Scenario& scenario, Datum anchor, Instant at) {
    if (pg::add_interval(at, &scenario.max_age) < change.now) return;  // too long ago to start anything
    work.enrolments.push({&change, &scenario, scenario.name, anchor, at, kNoPosition, rules::kNever, "active", nullptr, true, true});
}

Datum instant_text(Instant t) {
    // In UTC whoever asks: the anchor is a key.
    pg_tz* zone = pg::use_zone(pg::zone_of(nullptr, nullptr));
    Datum text = pg::to_datum(timestamptz_to_str(t));
    pg::restore_zone(zone);
    return text;
}

void start_on_signals(Work& work, Change& change) {
    for (const Scenario& scenario : work.scenarios.list) {
        if (!scenario.active) continue;
        if (scenario.trigger == Trigger::order_placed) {
            for (const Fact& order : change.orders_taken_in) start(work, change, scenario, pg::to_datum(order.id), order.at);
            continue;
        }
        auto wanted = scenario.trigger == Trigger::tier_reached ? SignalKind::tier_reached : SignalKind::segment_entered;
        for (const Signal& signal : change.signals) {
            if (signal.kind != wanted || (!scenario.argument.empty() && scenario.argument != signal.name)) continue;
            // A tier is celebrated once; a segment that is entered again starts the scenario again.
            Datum anchor = wanted == SignalKind::tier_reached ? pg::to_datum(signal.name) : instant_text(signal.at);
            start(work, change, scenario, anchor, signal.at);
        }
    }
}

// Of what is to start, what has started before does not start again. The customers are locked, so nobody else starts it meanwhile.
void drop_known(Work& work) {
    if (work.enrolments.empty()) return;
    pg::Array<Datum> customers, scenarios, anchors;
    for (const Enrolment& e : work.enrolments) {
        customers.push(e.change->after.values[kCustomerId]);
        scenarios.push(e.scenario_name);
        anchors.push(e.anchor);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span())};
    uint64 rows = read_known.run(args);
    auto known = pg::zeroed<bool>(work.enrolments.size);
    for (uint64 i = 0; i < rows; ++i) known[DatumGetInt64(pg::cell(i, 1).value) - 1] = true;
    size_t kept = 0;
    for (size_t i = 0; i < work.enrolments.size; ++i) {
        bool again = known[i];
        for (size_t k = 0; k < kept && !again; ++k) {  // twice in this very batch
            const Enrolment& other = work.enrolments[k];
            again = other.change == work.enrolments[i].change && other.scenario == work.enrolments[i].scenario &&
                    pg::view(other.anchor) == pg::view(work.enrolments[i].anchor);
        }
        if (!again) work.enrolments[kept++] = work.enrolments[i];
    }
    work.enrolments.size = kept;
}

bool concerns_open_enrolments(const Change& change) {
    if (DatumGetInt32(change.before.values[kOpenEnrolments]) == 0) return false;
    return change.before.instant(kEnrolmentDueAt, rules::kNever) <= change.now || !change.facts.empty() || !change.moments.empty() ||
           change.replay;
}

void load_open(Work& work, Batch batch) {
    pg::Array<Datum> customers;
    for (const Change& change : batch) {
        if (concerns_open_enrolments(change)) customers.push(change.after.values[kCustomerId]);
    }
    if (customers.empty()) return;
    Datum arg = pg::text_array(customers.span());
    uint64 rows = read_open.run({&arg, 1});
    size_t b = 0;
    for (uint64 i = 0; i < rows; ++i) {
        auto id = pg::view(pg::cell(i, 1).value);
        while (batch[b].customer_id != id) ++b;  // both are sorted
        Enrolment e{};
        e.change = &batch[b];
        e.scenario_name = pg::cell(i, 2).value;
        for (const Scenario& s : work.scenarios.list) {
            if (pg::view(s.name) == pg::view(e.scenario_name)) e.scenario = &s;
        }
        e.anchor = pg::cell(i, 3).value;
        e.anchor_at = DatumGetTimestampTz(pg::cell(i, 4).value);
        e.last_position = pg::cell(i, 5).null ? kNoPosition : DatumGetInt32(pg::cell(i, 5).value);
        e.next_due = pg::cell(i, 6).null ? rules::kNever : DatumGetTimestampTz(pg::cell(i, 6).value);
        e.status = "active";
        work.enrolments.push(e);
    }
}

bool goal_met(const Enrolment& e) {
    if (!e.scenario->ends_with_order) return false;
    for (const Fact& order : e.change->orders_taken_in) {
        if (order.at >= e.anchor_at) return true;
    }
    // An order that was placed earlier and arrives late ends it too, if it is news.
    return e.change->after.instant(kLastOrderAt, rules::kBeginning) > e.change->before.instant(kLastOrderAt, rules::kBeginning);
}

// Whether what started the enrolment has been taken back.
bool reason_gone(const Enrolment& e) {
    if (e.fresh) return false;
    const Change& change = *e.change;
    if (e.scenario->trigger == Trigger::tier_reached) {
        Row anchor_row = change.after;
        anchor_row.set(kTier, e.anchor);
        return loyalty::tier_of(change.after) < loyalty::tier_of(anchor_row);
    }
    if (e.scenario->trigger == Trigger::order_placed) {
        bool gone = false;
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::order || fact.id != pg::view(e.anchor)) continue;
            if (!fact.withdrawn) return false;  // changed, not gone
            gone = true;
        }
        return gone;
    }
    return false;
}

void end(Work& work, Enrolment& e, const char* status, const char* reason) {
    e.status = status;
    e.end_reason = reason;
    e.next_due = rules::kNever;
    e.touched = true;
    if (reason != nullptr)
        work.outgoing->ended.push({e.change->after.values[kCustomerId], e.scenario_name, e.anchor, pg::to_datum(reason)});
}

bool consents(const Row& row, int column) {
    return column < 0 || (!row.nulls[column] && pg::view(row.values[column]) == "granted");
}

void decide_steps(Work& work, Enrolment& e) {
    const Change& change = *e.change;
    pg::use_zone(customer::zone_of(change.after));
    pg::Array<rules::StepWindow> windows;
    pg::Array<const Step*> steps;
    for (const Step& step : e.scenario->steps) {
        if (step.position <= e.last_position) continue;
        windows.push({pg::add_interval(e.anchor_at, &step.delay),
                      step.has_not_after ? pg::add_interval(e.anchor_at, &step.not_after) : rules::kNever});
        steps.push(&step);
    }
    rules::StepDecision decision = rules::decide(windows.span(), 0, change.now);
    Instant message_ends = rules::kBeginning;
    for (size_t i = 0; i < decision.next; ++i) {
        const char* reason = nullptr;
        if (i != decision.send) {
            reason = change.now < windows[i].expires ? "superseded" : "window_passed";
        } else if (!consents(change.after, steps[i]->consent_column)) {
            reason = "no_consent";
        } else {
            work.outgoing->messages.push({change.after.values[kCustomerId], e.scenario_name, e.anchor, steps[i]->position,
                                          windows[i].due, windows[i].expires});
            message_ends = windows[i].expires;
        }
        work.decisions.push({&e, steps[i]->position, reason});
        e.last_position = steps[i]->position;
        e.touched = true;
    }
    Instant wait = rules::kNever;
    if (decision.next < windows.size) {
        wait = windows[decision.next].due;
    } else if (message_ends > change.now) {
        wait = message_ends;  // until its window ends, the last message can still lose its reason
    } else if (windows.empty() && e.next_due > change.now) {
        wait = e.next_due;
    }
    if (wait == rules::kNever) {
        end(work, e, "completed", nullptr);
    } else {
        e.touched |= e.next_due != wait;
        e.next_due = wait;
    }
}

void run(Work& work, Enrolment& e) {
    if (e.scenario == nullptr) {
        end(work, e, "exited", "exited");  // the scenario was deleted or is a draft again
        return;
    }
    if (goal_met(e)) {
        end(work, e, "exited", "goal_met");
    } else if (reason_gone(e)) {
        end(work, e, "exited", "exited");
    } else if (e.scenario->active) {
        decide_steps(work, e);
    } else {
        e.touched = e.next_due != rules::kNever;
        e.next_due = rules::kNever;  // paused: what is due waits until the scenario is active again
    }
}

// Who has withdrawn a consent that waiting messages need, and who has given one.
void note_consents(Batch batch, Outgoing* outgoing) {
    for (const Change& change : batch) {
        for (auto [name, column] : kConsents) {
            if (consents(change.before, column) && !consents(change.after, column))
                outgoing->revoked.push({change.after.values[kCustomerId], pg::to_datum(name)});
        }
        if (change.silent) continue;  // an import is nobody's word of today
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::consent || fact.withdrawn) continue;
            // Said again counts too: what was suppressed meanwhile is lifted.
            if (pg::view(fact.fields[1]) == "granted" && consents(change.after, consent_column(pg::view(fact.fields[0]))))
                outgoing->granted.push({change.after.values[kCustomerId], fact.fields[0]});
        }
    }
}

void note_in_rows(Batch batch, Work& work) {
    for (Change& change : batch) {
        if (!concerns_open_enrolments(change)) continue;
        change.after.set(kOpenEnrolments, Int32GetDatum(0));  // all of them have been loaded
        change.after.clear(kEnrolmentDueAt);
    }
    for (const Enrolment& e : work.enrolments) {
        if (strcmp(e.status, "active") != 0) continue;
        Row& row = e.change->after;
        row.set(kOpenEnrolments, Int32GetDatum(DatumGetInt32(row.values[kOpenEnrolments]) + 1));
        row.set_instant(kEnrolmentDueAt, Min(row.instant(kEnrolmentDueAt, rules::kNever), e.next_due));
    }
}

void write(Work& work, Instant now) {
    pg::Array<Datum> customers, scenarios, anchors, anchor_at, statuses, positions, due, reasons;
    pg::Array<bool> no_due, no_reason;
    for (const Enrolment& e : work.enrolments) {
        if (!e.touched) continue;
        customers.push(e.change->after.values[kCustomerId]);
        scenarios.push(e.scenario_name);
        anchors.push(e.anchor);
        anchor_at.push(TimestampTzGetDatum(e.anchor_at));
        statuses.push(pg::to_datum(e.status));
        positions.push(Int32GetDatum(e.last_position));
        no_due.push(e.next_due == rules::kNever);
        due.push(TimestampTzGetDatum(e.next_due));
        no_reason.push(e.end_reason == nullptr);
        reasons.push(e.end_reason == nullptr ? Datum{0} : pg::to_datum(e.end_reason));
    }
    if (!customers.empty()) {
        Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()),
                        pg::instant_array(anchor_at.span()), pg::text_array(statuses.span()), pg::int4_array(positions.span()),
                        pg::instant_array(due.span(), no_due.data), pg::text_array(reasons.span(), no_reason.data),
                        TimestampTzGetDatum(now)};
        write_enrolments.run(args);
    }
    if (work.decisions.empty()) return;
    pg::fault_point("scenarios.decisions");
    pg::Array<Datum> of, in, at, position, outcome, why;
    pg::Array<bool> no_why;
    for (const Decision& d : work.decisions) {
        of.push(d.enrolment->change->after.values[kCustomerId]);
        in.push(d.enrolment->scenario_name);
        at.push(d.enrolment->anchor);
        position.push(Int32GetDatum(d.position));
        outcome.push(pg::to_datum(d.reason == nullptr ? "enqueued" : "skipped"));
        no_why.push(d.reason == nullptr);
        why.push(d.reason == nullptr ? Datum{0} : pg::to_datum(d.reason));
    }
    Datum args[] = {pg::text_array(of.span()), pg::text_array(in.span()), pg::text_array(at.span()), pg::int4_array(position.span()),
                    pg::text_array(outcome.span()), pg::text_array(why.span(), no_why.data), TimestampTzGetDatum(now)};
    write_decisions.run(args);
}

}  // namespace

void advance(Batch batch, Outgoing* outgoing) {
    pg::fault_point("scenarios");
    note_consents(batch, outgoing);
    Work work{refresh_scenarios(), {}, {}, outgoing};
    pg::keep_zone([&] {
        if (!work.scenarios.list.empty()) {
            for (Change& change : batch) {
                if (change.silent) continue;  // history sends nothing
                if (change.signals.empty() && (!work.scenarios.any_on_orders || change.orders_taken_in.empty())) continue;
                pg::use_zone(customer::zone_of(change.after));
                start_on_signals(work, change);
            }
        }
        drop_known(work);
        load_open(work, batch);
        for (Enrolment& e : work.enrolments) run(work, e);
    });
    if (work.enrolments.empty()) return;
    note_in_rows(batch, work);
    write(work, batch[0].now);
}

}  // namespace lifecycle::scenario
