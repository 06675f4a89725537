// Rows of a table from json, as json_populate_record() makes them, without a statement for each.
#pragma once

#include <string_view>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// Lives in the memory context it was made in.
FmgrInfo* make_row_reader(Oid row_type);
Datum row_from_json(FmgrInfo* reader, Datum json);

// The row in a slot as json text that says the same whoever asks, and from which it can be made again: times in UTC, every digit of a
// number.
Datum row_to_json(TupleTableSlot* slot);

// A jsonb object that is put together from texts and from the members of other objects, without a way through text.
class JsonObject {
    JsonbParseState* state = nullptr;

public:
    JsonObject();
    void put(std::string_view key, std::string_view value);
    void put_members(Datum object);
    Datum finish();
};

}  // namespace lifecycle::pg
