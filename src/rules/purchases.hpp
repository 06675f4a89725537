#pragma once

#include <cstdint>
#include <optional>

#include "rules/decimal.hpp"
#include "rules/instant.hpp"

namespace lifecycle::rules {

enum class PurchaseKind : std::uint8_t { order, refund };

// One line of the purchase ledger, as far as the numbers are concerned.
struct Purchase {
    Instant at;
    Decimal amount;
    PurchaseKind kind;
};

// What a customer's purchases up to some instant add up to. Purchases are added in time order, so the numbers after the
// k-th purchase are the customer as of that moment.
struct PurchaseNumbers {
    Instant first_order_at = kNever;     // kNever: no order yet
    Instant previous_order_at = kNever;  // the order before the last one
    Instant last_order_at = kNever;
    Instant latest_at = kBeginning;      // the latest purchase of any kind
    std::int64_t order_count = 0;
    Decimal revenue;                     // orders less refunds

    bool operator==(const PurchaseNumbers&) const = default;
};

// std::nullopt: the revenue leaves the range that can be kept exactly.
std::optional<PurchaseNumbers> after(PurchaseNumbers before, const Purchase& purchase);

}  // namespace lifecycle::rules
