// One customer while its memberships are worked out, and the ways to work them out.
#pragma once

#include "customer/change.hpp"
#include "rules/membership.hpp"
#include "segment/predicates.hpp"

namespace lifecycle::segment {

// What a batch writes, gathered first.
struct Writes {
    struct Stay {
        Datum segment;
        Datum customer;
        Instant entered;
        Instant left;
    };
    pg::Array<Stay> past;
    pg::Array<Stay> entered;
    pg::Array<Datum> left_segments, left_customers;
    // Segments found to have been held without a break since an instant: what the history has of stays that began after it is void.
    pg::Array<Datum> unbroken_customers, unbroken_segments, unbroken_since;
    pg::Array<Datum> problem_customers, problem_segments, problem_states, problem_messages;
};

struct TakenBack {
    const Change* change;
    std::string_view segment;
    Instant entered;
    Instant left;
};

// One customer while memberships are worked out; the World of rules/membership.hpp.
struct Customer {
    const Segments& all;
    Change& change;
    Writes& writes;
    std::span<const TakenBack> taken_back;  // of the whole batch
    bool replaying;                         // what is entered now is history
    bool careful;  // a predicate has raised an error: judge each by itself

    rules::Held was;     // as the row had it
    std::span<Instant> was_since;
    rules::Held held;
    std::span<Instant> since;
    rules::Held scratch;
    std::span<Instant> flips;
    size_t flip_count;

    size_t count() const { return all.list.size; }

    // From here on the customer is what `row` says.
    void become(const Row& row);
    Instant next_flip(Instant after) const;
    Instant previous_flip(Instant at_or_before) const;
    bool holds(size_t i);
    void evaluate(Instant at, rules::Held into);
    void changed(Instant at, rules::Held from, rules::Held to);
    // What the customer has just become holds from `at` on.
    void arrive(Instant at);
    void entered(size_t i);
    void note_problem(size_t i, ErrorData* error);
    void load();
    // The i-th segment has been held without a break since `since[i]`.
    void unbroken(size_t i);
};

// Walks through what has happened since the customer was last looked at, flip by flip and purchase by purchase.
void live(Customer& c);
// Works out the present state and since when it has held, going back from now purchase by purchase.
void look_back(Customer& c);
// Rewrites the history from the first corrected instant on.
void correct(Customer& c);

bool profile_changed(const Change& change);

}  // namespace lifecycle::segment
