// The rows of lifecycle.outbox, as claim() and ack() read and write them.
#pragma once

#include "pg/rows.hpp"
#include "pg/text.hpp"

namespace lifecycle::outbox {

enum Column {
    kMessageId,
    kIdempotencyKey,
    kCustomerId,
    kChannel,
    kRecipient,
    kScenario,
    kAnchor,
    kStep,
    kVariant,
    kClass,
    kDelivery,
    kPriority,
    kTemplate,
    kSubject,
    kLocale,
    kPayload,
    kStatus,
    kCreatedAt,
    kDueAt,
    kExpiresAt,
    kAttempts,
    kLeasedBy,
    kLeasedUntil,
    kLeaseToken,
    kCancelRequested,
    kSentAt,
    kProviderId,
    kError,
    kPart,
    kColumns
};

// Of every message, and one more of those that have ended. They hold for whatever is written directly.
inline constexpr int kChecks = 3;

// Whoever has added columns to the table finds them carried along.
struct Message {
    Datum* values;
    bool* nulls;

    void set(Column c, Datum value) {
        values[c] = value;
        nulls[c] = false;
    }
    void clear(Column c) { nulls[c] = true; }
    int64 number(Column c) const { return DatumGetInt64(values[c]); }
    std::string_view text(Column c) const { return nulls[c] ? std::string_view{} : pg::view(values[c]); }
};

Message read(HeapTuple row, TupleDesc layout);

// The table, with the parts of it that are written.
struct Parts {
    Relation outbox;
    pg::Array<pg::Rows*> open;
    bool plain;  // nothing stands on any of these that only a statement sees to

    pg::Rows* waiting(Oid part);
    pg::Rows* history(Oid part);
};

inline constexpr int kPartsThatWait = 4;
Oid part_that_waits(int n);

Parts open_parts();
void close_parts(Parts& parts);

}  // namespace lifecycle::outbox
