#include "customer/runs.hpp"

#include <algorithm>

#include "customer/packed_orders.hpp"
#include "pg/catalog.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

namespace {

constexpr size_t kPurchasesPerRun = 64;  // keeps a run on one page, out of TOAST

pg::Statement read_ledger{
    .sql = "SELECT l.customer_id, l.ctid, l.source_id, l.kind, l.ids, l.orders, l.at, l.amounts,"
           "       l.currencies, l.foreign_amounts, l.rates"
           " FROM lifecycle.purchase_ledger AS l WHERE l.customer_id = ANY ($1) ORDER BY l.customer_id",
    .types = {TEXTARRAYOID}};

// Orders of one source that came one by one wait in the customer's row until there are this many.
constexpr size_t kOrdersInRow = 16;

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

Fact make_purchase(FactKind kind, int32 source, std::string_view id, Instant at) {
    Fact fact{};
    fact.kind = kind;
    fact.source_id = source;
    fact.id = id;
    fact.at = at;
    return fact;
}

std::span<Fact> unpack(FactKind kind, int32 source, Datum ids_array, Datum at_array, Datum amounts_array) {
    auto ids = pg::elements_of(ids_array);
    auto at = pg::elements_of(at_array);
    auto amounts = pg::elements_of(amounts_array);
    auto purchases = pg::zeroed<Fact>(ids.count);
    for (int i = 0; i < ids.count; ++i) {
        Fact& fact = purchases[i] = make_purchase(kind, source, pg::view(ids.values[i]), DatumGetTimestampTz(at.values[i]));
        fact.amount_datum = amounts.values[i];
        auto amount = pg::to_decimal(fact.amount_datum);
        if (!amount) ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the purchase ledger has an amount out of range"));
        fact.amount = *amount;
    }
    return purchases;
}

PackedOrder packed(const Fact& order) { return {order.id, order.at, order.amount}; }

}  // namespace

pg::TableWriter* ledger_writer(pg::TableWriter*& writer) {
    if (writer == nullptr) writer = pg::open_writer(pg::table_oid(pg::Table::purchase_ledger));
    return writer;
}

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

uint64 read_runs(std::span<const Datum> customers) {
    Datum arg = pg::text_array(customers);
    return read_ledger.run({&arg, 1});
}

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
    if (row.nulls[kRecentOrders]) return run;
    auto orders = unpack_orders(row.values[kRecentOrders]);
    run.purchases = pg::zeroed<Fact>(orders.size);
    for (size_t i = 0; i < orders.size; ++i) {
        Fact& fact = run.purchases[i] = make_purchase(FactKind::order, DatumGetInt32(row.values[kRecentSource]), orders[i].id, orders[i].at);
        fact.amount = orders[i].amount;
        fact.amount_datum = pg::to_numeric(fact.amount);
    }
    return run;
}

void keep_recent(Row& row, std::span<const Fact> orders) {
    if (orders.empty()) {
        row.clear(kRecentSource);
        row.clear(kRecentOrders);
        return;
    }
    pg::Array<PackedOrder> kept;
    for (const Fact& order : orders) kept.push(packed(order));
    row.set(kRecentSource, Int32GetDatum(orders[0].source_id));
    row.set(kRecentOrders, pack_orders(kept.span()));
}

bool add_recent(Row& row, const Fact& order, pg::TableWriter*& ledger, std::string_view customer) {
    size_t waiting = row.nulls[kRecentOrders] ? 0 : count_orders(row.values[kRecentOrders]);
    if (waiting > 0 && DatumGetInt32(row.values[kRecentSource]) != order.source_id) return false;
    if (waiting == kOrdersInRow) {
        write_run(ledger_writer(ledger), customer, recent_orders(row).purchases);
        waiting = 0;
    }
    if (waiting == 0) {
        keep_recent(row, {&order, 1});
    } else {
        row.set(kRecentOrders, with_order(row.values[kRecentOrders], packed(order)));
    }
    return true;
}

}  // namespace lifecycle::customer
