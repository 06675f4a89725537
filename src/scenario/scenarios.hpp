// The scenario room: signals come in, enrolments and messages go out. One decision for each step of each enrolment, ever.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::scenario {

struct Step {
    int position;
    Interval delay;
    Interval not_after;
    bool has_not_after;
    int consent_column;  // the consent the customer must have granted, -1: none
};

enum class Trigger : uint8 { order_placed, tier_reached, segment_entered };

struct Scenario {
    Datum name;
    Trigger trigger;
    std::string_view argument;  // the tier or segment; empty: any
    bool ends_with_order;
    Interval max_age;
    bool active;  // else paused
    pg::Array<Step> steps;
};

// Scenarios that are active or paused.
struct Scenarios {
    pg::Array<Scenario> list;
    bool any_on_orders;  // an active one starts on order_placed
};

// Read anew if the configuration has changed: at the start of a batch only.
const Scenarios& refresh_scenarios();

}  // namespace lifecycle::scenario
