#pragma once

#include "customer/change.hpp"

namespace lifecycle::outbox {

// Bounces and complaints among the facts suppress the addresses they are about.
void take_feedback(Batch batch);

}  // namespace lifecycle::outbox
