// The enrolments that are kept in their customer's row while they are open: those that came while there was room. An order that starts a scenario
// writes that row anyway, and so does a step that falls due. When one ends, it moves to lifecycle.enrolment_settled.
#include "customer/seen.hpp"
#include "pg/text.hpp"
#include "scenario/packed_ways.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

PackedWay packed(const Enrolment& e) {
    return {.scenario = pg::view(e.scenario_name), .anchor = pg::view(e.anchor), .anchor_at = e.anchor_at, .version = e.version,
            .decided = e.last_position != kNoPosition, .last_position = e.last_position, .last_at = e.last_at, .next_due = e.next_due,
            .enrolled_at = e.fresh ? e.change->now : e.enrolled_at};
}

void put_in(const Enrolment& e, Row& row) { row.set(kWays, with_way(row.nulls[kWays] ? Datum{0} : row.values[kWays], packed(e))); }

// Of names and what is there already. The row should stay out of TOAST, and what is too long for the key of the table is to fail at once; five to eight
// find room.
constexpr size_t kLongest = 240;

bool is_open(const Enrolment& e) { return strcmp(e.status, "active") == 0; }

bool finds_room(const Enrolment& e) {
    const Row& row = e.change->after;
    size_t there = row.nulls[kWays] ? 0 : pg::view(row.values[kWays]).size();
    return e.context == 0 && there + pg::view(e.scenario_name).size() + pg::view(e.anchor).size() <= kLongest;
}

void note_anchor(const Enrolment& e, Row& row) {
    if (row.nulls[kAnchorsSeen]) customer::begin_seen(row, kAnchorsSeen);
    customer::note_seen(row, kAnchorsSeen, pg::view(e.anchor));
}

// Those of one customer that were in the row, anew.
void put_back(std::span<Enrolment> of_one) {
    Row& row = of_one.front().change->after;
    row.clear(kWays);
    for (Enrolment& e : of_one) {
        e.in_row = e.in_row && is_open(e);
        if (e.in_row) put_in(e, row);
    }
}

}  // namespace

bool is_on_way(const Row& row, const Enrolment& e) {
    if (row.nulls[kWays]) return false;
    for (const PackedWay& way : unpack_ways(row.values[kWays])) {
        if (way.scenario == pg::view(e.scenario_name) && way.anchor == pg::view(e.anchor)) return true;
    }
    return false;
}

size_t load_ways(Work& work, Change& change) {
    if (change.before.nulls[kWays]) return 0;
    auto ways = unpack_ways(change.before.values[kWays]);
    for (const PackedWay& way : ways) {
        Enrolment e{};
        e.change = &change;
        e.customer = change.after.values[kCustomerId];
        e.scenario_name = pg::to_datum(way.scenario);
        e.anchor = pg::to_datum(way.anchor);
        e.anchor_at = way.anchor_at;
        e.version = way.version;
        e.last_position = way.decided ? way.last_position : kNoPosition;
        e.last_at = way.decided ? way.last_at : way.anchor_at;
        e.next_due = way.next_due;
        e.enrolled_at = way.enrolled_at;
        e.delivered_at = e.awaited_at = rules::kNever;
        e.status = "active";
        e.in_row = true;
        work.enrolments.push(e);
    }
    return ways.size;
}

void keep_in_rows(Work& work) {
    std::span<Enrolment> all = work.enrolments.span();
    for (size_t i = 0, end; i < all.size(); i = end) {  // what was read lies together, customer by customer
        bool changed = false;
        for (end = i; end < all.size() && all[end].change == all[i].change && all[end].fresh == all[i].fresh; ++end)
            changed = changed || (all[end].in_row && all[end].touched);
        if (changed) put_back(all.subspan(i, end - i));
    }
    for (Enrolment& e : all) {
        if (!e.fresh) continue;
        Row& row = e.change->after;
        note_anchor(e, row);
        e.in_row = is_open(e) && finds_room(e);
        if (e.in_row) put_in(e, row);
    }
}

}  // namespace lifecycle::scenario
