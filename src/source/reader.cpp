// From a row to a fact, or to a reason why not.
#include <algorithm>
#include <cstring>

#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

namespace {

constexpr size_t kLongestId = 1000;  // what an index entry has room for, with some to spare

char* make_room(Reader* reader, size_t n) {
    n = MAXALIGN(n);
    if (n > reader->room_left) {
        // Ids are short and many: one allocation serves thousands of them.
        size_t size = n > 65536 ? n : 65536;
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
    struct varlena* value = PG_DETOAST_DATUM(numeric);
    char* at = make_room(reader, VARSIZE(value));
    memcpy(at, value, VARSIZE(value));
    return PointerGetDatum(at);
}

// Why a row cannot become a fact; message nullptr: it can.
struct Verdict {
    int sqlstate = 0;
    const char* message = nullptr;
    const char* detail = nullptr;
};

struct Values {
    Datum values[16];
    bool nulls[16];
};

Verdict missing(const char* field) { return {ERRCODE_NULL_VALUE_NOT_ALLOWED, psprintf("%s is null", field), nullptr}; }

// What goes is known by its id; amount and time tell it from another row of the same id. They may have been mended in quarantine since,
// or the currency's rule may have changed, so nothing here is a reason not to take it back.
Verdict read_withdrawn(Reader* reader, const Values& v, Fact* fact) {
    if (v.nulls[1]) return missing("id");
    fact->id = keep(reader, pg::view(v.values[1]));
    fact->at = v.nulls[3] ? rules::kNever : DatumGetTimestampTz(v.values[3]);
    if (!v.nulls[2]) fact->amount = pg::to_decimal(v.values[2]).value_or(rules::Decimal{});
    return {};
}

// Kinds order and refund: customer, id, amount, at, currency, then for a refund the order.
Verdict read_purchase(Reader* reader, const Values& v, Fact* fact) {
    const KindSpec& kind = *reader->source->kind;
    if (fact->withdrawn) return read_withdrawn(reader, v, fact);
    for (int i = 1; i <= 3; ++i) {
        if (v.nulls[i]) return missing(kind.fields[i].name);
    }
    auto amount = pg::to_decimal(v.values[2]);
    if (!amount || !rules::is_addable(*amount))
        return {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "amount is not a number that can be added up",
                psprintf("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, v.values[2])))};
    Instant at = DatumGetTimestampTz(v.values[3]);
    if (!rules::is_finite(at)) return {ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, psprintf("%s is infinite", kind.fields[3].name), nullptr};
    if (!v.nulls[4]) {
        std::string_view wanted = customer::current_shop().currency;
        char* currency = pg::to_cstring(pg::view(v.values[4]));
        if (!wanted.empty() && pg_strcasecmp(currency, pg::to_cstring(wanted)) != 0)
            return {ERRCODE_INVALID_PARAMETER_VALUE, "there is no exchange rate for the currency of this amount",
                    psprintf("It is %s, the shop's is %s.", currency, pg::to_cstring(wanted))};
    }
    auto id = pg::view(v.values[1]);
    if (id.size() > kLongestId)
        return {ERRCODE_STRING_DATA_RIGHT_TRUNCATION, psprintf("%s is too long", kind.fields[1].name), nullptr};
    fact->id = keep(reader, id);
    fact->amount = *amount;
    fact->amount_datum = keep_numeric(reader, v.values[2]);
    fact->at = at;
    if (kind.kind == FactKind::refund && !v.nulls[5]) fact->order = keep(reader, pg::view(v.values[5]));
    return {};
}

// Kinds customer and consent keep their fields as they are.
Verdict read_fields(Reader* reader, const Values& v, Fact* fact) {
    const KindSpec& kind = *reader->source->kind;
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
    if (kind.kind != FactKind::consent) return {};

    for (int i = 1; i <= 3; ++i) {
        if (v.nulls[i]) return missing(kind.fields[i].name);
    }
    if (!rules::is_finite(DatumGetTimestampTz(v.values[3])))
        return {ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, "changed_at is infinite", nullptr};
    auto channel = pg::view(v.values[1]);
    auto status = pg::view(v.values[2]);
    if (consent_column(channel) == kColumns)
        return {ERRCODE_INVALID_PARAMETER_VALUE, "channel is not email, sms, push or ads",
                psprintf("It is \"%s\".", pg::to_cstring(channel))};
    if (status != "pending" && status != "granted" && status != "revoked")
        return {ERRCODE_INVALID_PARAMETER_VALUE, "status is not pending, granted or revoked",
                psprintf("It is \"%s\".", pg::to_cstring(status))};
    return {};
}

Verdict read_fact(Reader* reader, bool withdrawn) {
    Source* source = reader->source;
    pg::Evaluator* e = source->evaluator;
    bool null;
    if (source->filter != nullptr) {
        Datum counts = pg::evaluate(source->filter, e, &null);
        if (null || !DatumGetBool(counts)) return {};
    }
    Values v;
    v.values[0] = pg::evaluate(source->fields[0], e, &v.nulls[0]);
    if (v.nulls[0] || pg::view(v.values[0]).empty()) return {};  // nobody's
    if (pg::view(v.values[0]).size() > kLongestId) return {ERRCODE_STRING_DATA_RIGHT_TRUNCATION, "customer is too long", nullptr};
    for (size_t i = 1; i < source->fields.size; ++i) {
        v.nulls[i] = true;
        if (source->fields[i] != nullptr) v.values[i] = pg::evaluate(source->fields[i], e, &v.nulls[i]);
    }
    Fact fact{};
    fact.kind = source->kind->kind;
    fact.withdrawn = withdrawn;
    fact.source_id = source->id;
    bool purchase = fact.kind == FactKind::order || fact.kind == FactKind::refund;
    Verdict verdict = purchase ? read_purchase(reader, v, &fact) : read_fields(reader, v, &fact);
    if (verdict.message != nullptr) return verdict;
    fact.customer = keep(reader, pg::view(v.values[0]));

    MemoryContext caller = MemoryContextSwitchTo(reader->context);
    reader->facts.push(fact);
    MemoryContextSwitchTo(caller);
    return {};
}

}  // namespace

Datum row_as_json(TupleTableSlot* slot) {
    // In UTC whoever asks: the same row must give the same text when it goes as when it came.
    Datum json = 0;
    pg::keep_zone([&] {
        pg::use_zone(pg::zone_of(nullptr, nullptr));
        json = DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(slot));
    });
    return json;
}

void read_row(Reader* reader, TupleTableSlot* slot, bool withdrawn) {
    pg::Evaluator* e = reader->source->evaluator;
    pg::forget_row(e);
    e->context->ecxt_scantuple = slot;
    MemoryContext caller = MemoryContextSwitchTo(e->context->ecxt_per_tuple_memory);
    Verdict verdict;
    size_t known = reader->facts.size;
    ErrorData* error = pg::attempt([&] { verdict = read_fact(reader, withdrawn); });
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
}

}  // namespace lifecycle::source
