// Customers who have been erased: lifecycle.forget().
#pragma once

#include "customer/change.hpp"
#include "pg/array.hpp"

namespace lifecycle::customer {

// Of a batch that is locked, those who have not been erased: what the shop goes on saying of the others is passed over.
Batch leave_out_erased(Batch batch);

// Of ids, those that have been erased, whoever has a row.
pg::Array<std::string_view> erased_among(std::span<const Datum> ids);
// Of ids, those that have not been erased.
std::span<const Datum> not_erased(std::span<const Datum> ids);

// Refuses customers that have just been created if they have been erased meanwhile: their facts are read again, and passed over then.
void check_not_erased(std::span<const Datum> created);

}  // namespace lifecycle::customer
