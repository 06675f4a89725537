// The scenario room: signals come in, enrolments and messages go out. One decision for each step of each enrolment, ever.
#pragma once

#include "customer/change.hpp"
#include "rules/caps.hpp"
#include "scenario/channels.hpp"
#include "segment/predicates.hpp"

namespace lifecycle::scenario {

using Condition = const segment::Segments*;  // nullptr: none

struct CapRule {
    int channel;  // index into Scenarios::channels; -1: all together
    bool marketing, transactional;
    bool by_address;
    rules::Cap cap;
};

struct Variant {
    Datum name;
    int weight;
    Datum offer;  // 0: the step's
};

// Something that a goal is, or that a step waits for.
struct Awaited {
    FactKind kind;          // FactKind::count: nothing
    std::string_view name;  // of the event or sign of life; empty: any
};

enum class Origin : uint8 { anchor, delivery, previous };

enum class PoolEmpty : uint8 { skip, defer, send_without };

struct Step {
    int position;
    Origin from;
    Interval delay;
    Interval not_after;
    bool has_not_after;
    bool marketing;
    int consent_column;  // the consent the customer must have granted, -1: none
    int channel;         // index into Scenarios::channels
    rules::SendWindow window;
    Condition condition;
    bool sends;       // else it only decides what is next
    Awaited wait_for;
    int next;         // the position to go on from
    int otherwise;
    Datum offer;  // 0: none
    PoolEmpty pool_empty;
    std::string_view salt;  // of its variants
    pg::Array<Variant> variants;
};

enum class Trigger : uint8 {
    order_placed, delivered, cart_idle, consent, segment_entered, segment_left, tier_reached, tier_ending, review, wishlist_added, referral, event,
    birthday, date, points_expiring
};

enum class Reentry : uint8 { once, once_per_anchor, every, always };

struct Scenario {
    Datum name;
    std::string_view name_view;
    Trigger trigger;
    std::string_view argument;  // the tier, segment, event, channel, date or number of stars; empty: any
    int consent_column;         // Trigger::consent
    int most_stars;             // Trigger::review; -1: any
    rules::Wall day, until;     // Trigger::date; until is kNever: a single day
    Interval ahead;             // Trigger::points_expiring
    Awaited goal;
    bool goal_has_end;
    Interval goal_within;
    Condition entry_filter, exit_when, exclusion;
    Reentry reentry;
    Interval every;
    Interval max_age;
    int priority;
    int holdout;  // in 1/10 000
    int version;
    bool past;    // replaced: whoever began on it goes on, nobody begins any more
    bool starts;  // customers enrol
    bool runs;    // those on the way go on; else they wait
    bool waits_for_delivery;
    bool asks_for_context;
    pg::Array<Step> steps;
};

// Scenarios that are not drafts.
struct Scenarios {
    pg::Array<Scenario> list;
    pg::Array<const Scenario*> past;  // former versions that somebody is still on the way through, as far as they have been met
    pg::Array<Channel> channels;
    pg::Array<CapRule> caps;
    Instant longest_cap;
    bool any_caps_by_address;
    bool any_on_orders;      // an active one starts on order_placed
    bool any_on_happenings;  // or on something else that the shop says
    bool any_on_time;        // or when time has come: an idle cart, a birthday, a date
    bool any_points_expiring;  // or before points expire
};

// Read anew if the configuration has changed: at the start of a batch only.
const Scenarios& refresh_scenarios();

// The scenario in the version that an enrolment began on; nullptr: it is a draft or not there any more. May run statements.
const Scenario* in_version(std::string_view name, int version);

}  // namespace lifecycle::scenario
