#include "pg/settings.hpp"

#include "pg/clock.hpp"
#include "pg/fault.hpp"

namespace lifecycle::pg {

Settings settings{};

namespace {

const config_enum_entry kOnErrorChoices[] = {
    {"quarantine", kQuarantine, false}, {"raise", kRaise, false}, {nullptr, 0, false}};

const config_enum_entry kSettleChoices[] = {
    {"statement", kAtStatement, false}, {"commit", kAtCommit, false}, {nullptr, 0, false}};

bool check_clock(char** value, void** extra, GucSource) {
    // guc_malloc, because the server frees it with free().
    auto* instant = static_cast<TimestampTz*>(malloc(sizeof(TimestampTz)));
    if (instant == nullptr) return false;
    if (!parse_clock(*value, instant)) {
        free(instant);
        GUC_check_errdetail("\"%s\" is not a timestamp with time zone.", *value);
        GUC_check_errhint("Write it like 2026-11-27 09:00+01, or leave it empty to use the real time.");
        return false;
    }
    // Spelled out, for parallel workers read it again, before they know the session's zone and the abbreviations of zones.
    if (*instant != DT_NOBEGIN) {
        char* spelled = strdup(timestamptz_to_str(*instant));
        if (spelled == nullptr) {
            free(instant);
            return false;
        }
        free(*value);
        *value = spelled;
    }
    *extra = instant;
    return true;
}

void assign_clock(const char*, void* extra) { freeze_clock(*static_cast<TimestampTz*>(extra)); }

void assign_fault(const char* value, void*) { arm_fault(value); }

}  // namespace

void define_settings() {
    DefineCustomIntVariable("lifecycle.backfill_at_once", "Rows up to which attach() takes in a table itself, in its own transaction.",
                            "Of a larger one the background worker or lifecycle.backfill() takes care afterwards, in batches.",
                            &settings.backfill_at_once, 250000, 0, INT_MAX, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.backfill_batch", "Rows that a backfill takes in in one transaction.",
                            "A customer's rows stay together, so that a batch may be larger.", &settings.backfill_batch, 20000, 1,
                            10000000, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.backfill_rate", "Rows that a backfill takes in a second, at most; 0: as many as it can.",
                            nullptr, &settings.backfill_rate, 0, 0, INT_MAX, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable("lifecycle.on_error",
                             "What happens to a fact that cannot be processed: put it into quarantine, or raise the error.",
                             "\"raise\" makes the shop's own statement fail and is meant for tests.", &settings.on_error,
                             kQuarantine, kOnErrorChoices, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.batch_size", "Customers brought up to date in one transaction of a tick.", nullptr,
                            &settings.batch_size, 1000, 1, 1000000, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.redefine_at_once",
                            "Up to so many customers a changed definition takes effect in the transaction that changes it.",
                            "With more it reaches them in the background, and lifecycle.definition_change shows how far it has come.",
                            &settings.redefine_at_once, 10000, 0, INT_MAX - 1, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("lifecycle.clock", "Freezes the clock of pg_lifecycle at this instant; empty uses the real time.",
                               "For tests and rehearsals.", &settings.clock, "", PGC_SUSET, 0, check_clock, assign_clock,
                               nullptr);
    DefineCustomStringVariable("lifecycle.fault", "Raises an error at a named point, for tests of what happens then.",
                               "POINT:error, POINT:cancel or POINT:memory; the first time the point is reached.",
                               &settings.fault, "", PGC_SUSET, GUC_NOT_IN_SAMPLE, nullptr, assign_fault, nullptr);
    DefineCustomEnumVariable("lifecycle.settle",
                             "When what a transaction says is taken in: with each statement, or all of it when it commits.",
                             "At commit all customers are locked in one order, so that transactions of several statements cannot"
                             " deadlock with each other.",
                             &settings.settle, kAtStatement, kSettleChoices, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.settle_memory", "Memory for what a transaction has said and not taken in yet.",
                            "A transaction that says more takes in what it has said so far before it commits.",
                            &settings.settle_memory, 65536, 1, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("lifecycle.worker", "Runs background workers that act when time makes something due.",
                             "Needs shared_preload_libraries = 'pg_lifecycle'. Without them, call lifecycle.tick().",
                             &settings.worker, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("lifecycle.worker_nap", "Longest sleep of a worker for which nothing is due.",
                            "A safety net only: commits that make something due wake the worker at once.",
                            &settings.worker_nap, 30000, 10, 3600000, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("lifecycle");
}

}  // namespace lifecycle::pg
