// What a transaction has said and has not been taken in yet.
//
// Changes are kept in memory and settled together, before the transaction commits: all customers are locked in the order of their
// ids, in one subtransaction. So it is where the setting lifecycle.settle = commit asks for it, where changes come row by row, and in a
// transaction that has had too many subtransactions already (see pg::has_many_subtransactions).
#pragma once

#include "source/changes.hpp"

namespace lifecycle::source {

struct RowChange {
    MinimalTuple gone;
    MinimalTuple arrived;
};

// What one statement (or, row by row, one row) has said; or one letter of the inbox.
struct Step {
    const char* source;
    TupleDesc layout;
    pg::Array<RowChange> rows;
    uint64 group;                  // of statements within one another (see nesting.hpp); 0: of none
    uint64 began;                  // of these: in which order they did
    pg::Array<Step*> parts;        // what has been said in a group, as one; then there is nothing else
    Letter letter;                 // of the inbox; then there is no layout and there are no rows
    bool held;                     // of a letter: what it says has gone may have been in quarantine, and not count
    const std::string_view* up_to; // of a letter: facts with a later key (see history.hpp) do not count; nullptr: all do
    Oid user;                      // who said it, with whose rights it is read
    int security;
    size_t bytes;
    SubTransactionId said_in;
    SubTransactionId settled_in;   // InvalidSubTransactionId: not settled
};

// Makes sure that what is kept is settled and forgotten when the transaction ends.
void follow_transaction();

// Keeps what the trigger has seen for later. False: it is to be taken in at once. What belongs to a group is kept however large it is: apart from
// the others it would be wrong.
bool put_off(TriggerData* trigger, uint64 group = 0, uint64 began = 0);
// Whether anything is pending but what waits for a statement that goes on.
bool is_anything_pending();
// Whether the changes of a statement, or of a row, are to be put off at present.
bool is_putting_off(bool row_by_row);

// Takes in what is pending, but for what waits for a statement that goes on.
void settle_pending();
// Nothing that this source has said is to be taken in.
void forget_pending(const char* source);

// Takes steps in, in their order, or puts those aside that cannot be. With `impatient`, an exhausted lock_timeout is an error.
void settle(std::span<Step*> steps, bool impatient);

}  // namespace lifecycle::source
