// Quarantine: what could not be processed is kept with its reason until it can.
#include "source/quarantine.hpp"

#include <utility>

#include "customer/log.hpp"
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "source/inbox.hpp"
#include "source/pending.hpp"
#include "source/retry.hpp"

namespace lifecycle::source {

namespace {

pg::Statement write_rows{
    .sql = "INSERT INTO lifecycle.quarantine (source, action, data, sqlstate, message, detail, occurred_at)"
           " SELECT $1, u.action, u.data::jsonb, u.sqlstate, u.message, u.detail, lifecycle.now()"
           "   FROM unnest($2, $3, $4, $5, $6) WITH ORDINALITY AS u (action, data, sqlstate, message, detail, n) ORDER BY u.n",
    .types = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
// Part of every update and delete on an attached table.
pg::Statement any_rows{
    .sql = "SELECT FROM lifecycle.quarantine AS q WHERE q.source OPERATOR(pg_catalog.=) $1 LIMIT 1", .types = {TEXTOID}, .qualified = true};
// Columns may have been added since a row went into quarantine, and those that nothing reads may have changed unseen.
pg::Statement forget_rows{
    .sql = "DELETE FROM lifecycle.quarantine AS q USING unnest($2) AS u (data)"
           " WHERE q.source = $1 AND q.action = 'arrived' AND jsonb_strip_nulls(q.data - $3) = jsonb_strip_nulls(u.data::jsonb - $3)",
    .types = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement forget_source{.sql = "DELETE FROM lifecycle.quarantine AS q WHERE q.source = $1", .types = {TEXTOID}};
// Class 22, data exception: the row is to blame, not what happened while it was taken in.
pg::Statement forget_bad_rows{
    .sql = "DELETE FROM lifecycle.quarantine AS q WHERE q.source = $1 AND q.sqlstate LIKE '22%'", .types = {TEXTOID}};
pg::Statement purchases_of{
    .sql = "SELECT p.customer_id, p.kind, p.id, p.at, p.amount FROM lifecycle.purchase AS p WHERE p.source_id = $1",
    .types = {INT4OID}};
pg::Statement profiles_of{
    .sql = "SELECT c.customer_id FROM lifecycle.customer AS c"
           " WHERE num_nonnulls(c.email, c.phone, c.first_name, c.last_name, c.locale, c.time_zone, c.birthday, c.created_at,"
           "                    c.tags, c.attributes) > 0"};
pg::Statement consents_of{
    .sql = "SELECT l.customer_id, l.channel, l.status, l.changed_at, l.evidence FROM lifecycle.consent_log AS l WHERE l.source_id = $1",
    .types = {INT4OID}};

Fact purchase_at(uint64 row) {
    Fact fact{};
    fact.kind = pg::view(pg::cell(row, 2).value) == "order" ? FactKind::order : FactKind::refund;
    fact.id = pg::text_cell(row, 3);
    fact.at = DatumGetTimestampTz(pg::cell(row, 4).value);
    fact.amount_datum = pg::copied_cell(row, 5, NUMERICOID);
    fact.amount = pg::to_decimal(fact.amount_datum).value_or(rules::Decimal{});
    return fact;
}

Fact profile_at(uint64) {
    Fact fact{};
    fact.kind = FactKind::customer;
    return fact;
}

// What a source has said of a kind, as facts that are withdrawn. They live in `memory`.
void withdraw_kind(const KindSpec& kind, const Source& source, MemoryContext memory, pg::Array<Fact>* facts) {
    Datum id = Int32GetDatum(source.id);
    uint64 rows = is_purchase(kind.kind)             ? purchases_of.run_in_present({&id, 1})
                  : is_logged(kind.kind)             ? customer::logged_by_source(kind).run_in_present({&id, 1})
                  : kind.kind == FactKind::consent ? consents_of.run_in_present({&id, 1})
                                                     : profiles_of.run_in_present();
    MemoryContext inner = MemoryContextSwitchTo(memory);
    for (uint64 row = 0; row < rows; ++row) {
        Fact fact = is_purchase(kind.kind)             ? purchase_at(row)
                    : kind.kind == FactKind::customer ? profile_at(row)
                                                       : customer::logged_fact(row, kind);
        // What goes with its order is looked for where the order is by then.
        fact.customer = source.by_order ? std::string_view{} : pg::text_cell(row, 1);
        fact.source_id = source.id;
        fact.withdrawn = true;
        facts->push(fact);
    }
    MemoryContextSwitchTo(inner);
}

}  // namespace

void quarantine(std::string_view source, std::span<const BadRow> rows) {
    if (rows.empty()) return;
    pg::as_owner([&] {
        pg::open_spi();
        pg::fault_point("quarantine");
        pg::Array<Datum> actions, data, states, messages, details;
        pg::Array<bool> no_detail;
        for (const BadRow& row : rows) {
            actions.push(pg::to_datum(row.gone ? "gone" : "arrived"));
            data.push(row.row);
            states.push(pg::to_datum(unpack_sql_state(row.sqlstate)));
            messages.push(pg::to_datum(row.message));
            no_detail.push(row.detail == nullptr);
            details.push(row.detail == nullptr ? Datum{0} : pg::to_datum(row.detail));
        }
        Datum args[] = {pg::to_datum(source), pg::text_array(actions.span()), pg::text_array(data.span()),
                        pg::text_array(states.span()), pg::text_array(messages.span()),
                        pg::text_array(details.span(), no_detail.data)};
        write_rows.run(args);
        pg::close_spi();
    });
}

bool has_quarantined(std::string_view source) {
    if (pg::is_empty(pg::table_oid(pg::Table::quarantine))) return false;
    bool any = false;
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(source);
        any = any_rows.run({&arg, 1}) > 0;
        pg::close_spi();
    });
    return any;
}

void forget_quarantined(const Source& source, std::span<const Datum> rows) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum args[] = {pg::to_datum(source.name), pg::text_array(rows), source.unread};
        forget_rows.run(args);
        pg::close_spi();
    });
}

void forget_quarantined(std::string_view source, bool bad_rows_only) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum name = pg::to_datum(source);
        (bad_rows_only ? forget_bad_rows : forget_source).run_in_present({&name, 1});
        pg::close_spi();
    });
}

void withdraw_everything(Source* source, pg::Array<Fact>* facts) {
    MemoryContext caller = CurrentMemoryContext;
    pg::as_owner([&] {
        pg::open_spi();
        Datum name = pg::to_datum(source->name);
        forget_source.run_in_present({&name, 1});
        withdraw_kind(*source->kind, *source, caller, facts);
        if (source->kind->kind == FactKind::order) withdraw_kind(spec_of(FactKind::order_detail), *source, caller, facts);
        pg::close_spi();
    });
}

}  // namespace lifecycle::source

using namespace lifecycle;

// The row that quarantine keeps as json, made with the rights of the table's owner: the types of its columns may run code of his.
static Datum row_of(Oid relation, Datum data) {
    Relation table = relation_open(relation, AccessShareLock);
    Oid owner = table->rd_rel->relowner;
    char* name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)), RelationGetRelationName(table));
    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(owner, security | SECURITY_RESTRICTED_OPERATION);
    int level = NewGUCNestLevel();
    set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

    MemoryContext caller = CurrentMemoryContext;
    pg::open_spi();
    Oid type = JSONBOID;
    int result = SPI_execute_with_args(psprintf("SELECT jsonb_populate_record(NULL::%s, $1)", name), 1, &type, &data, nullptr, true, 1);
    if (result != SPI_OK_SELECT || SPI_processed != 1) elog(ERROR, "could not read a row of quarantine");
    MemoryContextSwitchTo(caller);
    Datum row = datumCopy(pg::cell(0, 1).value, false, -1);
    pg::close_spi();

    AtEOXact_GUC(true, level);
    SetUserIdAndSecContext(user, security);
    relation_close(table, NoLock);
    return row;
}

// A row of quarantine or the inbox in a slot, as its source would read it.
static TupleTableSlot* slot_of(const source::Source* s, Datum data) {
    return source::slot_of_record(DatumGetHeapTupleHeader(row_of(s->relation, data)));
}

// lifecycle.customer_of_row(source, data): whose a row that is held back is; NULL: nobody's, or the row names only an order.
LIFECYCLE_FUNCTION(lifecycle_customer_of_row) {
    source::Source* s = source::find_source(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))));
    if (s->by_order || !s->fields[0].exists()) PG_RETURN_NULL();
    TupleTableSlot* slot = slot_of(s, PG_GETARG_DATUM(1));
    pg::forget_row(s->evaluator);
    s->evaluator->context->ecxt_scantuple = slot;
    bool null = true;
    Datum customer = pg::evaluate(s->fields[0], s->evaluator, &null);
    if (!null) customer = datumCopy(customer, false, -1);
    ExecDropSingleTupleTableSlot(slot);
    if (null) PG_RETURN_NULL();
    PG_RETURN_DATUM(customer);
}

// lifecycle.replay_row(source, data, gone): reads a row that quarantine kept, as if it had just come or gone. False: it was put into
// quarantine again, with the reason it has now.
LIFECYCLE_FUNCTION(lifecycle_replay_row) {
    auto name = pg::view(PG_GETARG_DATUM(0));
    bool gone = PG_GETARG_BOOL(2);

    source::Source* s = source::find_source(pg::to_cstring(name));
    Datum json = CStringGetTextDatum(JsonbToCString(nullptr, &DatumGetJsonbP(PG_GETARG_DATUM(1))->root, -1));
    source::check_columns(*s, pg::view(json));
    if (s->async) {  // after what came before it
        source::Letter letter{gone ? json : Datum{0}, gone ? Datum{0} : json};
        source::write_letters(name, {&letter, 1}, false);
        PG_RETURN_BOOL(true);
    }
    customer::current_shop();
    TupleTableSlot* slot = slot_of(s, PG_GETARG_DATUM(1));

    source::Reader reader{s, CurrentMemoryContext, {}, {}, nullptr, 0};
    source::read_row(&reader, slot, gone);
    ExecDropSingleTupleTableSlot(slot);
    if (!reader.bad.empty()) {
        source::quarantine(name, reader.bad.span());
        PG_RETURN_BOOL(false);
    }
    source::take_in_or_raise(reader.facts, {});
    PG_RETURN_BOOL(true);
}

// The names of columns before a table is altered, in the transaction's memory; 0: there are none.
static Datum columns_before = 0;

void source::forget_columns() { columns_before = 0; }

// lifecycle.keep_columns(columns)
LIFECYCLE_FUNCTION(lifecycle_keep_columns) {
    source::follow_transaction();
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    columns_before = datumCopy(PG_GETARG_DATUM(0), false, -1);
    MemoryContextSwitchTo(caller);
    PG_RETURN_VOID();
}

// lifecycle.kept_columns()
LIFECYCLE_FUNCTION(lifecycle_kept_columns) {
    if (columns_before == 0) PG_RETURN_NULL();
    PG_RETURN_DATUM(std::exchange(columns_before, Datum{0}));
}
