// The quoted literals of an expression that a user has written.
//
// The parser reads a literal as soon as it knows the type, with the type's own input function. For a domain inside an array, a composite or a range
// that means to run checks and functions of anybody's, long before the finished expression could be looked at, and with our rights. So literals are
// taken out of the text's tree first, and the parser asks here when it wants one read.
#pragma once

#include "pg/array.hpp"

namespace lifecycle::pg {

struct Literals {
    const char* what;  // they are in, for messages
    bool clock;        // where now() can be written instead of 'now'
    Array<A_Const> list;
};

// Puts a parameter in the place of each literal of the raw expression; the parser asks `literals` what they are.
void take_out_literals(Node* raw, ParseState* state, Literals* literals);

// What the parser has had no type for comes back as it would have been.
Node* put_back_literals(Node* expression, Literals* literals);

}  // namespace lifecycle::pg
