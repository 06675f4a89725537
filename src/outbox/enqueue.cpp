#include "outbox/enqueue.hpp"

#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/statement.hpp"
#include "pg/transaction.hpp"

namespace lifecycle::outbox {

namespace {

// The key says what the message is for, so it is the same whenever and however often it is made. What must not be sent to a
// suppressed address is put into history at once: the step has been decided, and somebody will ask why nothing came.
constexpr char kWriteMessages[] =
           "INSERT INTO lifecycle.outbox (message_id, idempotency_key, customer_id, channel, recipient, scenario, anchor, step, variant, class, delivery,"
           "                              priority, template, subject, locale, payload, created_at, due_at, expires_at, status, error, part)"
           " SELECT m.message_id, m.idempotency_key, m.customer_id, m.channel, m.recipient, m.scenario, m.anchor, m.step, m.variant, m.class, m.delivery,"
           "        m.priority, m.template, m.subject, m.locale, m.payload, $7, m.due_at, m.expires_at,"
           "        CASE WHEN m.suppressed THEN 'cancelled' ELSE 'pending' END, CASE WHEN m.suppressed THEN 'suppressed' END,"
           "        CASE WHEN m.suppressed THEN lifecycle.history_part() ELSE lifecycle.part_of(m.message_id) END"
           "   FROM (SELECT nextval('lifecycle.message_id') AS message_id, p.*,"
           "                EXISTS (SELECT FROM lifecycle.suppression AS x WHERE x.address_hash = lifecycle.address_hash(p.recipient)"
           "                           AND (x.reason <> 'sunset' OR p.class = 'marketing')) AS suppressed"
           "           FROM (SELECT concat_ws(':', u.scenario, u.step, u.anchor, u.customer_id) AS idempotency_key, u.customer_id, s.channel,"
           "                        CASE WHEN s.channel IN ('sms') THEN c.phone"
           "                             ELSE coalesce(c.email, substring(c.customer_id FROM '^[^@ ]+@[^@ ]+$')) END AS recipient,"
           "                        u.scenario, u.anchor, u.step, u.variant, s.class,"
           "                        coalesce(k.delivery, CASE s.class WHEN 'marketing' THEN 'at_most_once' ELSE 'at_least_once' END) AS delivery,"
           "                        k.priority, coalesce(v.template, s.template) AS template, t.subject ->> l.locale AS subject, l.locale,"
           "                        jsonb_strip_nulls(jsonb_build_object("
           "                            'first_name', c.first_name, 'last_name', c.last_name, 'anchor', u.anchor,"
           "                            'content', t.content -> coalesce(m.locale, l.locale), 'tier', c.tier, 'benefits', r.benefits,"
           "                            'offer', CASE WHEN f.name IS NOT NULL THEN lifecycle.told_offer(f, q) END, 'recommends', s.recommends)) AS payload,"
           "                        u.due_at, u.expires_at"
           "                   FROM unnest($1, $2, $3, $4, $5, $6, $8, $9) AS u (customer_id, scenario, anchor, step, due_at, expires_at, variant, version)"
           "                   JOIN lifecycle.customer AS c USING (customer_id)"
           "                   JOIN lifecycle.scenario AS k ON k.name = u.scenario"
           "                   %s"
           "                   CROSS JOIN LATERAL (SELECT coalesce(v.subject, s.subject) AS subject, coalesce(v.content, s.content) AS content) AS t"
           "                   LEFT JOIN lifecycle.tier AS r ON r.name = c.tier"
           "                   LEFT JOIN lifecycle.offer AS f ON f.name = coalesce(v.offer, s.offer)"
           "                   LEFT JOIN lifecycle.coupon AS q"
           "                     ON (q.customer_id, q.offer, q.purpose) = (u.customer_id, f.name, lifecycle.coupon_purpose(u.scenario, u.anchor))"
           "                   LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[c.locale, split_part(replace(c.locale, '_', '-'), '-', 1), 'en'])"
           "                                        WITH ORDINALITY AS k (locale, n) WHERE t.subject ? k.locale ORDER BY k.n LIMIT 1) AS l ON true"
           "                   LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[c.locale, split_part(replace(c.locale, '_', '-'), '-', 1), 'en'])"
           "                                        WITH ORDINALITY AS k (locale, n) WHERE t.content ? k.locale ORDER BY k.n LIMIT 1) AS m ON true)"
           "             AS p) AS m";

// Where the steps are found: as they are now, which is nearly always, or in any version.
constexpr char kPresentSteps[] =
    "JOIN lifecycle.step AS s ON s.scenario = u.scenario AND s.position = u.step"
    " LEFT JOIN lifecycle.variant AS v ON (v.scenario, v.position, v.name) = (u.scenario, u.step, u.variant)";
constexpr char kStepsOfVersions[] =
    "CROSS JOIN LATERAL (SELECT s.* FROM lifecycle.step AS s WHERE u.version = 0 AND (s.scenario, s.position) = (u.scenario, u.step)"
    "                    UNION ALL"
    "                    SELECT s.* FROM lifecycle.steps_of(u.scenario, u.version) AS s WHERE u.version > 0 AND s.position = u.step) AS s"
    " LEFT JOIN LATERAL (SELECT v.* FROM lifecycle.variant AS v"
    "                     WHERE u.version = 0 AND (v.scenario, v.position, v.name) = (u.scenario, u.step, u.variant)"
    "                    UNION ALL"
    "                    SELECT v.* FROM lifecycle.variants_of(u.scenario, u.version) AS v"
    "                     WHERE u.version > 0 AND (v.position, v.name) = (u.step, u.variant)) AS v ON true";

pg::Statement& write_messages(bool of_versions) {
    static pg::Statement statements[2];
    pg::Statement& statement = statements[of_versions ? 1 : 0];
    if (statement.sql == nullptr) {
        const char* sql = MemoryContextStrdup(TopMemoryContext, psprintf(kWriteMessages, of_versions ? kStepsOfVersions : kPresentSteps));
        statement = {.sql = sql,
                     .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID,
                               TEXTARRAYOID, INT4ARRAYOID}};
    }
    return statement;
}

// SKIP LOCKED: an order never waits for a mailer. What a mailer has locked is on its way already.
pg::Statement cancel_messages{
    .sql = "WITH reached AS (SELECT o.message_id, o.customer_id, o.part, u.reason FROM lifecycle.outbox AS o"
           "   JOIN unnest($1, $2, $3, $4) AS u (customer_id, scenario, anchor, reason) USING (customer_id, scenario, anchor)"
           "   WHERE o.part < 1000 AND o.status IN ('pending', 'leased') FOR UPDATE OF o SKIP LOCKED)"
           " UPDATE lifecycle.outbox AS o"
           "    SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = r.reason"
           "   FROM reached AS r WHERE o.part < 1000 AND o.part = r.part AND o.message_id = r.message_id AND o.customer_id = r.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement cancel_marketing{
    .sql = "WITH reached AS (SELECT o.message_id, o.customer_id, o.part FROM lifecycle.outbox AS o"
           "   JOIN unnest($1, $2) AS u (customer_id, consent) USING (customer_id)"
           "   JOIN lifecycle.channel AS c ON c.name = o.channel AND c.consent = u.consent"
           "   WHERE o.part < 1000 AND o.class = 'marketing' AND o.status IN ('pending', 'leased') FOR UPDATE OF o SKIP LOCKED)"
           " UPDATE lifecycle.outbox AS o"
           "    SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = 'no_consent'"
           "   FROM reached AS r WHERE o.part < 1000 AND o.part = r.part AND o.message_id = r.message_id AND o.customer_id = r.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

// The mailers were away and the next step has come: the earlier one is not sent after it. What is transactional is owed all the same.
pg::Statement supersede{
    .sql = "WITH reached AS (SELECT o.message_id, o.customer_id, o.part FROM lifecycle.outbox AS o"
           "   JOIN unnest($1, $2, $3, $4) AS u (customer_id, scenario, anchor, step) USING (customer_id, scenario, anchor)"
           "   WHERE o.part < 1000 AND o.step < u.step AND o.class = 'marketing' AND o.status IN ('pending', 'leased') FOR UPDATE OF o SKIP LOCKED)"
           " UPDATE lifecycle.outbox AS o"
           "    SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = 'superseded'"
           "   FROM reached AS r WHERE o.part < 1000 AND o.part = r.part AND o.message_id = r.message_id AND o.customer_id = r.customer_id",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}};

// Who asks for mail again has woken up; a complaint or a dead address is another matter.
pg::Statement lift_sunset{
    .sql = "DELETE FROM lifecycle.suppression AS s"
           " USING unnest($1, $2) AS u (customer_id, consent) JOIN lifecycle.customer AS c USING (customer_id)"
           " WHERE s.reason = 'sunset' AND s.address_hash = lifecycle.address_hash("
           "       CASE u.consent WHEN 'sms' THEN c.phone ELSE coalesce(c.email, substring(c.customer_id FROM '^[^@ ]+@[^@ ]+$')) END)",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement upkeep{.sql = "SELECT lifecycle.upkeep($1)", .types = {BOOLOID}};

bool mailers_at_work = false;  // when tidy() last looked

// Steps on the channel suppress are done as soon as they are due.
pg::Statement say_goodbye{
    .sql = "WITH done AS (UPDATE lifecycle.outbox AS o SET status = 'sent', sent_at = $2"
           "   WHERE o.part < 1000 AND o.customer_id = ANY ($1) AND o.channel = 'suppress' AND o.status = 'pending' RETURNING o.recipient)"
           " SELECT lifecycle.suppress(d.recipient, 'sunset') FROM done AS d WHERE d.recipient IS NOT NULL",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};

void write(const pg::Array<scenario::Message>& messages, Instant now) {
    pg::Array<Datum> customers, scenarios, anchors, steps, due, expires, variants, versions;
    pg::Array<bool> no_variant;
    bool any_past = false;
    for (const scenario::Message& m : messages) {
        customers.push(m.customer);
        scenarios.push(m.scenario);
        anchors.push(m.anchor);
        steps.push(Int32GetDatum(m.position));
        due.push(TimestampTzGetDatum(m.due));
        expires.push(TimestampTzGetDatum(m.expires));
        variants.push(m.variant);
        no_variant.push(m.variant == 0);
        versions.push(Int32GetDatum(m.past_version));
        any_past |= m.past_version > 0;
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()),
                    pg::int4_array(steps.span()), pg::instant_array(due.span()), pg::instant_array(expires.span()),
                    TimestampTzGetDatum(now), pg::text_array(variants.span(), no_variant.data),
                    pg::int4_array(versions.span())};
    write_messages(any_past).run(args);
    bool any_later = false;
    for (const scenario::Message& m : messages) any_later |= m.position > 1;
    if (any_later) supersede.run({args, 4});

    pg::Array<Datum> goodbyes;
    for (const scenario::Message& m : messages) {
        if (m.suppresses) goodbyes.push(m.customer);
    }
    if (goodbyes.empty()) return;
    Datum whom[] = {pg::text_array(goodbyes.span()), TimestampTzGetDatum(now)};
    say_goodbye.run(whom);
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

void run_for(pg::Statement& statement, const pg::Array<scenario::ConsentChange>& changed) {
    pg::Array<Datum> customers, consents;
    for (const scenario::ConsentChange& c : changed) {
        customers.push(c.customer);
        consents.push(c.consent);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(consents.span())};
    statement.run(args);
}

}  // namespace

void enqueue(const scenario::Outgoing& outgoing, Instant now) {
    if (!outgoing.ended.empty()) cancel(outgoing.ended);
    if (!outgoing.revoked.empty()) run_for(cancel_marketing, outgoing.revoked);
    if (!outgoing.granted.empty()) run_for(lift_sunset, outgoing.granted);
    if (outgoing.messages.empty()) return;
    pg::fault_point("outbox");
    write(outgoing.messages, now);
    pg::notify_at_commit("lifecycle_outbox");
}

void tidy() {
    // Looking at everything that waits is not for every wake-up of a worker.
    static TimestampTz last_look = 0;
    TimestampTz present = GetCurrentTimestamp();
    bool thorough = pg::clock_is_frozen() || present - last_look >= 10 * USECS_PER_SEC;
    if (thorough) last_look = present;
    Datum arg = BoolGetDatum(thorough);
    upkeep.run({&arg, 1});
    mailers_at_work = DatumGetBool(pg::cell(0, 1).value);
}

Instant next_look() { return mailers_at_work ? pg::now() + USECS_PER_SEC : rules::kNever; }

}  // namespace lifecycle::outbox
