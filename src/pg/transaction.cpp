#include "pg/transaction.hpp"

#include <cstring>

#include "pg/rehearsal.hpp"
#include "pg/text.hpp"

namespace lifecycle::pg {

namespace {

TransactionEnd end{};

// In the transaction's memory, which is gone when it has ended.
struct Notice {
    Notice* next;
    const char* channel;
    const char* payload;
};
Notice* notices = nullptr;
bool registered = false;

// What a process publishes of its subtransactions has room for 64 (PGPROC_MAX_CACHED_SUBXIDS). The other half is left to the shop.
constexpr int kManySubtransactions = PGPROC_MAX_CACHED_SUBXIDS / 2;

void transaction_event(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
        case XACT_EVENT_PRE_PREPARE:
            if (end.before_commit != nullptr) end.before_commit();
            for (Notice* n = event == XACT_EVENT_PRE_COMMIT ? notices : nullptr; n != nullptr; n = n->next) Async_Notify(n->channel, n->payload);
            notices = nullptr;
            break;
        case XACT_EVENT_COMMIT:
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            if (end.at_end != nullptr) end.at_end();
            notices = nullptr;
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

void notify_at_commit(const char* channel, std::string_view payload) {
    if (is_rehearsing()) return;
    for (Notice* n = notices; n != nullptr; n = n->next) {
        if (strcmp(n->channel, channel) == 0 && payload == n->payload) return;
    }
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    auto* notice = static_cast<Notice*>(palloc(sizeof(Notice)));
    *notice = {notices, pstrdup(channel), to_cstring(payload)};
    MemoryContextSwitchTo(caller);
    notices = notice;
    register_callbacks();
}

void have_log_written() { XLogSetAsyncXactLSN(GetXLogInsertRecPtr()); }

bool has_many_subtransactions() {
    return MyProc->subxidStatus.overflowed || MyProc->subxidStatus.count >= kManySubtransactions;
}

}  // namespace lifecycle::pg

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_notify_at_commit) {
    pg::notify_at_commit(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))), pg::view(PG_GETARG_DATUM(1)));
    PG_RETURN_VOID();
}
