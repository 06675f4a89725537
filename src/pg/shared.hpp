// What the sessions and the workers share: when each database's worker means to wake up, and how to wake it earlier.
#pragma once

#include "pg/postgres.hpp"
#include "rules/instant.hpp"

namespace lifecycle::pg {

inline constexpr int kMaxDatabases = 64;

// One database's worker.
struct WorkerSlot {
    Oid database;         // InvalidOid: the slot is free
    int pid;              // 0: not running
    int backfill_pid;     // of the backfill worker; 0: none
    bool wanted;          // the launcher is to start it
    int latch_owner;      // the PGPROC number whose latch wakes it, -1: none
    TimestampTz sleeps_until;  // kNever: it is at work, or nothing is ever due
    bool at_work;
    TimestampTz asked_for;  // while it is at work: what was committed meanwhile is not due earlier than this
    TimestampTz started_at;
    TimestampTz last_tick_at;
    uint64 ticks;
    uint64 wake_ups;
    uint64 customers;
    uint64 errors;
};

struct Shared {
    LWLock* lock;
    int launcher_latch_owner;  // -1: not running
    WorkerSlot slots[kMaxDatabases];
};

// nullptr when the library was not preloaded: then there are no workers, and everything else works.
Shared* shared();
void request_shared_memory();

// Lets the worker of this database know, once this transaction has committed, that something is due at `due`.
void wake_worker_at_commit(rules::Instant due);
// Lets the launcher look for databases to serve, once this transaction has committed.
void wake_launcher_at_commit();

WorkerSlot* find_slot(Oid database);  // with the lock held
// Frees it if nobody has it and nobody wants it; with the lock held.
void free_if_unused(WorkerSlot* slot);
void wake(int latch_owner);

}  // namespace lifecycle::pg
