#include "pg/rehearsal.hpp"

#include "pg/clock.hpp"

namespace lifecycle::pg {

namespace {
constexpr int kUndone = MAKE_SQLSTATE('L', 'C', '0', '0', '2');

bool rehearsing = false;
}  // namespace

bool is_rehearsing() { return rehearsing; }

namespace detail {

void rehearse(const char* what, Body body, void* arg) {
    PreventCommandIfReadOnly(what);
    TimestampTz clock = frozen_clock();
    bool outer = rehearsing;
    rehearsing = true;
    PG_TRY();
    {
        ErrorData* error = pg::protect([&] {
            body(arg);
            ereport(ERROR, errcode(kUndone), errmsg_internal("undone"));
        });
        if (error->sqlerrcode != kUndone) ReThrowError(error);
        FreeErrorData(error);
    }
    PG_FINALLY();
    {
        rehearsing = outer;
        freeze_clock(clock);
    }
    PG_END_TRY();
}

}  // namespace detail

}  // namespace lifecycle::pg
