// SQL expressions that users write (predicates, mappings, filters), compiled by PostgreSQL's own parser and executor.
//
// Such a text is one expression over one row. It may call what is built in and depends on nothing but its arguments; it cannot read a
// table or a file, run code of somebody's, or tell which session evaluates it. So whoever's rights it runs with lends it nothing.
#pragma once

#include "pg/array.hpp"
#include "rules/calendar.hpp"

namespace lifecycle::pg {

struct ExpressionRules {
    const char* what;       // for messages: the thing that is defined, e.g. field "amount" of the mapping
    Oid type;               // the type wanted
    bool clock = false;     // now() is allowed and stands for parameter $1
    bool in_zone = false;   // functions that depend on TimeZone are allowed: the caller evaluates in a zone of its choice
    int columns = 0;        // how many leading columns may be used, 0: all
    // Functions of ours that the caller knows how to replace, by their names; they may be written without the schema.
    std::span<const char* const> functions = {};
};

inline constexpr int kClockParameter = 1;
Node* parameter_node(int number, Oid type, int location);

// Parses, checks and coerces; an error names the position in `text` and a way out.
Node* compile_expression(const char* text, Relation relation, const ExpressionRules& rules);

// While it is on error_context_stack, an error's position points into this text instead of somewhere in the statement that
// carried it.
ErrorContextCallback point_into(const char* text);

// A comparison of the clock with something that does not depend on it, the edge.
struct ClockTerm {
    int op;            // of rules::ClockComparison
    int parameter;     // that stands for the edge: a timestamptz, or with `wall` a timestamp
    bool wall;         // the wall clock is compared, not the instant
    rules::Unit unit;  // and truncated first, as in now()::date
    pg_tz* zone;       // of the wall clock; nullptr: the one in force
};

// Takes predicates apart into what depends on the clock and what does not. Each comparison with now() becomes "clock op $k", where the
// clock is $1, maybe as a wall clock and truncated, and $k stands for an edge: an expression without the clock, such as last_order_at +
// interval '60 days'. The edges of one row are computed once; then the predicate can be judged at any instant, and the instants at which
// it can change are known. Counting from the anchor (column + interval) rather than back from now is what makes "60 days later" mean the
// same for everybody.
struct ClockTerms {
    struct Edge {
        Node* expression;
        int parameter;
    };
    Array<Oid> parameters;  // the types of $1 (the clock), $2, ...
    Array<Edge> edges;
    Array<ClockTerm> terms;
};

// A parameter that the caller gives a value before each evaluation.
Node* new_parameter(ClockTerms* terms, Oid type);

Node* split_clock(Node* predicate, const char* text, const char* what, ClockTerms* into);

// Expressions ready to be evaluated over rows with the same layout.
struct Evaluator {
    ExprContext* context;
    TupleTableSlot* slot;
    ParamListInfo parameters;
    ErrorData** failures;  // of each parameter, see fail_parameter()
};

Evaluator* make_evaluator(TupleDesc row, std::span<const Oid> parameters);
// Constants folded, as prepare() does it, too.
Node* planned(Node* expression);
ExprState* prepare(Node* expression, Evaluator* evaluator);
void set_parameter(Evaluator* evaluator, int number, Datum value, bool null);
// An expression that comes to the parameter raises this error, until forget_failures(); nullptr: it has a value again.
void fail_parameter(Evaluator* evaluator, int number, ErrorData* error);
void forget_failures(Evaluator* evaluator);

// The result lives in per-row memory: until forget_row().
inline Datum evaluate(ExprState* state, Evaluator* evaluator, bool* null) {
    return ExecEvalExprSwitchContext(state, evaluator->context, null);
}
inline void forget_row(Evaluator* evaluator) { ResetExprContext(evaluator->context); }

// An expression of a mapping. Most are a column, or the text of a whole number in one: these are read without the executor, at a fraction of
// its cost. The slot to read is the evaluator's scan tuple.
struct Field {
    ExprState* state = nullptr;  // nullptr: a column
    AttrNumber column = 0;       // and no column either: there is no expression
    Oid number = InvalidOid;     // int4 or int8: its text is wanted; else the column as it is
    char* text = nullptr;        // room for that text, until the next row

    bool exists() const { return state != nullptr || column != 0; }
};
Field prepare_field(Node* expression, Evaluator* evaluator);
Datum text_of_number(const Field& field, Datum number);

inline Datum evaluate(const Field& field, Evaluator* evaluator, bool* null) {
    if (field.state != nullptr) return evaluate(field.state, evaluator, null);
    Datum value = slot_getattr(evaluator->context->ecxt_scantuple, field.column, null);
    return field.number == InvalidOid || *null ? value : text_of_number(field, value);
}

// Whether an expression depends on the clock, or on an edge once it has been split: users cannot write parameters of their own.
bool has_parameters(Node* expression);
Bitmapset* parameters_of(Node* expression);

// The columns an expression reads, as a set of column numbers.
Bitmapset* columns_of(Node* expression);

}  // namespace lifecycle::pg
