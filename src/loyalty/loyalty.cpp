#include "loyalty/loyalty.hpp"

#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/memory.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "rules/ladder.hpp"

namespace lifecycle::loyalty {

namespace {

struct Ladder {
    pg::Array<rules::Decimal> thresholds;
    pg::Array<Datum> names;
};

pg::Cached<Ladder> ladder;

pg::Statement read_tiers{
    .sql = "SELECT t.name, t.min_spend FROM lifecycle.tier AS t"
           " WHERE EXISTS (SELECT FROM lifecycle.loyalty_program) ORDER BY t.rank"};
pg::Statement forget_history{.sql = "DELETE FROM lifecycle.tier_past AS h WHERE h.customer_id = ANY ($1)",
                             .types = {TEXTARRAYOID}};

// Read anew at the start of a batch only: what a batch has taken from it must stay until it is done.
const Ladder& refresh_ladder() {
    if (ladder.is_current()) return *ladder.value;
    MemoryContext caller = ladder.begin();
    auto* fresh = pg::make<Ladder>();
    MemoryContextSwitchTo(caller);
    uint64 rows = read_tiers.run();
    MemoryContextSwitchTo(ladder.context);
    for (uint64 i = 0; i < rows; ++i) {
        fresh->names.push(pg::to_datum(pg::view(pg::cell(i, 1).value)));
        auto threshold = pg::to_decimal(pg::cell(i, 2).value);
        if (!threshold) ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("min_spend of a tier is out of range"));
        fresh->thresholds.push(*threshold);
    }
    MemoryContextSwitchTo(caller);
    ladder.finish(fresh);
    return *fresh;
}

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

int tier_of(const Row& row) {
    if (row.nulls[kTier]) return rules::kNoTier;
    const Ladder& l = *ladder.value;
    for (size_t i = 0; i < l.names.size; ++i) {
        if (pg::view(l.names[i]) == pg::view(row.values[kTier])) return static_cast<int>(i);
    }
    return rules::kNoTier;  // a tier that has been deleted since
}

namespace {

// Gives the moments of one customer their tiers. Past tiers up to `known` are in the history already.
void award(Change& change, std::span<const rules::Decimal> thresholds, Instant known, pg::TableWriter*& past) {
    int tier = change.base.tier;
    Instant since = change.base.tier_since;
    for (Moment& moment : change.moments) {
        moment.tier = rules::tier_for(moment.numbers.revenue, thresholds);
        if (moment.tier != tier) {
            if (moment.at > known) note_end(past, change, tier, since, moment.at);
            tier = moment.tier;
            since = moment.at;
        }
        moment.tier_since = since;
    }
    show_tier(change.after, tier, since);
    change.after.values[kTierSpend] = change.after.values[kRevenue];
    if (tier > tier_of(change.before) && !change.replay)
        change.signals.push({SignalKind::tier_reached, pg::view(change.after.values[kTier]), since});
}

}  // namespace

void award_tiers(Batch batch) {
    pg::fault_point("tiers");
    const Ladder& l = refresh_ladder();
    std::span<const rules::Decimal> thresholds{l.thresholds.data, l.thresholds.size};
    pg::Array<Datum> rewritten;
    for (const Change& change : batch) {
        if (change.existed && change.from_scratch && !change.appended) rewritten.push(change.after.values[kCustomerId]);
    }
    if (!rewritten.empty()) {
        Datum arg = pg::text_array(rewritten.span());
        forget_history.run({&arg, 1});
    }

    pg::TableWriter* past = nullptr;
    for (Change& change : batch) {
        if (!change.from_scratch) {
            change.base.tier = tier_of(change.before);
            change.base.tier_since = change.before.instant(kTierSince, rules::kNever);
        }
        if (change.moments.empty() && !change.from_scratch) continue;
        Instant known = change.appended ? change.before.instant(kLedgerAt, rules::kBeginning) : rules::kBeginning;
        award(change, thresholds, known, past);
    }
    if (past != nullptr) {
        pg::close_writer(past);
        pg::written();
    }
}

}  // namespace lifecycle::loyalty
