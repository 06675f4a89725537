// The customer room: facts come in, numbers go out.
//
// A batch of Change is what the pipeline works on: each stage makes every Change of the batch one stage richer. This header is
// all that the stages know of one another.
#pragma once

#include <string_view>

#include "customer/kinds.hpp"
#include "pg/table.hpp"
#include "rules/purchases.hpp"

namespace lifecycle {

using rules::Instant;

// An amount in another currency than the shop's.
struct Foreign {
    std::string_view currency;
    Datum amount;  // in that currency
    Datum rate;    // what one unit of it is worth in the shop's
};

// What a row of the shop says, or no longer says (withdrawn).
struct Fact {
    FactKind kind;
    bool withdrawn;
    int32 source_id;
    std::string_view customer;
    std::string_view id;     // of the order or refund
    std::string_view order;  // refund: the order it belongs to, if the shop says so
    Instant at;
    rules::Decimal amount;
    Datum amount_datum;      // the same
    const Foreign* foreign;  // nullptr: the amount is in the shop's currency
    bool sum_of_items;       // the shop says no amount: the order's items do
    bool said_before;        // a consent of a row that was changed for another reason
    // Kinds other than order and refund: the mapped fields after the customer, in the order of the kind's list.
    Datum* fields;
    bool* nulls;
};

// Columns of lifecycle.customer, in the order of the table.
enum Column : int {
    kCustomerId, kEmail, kPhone, kFirstName, kLastName, kLocale, kTimeZone, kBirthday, kCreatedAt, kTags, kAttributes,
    kEmailConsent, kSmsConsent, kPushConsent, kAdsConsent,
    kFirstOrderAt, kPreviousOrderAt, kLastOrderAt, kOrderCount, kRevenue, kAverageOrderValue,
    kFirstSentAt, kLastSentAt, kLastOpenAt, kLastClickAt, kLastVisitAt, kLastActivityAt,
    kCartId, kCartValue, kCartUpdatedAt, kPoints, kTier, kTierSince, kTierSpend, kLifecycle, kEngagement, kNextChangeAt,
    kMemberships, kAsOf, kLedgerAt, kNextFactAt, kEnrolmentDueAt, kOpenEnrolments, kTimerAt,
    kRecentSource, kRecentOrders, kHasLog, kTouchedAt, kLoyaltyDueAt, kTierValidUntil, kTierMissing,
    kLaterTimerAt,
    kLotNumber, kLots, kPackedLots, kPointsSeen,
    kWays, kAnchorsSeen,
    kColumns
};
inline constexpr int kDocumentedColumns = kMemberships;

// The consents there are, and where the customer's row shows them.
struct Consent {
    std::string_view name;
    Column column;
};
inline constexpr Consent kConsents[] = {
    {"email", kEmailConsent}, {"sms", kSmsConsent}, {"push", kPushConsent}, {"ads", kAdsConsent}};

// kColumns: there is no such consent.
inline Column consent_column(std::string_view name) {
    for (const Consent& consent : kConsents) {
        if (consent.name == name) return consent.column;
    }
    return kColumns;
}

struct Row {
    Datum values[kColumns];
    bool nulls[kColumns];

    void set(Column c, Datum value) {
        values[c] = value;
        nulls[c] = false;
    }
    void clear(Column c) {
        values[c] = 0;
        nulls[c] = true;
    }
    Instant instant(Column c, Instant if_null) const { return nulls[c] ? if_null : DatumGetTimestampTz(values[c]); }
    void set_instant(Column c, Instant t) {
        if (t == rules::kNever || t == rules::kBeginning) {
            clear(c);
        } else {
            set(c, TimestampTzGetDatum(t));
        }
    }
};

// The latest signs of life other than orders, up to some instant, and what was sent to the customer; kBeginning: none.
struct Touches {
    Instant open = rules::kBeginning;
    Instant click = rules::kBeginning;
    Instant visit = rules::kBeginning;
    Instant other = rules::kBeginning;  // cart, review, wishlist, referral
    Instant sent = rules::kBeginning;        // no sign of life, but a predicate may ask
    Instant first_sent = rules::kBeginning;

    bool operator==(const Touches&) const = default;
};

// Something other than an order or refund that a customer did, or that happened to one, at an instant.
struct Happening {
    FactKind kind;
    std::string_view id;  // as in lifecycle.activity
    Instant at;
    const Fact* fact;     // nullptr: it was known and has fallen due
};

// The numbers and signs of life from one purchase or sign of life on, and what the loyalty stage finds they give.
struct Moment {
    Instant at;
    rules::PurchaseNumbers numbers;
    const Touches* touches;  // shared by the moments between two signs of life
    int tier = -1;
    Instant tier_since = rules::kNever;
    int64 points = 0;
    rules::Decimal tier_spend = {};
};

enum class SignalKind : uint8 { tier_reached, tier_ending, segment_entered, segment_left };

// Something that a points rule may reward, besides purchases and consents. To reward a kind of fact, put it into Change::occurrences
// before the loyalty stage: the latest that is known of it, as often as one likes.
struct Occurrence {
    std::string_view kind;   // as lifecycle.points_rule.earns_on
    std::string_view event;  // as lifecycle.points_rule.event; empty: none
    std::string_view key;    // the shop's id of it: the same key earns once
    Instant at;
    rules::Decimal amount;
    bool gone;               // it was taken back
};

// Something that a scenario may start on.
struct Signal {
    SignalKind kind;
    std::string_view name;  // the tier or segment
    Instant at;
};

// How a customer's history is brought up to date.
enum class Path : uint8 {
    lived,        // what is new lies after as_of: walk through it, every flip on the way goes into the history
    looked_back,  // it lies before: only the present state, and since when, is worked out
};

// A row of lifecycle.timer that is to be written.
struct NewTimer {
    Instant due;
    Datum customer;
    ItemPointerData customer_row;
    ItemPointerData member_row;  // invalid: not known
    size_t member_number;        // among those that have been gathered, from 1, if it is one of them; 0: it is not
};

// What the batches of a large statement write together. Timers come last: they say where the rest lies.
struct Gathered {
    pg::TableWriter* timers;
    pg::TableWriter* members;
    pg::Array<ItemPointerData> member_rows;  // as far as they have been written
    size_t member_count;
    pg::Array<NewTimer> new_timers;
    MemoryContext memory;  // of theirs
};

struct Change {
    std::string_view customer_id;
    std::span<Fact> facts;

    bool existed;           // there is a row, locked by this transaction
    ItemPointerData tid;
    ItemPointerData head;   // where its versions begin, if that is known
    ItemPointerData timer;  // of its row in lifecycle.timer at timer_at, if that is known
    ItemPointerData member_row;  // of the membership that is to end first, if that is known
    size_t member_number;        // as in NewTimer
    Row before;             // of an existing row
    Row after;              // what the stages make of it
    Instant now;            // the instant the customer is brought up to; never before `as_of`

    Path path;
    bool from_scratch;            // `moments` begin with the customer's first purchase; else they go on from `before`
    bool appended;                // what is new lies after all that was known: the history up to there stays as it is
    Instant corrected_from;       // the earliest instant at which what was known turns out wrong; kNever: nothing does
    bool imported;                // a backfill or many late purchases at once: the present is corrected, the past is not written
    Moment base;                  // from_scratch: nothing; else the customer as in `before`
    std::span<Moment> moments;    // one for each purchase and sign of life newly taken in, by time
    pg::Array<Happening> touched;  // the signs of life among them, by time
    pg::Array<Happening> happened; // what scenarios may start on, beside orders: newly in force, by time
    Instant late_touch;            // the earliest sign of life that is news about the past; kNever: none
    size_t late_touches;           // how many there are
    Instant next_happening;        // the earliest of those that lie in the future, as far as this pass knows; kNever: none
    std::span<const Occurrence> occurrences;  // what may be rewarded besides the facts
    std::span<const Fact> orders_taken_in;  // those among the facts that are orders and in force now, by time
    bool order_waits;             // it is one, and waits in the customer's row: the last of recent_ids

    pg::Array<Signal> signals;
    Instant tier_due;             // no earlier than this will time change the tier
    Instant next_flip;            // the earliest instant at which a segment could change
    bool replay;                  // work everything out anew from the ledger
    bool redefined;               // only what segments mean has changed: the row's numbers and tier stand as they are
    bool recount;                 // points were changed by a function of ours: read the balance anew
    std::string_view paid_order;  // recount: it was this order that points have paid
    bool silent;                  // backfill or recomputation: what is found now did not happen now
    Instant news_from;            // silent only up to here: a changed definition holds from then on, and what time has brought since is news
    Gathered* gathered;           // nullptr: the batch writes all by itself
};

inline bool takes_over(const Change& change) { return change.existed && change.news_from < change.now; }

using Batch = std::span<Change>;

}  // namespace lifecycle
