#include "customer/rates.hpp"

#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {

constexpr int32 kDecimals = 12;  // as many as a rules::Decimal keeps

struct Rate {
    std::string_view currency;
    Instant from;
    Datum rate;
};
struct Rates {
    pg::Array<Rate> list;  // the latest first
};

pg::Cached<Rates> rates;
pg::Statement read_rates{.sql = "SELECT r.currency, r.valid_from, r.rate FROM lifecycle.exchange_rate AS r ORDER BY r.valid_from DESC"};

void reload() {
    MemoryContext caller = rates.begin();
    auto* fresh = pg::make<Rates>();
    MemoryContextSwitchTo(caller);
    pg_tz* zone = current_shop().zone;
    pg::open_spi();
    uint64 rows = read_rates.run();
    MemoryContext inner = MemoryContextSwitchTo(rates.context);
    pg::keep_zone([&] {
        pg::use_zone(zone);
        for (uint64 row = 0; row < rows; ++row) {
            Datum from = DirectFunctionCall1(date_timestamptz, pg::cell(row, 2).value);
            fresh->list.push({pg::text_cell(row, 1), DatumGetTimestampTz(from), datumCopy(pg::cell(row, 3).value, false, -1)});
        }
    });
    MemoryContextSwitchTo(inner);
    pg::close_spi();
    rates.finish(fresh);
}

}  // namespace

std::optional<Datum> rate_of(std::string_view currency, Instant at) {
    // Asked while rows are read, by whoever inserts them.
    if (!rates.is_current()) pg::as_owner([] { reload(); });
    for (const Rate& rate : rates.value->list) {
        if (rate.from <= at && rate.currency == currency) return rate.rate;
    }
    return std::nullopt;
}

bool convert(Fact* fact) {
    Datum amount = DirectFunctionCall2(numeric_mul, fact->foreign->amount, fact->foreign->rate);
    auto exact = pg::to_decimal(amount);
    if (!exact) {
        amount = DirectFunctionCall2(numeric_round, amount, Int32GetDatum(kDecimals));
        exact = pg::to_decimal(amount);
    }
    if (!exact || !rules::is_addable(*exact)) return false;
    fact->amount = *exact;
    fact->amount_datum = amount;
    return true;
}

}  // namespace lifecycle::customer
