#pragma once

#include "customer/change.hpp"

namespace lifecycle::scenario {

// A message that has fallen due.
struct Message {
    const Row* row;   // of the customer, as it will be stored
    Datum customer;
    Datum scenario;
    Datum anchor;
    int position;
    Datum variant;  // 0: none
    bool suppresses;  // it is no message: the address gets no marketing any more
    Instant due;
    Instant expires;
    int past_version;  // of a scenario that has changed since the enrolment; 0: the present one
};

// An enrolment that has ended before its time: what waits in the outbox for it loses its reason.
struct Ended {
    Datum customer;
    Datum scenario;
    Datum anchor;
    Datum reason;
};

// A consent that has been granted or withdrawn.
struct ConsentChange {
    Datum customer;
    Datum consent;
};

struct Outgoing {
    pg::Array<Message> messages;
    pg::Array<Ended> ended;
    pg::Array<ConsentChange> revoked;
    pg::Array<ConsentChange> granted;
};

// Starts enrolments, ends those whose goal is met or whose reason has gone, and decides the steps that are due.
void advance(Batch batch, Outgoing* outgoing);

}  // namespace lifecycle::scenario
