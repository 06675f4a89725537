#pragma once

#include <span>

#include "rules/instant.hpp"

namespace lifecycle::rules {

// At most `most` messages in any `window`, which rolls. most < 0: no cap.
struct Cap {
    Instant window;
    int most;
};

// When the next message is within all caps, given when earlier ones went out (in time order): `now` if it is already; kNever: never.
Instant allowed_at(std::span<const Cap> caps, std::span<const Instant> sent, Instant now);

}  // namespace lifecycle::rules
