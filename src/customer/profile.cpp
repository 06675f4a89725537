// What the shop says of the customers themselves: names and addresses, and what they have consented to.
#include "customer/ledger.hpp"
#include "pg/fault.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {

#define FORGET_CONSENTS                                                                                                             \
    "DELETE FROM lifecycle.consent_log AS d USING"                                                                                  \
    " (SELECT l.ctid, l.customer_id, l.channel, l.status, l.changed_at, l.source_id,"                                               \
    "         row_number() OVER (PARTITION BY l.customer_id, l.channel, l.status, l.changed_at, l.source_id) AS n"                  \
    "    FROM lifecycle.consent_log AS l WHERE l.customer_id = ANY ($1)) AS l,"                                                     \
    " (SELECT u.*, row_number() OVER (PARTITION BY u.customer_id, u.channel, u.status, u.changed_at, u.source_id) AS n"             \
    "    FROM unnest($1, $2, $3, $4, $5) AS u (customer_id, channel, status, changed_at, source_id)) AS u"                          \
    " WHERE d.ctid = l.ctid AND (l.customer_id, l.channel, l.status, l.changed_at, l.source_id, l.n)"                               \
    "                         = (u.customer_id, u.channel, u.status, u.changed_at, u.source_id, u.n)"

pg::Statement forget_consents{.sql = FORGET_CONSENTS, .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}};
pg::Statement note_consents{
    .sql = "INSERT INTO lifecycle.consent_log (customer_id, channel, status, changed_at, source_id, evidence)"
           " SELECT * FROM unnest($1, $2, $3, $4, $5, $6)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID}};
// Rows that were changed. What says the same consent as before, with a later time, is no news: it holds since it was first said.
pg::Statement replace_consents{
    .sql = "WITH gone AS (" FORGET_CONSENTS
           "   RETURNING d.customer_id, d.channel, d.status, d.changed_at, d.source_id, coalesce(d.since, d.changed_at) AS since),"
           " before AS (SELECT g.*, row_number() OVER (PARTITION BY g.customer_id, g.channel, g.status, g.source_id ORDER BY g.changed_at) AS n FROM gone AS g),"
           " said AS (SELECT u.*, row_number() OVER (PARTITION BY u.customer_id, u.channel, u.status, u.source_id ORDER BY u.changed_at) AS n"
           "            FROM unnest($6, $7, $8, $9, $10, $11) AS u (customer_id, channel, status, changed_at, source_id, evidence))"
           " INSERT INTO lifecycle.consent_log (customer_id, channel, status, changed_at, source_id, evidence, since)"
           " SELECT s.customer_id, s.channel, s.status, s.changed_at, s.source_id, s.evidence, CASE WHEN b.since < s.changed_at THEN b.since END"
           "   FROM said AS s LEFT JOIN before AS b"
           "     ON (b.customer_id, b.channel, b.status, b.source_id, b.n) = (s.customer_id, s.channel, s.status, s.source_id, s.n)",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID,
              TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID}};
// Of two statements of the same instant the more careful one holds.
pg::Statement latest_consents{
    .sql = "SELECT DISTINCT ON (l.customer_id, l.channel) l.customer_id, l.channel, l.status FROM lifecycle.consent_log AS l"
           " WHERE l.customer_id = ANY ($1)"
           " ORDER BY l.customer_id, l.channel, coalesce(l.since, l.changed_at) DESC, l.status = 'granted', l.status",
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
    // Writes the arguments of a statement, the evidence last.
    void put(Datum* args) {
        args[0] = pg::text_array(customers.span());
        args[1] = pg::text_array(channels.span());
        args[2] = pg::text_array(statuses.span());
        args[3] = pg::instant_array(changed_at.span());
        args[4] = pg::int4_array(sources.span());
        args[5] = pg::text_array(evidence.span(), no_evidence.data);
    }
};

void write(Consents& gone, Consents& said) {
    Datum args[11];
    gone.put(args);
    said.put(gone.customers.empty() ? args : args + 5);
    if (gone.customers.empty()) {
        note_consents.run({args, 6});
    } else if (said.customers.empty()) {
        forget_consents.run({args, 5});
    } else {
        replace_consents.run(args);
    }
}

// Whether the row of a consent said the same before it was changed.
bool was_said_before(const Change& change, const Fact& said) {
    for (const Fact& fact : change.facts) {
        if (fact.kind == FactKind::consent && fact.withdrawn && fact.source_id == said.source_id && pg::view(fact.fields[0]) == pg::view(said.fields[0]) &&
            pg::view(fact.fields[1]) == pg::view(said.fields[1]))
            return true;
    }
    return false;
}

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
        for (Fact& fact : change.facts) {
            if (fact.kind != FactKind::consent) continue;
            any = true;
            (fact.withdrawn ? gone : said).push(fact);
            fact.said_before = !fact.withdrawn && was_said_before(change, fact);
        }
        if (!any) continue;
        touched.push(pg::to_datum(change.customer_id));
        for (int c = kEmailConsent; c <= kAdsConsent; ++c) change.after.clear(static_cast<Column>(c));
    }
    if (touched.empty()) return;
    write(gone, said);

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
