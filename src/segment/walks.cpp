// The ways to work out memberships: forward through what is new, back from now, or anew from the first corrected instant.
#include "segment/member.hpp"

#include <algorithm>
#include <cstring>

#include "customer/ledger.hpp"
#include "loyalty/loyalty.hpp"
#include "pg/money.hpp"
#include "pg/text.hpp"

namespace lifecycle::segment {

namespace {

// The customer as of a moment: the row with that moment's numbers and tier. Amounts are worked out only if a predicate reads them: a division
// for each purchase of an import is dear.
void as_of(const Customer& c, Row& row, const Moment& moment) {
    customer::show_times(row, moment.numbers, *moment.touches);
    if (c.all.reads_amounts) {
        customer::show_amounts(row, moment.numbers);
        row.set(kTierSpend, pg::to_numeric(moment.tier_spend));
    }
    bool none;
    Datum tier = loyalty::tier_name(moment.tier, &none);
    none ? row.clear(kTier) : row.set(kTier, tier);
    row.set_instant(kTierSince, none ? rules::kNever : moment.tier_since);
    row.set(kPoints, Int64GetDatum(moment.points));
}

// The same before there was any.
void before_everything(const Customer& c, Row& row) {
    Touches untouched;
    Moment nothing{};
    nothing.touches = &untouched;
    as_of(c, row, nothing);
}

}  // namespace

bool ends_instant(std::span<const Moment> moments, size_t k) { return k + 1 == moments.size() || moments[k + 1].at != moments[k].at; }

void become_as_of(Customer& c, size_t k) {
    if (k + 1 == c.change.moments.size()) {
        c.become(c.change.after);
        return;
    }
    Row row = c.change.after;
    as_of(c, row, c.change.moments[k]);
    c.become(row);
}

namespace {

// When a segment was left whose leaving nobody saw: with the first purchase after it was entered, if that is what ended it; else where the
// next segment of its dimension begins, else now.
Instant left_at(Customer& c, size_t i) {
    for (size_t k = 0; k < c.change.moments.size(); ++k) {
        if (c.change.moments[k].at < c.was_since[i] || !ends_instant(c.change.moments, k)) continue;
        become_as_of(c, k);
        c.evaluate(c.change.moments[k].at, c.scratch);
        if (!c.scratch[i]) return c.change.moments[k].at;
        break;
    }
    uint8 dimension = c.all.dimensions[i];
    for (size_t k = 0; dimension != 0 && k < c.count(); ++k) {
        if (c.all.dimensions[k] == dimension && c.held[k]) return c.since[k];
    }
    return c.change.now;
}

// Finds since when each pending segment has been held, going back from `to` over the purchases before the k-th; the customer is as of
// `to`. Returns where the earliest purchase begins, kNever if there is none; what is still pending then has been held for longer.
Instant since_when(Customer& c, size_t k, Instant to, rules::Held pending) {
    Instant later = rules::kNever;
    c.only(pending);
    while (k-- > 0) {
        const Moment& moment = c.change.moments[k];
        if (moment.at == later) continue;
        if (later != rules::kNever) become_as_of(c, k);
        size_t open = rules::walk_back(c, moment.at, to, later, pending, c.since, c.scratch);
        later = moment.at;
        to = later - 1;
        if (open == 0) break;
    }
    c.everything();
    return later;
}

// Since when a segment had been held at the first corrected instant, as far as the records say; kNever: they do not.
Instant recorded_since(const Customer& c, size_t i, Instant corrected_from) {
    if (c.was[i] && c.was_since[i] < corrected_from) return c.was_since[i];
    for (const TakenBack& stay : c.taken_back) {
        if (stay.change == &c.change && stay.segment == c.all.list[i].name_view && stay.entered < corrected_from) return stay.entered;
    }
    return rules::kNever;
}

// Which of the segments that are pending are on record from before `start`, the first purchase, and had no need of one: those go on. Into scratch.
void held_without_purchases(Customer& c, Instant start, rules::Held pending) {
    bool any = false;
    for (size_t i = 0; i < c.count(); ++i) any |= pending[i] && c.was[i] && c.was_since[i] < start;
    memset(c.scratch.data(), 0, c.count());
    if (!any) return;
    Row nothing = c.change.after;
    before_everything(c, nothing);
    c.become(nothing);
    c.evaluate(start - 1, c.scratch);
    for (size_t i = 0; i < c.count(); ++i) c.scratch[i] &= c.was[i] && c.was_since[i] < start;
}

}  // namespace

// Walks through what has happened since the customer was last looked at, flip by flip and purchase by purchase.
void live(Customer& c) {
    Change& change = c.change;
    memcpy(c.held.data(), c.was.data(), c.count());
    std::copy(c.was_since.begin(), c.was_since.end(), c.since.begin());

    Instant at = change.base.at;
    bool profile = profile_changed(change);
    Instant first = change.moments.empty() ? change.now : change.moments[0].at - 1;
    // What the customer did beside ordering may have come in since, with instants of its own.
    if (change.before.instant(kNextChangeAt, rules::kNever) <= first || c.deeds != nullptr) {
        c.become(change.before);
        rules::walk_forward(c, at, first, c.held, c.scratch);
    }
    for (size_t k = 0; k < change.moments.size(); ++k) {
        if (!ends_instant(change.moments, k)) continue;
        const Moment& moment = change.moments[k];
        bool last = k + 1 == change.moments.size();
        if (last && !profile) {
            c.become(change.after);
        } else {
            Row row = change.before;
            as_of(c, row, moment);
            c.become(row);
        }
        c.arrive(moment.at);
        rules::walk_forward(c, moment.at, last ? change.now : change.moments[k + 1].at - 1, c.held, c.scratch);
    }
    if (profile || change.moments.empty()) {
        c.become(change.after);
        c.arrive(change.now);
    }
}

namespace {

// What holds now, and of that what has begun at some instant that is to be found.
void find_present(Customer& c, rules::Held pending) {
    Change& change = c.change;
    c.become(change.after);
    c.evaluate(change.now, c.held);
    change.next_flip = c.next_change(change.now);
    for (size_t i = 0; i < c.count(); ++i) {
        pending[i] = c.held[i] && !c.all.list[i].timeless;
        if (c.held[i] && !pending[i]) c.since[i] = c.was[i] ? c.was_since[i] : change.now;
    }
}

// What has been found becomes what the customer enters and leaves.
void move(Customer& c) {
    Change& change = c.change;
    for (size_t i = 0; i < c.count(); ++i) {
        // What a changed definition has not moved has no other past than before.
        bool stays = change.redefined && c.was[i] && c.was_since[i] == c.since[i];
        if (c.held[i] && change.from_scratch && !stays) c.unbroken(i);
        if (c.held[i] && !c.was[i]) c.entered(i);
        if (c.was[i] && !c.held[i]) {
            Instant left = change.corrected_from != rules::kNever ? change.corrected_from : left_at(c, i);
            c.left(i, left);
            if (left > c.was_since[i])
                c.writes.past.push({c.all.list[i].name, change.after.values[kCustomerId], c.was_since[i], left});
        }
    }
}

}  // namespace

bool look_back_in_row(Customer& c) {
    Change& change = c.change;
    constexpr Column kWhenSomethingHappened[] = {kLedgerAt, kLastOpenAt, kLastClickAt, kLastVisitAt, kTouchedAt, kLastSentAt};
    Instant last = rules::kBeginning;
    for (Column column : kWhenSomethingHappened) last = Max(last, change.after.instant(column, rules::kBeginning));
    if (last == rules::kBeginning) return false;
    auto pending = pg::zeroed<uint8>(c.count());
    find_present(c, pending);
    for (size_t i = 0; i < c.count(); ++i) {
        if (c.was[i] && !c.held[i]) return false;  // when it was left is a question to the past
    }
    c.only(pending);
    size_t open = rules::walk_back(c, last, change.now, rules::kNever, pending, c.since, c.scratch);
    c.everything();
    if (open > 0) return false;
    // What has flipped since the definition was changed is news.
    if (takes_over(change) && c.previous_flip(change.now) > change.news_from) return false;
    change.path = Path::looked_back;
    change.from_scratch = true;
    move(c);
    return true;
}

namespace {

// The same as since_when() where there is no purchase. What is on record as entered later than time alone would have it stands: an attribute
// that was set then has no instant in the row.
void only_time_has_moved(Customer& c, Instant start, rules::Held pending) {
    c.only(pending);
    rules::walk_back(c, start, c.change.now, rules::kNever, pending, c.since, c.scratch);
    c.everything();
    for (size_t i = 0; i < c.count(); ++i) {
        if (c.held[i] && !pending[i] && c.was[i]) c.since[i] = Max(c.since[i], c.was_since[i]);
    }
}

}  // namespace

// Works out the present state and since when it has held, going back from now purchase by purchase.
void look_back(Customer& c) {
    Change& change = c.change;
    auto pending = pg::zeroed<uint8>(c.count());
    find_present(c, pending);
    Instant later = since_when(c, change.moments.size(), change.now, pending);
    // What has held since before the first purchase that we see here.
    Instant start = later != rules::kNever ? later : Min(change.after.instant(kCreatedAt, change.now), change.now);
    if (later == rules::kNever) only_time_has_moved(c, start, pending);
    held_without_purchases(c, start, pending);
    for (size_t i = 0; i < c.count(); ++i) {
        if (!pending[i]) continue;
        bool goes_on = c.was[i] && (!change.from_scratch || change.moments.empty() || c.scratch[i]);
        c.since[i] = goes_on ? c.was_since[i] : start;
    }
    for (size_t i = 0; change.corrected_from != rules::kNever && i < c.count(); ++i) {
        if (!c.held[i] || c.all.list[i].timeless || c.since[i] >= change.corrected_from) continue;
        // It goes on from before the import: since when is on record, or it begins with it.
        Instant since = recorded_since(c, i, change.corrected_from);
        c.since[i] = since != rules::kNever ? since : later != rules::kNever ? c.since[i] : change.corrected_from;
    }
    // Worked out anew by what is known today, it would have begun when it had not.
    for (size_t i = 0; change.replay && !takes_over(change) && i < c.count(); ++i) {
        if (c.held[i] && c.was[i] && c.all.list[i].unremembered) c.since[i] = c.was_since[i];
    }
    move(c);
}

namespace {

// Goes on through the k-th purchase and all after it.
void walk_on(Customer& c, size_t k) {
    auto moments = c.change.moments;
    for (; k < moments.size(); ++k) {
        if (!ends_instant(moments, k)) continue;
        Instant at = moments[k].at;
        become_as_of(c, k);
        c.arrive(at);
        rules::walk_forward(c, at, k + 1 < moments.size() ? moments[k + 1].at - 1 : c.change.now, c.held, c.scratch);
    }
}

}  // namespace

void take_over(Customer& c) {
    Change& change = c.change;
    Instant now = change.now;
    Row present = change.after;
    auto moments = change.moments;
    size_t k = 0;
    while (k < moments.size() && moments[k].at <= change.news_from) ++k;

    if (k < moments.size()) k > 0 ? as_of(c, change.after, moments[k - 1]) : before_everything(c, change.after);
    change.now = change.news_from;
    change.moments = moments.first(k);
    look_back(c);

    c.become(change.after);
    change.now = now;
    change.moments = moments;
    change.after = present;
    c.news = true;
    rules::walk_forward(c, change.news_from, k < moments.size() ? moments[k].at - 1 : now, c.held, c.scratch);
    walk_on(c, k);
    c.news = false;
    change.next_flip = c.next_change(now);
}

// Rewrites the history from the first corrected instant on: works out the state just before it, then walks through all that followed.
void correct(Customer& c) {
    Change& change = c.change;
    Instant from = change.corrected_from;
    size_t k = 0;
    while (k < change.moments.size() && change.moments[k].at < from) ++k;

    // What the customer was before the first of the moments.
    Row nothing = change.from_scratch ? change.after : change.before;
    if (change.from_scratch) before_everything(c, nothing);
    k > 0 ? become_as_of(c, k - 1) : c.become(nothing);
    c.evaluate(from - 1, c.held);
    auto pending = pg::zeroed<uint8>(c.count());
    memcpy(pending.data(), c.held.data(), c.count());
    Instant start = since_when(c, k, from - 1, pending);
    for (size_t i = 0; i < c.count(); ++i) {
        if (!pending[i]) continue;
        Instant since = recorded_since(c, i, from);
        c.since[i] = since != rules::kNever ? since : start;
        c.held[i] = c.since[i] != rules::kNever;  // before the first purchase, what is not on record is not known
    }

    for (size_t i = 0; i < c.count(); ++i) {
        if (c.held[i]) c.unbroken(i);
    }

    c.replaying = true;
    k > 0 ? become_as_of(c, k - 1) : c.become(nothing);
    if (k == change.moments.size() || change.moments[k].at > from) {
        c.arrive(from);
        rules::walk_forward(c, from, k < change.moments.size() ? change.moments[k].at - 1 : change.now, c.held, c.scratch);
    }
    walk_on(c, k);
    c.replaying = false;

    c.become(change.after);
    change.next_flip = c.next_change(change.now);
    for (size_t i = 0; i < c.count(); ++i) {
        if (c.all.list[i].timeless && c.held[i]) c.since[i] = c.was[i] ? c.was_since[i] : change.now;
        if (c.held[i] && !c.was[i]) c.entered(i);
        if (c.was[i] && !c.held[i]) c.left(i, change.now);
    }
}

}  // namespace lifecycle::segment
