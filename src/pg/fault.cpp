#include "pg/fault.hpp"

#include <cstring>

namespace lifecycle::pg {

const char* armed_fault = nullptr;

// Whoever is to wait at a point does so for this advisory lock, which the test holds.
constexpr int64 kLockOfWaiting = 4711;

void arm_fault(const char* setting) { armed_fault = setting != nullptr && *setting != '\0' ? setting : nullptr; }

void raise_fault(const char* point) {
    size_t n = strlen(point);
    if (strncmp(armed_fault, point, n) != 0 || armed_fault[n] != ':') return;
    const char* kind = armed_fault + n + 1;
    armed_fault = nullptr;  // once, or what handles the error would meet it again

    if (strcmp(kind, "cancel") == 0)
        ereport(ERROR, errcode(ERRCODE_QUERY_CANCELED), errmsg("canceling statement at fault point \"%s\"", point));
    if (strcmp(kind, "wait") == 0) {
        DirectFunctionCall1(pg_advisory_lock_shared_int8, Int64GetDatum(kLockOfWaiting));
        DirectFunctionCall1(pg_advisory_unlock_shared_int8, Int64GetDatum(kLockOfWaiting));
        return;
    }
    if (strcmp(kind, "memory") == 0) {
        // A request that no allocator grants, so that the error comes from where a real one would.
        MemoryContextAllocHuge(CurrentMemoryContext, static_cast<Size>(1) << 47);
    }
    ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("error at fault point \"%s\"", point));
}

}  // namespace lifecycle::pg
