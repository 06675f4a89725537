#include "loyalty/loyalty.hpp"

#include "loyalty/ladder.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/memory.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Cached<Ladder> ladder;

pg::Statement read_tiers{
    .sql = "SELECT t.name, lifecycle.min_spend_at(t, v.valid_from), t.offer IS NOT NULL, v.valid_from"
           "  FROM (SELECT '-infinity' UNION SELECT o.valid_from FROM lifecycle.tier_version AS o) AS v (valid_from) CROSS JOIN lifecycle.tier AS t"
           " WHERE EXISTS (SELECT FROM lifecycle.loyalty_program) ORDER BY v.valid_from, t.rank"};
pg::Statement read_program{
    .sql = "SELECT p.period, p.downgrade, p.basis = 'points', p.period_length, p.grace, p.warn_before,"
           "       EXISTS (SELECT FROM lifecycle.tier_grant)"
           "  FROM lifecycle.loyalty_program AS p"};
pg::Statement forget_history{.sql = "DELETE FROM lifecycle.tier_past AS h WHERE h.customer_id = ANY ($1)",
                             .types = {TEXTARRAYOID}};
pg::Statement give_rewards{
    .sql = "SELECT lifecycle.give_tier_rewards($1, $2, $3)", .types = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

rules::Period period_of(std::string_view name) {
    if (name == "rolling") return rules::Period::rolling;
    if (name == "calendar_year") return rules::Period::calendar_year;
    return name == "membership_year" ? rules::Period::membership_year : rules::Period::lifetime;
}

rules::Downgrade downgrade_of(std::string_view name) {
    if (name == "none") return rules::Downgrade::none;
    return name == "one_down" ? rules::Downgrade::one_down : rules::Downgrade::recompute;
}

void read_into(Ladder* fresh, MemoryContext caller) {
    uint64 rows = read_tiers.run();
    MemoryContextSwitchTo(ladder.context);
    for (uint64 i = 0; i < rows; ++i) {
        Instant from = DatumGetTimestampTz(pg::cell(i, 4).value);
        if (from == rules::kBeginning) fresh->names.push(pg::to_datum(pg::view(pg::cell(i, 1).value)));
        if (i == 0 || from != fresh->versions[fresh->versions.size - 1].from) fresh->versions.push({from, {}});
        auto threshold = pg::to_decimal(pg::cell(i, 2).value);
        if (!threshold) ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("min_spend of a tier is out of range"));
        fresh->thresholds.push(*threshold);
        fresh->any_rewards |= DatumGetBool(pg::cell(i, 3).value);
    }
    size_t tiers = fresh->names.size;
    for (size_t i = 0; i < fresh->versions.size; ++i) fresh->versions[i].of = {fresh->thresholds.data + i * tiers, tiers};
    if (fresh->versions.empty()) fresh->versions.push({rules::kBeginning, {}});
    MemoryContextSwitchTo(caller);
    if (read_program.run() == 0) return;
    fresh->period = period_of(pg::view(pg::cell(0, 1).value));
    fresh->downgrade = downgrade_of(pg::view(pg::cell(0, 2).value));
    fresh->counts_points = DatumGetBool(pg::cell(0, 3).value);
    fresh->period_length = *DatumGetIntervalP(pg::cell(0, 4).value);
    fresh->grace = *DatumGetIntervalP(pg::cell(0, 5).value);
    fresh->warns = !pg::cell(0, 6).null;
    if (fresh->warns) fresh->warn_before = *DatumGetIntervalP(pg::cell(0, 6).value);
    fresh->any_grants = DatumGetBool(pg::cell(0, 7).value);
}

}  // namespace

const Ladder& refresh_ladder() {
    if (ladder.is_current()) return *ladder.value;
    MemoryContext caller = ladder.begin();
    auto* fresh = pg::make<Ladder>();
    MemoryContextSwitchTo(caller);
    read_into(fresh, caller);
    ladder.finish(fresh);
    return *fresh;
}

bool tiers_count_points() { return refresh_ladder().counts_points; }

bool tiers_end() { return refresh_ladder().tiers_end(); }

namespace {

void note_end(pg::TableWriter*& past, const Change& change, int tier, Instant since, Instant until) {
    // A tier that was reached and lost at one instant has never been.
    if (tier == rules::kNoTier || until <= since) return;
    if (past == nullptr) past = pg::open_writer(pg::table_oid(pg::Table::tier_past));
    bool null;
    Datum values[] = {change.after.values[kCustomerId], tier_name(tier, &null), TimestampTzGetDatum(since),
                      TimestampTzGetDatum(until)};
    bool nulls[] = {false, false, false, false};
    pg::insert(past, values, nulls);
}

void show_tier(Row& row, int tier, Instant since) {
    bool none;
    Datum name = tier_name(tier, &none);
    if (none) {
        row.clear(kTier);
        row.clear(kTierSince);
    } else {
        row.set(kTier, name);
        row.set_instant(kTierSince, since);
    }
}

}  // namespace

Datum tier_name(int tier, bool* null) {
    *null = tier == rules::kNoTier;
    return *null ? Datum{0} : ladder.value->names[tier];
}

int tier_named(std::string_view name) {
    const Ladder& l = refresh_ladder();  // a session may come here without having awarded a tier
    for (size_t i = 0; i < l.names.size; ++i) {
        if (pg::view(l.names[i]) == name) return static_cast<int>(i);
    }
    return rules::kNoTier;  // a tier that has been deleted since
}

int tier_of(const Row& row) { return row.nulls[kTier] ? rules::kNoTier : tier_named(pg::view(row.values[kTier])); }

namespace {

// Whether a change that was worked out anew writes the history anew, too.
bool rewrites_history(const Change& change, const Ladder& l) {
    return change.existed && change.from_scratch && (!change.appended || l.tiers_end());
}

bool concerns_tier(const Change& change, const Ladder& l) {
    if (!change.moments.empty() || change.from_scratch) return true;
    if (change.before.instant(kLoyaltyDueAt, rules::kNever) <= change.now) return true;
    return change.recount || (l.counts_points && !change.facts.empty());
}

// A tier by everything that was ever spent.
void award_by_revenue(Change& change, std::span<const rules::Decimal> thresholds) {
    for (Moment& moment : change.moments) {
        moment.tier = rules::tier_for(moment.numbers.revenue, thresholds);
        moment.tier_spend = moment.numbers.revenue;
    }
    change.after.values[kTierSpend] = change.after.values[kRevenue];
    change.after.clear(kTierValidUntil);
    change.after.clear(kTierMissing);
}

// Notes the tiers of one customer's moments. Past tiers up to `known` are in the history already.
void award(Change& change, Instant known, pg::TableWriter*& past) {
    int tier = change.base.tier;
    Instant since = change.base.tier_since;
    for (Moment& moment : change.moments) {
        if (moment.tier != tier) {
            if (moment.at > known) note_end(past, change, tier, since, moment.at);
            tier = moment.tier;
            since = moment.at;
        }
        moment.tier_since = since;
    }
    show_tier(change.after, tier, since);
    if (tier > tier_of(change.before) && !change.replay)
        change.signals.push({SignalKind::tier_reached, pg::view(change.after.values[kTier]), since});
}

// The tier ends soon: looked at once, when the time comes.
void warn(Change& change, const Ladder& l) {
    Instant ends = change.after.instant(kTierValidUntil, rules::kNever);
    if (!l.warns || ends == rules::kNever) return;
    Instant at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(ends), PointerGetDatum(&l.warn_before)));
    if (at > change.now) {
        change.tier_due = Min(change.tier_due, at);
    } else if (change.existed && !change.replay && !change.silent &&
               (at > change.before.instant(kAsOf, rules::kBeginning) || change.before.instant(kTierValidUntil, rules::kNever) != ends)) {
        change.signals.push({SignalKind::tier_ending, pg::view(change.after.values[kTier]), at});
    }
}

// Whoever has risen gets what the tier welcomes with.
void reward_risen(Batch batch) {
    pg::Array<Datum> customers, tiers, since;
    for (const Change& change : batch) {
        for (const Signal& signal : change.signals) {
            if (signal.kind != SignalKind::tier_reached || change.silent) continue;
            customers.push(change.after.values[kCustomerId]);
            tiers.push(pg::to_datum(signal.name));
            since.push(TimestampTzGetDatum(signal.at));
        }
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(tiers.span()), pg::instant_array(since.span())};
    give_rewards.run(args);
}

void forget_rewritten(Batch batch, const Ladder& l) {
    pg::Array<Datum> rewritten;
    for (const Change& change : batch) {
        if (rewrites_history(change, l)) rewritten.push(change.after.values[kCustomerId]);
    }
    if (rewritten.empty()) return;
    Datum arg = pg::text_array(rewritten.span());
    forget_history.run({&arg, 1});
}

}  // namespace

void award_tiers(Batch batch) {
    pg::fault_point("tiers");
    const Ladder& l = refresh_ladder();
    std::span<const rules::Decimal> thresholds{l.thresholds.data, l.thresholds.size};
    forget_rewritten(batch, l);
    auto work_out = [&](Change& change) {
        if (!change.from_scratch) {
            change.base.tier = tier_of(change.before);
            change.base.tier_since = change.before.instant(kTierSince, rules::kNever);
            change.base.tier_spend = pg::to_decimal(change.before.values[kTierSpend]).value_or(rules::Decimal{});
        }
        if (!concerns_tier(change, l)) return;
        if (l.has_terms()) {
            follow_terms(change, l);
        } else {
            award_by_revenue(change, thresholds);
        }
    };
    // A large batch is more than the processor keeps at hand: two passes over it only where they are needed.
    if (l.any_grants) {
        for (Change& change : batch) work_out(change);
        apply_grants(batch, l);
    }
    pg::TableWriter* past = nullptr;
    for (Change& change : batch) {
        if (!l.any_grants) work_out(change);
        if (!concerns_tier(change, l)) continue;
        bool all = rewrites_history(change, l) || !change.appended;
        award(change, all ? rules::kBeginning : change.before.instant(kLedgerAt, rules::kBeginning), past);
        warn(change, l);
        if (change.tier_due < change.after.instant(kLoyaltyDueAt, rules::kNever)) change.after.set_instant(kLoyaltyDueAt, change.tier_due);
    }
    if (past != nullptr) {
        pg::close_writer(past);
        pg::written();
    }
    if (l.any_rewards) reward_risen(batch);
}

}  // namespace lifecycle::loyalty
