#include "customer/merged.hpp"

#include <algorithm>

#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

namespace {

struct Any {
    bool merged;
};
pg::Cached<Any> any;
pg::Statement read_any{.sql = "SELECT EXISTS (SELECT FROM lifecycle.merged)"};
pg::Statement read_merged{.sql = "SELECT m.customer_id, m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = ANY ($1)"
                                 " ORDER BY m.customer_id",
                          .types = {TEXTARRAYOID}};

bool anybody_merged() {
    if (any.is_current()) return any.value->merged;
    pg::as_owner([] {
        MemoryContext caller = any.begin();
        auto* fresh = pg::make<Any>();
        MemoryContextSwitchTo(caller);
        pg::open_spi();
        read_any.run_in_present();
        fresh->merged = DatumGetBool(pg::cell(0, 1).value);
        pg::close_spi();
        any.finish(fresh);
    });
    return any.value->merged;
}

}  // namespace

std::span<const Fact> follow_merged(std::span<const Fact> facts) {
    if (facts.empty() || !anybody_merged()) return facts;
    MemoryContext caller = CurrentMemoryContext;
    std::span<const Fact> result = facts;
    pg::as_owner([&] {
        pg::Array<std::string_view> ids;
        for (const Fact& fact : facts) ids.push(fact.customer);
        std::sort(ids.begin(), ids.end());
        ids.size = static_cast<size_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
        pg::Array<Datum> wanted;
        for (auto id : ids) wanted.push(pg::to_datum(id));
        pg::open_spi();
        Datum arg = pg::text_array(wanted.span());
        uint64 rows = read_merged.run({&arg, 1});
        if (rows > 0) {
            MemoryContext inner = MemoryContextSwitchTo(caller);
            auto followed = pg::zeroed<Fact>(facts.size());
            std::copy(facts.begin(), facts.end(), followed.begin());
            for (uint64 row = 0; row < rows; ++row) {
                auto from = pg::view(pg::cell(row, 1).value);
                auto into = pg::text_cell(row, 2);
                for (Fact& fact : followed) {
                    if (fact.customer == from) fact.customer = into;
                }
            }
            result = followed;
            MemoryContextSwitchTo(inner);
        }
        pg::close_spi();
    });
    return result;
}

void check_not_merged(std::span<const Datum> created) {
    if (!anybody_merged()) return;
    Datum arg = pg::text_array(created);
    if (read_merged.run_in_present({&arg, 1}) > 0)
        ereport(ERROR, errcode(pg::kRowWasDeleted), errmsg("customer \"%s\" has just been merged", pg::to_cstring(pg::view(pg::cell(0, 1).value))));
}

}  // namespace lifecycle::customer
