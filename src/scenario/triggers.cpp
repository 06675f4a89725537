// What starts scenarios, and what takes the reason away again.
#include "customer/shop.hpp"
#include "loyalty/loyalty.hpp"
#include "loyalty/recent_lots.hpp"
#include "pg/clock.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/text.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// Whether an anchor can come again, at another time.
bool recurs(Trigger trigger) {
    return trigger == Trigger::order_placed || trigger == Trigger::delivered || trigger == Trigger::review || trigger == Trigger::wishlist_added ||
           trigger == Trigger::referral || trigger == Trigger::tier_reached;
}

void enrol(Work& work, Change& change, const Scenario& scenario, Datum anchor, Instant at, const Cause& cause) {
    Enrolment e{};
    e.change = &change;
    e.scenario = &scenario;
    e.scenario_name = scenario.name;
    e.anchor = anchor;
    if (scenario.asks_for_context) e.context = context_of(change, scenario, anchor, cause);
    if (scenario.reentry == Reentry::always && recurs(scenario.trigger))
        e.anchor = pg::to_datum(psprintf("%s@%s", pg::to_cstring(pg::view(anchor)), pg::to_cstring(pg::view(instant_text(at)))));
    e.anchor_at = e.last_at = at;
    e.version = scenario.version;
    e.delivered_at = e.next_due = e.awaited_at = rules::kNever;
    e.last_position = kNoPosition;
    e.status = "active";
    e.fresh = e.touched = true;
    work.enrolments.push(e);
}

void start(Work& work, Change& change, const Scenario& scenario, Datum anchor, Instant at, const Cause& cause = {}) {
    if (pg::add_interval(at, &scenario.max_age) < change.now) return;  // too long ago to start anything
    enrol(work, change, scenario, anchor, at, cause);
}

// A cart that changes is another cart as far as reminders go.
Datum cart_anchor(const Row& row) {
    return pg::to_datum(psprintf("%s@%s", pg::to_cstring(pg::view(row.values[kCartId])),
                                 pg::to_cstring(pg::view(instant_text(row.instant(kCartUpdatedAt, rules::kNever))))));
}

// When the cart will have been idle for as long as the first step wants.
Instant idle_at(const Scenario& scenario, const Row& row) {
    if (row.nulls[kCartId] || scenario.steps.empty()) return rules::kNever;
    return pg::add_interval(row.instant(kCartUpdatedAt, rules::kNever), &scenario.steps[0].delay);
}

struct Birthday {
    int year;
    Instant at;
};

// The birthday in a year, at midnight in the customer's zone.
Birthday birthday_in(int year, const Row& row) {
    rules::Date born = rules::date_of(DatumGetDateADT(row.values[kBirthday]));
    int64 day = rules::anniversary_in(year, born, customer::current_shop().leap_birthday);
    if (day == rules::kNoDay) return {year, rules::kNever};
    return {year, pg::instant_of(day * rules::kDay)};
}

bool has_birthday(const Row& row) {
    return !row.nulls[kBirthday] && !DATE_NOT_FINITE(DatumGetDateADT(row.values[kBirthday])) &&
           rules::is_within_calendar(DatumGetDateADT(row.values[kBirthday]) * rules::kDay);
}

int year_at(Instant now) { return rules::date_of(rules::day_of(pg::wall_of(now, pg::zone_in_force()))).year; }

Instant begins_to_expire(const Scenario& s, const Expiring& e) {
    return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(e.at), PointerGetDatum(&s.ahead)));
}

void start_on_time(Work& work, Change& change, const Scenario& s) {
    const Row& row = change.after;
    if (s.trigger == Trigger::cart_idle) {
        if (idle_at(s, row) <= change.now) start(work, change, s, cart_anchor(row), row.instant(kCartUpdatedAt, rules::kNever));
    } else if (s.trigger == Trigger::birthday) {
        if (!has_birthday(row)) return;
        int year = year_at(change.now);
        for (int y : {year - 1, year}) {  // on 1 January the last one may be a few hours ago
            Birthday b = birthday_in(y, row);
            if (b.at <= change.now) start(work, change, s, pg::to_datum(psprintf("%d", b.year)), b.at);
        }
    } else if (s.trigger == Trigger::date) {
        Instant at = pg::instant_of(s.day);
        if (at > change.now) return;
        if (s.until == rules::kNever) {
            start(work, change, s, pg::to_datum(s.argument), at);
        } else if (change.now < pg::instant_of(s.until)) {
            // Who comes in the middle of the season begins then.
            enrol(work, change, s, pg::to_datum(s.argument), change.existed ? at : change.now, {});
        }
    } else if (s.trigger == Trigger::points_expiring) {
        for (const Expiring& e : work.expiring) {
            Instant at = e.change == &change ? begins_to_expire(s, e) : rules::kNever;
            if (at <= change.now) start(work, change, s, instant_text(e.at), at, {.expiring = &e});
        }
    }
}

bool is_about(const Scenario& s, std::string_view name) { return s.argument.empty() || s.argument == name; }

void start_on_signals(Work& work, Change& change, const Scenario& s) {
    auto wanted = s.trigger == Trigger::tier_reached   ? SignalKind::tier_reached
                  : s.trigger == Trigger::tier_ending  ? SignalKind::tier_ending
                  : s.trigger == Trigger::segment_left ? SignalKind::segment_left
                                                       : SignalKind::segment_entered;
    for (const Signal& signal : change.signals) {
        if (signal.kind != wanted || !is_about(s, signal.name)) continue;
        // A tier is celebrated once; a segment that is entered again starts the scenario again.
        Datum anchor = wanted == SignalKind::tier_reached ? pg::to_datum(signal.name) : instant_text(signal.at);
        start(work, change, s, anchor, signal.at, {.signal = &signal});
    }
}

bool has_few_stars(const Scenario& s, const Fact* review) {
    if (s.most_stars < 0) return true;
    if (review == nullptr) return false;
    Datum most = DirectFunctionCall1(int4_numeric, Int32GetDatum(s.most_stars));
    return DatumGetBool(DirectFunctionCall2(numeric_le, review->fields[field::rating - 1], most));
}

void start_on_happenings(Work& work, Change& change, const Scenario& s) {
    for (const Happening& h : change.happened) {
        switch (s.trigger) {
            case Trigger::delivered:
                if (h.kind == FactKind::delivery) start(work, change, s, pg::to_datum(h.id), h.at, {.fact = h.fact});
                break;
            case Trigger::review:
                if (h.kind == FactKind::review && has_few_stars(s, h.fact)) start(work, change, s, pg::to_datum(h.id), h.at, {.fact = h.fact});
                break;
            case Trigger::wishlist_added:
                if (h.kind == FactKind::wishlist) start(work, change, s, pg::to_datum(h.id), h.at, {.fact = h.fact});
                break;
            case Trigger::referral:
                if (h.kind == FactKind::referral) start(work, change, s, pg::to_datum(h.id), h.at, {.fact = h.fact});
                break;
            case Trigger::event:
                if (h.kind == FactKind::event && is_about(s, h.id)) start(work, change, s, instant_text(h.at), h.at, {.fact = h.fact});
                break;
            default:
                return;
        }
    }
}

void start_on_consent(Work& work, Change& change, const Scenario& s) {
    if (consents(change.before, s.consent_column) || !consents(change.after, s.consent_column)) return;
    Instant at = rules::kBeginning;
    for (const Fact& fact : change.facts) {
        if (fact.kind == FactKind::consent && !fact.withdrawn && consent_column(pg::view(fact.fields[0])) == s.consent_column &&
            pg::view(fact.fields[1]) == "granted")
            at = Max(at, fact.at);
    }
    // Or a revocation was taken back: the consent from before it is no news.
    if (at != rules::kBeginning) start(work, change, s, instant_text(at), at);
}

bool is_taken_back(const Change& change, FactKind kind, std::string_view id) {
    bool gone = false;
    for (const Fact& fact : change.facts) {
        bool same = fact.kind == kind && (is_purchase(kind) ? fact.id == id : pg::view(fact.fields[0]) == id);
        if (!same) continue;
        if (!fact.withdrawn) return false;  // changed, not gone
        gone = true;
    }
    return gone;
}

// A review that has been edited, or a product that has been bought.
const char* overtaken(const Enrolment& e) {
    for (const Fact& fact : e.change->facts) {
        if (fact.withdrawn) continue;
        if (e.scenario->trigger == Trigger::review && fact.kind == FactKind::review && pg::view(fact.fields[0]) == subject_of(e) &&
            !has_few_stars(*e.scenario, &fact))
            return "exited";
        if (e.scenario->trigger == Trigger::wishlist_added && fact.kind == FactKind::order_item &&
            pg::view(fact.fields[2]) == subject_of(e))
            return "goal_met";
    }
    return nullptr;
}

// Whether points of the customer may begin to expire at another instant than was known.
bool concerns_points(const Change& change) {
    if (!change.existed || change.replay || concerns_open_enrolments(change) || change.before.instant(kEnrolmentDueAt, rules::kNever) <= change.now)
        return true;
    const Row &before = change.before, &after = change.after;
    return before.nulls[kPoints] != after.nulls[kPoints] || DatumGetInt64(before.values[kPoints]) != DatumGetInt64(after.values[kPoints]);
}

bool still_expire(const Work& work, const Enrolment& e) {
    for (const Expiring& x : work.expiring) {
        if (x.change == e.change && pg::view(instant_text(x.at)) == subject_of(e)) return true;
    }
    return false;
}

pg::Statement read_expiring{
    .sql = "SELECT l.customer_id, l.expires_at, sum(l.available)::int8 FROM"
           " (SELECT s.customer_id, s.expires_at, s.available FROM lifecycle.points_lot_settled AS s"
           "   WHERE s.customer_id = ANY ($1) AND s.due_at > $2 AND s.available > 0 AND s.expires_at > $2"
           "  UNION ALL SELECT r.customer_id, u.expires_at, u.points FROM lifecycle.points_run AS r,"
           "   LATERAL unnest(r.earned_at, r.active_at, r.expires_at, r.points) AS u (earned_at, active_at, expires_at, points)"
           "   WHERE r.customer_id = ANY ($1) AND u.active_at = u.earned_at AND u.expires_at > $2 AND isfinite(u.expires_at)"
           "  UNION ALL SELECT u.customer_id COLLATE \"C\", u.expires_at, u.available FROM unnest($3, $4, $5) AS u (customer_id, expires_at, available)"
           "   WHERE u.expires_at > $2 AND isfinite(u.expires_at)) AS l"
           " GROUP BY l.customer_id, l.expires_at ORDER BY l.customer_id, l.expires_at",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID}};

}  // namespace

Datum instant_text(Instant t) {
    // In UTC whoever asks: the anchor is a key.
    pg_tz* zone = pg::use_zone(pg::zone_of(nullptr, nullptr));
    Datum text = pg::to_datum(timestamptz_to_str(t));
    pg::restore_zone(zone);
    return text;
}

std::string_view subject_of(const Enrolment& e) {
    auto anchor = pg::view(e.anchor);
    if (e.scenario->reentry != Reentry::always || !recurs(e.scenario->trigger)) return anchor;
    return anchor.substr(0, anchor.rfind('@'));
}

void load_expiring(Work& work, Batch batch) {
    if (!work.scenarios.any_points_expiring) return;
    pg::Array<Datum> customers, owners, expires_at, points;
    for (const Change& change : batch) {
        bool has_points = !change.after.nulls[kPoints] && DatumGetInt64(change.after.values[kPoints]) > 0;
        if (!has_points || !concerns_points(change)) continue;
        customers.push(change.after.values[kCustomerId]);
        for (const loyalty::ReadyLot& lot : loyalty::ready_lots(change.after)) {
            owners.push(change.after.values[kCustomerId]);
            expires_at.push(TimestampTzGetDatum(lot.expires_at));
            points.push(Int64GetDatum(lot.points));
        }
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), TimestampTzGetDatum(batch[0].now), pg::text_array(owners.span()),
                    pg::instant_array(expires_at.span()), pg::array_of(INT8OID, points.span(), nullptr)};
    uint64 rows = read_expiring.run(args);
    size_t b = 0;
    for (uint64 i = 0; i < rows; ++i) {
        auto id = pg::view(pg::cell(i, 1).value);
        while (batch[b].customer_id != id) ++b;  // both are sorted
        work.expiring.push({&batch[b], DatumGetTimestampTz(pg::cell(i, 2).value), DatumGetInt64(pg::cell(i, 3).value)});
    }
}

Instant next_expiring(const Work& work, const Change& change) {
    Instant next = rules::kNever;
    for (const Expiring& e : work.expiring) {
        if (e.change != &change) continue;
        for (const Scenario& s : work.scenarios.list) {
            if (!s.starts || s.trigger != Trigger::points_expiring) continue;
            Instant at = begins_to_expire(s, e);
            if (at > change.now) next = Min(next, at);
        }
    }
    return next;
}

void start_scenarios(Work& work, Change& change) {
    for (const Scenario& s : work.scenarios.list) {
        if (!s.starts) continue;
        switch (s.trigger) {
            case Trigger::order_placed:
                for (const Fact& order : change.orders_taken_in) start(work, change, s, pg::to_datum(order.id), order.at, {.fact = &order});
                break;
            case Trigger::tier_reached:
            case Trigger::tier_ending:
            case Trigger::segment_entered:
            case Trigger::segment_left:
                start_on_signals(work, change, s);
                break;
            case Trigger::consent:
                start_on_consent(work, change, s);
                break;
            case Trigger::cart_idle:
            case Trigger::birthday:
            case Trigger::date:
            case Trigger::points_expiring:
                start_on_time(work, change, s);
                break;
            default:
                start_on_happenings(work, change, s);
        }
    }
}

const char* reason_gone(const Work& work, const Enrolment& e) {
    if (e.fresh) return nullptr;
    const Change& change = *e.change;
    auto anchor = subject_of(e);
    switch (e.scenario->trigger) {
        case Trigger::tier_reached: {
            Row anchor_row = change.after;
            anchor_row.set(kTier, pg::to_datum(anchor));
            return loyalty::tier_of(change.after) < loyalty::tier_of(anchor_row) ? "exited" : nullptr;
        }
        case Trigger::order_placed:
            return is_taken_back(change, FactKind::order, anchor) ? "exited" : nullptr;
        case Trigger::cart_idle:
            return change.after.nulls[kCartId] || pg::view(cart_anchor(change.after)) != anchor ? "exited" : nullptr;
        case Trigger::consent:
            return consents(change.after, e.scenario->consent_column) ? nullptr : "no_consent";
        case Trigger::review:
            return is_taken_back(change, FactKind::review, anchor) ? "exited" : overtaken(e);
        case Trigger::wishlist_added:
            if (const char* reason = overtaken(e)) return reason;
            return is_taken_back(change, FactKind::wishlist, anchor) ? "exited" : nullptr;
        case Trigger::points_expiring:
            return concerns_points(change) && !still_expire(work, e) ? "exited" : nullptr;
        case Trigger::referral:
            return is_taken_back(change, FactKind::referral, anchor) ? "exited" : nullptr;
        default:
            return nullptr;
    }
}

Instant next_start(const Scenarios& all, const Change& change) {
    Instant next = rules::kNever;
    const Row& row = change.after;
    for (const Scenario& s : all.list) {
        if (!s.starts) continue;
        Instant at = rules::kNever;
        if (s.trigger == Trigger::cart_idle) {
            at = idle_at(s, row);
        } else if (s.trigger == Trigger::date) {
            at = pg::instant_of(s.day);
        } else if (s.trigger == Trigger::birthday && has_birthday(row)) {
            int year = year_at(change.now);
            for (int y = year; y <= year + 1 && (at == rules::kNever || at <= change.now); ++y) at = birthday_in(y, row).at;
        }
        if (at > change.now) next = Min(next, at);
    }
    return next;
}

}  // namespace lifecycle::scenario
