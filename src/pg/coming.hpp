// Rows of a table of ours that become of interest at an instant that one of their columns names.
#pragma once

#include "pg/array.hpp"

namespace lifecycle::pg {

struct Coming {
    Array<Datum> come;  // the numbers of the rows whose instant is not later than asked
    TimestampTz next;   // the earliest of the others
};

// An index would have each row pay for what is asked every few seconds. This session remembers of each page the earliest instant on it, and looks
// at the page's rows again only when something has been written there.
// What is being written counts, and what is being deleted, too: whoever wants a row has to look whether it is there.
Coming coming(Oid table, const char* instant, const char* number, TimestampTz until);

}  // namespace lifecycle::pg
