#include "loyalty/points.hpp"

#include <algorithm>

#include "customer/ledger.hpp"
#include "customer/shop.hpp"
#include "loyalty/balance.hpp"
#include "loyalty/loyalty.hpp"
#include "loyalty/points_rules.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "rules/ladder.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement next_number{.sql = "SELECT 'lifecycle.points_entry_id_seq'::regclass::oid"};
pg::Statement revise{
    .sql = "SELECT r.nth, r.points_paid FROM lifecycle.revise_points($1, $2, $3, $4, $5, $6, $7, $8) AS r",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID, INT4ARRAYOID,
              TIMESTAMPTZARRAYOID}};
pg::Statement collect{
    .sql = "SELECT lifecycle.collect_shortfalls($1, $2, $3, $4)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}};
pg::Statement read_references{
    .sql = "SELECT DISTINCT e.reference FROM lifecycle.points_entry AS e WHERE e.customer_id = $1", .types = {TEXTOID}};

pg::Statement note_referrals{.sql = "SELECT lifecycle.note_referrals($1, $2, $3)", .types = {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}};
pg::Statement note_referred{
    .sql = "INSERT INTO lifecycle.referral_check (referred)"
           " SELECT r.referred FROM lifecycle.points_referral AS r WHERE r.referred = ANY ($1)",
    .types = {TEXTARRAYOID}};
pg::Statement read_past_tier{
    .sql = "SELECT h.tier FROM lifecycle.tier_history AS h"
           " WHERE h.customer_id = $1 AND h.entered_at < $2 AND (h.left_at >= $2 OR h.left_at IS NULL)",
    .types = {TEXTOID, TIMESTAMPTZOID}};

struct Occasion {
    Change* change;
    std::string_view earns_on;    // as in points_rule.earns_on
    std::string_view event;       // as in points_rule.event; empty: none
    std::string_view key;         // the shop's id of it; the same key never earns twice
    int32 source_id;
    Instant at;
    rules::Decimal amount;
    rules::Decimal refunded;      // of the amount, until now
    bool gone;                    // it was taken back
    bool known;                   // there may be points of it already
};

// An order is known by its own id, which refunds and redeem_points() name; other keys must not be mistaken for one.
std::string_view reference_of(const Occasion& o) {
    if (o.earns_on == "order") return o.key;
    return {psprintf("%s:%s", pg::to_cstring(o.earns_on), pg::to_cstring(o.key)), o.earns_on.size() + 1 + o.key.size()};
}

// What can be spent changes no earlier than it was last looked at: it may have been spent.
Instant effective(const Change& change, Instant at) {
    return change.existed ? std::max(at, change.before.instant(kAsOf, at)) : at;
}

// The tier that the customer had when something happened at `at`, without what it brought about itself.
int tier_before(const Change& change, Instant at) {
    if (tiers_count_points()) return change.existed ? tier_of(change.before) : rules::kNoTier;
    if (change.existed && !change.from_scratch && at <= change.base.at) {
        Datum args[] = {change.after.values[kCustomerId], TimestampTzGetDatum(at)};
        return read_past_tier.run(args) == 0 ? rules::kNoTier : tier_named(pg::view(pg::cell(0, 1).value));
    }
    int tier = change.base.tier;
    for (const Moment& moment : change.moments) {
        if (moment.at >= at) break;
        tier = moment.tier;
    }
    return tier;
}

struct Writers {
    pg::TableWriter* lots = nullptr;
    pg::TableWriter* entries = nullptr;
    Oid sequence = InvalidOid;

    void open() {
        if (entries != nullptr) return;
        lots = pg::open_writer(pg::table_oid(pg::Table::points_lot));
        entries = pg::open_writer(pg::table_oid(pg::Table::points_entry));
    }
    void close() {
        if (entries == nullptr) return;
        pg::close_writer(lots);
        pg::close_writer(entries);
        lots = entries = nullptr;
        pg::written();
    }
    int64 number() {
        if (!OidIsValid(sequence)) {
            next_number.run();
            sequence = DatumGetObjectId(pg::cell(0, 1).value);
        }
        return nextval_internal(sequence, false);
    }
};

struct Lot {
    const Occasion& occasion;
    Datum reference;
    const PointsRule& rule;
    int64 id;
    int64 earned;
    int64 paid;
    int64 pending;
    int64 available;
    Lifetime life;

    Instant due() const {
        if (pending > 0) return life.active_at;
        return available > 0 ? life.expires_at : rules::kBeginning;
    }
};

void write_entry(Writers& writers, const Lot& lot, int64 number, const char* kind, int64 pending, int64 points, Instant at) {
    Datum values[] = {lot.occasion.change->after.values[kCustomerId], lot.reference, Int64GetDatum(number), Int64GetDatum(lot.id),
                      pg::to_datum(kind), Int64GetDatum(pending), Int64GetDatum(points), TimestampTzGetDatum(at),
                      TimestampTzGetDatum(lot.occasion.change->now), 0};
    bool nulls[] = {false, false, false, false, false, false, false, false, false, true};
    pg::insert(writers.entries, values, nulls);
}

void write_lot(Writers& writers, const Lot& lot) {
    const Occasion& o = lot.occasion;
    Instant due = lot.due();
    Datum values[] = {o.change->after.values[kCustomerId],
                      lot.reference,
                      Int64GetDatum(lot.id),
                      pg::to_datum(o.earns_on),
                      lot.rule.name,
                      Int32GetDatum(o.source_id),
                      TimestampTzGetDatum(o.at),
                      pg::to_numeric(o.amount),
                      Int64GetDatum(lot.paid),
                      Int64GetDatum(lot.earned),
                      Int64GetDatum(0),
                      Int64GetDatum(0),
                      Int64GetDatum(0),
                      Int64GetDatum(lot.pending),
                      Int64GetDatum(lot.available),
                      TimestampTzGetDatum(lot.life.active_at),
                      TimestampTzGetDatum(lot.life.expires_at),
                      TimestampTzGetDatum(due),
                      BoolGetDatum(false)};
    bool nulls[std::size(values)] = {};
    nulls[16] = lot.life.expires_at == rules::kNever;
    nulls[17] = due == rules::kBeginning;
    pg::insert(writers.lots, values, nulls);
}

// The amount that earns: without what was paid with points.
rules::Decimal earning_amount(const Points& points, const Occasion& o, int64 paid) {
    if (!points.has_point_value || paid == 0) return o.amount;
    rules::Decimal worth{points.point_value.units * paid, points.point_value.digits};
    return rules::subtract(o.amount, worth).value_or(rules::Decimal{});
}

// Opens a lot for each rule that fits an occasion without points.
void earn(const Points& points, Writers& writers, const Occasion& o, int64 paid, Balance& balance) {
    const Change& change = *o.change;
    rules::Decimal amount = earning_amount(points, o, paid);
    Datum reference = 0;
    for (const PointsRule& rule : points.rules) {
        if (!rule.fits(o.earns_on, o.event, o.at, amount)) continue;
        constexpr rules::Decimal kOnce{1'000'000'000'000, 0};
        rules::Decimal multiplier = rule.tier_multiplier ? points.multiplier(tier_before(change, o.at)) : kOnce;
        // More than anybody has is a mistake of the rule or the amount, and earns nothing.
        int64 earned = rules::points_for(amount, rule.earning, multiplier).value_or(0);
        if (earned == 0) continue;
        if (reference == 0) reference = pg::to_datum(reference_of(o));
        writers.open();
        Lot lot{o, reference, rule, writers.number(), earned, paid, earned, 0, lifetime_of(rule, o.at)};
        Instant active_at = effective(change, lot.life.active_at);
        if (lot.life.active_at > change.now) {
            write_entry(writers, lot, lot.id, "earn", earned, 0, o.at);
        } else {
            std::swap(lot.pending, lot.available);
            if (lot.life.active_at == o.at) {
                write_entry(writers, lot, lot.id, "earn", 0, earned, active_at);
            } else {
                write_entry(writers, lot, lot.id, "earn", earned, 0, o.at);
                write_entry(writers, lot, writers.number(), "activate", -earned, earned, active_at);
            }
            balance.step(active_at, earned);
            if (lot.life.expires_at <= change.now) {
                Instant expired_at = std::max(active_at, lot.life.expires_at);
                write_entry(writers, lot, writers.number(), "expire", 0, -earned, expired_at);
                balance.step(expired_at, -earned);
                lot.available = 0;
            }
        }
        write_lot(writers, lot);
        balance.due_at(lot.due());
    }
}

// The occasions that there may be points of already, as arguments of the functions that revise them.
struct Revision {
    pg::Array<Occasion*> occasions;
    pg::Array<Datum> customers, origins, references, at, amounts, refunded, gone, effective_at;

    void add(Occasion& o) {
        occasions.push(&o);
        customers.push(o.change->after.values[kCustomerId]);
        origins.push(pg::to_datum(o.earns_on));
        references.push(pg::to_datum(reference_of(o)));
        at.push(TimestampTzGetDatum(o.at));
        amounts.push(pg::to_numeric(o.amount));
        refunded.push(pg::to_numeric(o.refunded));
        gone.push(Int32GetDatum(o.gone ? 1 : 0));
        // Refunds and corrections count from now on: what was available until now may have been spent.
        effective_at.push(TimestampTzGetDatum(o.change->now));
    }
    uint64 run() {
        Datum args[] = {pg::text_array(customers.span()), pg::text_array(origins.span()), pg::text_array(references.span()),
                        pg::instant_array(at.span()), pg::numeric_array(amounts.span()), pg::numeric_array(refunded.span()),
                        pg::int4_array(gone.span()), pg::instant_array(effective_at.span())};
        return revise.run(args);
    }
    void collect_shortfalls() {
        Datum args[] = {pg::text_array(customers.span()), pg::text_array(origins.span()), pg::text_array(references.span()),
                        pg::instant_array(effective_at.span())};
        collect.run(args);
    }
};

struct Again {
    Occasion* occasion;
    int64 paid;
};

void reward(std::span<Occasion> occasions, Balances& balances, Writers& writers) {
    const Points& points = refresh_points();
    Revision known;
    pg::Array<Again> again;
    for (Occasion& o : occasions) {
        if (o.known) known.add(o);
    }
    if (!known.occasions.empty()) {
        uint64 rows = known.run();
        for (uint64 i = 0; i < rows; ++i)
            again.push({known.occasions[DatumGetInt64(pg::cell(i, 1).value) - 1], DatumGetInt64(pg::cell(i, 2).value)});
        for (Occasion* o : known.occasions) balances.of(*o->change).recount = true;
    }
    pg::keep_zone([&] {
        for (Occasion& o : occasions) {
            if (o.known || o.gone) continue;
            pg::use_zone(customer::zone_of(o.change->after));
            earn(points, writers, o, 0, balances.of(*o.change));
        }
        for (auto [o, paid] : again) {
            pg::use_zone(customer::zone_of(o->change->after));
            earn(points, writers, *o, paid, balances.of(*o->change));
        }
    });
    writers.close();
    if (again.empty()) return;

    // What has just been earned again may be owed already, to earlier spending or to refunds.
    Revision settled, refunded;
    for (auto [o, paid] : again) {
        settled.add(*o);
        if (o->refunded > rules::Decimal{}) refunded.add(*o);
    }
    settled.collect_shortfalls();
    if (!refunded.occasions.empty()) refunded.run();
}

// Gathers the occasions among a change's facts.
struct Gathering {
    const Points& points;
    Writers& writers;
    pg::Array<Occasion>& into;

    bool has_entries(const Change& change, std::string_view reference) {
        if (!change.existed) return false;
        writers.open();
        Datum key[] = {change.after.values[kCustomerId], pg::to_datum(reference)};
        ItemPointerData row;
        return pg::find(writers.entries, key, &row);
    }

    // Whether more has to be looked at than the orders that are new.
    bool is_plain(const Change& change) {
        bool fell_due = change.before.instant(kNextFactAt, rules::kNever) <= change.now;
        if ((change.existed && fell_due) || !change.paid_order.empty()) return false;
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::refund) return false;
            if (fact.kind == FactKind::order && (fact.withdrawn || has_entries(change, fact.id))) return false;
        }
        return true;
    }

    void plain(Change& change) {
        if (!points.on_orders) return;
        pg::Array<std::string_view> ids;
        for (const Fact& order : change.orders_taken_in) ids.push(order.id);
        std::sort(ids.begin(), ids.end());
        if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {  // several rows are one order
            compare(change);
            return;
        }
        for (const Fact& order : change.orders_taken_in)
            into.push({&change, "order", {}, order.id, order.source_id, order.at, order.amount, {}, false, false});
    }

    // Looks at each order that the facts concern as it is now.
    void compare(Change& change) {
        auto purchases = customer::purchases_of(change);
        pg::Array<std::string_view> ids;
        Instant seen = change.existed ? change.before.instant(kAsOf, rules::kBeginning) : rules::kBeginning;
        bool refund_gone = false;
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::order) ids.push(fact.id);
            if (fact.kind == FactKind::refund && !fact.order.empty()) ids.push(fact.order);
            refund_gone |= fact.kind == FactKind::refund && fact.withdrawn;
        }
        for (const Fact& p : purchases) {
            if (p.at > seen && p.at <= change.now && p.kind == FactKind::order) ids.push(p.id);
            if (p.at > seen && p.at <= change.now && p.kind == FactKind::refund && !p.order.empty()) ids.push(p.order);
        }
        if (!change.paid_order.empty()) ids.push(change.paid_order);
        if (refund_gone) {  // a refund that goes does not say which order it was of
            uint64 rows = read_references.run({&change.after.values[kCustomerId], 1});
            for (uint64 i = 0; i < rows; ++i) ids.push(pg::text_cell(i, 1));
        }
        std::sort(ids.begin(), ids.end());
        for (size_t i = 0; i < ids.size; ++i) {
            if (i > 0 && ids[i] == ids[i - 1]) continue;
            Occasion o = order_now(change, purchases, ids[i]);
            if (o.gone && !withdrawn(change, ids[i])) continue;  // it has not come yet
            // A refund of what we have never heard of, or of an order without points, concerns no points.
            if (has_entries(change, ids[i])) {
                o.known = true;
                into.push(o);
            } else if (!o.gone) {
                o.known = o.refunded > rules::Decimal{};
                bool is_new = o.at > seen || !change.existed;
                for (const Fact& fact : change.facts) is_new |= fact.kind == FactKind::order && !fact.withdrawn && fact.id == ids[i];
                if (is_new) into.push(o);
            }
        }
    }

    static bool withdrawn(const Change& change, std::string_view id) {
        return std::any_of(change.facts.begin(), change.facts.end(),
                           [&](const Fact& f) { return f.kind == FactKind::order && f.withdrawn && f.id == id; });
    }

    Occasion order_now(Change& change, std::span<const Fact> purchases, std::string_view id) {
        Occasion o{&change, "order", {}, id, 0, rules::kNever, {}, {}, true, false};
        for (const Fact& p : purchases) {
            if (p.at > change.now) break;
            if (p.kind == FactKind::order && p.id == id) {
                o.gone = false;
                o.source_id = p.source_id;
                o.at = std::min(o.at, p.at);
                o.amount = rules::add(o.amount, p.amount).value_or(o.amount);
            }
            if (p.kind == FactKind::refund && p.order == id) o.refunded = rules::add(o.refunded, p.amount).value_or(o.refunded);
        }
        return o;
    }

    // What is rewarded once and never taken back, for what it was for.
    void once(const Occasion& o) {
        bool rewarded = has_entries(*o.change, reference_of(o));
        for (const Occasion& other : into)
            rewarded |= other.change == o.change && other.earns_on == o.earns_on && other.event == o.event && other.key == o.key;
        if (!rewarded && o.at <= o.change->now) into.push(o);
    }

    // Reviews and events: what goes first, so that what comes with the same key has the last word.
    void activities(Change& change) {
        for (const Fact& fact : change.facts) {
            if (fact.withdrawn && (fact.kind == FactKind::review || fact.kind == FactKind::event))
                activity(change, fact.kind, pg::view(fact.fields[0]), fact.at, true);
        }
        for (const Happening& h : change.happened) {
            if (h.kind == FactKind::review || h.kind == FactKind::event) activity(change, h.kind, h.id, h.at, false);
        }
    }

    void activity(Change& change, FactKind kind, std::string_view id, Instant at, bool gone) {
        if (kind == FactKind::review) {
            occurrence(change, {"review", {}, id, at, {}, gone});
        } else {  // the same event may happen again and again
            const char* key = psprintf("%s@" INT64_FORMAT, pg::to_cstring(id), at);
            occurrence(change, {"event", id, key, at, {}, gone});
        }
    }

    void occurrences(Change& change) {
        for (const Occurrence& what : change.occurrences) occurrence(change, what);
    }

    void occurrence(Change& change, const Occurrence& what) {
        Occasion o{&change, what.kind, what.event, what.key, 0, what.at, what.amount, {}, what.gone, false};
        o.known = has_entries(change, reference_of(o));
        Occasion* before = nullptr;  // said twice: the later word counts
        for (Occasion& other : into) {
            if (other.change == &change && other.earns_on == o.earns_on && other.key == o.key) before = &other;
        }
        if (before != nullptr) {
            *before = o;
        } else if (o.known || !o.gone) {
            into.push(o);
        }
    }

    // The first order of a year in a season; its refund does not end the season.
    void seasons(Change& change) {
        pg::Array<Fact> orders;
        for (const Fact& order : change.orders_taken_in) orders.push(order);
        std::stable_sort(orders.begin(), orders.end(), [](const Fact& a, const Fact& b) { return a.at < b.at; });
        for (const PointsRule& rule : points.rules) {
            if (rule.earns_on != "season") continue;
            for (const Fact& order : orders) {
                if (!rule.fits("season", rule.event, order.at, order.amount)) continue;
                auto year = year_of(change, order.at);
                once({&change, "season", rule.event, {psprintf("%s:%d", pg::to_cstring(rule.event), year), rule.event.size() + 1 + 4},
                      order.source_id, order.at, order.amount, {}, false, false});
            }
        }
    }

    int year_of(const Change& change, Instant t) {
        int year = 0;
        pg::keep_zone([&] {
            pg::use_zone(customer::zone_of(change.after));
            year = calendar_year(t);
        });
        return year;
    }

    // Once a year, whatever becomes of the date. The next one has to wake the customer.
    void birthdays(Change& change, Balance& balance) {
        if (change.after.nulls[kBirthday]) return;
        Instant since = change.existed && !change.replay ? change.before.instant(kAsOf, change.now) : change.now;
        pg::keep_zone([&] {
            pg::use_zone(customer::zone_of(change.after));
            DateADT birthday = DatumGetDateADT(change.after.values[kBirthday]);
            for (int year = calendar_year(since);; ++year) {
                Instant at = birthday_in(birthday, year);
                if (at > change.now) {
                    balance.due_at(at);
                    break;
                }
                if (at <= since) continue;
                once({&change, "birthday", {}, {psprintf("%04d", year), 4}, 0, at, {}, {}, false, false});
            }
        });
    }

    void consents(Change& change) {
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::consent || fact.withdrawn || pg::view(fact.fields[1]) != "granted") continue;
            auto channel = pg::view(fact.fields[0]);
            Occasion o{&change, "consent", channel, channel, fact.source_id, DatumGetTimestampTz(fact.fields[2]), {}, {}, false, false};
            once(o);  // for each channel, however often it is withdrawn and given again
        }
    }
};

bool has_purchases(const Change& change) {
    return !change.orders_taken_in.empty() || !change.paid_order.empty() || change.before.instant(kNextFactAt, rules::kNever) <= change.now ||
           std::any_of(change.facts.begin(), change.facts.end(),
                       [](const Fact& f) { return f.kind == FactKind::order || f.kind == FactKind::refund; });
}

}  // namespace

// Whoever was referred has bought or been refunded: the tick sees to the rewards, which are somebody else's, too.
void look_at_referrals(Batch batch) {
    pg::Array<Datum> customers, referrers, referrals, gone;
    for (const Change& change : batch) {
        auto add = [&](std::string_view referral, bool withdrawn) {
            referrers.push(change.after.values[kCustomerId]);
            referrals.push(pg::to_datum(referral));
            gone.push(Int32GetDatum(withdrawn ? 1 : 0));
        };
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::referral && fact.withdrawn) add(pg::view(fact.fields[0]), true);
        }
        for (const Happening& h : change.happened) {
            if (h.kind == FactKind::referral) add(h.id, false);
        }
    }
    if (!referrers.empty()) {
        Datum args[] = {pg::text_array(referrers.span()), pg::text_array(referrals.span()), pg::int4_array(gone.span())};
        note_referrals.run(args);
    }
    for (const Change& change : batch) {
        if (has_purchases(change)) customers.push(change.after.values[kCustomerId]);
    }
    if (customers.empty()) return;
    Datum arg = pg::text_array(customers.span());
    note_referred.run({&arg, 1});
}

void keep_points(Batch batch) {
    pg::fault_point("points");
    const Points& points = refresh_points();
    Balances balances{batch};
    balances.settle();
    Writers writers;
    pg::Array<Occasion> occasions;
    if (points.kept) {
        Gathering gathering{points, writers, occasions};
        for (Change& change : batch) {
            if (has_purchases(change)) gathering.is_plain(change) ? gathering.plain(change) : gathering.compare(change);
            if (points.on_consents) gathering.consents(change);
            if (points.on_seasons) gathering.seasons(change);
            if (points.on_birthdays) gathering.birthdays(change, balances.of(change));
            if (points.on_activities) gathering.activities(change);
            gathering.occurrences(change);
        }
    }
    if (points.on_referrals) look_at_referrals(batch);
    if (!occasions.empty()) reward(occasions.span(), balances, writers);
    writers.close();
    balances.show();
}

}  // namespace lifecycle::loyalty
