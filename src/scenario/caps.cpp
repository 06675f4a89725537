// Caps: how many messages a customer, or an address, gets in any span of time.
#include <algorithm>

#include "pg/statement.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// What was put into the outbox within the longest window of a cap.
pg::Statement read_sent{
    .sql = "SELECT e.customer_id, e.channel, e.class = 'marketing', e.decided_at, 0::int8, concat_ws(':', e.scenario, e.position, e.anchor, e.customer_id)"
           "  FROM lifecycle.enrolment_step AS e"
           " WHERE e.customer_id = ANY ($1) AND e.outcome = 'enqueued' AND e.decided_at > $2 ORDER BY e.customer_id",
    .types = {TEXTARRAYOID, TIMESTAMPTZOID}};
pg::Statement read_sent_to{
    .sql = "SELECT e.customer_id, e.channel, e.class = 'marketing', e.decided_at, e.address_key, concat_ws(':', e.scenario, e.position, e.anchor, e.customer_id)"
           "  FROM lifecycle.enrolment_step AS e"
           " WHERE e.address_key = ANY ($1) AND e.outcome = 'enqueued' AND e.decided_at > $2",
    .types = {INT8ARRAYOID, TIMESTAMPTZOID}};
// What of it was taken out again unsent. Asked only if there is something: to begin a statement over all parts of the outbox costs more than an order.
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

// The rows of the last result that count, in their order.
pg::Array<Sent> read_counted(const Scenarios& all, uint64 rows, bool in_present) {
    pg::Array<Sent> sent;
    pg::Array<Datum> customers, keys;
    for (uint64 i = 0; i < rows; ++i) {
        customers.push(pg::cell(i, 1).value);
        sent.push({nullptr, pg::view(customers[i]), DatumGetInt64(pg::cell(i, 5).value), find_channel(all, pg::view(pg::cell(i, 2).value)),
                   DatumGetBool(pg::cell(i, 3).value), DatumGetTimestampTz(pg::cell(i, 4).value)});
        keys.push(pg::cell(i, 6).value);
    }
    if (sent.empty()) return sent;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(keys.span())};
    rows = in_present ? read_unsent.run_in_present(args) : read_unsent.run(args);
    auto unsent = pg::zeroed<bool>(sent.size);
    for (uint64 i = 0; i < rows; ++i) unsent[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value) - 1)] = true;
    size_t kept = 0;
    for (size_t i = 0; i < sent.size; ++i) {
        if (!unsent[i]) sent[kept++] = sent[i];
    }
    sent.size = kept;
    return sent;
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
    work.sent_to = read_counted(work.scenarios, read_sent_to.run_in_present(sent), true);
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
        if (e.change == last || !counts_now(work.scenarios, e, hold)) continue;
        customers.push(e.change->after.values[kCustomerId]);
        last = e.change;
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), TimestampTzGetDatum(batch[0].now - work.scenarios.longest_cap)};
    work.sent = read_counted(work.scenarios, read_sent.run(args), false);
    size_t b = 0;
    for (Sent& s : work.sent) {
        while (batch[b].customer_id != s.customer) ++b;  // both are sorted
        s.change = &batch[b];
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
