#include "customer/seen.hpp"

namespace lifecycle::customer {

namespace {

constexpr size_t kFilterBytes = 32;
constexpr int kFilterBits = 8 * kFilterBytes;

// FNV-1a with a last stir: it is kept, so it must never change. Three bits for each name: one in two hundred of those that are new looks
// known where there are sixteen.
struct Places {
    int bits[3];

    explicit Places(std::string_view name) {
        uint64 hash = UINT64CONST(14695981039346656037);
        for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * UINT64CONST(1099511628211);
        hash = (hash ^ hash >> 32) * UINT64CONST(0x9E3779B97F4A7C15);
        for (int i = 0; i < 3; ++i) bits[i] = static_cast<int>(hash >> (40 + 8 * i) & (kFilterBits - 1));
    }
};

unsigned char* bytes_of(Datum filter) { return reinterpret_cast<unsigned char*>(VARDATA_ANY(DatumGetByteaPP(filter))); }

Datum new_filter() {
    auto* filter = static_cast<bytea*>(palloc0(VARHDRSZ + kFilterBytes));
    SET_VARSIZE(filter, VARHDRSZ + kFilterBytes);
    return PointerGetDatum(filter);
}

bool is_filter(const Row& row, Column filter) {
    return !row.nulls[filter] && VARSIZE_ANY_EXHDR(DatumGetByteaPP(row.values[filter])) == kFilterBytes;
}

}  // namespace

bool may_have_seen(const Row& row, Column filter, std::string_view name) {
    if (!is_filter(row, filter)) return true;
    const unsigned char* bytes = bytes_of(row.values[filter]);
    for (int bit : Places{name}.bits) {
        if ((bytes[bit / 8] >> bit % 8 & 1) == 0) return false;
    }
    return true;
}

void note_seen(Row& row, Column filter, std::string_view name) {
    if (!is_filter(row, filter)) return;
    Datum noted = new_filter();
    memcpy(bytes_of(noted), bytes_of(row.values[filter]), kFilterBytes);
    for (int bit : Places{name}.bits) bytes_of(noted)[bit / 8] |= static_cast<unsigned char>(1 << bit % 8);
    row.set(filter, noted);
}

void begin_seen(Row& row, Column filter) { row.set(filter, new_filter()); }

}  // namespace lifecycle::customer
