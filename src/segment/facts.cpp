#include "segment/facts.hpp"

#include "customer/packed_orders.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::segment {

namespace {

pg::Statement read_purchases{
    .sql = "SELECT l.customer_id, l.kind, u.id, u.at, u.amount FROM lifecycle.purchase_ledger AS l,"
           " LATERAL unnest(l.ids, l.at, l.amounts) AS u (id, at, amount)"
           " WHERE l.customer_id = ANY ($1) ORDER BY l.customer_id",
    .types = {TEXTARRAYOID}};

pg::Statement read_items{
    .sql = "SELECT i.customer_id, i.order_id, i.product, i.category FROM lifecycle.order_item AS i"
           " WHERE i.customer_id = ANY ($1) ORDER BY i.customer_id",
    .types = {TEXTARRAYOID}};
pg::Statement read_events{
    .sql = "SELECT e.customer_id, e.event, e.occurred_at, e.properties ->> 'product', e.properties ->> 'category'"
           "  FROM lifecycle.event AS e WHERE e.customer_id = ANY ($1) ORDER BY e.customer_id",
    .types = {TEXTARRAYOID}};

bool looks(const Calls& calls, Looks at) {
    for (const FactCall& call : calls.facts) {
        if (call.looks == at) return true;
    }
    return false;
}

rules::Decimal amount_of(Datum numeric, bool order) {
    auto amount = pg::to_decimal(numeric);
    auto signed_amount = amount && !order ? rules::subtract({}, *amount) : amount;
    if (!signed_amount) ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the purchase ledger has an amount out of range"));
    return *signed_amount;
}

// The latest orders wait in the customer's row; what the row says now is the newest there is.
void take_recent(const Row& row, Deeds* deeds) {
    if (row.nulls[kRecentOrders]) return;
    for (const customer::PackedOrder& order : customer::unpack_orders(row.values[kRecentOrders]))
        deeds->purchases.push({order.at, order.amount, order.id, true});
}

// Calls `take` for each row of the last result with the deeds of its customer; both are sorted by customer.
template <class Take>
void deal_out(uint64 rows, std::span<const Change* const> changes, pg::Array<Deeds>& deeds, Take&& take) {
    size_t i = 0;
    for (uint64 row = 0; row < rows; ++row) {
        auto id = pg::view(pg::cell(row, 1).value);
        while (changes[i]->customer_id != id) ++i;
        take(row, deeds[i]);
    }
}

// A line of an order counts when the order does; one whose order is not known does not.
void take_item(std::string_view order, std::string_view product, std::string_view category, Deeds* deeds) {
    for (const Purchase& p : deeds->purchases) {
        if (p.order && p.id == order) deeds->items.push({p.at, product, category});
    }
}

}  // namespace

pg::Array<Deeds> load_deeds(const Calls& calls, std::span<const Change* const> changes) {
    pg::Array<Deeds> deeds;
    if (calls.facts.empty() || changes.empty()) return deeds;
    deeds.reserve(changes.size());
    pg::Array<Datum> customers, logged;
    for (const Change* change : changes) {
        take_recent(change->after, &deeds.push({}));
        customers.push(change->after.values[kCustomerId]);
        if (!change->after.nulls[kHasLog]) logged.push(change->after.values[kCustomerId]);
    }
    Datum arg = pg::text_array(customers.span());
    if (looks(calls, Looks::at_purchases) || looks(calls, Looks::at_items)) {
        deal_out(read_purchases.run({&arg, 1}), changes, deeds, [](uint64 row, Deeds& d) {
            bool order = pg::view(pg::cell(row, 2).value) == "order";
            d.purchases.push({DatumGetTimestampTz(pg::cell(row, 4).value), amount_of(pg::cell(row, 5).value, order),
                              pg::text_cell(row, 3), order});
        });
    }
    if (logged.empty()) return deeds;
    arg = pg::text_array(logged.span());
    if (looks(calls, Looks::at_items)) {
        deal_out(read_items.run({&arg, 1}), changes, deeds, [](uint64 row, Deeds& d) {
            take_item(pg::view(pg::cell(row, 2).value), pg::text_cell(row, 3), pg::text_cell(row, 4), &d);
        });
    }
    if (looks(calls, Looks::at_events)) {
        deal_out(read_events.run({&arg, 1}), changes, deeds, [](uint64 row, Deeds& d) {
            auto name = pg::text_cell(row, 2);
            bool view = name == "viewed" || name == "product_viewed";
            d.events.push({DatumGetTimestampTz(pg::cell(row, 3).value), name, view, pg::text_cell(row, 4), pg::text_cell(row, 5)});
        });
    }
    return deeds;
}

}  // namespace lifecycle::segment
