#include "rules/windows.hpp"

#include <algorithm>

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

bool run_up(std::span<Total> totals) {
    std::sort(totals.begin(), totals.end(), [](const Total& a, const Total& b) { return a.at < b.at; });
    Total sum{kBeginning, 0, {}};
    for (Total& t : totals) {
        auto amount = add(sum.amount, t.amount);
        if (!amount) return false;
        sum = {t.at, sum.count + 1, *amount};
        t = sum;
    }
    return true;
}

Total up_to(std::span<const Total> totals, Instant t) {
    auto after = std::upper_bound(totals.begin(), totals.end(), t, [](Instant i, const Total& total) { return i < total.at; });
    return after == totals.begin() ? Total{t, 0, {}} : after[-1];
}

}  // namespace

bool make_window(std::span<Counted> counted, std::span<Total> begun, std::span<Total> ended, Window* window) {
    std::size_t begins = 0;
    std::size_t ends = 0;
    for (const Counted& c : counted) {
        if (c.until <= c.from) continue;
        begun[begins++] = {c.from, 1, c.amount};
        if (c.until != kNever) ended[ends++] = {c.until, 1, c.amount};
    }
    *window = {begun.first(begins), ended.first(ends)};
    return run_up(window->begun) && run_up(window->ended);
}

Total at(const Window& window, Instant t) {
    Total begun = up_to(window.begun, t);
    Total ended = up_to(window.ended, t);
    // Both totals are within the range, and the difference is that of what is left.
    auto amount = subtract(begun.amount, ended.amount);
    return {t, begun.count - ended.count, amount ? *amount : Decimal{}};
}

}  // namespace lifecycle::rules
