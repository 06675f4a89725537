// The backfill worker: takes in, batch by batch, what was in large tables when they were attached, then ends. A process of its own, so that
// no timer waits for it. The database's worker starts it.
#include "pg/catalog.hpp"
#include "pg/settings.hpp"
#include "source/backfill.hpp"
#include "worker/worker.hpp"

extern "C" {
PGDLLEXPORT void lifecycle_backfill_worker_main(Datum);
}

namespace lifecycle::worker {

namespace {

pg::WorkerSlot* slot = nullptr;

void leave(int, Datum) {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot->backfill_pid = 0;
    pg::free_if_unused(slot);
    LWLockRelease(pg::shared()->lock);
}

// The slot is that of the database's worker. False: it has gone, or there is another of us.
bool take_slot() {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    slot = pg::find_slot(MyDatabaseId);
    bool taken = slot == nullptr || slot->backfill_pid != 0;
    if (!taken) slot->backfill_pid = MyProcPid;
    LWLockRelease(pg::shared()->lock);
    return !taken;
}

void read_configuration() {
    if (!ConfigReloadPending) return;
    ConfigReloadPending = false;
    ProcessConfigFile(PGC_SIGHUP);
    if (!pg::settings.worker) proc_exit(0);
}

// What step() is at, for the case that it fails.
char* name = nullptr;

// One transaction. False: there is nothing to do.
bool step() {
    begin("CALL lifecycle.backfill()");
    const char* next = pg::extension_exists() ? source::next_backfill() : nullptr;
    if (next != nullptr) {
        name = MemoryContextStrdup(TopMemoryContext, next);
        if (!source::backfill_step(next)) ereport(LOG, errmsg("the backfill of source \"%s\" is done", next));
    }
    commit();
    if (name == nullptr) return false;
    pfree(name);
    name = nullptr;
    return true;
}

void note_failure(const char* message) {
    if (name == nullptr) return;
    begin("CALL lifecycle.backfill()");
    if (pg::extension_exists()) source::note_failed_backfill(name, message);
    commit();
    pfree(name);
    name = nullptr;
}

}  // namespace

// Until all is done, or has failed a moment ago: then whoever started us does so again later.
void backfill() {
    MemoryContext context = CurrentMemoryContext;
    for (;;) {
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        read_configuration();
        ErrorData* volatile error = nullptr;
        volatile bool more = false;
        PG_TRY();
        {
            more = step();
        }
        PG_CATCH();
        {
            MemoryContextSwitchTo(context);
            error = CopyErrorData();
            HOLD_INTERRUPTS();
            EmitErrorReport();
            AbortCurrentTransaction();
            FlushErrorState();
            RESUME_INTERRUPTS();
        }
        PG_END_TRY();
        if (error != nullptr) {
            note_failure(error->message);
            FreeErrorData(error);
            continue;
        }
        if (!more) return;
    }
}

bool start_backfill_worker(BackgroundWorkerHandle** handle) {
    BackgroundWorker worker{};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
    worker.bgw_notify_pid = MyProcPid;
    strlcpy(worker.bgw_library_name, "pg_lifecycle", sizeof worker.bgw_library_name);
    strlcpy(worker.bgw_function_name, "lifecycle_backfill_worker_main", sizeof worker.bgw_function_name);
    strlcpy(worker.bgw_type, "pg_lifecycle backfill", sizeof worker.bgw_type);
    snprintf(worker.bgw_name, sizeof worker.bgw_name, "pg_lifecycle backfill for database %u", MyDatabaseId);
    return RegisterDynamicBackgroundWorker(&worker, handle);
}

}  // namespace lifecycle::worker

using namespace lifecycle;

void lifecycle_backfill_worker_main(Datum database) {
    pqsignal(SIGTERM, die);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
    if (!worker::take_slot()) proc_exit(0);
    before_shmem_exit(worker::leave, 0);
    MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "pg_lifecycle backfill worker", ALLOCSET_DEFAULT_SIZES));
    worker::backfill();
    proc_exit(0);
}
