#include "source/changes.hpp"

#include "pg/catalog.hpp"
#include "pg/guard.hpp"
#include "pg/money.hpp"
#include "pg/table.hpp"
#include "source/backfill.hpp"
#include "source/inbox.hpp"
#include "source/quarantine.hpp"

namespace lifecycle::source {

namespace {

constexpr size_t kLettersPerWrite = 10000;  // bounds the memory of a large statement

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

// Whether what goes has to be compared with what is held back.
bool holds_rows(Intake* intake) {
    const Source* source = intake->reader.source;
    if (intake->asked != source) {
        intake->quarantined = has_quarantined(source->name);
        // What a backfill has put into quarantine is not to be seen before it commits.
        intake->held = intake->quarantined || intake->backfilling || (intake->to_inbox && has_letters(source->name));
        intake->asked = source;
    }
    return intake->held;
}

void flush_letters(Intake* intake) {
    if (intake->letters.empty()) return;
    write_letters(intake->reader.source->name, intake->letters.span(), intake->quarantined);
    intake->letters.clear();
}

void write_letter(Intake* intake, TupleTableSlot* before, TupleTableSlot* after) {
    MemoryContext caller = MemoryContextSwitchTo(intake->reader.context);
    intake->letters.push({before == nullptr ? Datum{0} : row_as_json(before), after == nullptr ? Datum{0} : row_as_json(after)});
    MemoryContextSwitchTo(caller);
    if (intake->letters.size == kLettersPerWrite) flush_letters(intake);
}

// With `held`, the row may be in quarantine: then it has not been taken in, and that it says the same is not to say that it counts already.
void read_facts(Reader* reader, TupleTableSlot* before, TupleTableSlot* after, bool held) {
    pg::Array<Fact>& facts = reader->facts;
    size_t known = facts.size;
    if (before != nullptr) read_row(reader, before, true);
    size_t mid = facts.size;
    if (after != nullptr) read_row(reader, after, false);
    if (!held && all_cancel_out(facts, known, mid)) facts.size = known;
}

}  // namespace

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

Layout make_layout(const Source* source, Relation relation) {
    if (RelationGetRelid(relation) != source->relation) return make_layout(source, RelationGetDescr(relation));
    return {MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple), nullptr, nullptr};
}

Layout make_layout(const Source* source, TupleDesc layout) {
    Layout made{MakeSingleTupleTableSlot(layout, &TTSOpsMinimalTuple), nullptr, nullptr};
    TupleDesc wanted = source->evaluator->slot->tts_tupleDescriptor;
    TupleConversionMap* conversion = convert_tuples_by_name(layout, wanted);
    if (conversion == nullptr) return made;
    made.common = MakeSingleTupleTableSlot(wanted, &TTSOpsVirtual);
    made.map = conversion->attrMap;
    return made;
}

void drop_layout(const Layout& layout) {
    if (layout.raw != nullptr) ExecDropSingleTupleTableSlot(layout.raw);
    if (layout.common != nullptr) ExecDropSingleTupleTableSlot(layout.common);
}

TupleTableSlot* as_attached(const Layout& layout) {
    return layout.common == nullptr ? layout.raw : execute_attr_map_slot(layout.map, layout.raw, layout.common);
}

TriggerData* trigger_data(FunctionCallInfo call, const char* function) {
    if (!CALLED_AS_TRIGGER(call))
        ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("%s is a trigger", function),
                errhint("Use lifecycle.attach()."));
    return castNode(TriggerData, call->context);
}

Intake make_intake(MemoryContext context) {
    Intake intake{};
    intake.reader.context = context;
    return intake;
}

void turn_to(Intake* intake, const char* name, bool now) {
    intake->reader.source = find_source(name);
    intake->backfilling = !now && is_backfilling(name);
    intake->to_inbox = intake->backfilling || (intake->reader.source->async && !now);
    intake->reader.source->at_once = !now && !intake->to_inbox;
}

const Source* says_enough(const char* name, Oid relation) {
    const Source* source = nullptr;
    ErrorData* error = pg::attempt([&] {
        const Source* found = source_at_hand(name);
        if (found != nullptr && found->at_once && found->relation == relation && pg::is_empty(pg::table_oid(pg::Table::quarantine))) source = found;
    });
    return error == nullptr ? source : nullptr;
}

bool leaves_facts_alone(TriggerData* trigger) {
    if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) return false;
    const Source* source = says_enough(trigger->tg_trigger->tgargs[0], RelationGetRelid(trigger->tg_relation));
    if (source == nullptr) return false;
    bool same = false;
    ErrorData* error = pg::attempt([&] {
        Layout before = make_layout(source, trigger->tg_relation);
        Layout after = make_layout(source, trigger->tg_relation);
        tuplestore_rescan(trigger->tg_oldtable);
        tuplestore_rescan(trigger->tg_newtable);
        same = true;
        while (same && tuplestore_gettupleslot(trigger->tg_oldtable, true, false, before.raw)) {
            CHECK_FOR_INTERRUPTS();
            same = tuplestore_gettupleslot(trigger->tg_newtable, true, false, after.raw) && reads_the_same(source, before.raw, after.raw);
        }
        drop_layout(before);
        drop_layout(after);
    });
    return same && error == nullptr;
}

void read_change(Intake* intake, TupleTableSlot* before, TupleTableSlot* after, bool held) {
    Reader& reader = intake->reader;
    bool compare = before != nullptr && (holds_rows(intake) || held);
    if (before != nullptr && after != nullptr && !compare && reads_the_same(reader.source, before, after)) return;
    if (intake->to_inbox) {
        write_letter(intake, before, after);
    } else {
        read_facts(&reader, before, after, compare);
    }
    if (!compare) return;
    // What is held of the row is out of date.
    MemoryContext caller = MemoryContextSwitchTo(reader.context);
    intake->gone.push(row_as_json(before));
    MemoryContextSwitchTo(caller);
}

void finish(Intake* intake) {
    std::string_view name = intake->reader.source->name;
    flush_letters(intake);
    if (!intake->gone.empty()) forget_quarantined(*intake->reader.source, intake->gone.span());
    intake->gone.clear();
    pg::Array<BadRow>& bad = intake->reader.bad;
    if (bad.empty()) return;
    quarantine(name, bad.span());
    bad.clear();
    intake->asked = nullptr;
}

}  // namespace lifecycle::source
