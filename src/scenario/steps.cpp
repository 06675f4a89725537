// The way of an enrolment through its steps: what is due, what is sent of it, and which step is next.
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "rules/arms.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// The channel of steps that say goodbye: nothing goes out on it.
constexpr std::string_view kSuppress = "suppress";

// How long an enrolment waits for a delivery that nobody reports.
constexpr Interval kLongestDelivery{.time = 0, .day = 90, .month = 0};

// A step that is due, and where it leads.
struct Stop {
    const Step* step;
    rules::StepWindow window;
    const char* passed = nullptr;  // how, if it sends nothing
    bool excluded = false;         // its condition does not hold, and it leads elsewhere
    int leads_to = 0;
    Instant at = rules::kNever;    // when it is decided
};

struct Way {
    pg::Array<Stop> stops;
    Instant next = rules::kNever;  // when there is more to decide
};

// Decides whether what a step waits for has happened. False: not yet.
bool end_waiting(const Enrolment& e, Stop& stop, bool first, Instant since, Instant* ask_again) {
    Instant now = e.change->now;
    Instant until = stop.window.due;
    // What has happened was looked up for the first step only; if there is time that another would have to look at, it is asked next.
    if (!first && since < Min(now, until)) {
        *ask_again = now;
        return false;
    }
    Instant happened = first ? e.awaited_at : rules::kNever;
    if (happened == rules::kNever && until > now) {
        *ask_again = until;
        return false;
    }
    stop.passed = happened != rules::kNever ? "happened" : "timed_out";
    stop.leads_to = happened != rules::kNever ? stop.step->next : stop.step->otherwise;
    stop.at = happened != rules::kNever ? happened : until;
    return true;
}

// All steps that are due one after the other. Where the way forks, the question is put at once; a position that has been passed never comes again.
Way find_way(const Enrolment& e) {
    Way way;
    Instant now = e.change->now;
    Instant previous = e.last_at;
    for (const Step* step = step_from(*e.scenario, e.last_position + 1); step != nullptr;) {
        Stop stop{step, window_of(e, *step, previous)};
        stop.leads_to = step->next;
        stop.at = now;
        if (step->wait_for.kind != FactKind::count) {
            if (!end_waiting(e, stop, way.stops.empty(), previous, &way.next)) break;
        } else if (stop.window.due > now) {
            way.next = stop.window.due;
            break;
        } else if (step->condition != nullptr && (!step->sends || step->otherwise != step->next)) {
            bool held = segment::holds(*step->condition, *e.change, e.context);
            if (!step->sends) stop.passed = held ? "held" : "not_held";
            stop.excluded = step->sends && !held;
            if (!held) stop.leads_to = step->otherwise;
        }
        way.stops.push(stop);
        previous = stop.at;
        step = step_from(*e.scenario, stop.leads_to);
    }
    return way;
}

// nullptr: none.
const Variant* variant_of(const Enrolment& e, const Step& step) {
    if (step.variants.empty()) return nullptr;
    pg::Array<int> weights;
    for (const Variant& v : step.variants) weights.push(v.weight);
    int chosen = rules::choose(step.salt, e.change->customer_id, weights.span());
    return chosen < 0 ? nullptr : &step.variants[chosen];
}

// Asks the gates of a step that is to be sent now. False: not yet; `wait` says when to ask again.
bool send(Work& work, Enrolment& e, const Stop& stop, Instant* wait, Instant* message_ends) {
    const Step& step = *stop.step;
    Gate gate = ask_gates(work, e, step);
    if (gate.wait > e.change->now && gate.wait < stop.window.expires) {
        *wait = gate.wait;
        return false;
    }
    // What is put off until its window has passed has missed it, unless a cap is the cause.
    const char* reason = gate.reason != nullptr && strcmp(gate.reason, "quiet_hours") == 0 ? "window_passed" : gate.reason;
    if (reason == nullptr) {
        const Variant* variant = variant_of(e, step);
        Datum offer = variant != nullptr && variant->offer != 0 ? variant->offer : step.offer;
        if (offer != 0)
            work.brings.push({&e, &step, offer, work.outgoing->messages.size, work.decisions.size, e.last_position, e.last_at, stop.window.expires});
        work.outgoing->messages.push({&e.change->after, e.change->after.values[kCustomerId], e.scenario_name, e.anchor, step.position,
                                      variant == nullptr ? Datum{0} : variant->name, work.scenarios.channels[step.channel].name == kSuppress, stop.window.due,
                                      stop.window.expires, e.scenario->past ? e.version : 0});
        if (work.scenarios.channels[step.channel].name != kSuppress) count_sent(work, e, step);
        *message_ends = stop.window.expires;
    }
    work.decisions.push({&e, step.position, reason == nullptr ? "enqueued" : gate.held_out ? "would_send" : "skipped", reason,
                         reason == nullptr ? &step : nullptr});
    return true;
}

// Of the steps on the way the latest that is still in time is sent. False: it has to wait, and so has all that comes after.
bool go(Work& work, Enrolment& e, const Way& way, Instant* wait, Instant* message_ends) {
    pg::Array<rules::StepWindow> windows;
    pg::Array<const Stop*> sending;
    for (const Stop& stop : way.stops) {
        if (stop.passed != nullptr || stop.excluded) continue;
        windows.push(stop.window);
        sending.push(&stop);
    }
    rules::StepDecision decision = rules::decide(windows.span(), 0, e.change->now);
    const Stop* chosen = decision.send == rules::kNoStep ? nullptr : sending[decision.send];
    for (const Stop& stop : way.stops) {
        if (&stop == chosen) {
            if (!send(work, e, stop, wait, message_ends)) return false;
        } else if (stop.passed != nullptr) {
            work.decisions.push({&e, stop.step->position, "passed", stop.passed, nullptr});
        } else {
            work.decisions.push({&e, stop.step->position, "skipped",
                                 stop.excluded                            ? "excluded"
                                 : e.change->now < stop.window.expires ? "superseded"
                                                                          : "window_passed",
                                 nullptr});
        }
        e.last_position = stop.leads_to - 1;
        e.last_at = stop.at;
        e.touched = true;
    }
    return true;
}

}  // namespace

const Step* step_from(const Scenario& s, int position) {
    for (const Step& step : s.steps) {
        if (step.position >= position) return &step;
    }
    return nullptr;
}

rules::StepWindow window_of(const Enrolment& e, const Step& step, Instant previous) {
    Instant from = step.from == Origin::delivery ? e.delivered_at : step.from == Origin::previous ? previous : e.anchor_at;
    if (from == rules::kNever) return {rules::kNever, rules::kNever};
    return {pg::add_interval(from, &step.delay), step.has_not_after ? pg::add_interval(from, &step.not_after) : rules::kNever};
}

bool is_due(const Enrolment& e) {
    const Step* step = step_from(*e.scenario, e.last_position + 1);
    if (step == nullptr) return false;
    if (step->wait_for.kind != FactKind::count) return true;
    pg::use_zone(customer::zone_of(e.change->after));
    return window_of(e, *step, e.last_at).due <= e.change->now;
}

void decide_steps(Work& work, Enrolment& e) {
    Instant now = e.change->now;
    pg::use_zone(customer::zone_of(e.change->after));
    bool all_decided = step_from(*e.scenario, e.last_position + 1) == nullptr;
    Way way = find_way(e);
    Instant wait = rules::kNever;
    Instant message_ends = rules::kBeginning;
    bool went = go(work, e, way, &wait, &message_ends);
    // What was to be asked next, once this was decided, is not: it would be asked at this instant for ever.
    if (!went && way.next <= now) way.next = rules::kNever;
    if (way.next != rules::kNever) {
        wait = Min(wait, way.next);
    } else if (const Step* step = step_from(*e.scenario, e.last_position + 1); went && step != nullptr) {
        // A delivery that nobody has reported yet; and perhaps nobody ever will.
        Instant latest = pg::add_interval(e.anchor_at, &kLongestDelivery);
        if (latest > now) wait = latest;
    } else if (went && message_ends > now) {
        wait = message_ends;  // until its window ends, the last message can still lose its reason
    } else if (all_decided && e.next_due > now) {
        wait = e.next_due;
    }
    if (wait == rules::kNever) {
        end(work, e, "completed", nullptr);
    } else {
        e.touched |= e.next_due != wait;
        e.next_due = wait;
    }
}

}  // namespace lifecycle::scenario
