// Room at the end of a table for many rows at once.
#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// Until PostgreSQL 15 a table grows by one page at a time: each is written as zeros for its place in the file, under a lock that other sessions wait
// for, before anything is put there. This adds pages for `bytes` and some more, in the manner of PostgreSQL 16, unless there is room already. The file
// system sets space aside for them; where it will not, the server goes on page by page, and says so if the disk is full.
void make_room(Relation table, Size bytes);

}  // namespace lifecycle::pg
