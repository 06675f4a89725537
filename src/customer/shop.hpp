#pragma once

#include "customer/change.hpp"
#include "rules/calendar.hpp"

namespace lifecycle::customer {

// The row of lifecycle.shop, or its defaults.
struct Shop {
    pg_tz* zone;
    std::string_view currency;  // empty: currencies are not looked at
    int holdout;                // of all marketing, in 1/10 000
    Interval delivery_time;     // from shipping to arrival, where the shop does not say
    rules::LeapDay leap_birthday;
};

const Shop& current_shop();

// Whether time passes here and messages go out: in a copy they do not. Between open_spi() and close_spi().
bool is_armed();

// The zone in which this customer's days are counted.
pg_tz* zone_of(const Row& row);

}  // namespace lifecycle::customer
