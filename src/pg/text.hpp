// Strings and arrays as SQL sees them.
#pragma once

#include <cstring>
#include <string_view>

#include "pg/array.hpp"

namespace lifecycle::pg {

inline std::string_view view(const text* t) {
    return {VARDATA_ANY(t), static_cast<size_t>(VARSIZE_ANY_EXHDR(t))};
}
// Of a text datum that may be toasted; the bytes live as long as the current memory context.
inline std::string_view view(Datum d) { return view(DatumGetTextPP(d)); }
inline text* to_text(std::string_view s) { return cstring_to_text_with_len(s.data(), static_cast<int>(s.size())); }
inline Datum to_datum(std::string_view s) { return PointerGetDatum(to_text(s)); }
inline char* to_cstring(std::string_view s) { return pnstrdup(s.data(), s.size()); }

// Bytes that were not text until now. Errors as the server's own for what the encoding does not know.
inline Datum to_checked_text(std::string_view s) {
    pg_verifymbstr(s.data(), static_cast<int>(s.size()), false);
    return to_datum(s);
}

// By bytes, as COLLATE "C" has it.
inline int compare(std::string_view a, std::string_view b) { return a.compare(b); }

Datum text_array(std::span<const Datum> elements, const bool* nulls = nullptr);
Datum text_array(std::span<const std::string_view> elements);
Datum instant_array(std::span<const Datum> elements, const bool* nulls = nullptr);
Datum numeric_array(std::span<const Datum> elements);
Datum int4_array(std::span<const Datum> elements);
Datum array_of(Oid type, std::span<const Datum> elements, const bool* nulls);

// A value as its type shows it.
char* show(Datum value, Oid type);

// The elements of a one-dimensional array; nulls may be null where there can be none.
struct Elements {
    Datum* values;
    bool* nulls;
    int count;
};
Elements elements_of(Datum array);

}  // namespace lifecycle::pg
