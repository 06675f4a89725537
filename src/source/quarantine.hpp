#pragma once

#include "source/source.hpp"

namespace lifecycle::source {

void quarantine(std::string_view source, std::span<const BadRow> rows);

bool has_quarantined(std::string_view source);
// The shop has changed or deleted these rows: what quarantine kept of them is out of date.
void forget_quarantined(const Source& source, std::span<const Datum> rows);

// The whole table is read anew, and with it every bad row. What else is in quarantine may be of customers who are not read again.
void forget_quarantined(std::string_view source, bool bad_rows_only);

// Facts that take back everything the source has ever said.
void withdraw_everything(Source* source, pg::Array<Fact>* facts);

// What was kept of the names of columns is not asked for any more.
void forget_columns();

}  // namespace lifecycle::source
