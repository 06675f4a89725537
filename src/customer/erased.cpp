#include "customer/erased.hpp"

#include "customer/shop.hpp"
#include "pg/array.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

namespace {

struct Any {
    bool erased;
};
pg::Cached<Any> any;
pg::Statement read_any{.sql = "SELECT EXISTS (SELECT FROM lifecycle.erased)"};
pg::Statement read_erased{
    .sql = "SELECT u.id FROM unnest($1) AS u (id)"
           " WHERE EXISTS (SELECT FROM lifecycle.erased AS e WHERE e.customer_hash = lifecycle.customer_hash(u.id))",
    .types = {TEXTARRAYOID}};
// What was written for them before it was known who they are.
pg::Statement remove_traces{
    .sql = "WITH rows AS (DELETE FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1))"
           " DELETE FROM lifecycle.order_owner AS o WHERE o.order_id = ANY ($2) AND o.customer_id = ANY ($1)",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

bool anybody_erased() {
    if (any.is_current()) return any.value->erased;
    MemoryContext caller = any.begin();
    auto* fresh = pg::make<Any>();
    MemoryContextSwitchTo(caller);
    read_any.run_in_present();
    fresh->erased = DatumGetBool(pg::cell(0, 1).value);
    any.finish(fresh);
    return fresh->erased;
}

bool contains(const pg::Array<std::string_view>& ids, std::string_view id) {
    for (std::string_view other : ids) {
        if (other == id) return true;
    }
    return false;
}

}  // namespace

pg::Array<std::string_view> erased_among(std::span<const Datum> ids) {
    pg::Array<std::string_view> erased;
    if (ids.empty() || !anybody_erased()) return erased;
    Datum arg = pg::text_array(ids);
    uint64 rows = read_erased.run_in_present({&arg, 1});
    for (uint64 row = 0; row < rows; ++row) erased.push(pg::text_cell(row, 1));
    return erased;
}

Batch leave_out_erased(Batch batch) {
    // Whoever has a row has not been erased, so the orders of known customers cost nothing here.
    pg::Array<Datum> fresh;
    for (const Change& change : batch) {
        if (!change.existed) fresh.push(change.after.values[kCustomerId]);
    }
    auto erased = erased_among(fresh.span());
    if (erased.empty()) return batch;
    pg::Array<Datum> ids, orders;
    size_t kept = 0;
    for (Change& change : batch) {
        if (!contains(erased, change.customer_id)) {
            batch[kept++] = change;
            continue;
        }
        ids.push(change.after.values[kCustomerId]);
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::order) orders.push(pg::to_datum(fact.id));
        }
    }
    Datum args[] = {pg::text_array(ids.span()), pg::text_array(orders.span())};
    remove_traces.run(args);
    return batch.subspan(0, kept);
}

std::span<const Datum> not_erased(std::span<const Datum> ids) {
    auto erased = erased_among(ids);
    if (erased.empty()) return ids;
    auto kept = pg::zeroed<Datum>(ids.size());
    size_t n = 0;
    for (Datum id : ids) {
        if (!contains(erased, pg::view(id))) kept[n++] = id;
    }
    return kept.subspan(0, n);
}

void check_not_erased(std::span<const Datum> created) {
    auto erased = erased_among(created);
    if (!erased.empty())
        ereport(ERROR, errcode(pg::kRowWasDeleted), errmsg("customer \"%s\" has just been erased", pg::to_cstring(erased[0])));
}

}  // namespace lifecycle::customer

using namespace lifecycle;

// lifecycle.add_in_zone(at, span, zone): as delays of steps are counted, days and months in the zone of the customer, else of the shop.
LIFECYCLE_FUNCTION(lifecycle_add_in_zone) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1)) PG_RETURN_NULL();
    const char* name = PG_ARGISNULL(2) ? nullptr : pg::to_cstring(pg::view(PG_GETARG_DATUM(2)));
    pg_tz* zone = pg::zone_of(name, customer::current_shop().zone);
    Instant result = 0;
    pg::keep_zone([&] {
        pg::use_zone(zone);
        result = pg::add_interval(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INTERVAL_P(1));
    });
    PG_RETURN_TIMESTAMPTZ(result);
}
