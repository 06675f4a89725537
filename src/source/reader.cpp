// From a row to a fact, or to a reason why not.
#include <algorithm>
#include <initializer_list>
#include <cstring>

#include "customer/rates.hpp"
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/json.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

namespace {

// An index entry has room for 2,700 bytes. One of the outbox has the customer's id twice, an anchor made of another id, and the name of a scenario.
constexpr size_t kLongestCustomer = 500;
constexpr size_t kLongestId = 1000;
constexpr size_t kLongestKey = 2000;  // of what may be the idempotency key of a message

char* make_room(Reader* reader, size_t n) {
    n = MAXALIGN(n);
    if (n > reader->room_left) {
        // Ids are short and many: one allocation serves thousands of them, but for those of a statement of one row.
        size_t size = reader->room == nullptr ? 1024 : 65536;
        if (n > size) size = n;
        reader->room = static_cast<char*>(MemoryContextAlloc(reader->context, size));
        reader->room_left = size;
    }
    char* at = reader->room;
    reader->room += n;
    reader->room_left -= n;
    return at;
}

std::string_view keep(Reader* reader, std::string_view bytes) {
    char* at = make_room(reader, bytes.size());
    memcpy(at, bytes.data(), bytes.size());
    return {at, bytes.size()};
}

Datum keep_numeric(Reader* reader, Datum numeric) {
    const struct varlena* value = PG_DETOAST_DATUM_PACKED(numeric);
    size_t size = VARSIZE_ANY_EXHDR(value) + VARHDRSZ;
    char* at = make_room(reader, size);
    SET_VARSIZE(at, size);
    memcpy(VARDATA(at), VARDATA_ANY(value), size - VARHDRSZ);
    return PointerGetDatum(at);
}

Verdict missing(const char* field) { return {ERRCODE_NULL_VALUE_NOT_ALLOWED, psprintf("%s is null", field), nullptr}; }

Verdict too_long(const char* field, size_t size, size_t longest) {
    return {ERRCODE_STRING_DATA_RIGHT_TRUNCATION, psprintf("%s is too long", field), psprintf("It has %zu bytes; there is room for %zu.", size, longest)};
}

Verdict not_a_number(const char* field, Datum value) {
    return {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, psprintf("%s is not a number that can be added up", field),
            psprintf("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, value)))};
}

Verdict infinite(const char* field) { return {ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, psprintf("%s is infinite", field), nullptr}; }

// The currency of an amount, if it is not the shop's; nullptr: it is.
Foreign* read_currency(Reader* reader, const Values& v) {
    std::string_view own = customer::current_shop().currency;
    if (v.nulls[4] || own.empty()) return nullptr;
    auto currency = pg::view(v.values[4]);
    if (currency.size() == own.size() && pg_strncasecmp(currency.data(), own.data(), own.size()) == 0) return nullptr;
    auto* foreign = reinterpret_cast<Foreign*>(make_room(reader, sizeof(Foreign)));
    char* upper = make_room(reader, currency.size());
    for (size_t i = 0; i < currency.size(); ++i) upper[i] = static_cast<char>(pg_ascii_toupper(static_cast<unsigned char>(currency[i])));
    *foreign = {{upper, currency.size()}, 0, 0};
    return foreign;
}

// What goes is known by its id; amount and time tell it from another row of the same id. They may have been mended in quarantine since,
// or the currency's rule may have changed, so nothing here is a reason not to take it back.
Verdict read_withdrawn(Reader* reader, const Values& v, Fact* fact) {
    if (v.nulls[1]) return missing("id");
    fact->id = keep(reader, pg::view(v.values[1]));
    fact->at = v.nulls[3] ? rules::kNever : DatumGetTimestampTz(v.values[3]);
    if (!v.nulls[2]) fact->amount = pg::to_decimal(v.values[2]).value_or(rules::Decimal{});
    fact->foreign = read_currency(reader, v);
    if (fact->kind == FactKind::refund && !v.nulls[5]) fact->order = keep(reader, pg::view(v.values[5]));
    return {};
}

// Kinds order and refund: customer, id, amount, at, currency, then for a refund the order.
Verdict read_purchase(Reader* reader, const Values& v, Fact* fact) {
    const KindSpec& kind = *reader->source->kind;
    fact->sum_of_items = reader->source->sums_items;
    if (fact->withdrawn) return read_withdrawn(reader, v, fact);
    for (int i = 1; i <= 3; ++i) {
        if (v.nulls[i] && !(i == 2 && fact->sum_of_items)) return missing(kind.fields[i].name);
    }
    Instant at = DatumGetTimestampTz(v.values[3]);
    if (!rules::is_finite(at)) return infinite(kind.fields[3].name);
    auto id = pg::view(v.values[1]);
    if (id.size() > kLongestId) return too_long(kind.fields[1].name, id.size(), kLongestId);
    fact->id = keep(reader, id);
    fact->at = at;
    if (kind.kind == FactKind::refund && !v.nulls[5]) fact->order = keep(reader, pg::view(v.values[5]));
    if (!fact->sum_of_items) {
        auto amount = pg::to_decimal(v.values[2]);
        if (!amount || !rules::is_addable(*amount)) return not_a_number("amount", v.values[2]);
        fact->amount = *amount;
        fact->amount_datum = keep_numeric(reader, v.values[2]);
    }
    Foreign* foreign = read_currency(reader, v);
    if (foreign == nullptr) return {};
    auto rate = customer::rate_of(foreign->currency, at);
    if (!rate)
        return {ERRCODE_INVALID_PARAMETER_VALUE, "there is no exchange rate for the currency of this amount",
                psprintf("It is %s, the shop's is %s.", pg::to_cstring(foreign->currency), pg::to_cstring(customer::current_shop().currency))};
    foreign->amount = fact->amount_datum;
    foreign->rate = keep_numeric(reader, *rate);
    fact->foreign = foreign;
    if (fact->sum_of_items) return {};
    MemoryContext caller = MemoryContextSwitchTo(reader->context);
    bool kept = customer::convert(fact);
    MemoryContextSwitchTo(caller);
    return kept ? Verdict{} : not_a_number("amount", v.values[2]);
}

bool is_one_of(Datum value, std::initializer_list<std::string_view> words) {
    auto said = pg::view(value);
    for (auto word : words) {
        if (said == word) return true;
    }
    return false;
}

Verdict not_one_of(const char* message, Datum value) {
    return {ERRCODE_INVALID_PARAMETER_VALUE, message, psprintf("It is \"%s\".", pg::to_cstring(pg::view(value)))};
}

// Keeps the fields after the customer as they are.
void keep_fields(Reader* reader, const Values& v, const KindSpec& kind, Fact* fact) {
    size_t n = kind.fields.size() - 1;
    MemoryContext caller = MemoryContextSwitchTo(reader->context);
    fact->fields = static_cast<Datum*>(palloc0(n * sizeof(Datum)));
    fact->nulls = static_cast<bool*>(palloc0(n * sizeof(bool)));
    for (size_t i = 0; i < n; ++i) {
        fact->nulls[i] = v.nulls[i + 1];
        if (fact->nulls[i]) continue;
        int16 length;
        bool by_value;
        get_typlenbyval(kind.fields[i + 1].type, &length, &by_value);
        Datum value = length == -1 ? PointerGetDatum(PG_DETOAST_DATUM(v.values[i + 1])) : v.values[i + 1];
        fact->fields[i] = datumCopy(value, by_value, length);
    }
    MemoryContextSwitchTo(caller);
}

// What an index has no room for would fail the whole statement later, or the tick.
Verdict check_lengths(const KindSpec& kind, const Values& v) {
    for (size_t i = 1; i < kind.fields.size(); ++i) {
        const FieldSpec& field = kind.fields[i];
        if (v.nulls[i] || field.type != TEXTOID || !(field.required || field.key || field.indexed)) continue;
        size_t size = pg::view(v.values[i]).size();
        size_t longest = field.required || field.indexed ? kLongestId : kLongestKey;
        if (size > longest) return too_long(field.name, size, longest);
    }
    return {};
}

// What holds for the fields of every kind but order, refund and customer.
Verdict check_fields(const KindSpec& kind, const Values& v) {
    for (size_t i = 1; i < kind.fields.size(); ++i) {
        const FieldSpec& field = kind.fields[i];
        if (v.nulls[i]) {
            if (field.required) return missing(field.name);
            continue;
        }
        if (field.type == TIMESTAMPTZOID && !rules::is_finite(DatumGetTimestampTz(v.values[i]))) return infinite(field.name);
        if (field.type == NUMERICOID && !pg::to_decimal(v.values[i])) return not_a_number(field.name, v.values[i]);
    }
    if (kind.kind == FactKind::consent) {
        if (consent_column(pg::view(v.values[1])) == kColumns)
            return not_one_of("channel is not email, sms, push or ads", v.values[1]);
        if (!is_one_of(v.values[2], {"pending", "granted", "revoked"}))
            return not_one_of("status is not pending, granted or revoked", v.values[2]);
    }
    if (kind.kind == FactKind::engagement && !is_one_of(v.values[field::engagement_type], {"sent", "open", "click", "visit", "bounce", "complaint"}))
        return not_one_of("type is not sent, open, click, visit, bounce or complaint", v.values[field::engagement_type]);
    if (kind.kind == FactKind::cart && !v.nulls[field::cart_stage] && !is_one_of(v.values[field::cart_stage], {"cart", "checkout", "payment"}))
        return not_one_of("stage is not cart, checkout or payment", v.values[field::cart_stage]);
    return {};
}

// A shop that never says when an order arrived says when it was shipped; one that says neither yet says nothing.
bool estimate_delivery(Values* v) {
    if (!v->nulls[field::delivered_at]) return true;
    if (v->nulls[field::shipped_at]) return false;
    Instant shipped = DatumGetTimestampTz(v->values[field::shipped_at]);
    const customer::Shop& shop = customer::current_shop();
    pg::keep_zone([&] {
        pg::use_zone(shop.zone);
        v->values[field::delivered_at] = TimestampTzGetDatum(pg::add_interval(shipped, &shop.delivery_time));
    });
    v->nulls[field::delivered_at] = false;
    return true;
}

void push(Reader* reader, const Fact& fact) {
    MemoryContext caller = MemoryContextSwitchTo(reader->context);
    reader->facts.push(fact);
    MemoryContextSwitchTo(caller);
}

// The cart and the coupon that an order names.
void read_detail(Reader* reader, const Values& v, const Fact& order) {
    if (v.nulls[field::order_cart] && v.nulls[field::order_coupon]) return;
    Values named = v;
    const int from[] = {0, 1, field::order_cart, field::order_coupon};
    for (int i = 0; i < 4; ++i) {
        named.values[i] = v.values[from[i]];
        named.nulls[i] = v.nulls[from[i]];
    }
    Fact fact{};
    fact.kind = FactKind::order_detail;
    fact.withdrawn = order.withdrawn;
    fact.source_id = order.source_id;
    fact.customer = order.customer;
    fact.at = order.at;
    keep_fields(reader, named, spec_of(FactKind::order_detail), &fact);
    push(reader, fact);
}

Verdict read_fields(Reader* reader, Values& v, Fact* fact) {
    const KindSpec& kind = *reader->source->kind;
    Verdict verdict = kind.kind == FactKind::customer ? Verdict{} : check_fields(kind, v);
    if (verdict.message == nullptr) verdict = check_lengths(kind, v);
    if (verdict.message != nullptr) return verdict;
    keep_fields(reader, v, kind, fact);
    if (kind.time > 0) fact->at = DatumGetTimestampTz(v.values[kind.time]);
    return {};
}

}  // namespace

Verdict read_values(Reader* reader, Values& v, bool withdrawn) {
    Source* source = reader->source;
    if (!source->by_order) {
        if (v.nulls[0] || pg::view(v.values[0]).empty()) return {};  // nobody's
        size_t size = pg::view(v.values[0]).size();
        if (size > kLongestCustomer) return too_long("customer", size, kLongestCustomer);
    }
    Fact fact{};
    fact.kind = source->kind->kind;
    fact.withdrawn = withdrawn;
    fact.source_id = source->id;
    if (fact.kind == FactKind::delivery && !estimate_delivery(&v)) return {};
    Verdict verdict = is_purchase(fact.kind) ? read_purchase(reader, v, &fact) : read_fields(reader, v, &fact);
    if (verdict.message != nullptr) return verdict;
    if (!source->by_order) fact.customer = keep(reader, pg::view(v.values[0]));
    push(reader, fact);
    if (fact.kind == FactKind::order) read_detail(reader, v, fact);
    return {};
}

bool evaluate_fields(Source* source, Values* values) {
    pg::Evaluator* e = source->evaluator;
    bool null;
    if (source->filter != nullptr) {
        Datum counts = pg::evaluate(source->filter, e, &null);
        if (null || !DatumGetBool(counts)) return false;
    }
    Values& v = *values;
    if (source->last_column > 0) slot_getsomeattrs(e->context->ecxt_scantuple, source->last_column);  // together, not one by one
    for (size_t i = 0; i < source->fields.size; ++i) {
        v.nulls[i] = true;
        if (source->fields[i].exists()) v.values[i] = pg::evaluate(source->fields[i], e, &v.nulls[i]);
        if (i == 0 && v.nulls[0] && !source->by_order) return false;  // nobody's: the rest need not be right
    }
    return true;
}

namespace {

Verdict read_fact(Reader* reader, bool withdrawn, Values* values) {
    return evaluate_fields(reader->source, values) ? read_values(reader, *values, withdrawn) : Verdict{};
}

}  // namespace

TupleTableSlot* slot_of_record(HeapTupleHeader row) {
    TupleDesc layout = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
    auto* tuple = static_cast<HeapTuple>(palloc0(sizeof(HeapTupleData)));
    tuple->t_len = HeapTupleHeaderGetDatumLength(row);
    tuple->t_data = row;
    TupleTableSlot* slot = MakeSingleTupleTableSlot(layout, &TTSOpsHeapTuple);
    ExecStoreHeapTuple(tuple, slot, false);
    return slot;
}

Datum row_as_json(TupleTableSlot* slot) { return pg::row_to_json(slot); }

namespace {

bool has_key(std::string_view json, std::string_view key) {
    for (size_t at = json.find(key); at != json.npos; at = json.find(key, at + 1)) {  // within a string there would be a backslash
        size_t next = json.find_first_not_of(' ', at + key.size());
        if (next != json.npos && json[next] == ':') return true;
    }
    return false;
}

}  // namespace

void check_columns(const Source& source, std::string_view json) {
    for (std::string_view key : source.keys) {
        if (has_key(json, key)) continue;
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
                errmsg("the row that was kept lacks column %s, which the mapping of source \"%s\" reads", pg::to_cstring(key),
                       pg::to_cstring(source.name)),
                errhint("Columns have been renamed since. Unless the row has come in otherwise, name them in lifecycle.quarantine.data as the table does now, then SELECT lifecycle.replay_quarantine()."));
    }
}

bool read_row(Reader* reader, TupleTableSlot* slot, bool withdrawn, Values* values) {
    Values own;
    if (values == nullptr) values = &own;
    pg::Evaluator* e = reader->source->evaluator;
    pg::forget_row(e);
    e->context->ecxt_scantuple = slot;
    MemoryContext caller = MemoryContextSwitchTo(e->context->ecxt_per_tuple_memory);
    Verdict verdict;
    size_t known = reader->facts.size;
    ErrorData* error = pg::attempt([&] { verdict = read_fact(reader, withdrawn, values); });
    if (error != nullptr) {
        reader->facts.size = known;
        verdict = {error->sqlerrcode, error->message, error->detail};
    }
    // What could not be read has not been taken in either, so a bad row that goes has nothing to withdraw.
    if (verdict.message != nullptr && !withdrawn) {
        MemoryContextSwitchTo(reader->context);
        reader->bad.push({row_as_json(slot), verdict.sqlstate, pstrdup(verdict.message),
                          verdict.detail == nullptr ? nullptr : pstrdup(verdict.detail), false});
    }
    MemoryContextSwitchTo(caller);
    return reader->facts.size > known;
}

}  // namespace lifecycle::source
