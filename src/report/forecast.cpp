// The future, if nothing more is said: the engine runs on a clock that goes from one instant at which something is due to the next, with
// a mailer that sends everything at once, and all of it is undone.
#include <algorithm>

#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "outbox/sent.hpp"
#include "pg/clock.hpp"
#include "pg/rehearsal.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"
#include "source/pending.hpp"

namespace lifecycle::report {

using rules::Instant;

namespace {

// In the order of their ids, so that nobody waits for us in a circle; one that somebody else has is left out, unless it is the only one.
pg::Statement lock_customers{
    .sql = "SELECT c.customer_id FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1) ORDER BY c.customer_id FOR UPDATE SKIP LOCKED",
    .types = {TEXTARRAYOID}};
pg::Statement wait_for_customers{
    .sql = "SELECT c.customer_id FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1) ORDER BY c.customer_id FOR UPDATE",
    .types = {TEXTARRAYOID}};

// Messages from here on are the forecast's: nobody else makes any for customers that we have locked.
pg::Statement last_message{.sql = "SELECT m.last_value - CASE WHEN m.is_called THEN 0 ELSE 1 END FROM lifecycle.message_id AS m"};
pg::Statement waiting_messages{
    .sql = "SELECT array_agg(o.message_id) FROM lifecycle.outbox AS o WHERE o.part < 1000 AND o.customer_id = ANY ($1) AND o.status = 'pending'",
    .types = {TEXTARRAYOID}};

// When something is due next for each customer; messages only if they are due after $2. With the interval no index on due_at fits, along which
// the first of each customer's would be searched for among all that wait.
pg::Statement read_due{
    .sql = "SELECT u.n, least(c.timer_at, (SELECT min(o.due_at + interval '0') FROM lifecycle.outbox AS o"
           "                                WHERE o.part < 1000 AND o.customer_id = c.customer_id AND o.status = 'pending' AND o.due_at + interval '0' > $2))"
           "  FROM unnest($1) WITH ORDINALITY AS u (customer_id, n) JOIN lifecycle.customer AS c USING (customer_id)",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};

// The mailer. It asks what claim() asks; what another mailer has in its hands is left to that one.
pg::Statement send_messages{
    .sql = "WITH due AS MATERIALIZED (SELECT o.message_id, o.customer_id, o.part, coalesce(g.until, o.due_at) AS due_at,"
           "          CASE WHEN o.expires_at <= $2 OR g.until >= o.expires_at THEN 'expired' WHEN g.until IS NOT NULL THEN 'pending'"
           "               WHEN g.reason IS NOT NULL THEN 'cancelled' ELSE 'sent' END AS status"
           "   FROM lifecycle.outbox AS o"
           "  CROSS JOIN LATERAL lifecycle.gates(ARRAY[o.customer_id], ARRAY[o.recipient], ARRAY[o.scenario], ARRAY[o.anchor], ARRAY[o.channel], ARRAY[o.class]) AS g"
           "  WHERE o.part < 1000 AND o.customer_id = ANY ($1) AND o.status = 'pending' AND o.due_at + interval '0' <= $2"
           "    FOR UPDATE OF o SKIP LOCKED)"
           " , done AS (UPDATE lifecycle.outbox AS o SET status = d.status, due_at = d.due_at"
           "   FROM due AS d WHERE o.part < 1000 AND o.part = d.part AND o.message_id = d.message_id AND o.customer_id = d.customer_id"
           "   RETURNING o.*)"
           " SELECT o.part, o.message_id, o.customer_id, o.sent_at FROM done AS o JOIN lifecycle.channel AS c ON c.name = o.channel AND c.consent IN ('email', 'sms', 'push')"
           "  WHERE o.status = 'sent' ORDER BY o.customer_id, o.message_id",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement read_sent{
    .sql = "SELECT o.customer_id, o.scenario, o.anchor, o.step, o.variant, o.channel, o.class, o.template, o.due_at, o.sent_at"
           "  FROM lifecycle.outbox AS o WHERE o.customer_id = ANY ($1) AND o.status = 'sent' AND (o.message_id > $2 OR o.message_id = ANY ($3))"
           " ORDER BY o.sent_at, o.customer_id, o.message_id",
    .types = {TEXTARRAYOID, INT8OID, INT8ARRAYOID}};

constexpr int kColumns = 10;

// A customer of whom something is due.
struct Due {
    Instant at;
    uint32 customer;
};
bool later(const Due& a, const Due& b) { return a.at != b.at ? a.at > b.at : a.customer > b.customer; }

struct Future {
    std::span<const std::string_view> ids;  // sorted
    Instant until;
    std::span<Due> queue;                   // a heap, the earliest on top; there is one of each customer at most
    size_t queued = 0;
    pg::Array<uint32> now_due;              // reserved for all

    Datum array_of(std::span<const uint32> which) const {
        pg::Array<Datum> some;
        for (uint32 i : which) some.push(pg::to_datum(ids[i]));
        return pg::text_array(some.span());
    }

    // Looks when something is due for these customers after `after`.
    void look(std::span<const uint32> which, Instant after, Instant no_earlier) {
        Datum args[] = {array_of(which), TimestampTzGetDatum(after)};
        uint64 rows = read_due.run(args);
        for (uint64 i = 0; i < rows; ++i) {
            if (pg::cell(i, 2).null) continue;
            Instant at = Max(DatumGetTimestampTz(pg::cell(i, 2).value), no_earlier);
            if (at >= until) continue;
            queue[queued++] = {at, which[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value) - 1)]};
            std::push_heap(queue.begin(), queue.begin() + queued, later);
        }
    }

    // Goes on to the next instant at which something is due. False: that is not before the end.
    bool step() {
        if (queued == 0) return false;
        Instant at = queue[0].at;
        now_due.clear();
        while (queued > 0 && queue[0].at == at && now_due.size < static_cast<size_t>(pg::settings.batch_size)) {
            now_due.push(queue[0].customer);
            std::pop_heap(queue.begin(), queue.begin() + queued--, later);
        }
        std::sort(now_due.begin(), now_due.end());
        pg::freeze_clock(at);
        pg::open_spi();
        pg::Array<std::string_view> customers;
        for (uint32 i : now_due) customers.push(ids[i]);
        engine::bring_up_to_date(customers.span(), {});
        Datum args[] = {array_of(now_due.span()), TimestampTzGetDatum(at)};
        // The notes are undone with everything else; here the customers are told at once, which may be why they get something more.
        for (auto sent = outbox::messages(send_messages.run(args)); !sent.empty(); sent = outbox::messages(send_messages.run(args)))
            engine::take_in(outbox::facts_of(sent), {});
        look(now_due.span(), at, at);
        pg::close_spi();
        CHECK_FOR_INTERRUPTS();
        return true;
    }
};

// Of these customers, those that could be locked.
std::span<std::string_view> lock(std::span<const std::string_view> wanted) {
    auto locked = pg::zeroed<std::string_view>(wanted.size());
    size_t n = 0;
    pg::open_spi();
    pg::Array<Datum> ids;
    for (auto id : wanted) ids.push(pg::to_datum(id));
    Datum arg = pg::text_array(ids.span());
    uint64 rows = (wanted.size() == 1 ? wait_for_customers : lock_customers).run({&arg, 1});
    for (uint64 i = 0; i < rows; ++i) {
        auto id = pg::view(pg::cell(i, 1).value);
        locked[n++] = *std::lower_bound(wanted.begin(), wanted.end(), id, [](auto a, auto b) { return pg::compare(a, b) < 0; });
    }
    pg::close_spi();
    return locked.first(n);
}

// What is sent to these customers from `start` until before `until`: the rows of a result, for `put`. Those whom somebody else has locked go
// to `put_busy`.
template <class Put, class PutBusy>
void foresee(std::span<const std::string_view> wanted, Instant start, Instant until, Put&& put, PutBusy&& put_busy) {
    Future future{lock(wanted), until, {}, 0, {}};
    size_t n = future.ids.size();
    for (size_t i = 0, l = 0; i < wanted.size() && wanted.size() > 1; ++i) {
        if (l < n && future.ids[l] == wanted[i]) {
            ++l;
        } else {
            put_busy(wanted[i]);
        }
    }
    future.queue = pg::zeroed<Due>(n);
    future.now_due.reserve(n + 1);
    for (uint32 i = 0; i < n; ++i) future.now_due.push(i);

    pg::open_spi();
    Datum everybody = future.array_of(future.now_due.span());
    last_message.run();
    Datum floor = pg::cell(0, 1).value;
    waiting_messages.run({&everybody, 1});
    auto [waiting, none_waits] = pg::cell(0, 1);
    pg::freeze_clock(start);
    engine::take_in(outbox::facts_of(outbox::noted_of(everybody)), {});
    future.look(future.now_due.span(), DT_NOBEGIN, start);
    while (future.step()) {}

    Datum args[] = {everybody, floor, waiting};
    uint64 rows = read_sent.run(args, none_waits ? "  n" : nullptr);
    for (uint64 i = 0; i < rows; ++i) put(i);
    pg::close_spi();
}

}  // namespace

}  // namespace lifecycle::report

using namespace lifecycle;

// lifecycle.foresee(customers, start, until)
LIFECYCLE_FUNCTION(lifecycle_foresee) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    auto given = pg::elements_of(PG_GETARG_DATUM(0));
    Instant start = PG_GETARG_TIMESTAMPTZ(1);
    Instant until = PG_GETARG_TIMESTAMPTZ(2);
    pg::Array<std::string_view> ids;
    for (int i = 0; i < given.count; ++i) ids.push(pg::view(given.values[i]));
    std::sort(ids.begin(), ids.end());
    Datum values[report::kColumns] = {};
    bool nulls[report::kColumns];
    auto put = [&](uint64 row) {
        heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    };
    auto put_busy = [&](std::string_view customer) {
        std::fill(nulls, nulls + report::kColumns, true);
        values[0] = pg::to_datum(customer);
        nulls[0] = false;
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    };
    source::settle_pending();
    pg::rehearse("lifecycle.forecast()", [&] {
        pg::as_owner([&] { report::foresee({ids.data, ids.size}, start, until, put, put_busy); });
    });
    return Datum{0};
}

// lifecycle.shop_day(at): the day in the shop's zone.
LIFECYCLE_FUNCTION(lifecycle_shop_day) {
    pg::Zone zone{pg::zone_of(nullptr, customer::current_shop().zone)};
    PG_RETURN_DATEADT(static_cast<DateADT>(rules::day_of(pg::wall_of(PG_GETARG_TIMESTAMPTZ(0), zone))));
}
