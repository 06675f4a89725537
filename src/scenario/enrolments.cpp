#include "scenario/enrolments.hpp"

#include <algorithm>
#include <tuple>

#include "customer/seen.hpp"
#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/finger.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "rules/arms.hpp"
#include "rules/schedule.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// For each enrolment that would begin: whether its anchor has begun one before, and when the scenario's latest did.
pg::Statement read_known{
    .sql = "SELECT u.n, k.same, k.latest FROM unnest($1, $2, $3) WITH ORDINALITY AS u (customer_id, scenario, anchor, n)"
           " CROSS JOIN LATERAL (SELECT bool_or(e.anchor = u.anchor) AS same, max(e.anchor_at) AS latest FROM lifecycle.enrolment AS e"
           "                      WHERE (e.customer_id, e.scenario) = (u.customer_id, u.scenario)) AS k WHERE k.latest IS NOT NULL",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_deliveries{
    .sql = "SELECT u.n, max(d.delivered_at) FROM unnest($1, $2) WITH ORDINALITY AS u (customer_id, order_id, n)"
           "  JOIN lifecycle.delivery AS d ON (d.customer_id, d.order_id) = (u.customer_id, u.order_id) GROUP BY u.n",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_bought_elsewhere{
    .sql = "SELECT u.n FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u (customer_id, address, since, until, n)"
           " WHERE lifecycle.bought_elsewhere(u.customer_id, u.address, u.since, u.until)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}};
bool same_anchor(const Enrolment& a, const Enrolment& b) {
    return a.change == b.change && a.scenario == b.scenario && pg::view(a.anchor) == pg::view(b.anchor);
}

void open_rows(Work& work) {
    if (work.rows == nullptr) work.rows = pg::open_writer(pg::table_oid(pg::Table::enrolment));
}

// Whether any has begun with the anchor before, of those that may have, in the table; without a statement: an order may ask.
void look_up(Work& work, std::span<const size_t> asked, std::span<bool> known) {
    if (asked.empty()) return;
    open_rows(work);
    Snapshot snapshot = RegisterSnapshot(pg::present());
    pg::Finger finger = pg::point(work.rows, snapshot);
    for (size_t i : asked) {
        const Enrolment& e = work.enrolments[i];
        Datum key[] = {e.change->after.values[kCustomerId], e.scenario_name, e.anchor};
        ItemPointerData tid;
        known[i] = pg::find_row(finger, key, &tid);
    }
    UnregisterSnapshot(snapshot);
}

// Which of those that would begin may not, because of what has begun before.
std::span<bool> begun_before(Work& work) {
    auto known = pg::zeroed<bool>(work.enrolments.size);
    pg::Array<Datum> customers, scenarios, anchors;
    pg::Array<size_t> looked_up, asked;
    for (size_t i = 0; i < work.enrolments.size; ++i) {
        const Enrolment& e = work.enrolments[i];
        const Row& row = e.change->before;
        if (!e.change->existed || row.nulls[kAnchorsSeen]) continue;  // nothing has ever begun for the customer
        if (e.scenario->reentry == Reentry::once_per_anchor || e.scenario->reentry == Reentry::always) {
            if (!customer::may_have_seen(row, kAnchorsSeen, pg::view(e.anchor))) continue;
            known[i] = is_on_way(row, e);
            if (!known[i]) looked_up.push(i);
            continue;
        }
        customers.push(row.values[kCustomerId]);
        scenarios.push(e.scenario_name);
        anchors.push(e.anchor);
        asked.push(i);
    }
    look_up(work, looked_up.span(), known);
    if (asked.empty()) return known;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span())};
    uint64 rows = read_known.run(args);
    for (uint64 k = 0; k < rows; ++k) {
        size_t i = asked[static_cast<size_t>(DatumGetInt64(pg::cell(k, 1).value) - 1)];
        const Enrolment& e = work.enrolments[i];
        Instant latest = DatumGetTimestampTz(pg::cell(k, 3).value);
        pg::use_zone(customer::zone_of(e.change->after));
        known[i] = DatumGetBool(pg::cell(k, 2).value) || e.scenario->reentry == Reentry::once ||
                   pg::add_interval(latest, &e.scenario->every) > e.anchor_at;
    }
    return known;
}

// Of what is to start, what may: it has not started before, or not too lately, and the entry filter lets the customer in. The customers are
// locked, so nobody else starts it meanwhile.
void admit(Work& work) {
    if (work.enrolments.empty()) return;
    auto known = begun_before(work);
    size_t kept = 0;
    for (size_t i = 0; i < work.enrolments.size; ++i) {
        const Enrolment& e = work.enrolments[i];
        bool out = known[i];
        for (size_t k = 0; k < kept && !out; ++k) {  // twice in this very batch
            const Enrolment& other = work.enrolments[k];
            out = same_anchor(e, other) || (e.change == other.change && e.scenario == other.scenario &&
                                             (e.scenario->reentry == Reentry::once || e.scenario->reentry == Reentry::every));
        }
        if (!out && e.scenario->entry_filter != nullptr) {
            pg::use_zone(customer::zone_of(e.change->after));
            out = !segment::holds(*e.scenario->entry_filter, *e.change, e.context);
        }
        if (!out) work.enrolments[kept++] = work.enrolments[i];
    }
    work.enrolments.size = kept;
}

// The columns of the table, in its order.
enum EnrolmentColumn {
    kOf, kIn, kAnchor, kAnchorAt, kVersion, kStatus, kLastPosition, kLastAt, kNextDueAt, kContext, kEnrolledAt, kEndedAt, kEndReason, kEnrolmentColumns
};

// False: it has ended.
bool read_row(HeapTuple row, TupleDesc layout, Enrolment* e) {
    if (layout->natts != kEnrolmentColumns)
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("table \"lifecycle.enrolment_settled\" does not have the columns this version of pg_lifecycle knows"),
                errhint("Run ALTER EXTENSION pg_lifecycle UPDATE."));
    Datum values[kEnrolmentColumns];
    bool nulls[kEnrolmentColumns];
    heap_deform_tuple(row, layout, values, nulls);
    if (pg::view(values[kStatus]) != "active") return false;
    e->customer = values[kOf];
    e->scenario_name = values[kIn];
    e->anchor = values[kAnchor];
    e->anchor_at = DatumGetTimestampTz(values[kAnchorAt]);
    e->version = DatumGetInt32(values[kVersion]);
    e->last_position = nulls[kLastPosition] ? kNoPosition : DatumGetInt32(values[kLastPosition]);
    e->last_at = nulls[kLastAt] ? e->anchor_at : DatumGetTimestampTz(values[kLastAt]);
    e->next_due = nulls[kNextDueAt] ? rules::kNever : DatumGetTimestampTz(values[kNextDueAt]);
    e->context = nulls[kContext] ? Datum{0} : values[kContext];
    e->enrolled_at = DatumGetTimestampTz(values[kEnrolledAt]);
    e->tid = row->t_self;
    e->delivered_at = e->awaited_at = rules::kNever;
    e->status = "active";
    return true;
}

// Those of some customers that lie in the table.
void load_settled(Work& work, Batch batch, std::span<const Datum> customers) {
    if (customers.empty()) return;
    // Opened before they are read: whoever renames a scenario locks the table, and what is read here is what will be written.
    open_rows(work);
    size_t b = 0;
    for (HeapTuple row : pg::rows_of(work.rows, customers)) {
        Enrolment e{};
        if (!read_row(row, RelationGetDescr(work.rows->relation), &e)) continue;
        auto id = pg::view(e.customer);
        while (batch[b].customer_id != id) ++b;  // both are sorted
        e.change = &batch[b];
        work.enrolments.push(e);
    }
}

void load_open(Work& work, Batch batch) {
    pg::Array<Datum> customers;
    size_t loaded = work.enrolments.size;
    for (Change& change : batch) {
        if (!concerns_open_enrolments(change)) continue;
        size_t in_row = load_ways(work, change);
        if (static_cast<size_t>(DatumGetInt32(change.before.values[kOpenEnrolments])) > in_row) customers.push(change.after.values[kCustomerId]);
    }
    load_settled(work, batch, customers.span());
    if (work.enrolments.size == loaded) return;
    // By bytes, whatever the collation of the index.
    auto before = [](const Enrolment& x, const Enrolment& y) {
        return std::tuple{x.change, pg::view(x.scenario_name), pg::view(x.anchor)} < std::tuple{y.change, pg::view(y.scenario_name), pg::view(y.anchor)};
    };
    if (!std::is_sorted(work.enrolments.begin() + loaded, work.enrolments.end(), before)) std::sort(work.enrolments.begin() + loaded, work.enrolments.end(), before);
    for (Enrolment& e : work.enrolments) {
        if (!e.fresh) e.scenario = in_version(pg::view(e.scenario_name), e.version);
    }
}

// What happens from here on is not the goal any more.
Instant goal_ends(const Enrolment& e) {
    if (!e.scenario->goal_has_end) return rules::kNever;
    pg::use_zone(customer::zone_of(e.change->after));
    return pg::add_interval(e.anchor_at, &e.scenario->goal_within);
}

bool goal_met(const Enrolment& e) {
    const Scenario& s = *e.scenario;
    const Change& change = *e.change;
    if (s.goal.kind == FactKind::count) return false;
    Instant until = goal_ends(e);
    if (happened_now(change, s.goal, e.anchor_at, until) != rules::kNever) return true;
    // An order that was placed earlier and arrives late ends it too, if it is news.
    Instant last = change.after.instant(kLastOrderAt, rules::kBeginning);
    return s.goal.kind == FactKind::order && last > change.before.instant(kLastOrderAt, rules::kBeginning) && last < until;
}

// Whoever has an account and buys as a guest, or the other way round, has bought: their orders are known by the address. An order never looks at
// another customer's rows; here time does, before it reminds.
void load_bought_elsewhere(Work& work) {
    pg::Array<Datum> customers, addresses, since, until;
    pg::Array<Enrolment*> waiting;
    for (Enrolment& e : work.enrolments) {
        if (e.scenario == nullptr || e.scenario->goal.kind != FactKind::order || (e.fresh ? !is_due(e) : e.next_due > e.change->now)) continue;
        const Row& row = e.change->after;
        Datum address = row.nulls[kEmail] ? row.values[kCustomerId] : row.values[kEmail];
        if (pg::view(address).find('@') == std::string_view::npos) continue;
        customers.push(row.values[kCustomerId]);
        addresses.push(address);
        since.push(TimestampTzGetDatum(e.anchor_at));
        until.push(TimestampTzGetDatum(goal_ends(e)));
        waiting.push(&e);
    }
    if (waiting.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(addresses.span()), pg::instant_array(since.span()), pg::instant_array(until.span())};
    uint64 rows = read_bought_elsewhere.run(args);
    for (uint64 i = 0; i < rows; ++i) waiting[DatumGetInt64(pg::cell(i, 1).value) - 1]->bought_elsewhere = true;
}

// The last delivery of the orders whose enrolments count from it.
void load_deliveries(Work& work) {
    pg::Array<Datum> customers, orders;
    pg::Array<Enrolment*> waiting;
    for (Enrolment& e : work.enrolments) {
        if (e.scenario == nullptr || !e.scenario->waits_for_delivery) continue;
        customers.push(e.change->after.values[kCustomerId]);
        orders.push(pg::to_datum(subject_of(e)));
        waiting.push(&e);
    }
    if (waiting.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(orders.span())};
    uint64 rows = read_deliveries.run(args);
    for (uint64 i = 0; i < rows; ++i) waiting[DatumGetInt64(pg::cell(i, 1).value) - 1]->delivered_at = DatumGetTimestampTz(pg::cell(i, 2).value);
}

bool exit_holds(const Enrolment& e) {
    if (e.scenario->exit_when == nullptr) return false;
    pg::use_zone(customer::zone_of(e.change->after));
    return segment::holds(*e.scenario->exit_when, *e.change, e.context);
}

void run(Work& work, Enrolment& e) {
    if (e.scenario == nullptr) {
        end(work, e, "exited", "exited");  // the scenario was deleted or is a draft again
        return;
    }
    if (e.bought_elsewhere || goal_met(e)) {
        end(work, e, "exited", "goal_met");
    } else if (const char* reason = reason_gone(work, e)) {
        end(work, e, "exited", reason);
    } else if (exit_holds(e)) {
        end(work, e, "exited", "exited");
    } else if (e.scenario->runs) {
        decide_steps(work, e);
    } else {
        e.touched = e.next_due != rules::kNever;
        e.next_due = rules::kNever;  // paused: what is due waits until the scenario is active again
    }
}

// Where caps leave room for some only, who comes first: by priority, then who has been due for longer.
std::span<Enrolment*> by_turn(Work& work) {
    auto turns = pg::zeroed<Enrolment*>(work.enrolments.size);
    for (size_t i = 0; i < turns.size(); ++i) turns[i] = &work.enrolments[i];
    if (work.scenarios.caps.empty()) return turns;
    auto key = [](const Enrolment* e) {
        return std::tuple{e->change, e->scenario == nullptr ? 0 : -e->scenario->priority, e->fresh ? e->anchor_at : e->next_due, pg::view(e->scenario_name), pg::view(e->anchor)};
    };
    auto before = [&](const Enrolment* a, const Enrolment* b) { return key(a) < key(b); };
    if (!std::is_sorted(turns.begin(), turns.end(), before)) std::sort(turns.begin(), turns.end(), before);
    return turns;
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
            if (fact.kind != FactKind::consent || fact.withdrawn || fact.said_before) continue;
            // Said again counts too: what was suppressed meanwhile is lifted.
            if (pg::view(fact.fields[1]) == "granted" && consents(change.after, consent_column(pg::view(fact.fields[0]))))
                outgoing->granted.push({change.after.values[kCustomerId], fact.fields[0]});
        }
    }
}

void note_in_rows(Batch batch, Work& work) {
    for (Change& change : batch) {
        Instant due = change.before.instant(kEnrolmentDueAt, rules::kNever);
        if (concerns_open_enrolments(change)) {
            change.after.set(kOpenEnrolments, Int32GetDatum(0));  // all of them have been loaded
            change.after.clear(kEnrolmentDueAt);
        } else if (due <= change.now) {
            change.after.clear(kEnrolmentDueAt);
        }
        if (work.scenarios.any_on_time) {
            pg::use_zone(customer::zone_of(change.after));
            Instant next = Min(next_start(work.scenarios, change), next_expiring(work, change));
            change.after.set_instant(kEnrolmentDueAt, Min(change.after.instant(kEnrolmentDueAt, rules::kNever), next));
        }
    }
    for (const Enrolment& e : work.enrolments) {
        if (strcmp(e.status, "active") != 0) continue;
        Row& row = e.change->after;
        row.set(kOpenEnrolments, Int32GetDatum(DatumGetInt32(row.values[kOpenEnrolments]) + 1));
        row.set_instant(kEnrolmentDueAt, Min(row.instant(kEnrolmentDueAt, rules::kNever), e.next_due));
    }
}

// A text that the rows of a batch mostly share.
struct SharedText {
    std::string_view of;
    Datum text = 0;

    Datum operator()(std::string_view wanted) {
        if (text == 0 || of.data() != wanted.data()) {
            of = wanted;
            text = pg::to_datum(wanted);
        }
        return text;
    }
};

void write_enrolment(pg::TableWriter* rows, const Enrolment& e, Instant now, SharedText& status) {
    bool open = strcmp(e.status, "active") == 0;
    Datum values[] = {e.change->after.values[kCustomerId], e.scenario_name, e.anchor, TimestampTzGetDatum(e.anchor_at), Int32GetDatum(e.version),
                      status(e.status), Int32GetDatum(e.last_position), TimestampTzGetDatum(e.last_at),
                      TimestampTzGetDatum(e.next_due), e.context, TimestampTzGetDatum(e.fresh ? now : e.enrolled_at), TimestampTzGetDatum(now),
                      e.end_reason == nullptr ? Datum{0} : pg::to_datum(std::string_view{e.end_reason})};
    bool undecided = e.last_position == kNoPosition;
    bool nulls[] = {false, false, false, false, false, false, undecided, undecided, e.next_due == rules::kNever, e.context == 0, false, open,
                    e.end_reason == nullptr};
    static_assert(std::size(values) == std::size(nulls));
    if (ItemPointerIsValid(&e.tid)) {
        ItemPointerData tid = e.tid, head;
        pg::update(rows, &tid, values, nulls, &head);
    } else {
        pg::insert(rows, values, nulls);
    }
}

struct SharedTexts {
    SharedText outcome, reason, channel, kind;
};

void write_decision(pg::TableWriter* rows, const Work& work, const Decision& d, Instant now, SharedTexts& texts) {
    const Enrolment& e = *d.enrolment;
    int64 address = d.sent == nullptr ? 0 : address_of(work, e, *d.sent);
    Datum values[] = {e.change->after.values[kCustomerId], e.scenario_name, e.anchor, Int32GetDatum(d.position), texts.outcome(d.outcome),
                      d.reason == nullptr ? Datum{0} : texts.reason(d.reason), TimestampTzGetDatum(now),
                      d.sent == nullptr ? Datum{0} : texts.channel(work.scenarios.channels[d.sent->channel].name),
                      d.sent == nullptr ? Datum{0} : texts.kind(d.sent->marketing ? "marketing" : "transactional"),
                      Int64GetDatum(address)};
    bool nulls[] = {false, false, false, false, false, d.reason == nullptr, false, d.sent == nullptr, d.sent == nullptr, address == 0};
    static_assert(std::size(values) == std::size(nulls));
    pg::insert(rows, values, nulls);
}

void write(Work& work, Instant now) {
    SharedText status;
    for (const Enrolment& e : work.enrolments) {
        if (!e.touched || e.in_row) continue;
        open_rows(work);
        write_enrolment(work.rows, e, now, status);
    }
    if (work.rows != nullptr) pg::close_writer(work.rows);
    if (!work.decisions.empty()) {
        pg::fault_point("scenarios.decisions");
        pg::TableWriter* rows = pg::open_writer(pg::table_oid(pg::Table::enrolment_step));
        SharedTexts texts;
        for (const Decision& d : work.decisions) write_decision(rows, work, d, now, texts);
        pg::close_writer(rows);
    }
    pg::written();
}

}  // namespace

bool concerns_open_enrolments(const Change& change) {
    if (DatumGetInt32(change.before.values[kOpenEnrolments]) == 0) return false;
    return change.before.instant(kEnrolmentDueAt, rules::kNever) <= change.now || !change.facts.empty() || !change.moments.empty() ||
           !change.happened.empty() || change.replay;
}

void end(Work& work, Enrolment& e, const char* status, const char* reason) {
    e.status = status;
    e.end_reason = reason;
    e.next_due = rules::kNever;
    e.touched = true;
    if (reason != nullptr)
        work.outgoing->ended.push({e.change->after.values[kCustomerId], e.scenario_name, e.anchor, pg::to_datum(reason)});
}

void advance(Batch batch, Outgoing* outgoing) {
    pg::fault_point("scenarios");
    note_consents(batch, outgoing);
    const Scenarios& all = refresh_scenarios();
    Work work{.scenarios = all, .outgoing = outgoing};
    pg::keep_zone([&] {
        load_expiring(work, batch);
        for (Change& change : batch) {
            bool history = change.silent && !(takes_over(change) && !change.signals.empty());
            if (history || all.list.empty()) continue;  // history sends nothing
            bool news = !change.signals.empty() || all.any_on_time || (all.any_on_orders && !change.orders_taken_in.empty()) ||
                        (all.any_on_happenings && (!change.happened.empty() || !change.facts.empty()));
            if (!news) continue;
            pg::use_zone(customer::zone_of(change.after));
            start_scenarios(work, change);
        }
        admit(work);
        load_open(work, batch);
        load_deliveries(work);
        load_awaited(work);
        load_bought_elsewhere(work);
        load_sent(work, batch, true);
        for (Enrolment* e : by_turn(work)) run(work, *e);
        bind_offers(work);
        note_in_rows(batch, work);  // also where there is nothing: what was to start may have been switched off, and is due for ever if it stays
        keep_in_rows(work);
    });
    if (!work.enrolments.empty() || work.rows != nullptr) write(work, batch[0].now);
}

}  // namespace lifecycle::scenario
