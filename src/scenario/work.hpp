// What the parts of the scenario room share while a batch is worked on.
#pragma once

#include "scenario/enrolments.hpp"
#include "scenario/scenarios.hpp"

namespace lifecycle::scenario {

inline constexpr int kNoPosition = -1;

struct Enrolment {
    Change* change;
    const Scenario* scenario;  // nullptr: no longer active or paused
    Datum scenario_name;
    Datum anchor;
    Instant anchor_at;
    int version;               // of the scenario, that it began on
    Instant delivered_at;      // of the order that is the anchor; kNever: not known
    int last_position;
    Instant next_due;
    const char* status;
    const char* end_reason;
    bool fresh;
    bool touched;
};

struct Decision {
    const Enrolment* enrolment;
    int position;
    const char* outcome;
    const char* reason;  // nullptr: enqueued
};

// A marketing message that counts towards the caps.
struct Sent {
    const Change* change;
    int channel;
    Instant at;
};

struct Work {
    const Scenarios& scenarios;
    pg::Array<Enrolment> enrolments;
    pg::Array<Decision> decisions;
    pg::Array<Sent> sent;    // where caps ask for it
    size_t sent_before;      // so many of them are from before this batch
    Outgoing* outgoing;
};

// Enrols the customer in what the facts and the time start; nothing of it has been checked against what was started before.
void start_scenarios(Work& work, Change& change);
// Whether what started an enrolment has been taken back or overtaken; the reason code, nullptr: it has not.
const char* reason_gone(const Enrolment& e);
// When time alone starts a scenario next for the customer; kNever: it does not.
Instant next_start(const Scenarios& all, const Change& change);

// What the gates say of a step that is due.
struct Gate {
    const char* reason = nullptr;  // nullptr: it may go out
    Instant wait = rules::kBeginning;  // not before this instant; then it is asked again
    bool held_out = false;
};
Gate ask_gates(Work& work, const Enrolment& e, const Step& step);
void load_sent(Work& work, Batch batch);

bool consents(const Row& row, int column);

}  // namespace lifecycle::scenario
