// What a row of an attached table says, for those who only want to know.
#include "pg/guard.hpp"
#include "pg/text.hpp"
#include "source/source.hpp"

using namespace lifecycle;

// The field as text; false: it is NULL, or not mapped.
static bool show_field(const source::Source& s, std::string_view name, const source::Values& values, Datum* shown) {
    for (size_t i = 0; i < s.fields.size; ++i) {
        const FieldSpec& field = s.kind->fields[i];
        if (name != field.name || values.nulls[i]) continue;
        *shown = CStringGetTextDatum(pg::show(values.values[i], field.type));
        return true;
    }
    return false;
}

static Datum show_fields(const source::Source& s, pg::Elements names, const source::Values& values) {
    pg::Array<Datum> shown;
    pg::Array<bool> nulls;
    for (int i = 0; i < names.count; ++i) {
        Datum value{};
        nulls.push(names.nulls[i] || !show_field(s, pg::view(names.values[i]), values, &value));
        shown.push(value);
    }
    return pg::text_array(shown.span(), nulls.data);
}

// lifecycle.said_by_row(source, fields, row): as if the row came now, with the rights of whoever asks.
LIFECYCLE_FUNCTION(lifecycle_said_by_row) {
    source::Source* s = source::find_source(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))));
    HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(2);
    if (HeapTupleHeaderGetTypeId(row) != get_rel_type_id(s->relation))
        ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("this is no row of table %s", get_rel_name(s->relation)));
    TupleTableSlot* slot = source::slot_of_record(row);

    source::Values values;
    bool counts = false;
    pg::forget_row(s->evaluator);
    s->evaluator->context->ecxt_scantuple = slot;
    MemoryContext caller = MemoryContextSwitchTo(s->evaluator->context->ecxt_per_tuple_memory);
    ErrorData* error = pg::attempt([&] { counts = source::evaluate_fields(s, &values); });
    MemoryContextSwitchTo(caller);

    Datum results[2] = {};
    bool nulls[2] = {!counts || error != nullptr, error == nullptr};
    if (!nulls[0]) results[0] = show_fields(*s, pg::elements_of(PG_GETARG_DATUM(1)), values);
    if (!nulls[1]) results[1] = pg::to_datum(error->message);
    ExecDropSingleTupleTableSlot(slot);
    TupleDesc layout;
    if (get_call_result_type(fcinfo, nullptr, &layout) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(layout), results, nulls)));
}
