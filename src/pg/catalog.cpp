#include "pg/catalog.hpp"

#include "pg/array.hpp"

namespace lifecycle::pg {

namespace {

constexpr const char* kNames[] = {"customer", "purchase_ledger", "segment_member", "segment_past", "segment_delta", "tier_past", "timer",
                                  "segment", "tier", "loyalty_program", "scenario", "step", "channel", "shop", "source",
                                  "points_lot_settled", "points_entry_settled", "points_run", "quarantine", "sent_note", "outbox", "outbox_0", "outbox_1", "outbox_2", "outbox_3",
                                  "enrolment_settled", "enrolment_step", "suppression", "points_entry_id_seq"};
static_assert(std::size(kNames) == static_cast<size_t>(Table::count));

Oid oids[std::size(kNames)];  // InvalidOid: to be looked up
Oid owner = InvalidOid;
uint64 configuration = 1;
uint64 sources = 1;

constexpr int kMaxWatched = 256;
Oid watched[kMaxWatched];
int watched_count = 0;

void forget_oids() {
    for (Oid& oid : oids) oid = InvalidOid;
    owner = InvalidOid;
}

void relation_changed(Datum, Oid relation) {
    if (!OidIsValid(relation)) {
        forget_oids();
        ++configuration;
        ++sources;
        return;
    }
    // Rows of configuration tables are announced as changes of lifecycle.shop (see config_changed).
    if (relation == oids[static_cast<int>(Table::shop)]) ++configuration;
    if (watched_count == kMaxWatched) {  // too many to tell apart
        ++sources;
        return;
    }
    for (int i = 0; i < watched_count; ++i) {
        if (watched[i] == relation) ++sources;
    }
}

// DROP EXTENSION takes the schema away, and CREATE EXTENSION brings a new one with other oids.
void namespace_changed(Datum, int, uint32) {
    forget_oids();
    ++configuration;
    ++sources;
}

}  // namespace

bool extension_exists() {
    Oid schema = get_namespace_oid("lifecycle", true);
    return OidIsValid(schema) && OidIsValid(get_relname_relid("customer", schema)) &&
           OidIsValid(get_relname_relid("shop", schema));
}

Oid table_oid(const char* name) {
    Oid oid = get_relname_relid(name, get_namespace_oid("lifecycle", false));
    if (!OidIsValid(oid))
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"lifecycle.%s\" does not exist", name),
                errhint("Run CREATE EXTENSION pg_lifecycle."));
    return oid;
}

Oid table_oid(Table table) {
    int i = static_cast<int>(table);
    if (!OidIsValid(oids[i])) oids[i] = table_oid(kNames[i]);
    return oids[i];
}

Oid extension_owner() {
    if (!OidIsValid(owner)) {
        // Of the schema, not of some table: quarantine must work when tables are broken.
        HeapTuple tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(get_namespace_oid("lifecycle", false)));
        if (!HeapTupleIsValid(tuple)) elog(ERROR, "schema \"lifecycle\" has gone");
        owner = reinterpret_cast<Form_pg_namespace>(GETSTRUCT(tuple))->nspowner;
        ReleaseSysCache(tuple);
    }
    return owner;
}

bool is_ours(Oid function) {
    return getExtensionOfObject(ProcedureRelationId, function) == get_extension_oid("pg_lifecycle", true);
}

uint64 config_generation() {
    table_oid(Table::shop);  // the callback recognises the table by its oid
    return configuration;
}

void config_changed() {
    CacheInvalidateRelcacheByRelid(table_oid(Table::shop));
    ++configuration;
}

uint64 source_generation() { return sources; }

void watch_source(Oid relation) {
    for (int i = 0; i < watched_count; ++i) {
        if (watched[i] == relation) return;
    }
    if (watched_count < kMaxWatched) watched[watched_count++] = relation;
}

void install_invalidation_callbacks() {
    CacheRegisterRelcacheCallback(relation_changed, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_changed, 0);
}

}  // namespace lifecycle::pg

using namespace lifecycle;

// The statement trigger on every configuration table.
LIFECYCLE_FUNCTION(lifecycle_config_changed) {
    pg::config_changed();
    PG_RETURN_POINTER(nullptr);
}

LIFECYCLE_FUNCTION(lifecycle_restoring) { PG_RETURN_BOOL(pg::restoring()); }

LIFECYCLE_FUNCTION(lifecycle_system_identifier) { PG_RETURN_INT64(static_cast<int64>(GetSystemIdentifier())); }
