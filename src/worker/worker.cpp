// A database's worker.
#include "worker/worker.hpp"

#include "customer/shop.hpp"
#include "customer/store.hpp"
#include "engine/engine.hpp"
#include "outbox/enqueue.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"
#include "source/backfill.hpp"
#include "source/inbox.hpp"
#include "source/pending.hpp"

extern "C" {
PGDLLEXPORT void lifecycle_worker_main(Datum);
}

namespace lifecycle::worker {

namespace {

constexpr long kTryInboxAgain = 500;  // ms

pg::WorkerSlot* slot = nullptr;  // ours; stays where it is while we live

// Takes the database's slot, if there is one left and no other worker has it.
bool take_slot() {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot = pg::find_slot(MyDatabaseId);
    if (slot == nullptr) slot = pg::find_slot(InvalidOid);
    bool taken = slot == nullptr || slot->pid != 0;
    if (!taken) {
        slot->database = MyDatabaseId;
        slot->pid = MyProcPid;
        slot->wanted = true;
        slot->latch_owner = pg::my_process_number();
        slot->sleeps_until = rules::kNever;
        slot->at_work = false;
        slot->started_at = GetCurrentTimestamp();
    }
    LWLockRelease(pg::shared()->lock);
    return !taken;
}

void leave(int, Datum) {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot->pid = 0;
    slot->latch_owner = -1;
    pg::free_if_unused(slot);
    LWLockRelease(pg::shared()->lock);
}

// All slots are taken. It matters only where there is something to do.
void say_that_there_is_no_slot() {
    begin("lifecycle.worker_status()");
    bool needed = pg::extension_exists();
    commit();
    if (needed) no_slot(LOG);
}

// There is nothing to do here, until CREATE EXTENSION says otherwise.
[[noreturn]] void retire() {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot->wanted = false;
    LWLockRelease(pg::shared()->lock);
    proc_exit(0);
}

}  // namespace

void no_slot(int level) {
    ereport(level, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("no pg_lifecycle worker for database %u: too many databases have one", MyDatabaseId),
            errdetail("There are %d.", pg::kMaxDatabases),
            errhint("Drop the extension where it is not needed, then SELECT lifecycle.start_worker(); or call lifecycle.tick() by a scheduler of your own."));
}

void begin(const char* activity) {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    pgstat_report_activity(STATE_RUNNING, activity);
}

void commit() {
    PopActiveSnapshot();
    CommitTransactionCommand();
    pgstat_report_stat(false);
    pgstat_report_activity(STATE_IDLE, nullptr);
}

namespace {

// How many customers to take at once: one by one after an error, to find the one that it is about.
int batch_limit = 0;

void begin_or_retire(const char* activity) {
    begin(activity);
    if (pg::extension_exists()) return;
    commit();
    retire();
}

// A restore loads tables one by one, while we run: who takes the half of them for the whole does things twice, or is in the way of what is still
// to come. Only arm() says that all of it is there.
int64 look_whether_armed() {
    begin_or_retire("lifecycle.is_armed()");
    bool armed = false;
    pg::as_owner([&] {
        pg::open_spi();
        armed = customer::is_armed();
        pg::close_spi();
    });
    commit();
    return armed;
}

// One batch of the inbox.
int64 fold() {
    begin_or_retire("lifecycle.tick(): inbox");
    int64 done = source::fold_inbox(pg::settings.batch_size);
    commit();
    slot->ticks++;
    return done;
}

int64 tick() {
    int64 done = 0;
    begin_or_retire("lifecycle.tick()");
    customer::Position from_the_start;
    done = engine::tick_once(batch_limit > 0 ? batch_limit : pg::settings.batch_size, &from_the_start);
    commit();
    slot->ticks++;
    slot->customers += done;
    slot->last_tick_at = GetCurrentTimestamp();
    if (batch_limit > 0 && (--batch_limit == 0 || done == 0)) batch_limit = 0;
    return done;
}

// One customer that cannot be brought up to date must not keep the others from it.
void recover() {
    if (batch_limit == 0) {
        batch_limit = 1;
        return;
    }
    begin("lifecycle.tick()");
    engine::postpone_first();
    commit();
}

// Runs one transaction of ours. False: it has failed, and the log says why.
bool survives(int64 (*transaction)(), int64* done) {
    MemoryContext context = CurrentMemoryContext;
    volatile bool failed = false;
    volatile int64 result = 0;
    PG_TRY();
    {
        result = transaction();
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        HOLD_INTERRUPTS();
        EmitErrorReport();
        AbortCurrentTransaction();
        FlushErrorState();
        RESUME_INTERRUPTS();
        failed = true;
    }
    PG_END_TRY();
    *done = result;
    if (failed) slot->errors++;
    CHECK_FOR_INTERRUPTS();
    return !failed;
}

// False: something is left for later, because somebody else was in the way.
bool empty_inbox() {
    int64 done = 0;
    do {
        if (!survives(fold, &done)) return false;
    } while (done > 0);
    return done != source::kLeftForLater;
}

int64 count_baskets() {
    begin_or_retire("lifecycle.tick(): baskets");
    int64 done = engine::fold_baskets();
    commit();
    slot->ticks++;
    return done;
}

int64 tell_what_was_sent() {
    begin_or_retire("lifecycle.tick(): what was sent");
    int64 done = engine::take_in_sent();
    commit();
    slot->ticks++;
    return done;
}

// Mailers send many messages in a second: once a second is enough.
void see_to_what_was_sent() {
    static TimestampTz next = 0;
    TimestampTz present = GetCurrentTimestamp();
    if (present < next) return;
    next = present + USECS_PER_SEC;
    int64 done = 0;
    do {
        if (!survives(tell_what_was_sent, &done)) return;
    } while (done > 0);
}

void tick_until_nothing_is_due() {
    int64 done = 0;
    do {
        if (survives(tick, &done)) continue;
        recover();
        done = 1;
    } while (done > 0);
}

// Sees to it that a process of its own takes in the tables that wait for it.
void see_to_backfill() {
    static BackgroundWorkerHandle* handle = nullptr;
    pid_t pid;
    if (handle != nullptr && GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED) return;
    begin("lifecycle.backfill");
    bool wanted = pg::extension_exists() && source::next_backfill() != nullptr;
    commit();
    if (!wanted) return;
    if (handle != nullptr) pfree(handle);
    handle = nullptr;
    if (!start_backfill_worker(&handle))
        ereport(LOG, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("no slot for a pg_lifecycle backfill worker"),
                errhint("Raise max_worker_processes, or CALL lifecycle.backfill()."));
}

void begin_work() {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot->sleeps_until = rules::kNever;
    slot->at_work = true;
    slot->asked_for = rules::kNever;
    LWLockRelease(pg::shared()->lock);
}

// When the earliest is due of what was committed while we worked. From here on a commit wakes us if it is due earlier than anything else.
Instant end_work(Instant due, Instant now) {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    Instant asked_for = slot->asked_for;
    slot->at_work = false;
    slot->sleeps_until = due > now ? Min(due, asked_for) : rules::kNever;
    LWLockRelease(pg::shared()->lock);
    return asked_for;
}

// Milliseconds until something is due, at most the nap.
long time_to_sleep(bool inbox_is_empty) {
    Instant due = rules::kNever;
    begin("lifecycle.next_due");
    if (pg::extension_exists()) due = engine::next_due();
    commit();
    pgstat_report_activity(STATE_IDLE, nullptr);

    Instant now = pg::now();
    Instant asked_for = end_work(due, now);
    if (asked_for <= now || (asked_for != rules::kNever && pg::clock_is_frozen())) return 0;
    // What is due and not to be had is locked by others, or this database is not armed.
    Instant next = due > now ? Min(due, asked_for) : asked_for;
    long nap = pg::settings.worker_nap;
    if (!inbox_is_empty && nap > kTryInboxAgain) nap = kTryInboxAgain;
    if (next == rules::kNever || pg::clock_is_frozen()) return nap;
    Instant left = next - now;
    return left < nap * 1000 ? static_cast<long>((left + 999) / 1000) : nap;
}

// Everything that there is to do now. How long to sleep then, in ms.
long work() {
    int64 armed = 0;
    if (!survives(look_whether_armed, &armed) || armed == 0) {
        end_work(rules::kNever, pg::now());
        return pg::settings.worker_nap;
    }
    bool inbox_is_empty = empty_inbox();
    see_to_what_was_sent();
    tick_until_nothing_is_due();
    see_to_backfill();
    // Some of it at a time: what is due comes first.
    int64 counted = 0;
    if (survives(count_baskets, &counted) && counted > 0) return 0;
    return time_to_sleep(inbox_is_empty);
}

}  // namespace

[[noreturn]] void run() {
    for (;;) {
        begin_work();
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
            if (!pg::settings.worker) proc_exit(0);
        }
        slot->wake_ups++;
        long sleep = work();
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep, pg::worker_wait_event());
    }
}

}  // namespace lifecycle::worker

using namespace lifecycle;

void lifecycle_worker_main(Datum database) {
    pqsignal(SIGTERM, die);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
    if (!worker::take_slot()) {
        if (worker::slot == nullptr) worker::say_that_there_is_no_slot();
        proc_exit(0);
    }
    before_shmem_exit(worker::leave, 0);
    MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "pg_lifecycle worker", ALLOCSET_DEFAULT_SIZES));
    worker::run();
}

// lifecycle.tick(): what the worker does, by hand and in this transaction.
LIFECYCLE_FUNCTION(lifecycle_tick) {
    source::settle_pending();
    while (source::fold_inbox(pg::settings.batch_size) > 0) CHECK_FOR_INTERRUPTS();
    while (engine::take_in_sent() > 0) CHECK_FOR_INTERRUPTS();
    int64 customers = 0;
    int64 some;
    customer::Position after;
    after.customer.reserve(64);
    outbox::begin_tick();
    do {
        some = engine::tick_once(pg::settings.batch_size, &after);
        customers += some;
        CHECK_FOR_INTERRUPTS();
    } while (some > 0);
    while (engine::fold_baskets() > 0) CHECK_FOR_INTERRUPTS();
    PG_RETURN_INT64(customers);
}

// lifecycle.worker_status(): the slot of this database.
LIFECYCLE_FUNCTION(lifecycle_worker_status) {
    TupleDesc layout;
    if (get_call_result_type(fcinfo, nullptr, &layout) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
    Datum values[8] = {};
    bool nulls[8] = {true, true, true, true, true, true, true, true};
    if (pg::shared() != nullptr) {
        LWLockAcquire(pg::shared()->lock, LW_SHARED);
        pg::WorkerSlot* found = pg::find_slot(MyDatabaseId);
        pg::WorkerSlot s = found == nullptr ? pg::WorkerSlot{} : *found;
        LWLockRelease(pg::shared()->lock);
        if (s.pid != 0) {
            values[0] = Int32GetDatum(s.pid);
            values[1] = TimestampTzGetDatum(s.started_at);
            values[2] = TimestampTzGetDatum(s.last_tick_at);
            values[3] = TimestampTzGetDatum(s.sleeps_until);
            values[4] = Int64GetDatum(s.ticks);
            values[5] = Int64GetDatum(s.wake_ups);
            values[6] = Int64GetDatum(s.customers);
            values[7] = Int64GetDatum(s.errors);
            for (bool& null : nulls) null = false;
            nulls[2] = s.last_tick_at == 0;
            nulls[3] = s.sleeps_until == rules::kNever;
        }
    }
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(layout), values, nulls)));
}

// lifecycle.start_worker(): at the commit of this transaction.
LIFECYCLE_FUNCTION(lifecycle_start_worker) {
    if (pg::shared() != nullptr) {
        LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
        pg::WorkerSlot* mine = pg::find_slot(MyDatabaseId);
        if (mine == nullptr) mine = pg::find_slot(InvalidOid);
        if (mine != nullptr) {
            mine->database = MyDatabaseId;
            mine->wanted = true;
        }
        LWLockRelease(pg::shared()->lock);
        if (mine == nullptr) worker::no_slot(WARNING);
        pg::wake_launcher_at_commit();
    }
    PG_RETURN_VOID();
}
