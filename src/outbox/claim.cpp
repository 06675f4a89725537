// claim(): messages that are due go out on lease, with a payload as it is now. What turns up on the way and must not go out is put into
// history. Concurrent claims, and mailers that poll with plain SQL, never get the same message and never wait for one another.
#include <algorithm>

#include "outbox/message.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"

namespace lifecycle::outbox {

using rules::Instant;

namespace {

pg::Statement opening{
    .sql = "SELECT lifecycle.is_armed(), (lifecycle.outbox_policy()).max_attempts,"
           "       EXISTS (SELECT FROM lifecycle.channel AS h WHERE h.max_per_hour IS NOT NULL)",
    .qualified = true};
// What is shown on the site waits for its customer, who must be named.
pg::Statement waiting_channels{.sql = "SELECT w FROM lifecycle.waiting_channels() AS w WHERE w <> 'onsite'"};
pg::Statement room_on{.sql = "SELECT r.room FROM unnest(lifecycle.room_on($1, $2)) WITH ORDINALITY AS r (room, n) ORDER BY r.n",
                      .types = {TEXTARRAYOID, TIMESTAMPTZOID}};

// In the order of the index, so that nothing is sorted however much waits.
pg::Statement pick_of_channel{
    .sql = "SELECT o.tableoid, o.ctid, o.priority, o.due_at, o.message_id FROM lifecycle.outbox AS o"
           " WHERE o.part OPERATOR(pg_catalog.<) 1000 AND o.channel OPERATOR(pg_catalog.=) $1 AND o.due_at OPERATOR(pg_catalog.<=) $2"
           "   AND (o.status OPERATOR(pg_catalog.=) 'pending'"
           "        OR (o.status OPERATOR(pg_catalog.=) 'leased' AND o.leased_until OPERATOR(pg_catalog.<=) $2))"
           " ORDER BY o.channel, o.priority DESC, o.due_at LIMIT $3 FOR UPDATE SKIP LOCKED",
    .types = {TEXTOID, TIMESTAMPTZOID, INT8OID},
    .qualified = true};
pg::Statement pick_of_customer{
    .sql = "WITH own AS MATERIALIZED ("
           "     SELECT o.tableoid AS part, o.ctid AS place, o.priority, o.due_at, o.message_id FROM lifecycle.outbox AS o"
           // Not by the index on due_at: a customer has few messages.
           "      WHERE o.part < 1000 AND o.customer_id = $1 AND o.due_at + interval '0' <= $2 AND ($4 IS NULL OR o.channel = $4)"
           "        AND (o.status = 'pending' OR (o.status = 'leased' AND o.leased_until <= $2))"
           "        FOR UPDATE SKIP LOCKED)"
           " SELECT w.* FROM own AS w ORDER BY w.priority DESC, w.due_at, w.message_id LIMIT $3",
    .types = {TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID}};

pg::Statement ask_gates{
    .sql = "SELECT g.n, g.reason FROM lifecycle.gates($1, $2, $3, $4, $5, $6) AS g WHERE g.reason IS NOT NULL",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID},
    .qualified = true};
pg::Statement end_messages{.sql = "SELECT lifecycle.end_messages($1, $2, $3)", .types = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement note_pace{
    .sql = "INSERT INTO lifecycle.channel_pace (channel, claimed_at, messages)"
           " SELECT u.channel, $2, count(*) FROM unnest($1) AS u (channel) JOIN lifecycle.channel AS h ON h.name = u.channel AND h.max_per_hour IS NOT NULL"
           "  GROUP BY u.channel",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement forget_pace{
    .sql = "DELETE FROM lifecycle.channel_pace AS p WHERE p.claimed_at <= $2 - interval '1 hour' AND p.channel = ANY ($1)",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement renew_coupons{.sql = "SELECT lifecycle.renew_coupons($1, $2, $3)", .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}};
pg::Statement fresh_payloads{
    .sql = "SELECT p.n, p.fresh FROM lifecycle.payloads($1, $2, $3, $4, $5, $6) AS p",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID},
    .qualified = true};
pg::Statement note_lease{
    .sql = "INSERT INTO lifecycle.lease (lease_token, consumer, leased_until, message_ids) VALUES ($1, $2, $3, $4)",
    .types = {INT8OID, TEXTOID, TIMESTAMPTZOID, INT8ARRAYOID},
    .qualified = true};
// For whoever has put triggers or checks on the outbox.
pg::Statement lease_by_statement{
    .sql = "UPDATE lifecycle.outbox AS o"
           "   SET status = 'leased', attempts = o.attempts + 1, leased_by = $5, leased_until = $6, lease_token = $7, payload = u.payload, error = u.error"
           "  FROM unnest($1, $2, $3, $4) AS u (message_id, part, payload, error)"
           " WHERE o.part < 1000 AND o.part = u.part AND o.message_id = u.message_id"
           " RETURNING o.*",
    .types = {INT8ARRAYOID, INT4ARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, INT8OID}};

// What a mailer asks for, and on which terms it gets it.
struct Terms {
    int64 wanted;
    Datum channel, consumer, customer;
    bool any_channel, no_consumer, any_customer;
    Instant clock, until;
    int32 tries;
    int64 token;
};

struct Channel {
    Datum name;
    int64 room;
    bool limited;
};

// A message that is locked.
struct Picked {
    Oid part;
    ItemPointerData place;
    int32 priority;
    Instant due;
    int64 id;
    Message message;
    std::string_view ends;  // as what, if it does not go out
    Datum why;
    bool lapsed;  // somebody had it before
};

void check_terms(FunctionCallInfo fcinfo) {
    if (PG_ARGISNULL(0) || PG_GETARG_INT32(0) < 0)
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_messages must not be negative"),
                errdetail("It is %s.", PG_ARGISNULL(0) ? "NULL" : psprintf("%d", PG_GETARG_INT32(0))));
    Interval nothing{};
    if (PG_ARGISNULL(3) || !DatumGetBool(DirectFunctionCall2(interval_gt, PG_GETARG_DATUM(3), IntervalPGetDatum(&nothing))))
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("lease must be longer than nothing"),
                errdetail("It is %s.", PG_ARGISNULL(3) ? "NULL" : DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(3)))));
}

Datum names_of(const pg::Array<Channel>& channels) {
    pg::Array<Datum> names;
    for (const Channel& c : channels) names.push(c.name);
    return pg::text_array(names.span());
}

// The channels to look at, and how many messages there is room for on each.
void find_channels(const Terms& terms, bool any_limits, pg::Array<Channel>* channels) {
    if (!terms.any_channel) {
        channels->push({terms.channel, 0, false});
    } else {
        uint64 found = waiting_channels.run();
        for (uint64 i = 0; i < found; ++i) channels->push({pg::copied_cell(i, 1, TEXTOID), 0, false});
    }
    if (!any_limits || channels->empty()) return;
    Datum args[] = {names_of(*channels), TimestampTzGetDatum(terms.clock)};
    room_on.run(args);
    for (uint64 i = 0; i < channels->size; ++i) {
        auto [room, unlimited] = pg::cell(i, 1);
        (*channels)[i].room = unlimited ? 0 : DatumGetInt64(room);
        (*channels)[i].limited = !unlimited;
    }
}

void take_picked(uint64 rows, pg::Array<Picked>* picked) {
    for (uint64 i = 0; i < rows; ++i) {
        picked->push({.part = DatumGetObjectId(pg::cell(i, 1).value),
                      .place = *pg::item_pointer(pg::cell(i, 2).value),
                      .priority = DatumGetInt32(pg::cell(i, 3).value),
                      .due = DatumGetTimestampTz(pg::cell(i, 4).value),
                      .id = DatumGetInt64(pg::cell(i, 5).value),
                      .message = {},
                      .ends = {},
                      .why = 0,
                      .lapsed = false});
    }
}

// Locks up to so many messages that are due and that nobody holds, the first ones first.
void pick(const Terms& terms, const pg::Array<Channel>& channels, int64 wanted, pg::Array<Picked>* picked) {
    if (!terms.any_customer) {
        Datum args[] = {terms.customer, TimestampTzGetDatum(terms.clock), Int64GetDatum(wanted), terms.channel};
        take_picked(pick_of_customer.run(args, terms.any_channel ? "   n" : nullptr), picked);
        return;
    }
    for (const Channel& c : channels) {
        Datum args[] = {c.name, TimestampTzGetDatum(terms.clock), Int64GetDatum(c.limited ? Min(wanted, c.room) : wanted)};
        take_picked(pick_of_channel.run(args), picked);
    }
    if (channels.size < 2) return;
    std::sort(picked->begin(), picked->end(), [](const Picked& a, const Picked& b) {
        if (a.priority != b.priority) return a.priority > b.priority;
        return a.due != b.due ? a.due < b.due : a.id < b.id;
    });
    picked->size = Min(picked->size, static_cast<size_t>(wanted));
}

Datum lapse_of(const Message& m) {
    const char* who = m.nulls[kLeasedBy] ? "a consumer" : quote_literal_cstr(pg::to_cstring(m.text(kLeasedBy)));
    return pg::to_datum(psprintf("the lease of %s ran out", who));
}

// Says of each message whether it ends here. Whether an at_most_once message has gone out nobody knows, and no gate can change that.
void judge(const Terms& terms, pg::Array<Picked>& picked) {
    pg::Array<Datum> asked[6];
    pg::Array<bool> no_recipient;
    for (Picked& p : picked) {
        const Message& m = p.message;
        p.lapsed = m.text(kStatus) == "leased";
        bool cancelled = DatumGetBool(m.values[kCancelRequested]);
        if (p.lapsed && !cancelled) p.why = lapse_of(m);
        p.ends = p.lapsed && m.text(kDelivery) == "at_most_once"          ? "unknown"
                 : cancelled                                              ? "cancelled"
                 : DatumGetTimestampTz(m.values[kExpiresAt]) <= terms.clock ? "expired"
                 : DatumGetInt32(m.values[kAttempts]) >= terms.tries      ? "failed"
                                                                          : "";
        constexpr Column kAsked[] = {kCustomerId, kRecipient, kScenario, kAnchor, kChannel, kClass};
        for (size_t i = 0; i < std::size(kAsked); ++i) asked[i].push(m.values[kAsked[i]]);
        no_recipient.push(m.nulls[kRecipient]);
    }
    Datum args[std::size(asked)];
    for (size_t i = 0; i < std::size(asked); ++i) args[i] = pg::text_array(asked[i].span(), i == 1 ? no_recipient.data : nullptr);
    uint64 refused = ask_gates.run(args);
    for (uint64 i = 0; i < refused; ++i) {
        Picked& p = picked[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value)) - 1];
        if (p.ends == "unknown") continue;
        p.ends = "cancelled";
        p.why = pg::copied_cell(i, 2, TEXTOID);
    }
}

// Puts into history what ends here; the others stay in `picked`.
void end_refused(pg::Array<Picked>& picked) {
    pg::Array<Datum> ids, statuses, errors;
    pg::Array<bool> no_error;
    size_t good = 0;
    for (const Picked& p : picked) {
        if (p.ends.empty()) {
            picked[good++] = p;
            continue;
        }
        ids.push(Int64GetDatum(p.id));
        statuses.push(pg::to_datum(p.ends));
        errors.push(p.why);
        no_error.push(p.why == 0);
    }
    picked.size = good;
    if (ids.empty()) return;
    Datum args[] = {pg::array_of(INT8OID, ids.span(), nullptr), pg::text_array(statuses.span()), pg::text_array(errors.span(), no_error.data)};
    end_messages.run(args);
}

void keep_pace(const Terms& terms, const pg::Array<Picked>& picked, pg::Array<Channel>& channels) {
    bool any = std::any_of(channels.begin(), channels.end(), [](const Channel& c) { return c.limited; });
    if (!any) return;
    pg::Array<Datum> claimed;
    for (const Picked& p : picked) {
        claimed.push(p.message.values[kChannel]);
        for (Channel& c : channels) {
            if (c.limited && pg::view(c.name) == p.message.text(kChannel)) --c.room;
        }
    }
    Datum args[] = {pg::text_array(claimed.span()), TimestampTzGetDatum(terms.clock)};
    note_pace.run(args);
}

// A text in a payload, by its keys; 0: there is none.
Datum told(Datum payload, const char* key, const char* inner = nullptr) {
    Jsonb* object = DatumGetJsonbP(payload);
    for (const char* k : {key, inner}) {
        if (k == nullptr) break;
        JsonbValue room;
        if (!JB_ROOT_IS_OBJECT(object)) return 0;
        JsonbValue* v = getKeyJsonValueFromContainer(&object->root, k, static_cast<int>(strlen(k)), &room);
        if (v == nullptr) return 0;
        if (v->type == jbvString) return pg::to_datum(std::string_view{v->val.string.val, static_cast<size_t>(v->val.string.len)});
        if (v->type != jbvBinary) return 0;
        object = JsonbValueToJsonb(v);
    }
    return 0;
}

// The payloads as they are now. A code is good for so long from the first claim on.
void complete(const Terms& terms, pg::Array<Picked>& picked) {
    pg::Array<Datum> customers, scenarios, anchors, recommends, channels, codes, bound_at, renewed;
    pg::Array<bool> no_recommends, no_code;
    for (const Picked& p : picked) {
        const Message& m = p.message;
        customers.push(m.values[kCustomerId]);
        scenarios.push(m.values[kScenario]);
        anchors.push(m.values[kAnchor]);
        channels.push(m.values[kChannel]);
        no_recommends.push(recommends.push(told(m.values[kPayload], "recommends")) == 0);
        Datum code = codes.push(told(m.values[kPayload], "offer", "code"));
        no_code.push(code == 0);
        if (code == 0) continue;
        renewed.push(code);
        bound_at.push(m.values[kCreatedAt]);
    }
    if (!renewed.empty()) {
        Datum args[] = {pg::text_array(renewed.span()), pg::instant_array(bound_at.span()), TimestampTzGetDatum(terms.clock)};
        renew_coupons.run(args);
    }
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(scenarios.span()),
                    pg::text_array(anchors.span()),   pg::text_array(recommends.span(), no_recommends.data),
                    pg::text_array(channels.span()),  pg::text_array(codes.span(), no_code.data)};
    uint64 found = fresh_payloads.run(args);
    for (uint64 i = 0; i < found; ++i) {
        Message& m = picked[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value)) - 1].message;
        m.values[kPayload] = DirectFunctionCall1(jsonb_strip_nulls, DirectFunctionCall2(jsonb_concat, m.values[kPayload], pg::cell(i, 2).value));
    }
}

void lease_directly(const Terms& terms, pg::Array<Picked>& picked, Parts& parts, Tuplestorestate* result) {
    Datum leased = pg::to_datum("leased");
    for (Picked& p : picked) {
        Message& m = p.message;
        m.set(kStatus, leased);
        m.set(kAttempts, Int32GetDatum(DatumGetInt32(m.values[kAttempts]) + 1));
        m.values[kLeasedBy] = terms.consumer;
        m.nulls[kLeasedBy] = terms.no_consumer;
        m.set(kLeasedUntil, TimestampTzGetDatum(terms.until));
        m.set(kLeaseToken, Int64GetDatum(terms.token));
        if (p.lapsed) m.set(kError, p.why);
        tuplestore_puttuple(result, pg::change_row(parts.waiting(p.part), &p.place, m.values, m.nulls));
    }
}

void lease_with_statement(const Terms& terms, const pg::Array<Picked>& picked, Tuplestorestate* result) {
    pg::Array<Datum> ids, parts, payloads, errors;
    pg::Array<bool> no_error;
    for (const Picked& p : picked) {
        ids.push(Int64GetDatum(p.id));
        parts.push(p.message.values[kPart]);
        payloads.push(p.message.values[kPayload]);
        errors.push(p.lapsed ? p.why : p.message.values[kError]);
        no_error.push(!p.lapsed && p.message.nulls[kError]);
    }
    Datum args[] = {pg::array_of(INT8OID, ids.span(), nullptr),  pg::int4_array(parts.span()), pg::array_of(JSONBOID, payloads.span(), nullptr),
                    pg::text_array(errors.span(), no_error.data), terms.consumer,               TimestampTzGetDatum(terms.until),
                    Int64GetDatum(terms.token)};
    uint64 rows = lease_by_statement.run(args, terms.no_consumer ? "    n  " : nullptr);
    for (uint64 i = 0; i < rows; ++i) tuplestore_puttuple(result, SPI_tuptable->vals[i]);
}

// Leases what can be leased of this many; how many have been looked at.
size_t claim_some(Terms& terms, pg::Array<Channel>& channels, int64 wanted, Parts& parts, pg::Array<Datum>* taken, Tuplestorestate* result) {
    pg::Array<Picked> picked;
    pick(terms, channels, wanted, &picked);
    size_t seen = picked.size;
    if (seen == 0) return 0;
    for (Picked& p : picked) {
        pg::Rows* rows = parts.waiting(p.part);
        p.message = read(pg::row_at(rows, &p.place), RelationGetDescr(rows->relation));
    }
    judge(terms, picked);
    end_refused(picked);
    if (picked.empty()) return seen;
    keep_pace(terms, picked, channels);
    complete(terms, picked);
    if (terms.token == 0) terms.token = nextval_internal(pg::table_oid("lease_token"), false);
    if (parts.plain) {
        lease_directly(terms, picked, parts, result);
    } else {
        lease_with_statement(terms, picked, result);
    }
    for (const Picked& p : picked) taken->push(Int64GetDatum(p.id));
    return seen;
}

void claim(Terms& terms, bool any_limits, Tuplestorestate* result) {
    pg::Array<Channel> channels;
    if (terms.any_customer) find_channels(terms, any_limits, &channels);
    Parts parts = open_parts();
    pg::Array<Datum> taken;
    while (static_cast<int64>(taken.size) < terms.wanted) {
        if (claim_some(terms, channels, terms.wanted - static_cast<int64>(taken.size), parts, &taken, result) == 0) break;
    }
    close_parts(parts);
    if (taken.empty()) return;
    Datum args[] = {Int64GetDatum(terms.token), terms.consumer, TimestampTzGetDatum(terms.until), pg::array_of(INT8OID, taken.span(), nullptr)};
    note_lease.run(args, terms.no_consumer ? " n  " : nullptr);
    if (!any_limits || channels.empty()) return;
    Datum pace[] = {names_of(channels), TimestampTzGetDatum(terms.clock)};
    forget_pace.run(pace);
}

}  // namespace

}  // namespace lifecycle::outbox

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_claim) {
    InitMaterializedSRF(fcinfo, 0);
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    outbox::check_terms(fcinfo);
    rules::Instant clock = pg::statement_now();
    outbox::Terms terms{.wanted = PG_GETARG_INT32(0),
                        .channel = PG_GETARG_DATUM(1),
                        .consumer = PG_GETARG_DATUM(2),
                        .customer = PG_GETARG_DATUM(4),
                        .any_channel = PG_ARGISNULL(1),
                        .no_consumer = PG_ARGISNULL(2),
                        .any_customer = PG_ARGISNULL(4),
                        .clock = clock,
                        .until = pg::add_interval(clock, PG_GETARG_INTERVAL_P(3)),
                        .tries = 0,
                        .token = 0};
    pg::as_owner([&] {
        pg::open_spi();
        outbox::opening.run();
        terms.tries = DatumGetInt32(pg::cell(0, 2).value);
        bool any_limits = DatumGetBool(pg::cell(0, 3).value);
        if (DatumGetBool(pg::cell(0, 1).value)) {
            outbox::claim(terms, any_limits, result->setResult);
        } else {
            ereport(WARNING, errmsg("this database is a copy and sends nothing until it is armed"),
                    errhint("SELECT lifecycle.arm() if its customers are to get mail from here."));
        }
        pg::close_spi();
    });
    return Datum{0};
}
