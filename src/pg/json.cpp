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

// Numbers and containers begin at a multiple of four bytes.
bool is_aligned(JEntry type) { return type == JENTRY_ISNUMERIC || type == JENTRY_ISCONTAINER; }

// The order of the keys in a jsonb.
bool precedes(const JsonObject::Member& a, const JsonObject::Member& b) {
    return a.key.size() != b.key.size() ? a.key.size() < b.key.size() : a.key < b.key;
}

// One of the entries that say how long the children of a container are; some say where they end.
JEntry entry_of(JEntry type, uint32 n, Size length, Size end) {
    if (end > JENTRY_OFFLENMASK)
        ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a jsonb object would be larger than %u bytes", JENTRY_OFFLENMASK));
    return type | (n % JB_OFFSET_STRIDE == 0 ? JENTRY_HAS_OFF | static_cast<JEntry>(end) : static_cast<JEntry>(length));
}

}  // namespace

void JsonObject::add(const Member& member) {
    size_t at = members.size;
    while (at > 0 && precedes(member, members[at - 1])) --at;
    if (at > 0 && members[at - 1].key == member.key) {
        members[at - 1] = member;
        return;
    }
    members.push(member);
    for (size_t i = members.size - 1; i > at; --i) members[i] = members[i - 1];
    members[at] = member;
}

void JsonObject::put(std::string_view key, std::string_view value) { add({key, value, JENTRY_ISSTRING}); }

void JsonObject::put_members(Datum object) {
    JsonbContainer* container = &DatumGetJsonbP(object)->root;
    auto count = static_cast<int>(JsonContainerSize(container));
    const char* data = reinterpret_cast<const char*>(&container->children[2 * count]);
    auto bytes_of = [&](int n) { return std::string_view{data + getJsonbOffset(container, n), getJsonbLength(container, n)}; };
    for (int i = 0; i < count; ++i) {
        std::string_view value = bytes_of(count + i);
        JEntry type = container->children[count + i] & JENTRY_TYPEMASK;
        if (is_aligned(type)) {
            auto offset = static_cast<size_t>(value.data() - data);
            value.remove_prefix(INTALIGN(offset) - offset);
        }
        add({bytes_of(i), value, type});
    }
}

Datum JsonObject::finish() {
    size_t count = members.size;
    Size size = VARHDRSZ + sizeof(uint32) + 2 * count * sizeof(JEntry);
    for (const Member& m : members) size += m.key.size() + m.value.size() + sizeof(uint32);
    auto* jsonb = static_cast<Jsonb*>(palloc(size));
    jsonb->root.header = static_cast<uint32>(count) | JB_FOBJECT;
    char* data = reinterpret_cast<char*>(&jsonb->root.children[2 * count]);
    Size end = 0;
    for (uint32 i = 0; i < count; ++i) {
        const Member& m = members[i];
        memcpy(data + end, m.key.data(), m.key.size());
        end += m.key.size();
        jsonb->root.children[i] = entry_of(JENTRY_ISSTRING, i, m.key.size(), end);
    }
    for (uint32 i = 0; i < count; ++i) {
        const Member& m = members[i];
        Size begun = end;
        while (is_aligned(m.type) && end != INTALIGN(end)) data[end++] = 0;
        if (!m.value.empty()) memcpy(data + end, m.value.data(), m.value.size());
        end += m.value.size();
        auto n = static_cast<uint32>(count) + i;
        jsonb->root.children[n] = entry_of(m.type, n, end - begun, end);
    }
    SET_VARSIZE(jsonb, data + end - reinterpret_cast<char*>(jsonb));
    return PointerGetDatum(jsonb);
}

}  // namespace lifecycle::pg
