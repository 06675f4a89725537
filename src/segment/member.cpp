#include "segment/member.hpp"

#include <algorithm>
#include <cstring>

#include "customer/packed_memberships.hpp"
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"
#include "rules/flips.hpp"
#include "segment/anniversary.hpp"

namespace lifecycle::segment {

Workshop make_workshop(const Segments& all) {
    Workshop shop{};
    for (size_t i = 0; i < all.calls.facts.size; ++i) shop.countings.push({});
    for (size_t i = 0; i < all.calls.anniversaries.size; ++i) shop.anniversaries.push({});
    shop.known.expressions = pg::zeroed<Known::Fixed>(all.formulas.expressions.size);
    shop.known.edges = pg::zeroed<Known::Edge>(all.formulas.edges.size);
    shop.known.segments = pg::zeroed<Known::Flips>(all.list.size);
    shop.needed = pg::zeroed<uint8>(all.list.size);
    return shop;
}

bool Customer::value_of(ExprState* state, Datum* value) {
    bool null;
    *value = pg::evaluate(state, all.evaluator, &null);
    return !null;
}

namespace {
template <class T>
void forget(std::span<T> known) {
    memset(static_cast<void*>(known.data()), 0, known.size_bytes());
}
}  // namespace

void Customer::become(const Row& row) {
    pg::Evaluator* e = all.evaluator;
    pg::forget_row(e);
    pg::forget_failures(e);
    ExecClearTuple(e->slot);
    memcpy(e->slot->tts_values, row.values, sizeof row.values);
    memcpy(e->slot->tts_isnull, row.nulls, sizeof row.nulls);
    ExecStoreVirtualTuple(e->slot);

    forget(shop.known.expressions);
    forget(shop.known.edges);
    forget(shop.known.segments);
    shop.known.flips.clear();
    for (size_t i = 0; i < all.calls.facts.size; ++i) {
        Counting& c = shop.countings[i];
        if (c.built && all.calls.facts[i].constant) continue;
        c.built = true;
        c.error = failure_of([&] { count(i); });
        if (c.error == nullptr) continue;
        c.known = false;
        c.window = {};
    }
    for (size_t i = 0; i < all.calls.anniversaries.size; ++i) {
        Anniversary& a = shop.anniversaries[i];
        a.error = failure_of([&] { find_anniversary(i); });
        if (a.error != nullptr) a.known = false;
    }
}

// Which deeds a call counts, and until when each of them does.
void Customer::count(size_t i) {
    const FactCall& call = all.calls.facts[i];
    Counting& c = shop.countings[i];
    c.window = {};
    c.counted.clear();
    Datum what = 0, span = 0;
    c.known = (call.what_state == nullptr || value_of(call.what_state, &what)) &&
              (call.span_state == nullptr || value_of(call.span_state, &span));
    if (!c.known || deeds == nullptr) return;

    const Interval* lasts = call.span_state != nullptr ? DatumGetIntervalP(span) : nullptr;
    auto wanted = call.what_state != nullptr ? pg::view(what) : std::string_view{};
    auto take = [&](Instant from, rules::Decimal amount) {
        c.counted.push({from, lasts != nullptr ? pg::add_interval(from, lasts) : rules::kNever, amount});
    };
    if (call.looks == Looks::at_purchases) {
        for (const Purchase& p : deeds->purchases) {
            if (p.order || call.result == FactCall::Result::amount) take(p.at, p.amount);
        }
    } else if (call.looks == Looks::at_items) {
        for (const Item& item : deeds->items) {
            if (item.product == wanted || item.category == wanted) take(item.at, {});
        }
    } else {
        for (const Event& event : deeds->events) {
            bool counts = call.views_only ? event.is_view && (event.product == wanted || event.category == wanted) : event.name == wanted;
            if (counts) take(event.at, {});
        }
    }
    c.begun.reserve(c.counted.size);
    c.ended.reserve(c.counted.size);
    if (!rules::make_window(c.counted.span(), {c.begun.data, c.counted.size}, {c.ended.data, c.counted.size}, &c.window))
        ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("what a customer has spent is out of range"));
}

void Customer::find_anniversary(size_t i) {
    const AnniversaryCall& call = all.calls.anniversaries[i];
    Anniversary& a = shop.anniversaries[i];
    Datum of = 0, before = 0;
    a.known = value_of(call.of_state, &of) && !DATE_NOT_FINITE(DatumGetDateADT(of)) &&
              (call.before_state == nullptr || value_of(call.before_state, &before));
    if (!a.known) return;
    a.of = rules::date_of(DatumGetDateADT(of));
    a.first_year = call.of_birth ? a.of.year : a.of.year + 1;
    a.before = call.before_state != nullptr ? DatumGetIntervalP(before) : nullptr;
    a.leap = customer::current_shop().leap_birthday;
}

namespace {

// A window's totals are sorted by time.
const rules::Total* first_after(std::span<const rules::Total> totals, Instant t) {
    return std::upper_bound(totals.data(), totals.data() + totals.size(), t, [](Instant at, const rules::Total& total) { return at < total.at; });
}

}  // namespace

template <class Sink>
void Customer::each_flip_of_calls(Instant around, Sink&& sink) {
    for (const Anniversary& a : shop.anniversaries) failure_of([&] { each_flip(a, around, sink); });
}

Instant Customer::next_flip(Instant after) {
    CHECK_FOR_INTERRUPTS();  // somebody may walk through a hundred thousand years
    Instant next = rules::kNever;
    auto look_at = [&](Instant flip) {
        if (flip > after && flip < next) next = flip;
    };
    uint8 found_in[256] = {};
    for (uint32 i : all.order) {
        uint8 dimension = all.dimensions[i];
        if (found_in[dimension]) continue;  // one of a higher rank holds: first that has to change
        if (held[i] && dimension != 0) found_in[dimension] = 1;
        for (Instant flip : flips_of(i)) look_at(flip);
    }
    for (const Counting& c : shop.countings) {
        for (std::span<const rules::Total> totals : {c.window.begun, c.window.ended}) {
            const rules::Total* first = first_after(totals, after);
            if (first != totals.data() + totals.size()) look_at(first->at);
        }
    }
    each_flip_of_calls(after, look_at);
    return next;
}

Instant Customer::previous_flip(Instant at_or_before) {
    Instant previous = rules::kBeginning;
    auto look_at = [&](Instant flip) {
        if (flip <= at_or_before && flip > previous) previous = flip;
    };
    for (uint32 i : all.order) {
        if (!is_needed(i)) continue;
        for (Instant flip : flips_of(i)) look_at(flip);
    }
    for (const Counting& c : shop.countings) {
        for (std::span<const rules::Total> totals : {c.window.begun, c.window.ended}) {
            const rules::Total* first = first_after(totals, at_or_before);
            if (first != totals.data()) look_at(first[-1].at);
        }
    }
    each_flip_of_calls(at_or_before, look_at);
    return previous;
}

Instant Customer::next_change(Instant after) {
    constexpr int kLooks = 16;  // then the next flip it is, early but harmless
    Instant flip = next_flip(after);
    for (int looks = 0; looks < kLooks && flip != rules::kNever; ++looks) {
        evaluate(flip, scratch);
        if (memcmp(scratch.data(), held.data(), count()) != 0) {
            for (size_t i = 0; i < count(); ++i) {
                if (held[i] && !scratch[i]) ends_first = i;
            }
            return flip;
        }
        flip = next_flip(flip);
    }
    return flip;
}

bool Customer::holds(size_t i) {
    if (all.list[i].broken != nullptr) {
        note_problem(i, all.list[i].broken);
        return was[i] != 0;
    }
    if (!careful) return judge(all.list[i].formula) == Verdict::yes;
    Verdict verdict = Verdict::no;
    ErrorData* error = pg::attempt([&] { verdict = judge(all.list[i].formula); });
    if (error == nullptr) return verdict == Verdict::yes;
    note_problem(i, error);
    return was[i] != 0;  // left as it was
}

// Gives the parameters that stand for calls their values at an instant.
void Customer::set_calls(Instant at) {
    pg::Evaluator* e = all.evaluator;
    MemoryContext caller = MemoryContextSwitchTo(e->context->ecxt_per_tuple_memory);
    for (size_t i = 0; i < all.calls.facts.size; ++i) {
        const FactCall& call = all.calls.facts[i];
        const Counting& c = shop.countings[i];
        rules::Total total = rules::at(c.window, at);
        Datum value = call.result == FactCall::Result::count ? Int64GetDatum(total.count)
                      : call.result == FactCall::Result::any ? BoolGetDatum(total.count > 0)
                                                             : pg::to_numeric(total.amount);
        pg::set_parameter(e, call.parameter, value, !c.known);
        if (c.error != nullptr) pg::fail_parameter(e, call.parameter, c.error);
    }
    for (size_t i = 0; i < all.calls.anniversaries.size; ++i) {
        const Anniversary& a = shop.anniversaries[i];
        int parameter = all.calls.anniversaries[i].parameter;
        bool celebrated = false;
        ErrorData* error = a.error != nullptr ? a.error : failure_of([&] { celebrated = a.known && celebrates(a, at); });
        pg::set_parameter(e, parameter, BoolGetDatum(celebrated), false);
        if (careful) pg::fail_parameter(e, parameter, error);
    }
    MemoryContextSwitchTo(caller);
}

void Customer::evaluate(Instant at, rules::Held into) {
    pg::Evaluator* e = all.evaluator;
    pg::set_parameter(e, pg::kClockParameter, TimestampTzGetDatum(at), false);
    set_calls(at);
    found = into;
    found_at = at;
    uint8 found_in[256] = {};  // the dimensions in which a segment has been found
    for (uint32 i : all.order) {
        uint8 dimension = all.dimensions[i];
        into[i] = !found_in[dimension] && is_needed(i) && holds(i);
        if (into[i] && dimension != 0) found_in[dimension] = 1;
        if (all.list[i].parameter != 0) pg::set_parameter(e, all.list[i].parameter, BoolGetDatum(into[i] != 0), false);
    }
}

void Customer::only(rules::Held pending) {
    needed = shop.needed;
    uint8 wanted[256] = {};  // dimensions: which of their segments holds depends on those before it
    for (size_t i = 0; i < count(); ++i) wanted[all.dimensions[i]] |= pending[i];
    wanted[0] = 0;
    for (size_t i = 0; i < count(); ++i) {
        // Those that others ask for ask for others themselves, and so on.
        bool asked = all.list[i].parameter != 0 || all.asked_dimensions[all.dimensions[i]];
        needed[i] = pending[i] || wanted[all.dimensions[i]] || asked;
    }
}

void Customer::changed(Instant at, rules::Held from, rules::Held to) {
    for (size_t i = 0; i < count(); ++i) {
        if (from[i] == to[i]) continue;
        if (from[i]) {
            if (at > since[i]) writes.past.push({all.list[i].name, change.after.values[kCustomerId], since[i], at});
            left(i, at);
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
    if (news || (!change.silent && !change.replay && !replaying))
        change.signals.push({SignalKind::segment_entered, all.list[i].name_view, since[i]});
}

void Customer::left(size_t i, Instant at) {
    if (news || (!change.silent && !change.replay && !replaying))
        change.signals.push({SignalKind::segment_left, all.list[i].name_view, at});
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
    if (change.before.nulls[kMemberships]) return;
    for (const customer::PackedMembership& m : customer::unpack_memberships(change.before.values[kMemberships])) {
        for (size_t i = 0; i < count(); ++i) {
            if (all.list[i].id != m.segment_id) continue;
            was[i] = 1;
            was_since[i] = m.since;
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
