// claim(): messages that are due go out on lease, with a payload as it is now. What turns up on the way and must not go out is put into
// history. Concurrent claims, and mailers that poll with plain SQL, never get the same message and never wait for one another.
#include <algorithm>

#include "outbox/gates.hpp"
#include "outbox/message.hpp"
#include "outbox/payload.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/pick.hpp"
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

pg::Statement pick_of_customer{
    .sql = "WITH own AS MATERIALIZED ("
           "     SELECT o.tableoid, o.ctid AS place, o.priority, o.due_at, o.message_id FROM lifecycle.outbox AS o"
           // Not by the index on due_at: a customer has few messages.
           "      WHERE o.part < 1000 AND o.customer_id = $1 AND o.due_at + interval '0' <= $2 AND ($4 IS NULL OR o.channel = $4)"
           "        AND (o.status = 'pending' OR (o.status = 'leased' AND o.leased_until <= $2))"
           "        FOR UPDATE SKIP LOCKED)"
           " SELECT w.tableoid, w.place FROM own AS w ORDER BY w.priority DESC, w.due_at, w.message_id LIMIT $3",
    .types = {TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID}};

pg::Statement end_messages{.sql = "SELECT lifecycle.end_messages($1, $2, $3)", .types = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement put_off_messages{.sql = "SELECT lifecycle.put_off_messages($1, $2, $3)", .types = {INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID}};
pg::Statement note_pace{
    .sql = "INSERT INTO lifecycle.channel_pace (channel, claimed_at, messages)"
           " SELECT u.channel, $2, count(*) FROM unnest($1) AS u (channel) JOIN lifecycle.channel AS h ON h.name = u.channel AND h.max_per_hour IS NOT NULL"
           "  GROUP BY u.channel",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement forget_pace{
    .sql = "DELETE FROM lifecycle.channel_pace AS p WHERE p.claimed_at <= $2 - interval '1 hour' AND p.channel = ANY ($1)",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement renew_coupons{.sql = "SELECT lifecycle.renew_coupons($1, $2, $3)", .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}};
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
    pg::Rows* part;
    ItemPointerData place;
    Message message;
    std::string_view ends;  // as what, if it does not go out
    Datum why;
    bool lapsed;  // somebody had it before
    Instant later;  // when it may go out after all, if not now

    int64 id() const { return message.number(kMessageId); }
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

struct Harvest {
    Instant clock;
    pg::Array<Picked>* picked;
};

Datum column(TupleTableSlot* row, Column c, bool* null = nullptr) {
    bool is_null;
    return slot_getattr(row, c + 1, null == nullptr ? &is_null : null);
}

Instant due_of(TupleTableSlot* row) { return DatumGetTimestampTz(column(row, kDueAt)); }

// Due, and nobody's.
bool is_free(TupleTableSlot* row, void* arg) {
    Instant clock = static_cast<const Harvest*>(arg)->clock;
    auto status = pg::view(column(row, kStatus));
    if (due_of(row) > clock || status != "leased") return due_of(row) <= clock && status == "pending";
    bool unknown;
    Datum until = column(row, kLeasedUntil, &unknown);
    return !unknown && DatumGetTimestampTz(until) <= clock;
}

bool goes_first(TupleTableSlot* a, TupleTableSlot* b) {
    int32 priority = DatumGetInt32(column(a, kPriority)), other = DatumGetInt32(column(b, kPriority));
    return priority != other ? priority > other : due_of(a) < due_of(b);
}

void take_picked(pg::Rows* part, HeapTuple row, void* arg) {
    static_cast<const Harvest*>(arg)->picked->push({.part = part,
                                                    .place = row->t_self,
                                                    .message = read(row, RelationGetDescr(part->relation)),
                                                    .ends = {},
                                                    .why = 0,
                                                    .lapsed = false,
                                                    .later = rules::kBeginning});
}

// In the order of the index, so that nothing is sorted however much waits.
void pick_of_channel(Datum channel, int64 wanted, Parts& parts, Harvest& harvest) {
    pg::Rows* waiting[kPartsThatWait];
    for (int i = 0; i < kPartsThatWait; ++i) waiting[i] = parts.waiting(part_that_waits(i));
    constexpr AttrNumber kIndex[] = {kChannel + 1, kPriority + 1, kDueAt + 1};
    pg::pick({waiting, kIndex, channel, harvest.clock, is_free, goes_first, take_picked, &harvest}, wanted);
}

bool goes_before(const Picked& a, const Picked& b) {
    int32 priority = DatumGetInt32(a.message.values[kPriority]), other = DatumGetInt32(b.message.values[kPriority]);
    if (priority != other) return priority > other;
    Instant due = DatumGetTimestampTz(a.message.values[kDueAt]), later = DatumGetTimestampTz(b.message.values[kDueAt]);
    return due != later ? due < later : a.id() < b.id();
}

// Locks up to so many messages that are due and that nobody holds, the first ones first.
void pick(const Terms& terms, const pg::Array<Channel>& channels, int64 wanted, Parts& parts, pg::Array<Picked>* picked) {
    Harvest harvest{terms.clock, picked};
    if (!terms.any_customer) {
        Datum args[] = {terms.customer, TimestampTzGetDatum(terms.clock), Int64GetDatum(wanted), terms.channel};
        uint64 found = pick_of_customer.run(args, terms.any_channel ? "   n" : nullptr);
        for (uint64 i = 0; i < found; ++i) {
            pg::Rows* part = parts.waiting(DatumGetObjectId(pg::cell(i, 1).value));
            take_picked(part, pg::row_at(part, pg::item_pointer(pg::cell(i, 2).value)), &harvest);
        }
        return;
    }
    for (const Channel& c : channels) pick_of_channel(c.name, c.limited ? Min(wanted, c.room) : wanted, parts, harvest);
    if (channels.size < 2) return;
    std::sort(picked->begin(), picked->end(), goes_before);
    picked->size = Min(picked->size, static_cast<size_t>(wanted));
}

Datum lapse_of(const Message& m) {
    const char* who = m.nulls[kLeasedBy] ? "a consumer" : quote_literal_cstr(pg::to_cstring(m.text(kLeasedBy)));
    return pg::to_datum(psprintf("the lease of %s ran out", who));
}

// Says of each message whether it ends here. Whether an at_most_once message has gone out nobody knows, and no gate can change that.
void judge(const Terms& terms, pg::Array<Picked>& picked) {
    pg::Array<Asked> asked;
    for (Picked& p : picked) {
        const Message& m = p.message;
        p.lapsed = m.text(kStatus) == "leased";
        bool cancelled = DatumGetBool(m.values[kCancelRequested]);
        if (p.lapsed && !cancelled) p.why = lapse_of(m);
        p.ends = p.lapsed && m.text(kDelivery) == "at_most_once"            ? "unknown"
                 : cancelled                                                ? "cancelled"
                 : DatumGetTimestampTz(m.values[kExpiresAt]) <= terms.clock ? "expired"
                 : DatumGetInt32(m.values[kAttempts]) >= terms.tries        ? "failed"
                                                                            : "";
        asked.push({m.values[kCustomerId], m.values[kRecipient], m.values[kScenario], m.values[kAnchor], m.values[kChannel], m.nulls[kRecipient],
                    m.text(kClass) == "marketing"});
    }
    auto refusals = ask_gates(asked.span());
    for (size_t i = 0; i < picked.size; ++i) {
        Picked& p = picked[i];
        auto [reason, until] = refusals[i];
        if (reason == 0 || p.ends == "unknown") continue;
        if (until == rules::kNever) {
            p.ends = "cancelled";
            p.why = reason;
        } else if (p.ends.empty() && until >= DatumGetTimestampTz(p.message.values[kExpiresAt])) {
            p.ends = "expired";
        } else if (p.ends.empty()) {
            p.later = until;
        }
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
        ids.push(Int64GetDatum(p.id()));
        statuses.push(pg::to_datum(p.ends));
        errors.push(p.why);
        no_error.push(p.why == 0);
    }
    picked.size = good;
    if (ids.empty()) return;
    Datum args[] = {pg::array_of(INT8OID, ids.span(), nullptr), pg::text_array(statuses.span()), pg::text_array(errors.span(), no_error.data)};
    end_messages.run(args);
}

// Lets those wait that quiet hours keep. They are due later then, so nobody comes upon them again meanwhile. How many.
size_t put_off(pg::Array<Picked>& picked) {
    pg::Array<Datum> ids, until, errors;
    pg::Array<bool> no_error;
    size_t good = 0;
    for (const Picked& p : picked) {
        if (p.later == rules::kBeginning) {
            picked[good++] = p;
            continue;
        }
        ids.push(Int64GetDatum(p.id()));
        until.push(TimestampTzGetDatum(p.later));
        errors.push(p.why);
        no_error.push(p.why == 0);
    }
    picked.size = good;
    if (ids.empty()) return 0;
    Datum args[] = {pg::array_of(INT8OID, ids.span(), nullptr), pg::instant_array(until.span()), pg::text_array(errors.span(), no_error.data)};
    put_off_messages.run(args);
    return ids.size;
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

// The payloads as they are now. A code is good for so long from the first claim on.
void bring_up_to_date(const Terms& terms, pg::Array<Picked>& picked) {
    pg::Array<Rendered> messages;
    pg::Array<Datum> codes, bound_at;
    for (const Picked& p : picked) {
        const Datum* m = p.message.values;
        messages.push({m[kPayload], m[kCustomerId], m[kScenario], m[kAnchor], m[kChannel]});
        if (Datum code = told(m[kPayload], "offer", "code")) {
            codes.push(code);
            bound_at.push(m[kCreatedAt]);
        }
    }
    if (!codes.empty()) {
        Datum args[] = {pg::text_array(codes.span()), pg::instant_array(bound_at.span()), TimestampTzGetDatum(terms.clock)};
        renew_coupons.run(args);
    }
    complete(messages.span());
    for (size_t i = 0; i < picked.size; ++i) picked[i].message.values[kPayload] = messages[i].payload;
}

void lease_directly(const Terms& terms, pg::Array<Picked>& picked, Tuplestorestate* result) {
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
        tuplestore_puttuple(result, pg::change_row(p.part, &p.place, m.values, m.nulls));
    }
}

void lease_with_statement(const Terms& terms, const pg::Array<Picked>& picked, Tuplestorestate* result) {
    pg::Array<Datum> ids, parts, payloads, errors;
    pg::Array<bool> no_error;
    for (const Picked& p : picked) {
        ids.push(Int64GetDatum(p.id()));
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

// A night's quiet may keep very many. Once one has been met, more are looked at together than are wanted, and the rest is left to the next claim.
constexpr int64 kLookedAtTogether = 1000;
constexpr size_t kPutOffAtOnce = 10000;

// Leases what can be leased of this many; how many have been looked at.
size_t claim_some(Terms& terms, pg::Array<Channel>& channels, int64 wanted, Parts& parts, pg::Array<Datum>* taken, size_t* waiting, Tuplestorestate* result) {
    pg::Array<Picked> picked;
    pick(terms, channels, *waiting > 0 ? Max(wanted, kLookedAtTogether) : wanted, parts, &picked);
    size_t seen = picked.size;
    if (seen == 0) return 0;
    judge(terms, picked);
    end_refused(picked);
    *waiting += put_off(picked);
    picked.size = Min(picked.size, static_cast<size_t>(wanted));
    if (picked.empty()) return seen;
    keep_pace(terms, picked, channels);
    bring_up_to_date(terms, picked);
    if (terms.token == 0) terms.token = nextval_internal(pg::table_oid("lease_token"), false);
    if (parts.plain) {
        lease_directly(terms, picked, result);
    } else {
        lease_with_statement(terms, picked, result);
    }
    for (const Picked& p : picked) taken->push(Int64GetDatum(p.id()));
    return seen;
}

void claim(Terms& terms, bool any_limits, Tuplestorestate* result) {
    pg::Array<Channel> channels;
    if (terms.any_customer) find_channels(terms, any_limits, &channels);
    Parts parts = open_parts();
    pg::Array<Datum> taken;
    size_t waiting = 0;
    while (static_cast<int64>(taken.size) < terms.wanted && waiting < kPutOffAtOnce) {
        if (claim_some(terms, channels, terms.wanted - static_cast<int64>(taken.size), parts, &taken, &waiting, result) == 0) break;
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
