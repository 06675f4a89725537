#include "outbox/sent.hpp"

#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/shared.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::outbox {

namespace {

// Who reads them is told here and nowhere else: whoever was merged or forgotten since is so in the outbox, too.
// By note, not by message: for each look-up all parts of history would be made ready anew.
#define SENT_MESSAGES                                                                                            \
    " SELECT o.part, o.message_id, o.customer_id, o.sent_at FROM taken AS t"                                     \
    "   JOIN lifecycle.outbox AS o ON o.part >= 1000 AND o.part = t.part AND o.message_id = ANY (t.message_ids)" \
    "   JOIN lifecycle.channel AS c ON c.name = o.channel AND c.consent IN ('email', 'sms', 'push')"             \
    "  WHERE o.status = 'sent'"

pg::Statement take{
    .sql = "WITH chosen AS MATERIALIZED (SELECT r.tid"
           "   FROM (SELECT f.tid, sum(f.messages) OVER (ROWS UNBOUNDED PRECEDING) - f.messages AS messages_before"
           "           FROM (SELECT n.ctid AS tid, cardinality(n.message_ids) AS messages FROM lifecycle.sent_note AS n"
           "                  WHERE coalesce(n.not_before <= $1, true) AND (SELECT lifecycle.is_armed()) LIMIT $2 FOR UPDATE SKIP LOCKED) AS f) AS r"
           "  WHERE r.messages_before < $2),"
           " taken AS MATERIALIZED (DELETE FROM lifecycle.sent_note AS n WHERE n.ctid = ANY (ARRAY(SELECT s.tid FROM chosen AS s))"
           "   RETURNING n.part, n.message_ids)" SENT_MESSAGES " ORDER BY o.customer_id, o.sent_at, o.message_id",
    .types = {TIMESTAMPTZOID, INT4OID}};
pg::Statement peek{
    .sql = "WITH taken AS (SELECT n.part, n.message_ids FROM lifecycle.sent_note AS n)" SENT_MESSAGES
           " AND o.customer_id = ANY ($1) ORDER BY o.customer_id, o.sent_at, o.message_id",
    .types = {TEXTARRAYOID}};
pg::Statement note_again{
    .sql = "INSERT INTO lifecycle.sent_note (part, message_ids, not_before)"
           " SELECT u.part, array_agg(u.message_id ORDER BY u.message_id), $4 FROM unnest($1, $2, $3) AS u (part, message_id, customer_id)"
           "  WHERE EXISTS (SELECT FROM lifecycle.customer AS c WHERE c.customer_id = u.customer_id)"
           "     OR EXISTS (SELECT FROM lifecycle.merged AS m WHERE m.customer_id = u.customer_id)"
           "  GROUP BY u.part",
    .types = {INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement first_note{.sql = "SELECT min(coalesce(n.not_before, '-infinity')) FROM lifecycle.sent_note AS n"};

// Mailers send many in a second; they are taken in together.
constexpr Instant kSoon = USECS_PER_SEC;

constexpr int32 kOutbox = -1;  // in the place of a source: the outbox itself says it

}  // namespace

std::span<Sent> messages(uint64 rows) {
    auto sent = pg::zeroed<Sent>(rows);
    for (uint64 i = 0; i < rows; ++i)
        sent[i] = {DatumGetInt32(pg::cell(i, 1).value), DatumGetInt64(pg::cell(i, 2).value), pg::text_cell(i, 3),
                   DatumGetTimestampTz(pg::cell(i, 4).value)};
    return sent;
}

// Without a statement, because acknowledging is to cost next to nothing more.
void note_sent(Datum part, Datum message_ids) {
    pg::TableWriter* notes = pg::open_writer(pg::table_oid(pg::Table::sent_note));
    Datum values[] = {part, message_ids, 0};
    bool nulls[] = {false, false, true};
    pg::insert(notes, values, nulls);
    pg::close_writer(notes);
    pg::wake_worker_at_commit(pg::now() + kSoon);
}

std::span<Sent> take_notes(Instant now, int wanted) {
    Datum args[] = {TimestampTzGetDatum(now), Int32GetDatum(wanted)};
    return messages(take.run(args));
}

std::span<Sent> noted_of(Datum customers) { return messages(peek.run({&customers, 1})); }

void put_back(std::span<const Sent> sent, Instant not_before) {
    if (sent.empty()) return;
    pg::Array<Datum> parts, ids, customers;
    for (const Sent& s : sent) {
        parts.push(Int32GetDatum(s.part));
        ids.push(Int64GetDatum(s.message));
        customers.push(pg::to_datum(s.customer));
    }
    Datum args[] = {pg::int4_array(parts.span()), pg::array_of(INT8OID, ids.span(), nullptr), pg::text_array(customers.span()),
                    TimestampTzGetDatum(not_before)};
    note_again.run(args, not_before == rules::kBeginning ? "   n" : nullptr);
}

Instant next_note() {
    first_note.run();
    auto [first, none] = pg::cell(0, 1);
    return none ? rules::kNever : Max(DatumGetTimestampTz(first), pg::now() + kSoon);
}

std::span<Fact> facts_of(std::span<const Sent> sent) {
    auto facts = pg::zeroed<Fact>(sent.size());
    for (size_t i = 0; i < sent.size(); ++i) {
        Fact& fact = facts[i];
        fact.kind = FactKind::engagement;
        fact.source_id = kOutbox;
        fact.customer = sent[i].customer;
        fact.at = sent[i].at;
        auto fields = pg::zeroed<Datum>(spec_of(fact.kind).fields.size() - 1);
        fields[0] = pg::to_datum("sent");
        fields[1] = TimestampTzGetDatum(fact.at);
        fields[2] = pg::to_datum(psprintf(INT64_FORMAT, sent[i].message));
        fact.fields = fields.data();
        fact.nulls = pg::zeroed<bool>(fields.size()).data();
    }
    return facts;
}

}  // namespace lifecycle::outbox

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_note_sent) {
    outbox::note_sent(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1));
    PG_RETURN_VOID();
}
