#include "outbox/enqueue.hpp"

#include <algorithm>

#include "outbox/late.hpp"
#include "outbox/letters.hpp"
#include "outbox/message.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/json.hpp"
#include "pg/sequence.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "pg/transaction.hpp"

namespace lifecycle::outbox {

namespace {

// The offers that messages bring, with the codes bound to them.
pg::Statement read_offers{
    .sql = "SELECT u.n, jsonb_strip_nulls(jsonb_build_object('offer', lifecycle.told_offer(f, q)))"
           "  FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u (customer_id, scenario, anchor, offer, n)"
           "  JOIN lifecycle.offer AS f ON f.name = u.offer"
           "  LEFT JOIN lifecycle.coupon AS q"
           "    ON (q.customer_id, q.offer, q.purpose) = (u.customer_id, f.name, lifecycle.coupon_purpose(u.scenario, u.anchor))",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

pg::Statement insert_messages{
    .sql = "INSERT INTO lifecycle.outbox (message_id, idempotency_key, customer_id, channel, recipient, scenario, anchor, step, variant, class,"
           "                              delivery, priority, template, subject, locale, payload, created_at, due_at, expires_at, part)"
           " SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) AS u",
    .types = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID,
              TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID,
              TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}};

// What must not be sent to a suppressed address goes into history at once: the step has been decided, and somebody will ask why nothing came.
pg::Statement end_suppressed{
    .sql = "UPDATE lifecycle.outbox AS o SET status = 'cancelled', error = 'suppressed'"
           "  FROM unnest($1, $2, $3, $4, $5) AS u (message_id, customer_id, part, recipient, class)"
           " WHERE o.part < 1000 AND o.part = u.part AND o.message_id = u.message_id AND o.customer_id = u.customer_id"
           "   AND EXISTS (SELECT FROM lifecycle.suppression AS x"
           "                WHERE x.address_hash = lifecycle.address_hash(u.recipient) AND (x.reason <> 'sunset' OR u.class = 'marketing'))",
    .types = {INT8ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

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

pg::Statement upkeep{.sql = "SELECT lifecycle.upkeep($1, $2)", .types = {BOOLOID, BOOLOID}};

bool mailers_at_work = false;  // when tidy() last looked

// Steps on the channel suppress are done as soon as they are due.
pg::Statement say_goodbye{
    .sql = "WITH done AS (UPDATE lifecycle.outbox AS o SET status = 'sent', sent_at = $2"
           "   WHERE o.part < 1000 AND o.customer_id = ANY ($1) AND o.channel = 'suppress' AND o.status = 'pending' RETURNING o.recipient)"
           " SELECT lifecycle.suppress(d.recipient, 'sunset') FROM done AS d WHERE d.recipient IS NOT NULL",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};

// As lifecycle.part_of() has it.
int part_of(int64 message_id) { return static_cast<int>(message_id / 20000 % kPartsThatWait); }

struct OutboxRow {
    Datum values[kColumns];
    bool nulls[kColumns];
};

// Messages are written without a statement, as the rows of customers are: there may be a million at once. Not where the shop has put a column, an
// index, a check or a trigger of its own on the outbox.
struct Pen {
    bool plain = pg::is_plain(pg::table_oid(pg::Table::outbox), kColumns, kChecks);
    pg::TableWriter* parts[kPartsThatWait] = {};
    pg::Array<OutboxRow> by_statement{};
    Oid sequence = get_relname_relid("message_id", get_namespace_oid("lifecycle", false));
    int64 next_number = -1;  // of those that have been taken; -1: each is taken by itself

    void take_numbers(size_t count) { next_number = pg::take_numbers(sequence, static_cast<int64>(count)); }
    int64 number() { return next_number < 0 ? nextval_internal(sequence, false) : next_number++; }
    void write(int part, const OutboxRow& row) {
        if (plain && parts[part] == nullptr) {
            Oid table = part_that_waits(part);
            plain = pg::is_plain(table, kColumns, kChecks);
            if (plain) parts[part] = pg::open_writer(table);
        }
        if (plain) {
            pg::insert(parts[part], row.values, row.nulls);
        } else {
            by_statement.push(row);
        }
    }
    void write_by_statement() {
        // Those that a new message has; the others have their defaults.
        constexpr std::pair<Column, Oid> kSaid[] = {
            {kMessageId, INT8OID}, {kIdempotencyKey, TEXTOID}, {kCustomerId, TEXTOID}, {kChannel, TEXTOID}, {kRecipient, TEXTOID},
            {kScenario, TEXTOID}, {kAnchor, TEXTOID}, {kStep, INT4OID}, {kVariant, TEXTOID}, {kClass, TEXTOID}, {kDelivery, TEXTOID},
            {kPriority, INT4OID}, {kTemplate, TEXTOID}, {kSubject, TEXTOID}, {kLocale, TEXTOID}, {kPayload, JSONBOID},
            {kCreatedAt, TIMESTAMPTZOID}, {kDueAt, TIMESTAMPTZOID}, {kExpiresAt, TIMESTAMPTZOID}, {kPart, INT4OID}};
        Datum args[std::size(kSaid)];
        for (size_t k = 0; k < std::size(kSaid); ++k) {
            pg::Array<Datum> values;
            pg::Array<bool> nulls;
            for (const OutboxRow& row : by_statement) {
                values.push(row.values[kSaid[k].first]);
                nulls.push(row.nulls[kSaid[k].first]);
            }
            args[k] = pg::array_of(kSaid[k].second, values.span(), nulls.data);
        }
        insert_messages.run(args);
    }
    void close() {
        for (pg::TableWriter* w : parts) {
            if (w != nullptr) pg::close_writer(w);
        }
        pg::written();
        if (!by_statement.empty()) write_by_statement();
    }
};

bool is_address(std::string_view text) {
    size_t at = text.find('@');
    return at != std::string_view::npos && at > 0 && at + 1 < text.size() && text.find('@', at + 1) == std::string_view::npos &&
           text.find(' ') == std::string_view::npos;
}

// 0: the shop has never said an address.
Datum recipient_of(const Row& row, const Letter& letter) {
    if (pg::view(letter.channel) == "sms") return row.nulls[kPhone] ? Datum{0} : row.values[kPhone];
    if (!row.nulls[kEmail]) return row.values[kEmail];
    Datum id = row.values[lifecycle::kCustomerId];
    return is_address(pg::view(id)) ? id : Datum{0};
}

// It says what the message is for, so it is the same whenever and however often it is made.
Datum key_of(const scenario::Message& m) {
    auto scenario = pg::view(m.scenario), anchor = pg::view(m.anchor), customer = pg::view(m.customer);
    char position[16];
    std::string_view number{position, static_cast<size_t>(pg_ltoa(m.position, position))};
    auto* key = static_cast<text*>(palloc(VARHDRSZ + scenario.size() + number.size() + anchor.size() + customer.size() + 3));
    char* end = VARDATA(key);
    for (std::string_view part : {scenario, number, anchor, customer}) {
        if (end != VARDATA(key)) *end++ = ':';
        memcpy(end, part.data(), part.size());
        end += part.size();
    }
    SET_VARSIZE(key, end - reinterpret_cast<char*>(key));
    return PointerGetDatum(key);
}

Datum payload_of(const scenario::Message& m, const Letter& letter, Datum offer) {
    pg::JsonObject object;
    if (!m.row->nulls[kFirstName]) object.put("first_name", pg::view(m.row->values[kFirstName]));
    if (!m.row->nulls[kLastName]) object.put("last_name", pg::view(m.row->values[kLastName]));
    object.put("anchor", pg::view(m.anchor));
    object.put_members(letter.payload);
    if (offer != 0) object.put_members(offer);
    return object.finish();
}

// For each message what it says of its offer; 0: it brings none.
std::span<const Datum> offers_of(const pg::Array<scenario::Message>& messages, std::span<const Letter* const> letters) {
    pg::Array<Datum> customers, scenarios, anchors, offers;
    pg::Array<size_t> whose;
    for (size_t i = 0; i < messages.size; ++i) {
        if (letters[i] == nullptr || letters[i]->offer == 0) continue;
        customers.push(messages[i].customer);
        scenarios.push(messages[i].scenario);
        anchors.push(messages[i].anchor);
        offers.push(letters[i]->offer);
        whose.push(i);
    }
    auto told = pg::zeroed<Datum>(messages.size);
    if (whose.empty()) return told;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()), pg::text_array(offers.span())};
    uint64 rows = read_offers.run(args);
    for (uint64 i = 0; i < rows; ++i) told[whose[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value) - 1)]] = pg::cell(i, 2).value;
    return told;
}

// Those that may turn out to be for a suppressed address.
struct Written {
    pg::Array<Datum> ids, customers, parts, recipients, sorts;
};

void write_one(Pen& pen, const scenario::Message& m, const Letter& letter, Datum offer, Instant now, Written* written) {
    int64 id = pen.number();
    int part = part_of(id);
    Datum recipient = recipient_of(*m.row, letter);
    OutboxRow row = {.values = {Int64GetDatum(id), key_of(m), m.customer, letter.channel, recipient, m.scenario, m.anchor, Int32GetDatum(m.position),
                                m.variant, letter.sort, letter.delivery, Int32GetDatum(letter.priority), letter.wording, letter.subject, letter.locale,
                                payload_of(m, letter, offer), pg::to_datum("pending"), TimestampTzGetDatum(now), TimestampTzGetDatum(m.due),
                                TimestampTzGetDatum(m.expires),
                                Int32GetDatum(0),     // attempts
                                0, 0, 0,              // leased_by, leased_until, lease_token
                                BoolGetDatum(false),  // cancel_requested
                                0, 0, 0,              // sent_at, provider_id, error
                                Int32GetDatum(part)},
                     .nulls = {}};
    for (Column c : {kLeasedBy, kLeasedUntil, kLeaseToken, kSentAt, kProviderId, kError}) row.nulls[c] = true;
    for (Column c : {kRecipient, kVariant, kSubject, kLocale}) row.nulls[c] = row.values[c] == 0;
    pen.write(part, row);
    note_enqueued(m.expires);
    if (recipient == 0) return;
    written->ids.push(row.values[kMessageId]);
    written->customers.push(m.customer);
    written->parts.push(Int32GetDatum(part));
    written->recipients.push(recipient);
    written->sorts.push(letter.sort);
}

void write_all(const pg::Array<scenario::Message>& messages, Instant now) {
    auto letters = letters_of(messages);
    auto offers = offers_of(messages, letters);
    Pen pen;
    Written written;
    pen.take_numbers(static_cast<size_t>(std::count_if(letters.begin(), letters.end(), [](const Letter* l) { return l != nullptr; })));
    for (size_t i = 0; i < messages.size; ++i) {
        if (letters[i] != nullptr) write_one(pen, messages[i], *letters[i], offers[i], now, &written);
    }
    pen.close();
    if (written.ids.empty() || pg::is_empty(pg::table_oid(pg::Table::suppression))) return;
    Datum args[] = {pg::array_of(INT8OID, written.ids.span(), nullptr), pg::text_array(written.customers.span()), pg::int4_array(written.parts.span()),
                    pg::text_array(written.recipients.span()), pg::text_array(written.sorts.span())};
    end_suppressed.run(args);
}

// Where a later step of an enrolment comes, the earlier ones are not wanted any more.
void supersede_earlier(const pg::Array<scenario::Message>& messages) {
    pg::Array<Datum> customers, scenarios, anchors, steps;
    for (const scenario::Message& m : messages) {
        if (m.position <= 1) continue;
        customers.push(m.customer);
        scenarios.push(m.scenario);
        anchors.push(m.anchor);
        steps.push(Int32GetDatum(m.position));
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()), pg::text_array(anchors.span()), pg::int4_array(steps.span())};
    supersede.run(args);
}

void write(const pg::Array<scenario::Message>& messages, Instant now) {
    write_all(messages, now);
    supersede_earlier(messages);

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

namespace {

TimestampTz last_look = 0;

// Looking at everything that waits is not for every wake-up of a worker.
bool is_time_to_look() { return pg::clock_is_frozen() || GetCurrentTimestamp() - last_look >= 10 * USECS_PER_SEC; }

}  // namespace

void begin_tick() {
    if (is_time_to_look()) {
        look_for_late(pg::now());
    } else {
        forget_late();  // of the tick before
    }
}

void tidy() {
    bool thorough = is_time_to_look();
    if (thorough) last_look = GetCurrentTimestamp();
    Datum args[] = {BoolGetDatum(thorough), BoolGetDatum(may_be_late(pg::now()))};
    upkeep.run(args);
    mailers_at_work = DatumGetBool(pg::cell(0, 1).value);
}

Instant next_look() { return mailers_at_work ? pg::now() + USECS_PER_SEC : rules::kNever; }

}  // namespace lifecycle::outbox
