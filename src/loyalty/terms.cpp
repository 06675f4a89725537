// Tiers whose spend counts for a time only, and those that were given by hand.
#include <algorithm>

#include "customer/ledger.hpp"
#include "customer/shop.hpp"
#include "loyalty/ladder.hpp"
#include "loyalty/loyalty.hpp"
#include "loyalty/points_rules.hpp"
#include "pg/clock.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::loyalty {

namespace {

// Points earned, and points taken back from what an occasion earned, whosever lots they came out of.
pg::Statement read_points{
    .sql = "SELECT e.reference, e.at, sum(e.pending + e.points)::bigint FROM lifecycle.points_entry_settled AS e"
           " WHERE e.customer_id = $1 AND e.kind IN ('earn', 'revoke', 'reinstate')"
           " GROUP BY e.reference, e.at, e.kind ORDER BY e.at, e.kind, e.reference",
    .types = {TEXTOID}};
pg::Statement read_grants{
    .sql = "SELECT u.n, g.tier, g.valid_from, g.valid_until FROM unnest($1) WITH ORDINALITY AS u (customer_id, n)"
           "  JOIN lifecycle.tier_grant AS g ON g.customer_id = u.customer_id ORDER BY u.n, g.valid_from",
    .types = {TEXTARRAYOID}};

struct ZoneCalendar {
    const Ladder& ladder;
    Instant joined;  // the first purchase

    Instant leaves(Instant earned) const {
        return ladder.period == rules::Period::lifetime ? rules::kNever : pg::add_interval(earned, &ladder.period_length);
    }
    Instant grace(Instant end) const { return pg::add_interval(end, &ladder.grace); }
    Instant year_after(Instant t) const {
        Interval span{};
        if (ladder.period == rules::Period::calendar_year) {
            span.month = 12;
            Instant begin = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_trunc, pg::to_datum("year"), TimestampTzGetDatum(t)));
            return pg::add_interval(begin, &span);
        }
        // Counted from the first purchase each time, so that 29 February comes back.
        constexpr Instant kYear = INT64CONST(365) * USECS_PER_DAY;
        for (int years = std::max(1, static_cast<int>((t - joined) / kYear) - 1);; ++years) {
            span.month = 12 * years;
            Instant end = pg::add_interval(joined, &span);
            if (end > t) return end;
        }
    }
};

// What has counted, in the order of time.
struct Account {
    pg::Array<rules::Earned> earned;
    pg::Array<std::string_view> of;  // the order of each
    pg::Array<rules::TakenBack> taken;

    void add(Instant at, rules::Decimal amount, std::string_view order) {
        earned.push({at, amount});
        of.push(order);
    }
    void take(Instant at, rules::Decimal amount, std::string_view order) {
        size_t from = rules::kLatest;
        for (size_t i = of.size; from == rules::kLatest && !order.empty() && i-- > 0;) {
            if (of[i] == order) from = i;
        }
        taken.push({at, amount, from});
    }
};

Account account_of_spend(Change& change) {
    Account account;
    std::span<const Fact> purchases;
    pg::Array<Fact> said;
    if (change.existed) {
        purchases = customer::purchases_of(change);
    } else {
        for (const Fact& fact : change.facts) {
            if (!fact.withdrawn && (fact.kind == FactKind::order || fact.kind == FactKind::refund)) said.push(fact);
        }
        std::sort(said.begin(), said.end(), [](const Fact& a, const Fact& b) {
                return a.at != b.at ? a.at < b.at : a.kind != b.kind ? a.kind < b.kind : a.id < b.id;
            });
        purchases = said.span();
    }
    constexpr rules::Decimal kNothing{};
    for (const Fact& p : purchases) {
        if (p.kind == FactKind::order && p.amount >= kNothing) account.add(p.at, p.amount, p.id);
        if (p.kind == FactKind::refund && p.amount < kNothing) account.add(p.at, *rules::subtract(kNothing, p.amount), {});
    }
    for (const Fact& p : purchases) {
        if (p.kind == FactKind::refund && p.amount > kNothing) account.take(p.at, p.amount, p.order);
        if (p.kind == FactKind::order && p.amount < kNothing) account.take(p.at, *rules::subtract(kNothing, p.amount), {});
    }
    return account;
}

Account account_of_points(const Change& change) {
    Account account;
    uint64 rows = read_points.run({&change.after.values[kCustomerId], 1});
    for (uint64 i = 0; i < rows; ++i) {
        auto reference = pg::text_cell(i, 1);
        Instant at = DatumGetTimestampTz(pg::cell(i, 2).value);
        int64 points = DatumGetInt64(pg::cell(i, 3).value);
        rules::Decimal amount{static_cast<__int128>(points < 0 ? -points : points) * 1'000'000'000'000, 0};
        points < 0 ? account.take(at, amount, reference) : account.add(at, amount, reference);
    }
    return account;
}

struct Step {
    Instant at;
    int tier;
    rules::Decimal spend;
};

// From which instant on what has been worked out is news.
Instant news_from(const Change& change) {
    if (change.from_scratch) return rules::kBeginning;
    return change.moments.empty() ? change.base.at : std::min(change.base.at, change.moments[0].at - 1);
}

// Gives the moments their tiers, with a moment more for each step that is none yet.
// With `keep_base`, what held before the news is a moment, too.
void weave(Change& change, const pg::Array<Step>& steps, bool keep_base) {
    Instant from = news_from(change);
    Moment last = change.base;
    Step state{from, rules::kNoTier, {}};
    size_t next = 0;
    for (; next < steps.size && steps[next].at <= from; ++next) state = steps[next];

    pg::Array<Moment> moments;
    auto push = [&](Moment moment, Instant at) {
        moment.at = at;
        moment.tier = state.tier;
        moment.tier_spend = state.spend;
        last = moments.push(moment);
    };
    if (keep_base && !change.from_scratch) push(last, change.base.at);  // not at `from`: a grant may have begun in that very instant
    auto steps_before = [&](Instant until) {
        while (next < steps.size && steps[next].at < until) {
            Instant at = steps[next].at;
            for (; next < steps.size && steps[next].at == at; ++next) state = steps[next];
            push(last, at);
        }
    };
    for (const Moment& moment : change.moments) {
        steps_before(moment.at);
        for (; next < steps.size && steps[next].at == moment.at; ++next) state = steps[next];
        push(moment, moment.at);
    }
    steps_before(rules::kNever);
    change.moments = moments.span();
}

}  // namespace

void follow_terms(Change& change, const Ladder& l) {
    Account account = l.counts_points ? account_of_points(change) : account_of_spend(change);
    auto net = pg::zeroed<rules::Decimal>(account.earned.size);
    ZoneCalendar calendar{l, account.earned.empty() ? change.now : account.earned[0].at};
    pg::Array<Step> steps;
    rules::Standing standing;
    pg::keep_zone([&] {
        pg::use_zone(customer::zone_of(change.after));
        auto period = l.period == rules::Period::lifetime ? rules::Period::rolling : l.period;
        standing = rules::follow(period, l.downgrade, {l.versions.data, l.versions.size}, account.earned.span(), account.taken.span(),
                                 change.now, calendar, net, [&](Instant at, int tier, rules::Decimal spend) { steps.push({at, tier, spend}); });
    });
    weave(change, steps, l.any_grants);
    change.after.set(kTierSpend, pg::to_numeric(standing.spend));
    change.after.set_instant(kTierValidUntil, standing.valid_until);
    standing.valid_until == rules::kNever ? change.after.clear(kTierMissing)
                                          : change.after.set(kTierMissing, pg::to_numeric(standing.missing));
    change.tier_due = standing.next_event;
}

namespace {

struct Grant {
    int tier;
    Instant from, until;
};

void apply(Change& change, std::span<const Grant> grants, const Ladder& l) {
    Instant from = news_from(change);
    pg::Array<Instant> turns;
    for (const Grant& grant : grants) {
        for (Instant t : {grant.from, grant.until}) {
            if (t > change.now) change.tier_due = std::min(change.tier_due, t);
            if (t >= from && t <= change.now) turns.push(t);
        }
    }
    std::sort(turns.begin(), turns.end());

    // What the customer has without them: by terms it stands in the moments, else it follows from the revenue.
    Moment last = change.base;
    if (!l.has_terms()) {
        last.tier = change.from_scratch ? rules::kNoTier : rules::tier_for(last.numbers.revenue, {l.thresholds.data, l.thresholds.size});
    }
    pg::Array<Moment> moments;
    size_t next = 0;
    auto turn_before = [&](Instant until) {
        for (; next < turns.size && turns[next] < until; ++next) {
            last.at = turns[next];
            moments.push(last);
        }
    };
    for (const Moment& moment : change.moments) {
        turn_before(moment.at);
        last = moments.push(moment);
    }
    turn_before(rules::kNever);
    Instant valid_until = rules::kNever;
    for (Moment& moment : moments) {
        for (const Grant& grant : grants) {  // the latest one wins
            if (grant.from <= moment.at && moment.at < grant.until) moment.tier = grant.tier;
        }
    }
    bool granted = false;
    for (const Grant& grant : grants) {
        if (grant.from > change.now || change.now >= grant.until) continue;
        granted = true;
        valid_until = grant.until;
    }
    if (granted) {
        change.after.set_instant(kTierValidUntil, valid_until);
        change.after.clear(kTierMissing);
    } else if (!l.has_terms()) {
        change.after.clear(kTierValidUntil);
    }
    change.moments = moments.span();
}

}  // namespace

void apply_grants(Batch batch, const Ladder& l) {
    pg::Array<Datum> customers;
    for (const Change& change : batch) customers.push(change.after.values[kCustomerId]);
    Datum arg = pg::text_array(customers.span());
    uint64 rows = read_grants.run({&arg, 1});
    pg::Array<Grant> grants;
    uint64 row = 0;
    while (row < rows) {
        int64 n = DatumGetInt64(pg::cell(row, 1).value);
        grants.clear();
        for (; row < rows && DatumGetInt64(pg::cell(row, 1).value) == n; ++row) {
            grants.push({tier_named(pg::view(pg::cell(row, 2).value)), DatumGetTimestampTz(pg::cell(row, 3).value),
                         DatumGetTimestampTz(pg::cell(row, 4).value)});
        }
        apply(batch[n - 1], grants.span(), l);
    }
}

}  // namespace lifecycle::loyalty
