// What the shop says of the customers themselves: names and addresses, and what they have consented to.
#include "customer/ledger.hpp"
#include "pg/fault.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {

pg::Statement forget_consents{
    .sql = "DELETE FROM lifecycle.consent_log AS d USING"
           " (SELECT l.ctid, l.customer_id, l.channel, l.status, l.changed_at, l.source_id,"
           "         row_number() OVER (PARTITION BY l.customer_id, l.channel, l.status, l.changed_at, l.source_id) AS n"
           "    FROM lifecycle.consent_log AS l WHERE l.customer_id = ANY ($1)) AS l,"
           " (SELECT u.*, row_number() OVER (PARTITION BY u.customer_id, u.channel, u.status, u.changed_at, u.source_id) AS n"
           "    FROM unnest($1, $2, $3, $4, $5) AS u (customer_id, channel, status, changed_at, source_id)) AS u"
           " WHERE d.ctid = l.ctid AND (l.customer_id, l.channel, l.status, l.changed_at, l.source_id, l.n)"
           "                         = (u.customer_id, u.channel, u.status, u.changed_at, u.source_id, u.n)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}};
pg::Statement note_consents{
    .sql = "INSERT INTO lifecycle.consent_log (customer_id, channel, status, changed_at, source_id, evidence)"
           " SELECT * FROM unnest($1, $2, $3, $4, $5, $6)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID}};
// Of two statements of the same instant the more careful one holds.
pg::Statement latest_consents{
    .sql = "SELECT DISTINCT ON (l.customer_id, l.channel) l.customer_id, l.channel, l.status FROM lifecycle.consent_log AS l"
           " WHERE l.customer_id = ANY ($1)"
           " ORDER BY l.customer_id, l.channel, l.changed_at DESC, l.status = 'granted', l.status",
    .types = {TEXTARRAYOID}};

struct Consents {
    pg::Array<Datum> customers, channels, statuses, changed_at, sources, evidence;
    pg::Array<bool> no_evidence;

    void push(const Fact& fact) {
        customers.push(pg::to_datum(fact.customer));
        channels.push(fact.fields[0]);
        statuses.push(fact.fields[1]);
        changed_at.push(fact.fields[2]);
        sources.push(Int32GetDatum(fact.source_id));
        evidence.push(fact.fields[3]);
        no_evidence.push(fact.nulls[3]);
    }
    void run(pg::Statement& statement) {
        if (customers.empty()) return;
        Datum args[] = {pg::text_array(customers.span()), pg::text_array(channels.span()), pg::text_array(statuses.span()),
                        pg::instant_array(changed_at.span()), pg::int4_array(sources.span()),
                        pg::text_array(evidence.span(), no_evidence.data)};
        statement.run(args);
    }
};

void take_in_profile(Change& change) {
    for (const Fact& fact : change.facts) {
        if (fact.kind != FactKind::customer) continue;
        for (int c = kEmail; c <= kAttributes; ++c) {
            int field = c - kEmail;
            if (fact.withdrawn || fact.nulls[field]) {
                change.after.clear(static_cast<Column>(c));
            } else {
                change.after.set(static_cast<Column>(c), fact.fields[field]);
            }
        }
    }
}

void take_in_consents(Batch batch) {
    Consents gone;
    Consents said;
    pg::Array<Datum> touched;
    for (Change& change : batch) {
        bool any = false;
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::consent) continue;
            any = true;
            (fact.withdrawn ? gone : said).push(fact);
        }
        if (!any) continue;
        touched.push(pg::to_datum(change.customer_id));
        for (int c = kEmailConsent; c <= kAdsConsent; ++c) change.after.clear(static_cast<Column>(c));
    }
    if (touched.empty()) return;
    gone.run(forget_consents);
    said.run(note_consents);

    Datum arg = pg::text_array(touched.span());
    uint64 rows = latest_consents.run({&arg, 1});
    size_t i = 0;
    for (uint64 row = 0; row < rows; ++row) {
        auto id = pg::view(pg::cell(row, 1).value);
        while (batch[i].customer_id != id) ++i;  // both are sorted
        batch[i].after.set(consent_column(pg::view(pg::cell(row, 2).value)), pg::cell(row, 3).value);
    }
}

}  // namespace

void take_in_profiles(Batch batch) {
    pg::fault_point("profiles");
    for (Change& change : batch) take_in_profile(change);
    take_in_consents(batch);
}

}  // namespace lifecycle::customer
