#include "customer/log.hpp"

#include <algorithm>

#include "pg/fault.hpp"
#include "pg/statement.hpp"

namespace lifecycle::customer {

namespace {

// The statements of one kind's table, written from its list of fields.
struct Table {
    pg::Statement insert;
    pg::Statement remove;         // of rows that agree in every column
    pg::Statement remove_by_key;  // of rows that agree in what tells facts of the kind apart
    pg::Statement of_source;
    pg::Statement by_key;  // of one customer, from lifecycle.track()
};

Table tables[static_cast<int>(FactKind::count)];

const char* list_columns(const KindSpec& kind, const char* alias, bool keys_only) {
    StringInfoData text;
    initStringInfo(&text);
    for (const FieldSpec& field : kind.fields.subspan(1)) {
        if (!keys_only || field.key) appendStringInfo(&text, "%s%s%s", text.len > 0 ? ", " : "", alias, column_of(field));
    }
    return text.data;
}

// Compares what tells facts of the kind apart with $2 and the following.
const char* key_is_given(const KindSpec& kind, pg::Statement* statement) {
    StringInfoData text;
    initStringInfo(&text);
    int number = 1;
    for (const FieldSpec& field : kind.fields.subspan(1)) {
        if (!field.key) continue;
        statement->types[number++] = field.type;
        appendStringInfo(&text, " AND l.%s IS NOT DISTINCT FROM $%d", column_of(field), number);
    }
    return text.data;
}

const char* parameters(const KindSpec& kind) {
    StringInfoData text;
    initStringInfo(&text);
    for (size_t i = 0; i <= kind.fields.size(); ++i) appendStringInfo(&text, "%s$%d", i > 0 ? ", " : "", static_cast<int>(i) + 1);
    return text.data;
}

// Lines of orders are noted when they come and go, for what is counted of them later. What is nobody's yet is in no order.
const char* noting(const KindSpec& kind, const char* changed, int delta) {
    if (kind.kind != FactKind::order_item) return "";
    return psprintf(", noted AS (INSERT INTO lifecycle.basket_change (customer_id, order_id, product, category, delta)"
                    " SELECT c.customer_id, c.order_id, c.product, c.category, %d FROM %s AS c WHERE c.customer_id <> '')", delta, changed);
}

// Pairs rows off one by one: of two equal rows one goes for each fact withdrawn. Compared as text, so that NULL equals NULL and the join hashes.
const char* remove_statement(const KindSpec& kind, bool by_key) {
    return psprintf(
        "WITH gone AS (SELECT u.*, row_number() OVER (PARTITION BY u.customer_id, u.source_id, u.said) AS nth"
        "                FROM (SELECT g.customer_id, g.source_id, ROW(%s)::text AS said, g.place"
        "                        FROM unnest(%s) WITH ORDINALITY AS g (customer_id, source_id, %s, place)) AS u),"
        " there AS (SELECT t.*, row_number() OVER (PARTITION BY t.customer_id, t.source_id, t.said) AS nth"
        "             FROM (SELECT l.ctid AS tid, l.customer_id, l.source_id, ROW(%s)::text AS said"
        "                     FROM lifecycle.%s AS l WHERE l.customer_id = ANY ($1)) AS t),"
        " dropped AS (DELETE FROM lifecycle.%s AS d USING there, gone"
        "  WHERE d.ctid = there.tid"
        "    AND (there.customer_id, there.source_id, there.said, there.nth) = (gone.customer_id, gone.source_id, gone.said, gone.nth)"
        " RETURNING gone.place, d.*)%s"
        " SELECT d.place FROM dropped AS d",
        list_columns(kind, "g.", by_key), parameters(kind), list_columns(kind, "", false), list_columns(kind, "l.", by_key), kind.table,
        kind.table, noting(kind, "dropped", -1));
}

Table& table_of(const KindSpec& kind) {
    Table& table = tables[static_cast<int>(kind.kind)];
    if (table.insert.sql != nullptr) return table;
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    Table fresh{};
    const char* insert = psprintf("INSERT INTO lifecycle.%s (customer_id, source_id, %s) SELECT * FROM unnest(%s)", kind.table,
                                  list_columns(kind, "", false), parameters(kind));
    const char* noted = noting(kind, "said", 1);
    fresh.insert.sql = *noted == '\0' ? insert : psprintf("WITH said AS (%s RETURNING *)%s SELECT FROM said LIMIT 0", insert, noted);
    fresh.remove.sql = remove_statement(kind, false);
    fresh.remove_by_key.sql = remove_statement(kind, true);
    fresh.of_source.sql = psprintf("SELECT l.customer_id, %s FROM lifecycle.%s AS l WHERE l.source_id = $1", list_columns(kind, "l.", false), kind.table);
    fresh.by_key.types[0] = TEXTOID;
    fresh.by_key.sql = psprintf("SELECT l.customer_id, %s FROM lifecycle.%s AS l WHERE l.customer_id = $1 AND l.source_id = 0%s",
                                list_columns(kind, "l.", false), kind.table, key_is_given(kind, &fresh.by_key));
    MemoryContextSwitchTo(caller);
    Oid types[] = {TEXTARRAYOID, INT4ARRAYOID};
    for (pg::Statement* s : {&fresh.insert, &fresh.remove, &fresh.remove_by_key}) {
        std::copy(types, types + 2, s->types);
        for (size_t i = 1; i < kind.fields.size(); ++i) s->types[i + 1] = get_array_type(kind.fields[i].type);
    }
    fresh.of_source.types[0] = INT4OID;
    table = fresh;
    return table;
}

// Facts of one kind on their way into its table, or out of it.
struct Rows {
    pg::Array<const Fact*> facts;

    void run(const KindSpec& kind, pg::Statement& statement) {
        size_t n = facts.size;
        auto values = pg::zeroed<Datum>(n);
        auto nulls = pg::zeroed<bool>(n);
        Datum args[10];
        for (size_t i = 0; i < n; ++i) values[i] = pg::to_datum(facts[i]->customer);
        args[0] = pg::text_array(values);
        for (size_t i = 0; i < n; ++i) values[i] = Int32GetDatum(facts[i]->source_id);
        args[1] = pg::int4_array(values);
        for (size_t f = 1; f < kind.fields.size(); ++f) {
            for (size_t i = 0; i < n; ++i) {
                values[i] = facts[i]->fields[f - 1];
                nulls[i] = facts[i]->nulls[f - 1];
            }
            args[f + 1] = pg::array_of(kind.fields[f].type, values, nulls.data());
        }
        // In the present: what is nobody's is locked by the order's owner only, so it may be newer than this transaction's snapshot.
        statement.run_in_present({args, kind.fields.size() + 1});
    }

    void insert(const KindSpec& kind) {
        if (!facts.empty()) run(kind, table_of(kind).insert);
    }

    // What a row said may have been mended in quarantine since, or read with another shop.delivery_time: then its key decides.
    void remove(const KindSpec& kind) {
        if (facts.empty()) return;
        Table& table = table_of(kind);
        run(kind, table.remove);
        if (SPI_processed == facts.size) return;
        auto found = pg::zeroed<bool>(facts.size);
        for (uint64 i = 0; i < SPI_processed; ++i) found[DatumGetInt64(pg::cell(i, 1).value) - 1] = true;
        Rows rest{};
        for (size_t i = 0; i < facts.size; ++i) {
            if (!found[i]) rest.facts.push(facts[i]);
        }
        rest.run(kind, table.remove_by_key);
    }
};

struct AllRows {
    Rows gone[static_cast<int>(FactKind::count)];
    Rows said[static_cast<int>(FactKind::count)];
    bool any = false;

    void push(const Fact& fact) {
        (fact.withdrawn ? gone : said)[static_cast<int>(fact.kind)].facts.push(&fact);
        any = true;
    }
    void write() {
        if (!any) return;
        pg::fault_point("log");
        for (int k = static_cast<int>(FactKind::order_item); k < static_cast<int>(FactKind::count); ++k) {
            const KindSpec& kind = spec_of(static_cast<FactKind>(k));
            gone[k].remove(kind);
            said[k].insert(kind);
        }
    }
};

// As lifecycle.activity has it.
std::string_view id_of(const Fact& fact) { return pg::view(fact.fields[0]); }

bool earlier(const Happening& a, const Happening& b) { return a.at < b.at; }

Column column_of(Instant Touches::* sort) {
    return sort == &Touches::open    ? kLastOpenAt
           : sort == &Touches::click ? kLastClickAt
           : sort == &Touches::visit ? kLastVisitAt
           : sort == &Touches::sent  ? kLastSentAt
                                     : kTouchedAt;
}

// Whether taking back a sign of life takes back the latest of its sort. What was not the latest has been, and its going (a cart that changed
// again, a log of visits that is cut) changes nothing.
bool was_latest(const Change& change, const Fact& gone, Instant Touches::* sort) {
    if (gone.at < change.before.instant(column_of(sort), rules::kBeginning)) return false;
    for (const Fact& fact : change.facts) {
        if (is_logged(fact.kind) && !fact.withdrawn && sort_of_touch(fact.kind, id_of(fact)) == sort && fact.at >= gone.at && fact.at <= change.now)
            return false;
    }
    return true;
}

// What a logged fact that came or went means for its customer.
void note(Change& change, const Fact& fact) {
    change.after.set(kHasLog, BoolGetDatum(true));
    if (spec_of(fact.kind).time == 0) return;
    Instant as_of = change.before.instant(kAsOf, rules::kBeginning);
    auto touch = sort_of_touch(fact.kind, id_of(fact));
    if (fact.at > change.now) {
        if (!fact.withdrawn) change.next_happening = Min(change.next_happening, fact.at);
        return;
    }
    if (touch != nullptr && change.existed && (fact.withdrawn ? was_latest(change, fact, touch) : fact.at < as_of)) {
        change.late_touch = Min(change.late_touch, fact.at);
        ++change.late_touches;
    }
    if (fact.withdrawn) return;
    Happening happening{fact.kind, id_of(fact), fact.at, &fact};
    if (touch != nullptr) change.touched.push(happening);
    change.happened.push(happening);
}

pg::Statement read_activity{
    .sql = "SELECT a.customer_id, a.kind, a.id, a.at FROM unnest($1, $2) AS u (customer_id, since)"
           " JOIN lifecycle.activity AS a ON a.customer_id = u.customer_id AND a.at > u.since ORDER BY a.customer_id, a.at",
    .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

// Row `n` of read_activity. What has come in this very batch is there as well, and known with its fact.
void remember(Change& change, bool fell_due, uint64 n) {
    FactKind kind = find_kind(pg::view(pg::cell(n, 2).value))->kind;
    auto id = pg::view(pg::cell(n, 3).value);
    Instant at = DatumGetTimestampTz(pg::cell(n, 4).value);
    if (at > change.now) {
        change.next_happening = Min(change.next_happening, at);
        return;
    }
    Happening happening{kind, id, at, nullptr};
    if (sort_of_touch(kind, id) != nullptr) change.touched.push(happening);
    if (!fell_due || at <= change.before.instant(kAsOf, rules::kBeginning)) return;
    for (const Happening& h : change.happened) {
        if (h.kind == kind && h.id == id && h.at == at) return;
    }
    change.happened.push(happening);
}

}  // namespace

Instant Touches::* sort_of_touch(FactKind kind, std::string_view id) {
    switch (kind) {
        case FactKind::engagement:
            return id == "open"    ? &Touches::open
                   : id == "click" ? &Touches::click
                   : id == "visit" ? &Touches::visit
                   : id == "sent"  ? &Touches::sent
                                   : nullptr;
        case FactKind::cart:
        case FactKind::review:
        case FactKind::wishlist:
        case FactKind::referral:
            return &Touches::other;
        default:
            return nullptr;
    }
}

void take_in_log(Batch batch) {
    AllRows rows{};
    for (Change& change : batch) {
        for (const Fact& fact : change.facts) {
            if (!is_logged(fact.kind)) continue;
            rows.push(fact);
            note(change, fact);
        }
        std::sort(change.touched.begin(), change.touched.end(), earlier);
        std::sort(change.happened.begin(), change.happened.end(), earlier);
    }
    rows.write();
}

void log_orphans(std::span<const Fact> facts) {
    AllRows rows{};
    for (const Fact& fact : facts) rows.push(fact);
    rows.write();
}

void recall(std::span<const Recall> customers) {
    pg::Array<Datum> ids, since;
    for (const Recall& r : customers) {
        ids.push(r.change->after.values[kCustomerId]);
        since.push(TimestampTzGetDatum(r.everything ? DT_NOBEGIN : r.change->before.instant(kAsOf, rules::kBeginning)));
        r.change->touched.clear();  // they are in the tables, too
    }
    if (ids.empty()) return;
    Datum args[] = {pg::text_array(ids.span()), pg::instant_array(since.span())};
    uint64 rows = read_activity.run(args);
    size_t c = 0;
    for (uint64 row = 0; row < rows; ++row) {
        auto id = pg::view(pg::cell(row, 1).value);
        while (customers[c].change->customer_id != id) ++c;  // both are sorted
        Change& change = *customers[c].change;
        remember(change, change.before.instant(kNextFactAt, rules::kNever) <= change.now, row);
    }
    for (const Recall& r : customers) std::sort(r.change->happened.begin(), r.change->happened.end(), earlier);
}

namespace {

// An order closes the carts that were there before it, on whichever device: whoever has just bought is not reminded.
pg::Statement open_carts{
    .sql = "SELECT DISTINCT ON (c.customer_id) c.customer_id, c.cart_id, c.value, c.updated_at"
           "  FROM unnest($1, $2) AS u (customer_id, last_order_at)"
           "  JOIN lifecycle.cart AS c ON c.customer_id = u.customer_id AND c.updated_at > u.last_order_at"
           " WHERE coalesce(c.items NOT IN ('0', '[]', '{}'), c.value > 0, true)"
           "   AND NOT EXISTS (SELECT FROM lifecycle.order_detail AS d WHERE d.customer_id = c.customer_id AND d.cart = c.cart_id)"
           " ORDER BY c.customer_id, c.updated_at DESC, c.cart_id DESC",
    .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

bool cart_may_have_changed(const Change& change) {
    if (change.after.nulls[kHasLog]) return false;
    if (change.from_scratch) return true;
    for (const Fact& fact : change.facts) {
        if (fact.kind == FactKind::cart || fact.kind == FactKind::order_detail) return true;
    }
    return !change.after.nulls[kCartId] &&
           change.after.instant(kLastOrderAt, rules::kBeginning) >= change.after.instant(kCartUpdatedAt, rules::kBeginning);
}

}  // namespace

void show_carts(Batch batch) {
    pg::Array<Datum> ids, last_orders;
    for (Change& change : batch) {
        if (!cart_may_have_changed(change)) continue;
        ids.push(change.after.values[kCustomerId]);
        last_orders.push(TimestampTzGetDatum(change.after.instant(kLastOrderAt, DT_NOBEGIN)));
        for (Column c : {kCartId, kCartValue, kCartUpdatedAt}) change.after.clear(c);
    }
    if (ids.empty()) return;
    Datum args[] = {pg::text_array(ids.span()), pg::instant_array(last_orders.span())};
    uint64 rows = open_carts.run(args);
    size_t i = 0;
    for (uint64 row = 0; row < rows; ++row) {
        auto id = pg::view(pg::cell(row, 1).value);
        while (batch[i].customer_id != id) ++i;  // both are sorted
        Row& after = batch[i].after;
        after.set(kCartId, pg::cell(row, 2).value);
        auto [value, none] = pg::cell(row, 3);
        none ? after.clear(kCartValue) : after.set(kCartValue, value);
        after.set(kCartUpdatedAt, pg::cell(row, 4).value);
    }
}

Fact logged_fact(uint64 row, const KindSpec& kind) {
    Fact fact{};
    fact.kind = kind.kind;
    fact.customer = pg::text_cell(row, 1);
    size_t n = kind.fields.size() - 1;
    fact.fields = pg::zeroed<Datum>(n).data();
    fact.nulls = pg::zeroed<bool>(n).data();
    for (size_t i = 0; i < n; ++i) {
        int column = static_cast<int>(i) + 2;
        fact.nulls[i] = pg::cell(row, column).null;
        if (!fact.nulls[i]) fact.fields[i] = pg::copied_cell(row, column, kind.fields[i + 1].type);
    }
    if (kind.time > 0) fact.at = DatumGetTimestampTz(fact.fields[kind.time - 1]);
    return fact;
}

pg::Statement& logged_by_source(const KindSpec& kind) { return table_of(kind).of_source; }

void find_tracked(const Fact& like, pg::Array<Fact>* into) {
    const KindSpec& kind = spec_of(like.kind);
    Datum args[10] = {pg::to_datum(like.customer)};
    char nulls[11] = "          ";
    int n = 1;
    for (size_t i = 1; i < kind.fields.size(); ++i) {
        if (!kind.fields[i].key) continue;
        args[n] = like.fields[i - 1];
        if (like.nulls[i - 1]) nulls[n] = 'n';
        ++n;
    }
    uint64 rows = table_of(kind).by_key.run({args, static_cast<size_t>(n)}, nulls);
    for (uint64 row = 0; row < rows; ++row) into->push(logged_fact(row, kind));
}

}  // namespace lifecycle::customer
