#include "outbox/message.hpp"

#include "pg/catalog.hpp"

namespace lifecycle::outbox {

namespace {

pg::Rows* get(Parts& parts, Oid part, int checks) {
    for (pg::Rows* rows : parts.open) {
        if (RelationGetRelid(rows->relation) == part) return rows;
    }
    pg::Rows* rows = pg::open_rows(part);
    parts.plain = parts.plain && pg::is_plain(rows, parts.outbox, checks);
    return parts.open.push(rows);
}

}  // namespace

pg::Rows* Parts::waiting(Oid part) { return get(*this, part, kChecks); }
pg::Rows* Parts::history(Oid part) { return get(*this, part, kChecks + 1); }

Message read(HeapTuple row, TupleDesc layout) {
    auto columns = static_cast<size_t>(layout->natts);
    Message m{pg::zeroed<Datum>(columns).data(), pg::zeroed<bool>(columns).data()};
    heap_deform_tuple(row, layout, m.values, m.nulls);
    return m;
}

Oid part_that_waits(int n) { return pg::table_oid(psprintf("outbox_%d", n)); }

Parts open_parts() {
    Parts parts{.outbox = nullptr, .open = {}, .plain = true};
    parts.outbox = table_open(pg::table_oid(pg::Table::outbox), RowExclusiveLock);
    if (RelationGetDescr(parts.outbox)->natts < kColumns)
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("table \"lifecycle.outbox\" does not have the columns this version of pg_lifecycle knows"),
                errhint("Run ALTER EXTENSION pg_lifecycle UPDATE."));
    return parts;
}

void close_parts(Parts& parts) {
    for (pg::Rows* rows : parts.open) pg::close_rows(rows);
    table_close(parts.outbox, NoLock);
}

}  // namespace lifecycle::outbox
