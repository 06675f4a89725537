// Messages that are too late to be sent.
#pragma once

#include "pg/postgres.hpp"
#include "rules/instant.hpp"

namespace lifecycle::outbox {

// A tick that is one transaction looks at what waits before it adds to it: what it enqueues itself is not too late, and maybe there are very many.
void look_for_late(rules::Instant now);
void note_enqueued(rules::Instant expires);
// Whether anything may be too late by now.
bool may_be_late(rules::Instant now);
// What look_for_late() has found does not hold any longer.
void forget_late();

}  // namespace lifecycle::outbox
