#include "outbox/gates.hpp"

#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::outbox {

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

pg::Statement quiet_hours{
    .sql = "SELECT u.n, (extract(epoch FROM h.quiet_from) / 60)::int4, (extract(epoch FROM h.quiet_until) / 60)::int4, c.time_zone"
           "  FROM unnest($1, $2, $3) AS u (n, customer_id, channel)"
           "  JOIN lifecycle.channel AS h ON h.name = u.channel AND h.quiet_from IS NOT NULL"
           "  LEFT JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

// Which messages a gate is asked about.
using Concerns = bool (*)(const Asked&);

constexpr bool is_marketing(const Asked& m) { return m.marketing; }

// Asks about those that a gate concerns and that none before it has stopped; how many rows it answers with.
uint64 run(pg::Statement& gate, std::span<const Asked> messages, Concerns concerns, std::initializer_list<Datum Asked::*> told, std::span<const Datum> reasons) {
    pg::Array<Datum> numbers;
    for (size_t i = 0; i < messages.size(); ++i) {
        if ((reasons.empty() || reasons[i] == 0) && concerns(messages[i])) numbers.push(Int32GetDatum(static_cast<int32>(i)));
    }
    if (numbers.empty()) return 0;
    Datum args[5] = {pg::int4_array(numbers.span())};
    size_t count = 1;
    for (Datum Asked::*column : told) {
        pg::Array<Datum> values;
        for (Datum n : numbers) values.push(messages[static_cast<size_t>(DatumGetInt32(n))].*column);
        args[count++] = pg::text_array(values.span());
    }
    return gate.run({args, count});
}

void ask(pg::Statement& gate, std::span<const Asked> messages, Concerns concerns, std::initializer_list<Datum Asked::*> told, std::span<Datum> reasons) {
    uint64 stopped = run(gate, messages, concerns, told, reasons);
    for (uint64 i = 0; i < stopped; ++i) reasons[static_cast<size_t>(DatumGetInt32(pg::cell(i, 1).value))] = pg::copied_cell(i, 2, TEXTOID);
}

}  // namespace

std::span<Datum> ask_gates(std::span<const Asked> messages) {
    auto reasons = pg::zeroed<Datum>(messages.size());
    if (!pg::is_empty(pg::table_oid("suppression"))) {
        ask(suppressed, messages, [](const Asked& m) { return !m.no_recipient && !m.marketing; }, {&Asked::recipient}, reasons);
        ask(marketing_suppressed, messages, [](const Asked& m) { return !m.no_recipient && m.marketing; }, {&Asked::recipient}, reasons);
    }
    ask(no_consent, messages, is_marketing, {&Asked::customer, &Asked::channel}, reasons);
    ask(exited, messages, [](const Asked&) { return true; }, {&Asked::customer, &Asked::scenario, &Asked::anchor}, reasons);
    ask(goal_met, messages, [](const Asked& m) { return m.marketing && !m.no_recipient; },
        {&Asked::customer, &Asked::scenario, &Asked::anchor, &Asked::recipient}, reasons);
    return reasons;
}

std::span<rules::Instant> quiet_until(std::span<const Asked> messages, rules::Instant at) {
    pg_tz* shop_zone = customer::current_shop().zone;
    auto until = pg::zeroed<rules::Instant>(messages.size());
    std::fill(until.begin(), until.end(), at);
    uint64 rows = run(quiet_hours, messages, is_marketing, {&Asked::customer, &Asked::channel}, {});
    pg::keep_zone([&] {
        for (uint64 i = 0; i < rows; ++i) {
            auto number = [&](int column) { return DatumGetInt32(pg::cell(i, column).value); };
            const char* zone = pg::cell(i, 4).null ? nullptr : pg::to_cstring(pg::text_cell(i, 4));
            pg::use_zone(pg::zone_of(zone, shop_zone));
            until[static_cast<size_t>(number(1))] = pg::open_from(rules::outside_quiet(number(2), number(3)), {}, at);
        }
    });
    return until;
}

}  // namespace lifecycle::outbox

using namespace lifecycle;

// lifecycle.quiet_until(customer_id, channel, at)
LIFECYCLE_FUNCTION(lifecycle_quiet_until) {
    rules::Instant at = PG_GETARG_TIMESTAMPTZ(2), until = at;
    outbox::Asked asked{.customer = PG_GETARG_DATUM(0), .recipient = 0, .scenario = 0, .anchor = 0, .channel = PG_GETARG_DATUM(1), .no_recipient = true, .marketing = true};
    pg::as_owner([&] {
        pg::open_spi();
        until = outbox::quiet_until({&asked, 1}, at)[0];
        pg::close_spi();
    });
    if (until <= at) PG_RETURN_NULL();
    PG_RETURN_TIMESTAMPTZ(until);
}

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
        auto reasons = outbox::ask_gates(messages.span());
        for (size_t i = 0; i < reasons.size(); ++i) {
            Datum values[] = {Int64GetDatum(static_cast<int64>(i) + 1), reasons[i]};
            bool nulls[] = {false, reasons[i] == 0};
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        }
        pg::close_spi();
    });
    return Datum{0};
}
