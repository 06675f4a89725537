#include "loyalty/recent_lots.hpp"

#include <algorithm>

#include "customer/seen.hpp"
#include "pg/catalog.hpp"
#include "pg/statement.hpp"

namespace lifecycle::loyalty {

namespace {

pg::Statement find_packed{
    .sql = "SELECT FROM lifecycle.points_run AS r WHERE r.customer_id = $1 AND $2 = ANY (r.orders) LIMIT 1", .types = {TEXTOID, TEXTOID}};
pg::Statement settle{.sql = "SELECT lifecycle.settle_recent_lots($1)", .types = {TEXTARRAYOID}};

constexpr Column kLotColumns[] = {kLotNumber, kLotOrders, kLotRules, kLotPoints, kLotActiveAt, kLotExpiresAt, kLotRecordedAt};

size_t length(const Row& row, Column c) { return row.nulls[c] ? 0 : pg::length_of(row.values[c]); }

// Which of the orders in a row has earned a lot there.
int order_of(Datum nth, int orders) {
    int order = DatumGetInt32(nth) - 1;
    if (order < 0 || order >= orders) ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the lots of points of a customer do not go with its orders"));
    return order;
}

// The lots in the row as it is in the table: their orders are those of that row, too.
void pack(Change& change, pg::TableWriter*& runs) {
    const Row& row = change.before;
    auto nth = pg::elements_of(row.values[kLotOrders]);
    auto ids = pg::elements_of(row.values[kRecentIds]);
    auto at = pg::elements_of(row.values[kRecentAt]);
    auto amounts = pg::elements_of(row.values[kRecentAmounts]);
    size_t n = std::min(static_cast<size_t>(nth.count), kRecentLots);
    Datum orders[kRecentLots], earned_at[kRecentLots], earned_by[kRecentLots];
    for (size_t i = 0; i < n; ++i) {
        int order = order_of(nth.values[i], ids.count);
        orders[i] = ids.values[order];
        earned_at[i] = at.values[order];
        earned_by[i] = amounts.values[order];
    }
    Datum values[] = {row.values[kCustomerId], row.values[kRecentSource], row.values[kLotNumber], pg::text_array(std::span<const Datum>{orders, n}),
                      pg::instant_array({earned_at, n}), pg::numeric_array({earned_by, n}), row.values[kLotRules], row.values[kLotPoints],
                      row.values[kLotActiveAt], row.values[kLotExpiresAt], row.values[kLotRecordedAt]};
    bool nulls[std::size(values)] = {};
    if (runs == nullptr) runs = pg::open_writer(pg::table_oid(pg::Table::points_run));
    pg::insert(runs, values, nulls);
    for (Column c : kLotColumns) change.after.clear(c);
    change.after.set(kPackedLots, BoolGetDatum(true));
}

void append(Row& row, Column c, Oid type, Datum element) {
    row.set(c, row.nulls[c] ? pg::array_of(type, {&element, 1}, nullptr) : pg::appended(row.values[c], element));
}

}  // namespace

void follow_orders(Change& change, pg::TableWriter*& runs) {
    if (change.after.nulls[kLotRules]) return;
    if (length(change.after, kRecentIds) < length(change.before, kRecentIds)) pack(change, runs);
}

bool needs_number(const Change& change, size_t lots) {
    size_t waiting = length(change.after, kLotRules);
    return waiting == 0 || waiting + lots > kRecentLots;
}

void keep_recent_lots(Change& change, std::span<const RecentLot> lots, int64 number, pg::TableWriter*& runs) {
    Row& row = change.after;
    if (length(row, kLotRules) + lots.size() > kRecentLots) pack(change, runs);
    if (row.nulls[kLotRules]) row.set(kLotNumber, Int64GetDatum(number));
    auto order = static_cast<int32>(length(row, kRecentIds));
    for (const RecentLot& lot : lots) {
        append(row, kLotOrders, INT4OID, Int32GetDatum(order));
        append(row, kLotRules, TEXTOID, lot.rule);
        append(row, kLotPoints, INT8OID, Int64GetDatum(lot.points));
        append(row, kLotActiveAt, TIMESTAMPTZOID, TimestampTzGetDatum(lot.active_at));
        append(row, kLotExpiresAt, TIMESTAMPTZOID, TimestampTzGetDatum(lot.expires_at));
        append(row, kLotRecordedAt, TIMESTAMPTZOID, TimestampTzGetDatum(change.now));
    }
}

void settle_recent_lots(std::span<Change* const> changes) {
    pg::Array<Datum> customers;
    for (Change* change : changes) {
        customers.push(change->after.values[kCustomerId]);
        for (Column c : kLotColumns) change->after.clear(c);
        change->after.clear(kPackedLots);
    }
    if (customers.empty()) return;
    Datum arg = pg::text_array(customers.span());
    settle.run({&arg, 1});
}

pg::Array<ReadyLot> ready_lots(const Row& row) {
    pg::Array<ReadyLot> ready;
    if (row.nulls[kLotRules]) return ready;
    auto nth = pg::elements_of(row.values[kLotOrders]);
    auto at = pg::elements_of(row.values[kRecentAt]);
    auto points = pg::elements_of(row.values[kLotPoints]);
    auto active_at = pg::elements_of(row.values[kLotActiveAt]);
    auto expires_at = pg::elements_of(row.values[kLotExpiresAt]);
    for (int i = 0; i < nth.count; ++i) {
        if (active_at.values[i] == at.values[order_of(nth.values[i], at.count)])
            ready.push({DatumGetTimestampTz(expires_at.values[i]), DatumGetInt64(points.values[i])});
    }
    return ready;
}

bool may_have_entries(const Row& row, std::string_view reference) { return customer::may_have_seen(row, kPointsSeen, reference); }

bool is_waiting(const Change& change, std::string_view reference) {
    const Row& row = change.before;
    if (!row.nulls[kLotRules]) {
        auto nth = pg::elements_of(row.values[kLotOrders]);
        auto ids = pg::elements_of(row.values[kRecentIds]);
        for (int i = 0; i < nth.count; ++i) {
            if (pg::view(ids.values[order_of(nth.values[i], ids.count)]) == reference) return true;
        }
    }
    if (row.nulls[kPackedLots]) return false;
    Datum args[] = {row.values[kCustomerId], pg::to_datum(reference)};
    return find_packed.run(args) > 0;
}

void note_reference(Row& row, std::string_view reference) { customer::note_seen(row, kPointsSeen, reference); }

void note_no_references(Row& row) { customer::begin_seen(row, kPointsSeen); }

}  // namespace lifecycle::loyalty
