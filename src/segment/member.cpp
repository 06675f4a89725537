#include "segment/member.hpp"

#include <cstring>

#include "pg/guard.hpp"
#include "pg/text.hpp"
#include "rules/flips.hpp"

namespace lifecycle::segment {

void Customer::become(const Row& row) {
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

Instant Customer::next_flip(Instant after) const {
    Instant next = rules::kNever;
    for (size_t i = 0; i < flip_count; ++i) {
        if (flips[i] > after && flips[i] < next) next = flips[i];
    }
    return next;
}

Instant Customer::previous_flip(Instant at_or_before) const {
    Instant previous = rules::kBeginning;
    for (size_t i = 0; i < flip_count; ++i) {
        if (flips[i] <= at_or_before && flips[i] > previous) previous = flips[i];
    }
    return previous;
}

bool Customer::holds(size_t i) {
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

void Customer::evaluate(Instant at, rules::Held into) {
    pg::set_parameter(all.evaluator, pg::kClockParameter, TimestampTzGetDatum(at), false);
    uint8 found = 0;  // the dimension in which a segment has been found
    for (size_t i = 0; i < count(); ++i) {
        uint8 dimension = all.dimensions[i];
        into[i] = (dimension == 0 || dimension != found) && holds(i);
        if (into[i] && dimension != 0) found = dimension;
    }
}

void Customer::changed(Instant at, rules::Held from, rules::Held to) {
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

void Customer::arrive(Instant at) {
    evaluate(at, scratch);
    changed(at, held, scratch);
    memcpy(held.data(), scratch.data(), count());
}

void Customer::entered(size_t i) {
    if (!change.silent && !change.replay && !replaying)
        change.signals.push({SignalKind::segment_entered, all.list[i].name_view, since[i]});
}

void Customer::note_problem(size_t i, ErrorData* error) {
    for (size_t k = 0; k < writes.problem_customers.size; ++k) {
        if (writes.problem_customers[k] == change.after.values[kCustomerId] && writes.problem_segments[k] == all.list[i].name)
            return;
    }
    writes.problem_customers.push(change.after.values[kCustomerId]);
    writes.problem_segments.push(all.list[i].name);
    writes.problem_states.push(pg::to_datum(unpack_sql_state(error->sqlerrcode)));
    writes.problem_messages.push(pg::to_datum(error->message));
}

void Customer::load() {
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

void Customer::unbroken(size_t i) {
    if (!change.existed || all.list[i].timeless) return;
    writes.unbroken_customers.push(change.after.values[kCustomerId]);
    writes.unbroken_segments.push(all.list[i].name);
    writes.unbroken_since.push(TimestampTzGetDatum(since[i]));
}

bool profile_changed(const Change& change) {
    for (const Fact& fact : change.facts) {
        if (!is_purchase(fact.kind)) return true;
    }
    return false;
}

}  // namespace lifecycle::segment
