// Capture: the statement triggers on the shop's tables.
//
// The shop always wins. Whatever goes wrong in here, the shop's statement succeeds: what it did is undone to the point before, and the
// rows are put into quarantine with the reason. Only what is not ours to keep passes: cancels, shutdown, deadlocks, serialization
// failures.
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

namespace {

TupleTableSlot* slot_for(TriggerData* trigger) {
    return MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
}

// Whether the two versions of a row agree in everything that the source reads.
bool reads_the_same(const Source* source, TupleTableSlot* before, TupleTableSlot* after) {
    for (int column = -1; (column = bms_next_member(source->columns, column)) >= 0;) {
        bool null_before, null_after;
        Datum a = slot_getattr(before, column, &null_before);
        Datum b = slot_getattr(after, column, &null_after);
        if (null_before != null_after) return false;
        if (null_before) continue;
        Form_pg_attribute attribute = TupleDescAttr(before->tts_tupleDescriptor, column - 1);
        if (!datum_image_eq(a, b, attribute->attbyval, attribute->attlen)) return false;
    }
    return true;
}

struct Statement {
    TriggerData* trigger;
    Reader reader;
    pg::Array<Datum> gone;  // rows that went or changed, as json, if quarantine may hold them
};

void read_one_table(Statement* s, Tuplestorestate* rows, bool withdrawn, bool note_gone) {
    TupleTableSlot* slot = slot_for(s->trigger);
    tuplestore_rescan(rows);
    while (tuplestore_gettupleslot(rows, true, false, slot)) {
        CHECK_FOR_INTERRUPTS();
        read_row(&s->reader, slot, withdrawn);
        if (note_gone) s->gone.push(row_as_json(slot));
    }
    ExecDropSingleTupleTableSlot(slot);
}

bool same_fields(const Fact& a, const Fact& b) {
    auto fields = spec_of(a.kind).fields;
    for (size_t i = 0; i + 1 < fields.size(); ++i) {
        if (a.nulls[i] != b.nulls[i]) return false;
        int16 length;
        bool by_value;
        get_typlenbyval(fields[i + 1].type, &length, &by_value);
        if (!a.nulls[i] && !datum_image_eq(a.fields[i], b.fields[i], by_value, length)) return false;
    }
    return true;
}

// An update that leaves the fact as it was, such as an order's way from paid to shipped, says nothing.
bool cancel_out(const Fact& gone, const Fact& come) {
    if (gone.kind != come.kind || gone.customer != come.customer) return false;
    if (!is_purchase(gone.kind)) return same_fields(gone, come);
    if ((gone.foreign == nullptr) != (come.foreign == nullptr)) return false;
    if (gone.foreign != nullptr && gone.foreign->currency != come.foreign->currency) return false;
    Datum said = come.foreign == nullptr ? come.amount_datum : come.foreign->amount;
    auto amount = come.sum_of_items ? gone.amount : pg::to_decimal(said).value_or(rules::Decimal{});
    return gone.at == come.at && gone.amount == amount && gone.amount.digits == amount.digits && gone.id == come.id &&
           gone.order == come.order;
}

// What has gone are the facts from `known` on, what has come those from `mid` on.
bool all_cancel_out(const pg::Array<Fact>& facts, size_t known, size_t mid) {
    if (facts.size - mid != mid - known) return false;
    for (size_t i = 0; mid + i < facts.size; ++i) {
        if (!cancel_out(facts[known + i], facts[mid + i])) return false;
    }
    return true;
}

// Old and new versions stand in the same order.
void read_updated(Statement* s, bool note_gone) {
    TupleTableSlot* before = slot_for(s->trigger);
    TupleTableSlot* after = slot_for(s->trigger);
    Tuplestorestate* old_rows = s->trigger->tg_oldtable;
    Tuplestorestate* new_rows = s->trigger->tg_newtable;
    tuplestore_rescan(old_rows);
    tuplestore_rescan(new_rows);
    while (tuplestore_gettupleslot(old_rows, true, false, before) && tuplestore_gettupleslot(new_rows, true, false, after)) {
        CHECK_FOR_INTERRUPTS();
        if (!note_gone && reads_the_same(s->reader.source, before, after)) continue;
        pg::Array<Fact>& facts = s->reader.facts;
        size_t known = facts.size;
        read_row(&s->reader, before, true);
        size_t mid = facts.size;
        read_row(&s->reader, after, false);
        if (all_cancel_out(facts, known, mid)) facts.size = known;
        if (note_gone) s->gone.push(row_as_json(before));
    }
    ExecDropSingleTupleTableSlot(before);
    ExecDropSingleTupleTableSlot(after);
}

void read_statement(Statement* s) {
    TriggerEvent event = s->trigger->tg_event;
    pg::fault_point("capture.read");
    if (TRIGGER_FIRED_BY_INSERT(event)) {
        read_one_table(s, s->trigger->tg_newtable, false, false);
        return;
    }
    bool note_gone = has_quarantined(s->reader.source->name);
    if (TRIGGER_FIRED_BY_DELETE(event)) {
        read_one_table(s, s->trigger->tg_oldtable, true, note_gone);
    } else if (TRIGGER_FIRED_BY_UPDATE(event)) {
        read_updated(s, note_gone);
    } else {
        withdraw_everything(s->reader.source, &s->reader.facts);
    }
}

void process(Statement* s) {
    s->reader.source = find_source(s->trigger->tg_trigger->tgargs[0]);
    customer::current_shop();  // loaded here, where an error is handled, not while rows are read
    read_statement(s);
    if (!s->gone.empty()) forget_quarantined(s->reader.source->name, s->gone.span());
    if (!s->reader.bad.empty()) quarantine(s->reader.source->name, s->reader.bad.span());
    if (!s->reader.facts.empty()) engine::take_in(s->reader.facts.span(), {});
}

void collect(TriggerData* trigger, Tuplestorestate* rows, bool gone, const ErrorData* error, pg::Array<BadRow>* into) {
    if (rows == nullptr) return;
    TupleTableSlot* slot = slot_for(trigger);
    tuplestore_rescan(rows);
    while (tuplestore_gettupleslot(rows, true, false, slot))
        into->push({row_as_json(slot), error->sqlerrcode, error->message, error->detail, gone});
    ExecDropSingleTupleTableSlot(slot);
}

// Everything that the statement said goes into quarantine, with the error that it met: what went first, then what came.
void put_aside(TriggerData* trigger, const char* name, const ErrorData* error) {
    pg::Array<BadRow> rows;
    collect(trigger, trigger->tg_oldtable, true, error, &rows);
    collect(trigger, trigger->tg_newtable, false, error, &rows);
    quarantine(name, rows.span());
}

}  // namespace

void capture(TriggerData* trigger) {
    const char* name = trigger->tg_trigger->tgargs[0];
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle capture", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);

    ErrorData* error = protect_and_retry([&] {
        MemoryContextReset(memory);
        Statement s{trigger, Reader{nullptr, memory, {}, {}, nullptr, 0}, {}};
        process(&s);
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

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_capture) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("lifecycle.capture() is a trigger"),
                errhint("Use lifecycle.attach()."));
    auto* trigger = castNode(TriggerData, fcinfo->context);
    if (trigger->tg_trigger->tgnargs == 1) source::capture(trigger);
    PG_RETURN_POINTER(nullptr);
}
