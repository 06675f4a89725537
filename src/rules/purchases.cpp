#include "rules/purchases.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

std::optional<PurchaseNumbers> after(PurchaseNumbers numbers, const Purchase& purchase) {
    auto revenue = purchase.kind == PurchaseKind::order ? add(numbers.revenue, purchase.amount)
                                                        : subtract(numbers.revenue, purchase.amount);
    if (!revenue) return std::nullopt;
    numbers.revenue = *revenue;
    numbers.latest_at = purchase.at;

    if (purchase.kind == PurchaseKind::order) {
        if (numbers.order_count == 0) numbers.first_order_at = purchase.at;
        numbers.previous_order_at = numbers.last_order_at;
        numbers.last_order_at = purchase.at;
        ++numbers.order_count;
    }
    return numbers;
}

}  // namespace lifecycle::rules
