#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

struct Layout {
    int16 length;
    bool by_value;
    char align;
};

// Those of an order's path without a look at the catalog.
Layout layout_of(Oid type) {
    switch (type) {
        case TEXTOID:
        case NUMERICOID: return {-1, false, TYPALIGN_INT};
        case INT8OID:
        case TIMESTAMPTZOID: return {8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE};
        case INT4OID: return {4, true, TYPALIGN_INT};
    }
    Layout layout;
    get_typlenbyvalalign(type, &layout.length, &layout.by_value, &layout.align);
    return layout;
}

// How much room each element takes up in an array. 0: there is one that is not stored there as it is, or the type is a rare one.
Size size_in_array(std::span<const Datum> elements, Layout layout) {
    if (layout.by_value) return elements.size() * static_cast<Size>(att_align_nominal(layout.length, layout.align));
    if (layout.length != -1) return 0;
    Size size = 0;
    for (Datum element : elements) {
        if (VARATT_IS_EXTENDED(DatumGetPointer(element))) return 0;
        size += att_align_nominal(VARSIZE(DatumGetPointer(element)), layout.align);
    }
    return size;
}

ArrayType* blank_array(Oid type, int count, Size size) {
    auto* array = static_cast<ArrayType*>(palloc0(ARR_OVERHEAD_NONULLS(1) + size));
    SET_VARSIZE(array, ARR_OVERHEAD_NONULLS(1) + size);
    array->ndim = 1;
    array->elemtype = type;
    ARR_DIMS(array)[0] = count;
    ARR_LBOUND(array)[0] = 1;
    return array;
}

// The server's functions ask about each element several times.
Datum make_array(Oid type, std::span<const Datum> elements, const bool* nulls) {
    int dims = static_cast<int>(elements.size());
    int lower = 1;
    if (dims == 0) return PointerGetDatum(construct_empty_array(type));
    Layout layout = layout_of(type);
    Size size = nulls == nullptr ? size_in_array(elements, layout) : 0;
    if (size == 0 || size > MaxAllocSize / 2)
        return PointerGetDatum(construct_md_array(const_cast<Datum*>(elements.data()), const_cast<bool*>(nulls), 1, &dims,
                                                  &lower, type, layout.length, layout.by_value, layout.align));
    ArrayType* array = blank_array(type, dims, size);
    char* next = ARR_DATA_PTR(array);
    for (Datum element : elements) {
        Size length = layout.by_value ? static_cast<Size>(layout.length) : VARSIZE(DatumGetPointer(element));
        if (layout.by_value) {
            store_att_byval(next, element, layout.length);
        } else {
            memcpy(next, DatumGetPointer(element), length);
        }
        next += att_align_nominal(length, layout.align);
    }
    return PointerGetDatum(array);
}

}  // namespace

Datum text_array(std::span<const Datum> elements, const bool* nulls) { return make_array(TEXTOID, elements, nulls); }
Datum text_array(std::span<const std::string_view> elements) {
    if (elements.empty()) return make_array(TEXTOID, {}, nullptr);
    Size size = 0;
    for (std::string_view s : elements) size += INTALIGN(VARHDRSZ + s.size());
    ArrayType* array = blank_array(TEXTOID, static_cast<int>(elements.size()), size);
    char* next = ARR_DATA_PTR(array);
    for (std::string_view s : elements) {
        SET_VARSIZE(next, VARHDRSZ + s.size());
        memcpy(VARDATA(next), s.data(), s.size());
        next += INTALIGN(VARHDRSZ + s.size());
    }
    return PointerGetDatum(array);
}
Datum instant_array(std::span<const Datum> elements, const bool* nulls) { return make_array(TIMESTAMPTZOID, elements, nulls); }
Datum numeric_array(std::span<const Datum> elements) { return make_array(NUMERICOID, elements, nullptr); }
Datum int4_array(std::span<const Datum> elements) { return make_array(INT4OID, elements, nullptr); }
Datum array_of(Oid type, std::span<const Datum> elements, const bool* nulls) { return make_array(type, elements, nulls); }

char* show(Datum value, Oid type) {
    Oid output;
    bool is_varlena;
    getTypeOutputInfo(type, &output, &is_varlena);
    return OidOutputFunctionCall(output, value);
}

Elements elements_of(Datum array) {
    ArrayType* a = DatumGetArrayTypeP(array);
    Layout layout = layout_of(ARR_ELEMTYPE(a));
    Elements e{};
    bool is_fixed = layout.by_value && !ARR_HASNULL(a) && ARR_NDIM(a) == 1;
    if (is_fixed) {
        e.count = ARR_DIMS(a)[0];
        e.values = static_cast<Datum*>(palloc(static_cast<Size>(e.count) * (sizeof(Datum) + sizeof(bool))));
        e.nulls = reinterpret_cast<bool*>(e.values + e.count);
        memset(e.nulls, 0, static_cast<Size>(e.count));
        const char* next = ARR_DATA_PTR(a);
        for (int i = 0; i < e.count; ++i, next += att_align_nominal(layout.length, layout.align)) e.values[i] = fetch_att(next, true, layout.length);
        return e;
    }
    deconstruct_array(a, ARR_ELEMTYPE(a), layout.length, layout.by_value, layout.align, &e.values, &e.nulls, &e.count);
    return e;
}

}  // namespace lifecycle::pg
