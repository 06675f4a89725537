#include "customer/store.hpp"

#include <algorithm>
#include <utility>

#include "customer/erased.hpp"
#include "customer/merged.hpp"
#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/finger.hpp"
#include "pg/form.hpp"
#include "pg/late_lock.hpp"
#include "pg/queue.hpp"
#include "pg/shared.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::customer {

namespace {

pg::Statement count_many{.sql = "SELECT count(*) FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1)",
                         .types = {TEXTARRAYOID}};
pg::Statement lock_many{
    .sql = "SELECT c.ctid, c.* FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1) ORDER BY c.customer_id FOR UPDATE",
    .types = {TEXTARRAYOID}};
// Inserts the missing ones and locks the others, in one pass in sorted order. Only an insert that conflicts takes the lock of
// the existing row without writing it (the WHERE is never true).
pg::Statement create_and_lock{
    .sql = "INSERT INTO lifecycle.customer AS c (customer_id, as_of)"
           " SELECT u.id, '-infinity' FROM unnest($1) WITH ORDINALITY AS u (id, n) ORDER BY u.n"
           " ON CONFLICT (customer_id) DO UPDATE SET as_of = c.as_of WHERE false",
    .types = {TEXTARRAYOID}};
pg::Statement first_timer{.sql = "SELECT t.due_at FROM lifecycle.timer AS t ORDER BY t.due_at LIMIT 1"};
pg::Statement postpone{
    .sql = "WITH first AS (SELECT c.customer_id, t.due_at, c.timer_at, c.later_timer_at"
           "                 FROM lifecycle.timer AS t JOIN lifecycle.customer AS c USING (customer_id)"
           "                WHERE t.due_at <= $1 ORDER BY t.due_at LIMIT 1 FOR UPDATE OF c SKIP LOCKED),"
           "      gone AS (DELETE FROM lifecycle.timer AS t USING first AS f"
           "                WHERE t.customer_id = f.customer_id AND t.due_at IN (f.due_at, f.timer_at, f.later_timer_at) RETURNING t.customer_id),"
           "      moved AS (UPDATE lifecycle.customer AS c SET timer_at = $1 + interval '1 hour', later_timer_at = NULL FROM first AS f"
           "                 WHERE c.customer_id = f.customer_id)"
           " INSERT INTO lifecycle.timer (due_at, customer_id) SELECT DISTINCT $1 + interval '1 hour', g.customer_id FROM gone AS g",
    .types = {TIMESTAMPTZOID}};
pg::Statement next_ids{
    .sql = "SELECT c.customer_id FROM lifecycle.customer AS c WHERE c.customer_id > $1 ORDER BY c.customer_id LIMIT $2",
    .types = {TEXTOID, INT4OID}};
pg::Statement lock_some{
    .sql = "SELECT c.ctid, c.* FROM lifecycle.customer AS c WHERE c.customer_id > $1 ORDER BY c.customer_id LIMIT $2 FOR UPDATE",
    .types = {TEXTOID, INT4OID}};
Datum ids_of(Batch batch) {
    pg::Array<Datum> ids;
    ids.reserve(batch.size());
    for (Change& change : batch) ids.push(pg::to_datum(change.customer_id));
    return pg::text_array(ids.span());
}

void make_row(Change& change) {
    for (int c = 0; c < kColumns; ++c) change.after.clear(static_cast<Column>(c));
    change.after.set(kCustomerId, pg::to_datum(change.customer_id));
    change.after.set(kOrderCount, Int64GetDatum(0));
    change.after.set(kRevenue, DirectFunctionCall1(int4_numeric, Int32GetDatum(0)));
    change.after.set(kPoints, Int64GetDatum(0));
    change.after.set(kTierSpend, change.after.values[kRevenue]);
    change.after.set(kOpenEnrolments, Int32GetDatum(0));
    change.after.set_instant(kAsOf, change.now);
    change.before = change.after;
}

// `values` are the columns of the table, in its order.
void load_row(Change& change, const Datum* values, const bool* nulls, const ItemPointerData& tid) {
    memcpy(change.before.values, values, sizeof change.before.values);
    memcpy(change.before.nulls, nulls, sizeof change.before.nulls);
    change.tid = tid;
    change.existed = true;
    // Created by create_and_lock a moment ago: a row that says nothing yet.
    if (change.before.instant(kAsOf, rules::kBeginning) == rules::kBeginning) {
        change.before.set_instant(kAsOf, change.now);
        change.existed = false;
    }
    change.after = change.before;
    Instant as_of = change.before.instant(kAsOf, change.now);
    // A clock that was set back is followed by rebuild() only.
    if (change.now < as_of && !change.replay) change.now = as_of;
    change.news_from = Max(change.news_from, as_of);
}

void check_columns(int found) {
    if (found == kColumns) return;
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("table \"lifecycle.customer\" does not have the columns this version of pg_lifecycle knows"),
            errhint("Run ALTER EXTENSION pg_lifecycle UPDATE."));
}

// One customer, as in the path of every order: without a statement.
void lock_one(Change& change, pg::TableWriter* rows, bool late) {
    Datum id = pg::to_datum(change.customer_id);
    bool certain = false;
    HeapTuple tuple = late ? pg::read_to_update(rows, id, &certain) : nullptr;
    if (tuple == nullptr && !certain) tuple = pg::find_and_lock(rows, id);
    if (tuple != nullptr) {
        check_columns(RelationGetDescr(rows->relation)->natts);
        Datum values[kColumns];
        bool nulls[kColumns];
        pg::deform_row(tuple, RelationGetDescr(rows->relation), values, nulls);
        load_row(change, values, nulls, tuple->t_self);
    }
}

// Row `n` of the last result, in which ctid comes first.
void load_result(Change& change, uint64 n) {
    Datum values[kColumns + 1];
    bool nulls[kColumns + 1];
    pg::deform_row(SPI_tuptable->vals[n], SPI_tuptable->tupdesc, values, nulls);
    load_row(change, values + 1, nulls + 1, *pg::item_pointer(values[0]));
}

// Several, in the order of their ids, unless all of them are new.
void lock_several(Batch batch) {
    Datum ids = ids_of(batch);
    count_many.run({&ids, 1});
    auto known = static_cast<uint64>(DatumGetInt64(pg::cell(0, 1).value));
    if (known == 0) return;
    // Where some are new and some are not, the new ones are created now, so that all are locked in one order.
    if (known < batch.size()) create_and_lock.run({&ids, 1});
    uint64 rows = lock_many.run({&ids, 1});
    if (rows != batch.size()) ereport(ERROR, errcode(pg::kRowWasDeleted), errmsg("a customer was deleted while this session waited for it"));
    check_columns(SPI_tuptable->tupdesc->natts - 1);
    for (uint64 i = 0; i < rows; ++i) load_result(batch[i], i);
}

}  // namespace

pg::TableWriter* lock(Batch batch, bool late) {
    pg::fault_point("customer.lock");
    for (Change& change : batch) {
        change.existed = false;
        ItemPointerSetInvalid(&change.tid);
        ItemPointerSetInvalid(&change.head);
        ItemPointerSetInvalid(&change.timer);
        ItemPointerSetInvalid(&change.member_row);
    }
    // Kept open until store(), which writes what is locked here. Where all are new, its insert locks them.
    pg::TableWriter* rows = pg::open_writer(pg::table_oid(pg::Table::customer));
    if (batch.size() == 1) {
        lock_one(batch[0], rows, late);
    } else {
        lock_several(batch);
    }
    for (Change& change : batch) {
        if (!change.existed) make_row(change);
    }
    return rows;
}

Batch lock_next(std::string_view after, int limit, const Change& blank) {
    Datum args[] = {pg::to_datum(after), Int32GetDatum(limit)};
    uint64 rows = lock_some.run(args);
    if (rows > 0) check_columns(SPI_tuptable->tupdesc->natts - 1);
    auto batch = pg::zeroed<Change>(rows);
    for (uint64 i = 0; i < rows; ++i) {
        batch[i] = blank;
        load_result(batch[i], i);
        batch[i].customer_id = pg::view(batch[i].after.values[kCustomerId]);
    }
    return batch;
}

void lock_sorted(std::span<const Datum> ids) {
    Datum arg = pg::text_array(not_erased(ids));
    create_and_lock.run({&arg, 1});
}

namespace {

constexpr size_t kTimersGathered = 32768;

void insert_timer(pg::TableWriter* timers, const NewTimer& timer) {
    Datum values[] = {TimestampTzGetDatum(timer.due), timer.customer, PointerGetDatum(&timer.customer_row), PointerGetDatum(&timer.member_row)};
    bool nulls[] = {false, false, !ItemPointerIsValid(&timer.customer_row), !ItemPointerIsValid(&timer.member_row)};
    pg::insert(timers, values, nulls);
}

void write_new_timers(Gathered* gathered) {
    pg::flush(gathered->members);
    for (NewTimer& timer : gathered->new_timers) {
        if (timer.member_number > 0) timer.member_row = gathered->member_rows[timer.member_number - 1];
        insert_timer(gathered->timers, timer);
    }
    gathered->new_timers.clear();
    gathered->member_rows.clear();
    gathered->member_count = 0;
    MemoryContextReset(gathered->memory);
}

}  // namespace

void begin(Gathered* gathered) {
    constexpr AttrNumber kTimerDueAt = 1, kMemberEnteredAt = 3;
    *gathered = {};
    gathered->timers = pg::open_gatherer(pg::table_oid(pg::Table::timer), kTimerDueAt);
    gathered->members = pg::open_gatherer(pg::table_oid(pg::Table::segment_member), kMemberEnteredAt);
    gathered->members->places = &gathered->member_rows;
    gathered->new_timers.reserve(kTimersGathered);
    gathered->memory = AllocSetContextCreate(CurrentMemoryContext, "customers of timers", ALLOCSET_DEFAULT_SIZES);
}

void write(Gathered* gathered) {
    write_new_timers(gathered);
    pg::close_writer(gathered->timers);
    pg::close_writer(gathered->members);
    MemoryContextDelete(gathered->memory);
    pg::written();
}

namespace {

// The timers of a batch that have to be set, moved or dropped.
struct Timers {
    struct Fresh {
        Instant due;
        const Change* change;
    };
    pg::Array<Fresh> fresh;
    pg::TableWriter* rows = nullptr;
    Instant earliest = rules::kNever;

    // A timer that lies earlier than needed is left alone unless it has run out: moving it costs more than looking in vain. One that lies later
    // stays where it is, too, and is the customer's again when what has come in between is over. Of more than two the middle one goes.
    // True: a new one is set.
    bool arm(Change& change) {
        Row& row = change.after;
        Instant due = Min(row.instant(kNextChangeAt, rules::kNever), row.instant(kEnrolmentDueAt, rules::kNever));
        Instant armed = row.instant(kTimerAt, rules::kNever);
        if (due >= armed && armed > change.now) return false;
        Instant later = row.instant(kLaterTimerAt, rules::kNever);
        if (later <= change.now) remove(change, std::exchange(later, rules::kNever));  // both have run out
        if (armed > change.now && later == rules::kNever) {
            later = armed;
        } else if (armed != rules::kNever) {
            remove(change, armed);
        }
        bool kept = later <= due;
        if (kept) {
            due = std::exchange(later, rules::kNever);
        } else {
            fresh.push({due, &change});
        }
        row.set_instant(kTimerAt, due);
        row.set_instant(kLaterTimerAt, later);
        earliest = Min(earliest, due);
        return !kept;
    }

    void remove(Change& change, Instant armed) {
        open();
        Datum key[] = {TimestampTzGetDatum(armed), change.after.values[kCustomerId]};
        // Where it lies is known if it is this timer that was met when it ran out.
        if (ItemPointerIsValid(&change.timer) && pg::remove_same(rows, &change.timer, key, InvalidSnapshot)) return;
        ItemPointerData tid;
        if (pg::find(rows, key, &tid)) pg::remove(rows, &tid);
    }

    void open() {
        if (rows == nullptr) rows = pg::open_writer(pg::table_oid(pg::Table::timer));
    }

    void write(Gathered* gathered) {
        if (!fresh.empty() && gathered == nullptr) open();
        // In the order of their index, which is walked once instead of here and there.
        std::sort(fresh.begin(), fresh.end(), [](const Fresh& a, const Fresh& b) { return a.due != b.due ? a.due < b.due : a.change < b.change; });
        for (const Fresh& f : fresh) {
            NewTimer timer{f.due, f.change->after.values[kCustomerId], f.change->head, f.change->member_row, f.change->member_number};
            if (gathered == nullptr) {
                insert_timer(rows, timer);
            } else {
                MemoryContext caller = MemoryContextSwitchTo(gathered->memory);
                timer.customer = datumCopy(timer.customer, false, -1);
                MemoryContextSwitchTo(caller);
                gathered->new_timers.push(timer);
            }
        }
        if (gathered != nullptr && gathered->new_timers.size >= kTimersGathered) write_new_timers(gathered);
        if (rows != nullptr) pg::close_writer(rows);
        if (earliest != rules::kNever) pg::wake_worker_at_commit(earliest);
    }
};

}  // namespace

void store(Batch batch, pg::TableWriter* rows) {
    pg::fault_point("customer.store");
    Timers timers;
    pg::Array<Datum> created;
    pg::Array<ItemPointerData> places;
    rows->places = &places;
    for (Change& change : batch) {
        bool armed = timers.arm(change);
        if (!change.existed) created.push(change.after.values[kCustomerId]);
        if (ItemPointerIsValid(&change.tid)) {
            pg::update(rows, &change.tid, change.after.values, change.after.nulls, &change.head);
            if (armed && !ItemPointerIsValid(&change.head)) change.head = pg::head_of(rows->relation, change.tid);
        } else {
            pg::insert(rows, change.after.values, change.after.nulls);
        }
    }
    pg::close_writer(rows);
    const ItemPointerData* place = places.data;
    for (Change& change : batch) {
        if (!ItemPointerIsValid(&change.tid)) change.head = *place++;
    }
    pg::fault_point("customer.timers");
    timers.write(batch[0].gathered);
    pg::written();
    // Only now: to create one who is being merged or erased means to wait for that.
    if (!created.empty()) {
        pg::catch_up();
        check_not_merged(created.span());
        check_not_erased(created.span());
    }
}

bool lost_race(const ErrorData* error) {
    if (error->sqlerrcode == pg::kRowWasDeleted || error->sqlerrcode == pg::kRowWasChanged) return true;
    // Whichever of the new customer's rows met the other session's first.
    return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && error->schema_name != nullptr &&
           strcmp(error->schema_name, "lifecycle") == 0;
}

namespace {
std::span<std::string_view> ids_in_result(uint64 rows) {
    auto ids = pg::zeroed<std::string_view>(rows);
    for (uint64 i = 0; i < rows; ++i) ids[i] = pg::text_cell(i, 1);
    return ids;
}
}  // namespace

namespace {

// So many customers one after the other are held by another session that is at work on a batch of them, as it seems.
constexpr int kHeldInARow = 8;

enum class Manner { thorough, hasty };

// Reads the timers from a position on and locks their customers, passing over those that another session holds. In haste it passes over all that
// the other session's batch may have, unseen: two that keep looking at each other's customers would be hardly faster than one. True: it has done so.
bool lock_from(Instant now, int limit, const Position& after, Manner manner, pg::Array<Due>* due, Position* last) {
    Snapshot snapshot = RegisterSnapshot(pg::present());
    pg::TableWriter* timers = pg::open_writer(pg::table_oid(pg::Table::timer));
    pg::TableWriter* customers = pg::open_writer(pg::table_oid(pg::Table::customer));
    check_columns(RelationGetDescr(customers->relation)->natts);
    pg::Finger finger = pg::point(customers, snapshot);
    pg::Queue queue = pg::open_queue(timers, snapshot, after.due, pg::to_datum(std::string_view{after.customer.data, after.customer.size}), now,
                                     customers->relation);
    pg::Queued timer;
    bool hasted = false;
    int held = 0, unseen = 0;
    while (due->size < static_cast<size_t>(limit) && pg::next_of(queue, &timer)) {
        CHECK_FOR_INTERRUPTS();
        if (timer.held) continue;  // and so is the customer
        if (unseen > 0) {
            --unseen;
            continue;
        }
        ItemPointerData head = timer.target;
        HeapTuple row = pg::lock_unless_held(finger, timer.text, &head);
        held = row == nullptr ? held + 1 : 0;
        if (held == kHeldInARow && manner == Manner::hasty) {
            unseen = limit - kHeldInARow;
            hasted = true;
            held = 0;
        }
        Datum key[] = {TimestampTzGetDatum(timer.at), timer.text};
        if (row == nullptr) {
            if (finger.found.empty()) pg::remove_same(timers, &timer.tid, key, InvalidSnapshot);  // nobody's: the row was deleted by hand
            continue;
        }
        Due& d = due->push({});
        pg::deform_row(row, RelationGetDescr(customers->relation), d.row.values, d.row.nulls);
        d.customer = pg::view(d.row.values[kCustomerId]);
        d.tid = row->t_self;
        d.head = head;
        d.member_row = timer.beside;
        // Somebody may have moved the timer until the customer was locked.
        if (d.row.instant(kTimerAt, rules::kNever) == timer.at) {
            d.timer = timer.tid;
        } else if (d.row.instant(kLaterTimerAt, rules::kNever) != timer.at) {
            // One that the customer knows nothing of, after the table of customers was tampered with, would be met again and again.
            pg::remove_same(timers, &timer.tid, key, InvalidSnapshot);
        }
        last->due = timer.at;
    }
    pg::close_queue(queue);
    pg::close_writer(customers);
    pg::close_writer(timers);
    UnregisterSnapshot(snapshot);
    return hasted;
}

// Sorted by customer; whose other timer has run out, too, is there once, with the one that the row speaks of.
std::span<Due> once_each(pg::Array<Due>& due) {
    auto before = [](const Due& a, const Due& b) {
        return a.customer != b.customer ? a.customer < b.customer : ItemPointerIsValid(&a.timer) > ItemPointerIsValid(&b.timer);
    };
    if (!std::is_sorted(due.begin(), due.end(), before)) std::sort(due.begin(), due.end(), before);
    Due* end = std::unique(due.begin(), due.end(), [](const Due& a, const Due& b) { return a.customer == b.customer; });
    return {due.begin(), end};
}

}  // namespace

constexpr size_t kUsualBatch = 1000;

std::span<Due> lock_due(Instant now, int limit, Position* after) {
    if (!is_armed()) return {};
    pg::Array<Due> due;  // large ones: they had better not be moved
    due.reserve(Min(static_cast<size_t>(limit), kUsualBatch));
    Position last;
    bool hasted = lock_from(now, limit, *after, Manner::hasty, &due, &last);
    // What has become due before that place meanwhile, or was passed over unseen.
    if (due.empty() && (hasted || after->due != rules::kBeginning)) lock_from(now, limit, {}, Manner::thorough, &due, &last);
    after->due = last.due;
    after->customer.clear();
    if (due.empty()) return {};
    for (char c : due[due.size - 1].customer) after->customer.push(c);
    return once_each(due);
}

pg::TableWriter* load(Batch batch, std::span<const Due> due) {
    pg::fault_point("customer.lock");
    for (size_t i = 0; i < batch.size(); ++i) {
        load_row(batch[i], due[i].row.values, due[i].row.nulls, due[i].tid);
        batch[i].head = due[i].head;
        batch[i].timer = due[i].timer;
        batch[i].member_row = due[i].member_row;
        if (!batch[i].existed) make_row(batch[i]);
    }
    return pg::open_writer(pg::table_oid(pg::Table::customer));
}

Instant next_due() {
    if (first_timer.run() == 0) return rules::kNever;
    return DatumGetTimestampTz(pg::cell(0, 1).value);
}

void postpone_first(Instant now) {
    Datum arg = TimestampTzGetDatum(now);
    postpone.run({&arg, 1});
}

std::span<std::string_view> some_customers(std::string_view after, int limit) {
    Datum args[] = {pg::to_datum(after), Int32GetDatum(limit)};
    return ids_in_result(next_ids.run(args));
}

}  // namespace lifecycle::customer
