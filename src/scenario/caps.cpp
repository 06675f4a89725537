// Caps: how many messages a customer, or an address, gets in any span of time.
#include <algorithm>

#include "pg/catalog.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// What was put into the outbox for an address within the longest window of a cap.
pg::Statement read_sent_to{
    .sql = "SELECT e.customer_id, e.scenario, e.anchor, e.position, e.channel, e.class, e.decided_at, e.address_key"
           "  FROM lifecycle.enrolment_step AS e"
           " WHERE e.address_key = ANY ($1) AND e.outcome = 'enqueued' AND e.decided_at > $2",
    .types = {INT8ARRAYOID, TIMESTAMPTZOID}};
// What of it was taken out again unsent. Asked only where it matters: a look into all parts of the outbox costs more than the
// rest of a step.
pg::Statement read_unsent{
    .sql = "SELECT u.n FROM unnest($1, $2) WITH ORDINALITY AS u (customer_id, key, n)"
           "  JOIN lifecycle.outbox AS o ON o.customer_id = u.customer_id AND o.idempotency_key = u.key"
           " WHERE o.status IN ('cancelled', 'expired')",
    .types = {TEXTARRAYOID, TEXTARRAYOID}};

// An address is held by an advisory lock. Nobody waits for one: an order must not, and whoever finds it taken asks again.
pg::Statement read_addresses{
    .sql = "SELECT u.n, coalesce(k.mail, 0), coalesce(k.phone, 0),"
           "       NOT $3 OR (coalesce(pg_try_advisory_xact_lock(k.mail), true) AND coalesce(pg_try_advisory_xact_lock(k.phone), true))"
           "  FROM unnest($1, $2) WITH ORDINALITY AS u (mail, phone, n)"
           " CROSS JOIN LATERAL (SELECT lifecycle.address_key(u.mail) AS mail, lifecycle.address_key(u.phone) AS phone OFFSET 0) AS k",
    .types = {TEXTARRAYOID, TEXTARRAYOID, BOOLOID}};

// How soon to ask again for an address that another session decides about.
constexpr Instant kSoon = 1'000'000;

int find_channel(const Scenarios& all, std::string_view name) {
    for (size_t c = 0; c < all.channels.size; ++c) {
        if (all.channels[c].name == name) return static_cast<int>(c);
    }
    return -1;
}

// What was put into the outbox, of which some may have been taken out again.
struct Put {
    struct Step {
        Datum customer, scenario, anchor;
        int position;
    };
    pg::Array<Sent> sent;
    pg::Array<Step> steps;  // of each
};

// The columns of the table, in its order.
enum StepColumn { kOf, kIn, kAnchor, kPosition, kOutcome, kReason, kDecidedAt, kChannel, kClass, kAddressKey, kStepColumns };

// For these customers, which are sorted, within the longest window of a cap: row by row along the index, which costs a fraction of a statement.
Put read_sent(const Scenarios& all, std::span<const Datum> customers, Instant since) {
    Put put;
    pg::TableWriter* steps = pg::open_writer(pg::table_oid(pg::Table::enrolment_step));
    TupleDesc layout = RelationGetDescr(steps->relation);
    if (layout->natts != kStepColumns)
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("table \"lifecycle.enrolment_step\" does not have the columns this version of pg_lifecycle knows"),
                errhint("Run ALTER EXTENSION pg_lifecycle UPDATE."));
    for (HeapTuple row : pg::rows_of(steps, customers)) {
        Datum values[kStepColumns];
        bool nulls[kStepColumns];
        heap_deform_tuple(row, layout, values, nulls);
        if (pg::view(values[kOutcome]) != "enqueued" || DatumGetTimestampTz(values[kDecidedAt]) <= since) continue;
        put.sent.push({nullptr, pg::view(values[kOf]), 0, find_channel(all, pg::view(values[kChannel])), pg::view(values[kClass]) == "marketing",
                       DatumGetTimestampTz(values[kDecidedAt])});
        put.steps.push({values[kOf], values[kIn], values[kAnchor], DatumGetInt32(values[kPosition])});
    }
    pg::close_writer(steps);
    return put;
}

Put read_put(const Scenarios& all, uint64 rows) {
    Put put;
    for (uint64 i = 0; i < rows; ++i) {
        put.steps.push({pg::cell(i, 1).value, pg::cell(i, 2).value, pg::cell(i, 3).value, DatumGetInt32(pg::cell(i, 4).value)});
        put.sent.push({nullptr, pg::view(put.steps[i].customer), DatumGetInt64(pg::cell(i, 8).value), find_channel(all, pg::view(pg::cell(i, 5).value)),
                       pg::view(pg::cell(i, 6).value) == "marketing", DatumGetTimestampTz(pg::cell(i, 7).value)});
    }
    return put;
}

// As the outbox has it.
Datum key_of(const Put::Step& s) {
    return pg::to_datum(psprintf("%s:%d:%s:%s", pg::to_cstring(pg::view(s.scenario)), s.position, pg::to_cstring(pg::view(s.anchor)),
                                 pg::to_cstring(pg::view(s.customer))));
}

// Without what was taken out again, of those that are asked about; nullptr: all.
pg::Array<Sent> still_sent(Put& put, const bool* asked, bool in_present) {
    pg::Array<Datum> customers, keys;
    pg::Array<size_t> whose;
    for (size_t i = 0; i < put.sent.size; ++i) {
        if (asked != nullptr && !asked[i]) continue;
        customers.push(put.steps[i].customer);
        keys.push(key_of(put.steps[i]));
        whose.push(i);
    }
    if (whose.empty()) return put.sent;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(keys.span())};
    uint64 rows = in_present ? read_unsent.run_in_present(args) : read_unsent.run(args);
    auto unsent = pg::zeroed<bool>(put.sent.size);
    for (uint64 i = 0; i < rows; ++i) unsent[whose[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value) - 1)]] = true;
    size_t kept = 0;
    for (size_t i = 0; i < put.sent.size; ++i) {
        if (!unsent[i]) put.sent[kept++] = put.sent[i];
    }
    put.sent.size = kept;
    return put.sent;
}

bool counts_for(const CapRule& rule, const Sent& s) {
    return (s.marketing ? rule.marketing : rule.transactional) && (rule.channel < 0 || rule.channel == s.channel);
}

// Whether a cap may be met by so many more, if all of these messages of a customer went out.
bool may_be_capped(const Scenarios& all, std::span<const Sent> sent, int more, Instant now) {
    for (const CapRule& rule : all.caps) {
        if (rule.by_address) continue;
        int counted = more;
        for (const Sent& s : sent) counted += counts_for(rule, s) && s.at >= now - rule.cap.window ? 1 : 0;
        if (counted > rule.cap.most) return true;
    }
    return false;
}

// Whether a cap has a say in any step of the scenario, or wants to know its address.
bool is_capped(const Scenarios& all, const Scenario& s) {
    if (all.any_caps_by_address) return true;
    for (const Step& step : s.steps) {
        for (const CapRule& rule : all.caps) {
            if (step.sends && (step.marketing ? rule.marketing : rule.transactional)) return true;
        }
    }
    return false;
}

// Whether something may be sent of the enrolment now; to decide about it, it has to be due.
bool counts_now(const Scenarios& all, const Enrolment& e, bool to_decide) {
    return e.scenario != nullptr && is_capped(all, *e.scenario) && (!to_decide || is_due(e));
}

void load_addresses(Work& work, bool hold) {
    pg::Array<Datum> mails, phones;
    pg::Array<bool> no_mail, no_phone;
    for (const Enrolment& e : work.enrolments) {
        if (!counts_now(work.scenarios, e, hold) || (!work.addresses.empty() && work.addresses[work.addresses.size - 1].change == e.change)) continue;
        const Row& row = e.change->after;
        bool id_is_mail = row.nulls[kEmail] && e.change->customer_id.find('@') != std::string_view::npos;
        no_mail.push(row.nulls[kEmail] && !id_is_mail);
        mails.push(id_is_mail ? row.values[kCustomerId] : row.values[kEmail]);
        no_phone.push(row.nulls[kPhone]);
        phones.push(row.values[kPhone]);
        work.addresses.push({e.change, 0, 0, true});
    }
    if (mails.empty()) return;
    Datum args[] = {pg::text_array(mails.span(), no_mail.data), pg::text_array(phones.span(), no_phone.data), BoolGetDatum(hold)};
    uint64 rows = read_addresses.run(args);
    pg::Array<Datum> keys;
    for (uint64 i = 0; i < rows; ++i) {
        Addresses& a = work.addresses[DatumGetInt64(pg::cell(i, 1).value) - 1];
        a.mail = DatumGetInt64(pg::cell(i, 2).value);
        a.phone = DatumGetInt64(pg::cell(i, 3).value);
        a.held = DatumGetBool(pg::cell(i, 4).value);
        for (int64 key : {a.mail, a.phone}) {
            if (key != 0) keys.push(Int64GetDatum(key));
        }
    }
    if (keys.empty()) return;
    // In the present: whoever held the address before may have committed after this transaction's snapshot was taken.
    Datum sent[] = {pg::array_of(INT8OID, keys.span(), nullptr), TimestampTzGetDatum(work.addresses[0].change->now - work.scenarios.longest_cap)};
    Put put = read_put(work.scenarios, read_sent_to.run_in_present(sent));
    work.sent_to = still_sent(put, nullptr, true);
}

const Addresses* addresses_of(const Work& work, const Enrolment& e) {
    for (const Addresses& a : work.addresses) {
        if (a.change == e.change) return &a;
    }
    return nullptr;
}

}  // namespace

void load_sent(Work& work, Batch batch, bool hold) {
    if (work.scenarios.caps.empty()) return;
    pg::Array<Datum> customers;
    auto more = pg::zeroed<int>(batch.size());  // so many may go out to each now
    for (const Enrolment& e : work.enrolments) {
        if (counts_now(work.scenarios, e, hold)) ++more[static_cast<size_t>(e.change - batch.data())];
    }
    for (size_t i = 0; i < batch.size(); ++i) {
        if (more[i] > 0) customers.push(batch[i].after.values[kCustomerId]);
    }
    if (customers.empty()) return;
    Put put = read_sent(work.scenarios, customers.span(), batch[0].now - work.scenarios.longest_cap);
    auto asked = pg::zeroed<bool>(put.sent.size);
    size_t b = 0;
    for (size_t first = 0, end; first < put.sent.size; first = end) {
        while (batch[b].customer_id != put.sent[first].customer) ++b;  // both are sorted
        for (end = first; end < put.sent.size && put.sent[end].customer == batch[b].customer_id; ++end) put.sent[end].change = &batch[b];
        bool ask = may_be_capped(work.scenarios, put.sent.span().subspan(first, end - first), more[b], batch[b].now);
        for (size_t i = first; i < end; ++i) asked[i] = ask;
    }
    work.sent = still_sent(put, asked.data(), false);
    work.sent_before = work.sent.size;
    if (work.scenarios.any_caps_by_address) load_addresses(work, hold);
}

int64 address_of(const Work& work, const Enrolment& e, const Step& step) {
    const Addresses* a = addresses_of(work, e);
    if (a == nullptr) return 0;
    return work.scenarios.channels[step.channel].name == "sms" ? a->phone : a->mail;
}

void count_sent(Work& work, const Enrolment& e, const Step& step) {
    if (work.scenarios.caps.empty()) return;
    Sent s{e.change, e.change->customer_id, address_of(work, e, step), step.channel, step.marketing, e.change->now};
    work.sent.push(s);
    if (s.address != 0) work.sent_to.push(s);
}

Instant within_caps(const Work& work, const Enrolment& e, const Step& step) {
    Instant now = e.change->now;
    Instant allowed = now;
    int64 address = address_of(work, e, step);
    for (const CapRule& rule : work.scenarios.caps) {
        if (!(step.marketing ? rule.marketing : rule.transactional) || (rule.channel >= 0 && rule.channel != step.channel)) continue;
        if (rule.by_address && address == 0) continue;
        if (rule.by_address && !addresses_of(work, e)->held) return now + kSoon;
        pg::Array<Instant> counted;
        auto count = [&](const Sent& s) {
            if (counts_for(rule, s)) counted.push(s.at);
        };
        if (rule.by_address) {
            for (const Sent& s : work.sent_to) {
                if (s.address == address) count(s);
            }
        } else {
            // What was there before is sorted by customer; what this batch has added follows, one customer after the other.
            std::span<const Sent> before{work.sent.data, work.sent_before};
            auto first = std::lower_bound(before.begin(), before.end(), e.change, [](const Sent& s, const Change* c) { return s.change < c; });
            for (; first != before.end() && first->change == e.change; ++first) count(*first);
            for (size_t i = work.sent.size; i > work.sent_before && work.sent[i - 1].change == e.change; --i) count(work.sent[i - 1]);
        }
        std::sort(counted.begin(), counted.end());
        allowed = Max(allowed, rules::allowed_at({&rule.cap, 1}, counted.span(), now));
    }
    return allowed;
}

}  // namespace lifecycle::scenario
