// SQL expressions that users write (predicates, mappings, filters), compiled by PostgreSQL's own parser and executor.
//
// Such a text is one expression over one row. It may call what is built in and depends on nothing but its arguments; it cannot read a
// table or a file, run code of somebody's, or tell which session evaluates it. So whoever's rights it runs with lends it nothing.
#pragma once

#include "pg/array.hpp"

namespace lifecycle::pg {

struct ExpressionRules {
    const char* what;       // for messages: the thing that is defined, e.g. field "amount" of the mapping
    Oid type;               // the type wanted
    bool clock = false;     // now() is allowed and stands for parameter $1
    bool in_zone = false;   // functions that depend on TimeZone are allowed: the caller evaluates in a zone of its choice
    int columns = 0;        // how many leading columns may be used, 0: all
};

inline constexpr int kClockParameter = 1;
Node* instant_parameter(int number, int location);

// Parses, checks and coerces; an error names the position in `text` and a way out.
Node* compile_expression(const char* text, Relation relation, const ExpressionRules& rules);

// While it is on error_context_stack, an error's position points into this text instead of somewhere in the statement that
// carried it.
ErrorContextCallback point_into(const char* text);

// A clock comparison that was found in a predicate: now <op> edge (op: rules::ClockComparison).
struct ClockTerm {
    int op;
    int edge;  // index into the edges
};

// Takes predicates apart into what depends on the clock and what does not. Each comparison with now() becomes
// "$1 op $k", where $k stands for an edge: an expression without the clock, such as last_order_at + interval '60 days'. The edges
// of one row are computed once; then the predicate can be judged at any instant, and the instants at which it can change are known.
// Counting from the anchor (column + interval) rather than back from now is what makes "60 days later" mean the same for everybody.
struct ClockTerms {
    List* edges = NIL;  // of Node*
    Array<ClockTerm> terms;
};

Node* split_clock(Node* predicate, const char* text, const char* what, ClockTerms* into);

// Expressions ready to be evaluated over rows with the same layout.
struct Evaluator {
    ExprContext* context;
    TupleTableSlot* slot;
    ParamListInfo parameters;
};

Evaluator* make_evaluator(TupleDesc row, int parameters);
ExprState* prepare(Node* expression, Evaluator* evaluator);
void set_parameter(Evaluator* evaluator, int number, Datum value, bool null);

// The result lives in per-row memory: until forget_row().
inline Datum evaluate(ExprState* state, Evaluator* evaluator, bool* null) {
    return ExecEvalExprSwitchContext(state, evaluator->context, null);
}
inline void forget_row(Evaluator* evaluator) { ResetExprContext(evaluator->context); }

// Whether an expression depends on the clock, or on an edge once it has been split: users cannot write parameters of their own.
bool has_parameters(Node* expression);

// The columns an expression reads, as a set of column numbers.
Bitmapset* columns_of(Node* expression);

}  // namespace lifecycle::pg
