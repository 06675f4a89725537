// What triggers and gates say of a customer as things stand, for reports: nothing is written.
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

pg::Statement read_customer{.sql = "SELECT c.* FROM lifecycle.customer AS c WHERE c.customer_id = $1", .types = {TEXTOID}};

// Calls `body` for the customer, if it is known, in the customer's zone.
template <class Body>
void with_customer(std::string_view id, Body&& body) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(id);
        if (read_customer.run({&arg, 1}) > 0) {
            Change change;
            segment::load_still(&change, 0, pg::now());
            pg::keep_zone([&] {
                pg::use_zone(customer::zone_of(change.after));
                body(change);
            });
        }
        pg::close_spi();
    });
}

// The scenario of this name, if it is active or paused.
const Scenario* find_scenario(const Scenarios& all, std::string_view name) {
    for (const Scenario& s : all.list) {
        if (s.name_view == name) return &s;
    }
    return nullptr;
}

template <class Put>
void ask_about_steps(Change& change, std::string_view name, Put&& put) {
    const Scenarios& all = refresh_scenarios();
    const Scenario* scenario = find_scenario(all, name);
    if (scenario == nullptr) return;
    Outgoing outgoing;
    Work work{.scenarios = all, .outgoing = &outgoing};
    Enrolment e{};
    e.change = &change;
    e.scenario = scenario;
    e.scenario_name = scenario->name;
    e.anchor = pg::to_datum(std::string_view{});
    e.anchor_at = change.now;
    e.delivered_at = rules::kNever;
    e.next_due = change.now;
    work.enrolments.push(e);
    load_sent(work, {&change, 1}, false);
    for (const Step& step : scenario->steps) {
        if (step.sends) put(step, ask_gates(work, work.enrolments[0], step));
    }
}

}  // namespace

}  // namespace lifecycle::scenario

using namespace lifecycle;

// lifecycle.step_gates(customer_id, scenario)
LIFECYCLE_FUNCTION(lifecycle_step_gates) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    auto name = pg::view(PG_GETARG_DATUM(1));
    scenario::with_customer(pg::view(PG_GETARG_DATUM(0)), [&](Change& change) {
        scenario::ask_about_steps(change, name, [&](const scenario::Step& step, const scenario::Gate& gate) {
            bool waits = gate.wait > change.now;
            Datum values[] = {Int32GetDatum(step.position), gate.reason == nullptr ? Datum{0} : pg::to_datum(gate.reason),
                              TimestampTzGetDatum(gate.wait)};
            bool nulls[] = {false, gate.reason == nullptr, !waits};
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        });
    });
    return Datum{0};
}

// lifecycle.holds(customer_id, condition)
LIFECYCLE_FUNCTION(lifecycle_holds) {
    bool held = false;
    auto condition = pg::view(PG_GETARG_DATUM(1));
    scenario::with_customer(pg::view(PG_GETARG_DATUM(0)),
                            [&](Change& change) { held = segment::holds(*segment::compile_condition(condition), change); });
    PG_RETURN_BOOL(held);
}

// lifecycle.starts_at(customer_id, scenario)
LIFECYCLE_FUNCTION(lifecycle_starts_at) {
    Instant at = rules::kNever;
    auto name = pg::view(PG_GETARG_DATUM(1));
    scenario::with_customer(pg::view(PG_GETARG_DATUM(0)), [&](Change& change) {
        const scenario::Scenario* s = scenario::find_scenario(scenario::refresh_scenarios(), name);
        if (s == nullptr) return;
        scenario::Scenarios only{};
        only.list.push(*s);
        at = scenario::next_start(only, change);
    });
    if (at == rules::kNever) PG_RETURN_NULL();
    PG_RETURN_TIMESTAMPTZ(at);
}
