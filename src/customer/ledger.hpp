#pragma once

#include "customer/change.hpp"

namespace lifecycle::customer {

// Takes the purchases of a batch into the ledger and works out the numbers: moments, base and path of each Change.
// `tiers_end`: a tier may have ended since a purchase that comes late, and the row does not show it.
void take_in_purchases(Batch batch, bool tiers_end);

// Takes in what the shop says of the customers themselves, and their consents.
void take_in_profiles(Batch batch);

// Writes numbers and signs of life into the columns of a row: how many and when, and what they add up to.
void show_times(Row& row, const rules::PurchaseNumbers& numbers, const Touches& touches);
void show_amounts(Row& row, const rules::PurchaseNumbers& numbers);

// All purchases of a customer whose facts have been taken in, by time; those of the future too.
std::span<Fact> purchases_of(const Change& change);

}  // namespace lifecycle::customer
