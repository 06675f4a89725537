#include "pg/guard.hpp"

#include "pg/catalog.hpp"
#include "pg/late_lock.hpp"

namespace lifecycle::pg {

namespace {
int guc_level = 0;  // of the innermost as_owner() that fixed its search_path; 0: none has
}

bool passes_through(int sqlstate) {
    switch (sqlstate) {
        case ERRCODE_QUERY_CANCELED:
        case ERRCODE_ADMIN_SHUTDOWN:
        case ERRCODE_CRASH_SHUTDOWN:
        case ERRCODE_CANNOT_CONNECT_NOW:
        case ERRCODE_DATABASE_DROPPED:
        case ERRCODE_IDLE_SESSION_TIMEOUT:
        case ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT:
            return true;
        default:
            // Class 40, transaction rollback: serialization failure, deadlock.
            return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK);
    }
}

void fix_settings() {
    if (guc_level != 0) return;
    guc_level = NewGUCNestLevel();
    auto set = [](const char* name, const char* value) {
        set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    };
    set("search_path", "pg_catalog, pg_temp");
    // What a text means must not depend on who compiles it first.
    set("TimeZone", "UTC");
    set("DateStyle", "ISO, MDY");
    // These are seldom other than usual, and each costs as much.
    if (IntervalStyle != INTSTYLE_POSTGRES) set("IntervalStyle", "postgres");
    if (!standard_conforming_strings) set("standard_conforming_strings", "on");
    if (Transform_null_equals) set("transform_null_equals", "off");
    if (!Array_nulls) set("array_nulls", "on");
    // For what functions of ours run; how our own statements are planned, see statement.cpp.
    set("enable_seqscan", "off");
    set("jit", "off");
}

namespace detail {

// The frames of PG_TRY below hold no C++ object at all.

ErrorData* protect(Body body, void* arg) {
    MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    ErrorData* volatile error = nullptr;
    int outer_level = guc_level;

    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    PG_TRY();
    {
        body(arg);
        ReleaseCurrentSubTransaction();
        MemoryContextSwitchTo(context);
        CurrentResourceOwner = owner;
    }
    PG_CATCH();
    {
        guc_level = outer_level;
        forget_late_lock();
        MemoryContextSwitchTo(context);
        error = CopyErrorData();
        FlushErrorState();
        // Before a re-throw too: an error that meets our subtransaction still open would be taken to have ended a savepoint.
        RollbackAndReleaseCurrentSubTransaction();
        MemoryContextSwitchTo(context);
        CurrentResourceOwner = owner;
        if (passes_through(error->sqlerrcode)) ReThrowError(error);
    }
    PG_END_TRY();
    return error;
}

ErrorData* attempt(Body body, void* arg) {
    MemoryContext context = CurrentMemoryContext;
    ErrorData* volatile error = nullptr;

    PG_TRY();
    {
        body(arg);
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        if (passes_through(geterrcode()) || geterrcode() == kRowWasChanged) PG_RE_THROW();
        error = CopyErrorData();
        FlushErrorState();
    }
    PG_END_TRY();
    return error;
}

void as_owner(Body body, void* arg) {
    Oid user;
    int security;
    int outer_level = guc_level;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(extension_owner(), security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    guc_level = 0;

    // On an error the (sub)transaction's abort restores the user and the settings; only our own note of it is left to mend.
    PG_TRY();
    {
        body(arg);
    }
    PG_CATCH();
    {
        guc_level = outer_level;
        PG_RE_THROW();
    }
    PG_END_TRY();

    if (guc_level != 0) AtEOXact_GUC(true, guc_level);
    guc_level = outer_level;
    SetUserIdAndSecContext(user, security);
}

// On an error the (sub)transaction's abort restores user and settings.
void as_owner_of(Oid relation, Body body, void* arg) {
    Relation table = relation_open(relation, AccessShareLock);
    Oid owner = table->rd_rel->relowner;
    relation_close(table, NoLock);
    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(owner, security | SECURITY_RESTRICTED_OPERATION);
    int level = NewGUCNestLevel();
    set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    body(arg);
    AtEOXact_GUC(true, level);
    SetUserIdAndSecContext(user, security);
}

}  // namespace detail

}  // namespace lifecycle::pg
