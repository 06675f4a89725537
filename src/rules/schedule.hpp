#pragma once

#include <cstddef>
#include <span>

#include "rules/instant.hpp"

namespace lifecycle::rules {

// A step of an enrolment with its window worked out: it may be sent in [due, expires).
struct StepWindow {
    Instant due;
    Instant expires;  // kNever: no end
};

inline constexpr std::size_t kNoStep = static_cast<std::size_t>(-1);

// What to do with the steps from `next` on at an instant. Of several overdue steps only the latest one still valid is
// sent; those before it are superseded or have passed, so that an outage never ends in three reminders in a minute.
struct StepDecision {
    std::size_t send = kNoStep;  // the step to send now
    std::size_t next = 0;        // the first step that is not yet due
};

StepDecision decide(std::span<const StepWindow> steps, std::size_t next, Instant now);

}  // namespace lifecycle::rules
