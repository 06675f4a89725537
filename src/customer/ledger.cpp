#include "customer/ledger.hpp"

#include <algorithm>

#include "customer/log.hpp"
#include "customer/rates.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

namespace {

constexpr size_t kPurchasesPerRun = 64;  // keeps a run on one page, out of TOAST

pg::Statement read_runs{
    .sql = "SELECT l.customer_id, l.ctid, l.source_id, l.kind, l.ids, l.orders, l.at, l.amounts,"
           "       l.currencies, l.foreign_amounts, l.rates"
           " FROM lifecycle.purchase_ledger AS l WHERE l.customer_id = ANY ($1) ORDER BY l.customer_id",
    .types = {TEXTARRAYOID}};

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

struct Run {
    ItemPointerData tid;  // invalid: the recent orders in the customer's row
    std::span<Fact> purchases;
    bool changed;
};

// Orders of one source that came one by one wait in the customer's row until there are this many.
constexpr size_t kRecentOrders = 16;

pg::TableWriter* ledger_writer(pg::TableWriter*& writer) {
    if (writer == nullptr) writer = pg::open_writer(pg::table_oid(pg::Table::purchase_ledger));
    return writer;
}

void write_run(pg::TableWriter* writer, std::string_view customer, std::span<const Fact> run) {
    enum { kOrders, kCurrencies, kForeignAmounts, kRates, kOptional };
    std::string_view ids[kPurchasesPerRun];
    Datum at[kPurchasesPerRun], amounts[kPurchasesPerRun];
    Datum optional[kOptional][kPurchasesPerRun];
    bool none[kOptional][kPurchasesPerRun];
    bool any_order = false;
    bool any_foreign = false;
    for (size_t i = 0; i < run.size(); ++i) {
        ids[i] = run[i].id;
        at[i] = TimestampTzGetDatum(run[i].at);
        amounts[i] = run[i].amount_datum;
        none[kOrders][i] = run[i].order.empty();
        any_order |= !none[kOrders][i];
        optional[kOrders][i] = none[kOrders][i] ? Datum{0} : pg::to_datum(run[i].order);
        const Foreign* foreign = run[i].foreign;
        any_foreign |= foreign != nullptr;
        none[kCurrencies][i] = none[kForeignAmounts][i] = none[kRates][i] = foreign == nullptr;
        optional[kCurrencies][i] = foreign == nullptr ? Datum{0} : pg::to_datum(foreign->currency);
        optional[kForeignAmounts][i] = foreign == nullptr ? Datum{0} : foreign->amount;
        optional[kRates][i] = foreign == nullptr ? Datum{0} : foreign->rate;
    }
    size_t n = run.size();
    Datum values[] = {pg::to_datum(customer),
                      Int32GetDatum(run[0].source_id),
                      pg::to_datum(run[0].kind == FactKind::order ? "order" : "refund"),
                      pg::text_array(std::span<const std::string_view>{ids, n}),
                      any_order ? pg::text_array({optional[kOrders], n}, none[kOrders]) : Datum{0},
                      pg::instant_array({at, n}),
                      pg::numeric_array({amounts, n}),
                      any_foreign ? pg::text_array({optional[kCurrencies], n}, none[kCurrencies]) : Datum{0},
                      any_foreign ? pg::array_of(NUMERICOID, {optional[kForeignAmounts], n}, none[kForeignAmounts]) : Datum{0},
                      any_foreign ? pg::array_of(NUMERICOID, {optional[kRates], n}, none[kRates]) : Datum{0}};
    bool nulls[] = {false, false, false, false, !any_order, false, false, !any_foreign, !any_foreign, !any_foreign};
    pg::insert(writer, values, nulls);
}

// Cuts purchases into runs of one source and kind.
void write_runs(pg::TableWriter* writer, std::string_view customer, std::span<const Fact> purchases) {
    size_t start = 0;
    for (size_t i = 1; i <= purchases.size(); ++i) {
        if (i < purchases.size() && i - start < kPurchasesPerRun && purchases[i].kind == purchases[start].kind &&
            purchases[i].source_id == purchases[start].source_id)
            continue;
        write_run(writer, customer, purchases.subspan(start, i - start));
        start = i;
    }
}

std::span<Fact> unpack(FactKind kind, int32 source, Datum ids_array, Datum at_array, Datum amounts_array) {
    auto ids = pg::elements_of(ids_array);
    auto at = pg::elements_of(at_array);
    auto amounts = pg::elements_of(amounts_array);
    auto purchases = pg::zeroed<Fact>(ids.count);
    for (int i = 0; i < ids.count; ++i) {
        Fact& fact = purchases[i];
        fact.kind = kind;
        fact.source_id = source;
        fact.id = pg::view(ids.values[i]);
        fact.at = DatumGetTimestampTz(at.values[i]);
        fact.amount_datum = amounts.values[i];
        auto amount = pg::to_decimal(fact.amount_datum);
        if (!amount) ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the purchase ledger has an amount out of range"));
        fact.amount = *amount;
    }
    return purchases;
}

// Row `n` of read_runs.
Run load_run(uint64 n) {
    Run run{};
    run.tid = *pg::item_pointer(pg::cell(n, 2).value);
    FactKind kind = pg::view(pg::cell(n, 4).value) == "order" ? FactKind::order : FactKind::refund;
    run.purchases = unpack(kind, DatumGetInt32(pg::cell(n, 3).value), pg::cell(n, 5).value, pg::cell(n, 7).value,
                           pg::cell(n, 8).value);
    auto [orders_array, no_orders] = pg::cell(n, 6);
    if (!no_orders) {
        auto orders = pg::elements_of(orders_array);
        for (int i = 0; i < orders.count; ++i) {
            if (!orders.nulls[i]) run.purchases[i].order = pg::view(orders.values[i]);
        }
    }
    auto [currencies_array, no_currencies] = pg::cell(n, 9);
    if (!no_currencies) {
        auto currencies = pg::elements_of(currencies_array);
        auto amounts = pg::elements_of(pg::cell(n, 10).value);
        auto rates = pg::elements_of(pg::cell(n, 11).value);
        auto foreign = pg::zeroed<Foreign>(currencies.count);
        for (int i = 0; i < currencies.count; ++i) {
            if (currencies.nulls[i]) continue;
            foreign[i] = {pg::view(currencies.values[i]), amounts.values[i], rates.values[i]};
            run.purchases[i].foreign = &foreign[i];
        }
    }
    return run;
}

Run recent_orders(const Row& row) {
    Run run{};
    ItemPointerSetInvalid(&run.tid);
    if (!row.nulls[kRecentIds])
        run.purchases = unpack(FactKind::order, DatumGetInt32(row.values[kRecentSource]), row.values[kRecentIds],
                               row.values[kRecentAt], row.values[kRecentAmounts]);
    return run;
}

void set_recent(Row& row, int32 source, size_t n, const Datum* ids, const Datum* at, const Datum* amounts) {
    row.set(kRecentSource, Int32GetDatum(source));
    row.set(kRecentIds, pg::text_array({ids, n}));
    row.set(kRecentAt, pg::instant_array({at, n}));
    row.set(kRecentAmounts, pg::numeric_array({amounts, n}));
}

void keep_recent(Row& row, std::span<const Fact> orders) {
    if (orders.empty()) {
        for (Column c : {kRecentSource, kRecentIds, kRecentAt, kRecentAmounts}) row.clear(c);
        return;
    }
    Datum ids[kRecentOrders];
    Datum at[kRecentOrders];
    Datum amounts[kRecentOrders];
    for (size_t i = 0; i < orders.size(); ++i) {
        ids[i] = pg::to_datum(orders[i].id);
        at[i] = TimestampTzGetDatum(orders[i].at);
        amounts[i] = orders[i].amount_datum;
    }
    set_recent(row, orders[0].source_id, orders.size(), ids, at, amounts);
}

// One more order into the customer's row. False: it has to go to the ledger itself.
bool add_recent(Row& row, const Fact& order, pg::TableWriter*& ledger, std::string_view customer) {
    size_t waiting = row.nulls[kRecentIds] ? 0 : pg::length_of(row.values[kRecentIds]);
    if (waiting > 0 && DatumGetInt32(row.values[kRecentSource]) != order.source_id) return false;
    if (waiting == kRecentOrders) {
        write_run(ledger_writer(ledger), customer, recent_orders(row).purchases);
        waiting = 0;
    }
    Datum id = pg::to_datum(order.id);
    Datum at = TimestampTzGetDatum(order.at);
    if (waiting == 0) {
        set_recent(row, order.source_id, 1, &id, &at, &order.amount_datum);
        return true;
    }
    row.set(kRecentIds, pg::appended(row.values[kRecentIds], id));
    row.set(kRecentAt, pg::appended(row.values[kRecentAt], at));
    row.set(kRecentAmounts, pg::appended(row.values[kRecentAmounts], order.amount_datum));
    return true;
}

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
    if (!row.nulls[kSegmentSince]) {
        auto since = pg::elements_of(row.values[kSegmentSince]);
        for (int i = 0; i < since.count; ++i) latest = Max(latest, DatumGetTimestampTz(since.values[i]));
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
Reading reading_of(const Change& change, const Overview& o) {
    if (!change.existed) return Reading::nothing;
    if (o.withdrawn > 0 || change.replay || change.late_touch != rules::kNever) return Reading::everything;
    // Which of two purchases of one instant comes first is decided by what they are, not by which was seen first.
    if (o.first == change.before.instant(kLedgerAt, rules::kBeginning)) return Reading::everything;
    bool fell_due = change.before.instant(kNextFactAt, rules::kNever) <= change.now || o.at_rate_of_order;
    if (o.first >= change.before.instant(kAsOf, rules::kBeginning)) return fell_due ? Reading::going_on : Reading::nothing;
    if (fell_due) return Reading::everything;
    // A little late, as an order is whose transaction began before a tick: still fine if nothing has happened since.
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
        if (!run.purchases.empty()) write_run(writer, change.customer_id, run.purchases);
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
    if (!fresh.empty() && !(alone && add_recent(change.after, fresh[0], writer, change.customer_id)))
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
    } else {
        Datum count = DirectFunctionCall1(int8_numeric, Int64GetDatum(numbers.order_count));
        row.set(kAverageOrderValue, DirectFunctionCall2(numeric_div, row.values[kRevenue], count));
    }
}

std::span<Fact> purchases_of(const Change& change) {
    Datum id = change.after.values[kCustomerId];
    Datum arg = pg::text_array({&id, 1});
    uint64 rows = read_runs.run({&arg, 1});
    pg::Array<Fact> purchases;
    auto add = [&](const Run& run) {
        for (const Fact& p : run.purchases) purchases.push(p);
    };
    for (uint64 row = 0; row < rows; ++row) add(load_run(row));
    add(recent_orders(change.after));
    std::sort(purchases.begin(), purchases.end(), earlier);
    return purchases.span();
}

void take_in_purchases(Batch batch) {
    pg::fault_point("ledger");
    auto overviews = pg::zeroed<Overview>(batch.size());
    auto readings = pg::zeroed<Reading>(batch.size());
    pg::Array<Datum> wanted;
    pg::Array<Recall> recalled;
    for (size_t i = 0; i < batch.size(); ++i) {
        overviews[i] = look_at(batch[i]);
        readings[i] = reading_of(batch[i], overviews[i]);
        if (readings[i] == Reading::nothing) continue;
        wanted.push(pg::to_datum(batch[i].customer_id));
        if (!batch[i].after.nulls[kHasLog]) recalled.push({&batch[i], readings[i] == Reading::everything});
    }
    recall(recalled.span());

    uint64 rows = 0;
    if (!wanted.empty()) {
        Datum arg = pg::text_array(wanted.span());
        rows = read_runs.run({&arg, 1});
    }
    pg::TableWriter* writer = nullptr;
    pg::Array<Run> runs;
    uint64 row = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
        runs.clear();
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
