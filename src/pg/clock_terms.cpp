// Solves comparisons with the clock for the clock: what is added to it or subtracted from it moves to the other side.
#include "pg/clock.hpp"
#include "pg/expression.hpp"
#include "pg/text.hpp"
#include "rules/flips.hpp"

namespace lifecycle::pg {

namespace {

using rules::ClockComparison;
using rules::Unit;

struct Split {
    ClockTerms* into;
    const char* what;
    ParseState* state;
};

// A comparison while it is being solved: clock <op> edge.
struct Comparison {
    ClockComparison op;
    Node* clock;
    Node* edge;
};

// Something plus or minus a span that does not depend on the clock.
struct Shift {
    Node* moment = nullptr;
    Node* span = nullptr;
    bool forward = true;
};

// How the clock is looked at, once everything added to it is taken off: as it is, as a clock on the wall, truncated.
struct Face {
    Unit unit = Unit::none;
    bool wall = false;         // as a clock on the wall
    Node* zone = nullptr;      // in this zone; nullptr: the one in force
    bool back = false;         // and from there, truncated, back to an instant: the beginning of the day in Berlin
    Array<Shift> shifts;       // outermost first
};

struct Call {
    Oid function = InvalidOid;
    List* args = NIL;

    Node* arg(int n) const { return static_cast<Node*>(list_nth(args, n)); }
};

Call call_of(Node* node) {
    if (IsA(node, FuncExpr)) return {castNode(FuncExpr, node)->funcid, castNode(FuncExpr, node)->args};
    if (!IsA(node, OpExpr)) return {};
    set_opfuncid(castNode(OpExpr, node));
    return {castNode(OpExpr, node)->opfuncid, castNode(OpExpr, node)->args};
}

bool is_clock(Node* node) { return IsA(node, Param) && castNode(Param, node)->paramid == kClockParameter; }

bool comparison_of(Oid op, ClockComparison* comparison) {
    struct Name {
        const char* name;
        ClockComparison comparison;
    };
    constexpr Name kNames[] = {{"<", ClockComparison::less},           {"<=", ClockComparison::less_equal},
                               {"=", ClockComparison::equal},          {"<>", ClockComparison::not_equal},
                               {">=", ClockComparison::greater_equal}, {">", ClockComparison::greater}};
    const char* name = get_opname(op);
    for (const Name& known : kNames) {
        if (name == nullptr || strcmp(name, known.name) != 0) continue;
        *comparison = known.comparison;
        return true;
    }
    return false;
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

Oid function_of(ClockComparison op, bool wall) {
    switch (op) {
        case ClockComparison::less: return wall ? F_TIMESTAMP_LT : F_TIMESTAMPTZ_LT;
        case ClockComparison::less_equal: return wall ? F_TIMESTAMP_LE : F_TIMESTAMPTZ_LE;
        case ClockComparison::equal: return wall ? F_TIMESTAMP_EQ : F_TIMESTAMPTZ_EQ;
        case ClockComparison::not_equal: return wall ? F_TIMESTAMP_NE : F_TIMESTAMPTZ_NE;
        case ClockComparison::greater_equal: return wall ? F_TIMESTAMP_GE : F_TIMESTAMPTZ_GE;
        case ClockComparison::greater: return wall ? F_TIMESTAMP_GT : F_TIMESTAMPTZ_GT;
    }
    return InvalidOid;
}

Node* call(Oid function, Oid result, List* args) {
    return reinterpret_cast<Node*>(makeFuncExpr(function, result, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
}

bool is_moment(Oid type) { return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID; }

Node* cast(Node* node, Oid to) {
    Oid from = exprType(node);
    if (from == to) return node;
    Oid function = to == TIMESTAMPTZOID ? (from == DATEOID ? F_TIMESTAMPTZ_DATE : F_TIMESTAMPTZ_TIMESTAMP)
                                        : (from == DATEOID ? F_TIMESTAMP_DATE : F_TIMESTAMP_TIMESTAMPTZ);
    return call(function, to, list_make1(node));
}

Node* int_constant(int32 value) {
    return reinterpret_cast<Node*>(makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(value), false, true));
}

Node* days(Node* count) {
    Node* zero = int_constant(0);
    Node* seconds = reinterpret_cast<Node*>(makeConst(FLOAT8OID, -1, InvalidOid, 8, Float8GetDatum(0), false, FLOAT8PASSBYVAL));
    List* args = list_make4(zero, zero, zero, count);
    args = list_concat(args, list_make3(zero, zero, seconds));
    return call(F_MAKE_INTERVAL, INTERVALOID, args);
}

// moment + span or moment - span; a date with whole days stays one.
Node* shifted(Node* moment, Node* span, bool forward) {
    Oid type = exprType(moment);
    if (exprType(span) == INT4OID) {
        if (type == DATEOID) return call(forward ? F_DATE_PLI : F_DATE_MII, DATEOID, list_make2(moment, span));
        span = days(span);
    }
    if (type == DATEOID) moment = cast(moment, TIMESTAMPOID);
    if (exprType(moment) == TIMESTAMPOID)
        return call(forward ? F_TIMESTAMP_PL_INTERVAL : F_TIMESTAMP_MI_INTERVAL, TIMESTAMPOID, list_make2(moment, span));
    return call(forward ? F_TIMESTAMPTZ_PL_INTERVAL : F_TIMESTAMPTZ_MI_INTERVAL, TIMESTAMPTZOID, list_make2(moment, span));
}

// No moment: the node is not of that form.
Shift shift_of(Node* node) {
    Call c = call_of(node);
    Shift shift;
    switch (c.function) {
        case F_TIMESTAMPTZ_PL_INTERVAL:
        case F_TIMESTAMP_PL_INTERVAL:
        case F_DATE_PL_INTERVAL:
        case F_DATE_PLI:
            shift = {c.arg(0), c.arg(1), true};
            break;
        case F_TIMESTAMPTZ_MI_INTERVAL:
        case F_TIMESTAMP_MI_INTERVAL:
        case F_DATE_MI_INTERVAL:
        case F_DATE_MII:
            shift = {c.arg(0), c.arg(1), false};
            break;
        case F_INTERVAL_PL_TIMESTAMPTZ:
        case F_INTERVAL_PL_TIMESTAMP:
        case F_INTERVAL_PL_DATE:
        case F_INTEGER_PL_DATE:
            shift = {c.arg(1), c.arg(0), true};
            break;
        default:
            return {};
    }
    return has_parameters(shift.span) ? Shift{} : shift;
}

// clock - x <op> span  =>  clock <op> x + span;  x - clock <op> span  =>  clock <mirrored op> x - span.
bool solve_difference(Comparison* c) {
    Call difference = call_of(c->clock);
    switch (difference.function) {
        case F_TIMESTAMPTZ_MI:
        case F_TIMESTAMP_MI:
        case F_DATE_MI:
        case F_AGE_TIMESTAMPTZ_TIMESTAMPTZ:
        case F_AGE_TIMESTAMP_TIMESTAMP:
            break;
        default:
            return false;
    }
    bool clock_first = has_parameters(difference.arg(0));
    if (clock_first == has_parameters(difference.arg(1))) return false;
    Node* moment = difference.arg(clock_first ? 1 : 0);
    c->clock = difference.arg(clock_first ? 0 : 1);
    c->edge = shifted(moment, c->edge, clock_first);
    if (!clock_first) c->op = mirrored(c->op);
    return true;
}

bool unit_of(Node* node, Unit* unit) {
    struct Name {
        const char* name;
        Unit unit;
    };
    constexpr Name kNames[] = {{"hour", Unit::hour},   {"day", Unit::day},         {"week", Unit::week},
                               {"month", Unit::month}, {"quarter", Unit::quarter}, {"year", Unit::year}};
    if (!IsA(node, Const) || castNode(Const, node)->constisnull) return false;
    const char* text = to_cstring(view(castNode(Const, node)->constvalue));
    for (const Name& known : kNames) {
        if (pg_strcasecmp(text, known.name) != 0) continue;
        *unit = known.unit;
        return true;
    }
    return false;
}

// Truncating to `outer` what has been truncated to `inner`; false if weeks and months meet.
bool coarser(Unit outer, Unit inner, Unit* result) {
    bool weeks = outer == Unit::week || inner == Unit::week;
    *result = outer > inner ? outer : inner;
    return !weeks || *result == Unit::week;
}

// Whether truncating after a shift is the same as shifting after truncating.
bool commutes(Node* span, Unit unit) {
    if (IsA(span, Const) && castNode(Const, span)->constisnull) return false;
    if (exprType(span) == INT4OID) {
        if (unit == Unit::none || unit == Unit::hour || unit == Unit::day) return true;
        return unit == Unit::week && IsA(span, Const) && DatumGetInt32(castNode(Const, span)->constvalue) % 7 == 0;
    }
    if (!IsA(span, Const)) return false;
    const Interval* i = DatumGetIntervalP(castNode(Const, span)->constvalue);
    if (i->time != 0) return false;
    switch (unit) {
        case Unit::none: return true;
        case Unit::hour:
        case Unit::day: return i->month == 0;
        case Unit::week: return i->month == 0 && i->day % 7 == 0;
        case Unit::month: return i->day == 0;
        case Unit::quarter: return i->day == 0 && i->month % 3 == 0;
        case Unit::year: return i->day == 0 && i->month % 12 == 0;
    }
    return false;
}

Node* zone_name(Node* node) {
    return IsA(node, Const) && !castNode(Const, node)->constisnull ? node : nullptr;
}

// Looks through what is done to the clock. False: its next change cannot be computed.
bool look_at(Node* node, Face* face) {
    if (is_clock(node)) return true;
    Shift shift = shift_of(node);
    if (shift.moment != nullptr) {
        bool inside = face->wall || face->unit != Unit::none;
        if (inside && !commutes(shift.span, face->unit)) return false;
        face->shifts.push(shift);
        return look_at(shift.moment, face);
    }
    Call c = call_of(node);
    Unit unit;
    switch (c.function) {
        case F_TIMESTAMP_DATE:
        case F_TIMESTAMPTZ_DATE:
            return look_at(c.arg(0), face);
        case F_TIMESTAMPTZ_TIMESTAMP:
            return look_at(c.arg(0), face) && face->zone == nullptr;
        case F_TIMESTAMP_TIMESTAMPTZ:
            face->wall = true;
            return look_at(c.arg(0), face) && face->zone == nullptr;
        case F_TIMEZONE_TEXT_TIMESTAMPTZ:
            if (face->zone != nullptr && !(face->back && equal(face->zone, c.arg(0)))) return false;
            face->wall = true;
            face->zone = zone_name(c.arg(0));
            return face->zone != nullptr && is_clock(c.arg(1));
        case F_TIMEZONE_TEXT_TIMESTAMP:
            if (face->wall || face->zone != nullptr || face->unit != Unit::none) return false;
            face->back = true;
            face->zone = zone_name(c.arg(0));
            return face->zone != nullptr && look_at(c.arg(1), face) && face->wall;
        case F_DATE_TIMESTAMPTZ:
        case F_DATE_TIMESTAMP:
            if (!coarser(face->unit, Unit::day, &face->unit)) return false;
            face->wall |= c.function == F_DATE_TIMESTAMPTZ;
            return look_at(c.arg(0), face);
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
        case F_DATE_TRUNC_TEXT_TIMESTAMP:
            if (!unit_of(c.arg(0), &unit) || !coarser(face->unit, unit, &face->unit)) return false;
            return look_at(c.arg(1), face);
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
            if (face->wall || face->zone != nullptr || face->unit != Unit::none || !unit_of(c.arg(0), &face->unit)) return false;
            face->wall = face->back = true;
            face->zone = zone_name(c.arg(2));
            return face->zone != nullptr && is_clock(c.arg(1));
        default:
            return false;
    }
}

Node* unit_name(Unit unit) {
    constexpr const char* kNames[] = {"", "hour", "day", "week", "month", "quarter", "year"};
    Datum name = to_datum(std::string_view{kNames[static_cast<int>(unit)]});
    return reinterpret_cast<Node*>(makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, name, false, false));
}

// The clock as the face shows it, to be compared with a timestamp (wall) or a timestamptz.
Node* face_of_clock(const Face& face, bool wall) {
    Node* shown = parameter_node(kClockParameter, TIMESTAMPTZOID, -1);
    if (wall) {
        shown = face.zone != nullptr ? call(F_TIMEZONE_TEXT_TIMESTAMPTZ, TIMESTAMPOID, list_make2(face.zone, shown))
                                     : call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, list_make1(shown));
        if (face.unit == Unit::none) return shown;
        return call(F_DATE_TRUNC_TEXT_TIMESTAMP, TIMESTAMPOID, list_make2(unit_name(face.unit), shown));
    }
    if (face.unit == Unit::none) return shown;
    if (face.zone != nullptr)
        return call(F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT, TIMESTAMPTZOID, list_make3(unit_name(face.unit), shown, face.zone));
    return call(F_DATE_TRUNC_TEXT_TIMESTAMPTZ, TIMESTAMPTZOID, list_make2(unit_name(face.unit), shown));
}

// Takes from the edge what was added to the clock, in the zone the clock was in when it was added.
Node* unshifted(Node* edge, const Face& face, bool wall) {
    for (const Shift& shift : face.shifts) {
        bool elsewhere = face.back && !wall;
        if (elsewhere) edge = call(F_TIMEZONE_TEXT_TIMESTAMPTZ, TIMESTAMPOID, list_make2(face.zone, cast(edge, TIMESTAMPTZOID)));
        edge = shifted(edge, shift.span, !shift.forward);
        if (elsewhere) edge = call(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, list_make2(face.zone, edge));
    }
    return cast(edge, wall ? TIMESTAMPOID : TIMESTAMPTZOID);
}

int edge_parameter(ClockTerms* terms, Node* edge, Oid type) {
    for (const ClockTerms::Edge& known : terms->edges) {
        if (equal(known.expression, edge)) return known.parameter;
    }
    int number = castNode(Param, new_parameter(terms, type))->paramid;
    terms->edges.push({edge, number});
    return number;
}

void add_term(ClockTerms* terms, const ClockTerm& term) {
    for (const ClockTerm& known : terms->terms) {
        if (known.op == term.op && known.parameter == term.parameter && known.wall == term.wall && known.unit == term.unit &&
            known.zone == term.zone)
            return;
    }
    terms->terms.push(term);
}

// clock <op> edge, with everything but the clock's face on the right; nullptr: there is no way.
Node* solve(Comparison c, Split* split) {
    Oid type = exprType(c.edge);
    if ((type == INTERVALOID || type == INT4OID) && !solve_difference(&c)) return nullptr;
    if (!is_moment(exprType(c.edge)) || !is_moment(exprType(c.clock))) return nullptr;

    bool wall = exprType(c.edge) != TIMESTAMPTZOID && exprType(c.clock) != TIMESTAMPTZOID;
    Face face;
    if (!look_at(c.clock, &face)) return nullptr;
    if (face.zone != nullptr && wall == face.back) return nullptr;  // a wall clock in Berlin against one of somewhere else
    pg_tz* zone = nullptr;
    if (face.zone != nullptr) {
        zone = zone_named(to_cstring(view(castNode(Const, face.zone)->constvalue)));
        if (zone == nullptr) return nullptr;
    }
    Node* edge = unshifted(c.edge, face, wall);
    Oid edge_type = wall ? TIMESTAMPOID : TIMESTAMPTZOID;
    int parameter = edge_parameter(split->into, edge, edge_type);
    add_term(split->into, {static_cast<int>(c.op), parameter, wall, face.unit, zone});
    return call(function_of(c.op, wall), BOOLOID,
                list_make2(face_of_clock(face, wall), parameter_node(parameter, edge_type, -1)));
}

Node* split_node(Node* node, Split* split) {
    if (node == nullptr) return nullptr;
    if (is_clock(node))
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                errmsg("the next change of this use of now() in %s cannot be computed", split->what),
                errhint("Compare a time or a date of the customer with now() or CURRENT_DATE plus or minus an interval, as in "
                        "last_order_at < now() - interval '60 days'."),
                parser_errposition(split->state, exprLocation(node)));
    ClockComparison op;
    if (IsA(node, OpExpr) && list_length(castNode(OpExpr, node)->args) == 2 && comparison_of(castNode(OpExpr, node)->opno, &op)) {
        auto* left = static_cast<Node*>(linitial(castNode(OpExpr, node)->args));
        auto* right = static_cast<Node*>(lsecond(castNode(OpExpr, node)->args));
        bool clock_left = has_parameters(left);
        if (clock_left != has_parameters(right)) {
            Node* solved = clock_left ? solve({op, left, right}, split) : solve({mirrored(op), right, left}, split);
            if (solved != nullptr) return solved;
        }
    }
    return mutate_expression(node, split_node, split);
}

}  // namespace

Node* new_parameter(ClockTerms* terms, Oid type) {
    if (terms->parameters.empty()) terms->parameters.push(TIMESTAMPTZOID);  // the clock
    terms->parameters.push(type);
    return parameter_node(static_cast<int>(terms->parameters.size), type, -1);
}

Node* split_clock(Node* predicate, const char* text, const char* what, ClockTerms* into) {
    ErrorContextCallback callback = point_into(text);
    error_context_stack = &callback;
    ParseState* state = make_parsestate(nullptr);  // for the position of an error only
    state->p_sourcetext = text;
    if (into->parameters.empty()) into->parameters.push(TIMESTAMPTZOID);
    Split split{into, what, state};
    Node* result = split_node(predicate, &split);
    error_context_stack = callback.previous;
    return result;
}

}  // namespace lifecycle::pg
