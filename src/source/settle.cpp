// Taking steps in, together.
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/json.hpp"
#include "pg/settings.hpp"
#include "source/history.hpp"
#include "source/inbox.hpp"
#include "source/nesting.hpp"
#include "source/pending.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"

namespace lifecycle::source {

namespace {

// The row that the json of a letter tells of, or nothing.
TupleTableSlot* slot_of(Intake* intake, Datum json) {
    if (json == 0) return nullptr;
    const Source* source = intake->reader.source;
    if (intake->reads != source) intake->row_reader = pg::make_row_reader(get_rel_type_id(source->relation));
    intake->reads = source;
    check_columns(*source, pg::view(json));
    HeapTupleHeader header = DatumGetHeapTupleHeader(pg::row_from_json(intake->row_reader, json));
    HeapTupleData tuple{};
    tuple.t_len = HeapTupleHeaderGetDatumLength(header);
    tuple.t_data = header;
    TupleTableSlot* slot = MakeSingleTupleTableSlot(source->evaluator->slot->tts_tupleDescriptor, &TTSOpsHeapTuple);
    ExecStoreHeapTuple(&tuple, slot, false);
    ExecMaterializeSlot(slot);
    return slot;
}

void read_letter(Intake* intake, const Step* step) {
    TupleTableSlot* before = slot_of(intake, step->letter.gone);
    TupleTableSlot* after = slot_of(intake, step->letter.arrived);
    read_change(intake, before, after, step->held);
    if (before != nullptr) ExecDropSingleTupleTableSlot(before);
    if (after != nullptr) ExecDropSingleTupleTableSlot(after);
}

void read_rows(Intake* intake, const Step* step) {
    Layout before = make_layout(intake->reader.source, step->layout);
    Layout after = make_layout(intake->reader.source, step->layout);
    auto stored = [](const Layout& layout, MinimalTuple row) -> TupleTableSlot* {
        if (row == nullptr) return nullptr;
        ExecStoreMinimalTuple(row, layout.raw, false);
        return as_attached(layout);
    };
    for (const RowChange& row : step->rows) {
        CHECK_FOR_INTERRUPTS();
        read_change(intake, stored(before, row.gone), stored(after, row.arrived));
    }
    drop_layout(before);
    drop_layout(after);
}

void read_group(Intake* intake, const Step* step) {
    const Source* source = intake->reader.source;
    TupleDesc layout = source->evaluator->slot->tts_tupleDescriptor;
    TupleTableSlot* before = MakeSingleTupleTableSlot(layout, &TTSOpsMinimalTuple);
    TupleTableSlot* after = MakeSingleTupleTableSlot(layout, &TTSOpsMinimalTuple);
    auto stored = [](TupleTableSlot* slot, MinimalTuple row) -> TupleTableSlot* {
        return row == nullptr ? nullptr : ExecStoreMinimalTuple(row, slot, false);
    };
    for (const NetChange& change : net_changes(source, step->parts)) {
        CHECK_FOR_INTERRUPTS();
        read_change(intake, stored(before, change.row.gone), stored(after, change.row.arrived));
    }
    ExecDropSingleTupleTableSlot(before);
    ExecDropSingleTupleTableSlot(after);
}

bool is_letter(const Step* step) { return step->layout == nullptr && step->parts.empty(); }

// Leaves out what a backfill has not come to: it will find the rows as they are.
void leave_out_unread(Intake* intake, size_t from, std::string_view up_to) {
    pg::Array<Fact>& facts = intake->reader.facts;
    size_t kept = from;
    for (size_t i = from; i < facts.size; ++i) {
        if (backfill_key(*intake->reader.source, facts[i]) <= up_to) facts[kept++] = facts[i];
    }
    facts.size = kept;
}

// With the rights of whoever said it: the types of a table's columns may run code of its owner when a row is shown.
void read_step(Intake* intake, const Step* step) {
    bool letter = is_letter(step);
    turn_to(intake, step->source, letter);
    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(step->user, step->security);  // an error restores it with the subtransaction
    if (letter) {
        size_t from = intake->reader.facts.size;
        read_letter(intake, step);
        if (step->up_to != nullptr) leave_out_unread(intake, from, *step->up_to);
    } else if (!step->parts.empty()) {
        read_group(intake, step);
    } else {
        read_rows(intake, step);
    }
    SetUserIdAndSecContext(user, security);
    finish(intake);
}

uint64 key_of(const Fact& fact) {
    auto hash = [](std::string_view bytes, uint64 seed) {
        return DatumGetUInt64(hash_any_extended(reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), seed));
    };
    uint64 seed = static_cast<uint64>(static_cast<uint32>(fact.source_id)) << 8 | static_cast<uint64>(fact.kind);
    return hash(fact.id, hash(fact.customer, seed));
}

// Where the facts have to be cut so that each part can be taken in at once: within one part the engine takes back what was known before
// first, then takes in what has come. So what takes back a fact begins another part than the one the fact came in. `starts` are where the
// steps' facts begin; returns the ends of the parts.
pg::Array<size_t> parts_of(std::span<const Fact> facts, std::span<const size_t> starts) {
    pg::Array<size_t> ends;
    bool takes_back = false;
    for (const Fact& fact : facts) takes_back |= fact.withdrawn;
    if (takes_back && starts.size() > 1) {
        HASHCTL control{};
        control.keysize = sizeof(uint64);
        control.entrysize = sizeof(uint64);
        control.hcxt = CurrentMemoryContext;
        auto fresh = [&] { return hash_create("facts of a part", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT); };
        HTAB* come = fresh();
        size_t begin = 0;
        bool by_order = false;       // some come without a customer: whose they are depends on orders that come or go
        bool gone_by_order = false;  // some that go: an order that comes or goes now must not take them along
        for (size_t step = 0; step < starts.size(); ++step) {
            auto own = facts.subspan(starts[step], (step + 1 < starts.size() ? starts[step + 1] : facts.size()) - starts[step]);
            bool known = false;
            for (const Fact& fact : own) {
                uint64 key = key_of(fact);
                known |= gone_by_order && fact.kind == FactKind::order;
                if (!fact.withdrawn) continue;
                known |= by_order || fact.customer.empty() || hash_search(come, &key, HASH_FIND, nullptr) != nullptr;
            }
            if (known && starts[step] > begin) {
                begin = starts[step];
                ends.push(begin);
                hash_destroy(come);
                come = fresh();
                by_order = gone_by_order = false;
            }
            for (const Fact& fact : own) {
                uint64 key = key_of(fact);
                if (!fact.withdrawn) hash_search(come, &key, HASH_ENTER, nullptr);
                by_order |= fact.customer.empty();
                gone_by_order |= fact.withdrawn && fact.customer.empty();
            }
        }
        hash_destroy(come);
    }
    ends.push(facts.size());
    return ends;
}

void take_in(std::span<Step*> steps, MemoryContext memory) {
    pg::fault_point("settle");
    customer::current_shop();
    Intake intake = make_intake(memory);
    pg::Array<size_t> starts;
    for (const Step* step : steps) {
        starts.push(intake.reader.facts.size);
        read_step(&intake, step);
    }
    auto facts = intake.reader.facts.span();
    if (facts.empty()) return;
    auto ends = parts_of(facts, starts.span());
    // Part by part, but all customers are locked before: whoever else settles meanwhile does it in the same order.
    if (ends.size > 1) engine::lock_customers(facts);
    size_t start = 0;
    for (size_t end : ends) {
        engine::take_in(facts.subspan(start, end - start), {});
        start = end;
    }
}

void collect(const Step* step, const ErrorData* error, pg::Array<BadRow>* into) {
    auto push = [&](Datum row, bool gone) { into->push({row, error->sqlerrcode, error->message, error->detail, gone}); };
    if (is_letter(step)) {
        if (step->letter.gone != 0) push(step->letter.gone, true);
        if (step->letter.arrived != 0) push(step->letter.arrived, false);
        return;
    }
    pg::Array<NetChange> changes;
    if (!step->parts.empty()) changes = net_changes(nullptr, step->parts);
    for (const RowChange& row : step->rows) changes.push({row, step->layout});
    TupleTableSlot* slot = nullptr;
    for (bool gone : {true, false}) {
        for (const NetChange& change : changes) {
            MinimalTuple tuple = gone ? change.row.gone : change.row.arrived;
            if (tuple == nullptr) continue;
            if (slot == nullptr || slot->tts_tupleDescriptor != change.layout) {  // which most have in common
                if (slot != nullptr) ExecDropSingleTupleTableSlot(slot);
                slot = MakeSingleTupleTableSlot(change.layout, &TTSOpsMinimalTuple);
            }
            ExecStoreMinimalTuple(tuple, slot, false);
            push(row_as_json(slot), gone);
        }
    }
    if (slot != nullptr) ExecDropSingleTupleTableSlot(slot);
}

void put_aside(std::span<Step*> steps, const ErrorData* error) {
    ErrorData* again = pg::protect([&] {
        for (const Step* step : steps) {
            Oid user;
            int security;
            GetUserIdAndSecContext(&user, &security);
            SetUserIdAndSecContext(step->user, step->security);
            pg::Array<BadRow> rows;
            collect(step, error, &rows);
            SetUserIdAndSecContext(user, security);
            quarantine(step->source, rows.span());
        }
    });
    if (again == nullptr) return;
    // The last resort: the shop's transaction still succeeds, and the server's log keeps what happened.
    ereport(WARNING, errcode(error->sqlerrcode),
            errmsg("pg_lifecycle could not process changes of source \"%s\": %s", steps[0]->source, error->message),
            errhint("Run lifecycle.rebuild() after detaching and attaching source \"%s\".", steps[0]->source));
}

// How often what fails is halved to find the steps at fault. Each attempt is a subtransaction, and there must not be many.
constexpr int kHalvings = 10;

void settle_or_halve(std::span<Step*> steps, bool impatient, MemoryContext memory, int* halvings) {
    ErrorData* error = protect_and_retry([&](engine::Options) {
        MemoryContextReset(memory);
        MemoryContext caller = MemoryContextSwitchTo(memory);
        take_in(steps, memory);
        MemoryContextSwitchTo(caller);
    });
    if (error == nullptr) return;
    if (pg::settings.on_error == pg::kRaise) ReThrowError(error);
    if (impatient && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE) ReThrowError(error);
    if (steps.size() == 1 || (*halvings)-- <= 0) {
        put_aside(steps, error);
        return;
    }
    size_t half = steps.size() / 2;
    settle_or_halve(steps.first(half), impatient, memory, halvings);
    settle_or_halve(steps.subspan(half), impatient, memory, halvings);
}

}  // namespace

void settle(std::span<Step*> steps, bool impatient) {
    MemoryContext outer = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle settling", ALLOCSET_DEFAULT_SIZES);
    MemoryContext memory = AllocSetContextCreate(outer, "pg_lifecycle facts", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(outer);
    // A transaction may say READ ONLY when it has written, and means the statements that follow. An error sets it back by itself.
    bool read_only = XactReadOnly;
    XactReadOnly = false;
    int halvings = kHalvings;
    settle_or_halve(steps, impatient, memory, &halvings);
    XactReadOnly = read_only;
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(outer);
}

}  // namespace lifecycle::source
