// Backfill: what is in a table already when it is attached; and taking a source back.
//
// A small table is taken in by attach() itself. A large one goes through these states, each step a transaction:
//
//     waiting -> reading -> taking in, a batch a step -> catching up, a batch a step -> done
//
// From the commit of attach() until "done", what the shop changes goes to the inbox and waits there for the backfill. Reading sees the table
// under one snapshot; it drops the letters that this snapshot sees. Row and letter become visible with the commit of one transaction, so what
// the rows do not show is in the letters that are left: nothing is missed or counted twice. Taking in writes down, with each batch, up
// to which customer it has come; where a run was interrupted, the next one first takes in the letters for those customers, then reads the
// table again for the others.
#include "source/backfill.hpp"

#include <algorithm>

#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pg/shared.hpp"
#include "pg/statement.hpp"
#include "source/history.hpp"
#include "source/inbox.hpp"
#include "source/pending.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"

namespace lifecycle::source {

namespace {

constexpr int64 kRowsAtOnce = 100000;       // memory of a backfill inside attach()
constexpr int kChangesPerStep = 1000;
constexpr long kBusy = 100;                 // ms to wait for whoever is at it, or holds a lock
constexpr long kBetweenNotices = 10000;     // ms

pg::Statement begin_backfill{
    .sql = "INSERT INTO lifecycle.backfill AS b (source, state, total, rows_done, started_at, run_started_at, updated_at, finished_at)"
           " VALUES ($1, $2, $3, $4, $5, $5, clock_timestamp(), CASE $2 WHEN 'done' THEN clock_timestamp() END)"
           " ON CONFLICT ON CONSTRAINT backfill_pkey DO UPDATE SET (state, total, rows_done, customers_up_to, started_at, run_started_at,"
           " run_began_with, updated_at, finished_at, error, failed_at) = (EXCLUDED.state, EXCLUDED.total, EXCLUDED.rows_done, NULL,"
           " EXCLUDED.started_at, EXCLUDED.run_started_at, 0, EXCLUDED.updated_at, EXCLUDED.finished_at, NULL, NULL)",
    .types = {TEXTOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID}};
pg::Statement lock_backfill{
    .sql = "SELECT b.state, b.customers_up_to, s.attached_at"
           " FROM lifecycle.backfill AS b JOIN lifecycle.source AS s ON s.name = b.source WHERE b.source = $1 FOR UPDATE OF b",
    .types = {TEXTOID}};
pg::Statement begin_run{
    .sql = "UPDATE lifecycle.backfill AS b SET state = 'reading', run_started_at = clock_timestamp() WHERE b.source = $1",
    .types = {TEXTOID}};
pg::Statement table_read{
    .sql = "UPDATE lifecycle.backfill AS b SET state = 'taking in', total = $2, rows_done = $3, run_began_with = $3, error = NULL,"
           " failed_at = NULL, updated_at = clock_timestamp() WHERE b.source = $1",
    .types = {TEXTOID, INT8OID, INT8OID}};
pg::Statement batch_done{
    .sql = "UPDATE lifecycle.backfill AS b SET rows_done = $2, customers_up_to = $3, updated_at = clock_timestamp() WHERE b.source = $1",
    .types = {TEXTOID, INT8OID, TEXTOID}};
pg::Statement all_read{.sql = "UPDATE lifecycle.backfill AS b SET state = 'catching up' WHERE b.source = $1", .types = {TEXTOID}};
pg::Statement finish{
    .sql = "UPDATE lifecycle.backfill AS b SET state = 'done', finished_at = clock_timestamp(), customers_up_to = NULL, error = NULL,"
           " failed_at = NULL WHERE b.source = $1",
    .types = {TEXTOID}};
pg::Statement show_progress{
    .sql = "SELECT format('%s of %s rows of \"%s\" are taken in, %s a second%s', p.rows_done, p.total, p.source, coalesce(p.rate, 0),"
           "              ', ' || date_trunc('second', p.time_left) || ' left') FROM lifecycle.progress AS p WHERE p.source = $1",
    .types = {TEXTOID}};
pg::Statement is_unfinished{
    .sql = "SELECT FROM lifecycle.backfill AS b WHERE b.source = $1 AND b.state <> 'done'", .types = {TEXTOID}};
pg::Statement next_unfinished{
    .sql = "SELECT b.source FROM lifecycle.backfill AS b"
           " WHERE b.state <> 'done' AND (b.failed_at IS NULL OR b.failed_at < clock_timestamp() - interval '10 seconds')"
           " ORDER BY b.started_at LIMIT 1"};
pg::Statement note_failure{
    .sql = "UPDATE lifecycle.backfill AS b SET error = $2, failed_at = clock_timestamp() WHERE b.source = $1", .types = {TEXTOID, TEXTOID}};

uint64 run(pg::Statement& statement, std::span<const Datum> args) {
    uint64 rows = 0;
    pg::as_owner([&] {
        pg::open_spi();
        rows = statement.run(args);
        pg::close_spi();
    });
    return rows;
}

// What this session keeps of the backfill that it is at.
struct Session {
    MemoryContext context;  // nullptr: it is at none
    const char* name;
    LOCKTAG lock;      // of the source by its number: one of the same name may have been detached
    bool announced;    // "reading" has been committed
    History* history;  // what has been read and not been taken in
    char* up_to;       // the last key (customer, see history.hpp) that has been taken in; nullptr: none
    TimestampTz pause_until;
    TimestampTz next_notice;
};
Session session{};

// What is kept is worth something only while every step commits.
void leave() {
    if (session.context == nullptr) return;
    if (session.history != nullptr) close_history(session.history);
    LockRelease(&session.lock, ExclusiveLock, true);
    MemoryContext context = session.context;
    session = Session{};
    MemoryContextDelete(context);
}

void at_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_ABORT) leave();
}

// One session at a time; the lock lasts from step to step. False: another has it.
bool enter(const char* name, const Source* source) {
    static bool registered = false;
    if (!registered) RegisterXactCallback(at_transaction_end, nullptr);
    registered = true;
    LOCKTAG lock;
    SET_LOCKTAG_OBJECT(lock, MyDatabaseId, pg::table_oid(pg::Table::source), static_cast<uint32>(source->id), 0);
    if (session.context != nullptr && memcmp(&lock, &session.lock, sizeof lock) == 0) return true;
    leave();
    if (LockAcquire(&lock, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL) return false;
    session.lock = lock;
    session.context = AllocSetContextCreate(TopMemoryContext, "pg_lifecycle backfill", ALLOCSET_DEFAULT_SIZES);
    session.name = MemoryContextStrdup(session.context, name);
    return true;
}

void nap(long ms) {
    TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (left <= 0) return;
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, pg::worker_wait_event());
        ResetLatch(MyLatch);
    }
}

// Whoever has waited for a lock for less than deadlock_timeout gives way before a deadlock costs the shop a transaction.
template <class F>
void giving_way(F&& body) {
    int level = NewGUCNestLevel();
    char timeout[20];
    snprintf(timeout, sizeof timeout, "%d", std::clamp(DeadlockTimeout / 2, 1, 200));
    set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    body();
    AtEOXact_GUC(true, level);
}

// False: a lock was not to be had, and nothing has been done.
bool unless_locked_out(ErrorData* error) {
    if (error == nullptr) return true;
    if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) ReThrowError(error);
    FreeErrorData(error);
    return false;
}

// A table that is attached meanwhile may need to know who placed which order: it looks when no order is half-way.
void keep_out_attach(const Source* source) { LockRelationOid(source->relation, RowExclusiveLock); }

// History sends nothing. What was placed after the table was attached, and read all the same, is none.
void take_in_history(std::span<Fact> facts, Instant attached_at) {
    pg::Array<Fact> history, fresh;
    for (const Fact& fact : facts) (fact.at <= attached_at ? history : fresh).push(fact);
    for (;;) {
        ErrorData* error = nullptr;
        giving_way([&] { error = protect_and_retry([&](engine::Options) {
            engine::take_in(history.span(), {.silent = true});
            engine::take_in(fresh.span(), {});
        }); });
        if (unless_locked_out(error)) return;
        nap(kBusy);
    }
}

void tell_progress(bool finished) {
    TimestampTz now = GetCurrentTimestamp();
    if (!finished && now < session.next_notice) return;
    session.next_notice = TimestampTzPlusMilliseconds(now, kBetweenNotices);
    MemoryContext caller = CurrentMemoryContext;
    char* text = nullptr;
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = CStringGetTextDatum(session.name);
        if (show_progress.run({&arg, 1}) > 0) {
            MemoryContext inner = MemoryContextSwitchTo(caller);
            text = pg::to_cstring(pg::view(pg::cell(0, 1).value));
            MemoryContextSwitchTo(inner);
        }
        pg::close_spi();
    });
    if (text != nullptr) ereport(NOTICE, errmsg("%s", text));
}

// The row of lifecycle.backfill, locked until this step commits.
struct State {
    std::string_view state;
    bool any_customer;
    std::string_view up_to;
    Instant attached_at;
};

State lock_state(const char* name) {
    State s{};
    MemoryContext caller = CurrentMemoryContext;
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = CStringGetTextDatum(name);
        if (lock_backfill.run({&arg, 1}) == 0)
            ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("source \"%s\" has no backfill", name),
                    errhint("It was attached with backfill => false."));
        MemoryContext inner = MemoryContextSwitchTo(caller);
        s.state = pg::text_cell(0, 1);
        s.any_customer = !pg::cell(0, 2).null;
        s.up_to = pg::text_cell(0, 2);
        s.attached_at = DatumGetTimestampTz(pg::cell(0, 3).value);
        MemoryContextSwitchTo(inner);
        pg::close_spi();
    });
    return s;
}

bool is_where_we_are(const State& s) {
    if (session.history == nullptr) return false;
    return session.up_to == nullptr ? !s.any_customer : s.any_customer && s.up_to == session.up_to;
}

void remember_position(const std::string_view* customer) {
    if (session.up_to != nullptr) pfree(session.up_to);
    MemoryContext caller = MemoryContextSwitchTo(session.context);
    session.up_to = customer == nullptr ? nullptr : pg::to_cstring(*customer);
    MemoryContextSwitchTo(caller);
}

void forget_history() {
    if (session.history == nullptr) return;
    close_history(session.history);
    session.history = nullptr;
}

// Reads the table, for all customers or those that an earlier run has not come to.
void read(Source* source, const State& s) {
    Datum name = CStringGetTextDatum(session.name);
    forget_history();
    if (!session.announced) {
        run(begin_run, {&name, 1});
        session.announced = true;
        return;
    }
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    if (s.any_customer) {
        keep_out_attach(source);
        int changes = 0;
        ErrorData* error = nullptr;
        giving_way([&] { error = pg::protect([&] { changes = take_in_letters(source->name, kChangesPerStep, &s.up_to, snapshot); }); });
        bool open = unless_locked_out(error);
        if (!open) nap(kBusy);
        if (!open || changes == kChangesPerStep) {  // there is more of it: the snapshot to read under comes later
            UnregisterSnapshot(snapshot);
            return;
        }
    } else {
        forget_letters(source->name, snapshot);
    }
    forget_quarantined(source->name, s.any_customer);
    session.history = open_history(source, snapshot, s.any_customer ? &s.up_to : nullptr, session.context, true);
    UnregisterSnapshot(snapshot);
    remember_position(s.any_customer ? &s.up_to : nullptr);
    Datum args[] = {name, Int64GetDatum(session.history->rows), Int64GetDatum(session.history->rows - session.history->left)};
    run(table_read, args);
    tell_progress(false);
}

void take_in_batch(Source* source, Instant attached_at) {
    Datum name = CStringGetTextDatum(session.name);
    TimestampTz began = GetCurrentTimestamp();
    keep_out_attach(source);
    int64 wanted = pg::settings.backfill_batch;
    if (pg::settings.backfill_rate > 0) wanted = std::min<int64>(wanted, pg::settings.backfill_rate);

    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle backfill batch", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    Reader reader{source, memory, {}, {}, nullptr, 0};
    std::string_view last;
    int64 rows = read_history(session.history, &reader, wanted, &last);
    if (rows > 0) {
        take_in_history(reader.facts.span(), attached_at);
        remember_position(&last);
        Datum args[] = {name, Int64GetDatum(session.history->rows - session.history->left), pg::to_datum(last)};
        run(batch_done, args);
        pg::fault_point("backfill.batch");
        tell_progress(false);
        if (pg::settings.backfill_rate > 0)
            session.pause_until = TimestampTzPlusMilliseconds(began, rows * 1000 / pg::settings.backfill_rate);
    } else {
        forget_history();
        run(all_read, {&name, 1});
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
}

// What the shop has changed meanwhile; with the last of it, the shop's statements are taken in by themselves again. True: that was it.
bool catch_up(Source* source) {
    keep_out_attach(source);
    int changes = 0;
    bool finished = false;
    ErrorData* error = nullptr;
    auto take_in_some = [&] {
        Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
        changes = take_in_letters(source->name, kChangesPerStep, nullptr, snapshot);
        UnregisterSnapshot(snapshot);
    };
    giving_way([&] { error = pg::protect([&] {
        take_in_some();
        if (changes == kChangesPerStep) return;
        // Nobody is writing to the table from here on, so no letter can come any more.
        LockRelationOid(source->relation, ShareRowExclusiveLock);
        find_all_inheritors(source->relation, ShareRowExclusiveLock, nullptr);  // locks the others, not the one it is given
        do take_in_some(); while (changes > 0);
        finished = true;
    }); });
    if (!unless_locked_out(error)) {
        nap(kBusy);
        return false;
    }
    if (!finished) return false;
    pg::fault_point("backfill.finish");
    Datum name = CStringGetTextDatum(session.name);
    run(finish, {&name, 1});
    pg::config_changed();
    tell_progress(true);
    return true;
}

void must_own(const Source* source) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(source->relation));
    if (!HeapTupleIsValid(tuple)) ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table of the source has been dropped"));
    auto* table = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    if (!has_privs_of_role(GetUserId(), table->relowner))
        ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of table %s", NameStr(table->relname)),
                errhint("Only who owns a table may backfill it."));
    ReleaseSysCache(tuple);
}

// As the planner estimates it, whether or not the table has been analyzed.
double estimated_rows(const Source* source) {
    double rows = 0;
    LockRelationOid(source->relation, AccessShareLock);
    ListCell* c;
    foreach (c, find_all_inheritors(source->relation, AccessShareLock, nullptr)) {
        Relation table = relation_open(lfirst_oid(c), NoLock);
        if (table->rd_rel->relkind == RELKIND_RELATION) {
            BlockNumber pages;
            double tuples, all_visible;
            estimate_rel_size(table, nullptr, &pages, &tuples, &all_visible);
            rows += tuples;
        }
        relation_close(table, NoLock);
    }
    return rows;
}

// In the transaction of attach(), which keeps everybody else from writing to the table.
int64 backfill_at_once(Source* source) {
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle backfill batch", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    History* history = open_history(source, snapshot, nullptr, caller, false);
    UnregisterSnapshot(snapshot);
    for (;;) {
        MemoryContextReset(memory);
        Reader reader{source, memory, {}, {}, nullptr, 0};
        std::string_view last;
        if (read_history(history, &reader, kRowsAtOnce, &last) == 0) break;
        take_in_or_raise(reader.facts, {.silent = true});
    }
    int64 rows = history->rows;
    close_history(history);
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return rows;
}

void backfill(const char* name) {
    Source* source = find_source(name);
    must_own(source);
    TimestampTz now = GetCurrentTimestamp();
    double estimate = estimated_rows(source);
    bool at_once = estimate <= pg::settings.backfill_at_once;
    int64 rows = at_once ? backfill_at_once(source) : static_cast<int64>(estimate);
    Datum args[] = {CStringGetTextDatum(name), pg::to_datum(at_once ? "done" : "waiting"), Int64GetDatum(rows),
                    Int64GetDatum(at_once ? rows : 0), TimestampTzGetDatum(now)};
    run(begin_backfill, args);
    if (at_once) return;
    pg::config_changed();
    pg::wake_worker_at_commit(rules::kBeginning);
    ereport(NOTICE, errmsg("\"%s\" has about %.0f rows, which are taken in after this transaction", name, estimate),
            errdetail("The background worker does it in batches; what the shop changes meanwhile is taken in after them."),
            errhint("Watch lifecycle.progress. Without the worker, or to wait for the end: CALL lifecycle.backfill(%s).",
                    quote_literal_cstr(name)));
}

// What a session knows of the attached tables it writes to.
struct Known {
    const char* name;
    uint64 config;
    bool backfilling;
};
pg::Array<Known> known;

bool look_up(const char* name) {
    bool found = false;
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = CStringGetTextDatum(name);
        // In the present: a transaction that sees the past must not hold back what nobody would take in any more.
        found = is_unfinished.run_in_present({&arg, 1}) > 0;
        pg::close_spi();
    });
    return found;
}

}  // namespace

bool is_backfilling(const char* name) {
    uint64 config = pg::config_generation();
    for (Known& k : known) {
        if (strcmp(k.name, name) != 0) continue;
        if (k.config != config) {
            k.backfilling = look_up(name);
            k.config = config;
        }
        return k.backfilling;
    }
    bool backfilling = look_up(name);
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    known.push({pstrdup(name), config, backfilling});
    MemoryContextSwitchTo(caller);
    return backfilling;
}

bool backfill_step(const char* name) {
    Source* source = find_source(name);
    must_own(source);
    if (!enter(name, source)) {
        nap(kBusy);
        return true;
    }
    if (session.pause_until != 0) nap(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), session.pause_until));
    State s = lock_state(name);
    bool done = s.state == "done";
    if (s.state == "catching up") {
        done = catch_up(source);
    } else if (!done && is_where_we_are(s)) {
        take_in_batch(source, s.attached_at);
    } else if (!done) {
        read(source, s);
    }
    if (done) leave();
    return !done;
}

const char* next_backfill() {
    const char* name = nullptr;
    MemoryContext caller = CurrentMemoryContext;
    pg::as_owner([&] {
        pg::open_spi();
        if (next_unfinished.run() > 0) {
            MemoryContext inner = MemoryContextSwitchTo(caller);
            name = pg::to_cstring(pg::view(pg::cell(0, 1).value));
            MemoryContextSwitchTo(inner);
        }
        pg::close_spi();
    });
    return name;
}

void note_failed_backfill(const char* name, const char* message) {
    Datum args[] = {CStringGetTextDatum(name), CStringGetTextDatum(message)};
    run(note_failure, args);
}

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_backfill_source) {
    source::backfill(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))));
    PG_RETURN_VOID();
}

LIFECYCLE_FUNCTION(lifecycle_backfill_step) { PG_RETURN_BOOL(source::backfill_step(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))))); }

LIFECYCLE_FUNCTION(lifecycle_withdraw) {
    // Not compiled: the table may be gone.
    source::Source s{};
    source::describe_source(pg::view(PG_GETARG_DATUM(0)), &s);
    source::forget_pending(pg::to_cstring(s.name));
    source::forget_letters(s.name);
    pg::Array<Fact> facts;
    source::withdraw_everything(&s, &facts);
    if (!facts.empty()) engine::take_in(facts.span(), {.silent = true});  // these customers exist
    PG_RETURN_VOID();
}
