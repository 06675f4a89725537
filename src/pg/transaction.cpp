#include "pg/transaction.hpp"

#include "pg/rehearsal.hpp"

namespace lifecycle::pg {

namespace {

TransactionEnd end{};
const char* channel_to_notify = nullptr;
bool registered = false;

// What a process publishes of its subtransactions has room for 64 (PGPROC_MAX_CACHED_SUBXIDS). The other half is left to the shop.
constexpr int kManySubtransactions = PGPROC_MAX_CACHED_SUBXIDS / 2;

void transaction_event(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
        case XACT_EVENT_PRE_PREPARE:
            if (end.before_commit != nullptr) end.before_commit();
            if (event == XACT_EVENT_PRE_COMMIT && channel_to_notify != nullptr) Async_Notify(channel_to_notify, "");
            channel_to_notify = nullptr;
            break;
        case XACT_EVENT_COMMIT:
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            if (end.at_end != nullptr) end.at_end();
            channel_to_notify = nullptr;
            break;
        default:
            break;
    }
}

void subtransaction_event(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void*) {
    if (end.subtransaction_end == nullptr) return;
    if (event == SUBXACT_EVENT_COMMIT_SUB) end.subtransaction_end(false, own, parent);
    if (event == SUBXACT_EVENT_ABORT_SUB) end.subtransaction_end(true, own, parent);
}

void register_callbacks() {
    if (registered) return;
    RegisterXactCallback(transaction_event, nullptr);
    RegisterSubXactCallback(subtransaction_event, nullptr);
    registered = true;
}

}  // namespace

void at_transaction_end(const TransactionEnd& asked) {
    end = asked;
    register_callbacks();
}

void notify_at_commit(const char* channel) {
    if (is_rehearsing()) return;
    channel_to_notify = channel;
    register_callbacks();
}

bool has_many_subtransactions() {
    return MyProc->subxidStatus.overflowed || MyProc->subxidStatus.count >= kManySubtransactions;
}

}  // namespace lifecycle::pg
