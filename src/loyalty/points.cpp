#include "loyalty/points.hpp"

#include <algorithm>

#include "customer/shop.hpp"
#include "loyalty/balance.hpp"
#include "loyalty/loyalty.hpp"
#include "loyalty/occasions.hpp"
#include "loyalty/points_rules.hpp"
#include "loyalty/recent_lots.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "rules/ladder.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement revise{
    .sql = "SELECT r.nth, r.points_paid FROM lifecycle.revise_points($1, $2, $3, $4, $5, $6, $7, $8) AS r",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID, INT4ARRAYOID,
              TIMESTAMPTZARRAYOID}};
pg::Statement collect{
    .sql = "SELECT lifecycle.collect_shortfalls($1, $2, $3, $4)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}};
pg::Statement read_past_tier{
    .sql = "SELECT h.tier FROM lifecycle.tier_history AS h"
           " WHERE h.customer_id = $1 AND h.entered_at < $2 AND (h.left_at >= $2 OR h.left_at IS NULL)",
    .types = {TEXTOID, TIMESTAMPTZOID}};

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
    pg::TableWriter* runs = nullptr;

    void open() {
        if (entries != nullptr) return;
        lots = pg::open_writer(pg::table_oid(pg::Table::points_lot));
        entries = pg::open_writer(pg::table_oid(pg::Table::points_entry));
    }
    void close() {
        if (entries == nullptr && runs == nullptr) return;
        for (pg::TableWriter** writer : {&lots, &entries, &runs}) {
            if (*writer != nullptr) pg::close_writer(*writer);
            *writer = nullptr;
        }
        pg::written();
    }
    int64 number() { return nextval_internal(pg::table_oid(pg::Table::points_entry_id_seq), false); }
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

struct Earned {
    const PointsRule* rule;
    int64 points;
    Lifetime life;
};

// What an occasion without points earns: a lot for each rule that fits.
pg::Array<Earned> earned_by(const Points& points, const Occasion& o, int64 paid) {
    const Change& change = *o.change;
    pg::Array<Earned> earned;
    rules::Decimal amount = earning_amount(points, o, paid);
    for (const PointsRule& rule : points.rules) {
        if (!rule.fits(o.earns_on, o.event, o.at, amount)) continue;
        constexpr rules::Decimal kOnce{1'000'000'000'000, 0};
        rules::Decimal multiplier = rule.tier_multiplier ? points.multiplier(tier_before(change, o.at)) : kOnce;
        // More than anybody has is a mistake of the rule or the amount, and earns nothing.
        int64 some = rules::points_for(amount, rule.earning, multiplier).value_or(0);
        if (some != 0) earned.push({&rule, some, lifetime_of(rule, o.at)});
    }
    return earned;
}

void write_lots(Writers& writers, const Occasion& o, int64 paid, std::span<const Earned> all, Balance& balance) {
    const Change& change = *o.change;
    if (all.empty()) return;
    writers.open();
    auto name = reference_of(o);
    note_reference(o.change->after, name);
    Datum reference = pg::to_datum(name);
    for (const Earned& one : all) {
        int64 earned = one.points;
        Lot lot{o, reference, *one.rule, writers.number(), earned, paid, earned, 0, one.life};
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

// Whether lots can wait with their order: they are all that happens to the customer's points, and each is as it was earned and will be for a while.
bool can_wait(const Change& change, const Occasion& o, std::span<const Earned> earned, const Balance& balance) {
    if (!change.order_waits || o.earns_on != "order" || o.known || o.gone || earned.size() > kRecentLots) return false;
    if (balance.recount || change.recount || change.replay || (change.existed && change.from_scratch) || tiers_count_points()) return false;
    return std::all_of(earned.begin(), earned.end(), [&](const Earned& e) {
        bool ready = e.life.active_at == o.at && effective(change, o.at) == o.at;
        return e.life.expires_at > change.now && (ready || e.life.active_at > change.now);
    });
}

void keep_with_order(Writers& writers, const Occasion& o, std::span<const Earned> earned, Balance& balance) {
    Change& change = *o.change;
    if (earned.empty()) return;
    note_reference(change.after, o.key);
    RecentLot lots[kRecentLots];
    for (size_t i = 0; i < earned.size(); ++i) {
        const Lifetime& life = earned[i].life;
        lots[i] = {pg::view(earned[i].rule->name), earned[i].points, life.active_at, life.expires_at};
        bool ready = life.active_at == o.at;
        if (ready) balance.step(o.at, earned[i].points);
        balance.due_at(ready ? life.expires_at : life.active_at);
    }
    int64 number = needs_number(change, earned.size()) ? writers.number() : 0;
    keep_recent_lots(change, {lots, earned.size()}, number, writers.runs);
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

// An occasion that is new.
struct Fresh {
    Occasion* occasion;
    pg::Array<Earned> earned;
    bool waits;
};

// What is new earns. Where that is all there is of a customer, it may wait in the row; else what waits there is settled first.
pg::Array<Fresh> work_out(const Points& points, std::span<Occasion> occasions, Balances& balances) {
    pg::Array<Fresh> fresh;
    pg::Array<Change*> concerned;
    pg::keep_zone([&] {
        for (size_t i = 0; i < occasions.size(); ++i) {
            Occasion& o = occasions[i];
            bool alone = (i == 0 || occasions[i - 1].change != o.change) && (i + 1 == occasions.size() || occasions[i + 1].change != o.change);
            bool waits = false;
            if (!o.known && !o.gone) {
                pg::use_zone(customer::zone_of(o.change->after));
                auto earned = earned_by(points, o, 0);
                waits = alone && can_wait(*o.change, o, {earned.data, earned.size}, balances.of(*o.change));
                fresh.push({&o, earned, waits});
            }
            bool listed = !concerned.empty() && concerned[concerned.size - 1] == o.change;
            if (!waits && !listed && has_recent_lots(o.change->after)) concerned.push(o.change);
        }
    });
    settle_recent_lots(concerned.span());
    return fresh;
}

void reward(std::span<Occasion> occasions, std::span<const Fresh> fresh, Balances& balances, Writers& writers) {
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
        for (auto [o, earned, waits] : fresh) {
            std::span<const Earned> lots{earned.data, earned.size};
            if (waits) {
                keep_with_order(writers, *o, lots, balances.of(*o->change));
            } else {
                write_lots(writers, *o, 0, lots, balances.of(*o->change));
            }
        }
        for (auto [o, paid] : again) {
            pg::use_zone(customer::zone_of(o->change->after));
            auto earned = earned_by(points, *o, paid);
            write_lots(writers, *o, paid, earned.span(), balances.of(*o->change));
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

// Whether more than one new order concerns the points of a customer whose lots wait, as far as can be seen at once.
bool concerns_lots(const Change& change) {
    if (change.recount || change.replay || change.from_scratch || !change.paid_order.empty() || !change.occurrences.empty()) return true;
    if (change.before.instant(kLoyaltyDueAt, rules::kNever) <= change.now || change.before.instant(kNextFactAt, rules::kNever) <= change.now) return true;
    return std::any_of(change.facts.begin(), change.facts.end(),
                       [](const Fact& f) { return f.kind == FactKind::refund || (f.kind == FactKind::order && f.withdrawn); });
}

void settle_concerned(Batch batch) {
    pg::Array<Change*> concerned;
    for (Change& change : batch) {
        if (has_recent_lots(change.after) && (concerns_lots(change) || tiers_count_points())) concerned.push(&change);
    }
    settle_recent_lots(concerned.span());
}

}  // namespace

void keep_points(Batch batch) {
    pg::fault_point("points");
    const Points& points = refresh_points();
    settle_concerned(batch);
    Balances balances{batch};
    balances.settle();
    Writers writers;
    pg::Array<Occasion> occasions;
    if (points.kept) gather_occasions(batch, points, balances, &occasions);
    auto fresh = work_out(points, occasions.span(), balances);
    for (Change& change : batch) follow_orders(change, writers.runs);
    if (!occasions.empty()) reward(occasions.span(), fresh.span(), balances, writers);
    writers.close();
    balances.show();
}

}  // namespace lifecycle::loyalty
