#include "customer/seen.hpp"

#include <algorithm>
#include <iterator>
#include <span>

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

// As long as there are few names, the filter is written as the list of the bits that are set, three for each name, after a byte that tells it from
// the empty value, which is no filter: most customers are met a few times only, and their rows are read and written often.
constexpr size_t kNamesListed = 10;
constexpr size_t kListHead = 1;

std::span<const unsigned char> bytes_of(Datum filter) {
    bytea* bytes = DatumGetByteaPP(filter);
    return {reinterpret_cast<unsigned char*>(VARDATA_ANY(bytes)), VARSIZE_ANY_EXHDR(bytes)};
}

bool is_map(std::span<const unsigned char> bytes) { return bytes.size() == kFilterBytes; }
bool is_list(std::span<const unsigned char> bytes) { return bytes.size() <= kListHead + 3 * kNamesListed && bytes.size() % 3 == kListHead; }
bool is_filter(std::span<const unsigned char> bytes) { return is_map(bytes) || is_list(bytes); }

void set_bit(std::span<unsigned char> map, int bit) { map[bit / 8] |= static_cast<unsigned char>(1 << bit % 8); }

bool has_bit(std::span<const unsigned char> bytes, int bit) {
    if (is_map(bytes)) return (bytes[bit / 8] >> bit % 8 & 1) != 0;
    auto listed = bytes.subspan(kListHead);
    return std::find(listed.begin(), listed.end(), bit) != listed.end();
}

std::span<unsigned char> make_filter(Row& row, Column column, size_t size) {
    auto* filter = static_cast<bytea*>(palloc0(VARHDRSZ + size));
    SET_VARSIZE(filter, VARHDRSZ + size);
    row.set(column, PointerGetDatum(filter));
    return {reinterpret_cast<unsigned char*>(VARDATA(filter)), size};
}

}  // namespace

bool may_have_seen(const Row& row, Column filter, std::string_view name) {
    if (row.nulls[filter]) return true;
    auto bytes = bytes_of(row.values[filter]);
    if (!is_filter(bytes)) return true;
    for (int bit : Places{name}.bits) {
        if (!has_bit(bytes, bit)) return false;
    }
    return true;
}

void note_seen(Row& row, Column filter, std::string_view name) {
    if (row.nulls[filter]) return;
    auto seen = bytes_of(row.values[filter]);
    if (!is_filter(seen) || may_have_seen(row, filter, name)) return;
    Places places{name};
    if (is_list(seen) && seen.size() < kListHead + 3 * kNamesListed) {
        auto list = make_filter(row, filter, seen.size() + 3);
        std::copy(seen.begin(), seen.end(), list.begin());
        std::copy(std::begin(places.bits), std::end(places.bits), list.end() - 3);
        return;
    }
    auto map = make_filter(row, filter, kFilterBytes);
    if (is_map(seen)) {
        std::copy(seen.begin(), seen.end(), map.begin());
    } else {
        for (unsigned char bit : seen.subspan(kListHead)) set_bit(map, bit);
    }
    for (int bit : places.bits) set_bit(map, bit);
}

void begin_seen(Row& row, Column filter) { make_filter(row, filter, kListHead); }

}  // namespace lifecycle::customer
