// One customer while its memberships are worked out, and the ways to work them out.
#pragma once

#include "customer/change.hpp"
#include "pg/guard.hpp"
#include "rules/membership.hpp"
#include "segment/facts.hpp"
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
    struct Move {
        uint32 segment;
        Change* change;
        Instant since;
        bool ends_first;  // as far as time alone has it
    };
    pg::Array<Stay> past;
    pg::Array<Move> entered, left;
    // Segments found to have been held without a break since an instant: what the history has of it from then on is void.
    pg::Array<Datum> unbroken_customers, unbroken_segments, unbroken_since;
    pg::Array<Datum> problem_customers, problem_segments, problem_states, problem_messages;

    // `before` is a copy from then; problems stay on record.
    void forget_since(const Writes& before);
};

struct TakenBack {
    const Change* change;
    std::string_view segment;
    Instant entered;
    Instant left;
};

// What a FactCall counts for one customer, worked out once and kept while the row's columns change, unless it depends on them.
struct Counting {
    bool built;
    bool known;  // false: an argument is NULL, or there is an error
    ErrorData* error;  // what the predicates that ask for it fail with; nullptr: none
    rules::Window window;
    pg::Array<rules::Counted> counted;
    pg::Array<rules::Total> begun, ended;
};

// The day of an AnniversaryCall.
struct Anniversary {
    bool known;
    ErrorData* error;  // as above
    rules::Date of;
    int first_year;
    const Interval* before;  // nullptr: on the day itself
    rules::LeapDay leap;
};

// What has been worked out of the row that a customer is at the moment, when it was first asked for.
struct Known {
    struct Fixed {
        bool judged;
        Verdict verdict;
    };
    struct Edge {
        bool found, null;
        Instant at;
    };
    struct Flips {
        bool collected;
        uint32 begin, end;  // in `flips`
    };
    std::span<Fixed> expressions;
    std::span<Edge> edges;
    std::span<Flips> segments;
    pg::Array<Instant> flips;
};

// Room for what is known of one customer at a time, reused for the next.
struct Workshop {
    pg::Array<Counting> countings;
    pg::Array<Anniversary> anniversaries;
    Known known;
    rules::Held needed;
};
Workshop make_workshop(const Segments& all);

// One customer while memberships are worked out; the World of rules/membership.hpp.
struct Customer {
    const Segments& all;
    Change& change;
    Writes& writes;
    Workshop& shop;
    const Deeds* deeds;                     // nullptr: no predicate looks at them
    std::span<const TakenBack> taken_back;  // of the whole batch
    bool replaying;                         // what is entered now is history
    bool careful;  // a predicate has raised an error: judge each by itself

    rules::Held was;     // as the row had it
    std::span<Instant> was_since;
    rules::Held held;
    std::span<Instant> since;
    rules::Held scratch;
    rules::Held needed = {};  // what else is there need not be looked at; empty: all is needed
    rules::Held found = {};  // what is being worked out, for those that ask for other segments
    Instant found_at = 0;    // as of this instant
    bool news = false;  // what is entered now is news, although the change is silent
    size_t ends_first = SIZE_MAX;  // which segment next_change() has found to be left then

    size_t count() const { return all.list.size; }

    // From here on the customer is what `row` says.
    void become(const Row& row);
    bool value_of(ExprState* state, Datum* value);  // false: NULL
    // Calls `body`; while each predicate is judged by itself an error in it is returned instead of raised.
    template <class F>
    ErrorData* failure_of(F&& body) {
        if (careful) return pg::attempt(body);
        body();
        return nullptr;
    }
    Verdict fixed(uint32 expression);
    bool edge(uint32 number, Instant* at);  // false: NULL
    Verdict judge(uint32 part);
    Verdict judge_parts(const Formula& formula);
    void collect_flips(uint32 part, bool positive, bool certain);
    void collect_term(const pg::ClockTerm& term, Instant edge);
    bool is_decided(const Formula& formula, bool positive, bool certain);
    std::span<const Instant> flips_of(uint32 segment);
    void count(size_t call);
    void find_anniversary(size_t call);
    void set_calls(Instant at);
    template <class Sink>
    void each_flip_of_calls(Instant around, Sink&& sink);
    // Of what can change what is held at `after`, and of everything.
    Instant next_flip(Instant after);
    Instant previous_flip(Instant at_or_before);
    // The first flip that changes what is held at `after`. A comparison that flips in vain costs a look at it now instead of a timer.
    Instant next_change(Instant after);
    bool holds(size_t i);
    void evaluate(Instant at, rules::Held into);
    // Restricts what is looked at to these and what they depend on, until everything().
    void only(rules::Held pending);
    void everything() { needed = {}; }
    bool is_needed(size_t i) const { return needed.empty() || needed[i]; }
    void changed(Instant at, rules::Held from, rules::Held to);
    // What the customer has just become holds from `at` on.
    void arrive(Instant at);
    void entered(size_t i);
    void left(size_t i, Instant at);
    void note_problem(size_t i, ErrorData* error);
    void load();
    // The i-th segment has been held without a break since `since[i]`.
    void unbroken(size_t i);
};

// Whether the k-th is the last of its instant: what happens at one instant happens together, and nobody is anything in between.
bool ends_instant(std::span<const Moment> moments, size_t k);
// The customer as of the k-th purchase that has been taken in.
void become_as_of(Customer& c, size_t k);

// Walks through what has happened since the customer was last looked at, flip by flip and purchase by purchase.
void live(Customer& c);
// Works out the present state and since when it has held, going back from now purchase by purchase.
void look_back(Customer& c);
// The same from nothing but the row, which says when something last happened. False: what was before that is needed.
bool look_back_in_row(Customer& c);
// Takes a changed definition over in silence, as of when it was changed, and lives on from there.
void take_over(Customer& c);
// Rewrites the history from the first corrected instant on.
void correct(Customer& c);

bool profile_changed(const Change& change);

}  // namespace lifecycle::segment
