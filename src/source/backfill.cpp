// Backfill: what is in a table already when it is attached; and taking a source back.
#include "customer/shop.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "source/inbox.hpp"
#include "source/pending.hpp"
#include "source/quarantine.hpp"
#include "source/retry.hpp"
#include "source/source.hpp"

namespace lifecycle::source {

namespace {

constexpr long kRowsPerFetch = 10000;
constexpr size_t kFactsPerBatch = 100000;

// Rows in the order of their customers: each customer is then worked out once, from all of its facts, and memory stays bounded however
// long the table is. The text of the mapping has been checked to be one harmless expression.
char* ordered_rows(Source* source, const char* customer) {
    return psprintf("SELECT * FROM %s ORDER BY (%s\n)::text COLLATE \"C\"",
                    quote_qualified_identifier(get_namespace_name(get_rel_namespace(source->relation)), get_rel_name(source->relation)),
                    customer);
}

void flush(Reader* reader) {
    if (!reader->bad.empty()) quarantine(reader->source->name, reader->bad.span());
    take_in_or_raise(reader->facts, {.silent = true});
    MemoryContextReset(reader->context);
    *reader = Reader{reader->source, reader->context, {}, {}, nullptr, 0};
}

}  // namespace

int64 backfill(Source* source, const char* customer) {
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle backfill", ALLOCSET_DEFAULT_SIZES);
    Reader reader{source, memory, {}, {}, nullptr, 0};
    int64 rows = 0;

    customer::current_shop();
    pg::open_spi();
    SPIPlanPtr plan = SPI_prepare(ordered_rows(source, customer), 0, nullptr);
    if (plan == nullptr) elog(ERROR, "could not read the source: %s", SPI_result_code_string(SPI_result));
    Portal portal = SPI_cursor_open(nullptr, plan, nullptr, nullptr, true);
    Layout layout{};  // the result of a query lacks the columns that were dropped
    for (;;) {
        SPI_cursor_fetch(portal, true, kRowsPerFetch);
        if (SPI_processed == 0) break;
        SPITupleTable* fetched = SPI_tuptable;
        if (layout.raw == nullptr) layout = make_layout(source, BlessTupleDesc(CreateTupleDescCopy(fetched->tupdesc)));
        for (uint64 i = 0; i < fetched->numvals; ++i) {
            size_t known = reader.facts.size;
            ExecForceStoreHeapTuple(fetched->vals[i], layout.raw, false);
            TupleTableSlot* slot = as_attached(layout);
            read_row(&reader, slot, false);
            ++rows;
            // Full, and the last fact begins another customer: all before it can go.
            if (reader.facts.size > kFactsPerBatch && known > 0 && reader.facts.size > known &&
                (reader.facts[known].customer.empty() || reader.facts[known].customer != reader.facts[known - 1].customer)) {
                reader.facts.size = known;
                flush(&reader);
                read_row(&reader, slot, false);
            }
        }
        ExecClearTuple(layout.raw);
        SPI_freetuptable(fetched);
        CHECK_FOR_INTERRUPTS();
    }
    flush(&reader);
    SPI_cursor_close(portal);
    pg::close_spi();
    MemoryContextDelete(memory);
    return rows;
}

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_backfill) {
    source::Source* s = source::find_source(pg::to_cstring(pg::view(PG_GETARG_DATUM(0))));
    PG_RETURN_INT64(source::backfill(s, pg::to_cstring(pg::view(PG_GETARG_DATUM(1)))));
}

LIFECYCLE_FUNCTION(lifecycle_withdraw) {
    // Not compiled: the table may be gone.
    source::Source s{};
    source::describe_source(pg::view(PG_GETARG_DATUM(0)), &s);
    source::forget_pending(pg::to_cstring(s.name));
    source::forget_letters(s.name);
    pg::Array<Fact> facts;
    source::withdraw_everything(&s, &facts);
    if (!facts.empty()) engine::take_in(facts.span(), {.silent = true});  // these customers exist
    PG_RETURN_VOID();
}
