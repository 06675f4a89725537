#include "scenario/scenarios.hpp"

#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "rules/arms.hpp"

namespace lifecycle::scenario {

namespace {

pg::Cached<Scenarios> scenarios;

// Those of the channels and those beside them.
pg::Statement read_caps{
    .sql = "SELECT a.channel, a.class IS DISTINCT FROM 'transactional', a.class IS DISTINCT FROM 'marketing', a.counted_by = 'address', a.most,"
           "       (extract(epoch FROM a.span - make_interval(months => m.months) + m.months * interval '30 days') * 1000000)::int8"
           "  FROM (SELECT c.channel, c.class, c.counted_by, c.most, c.span FROM lifecycle.cap AS c"
           "        UNION ALL"
           "        SELECT c.name, 'marketing', 'customer', v.most, v.span FROM lifecycle.channel AS c"
           "         CROSS JOIN LATERAL (VALUES (c.cap_per_day, interval '1 day'), (c.cap_per_week, '7 days'), (c.cap_per_month, '30 days')) AS v (most, span)"
           "         WHERE v.most IS NOT NULL) AS a"
           " CROSS JOIN LATERAL (SELECT (extract(year FROM a.span) * 12 + extract(month FROM a.span))::int4 AS months) AS m"};
// With NULLs all scenarios that are not drafts; else one in a former version.
pg::Statement read_scenarios{
    .sql = "SELECT s.name, split_part(s.trigger, ':', 1), substr(s.trigger, strpos(s.trigger || ':', ':') + 1), s.goal,"
           "       s.entry_filter, s.exit_when, s.exclusion, s.reentry, CASE WHEN s.reentry LIKE 'every %' THEN substr(s.reentry, 7)::interval END,"
           "       s.max_age, round(s.holdout * 10000)::int4, s.status,"
           "       CASE WHEN s.trigger LIKE 'date:%' THEN substr(s.trigger, 6, 10)::timestamp END, s.version, s.goal_within,"
           "       CASE WHEN s.trigger LIKE 'date:%..%' THEN (substr(s.trigger, 18)::date + 1)::timestamp END,"
           "       CASE WHEN s.trigger LIKE 'points_expiring:%' THEN substr(s.trigger, 17)::interval END, s.priority"
           "  FROM (SELECT k.* FROM lifecycle.scenario AS k WHERE $1 IS NULL"
           "        UNION ALL SELECT p.* FROM lifecycle.scenario_of($1, $2) AS p WHERE $1 IS NOT NULL) AS s"
           " WHERE s.status <> 'draft' ORDER BY s.name",
    .types = {TEXTOID, INT4OID}};
pg::Statement read_steps{
    .sql = "SELECT t.scenario, t.position, t.counts_from, t.delay, t.not_after, t.class = 'marketing', c.consent, t.channel,"
           "       (extract(epoch FROM t.send_from) / 60)::int4, (extract(epoch FROM t.send_until) / 60)::int4,"
           "       (SELECT sum(1 << (array_position(ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], d.day) - 1))::int4"
           "          FROM (SELECT DISTINCT u.day FROM unnest(t.send_days) AS u (day)) AS d), t.condition,"
           "       t.template IS NOT NULL, t.wait_for, t.next, t.otherwise, t.offer, t.pool_empty"
           "  FROM (SELECT k.* FROM lifecycle.step AS k WHERE $1 IS NULL"
           "        UNION ALL SELECT p.* FROM lifecycle.steps_of($1, $2) AS p WHERE $1 IS NOT NULL) AS t"
           "  LEFT JOIN lifecycle.channel AS c ON c.name = t.channel ORDER BY t.scenario, t.position",
    .types = {TEXTOID, INT4OID}};
pg::Statement read_variants{
    .sql = "SELECT v.scenario, v.position, v.name, v.weight, v.offer"
           "  FROM (SELECT k.* FROM lifecycle.variant AS k WHERE $1 IS NULL"
           "        UNION ALL SELECT p.* FROM lifecycle.variants_of($1, $2) AS p WHERE $1 IS NOT NULL) AS v"
           " ORDER BY v.scenario, v.position, v.name",
    .types = {TEXTOID, INT4OID}};

Trigger trigger_of(std::string_view kind) {
    constexpr std::pair<std::string_view, Trigger> kTriggers[] = {
        {"order_placed", Trigger::order_placed},       {"delivered", Trigger::delivered},   {"cart_idle", Trigger::cart_idle},
        {"consent", Trigger::consent},                 {"segment_left", Trigger::segment_left}, {"tier_reached", Trigger::tier_reached}, {"tier_ending", Trigger::tier_ending},
        {"review", Trigger::review},                   {"wishlist_added", Trigger::wishlist_added}, {"referral", Trigger::referral},
        {"event", Trigger::event},                     {"birthday", Trigger::birthday},     {"date", Trigger::date},           {"points_expiring", Trigger::points_expiring}};
    for (auto [name, trigger] : kTriggers) {
        if (name == kind) return trigger;
    }
    return Trigger::segment_entered;
}

Awaited awaited_at(uint64 row, int column) {
    if (pg::cell(row, column).null) return {FactKind::count, {}};
    auto event = pg::text_cell(row, column);
    constexpr std::pair<std::string_view, FactKind> kKinds[] = {
        {"order_placed", FactKind::order}, {"delivered", FactKind::delivery}, {"review", FactKind::review},
        {"wishlist_added", FactKind::wishlist}, {"referral", FactKind::referral}};
    for (auto [name, kind] : kKinds) {
        if (name == event) return {kind, {}};
    }
    if (event.starts_with("event:")) return {FactKind::event, event.substr(6)};
    return {FactKind::engagement, event};
}

Interval interval_at(uint64 row, int column) { return *DatumGetIntervalP(pg::cell(row, column).value); }
int number_at(uint64 row, int column, int if_null) {
    auto [value, null] = pg::cell(row, column);
    return null ? if_null : DatumGetInt32(value);
}

// What to read: everything there is now, or one scenario in a former version.
struct Wanted {
    Datum args[2];
    const char* nulls;  // "nn": everything

    uint64 read(pg::Statement& statement) const { return statement.run(args, nulls); }
};

Datum text_or_none(uint64 row, int column) { return pg::cell(row, column).null ? Datum{0} : pg::to_datum(pg::text_cell(row, column)); }

// Compiled when no result is being read any more: compiling runs statements of its own.
struct Uncompiled {
    Condition Scenario::* of_scenario;  // or nullptr: of the step
    size_t scenario, step;
    std::string_view text;
};

void note(pg::Array<Uncompiled>* into, uint64 row, int column, Condition Scenario::* of_scenario, size_t scenario, size_t step) {
    if (!pg::cell(row, column).null) into->push({of_scenario, scenario, step, pg::text_cell(row, column)});
}

Scenario* find(Scenarios* all, std::string_view name) {
    for (Scenario& s : all->list) {
        if (s.name_view == name) return &s;
    }
    return nullptr;
}

void load_channels(Scenarios* all) {
    all->channels = read_channels();
    all->channels.push({});  // the last is that of steps whose channel is gone
}

int channel_of(const Scenarios& all, std::string_view name) {
    for (size_t c = 0; c < all.channels.size; ++c) {
        if (all.channels[c].name == name) return static_cast<int>(c);
    }
    return -1;
}

void load_caps(Scenarios* all) {
    uint64 rows = read_caps.run();
    for (uint64 i = 0; i < rows; ++i) {
        CapRule rule{};
        rule.channel = pg::cell(i, 1).null ? -1 : channel_of(*all, pg::view(pg::cell(i, 1).value));
        rule.marketing = DatumGetBool(pg::cell(i, 2).value);
        rule.transactional = DatumGetBool(pg::cell(i, 3).value);
        rule.by_address = DatumGetBool(pg::cell(i, 4).value);
        rule.cap = {DatumGetInt64(pg::cell(i, 6).value), number_at(i, 5, 0)};
        all->longest_cap = Max(all->longest_cap, rule.cap.window);
        all->any_caps_by_address |= rule.by_address;
        all->caps.push(rule);
    }
}

void load_scenarios(Scenarios* all, const Wanted& wanted, pg::Array<Uncompiled>* uncompiled) {
    uint64 rows = wanted.read(read_scenarios);
    for (uint64 i = 0; i < rows; ++i) {
        Scenario s{};
        s.name_view = pg::text_cell(i, 1);
        s.name = pg::to_datum(s.name_view);
        s.trigger = trigger_of(pg::view(pg::cell(i, 2).value));
        s.argument = pg::text_cell(i, 3);
        s.consent_column = s.trigger == Trigger::consent ? consent_column(s.argument) : -1;
        s.most_stars = s.trigger == Trigger::review && !s.argument.empty() ? atoi(pg::to_cstring(s.argument)) : -1;
        s.goal = awaited_at(i, 4);
        s.goal_has_end = !pg::cell(i, 15).null;
        if (s.goal_has_end) s.goal_within = interval_at(i, 15);
        note(uncompiled, i, 5, &Scenario::entry_filter, i, 0);
        note(uncompiled, i, 6, &Scenario::exit_when, i, 0);
        note(uncompiled, i, 7, &Scenario::exclusion, i, 0);
        auto reentry = pg::view(pg::cell(i, 8).value);
        s.reentry = reentry == "once"              ? Reentry::once
                    : reentry == "once_per_anchor" ? Reentry::once_per_anchor
                    : reentry == "always"          ? Reentry::always
                                                   : Reentry::every;
        if (s.reentry == Reentry::every) s.every = interval_at(i, 9);
        s.max_age = interval_at(i, 10);
        s.priority = number_at(i, 18, 0);
        s.holdout = number_at(i, 11, 0);
        auto status = pg::view(pg::cell(i, 12).value);
        s.past = wanted.nulls == nullptr;
        s.starts = !s.past && status == "active";
        s.runs = status != "paused";
        if (s.trigger == Trigger::date) s.day = DatumGetTimestamp(pg::cell(i, 13).value);
        s.until = pg::cell(i, 16).null ? rules::kNever : DatumGetTimestamp(pg::cell(i, 16).value);
        if (s.trigger == Trigger::points_expiring) s.ahead = interval_at(i, 17);
        all->any_points_expiring |= s.trigger == Trigger::points_expiring;
        s.version = number_at(i, 14, 0);
        if (s.starts) {
            bool on_time = s.trigger == Trigger::cart_idle || s.trigger == Trigger::birthday || s.trigger == Trigger::date ||
                           s.trigger == Trigger::points_expiring;
            all->any_on_time |= on_time;
            all->any_on_orders |= s.trigger == Trigger::order_placed;
            all->any_on_happenings |= s.trigger != Trigger::order_placed && !on_time;
        }
        all->list.push(s);
    }
}

void load_steps(Scenarios* all, const Wanted& wanted, pg::Array<Uncompiled>* uncompiled) {
    uint64 rows = wanted.read(read_steps);
    for (uint64 i = 0; i < rows; ++i) {
        Scenario* s = find(all, pg::view(pg::cell(i, 1).value));
        if (s == nullptr) continue;
        Step step{};
        step.position = number_at(i, 2, 0);
        auto from = pg::view(pg::cell(i, 3).value);
        step.from = from == "delivery" ? Origin::delivery : from == "previous" ? Origin::previous : Origin::anchor;
        s->waits_for_delivery |= step.from == Origin::delivery;
        step.delay = interval_at(i, 4);
        step.has_not_after = !pg::cell(i, 5).null;
        if (step.has_not_after) step.not_after = interval_at(i, 5);
        step.marketing = DatumGetBool(pg::cell(i, 6).value);
        step.consent_column = !step.marketing || pg::cell(i, 7).null ? -1 : consent_column(pg::view(pg::cell(i, 7).value));
        step.channel = channel_of(*all, pg::view(pg::cell(i, 8).value));
        if (step.channel < 0) step.channel = static_cast<int>(all->channels.size - 1);
        step.window = {number_at(i, 9, 0), number_at(i, 10, pg::cell(i, 9).null ? rules::kMinutesPerDay : 0),
                       static_cast<uint8>(number_at(i, 11, 0x7F))};
        note(uncompiled, i, 12, nullptr, static_cast<size_t>(s - all->list.data), s->steps.size);
        step.sends = DatumGetBool(pg::cell(i, 13).value);
        step.wait_for = awaited_at(i, 14);
        step.next = number_at(i, 15, step.position + 1);
        step.otherwise = number_at(i, 16, step.position + 1);
        step.offer = text_or_none(i, 17);
        auto pool_empty = pg::view(pg::cell(i, 18).value);
        step.pool_empty = pool_empty == "skip" ? PoolEmpty::skip : pool_empty == "defer" ? PoolEmpty::defer : PoolEmpty::send_without;
        step.salt = pg::view(pg::to_datum(psprintf("%s/%d", pg::to_cstring(s->name_view), step.position)));
        s->steps.push(step);
    }
}

void load_variants(Scenarios* all, const Wanted& wanted) {
    uint64 rows = wanted.read(read_variants);
    for (uint64 i = 0; i < rows; ++i) {
        Scenario* s = find(all, pg::view(pg::cell(i, 1).value));
        if (s == nullptr) continue;
        for (Step& step : s->steps) {
            if (step.position == number_at(i, 2, 0)) step.variants.push({pg::to_datum(pg::text_cell(i, 3)), number_at(i, 4, 0), text_or_none(i, 5)});
        }
    }
}

// A condition that has ceased to work, because of a segment that is gone, say, does not hold: it must not cost the shop an order.
Condition compile(std::string_view text) {
    Condition condition = nullptr;
    ErrorData* error = pg::protect([&] { condition = segment::compile_condition(text); });
    if (error == nullptr) return condition;
    ereport(WARNING, errcode(error->sqlerrcode), errmsg("a condition of a scenario does not work and counts as false: %s", error->message),
            errdetail("It reads: %s", pg::to_cstring(text)));
    return segment::compile_alone("false");
}

void load(Scenarios* all, const Wanted& wanted) {
    pg::Array<Uncompiled> uncompiled;
    load_scenarios(all, wanted, &uncompiled);
    load_steps(all, wanted, &uncompiled);
    load_variants(all, wanted);
    for (const Uncompiled& u : uncompiled) {
        Condition condition = compile(u.text);
        Scenario& s = all->list[u.scenario];
        s.asks_for_context |= condition->calls.context_parameter != 0;
        if (u.of_scenario != nullptr) {
            s.*u.of_scenario = condition;
        } else {
            s.steps[u.step].condition = condition;
        }
    }
}

}  // namespace

const Scenarios& refresh_scenarios() {
    if (scenarios.is_current()) return *scenarios.value;
    MemoryContext caller = scenarios.begin();
    auto* fresh = pg::make<Scenarios>();
    load_channels(fresh);
    load_caps(fresh);
    load(fresh, {{}, "nn"});
    MemoryContextSwitchTo(caller);
    scenarios.finish(fresh);
    return *fresh;
}

const Scenario* in_version(std::string_view name, int version) {
    Scenarios* all = scenarios.value;
    const Scenario* present = find(all, name);
    if (present == nullptr || present->version == version) return present;
    for (const Scenario* former : all->past) {
        if (former->name_view == name && former->version == version) return former;
    }
    MemoryContext caller = MemoryContextSwitchTo(scenarios.kept);
    auto* former = pg::make<Scenarios>();
    former->channels = all->channels;
    load(former, {{pg::to_datum(name), Int32GetDatum(version)}, nullptr});
    if (!former->list.empty()) all->past.push(&former->list[0]);
    MemoryContextSwitchTo(caller);
    return former->list.empty() ? present : &former->list[0];
}

}  // namespace lifecycle::scenario
