// Predicates taken apart: what does not depend on the clock is worked out once for a customer's row, and comparisons with the clock are
// two numbers. So to judge many predicates at many instants costs little more than to judge them once.
#pragma once

#include "pg/expression.hpp"
#include "rules/flips.hpp"

namespace lifecycle::segment {

enum class Verdict : uint8 { no, yes, unknown };  // unknown: NULL

struct Formula {
    enum class Kind : uint8 {
        constant,
        all,          // AND
        any,          // OR
        negation,     // NOT
        first_known,  // COALESCE
        clock,        // the clock compared with an edge
        fixed,        // an expression that only the row decides
        moving,       // one that time decides, too
        other,        // in_segment(): what has been found of another segment
    };
    Kind kind;
    Verdict verdict;             // constant
    rules::ClockComparison op;   // clock
    uint32 number;               // of the edge, the expression or the segment
    uint32 first, count;         // all, any, negation, first_known: of what
};

// A part of predicates that PostgreSQL evaluates, shared by those that say the same.
struct Expression {
    Node* node;
    ExprState* state;
    pg::Array<uint32> edges;  // moving: those that it compares with
    pg::Array<uint32> terms;  // and in which ways, see pg::ClockTerms
};

struct Edge {
    ExprState* state;
    int parameter;
    int column;            // it is this column plus a span: no need to ask PostgreSQL; -1: it is something else
    const Interval* span;
};

struct Formulas {
    pg::Array<Formula> parts;
    pg::Array<Expression> expressions;
    pg::Array<Edge> edges;
};

// The edges of all predicates; then these can be added.
void prepare_edges(Formulas* formulas, const pg::ClockTerms& clock, pg::Evaluator* evaluator);

// Which segment a parameter stands for, -1: none.
struct SegmentParameter {
    int parameter;
    uint32 segment;
};

// Returns the number of the part that stands for the whole predicate, which split_clock() has made.
uint32 add_formula(Formulas* formulas, Node* predicate, const pg::ClockTerms& clock, std::span<const SegmentParameter> segments,
                   pg::Evaluator* evaluator);

}  // namespace lifecycle::segment
