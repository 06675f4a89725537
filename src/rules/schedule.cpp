#include "rules/schedule.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

StepDecision decide(std::span<const StepWindow> steps, std::size_t next, Instant now) {
    StepDecision decision{kNoStep, next};
    while (decision.next < steps.size() && steps[decision.next].due <= now) {
        if (now < steps[decision.next].expires) decision.send = decision.next;
        ++decision.next;
    }
    return decision;
}

}  // namespace lifecycle::rules
