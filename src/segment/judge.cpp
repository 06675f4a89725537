// Judging predicates for one customer at an instant, and the instants at which they can change.
#include "pg/clock.hpp"
#include "segment/member.hpp"

namespace lifecycle::segment {

Verdict Customer::fixed(uint32 number) {
    Known::Fixed& known = shop.known.expressions[number];
    if (known.judged) return known.verdict;
    bool null;
    Datum value = pg::evaluate(all.formulas.expressions[number].state, all.evaluator, &null);
    known = {true, null ? Verdict::unknown : DatumGetBool(value) ? Verdict::yes : Verdict::no};
    return known.verdict;
}

bool Customer::edge(uint32 number, Instant* at) {
    Known::Edge& known = shop.known.edges[number];
    if (!known.found) {
        const Edge& e = all.formulas.edges[number];
        bool null = e.column >= 0 && all.evaluator->slot->tts_isnull[e.column];
        Instant found = 0;
        if (e.column < 0) {
            found = DatumGetTimestampTz(pg::evaluate(e.state, all.evaluator, &null));
        } else if (!null) {
            found = pg::add_interval(DatumGetTimestampTz(all.evaluator->slot->tts_values[e.column]), e.span);
        }
        known = {true, null, found};
        pg::set_parameter(all.evaluator, e.parameter, TimestampTzGetDatum(found), null);
    }
    *at = known.at;
    return !known.null;
}

namespace {

bool compare(rules::ClockComparison op, Instant clock, Instant edge) {
    using enum rules::ClockComparison;
    switch (op) {
        case less: return clock < edge;
        case less_equal: return clock <= edge;
        case equal: return clock == edge;
        case not_equal: return clock != edge;
        case greater_equal: return clock >= edge;
        case greater: return clock > edge;
    }
    return false;
}

Verdict verdict_of(bool holds) { return holds ? Verdict::yes : Verdict::no; }

}  // namespace

// In the order in which they are written, and no further than needed, as PostgreSQL does it: what is behind `x <> 0 AND` may divide by x.
Verdict Customer::judge_parts(const Formula& formula) {
    using Kind = Formula::Kind;
    Verdict otherwise = formula.kind == Kind::all ? Verdict::yes : Verdict::no;
    Verdict decisive = formula.kind == Kind::all ? Verdict::no : Verdict::yes;
    for (uint32 i = formula.first; i < formula.first + formula.count; ++i) {
        Verdict verdict = judge(i);
        if (formula.kind == Kind::first_known ? verdict != Verdict::unknown : verdict == decisive) return verdict;
        if (verdict == Verdict::unknown) otherwise = Verdict::unknown;
    }
    return otherwise;
}

Verdict Customer::judge(uint32 part) {
    using Kind = Formula::Kind;
    const Formula& f = all.formulas.parts[part];
    Instant at;
    switch (f.kind) {
        case Kind::constant:
            return f.verdict;
        case Kind::all:
        case Kind::any:
        case Kind::first_known:
            return judge_parts(f);
        case Kind::negation: {
            Verdict verdict = judge(f.first);
            return verdict == Verdict::unknown ? verdict : verdict_of(verdict == Verdict::no);
        }
        case Kind::clock:
            return edge(f.number, &at) ? verdict_of(compare(f.op, found_at, at)) : Verdict::unknown;
        case Kind::fixed:
            return fixed(f.number);
        case Kind::other:
            return verdict_of(found[f.number]);
        case Kind::moving:
            break;
    }
    const Expression& expression = all.formulas.expressions[f.number];
    for (uint32 number : expression.edges) {
        // Sets its parameter. One that cannot be worked out does no harm unless the expression comes to it: a CASE may guard it.
        ErrorData* error = failure_of([&] { edge(number, &at); });
        if (error != nullptr) pg::fail_parameter(all.evaluator, all.formulas.edges[number].parameter, error);
    }
    bool null;
    Datum value = pg::evaluate(expression.state, all.evaluator, &null);
    return null ? Verdict::unknown : verdict_of(DatumGetBool(value));
}

void Customer::collect_term(const pg::ClockTerm& term, Instant edge) {
    auto note = [&](Instant flip) {
        if (rules::is_finite(flip)) shop.known.flips.push(flip);
    };
    auto op = static_cast<rules::ClockComparison>(term.op);
    if (!term.wall && term.unit == rules::Unit::none) {
        auto flips = rules::flips_of(op, edge);
        note(flips.first);
        note(flips.second);
    } else if (rules::is_within_calendar(edge)) {
        pg::Zone zone = term.zone != nullptr ? pg::Zone{term.zone} : pg::zone_in_force();
        rules::flips_of_wall(op, term.unit, term.wall ? edge : pg::wall_of(edge, zone), zone, note);
    }
}

// Whether AND or OR is decided by a part that time does not change. Parts that may never be looked at are not worked out for this: they may
// raise an error.
bool Customer::is_decided(const Formula& f, bool positive, bool certain) {
    Verdict decisive = f.kind == Formula::Kind::all ? Verdict::no : Verdict::yes;
    for (uint32 i = f.first; i < f.first + f.count; ++i) {
        const Formula& part = all.formulas.parts[i];
        if (part.kind != Formula::Kind::fixed) {
            certain = false;
            continue;
        }
        const Known::Fixed& known = shop.known.expressions[part.number];
        if (certain && !known.judged) certain = failure_of([&] { fixed(part.number); }) == nullptr;
        if (!known.judged) continue;
        if (known.verdict == decisive || (positive && f.kind == Formula::Kind::all && known.verdict == Verdict::unknown)) return true;
    }
    return false;
}

// Notes when a part can change. `positive`: only whether it holds matters, NULL is as good as false; `certain`: it is looked at at any instant.
void Customer::collect_flips(uint32 part, bool positive, bool certain) {
    using Kind = Formula::Kind;
    const Formula& f = all.formulas.parts[part];
    Instant at = 0;
    bool known = false;
    switch (f.kind) {
        case Kind::constant:
        case Kind::fixed:
        case Kind::other:  // notes its own
            return;
        case Kind::all:
        case Kind::any:
            if (is_decided(f, positive, certain)) return;
            [[fallthrough]];
        case Kind::negation:
        case Kind::first_known:
            positive &= f.kind == Kind::all || f.kind == Kind::any;
            for (uint32 i = f.first; i < f.first + f.count; ++i) {
                collect_flips(i, positive, certain);
                certain &= all.formulas.parts[i].kind == Kind::fixed && f.kind != Kind::first_known;
            }
            return;
        case Kind::clock:
            if (failure_of([&] { known = edge(f.number, &at); }) == nullptr && known)
                collect_term({static_cast<int>(f.op), 0, false, rules::Unit::none, nullptr}, at);
            return;
        case Kind::moving:
            break;
    }
    for (uint32 number : all.formulas.expressions[f.number].terms) {
        const pg::ClockTerm& term = all.calls.clock.terms[number];
        for (uint32 k : all.formulas.expressions[f.number].edges) {
            if (all.formulas.edges[k].parameter != term.parameter) continue;
            if (failure_of([&] { known = edge(k, &at); }) == nullptr && known) collect_term(term, at);
        }
    }
}

std::span<const Instant> Customer::flips_of(uint32 segment) {
    Known::Flips& known = shop.known.segments[segment];
    pg::Array<Instant>& flips = shop.known.flips;
    if (!known.collected) {
        auto begin = static_cast<uint32>(flips.size);
        collect_flips(all.list[segment].formula, true, true);
        known = {true, begin, static_cast<uint32>(flips.size)};
    }
    return {flips.data + known.begin, known.end - known.begin};
}

}  // namespace lifecycle::segment
