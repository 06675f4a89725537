#pragma once

#include "source/source.hpp"

namespace lifecycle::source {

// Whether the rows that were in this source already are still being taken in. What the shop changes meanwhile waits in the inbox.
bool is_backfilling(const char* name);

// As much of a backfill as goes into one transaction. False: it is done. What is kept between two calls is in this session, and goes with an
// error; whoever comes next, in this session or another, goes on where the last commit was.
bool backfill_step(const char* name);

// The backfill that waits for the longest time, copied; nullptr: there is none. One that has failed is left alone for some seconds.
const char* next_backfill();
void note_failed_backfill(const char* name, const char* message);

}  // namespace lifecycle::source
