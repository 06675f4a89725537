// Mappings: how the columns of a shop's table give the fields of a fact.
#include "pg/catalog.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/statement.hpp"
#include "source/pending.hpp"

namespace lifecycle::source {

namespace {

const char* list_fields(const KindSpec& kind) {
    StringInfoData text;
    initStringInfo(&text);
    for (const FieldSpec& field : kind.fields)
        appendStringInfo(&text, "%s%s%s", text.len > 0 ? ", " : "", field.name, field.required ? "*" : "");
    return text.data;
}

// The value of a key of the mapping as text; nullptr: there is none.
const char* mapped(Datum mapping, const char* field) {
    Jsonb* object = DatumGetJsonbP(mapping);
    JsonbValue buffer;
    JsonbValue* value = getKeyJsonValueFromContainer(&object->root, field, strlen(field), &buffer);
    if (value == nullptr || value->type == jbvNull) return nullptr;
    if (value->type != jbvString)
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("field \"%s\" of the mapping is not a string", field),
                errhint("Give each field as an SQL expression in a string, such as \"total_cents / 100.0\"."));
    return pnstrdup(value->val.string.val, value->val.string.len);
}

pg::Statement read_source{
    .sql = "SELECT s.source_id, s.relation, s.kind, s.mapping, s.filter, s.mode FROM lifecycle.source AS s WHERE s.name = $1",
    .types = {TEXTOID}};

struct Cached {
    Source* source;
    uint64 sources;
    uint64 config;
};

pg::Array<Cached> cache;            // a shop attaches a handful of tables
pg::Array<MemoryContext> outdated;  // of sources that have been compiled again

Source* load(const char* name) {
    Source* fresh = nullptr;
    // The caller's until nothing can fail any more: a mapping that has ceased to work must not cost memory with each statement.
    MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_lifecycle source", ALLOCSET_DEFAULT_SIZES);
    pg::as_owner([&] {
        pg::fix_settings();
        pg::open_spi();
        Datum arg = CStringGetTextDatum(name);
        if (read_source.run({&arg, 1}) == 0)
            ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("source \"%s\" is not attached", name),
                    errhint("SELECT lifecycle.attach(...), or drop its triggers from the table."));
        int32 id = DatumGetInt32(pg::cell(0, 1).value);
        Oid oid = DatumGetObjectId(pg::cell(0, 2).value);
        pg::watch_source(oid);
        MemoryContext caller = MemoryContextSwitchTo(context);
        Relation relation = relation_open(oid, AccessShareLock);
        auto filter = pg::cell(0, 5);
        fresh = compile_source(pstrdup(name), relation, pg::view(pg::cell(0, 3).value), pg::cell(0, 4).value, filter.value,
                               filter.null);
        fresh->id = id;
        fresh->async = pg::view(pg::cell(0, 6).value) == "async";
        relation_close(relation, NoLock);
        MemoryContextSwitchTo(caller);
        pg::close_spi();
    });
    MemoryContextSetParent(context, CacheMemoryContext);
    fresh->memory = context;
    return fresh;
}

}  // namespace

void check_field_names(Datum mapping, const KindSpec& kind, const char* what, const char* example) {
    Jsonb* object = DatumGetJsonbP(mapping);
    if (!JB_ROOT_IS_OBJECT(object))
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is not a JSON object", what), errhint("Write it like %s.", example));
    JsonbIterator* iterator = JsonbIteratorInit(&object->root);
    JsonbValue value;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE) {
        if (token != WJB_KEY) continue;
        std::string_view key{value.val.string.val, static_cast<size_t>(value.val.string.len)};
        bool known = false;
        for (const FieldSpec& field : kind.fields) known |= key == field.name;
        if (!known)
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("kind \"%s\" has no field \"%s\"", kind.name, pg::to_cstring(key)),
                    errhint("Its fields are %s.", list_fields(kind)));
    }
}

namespace {

// What a kind needs beyond its required fields.
void check_mapping(Datum mapping, const KindSpec& kind) {
    auto lacks = [&](const char* field) { return mapped(mapping, field) == nullptr; };
    if (kind.kind == FactKind::delivery && lacks("delivered_at") && lacks("shipped_at"))
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the mapping of kind \"delivery\" says neither when it was delivered nor when it was shipped"),
                errhint("Map \"delivered_at\"; or \"shipped_at\", and deliveries count as arrived shop.delivery_time later."));
}

// A table's own rows are told apart by its primary key; those of its children are not.
Bitmapset* key_of(Relation relation) {
    if (relation->rd_rel->relkind != RELKIND_RELATION || has_subclass(RelationGetRelid(relation))) return nullptr;
    Bitmapset* shifted = RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_PRIMARY_KEY);
    Bitmapset* key = nullptr;
    for (int column = -1; (column = bms_next_member(shifted, column)) >= 0;) key = bms_add_member(key, column + FirstLowInvalidHeapAttributeNumber);
    return key;
}

void note_telling_columns(Source* source, Relation relation) {
    Bitmapset* key = key_of(relation);
    pg::Array<Datum> unread;
    if (key != nullptr) {
        source->telling = bms_union(key, source->columns);
        TupleDesc layout = RelationGetDescr(relation);
        for (int i = 0; i < layout->natts; ++i) {
            Form_pg_attribute column = TupleDescAttr(layout, i);
            if (!column->attisdropped && !bms_is_member(column->attnum, source->telling)) unread.push(CStringGetTextDatum(NameStr(column->attname)));
        }
    }
    source->unread = pg::text_array(unread.span());
}

void note_keys(Source* source, Relation relation) {
    for (int column = 0; (column = bms_next_member(source->columns, column)) > 0;) {
        StringInfoData key;
        initStringInfo(&key);
        escape_json(&key, NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)->attname));
        source->keys.push({key.data, static_cast<size_t>(key.len)});
    }
}

}  // namespace

Source* compile_source(std::string_view name, Relation relation, std::string_view kind_name, Datum mapping, Datum filter,
                       bool no_filter) {
    const KindSpec* kind = find_kind(kind_name);
    if (kind == nullptr)
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("kind \"%s\" is not known", pg::to_cstring(kind_name)),
                errhint("The kinds are customer, order, refund, order_item, cart, consent, engagement, delivery, review, wishlist, referral and event."));
    check_field_names(mapping, *kind, "the mapping", "{\"order\": \"id\", \"customer\": \"user_id\", ...}");
    check_mapping(mapping, *kind);

    auto* source = pg::make<Source>();
    source->name = name;
    source->kind = kind;
    source->relation = RelationGetRelid(relation);
    source->by_order = mapped(mapping, "customer") == nullptr;
    source->sums_items = kind->kind == FactKind::order && mapped(mapping, "amount") == nullptr;
    source->evaluator = pg::make_evaluator(CreateTupleDescCopy(RelationGetDescr(relation)), {});
    for (const FieldSpec& field : kind->fields) {
        const char* text = mapped(mapping, field.name);
        if (text == nullptr) {
            if (field.required)
                ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the mapping of kind \"%s\" lacks field \"%s\"", kind->name, field.name),
                        errhint("Its fields are %s; those marked with * are required.", list_fields(*kind)));
            source->fields.push({});
            continue;
        }
        const char* what = psprintf("field \"%s\" of the mapping", field.name);
        Node* expression = pg::compile_expression(text, relation, {.what = what, .type = field.type});
        source->columns = bms_add_members(source->columns, pg::columns_of(expression));
        pg::Field& prepared = source->fields.push(pg::prepare_field(expression, source->evaluator));
        source->last_column = Max(source->last_column, prepared.column);
    }
    if (!no_filter) {
        Node* expression = pg::compile_expression(pg::to_cstring(pg::view(filter)), relation, {.what = "the filter", .type = BOOLOID});
        source->columns = bms_add_members(source->columns, pg::columns_of(expression));
        source->filter = pg::prepare(expression, source->evaluator);
    }
    note_telling_columns(source, relation);
    note_keys(source, relation);
    return source;
}

void describe_source(std::string_view name, Source* source) {
    pg::as_owner([&] {
        pg::open_spi();
        Datum arg = pg::to_datum(name);
        if (read_source.run({&arg, 1}) == 0)
            ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("source \"%s\" is not attached", pg::to_cstring(name)));
        source->name = name;
        source->id = DatumGetInt32(pg::cell(0, 1).value);
        source->kind = find_kind(pg::view(pg::cell(0, 3).value));
        source->by_order = mapped(pg::cell(0, 4).value, "customer") == nullptr;
        source->async = pg::view(pg::cell(0, 6).value) == "async";
        pg::close_spi();
    });
}

Source* find_source(const char* name) {
    uint64 sources = pg::source_generation();
    uint64 config = pg::config_generation();
    for (Cached& c : cache) {
        if (c.source->name != name) continue;
        if (c.sources == sources && c.config == config) return c.source;
        MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
        outdated.push(c.source->memory);  // until the transaction ends: a statement further out may be using it
        MemoryContextSwitchTo(caller);
        c = cache[--cache.size];
        break;
    }
    follow_transaction();
    Source* fresh = load(name);
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    cache.push({fresh, pg::source_generation(), pg::config_generation()});
    MemoryContextSwitchTo(caller);
    return fresh;
}

const Source* source_at_hand(const char* name) {
    for (const Cached& c : cache) {
        if (c.source->name == name && c.sources == pg::source_generation() && c.config == pg::config_generation()) return c.source;
    }
    return nullptr;
}

void forget_outdated_sources() {
    for (MemoryContext memory : outdated) MemoryContextDelete(memory);
    outdated.clear();
}

}  // namespace lifecycle::source

using namespace lifecycle;

// Statements that name the parent do not fire the statement triggers of its partitions and children.
static void refuse_members(Relation relation) {
    if (!relation->rd_rel->relispartition && !has_superclass(RelationGetRelid(relation))) return;
    ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
            errmsg("table \"%s\" is a partition or inherits from another table", RelationGetRelationName(relation)),
            errdetail("What is said to the parent would not be seen here."),
            errhint("Attach the parent, with a filter if only some of its rows count."));
}

// The row trigger of lifecycle.source: a mapping that cannot work is refused.
LIFECYCLE_FUNCTION(lifecycle_check_source) {
    auto* trigger = castNode(TriggerData, fcinfo->context);
    if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("an attached source cannot be changed"),
                errdetail("The facts that it has said so far were read with its present mapping."),
                errhint("SELECT lifecycle.detach(...), then lifecycle.attach(...) with the new mapping."));
    HeapTuple row = trigger->tg_trigtuple;
    TupleDesc layout = RelationGetDescr(trigger->tg_relation);
    auto field = [&](const char* name, bool* null) { return SPI_getbinval(row, layout, SPI_fnumber(layout, name), null); };
    bool no_relation, no_kind, no_mapping, no_filter;
    Datum oid = field("relation", &no_relation);
    Datum kind = field("kind", &no_kind);
    Datum mapping = field("mapping", &no_mapping);
    Datum filter = field("filter", &no_filter);
    if (no_relation || no_kind || no_mapping) PG_RETURN_POINTER(row);  // NOT NULL says so

    Relation relation = relation_open(DatumGetObjectId(oid), AccessShareLock);
    char relkind = relation->rd_rel->relkind;
    if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
        ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a table", RelationGetRelationName(relation)),
                errhint("Attach the table or tables behind it."));
    refuse_members(relation);
    pg::as_owner([&] {
        pg::fix_settings();
        source::compile_source("", relation, pg::view(kind), mapping, filter, no_filter);
    });
    relation_close(relation, NoLock);
    PG_RETURN_POINTER(row);
}
