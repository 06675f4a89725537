// The customer room: facts come in, numbers go out.
//
// A batch of Change is what the pipeline works on: each stage makes every Change of the batch one stage richer. This header is
// all that the stages know of one another.
#pragma once

#include <string_view>

#include "pg/array.hpp"
#include "rules/purchases.hpp"

namespace lifecycle {

using rules::Instant;

enum class FactKind : uint8 { customer, order, refund, consent };

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
    Datum amount_datum;  // the amount as the shop wrote it
    // Kinds customer and consent: the mapped fields, in the order of the kind's list.
    Datum* fields;
    bool* nulls;
};

// Columns of lifecycle.customer, in the order of the table.
enum Column : int {
    kCustomerId, kEmail, kPhone, kFirstName, kLastName, kLocale, kTimeZone, kBirthday, kCreatedAt, kTags, kAttributes,
    kEmailConsent, kSmsConsent, kPushConsent, kAdsConsent,
    kFirstOrderAt, kPreviousOrderAt, kLastOrderAt, kOrderCount, kRevenue, kAverageOrderValue,
    kLastSentAt, kLastOpenAt, kLastClickAt, kLastVisitAt, kLastActivityAt,
    kCartId, kCartValue, kCartUpdatedAt, kPoints, kTier, kTierSince, kTierSpend, kLifecycle, kEngagement, kNextChangeAt,
    kSegmentIds, kSegmentSince, kAsOf, kLedgerAt, kNextFactAt, kEnrolmentDueAt, kOpenEnrolments, kTimerAt,
    kRecentSource, kRecentIds, kRecentAt, kRecentAmounts,
    kColumns
};
inline constexpr int kDocumentedColumns = kSegmentIds;

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

// The numbers from one purchase on, and the tier that the loyalty stage finds they give.
struct Moment {
    Instant at;
    rules::PurchaseNumbers numbers;
    int tier = -1;
    Instant tier_since = rules::kNever;
};

enum class SignalKind : uint8 { tier_reached, segment_entered };

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

struct Change {
    std::string_view customer_id;
    std::span<Fact> facts;

    bool existed;           // there is a row, locked by this transaction
    ItemPointerData tid;
    Row before;             // of an existing row
    Row after;              // what the stages make of it
    Instant now;            // the instant the customer is brought up to; never before `as_of`

    Path path;
    bool from_scratch;            // `moments` begin with the customer's first purchase; else they go on from `before`
    bool appended;                // what is new lies after all that was known: the history up to there stays as it is
    Instant corrected_from;       // the earliest instant at which what was known turns out wrong; kNever: nothing does
    bool imported;                // a backfill or many late purchases at once: the present is corrected, the past is not written
    Moment base;                  // from_scratch: nothing; else the customer as in `before`
    std::span<Moment> moments;    // one for each purchase newly taken in, by time
    std::span<const Fact> orders_taken_in;  // those among the facts that are orders and in force now, by time

    pg::Array<Signal> signals;
    Instant next_flip;            // the earliest instant at which a segment could change
    bool replay;                  // work everything out anew from the ledger
    bool silent;                  // backfill or recomputation: what is found now did not happen now
};

using Batch = std::span<Change>;

}  // namespace lifecycle
