// A made-up zone whose clock jumps when the test says so.
#pragma once

#include <algorithm>
#include <vector>

#include "random.hpp"
#include "rules/calendar.hpp"

namespace lifecycle::test {

inline constexpr std::int64_t kMinute = 60 * rules::kMicroseconds;

struct MadeUpZone {
    struct Transition {
        rules::Instant at;
        std::int64_t offset;  // from there on
    };
    std::int64_t first_offset = 0;
    std::vector<Transition> transitions;

    rules::ZoneRule at(rules::Instant t) const {
        rules::ZoneRule rule{first_offset, rules::kNever};
        for (const Transition& transition : transitions) {
            if (transition.at > t) {
                rule.until = transition.at;
                break;
            }
            rule.offset = transition.offset;
        }
        return rule;
    }
    rules::Wall wall_of(rules::Instant t) const { return t + at(t).offset; }

    // Jumps of up to three hours either way, every now and then across the date line, sometimes within hours of each other.
    static MadeUpZone random(Random& random, rules::Instant from, rules::Instant to) {
        MadeUpZone zone;
        zone.first_offset = random.between(-24, 24) * 30 * kMinute;
        std::int64_t offset = zone.first_offset;
        for (rules::Instant t = from; t < to;) {
            t += random.between(1, 30) * random.between(1, 96) * 30 * kMinute;
            std::int64_t jump = random.chance(5) ? (random.chance(50) ? 1 : -1) * rules::kDay : random.between(-6, 6) * 30 * kMinute;
            offset = std::clamp<std::int64_t>(offset + jump, -15 * 60 * kMinute, 15 * 60 * kMinute);
            zone.transitions.push_back({t, offset});
        }
        return zone;
    }
};

}  // namespace lifecycle::test
