// Values that lie in a bytea one after the other. As arrays, one for each of what is known of a thing, they would take twice to four times the room
// in a row that is written, logged and read often.
#pragma once

#include <cstring>
#include <string_view>

#include "pg/text.hpp"

namespace lifecycle::pg {

inline constexpr size_t kLongestNumber = 10;

inline uint64 zigzag(int64 n) { return static_cast<uint64>(n) << 1 ^ static_cast<uint64>(n >> 63); }
inline int64 unzigzag(uint64 n) { return static_cast<int64>(n >> 1) ^ -static_cast<int64>(n & 1); }

// How far a number lies from another near which it is expected, and the way back. Whatever numbers these are: they wrap around.
inline uint64 since(int64 from, int64 n) { return zigzag(static_cast<int64>(static_cast<uint64>(n) - static_cast<uint64>(from))); }
inline int64 after(int64 from, uint64 distance) { return static_cast<int64>(static_cast<uint64>(from) + static_cast<uint64>(unzigzag(distance))); }

// Reads a bytea, which it does not copy.
struct PackedReader {
    const char* what;  // for the error, if the bytes end too early
    const unsigned char* at;
    const unsigned char* end;

    PackedReader(const char* name, std::string_view bytes)
        : what{name}, at{reinterpret_cast<const unsigned char*>(bytes.data())}, end{at + bytes.size()} {}

    [[noreturn]] void corrupted() const {
        ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("the %s of a customer cannot be read", what));
        pg_unreachable();
    }
    uint8 byte() {
        if (at == end) corrupted();
        return *at++;
    }
    uint64 number() {
        uint64 n = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            uint8 b = byte();
            n |= static_cast<uint64>(b & 0x7F) << shift;
            if (b < 0x80) return n;
        }
        corrupted();
    }
    std::string_view string() {
        uint64 size = number();
        if (size > static_cast<uint64>(end - at)) corrupted();
        std::string_view s{reinterpret_cast<const char*>(at), size};
        at += size;
        return s;
    }
    std::string_view rest() const { return {reinterpret_cast<const char*>(at), static_cast<size_t>(end - at)}; }
};

// Writes a bytea into room enough for all that comes.
struct PackedWriter {
    bytea* value;
    unsigned char* at;

    explicit PackedWriter(size_t room) : value{static_cast<bytea*>(palloc(VARHDRSZ + room))}, at{reinterpret_cast<unsigned char*>(VARDATA(value))} {}

    void byte(uint8 b) { *at++ = b; }
    void number(uint64 n) {
        for (; n >= 0x80; n >>= 7) *at++ = static_cast<unsigned char>(n | 0x80);
        *at++ = static_cast<unsigned char>(n);
    }
    void bytes(std::string_view s) {
        memcpy(at, s.data(), s.size());
        at += s.size();
    }
    void string(std::string_view s) {
        number(s.size());
        bytes(s);
    }
    Datum finish() {
        SET_VARSIZE(value, at - reinterpret_cast<unsigned char*>(value));
        return PointerGetDatum(value);
    }
};

}  // namespace lifecycle::pg
