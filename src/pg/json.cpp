#include "pg/json.hpp"

#include "pg/clock.hpp"

namespace lifecycle::pg {

FmgrInfo* make_row_reader(Oid row_type) {
    auto* reader = static_cast<FmgrInfo*>(palloc0(sizeof(FmgrInfo)));
    fmgr_info(F_JSON_POPULATE_RECORD, reader);
    // The function asks the expression that calls it for the type of its first argument.
    List* args = list_make3(makeNullConst(row_type, -1, InvalidOid), makeNullConst(JSONOID, -1, InvalidOid),
                            makeNullConst(BOOLOID, -1, InvalidOid));
    FuncExpr* call = makeFuncExpr(F_JSON_POPULATE_RECORD, row_type, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
    fmgr_info_set_expr(reinterpret_cast<Node*>(call), reader);
    return reader;
}

Datum row_from_json(FmgrInfo* reader, Datum json) {
    LOCAL_FCINFO(call, 3);
    InitFunctionCallInfoData(*call, reader, 3, InvalidOid, nullptr, nullptr);
    call->args[0] = {0, true};
    call->args[1] = {json, false};
    call->args[2] = {BoolGetDatum(false), false};
    Datum row = FunctionCallInvoke(call);
    if (call->isnull) elog(ERROR, "could not read a row from json");
    return row;
}

Datum row_to_json(TupleTableSlot* slot) {
    Datum json = 0;
    int own_digits = extra_float_digits;
    int own_style = IntervalStyle;
    pg_tz* own_zone = session_timezone;
    PG_TRY();
    {
        extra_float_digits = 1;
        IntervalStyle = INTSTYLE_POSTGRES;
        session_timezone = zone_of(nullptr, nullptr);
        json = DirectFunctionCall1(::row_to_json, ExecFetchSlotHeapTupleDatum(slot));
    }
    PG_FINALLY();
    {
        extra_float_digits = own_digits;
        IntervalStyle = own_style;
        session_timezone = own_zone;
    }
    PG_END_TRY();
    return json;
}

namespace {

JsonbValue string_value(std::string_view text) {
    JsonbValue v;
    v.type = jbvString;
    v.val.string.len = static_cast<int>(text.size());
    v.val.string.val = const_cast<char*>(text.data());
    return v;
}

}  // namespace

JsonObject::JsonObject() { pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr); }

void JsonObject::put(std::string_view key, std::string_view value) {
    JsonbValue k = string_value(key), v = string_value(value);
    pushJsonbValue(&state, WJB_KEY, &k);
    pushJsonbValue(&state, WJB_VALUE, &v);
}

void JsonObject::put_members(Datum object) {
    JsonbIterator* it = JsonbIteratorInit(&DatumGetJsonbP(object)->root);
    JsonbValue v;
    JsonbIteratorToken token = JsonbIteratorNext(&it, &v, false);  // the beginning
    while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
        if (token == WJB_KEY || token == WJB_VALUE) pushJsonbValue(&state, token, &v);
    }
}

Datum JsonObject::finish() { return PointerGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr))); }

}  // namespace lifecycle::pg
