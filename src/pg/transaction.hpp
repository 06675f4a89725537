// What is to happen when the shop's transaction, or a savepoint of it, ends.
#pragma once

#include <string_view>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

struct TransactionEnd {
    void (*before_commit)();  // also before PREPARE TRANSACTION; it may still fail
    void (*at_end)();         // committed, prepared or rolled back
    void (*subtransaction_end)(bool rolled_back, SubTransactionId own, SubTransactionId parent);
};

// One room may ask, at any time before it needs it.
void at_transaction_end(const TransactionEnd& asked);

// Lets those who LISTEN to a channel know once this transaction has committed. Unlike NOTIFY itself it is no obstacle to PREPARE
// TRANSACTION: then nobody is told.
void notify_at_commit(const char* channel, std::string_view payload = {});

// Has the server's WAL writer write what has been logged so far, as at an asynchronous commit. A transaction that logs faster than the WAL writer looks
// in fills the buffers of the log; then it writes them itself, and all others wait.
void have_log_written();

// Whether the transaction has so many subtransactions with an id that soon other sessions would have to look them up one by one.
bool has_many_subtransactions();

}  // namespace lifecycle::pg
