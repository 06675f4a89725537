#include "loyalty/recent_lots.hpp"

#include <algorithm>

#include "customer/packed_orders.hpp"
#include "customer/seen.hpp"
#include "loyalty/packed_lots.hpp"
#include "pg/catalog.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement find_packed{
    .sql = "SELECT FROM lifecycle.points_run AS r WHERE r.customer_id = $1 AND $2 = ANY (r.orders) LIMIT 1", .types = {TEXTOID, TEXTOID}};
pg::Statement settle{.sql = "SELECT lifecycle.settle_recent_lots($1)", .types = {TEXTARRAYOID}};

size_t orders_in(const Row& row) { return row.nulls[kRecentOrders] ? 0 : customer::count_orders(row.values[kRecentOrders]); }
size_t lots_in(const Row& row) { return row.nulls[kLots] ? 0 : count_lots(row.values[kLots]); }

// Which of the orders in a row has earned a lot there.
const customer::PackedOrder& order_of(const PackedLot& lot, const pg::Array<customer::PackedOrder>& orders) {
    if (lot.order < 1 || static_cast<size_t>(lot.order) > orders.size)
        ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the lots of points of a customer do not go with its orders"));
    return orders[static_cast<size_t>(lot.order) - 1];
}

void clear_lots(Row& row) {
    row.clear(kLotNumber);
    row.clear(kLots);
}

// The lots in the row as it is in the table: their orders are those of that row, too.
void move_to_runs(Change& change, pg::TableWriter*& runs) {
    const Row& row = change.before;
    auto lots = unpack_lots(row.values[kLots]);
    auto orders = customer::unpack_orders(row.values[kRecentOrders]);
    size_t n = std::min(lots.size, kRecentLots);
    enum { kOrders, kEarnedAt, kAmounts, kRules, kPointsOf, kActiveAt, kExpiresAt, kRecordedAt, kLists };
    Datum lists[kLists][kRecentLots];
    for (size_t i = 0; i < n; ++i) {
        const PackedLot& lot = lots[i];
        const customer::PackedOrder& order = order_of(lot, orders);
        Datum of_lot[kLists] = {pg::to_datum(order.id), TimestampTzGetDatum(order.at), pg::to_numeric(order.amount), pg::to_datum(lot.rule), Int64GetDatum(lot.points),
                                TimestampTzGetDatum(lot.active_at), TimestampTzGetDatum(lot.expires_at), TimestampTzGetDatum(lot.recorded_at)};
        for (int list = 0; list < kLists; ++list) lists[list][i] = of_lot[list];
    }
    auto list = [&](int which) -> std::span<const Datum> { return {lists[which], n}; };
    Datum values[] = {row.values[kCustomerId], row.values[kRecentSource], row.values[kLotNumber], pg::text_array(list(kOrders)),
                      pg::instant_array(list(kEarnedAt)), pg::numeric_array(list(kAmounts)), pg::text_array(list(kRules)),
                      pg::array_of(INT8OID, list(kPointsOf), nullptr), pg::instant_array(list(kActiveAt)), pg::instant_array(list(kExpiresAt)),
                      pg::instant_array(list(kRecordedAt))};
    bool nulls[std::size(values)] = {};
    if (runs == nullptr) runs = pg::open_writer(pg::table_oid(pg::Table::points_run));
    pg::insert(runs, values, nulls);
    clear_lots(change.after);
    change.after.set(kPackedLots, BoolGetDatum(true));
}

}  // namespace

void follow_orders(Change& change, pg::TableWriter*& runs) {
    if (change.after.nulls[kLots]) return;
    if (orders_in(change.after) < orders_in(change.before)) move_to_runs(change, runs);
}

bool needs_number(const Change& change, size_t lots) {
    size_t waiting = lots_in(change.after);
    return waiting == 0 || waiting + lots > kRecentLots;
}

void keep_recent_lots(Change& change, std::span<const RecentLot> lots, int64 number, pg::TableWriter*& runs) {
    Row& row = change.after;
    if (lots_in(row) + lots.size() > kRecentLots) move_to_runs(change, runs);
    if (row.nulls[kLots]) row.set(kLotNumber, Int64GetDatum(number));
    auto order = static_cast<int>(orders_in(row));
    for (const RecentLot& lot : lots) {
        PackedLot packed{order, lot.rule, lot.points, lot.active_at, lot.expires_at, change.now};
        row.set(kLots, row.nulls[kLots] ? pack_lots(packed) : with_lot(row.values[kLots], packed));
    }
}

void settle_recent_lots(std::span<Change* const> changes) {
    pg::Array<Datum> customers;
    for (Change* change : changes) {
        customers.push(change->after.values[kCustomerId]);
        clear_lots(change->after);
        change->after.clear(kPackedLots);
    }
    if (customers.empty()) return;
    Datum arg = pg::text_array(customers.span());
    settle.run({&arg, 1});
}

pg::Array<ReadyLot> ready_lots(const Row& row) {
    pg::Array<ReadyLot> ready;
    if (row.nulls[kLots]) return ready;
    auto orders = customer::unpack_orders(row.values[kRecentOrders]);
    for (const PackedLot& lot : unpack_lots(row.values[kLots])) {
        if (lot.active_at == order_of(lot, orders).at) ready.push({lot.expires_at, lot.points});
    }
    return ready;
}

bool may_have_entries(const Row& row, std::string_view reference) { return customer::may_have_seen(row, kPointsSeen, reference); }

bool is_waiting(const Change& change, std::string_view reference) {
    const Row& row = change.before;
    if (!row.nulls[kLots]) {
        auto orders = customer::unpack_orders(row.values[kRecentOrders]);
        for (const PackedLot& lot : unpack_lots(row.values[kLots])) {
            if (order_of(lot, orders).id == reference) return true;
        }
    }
    if (row.nulls[kPackedLots]) return false;
    Datum args[] = {row.values[kCustomerId], pg::to_datum(reference)};
    return find_packed.run(args) > 0;
}

void note_reference(Row& row, std::string_view reference) { customer::note_seen(row, kPointsSeen, reference); }

void note_no_references(Row& row) { customer::begin_seen(row, kPointsSeen); }

}  // namespace lifecycle::loyalty
