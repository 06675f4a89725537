// The settings of the extension (lifecycle.*). Configuration of the shop itself lives in tables; these are about running.
#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

struct Settings {
    bool worker;                // lifecycle.worker: start background workers at all
    int worker_nap;             // lifecycle.worker_nap, ms: longest sleep when nothing is due
    int redefine_at_once;       // lifecycle.redefine_at_once
    int batch_size;             // lifecycle.batch_size: customers per transaction of a tick
    int backfill_at_once;       // lifecycle.backfill_at_once: rows that attach() takes in itself
    int backfill_batch;         // lifecycle.backfill_batch: rows per transaction of a backfill
    int backfill_rate;          // lifecycle.backfill_rate: rows a second, 0: no limit
    int on_error;               // lifecycle.on_error
    int settle;                 // lifecycle.settle
    int settle_memory;          // lifecycle.settle_memory, kB: what a transaction may keep for its commit
    char* fault;                // lifecycle.fault: fault injection for tests
    char* clock;                // lifecycle.clock
};

enum OnError { kQuarantine, kRaise };
enum Settle { kAtStatement, kAtCommit };

extern Settings settings;

void define_settings();

}  // namespace lifecycle::pg
