// Numbers of a sequence.
#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// The first of so many that follow one another, and that nobody else gets: nextval() for a whole batch, with one record in the log.
// -1: only nextval() can take them.
int64 take_numbers(Oid sequence, int64 count);

}  // namespace lifecycle::pg
