#include "customer/shop.hpp"

#include "pg/clock.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {
pg::Cached<Shop> shop;
pg::Statement read_shop{.sql = "SELECT s.time_zone, s.currency FROM lifecycle.shop AS s"};
}  // namespace

const Shop& current_shop() {
    if (shop.is_current()) return *shop.value;
    MemoryContext caller = shop.begin();
    auto* fresh = pg::make<Shop>();
    MemoryContextSwitchTo(caller);
    uint64 rows = read_shop.run();
    MemoryContextSwitchTo(shop.context);
    fresh->zone = pg::zone_of(rows > 0 ? pg::to_cstring(pg::view(pg::cell(0, 1).value)) : nullptr, nullptr);
    if (rows > 0) fresh->currency = pg::text_cell(0, 2);
    MemoryContextSwitchTo(caller);
    shop.finish(fresh);
    return *fresh;
}

pg_tz* zone_of(const Row& row) {
    const Shop& s = current_shop();
    if (row.nulls[kTimeZone]) return s.zone;
    return pg::zone_of(pg::to_cstring(pg::view(row.values[kTimeZone])), s.zone);
}

}  // namespace lifecycle::customer
