// The gates between a step that is due and its message, in their fixed order.
#include "customer/shop.hpp"
#include "pg/clock.hpp"
#include "pg/text.hpp"
#include "rules/arms.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

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
    static constexpr rules::SendWindow kNeverQuiet{};
    Instant open = pg::open_from(step.marketing ? channel.open : kNeverQuiet, step.window, change.now);
    if (open > change.now) return open == rules::kNever ? Gate{"window_passed"} : Gate{"quiet_hours", open};
    return {};
}

}  // namespace lifecycle::scenario
