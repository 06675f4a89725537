// Taking a changed definition (of segments, tiers, the program, the shop) to every customer: at once where they are few, else in the
// background, batch by batch, so that no order waits for more than a batch. It is taken over in silence as of the instant of the change; what
// time has brought between that and the batch is news.
#include <algorithm>

#include "customer/store.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/settings.hpp"
#include "pg/shared.hpp"
#include "pg/statement.hpp"
#include "segment/predicates.hpp"

namespace lifecycle::engine {

namespace {

constexpr int kCustomersPerBatch = 1000;

pg::Statement are_few{
    .sql = "SELECT count(*) <= $1 FROM (SELECT FROM lifecycle.customer LIMIT $1 + 1) AS x", .types = {INT4OID}};
pg::Statement begin_change{
    .sql = "WITH superseded AS (UPDATE lifecycle.definition_change SET finished_at = $1 WHERE finished_at IS NULL RETURNING segments_only)"
           " INSERT INTO lifecycle.definition_change (started_at, customers_total, segments_only)"
           " SELECT $1, greatest(c.reltuples, 0)::bigint, $3 AND NOT EXISTS (SELECT FROM superseded AS s WHERE NOT s.segments_only)"
           "   FROM pg_catalog.pg_class AS c WHERE c.oid = $2",
    .types = {TIMESTAMPTZOID, OIDOID, BOOLOID}};
pg::Statement take_change{
    .sql = "SELECT d.change_id, d.after_id, d.started_at, d.segments_only FROM lifecycle.definition_change AS d WHERE d.finished_at IS NULL"
           " ORDER BY d.change_id DESC LIMIT 1 FOR UPDATE SKIP LOCKED"};
pg::Statement note_progress{
    .sql = "UPDATE lifecycle.definition_change SET customers_done = customers_done + $2, after_id = coalesce($3, after_id),"
           " finished_at = CASE WHEN $4 THEN $5 END WHERE change_id = $1",
    .types = {INT8OID, INT8OID, TEXTOID, BOOLOID, TIMESTAMPTZOID}};
pg::Statement read_open{.sql = "SELECT d.after_id, d.started_at FROM lifecycle.definition_change AS d WHERE d.finished_at IS NULL ORDER BY d.change_id DESC LIMIT 1"};

// How far a change had come when the configuration was read: those after it may still be what older definitions made of them. Whoever
// is taken for one of them although the change has reached it meanwhile is merely worked out once more.
struct Open {
    bool any;
    std::string_view after;
    Instant started;
};
pg::Cached<Open> open_change;

const Open& refresh_open() {
    if (open_change.is_current()) return *open_change.value;
    MemoryContext caller = open_change.begin();
    auto* fresh = pg::make<Open>();
    MemoryContextSwitchTo(caller);
    fresh->any = read_open.run() > 0;
    MemoryContextSwitchTo(open_change.context);
    if (fresh->any) {
        fresh->after = pg::text_cell(0, 1);
        fresh->started = DatumGetTimestampTz(pg::cell(0, 2).value);
    }
    MemoryContextSwitchTo(caller);
    open_change.finish(fresh);
    return *fresh;
}

}  // namespace

bool catch_up_with_definitions(Batch batch) {
    const Open& open = refresh_open();
    if (!open.any) return false;
    pg::Array<std::string_view> behind;
    for (const Change& change : batch) {
        if (change.existed && pg::compare(change.customer_id, open.after) > 0) behind.push(change.customer_id);
    }
    bring_up_to_date(behind.span(), {.silent = true, .replay = true, .news_from = open.started});
    return !behind.empty();
}

int64 redefine_some() {
    if (take_change.run() == 0) return 0;
    Datum change = pg::cell(0, 1).value;
    Instant started = DatumGetTimestampTz(pg::cell(0, 3).value);
    Anew anew = DatumGetBool(pg::cell(0, 4).value) ? Anew::segments : Anew::everything;
    auto some = replay_next(pg::text_cell(0, 2), kCustomersPerBatch, anew, started);
    bool finished = some.size() < kCustomersPerBatch;
    Datum args[] = {change, Int64GetDatum(some.size()), some.empty() ? Datum{0} : pg::to_datum(some.back()), BoolGetDatum(finished),
                    TimestampTzGetDatum(pg::now())};
    note_progress.run(args, some.empty() ? "  n  " : nullptr);
    if (finished) pg::config_changed();
    return static_cast<int64>(some.size()) + (finished ? 1 : 0);
}

void work_off_due() {
    ErrorData* error = pg::protect([] {
        int64 some = 1;
        customer::Position after;
        after.customer.reserve(64);
        for (int64 done = 0; some > 0 && done < pg::settings.redefine_at_once; done += some) {
            pg::as_owner([&] {
                pg::open_spi();
                some = work_off_some(kCustomersPerBatch, &after);
                pg::close_spi();
            });
            CHECK_FOR_INTERRUPTS();
        }
    });
    // Whatever is wrong, the change may be what mends it.
    if (error != nullptr) ereport(WARNING, errcode(error->sqlerrcode), errmsg("what was due could not be worked off first: %s", error->message));
}

void definitions_changed(Anew anew) {
    bool at_once = true;
    pg::as_owner([&] {
        pg::open_spi();
        // What segments say of one another can only be checked when all are there.
        segment::refresh_segments();
        Datum limit = Int32GetDatum(pg::settings.redefine_at_once);
        are_few.run({&limit, 1});
        at_once = DatumGetBool(pg::cell(0, 1).value);
        if (!at_once) {
            Instant now = pg::now();
            Datum args[] = {TimestampTzGetDatum(now), ObjectIdGetDatum(pg::table_oid(pg::Table::customer)), BoolGetDatum(anew == Anew::segments)};
            begin_change.run(args);
            pg::config_changed();
            pg::wake_worker_at_commit(now);
        }
        pg::close_spi();
    });
    if (at_once) replay_everybody(anew);
}

}  // namespace lifecycle::engine
