#include "pg/literals.hpp"

#include <cctype>
#include <string_view>

namespace lifecycle::pg {

namespace {

// Parameters that stand for literals have negative numbers, which nobody can write.
int number_of(size_t literal) { return -static_cast<int>(literal) - 1; }
const A_Const& literal_of(const Literals& literals, int number) { return literals.list[static_cast<size_t>(-(number + 1))]; }

const char* text_of(const A_Const& literal) { return strVal(&literal.val); }

Const* unknown_constant(const A_Const& literal) {
    Const* constant = makeConst(UNKNOWNOID, -1, InvalidOid, -2, CStringGetDatum(pstrdup(text_of(literal))), false, false);
    constant->location = literal.location;
    return constant;
}

// Whether nothing of anybody's runs when a text is read as this type. A type of its own kind is C code that a superuser has brought; a domain's checks
// are a step of its own in the expression, unless the domain is inside of something.
bool reads_safely(Oid type, bool inside) {
    if (!inside) type = getBaseType(type);
    if (type < FirstNormalObjectId) return true;
    switch (get_typtype(type)) {
        case TYPTYPE_ENUM: return true;
        case TYPTYPE_BASE: {
            Oid element = get_element_type(type);
            return !OidIsValid(element) || reads_safely(element, true);
        }
        default: return false;
    }
}

bool is_of_time(Oid type) {
    type = getBaseType(type);
    if (Oid element = get_element_type(type); OidIsValid(element)) type = getBaseType(element);
    if (Oid range = get_multirange_range(type); OidIsValid(range)) type = range;
    if (Oid subtype = get_range_subtype(type); OidIsValid(subtype)) type = subtype;
    return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID || type == TIMEOID || type == TIMETZOID;
}

// 'now' and its like become a constant when they are read: they would be frozen at the instant of compilation.
bool moves(std::string_view text) {
    auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
    for (size_t begin = 0; begin < text.size();) {
        size_t end = begin;
        while (end < text.size() && is_letter(text[end])) ++end;
        for (std::string_view word : {"now", "today", "tomorrow", "yesterday"}) {
            if (end - begin == word.size() && pg_strncasecmp(text.data() + begin, word.data(), word.size()) == 0) return true;
        }
        begin = end + 1;
    }
    return false;
}

Node* find_parameter(ParseState*, ParamRef* ref) {
    if (ref->number >= 0) return nullptr;  // written by the user: there is none
    auto* parameter = makeNode(Param);
    parameter->paramkind = PARAM_EXTERN;
    parameter->paramid = ref->number;
    parameter->paramtype = UNKNOWNOID;
    parameter->paramtypmod = -1;
    parameter->location = ref->location;
    return reinterpret_cast<Node*>(parameter);
}

Node* read_literal(ParseState* state, Param* parameter, Oid type, int32 modifier, int location) {
    auto* literals = static_cast<Literals*>(state->p_ref_hook_state);
    const A_Const& literal = literal_of(*literals, parameter->paramid);
    if (!reads_safely(type, false))
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a literal of type %s cannot be used in %s", format_type_be(type), literals->what),
                errdetail("To read it may mean to run somebody's code with another's rights."), errhint("Use types that are part of PostgreSQL."),
                parser_errposition(state, literal.location));
    if (is_of_time(type) && moves(text_of(literal)))
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("the literal \"%s\" cannot be used in %s", text_of(literal), literals->what),
                errdetail("It would mean the moment at which the expression was compiled, for ever."), literals->clock ? errhint("Use now().") : 0,
                parser_errposition(state, literal.location));
    return coerce_type(state, reinterpret_cast<Node*>(unknown_constant(literal)), UNKNOWNOID, type, modifier, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST,
                       location);
}

bool take_out(Node* node, Literals* literals) {
    if (node == nullptr || IsA(node, TypeName)) return false;  // the modifiers of a type are no values
    if (!IsA(node, A_Const)) return walk_raw_expression(node, take_out, literals);
    auto* constant = castNode(A_Const, node);
    if (constant->isnull || !IsA(&constant->val, String)) return false;
    literals->list.push(*constant);
    // In place, as nobody tells where the tree refers to it.
    static_assert(sizeof(ParamRef) <= sizeof(A_Const));
    int location = constant->location;
    auto* ref = reinterpret_cast<ParamRef*>(node);
    ref->type = T_ParamRef;
    ref->number = number_of(literals->list.size - 1);
    ref->location = location;
    return false;
}

}  // namespace

void take_out_literals(Node* raw, ParseState* state, Literals* literals) {
    take_out(raw, literals);
    state->p_paramref_hook = find_parameter;
    state->p_coerce_param_hook = read_literal;
    state->p_ref_hook_state = literals;
}

Node* put_back_literals(Node* expression, Literals* literals) {
    if (expression == nullptr) return nullptr;
    if (IsA(expression, Param) && castNode(Param, expression)->paramid < 0)
        return reinterpret_cast<Node*>(unknown_constant(literal_of(*literals, castNode(Param, expression)->paramid)));
    return mutate_expression(expression, put_back_literals, literals);
}

}  // namespace lifecycle::pg
