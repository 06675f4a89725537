#include "source/pending.hpp"

#include "customer/shop.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "source/gathered.hpp"
#include "source/nesting.hpp"
#include "source/quarantine.hpp"

namespace lifecycle::source {

namespace {

// Lives as long as the transaction. Steps that have been settled stay as long as a rollback to a savepoint could undo that.
struct Pending {
    MemoryContext memory;  // nullptr: nothing has been put off
    pg::Array<Step*> steps;
    pg::Array<TupleDesc> layouts;
    size_t open;   // how many are not settled
    size_t bytes;  // of those
    bool settling;
};

Pending pending{};

bool is_open(const Step* step) { return step->settled_in == InvalidSubTransactionId; }

void open_step(Step* step) {
    step->settled_in = InvalidSubTransactionId;
    ++pending.open;
    pending.bytes += step->bytes;
}

void close_step(Step* step, SubTransactionId settled_in) {
    step->settled_in = settled_in;
    --pending.open;
    pending.bytes -= step->bytes;
}

size_t room() { return static_cast<size_t>(pg::settings.settle_memory) * 1024; }

// What a row says that was written before the column was added.
bool same_missing(TupleDesc a, TupleDesc b, int i) {
    Form_pg_attribute column = TupleDescAttr(a, i);
    if (column->atthasmissing != TupleDescAttr(b, i)->atthasmissing) return false;
    if (!column->atthasmissing) return true;
    return datum_image_eq(a->constr->missing[i].am_value, b->constr->missing[i].am_value, column->attbyval, column->attlen);
}

// Whether rows of the one can be read as rows of the other; equalTupleDescs() asks for the same table and constraints, too.
bool same_layout(TupleDesc a, TupleDesc b) {
    if (a->natts != b->natts) return false;
    for (int i = 0; i < a->natts; ++i) {
        Form_pg_attribute in_a = TupleDescAttr(a, i);
        Form_pg_attribute in_b = TupleDescAttr(b, i);
        if (in_a->atttypid != in_b->atttypid || in_a->atttypmod != in_b->atttypmod || in_a->attcollation != in_b->attcollation ||
            in_a->attisdropped != in_b->attisdropped || in_a->attlen != in_b->attlen || strcmp(NameStr(in_a->attname), NameStr(in_b->attname)) != 0 ||
            !same_missing(a, b, i))
            return false;
    }
    return true;
}

// The definition of the table as it is now, kept for steps that have it in common.
TupleDesc keep_layout(Relation relation) {
    TupleDesc layout = RelationGetDescr(relation);
    for (TupleDesc known : pending.layouts) {
        if (same_layout(known, layout)) return known;
    }
    // A record of its own: should the table be altered before the row is read, its type would no longer fit.
    TupleDesc copy = CreateTupleDescCopyConstr(layout);  // with what old rows say in columns that were added since
    copy->tdtypeid = RECORDOID;
    copy->tdtypmod = -1;
    BlessTupleDesc(copy);
    pending.layouts.push(copy);
    return copy;
}

void discard(Step* step) {
    for (RowChange& row : step->rows) {
        if (row.gone != nullptr) pfree(row.gone);
        if (row.arrived != nullptr) pfree(row.arrived);
    }
    if (step->rows.data != nullptr) pfree(step->rows.data);
    pfree(step);
}

MinimalTuple copy_row(Step* step, TupleTableSlot* slot) {
    MinimalTuple copy = ExecCopySlotMinimalTuple(slot);
    step->bytes += copy->t_len + sizeof(RowChange);
    return copy;
}

// The changes that a statement trigger sees; false: they are too large to be kept.
bool copy_statement(TriggerData* trigger, Step* step) {
    Tuplestorestate* old_rows = trigger->tg_oldtable;
    Tuplestorestate* new_rows = trigger->tg_newtable;
    // With a layout that nobody counts references to: an error is to leave nothing behind.
    TupleTableSlot* slot = MakeSingleTupleTableSlot(step->layout, &TTSOpsMinimalTuple);
    if (old_rows != nullptr) tuplestore_rescan(old_rows);
    if (new_rows != nullptr) tuplestore_rescan(new_rows);
    bool fits = true;
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        RowChange row{};
        if (old_rows != nullptr && tuplestore_gettupleslot(old_rows, true, false, slot)) row.gone = copy_row(step, slot);
        if (new_rows != nullptr && tuplestore_gettupleslot(new_rows, true, false, slot)) row.arrived = copy_row(step, slot);
        if (row.gone == nullptr && row.arrived == nullptr) break;
        step->rows.push(row);
        fits = step->group != 0 || pending.bytes + step->bytes <= room();
        if (!fits) break;
    }
    ExecDropSingleTupleTableSlot(slot);
    return fits;
}

bool copy_one_row(TriggerData* trigger, Step* step) {
    RowChange row{};
    TriggerEvent event = trigger->tg_event;
    if (!TRIGGER_FIRED_BY_INSERT(event)) row.gone = copy_row(step, trigger->tg_trigslot);
    if (TRIGGER_FIRED_BY_INSERT(event)) row.arrived = copy_row(step, trigger->tg_trigslot);
    if (TRIGGER_FIRED_BY_UPDATE(event)) row.arrived = copy_row(step, trigger->tg_newslot);
    step->rows.push(row);
    return pending.bytes + step->bytes <= room() || pending.open == 0;
}

void push_step(TriggerData* trigger, Step* step) {
    step->source = pstrdup(trigger->tg_trigger->tgargs[0]);
    GetUserIdAndSecContext(&step->user, &step->security);
    step->said_in = GetCurrentSubTransactionId();
    pending.steps.push(step);
    open_step(step);
    note_waiting(step->group);
}

// After steps have gone or come back that may have been waiting for a statement.
void count_waiting() {
    if (!is_any_statement_open()) return;
    forget_waiting();
    for (const Step* step : pending.steps) {
        if (is_open(step)) note_waiting(step->group);
    }
}

// Gives back the memory of what can no longer be needed.
void tidy() {
    size_t kept = 0;
    for (Step* step : pending.steps) {
        if (step->settled_in == step->said_in) {
            discard(step);
        } else {
            pending.steps[kept++] = step;
        }
    }
    pending.steps.size = kept;
}

void forget_transaction() {
    forget_gathered();
    forget_statements();
    pending = {};
    forget_columns();
    forget_outdated_sources();
}

void end_subtransaction(bool rolled_back, SubTransactionId own, SubTransactionId parent) {
    forget_gathered(rolled_back, own);
    forget_statements(own);
    // What the subtransaction itself has said stands at the end. Only if something has been settled, it may be anywhere.
    bool any_settled = pending.steps.size > pending.open;
    bool changed = false;
    for (size_t i = pending.steps.size; i > 0; --i) {
        Step* step = pending.steps[i - 1];
        if (step->said_in != own && step->settled_in != own) {
            if (any_settled) continue;
            break;
        }
        changed |= rolled_back || any_settled;
        if (rolled_back && step->said_in == own) {  // it was never said
            if (is_open(step)) close_step(step, parent);
            step->said_in = step->settled_in = parent;
            continue;
        }
        if (step->said_in == own) step->said_in = parent;
        if (step->settled_in != own) continue;
        if (rolled_back) {
            open_step(step);
        } else {
            step->settled_in = parent;
        }
    }
    if (changed && !pending.settling) tidy();
    if (rolled_back) count_waiting();
}

// At the very end, when the server has run the deferred triggers.
void settle_before_commit() {
    forget_gathered(false, GetCurrentSubTransactionId());
    forget_statements();
    while (is_anything_pending()) {
        PushActiveSnapshot(GetTransactionSnapshot());
        settle_pending();
        PopActiveSnapshot();
        AfterTriggerFireDeferred();  // of tables that settling has written
    }
}

pg::Array<Step*> open_steps() {
    pg::Array<Step*> open;
    for (Step* step : pending.steps) {
        if (is_open(step) && !goes_on(step->group)) open.push(step);
    }
    return open;
}

struct Together {
    uint64 group;
    Step* step;
    Step* last;
};

HTAB* find_groups(std::span<Step*> steps) {
    HTAB* groups = nullptr;
    for (Step* step : steps) {
        if (step->group == 0) continue;
        if (groups == nullptr) {
            HASHCTL control{};
            control.keysize = sizeof(uint64);
            control.entrysize = sizeof(Together);
            control.hcxt = CurrentMemoryContext;
            groups = hash_create("statements within one another", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
        }
        bool found;
        auto* together = static_cast<Together*>(hash_search(groups, &step->group, HASH_ENTER, &found));
        if (!found) {
            together->step = step;
        } else {
            if (together->step->parts.empty()) {
                Step* first = together->step;
                together->step = static_cast<Step*>(palloc0(sizeof(Step)));
                together->step->parts.push(first);
            }
            together->step->parts.push(step);
        }
        together->last = step;
    }
    return groups;
}

// What was said in a group, as one step, where its outermost statement stands, with the rights of who said that.
pg::Array<Step*> joined(std::span<Step*> steps) {
    HTAB* groups = find_groups(steps);
    pg::Array<Step*> joined;
    joined.reserve(steps.size());
    for (Step* step : steps) {
        if (step->group == 0) {
            joined.push(step);
            continue;
        }
        auto* together = static_cast<Together*>(hash_search(groups, &step->group, HASH_FIND, nullptr));
        if (together->last != step) continue;
        if (together->step != step) {
            together->step->source = step->source;
            together->step->user = step->user;
            together->step->security = step->security;
        }
        joined.push(together->step);
    }
    return joined;
}

}  // namespace

void follow_transaction() {
    pg::at_transaction_end({settle_before_commit, forget_transaction, end_subtransaction});
}

bool is_anything_pending() { return pending.open > 0 && pending.open > waiting_steps(); }

bool is_putting_off(bool row_by_row) {
    // What is queued inside a security-restricted operation must not run outside of it.
    if (InSecurityRestrictedOperation()) return false;
    return row_by_row || pg::settings.settle == pg::kAtCommit || pending.settling || pg::has_many_subtransactions() || is_anything_pending();
}

bool put_off(TriggerData* trigger, uint64 group, uint64 began) {
    follow_transaction();
    if (pending.memory == nullptr)
        pending.memory = AllocSetContextCreate(TopTransactionContext, "pg_lifecycle pending changes", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(pending.memory);
    Step* step = nullptr;
    bool fits = false;
    // It only copies, so that no subtransaction is needed. If the memory is exhausted, the way at once may need less of it.
    ErrorData* error = pg::attempt([&] {
        pg::fault_point("capture.put_off");
        step = static_cast<Step*>(palloc0(sizeof(Step)));
        step->bytes = sizeof(Step);
        step->group = group;
        step->began = began;
        step->layout = keep_layout(trigger->tg_relation);
        fits = TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ? copy_one_row(trigger, step) : copy_statement(trigger, step);
        if (fits && !step->rows.empty()) push_step(trigger, step);
    });
    if (error == nullptr && (!fits || step->rows.empty())) discard(step);
    MemoryContextSwitchTo(caller);
    return error == nullptr && fits;
}

void settle_pending() {
    if (pending.settling || !is_anything_pending()) return;
    pg::Array<Step*> open = open_steps();
    pg::Array<Step*> steps = joined(open.span());
    pending.settling = true;
    PG_TRY();
    {
        settle(steps.span(), false);
    }
    PG_FINALLY();
    {
        pending.settling = false;
    }
    PG_END_TRY();
    SubTransactionId here = GetCurrentSubTransactionId();
    for (Step* step : open) close_step(step, here);
    pfree(open.data);
    tidy();
}

void forget_pending(const char* source) {
    SubTransactionId here = GetCurrentSubTransactionId();
    for (Step* step : pending.steps) {
        if (is_open(step) && strcmp(step->source, source) == 0) close_step(step, here);
    }
    count_waiting();
}

}  // namespace lifecycle::source

using namespace lifecycle;

// lifecycle.settle(): what this transaction has said so far is taken in now.
LIFECYCLE_FUNCTION(lifecycle_settle) {
    source::settle_pending();
    PG_RETURN_VOID();
}
