#include "segment/membership.hpp"

#include "customer/ledger.hpp"
#include "customer/packed_memberships.hpp"
#include "customer/shop.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/finger.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "segment/member.hpp"

namespace lifecycle::segment {

namespace {

pg::Statement note_problems{
    .sql = "INSERT INTO lifecycle.problem (customer_id, segment, sqlstate, message, seen_at)"
           " SELECT u.*, $5 FROM unnest($1, $2, $3, $4) AS u"
           " ON CONFLICT (customer_id, segment) DO UPDATE SET sqlstate = EXCLUDED.sqlstate, message = EXCLUDED.message,"
           " seen_at = EXCLUDED.seen_at",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};

// What goes on from before, as an import or a changed definition has left it standing, ends where it begins anew.
pg::Statement drop_fragments{
    .sql = "WITH unbroken AS (SELECT u.* FROM unnest($1, $2, $3) AS u (customer_id, segment, since)),"
           "      gone AS (DELETE FROM lifecycle.segment_past AS p USING unbroken AS u"
           "                WHERE p.customer_id = u.customer_id AND p.segment = u.segment AND p.entered_at >= u.since)"
           " UPDATE lifecycle.segment_past AS p SET left_at = u.since FROM unbroken AS u"
           "  WHERE p.customer_id = u.customer_id AND p.segment = u.segment AND p.entered_at < u.since AND p.left_at > u.since",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

pg::Statement fold_deltas{
    .sql = "WITH gone AS (DELETE FROM lifecycle.segment_delta AS d"
           "               WHERE (SELECT count(*) FROM (SELECT FROM lifecycle.segment_delta LIMIT 1000) AS x) = 1000"
           "              RETURNING d.segment, d.members)"
           " INSERT INTO lifecycle.segment_delta (segment, members) SELECT g.segment, sum(g.members) FROM gone AS g GROUP BY g.segment"};

// The stays that a correction makes doubtful: all that reach up to the first corrected instant or beyond.
pg::Statement take_back{
    .sql = "DELETE FROM lifecycle.segment_past AS p USING unnest($1, $2) WITH ORDINALITY AS u (customer_id, corrected_from, n)"
           " WHERE p.customer_id = u.customer_id AND p.left_at >= u.corrected_from"
           " RETURNING u.n, p.segment, p.entered_at, p.left_at",
    .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

// Of the stays that were taken back, what still stands: all of a segment that purchases do not move, and what an import leaves of the
// others up to its first purchase.
void keep_what_stands(Customer& c) {
    for (const TakenBack& stay : c.taken_back) {
        if (stay.change != &c.change) continue;
        Instant left = stay.left;
        Datum name = 0;
        for (size_t i = 0; i < c.count(); ++i) {
            const Segment& segment = c.all.list[i];
            if (segment.name_view != stay.segment) continue;
            name = segment.name;
            bool goes_on = c.held[i] && c.since[i] == stay.entered;
            if (!segment.timeless) left = c.change.imported && !goes_on ? Min(left, c.change.corrected_from) : stay.entered;
        }
        if (name == 0) name = pg::to_datum(stay.segment);  // a segment that has been deleted since
        if (left > stay.entered) c.writes.past.push({name, c.change.after.values[kCustomerId], stay.entered, left});
    }
}

// Writes the outcome into the row and notes what changes in segment_member.
void show(Customer& c) {
    Change& change = c.change;
    bool same = true;
    for (size_t i = 0; i < c.count(); ++i) same &= c.was[i] == c.held[i] && (!c.held[i] || c.was_since[i] == c.since[i]);
    if (same && change.existed && !change.replay) return;

    pg::Array<customer::PackedMembership> memberships;
    change.after.clear(kLifecycle);
    change.after.clear(kEngagement);
    for (size_t i = 0; i < c.count(); ++i) {
        const Segment& s = c.all.list[i];
        bool moved = c.was[i] && (!c.held[i] || c.was_since[i] != c.since[i]);
        if (moved) c.writes.left.push({static_cast<uint32>(i), &change, c.was_since[i], false});
        if (!c.held[i]) continue;
        if (!c.was[i] || moved) c.writes.entered.push({static_cast<uint32>(i), &change, c.since[i], i == c.ends_first});
        memberships.push({s.id, c.since[i]});
        if (s.dimension != 0 && s.dimension == c.all.lifecycle_dimension) change.after.set(kLifecycle, s.name);
        if (s.dimension != 0 && s.dimension == c.all.engagement_dimension) change.after.set(kEngagement, s.name);
    }
    change.after.set(kMemberships, customer::pack_memberships(memberships.span()));
}

// False: it takes the customer's past to know, which has not been read.
bool classify_one(Customer& c) {
    Change& change = c.change;
    c.load();
    pg::use_zone(customer::zone_of(change.after));
    if (change.redefined) {
        if (!look_back_in_row(c)) return false;
    } else if (change.path == Path::lived && change.existed) {
        live(c);
        change.next_flip = c.next_change(change.now);
    } else if (takes_over(change)) {
        take_over(c);
    } else if (change.corrected_from != rules::kNever && !change.imported) {
        correct(c);
    } else {
        look_back(c);
    }
    keep_what_stands(c);
    show(c);
    return true;
}

// A purchase that is a little late, after all that was known: if time has changed something since it was made, on the record or by what it
// brings, looking back from now would miss that, and the history is rewritten from there.
void correct_what_is_late(Customer& c) {
    Change& change = c.change;
    bool late = change.existed && change.path == Path::looked_back && !change.from_scratch && !change.moments.empty();
    if (!late || change.imported || change.corrected_from != rules::kNever) return;
    Instant first = change.moments[0].at;
    pg::use_zone(customer::zone_of(change.after));
    c.become(change.before);
    bool flips = c.next_flip(first - 1) <= change.base.at;
    for (size_t k = 0; k < change.moments.size() && !flips; ++k) {
        if (!ends_instant(change.moments, k)) continue;
        become_as_of(c, k);
        flips = c.next_flip(change.moments[k].at) <= change.now;
    }
    if (flips) change.corrected_from = first;
}

pg::Array<TakenBack> take_back_stays(Batch batch) {
    pg::Array<Datum> customers, corrected_from;
    pg::Array<const Change*> corrected;
    for (Change& change : batch) {
        if (change.corrected_from == rules::kNever) continue;
        customers.push(change.after.values[kCustomerId]);
        corrected_from.push(TimestampTzGetDatum(change.corrected_from));
        corrected.push(&change);
    }
    pg::Array<TakenBack> stays;
    if (corrected.empty()) return stays;
    Datum args[] = {pg::text_array(customers.span()), pg::instant_array(corrected_from.span())};
    uint64 rows = take_back.run(args);
    for (uint64 i = 0; i < rows; ++i) {
        stays.push({corrected[DatumGetInt64(pg::cell(i, 1).value) - 1], pg::text_cell(i, 2),
                    DatumGetTimestampTz(pg::cell(i, 3).value), DatumGetTimestampTz(pg::cell(i, 4).value)});
    }
    return stays;
}

bool nothing_to_do(const Change& change) {
    return change.existed && !change.from_scratch && !change.replay && change.moments.empty() && change.facts.empty() &&
           change.before.instant(kNextChangeAt, rules::kNever) > change.now;
}

// How many more, or fewer, each segment has now. A row for each transaction that changes it: nobody waits for anybody, and the sum of
// them is exact.
void write_deltas(const Segments& all, const Writes& writes) {
    auto delta = pg::zeroed<int64>(all.list.size + 1);
    for (const Writes::Move& move : writes.entered) ++delta[move.segment];
    for (const Writes::Move& move : writes.left) --delta[move.segment];
    pg::TableWriter* deltas = nullptr;
    for (size_t i = 0; i < all.list.size; ++i) {
        if (delta[i] == 0) continue;
        if (deltas == nullptr) deltas = pg::open_writer(pg::table_oid(pg::Table::segment_delta));
        Datum values[] = {all.list[i].name, Int64GetDatum(delta[i])};
        bool nulls[] = {false, false};
        pg::insert(deltas, values, nulls);
    }
    if (deltas != nullptr) pg::close_writer(deltas);
}

// In the order of their index, which is walked along instead of here and there: by segment, and the customers come sorted.
std::span<const Writes::Move*> in_order_of_index(const Segments& all, const pg::Array<Writes::Move>& moves) {
    auto starts = pg::zeroed<size_t>(all.list.size + 1);
    for (const Writes::Move& move : moves) ++starts[move.segment + 1];
    for (size_t i = 1; i <= all.list.size; ++i) starts[i] += starts[i - 1];
    auto sorted = pg::zeroed<const Writes::Move*>(moves.size);
    for (const Writes::Move& move : moves) sorted[starts[move.segment]++] = &move;
    return sorted;
}

Datum customer_of(const Writes::Move& move) { return move.change->after.values[kCustomerId]; }

void remove_members(const Segments& all, const Writes& writes, pg::TableWriter* members) {
    pg::Array<pg::Doomed> doomed;
    doomed.reserve(writes.left.size);
    for (const Writes::Move* move : in_order_of_index(all, writes.left))
        doomed.push({{all.list[move->segment].name, customer_of(*move), TimestampTzGetDatum(move->since)}, &move->change->member_row});
    pg::remove_rows(members, doomed.span());
}

// The timer is to say where the membership lies that it will most likely end.
void write_members(const Segments& all, Writes& writes, Gathered* gathered) {
    pg::TableWriter* members = pg::open_writer(pg::table_oid(pg::Table::segment_member));
    remove_members(all, writes, members);
    pg::Array<ItemPointerData> places;
    members->places = &places;
    auto entered = in_order_of_index(all, writes.entered);
    for (const Writes::Move* move : entered) {
        Datum values[] = {all.list[move->segment].name, customer_of(*move), TimestampTzGetDatum(move->since)};
        bool nulls[] = {false, false, false};
        if (gathered == nullptr) {
            pg::insert(members, values, nulls);
        } else {
            pg::insert(gathered->members, values, nulls);
            ++gathered->member_count;
            if (move->ends_first) move->change->member_number = gathered->member_count;
        }
    }
    pg::close_writer(members);
    for (size_t k = 0; k < places.size; ++k) {
        if (entered[k]->ends_first) entered[k]->change->member_row = places[k];
    }
}

void write(const Segments& all, Writes& writes, Instant now, Gathered* gathered) {
    if (!writes.left.empty() || !writes.entered.empty()) {
        write_deltas(all, writes);
        write_members(all, writes, gathered);
    }
    if (!writes.unbroken_customers.empty() && !pg::is_empty(pg::table_oid(pg::Table::segment_past))) {
        Datum args[] = {pg::text_array(writes.unbroken_customers.span()), pg::text_array(writes.unbroken_segments.span()),
                        pg::instant_array(writes.unbroken_since.span())};
        drop_fragments.run(args);
    }
    if (!writes.past.empty()) {
        pg::TableWriter* past = pg::open_writer(pg::table_oid(pg::Table::segment_past));
        for (const Writes::Stay& stay : writes.past) {
            Datum values[] = {stay.segment, stay.customer, TimestampTzGetDatum(stay.entered), TimestampTzGetDatum(stay.left)};
            bool nulls[] = {false, false, false, false};
            pg::insert(past, values, nulls);
        }
        pg::close_writer(past);
    }
    pg::written();
    if (!writes.problem_customers.empty()) {
        Datum args[] = {pg::text_array(writes.problem_customers.span()), pg::text_array(writes.problem_segments.span()),
                        pg::text_array(writes.problem_states.span()), pg::text_array(writes.problem_messages.span()),
                        TimestampTzGetDatum(now)};
        note_problems.run(args);
    }
}

// Reads what these customers have done, all of it.
void recall_past(std::span<Change* const> changes, std::span<const size_t> which) {
    if (which.empty()) return;
    auto some = pg::zeroed<Change>(which.size());
    for (size_t i = 0; i < which.size(); ++i) some[i] = *changes[which[i]];
    customer::take_in_purchases(some, false);  // nothing is new
    for (size_t i = 0; i < which.size(); ++i) {
        *changes[which[i]] = some[i];
        changes[which[i]]->redefined = false;
    }
}

}  // namespace

void Writes::forget_since(const Writes& before) {
    past.size = before.past.size;
    entered.size = before.entered.size;
    left.size = before.left.size;
    unbroken_customers.size = before.unbroken_customers.size;
    unbroken_segments.size = before.unbroken_segments.size;
    unbroken_since.size = before.unbroken_since.size;
}

void classify(Batch batch) {
    pg::fault_point("segments");
    const Segments& all = refresh_segments();
    size_t n = all.list.size;
    Writes writes;
    auto bytes = pg::zeroed<uint8>(3 * n + 1);
    auto instants = pg::zeroed<Instant>(2 * n + 1);
    Workshop shop = make_workshop(all);
    pg::Array<Change*> concerned;
    for (Change& change : batch) {
        if (nothing_to_do(change)) {
            change.next_flip = change.before.instant(kNextChangeAt, rules::kNever);
        } else {
            concerned.push(&change);
        }
    }
    pg::Array<Deeds> deeds = load_deeds(all.calls, concerned.span());

    pg::Array<TakenBack> taken_back;
    auto customer = [&](size_t i, bool careful) {
        for (Counting& counting : shop.countings) counting.built = false;
        return Customer{all, *concerned[i], writes, shop, deeds.empty() ? nullptr : &deeds[i], {taken_back.data, taken_back.size},
                        false, careful, bytes.subspan(0, n), instants.subspan(0, n), bytes.subspan(n, n),
                        instants.subspan(n, n), bytes.subspan(2 * n, n)};
    };
    pg::keep_zone([&] {
        for (size_t i = 0; i < concerned.size; ++i) {
            Customer c = customer(i, true);
            correct_what_is_late(c);
        }
    });
    taken_back = take_back_stays(batch);

    auto work_out = [&](size_t i) {
        Change& change = *concerned[i];
        // Carefully, if it would not stand to be broken off in the middle.
        Customer c = customer(i, takes_over(change) && !change.redefined);
        Writes before = writes;  // the arrays' sizes, to forget what a failed try has added
        size_t signals = change.signals.size;
        bool done = false;
        std::fill(bytes.begin(), bytes.end(), 0);
        ErrorData* error = pg::attempt([&] { done = classify_one(c); });
        if (error == nullptr) return done;
        writes.forget_since(before);
        change.signals.size = signals;
        std::fill(bytes.begin(), bytes.end(), 0);
        Customer again = customer(i, true);
        return classify_one(again);
    };
    pg::keep_zone([&] {
        pg::Array<size_t> wanting;
        for (size_t i = 0; i < concerned.size; ++i) {
            if (!work_out(i)) wanting.push(i);
        }
        recall_past(concerned.span(), wanting.span());
        for (size_t i : wanting) work_out(i);
    });
    for (Change& change : batch) {
        Instant next = Min(change.next_flip, change.after.instant(kNextFactAt, rules::kNever));
        next = Min(next, change.after.instant(kLoyaltyDueAt, rules::kNever));
        change.after.set_instant(kNextChangeAt, next);
    }
    if (!batch.empty()) write(all, writes, batch[0].now, batch[0].gathered);
}

void tidy() { fold_deltas.run(); }

}  // namespace lifecycle::segment
