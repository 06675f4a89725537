// lifecycle.reward_occurrences(): what has happened to customers besides the facts of attached tables, and may earn points.
#include <algorithm>

#include "engine/engine.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"

using namespace lifecycle;

namespace {

std::string_view text_at(const pg::Elements& elements, size_t i) {
    return elements.nulls[i] ? std::string_view{} : pg::view(elements.values[i]);
}

// The arguments are arrays of one length, sorted by customer; the customers exist and are locked.
void reward(FunctionCallInfo fcinfo) {
    auto ids = pg::elements_of(PG_GETARG_DATUM(0));
    auto kinds = pg::elements_of(PG_GETARG_DATUM(1));
    auto events = pg::elements_of(PG_GETARG_DATUM(2));
    auto keys = pg::elements_of(PG_GETARG_DATUM(3));
    auto at = pg::elements_of(PG_GETARG_DATUM(4));
    auto amounts = pg::elements_of(PG_GETARG_DATUM(5));
    auto gone = pg::elements_of(PG_GETARG_DATUM(6));
    pg::Array<std::string_view> customers;
    pg::Array<size_t> starts;
    auto all = pg::zeroed<Occurrence>(static_cast<size_t>(ids.count));
    for (size_t i = 0; i < all.size(); ++i) {
        auto amount = amounts.nulls[i] ? rules::Decimal{} : pg::to_decimal(amounts.values[i]);
        if (!amount || !rules::is_addable(*amount))
            ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("an amount is not a number that can be added up"));
        all[i] = {text_at(kinds, i), text_at(events, i), text_at(keys, i), DatumGetTimestampTz(at.values[i]), *amount,
                  !gone.nulls[i] && DatumGetBool(gone.values[i])};
        auto id = text_at(ids, i);
        if (!customers.empty() && customers[customers.size - 1] == id) continue;
        customers.push(id);
        starts.push(i);
    }
    pg::Array<std::span<const Occurrence>> of;
    for (size_t i = 0; i < starts.size; ++i)
        of.push(all.subspan(starts[i], (i + 1 < starts.size ? starts[i + 1] : all.size()) - starts[i]));
    engine::bring_up_to_date(customers.span(), {}, of.span());
}

}  // namespace

LIFECYCLE_FUNCTION(lifecycle_reward_occurrences) {
    pg::as_owner([&] {
        pg::open_spi();
        reward(fcinfo);
        pg::close_spi();
    });
    PG_RETURN_VOID();
}
