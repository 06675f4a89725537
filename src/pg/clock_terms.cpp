#include "pg/expression.hpp"
#include "rules/flips.hpp"

namespace lifecycle::pg {

namespace {

using rules::ClockComparison;

struct Split {
    ClockTerms* into;
    const char* what;
    ParseState* state;
};

bool is_clock(Node* node) {
    return IsA(node, Param) && castNode(Param, node)->paramid == kClockParameter;
}

bool comparison_of(Oid function, ClockComparison* op) {
    switch (function) {
        case F_TIMESTAMPTZ_LT: *op = ClockComparison::less; return true;
        case F_TIMESTAMPTZ_LE: *op = ClockComparison::less_equal; return true;
        case F_TIMESTAMPTZ_EQ: *op = ClockComparison::equal; return true;
        case F_TIMESTAMPTZ_NE: *op = ClockComparison::not_equal; return true;
        case F_TIMESTAMPTZ_GE: *op = ClockComparison::greater_equal; return true;
        case F_TIMESTAMPTZ_GT: *op = ClockComparison::greater; return true;
        default: return false;
    }
}

// a < b read from b's side.
ClockComparison mirrored(ClockComparison op) {
    switch (op) {
        case ClockComparison::less: return ClockComparison::greater;
        case ClockComparison::less_equal: return ClockComparison::greater_equal;
        case ClockComparison::greater_equal: return ClockComparison::less_equal;
        case ClockComparison::greater: return ClockComparison::less;
        default: return op;
    }
}

Oid function_of(ClockComparison op) {
    switch (op) {
        case ClockComparison::less: return F_TIMESTAMPTZ_LT;
        case ClockComparison::less_equal: return F_TIMESTAMPTZ_LE;
        case ClockComparison::equal: return F_TIMESTAMPTZ_EQ;
        case ClockComparison::not_equal: return F_TIMESTAMPTZ_NE;
        case ClockComparison::greater_equal: return F_TIMESTAMPTZ_GE;
        case ClockComparison::greater: return F_TIMESTAMPTZ_GT;
    }
    return InvalidOid;
}

Node* call(Oid function, Oid result, Node* a, Node* b) {
    return reinterpret_cast<Node*>(makeFuncExpr(function, result, list_make2(a, b), InvalidOid, InvalidOid,
                                                COERCE_EXPLICIT_CALL));
}

// Moves what is added to or subtracted from the clock to the other side: now - i < x  <=>  now < x + i.
// Returns the edge, or nullptr if the clock is used in some other way.
Node* solve_for_clock(Node* clock_side, Node* edge) {
    while (!is_clock(clock_side)) {
        if (!IsA(clock_side, OpExpr)) return nullptr;
        auto* op = castNode(OpExpr, clock_side);
        set_opfuncid(op);
        if (list_length(op->args) != 2) return nullptr;
        auto* left = static_cast<Node*>(linitial(op->args));
        auto* right = static_cast<Node*>(lsecond(op->args));
        Oid inverse;
        if (op->opfuncid == F_TIMESTAMPTZ_MI_INTERVAL && !has_parameters(right)) {
            inverse = F_TIMESTAMPTZ_PL_INTERVAL;
        } else if (op->opfuncid == F_TIMESTAMPTZ_PL_INTERVAL && !has_parameters(right)) {
            inverse = F_TIMESTAMPTZ_MI_INTERVAL;
        } else {
            return nullptr;
        }
        edge = call(inverse, TIMESTAMPTZOID, edge, right);
        clock_side = left;
    }
    return edge;
}

Node* edge_parameter(ClockTerms* terms, Node* edge, ClockComparison op) {
    int index = 0;
    ListCell* c;
    foreach (c, terms->edges) {
        if (equal(lfirst(c), edge)) break;
        ++index;
    }
    if (index == list_length(terms->edges)) terms->edges = lappend(terms->edges, edge);
    bool known = false;
    for (const ClockTerm& term : terms->terms) known |= term.op == static_cast<int>(op) && term.edge == index;
    if (!known) terms->terms.push({static_cast<int>(op), index});

    return instant_parameter(kClockParameter + 1 + index, -1);
}

Node* split_node(Node* node, Split* split) {
    if (node == nullptr) return nullptr;
    if (is_clock(node))
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                errmsg("the next change of this use of now() in %s cannot be computed", split->what),
                errhint("Compare a timestamp with now() plus or minus an interval, as in last_order_at < now() - interval '60 days'."),
                parser_errposition(split->state, exprLocation(node)));
    ClockComparison op;
    if (IsA(node, OpExpr)) {
        auto* comparison = castNode(OpExpr, node);
        set_opfuncid(comparison);
        if (comparison_of(comparison->opfuncid, &op)) {
            auto* left = static_cast<Node*>(linitial(comparison->args));
            auto* right = static_cast<Node*>(lsecond(comparison->args));
            bool clock_left = has_parameters(left);
            bool clock_right = has_parameters(right);
            Node* edge = nullptr;
            if (clock_left && !clock_right) {
                edge = solve_for_clock(left, right);
            } else if (clock_right && !clock_left) {
                edge = solve_for_clock(right, left);
                op = mirrored(op);
            }
            if (edge != nullptr)
                return call(function_of(op), BOOLOID, instant_parameter(kClockParameter, -1), edge_parameter(split->into, edge, op));
        }
    }
    return mutate_expression(node, split_node, split);
}

}  // namespace

Node* split_clock(Node* predicate, const char* text, const char* what, ClockTerms* into) {
    ErrorContextCallback callback = point_into(text);
    error_context_stack = &callback;
    ParseState* state = make_parsestate(nullptr);  // for the position of an error only
    state->p_sourcetext = text;
    Split split{into, what, state};
    Node* result = split_node(predicate, &split);
    error_context_stack = callback.previous;
    return result;
}

}  // namespace lifecycle::pg
