#include "scenario/scenarios.hpp"

#include "pg/memory.hpp"
#include "pg/statement.hpp"

namespace lifecycle::scenario {

namespace {

pg::Cached<Scenarios> scenarios;

pg::Statement read_scenarios{
    .sql = "SELECT s.name, split_part(s.trigger, ':', 1), substr(s.trigger, strpos(s.trigger || ':', ':') + 1),"
           "       s.goal IS NOT NULL, s.max_age, s.status = 'active',"
           "       t.position, t.delay, t.not_after, CASE WHEN t.class = 'marketing' THEN c.consent END"
           "  FROM lifecycle.scenario AS s"
           "  LEFT JOIN lifecycle.step AS t ON t.scenario = s.name"
           "  LEFT JOIN lifecycle.channel AS c ON c.name = t.channel"
           " WHERE s.status IN ('active', 'paused')"
           " ORDER BY s.name, t.position"};

Trigger trigger_of(std::string_view kind) {
    if (kind == "order_placed") return Trigger::order_placed;
    if (kind == "tier_reached") return Trigger::tier_reached;
    return Trigger::segment_entered;
}

int consent_column_of(uint64 row) {
    auto [value, none] = pg::cell(row, 10);
    if (none) return -1;
    return consent_column(pg::view(value));
}

Interval interval_at(uint64 row, int column) { return *DatumGetIntervalP(pg::cell(row, column).value); }

}  // namespace

const Scenarios& refresh_scenarios() {
    if (scenarios.is_current()) return *scenarios.value;
    MemoryContext caller = scenarios.begin();
    auto* fresh = pg::make<Scenarios>();
    MemoryContextSwitchTo(caller);
    uint64 rows = read_scenarios.run();
    MemoryContextSwitchTo(scenarios.context);
    for (uint64 i = 0; i < rows; ++i) {
        auto name = pg::view(pg::cell(i, 1).value);
        if (fresh->list.empty() || pg::view(fresh->list[fresh->list.size - 1].name) != name) {
            Scenario s{};
            s.name = pg::to_datum(name);
            s.trigger = trigger_of(pg::view(pg::cell(i, 2).value));
            s.argument = pg::text_cell(i, 3);
            s.ends_with_order = DatumGetBool(pg::cell(i, 4).value);
            s.max_age = interval_at(i, 5);
            s.active = DatumGetBool(pg::cell(i, 6).value);
            fresh->any_on_orders |= s.active && s.trigger == Trigger::order_placed;
            fresh->list.push(s);
        }
        if (pg::cell(i, 7).null) continue;  // a scenario without steps
        Step step{};
        step.position = DatumGetInt32(pg::cell(i, 7).value);
        step.delay = interval_at(i, 8);
        step.has_not_after = !pg::cell(i, 9).null;
        if (step.has_not_after) step.not_after = interval_at(i, 9);
        step.consent_column = consent_column_of(i);
        fresh->list[fresh->list.size - 1].steps.push(step);
    }
    MemoryContextSwitchTo(caller);
    scenarios.finish(fresh);
    return *fresh;
}

}  // namespace lifecycle::scenario
