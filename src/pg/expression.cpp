#include "pg/expression.hpp"

#include "pg/catalog.hpp"
#include "pg/literals.hpp"
#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

struct Check {
    const ExpressionRules* rules;
    ParseState* state;
    Oid culprit;  // the function that was refused
};

// Built-in functions that are only "stable" because they look up the name of an enum value.
bool is_harmless_stable(Oid function) { return function == F_ENUM_IN || function == F_ENUM_OUT; }

// Stable because they depend on TimeZone, which the caller pins.
bool depends_on_zone_only(Oid function) {
    switch (function) {
        case F_TIMESTAMPTZ_PL_INTERVAL:
        case F_TIMESTAMPTZ_MI_INTERVAL:
        case F_DATE_TIMESTAMPTZ:
        case F_TIMESTAMPTZ_DATE:
        case F_TIMESTAMPTZ_TIMESTAMP:
        case F_TIMESTAMP_TIMESTAMPTZ:
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
        case F_DATE_PART_TEXT_TIMESTAMPTZ:
        case F_EXTRACT_TEXT_TIMESTAMPTZ:
        case F_INTERVAL_PL_TIMESTAMPTZ:
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
        case F_DATE_LT_TIMESTAMPTZ: case F_DATE_LE_TIMESTAMPTZ: case F_DATE_EQ_TIMESTAMPTZ:
        case F_DATE_GT_TIMESTAMPTZ: case F_DATE_GE_TIMESTAMPTZ: case F_DATE_NE_TIMESTAMPTZ:
        case F_TIMESTAMPTZ_LT_DATE: case F_TIMESTAMPTZ_LE_DATE: case F_TIMESTAMPTZ_EQ_DATE:
        case F_TIMESTAMPTZ_GT_DATE: case F_TIMESTAMPTZ_GE_DATE: case F_TIMESTAMPTZ_NE_DATE:
        case F_TIMESTAMP_LT_TIMESTAMPTZ: case F_TIMESTAMP_LE_TIMESTAMPTZ: case F_TIMESTAMP_EQ_TIMESTAMPTZ:
        case F_TIMESTAMP_GT_TIMESTAMPTZ: case F_TIMESTAMP_GE_TIMESTAMPTZ: case F_TIMESTAMP_NE_TIMESTAMPTZ:
        case F_TIMESTAMPTZ_LT_TIMESTAMP: case F_TIMESTAMPTZ_LE_TIMESTAMP: case F_TIMESTAMPTZ_EQ_TIMESTAMP:
        case F_TIMESTAMPTZ_GT_TIMESTAMP: case F_TIMESTAMPTZ_GE_TIMESTAMP: case F_TIMESTAMPTZ_NE_TIMESTAMP:
            return true;
        default:
            return false;
    }
}

bool is_replaced(Oid function, const ExpressionRules* rules) {
    if (rules->functions.empty() || !is_ours(function)) return false;
    const char* name = get_func_name(function);
    for (const char* known : rules->functions) {
        if (strcmp(name, known) == 0) return true;
    }
    return false;
}

// With one argument: counts to the beginning of today.
bool is_age(Oid function) { return function == F_AGE_TIMESTAMPTZ || function == F_AGE_TIMESTAMP; }

bool refused_function(Oid function, void* context) {
    auto* check = static_cast<Check*>(context);
    check->culprit = function;
    if (function >= FirstNormalObjectId) return !is_replaced(function, check->rules);
    if (check->rules->clock && is_age(function)) return false;
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE) return false;
    if (is_harmless_stable(function)) return false;
    return !(check->rules->in_zone && depends_on_zone_only(function));
}

bool is_now(Node* node) {
    if (IsA(node, FuncExpr)) {
        Oid function = castNode(FuncExpr, node)->funcid;
        if (function < FirstNormalObjectId) return function == F_NOW;
        return is_ours(function) && strcmp(get_func_name(function), "now") == 0;
    }
    if (!IsA(node, SQLValueFunction)) return false;
    switch (castNode(SQLValueFunction, node)->op) {
        case SVFOP_CURRENT_TIMESTAMP:
        case SVFOP_CURRENT_DATE:
        case SVFOP_LOCALTIMESTAMP:
            return true;
        default:
            return false;
    }
}

[[noreturn]] void refuse(Node* node, const Check* check, const char* problem, const char* hint) {
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s cannot be used in %s", problem, check->rules->what),
            hint ? errhint("%s", hint) : 0, parser_errposition(check->state, exprLocation(node)));
}

[[noreturn]] void refuse_function(Node* node, Check* check) {
    Oid function = check->culprit;
    const char* name = get_func_name(function);
    const char* hint;
    if (function >= FirstNormalObjectId)
        hint = check->rules->functions.empty()
                   ? "Only functions that are part of PostgreSQL can be used here, so that no code of anybody's runs with another's rights."
                   : "Only functions that are part of PostgreSQL, and those of pg_lifecycle that are made for predicates, can be used "
                     "here, so that no code of anybody's runs with another's rights.";
    else if (function == F_TEXTANYCAT || function == F_ANYTEXTCAT)
        hint = "Cast what is joined to text, as in 'c' || customer_id::text.";
    else if (func_volatile(function) == PROVOLATILE_VOLATILE)
        hint = "The result must depend on nothing but the row.";
    else if (depends_on_zone_only(function))
        hint = "The result depends on the session's TimeZone; name the zone, as in created_at AT TIME ZONE 'UTC'.";
    else
        hint = "The result may depend on a table, a file or a setting; it must depend on nothing but the row.";
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("function %s cannot be used in %s", name ? name : "?", check->rules->what), errhint("%s", hint),
            parser_errposition(check->state, exprLocation(node)));
}

bool check_node(Node* node, Check* check) {
    if (node == nullptr) return false;
    const ExpressionRules* rules = check->rules;
    switch (nodeTag(node)) {
        case T_Var: {
            auto* var = castNode(Var, node);
            if (var->varattno <= 0) refuse(node, check, "a whole row or a system column", nullptr);
            if (rules->columns > 0 && var->varattno > rules->columns)
                refuse(node, check, "an internal column", "Only the documented columns can be used.");
            return false;
        }
        case T_FuncExpr:
        case T_SQLValueFunction:
            if (is_now(node)) {
                if (!rules->clock)
                    refuse(node, check, "the current time", "The result must depend on nothing but the row.");
                return false;
            }
            if (IsA(node, SQLValueFunction))
                refuse(node, check, "a value of the session", "The result must depend on nothing but the row.");
            if (castNode(FuncExpr, node)->funcretset) refuse(node, check, "a set-returning function", nullptr);
            break;
        case T_SubLink:
        case T_SubPlan:
            refuse(node, check, "a subquery", "An expression sees one row; use the columns that are there.");
        case T_Aggref:
        case T_GroupingFunc:
        case T_WindowFunc:
            refuse(node, check, "an aggregate or window function", nullptr);
        case T_Param:
            refuse(node, check, "a parameter", "Write the value itself.");
        case T_Const:
        case T_OpExpr:
        case T_DistinctExpr:
        case T_NullIfExpr:
        case T_ScalarArrayOpExpr:
        case T_BoolExpr:
        case T_RelabelType:
        case T_CoerceViaIO:
        case T_ArrayCoerceExpr:
        case T_ArrayExpr:
        case T_CaseExpr:
        case T_CaseWhen:
        case T_CaseTestExpr:
        case T_CoalesceExpr:
        case T_MinMaxExpr:
        case T_NullTest:
        case T_BooleanTest:
        case T_SubscriptingRef:
        case T_CollateExpr:
        case T_NamedArgExpr:
        case T_List:
            break;
        default:
            refuse(node, check, "this kind of expression", nullptr);
    }
    // Arguments first: the innermost culprit is the one to name.
    if (walk_expression(node, check_node, check)) return true;
    if (check_functions_in_node(node, refused_function, check)) refuse_function(node, check);
    return false;
}

bool is_star(Node* node) {
    return IsA(node, ColumnRef) && IsA(llast(castNode(ColumnRef, node)->fields), A_Star);
}

// A text is one expression and nothing else: this parse mode would accept FROM, WHERE, LIMIT and the rest as well.
Node* parse_single_expression(const char* text, const ExpressionRules& rules) {
    List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    if (list_length(statements) == 1) {
        auto* select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
        if (select->op == SETOP_NONE && list_length(select->targetList) == 1 && select->distinctClause == NIL &&
            select->intoClause == nullptr && select->fromClause == NIL && select->whereClause == nullptr &&
            select->groupClause == NIL && select->havingClause == nullptr && select->windowClause == NIL &&
            select->valuesLists == NIL && select->sortClause == NIL && select->limitOffset == nullptr &&
            select->limitCount == nullptr && select->lockingClause == NIL && select->withClause == nullptr) {
            auto* target = linitial_node(ResTarget, select->targetList);
            if (target->name == nullptr && target->indirection == NIL && !is_star(target->val)) return target->val;
        }
    }
    ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR), errmsg("%s must be a single SQL expression", rules.what),
            errdetail("It reads: %s", text));
}

Node* coerce(ParseState* state, Node* expression, const ExpressionRules& rules) {
    Oid type = exprType(expression);
    if (type == rules.type) return expression;
    if (rules.type == TIMESTAMPTZOID && (type == TIMESTAMPOID || type == DATEOID))
        ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
                errmsg("%s is of type %s, which does not say in which time zone", rules.what, format_type_be(type)),
                errhint("Name the zone the shop means, as in %s.",
                        type == DATEOID ? "order_date::timestamp AT TIME ZONE 'Europe/Berlin'"
                                        : "created_at AT TIME ZONE 'UTC'"),
                parser_errposition(state, exprLocation(expression)));

    // Ids of any type become text; anything else must fit without a cast that could fail for some row.
    CoercionContext how = rules.type == TEXTOID ? COERCION_EXPLICIT : COERCION_ASSIGNMENT;
    Node* coerced = coerce_to_target_type(state, expression, type, rules.type, -1, how, COERCE_IMPLICIT_CAST, -1);
    if (coerced == nullptr)
        ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
                errmsg("%s must be of type %s, not %s", rules.what, format_type_be(rules.type), format_type_be(type)),
                errhint("Cast it, if the value can be converted."),
                parser_errposition(state, exprLocation(expression)));
    return coerced;
}

Node* call(Oid function, Oid result, List* args) {
    return reinterpret_cast<Node*>(makeFuncExpr(function, result, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
}

// Every word for the present in terms of $1: CURRENT_DATE is its day, age(x) is counted from the beginning of that.
Node* now_to_parameter(Node* node, void* context) {
    if (node == nullptr) return nullptr;
    if (is_now(node)) {
        Node* clock = parameter_node(kClockParameter, TIMESTAMPTZOID, exprLocation(node));
        if (!IsA(node, SQLValueFunction)) return clock;
        auto op = castNode(SQLValueFunction, node)->op;
        if (op == SVFOP_CURRENT_DATE) return call(F_DATE_TIMESTAMPTZ, DATEOID, list_make1(clock));
        if (op == SVFOP_LOCALTIMESTAMP) return call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, list_make1(clock));
        return clock;
    }
    if (IsA(node, FuncExpr) && is_age(castNode(FuncExpr, node)->funcid)) {
        auto* age = castNode(FuncExpr, node);
        bool zoned = age->funcid == F_AGE_TIMESTAMPTZ;
        Node* clock = parameter_node(kClockParameter, TIMESTAMPTZOID, exprLocation(node));
        Node* today = call(F_DATE_TIMESTAMPTZ, DATEOID, list_make1(clock));
        Node* midnight = call(zoned ? F_TIMESTAMPTZ_DATE : F_TIMESTAMP_DATE, zoned ? TIMESTAMPTZOID : TIMESTAMPOID, list_make1(today));
        Node* since = now_to_parameter(static_cast<Node*>(linitial(age->args)), context);
        return call(zoned ? F_AGE_TIMESTAMPTZ_TIMESTAMPTZ : F_AGE_TIMESTAMP_TIMESTAMP, INTERVALOID, list_make2(midnight, since));
    }
    return mutate_expression(node, now_to_parameter, context);
}

// Writes the schema before the functions of ours that may be written without.
bool qualify_functions(Node* node, const ExpressionRules* rules) {
    if (node == nullptr) return false;
    if (IsA(node, FuncCall) && list_length(castNode(FuncCall, node)->funcname) == 1) {
        auto* called = castNode(FuncCall, node);
        for (const char* known : rules->functions) {
            if (strcmp(strVal(linitial(called->funcname)), known) == 0)
                called->funcname = list_make2(makeString(pstrdup("lifecycle")), linitial(called->funcname));
        }
    }
    return walk_raw_expression(node, qualify_functions, rules);
}

// Arguments that were passed by name, as the function has them.
Node* in_order(Node* node, void* context) {
    if (node == nullptr) return nullptr;
    node = mutate_expression(node, in_order, context);
    if (!IsA(node, FuncExpr)) return node;
    auto* called = castNode(FuncExpr, node);
    bool named = false;
    ListCell* c;
    foreach (c, called->args) named = named || IsA(lfirst(c), NamedArgExpr);
    if (!named) return node;
    HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(called->funcid));
    called->args = expand_function_arguments(called->args, false, called->funcresulttype, function);
    ReleaseSysCache(function);
    return node;
}

bool collect_columns(Node* node, Bitmapset** columns) {
    if (node == nullptr) return false;
    if (IsA(node, Var)) {
        *columns = bms_add_member(*columns, castNode(Var, node)->varattno);
        return false;
    }
    return walk_expression(node, collect_columns, columns);
}

bool collect_parameters(Node* node, Bitmapset** parameters) {
    if (node == nullptr) return false;
    if (IsA(node, Param)) *parameters = bms_add_member(*parameters, castNode(Param, node)->paramid);
    return walk_expression(node, collect_parameters, parameters);
}

}  // namespace

Node* compile_expression(const char* text, Relation relation, const ExpressionRules& rules) {
    ErrorContextCallback callback = point_into(text);
    error_context_stack = &callback;

    Node* raw = parse_single_expression(text, rules);
    ParseState* state = make_parsestate(nullptr);
    state->p_sourcetext = text;
    ParseNamespaceItem* row = addRangeTableEntryForRelation(state, relation, AccessShareLock, nullptr, false, true);
    addNSItemToQuery(state, row, true, true, true);
    Check check{&rules, state, InvalidOid};
    Literals literals{rules.what, rules.clock, {}};
    take_out_literals(raw, state, &literals);
    if (!rules.functions.empty()) qualify_functions(raw, &rules);
    Node* expression = transformExpr(state, raw, EXPR_KIND_WHERE);
    expression = put_back_literals(coerce(state, expression, rules), &literals);
    assign_expr_collations(state, expression);

    check_node(expression, &check);
    expression = in_order(expression, nullptr);
    if (rules.clock) expression = now_to_parameter(expression, nullptr);
    free_parsestate(state);

    error_context_stack = callback.previous;
    return expression;
}

Node* parameter_node(int number, Oid type, int location) {
    auto* parameter = makeNode(Param);
    parameter->paramkind = PARAM_EXTERN;
    parameter->paramid = number;
    parameter->paramtype = type;
    parameter->paramtypmod = -1;
    parameter->location = location;
    return reinterpret_cast<Node*>(parameter);
}

ErrorContextCallback point_into(const char* text) {
    ErrorContextCallback callback{};
    callback.previous = error_context_stack;
    callback.arg = const_cast<char*>(text);
    callback.callback = [](void* arg) {
        int position = geterrposition();
        if (position <= 0) return;
        errposition(0);
        internalerrposition(position);
        internalerrquery(static_cast<const char*>(arg));
    };
    return callback;
}

Evaluator* make_evaluator(TupleDesc row, std::span<const Oid> parameters) {
    auto* evaluator = static_cast<Evaluator*>(palloc0(sizeof(Evaluator)));
    evaluator->context = CreateStandaloneExprContext();
    evaluator->slot = MakeSingleTupleTableSlot(row, &TTSOpsVirtual);
    evaluator->context->ecxt_scantuple = evaluator->slot;
    if (!parameters.empty()) {
        evaluator->parameters = makeParamList(static_cast<int>(parameters.size()));
        for (size_t i = 0; i < parameters.size(); ++i) {
            evaluator->parameters->params[i].ptype = parameters[i];
            evaluator->parameters->params[i].isnull = true;
        }
        evaluator->context->ecxt_param_list_info = evaluator->parameters;
        evaluator->failures = static_cast<ErrorData**>(palloc0(parameters.size() * sizeof(ErrorData*)));
    }
    return evaluator;
}

Node* planned(Node* expression) {
    return reinterpret_cast<Node*>(expression_planner(static_cast<Expr*>(static_cast<void*>(expression))));
}

ExprState* prepare(Node* expression, Evaluator* evaluator) {
    return ExecInitExprWithParams(static_cast<Expr*>(static_cast<void*>(planned(expression))), evaluator->parameters);
}

namespace {

Node* without_relabels(Node* node) {
    while (IsA(node, RelabelType)) node = reinterpret_cast<Node*>(castNode(RelabelType, node)->arg);
    return node;
}

constexpr size_t kLongestNumber = 20;  // digits of an int8, and its sign

}  // namespace

Field prepare_field(Node* expression, Evaluator* evaluator) {
    Field field;
    Node* node = without_relabels(planned(expression));
    if (IsA(node, CoerceViaIO) && castNode(CoerceViaIO, node)->resulttype == TEXTOID) {
        Node* number = without_relabels(reinterpret_cast<Node*>(castNode(CoerceViaIO, node)->arg));
        Oid type = exprType(number);
        if (IsA(number, Var) && (type == INT4OID || type == INT8OID)) {
            field.number = type;
            field.text = static_cast<char*>(palloc(VARHDRSZ + kLongestNumber + 1));
            node = number;
        }
    }
    if (IsA(node, Var)) {
        field.column = castNode(Var, node)->varattno;
    } else {
        field.state = prepare(expression, evaluator);
    }
    return field;
}

Datum text_of_number(const Field& field, Datum number) {
    char* digits = field.text + VARHDRSZ;
    int length = field.number == INT8OID ? pg_lltoa(DatumGetInt64(number), digits) : pg_ltoa(DatumGetInt32(number), digits);
    SET_VARSIZE(field.text, VARHDRSZ + length);
    return PointerGetDatum(field.text);
}

void set_parameter(Evaluator* evaluator, int number, Datum value, bool null) {
    ParamExternData& parameter = evaluator->parameters->params[number - 1];
    parameter.value = value;
    parameter.isnull = null;
}

namespace {

ParamExternData* value_or_failure(ParamListInfo parameters, int number, bool, ParamExternData*) {
    ErrorData* failure = static_cast<ErrorData**>(parameters->paramFetchArg)[number - 1];
    if (failure != nullptr) ReThrowError(failure);
    return &parameters->params[number - 1];
}

}  // namespace

void fail_parameter(Evaluator* evaluator, int number, ErrorData* error) {
    evaluator->failures[number - 1] = error;
    if (error == nullptr) return;
    // The executor asks a hook for values only if there is one: nobody pays for it as long as nothing has failed.
    evaluator->parameters->paramFetch = value_or_failure;
    evaluator->parameters->paramFetchArg = evaluator->failures;
}

void forget_failures(Evaluator* evaluator) {
    if (evaluator->parameters->paramFetch == nullptr) return;
    evaluator->parameters->paramFetch = nullptr;
    std::fill_n(evaluator->failures, evaluator->parameters->numParams, nullptr);
}

bool has_parameters(Node* expression) { return !bms_is_empty(parameters_of(expression)); }

Bitmapset* parameters_of(Node* expression) {
    Bitmapset* parameters = nullptr;
    collect_parameters(expression, &parameters);
    return parameters;
}

Bitmapset* columns_of(Node* expression) {
    Bitmapset* columns = nullptr;
    collect_columns(expression, &columns);
    return columns;
}

}  // namespace lifecycle::pg
