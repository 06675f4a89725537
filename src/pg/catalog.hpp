// Our own tables, and the notice that configuration has changed.
#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

// The tables that are opened directly, and those whose rows are kept in memory.
enum class Table {
    customer, purchase_ledger, segment_member, segment_past, segment_delta, tier_past, timer,  // written directly
    segment, tier, loyalty_program, scenario, step, channel, shop,                 // configuration
    source,
    points_lot, points_entry, points_run,  // written directly
    quarantine,
    sent_note,  // written directly
    outbox,
    outbox_0, outbox_1, outbox_2, outbox_3, enrolment, enrolment_step,  // written directly
    suppression,
    points_entry_id_seq,  // a sequence
    count
};

bool extension_exists();
Oid table_oid(Table table);  // error if the extension is not there
Oid table_oid(const char* name);
Oid extension_owner();
// Whether a function came with this extension.
bool is_ours(Oid function);

// Grows whenever configuration may have changed: what was built from it under an older number must be built anew. DML on a
// configuration table calls config_changed(); the server's own invalidation messages carry it to every session at commit.
uint64 config_generation();
void config_changed();
// Hears now what others have changed, instead of at the next statement: for whoever has waited for them.
inline void catch_up() { AcceptInvalidationMessages(); }

// Grows whenever the definition of some attached table may have changed.
uint64 source_generation();
void watch_source(Oid relation);

// Whether this session loads a dump. The triggers of configuration tables then leave alone what the dump brings complete; nothing else
// than a dump turns both of these settings off.
inline bool restoring() { return !check_function_bodies && !row_security; }

void install_invalidation_callbacks();

}  // namespace lifecycle::pg
