#include "source/inbox.hpp"

#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/shared.hpp"
#include "pg/statement.hpp"
#include "source/members.hpp"
#include "source/pending.hpp"
#include "source/quarantine.hpp"

namespace lifecycle::source {

namespace {

pg::Statement append{
    .sql = "INSERT INTO lifecycle.inbox (source, said_at, gone, arrived, held)"
           " SELECT $1, lifecycle.now(), u.gone::json, u.arrived::json, $4"
           "   FROM unnest($2, $3) WITH ORDINALITY AS u (gone, arrived, n) ORDER BY u.n",
    .types = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, BOOLOID}};
pg::Statement append_emptied{
    .sql = "INSERT INTO lifecycle.inbox (source, said_at) VALUES ($1, lifecycle.now())", .types = {TEXTOID}};
pg::Statement any_letters{.sql = "SELECT FROM lifecycle.inbox AS i WHERE i.source = $1 LIMIT 1", .types = {TEXTOID}};
pg::Statement drop_letters{.sql = "DELETE FROM lifecycle.inbox AS i WHERE i.source = $1", .types = {TEXTOID}};
// One at a time: of two changes of one row the first must be taken in first.
pg::Statement take_turn{
    .sql = "SELECT WHERE pg_try_advisory_xact_lock(1818846821, 'lifecycle.inbox'::regclass::oid::int4)"};
// What is said to a source while its backfill runs is for the backfill.
pg::Statement next_letters{
    .sql = "SELECT i.entry_id, i.source, i.gone, i.arrived, c.relowner, i.held"
           "  FROM lifecycle.inbox AS i"
           "  LEFT JOIN lifecycle.source AS s ON s.name = i.source"
           "  LEFT JOIN pg_class AS c ON c.oid = s.relation"
           " WHERE i.source NOT IN (SELECT b.source FROM lifecycle.backfill AS b WHERE b.state <> 'done')"
           " ORDER BY i.entry_id LIMIT $1",
    .types = {INT4OID}};
pg::Statement letters_of{
    .sql = "SELECT i.entry_id, i.source, i.gone, i.arrived, c.relowner, i.held"
           "  FROM lifecycle.inbox AS i"
           "  JOIN lifecycle.source AS s ON s.name = i.source"
           "  JOIN pg_class AS c ON c.oid = s.relation"
           " WHERE i.source = $1 ORDER BY i.entry_id LIMIT $2",
    .types = {TEXTOID, INT4OID}};
pg::Statement remove_letters{
    .sql = "DELETE FROM lifecycle.inbox AS i WHERE i.entry_id = ANY ($1)", .types = {INT8ARRAYOID}};

// Shorter than deadlock_timeout: should a transaction of the shop wait for us and we for it, we give way.
constexpr const char* kPatience = "300ms";

struct Entries {
    pg::Array<Datum> ids;
    pg::Array<Step*> steps;
};

Datum kept(uint64 row, int column) {
    auto [value, null] = pg::cell(row, column);
    return null ? Datum{0} : datumCopy(value, false, -1);
}

// The rows of the last result, in `memory`.
void keep_entries(uint64 rows, MemoryContext memory, Entries* entries) {
    MemoryContext inner = MemoryContextSwitchTo(memory);
    for (uint64 row = 0; row < rows; ++row) {
        auto* step = static_cast<Step*>(palloc0(sizeof(Step)));
        step->source = pg::to_cstring(pg::view(pg::cell(row, 2).value));
        step->letter = {kept(row, 3), kept(row, 4)};
        step->held = DatumGetBool(pg::cell(row, 6).value);
        // As if the table's owner had asked: the types of its columns may run code of his.
        auto [owner, no_owner] = pg::cell(row, 5);
        step->user = no_owner ? pg::extension_owner() : DatumGetObjectId(owner);
        step->security = SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE;
        entries->ids.push(pg::cell(row, 1).value);
        entries->steps.push(step);
    }
    MemoryContextSwitchTo(inner);
}

Entries read_entries(int limit, bool* turn) {
    Entries entries;
    MemoryContext caller = CurrentMemoryContext;
    pg::as_owner([&] {
        pg::open_spi();
        *turn = customer::is_armed() && take_turn.run() > 0;
        if (*turn) {
            Datum arg = Int32GetDatum(limit);
            keep_entries(next_letters.run({&arg, 1}), caller, &entries);
        }
        pg::close_spi();
    });
    return entries;
}

bool says_emptied(const Step* step) { return step->letter.gone == 0 && step->letter.arrived == 0; }

void settle_entries(std::span<Step*> steps) {
    size_t start = 0;
    for (size_t i = 0; i <= steps.size(); ++i) {
        if (i < steps.size() && !says_emptied(steps[i])) continue;
        if (i > start) settle(steps.subspan(start, i - start), true);
        if (i < steps.size()) withdraw_or_warn(steps[i]->source);
        start = i + 1;
    }
}

void remove(std::span<const Datum> ids) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::array_of(INT8OID, ids, nullptr);
        remove_letters.run({&arg, 1});
        pg::close_spi();
    });
}

int64 fold(int limit) {
    bool turn = false;
    Entries entries = read_entries(limit, &turn);
    if (!turn) return kLeftForLater;
    if (entries.steps.empty()) return 0;
    pg::fault_point("inbox.fold");
    int level = NewGUCNestLevel();
    auto set = [](const char* name, const char* value) {
        set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    };
    set("lock_timeout", kPatience);
    set("search_path", "pg_catalog, pg_temp");
    settle_entries(entries.steps.span());
    AtEOXact_GUC(true, level);
    remove(entries.ids.span());
    return static_cast<int64>(entries.steps.size);
}

}  // namespace

void write_letters(std::string_view source, std::span<const Letter> letters, bool held) {
    pg::as_owner([&] {
        pg::open_spi();
        pg::fault_point("inbox");
        auto gone = pg::zeroed<Datum>(letters.size());
        auto arrived = pg::zeroed<Datum>(letters.size());
        auto no_gone = pg::zeroed<bool>(letters.size());
        auto no_arrived = pg::zeroed<bool>(letters.size());
        for (size_t i = 0; i < letters.size(); ++i) {
            gone[i] = letters[i].gone;
            arrived[i] = letters[i].arrived;
            no_gone[i] = gone[i] == 0;
            no_arrived[i] = arrived[i] == 0;
        }
        Datum args[] = {pg::to_datum(source), pg::text_array(gone, no_gone.data()), pg::text_array(arrived, no_arrived.data()), BoolGetDatum(held)};
        append.run(args);
        pg::close_spi();
    });
    pg::wake_worker_at_commit(pg::now());
}

void write_emptied(std::string_view source) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(source);
        append_emptied.run({&arg, 1});
        pg::close_spi();
    });
    pg::wake_worker_at_commit(pg::now());
}

bool has_letters(std::string_view source) {
    bool any = false;
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(source);
        any = any_letters.run({&arg, 1}) > 0;
        pg::close_spi();
    });
    return any;
}

void forget_letters(std::string_view source, Snapshot snapshot) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(source);
        drop_letters.run_under(snapshot == nullptr ? GetLatestSnapshot() : snapshot, {&arg, 1});
        pg::close_spi();
    });
}

int take_in_letters(std::string_view source, int limit, const std::string_view* up_to, Snapshot snapshot) {
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle inbox", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    Entries entries;
    pg::as_owner([&] {
        pg::open_spi();
        Datum args[] = {pg::to_datum(source), Int32GetDatum(limit)};
        keep_entries(letters_of.run_under(snapshot, args), memory, &entries);
        pg::close_spi();
    });
    for (Step* step : entries.steps) step->up_to = up_to;
    if (!entries.steps.empty()) {
        settle_entries(entries.steps.span());
        remove(entries.ids.span());
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return static_cast<int>(entries.steps.size);
}

int64 fold_inbox(int limit) {
    int64 done = 0;
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle inbox", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    ErrorData* error = pg::protect([&] { done = fold(limit); });
    if (error != nullptr) {
        if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) ReThrowError(error);
        done = kLeftForLater;
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return done;
}

}  // namespace lifecycle::source
