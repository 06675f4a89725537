// What the parts of the scenario room share while a batch is worked on.
#pragma once

#include "pg/table.hpp"
#include "rules/schedule.hpp"
#include "scenario/enrolments.hpp"
#include "scenario/scenarios.hpp"

namespace lifecycle::scenario {

inline constexpr int kNoPosition = -1;

struct Enrolment {
    Change* change;
    const Scenario* scenario;  // nullptr: no longer active or paused
    Datum customer;            // of one that was read
    Datum scenario_name;
    Datum anchor;
    Instant anchor_at;
    int version;               // of the scenario, that it began on
    Instant delivered_at;      // of the order that is the anchor; kNever: not known
    int last_position;
    Instant last_at;           // when it was decided
    Instant awaited_at;        // when what it waits for happened; kNever: it has not
    Datum context;             // 0: none
    bool bought_elsewhere;     // by somebody with the same address
    Instant next_due;
    Instant enrolled_at;
    ItemPointerData tid;       // of its row in the table of enrolments, if it has one
    const char* status;
    const char* end_reason;
    bool fresh;
    bool in_row;               // kept in its customer's row
    bool touched;
};

struct Decision {
    const Enrolment* enrolment;
    int position;
    const char* outcome;
    const char* reason;  // nullptr: enqueued
    const Step* sent;    // if it is
};

// A message that counts towards the caps.
struct Sent {
    const Change* change;  // where it counts for its customer
    std::string_view customer;
    int64 address;  // where caps count by it; 0: unknown
    int channel;
    bool marketing;
    Instant at;
};

// The addresses of a customer, where caps count by them.
struct Addresses {
    const Change* change;
    int64 mail, phone;  // 0: none
    bool held;          // nobody else decides about them before this transaction ends
};

// Points of a customer that will expire.
struct Expiring {
    const Change* change;
    Instant at;
    int64 points;
};

// A message whose step brings an offer: whether it goes out is known when the coupons have been bound.
struct Brings {
    Enrolment* enrolment;
    const Step* step;
    Datum offer;
    size_t message, decision;  // where they are
    int last_position;         // of the enrolment before
    Instant last_at;
    Instant expires;
};

struct Work {
    const Scenarios& scenarios;
    pg::TableWriter* rows = nullptr;  // of the table of enrolments, once some are to be read or written
    pg::Array<Enrolment> enrolments{};
    pg::Array<Decision> decisions{};
    pg::Array<Brings> brings{};
    pg::Array<Sent> sent{};    // where caps ask for it
    size_t sent_before = 0;  // so many of them are from before this batch
    pg::Array<Sent> sent_to{};  // the same by address
    pg::Array<Addresses> addresses{};
    Outgoing* outgoing;
    pg::Array<Expiring> expiring{};  // of those customers for whom it may have changed; by customer and time
};

// Enrols the customer in what the facts and the time start; nothing of it has been checked against what was started before.
void start_scenarios(Work& work, Change& change);
// Whether what started an enrolment has been taken back or overtaken; the reason code, nullptr: it has not.
const char* reason_gone(const Work& work, const Enrolment& e);
// When time alone starts a scenario next for the customer; kNever: it does not.
Instant next_start(const Scenarios& all, const Change& change);
// Which points of the customers will expire when, if a scenario wants to know.
void load_expiring(Work& work, Batch batch);
Instant next_expiring(const Work& work, const Change& change);
// Whether the enrolments that are looked at are all that the customer has open.
bool concerns_open_enrolments(const Change& change);

// Whether it is one of those that are kept in the customer's row.
bool is_on_way(const Row& row, const Enrolment& e);
// All of these; how many they are.
size_t load_ways(Work& work, Change& change);
// Puts what has changed of them into the row, and fresh ones while there is room, and notes the anchors of those that begin.
void keep_in_rows(Work& work);

// What started the enrolment, without what tells one start from another.
std::string_view subject_of(const Enrolment& e);
// What has started an enrolment, where it is more than the customer's row says.
struct Cause {
    const Fact* fact = nullptr;
    const Expiring* expiring = nullptr;
    const Signal* signal = nullptr;
};
Datum instant_text(Instant t);
// What context() is for an enrolment that starts: a jsonb.
Datum context_of(const Change& change, const Scenario& s, Datum anchor, const Cause& cause);

// When what is awaited first happened in [since, until), as far as this batch says; kNever: it did not.
Instant happened_now(const Change& change, const Awaited& awaited, Instant since, Instant until);
// Finds out for each enrolment that stands at a step that waits whether what it waits for has happened.
void load_awaited(Work& work);

// What the gates say of a step that is due.
struct Gate {
    const char* reason = nullptr;  // nullptr: it may go out
    Instant wait = rules::kBeginning;  // not before this instant; then it is asked again
    bool held_out = false;
};
Gate ask_gates(Work& work, const Enrolment& e, const Step& step);
// What counts towards the caps of those who may get something. To decide about it, their addresses have to be held.
void load_sent(Work& work, Batch batch, bool hold);
// From when on the caps let a step through; kNever: they do not.
Instant within_caps(const Work& work, const Enrolment& e, const Step& step);
void count_sent(Work& work, const Enrolment& e, const Step& step);
int64 address_of(const Work& work, const Enrolment& e, const Step& step);

// Whether the next step of an enrolment may be decided now.
bool is_due(const Enrolment& e);
// Decides the steps that are due, and says when to look again.
void decide_steps(Work& work, Enrolment& e);
void end(Work& work, Enrolment& e, const char* status, const char* reason);
// The first step from a position on; nullptr: there is none.
const Step* step_from(const Scenario& s, int position);
rules::StepWindow window_of(const Enrolment& e, const Step& step, Instant previous);

// Binds the coupons of the messages that bring an offer, and takes back what has been decided of those for which there is no code.
void bind_offers(Work& work);

bool consents(const Row& row, int column);

}  // namespace lifecycle::scenario
