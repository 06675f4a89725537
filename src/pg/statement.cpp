#include "pg/statement.hpp"

#include "pg/guard.hpp"
#include "pg/late_lock.hpp"

namespace lifecycle::pg {

void open_spi() {
    if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
}

void close_spi() { SPI_finish(); }

namespace {

// Our plans are made once, maybe while the tables are still empty, and kept: they must suit a million rows too. So the planner is told
// that our tables are large, and to look rows up. This bit of a statement's cursor options marks those that are ours.
constexpr int kOurs = 1 << 30;

constexpr BlockNumber kPages = 10000;
constexpr double kRows = 1000000;

bool planning = false;
planner_hook_type next_planner = nullptr;
get_relation_info_hook_type next_relation_info = nullptr;

void say_large(PlannerInfo* root, Oid relation, bool is_parent, RelOptInfo* info) {
    if (next_relation_info != nullptr) next_relation_info(root, relation, is_parent, info);
    if (!planning || is_parent || get_rel_namespace(relation) != get_namespace_oid("lifecycle", true)) return;
    info->pages = Max(info->pages, kPages);
    info->tuples = Max(info->tuples, kRows);
    ListCell* cell;
    foreach (cell, info->indexlist) {
        auto* index = lfirst_node(IndexOptInfo, cell);
        index->pages = Max(index->pages, kPages / 2);
        index->tuples = Max(index->tuples, kRows);
    }
}

PlannedStmt* plan_ours(Query* query, const char* text, int options, ParamListInfo params) {
    bool outer = planning;
    bool* const ways[] = {&enable_seqscan, &enable_hashjoin, &enable_mergejoin};
    bool allowed[std::size(ways)];
    for (size_t i = 0; i < std::size(ways); ++i) allowed[i] = *ways[i];
    PlannedStmt* plan = nullptr;
    PG_TRY();
    {
        planning = true;
        for (bool* way : ways) *way = false;
        plan = next_planner != nullptr ? next_planner(query, text, options, params) : standard_planner(query, text, options, params);
    }
    PG_FINALLY();
    {
        planning = outer;
        for (size_t i = 0; i < std::size(ways); ++i) *ways[i] = allowed[i];
    }
    PG_END_TRY();
    plan->jitFlags = 0;  // it would take longer than the statement, whose costs are no estimates
    return plan;
}

PlannedStmt* plan_any(Query* query, const char* text, int options, ParamListInfo params) {
    if ((options & kOurs) != 0) return plan_ours(query, text, options, params);
    return next_planner != nullptr ? next_planner(query, text, options, params) : standard_planner(query, text, options, params);
}

}  // namespace

void install_planner() {
    next_planner = planner_hook;
    planner_hook = plan_any;
    next_relation_info = get_relation_info_hook;
    get_relation_info_hook = say_large;
}

void Statement::prepare() {
    lock_what_was_read();
    if (!qualified) fix_settings();
    if (plan != nullptr) return;
    int count = 0;
    while (count < static_cast<int>(std::size(types)) && OidIsValid(types[count])) ++count;
    // Generic: the arrays that are passed say nothing that would change the plan, and planning costs more than running.
    SPIPlanPtr fresh = SPI_prepare_cursor(sql, count, types, CURSOR_OPT_GENERIC_PLAN | kOurs);
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
