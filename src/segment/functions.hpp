// The functions that predicates may call beside PostgreSQL's own: what they stand for, and their value at an instant.
#pragma once

#include "customer/change.hpp"
#include "pg/expression.hpp"
#include "rules/windows.hpp"

namespace lifecycle::segment {

// What a function looks at beside the customer's row.
enum class Looks : uint8 { at_purchases, at_items, at_events };

// orders_within(), spent_within(), bought(), viewed(), event_count(): something is counted or added up over what the customer did.
struct FactCall {
    enum class Result : uint8 { count, amount, any };

    Looks looks;
    Result result;
    bool views_only;   // of the events, those that say that a product was looked at
    Node* what;        // which product, category or event; nullptr: all
    Node* span;        // how long each counts; nullptr: for good
    int parameter;     // that takes the value

    // Prepared when all predicates have been compiled.
    ExprState* what_state;
    ExprState* span_state;
    bool constant;     // neither depends on the row
};

// is_birthday(), is_anniversary().
struct AnniversaryCall {
    Node* of;          // a date
    Node* before;      // an interval: how long before the day it begins to hold; nullptr: on the day itself
    bool of_birth;     // the very first day counts too
    int parameter;

    ExprState* of_state;
    ExprState* before_state;
};

// in_segment('other') in the predicate of a segment.
struct Reference {
    int user;           // index of the segment whose predicate says it
    std::string_view other;
    int parameter;
    int location;       // in the predicate
};

// What the predicates of all segments have in common.
struct Calls {
    pg::ClockTerms clock;
    pg::Array<FactCall> facts;
    pg::Array<AnniversaryCall> anniversaries;
    pg::Array<Reference> references;
    bool in_scenario;       // there is something that context() can mean
    bool defining;          // what can never work is refused; else it is a problem of each customer
    int context_parameter;  // takes it; 0: nobody asks
};

extern const std::span<const char* const> kFunctions;

// Puts parameters, or what they stand for, in the place of calls; `user` is the index of the segment whose predicate it is.
Node* replace_calls(Node* predicate, const char* text, const char* what, Relation customer, int user, Calls* into);

void prepare_calls(Calls* calls, pg::Evaluator* evaluator);

}  // namespace lifecycle::segment
