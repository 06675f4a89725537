// The launcher: finds the databases that have the extension and keeps a worker for each.
#include <utility>

#include "pg/array.hpp"
#include "pg/catalog.hpp"
#include "pg/settings.hpp"
#include "worker/worker.hpp"

extern "C" {
PGDLLEXPORT void lifecycle_launcher_main(Datum);
}

namespace lifecycle::worker {

namespace {

constexpr long kLookForDatabases = 60000;  // ms
constexpr long kRestartDelay = 5000;       // ms, after a worker has died

object_access_hook_type previous_access = nullptr;

struct Child {
    Oid database;
    BackgroundWorkerHandle* handle;
    TimestampTz started;
    bool done;  // it has looked and found no extension
};

pg::Array<Child> children;

Oid being_dropped = InvalidOid;
bool was_wanted = false;

// Once it is gone its slot is free. If it stays, because somebody was connected for example, so does its worker.
void at_end_of_drop(XactEvent event, void*) {
    if (being_dropped == InvalidOid || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) return;
    int launcher = -1;
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    pg::WorkerSlot* slot = pg::find_slot(being_dropped);
    bool stays = event == XACT_EVENT_ABORT && was_wanted;
    if (slot == nullptr && stays) slot = pg::find_slot(InvalidOid);  // the worker has left it
    if (slot != nullptr) {
        slot->database = being_dropped;
        slot->wanted = stays;
        if (stays) launcher = pg::shared()->launcher_latch_owner;
        pg::free_if_unused(slot);
    }
    LWLockRelease(pg::shared()->lock);
    being_dropped = InvalidOid;
    pg::wake(launcher);
}

void watch_drop(Oid database) {
    static bool registered = false;
    if (!std::exchange(registered, true)) RegisterXactCallback(at_end_of_drop, nullptr);
    LWLockAcquire(pg::shared()->lock, LW_SHARED);
    pg::WorkerSlot* slot = pg::find_slot(database);
    was_wanted = slot != nullptr && slot->wanted;
    LWLockRelease(pg::shared()->lock);
    being_dropped = database;
}

// DROP DATABASE waits for the other sessions of the database and ends none of them but autovacuum's, so ours must go by itself.
void at_drop(ObjectAccessType access, Oid class_id, Oid object, int sub, void* arg) {
    if (previous_access) previous_access(access, class_id, object, sub, arg);
    if (access != OAT_DROP || class_id != DatabaseRelationId || pg::shared() == nullptr) return;
    watch_drop(object);
    for (int tries = 0; tries < 500; ++tries) {
        LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
        pg::WorkerSlot* slot = pg::find_slot(object);
        int pids[] = {slot == nullptr ? 0 : slot->pid, slot == nullptr ? 0 : slot->backfill_pid};
        if (slot != nullptr) slot->wanted = false;
        LWLockRelease(pg::shared()->lock);
        if (pids[0] == 0 && pids[1] == 0) return;
        for (int pid : pids) {
            if (tries == 0 && pid != 0) kill(pid, SIGTERM);
        }
        pg_usleep(10000);
        CHECK_FOR_INTERRUPTS();
    }
}

// The databases one can connect to; known only from inside a transaction.
pg::Array<Oid> databases() {
    pg::Array<Oid> found;
    MemoryContext caller = CurrentMemoryContext;
    StartTransactionCommand();
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    HeapTuple tuple;
    while ((tuple = heap_getnext(scan, ForwardScanDirection)) != nullptr) {
        auto* database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        if (!database->datallowconn || database->datistemplate) continue;
        MemoryContext inner = MemoryContextSwitchTo(caller);
        found.push(database->oid);
        MemoryContextSwitchTo(inner);
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    CommitTransactionCommand();
    MemoryContextSwitchTo(caller);
    return found;
}

void start(Child* child) {
    BackgroundWorker worker{};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;  // the launcher decides: its database may be gone
    worker.bgw_main_arg = ObjectIdGetDatum(child->database);
    worker.bgw_notify_pid = MyProcPid;
    strlcpy(worker.bgw_library_name, "pg_lifecycle", sizeof worker.bgw_library_name);
    strlcpy(worker.bgw_function_name, "lifecycle_worker_main", sizeof worker.bgw_function_name);
    strlcpy(worker.bgw_type, "pg_lifecycle worker", sizeof worker.bgw_type);
    snprintf(worker.bgw_name, sizeof worker.bgw_name, "pg_lifecycle worker for database %u", child->database);
    child->started = GetCurrentTimestamp();
    child->done = false;
    if (RegisterDynamicBackgroundWorker(&worker, &child->handle)) return;
    child->handle = nullptr;
    ereport(LOG, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("no slot for a pg_lifecycle worker"),
            errhint("Raise max_worker_processes."));
}

bool is_running(const Child& child) {
    pid_t pid;
    return child.handle != nullptr && GetBackgroundWorkerPid(child.handle, &pid) != BGWH_STOPPED;
}

bool is_wanted(Oid database) {
    LWLockAcquire(pg::shared()->lock, LW_SHARED);
    pg::WorkerSlot* slot = pg::find_slot(database);
    bool wanted = slot != nullptr && slot->wanted;
    LWLockRelease(pg::shared()->lock);
    return wanted;
}

Child* child_for(Oid database) {
    for (Child& child : children) {
        if (child.database == database) return &child;
    }
    return &children.push({database, nullptr, 0, false});
}

// Starts what should run and does not. Returns how long to sleep, in ms.
long look_around() {
    long sleep = kLookForDatabases;
    pg::Array<Oid> found = databases();
    for (Oid database : found) {
        Child* child = child_for(database);
        if (is_running(*child)) continue;
        bool first = child->started == 0;
        bool wanted = is_wanted(database);
        if (!first && !wanted) continue;  // it looked and found no extension; CREATE EXTENSION will say so
        if (!first && !TimestampDifferenceExceeds(child->started, GetCurrentTimestamp(), kRestartDelay)) {
            sleep = Min(sleep, kRestartDelay);
            continue;
        }
        if (child->handle != nullptr) pfree(child->handle);
        start(child);
    }
    if (found.data != nullptr) pfree(found.data);
    return sleep;
}

void leave(int, Datum) {
    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    pg::shared()->launcher_latch_owner = -1;
    LWLockRelease(pg::shared()->lock);
}

}  // namespace

void install() {
    pg::request_shared_memory();
    previous_access = object_access_hook;
    object_access_hook = at_drop;
    if (IsBinaryUpgrade) return;  // pg_upgrade wants the databases to itself

    BackgroundWorker launcher{};
    launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
    launcher.bgw_restart_time = 5;
    strlcpy(launcher.bgw_library_name, "pg_lifecycle", sizeof launcher.bgw_library_name);
    strlcpy(launcher.bgw_function_name, "lifecycle_launcher_main", sizeof launcher.bgw_function_name);
    strlcpy(launcher.bgw_type, "pg_lifecycle launcher", sizeof launcher.bgw_type);
    strlcpy(launcher.bgw_name, "pg_lifecycle launcher", sizeof launcher.bgw_name);
    RegisterBackgroundWorker(&launcher);
}

}  // namespace lifecycle::worker

using namespace lifecycle;

void lifecycle_launcher_main(Datum) {
    pqsignal(SIGTERM, die);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);

    LWLockAcquire(pg::shared()->lock, LW_EXCLUSIVE);
    pg::shared()->launcher_latch_owner = pg::my_process_number();
    LWLockRelease(pg::shared()->lock);
    before_shmem_exit(worker::leave, 0);

    MemoryContextSwitchTo(TopMemoryContext);
    for (;;) {
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
        }
        long sleep = pg::settings.worker ? worker::look_around() : worker::kLookForDatabases;
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep, pg::worker_wait_event());
    }
}
