#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

Datum make_array(std::span<const Datum> elements, const bool* nulls, Oid type, int16 length, bool by_value, char align) {
    int dims = static_cast<int>(elements.size());
    int lower = 1;
    if (dims == 0) return PointerGetDatum(construct_empty_array(type));
    return PointerGetDatum(construct_md_array(const_cast<Datum*>(elements.data()), const_cast<bool*>(nulls), 1, &dims,
                                              &lower, type, length, by_value, align));
}

}  // namespace

Datum text_array(std::span<const Datum> elements, const bool* nulls) {
    return make_array(elements, nulls, TEXTOID, -1, false, TYPALIGN_INT);
}
Datum instant_array(std::span<const Datum> elements, const bool* nulls) {
    return make_array(elements, nulls, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}
Datum numeric_array(std::span<const Datum> elements) {
    return make_array(elements, nullptr, NUMERICOID, -1, false, TYPALIGN_INT);
}
Datum int4_array(std::span<const Datum> elements) {
    return make_array(elements, nullptr, INT4OID, 4, true, TYPALIGN_INT);
}
Datum array_of(Oid type, std::span<const Datum> elements, const bool* nulls) {
    int16 length;
    bool by_value;
    char align;
    get_typlenbyvalalign(type, &length, &by_value, &align);
    return make_array(elements, nulls, type, length, by_value, align);
}

Elements elements_of(Datum array) {
    ArrayType* a = DatumGetArrayTypeP(array);
    int16 length;
    bool by_value;
    char align;
    get_typlenbyvalalign(ARR_ELEMTYPE(a), &length, &by_value, &align);
    Elements e{};
    deconstruct_array(a, ARR_ELEMTYPE(a), length, by_value, align, &e.values, &e.nulls, &e.count);
    return e;
}

}  // namespace lifecycle::pg
