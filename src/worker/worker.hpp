// The worker room: time comes in. A launcher for the cluster keeps one worker for each database that has the extension; a worker
// sleeps until the earliest timer, brings those customers up to date whose timers have run out, and sleeps again.
//
//     launcher: look at databases -> start workers -> sleep (new extension, worker gone, a minute)
//     backfill worker: started by the worker while a large table is being taken in
//     worker:   due customers, a batch a transaction -> none left: sleep until next_due, woken by commits that are due earlier
//
// Correctness never needs them: lifecycle.tick() does the same by hand.
#pragma once

#include "pg/shared.hpp"

namespace lifecycle::worker {

// While the library is preloaded.
void install();

// Says that this database cannot have a worker.
void no_slot(int level);

// A worker's transactions.
void begin(const char* activity);
void commit();

bool start_backfill_worker(BackgroundWorkerHandle** handle);

}  // namespace lifecycle::worker
