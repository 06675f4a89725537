#include "loyalty/coupons.hpp"

#include <algorithm>

#include "customer/shop.hpp"
#include "loyalty/points_rules.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "rules/codes.hpp"

namespace lifecycle::loyalty {

namespace {

struct Offers {
    bool any;
};
pg::Cached<Offers> offers;

pg::Statement read_offers{.sql = "SELECT FROM lifecycle.offer AS o LIMIT 1"};
pg::Statement take_in{
    .sql = "SELECT lifecycle.take_in_coupons($1, $2, $3, $4, $5)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}};
pg::Statement bind{.sql = "SELECT b FROM lifecycle.bind_coupons($1, $2, $3, $4, $5) AS b",
                   .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement tidy{.sql = "SELECT lifecycle.tidy_coupons()"};

bool any_offers() {
    if (!offers.is_current()) {
        MemoryContext caller = offers.begin();
        auto* fresh = pg::make<Offers>();
        MemoryContextSwitchTo(caller);
        fresh->any = read_offers.run() > 0;
        offers.finish(fresh);
    }
    return offers.value->any;
}

// The fields of an order_detail.
constexpr int kOrder = 0, kCoupon = 2;

// What a change's facts say of the coupons of one order.
struct Used {
    Datum customer;
    std::string_view order;
    std::string_view code, former;
    bool gone;
};

void gather(const Change& change, pg::Array<Used>& used) {
    size_t first = used.size;
    auto of = [&](std::string_view order) -> Used& {
        for (size_t i = first; i < used.size; ++i) {
            if (used[i].order == order) return used[i];
        }
        return used.push({change.after.values[kCustomerId], order, {}, {}, true});
    };
    for (const Fact& fact : change.facts) {
        if (fact.withdrawn && change.silent) continue;  // its table was detached, not the order cancelled
        if (fact.kind == FactKind::order && fact.withdrawn) of(fact.id);
        if (fact.kind != FactKind::order_detail || fact.nulls[kCoupon]) continue;
        Used& u = of(pg::view(fact.fields[kOrder]));
        (fact.withdrawn ? u.former : u.code) = pg::view(fact.fields[kCoupon]);
    }
    for (const Fact& fact : change.facts) {
        if (fact.kind != FactKind::order || fact.withdrawn) continue;
        for (size_t i = first; i < used.size; ++i) used[i].gone &= used[i].order != fact.id;
    }
}

}  // namespace

void take_in_coupons(Batch batch) {
    pg::fault_point("coupons");
    if (!any_offers()) return;
    pg::Array<Used> used;
    for (const Change& change : batch) gather(change, used);
    if (used.empty()) return;
    pg::Array<Datum> customers, orders, codes, former, gone;
    pg::Array<bool> no_code, no_former;
    for (const Used& u : used) {
        customers.push(u.customer);
        orders.push(pg::to_datum(u.order));
        codes.push(pg::to_datum(u.code));
        no_code.push(u.code.empty());
        former.push(pg::to_datum(u.former));
        no_former.push(u.former.empty());
        gone.push(Int32GetDatum(u.gone ? 1 : 0));
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(orders.span()), pg::text_array(codes.span(), no_code.data),
                    pg::text_array(former.span(), no_former.data), pg::int4_array(gone.span())};
    take_in.run(args);
}

void bind_coupons(std::span<Binding> wanted, Instant now) {
    pg::Array<Datum> customers, offers, purposes, zones;
    pg::Array<bool> no_zone;
    for (const Binding& b : wanted) {
        customers.push(b.customer);
        offers.push(b.offer);
        purposes.push(b.purpose);
        zones.push(b.zone);
        no_zone.push(b.zone == 0);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(offers.span()), pg::text_array(purposes.span()),
                    pg::text_array(zones.span(), no_zone.data), TimestampTzGetDatum(now)};
    uint64 rows = bind.run(args);
    for (uint64 row = 0; row < rows; ++row) wanted[DatumGetInt64(pg::cell(row, 1).value) - 1].bound = true;
}

void tidy_coupons() {
    if (any_offers()) tidy.run();
}

}  // namespace lifecycle::loyalty

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_normal_code) {
    auto code = pg::view(PG_GETARG_DATUM(0));
    auto room = pg::zeroed<char>(code.size() + 1);
    PG_RETURN_TEXT_P(pg::to_text(rules::normal_code(code, room)));
}

LIFECYCLE_FUNCTION(lifecycle_is_code) {
    auto code = pg::view(PG_GETARG_DATUM(0));
    auto room = pg::zeroed<char>(code.size() + 1);
    PG_RETURN_BOOL(rules::is_code(rules::normal_code(code, room)));
}

LIFECYCLE_FUNCTION(lifecycle_random_code) {
    int32 length = PG_GETARG_INT32(0);
    if (length < static_cast<int32>(rules::kShortestCode) || length > static_cast<int32>(rules::kLongestCode))
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a code cannot be that long or short"), errdetail("It is %d.", length),
                errhint("Give a length from %zu to %zu.", rules::kShortestCode, rules::kLongestCode));
    char code[rules::kLongestCode];
    uint8 bytes[2 * rules::kLongestCode];
    do {
        if (!pg_strong_random(bytes, sizeof bytes))
            ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values"));
    } while (!rules::make_code(bytes, {code, static_cast<size_t>(length)}));
    PG_RETURN_TEXT_P(pg::to_text({code, static_cast<size_t>(length)}));
}

LIFECYCLE_FUNCTION(lifecycle_deadline) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_NULL();
    pg_tz* zone = PG_ARGISNULL(2) ? customer::current_shop().zone
                                  : pg::zone_of(pg::to_cstring(pg::view(PG_GETARG_DATUM(2))), customer::current_shop().zone);
    Instant end = 0;
    pg::keep_zone([&] {
        pg::use_zone(zone);
        end = pg::add_interval(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INTERVAL_P(1));
        if (!PG_ARGISNULL(3)) end = loyalty::round_up(end, pg::view(PG_GETARG_DATUM(3)));
    });
    PG_RETURN_TIMESTAMPTZ(end);
}
