// The last gate: whether there is a code for a message that brings an offer.
#include "loyalty/coupons.hpp"
#include "pg/text.hpp"
#include "scenario/work.hpp"

namespace lifecycle::scenario {

namespace {

constexpr Instant kTryAgain = 3600 * rules::kMicroseconds;
constexpr int kGone = kNoPosition;  // a message or decision that has been taken back

Datum purpose_of(const Enrolment& e) {
    // As lifecycle.coupon_purpose() has it: one code for each anchor, whichever step brings it.
    return pg::to_datum(psprintf("scenario:%s:%s", pg::to_cstring(pg::view(e.scenario_name)), pg::to_cstring(pg::view(e.anchor))));
}

// There is no code: the step is skipped, or put off if that is wanted and there is time left.
void go_without(Work& work, const Brings& b) {
    Enrolment& e = *b.enrolment;
    work.outgoing->messages[b.message].position = kGone;
    Instant again = e.change->now + kTryAgain;
    if (b.step->pool_empty == PoolEmpty::skip || again >= b.expires) {
        work.decisions[b.decision].outcome = "skipped";
        work.decisions[b.decision].reason = "coupon_pool_empty";
        work.decisions[b.decision].sent = nullptr;
        return;
    }
    // With what has been decided of steps that come after it.
    for (size_t i = b.decision; i < work.decisions.size && work.decisions[i].enrolment == &e; ++i) work.decisions[i].position = kGone;
    e.last_position = b.last_position;
    e.last_at = b.last_at;
    e.status = "active";
    e.next_due = again;
}

template <class T>
void leave_out_gone(pg::Array<T>& list) {
    size_t kept = 0;
    for (const T& item : list) {
        if (item.position != kGone) list[kept++] = item;
    }
    list.size = kept;
}

}  // namespace

void bind_offers(Work& work) {
    if (work.brings.empty()) return;
    pg::Array<loyalty::Binding> wanted;
    for (const Brings& b : work.brings) {
        const Row& row = b.enrolment->change->after;
        wanted.push({row.values[kCustomerId], b.offer, purpose_of(*b.enrolment), row.nulls[kTimeZone] ? Datum{0} : row.values[kTimeZone], false});
    }
    loyalty::bind_coupons(wanted.span(), work.brings[0].enrolment->change->now);
    for (size_t i = 0; i < wanted.size; ++i) {
        const Brings& b = work.brings[i];
        if (!wanted[i].bound && b.step->pool_empty != PoolEmpty::send_without) go_without(work, b);
    }
    leave_out_gone(work.outgoing->messages);
    leave_out_gone(work.decisions);
}

}  // namespace lifecycle::scenario
