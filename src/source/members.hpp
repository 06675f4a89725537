// The tables whose rows count: the attached one, its partitions and children, and how they leave.
#pragma once

#include "source/changes.hpp"

namespace lifecycle::source {

// TRUNCATE is about to empty a table of the source.
void read_truncated(Intake* intake, Relation relation);
// To be called for each statement, outside of the subtransaction in which it is processed.
void note_statement(bool truncates);

// Takes back everything that a source has said. What goes wrong is logged as a warning.
void withdraw_or_warn(const char* source);

}  // namespace lifecycle::source
