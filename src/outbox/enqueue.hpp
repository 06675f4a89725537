// The outbox room: messages come in from the scenarios; mailers take them out.
#pragma once

#include "scenario/enrolments.hpp"

namespace lifecycle::outbox {

// Puts messages into the outbox, cancels those that have lost their reason, and notifies listening mailers at commit.
void enqueue(const scenario::Outgoing& outgoing, Instant now);

// Takes back leases that have run out and expires what is too late.
void tidy();

}  // namespace lifecycle::outbox
