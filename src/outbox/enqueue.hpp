// The outbox room: messages come in from the scenarios; mailers take them out.
#pragma once

#include "scenario/enrolments.hpp"

namespace lifecycle::outbox {

// Puts messages into the outbox, cancels those that have lost their reason, and notifies listening mailers at commit.
void enqueue(const scenario::Outgoing& outgoing, Instant now);

// Before a tick that is one transaction and tidies up at its end.
void begin_tick();
// Takes back leases that have run out, expires what is too late, empties parts and drops history.
void tidy();
// When to tidy() again at the latest: within a second while mailers are at work, else kNever.
Instant next_look();

}  // namespace lifecycle::outbox
