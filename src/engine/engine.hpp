// The engine: the one path by which a customer is brought up to date.
//
//     facts -> numbers -> tier -> segments -> enrolments -> outbox
//
// An order comes in with a fact, a timer that has run out with none; both take the same way. The customers of a batch are locked in the order of
// their ids, so that two statements never wait for each other in a circle.
#pragma once

#include "customer/change.hpp"
#include "customer/store.hpp"

namespace lifecycle::engine {

struct Options {
    bool silent = false;  // what is found is history: nobody enters a segment now
    bool recount = false;  // functions of ours have changed the customers' points
    std::string_view paid_order = {};  // ... by paying this order with them
    bool replay = false;  // work everything out anew from the ledger
    bool lock_late = false;  // of take_in(): the caller begins again without this if another session meets us at a customer
    Instant news_from = rules::kNever;  // silent only up to here, or to when the customer was last looked at if that is later
    Gathered* gathered = nullptr;  // of several batches, each of other customers
};

// Takes in facts, in any order. A session that creates the same new customer at the same time, or changes one that was to be locked late, makes this
// fail with an error that customer::lost_race() recognises: the caller runs it in pg::protect() and tries again.
void take_in(std::span<const Fact> facts, Options options);

// Locks the customers of facts, in the order of their ids, until the transaction ends; those that are new are created.
void lock_customers(std::span<const Fact> facts);

// Brings customers up to date with the clock; their ids are sorted.
// `occurrences`, if any, are what has happened to each of them.
void bring_up_to_date(std::span<const std::string_view> customers, Options options,
                      std::span<const std::span<const Occurrence>> occurrences = {});

// One batch, of at most `limit`, of customers for whom time has made something due, from a position on. Returns how many there were.
int64 tick_once(int limit, customer::Position* after);
// Of it, only the customers of whom something is due; between open_spi() and close_spi().
int64 work_off_some(int limit, customer::Position* after);
// Counts the products of some orders whose lines have changed, for recommendations. Returns how many orders; 0: nothing is left.
int64 fold_baskets();
// Tells customers of messages that were sent to them. Returns how many messages; 0: nothing is left but what others have locked.
int64 take_in_sent();
// When to look again: the earliest timer, or sooner while mailers are at work; kNever.
Instant next_due();
// Puts off the customer whose turn it is by an hour: an error has kept it from being brought up to date.
void postpone_first();

// What a changed definition makes it necessary to work out anew.
enum class Anew : uint8 { everything, segments };
// The next customers after `after`, at most `limit`, in the order of their ids, in silence up to `news_from`. Returns which they were. Between
// open_spi() and close_spi().
std::span<const std::string_view> replay_next(std::string_view after, int limit, Anew anew, Instant news_from,
                                              Gathered* gathered = nullptr);
// Works every customer out anew, in this transaction.
void replay_everybody(Anew anew);

// Takes changed definitions to every customer: in this transaction if they are few, else in the background.
void definitions_changed(Anew anew);
// Before that: what time has brought until now is news by the old definitions, and the new ones are taken over in silence.
void work_off_due();
// The next batch of what goes on in the background; 0: there is nothing to do.
int64 redefine_some();
// Works out anew those of a locked batch that a changed definition has not reached yet. True: there were some, and rows have changed.
bool catch_up_with_definitions(Batch batch);

}  // namespace lifecycle::engine
