#include "source/members.hpp"

#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/guard.hpp"
#include "pg/text.hpp"
#include "source/inbox.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"

namespace lifecycle::source {

namespace {

// TRUNCATE of a partitioned table fires the trigger of the table itself first, then those of all its partitions, which then have nothing
// to add.
struct Emptied {
    int32 source_id;
    TransactionId transaction;
    SubTransactionId subtransaction;
};
Emptied emptied{};
SubTransactionId statement_in = InvalidSubTransactionId;

bool is_emptied(const Source* source) {
    return emptied.source_id == source->id && emptied.transaction == GetTopTransactionIdIfAny() && emptied.subtransaction == statement_in;
}

constexpr size_t kFactsPerBatch = 50000;

// Calls `each` with every row of one table, as the attached table would have it. TRUNCATE and ATTACH PARTITION concern all rows there are,
// whether this transaction sees them or not; nobody else can change them meanwhile.
template <class F>
void for_each_row(const Source* source, Relation relation, F&& each) {
    Layout layout = make_layout(source, relation);
    TupleTableSlot* slot = table_slot_create(relation, nullptr);
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TableScanDesc scan = table_beginscan(relation, snapshot, 0, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        CHECK_FOR_INTERRUPTS();
        ExecCopySlot(layout.raw, slot);
        each(as_attached(layout));
    }
    table_endscan(scan);
    UnregisterSnapshot(snapshot);
    ExecDropSingleTupleTableSlot(slot);
    drop_layout(layout);
}

}  // namespace

void note_statement(bool truncates) {
    statement_in = GetCurrentSubTransactionId();
    if (!truncates) emptied = {};
}

void read_truncated(Intake* intake, Relation relation) {
    Source* source = intake->reader.source;
    bool whole = RelationGetRelid(relation) == source->relation &&
                 (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || !has_subclass(source->relation));
    if (whole) {
        if (intake->to_inbox) {
            write_emptied(source->name);
        } else {
            withdraw_everything(source, &intake->reader.facts);
        }
        emptied = {source->id, GetTopTransactionIdIfAny(), statement_in};
    } else if (relation->rd_rel->relkind == RELKIND_RELATION && !is_emptied(source)) {
        for_each_row(source, relation, [&](TupleTableSlot* row) { read_change(intake, row, nullptr); });
    }
}

void withdraw_or_warn(const char* name) {
    ErrorData* error = pg::protect([&] {
        Source source{};
        describe_source(name, &source);
        pg::Array<Fact> facts;
        withdraw_everything(&source, &facts);
        if (!facts.empty()) engine::take_in(facts.span(), {});
    });
    if (error == nullptr) return;
    ereport(WARNING, errcode(error->sqlerrcode),
            errmsg("pg_lifecycle could not take back what source \"%s\" has said: %s", name, error->message),
            errhint("Run lifecycle.rebuild() after detaching and attaching source \"%s\".", name));
}

// The rows of a table that has become, or has ceased to be, a part of the attached one. What is there already is not counted again.
static int64 read_member(const char* name, Relation relation, bool gone) {
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle member", ALLOCSET_DEFAULT_SIZES);
    Intake intake = make_intake(memory);
    turn_to(&intake, name);
    customer::current_shop();
    int64 rows = 0;
    auto flush = [&] {
        finish(&intake);
        // Takes back first: each row counts once, even if it has been counted before.
        take_in_or_raise(intake.reader.facts, {.silent = true});
        MemoryContextReset(memory);
        intake = make_intake(memory);
        turn_to(&intake, name);
    };
    // With the rights of the table's owner: the types of its columns may run code of his when a row is shown. An error restores the user.
    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(relation->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
    for_each_row(intake.reader.source, relation, [&](TupleTableSlot* row) {
        ++rows;
        read_change(&intake, row, nullptr);
        if (!gone) read_change(&intake, nullptr, row);
        if (intake.reader.facts.size >= kFactsPerBatch) flush();
    });
    flush();
    SetUserIdAndSecContext(user, security);
    MemoryContextDelete(memory);
    return rows;
}

}  // namespace lifecycle::source

using namespace lifecycle;

// lifecycle.read_member(source, table, gone).
LIFECYCLE_FUNCTION(lifecycle_read_member) {
    Relation relation = table_open(PG_GETARG_OID(1), AccessShareLock);
    int64 rows = source::read_member(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))), relation, PG_GETARG_BOOL(2));
    table_close(relation, NoLock);
    PG_RETURN_INT64(rows);
}

// lifecycle.source_error(source): why its mapping has ceased to work; NULL: it works.
LIFECYCLE_FUNCTION(lifecycle_source_error) {
    const char* name = pg::to_cstring(pg::view(PG_GETARG_DATUM(0)));
    ErrorData* error = pg::protect([&] { source::find_source(name); });
    if (error == nullptr) PG_RETURN_NULL();
    PG_RETURN_DATUM(pg::to_datum(error->message));
}
