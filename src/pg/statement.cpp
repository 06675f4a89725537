#include "pg/statement.hpp"

#include "pg/guard.hpp"

namespace lifecycle::pg {

void open_spi() {
    if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
}

void close_spi() { SPI_finish(); }

void Statement::prepare() {
    if (!qualified) fix_settings();
    if (plan != nullptr) return;
    int count = 0;
    while (count < static_cast<int>(std::size(types)) && OidIsValid(types[count])) ++count;
    // Generic: the arrays that are passed say nothing that would change the plan, and planning costs more than running.
    SPIPlanPtr fresh = SPI_prepare_cursor(sql, count, types, CURSOR_OPT_GENERIC_PLAN);
    if (fresh == nullptr) elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
    SPI_keepplan(fresh);
    plan = fresh;
}

// SPI leaves its own memory context behind: whoever has switched to another stays there.
static uint64 rows_of(const Statement& statement, MemoryContext caller, int result) {
    MemoryContextSwitchTo(caller);
    if (result < 0) elog(ERROR, "could not run \"%s\": %s", statement.sql, SPI_result_code_string(result));
    return SPI_processed;
}

uint64 Statement::run(std::span<const Datum> args, const char* nulls) {
    MemoryContext caller = CurrentMemoryContext;
    prepare();  // leaves SPI's context behind, too
    int result = SPI_execute_plan(plan, const_cast<Datum*>(args.data()), nulls, false, 0);
    return rows_of(*this, caller, result);
}

uint64 Statement::run_in_present(std::span<const Datum> args) { return run_under(GetLatestSnapshot(), args); }

uint64 Statement::run_under(Snapshot snapshot, std::span<const Datum> args) {
    MemoryContext caller = CurrentMemoryContext;
    prepare();  // leaves SPI's context behind, too
    int result = SPI_execute_snapshot(plan, const_cast<Datum*>(args.data()), nullptr, snapshot, InvalidSnapshot, false, true, 0);
    return rows_of(*this, caller, result);
}

Cell cell(uint64 row, int n) {
    bool null;
    Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, n, &null);
    return {value, null};
}

std::string_view text_cell(uint64 row, int n) {
    auto [value, null] = cell(row, n);
    return null ? std::string_view{} : view(to_text(view(value)));
}

Datum copied_cell(uint64 row, int n, Oid type) {
    int16 length;
    bool by_value;
    get_typlenbyval(type, &length, &by_value);
    return datumCopy(cell(row, n).value, by_value, length);
}

}  // namespace lifecycle::pg
