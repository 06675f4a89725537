#include "outbox/letters.hpp"

#include "pg/statement.hpp"
#include "pg/text.hpp"

namespace lifecycle::outbox {

namespace {

constexpr char kReadLetters[] =
    "SELECT u.n, s.channel, s.class, coalesce(k.delivery, CASE s.class WHEN 'marketing' THEN 'at_most_once' ELSE 'at_least_once' END),"
    "       k.priority, coalesce(v.template, s.template), t.subject ->> l.locale, l.locale,"
    "       jsonb_strip_nulls(jsonb_build_object('content', t.content -> coalesce(m.locale, l.locale), 'tier', u.tier, 'benefits', r.benefits,"
    "                                            'recommends', s.recommends)),"
    "       coalesce(v.offer, s.offer)"
    "  FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY AS u (scenario, step, variant, version, locale, tier, n)"
    "  JOIN lifecycle.scenario AS k ON k.name = u.scenario"
    "  %s"
    " CROSS JOIN LATERAL (SELECT coalesce(v.subject, s.subject) AS subject, coalesce(v.content, s.content) AS content) AS t"
    "  LEFT JOIN lifecycle.tier AS r ON r.name = u.tier"
    "  LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[u.locale, split_part(replace(u.locale, '_', '-'), '-', 1), 'en'])"
    "                       WITH ORDINALITY AS k (locale, n) WHERE t.subject ? k.locale ORDER BY k.n LIMIT 1) AS l ON true"
    "  LEFT JOIN LATERAL (SELECT k.locale FROM unnest(ARRAY[u.locale, split_part(replace(u.locale, '_', '-'), '-', 1), 'en'])"
    "                       WITH ORDINALITY AS k (locale, n) WHERE t.content ? k.locale ORDER BY k.n LIMIT 1) AS m ON true";

// Where the steps are found: as they are now, which is nearly always, or in any version.
constexpr char kPresentSteps[] =
    "JOIN lifecycle.step AS s ON s.scenario = u.scenario AND s.position = u.step"
    " LEFT JOIN lifecycle.variant AS v ON (v.scenario, v.position, v.name) = (u.scenario, u.step, u.variant)";
constexpr char kStepsOfVersions[] =
    "CROSS JOIN LATERAL (SELECT s.* FROM lifecycle.step AS s WHERE u.version = 0 AND (s.scenario, s.position) = (u.scenario, u.step)"
    "                    UNION ALL"
    "                    SELECT s.* FROM lifecycle.steps_of(u.scenario, u.version) AS s WHERE u.version > 0 AND s.position = u.step) AS s"
    " LEFT JOIN LATERAL (SELECT v.* FROM lifecycle.variant AS v"
    "                     WHERE u.version = 0 AND (v.scenario, v.position, v.name) = (u.scenario, u.step, u.variant)"
    "                    UNION ALL"
    "                    SELECT v.* FROM lifecycle.variants_of(u.scenario, u.version) AS v"
    "                     WHERE u.version > 0 AND (v.position, v.name) = (u.step, u.variant)) AS v ON true";

pg::Statement& read_letters(bool of_versions) {
    static pg::Statement statements[2];
    pg::Statement& statement = statements[of_versions ? 1 : 0];
    if (statement.sql == nullptr) {
        const char* sql = MemoryContextStrdup(TopMemoryContext, psprintf(kReadLetters, of_versions ? kStepsOfVersions : kPresentSteps));
        statement = {.sql = sql, .types = {TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
    }
    return statement;
}

Datum value_of(const scenario::Message& m, Column column) { return m.row->nulls[column] ? Datum{0} : m.row->values[column]; }

bool same_text(Datum a, Datum b) { return a == b || (a != 0 && b != 0 && pg::view(a) == pg::view(b)); }

bool alike(const scenario::Message& a, const scenario::Message& b) {
    return a.position == b.position && a.past_version == b.past_version && same_text(a.scenario, b.scenario) && same_text(a.variant, b.variant) &&
           same_text(value_of(a, kLocale), value_of(b, kLocale)) && same_text(value_of(a, kTier), value_of(b, kTier));
}

uint64 hash_of(const scenario::Message& m) {
    uint64 hash = hash_combine64(static_cast<uint64>(m.position), static_cast<uint64>(m.past_version));
    for (Datum d : {m.scenario, m.variant, value_of(m, kLocale), value_of(m, kTier)}) {
        auto text = d == 0 ? std::string_view{} : pg::view(d);
        hash = hash_combine64(hash, hash_bytes_extended(reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()), 0));
    }
    return hash;
}

// One message of each sort, and for each message which.
struct Sorts {
    pg::Array<const scenario::Message*> first;
    std::span<uint32> of;
};

Sorts sorts_among(const pg::Array<scenario::Message>& messages) {
    Sorts sorts;
    sorts.of = pg::zeroed<uint32>(messages.size);
    size_t slots = 16;
    while (slots < 2 * messages.size) slots *= 2;
    auto table = pg::zeroed<uint32>(slots);  // number of the sort, from 1
    for (size_t i = 0; i < messages.size; ++i) {
        size_t slot = hash_of(messages[i]) & (slots - 1);
        while (table[slot] != 0 && !alike(*sorts.first[table[slot] - 1], messages[i])) slot = (slot + 1) & (slots - 1);
        if (table[slot] == 0) {
            sorts.first.push(&messages[i]);
            table[slot] = static_cast<uint32>(sorts.first.size);
        }
        sorts.of[i] = table[slot] - 1;
    }
    return sorts;
}

Datum or_none(uint64 row, int column) {
    auto [value, null] = pg::cell(row, column);
    return null ? Datum{0} : value;
}

}  // namespace

std::span<const Letter* const> letters_of(const pg::Array<scenario::Message>& messages) {
    Sorts sorts = sorts_among(messages);
    pg::Array<Datum> scenarios, steps, variants, versions, locales, tiers;
    pg::Array<bool> no_variant, no_locale, no_tier;
    bool any_past = false;
    for (const scenario::Message* m : sorts.first) {
        scenarios.push(m->scenario);
        steps.push(Int32GetDatum(m->position));
        variants.push(m->variant);
        no_variant.push(m->variant == 0);
        versions.push(Int32GetDatum(m->past_version));
        any_past |= m->past_version > 0;
        locales.push(value_of(*m, kLocale));
        no_locale.push(locales[locales.size - 1] == 0);
        tiers.push(value_of(*m, kTier));
        no_tier.push(tiers[tiers.size - 1] == 0);
    }
    Datum args[] = {pg::text_array(scenarios.span()), pg::int4_array(steps.span()), pg::text_array(variants.span(), no_variant.data),
                    pg::int4_array(versions.span()), pg::text_array(locales.span(), no_locale.data), pg::text_array(tiers.span(), no_tier.data)};
    uint64 rows = read_letters(any_past).run(args);
    auto letters = pg::zeroed<Letter>(rows);
    auto found = pg::zeroed<const Letter*>(sorts.first.size);
    for (uint64 i = 0; i < rows; ++i) {
        letters[i] = {pg::cell(i, 2).value, pg::cell(i, 3).value, pg::cell(i, 4).value, DatumGetInt32(pg::cell(i, 5).value),
                      pg::cell(i, 6).value, or_none(i, 7), or_none(i, 8),
                      PointerGetDatum(PG_DETOAST_DATUM(pg::cell(i, 9).value)),  // once, not for each message
                      or_none(i, 10)};
        found[static_cast<size_t>(DatumGetInt64(pg::cell(i, 1).value) - 1)] = &letters[i];
    }
    auto of = pg::zeroed<const Letter*>(messages.size);
    for (size_t i = 0; i < messages.size; ++i) of[i] = found[sorts.of[i]];
    return of;
}

}  // namespace lifecycle::outbox
