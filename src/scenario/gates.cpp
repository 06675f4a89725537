// The gates between a step that is due and its message, in their fixed order.
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/text.hpp"
#include "rules/arms.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

// The first instant from `now` on at which neither the channel's quiet hours nor the step's window keep it; kNever: there is none.
Instant open_from(const Channel& channel, const Step& step, Instant now) {
    if (!rules::is_within_calendar(now)) return now;
    rules::Wall wall = pg::wall_of(now, pg::zone_in_force());
    int64 day = rules::day_of(wall);
    auto minute = static_cast<int>((wall - day * rules::kDay) / (60 * rules::kMicroseconds));
    int weekday = static_cast<int>(((day + 5) % 7 + 7) % 7);  // 2000-01-01 was a Saturday
    rules::Opening opening = rules::next_opening(channel.open, step.window, {weekday, minute});
    if (opening.days < 0) return rules::kNever;
    if (opening.days == 0 && opening.minute == minute) return now;
    return pg::instant_of((day + opening.days) * rules::kDay + opening.minute * 60 * rules::kMicroseconds);
}

}  // namespace

bool consents(const Row& row, int column) {
    return column < 0 || (!row.nulls[column] && pg::view(row.values[column]) == "granted");
}

Gate ask_gates(Work& work, const Enrolment& e, const Step& step) {
    Change& change = *e.change;
    const Channel& channel = work.scenarios.channels[step.channel];
    if (channel.name.empty()) return {"excluded"};
    if (!consents(change.after, step.consent_column)) return {"no_consent"};
    if (step.condition != nullptr && !segment::holds(*step.condition, change, e.context)) return {"excluded"};
    if (step.marketing) {
        if (e.scenario->exclusion != nullptr && segment::holds(*e.scenario->exclusion, change, e.context)) return {"excluded"};
        if (rules::is_held_out("holdout", change.customer_id, customer::current_shop().holdout) ||
            rules::is_held_out(e.scenario->name_view, change.customer_id, e.scenario->holdout))
            return {"holdout", rules::kBeginning, true};
    }
    Instant wait = within_caps(work, e, step);
    if (wait > change.now) return wait == rules::kNever ? Gate{"capped"} : Gate{"capped", wait};
    static constexpr Channel kNeverQuiet{};
    Instant open = open_from(step.marketing ? channel : kNeverQuiet, step, change.now);
    if (open > change.now) return open == rules::kNever ? Gate{"window_passed"} : Gate{"quiet_hours", open};
    return {};
}

}  // namespace lifecycle::scenario
