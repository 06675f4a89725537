#include "source/gathered.hpp"

#include "pg/guard.hpp"
#include "pg/text.hpp"
#include "source/changes.hpp"
#include "source/pending.hpp"

namespace lifecycle::source {

namespace {

// For one source in one statement. While a statement's triggers fire, statements of other triggers may run within, and have their own.
struct Gathered {
    const char* name;
    int depth;
    SubTransactionId subtransaction;
    const Source* compared;  // whose rows that say the same are left out; nullptr: none are
    Tuplestorestate* gone;
    Tuplestorestate* arrived;
};

pg::Array<Gathered> gathered{};  // in the transaction's memory

int trigger_depth() {
    LOCAL_FCINFO(call, 0);
    InitFunctionCallInfoData(*call, nullptr, 0, InvalidOid, nullptr, nullptr);
    return DatumGetInt32(pg_trigger_depth(call));
}

Gathered* find(const char* name) {
    int depth = trigger_depth();
    SubTransactionId here = GetCurrentSubTransactionId();
    for (size_t i = gathered.size; i > 0; --i) {  // the innermost come last
        Gathered& g = gathered[i - 1];
        if (g.depth == depth && g.subtransaction == here && strcmp(g.name, name) == 0) return &g;
    }
    return nullptr;
}

void remove(Gathered* g) {
    size_t at = static_cast<size_t>(g - gathered.data);
    for (size_t i = at; i + 1 < gathered.size; ++i) gathered[i] = gathered[i + 1];
    --gathered.size;
}

Gathered* begin(TriggerData* trigger) {
    follow_transaction();
    const char* name = trigger->tg_trigger->tgargs[0];
    const Source* compared = says_enough(name, RelationGetRelid(trigger->tg_relation));
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    Gathered* g = &gathered.push({pstrdup(name), trigger_depth(), GetCurrentSubTransactionId(), compared, nullptr, nullptr});
    MemoryContextSwitchTo(caller);
    return g;
}

// As the server makes its transition tables: they belong to the subtransaction, not to whatever is open at the moment.
void make_stores(Gathered* g) {
    MemoryContext caller = MemoryContextSwitchTo(CurTransactionContext);
    ResourceOwner owner = CurrentResourceOwner;
    CurrentResourceOwner = CurTransactionResourceOwner;
    g->gone = tuplestore_begin_heap(false, false, work_mem);
    g->arrived = tuplestore_begin_heap(false, false, work_mem);
    CurrentResourceOwner = owner;
    MemoryContextSwitchTo(caller);
}

void end_stores(Tuplestorestate* gone, Tuplestorestate* arrived) {
    if (gone != nullptr) tuplestore_end(gone);
    if (arrived != nullptr) tuplestore_end(arrived);
}

}  // namespace

void gather(TriggerData* trigger) {
    Gathered* g = find(trigger->tg_trigger->tgargs[0]);
    if (g == nullptr) g = begin(trigger);
    if (g->compared != nullptr && reads_the_same(g->compared, trigger->tg_trigslot, trigger->tg_newslot)) return;
    if (g->gone == nullptr) make_stores(g);
    tuplestore_puttupleslot(g->gone, trigger->tg_trigslot);
    tuplestore_puttupleslot(g->arrived, trigger->tg_newslot);
}

bool take_gathered(TriggerData* trigger) {
    Gathered* g = gathered.empty() ? nullptr : find(trigger->tg_trigger->tgargs[0]);
    if (g == nullptr) return false;
    trigger->tg_oldtable = g->gone;
    trigger->tg_newtable = g->arrived;
    remove(g);
    return trigger->tg_oldtable != nullptr;
}

void drop_gathered(TriggerData* trigger) { end_stores(trigger->tg_oldtable, trigger->tg_newtable); }

void forget_gathered(bool rolled_back, SubTransactionId own) {
    size_t kept = 0;
    for (Gathered& g : gathered) {
        if (g.subtransaction != own) {
            gathered[kept++] = g;
        } else if (!rolled_back) {  // else they have gone with its memory
            end_stores(g.gone, g.arrived);
        }
    }
    gathered.size = kept;
}

void forget_gathered() {
    gathered = {};
}

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_gather) {
    TriggerData* trigger = source::trigger_data(fcinfo, "lifecycle.gather()");
    bool changed = TRIGGER_FIRED_FOR_ROW(trigger->tg_event) && TRIGGER_FIRED_AFTER(trigger->tg_event) &&
                   TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
    if (changed && trigger->tg_trigger->tgnargs == 1) source::gather(trigger);
    PG_RETURN_POINTER(nullptr);
}

// lifecycle.gathered_columns(source): the columns of which an UPDATE has to set one to say anything: those that are read, and the key by which
// rows that are held back are known. NULL: an UPDATE may change what is read in ways that no list of columns shows.
LIFECYCLE_FUNCTION(lifecycle_gathered_columns) {
    const char* name = pg::to_cstring(pg::view(PG_GETARG_DATUM(0)));
    source::Source* s = nullptr;
    ErrorData* error = pg::protect([&] { s = source::find_source(name); });
    if (error != nullptr || s->telling == nullptr) PG_RETURN_NULL();
    Relation relation = table_open(s->relation, AccessShareLock);
    TriggerDesc* triggers = relation->trigdesc;
    // A trigger of the shop's may change any column of a row that is about to be updated; rows may also be those of children.
    bool shown = (triggers == nullptr || !triggers->trig_update_before_row) && relation->rd_rel->relkind == RELKIND_RELATION &&
                 !relation->rd_rel->relispartition && !has_superclass(s->relation) && !has_subclass(s->relation);
    pg::Array<Datum> columns;
    for (int column = -1; (column = bms_next_member(s->telling, column)) >= 0;) {
        // Nor is what is generated ever set.
        shown = shown && column > 0 && TupleDescAttr(RelationGetDescr(relation), column - 1)->attgenerated == '\0';
        columns.push(Int16GetDatum(static_cast<int16>(column)));
    }
    table_close(relation, NoLock);
    if (!shown) PG_RETURN_NULL();
    PG_RETURN_ARRAYTYPE_P(construct_array(columns.data, static_cast<int>(columns.size), INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
}

// lifecycle.unread_columns(source): those by which a row that is held back is not known.
LIFECYCLE_FUNCTION(lifecycle_unread_columns) {
    PG_RETURN_DATUM(source::find_source(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))))->unread);
}

// lifecycle.unbind_trigger(trigger, table): a trigger's list of columns is not to keep them from being altered or dropped.
LIFECYCLE_FUNCTION(lifecycle_unbind_trigger) {
    deleteDependencyRecordsForSpecific(TriggerRelationId, PG_GETARG_OID(0), DEPENDENCY_NORMAL, RelationRelationId, PG_GETARG_OID(1));
    PG_RETURN_VOID();
}
