#include "outbox/late.hpp"

#include "outbox/message.hpp"
#include "pg/catalog.hpp"
#include "pg/coming.hpp"

namespace lifecycle::outbox {

namespace {

// From when on something that waits is too late: rules::kBeginning, unless a tick has looked.
rules::Instant first_end = rules::kBeginning;

struct Late {
    pg::Array<Datum> ids;
    rules::Instant next = rules::kNever;
};

Late find_late(rules::Instant now) {
    Late late;
    for (int part = 0; part < kPartsThatWait; ++part) {
        pg::Coming coming = pg::coming(part_that_waits(part), "expires_at", "message_id", now);
        for (Datum id : coming.come) late.ids.push(id);
        late.next = Min(late.next, coming.next);
    }
    return late;
}

}  // namespace

void look_for_late(rules::Instant now) {
    Late late = find_late(now);
    first_end = late.ids.empty() ? late.next : rules::kBeginning;
}

void note_enqueued(rules::Instant expires) { first_end = Min(first_end, expires); }

bool may_be_late(rules::Instant now) { return first_end <= now; }

void forget_late() { first_end = rules::kBeginning; }

}  // namespace lifecycle::outbox

using namespace lifecycle;

// lifecycle.late_messages(clock)
LIFECYCLE_FUNCTION(lifecycle_late_messages) {
    PG_RETURN_DATUM(pg::array_of(INT8OID, outbox::find_late(PG_GETARG_TIMESTAMPTZ(0)).ids.span(), nullptr));
}
