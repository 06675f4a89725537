// lifecycle.track(): facts from application code, with no table behind them.
#include "customer/log.hpp"
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/statement.hpp"
#include "source/retry.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

namespace {

constexpr int32 kTracked = 0;  // what lifecycle.source never numbers a source

pg::Statement lock_customer{.sql = "SELECT FROM lifecycle.customer AS c WHERE c.customer_id = $1 FOR UPDATE", .types = {TEXTOID}};
pg::Statement known_profile{
    .sql = "SELECT c.customer_id, c.email, c.phone, c.first_name, c.last_name, c.locale, c.time_zone, c.birthday, c.created_at, c.tags,"
           "       c.attributes FROM lifecycle.customer AS c WHERE c.customer_id = $1",
    .types = {TEXTOID}};
pg::Statement known_purchase{
    .sql = "SELECT p.at, p.amount FROM lifecycle.purchase AS p WHERE p.customer_id = $1 AND p.source_id = 0 AND p.kind = $2 AND p.id = $3",
    .types = {TEXTOID, TEXTOID, TEXTOID}};
pg::Statement known_consent{
    .sql = "SELECT FROM lifecycle.consent_log AS l"
           " WHERE (l.customer_id, l.source_id, l.channel, l.status, l.changed_at) = ($1, 0, $2, $3, $4)",
    .types = {TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}};
pg::Statement own_properties{
    .sql = "SELECT nullif(($1 - '{event,occurred_at,properties}'::text[]) || coalesce($1 -> 'properties', '{}'), '{}')",
    .types = {JSONBOID}};

pg::Statement from_json[static_cast<int>(FactKind::count)];

// Takes the fields of a kind out of a JSON object, each as its type.
pg::Statement& reading_of(const KindSpec& kind) {
    pg::Statement& statement = from_json[static_cast<int>(kind.kind)];
    if (statement.sql != nullptr) return statement;
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    StringInfoData columns, types;
    initStringInfo(&columns);
    initStringInfo(&types);
    for (const FieldSpec& field : kind.fields.subspan(1)) {
        const char* comma = columns.len > 0 ? ", " : "";
        appendStringInfo(&columns, "%sr.%s", comma, quote_identifier(field.name));
        appendStringInfo(&types, "%s%s %s", comma, quote_identifier(field.name), format_type_be(field.type));
    }
    statement.types[0] = JSONBOID;
    statement.sql = psprintf("SELECT %s FROM jsonb_to_record($1) AS r (%s)", columns.data, types.data);
    MemoryContextSwitchTo(caller);
    return statement;
}

Values read_properties(const KindSpec& kind, std::string_view customer, Datum properties, Instant at) {
    Values v{};
    v.values[0] = pg::to_datum(customer);
    MemoryContext caller = CurrentMemoryContext;
    pg::open_spi();
    MemoryContext inner = MemoryContextSwitchTo(caller);
    reading_of(kind).run({&properties, 1});
    for (size_t i = 1; i < kind.fields.size(); ++i) {
        v.nulls[i] = pg::cell(0, static_cast<int>(i)).null;
        if (!v.nulls[i]) v.values[i] = pg::copied_cell(0, static_cast<int>(i), kind.fields[i].type);
    }
    if (kind.kind == FactKind::event) {
        own_properties.run({&properties, 1});
        v.nulls[3] = pg::cell(0, 1).null;
        if (!v.nulls[3]) v.values[3] = pg::copied_cell(0, 1, JSONBOID);
    }
    MemoryContextSwitchTo(inner);
    pg::close_spi();
    // A delivery whose shipping is all that is said has a time of its own.
    bool has_time = kind.kind == FactKind::delivery && !v.nulls[field::shipped_at];
    if (kind.time > 0 && v.nulls[kind.time] && !has_time) {
        v.values[kind.time] = TimestampTzGetDatum(at);
        v.nulls[kind.time] = false;
    }
    return v;
}

// What is not said of a customer stays as it is.
void keep_profile(const Datum properties, const KindSpec& kind, Values* v) {
    if (known_profile.run({v->values, 1}) == 0) return;
    Jsonb* said = DatumGetJsonbP(properties);
    for (size_t i = 1; i < kind.fields.size(); ++i) {
        JsonbValue buffer;
        if (getKeyJsonValueFromContainer(&said->root, kind.fields[i].name, strlen(kind.fields[i].name), &buffer) != nullptr) continue;
        v->nulls[i] = pg::cell(0, static_cast<int>(i) + 1).null;
        if (!v->nulls[i]) v->values[i] = pg::copied_cell(0, static_cast<int>(i) + 1, kind.fields[i].type);
    }
}

// What was tracked before and is said again, or taken back.
void find_known(const Fact& fact, pg::Array<Fact>* known) {
    if (fact.kind == FactKind::order) {
        // Its cart and coupon go with it, named again or not.
        Fact detail{};
        detail.kind = FactKind::order_detail;
        detail.customer = fact.customer;
        Datum order = pg::to_datum(fact.id);
        bool nulls[] = {false, true, true};
        detail.fields = &order;
        detail.nulls = nulls;
        customer::find_tracked(detail, known);
    }
    if (fact.kind == FactKind::order_detail) return;
    if (is_logged(fact.kind)) {
        customer::find_tracked(fact, known);
    } else if (is_purchase(fact.kind)) {
        Datum args[] = {pg::to_datum(fact.customer), pg::to_datum(spec_of(fact.kind).name), pg::to_datum(fact.id)};
        uint64 rows = known_purchase.run(args);
        for (uint64 row = 0; row < rows; ++row) {
            Fact purchase{};
            purchase.kind = fact.kind;
            purchase.id = fact.id;
            purchase.at = DatumGetTimestampTz(pg::cell(row, 1).value);
            purchase.amount = pg::to_decimal(pg::cell(row, 2).value).value_or(rules::Decimal{});
            known->push(purchase);
        }
    } else if (fact.kind == FactKind::consent) {
        Datum args[] = {pg::to_datum(fact.customer), fact.fields[0], fact.fields[1], fact.fields[2]};
        if (known_consent.run(args) > 0) known->push(fact);
    } else if (fact.withdrawn) {
        known->push(fact);  // a customer's profile
    }
}

const KindSpec& kind_named(std::string_view name) {
    const KindSpec* kind = find_kind(name);
    if (kind == nullptr)
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("kind \"%s\" is not known", pg::to_cstring(name)),
                errhint("The kinds are those of lifecycle.attach()."));
    return *kind;
}

struct Call {
    std::string_view customer;
    const KindSpec& kind;
    Datum properties;
    Instant at;
};

Call read_call(FunctionCallInfo fcinfo) {
    const char* missing = PG_ARGISNULL(0) ? "customer_id" : PG_ARGISNULL(1) ? "kind" : PG_ARGISNULL(2) ? "properties" : nullptr;
    if (missing == nullptr && pg::view(PG_GETARG_DATUM(0)).empty()) missing = "customer_id";
    if (missing != nullptr)
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s is null or empty", missing));
    Call call{pg::view(PG_GETARG_DATUM(0)), kind_named(pg::view(PG_GETARG_DATUM(1))), PG_GETARG_DATUM(2),
              PG_ARGISNULL(3) ? pg::now() : PG_GETARG_TIMESTAMPTZ(3)};
    if (call.kind.kind != FactKind::event)
        check_field_names(call.properties, call.kind, "properties", "{\"order\": \"4711\", \"amount\": 59.90}");
    return call;
}

// Reads the facts of a call; `v` are its fields.
void read_facts(const Call& call, Values& v, bool withdrawn, Reader* reader) {
    Verdict verdict = read_values(reader, v, withdrawn);
    if (verdict.message == nullptr) return;
    ereport(ERROR, errcode(verdict.sqlstate), errmsg("%s", verdict.message),
            verdict.detail != nullptr ? errdetail("%s", verdict.detail) : 0,
            errhint("The fact is of kind \"%s\".", call.kind.name));
}

// The facts that the call replaces are taken back with it; those that say the same need neither going nor coming.
bool say(const Call& call, bool withdrawn) {
    MemoryContext memory = CurrentMemoryContext;
    Source source{};
    source.name = "lifecycle.track()";
    source.id = kTracked;
    source.kind = &call.kind;
    Reader reader{&source, memory, {}, {}, nullptr, 0};
    pg::Array<Fact> known;
    customer::current_shop();
    pg::as_owner([&] {
        Values v = read_properties(call.kind, call.customer, call.properties, call.at);
        pg::open_spi();
        lock_customer.run({v.values, 1});
        MemoryContext inner = MemoryContextSwitchTo(memory);
        if (call.kind.kind == FactKind::customer && !withdrawn) keep_profile(call.properties, call.kind, &v);
        read_facts(call, v, withdrawn, &reader);
        size_t said = reader.facts.size;
        for (size_t i = 0; i < said; ++i) find_known(reader.facts[i], &known);
        for (Fact& fact : known) {
            fact.customer = call.customer;
            fact.source_id = kTracked;
            fact.withdrawn = true;
        }
        MemoryContextSwitchTo(inner);
        pg::close_spi();
    });
    if (withdrawn) {
        engine::take_in(known.span(), {});
        return !known.empty();
    }
    for (const Fact& fact : reader.facts) known.push(fact);
    engine::take_in(known.span(), {});
    return true;
}

bool say_and_retry(FunctionCallInfo fcinfo, bool withdrawn) {
    Call call = read_call(fcinfo);
    bool said = false;
    ErrorData* error = protect_and_retry([&](engine::Options) { said = say(call, withdrawn); });
    if (error != nullptr) ReThrowError(error);
    return said;
}

}  // namespace

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_track) {
    source::say_and_retry(fcinfo, false);
    PG_RETURN_VOID();
}

LIFECYCLE_FUNCTION(lifecycle_untrack) { PG_RETURN_BOOL(source::say_and_retry(fcinfo, true)); }
