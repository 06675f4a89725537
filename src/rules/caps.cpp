#include "rules/caps.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

Instant allowed_at(std::span<const Cap> caps, std::span<const Instant> sent, Instant now) {
    Instant allowed = now;
    for (const Cap& cap : caps) {
        if (cap.most < 0) continue;
        if (cap.most == 0) return kNever;
        auto most = static_cast<std::size_t>(cap.most);
        if (sent.size() < most) continue;
        // Half-open like every interval: exactly one window later the message no longer counts.
        Instant free = sent[sent.size() - most] + cap.window;
        if (free > allowed) allowed = free;
    }
    return allowed;
}

}  // namespace lifecycle::rules
