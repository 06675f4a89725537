// Caps: how many messages a customer, or an address, gets in any span of time.
#include <algorithm>

#include "pg/statement.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// What was put into the outbox within the longest window of a cap, and not taken out again unsent.
#define COUNTS_TOWARDS_CAPS                                                                                                             \
    " AND e.outcome = 'enqueued' AND e.decided_at > $2"                                                                                 \
    " AND NOT EXISTS (SELECT FROM lifecycle.outbox AS o"                                                                                \
    "                  WHERE o.customer_id = e.customer_id AND o.idempotency_key = concat_ws(':', e.scenario, e.position, e.anchor, e.customer_id)" \
    "                    AND o.status IN ('cancelled', 'expired'))"
pg::Statement read_sent{
    .sql = "SELECT e.customer_id, e.channel, e.class = 'marketing', e.decided_at FROM lifecycle.enrolment_step AS e"
           " WHERE e.customer_id = ANY ($1)" COUNTS_TOWARDS_CAPS " ORDER BY e.customer_id",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement read_sent_to{
    .sql = "SELECT e.address_key, e.channel, e.class = 'marketing', e.decided_at FROM lifecycle.enrolment_step AS e"
           " WHERE e.address_key = ANY ($1)" COUNTS_TOWARDS_CAPS,
    .types = {INT8ARRAYOID, TIMESTAMPTZOID}};
#undef COUNTS_TOWARDS_CAPS

// An address is held by an advisory lock. Nobody waits for one: an order must not, and whoever finds it taken asks again.
pg::Statement read_addresses{
    .sql = "SELECT u.n, coalesce(k.mail, 0), coalesce(k.phone, 0),"
           "       NOT $3 OR (coalesce(pg_try_advisory_xact_lock(k.mail), true) AND coalesce(pg_try_advisory_xact_lock(k.phone), true))"
           "  FROM unnest($1, $2) WITH ORDINALITY AS u (mail, phone, n)"
           " CROSS JOIN LATERAL (SELECT lifecycle.address_key(u.mail) AS mail, lifecycle.address_key(u.phone) AS phone OFFSET 0) AS k",
    .types = {TEXTARRAYOID, TEXTARRAYOID, BOOLOID}};

// How soon to ask again for an address that another session decides about.
constexpr Instant kSoon = 1'000'000;

bool may_send_now(const Enrolment& e) { return e.scenario != nullptr && (e.fresh || e.next_due <= e.change->now); }

int find_channel(const Scenarios& all, std::string_view name) {
    for (size_t c = 0; c < all.channels.size; ++c) {
        if (all.channels[c].name == name) return static_cast<int>(c);
    }
    return -1;
}

Sent sent_in_row(const Scenarios& all, uint64 i) {
    return {nullptr, 0, find_channel(all, pg::view(pg::cell(i, 2).value)), DatumGetBool(pg::cell(i, 3).value),
            DatumGetTimestampTz(pg::cell(i, 4).value)};
}

void load_addresses(Work& work, bool hold) {
    pg::Array<Datum> mails, phones;
    pg::Array<bool> no_mail, no_phone;
    for (const Enrolment& e : work.enrolments) {
        if (!may_send_now(e) || (!work.addresses.empty() && work.addresses[work.addresses.size - 1].change == e.change)) continue;
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
    rows = read_sent_to.run_in_present(sent);
    for (uint64 i = 0; i < rows; ++i) {
        Sent s = sent_in_row(work.scenarios, i);
        s.address = DatumGetInt64(pg::cell(i, 1).value);
        work.sent_to.push(s);
    }
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
    const Change* last = nullptr;
    for (const Enrolment& e : work.enrolments) {
        if (e.change != last) customers.push(e.change->after.values[kCustomerId]);
        last = e.change;
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), TimestampTzGetDatum(batch[0].now - work.scenarios.longest_cap)};
    uint64 rows = read_sent.run(args);
    size_t b = 0;
    for (uint64 i = 0; i < rows; ++i) {
        auto id = pg::view(pg::cell(i, 1).value);
        while (batch[b].customer_id != id) ++b;  // both are sorted
        Sent s = sent_in_row(work.scenarios, i);
        s.change = &batch[b];
        work.sent.push(s);
    }
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
    Sent s{e.change, address_of(work, e, step), step.channel, step.marketing, e.change->now};
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
            if ((s.marketing ? rule.marketing : rule.transactional) && (rule.channel < 0 || rule.channel == s.channel)) counted.push(s.at);
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
