#include "segment/predicates.hpp"

#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"

namespace lifecycle::segment {

namespace {

pg::Cached<Segments> segments;

pg::Statement read_segments{
    .sql = "SELECT s.segment_id, s.name, s.predicate, s.dimension,"
           "       dense_rank() OVER (ORDER BY s.dimension NULLS LAST)::int"
           "  FROM lifecycle.segment AS s ORDER BY s.dimension NULLS LAST, s.rank, s.segment_id"};

constexpr Column kMovedByPurchases[] = {kFirstOrderAt, kPreviousOrderAt, kLastOrderAt, kOrderCount, kRevenue,
                                        kAverageOrderValue, kLastActivityAt, kTier, kTierSince, kTierSpend};

bool reads_purchases(Node* predicate) {
    Bitmapset* columns = pg::columns_of(predicate);
    for (Column c : kMovedByPurchases) {
        if (bms_is_member(c + 1, columns)) return true;
    }
    return false;
}

void refuse_derived_columns(Node* predicate, const char* what) {
    Bitmapset* columns = pg::columns_of(predicate);
    const char* name = bms_is_member(kLifecycle + 1, columns)      ? "lifecycle"
                       : bms_is_member(kEngagement + 1, columns)   ? "engagement"
                       : bms_is_member(kNextChangeAt + 1, columns) ? "next_change_at"
                                                                   : nullptr;
    if (name != nullptr)
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("column \"%s\" cannot be used in %s", name, what),
                errdetail("It is itself worked out from the segments."),
                errhint("Repeat the predicate of the segment that is meant."));
}

}  // namespace

// From text to an expression in which every comparison with the clock stands by itself.
static Node* compile(const char* name, const char* text, Relation customer, pg::ClockTerms* terms) {
    const char* what = psprintf("the predicate of segment \"%s\"", name);
    Node* predicate = pg::compile_expression(
        text, customer, {.what = what, .type = BOOLOID, .clock = true, .in_zone = true, .columns = kDocumentedColumns});
    refuse_derived_columns(predicate, what);
    return pg::split_clock(predicate, text, what, terms);
}

const Segments& refresh_segments() {
    if (segments.is_current()) return *segments.value;
    MemoryContext caller = segments.begin();
    auto* fresh = pg::make<Segments>();
    MemoryContextSwitchTo(caller);
    uint64 rows = read_segments.run();
    Relation customer = table_open(pg::table_oid(pg::Table::customer), AccessShareLock);
    MemoryContextSwitchTo(segments.context);

    pg::ClockTerms terms;
    pg::Array<Node*> predicates;
    for (uint64 i = 0; i < rows; ++i) {
        Segment s{};
        s.id = DatumGetInt32(pg::cell(i, 1).value);
        s.name = pg::to_datum(pg::view(pg::cell(i, 2).value));
        s.name_view = pg::view(s.name);
        bool none = pg::cell(i, 4).null;
        auto dimension = none ? std::string_view{} : pg::view(pg::cell(i, 4).value);
        s.dimension = none ? 0 : static_cast<uint8>(DatumGetInt32(pg::cell(i, 5).value));
        if (dimension == "lifecycle") fresh->lifecycle_dimension = s.dimension;
        if (dimension == "engagement") fresh->engagement_dimension = s.dimension;
        Node* predicate = compile(pg::to_cstring(s.name_view), pg::to_cstring(pg::view(pg::cell(i, 3).value)), customer, &terms);
        s.timeless = !pg::has_parameters(predicate) && !reads_purchases(predicate);
        predicates.push(predicate);
        fresh->list.push(s);
        fresh->dimensions.push(s.dimension);
    }
    fresh->terms = terms.terms;
    fresh->evaluator = pg::make_evaluator(CreateTupleDescCopy(RelationGetDescr(customer)), 1 + list_length(terms.edges));
    ListCell* c;
    foreach (c, terms.edges) fresh->edges.push(pg::prepare(static_cast<Node*>(lfirst(c)), fresh->evaluator));
    for (size_t i = 0; i < predicates.size; ++i)
        fresh->list[i].predicate = pg::prepare(predicates[i], fresh->evaluator);

    table_close(customer, NoLock);
    MemoryContextSwitchTo(caller);
    segments.finish(fresh);
    return *fresh;
}

}  // namespace lifecycle::segment

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_check_segment) {
    auto* trigger = castNode(TriggerData, fcinfo->context);
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
    TupleDesc layout = RelationGetDescr(trigger->tg_relation);
    const char* name = SPI_getvalue(row, layout, SPI_fnumber(layout, "name"));
    const char* predicate = SPI_getvalue(row, layout, SPI_fnumber(layout, "predicate"));
    if (name != nullptr && predicate != nullptr) {  // else NOT NULL says so
        pg::as_owner([&] {
            pg::fix_settings();
            Relation customer = table_open(pg::table_oid(pg::Table::customer), AccessShareLock);
            pg::ClockTerms terms;
            segment::compile(name, predicate, customer, &terms);
            table_close(customer, NoLock);
        });
    }
    PG_RETURN_POINTER(row);
}
