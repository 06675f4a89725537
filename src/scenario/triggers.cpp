// What starts scenarios, and what takes the reason away again.
#include "customer/shop.hpp"
#include "loyalty/loyalty.hpp"
#include "pg/clock.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

void start(Work& work, Change& change, const Scenario& scenario, Datum anchor, Instant at) {
    if (pg::add_interval(at, &scenario.max_age) < change.now) return;  // too long ago to start anything
    Enrolment e{};
    e.change = &change;
    e.scenario = &scenario;
    e.scenario_name = scenario.name;
    e.anchor = anchor;
    e.anchor_at = at;
    e.version = scenario.version;
    e.delivered_at = e.next_due = rules::kNever;
    e.last_position = kNoPosition;
    e.status = "active";
    e.fresh = e.touched = true;
    work.enrolments.push(e);
}

Datum instant_text(Instant t) {
    // In UTC whoever asks: the anchor is a key.
    pg_tz* zone = pg::use_zone(pg::zone_of(nullptr, nullptr));
    Datum text = pg::to_datum(timestamptz_to_str(t));
    pg::restore_zone(zone);
    return text;
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
        if (at <= change.now) start(work, change, s, pg::to_datum(s.argument), at);
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
        start(work, change, s, anchor, signal.at);
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
                if (h.kind == FactKind::delivery) start(work, change, s, pg::to_datum(h.id), h.at);
                break;
            case Trigger::review:
                if (h.kind == FactKind::review && has_few_stars(s, h.fact)) start(work, change, s, pg::to_datum(h.id), h.at);
                break;
            case Trigger::wishlist_added:
                if (h.kind == FactKind::wishlist) start(work, change, s, pg::to_datum(h.id), h.at);
                break;
            case Trigger::referral:
                if (h.kind == FactKind::referral) start(work, change, s, pg::to_datum(h.id), h.at);
                break;
            case Trigger::event:
                if (h.kind == FactKind::event && is_about(s, h.id)) start(work, change, s, instant_text(h.at), h.at);
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
        if (e.scenario->trigger == Trigger::review && fact.kind == FactKind::review && pg::view(fact.fields[0]) == pg::view(e.anchor) &&
            !has_few_stars(*e.scenario, &fact))
            return "exited";
        if (e.scenario->trigger == Trigger::wishlist_added && fact.kind == FactKind::order_item &&
            pg::view(fact.fields[2]) == pg::view(e.anchor))
            return "goal_met";
    }
    return nullptr;
}

}  // namespace

void start_scenarios(Work& work, Change& change) {
    for (const Scenario& s : work.scenarios.list) {
        if (!s.starts) continue;
        switch (s.trigger) {
            case Trigger::order_placed:
                for (const Fact& order : change.orders_taken_in) start(work, change, s, pg::to_datum(order.id), order.at);
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
                start_on_time(work, change, s);
                break;
            default:
                start_on_happenings(work, change, s);
        }
    }
}

const char* reason_gone(const Enrolment& e) {
    if (e.fresh) return nullptr;
    const Change& change = *e.change;
    auto anchor = pg::view(e.anchor);
    switch (e.scenario->trigger) {
        case Trigger::tier_reached: {
            Row anchor_row = change.after;
            anchor_row.set(kTier, e.anchor);
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
