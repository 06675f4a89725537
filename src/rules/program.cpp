#include "rules/program.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

void take_back(std::span<const Earned> earned, std::span<Decimal> net, const TakenBack& what) {
    Decimal rest = what.amount;
    auto take = [&](Decimal& from) {
        Decimal part = rest < from ? rest : from;
        from = subtract(from, part).value_or(from);
        rest = subtract(rest, part).value_or(Decimal{});
    };
    if (what.from != kLatest) take(net[what.from]);
    for (std::size_t i = earned.size(); i-- > 0 && rest > Decimal{};) {
        if (earned[i].at <= what.at) take(net[i]);
    }
}

}  // namespace lifecycle::rules
