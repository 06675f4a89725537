#include "customer/ledger.hpp"

#include <algorithm>

#include "customer/log.hpp"
#include "customer/packed_memberships.hpp"
#include "customer/rates.hpp"
#include "customer/runs.hpp"
#include "pg/fault.hpp"
#include "pg/money.hpp"

namespace lifecycle::customer {

namespace {

// A statement that says more than this about one customer's past is an import, not a correction.
constexpr size_t kLargestCorrection = 8;

rules::PurchaseKind purchase_kind(const Fact& fact) {
    return fact.kind == FactKind::order ? rules::PurchaseKind::order : rules::PurchaseKind::refund;
}

// Purchases of the same instant are taken in orders first, then by id, so that every recomputation agrees.
bool earlier(const Fact& a, const Fact& b) {
    if (a.at != b.at) return a.at < b.at;
    if (a.kind != b.kind) return a.kind < b.kind;
    return a.id < b.id;
}

bool same_id(const Fact& a, const Fact& b) { return a.kind == b.kind && a.source_id == b.source_id && a.id == b.id; }
bool same_purchase(const Fact& a, const Fact& b) { return same_id(a, b) && a.at == b.at && a.amount == b.amount; }

// What the facts of one Change are, at a glance.
struct Overview {
    size_t withdrawn = 0;
    Instant first = rules::kNever;  // of the purchases that are new and not in the future
    size_t count = 0;
    size_t due_orders = 0;
    bool at_rate_of_order = false;  // a refund that was made at the rate of its order
};

Overview look_at(const Change& change) {
    Overview o;
    for (const Fact& fact : change.facts) {
        if (!is_purchase(fact.kind)) continue;
        o.withdrawn += fact.withdrawn;
        ++o.count;
        o.at_rate_of_order |= fact.kind == FactKind::refund && fact.foreign != nullptr && !fact.order.empty();
        if (fact.withdrawn || fact.at > change.now) continue;
        o.due_orders += fact.kind == FactKind::order;
        if (fact.at < o.first) o.first = fact.at;
    }
    return o;
}

// The latest instant at which something about the customer is known to have flipped.
Instant latest_flip(const Row& row) {
    Instant latest = row.instant(kTierSince, rules::kBeginning);
    if (!row.nulls[kMemberships]) {
        for (const PackedMembership& m : unpack_memberships(row.values[kMemberships])) latest = Max(latest, m.since);
    }
    return latest;
}

rules::PurchaseNumbers numbers_of(const Row& row) {
    rules::PurchaseNumbers n;
    n.first_order_at = row.instant(kFirstOrderAt, rules::kNever);
    n.previous_order_at = row.instant(kPreviousOrderAt, rules::kNever);
    n.last_order_at = row.instant(kLastOrderAt, rules::kNever);
    n.latest_at = row.instant(kLedgerAt, rules::kBeginning);
    n.order_count = DatumGetInt64(row.values[kOrderCount]);
    auto revenue = pg::to_decimal(row.values[kRevenue]);
    if (!revenue) ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the revenue of a customer is out of range"));
    n.revenue = *revenue;
    return n;
}

enum class Reading : uint8 { nothing, going_on, everything };

// Which part of the ledger is needed to bring the customer up to date.
Reading reading_of(const Change& change, const Overview& o, bool tiers_end) {
    if (!change.existed) return Reading::nothing;
    if (o.withdrawn > 0 || change.replay || change.late_touch != rules::kNever) return Reading::everything;
    // Which of two purchases of one instant comes first is decided by what they are, not by which was seen first.
    if (o.first == change.before.instant(kLedgerAt, rules::kBeginning)) return Reading::everything;
    bool fell_due = change.before.instant(kNextFactAt, rules::kNever) <= change.now || o.at_rate_of_order;
    if (o.first >= change.before.instant(kAsOf, rules::kBeginning)) return fell_due ? Reading::going_on : Reading::nothing;
    if (fell_due) return Reading::everything;
    // A little late, as an order is whose transaction began before a tick: still fine if nothing has happened since.
    if (tiers_end) return Reading::everything;
    bool in_order = o.first >= change.before.instant(kLedgerAt, rules::kBeginning) && o.first >= latest_flip(change.before);
    return in_order ? Reading::nothing : Reading::everything;
}

const Touches kUntouched{};

const Touches* touches_of(const Row& row) {
    auto* touches = static_cast<Touches*>(palloc(sizeof(Touches)));
    *touches = {row.instant(kLastOpenAt, rules::kBeginning), row.instant(kLastClickAt, rules::kBeginning),
                row.instant(kLastVisitAt, rules::kBeginning), row.instant(kTouchedAt, rules::kBeginning),
                row.instant(kLastSentAt, rules::kBeginning), row.instant(kFirstSentAt, rules::kBeginning)};
    return touches;
}

const Touches* after(const Touches* before, const Happening& touch) {
    auto* touches = static_cast<Touches*>(palloc(sizeof(Touches)));
    *touches = *before;
    touches->*sort_of_touch(touch.kind, touch.id) = touch.at;
    if (touches->first_sent == rules::kBeginning) touches->first_sent = touches->sent;
    return touches;
}

rules::PurchaseNumbers after(const rules::PurchaseNumbers& before, const Fact& p) {
    auto next = rules::after(before, {p.at, p.amount, purchase_kind(p)});
    if (!next) ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the revenue of a customer is out of range"));
    return *next;
}

// Adds purchases and signs of life one by one, in time order, as far as `now`; what lies in the future waits.
void make_moments(Change& change, std::span<Fact> purchases) {
    std::sort(purchases.begin(), purchases.end(), earlier);
    size_t due = 0;
    while (due < purchases.size() && purchases[due].at <= change.now) ++due;

    auto touched = change.touched.span();
    change.moments = pg::zeroed<Moment>(due + touched.size());
    rules::PurchaseNumbers numbers = change.base.numbers;
    const Touches* touches = change.base.touches;
    for (size_t i = 0, t = 0; i + t < change.moments.size();) {
        Moment& moment = change.moments[i + t];
        if (t == touched.size() || (i < due && purchases[i].at <= touched[t].at)) {
            moment.at = purchases[i].at;
            numbers = after(numbers, purchases[i++]);
        } else {
            moment.at = touched[t].at;
            touches = after(touches, touched[t++]);
        }
        moment = {moment.at, numbers, touches, -1, rules::kNever};
    }
    Instant future = due < purchases.size() ? purchases[due].at : rules::kNever;
    future = Min(future, change.next_happening);
    if (!change.from_scratch) {
        Instant known = change.before.instant(kNextFactAt, rules::kNever);
        if (known > change.now) future = Min(future, known);
    }
    change.after.set_instant(kNextFactAt, future);
    change.after.set_instant(kLedgerAt, numbers.latest_at);
    if (change.moments.empty() && !change.from_scratch) return;
    show_times(change.after, numbers, *touches);
    show_amounts(change.after, numbers);
}

bool remove_first(std::span<Run> runs, const Fact& gone, bool (*same)(const Fact&, const Fact&), Instant* at) {
    for (Run& run : runs) {
        for (size_t i = 0; i < run.purchases.size(); ++i) {
            if (!same(run.purchases[i], gone)) continue;
            *at = run.purchases[i].at;
            std::copy(run.purchases.begin() + i + 1, run.purchases.end(), run.purchases.begin() + i);
            run.purchases = run.purchases.first(run.purchases.size() - 1);
            run.changed = true;
            return true;
        }
    }
    return false;
}

// Removes what was withdrawn from the runs and writes those that lost something again. Returns the earliest instant of what was removed.
Instant withdraw(Change& change, std::span<Run> runs, pg::TableWriter*& writer) {
    Instant earliest = rules::kNever;
    for (const Fact& gone : change.facts) {
        if (!gone.withdrawn || !is_purchase(gone.kind)) continue;
        Instant at;
        if (remove_first(runs, gone, same_purchase, &at) || remove_first(runs, gone, same_id, &at)) earliest = Min(earliest, at);
    }
    for (Run& run : runs) {
        if (!run.changed) continue;
        if (!ItemPointerIsValid(&run.tid)) {
            keep_recent(change.after, run.purchases);
            continue;
        }
        pg::remove(ledger_writer(writer), &run.tid);
        if (!run.purchases.empty()) write_runs(writer, change.customer_id, run.purchases);
    }
    return earliest;
}

// A refund gives back what its order was worth when it was placed, not what the currency is worth today.
void use_rates_of_orders(std::span<Fact> fresh, std::span<const Run> runs) {
    auto is_order_of = [](const Fact& order, const Fact& refund) {
        return order.kind == FactKind::order && order.id == refund.order && order.foreign != nullptr && refund.foreign != nullptr &&
               order.foreign->currency == refund.foreign->currency;
    };
    for (Fact& refund : fresh) {
        if (refund.kind != FactKind::refund || refund.foreign == nullptr || refund.order.empty()) continue;
        const Foreign* found = nullptr;
        for (const Run& run : runs) {
            for (const Fact& p : run.purchases) {
                if (is_order_of(p, refund)) found = p.foreign;
            }
        }
        for (const Fact& p : fresh) {
            if (is_order_of(p, refund)) found = p.foreign;
        }
        if (found == nullptr) continue;
        auto* foreign = static_cast<Foreign*>(palloc(sizeof(Foreign)));
        *foreign = {refund.foreign->currency, refund.foreign->amount, found->rate};
        refund.foreign = foreign;
        convert(&refund);
    }
}

// The purchases that the ledger has and that are needed, then those that are new: these alone are not copied.
std::span<Fact> gather(const Change& change, bool all, std::span<const Run> runs, size_t fresh, size_t* known) {
    *known = 0;
    if (runs.empty() && fresh == change.facts.size()) return change.facts;
    pg::Array<Fact> purchases;
    for (const Run& run : runs) {
        for (const Fact& p : run.purchases) {
            if (all || p.at > change.before.instant(kAsOf, rules::kBeginning)) purchases.push(p);
        }
    }
    *known = purchases.size;
    purchases.reserve(*known + fresh);
    for (const Fact& fact : change.facts) {
        if (is_purchase(fact.kind) && !fact.withdrawn) purchases.push(fact);
    }
    return purchases.span();
}

// What waited in the ledger and has fallen due starts scenarios now; what was taken in before does not start them again.
std::span<const Fact> due_orders(const Change& change, const Overview& overview, std::span<const Fact> purchases) {
    if (purchases.data() == change.facts.data() && overview.due_orders == purchases.size()) return purchases;
    pg::Array<Fact> orders;
    for (const Fact& p : purchases) {
        if (p.kind == FactKind::order && p.at <= change.now) orders.push(p);
    }
    return orders.span();
}

void take_in(Change& change, const Overview& overview, Reading reading, std::span<Run> runs, pg::TableWriter*& writer) {
    bool everything = reading == Reading::everything;
    Instant corrected_from = Min(overview.first, change.late_touch);
    if (everything) corrected_from = std::min(corrected_from, withdraw(change, runs, writer));
    size_t known;
    auto purchases = gather(change, everything, runs, overview.count - overview.withdrawn, &known);
    auto fresh = purchases.subspan(known);
    if (overview.at_rate_of_order) use_rates_of_orders(fresh, runs);
    bool alone = fresh.size() == 1 && fresh[0].kind == FactKind::order && fresh[0].at <= change.now && fresh[0].foreign == nullptr;
    change.order_waits = alone && add_recent(change.after, fresh[0], writer, change.customer_id);
    if (!fresh.empty() && !change.order_waits)
        write_runs(ledger_writer(writer), change.customer_id, fresh);

    change.from_scratch = !change.existed || everything;
    change.appended = change.existed && overview.withdrawn == 0 && !change.replay &&
                      overview.first > change.before.instant(kLedgerAt, rules::kBeginning);
    bool correction = change.existed && everything && !change.replay;
    change.corrected_from = correction && corrected_from <= change.now ? corrected_from : rules::kNever;
    change.imported = overview.count + change.late_touches > kLargestCorrection || change.silent;
    change.base.touches = change.from_scratch ? &kUntouched : touches_of(change.before);
    if (!change.from_scratch) {
        change.base.numbers = numbers_of(change.before);
        change.base.at = change.before.instant(kAsOf, rules::kBeginning);
    }
    change.orders_taken_in = due_orders(change, overview, everything ? fresh : purchases);
    make_moments(change, purchases);

    bool lived = !change.from_scratch && (change.moments.empty() || change.moments[0].at >= change.base.at);
    change.path = lived ? Path::lived : Path::looked_back;
}

}  // namespace

void show_times(Row& row, const rules::PurchaseNumbers& numbers, const Touches& touches) {
    row.set_instant(kFirstOrderAt, numbers.first_order_at);
    row.set_instant(kPreviousOrderAt, numbers.previous_order_at);
    row.set_instant(kLastOrderAt, numbers.last_order_at);
    row.set_instant(kLastOpenAt, touches.open);
    row.set_instant(kLastClickAt, touches.click);
    row.set_instant(kLastVisitAt, touches.visit);
    row.set_instant(kTouchedAt, touches.other);
    row.set_instant(kFirstSentAt, touches.first_sent);
    row.set_instant(kLastSentAt, touches.sent);
    Instant order = numbers.order_count > 0 ? numbers.last_order_at : rules::kBeginning;
    row.set_instant(kLastActivityAt, std::max({order, touches.open, touches.click, touches.visit, touches.other}));
    row.set(kOrderCount, Int64GetDatum(numbers.order_count));
}

void show_amounts(Row& row, const rules::PurchaseNumbers& numbers) {
    row.set(kRevenue, pg::to_numeric(numbers.revenue));
    if (numbers.order_count == 0) {
        row.clear(kAverageOrderValue);
    } else if (auto average = rules::share(numbers.revenue, numbers.order_count)) {
        row.set(kAverageOrderValue, pg::to_numeric(*average));
    } else {
        Datum count = DirectFunctionCall1(int8_numeric, Int64GetDatum(numbers.order_count));
        row.set(kAverageOrderValue, DirectFunctionCall2(numeric_div, row.values[kRevenue], count));
    }
}

std::span<Fact> purchases_of(const Change& change) {
    Datum id = change.after.values[kCustomerId];
    uint64 rows = read_runs({&id, 1});
    pg::Array<Fact> purchases;
    auto add = [&](const Run& run) {
        for (const Fact& p : run.purchases) purchases.push(p);
    };
    for (uint64 row = 0; row < rows; ++row) add(load_run(row));
    add(recent_orders(change.after));
    std::sort(purchases.begin(), purchases.end(), earlier);
    return purchases.span();
}

void take_in_purchases(Batch batch, bool tiers_end) {
    pg::fault_point("ledger");
    auto overviews = pg::zeroed<Overview>(batch.size());
    auto readings = pg::zeroed<Reading>(batch.size());
    pg::Array<Datum> wanted;
    pg::Array<Recall> recalled;
    for (size_t i = 0; i < batch.size(); ++i) {
        if (!batch[i].existed) continue;  // nothing is to be read; looked at below, when its facts are needed anyway
        overviews[i] = look_at(batch[i]);
        readings[i] = reading_of(batch[i], overviews[i], tiers_end);
        if (readings[i] == Reading::nothing) continue;
        wanted.push(pg::to_datum(batch[i].customer_id));
        if (!batch[i].after.nulls[kHasLog]) recalled.push({&batch[i], readings[i] == Reading::everything});
    }
    recall(recalled.span());

    uint64 rows = wanted.empty() ? 0 : read_runs(wanted.span());
    pg::TableWriter* writer = nullptr;
    pg::Array<Run> runs;
    uint64 row = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
        runs.clear();
        if (!batch[i].existed) overviews[i] = look_at(batch[i]);
        if (readings[i] != Reading::nothing) {
            // Batch and result are both sorted by customer.
            for (; row < rows && pg::view(pg::cell(row, 1).value) == batch[i].customer_id; ++row) runs.push(load_run(row));
            runs.push(recent_orders(batch[i].before));
        }
        take_in(batch[i], overviews[i], readings[i], runs.span(), writer);
    }
    if (writer != nullptr) {
        pg::close_writer(writer);
        pg::written();
    }
}

}  // namespace lifecycle::customer
