// How a tier is won and kept in a loyalty program whose spend counts for a time only.
//
// Up at once, in the instant of the purchase that reaches the threshold. Down by time only where a term ends, after grace; but what is
// taken back never was: the tier is then what it would be without it, at once. So the tier of any instant is a function of what is
// known at that instant, and of nothing else. What the tiers cost may change from a date on: then as by time, up at once, down after grace,
// and what was won in a year under the old rules is kept as long as if they had stayed.
#pragma once

#include "rules/instant.hpp"
#include "rules/ladder.hpp"

namespace lifecycle::rules {

enum class Period : std::uint8_t {
    lifetime,         // everything ever spent: no term, see tier_for()
    rolling,          // the last N months, at every instant
    calendar_year,    // a tier is kept to the end of the year after the one in which it was last earned
    membership_year,  // the same, in years since the first purchase
};
enum class Downgrade : std::uint8_t { none, one_down, recompute };

// What counts towards a tier, by time.
struct Earned {
    Instant at;
    Decimal amount;  // not negative
};
inline constexpr std::size_t kLatest = static_cast<std::size_t>(-1);
struct TakenBack {
    Instant at;
    Decimal amount;    // not negative
    std::size_t from;  // which Earned it was of, or kLatest: of the latest ones, as far as it goes
};

// What the tiers cost from an instant on, ascending with their ranks.
struct Thresholds {
    Instant from;
    std::span<const Decimal> of;
};

struct Standing {
    int tier = kNoTier;
    Decimal spend;                  // of the period
    Instant valid_until = kNever;   // when the tier ends if nothing more is earned
    Decimal missing;                // what would have to be earned by then to keep it
    Instant next_event = kNever;    // the next instant at which time changes something
};

// The calendar, in a customer's zone:
//     Instant leaves(Instant earned)   when what was earned leaves the rolling window
//     Instant year_after(Instant t)    the first year that begins after t
//     Instant grace(Instant end)       until when the end of a term is forborne, `end` or later
template <class Calendar>
class Terms {
  public:
    // The first version holds from the beginning.
    Terms(Period period, Downgrade policy, std::span<const Thresholds> versions, std::span<const Earned> earned,
          std::span<const Decimal> net, const Calendar& calendar)
        : period_(period), policy_(policy), versions_(versions), earned_(earned), net_(net), calendar_(&calendar) {}

    int tier() const { return tier_; }
    Decimal spend() const { return spend_; }
    std::span<const Decimal> thresholds() const { return versions_[version_].of; }

    Instant next_event() const {
        Instant t = due_;
        if (next_ < earned_.size() && earned_[next_].at < t) t = earned_[next_].at;
        if (rolling() && oldest_ < next_ && leaves_at_ < t) t = leaves_at_;
        if (!rolling() && year_end_ < t) t = year_end_;
        // Whoever has earned nothing has no tier that could change.
        if (next_ > 0 && version_ + 1 < versions_.size() && versions_[version_ + 1].from < t) t = versions_[version_ + 1].from;
        return t;
    }

    // Takes in everything that happens at the next event's instant.
    void step() {
        Instant t = next_event();
        while (version_ + 1 < versions_.size() && versions_[version_ + 1].from <= t) ++version_;
        if (!rolling() && year_end_ <= t) {
            before_ = spend_;
            spend_ = {};
            won_before_ = won_;
            won_ = kNoTier;
            year_end_ = calendar_->year_after(t);
            due_ = policy_ != Downgrade::none && qualifies() < tier_ ? calendar_->grace(t) : kNever;
        }
        while (rolling() && oldest_ < next_ && leaves_at_ <= t) {
            spend_ = subtract(spend_, net_[oldest_]).value_or(spend_);
            if (++oldest_ < next_) leaves_at_ = calendar_->leaves(earned_[oldest_].at);
        }
        for (; next_ < earned_.size() && earned_[next_].at <= t; ++next_) {
            if (next_ == 0 && !rolling()) year_end_ = calendar_->year_after(t);
            if (rolling() && oldest_ == next_) leaves_at_ = calendar_->leaves(earned_[next_].at);
            spend_ = add(spend_, net_[next_]).value_or(spend_);
        }
        judge(t);
    }

    // What qualifies for a tier now: this period's spend, or last year's until the tier's term ends.
    Decimal counted() const { return !rolling() && before_ > spend_ ? before_ : spend_; }

  private:
    bool rolling() const { return period_ == Period::rolling; }
    int qualifies() const { return rolling() ? tier_for(spend_, thresholds()) : won_ > won_before_ ? won_ : won_before_; }

    void judge(Instant t) {
        int now = tier_for(spend_, thresholds());
        if (now > won_) won_ = now;
        if (now > tier_) tier_ = now;
        if (qualifies() >= tier_) {
            due_ = kNever;
            return;
        }
        if (rolling() && due_ == kNever && policy_ != Downgrade::none) due_ = calendar_->grace(t);
        if (due_ > t) return;
        tier_ = policy_ == Downgrade::recompute ? qualifies() : tier_ - 1;
        // One tier at a time: the next goes when another term has passed.
        due_ = rolling() && qualifies() < tier_ ? calendar_->leaves(t) : kNever;
    }

    Period period_;
    Downgrade policy_;
    std::span<const Thresholds> versions_;
    std::span<const Earned> earned_;
    std::span<const Decimal> net_;
    const Calendar* calendar_;

    int tier_ = kNoTier;
    Decimal spend_;
    Decimal before_;               // what the year before came to
    int won_ = kNoTier;            // the highest tier that this year's spend was good for
    int won_before_ = kNoTier;     // ... the year before's
    std::size_t version_ = 0;      // of the thresholds, now
    std::size_t next_ = 0;         // what is earned next
    std::size_t oldest_ = 0;       // what leaves the window next
    Instant leaves_at_ = kNever;   // when
    Instant year_end_ = kNever;
    Instant due_ = kNever;         // when the tier falls unless something is earned
};

// Takes an amount out of what was earned until `at`: out of `from`, and what is more than that out of the latest ones.
void take_back(std::span<const Earned> earned, std::span<Decimal> net, const TakenBack& what);

// Follows a customer up to `until`: `seen(instant, tier, spend)` at each instant at which something happens. `net` is scratch, as long as
// `earned`; both lists are sorted by time.
template <class Calendar, class Seen>
Standing follow(Period period, Downgrade policy, std::span<const Thresholds> versions, std::span<const Earned> earned,
                std::span<const TakenBack> taken, Instant until, const Calendar& calendar, std::span<Decimal> net, Seen&& seen) {
    for (std::size_t i = 0; i < earned.size(); ++i) net[i] = earned[i].amount;
    // What will be earned later is not counted on: a tier is valid, and something is missing, as if nothing more came.
    Instant next_earned = kNever;
    for (; !earned.empty() && earned.back().at > until; earned = earned.first(earned.size() - 1)) next_earned = earned.back().at;
    Terms<Calendar> terms(period, policy, versions, earned, net, calendar);
    auto go = [&](Instant to, auto&& tell) {
        while (terms.next_event() <= to) {
            Instant t = terms.next_event();
            terms.step();
            tell(t);
        }
    };
    auto tell = [&](Instant t) { seen(t, terms.tier(), terms.spend()); };
    for (const TakenBack& what : taken) {
        if (what.at > until) break;
        go(what.at, tell);
        take_back(earned, net, what);
        // As if it had never been earned: over again, from the beginning.
        terms = Terms<Calendar>(period, policy, versions, earned, net, calendar);
        go(what.at, [](Instant) {});
        tell(what.at);
    }
    go(until, tell);

    Standing standing{terms.tier(), terms.spend(), kNever, {}, terms.next_event() < next_earned ? terms.next_event() : next_earned};
    if (standing.tier == kNoTier || policy == Downgrade::none) return standing;
    // The future without another purchase; a tier that costs nothing never ends.
    for (std::size_t i = 0; i < 2 * earned.size() + versions.size() + 8 && terms.next_event() != kNever; ++i) {
        Instant t = terms.next_event();
        terms.step();
        if (terms.tier() >= standing.tier) continue;
        standing.valid_until = t;
        standing.missing = subtract(terms.thresholds()[static_cast<std::size_t>(standing.tier)], terms.counted()).value_or(Decimal{});
        break;
    }
    return standing;
}

}  // namespace lifecycle::rules
