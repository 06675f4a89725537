// Capture: the triggers on the shop's tables.
//
// The shop always wins. Whatever goes wrong in here, the shop's statement succeeds: what it did is undone to the point before, and the
// rows are put into quarantine with the reason. Only what is not ours to keep passes: cancels, shutdown, deadlocks, serialization
// failures.
//
// Statement triggers see what was said to the attached table itself or, through triggers of its own, to a partition or child of it: a
// statement fires those of the table it names and no others. Where it is plain and no trigger of the shop's changes its rows, what an UPDATE
// changes is gathered for them (see gathered.hpp); else they ask for transition tables. Where session_replication_role is replica, row triggers see it instead.
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "source/changes.hpp"
#include "source/gathered.hpp"
#include "source/members.hpp"
#include "source/nesting.hpp"
#include "source/pending.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"

namespace lifecycle::source {

namespace {

// The rows of one transition table, nullptr at their end.
TupleTableSlot* next_row(Tuplestorestate* rows, const Layout& layout) {
    if (rows == nullptr || !tuplestore_gettupleslot(rows, true, false, layout.raw)) return nullptr;
    return as_attached(layout);
}

void read_statement(Intake* intake, TriggerData* trigger) {
    const Source* source = intake->reader.source;
    auto open = [&](Tuplestorestate* rows) -> Layout {
        if (rows == nullptr) return {};
        tuplestore_rescan(rows);
        return make_layout(source, trigger->tg_relation);
    };
    Layout before = open(trigger->tg_oldtable);
    Layout after = open(trigger->tg_newtable);
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        // Of an UPDATE, old and new versions stand in the same order.
        TupleTableSlot* gone = next_row(trigger->tg_oldtable, before);
        TupleTableSlot* arrived = next_row(trigger->tg_newtable, after);
        if (gone == nullptr && arrived == nullptr) break;
        read_change(intake, gone, arrived);
    }
    drop_layout(before);
    drop_layout(after);
}

void read_one_row(Intake* intake, TriggerData* trigger) {
    const Source* source = intake->reader.source;
    Layout before = make_layout(source, trigger->tg_relation);
    Layout after = make_layout(source, trigger->tg_relation);
    auto copied = [](const Layout& layout, TupleTableSlot* row) {
        ExecCopySlot(layout.raw, row);
        return as_attached(layout);
    };
    TriggerEvent event = trigger->tg_event;
    if (TRIGGER_FIRED_BY_INSERT(event)) read_change(intake, nullptr, copied(after, trigger->tg_trigslot));
    if (TRIGGER_FIRED_BY_DELETE(event)) read_change(intake, copied(before, trigger->tg_trigslot), nullptr);
    if (TRIGGER_FIRED_BY_UPDATE(event))
        read_change(intake, copied(before, trigger->tg_trigslot), copied(after, trigger->tg_newslot));
    drop_layout(before);
    drop_layout(after);
}

void process(TriggerData* trigger, MemoryContext memory, engine::Options options) {
    Intake intake = make_intake(memory);
    turn_to(&intake, trigger->tg_trigger->tgargs[0]);
    customer::current_shop();  // loaded here, where an error is handled, not while rows are read
    pg::fault_point("capture.read");
    if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event)) {
        read_truncated(&intake, trigger->tg_relation);
    } else if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) {
        read_one_row(&intake, trigger);
    } else {
        read_statement(&intake, trigger);
    }
    finish(&intake);
    if (!intake.reader.facts.empty()) engine::take_in(intake.reader.facts.span(), options);
}

void collect(TriggerData* trigger, Tuplestorestate* rows, bool gone, const ErrorData* error, pg::Array<BadRow>* into) {
    if (rows == nullptr) return;
    TupleTableSlot* slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
    tuplestore_rescan(rows);
    while (tuplestore_gettupleslot(rows, true, false, slot))
        into->push({row_as_json(slot), error->sqlerrcode, error->message, error->detail, gone});
    ExecDropSingleTupleTableSlot(slot);
}

// Everything that the statement said goes into quarantine, with the error that it met: what went first, then what came.
void put_aside(TriggerData* trigger, const char* name, const ErrorData* error) {
    pg::Array<BadRow> rows;
    TriggerEvent event = trigger->tg_event;
    if (TRIGGER_FIRED_FOR_ROW(event)) {
        auto push = [&](TupleTableSlot* row, bool gone) {
            rows.push({row_as_json(row), error->sqlerrcode, error->message, error->detail, gone});
        };
        push(trigger->tg_trigslot, !TRIGGER_FIRED_BY_INSERT(event));
        if (TRIGGER_FIRED_BY_UPDATE(event)) push(trigger->tg_newslot, false);
    } else {
        collect(trigger, trigger->tg_oldtable, true, error, &rows);
        collect(trigger, trigger->tg_newtable, false, error, &rows);
    }
    quarantine(name, rows.span());
}

void process_at_once(TriggerData* trigger) {
    const char* name = trigger->tg_trigger->tgargs[0];
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle capture", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);

    ErrorData* error = protect_and_retry([&](engine::Options options) {
        MemoryContextReset(memory);
        process(trigger, memory, options);
    });
    if (error != nullptr) {
        if (pg::settings.on_error == pg::kRaise) ReThrowError(error);
        ErrorData* again = pg::protect([&] { put_aside(trigger, name, error); });
        // The last resort: the shop's statement still succeeds, and the server's log keeps what happened.
        if (again != nullptr || TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
            ereport(WARNING, errcode(error->sqlerrcode),
                    errmsg("pg_lifecycle could not process a change of \"%s\": %s", RelationGetRelationName(trigger->tg_relation),
                           error->message),
                    errhint("Run lifecycle.rebuild() after detaching and attaching source \"%s\".", name));
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
}

void take_change(TriggerData* trigger, const Nest& nest) {
    TriggerEvent event = trigger->tg_event;
    bool truncates = TRIGGER_FIRED_BY_TRUNCATE(event);
    bool nested = (nest.inner || nest.waiting > 0) && !InSecurityRestrictedOperation();
    if (nested && put_off(trigger, nest.group, nest.began)) return;
    if (!truncates && is_putting_off(TRIGGER_FIRED_FOR_ROW(event)) && put_off(trigger)) return;
    settle_pending();  // what was said before comes first
    process_at_once(trigger);
}

void take_statement(TriggerData* trigger, const Nest& nest) {
    TriggerEvent event = trigger->tg_event;
    bool gathers = TRIGGER_FIRED_BY_UPDATE(event) && TRIGGER_FIRED_FOR_STATEMENT(event) && trigger->tg_newtable == nullptr;
    if (!gathers) {
        if (!leaves_facts_alone(trigger)) take_change(trigger, nest);
        return;
    }
    TriggerData change = *trigger;
    if (!take_gathered(&change)) return;  // what says nothing was left out when it was gathered
    take_change(&change, nest);
    drop_gathered(&change);
}

}  // namespace

void capture(TriggerData* trigger) {
    TriggerEvent event = trigger->tg_event;
    bool truncates = TRIGGER_FIRED_BY_TRUNCATE(event);
    note_statement(truncates);
    if (truncates || TRIGGER_FIRED_FOR_ROW(event) || !is_any_statement_open()) {
        take_statement(trigger, {});
        return;
    }
    bool putting_off = is_putting_off(false);
    Nest nest = end_statement(trigger);
    take_statement(trigger, nest);
    // What its triggers have said waited for nothing but its end.
    if (!nest.inner && nest.waiting > 0 && !putting_off) settle_pending();
}

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_capture) {
    TriggerData* trigger = source::trigger_data(fcinfo, "lifecycle.capture()");
    if (trigger->tg_trigger->tgnargs == 1) source::capture(trigger);
    PG_RETURN_POINTER(nullptr);
}
