// ack(): what was sent moves into history. A message is its mailer's while its lease holds, and with the lease's token until somebody else
// has taken it.
#include <algorithm>

#include "outbox/message.hpp"
#include "outbox/sent.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/form.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::outbox {

using rules::Instant;

namespace {

pg::Statement history_part{.sql = "SELECT lifecycle.history_part()", .qualified = true};
// For whoever has put triggers or checks on the outbox.
pg::Statement ack_by_statement{
    .sql = "WITH gone AS ("
           "     DELETE FROM lifecycle.outbox AS o"
           "      WHERE o.part < 1000 AND o.message_id = ANY ($1)"
           "        AND CASE WHEN $3 IS NULL THEN o.status = 'leased' AND o.leased_until > $4"
           "                 ELSE o.status IN ('leased', 'pending') AND o.lease_token = $3 END"
           "     RETURNING o.*)"
           " INSERT INTO lifecycle.outbox (message_id, idempotency_key, customer_id, channel, recipient, scenario, anchor, step, variant, class,"
           "                               delivery, priority, template, subject, locale, payload, status, created_at, due_at, expires_at,"
           "                               attempts, leased_by, leased_until, lease_token, cancel_requested, sent_at, provider_id, error, part)"
           " SELECT g.message_id, g.idempotency_key, g.customer_id, g.channel, g.recipient, g.scenario, g.anchor, g.step, g.variant, g.class,"
           "        g.delivery, g.priority, g.template, g.subject, g.locale, g.payload, 'sent', g.created_at, g.due_at, g.expires_at,"
           "        g.attempts, g.leased_by, NULL, g.lease_token, g.cancel_requested, $4, $2[array_position($1, g.message_id)], g.error, $5"
           "   FROM gone AS g"
           " RETURNING message_id",
    .types = {INT8ARRAYOID, TEXTARRAYOID, INT8OID, TIMESTAMPTZOID, INT4OID}};
// Given up as unknown, but the mailer lives and knows.
pg::Statement ack_unknown{
    .sql = "UPDATE lifecycle.outbox AS o SET status = 'sent', leased_until = NULL, provider_id = $2[array_position($1, o.message_id)]"
           " WHERE o.part >= 1000 AND o.message_id = ANY ($1) AND o.status = 'unknown' AND o.lease_token = $3"
           " RETURNING o.message_id",
    .types = {INT8ARRAYOID, TEXTARRAYOID, INT8OID}};
pg::Statement refuse{.sql = "SELECT lifecycle.refuse_answer($1, $2, 'sent', NULL)", .types = {INT8ARRAYOID, INT8OID}};

// What the mailer says of one message.
struct Answer {
    int64 id;
    int place;
    Datum provider_id;  // 0: it has none
};

struct Lease {
    int64 token;
    bool none;  // the mailer has not said which
    Instant clock;
};

// Each message once, with what is said of it first.
pg::Array<Answer> read_answers(Datum ids, Datum providers) {
    pg::Array<Answer> answers;
    pg::Elements told = pg::elements_of(ids);
    pg::Elements from = providers == 0 ? pg::Elements{} : pg::elements_of(providers);
    for (int i = 0; i < told.count; ++i) {
        if (told.nulls[i]) continue;
        answers.push({DatumGetInt64(told.values[i]), i, i < from.count && !from.nulls[i] ? from.values[i] : 0});
    }
    std::sort(answers.begin(), answers.end(),
              [](const Answer& a, const Answer& b) { return a.id != b.id ? a.id < b.id : a.place < b.place; });
    answers.size = static_cast<size_t>(
        std::unique(answers.begin(), answers.end(), [](const Answer& a, const Answer& b) { return a.id == b.id; }) - answers.begin());
    return answers;
}

bool is_of_lease(HeapTuple row, TupleDesc layout, void* arg) {
    auto* lease = static_cast<const Lease*>(arg);
    bool null;
    auto status = pg::view(heap_getattr(row, kStatus + 1, layout, &null));
    if (lease->none) {
        Datum until = heap_getattr(row, kLeasedUntil + 1, layout, &null);
        return status == "leased" && !null && DatumGetTimestampTz(until) > lease->clock;
    }
    Datum token = heap_getattr(row, kLeaseToken + 1, layout, &null);
    return (status == "leased" || status == "pending") && !null && DatumGetInt64(token) == lease->token;
}

// Messages enter the parts in turn (lifecycle.part_of()). Most are still there; which part is asked first is a matter of speed only.
constexpr int64 kMessagesPerPart = 20000;

pg::Rows* part_of(int64 id, int turn, Parts& parts) {
    int part = static_cast<int>((static_cast<uint64>(id) / kMessagesPerPart + static_cast<uint64>(turn)) % kPartsThatWait);
    return parts.waiting(part_that_waits(part));
}

HeapTuple take(int64 id, Lease& lease, Parts& parts, TupleDesc* layout) {
    for (int turn = 0; turn < kPartsThatWait; ++turn) {
        pg::Rows* rows = part_of(id, turn, parts);
        if (!parts.plain) return nullptr;
        *layout = RelationGetDescr(rows->relation);
        if (HeapTuple row = pg::take_row(rows, id, is_of_lease, &lease)) return row;
    }
    return nullptr;
}

HeapTuple as_sent(HeapTuple row, TupleDesc layout, const Answer& answer, const Lease& lease, int32 history) {
    Message m = read(row, layout);
    m.set(kStatus, pg::to_datum("sent"));
    m.clear(kLeasedUntil);
    m.set(kSentAt, TimestampTzGetDatum(lease.clock));
    m.set(kPart, Int32GetDatum(history));
    m.values[kProviderId] = answer.provider_id;
    m.nulls[kProviderId] = answer.provider_id == 0;
    return pg::form_row(layout, m.values, m.nulls);
}

// Moves the messages of a lease into history; the others stay in `answers`.
void move(Lease& lease, int32 history, pg::Array<Answer>* answers, pg::Array<Datum>* moved) {
    Parts parts = open_parts();
    pg::Rows* volume = parts.history(pg::table_oid(psprintf("outbox_%d", history)));
    pg::Array<HeapTuple> sent;
    // Twice, because a message may have gone to another part since the first look.
    for (int look = 0; look < 2 && !answers->empty(); ++look) {
        size_t left = 0;
        for (const Answer& answer : *answers) {
            TupleDesc layout;
            HeapTuple row = take(answer.id, lease, parts, &layout);
            if (row != nullptr) {
                sent.push(as_sent(row, layout, answer, lease, history));
                moved->push(Int64GetDatum(answer.id));
            } else {
                (*answers)[left++] = answer;
            }
        }
        answers->size = left;
        for (pg::Rows* rows : parts.open) pg::look_again(rows);
    }
    if (!sent.empty()) pg::add_rows(volume, sent.span());
    close_parts(parts);
    pg::written();
}

Datum ids_of(const pg::Array<Answer>& answers) {
    pg::Array<Datum> ids;
    for (const Answer& a : answers) ids.push(Int64GetDatum(a.id));
    return pg::array_of(INT8OID, ids.span(), nullptr);
}

Datum providers_of(const pg::Array<Answer>& answers) {
    pg::Array<Datum> providers;
    pg::Array<bool> none;
    for (const Answer& a : answers) none.push(providers.push(a.provider_id) == 0);
    return pg::text_array(providers.span(), none.data);
}

// Leaves in `answers` those that the last statement has not returned.
void drop_returned(uint64 rows, pg::Array<Answer>* answers, pg::Array<Datum>* moved = nullptr) {
    pg::Array<int64> done;
    for (uint64 i = 0; i < rows; ++i) {
        int64 id = done.push(DatumGetInt64(pg::cell(i, 1).value));
        if (moved != nullptr) moved->push(Int64GetDatum(id));
    }
    std::sort(done.begin(), done.end());
    auto* rest = std::remove_if(answers->begin(), answers->end(),
                                [&](const Answer& a) { return std::binary_search(done.begin(), done.end(), a.id); });
    answers->size = static_cast<size_t>(rest - answers->begin());
}

// What is not simply there to be moved.
void settle_rest(const Lease& lease, int32 history, pg::Array<Answer>* answers, pg::Array<Datum>* moved) {
    Datum args[] = {ids_of(*answers), providers_of(*answers), Int64GetDatum(lease.token), TimestampTzGetDatum(lease.clock), Int32GetDatum(history)};
    drop_returned(ack_by_statement.run(args, lease.none ? "  n  " : nullptr), answers, moved);
    if (!lease.none && !answers->empty()) {
        Datum unknown[] = {ids_of(*answers), providers_of(*answers), Int64GetDatum(lease.token)};
        drop_returned(ack_unknown.run(unknown), answers);
    }
    if (answers->empty()) return;
    Datum refused[] = {ids_of(*answers), Int64GetDatum(lease.token)};
    refuse.run(refused, lease.none ? " n" : nullptr);
}

int64 ack(Lease& lease, pg::Array<Answer>* answers) {
    auto told = static_cast<int64>(answers->size);
    history_part.run();
    int32 history = DatumGetInt32(pg::cell(0, 1).value);
    pg::Array<Datum> moved;
    move(lease, history, answers, &moved);
    if (!answers->empty()) settle_rest(lease, history, answers, &moved);
    if (!moved.empty()) note_sent(Int32GetDatum(history), pg::array_of(INT8OID, moved.span(), nullptr));
    return told - static_cast<int64>(answers->size);
}

}  // namespace

}  // namespace lifecycle::outbox

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_ack) {
    if (PG_ARGISNULL(0)) PG_RETURN_INT64(0);
    int64 acknowledged = 0;
    pg::as_owner([&] {
        pg::open_spi();
        outbox::Lease lease{PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1), PG_ARGISNULL(1), pg::statement_now()};
        auto answers = outbox::read_answers(PG_GETARG_DATUM(0), PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2));
        if (!answers.empty()) acknowledged = outbox::ack(lease, &answers);
        pg::close_spi();
    });
    PG_RETURN_INT64(acknowledged);
}
