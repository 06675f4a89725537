#include "outbox/enqueue.hpp"

#include "pg/fault.hpp"
#include "pg/statement.hpp"
#include "pg/transaction.hpp"

namespace lifecycle::outbox {

namespace {

// The key says what the message is for, so it is the same whenever and however often it is made.
pg::Statement write_messages{
    .sql = "INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, recipient, scenario, anchor, step, class, template,"
           "                              subject, locale, payload, created_at, due_at, expires_at)"
           " SELECT concat_ws(':', u.scenario, u.step, u.anchor, u.customer_id), u.customer_id, s.channel,"
           "        CASE WHEN s.channel IN ('sms') THEN c.phone ELSE coalesce(c.email, substring(c.customer_id FROM '^[^@ ]+@[^@ ]+$')) END,"
           "        u.scenario, u.anchor, u.step, s.class, s.template, s.subject ->> l.locale, l.locale,"
           "        jsonb_strip_nulls(jsonb_build_object("
           "            'first_name', c.first_name, 'last_name', c.last_name, 'anchor', u.anchor,"
           "            'content', s.content -> coalesce(m.locale, l.locale), 'tier', c.tier, 'benefits', t.benefits)),"
           "        $7, u.due_at, u.expires_at"
           "   FROM unnest($1, $2, $3, $4, $5, $6) AS u (customer_id, scenario, anchor, step, due_at, expires_at)"
           "   JOIN lifecycle.customer AS c USING (customer_id)"
           "   JOIN lifecycle.step AS s ON s.scenario = u.scenario AND s.position = u.step"
           "   LEFT JOIN lifecycle.tier AS t ON t.name = c.tier"
           "   LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[c.locale, split_part(replace(c.locale, '_', '-'), '-', 1), 'en'])"
           "                        WITH ORDINALITY AS k (locale, n) WHERE s.subject ? k.locale ORDER BY k.n LIMIT 1) AS l ON true"
           "   LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[c.locale, split_part(replace(c.locale, '_', '-'), '-', 1), 'en'])"
           "                        WITH ORDINALITY AS k (locale, n) WHERE s.content ? k.locale ORDER BY k.n LIMIT 1) AS m ON true"
           " ON CONFLICT (customer_id, idempotency_key) DO NOTHING",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}};

// SKIP LOCKED: an order never waits for a mailer. What a mailer has locked is on its way already.
pg::Statement cancel_messages{
    .sql = "WITH reached AS (SELECT o.message_id, o.customer_id, u.reason FROM lifecycle.outbox AS o"
           "   JOIN unnest($1, $2, $3, $4) AS u (customer_id, scenario, anchor, reason) USING (customer_id, scenario, anchor)"
           "   WHERE o.status IN ('pending', 'leased') FOR UPDATE OF o SKIP LOCKED)"
           " UPDATE lifecycle.outbox AS o"
           "    SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = r.reason"
           "   FROM reached AS r WHERE o.message_id = r.message_id AND o.customer_id = r.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement cancel_marketing{
    .sql = "WITH reached AS (SELECT o.message_id, o.customer_id FROM lifecycle.outbox AS o"
           "   JOIN unnest($1, $2) AS u (customer_id, consent) USING (customer_id)"
           "   JOIN lifecycle.channel AS c ON c.name = o.channel AND c.consent = u.consent"
           "   WHERE o.class = 'marketing' AND o.status IN ('pending', 'leased') FOR UPDATE OF o SKIP LOCKED)"
           " UPDATE lifecycle.outbox AS o"
           "    SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = 'no_consent'"
           "   FROM reached AS r WHERE o.message_id = r.message_id AND o.customer_id = r.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement release{.sql = "SELECT lifecycle.release_leases()"};

void write(const pg::Array<scenario::Message>& messages, Instant now) {
    pg::Array<Datum> customers, scenarios, anchors, steps, due, expires;
    for (const scenario::Message& m : messages) {
        customers.push(m.customer);
        scenarios.push(m.scenario);
        anchors.push(m.anchor);
        steps.push(Int32GetDatum(m.position));
        due.push(TimestampTzGetDatum(m.due));
        expires.push(TimestampTzGetDatum(m.expires));
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()),
                    pg::int4_array(steps.span()), pg::instant_array(due.span()), pg::instant_array(expires.span()),
                    TimestampTzGetDatum(now)};
    write_messages.run(args);
}

void cancel(const pg::Array<scenario::Ended>& ended) {
    pg::Array<Datum> customers, scenarios, anchors, reasons;
    for (const scenario::Ended& e : ended) {
        customers.push(e.customer);
        scenarios.push(e.scenario);
        anchors.push(e.anchor);
        reasons.push(e.reason);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()),
                    pg::text_array(reasons.span())};
    cancel_messages.run(args);
}

void cancel(const pg::Array<scenario::Revoked>& revoked) {
    pg::Array<Datum> customers, consents;
    for (const scenario::Revoked& r : revoked) {
        customers.push(r.customer);
        consents.push(r.consent);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(consents.span())};
    cancel_marketing.run(args);
}

}  // namespace

void enqueue(const scenario::Outgoing& outgoing, Instant now) {
    if (!outgoing.ended.empty()) cancel(outgoing.ended);
    if (!outgoing.revoked.empty()) cancel(outgoing.revoked);
    if (outgoing.messages.empty()) return;
    pg::fault_point("outbox");
    write(outgoing.messages, now);
    pg::notify_at_commit("lifecycle_outbox");
}

void tidy() { release.run(); }

}  // namespace lifecycle::outbox
