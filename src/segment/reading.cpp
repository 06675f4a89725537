// Segments at an instant, worked out without writing anything.
#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "segment/member.hpp"

namespace lifecycle::segment {

namespace {

constexpr int kCustomersPerFetch = 1000;

pg::Statement read_customer{.sql = "SELECT c.* FROM lifecycle.customer AS c WHERE c.customer_id = $1", .types = {TEXTOID}};
pg::Statement read_customers{
    .sql = "SELECT c.* FROM lifecycle.customer AS c WHERE c.customer_id > $1 ORDER BY c.customer_id LIMIT $2",
    .types = {TEXTOID, INT4OID}};

// Calls `body` with a Customer for each of the changes, in the customer's zone.
template <class Body>
void with_customers(const Segments& all, std::span<Change* const> changes, Body&& body) {
    size_t n = all.list.size;
    Writes writes;
    Workshop shop = make_workshop(all);
    pg::Array<Deeds> deeds = load_deeds(all.calls, changes);
    auto bytes = pg::zeroed<uint8>(3 * n + 1);
    auto instants = pg::zeroed<Instant>(2 * n + 1);
    pg::keep_zone([&] {
        for (size_t i = 0; i < changes.size(); ++i) {
            for (Counting& counting : shop.countings) counting.built = false;
            std::fill(bytes.begin(), bytes.end(), 0);
            Customer c{all, *changes[i], writes, shop, deeds.empty() ? nullptr : &deeds[i], {}, false, true,
                       bytes.subspan(0, n), instants.subspan(0, n), bytes.subspan(n, n), instants.subspan(n, n),
                       bytes.subspan(2 * n, n)};
            pg::use_zone(customer::zone_of(changes[i]->after));
            body(c);
        }
    });
}

template <class Put>
void evaluate_one(std::string_view customer, Instant at, Put&& put) {
    const Segments& all = refresh_segments();
    Datum arg = pg::to_datum(customer);
    if (read_customer.run({&arg, 1}) == 0) return;
    Change change;
    load_still(&change, 0, at);
    Change* one = &change;
    with_customers(all, {&one, 1}, [&](Customer& c) {
        c.load();
        live(c);
        for (size_t i = 0; i < c.count(); ++i) {
            if (c.held[i]) put(all.list[i].name, c.since[i]);
        }
    });
}

template <class Put>
void evaluate_everybody(std::string_view predicate, Put&& put) {
    const Segments* all = compile_alone(predicate);
    size_t alone = all->list.size - 1;
    Instant now = pg::now();
    Datum args[] = {pg::to_datum(std::string_view{}), Int32GetDatum(kCustomersPerFetch)};
    for (uint64 rows = kCustomersPerFetch; rows == kCustomersPerFetch;) {
        rows = read_customers.run(args);
        auto room = pg::zeroed<Change>(rows);
        pg::Array<Change*> changes;
        for (uint64 i = 0; i < rows; ++i) {
            load_still(&room[i], i, now);
            changes.push(&room[i]);
        }
        with_customers(*all, changes.span(), [&](Customer& c) {
            size_t problems = c.writes.problem_customers.size;
            c.become(c.change.after);
            c.evaluate(now, c.held);
            bool problem = c.writes.problem_customers.size > problems;
            if (c.held[alone] || problem) put(c.change.after.values[kCustomerId], problem);
        });
        if (rows > 0) args[0] = room[rows - 1].after.values[kCustomerId];
        CHECK_FOR_INTERRUPTS();
    }
}

}  // namespace

void load_still(Change* change, uint64 n, Instant now) {
    *change = Change{};
    heap_deform_tuple(SPI_tuptable->vals[n], SPI_tuptable->tupdesc, change->before.values, change->before.nulls);
    change->after = change->before;
    change->customer_id = pg::view(change->before.values[kCustomerId]);
    change->existed = true;
    change->silent = true;
    change->base.at = change->before.instant(kAsOf, now);
    change->now = Max(now, change->base.at);
    change->next_flip = change->corrected_from = rules::kNever;
}

bool holds(const Segments& alone, Change& change, Datum context) {
    Change* one = &change;
    bool held = false;
    if (alone.calls.context_parameter != 0) pg::set_parameter(alone.evaluator, alone.calls.context_parameter, context, context == 0);
    with_customers(alone, {&one, 1}, [&](Customer& c) {
        c.become(change.after);
        c.evaluate(change.now, c.held);
        held = c.held[alone.list.size - 1];
    });
    return held;
}

}  // namespace lifecycle::segment

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_evaluate_segments) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    auto customer = pg::view(PG_GETARG_DATUM(0));
    Instant at = PG_GETARG_TIMESTAMPTZ(1);
    pg::as_owner([&] {
        pg::open_spi();
        segment::evaluate_one(customer, at, [&](Datum name, Instant since) {
            Datum values[] = {name, TimestampTzGetDatum(since)};
            bool nulls[] = {false, false};
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        });
        pg::close_spi();
    });
    return Datum{0};
}

LIFECYCLE_FUNCTION(lifecycle_evaluate_predicate) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    auto predicate = pg::view(PG_GETARG_DATUM(0));
    pg::as_owner([&] {
        pg::open_spi();
        segment::evaluate_everybody(predicate, [&](Datum customer, bool problem) {
            Datum values[] = {customer, BoolGetDatum(problem)};
            bool nulls[] = {false, false};
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        });
        pg::close_spi();
    });
    return Datum{0};
}

// Refuses a condition that cannot work, as a segment's predicate would be refused.
LIFECYCLE_FUNCTION(lifecycle_check_condition) {
    if (PG_ARGISNULL(0)) PG_RETURN_VOID();
    auto condition = pg::view(PG_GETARG_DATUM(0));
    pg::as_owner([&] {
        pg::fix_settings();
        pg::open_spi();
        segment::compile_condition(condition, true);
        pg::close_spi();
    });
    PG_RETURN_VOID();
}
