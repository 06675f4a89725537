#include "outbox/gates.hpp"

#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "scenario/channels.hpp"

namespace lifecycle::outbox {

using rules::Instant;

namespace {

pg::Statement suppressed{
    .sql = "SELECT u.n, 'suppressed' FROM unnest($1, $2) AS u (n, recipient)"
           " WHERE EXISTS (SELECT FROM lifecycle.suppression AS s WHERE s.address_hash = lifecycle.address_hash(u.recipient) AND s.reason <> 'sunset')",
    .types = {INT4ARRAYOID, TEXTARRAYOID}};
pg::Statement marketing_suppressed{
    .sql = "SELECT u.n, 'suppressed' FROM unnest($1, $2) AS u (n, recipient)"
           " WHERE EXISTS (SELECT FROM lifecycle.suppression AS s WHERE s.address_hash = lifecycle.address_hash(u.recipient))",
    .types = {INT4ARRAYOID, TEXTARRAYOID}};
pg::Statement no_consent{
    .sql = "SELECT u.n, 'no_consent' FROM unnest($1, $2, $3) AS u (n, customer_id, channel)"
           "  JOIN lifecycle.channel AS h ON h.name = u.channel AND h.consent IS NOT NULL"
           "  LEFT JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id"
           " WHERE CASE h.consent WHEN 'email' THEN c.email_consent WHEN 'sms' THEN c.sms_consent"
           "                      WHEN 'push' THEN c.push_consent ELSE c.ads_consent END IS DISTINCT FROM 'granted'",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
// One that has ended is never in its customer's row any more.
pg::Statement exited{
    .sql = "SELECT u.n, coalesce(e.end_reason, 'exited') FROM unnest($1, $2, $3, $4) AS u (n, customer_id, scenario, anchor)"
           "  JOIN lifecycle.enrolment_settled AS e ON (e.customer_id, e.scenario, e.anchor) = (u.customer_id, u.scenario, u.anchor)"
           " WHERE e.status = 'exited'",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
// Somebody with the same address has bought, as lifecycle.bought_elsewhere() has it, which would be a call for each message.
pg::Statement goal_met{
    .sql = "SELECT u.n, 'goal_met' FROM unnest($1, $2, $3, $4, $5) AS u (n, customer_id, scenario, anchor, recipient)"
           "  JOIN lifecycle.scenario AS k ON k.name = u.scenario AND k.goal = 'order_placed'"
           " CROSS JOIN LATERAL (SELECT e.anchor_at FROM lifecycle.enrolment AS e"
           "                      WHERE (e.customer_id, e.scenario, e.anchor) = (u.customer_id, u.scenario, u.anchor) OFFSET 0) AS e"
           " CROSS JOIN LATERAL (SELECT coalesce(lifecycle.add_in_zone(e.anchor_at, k.goal_within, NULL), 'infinity') AS until) AS w"
           " WHERE strpos(u.recipient, '@') > 0"
           "   AND (EXISTS (SELECT FROM lifecycle.customer AS c"
           "                 WHERE c.customer_id IN (u.recipient, lower(u.recipient)) AND c.customer_id <> u.customer_id"
           "                   AND c.last_order_at >= e.anchor_at AND c.last_order_at < w.until)"
           "     OR EXISTS (SELECT FROM lifecycle.customer AS c"
           "                 WHERE c.email IN (u.recipient, lower(u.recipient)) AND c.customer_id <> u.customer_id"
           "                   AND c.last_order_at >= e.anchor_at AND c.last_order_at < w.until))",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement read_zones{
    .sql = "SELECT u.n, c.time_zone FROM unnest($1, $2) AS u (n, customer_id) JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id"
           " WHERE c.time_zone IS NOT NULL",
    .types = {INT4ARRAYOID, TEXTARRAYOID}};

using Channels = pg::Array<scenario::Channel>;
pg::Cached<Channels> quiet_channels;

const Channels& current_quiet_channels() {
    if (quiet_channels.is_current()) return *quiet_channels.value;
    MemoryContext caller = quiet_channels.begin();
    auto* fresh = pg::make<Channels>();
    for (const scenario::Channel& c : scenario::read_channels()) {
        if (c.has_quiet_hours) fresh->push(c);
    }
    MemoryContextSwitchTo(caller);
    quiet_channels.finish(fresh);
    return *fresh;
}

const scenario::Channel* quiet_hours_of(const Channels& channels, std::string_view name) {
    for (const scenario::Channel& c : channels) {
        if (c.name == name) return &c;
    }
    return nullptr;
}

// Which messages a gate is asked about.
using Concerns = bool (*)(const Asked&);

// Asks a gate about those it concerns and that none before it has stopped.
void ask(pg::Statement& gate, std::span<const Asked> messages, Concerns concerns, std::initializer_list<Datum Asked::*> told, std::span<Refusal> refusals) {
    pg::Array<Datum> numbers;
    for (size_t i = 0; i < messages.size(); ++i) {
        if (refusals[i].reason == 0 && concerns(messages[i])) numbers.push(Int32GetDatum(static_cast<int32>(i)));
    }
    if (numbers.empty()) return;
    Datum args[5] = {pg::int4_array(numbers.span())};
    size_t count = 1;
    for (Datum Asked::*column : told) {
        pg::Array<Datum> values;
        for (Datum n : numbers) values.push(messages[static_cast<size_t>(DatumGetInt32(n))].*column);
        args[count++] = pg::text_array(values.span());
    }
    uint64 stopped = gate.run({args, count});
    for (uint64 i = 0; i < stopped; ++i) refusals[static_cast<size_t>(DatumGetInt32(pg::cell(i, 1).value))].reason = pg::copied_cell(i, 2, TEXTOID);
}

// A message that is late may meet the quiet hours of its customer, which it did not when it fell due.
void ask_quiet_hours(std::span<const Asked> messages, std::span<Refusal> refusals) {
    const Channels& channels = current_quiet_channels();
    if (channels.empty()) return;
    pg::Array<Datum> numbers, customers;
    auto quiet = pg::zeroed<const scenario::Channel*>(messages.size());
    for (size_t i = 0; i < messages.size(); ++i) {
        if (refusals[i].reason != 0 || !messages[i].marketing) continue;
        quiet[i] = quiet_hours_of(channels, pg::view(messages[i].channel));
        if (quiet[i] == nullptr) continue;
        numbers.push(Int32GetDatum(static_cast<int32>(i)));
        customers.push(messages[i].customer);
    }
    if (numbers.empty()) return;
    pg_tz* shop = customer::current_shop().zone;
    auto zones = pg::zeroed<pg_tz*>(messages.size());
    Datum args[] = {pg::int4_array(numbers.span()), pg::text_array(customers.span())};
    uint64 rows = read_zones.run(args);
    for (uint64 i = 0; i < rows; ++i)
        zones[static_cast<size_t>(DatumGetInt32(pg::cell(i, 1).value))] = pg::zone_of(pg::to_cstring(pg::view(pg::cell(i, 2).value)), shop);
    Datum reason = pg::to_datum("quiet_hours");
    Instant now = pg::statement_now();
    pg::keep_zone([&] {
        for (size_t i = 0; i < messages.size(); ++i) {
            if (quiet[i] == nullptr) continue;
            pg::use_zone(zones[i] == nullptr ? pg::zone_of(nullptr, shop) : zones[i]);
            Instant open = pg::open_from(quiet[i]->open, rules::SendWindow{}, now);
            if (open > now) refusals[i] = {reason, open};
        }
    });
}

}  // namespace

std::span<Refusal> ask_gates(std::span<const Asked> messages) {
    auto refusals = pg::zeroed<Refusal>(messages.size());
    for (Refusal& r : refusals) r.until = rules::kNever;
    constexpr auto is_marketing = [](const Asked& m) { return m.marketing; };
    if (!pg::is_empty(pg::table_oid("suppression"))) {
        ask(suppressed, messages, [](const Asked& m) { return !m.no_recipient && !m.marketing; }, {&Asked::recipient}, refusals);
        ask(marketing_suppressed, messages, [](const Asked& m) { return !m.no_recipient && m.marketing; }, {&Asked::recipient}, refusals);
    }
    ask(no_consent, messages, is_marketing, {&Asked::customer, &Asked::channel}, refusals);
    ask(exited, messages, [](const Asked&) { return true; }, {&Asked::customer, &Asked::scenario, &Asked::anchor}, refusals);
    ask(goal_met, messages, [](const Asked& m) { return m.marketing && !m.no_recipient; },
        {&Asked::customer, &Asked::scenario, &Asked::anchor, &Asked::recipient}, refusals);
    ask_quiet_hours(messages, refusals);
    return refusals;
}

}  // namespace lifecycle::outbox

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_gates) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    pg::Elements told[6];
    for (int i = 0; i < 6; ++i) {
        told[i] = pg::elements_of(PG_GETARG_DATUM(i));
        bool complete = told[i].count == told[0].count;
        for (int k = 0; k < told[i].count && i != 1; ++k) complete = complete && !told[i].nulls[k];
        if (!complete)
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("of each message everything but its recipient must be said"));
    }
    pg::Array<outbox::Asked> messages;
    for (int i = 0; i < told[0].count; ++i) {
        messages.push({.customer = told[0].values[i],
                       .recipient = told[1].values[i],
                       .scenario = told[2].values[i],
                       .anchor = told[3].values[i],
                       .channel = told[4].values[i],
                       .no_recipient = told[1].nulls[i],
                       .marketing = pg::view(told[5].values[i]) == "marketing"});
    }
    pg::as_owner([&] {
        pg::open_spi();
        auto refusals = outbox::ask_gates(messages.span());
        for (size_t i = 0; i < refusals.size(); ++i) {
            auto [reason, until] = refusals[i];
            Datum values[] = {Int64GetDatum(static_cast<int64>(i) + 1), reason, TimestampTzGetDatum(until)};
            bool nulls[] = {false, reason == 0, until == rules::kNever};
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        }
        pg::close_spi();
    });
    return Datum{0};
}
