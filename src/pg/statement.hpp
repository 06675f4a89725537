// Prepared statements: planned once per session and kept.
#pragma once

#include "pg/text.hpp"

namespace lifecycle::pg {

// A fixed statement of ours. Declared static where it is used; the plan is made at its first run. The text qualifies every table;
// unless it also qualifies every operator and says so, it runs with search_path fixed to pg_catalog.
struct Statement {
    const char* sql;
    Oid types[20] = {};  // of $1, $2, ...; InvalidOid ends the list
    bool qualified = false;
    SPIPlanPtr plan = nullptr;

    void prepare();

    // Between open_spi() and close_spi(). Returns the number of rows; they are in SPI_tuptable.
    uint64 run(std::span<const Datum> args = {}, const char* nulls = nullptr);
    // Sees what has been committed until now even in a transaction that otherwise sees the past: for TRUNCATE, which removes rows
    // whether the transaction sees them or not.
    uint64 run_in_present(std::span<const Datum> args = {});
    // Sees what this snapshot sees, and what this transaction has done.
    uint64 run_under(Snapshot snapshot, std::span<const Datum> args = {});
};

// At load: our statements are planned for large tables, whatever the size of the tables at the time.
void install_planner();

void open_spi();
void close_spi();

// Column `n` (from 1) of row `row` of the last result.
struct Cell {
    Datum value;
    bool null;
};
Cell cell(uint64 row, int n);
// Of a text column, copied into the current memory context, which outlives close_spi() if the caller has seen to it.
std::string_view text_cell(uint64 row, int n);
// Of any type that is not null, copied likewise.
Datum copied_cell(uint64 row, int n, Oid type);

}  // namespace lifecycle::pg
