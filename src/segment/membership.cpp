#include "segment/membership.hpp"

#include "customer/ledger.hpp"
#include "customer/shop.hpp"
#include "loyalty/loyalty.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "rules/flips.hpp"
#include "rules/membership.hpp"
#include "segment/predicates.hpp"

namespace lifecycle::segment {

namespace {

pg::Statement note_problems{
    .sql = "INSERT INTO lifecycle.problem (customer_id, segment, sqlstate, message, seen_at)"
           " SELECT u.*, $5 FROM unnest($1, $2, $3, $4) AS u"
           " ON CONFLICT (customer_id, segment) DO UPDATE SET sqlstate = EXCLUDED.sqlstate, message = EXCLUDED.message,"
           " seen_at = EXCLUDED.seen_at",
    .types = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}};

// The stays that a correction makes doubtful: all that reach up to the first corrected instant or beyond.
pg::Statement take_back{
    .sql = "DELETE FROM lifecycle.segment_past AS p USING unnest($1, $2) WITH ORDINALITY AS u (customer_id, corrected_from, n)"
           " WHERE p.customer_id = u.customer_id AND p.left_at >= u.corrected_from"
           " RETURNING u.n, p.segment, p.entered_at, p.left_at",
    .types = {TEXTARRAYOID, TIMESTAMPTZARRAYOID}};

// What a batch writes, gathered first.
struct Writes {
    struct Stay {
        Datum segment;
        Datum customer;
        Instant entered;
        Instant left;
    };
    pg::Array<Stay> past;
    pg::Array<Stay> entered;
    pg::Array<Datum> left_segments, left_customers;
    pg::Array<Datum> problem_customers, problem_segments, problem_states, problem_messages;
};

struct TakenBack {
    const Change* change;
    std::string_view segment;
    Instant entered;
    Instant left;
};

// One customer while memberships are worked out; the World of rules/membership.hpp.
struct Customer {
    const Segments& all;
    Change& change;
    Writes& writes;
    std::span<const TakenBack> taken_back;  // of the whole batch
    bool replaying;                         // what is entered now is history
    bool careful;  // a predicate has raised an error: judge each by itself

    rules::Held was;     // as the row had it
    std::span<Instant> was_since;
    rules::Held held;
    std::span<Instant> since;
    rules::Held scratch;
    std::span<Instant> flips;
    size_t flip_count;

    size_t count() const { return all.list.size; }

    // From here on the customer is what `row` says.
    void become(const Row& row) {
        pg::Evaluator* e = all.evaluator;
        pg::forget_row(e);
        ExecClearTuple(e->slot);
        memcpy(e->slot->tts_values, row.values, sizeof row.values);
        memcpy(e->slot->tts_isnull, row.nulls, sizeof row.nulls);
        ExecStoreVirtualTuple(e->slot);

        for (size_t i = 0; i < all.edges.size; ++i) {
            bool null = true;
            Datum edge = 0;
            if (careful) {
                ErrorData* error = pg::attempt([&] { edge = pg::evaluate(all.edges[i], e, &null); });
                if (error != nullptr) null = true;
            } else {
                edge = pg::evaluate(all.edges[i], e, &null);
            }
            pg::set_parameter(e, static_cast<int>(i) + 2, edge, null);
        }
        flip_count = 0;
        for (const pg::ClockTerm& term : all.terms) {
            const ParamExternData& edge = e->parameters->params[term.edge + 1];
            if (edge.isnull) continue;
            auto f = rules::flips_of(static_cast<rules::ClockComparison>(term.op), DatumGetTimestampTz(edge.value));
            if (f.first != rules::kNever) flips[flip_count++] = f.first;
            if (f.second != rules::kNever) flips[flip_count++] = f.second;
        }
    }

    Instant next_flip(Instant after) const {
        Instant next = rules::kNever;
        for (size_t i = 0; i < flip_count; ++i) {
            if (flips[i] > after && flips[i] < next) next = flips[i];
        }
        return next;
    }
    Instant previous_flip(Instant at_or_before) const {
        Instant previous = rules::kBeginning;
        for (size_t i = 0; i < flip_count; ++i) {
            if (flips[i] <= at_or_before && flips[i] > previous) previous = flips[i];
        }
        return previous;
    }

    bool holds(size_t i) {
        bool null = true;
        Datum result = 0;
        if (!careful) {
            result = pg::evaluate(all.list[i].predicate, all.evaluator, &null);
            return !null && DatumGetBool(result);
        }
        ErrorData* error = pg::attempt([&] { result = pg::evaluate(all.list[i].predicate, all.evaluator, &null); });
        if (error == nullptr) return !null && DatumGetBool(result);
        note_problem(i, error);
        return was[i] != 0;  // left as it was
    }

    void evaluate(Instant at, rules::Held into) {
        pg::set_parameter(all.evaluator, pg::kClockParameter, TimestampTzGetDatum(at), false);
        uint8 found = 0;  // the dimension in which a segment has been found
        for (size_t i = 0; i < count(); ++i) {
            uint8 dimension = all.dimensions[i];
            into[i] = (dimension == 0 || dimension != found) && holds(i);
            if (into[i] && dimension != 0) found = dimension;
        }
    }

    void changed(Instant at, rules::Held from, rules::Held to) {
        for (size_t i = 0; i < count(); ++i) {
            if (from[i] == to[i]) continue;
            if (from[i]) {
                if (at > since[i]) writes.past.push({all.list[i].name, change.after.values[kCustomerId], since[i], at});
            } else {
                since[i] = at;
                entered(i);
            }
        }
    }

    void entered(size_t i) {
        if (!change.silent && !change.replay && !replaying)
            change.signals.push({SignalKind::segment_entered, all.list[i].name_view, since[i]});
    }

    void note_problem(size_t i, ErrorData* error) {
        for (size_t k = 0; k < writes.problem_customers.size; ++k) {
            if (writes.problem_customers[k] == change.after.values[kCustomerId] && writes.problem_segments[k] == all.list[i].name)
                return;
        }
        writes.problem_customers.push(change.after.values[kCustomerId]);
        writes.problem_segments.push(all.list[i].name);
        writes.problem_states.push(pg::to_datum(unpack_sql_state(error->sqlerrcode)));
        writes.problem_messages.push(pg::to_datum(error->message));
    }

    void load() {
        if (change.before.nulls[kSegmentIds]) return;
        auto ids = pg::elements_of(change.before.values[kSegmentIds]);
        auto instants = pg::elements_of(change.before.values[kSegmentSince]);
        for (int k = 0; k < ids.count; ++k) {
            for (size_t i = 0; i < count(); ++i) {
                if (all.list[i].id != DatumGetInt32(ids.values[k])) continue;
                was[i] = 1;
                was_since[i] = DatumGetTimestampTz(instants.values[k]);
            }
        }
    }
};

bool profile_changed(const Change& change) {
    for (const Fact& fact : change.facts) {
        if (fact.kind == FactKind::customer || fact.kind == FactKind::consent) return true;
    }
    return false;
}

// The customer as of a moment: the row with that moment's numbers and tier.
void as_of(Row& row, const Moment& moment) {
    customer::show_numbers(row, moment.numbers);
    bool none;
    Datum tier = loyalty::tier_name(moment.tier, &none);
    none ? row.clear(kTier) : row.set(kTier, tier);
    row.set_instant(kTierSince, none ? rules::kNever : moment.tier_since);
    row.values[kTierSpend] = row.values[kRevenue];
}

// Walks through what has happened since the customer was last looked at, flip by flip and purchase by purchase.
void live(Customer& c) {
    Change& change = c.change;
    memcpy(c.held.data(), c.was.data(), c.count());
    std::copy(c.was_since.begin(), c.was_since.end(), c.since.begin());

    Instant at = change.base.at;
    bool profile = profile_changed(change);
    Instant first = change.moments.empty() ? change.now : change.moments[0].at - 1;
    if (change.before.instant(kNextChangeAt, rules::kNever) <= first) {
        c.become(change.before);
        rules::walk_forward(c, at, first, c.held, c.scratch);
    }
    for (size_t k = 0; k < change.moments.size(); ++k) {
        const Moment& moment = change.moments[k];
        bool last = k + 1 == change.moments.size();
        if (last && !profile) {
            c.become(change.after);
        } else {
            Row row = change.before;
            as_of(row, moment);
            c.become(row);
        }
        c.evaluate(moment.at, c.scratch);
        c.changed(moment.at, c.held, c.scratch);
        memcpy(c.held.data(), c.scratch.data(), c.count());
        rules::walk_forward(c, moment.at, last ? change.now : change.moments[k + 1].at - 1, c.held, c.scratch);
    }
    if (profile || change.moments.empty()) {
        c.become(change.after);
        c.evaluate(change.now, c.scratch);
        c.changed(change.now, c.held, c.scratch);
        memcpy(c.held.data(), c.scratch.data(), c.count());
    }
}

// The customer as of the k-th purchase that has been taken in.
void become_as_of(Customer& c, size_t k) {
    if (k + 1 == c.change.moments.size()) {
        c.become(c.change.after);
        return;
    }
    Row row = c.change.after;
    as_of(row, c.change.moments[k]);
    c.become(row);
}

// When a segment was left whose leaving nobody saw: with the first purchase after it was entered, if that is what ended it; else where the
// next segment of its dimension begins, else now.
Instant left_at(Customer& c, size_t i) {
    for (size_t k = 0; k < c.change.moments.size(); ++k) {
        if (c.change.moments[k].at < c.was_since[i]) continue;
        become_as_of(c, k);
        c.evaluate(c.change.moments[k].at, c.scratch);
        if (!c.scratch[i]) return c.change.moments[k].at;
        break;
    }
    uint8 dimension = c.all.dimensions[i];
    for (size_t k = 0; dimension != 0 && k < c.count(); ++k) {
        if (c.all.dimensions[k] == dimension && c.held[k]) return c.since[k];
    }
    return c.change.now;
}

// Finds since when each pending segment has been held, going back from `to` over the purchases before the k-th; the customer is as of
// `to`. Returns where the earliest purchase begins, kNever if there is none; what is still pending then has been held for longer.
Instant since_when(Customer& c, size_t k, Instant to, rules::Held pending) {
    Instant later = rules::kNever;
    while (k-- > 0) {
        const Moment& moment = c.change.moments[k];
        if (later != rules::kNever) become_as_of(c, k);
        size_t open = rules::walk_back(c, moment.at, to, later, pending, c.since, c.scratch);
        later = moment.at;
        to = later - 1;
        if (open == 0) break;
    }
    return later;
}

// Since when a segment had been held at the first corrected instant, as far as the records say; kNever: they do not.
Instant recorded_since(const Customer& c, size_t i, Instant corrected_from) {
    if (c.was[i] && c.was_since[i] < corrected_from) return c.was_since[i];
    for (const TakenBack& stay : c.taken_back) {
        if (stay.change == &c.change && stay.segment == c.all.list[i].name_view && stay.entered < corrected_from) return stay.entered;
    }
    return rules::kNever;
}

// Works out the present state and since when it has held, going back from now purchase by purchase.
void look_back(Customer& c) {
    Change& change = c.change;
    c.become(change.after);
    c.evaluate(change.now, c.held);
    change.next_flip = c.next_flip(change.now);

    auto pending = pg::zeroed<uint8>(c.count());
    for (size_t i = 0; i < c.count(); ++i) {
        pending[i] = c.held[i] && !c.all.list[i].timeless;
        if (c.held[i] && !pending[i]) c.since[i] = c.was[i] ? c.was_since[i] : change.now;
    }
    Instant later = since_when(c, change.moments.size(), change.now, pending);
    // What has held since before the first purchase that we see here.
    Instant start = later != rules::kNever ? later : Min(change.after.instant(kCreatedAt, change.now), change.now);
    for (size_t i = 0; i < c.count(); ++i) {
        if (!pending[i]) continue;
        bool goes_on = c.was[i] && (!change.from_scratch || change.moments.empty());
        c.since[i] = goes_on ? c.was_since[i] : start;
    }
    for (size_t i = 0; change.corrected_from != rules::kNever && i < c.count(); ++i) {
        if (!c.held[i] || c.all.list[i].timeless || c.since[i] >= change.corrected_from) continue;
        // It goes on from before the import: since when is on record, or it begins with it.
        Instant since = recorded_since(c, i, change.corrected_from);
        c.since[i] = since != rules::kNever ? since : later != rules::kNever ? c.since[i] : change.corrected_from;
    }
    for (size_t i = 0; i < c.count(); ++i) {
        if (c.held[i] && !c.was[i]) c.entered(i);
        if (c.was[i] && !c.held[i]) {
            Instant left = change.corrected_from != rules::kNever ? change.corrected_from : left_at(c, i);
            if (left > c.was_since[i])
                c.writes.past.push({c.all.list[i].name, change.after.values[kCustomerId], c.was_since[i], left});
        }
    }
}

// Rewrites the history from the first corrected instant on: works out the state just before it, then walks through all that followed.
void correct(Customer& c) {
    Change& change = c.change;
    Instant from = change.corrected_from;
    size_t k = 0;
    while (k < change.moments.size() && change.moments[k].at < from) ++k;

    Row nothing = change.after;
    as_of(nothing, Moment{});
    k > 0 ? become_as_of(c, k - 1) : c.become(nothing);
    c.evaluate(from - 1, c.held);
    auto pending = pg::zeroed<uint8>(c.count());
    memcpy(pending.data(), c.held.data(), c.count());
    Instant start = since_when(c, k, from - 1, pending);
    for (size_t i = 0; i < c.count(); ++i) {
        if (!pending[i]) continue;
        Instant since = recorded_since(c, i, from);
        c.since[i] = since != rules::kNever ? since : start;
        c.held[i] = c.since[i] != rules::kNever;  // before the first purchase, what is not on record is not known
    }

    c.replaying = true;
    k > 0 ? become_as_of(c, k - 1) : c.become(nothing);
    if (k == change.moments.size() || change.moments[k].at > from) {
        c.evaluate(from, c.scratch);
        c.changed(from, c.held, c.scratch);
        memcpy(c.held.data(), c.scratch.data(), c.count());
        rules::walk_forward(c, from, k < change.moments.size() ? change.moments[k].at - 1 : change.now, c.held, c.scratch);
    }
    for (; k < change.moments.size(); ++k) {
        Instant at = change.moments[k].at;
        become_as_of(c, k);
        c.evaluate(at, c.scratch);
        c.changed(at, c.held, c.scratch);
        memcpy(c.held.data(), c.scratch.data(), c.count());
        rules::walk_forward(c, at, k + 1 < change.moments.size() ? change.moments[k + 1].at - 1 : change.now, c.held, c.scratch);
    }
    c.replaying = false;

    c.become(change.after);
    change.next_flip = c.next_flip(change.now);
    for (size_t i = 0; i < c.count(); ++i) {
        if (c.all.list[i].timeless && c.held[i]) c.since[i] = c.was[i] ? c.was_since[i] : change.now;
        if (c.held[i] && !c.was[i]) c.entered(i);
    }
}

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

    pg::Array<Datum> ids;
    pg::Array<Datum> instants;
    change.after.clear(kLifecycle);
    change.after.clear(kEngagement);
    for (size_t i = 0; i < c.count(); ++i) {
        const Segment& s = c.all.list[i];
        bool moved = c.was[i] && (!c.held[i] || c.was_since[i] != c.since[i]);
        if (moved) {
            c.writes.left_segments.push(s.name);
            c.writes.left_customers.push(change.after.values[kCustomerId]);
        }
        if (!c.held[i]) continue;
        if (!c.was[i] || moved) c.writes.entered.push({s.name, change.after.values[kCustomerId], c.since[i], 0});
        ids.push(Int32GetDatum(s.id));
        instants.push(TimestampTzGetDatum(c.since[i]));
        if (s.dimension != 0 && s.dimension == c.all.lifecycle_dimension) change.after.set(kLifecycle, s.name);
        if (s.dimension != 0 && s.dimension == c.all.engagement_dimension) change.after.set(kEngagement, s.name);
    }
    change.after.set(kSegmentIds, pg::int4_array(ids.span()));
    change.after.set(kSegmentSince, pg::instant_array(instants.span()));
}

void classify_one(Customer& c) {
    Change& change = c.change;
    c.load();
    pg::use_zone(customer::zone_of(change.after));
    if (change.path == Path::lived && change.existed) {
        live(c);
        change.next_flip = c.next_flip(change.now);
    } else if (change.corrected_from != rules::kNever && !change.imported) {
        correct(c);
    } else {
        look_back(c);
    }
    keep_what_stands(c);
    show(c);
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
    return change.existed && !change.from_scratch && !change.replay && change.moments.empty() && !profile_changed(change) &&
           change.before.instant(kNextChangeAt, rules::kNever) > change.now;
}

void write(Writes& writes, Instant now) {
    if (!writes.left_segments.empty() || !writes.entered.empty()) {
        pg::TableWriter* members = pg::open_writer(pg::table_oid(pg::Table::segment_member));
        for (size_t i = 0; i < writes.left_segments.size; ++i) {
            Datum key[] = {writes.left_segments[i], writes.left_customers[i]};
            ItemPointerData row;
            if (pg::find(members, key, &row)) pg::remove(members, &row);
        }
        for (const Writes::Stay& stay : writes.entered) {
            Datum values[] = {stay.segment, stay.customer, TimestampTzGetDatum(stay.entered)};
            bool nulls[] = {false, false, false};
            pg::insert(members, values, nulls);
        }
        pg::close_writer(members);
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

}  // namespace

void classify(Batch batch) {
    pg::fault_point("segments");
    const Segments& all = refresh_segments();
    size_t n = all.list.size;
    Writes writes;
    pg::Array<TakenBack> taken_back = take_back_stays(batch);
    auto bytes = pg::zeroed<uint8>(3 * n + 1);
    auto instants = pg::zeroed<Instant>(2 * n + 2 * all.terms.size + 1);

    pg::keep_zone([&] {
        for (Change& change : batch) {
            if (nothing_to_do(change)) {
                change.next_flip = change.before.instant(kNextChangeAt, rules::kNever);
                continue;
            }
            Customer c{all, change, writes, {taken_back.data, taken_back.size}, false, false,
                       bytes.subspan(0, n), instants.subspan(0, n), bytes.subspan(n, n), instants.subspan(n, n),
                       bytes.subspan(2 * n, n), instants.subspan(2 * n, 2 * all.terms.size), 0};
            Writes before = writes;  // the arrays' sizes, to forget what a failed try has added
            size_t signals = change.signals.size;
            std::fill(bytes.begin(), bytes.end(), 0);
            ErrorData* error = pg::attempt([&] { classify_one(c); });
            if (error == nullptr) continue;
            writes.past.size = before.past.size;
            writes.entered.size = before.entered.size;
            writes.left_segments.size = before.left_segments.size;
            writes.left_customers.size = before.left_customers.size;
            change.signals.size = signals;
            std::fill(bytes.begin(), bytes.end(), 0);
            c.replaying = false;
            c.careful = true;
            classify_one(c);
        }
    });
    for (Change& change : batch) {
        Instant next = Min(change.next_flip, change.after.instant(kNextFactAt, rules::kNever));
        change.after.set_instant(kNextChangeAt, next);
    }
    write(writes, batch.empty() ? 0 : batch[0].now);
}

}  // namespace lifecycle::segment
