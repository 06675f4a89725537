// What customers have done, loaded once for a batch if some predicate calls a function that looks at it. Nobody else pays.
#pragma once

#include "customer/change.hpp"
#include "segment/functions.hpp"

namespace lifecycle::segment {

struct Purchase {
    Instant at;
    rules::Decimal amount;  // negative: a refund
    std::string_view id;
    bool order;
};

struct Item {
    Instant at;
    std::string_view product;
    std::string_view category;
};

struct Event {
    Instant at;
    std::string_view name;
    bool is_view;  // says that a product was looked at
    std::string_view product;
    std::string_view category;
};

// Of one customer.
struct Deeds {
    pg::Array<Purchase> purchases;
    pg::Array<Item> items;
    pg::Array<Event> events;
};

// One for each Change, in the same order; empty if no predicate asks.
pg::Array<Deeds> load_deeds(const Calls& calls, std::span<const Change* const> changes);

}  // namespace lifecycle::segment
