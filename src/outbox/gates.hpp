// Whether messages may go out, asked when they are claimed and just before they are sent: in the order of the gates, each about all
// messages at once that it can stop.
#pragma once

#include "pg/text.hpp"
#include "rules/instant.hpp"

namespace lifecycle::outbox {

struct Asked {
    Datum customer, recipient, scenario, anchor, channel;
    bool no_recipient, marketing;
};

struct Refusal {
    Datum reason;          // a code (text); 0: it may go out
    rules::Instant until;  // when it may after all; kNever: it never may
};

std::span<Refusal> ask_gates(std::span<const Asked> messages);

}  // namespace lifecycle::outbox
