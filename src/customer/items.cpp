// Orders whose amount is the sum of their items, and facts that belong to whoever placed an order.
#include "customer/items.hpp"

#include <algorithm>

#include "customer/erased.hpp"
#include "customer/log.hpp"
#include "customer/rates.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {

// How the attached tables hang together.
struct Plan {
    bool sums_items;   // some orders say no amount
    bool by_order;     // some items or deliveries say no customer
};
pg::Cached<Plan> plan;
pg::Statement read_plan{.sql = "SELECT coalesce(bool_or(s.kind = 'order' AND s.mapping ->> 'amount' IS NULL), false),"
                               "       coalesce(bool_or(s.kind IN ('order_item', 'delivery') AND s.mapping ->> 'customer' IS NULL), false)"
                               "  FROM lifecycle.source AS s"};

const Plan& refresh_plan() {
    if (plan.is_current()) return *plan.value;
    MemoryContext caller = plan.begin();
    auto* fresh = pg::make<Plan>();
    MemoryContextSwitchTo(caller);
    read_plan.run();
    *fresh = {DatumGetBool(pg::cell(0, 1).value), DatumGetBool(pg::cell(0, 2).value)};
    plan.finish(fresh);
    return *fresh;
}

// Orders by their items, with what the ledger knows of them. OFFSET 0 keeps the view where its customer is known: joined, it would be read whole.
pg::Statement read_prices{
    .sql = "SELECT u.nth, i.amount, p.source_id, p.at, p.currency, p.rate"
           "  FROM unnest($1, $2) WITH ORDINALITY AS u (customer_id, order_id, nth)"
           " CROSS JOIN LATERAL (SELECT coalesce(sum(o.amount), 0) AS amount FROM lifecycle.order_item AS o"
           "                      WHERE o.customer_id = u.customer_id AND o.order_id = u.order_id) AS i"
           "  LEFT JOIN LATERAL (SELECT p.* FROM lifecycle.purchase AS p JOIN lifecycle.source AS s ON s.source_id = p.source_id"
           "                      WHERE p.customer_id = u.customer_id AND p.kind = 'order' AND p.id = u.order_id"
           "                        AND s.mapping ->> 'amount' IS NULL OFFSET 0) AS p ON true"
           " ORDER BY u.nth",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

// An order of which items came or went, or which itself has come.
struct Priced {
    Change* change;
    Fact* order;  // nullptr: the ledger has it, if anybody does
    std::string_view id;
};

void find_priced(Change& change, pg::Array<Priced>* into) {
    size_t first = into->size;
    for (Fact& fact : change.facts) {
        if (fact.sum_of_items && !fact.withdrawn) into->push({&change, &fact, fact.id});
    }
    for (const Fact& fact : change.facts) {
        if (fact.kind != FactKind::order_item) continue;
        auto id = pg::view(fact.fields[field::item_order - 1]);
        bool known = false;
        for (size_t i = first; i < into->size && !known; ++i) known = (*into)[i].id == id;
        if (!known) into->push({&change, nullptr, id});
    }
}

void set_amount(Fact* order, Datum sum) {
    if (order->foreign != nullptr) {
        auto* foreign = static_cast<Foreign*>(palloc(sizeof(Foreign)));
        *foreign = {order->foreign->currency, sum, order->foreign->rate};
        order->foreign = foreign;
        if (convert(order)) return;
    } else if (auto amount = pg::to_decimal(sum); amount && rules::is_addable(*amount)) {
        order->amount = *amount;
        order->amount_datum = sum;
        return;
    }
    ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the items of order \"%s\" do not add up to an amount that can be kept",
                                                                       pg::to_cstring(order->id)));
}

// What row `n` of read_prices says of an order that the ledger has: it goes, and comes again with its new amount.
void price_again(const Priced& priced, uint64 n, pg::Array<Fact>* more) {
    if (pg::cell(n, 3).null) return;
    for (const Fact& fact : priced.change->facts) {
        if (fact.kind == FactKind::order && fact.withdrawn && fact.id == priced.id) return;  // it goes anyway
    }
    Fact order{};
    order.kind = FactKind::order;
    order.customer = priced.change->customer_id;
    order.id = priced.id;
    order.source_id = DatumGetInt32(pg::cell(n, 3).value);
    order.at = DatumGetTimestampTz(pg::cell(n, 4).value);
    order.sum_of_items = true;
    if (!pg::cell(n, 5).null) {
        auto* foreign = static_cast<Foreign*>(palloc(sizeof(Foreign)));
        *foreign = {pg::view(pg::cell(n, 5).value), 0, pg::cell(n, 6).value};
        order.foreign = foreign;
    }
    order.withdrawn = true;
    more->push(order);
    order.withdrawn = false;
    set_amount(&order, pg::cell(n, 2).value);
    more->push(order);
}

}  // namespace

void price_orders(Batch batch) {
    pg::Array<Priced> priced;
    if (refresh_plan().sums_items) {
        for (Change& change : batch) find_priced(change, &priced);
    }
    if (priced.empty()) return;
    pg::Array<Datum> customers, orders;
    for (const Priced& order : priced) {
        customers.push(order.change->after.values[kCustomerId]);
        orders.push(pg::to_datum(order.id));
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(orders.span())};
    uint64 rows = read_prices.run(args);
    pg::Array<Fact> more;
    Change* change = nullptr;
    auto add = [&] {
        if (more.empty()) return;
        auto facts = pg::zeroed<Fact>(change->facts.size() + more.size);
        std::copy(change->facts.begin(), change->facts.end(), facts.begin());
        std::copy(more.begin(), more.end(), facts.begin() + change->facts.size());
        change->facts = facts;
        more.clear();
    };
    for (uint64 row = 0; row < rows; ++row) {
        const Priced& order = priced[DatumGetInt64(pg::cell(row, 1).value) - 1];
        if (order.change != change) {
            if (change != nullptr) add();
            change = order.change;
        }
        if (order.order != nullptr) {
            set_amount(order.order, pg::cell(row, 2).value);
        } else {
            price_again(order, row, &more);
        }
    }
    add();
}

// Whose an order is. The row is also the lock between an item that arrives and an order that is placed at the same time.
namespace {

pg::Statement lock_owners{
    .sql = "SELECT o.order_id, o.customer_id FROM lifecycle.order_owner AS o WHERE o.order_id = ANY ($1) ORDER BY o.order_id FOR UPDATE",
    .types = {TEXTARRAYOID}};
pg::Statement set_owners{
    .sql = "INSERT INTO lifecycle.order_owner AS o (order_id, customer_id)"
           " SELECT u.order_id, u.customer_id FROM unnest($1, $2) AS u (order_id, customer_id) ORDER BY u.order_id COLLATE \"C\""
           " ON CONFLICT (order_id) DO UPDATE SET customer_id = EXCLUDED.customer_id WHERE o.customer_id <> EXCLUDED.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement expect_owners{
    .sql = "INSERT INTO lifecycle.order_owner AS o (order_id, customer_id)"
           " SELECT u.order_id, '' FROM (SELECT DISTINCT n.order_id FROM unnest($1) AS n (order_id)) AS u ORDER BY u.order_id COLLATE \"C\""
           " ON CONFLICT (order_id) DO NOTHING",
    .types = {TEXTARRAYOID}};
pg::Statement share_owners{
    .sql = "SELECT o.order_id, o.customer_id FROM lifecycle.order_owner AS o WHERE o.order_id = ANY ($1) ORDER BY o.order_id FOR SHARE",
    .types = {TEXTARRAYOID}};
pg::Statement items_of{
    .sql = "SELECT i.customer_id, i.order_id, i.line, i.product, i.category, i.quantity, i.amount, i.source_id"
           "  FROM unnest($1, $2) AS u (order_id, customer_id) JOIN lifecycle.order_item AS i USING (order_id, customer_id)"
           "  JOIN lifecycle.source AS s ON s.source_id = i.source_id AND s.mapping ->> 'customer' IS NULL",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement deliveries_of{
    .sql = "SELECT d.customer_id, d.order_id, d.delivered_at, d.shipped_at, d.source_id"
           "  FROM unnest($1, $2) AS u (order_id, customer_id) JOIN lifecycle.delivery AS d USING (order_id, customer_id)"
           "  JOIN lifecycle.source AS s ON s.source_id = d.source_id AND s.mapping ->> 'customer' IS NULL",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

struct Owner {
    std::string_view order;
    std::string_view before;  // empty: nobody's
    std::string_view after;
};

Owner* find_owner(std::span<Owner> owners, std::string_view order) {
    auto found = std::lower_bound(owners.begin(), owners.end(), order, [](const Owner& o, std::string_view id) { return o.order < id; });
    return found != owners.end() && found->order == order ? &*found : nullptr;
}

// One for each order that the facts name, sorted.
pg::Array<Owner> orders_of(std::span<const Fact> facts, bool placed) {
    pg::Array<Owner> owners;
    for (const Fact& fact : facts) {
        if (placed ? fact.kind == FactKind::order : fact.customer.empty())
            owners.push({placed ? fact.id : pg::view(fact.fields[0]), {}, {}});
    }
    std::sort(owners.begin(), owners.end(), [](const Owner& a, const Owner& b) { return a.order < b.order; });
    auto last = std::unique(owners.begin(), owners.end(), [](const Owner& a, const Owner& b) { return a.order == b.order; });
    owners.size = static_cast<size_t>(last - owners.begin());
    return owners;
}

Datum ids_of(std::span<const Owner> owners) {
    pg::Array<Datum> ids;
    for (const Owner& o : owners) ids.push(pg::to_datum(o.order));
    return pg::text_array(ids.span());
}

void read_owners(std::span<Owner> owners, pg::Statement& statement, std::string_view Owner::* into) {
    Datum arg = ids_of(owners);
    uint64 rows = statement.run({&arg, 1});
    for (uint64 row = 0; row < rows; ++row) find_owner(owners, pg::view(pg::cell(row, 1).value))->*into = pg::text_cell(row, 2);
}

// What hangs on orders that have changed hands: it goes from the one and comes to the other.
void move_dependants(std::span<const Owner> owners, MemoryContext memory, pg::Array<Fact>* facts) {
    pg::Array<Datum> orders, before;
    for (const Owner& o : owners) {
        if (o.before == o.after) continue;
        orders.push(pg::to_datum(o.order));
        before.push(pg::to_datum(o.before));
    }
    if (orders.empty()) return;
    Datum args[] = {pg::text_array(orders.span()), pg::text_array(before.span())};
    for (FactKind kind : {FactKind::order_item, FactKind::delivery}) {
        const KindSpec& spec = spec_of(kind);
        uint64 rows = (kind == FactKind::order_item ? items_of : deliveries_of).run_in_present(args);
        MemoryContext inner = MemoryContextSwitchTo(memory);
        for (uint64 row = 0; row < rows; ++row) {
            Fact fact = logged_fact(row, spec);
            fact.source_id = DatumGetInt32(pg::cell(row, static_cast<int>(spec.fields.size()) + 1).value);
            const Owner* owner = find_owner({const_cast<Owner*>(owners.data()), owners.size()}, pg::view(fact.fields[0]));
            fact.withdrawn = true;
            facts->push(fact);
            fact.withdrawn = false;
            fact.customer = owner->after;
            facts->push(fact);
        }
        MemoryContextSwitchTo(inner);
    }
}

// Orders have come, gone or changed hands.
void note_owners(std::span<const Fact> facts, MemoryContext memory, pg::Array<Fact>* more) {
    auto owners = orders_of(facts, true);
    if (owners.empty()) return;
    read_owners(owners.span(), lock_owners, &Owner::before);
    for (const Fact& fact : facts) {
        if (fact.kind == FactKind::order && !fact.withdrawn) find_owner(owners.span(), fact.id)->after = fact.customer;
    }
    pg::Array<Datum> customers;
    for (const Owner& o : owners) customers.push(pg::to_datum(o.after));
    // Orders of the erased stay nobody's, and so do their items.
    for (std::string_view id : erased_among(customers.span())) {
        for (size_t i = 0; i < owners.size; ++i) {
            if (owners[i].after != id) continue;
            owners[i].after = {};
            customers[i] = pg::to_datum(owners[i].after);
        }
    }
    Datum args[] = {ids_of(owners.span()), pg::text_array(customers.span())};
    set_owners.run(args);
    move_dependants(owners.span(), memory, more);
}

}  // namespace

std::span<const Fact> assign_owners(std::span<const Fact> facts) {
    if (!plan.is_current()) {
        pg::as_owner([] {
            pg::open_spi();
            refresh_plan();
            pg::close_spi();
        });
    }
    if (!plan.value->by_order || facts.empty()) return facts;
    MemoryContext caller = CurrentMemoryContext;
    pg::Array<Fact> all;
    all.reserve(facts.size());
    for (const Fact& fact : facts) all.push(fact);
    pg::as_owner([&] {
        pg::open_spi();
        note_owners(facts, caller, &all);
        auto owners = orders_of(facts, false);
        if (!owners.empty()) {
            Datum arg = ids_of(owners.span());
            expect_owners.run({&arg, 1});
            read_owners(owners.span(), share_owners, &Owner::after);
            MemoryContext inner = MemoryContextSwitchTo(caller);
            // Not what has been moved: that says itself where it goes from, and from nobody is one of the places.
            for (Fact& fact : all.span().first(facts.size())) {
                if (!fact.customer.empty()) continue;
                auto customer = find_owner(owners.span(), pg::view(fact.fields[0]))->after;
                fact.customer = pg::view(pg::to_datum(customer));
            }
            MemoryContextSwitchTo(inner);
        }
        pg::close_spi();
    });
    // What is nobody's yet waits in the tables.
    pg::Array<Fact> known, orphans;
    for (const Fact& fact : all) (fact.customer.empty() ? orphans : known).push(fact);
    if (!orphans.empty()) {
        pg::as_owner([&] {
            pg::open_spi();
            log_orphans(orphans.span());
            pg::close_spi();
        });
    }
    return known.span();
}

}  // namespace lifecycle::customer
