// The source room: rows of the shop's tables come in, facts go out.
#pragma once

#include "customer/change.hpp"
#include "pg/expression.hpp"

namespace lifecycle::source {

// An attached table, its mapping compiled.
struct Source {
    std::string_view name;
    int32 id;
    Oid relation;
    const KindSpec* kind;
    pg::Evaluator* evaluator;
    pg::Array<pg::Field> fields;   // as in kind->fields; those that are not mapped do not exist
    int last_column;               // up to here fields are columns
    bool by_order;                 // no customer is mapped: it is whoever placed the order
    bool sums_items;               // no amount is mapped: it is the sum of the order's items
    ExprState* filter;             // nullptr: every row counts
    Bitmapset* columns;            // what mapping and filter read
    pg::Array<std::string_view> keys;  // of these columns, in a row as json: the name in quotes
    Bitmapset* telling;            // these and the primary key: a row in which they are the same is the same row; nullptr: it has no such key
    Datum unread;                  // the names of the other columns, as text[]; empty: all count
    bool async;                    // changes go to the inbox
    bool at_once;                  // when it was last turned to, no inbox and no backfill stood between it and its facts
    MemoryContext memory;
};

// Compiles a mapping and a filter for a relation; errors name the field, the position and a way out.
Source* compile_source(std::string_view name, Relation relation, std::string_view kind, Datum mapping, Datum filter, bool no_filter);

// The attached source of that name, compiled once per session and again when the table's definition has changed.
Source* find_source(const char* name);

// The same, if it need not be compiled and nothing it depends on has changed; else nullptr.
const Source* source_at_hand(const char* name);

// To be called when a transaction has ended: nobody uses a source that was compiled again meanwhile.
void forget_outdated_sources();

// Name, number and kind of an attached source, and nothing of its mapping.
void describe_source(std::string_view name, Source* source);

// A row that cannot become a fact.
struct BadRow {
    Datum row;  // as json
    int sqlstate;
    const char* message;
    const char* detail;
    bool gone;  // it is the going of this row that could not be processed
};

// Turns rows into facts. Facts and bad rows live in the memory context that was current when reading began.
struct Reader {
    Source* source;
    MemoryContext context;
    pg::Array<Fact> facts;
    pg::Array<BadRow> bad;
    char* room;  // for the bytes of ids
    size_t room_left;
};

// The fields of a fact, as in kind->fields.
struct Values {
    Datum values[16];
    bool nulls[16];
};

// What filter and mapping make of the row that the source's evaluator is at. False: it does not count, or is nobody's.
bool evaluate_fields(Source* source, Values* values);

// The row in `slot` has come (or gone, if withdrawn). A row that does not count, or is nobody's, is passed over. True: it has become the
// last of `facts`, made of `values`, which live until the next row is read.
bool read_row(Reader* reader, TupleTableSlot* slot, bool withdrawn, Values* values = nullptr);

// Why a row cannot become a fact; message nullptr: it can.
struct Verdict {
    int sqlstate = 0;
    const char* message = nullptr;
    const char* detail = nullptr;
};

// Adds the fact, or facts, that the values say to those of the reader.
Verdict read_values(Reader* reader, Values& values, bool withdrawn);

// Refuses keys of a mapping, or of what is tracked, that are no fields of the kind.
void check_field_names(Datum object, const KindSpec& kind, const char* what, const char* example);

// A row of whatever type in a slot of its own, which holds it as long as the row lives.
TupleTableSlot* slot_of_record(HeapTupleHeader row);

// The row as json text.
Datum row_as_json(TupleTableSlot* slot);

// Refuses a row, as json, that was kept while a column that is read had another name: without its value it would be taken for another row.
void check_columns(const Source& source, std::string_view json);

}  // namespace lifecycle::source
