// Rows of a table from json, as json_populate_record() makes them, without a statement for each.
#pragma once

#include <string_view>

#include "pg/array.hpp"

namespace lifecycle::pg {

// Lives in the memory context it was made in.
FmgrInfo* make_row_reader(Oid row_type);
Datum row_from_json(FmgrInfo* reader, Datum json);

// The row in a slot as json text that says the same whoever asks, and from which it can be made again: times in UTC, every digit of a
// number.
Datum row_to_json(TupleTableSlot* slot);

// A jsonb object that is put together from texts and from the members of other objects, byte by byte: nothing is taken apart that is inside of these.
// What is put in must last until it is finished.
class JsonObject {
public:
    struct Member {
        std::string_view key;
        std::string_view value;  // as a jsonb holds it
        JEntry type;
    };
    void put(std::string_view key, std::string_view value);  // of a key that is there already: instead
    void put_members(Datum object);
    Datum finish();

private:
    Array<Member> members;  // in the order of a jsonb
    void add(const Member& member);
};

}  // namespace lifecycle::pg
