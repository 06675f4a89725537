// How a key compares with the entries of a B-tree by its first column alone, where that is text that is compared by its bytes, or a whole number or
// instant. Mostly it decides, and the way to the type's comparison function and through it is several times as long as the comparison.
#pragma once

#include <cstring>
#include <string_view>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

struct FirstColumn {
    enum class Kind : uint8 { other, bytes, number };
    Kind kind;               // other: nothing is known of it
    std::string_view text;   // bytes
    uint64 prefix;           // ... and its first eight
    int64 number;
};

inline bool begins_with_number(Relation index) { return index->rd_opcintype[0] == INT8OID || index->rd_opcintype[0] == TIMESTAMPTZOID; }

// What the first column of a B-tree is, if its order ascends.
FirstColumn::Kind first_column_of(Relation index, const BTScanInsertData* key);

// The first bytes, of which there are `size`, as a number; eight may be read. Text has no zeros, with which a shorter one is filled up.
inline uint64 prefix_at(const char* bytes, size_t size) {
    uint64 prefix;
    memcpy(&prefix, bytes, sizeof prefix);
    prefix = pg_ntoh64(prefix);
    return size >= sizeof prefix ? prefix : size == 0 ? 0 : prefix & ~uint64{0} << (8 * (sizeof prefix - size));
}

inline FirstColumn first_column(FirstColumn::Kind kind, std::string_view text, Datum value) {
    FirstColumn first{kind, text, 0, kind == FirstColumn::Kind::number ? DatumGetInt64(value) : 0};
    if (kind == FirstColumn::Kind::bytes) {
        char bytes[sizeof(uint64)] = {};
        memcpy(bytes, text.data(), Min(text.size(), sizeof bytes));
        first.prefix = prefix_at(bytes, sizeof bytes);
    }
    return first;
}

inline int order_of(int64 a, int64 b) { return a < b ? -1 : a > b ? 1 : 0; }
inline int order_of(uint64 a, uint64 b) { return a < b ? -1 : a > b ? 1 : 0; }

// Negative: the key lies before the entry, which is on a page. 0: this column does not tell. *same: it is the same in both.
inline int compare_first(const FirstColumn& first, IndexTuple entry, bool* same) {
    *same = false;
    if (first.kind == FirstColumn::Kind::other || IndexTupleHasNulls(entry)) return 0;
    const char* data = reinterpret_cast<const char*>(entry) + IndexInfoFindDataOffset(entry->t_info);
    int order;
    if (first.kind == FirstColumn::Kind::number) {
        int64 number;
        memcpy(&number, data, sizeof number);
        order = order_of(first.number, number);
    } else {
        if (VARATT_IS_EXTERNAL(data) || VARATT_IS_COMPRESSED(data)) return 0;
        std::string_view text{VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)};
        order = order_of(first.prefix, prefix_at(text.data(), text.size()));  // a page goes on behind its last entry
        if (order == 0 && (text.size() > sizeof(uint64) || first.text.size() > sizeof(uint64))) order = first.text.compare(text);
    }
    *same = order == 0;
    return order;
}

}  // namespace lifecycle::pg
