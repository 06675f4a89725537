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

// For each message the reason code (text) for which it must not go out; 0: it may.
std::span<Datum> ask_gates(std::span<const Asked> messages);

// For each message until when its channel is quiet for its customer; `at`: it is not.
std::span<rules::Instant> quiet_until(std::span<const Asked> messages, rules::Instant at);

}  // namespace lifecycle::outbox
