#include "segment/formula.hpp"

namespace lifecycle::segment {

namespace {

using rules::ClockComparison;

struct Adding {
    Formulas* into;
    const pg::ClockTerms& clock;
    std::span<const SegmentParameter> segments;
    pg::Evaluator* evaluator;
};

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

int parameter_of(Node* node) { return IsA(node, Param) ? castNode(Param, node)->paramid : 0; }

// "$1 op $k": the clock as it is, and an edge.
bool compares_clock(Adding& a, Node* node, Formula* formula) {
    if (!IsA(node, FuncExpr) || !comparison_of(castNode(FuncExpr, node)->funcid, &formula->op)) return false;
    List* args = castNode(FuncExpr, node)->args;
    if (parameter_of(static_cast<Node*>(linitial(args))) != pg::kClockParameter) return false;
    int parameter = parameter_of(static_cast<Node*>(lsecond(args)));
    for (uint32 i = 0; i < a.into->edges.size; ++i) {
        if (a.into->edges[i].parameter != parameter) continue;
        formula->number = i;
        return true;
    }
    return false;
}

bool asks_for_segment(Adding& a, Node* node, Formula* formula) {
    for (const SegmentParameter& s : a.segments) {
        if (s.parameter != parameter_of(node)) continue;
        formula->number = s.segment;
        return true;
    }
    return false;
}

uint32 add_expression(Adding& a, Node* node) {
    for (uint32 i = 0; i < a.into->expressions.size; ++i) {
        if (equal(a.into->expressions[i].node, node)) return i;
    }
    Expression fresh{node, pg::prepare(node, a.evaluator), {}, {}};
    Bitmapset* parameters = pg::parameters_of(node);
    for (uint32 i = 0; i < a.into->edges.size; ++i) {
        if (bms_is_member(a.into->edges[i].parameter, parameters)) fresh.edges.push(i);
    }
    for (uint32 i = 0; i < a.clock.terms.size; ++i) {
        if (bms_is_member(a.clock.terms[i].parameter, parameters)) fresh.terms.push(i);
    }
    a.into->expressions.push(fresh);
    return static_cast<uint32>(a.into->expressions.size - 1);
}

void fill(Adding& a, uint32 place, Node* node);

// Parts of one formula stand side by side.
void fill_with(Adding& a, Formula formula, List* parts, uint32 place) {
    formula.first = static_cast<uint32>(a.into->parts.size);
    formula.count = static_cast<uint32>(list_length(parts));
    for (uint32 i = 0; i < formula.count; ++i) a.into->parts.push({});
    a.into->parts[place] = formula;
    for (uint32 i = 0; i < formula.count; ++i) fill(a, formula.first + i, static_cast<Node*>(list_nth(parts, static_cast<int>(i))));
}

void fill(Adding& a, uint32 place, Node* node) {
    using Kind = Formula::Kind;
    Formula formula{};
    if (IsA(node, Const)) {
        auto* value = castNode(Const, node);
        formula.kind = Kind::constant;
        formula.verdict = value->constisnull ? Verdict::unknown : DatumGetBool(value->constvalue) ? Verdict::yes : Verdict::no;
    } else if (!pg::has_parameters(node)) {
        formula.kind = Kind::fixed;
        formula.number = add_expression(a, node);
    } else if (IsA(node, BoolExpr)) {
        auto op = castNode(BoolExpr, node)->boolop;
        formula.kind = op == AND_EXPR ? Kind::all : op == OR_EXPR ? Kind::any : Kind::negation;
        return fill_with(a, formula, castNode(BoolExpr, node)->args, place);
    } else if (IsA(node, CoalesceExpr)) {
        formula.kind = Kind::first_known;
        return fill_with(a, formula, castNode(CoalesceExpr, node)->args, place);
    } else if (compares_clock(a, node, &formula)) {
        formula.kind = Kind::clock;
    } else if (asks_for_segment(a, node, &formula)) {
        formula.kind = Kind::other;
    } else {
        formula.kind = Kind::moving;
        formula.number = add_expression(a, node);
    }
    a.into->parts[place] = formula;
}

// column + interval, as in most predicates.
void look_for_shift(Node* expression, Edge* edge) {
    edge->column = -1;
    if (!IsA(expression, FuncExpr) || castNode(FuncExpr, expression)->funcid != F_TIMESTAMPTZ_PL_INTERVAL) return;
    auto* column = static_cast<Node*>(linitial(castNode(FuncExpr, expression)->args));
    auto* span = static_cast<Node*>(lsecond(castNode(FuncExpr, expression)->args));
    if (!IsA(column, Var) || !IsA(span, Const) || castNode(Const, span)->constisnull) return;
    edge->column = castNode(Var, column)->varattno - 1;
    edge->span = DatumGetIntervalP(castNode(Const, span)->constvalue);
}

}  // namespace

void prepare_edges(Formulas* formulas, const pg::ClockTerms& clock, pg::Evaluator* evaluator) {
    for (const pg::ClockTerms::Edge& known : clock.edges) {
        Edge edge{pg::prepare(known.expression, evaluator), known.parameter, -1, nullptr};
        look_for_shift(pg::planned(known.expression), &edge);
        formulas->edges.push(edge);
    }
}

uint32 add_formula(Formulas* formulas, Node* predicate, const pg::ClockTerms& clock, std::span<const SegmentParameter> segments,
                   pg::Evaluator* evaluator) {
    Adding a{formulas, clock, segments, evaluator};
    auto whole = static_cast<uint32>(formulas->parts.size);
    formulas->parts.push({});
    fill(a, whole, pg::planned(predicate));
    return whole;
}

}  // namespace lifecycle::segment
