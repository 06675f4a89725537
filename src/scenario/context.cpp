// What context() is: the fact that has started an enrolment, or what else has, as jsonb.
#include "pg/clock.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

struct Object {
    StringInfoData json;

    Object() {
        initStringInfo(&json);
        appendStringInfoChar(&json, '{');
    }
    void key(const char* name) {
        if (json.len > 1) appendStringInfoString(&json, ", ");
        escape_json(&json, name);
        appendStringInfoString(&json, ": ");
    }
    void put(const char* name, std::string_view value) {
        key(name);
        escape_json(&json, pg::to_cstring(value));
    }
    void put(const char* name, Oid type, Datum value) {
        if (type == TIMESTAMPTZOID) {
            put(name, pg::view(instant_text(DatumGetTimestampTz(value))));
        } else if (type == JSONBOID || (type == NUMERICOID && pg::to_decimal(value)) || type == INT8OID) {
            key(name);
            appendStringInfoString(&json, pg::show(value, type));
        } else {
            put(name, std::string_view{pg::show(value, type)});
        }
    }
    void put_fields(const Fact& fact) {
        auto fields = spec_of(fact.kind).fields.subspan(1);
        for (size_t i = 0; i < fields.size(); ++i) {
            if (!fact.nulls[i]) put(fields[i].name, fields[i].type, fact.fields[i]);
        }
    }
    Datum finish() {
        appendStringInfoChar(&json, '}');
        return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
    }
};

void put_order(Object& object, const Change& change, const Fact& order) {
    object.put("order", order.id);
    object.put("amount", NUMERICOID, pg::to_numeric(order.amount));
    object.put("placed_at", TIMESTAMPTZOID, TimestampTzGetDatum(order.at));
    for (const Fact& fact : change.facts) {
        if (fact.kind != FactKind::order_detail || fact.withdrawn || pg::view(fact.fields[0]) != order.id) continue;
        if (!fact.nulls[1]) object.put("cart", TEXTOID, fact.fields[1]);
        if (!fact.nulls[2]) object.put("coupon", TEXTOID, fact.fields[2]);
    }
}

// What the trigger calls what it starts on.
const char* name_of(const Scenario& s) {
    switch (s.trigger) {
        case Trigger::order_placed:
        case Trigger::delivered: return "order";
        case Trigger::tier_reached:
        case Trigger::tier_ending: return "tier";
        case Trigger::review: return "review";
        case Trigger::wishlist_added: return "product";
        case Trigger::referral: return "referral";
        case Trigger::birthday: return "year";
        case Trigger::date: return "date";
        default: return nullptr;
    }
}

}  // namespace

Datum context_of(const Change& change, const Scenario& s, Datum anchor, const Cause& cause) {
    Object object;
    const Row& row = change.after;
    if (s.trigger == Trigger::order_placed && cause.fact != nullptr) {
        put_order(object, change, *cause.fact);
    } else if (cause.fact != nullptr) {
        object.put_fields(*cause.fact);
    } else if (cause.signal != nullptr) {
        bool tier = s.trigger == Trigger::tier_reached || s.trigger == Trigger::tier_ending;
        object.put(tier ? "tier" : "segment", cause.signal->name);
    } else if (cause.expiring != nullptr) {
        object.put("expires_at", TIMESTAMPTZOID, TimestampTzGetDatum(cause.expiring->at));
        object.put("points", INT8OID, Int64GetDatum(cause.expiring->points));
    } else if (s.trigger == Trigger::cart_idle) {
        object.put("cart", TEXTOID, row.values[kCartId]);
        if (!row.nulls[kCartValue]) object.put("value", NUMERICOID, row.values[kCartValue]);
        object.put("updated_at", TIMESTAMPTZOID, row.values[kCartUpdatedAt]);
    } else if (s.trigger == Trigger::consent) {
        object.put("channel", s.argument);
    } else if (const char* name = name_of(s)) {
        object.put(name, pg::view(anchor));
    } else {
        object.put("event", s.argument);  // that was known before its time came
    }
    return object.finish();
}

}  // namespace lifecycle::scenario
