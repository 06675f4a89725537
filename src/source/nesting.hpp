// Statements within statements.
//
// A trigger of the shop's may change the very rows of the statement that it fires for. Its own statement is over first and is seen first, though of those
// rows it changes what the outer one has made of them. So what is said within a statement of the same source waits for that one, and all of it
// is read as if it had been one: of each row, what it was before and what it is after them all.
//
// A trigger BEFORE each statement says that one begins. Only tables that have triggers of the shop's have it.
#pragma once

#include "source/pending.hpp"

namespace lifecycle::source {

void begin_statement(const TriggerData* trigger);

// A statement that is over, with those within it.
struct Nest {
    uint64 group;    // 0: it was not said to have begun
    uint64 began;    // statements are numbered as they begin
    bool inner;      // another one of the same source goes on
    size_t waiting;  // how many steps of the group wait
};
Nest end_statement(const TriggerData* trigger);

bool is_any_statement_open();
bool goes_on(uint64 group);

// How many steps of open groups wait.
size_t waiting_steps();
void note_waiting(uint64 group);
void forget_waiting();  // to be counted anew

void forget_statements(SubTransactionId own);
void forget_statements();

struct NetChange {
    RowChange row;
    TupleDesc layout;
};
// What the steps of one group have done to rows, all in all: no row comes and goes among them. With a source, its columns tell rows apart, and they are as the
// attached table would have them; without, all columns do.
pg::Array<NetChange> net_changes(const Source* source, std::span<Step* const> steps);

}  // namespace lifecycle::source
