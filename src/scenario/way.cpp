// The enrolment that is kept in its customer's row while it is open: one at most, whichever came when there was none. An order that starts a
// scenario writes that row anyway, and so does a step that falls due. When it ends, it moves to lifecycle.enrolment_settled.
#include "customer/seen.hpp"
#include "pg/catalog.hpp"
#include "pg/text.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// The fields of lifecycle.way, in its order: one column of the customer's row, because each costs every order, even where it is NULL.
enum WayField { kScenario, kAnchor, kAnchorAt, kVersion, kLastPosition, kLastAt, kNextDueAt, kEnrolledAt, kWayFields };

struct Way {
    Datum values[kWayFields];
    bool nulls[kWayFields];
};

void check_fields(TupleDesc layout) {
    if (layout->natts != kWayFields)
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("type \"lifecycle.way\" does not have the attributes this version of pg_lifecycle knows"),
                errhint("Run ALTER EXTENSION pg_lifecycle UPDATE."));
}

Way read_way(const Row& row) {
    HeapTupleHeader header = DatumGetHeapTupleHeader(row.values[kWay]);
    HeapTupleData tuple{};
    tuple.t_len = HeapTupleHeaderGetDatumLength(header);
    tuple.t_data = header;
    TupleDesc layout = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
    check_fields(layout);
    Way way;
    heap_deform_tuple(&tuple, layout, way.values, way.nulls);
    ReleaseTupleDesc(layout);
    return way;
}

void write_way(const Enrolment& e, Row& row) {
    bool undecided = e.last_position == kNoPosition;
    Way way{{e.scenario_name, e.anchor, TimestampTzGetDatum(e.anchor_at), Int32GetDatum(e.version), Int32GetDatum(e.last_position),
             TimestampTzGetDatum(e.last_at), TimestampTzGetDatum(e.next_due), TimestampTzGetDatum(e.fresh ? e.change->now : e.enrolled_at)},
            {false, false, false, false, undecided, undecided, e.next_due == rules::kNever, false}};
    TupleDesc layout = lookup_rowtype_tupdesc(get_atttype(pg::table_oid(pg::Table::customer), kWay + 1), -1);
    check_fields(layout);
    row.set(kWay, HeapTupleGetDatum(heap_form_tuple(layout, way.values, way.nulls)));
    ReleaseTupleDesc(layout);
}

// The row should stay out of TOAST, and what is too long for the key of the table is to fail at once.
constexpr size_t kLongest = 200;

bool is_open(const Enrolment& e) { return strcmp(e.status, "active") == 0; }

bool finds_room(const Enrolment& e) {
    return e.change->after.nulls[kWay] && e.context == 0 && pg::view(e.scenario_name).size() + pg::view(e.anchor).size() <= kLongest;
}

void note_anchor(const Enrolment& e, Row& row) {
    if (row.nulls[kAnchorsSeen]) customer::begin_seen(row, kAnchorsSeen);
    customer::note_seen(row, kAnchorsSeen, pg::view(e.anchor));
}

}  // namespace

bool is_on_way(const Row& row, const Enrolment& e) {
    if (row.nulls[kWay]) return false;
    Way way = read_way(row);
    return pg::view(way.values[kScenario]) == pg::view(e.scenario_name) && pg::view(way.values[kAnchor]) == pg::view(e.anchor);
}

Enrolment way_of(Change& change) {
    Way way = read_way(change.after);
    Enrolment e{};
    e.change = &change;
    e.customer = change.after.values[kCustomerId];
    e.scenario_name = way.values[kScenario];
    e.anchor = way.values[kAnchor];
    e.anchor_at = DatumGetTimestampTz(way.values[kAnchorAt]);
    e.version = DatumGetInt32(way.values[kVersion]);
    e.last_position = way.nulls[kLastPosition] ? kNoPosition : DatumGetInt32(way.values[kLastPosition]);
    e.last_at = way.nulls[kLastAt] ? e.anchor_at : DatumGetTimestampTz(way.values[kLastAt]);
    e.next_due = way.nulls[kNextDueAt] ? rules::kNever : DatumGetTimestampTz(way.values[kNextDueAt]);
    e.enrolled_at = DatumGetTimestampTz(way.values[kEnrolledAt]);
    e.delivered_at = e.awaited_at = rules::kNever;
    e.status = "active";
    e.in_row = true;
    return e;
}

void keep_in_rows(Work& work) {
    for (Enrolment& e : work.enrolments) {
        if (!e.in_row || !e.touched) continue;
        Row& row = e.change->after;
        e.in_row = is_open(e);
        if (e.in_row) {
            write_way(e, row);
        } else {
            row.clear(kWay);
        }
    }
    for (Enrolment& e : work.enrolments) {
        if (!e.fresh) continue;
        Row& row = e.change->after;
        note_anchor(e, row);
        e.in_row = is_open(e) && finds_room(e);
        if (e.in_row) write_way(e, row);
    }
}

}  // namespace lifecycle::scenario
