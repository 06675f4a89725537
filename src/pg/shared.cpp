#include "pg/shared.hpp"

#include "pg/rehearsal.hpp"

namespace lifecycle::pg {

namespace {

Shared* state = nullptr;
shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

rules::Instant due_at_commit = rules::kNever;
bool launcher_at_commit = false;
bool callback_registered = false;

void request() {
    if (previous_request) previous_request();
    RequestAddinShmemSpace(sizeof(Shared));
    RequestNamedLWLockTranche("pg_lifecycle", 1);
}

void startup() {
    if (previous_startup) previous_startup();
    bool found;
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    state = static_cast<Shared*>(ShmemInitStruct("pg_lifecycle", sizeof(Shared), &found));
    if (!found) {
        memset(state, 0, sizeof *state);
        state->lock = &GetNamedLWLockTranche("pg_lifecycle")->lock;
        state->launcher_latch_owner = -1;
        for (WorkerSlot& slot : state->slots) slot.latch_owner = -1;
    }
    LWLockRelease(AddinShmemInitLock);
}

// A worker that is at work looks once more before it sleeps if something is due by then. It is told when the rest is due instead, or with mailers
// that acknowledge all the time it would never get to sleep.
bool tell_when(WorkerSlot* slot) {
    if (!slot->at_work || due_at_commit <= GetCurrentTimestamp()) return false;
    slot->asked_for = Min(slot->asked_for, due_at_commit);
    return true;
}

// Nothing in here may fail: an error while a transaction commits brings the whole server down.
void notify_workers() {
    int latch_owner = -1;
    int launcher = -1;
    LWLockAcquire(state->lock, LW_EXCLUSIVE);
    WorkerSlot* slot = find_slot(MyDatabaseId);
    if (due_at_commit != rules::kNever && slot != nullptr && due_at_commit < slot->sleeps_until && !tell_when(slot)) latch_owner = slot->latch_owner;
    if (launcher_at_commit || (slot == nullptr && due_at_commit != rules::kNever)) launcher = state->launcher_latch_owner;
    LWLockRelease(state->lock);
    wake(latch_owner);
    wake(launcher);
}

void at_transaction_end(XactEvent event, void*) {
    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE) return;
    if (event == XACT_EVENT_COMMIT && state != nullptr && (due_at_commit != rules::kNever || launcher_at_commit))
        notify_workers();
    due_at_commit = rules::kNever;
    launcher_at_commit = false;
}

void register_callback() {
    if (callback_registered) return;
    RegisterXactCallback(at_transaction_end, nullptr);
    callback_registered = true;
}

}  // namespace

Shared* shared() { return state; }

void request_shared_memory() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup;
}

void wake_worker_at_commit(rules::Instant due) {
    if (state == nullptr || is_rehearsing()) return;
    register_callback();
    if (due < due_at_commit) due_at_commit = due;
}

void wake_launcher_at_commit() {
    if (state == nullptr) return;
    register_callback();
    launcher_at_commit = true;
}

WorkerSlot* find_slot(Oid database) {
    for (WorkerSlot& slot : state->slots) {
        if (slot.database == database) return &slot;
    }
    return nullptr;
}

void free_if_unused(WorkerSlot* slot) {
    if (slot->wanted || slot->pid != 0 || slot->backfill_pid != 0) return;
    memset(slot, 0, sizeof *slot);
    slot->latch_owner = -1;
}

void wake(int latch_owner) {
    // By number and not by address: the array of processes is always there, a latch that was remembered may not be.
    if (latch_owner >= 0) SetLatch(&process_by_number(latch_owner)->procLatch);
}

}  // namespace lifecycle::pg
