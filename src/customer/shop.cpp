#include "customer/shop.hpp"

#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {
pg::Cached<Shop> shop;
pg::Statement read_shop{.sql = "SELECT s.time_zone, s.currency, s.delivery_time, s.leap_birthday,"
                               "       round(s.holdout * 10000)::int4 FROM lifecycle.shop AS s"};
pg::Statement armed{.sql = "SELECT WHERE lifecycle.is_armed()"};
}  // namespace

namespace {

rules::LeapDay leap_day_of(std::string_view name) {
    return name == "march_1" ? rules::LeapDay::march_1 : name == "skip" ? rules::LeapDay::skip : rules::LeapDay::february_28;
}

void reload() {
    MemoryContext caller = shop.begin();
    auto* fresh = pg::make<Shop>();
    MemoryContextSwitchTo(caller);
    pg::open_spi();
    uint64 rows = read_shop.run();
    caller = MemoryContextSwitchTo(shop.context);
    fresh->zone = pg::zone_of(rows > 0 ? pg::to_cstring(pg::view(pg::cell(0, 1).value)) : nullptr, nullptr);
    fresh->delivery_time.day = 5;
    if (rows > 0) {
        fresh->currency = pg::text_cell(0, 2);
        fresh->delivery_time = *DatumGetIntervalP(pg::cell(0, 3).value);
        fresh->leap_birthday = leap_day_of(pg::text_cell(0, 4));
        fresh->holdout = DatumGetInt32(pg::cell(0, 5).value);
    }
    MemoryContextSwitchTo(caller);
    pg::close_spi();
    shop.finish(fresh);
}

}  // namespace

const Shop& current_shop() {
    // Rows are read before any stage runs, by whoever inserts them: reading the shop's own row needs the owner's rights.
    if (!shop.is_current()) pg::as_owner([] { reload(); });
    return *shop.value;
}

pg_tz* zone_of(const Row& row) {
    const Shop& s = current_shop();
    if (row.nulls[kTimeZone]) return s.zone;
    return pg::zone_of(pg::to_cstring(pg::view(row.values[kTimeZone])), s.zone);
}

bool is_armed() { return armed.run() > 0; }

}  // namespace lifecycle::customer
