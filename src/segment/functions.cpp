#include "segment/functions.hpp"

#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/text.hpp"

namespace lifecycle::segment {

namespace {

constexpr const char* kNames[] = {"orders_within", "spent_within", "event_count", "bought",        "viewed",
                                  "has_tag",       "in_segment",   "is_birthday", "is_anniversary", "context",
                                  "rfm_recency",   "rfm_frequency", "rfm_monetary"};

pg::Statement read_rfm{.sql = "SELECT lifecycle.rfm_expression($1)", .types = {TEXTOID}};

struct Replacing {
    Calls* into;
    const char* what;
    ParseState* state;
    Relation customer;
    int user;
};

struct Args {
    Node* first = nullptr;
    Node* second = nullptr;
};

[[noreturn]] void refuse(const Replacing* r, Node* node, const char* problem, const char* hint) {
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s in %s", problem, r->what), errhint("%s", hint),
            parser_errposition(r->state, exprLocation(node)));
}

Node* fact_parameter(Replacing* r, const FactCall& call) {
    for (FactCall& known : r->into->facts) {
        if (known.looks == call.looks && known.result == call.result && known.views_only == call.views_only &&
            equal(known.what, call.what) && equal(known.span, call.span))
            return pg::parameter_node(known.parameter, r->into->clock.parameters[known.parameter - 1], -1);
    }
    Oid type = call.result == FactCall::Result::count ? INT8OID : call.result == FactCall::Result::amount ? NUMERICOID : BOOLOID;
    Node* parameter = pg::new_parameter(&r->into->clock, type);
    FactCall& fresh = r->into->facts.push(call);
    fresh.parameter = castNode(Param, parameter)->paramid;
    return parameter;
}

Node* anniversary_parameter(Replacing* r, Node* of, Node* before, bool of_birth) {
    for (const AnniversaryCall& known : r->into->anniversaries) {
        if (known.of_birth == of_birth && equal(known.of, of) && equal(known.before, before))
            return pg::parameter_node(known.parameter, BOOLOID, -1);
    }
    Node* parameter = pg::new_parameter(&r->into->clock, BOOLOID);
    r->into->anniversaries.push({of, before, of_birth, castNode(Param, parameter)->paramid, nullptr, nullptr});
    return parameter;
}

Node* column(Column c, Oid type, Oid collation) {
    return reinterpret_cast<Node*>(makeVar(1, static_cast<AttrNumber>(c + 1), type, -1, collation, 0));
}

// Whoever has no tags does not have this one.
Node* has_tag(Node* tag) {
    auto* any = makeNode(ScalarArrayOpExpr);
    any->opno = TextEqualOperator;
    any->opfuncid = F_TEXTEQ;
    any->useOr = true;
    any->inputcollid = DEFAULT_COLLATION_OID;
    any->args = list_make2(tag, column(kTags, TEXTARRAYOID, DEFAULT_COLLATION_OID));
    any->location = -1;
    auto* test = makeNode(CoalesceExpr);
    test->coalescetype = BOOLOID;
    test->args = list_make2(any, makeBoolConst(false, false));
    test->location = -1;
    return reinterpret_cast<Node*>(test);
}

Node* in_segment(Replacing* r, FuncExpr* call, Node* name) {
    if (!IsA(name, Const) || castNode(Const, name)->constisnull)
        refuse(r, reinterpret_cast<Node*>(call), "the segment that in_segment() asks for is not a constant",
               "Write its name itself, as in in_segment('vip').");
    auto other = pg::view(castNode(Const, name)->constvalue);
    int parameter = 0;
    for (const Reference& known : r->into->references) {
        if (known.other == other) parameter = known.parameter;
    }
    Node* node = parameter != 0 ? pg::parameter_node(parameter, BOOLOID, -1) : pg::new_parameter(&r->into->clock, BOOLOID);
    r->into->references.push({r->user, other, castNode(Param, node)->paramid, call->location});
    return node;
}

Node* context(Replacing* r, FuncExpr* call) {
    if (!r->into->in_scenario)
        refuse(r, reinterpret_cast<Node*>(call), "function context cannot be used", "Only conditions of scenarios and steps know what has started something.");
    int& parameter = r->into->context_parameter;
    if (parameter != 0) return pg::parameter_node(parameter, JSONBOID, -1);
    Node* node = pg::new_parameter(&r->into->clock, JSONBOID);
    parameter = castNode(Param, node)->paramid;
    return node;
}

// A score is an expression that the thresholds make: it compares with the clock as any other does.
Node* rfm(Replacing* r, const char* measure) {
    Datum arg = pg::to_datum(measure);
    read_rfm.run({&arg, 1});
    const char* text = pg::to_cstring(pg::text_cell(0, 1));
    return pg::compile_expression(text, r->customer,
                                  {.what = "the thresholds of RFM", .type = INT4OID, .clock = true, .in_zone = true, .columns = kDocumentedColumns});
}

Node* replacement(Replacing* r, FuncExpr* call, const char* name, Args args) {
    using Result = FactCall::Result;
    auto is = [&](const char* known) { return strcmp(name, known) == 0; };
    auto facts = [&](Looks looks, Result result, bool views, Node* what, Node* span) {
        return fact_parameter(r, {looks, result, views, what, span, 0, nullptr, nullptr, false});
    };
    if (is("orders_within")) return facts(Looks::at_purchases, Result::count, false, nullptr, args.first);
    if (is("spent_within")) return facts(Looks::at_purchases, Result::amount, false, nullptr, args.first);
    if (is("bought")) return facts(Looks::at_items, Result::any, false, args.first, args.second);
    if (is("event_count")) return facts(Looks::at_events, Result::count, false, args.first, args.second);
    if (is("viewed")) return facts(Looks::at_events, Result::any, true, args.first, args.second);
    if (is("context")) return context(r, call);
    if (is("has_tag")) return has_tag(args.first);
    if (is("in_segment") && args.second == nullptr) return in_segment(r, call, args.first);
    if (is("is_birthday")) return anniversary_parameter(r, column(kBirthday, DATEOID, InvalidOid), args.first, true);
    if (is("is_anniversary")) return anniversary_parameter(r, args.first, args.second, false);
    constexpr std::string_view kRfm = "rfm_";
    if (std::string_view{name}.starts_with(kRfm)) return rfm(r, name + kRfm.size());
    return nullptr;
}

// Computes what is the same for everybody as it will be for each customer; a span is counted from now. Returns the error.
ErrorData* try_constant(const Replacing* r, Node* arg, bool backward, const char** value) {
    return pg::attempt([&] {
        pg::Evaluator* evaluator = pg::make_evaluator(CreateTupleDescCopy(RelationGetDescr(r->customer)), {});
        bool null;
        Datum result = pg::evaluate(pg::prepare(static_cast<Node*>(copyObjectImpl(arg)), evaluator), evaluator, &null);
        if (null) return;
        *value = pg::show(result, exprType(arg));
        if (exprType(arg) != INTERVALOID) return;
        if (backward) {
            DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(pg::now()), result);
        } else {
            pg::add_interval(pg::now(), DatumGetIntervalP(result));
        }
    });
}

// Refuses what would raise an error for every customer who is looked at.
void refuse_what_never_works(const Replacing* r, Node* call, const char* name, Args args) {
    bool backward = std::string_view{name}.starts_with("is_");  // from the day; the others from what is counted
    for (Node* arg : {args.first, args.second}) {
        if (arg == nullptr || !bms_is_empty(pg::columns_of(arg))) continue;
        const char* value = nullptr;
        ErrorData* error = try_constant(r, arg, backward, &value);
        if (error == nullptr) continue;
        bool span = exprType(arg) == INTERVALOID;
        ereport(ERROR, errcode(error->sqlerrcode), errmsg("what is passed to %s() in %s works for nobody", name, r->what),
                value != nullptr ? errdetail("It is \"%s\": %s.", value, error->message) : errdetail("It cannot be computed: %s.", error->message),
                span ? errhint("Pass a span that leads to a time there is, as in '30 days'.")
                     : errhint("Pass a value, or something of the customer's row."),
                parser_errposition(r->state, exprLocation(call)));
    }
}

Node* replace_node(Node* node, Replacing* r) {
    if (node == nullptr) return nullptr;
    node = pg::mutate_expression(node, replace_node, r);
    if (!IsA(node, FuncExpr) || castNode(FuncExpr, node)->funcid < FirstNormalObjectId) return node;
    auto* call = castNode(FuncExpr, node);
    Args args;
    if (list_length(call->args) > 0) args.first = static_cast<Node*>(linitial(call->args));
    if (list_length(call->args) > 1) args.second = static_cast<Node*>(lsecond(call->args));
    const char* name = get_func_name(call->funcid);
    if ((args.first != nullptr && pg::has_parameters(args.first)) || (args.second != nullptr && pg::has_parameters(args.second)))
        refuse(r, node, psprintf("what is passed to %s() depends on the time", name),
               "Pass a constant, or something of the customer's row that time does not change.");
    if (r->into->defining) refuse_what_never_works(r, node, name, args);
    Node* replaced = replacement(r, call, name, args);
    if (replaced == nullptr)
        refuse(r, node, psprintf("function %s cannot be used with these arguments", name),
               "In a predicate in_segment('vip') asks about the customer at hand.");
    return replaced;
}

}  // namespace

const std::span<const char* const> kFunctions{kNames};

Node* replace_calls(Node* predicate, const char* text, const char* what, Relation customer, int user, Calls* into) {
    ErrorContextCallback callback = pg::point_into(text);
    error_context_stack = &callback;
    ParseState* state = make_parsestate(nullptr);  // for the position of an error only
    state->p_sourcetext = text;
    Replacing r{into, what, state, customer, user};
    Node* result = replace_node(predicate, &r);
    error_context_stack = callback.previous;
    return result;
}

void prepare_calls(Calls* calls, pg::Evaluator* evaluator) {
    auto prepared = [&](Node* node) { return node == nullptr ? nullptr : pg::prepare(node, evaluator); };
    for (FactCall& call : calls->facts) {
        call.what_state = prepared(call.what);
        call.span_state = prepared(call.span);
        call.constant = bms_is_empty(pg::columns_of(call.what)) && bms_is_empty(pg::columns_of(call.span));
    }
    for (AnniversaryCall& call : calls->anniversaries) {
        call.of_state = prepared(call.of);
        call.before_state = prepared(call.before);
    }
}

}  // namespace lifecycle::segment
