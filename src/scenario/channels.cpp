#include "scenario/channels.hpp"

#include "pg/statement.hpp"

namespace lifecycle::scenario {

namespace {

pg::Statement read_all{
    .sql = "SELECT c.name, (extract(epoch FROM c.quiet_from) / 60)::int4, (extract(epoch FROM c.quiet_until) / 60)::int4"
           "  FROM lifecycle.channel AS c ORDER BY c.name"};

}  // namespace

pg::Array<Channel> read_channels() {
    uint64 rows = read_all.run();
    pg::Array<Channel> channels;
    for (uint64 i = 0; i < rows; ++i) {
        Channel c{.name = pg::text_cell(i, 1), .open = {}, .has_quiet_hours = !pg::cell(i, 2).null};
        if (c.has_quiet_hours) c.open = rules::outside_quiet(DatumGetInt32(pg::cell(i, 2).value), DatumGetInt32(pg::cell(i, 3).value));
        channels.push(c);
    }
    return channels;
}

}  // namespace lifecycle::scenario
