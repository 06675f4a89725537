#include "segment/predicates.hpp"

#include "pg/clock.hpp"
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

pg::Statement read_predicate{.sql = "SELECT s.predicate FROM lifecycle.segment AS s WHERE s.name = $1", .types = {TEXTOID}};

constexpr Column kMovedByPurchases[] = {kFirstOrderAt, kPreviousOrderAt, kLastOrderAt, kOrderCount, kRevenue,
                                        kAverageOrderValue, kLastActivityAt, kTier, kTierSince, kTierSpend, kPoints};

constexpr Column kUnremembered[] = {kEmail, kPhone, kFirstName, kLastName, kLocale, kTimeZone, kBirthday, kCreatedAt, kTags, kAttributes,
                                    kEmailConsent, kSmsConsent, kPushConsent, kAdsConsent, kCartId, kCartValue, kCartUpdatedAt};

constexpr int kMostDimensions = 255;

constexpr Column kAmounts[] = {kRevenue, kAverageOrderValue, kTierSpend};
constexpr Column kMovedByLoyalty[] = {kTier, kTierSince, kTierSpend, kPoints};

bool reads_any(Node* predicate, std::span<const Column> wanted) {
    Bitmapset* columns = pg::columns_of(predicate);
    for (Column c : wanted) {
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
                errhint("Ask for the segment that is meant, as in in_segment('active')."));
}

// The error that an edge raises for a customer to whom everything happens now; nullptr: none, or it depends on more than instants.
ErrorData* try_edge(Node* edge, Relation customer) {
    if (pg::has_parameters(edge)) return nullptr;
    pg::Evaluator* evaluator = pg::make_evaluator(CreateTupleDescCopy(RelationGetDescr(customer)), {});
    TupleTableSlot* slot = evaluator->slot;
    ExecStoreAllNullTuple(slot);
    Bitmapset* columns = pg::columns_of(edge);
    for (int column = -1; (column = bms_next_member(columns, column)) >= 0;) {
        if (column == 0 || TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid != TIMESTAMPTZOID) return nullptr;
        slot->tts_values[column - 1] = TimestampTzGetDatum(pg::now());
        slot->tts_isnull[column - 1] = false;
    }
    bool null;
    return pg::attempt([&] { pg::evaluate(pg::prepare(static_cast<Node*>(copyObjectImpl(edge)), evaluator), evaluator, &null); });
}

// As what is passed to a function of ours: a span that leads nowhere from any customer's instants is refused.
void refuse_edges_out_of_time(const char* what, std::span<const pg::ClockTerms::Edge> edges, Relation customer) {
    for (const pg::ClockTerms::Edge& edge : edges) {
        ErrorData* error = try_edge(edge.expression, customer);
        if (error == nullptr || error->sqlerrcode != ERRCODE_DATETIME_VALUE_OUT_OF_RANGE) continue;
        List* context = deparse_context_for(RelationGetRelationName(customer), RelationGetRelid(customer));
        ereport(ERROR, errcode(error->sqlerrcode), errmsg("what the clock is compared with in %s is a time for nobody", what),
                errdetail("It comes to \"%s\": %s.", deparse_expression(edge.expression, context, false, false), error->message),
                errhint("Take a span that leads to a time there is, as in now() - interval '60 days'."));
    }
}

// From text to an expression in which every comparison with the clock stands by itself and every call of ours is a parameter.
Node* compile(const char* what, const char* text, Relation customer, int user, Segments* all) {
    Node* predicate = pg::compile_expression(
        text, customer,
        {.what = what, .type = BOOLOID, .clock = true, .in_zone = true, .columns = kDocumentedColumns, .functions = kFunctions});
    refuse_derived_columns(predicate, what);
    auto note_reading = [&] {
        all->reads_amounts |= reads_any(predicate, kAmounts);
        all->reads_loyalty |= reads_any(predicate, kMovedByLoyalty);
        if (static_cast<size_t>(user) < all->list.size) all->list[user].unremembered |= reads_any(predicate, kUnremembered);
    };
    note_reading();  // also what is passed to functions of ours
    predicate = replace_calls(predicate, text, what, customer, user, &all->calls);
    note_reading();  // and what they stand for
    size_t known = all->calls.clock.edges.size;
    predicate = pg::split_clock(predicate, text, what, &all->calls.clock);
    if (all->calls.defining) refuse_edges_out_of_time(what, all->calls.clock.edges.span().subspan(known), customer);
    return predicate;
}

// No name: a predicate that is no segment.
const char* what_is(std::string_view name) {
    if (name.empty()) return "the predicate";
    return psprintf("the predicate of segment \"%s\"", pg::to_cstring(name));
}

// A segment while it is compiled with the others.
struct Draft {
    const char* text;
    Node* predicate;
    enum { unseen, open, ordered } state;
};

struct Ordering {
    Segments* all;
    pg::Array<Draft> drafts;
    pg::Array<uint32> path;  // from one that asks to the one that is asked for

    int find(std::string_view name) const {
        for (size_t i = 0; i < all->list.size; ++i) {
            if (all->list[i].name_view == name) return static_cast<int>(i);
        }
        return -1;
    }

    [[noreturn]] void refuse(const Reference& r, int code, const char* message, const char* detail, const char* hint) const {
        const Draft& user = drafts[r.user];
        ErrorContextCallback callback = pg::point_into(user.text);
        error_context_stack = &callback;
        ParseState* state = make_parsestate(nullptr);
        state->p_sourcetext = user.text;
        ereport(ERROR, errcode(code), errmsg("%s in %s", message, what_is(all->list[r.user].name_view)),
                detail ? errdetail("%s", detail) : 0, errhint("%s", hint), parser_errposition(state, r.location));
    }

    [[noreturn]] void refuse_circle(const Reference& r, uint32 closing) const {
        StringInfoData circle;
        initStringInfo(&circle);
        bool inside = false;
        for (uint32 i : path) {
            inside |= i == closing;
            if (inside) appendStringInfo(&circle, "%s -> ", pg::to_cstring(all->list[i].name_view));
        }
        appendStringInfoString(&circle, pg::to_cstring(all->list[closing].name_view));
        refuse(r, ERRCODE_INVALID_RECURSION, "in_segment() goes in a circle", psprintf("The circle is: %s.", circle.data),
               "Repeat in one of them what it wants from the other. A segment of a dimension also asks for those of lower rank.");
    }

    // Puts a segment after all that it asks for: by in_segment(), and in its dimension for those of lower rank.
    void visit(uint32 i) {
        drafts[i].state = Draft::open;
        path.push(i);
        Segment& segment = all->list[i];
        segment.unremembered |= asks_for_deeds(i);
        segment.timeless = !reads_any(drafts[i].predicate, kMovedByPurchases) && !asks_for_time(i);
        for (const Reference& r : all->calls.references) {
            if (r.user != static_cast<int>(i)) continue;
            int other = find(r.other);
            if (other < 0)
                refuse(r, ERRCODE_UNDEFINED_OBJECT, psprintf("segment \"%s\" does not exist", pg::to_cstring(r.other)), nullptr,
                       "A segment that another asks for has to be there; change the predicate that asks for it first.");
            if (drafts[other].state == Draft::open) refuse_circle(r, static_cast<uint32>(other));
            if (drafts[other].state == Draft::unseen) visit(static_cast<uint32>(other));
            all->list[other].parameter = r.parameter;
            segment.timeless &= all->list[other].timeless;
            segment.unremembered |= all->list[other].unremembered;
        }
        for (uint32 k = 0; k < i; ++k) {
            if (segment.dimension == 0 || all->list[k].dimension != segment.dimension) continue;
            if (drafts[k].state == Draft::open) refuse_circle(reference_on_path(k), k);
            if (drafts[k].state == Draft::unseen) visit(k);
            segment.unremembered |= all->list[k].unremembered;
        }
        path.size--;
        drafts[i].state = Draft::ordered;
        all->order.push(i);
    }

    // Of a circle that a dimension closes: the in_segment() in it.
    const Reference& reference_on_path(uint32 from) const {
        bool inside = false;
        for (size_t p = 0; p + 1 < path.size; ++p) {
            inside |= path[p] == from;
            if (!inside) continue;
            for (const Reference& r : all->calls.references) {
                if (r.user == static_cast<int>(path[p]) && find(r.other) == static_cast<int>(path[p + 1])) return r;
            }
        }
        return all->calls.references[0];
    }

    // Lines of orders and events may have come in after the instant that they are of, birthdays are part of the profile.
    bool asks_for_deeds(uint32 i) const {
        Bitmapset* asked = pg::parameters_of(drafts[i].predicate);
        for (const pg::ClockTerms::Edge& edge : all->calls.clock.edges) {
            if (bms_is_member(edge.parameter, asked)) asked = bms_add_members(asked, pg::parameters_of(edge.expression));
        }
        for (const FactCall& call : all->calls.facts) {
            if (call.looks != Looks::at_purchases && bms_is_member(call.parameter, asked)) return true;
        }
        for (const AnniversaryCall& call : all->calls.anniversaries) {
            if (bms_is_member(call.parameter, asked)) return true;
        }
        return false;
    }

    bool asks_for_time(uint32 i) const {
        Bitmapset* own = nullptr;
        for (const Reference& r : all->calls.references) {
            if (r.user == static_cast<int>(i)) own = bms_add_member(own, r.parameter);
        }
        return !bms_is_subset(pg::parameters_of(drafts[i].predicate), own);
    }
};

void prepare_all(Segments* all, const Ordering& ordering, Relation customer) {
    if (all->calls.clock.parameters.empty()) all->calls.clock.parameters.push(TIMESTAMPTZOID);
    all->evaluator = pg::make_evaluator(CreateTupleDescCopy(RelationGetDescr(customer)), all->calls.clock.parameters.span());
    prepare_calls(&all->calls, all->evaluator);
    prepare_edges(&all->formulas, all->calls.clock, all->evaluator);
    pg::Array<SegmentParameter> segments;
    for (const Reference& r : all->calls.references) segments.push({r.parameter, static_cast<uint32>(ordering.find(r.other))});
    for (uint32 i : all->order)
        all->list[i].formula = add_formula(&all->formulas, ordering.drafts[i].predicate, all->calls.clock, segments.span(), all->evaluator);
}

// A predicate could be compiled when it was written, but what it names may have been dropped since: orders must go on.
bool is_for_good(const ErrorData* error) {
    int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
    return category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION || category == ERRCODE_DATA_EXCEPTION ||
           category == ERRCODE_FEATURE_NOT_SUPPORTED || error->sqlerrcode == ERRCODE_INTERNAL_ERROR;  // "cache lookup failed"
}

// Reads and compiles all segments into the context; `alone`, if there is one, comes last and is named so.
Segments* build(MemoryContext context, const char* alone, bool in_scenario, bool defining) {
    MemoryContext caller = CurrentMemoryContext;
    uint64 rows = read_segments.run();
    Relation customer = table_open(pg::table_oid(pg::Table::customer), AccessShareLock);
    MemoryContextSwitchTo(context);
    auto* fresh = pg::make<Segments>();
    Ordering ordering{fresh, {}, {}};
    for (uint64 i = 0; i < rows; ++i) {
        Segment s{};
        s.id = DatumGetInt32(pg::cell(i, 1).value);
        s.name = pg::to_datum(pg::view(pg::cell(i, 2).value));
        s.name_view = pg::view(s.name);
        bool none = pg::cell(i, 4).null;
        auto dimension = none ? std::string_view{} : pg::view(pg::cell(i, 4).value);
        if (!none && DatumGetInt32(pg::cell(i, 5).value) > kMostDimensions)
            ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("segments are in more than %d dimensions", kMostDimensions),
                    errhint("A segment that excludes no other needs no dimension."));
        s.dimension = none ? 0 : static_cast<uint8>(DatumGetInt32(pg::cell(i, 5).value));
        if (dimension == "lifecycle") fresh->lifecycle_dimension = s.dimension;
        if (dimension == "engagement") fresh->engagement_dimension = s.dimension;
        fresh->list.push(s);
        fresh->dimensions.push(s.dimension);
        ordering.drafts.push({pg::to_cstring(pg::view(pg::cell(i, 3).value)), nullptr, Draft::unseen});
    }
    if (alone != nullptr) {
        fresh->list.push({});
        fresh->dimensions.push(0);
        ordering.drafts.push({alone, nullptr, Draft::unseen});
    }
    for (size_t i = 0; i < fresh->list.size; ++i) {
        fresh->calls.in_scenario = in_scenario && i == rows;
        fresh->calls.defining = defining && i == rows;
        const char* what = what_is(fresh->list[i].name_view);
        auto compile_it = [&] { ordering.drafts[i].predicate = compile(what, ordering.drafts[i].text, customer, static_cast<int>(i), fresh); };
        if (i == rows) {
            compile_it();  // the one that is asked about
            continue;
        }
        fresh->list[i].broken = pg::attempt(compile_it);
        if (fresh->list[i].broken == nullptr) continue;
        if (!is_for_good(fresh->list[i].broken)) ReThrowError(fresh->list[i].broken);
        ordering.drafts[i].predicate = makeBoolConst(false, false);
    }
    // Alone, it needs only those that it asks for.
    for (uint32 i = alone != nullptr ? static_cast<uint32>(rows) : 0; i < fresh->list.size; ++i) {
        if (ordering.drafts[i].state == Draft::unseen) ordering.visit(i);
    }
    for (const Segment& s : fresh->list) fresh->asked_dimensions[s.dimension] |= s.dimension != 0 && s.parameter != 0;
    prepare_all(fresh, ordering, customer);
    table_close(customer, NoLock);
    MemoryContextSwitchTo(caller);
    return fresh;
}

}  // namespace

const Segments& refresh_segments() {
    if (segments.is_current()) return *segments.value;
    MemoryContext caller = segments.begin();
    MemoryContextSwitchTo(caller);
    segments.finish(build(segments.context, nullptr, false, false));
    return *segments.value;
}

bool read_loyalty() { return refresh_segments().reads_loyalty; }

const Segments* compile_alone(std::string_view predicate) { return build(CurrentMemoryContext, pg::to_cstring(predicate), false, true); }

const Segments* compile_condition(std::string_view condition, bool defining) {
    return build(CurrentMemoryContext, pg::to_cstring(condition), true, defining);
}

}  // namespace lifecycle::segment

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_in_predicates_only) {
    const char* name = get_func_name(fcinfo->flinfo->fn_oid);
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("function lifecycle.%s can only be called in the predicate of a segment", name),
            errhint("lifecycle.preview_segment() evaluates a predicate that is no segment yet."));
}

static void compile_segment(const char* name, const char* predicate, bool defining) {
    segment::Segments alone{};
    alone.calls.defining = defining;
    Relation customer = table_open(pg::table_oid(pg::Table::customer), AccessShareLock);
    segment::compile(segment::what_is(name), predicate, customer, 0, &alone);
    table_close(customer, NoLock);
}

LIFECYCLE_FUNCTION(lifecycle_check_segment) {
    auto* trigger = castNode(TriggerData, fcinfo->context);
    HeapTuple row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
    TupleDesc layout = RelationGetDescr(trigger->tg_relation);
    const char* name = SPI_getvalue(row, layout, SPI_fnumber(layout, "name"));
    const char* predicate = SPI_getvalue(row, layout, SPI_fnumber(layout, "predicate"));
    if (name != nullptr && predicate != nullptr) {  // else NOT NULL says so
        pg::as_owner([&] {
            pg::fix_settings();
            pg::open_spi();
            compile_segment(name, predicate, true);
            pg::close_spi();
        });
    }
    PG_RETURN_POINTER(row);
}

// lifecycle.segment_error(name): why its predicate has ceased to work; NULL: it works.
LIFECYCLE_FUNCTION(lifecycle_segment_error) {
    Datum name = PG_GETARG_DATUM(0);
    ErrorData* error = nullptr;
    MemoryContext caller = CurrentMemoryContext;
    pg::as_owner([&] {
        pg::fix_settings();
        pg::open_spi();
        const char* predicate = segment::read_predicate.run({&name, 1}) == 0 ? nullptr : pg::to_cstring(pg::text_cell(0, 1));
        MemoryContextSwitchTo(caller);
        if (predicate != nullptr) error = pg::protect([&] { compile_segment(pg::to_cstring(pg::view(name)), predicate, false); });
        pg::close_spi();
    });
    if (error == nullptr) PG_RETURN_NULL();
    PG_RETURN_DATUM(pg::to_datum(error->message));
}
