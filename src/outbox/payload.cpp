#include "outbox/payload.hpp"

#include "pg/catalog.hpp"
#include "pg/guard.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::outbox {

namespace {

// What is told of everybody. The message may be older than the scenario's trigger.
pg::Statement read_people{
    .sql = "SELECT u.n, c.first_name, c.last_name, c.points, c.tier, t.benefits, to_jsonb(NULLIF(c.tags, '{}')), NULLIF(c.attributes, '{}'),"
           // As lifecycle.unsubscribe_token() does.
           "       lifecycle.signed_token(convert_to(h.consent || ':' || u.customer_id, 'UTF8'), z.key),"
           "       c.tier_spend, t.rank, c.cart_id, k.trigger,"
           "       CASE WHEN k.reentry = 'always' THEN regexp_replace(u.anchor, '@[^@]*$', '') ELSE u.anchor END"
           "  FROM unnest($1, $2, $3, $4, $5) AS u (n, customer_id, scenario, anchor, channel)"
           "  JOIN lifecycle.scenario AS k ON k.name = u.scenario"
           "  JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id"
           "  LEFT JOIN lifecycle.channel AS h ON h.name = u.channel"
           "  LEFT JOIN lifecycle.tier AS t ON t.name = c.tier"
           "  LEFT JOIN lifecycle.secret AS z ON z.purpose = 'unsubscribe'",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_tiers{.sql = "SELECT t.name, t.rank, t.min_spend, t.benefits FROM lifecycle.tier AS t ORDER BY t.rank"};

// What else there is to tell of some: by number, an object to be merged into the payload. $2: customers; $3: what it is about; $4: how.
pg::Statement read_carts{
    .sql = "SELECT u.n, jsonb_build_object('cart',"
           "           (SELECT jsonb_build_object('cart', b.cart_id, 'value', b.value, 'currency', b.currency, 'stage', b.stage, 'items', b.items,"
           "                                      'url', b.url, 'updated_at', b.updated_at)"
           "              FROM lifecycle.cart AS b WHERE (b.customer_id, b.cart_id) = (u.customer_id, u.subject) ORDER BY b.updated_at DESC LIMIT 1))"
           "  FROM unnest($1, $2, $3) AS u (n, customer_id, subject)",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_wishes{
    .sql = "SELECT u.n, jsonb_build_object('wishlist', jsonb_agg(w.product ORDER BY w.added_at DESC, w.product))"
           "  FROM unnest($1, $2) AS u (n, customer_id)"
           " CROSS JOIN LATERAL (SELECT x.product, max(x.added_at) AS added_at FROM lifecycle.wishlist AS x WHERE x.customer_id = u.customer_id"
           "                      GROUP BY x.product ORDER BY max(x.added_at) DESC, x.product LIMIT 20) AS w"
           " GROUP BY u.n",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_recommendations{
    .sql = "SELECT u.n, jsonb_build_object('recommendations', ("
           "           SELECT jsonb_agg(jsonb_build_object('product', r.product, 'category', r.category, 'orders', r.orders) ORDER BY r.orders DESC, r.product)"
           "             FROM lifecycle.recommend(u.customer_id, u.recommends, products =>"
           "                      CASE WHEN u.recommends = 'complementary' AND u.trigger IN ('order_placed', 'delivered')"
           "                           THEN ARRAY(SELECT i.product FROM lifecycle.order_item AS i WHERE (i.customer_id, i.order_id) = (u.customer_id, u.anchor))"
           "                           WHEN u.recommends = 'alternatives' AND u.trigger = 'wishlist_added' THEN ARRAY[u.anchor] END) AS r))"
           "  FROM unnest($1, $2, $3, $4, $5) AS u (n, customer_id, anchor, trigger, recommends)",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_orders{
    .sql = "SELECT u.n, jsonb_build_object('order', jsonb_build_object("
           "           'placed_at', p.at, 'amount', coalesce(p.foreign_amount, p.amount),"
           "           'currency', CASE WHEN p.at IS NOT NULL THEN coalesce(p.currency, (SELECT s.currency FROM lifecycle.shop AS s)) END, 'order', u.subject,"
           "           'delivered_at', (SELECT max(d.delivered_at) FROM lifecycle.delivery AS d WHERE (d.customer_id, d.order_id) = (u.customer_id, u.subject)),"
           "           'lines', (SELECT jsonb_agg(jsonb_build_object('line', i.line, 'product', i.product, 'category', i.category,"
           "                                                         'quantity', i.quantity, 'amount', i.amount) ORDER BY i.line, i.product)"
           "                       FROM lifecycle.order_item AS i WHERE (i.customer_id, i.order_id) = (u.customer_id, u.subject))))"
           "  FROM unnest($1, $2, $3) AS u (n, customer_id, subject)"
           "  LEFT JOIN LATERAL (SELECT o.at, o.amount, o.foreign_amount, o.currency FROM lifecycle.purchase AS o"
           "                      WHERE o.customer_id = u.customer_id AND o.kind = 'order' AND o.id = u.subject LIMIT 1) AS p ON true",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_reviews{
    .sql = "SELECT u.n, jsonb_build_object('review', jsonb_build_object('review', r.review, 'rating', r.rating, 'product', r.product, 'reviewed_at', r.reviewed_at))"
           "  FROM unnest($1, $2, $3) AS u (n, customer_id, subject)"
           "  LEFT JOIN LATERAL (SELECT v.* FROM lifecycle.review AS v WHERE (v.customer_id, v.review) = (u.customer_id, u.subject)"
           "                      ORDER BY v.reviewed_at DESC LIMIT 1) AS r ON true",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_products{
    .sql = "SELECT u.n, jsonb_build_object('product', u.subject) FROM unnest($1, $2, $3) AS u (n, customer_id, subject)",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
// With what else was said in the same second: several prices that fell at once are one message. An anchor from before the scenario had
// this trigger may be no instant.
pg::Statement read_events{
    .sql = "SELECT u.n, (SELECT jsonb_build_object('event', jsonb_agg(e.told) FILTER (WHERE e.occurred_at = y.at) -> 0,"
           "                                       'events', CASE WHEN count(*) > 1 THEN jsonb_agg(e.told) END)"
           "               FROM (SELECT x.occurred_at, jsonb_build_object('event', x.event, 'occurred_at', x.occurred_at, 'properties', x.properties) AS told"
           "                       FROM lifecycle.event AS x"
           "                      WHERE (x.customer_id, x.event) = (u.customer_id, substr(u.trigger, 7))"
           "                        AND x.occurred_at BETWEEN y.at - interval '1 second' AND y.at + interval '1 second'"
           "                      ORDER BY x.occurred_at, x.properties LIMIT 100) AS e)"
           "  FROM unnest($1, $2, $3, $4) AS u (n, customer_id, anchor, trigger)"
           " CROSS JOIN LATERAL (SELECT CASE WHEN u.anchor ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+[+]00$' THEN u.anchor::timestamptz END AS at) AS y"
           " WHERE y.at IS NOT NULL",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
pg::Statement read_offers{
    .sql = "SELECT u.n, jsonb_build_object('offer', lifecycle.told_offer(o, q)) FROM unnest($1, $2, $3) AS u (n, customer_id, code)"
           "  JOIN lifecycle.coupon AS q ON q.code_key = lifecycle.normal_code(u.code)"
           "  JOIN lifecycle.offer AS o ON o.name = q.offer",
    .types = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};

struct Tier {
    Datum name, min_spend, benefits;
    int32 rank;
};

struct Piece {
    Datum object;
    Piece* next;
};

struct Person {
    bool found;
    Datum first_name, last_name, points, tier, benefits, tags, attributes, token, spend, rank, cart, trigger, subject;  // 0: NULL
    Piece* pieces;
};

Datum cell_or_none(uint64 row, int n, Oid type) { return pg::cell(row, n).null ? 0 : pg::copied_cell(row, n, type); }

std::span<Person> find_people(std::span<Rendered> messages) {
    auto people = pg::zeroed<Person>(messages.size());
    pg::Array<Datum> numbers, told[4];
    for (size_t i = 0; i < messages.size(); ++i) {
        const Rendered& m = messages[i];
        numbers.push(Int32GetDatum(static_cast<int32>(i)));
        const Datum columns[] = {m.customer, m.scenario, m.anchor, m.channel};
        for (size_t k = 0; k < std::size(columns); ++k) told[k].push(columns[k]);
    }
    Datum args[] = {pg::int4_array(numbers.span()), pg::text_array(told[0].span()), pg::text_array(told[1].span()), pg::text_array(told[2].span()),
                    pg::text_array(told[3].span())};
    uint64 rows = read_people.run(args);
    for (uint64 i = 0; i < rows; ++i) {
        Person& p = people[static_cast<size_t>(DatumGetInt32(pg::cell(i, 1).value))];
        p.found = true;
        Datum* texts[] = {&p.first_name, &p.last_name, nullptr, &p.tier};
        for (int k = 0; k < 4; ++k) {
            if (texts[k] != nullptr) *texts[k] = cell_or_none(i, k + 2, TEXTOID);
        }
        p.points = NumericGetDatum(int64_to_numeric(DatumGetInt64(pg::cell(i, 4).value)));
        p.benefits = cell_or_none(i, 6, JSONBOID);
        p.tags = cell_or_none(i, 7, JSONBOID);
        p.attributes = cell_or_none(i, 8, JSONBOID);
        p.token = cell_or_none(i, 9, TEXTOID);
        p.spend = cell_or_none(i, 10, NUMERICOID);
        p.rank = pg::cell(i, 11).null ? Int32GetDatum(PG_INT32_MIN) : pg::cell(i, 11).value;
        p.cart = cell_or_none(i, 12, TEXTOID);
        p.trigger = cell_or_none(i, 13, TEXTOID);
        p.subject = cell_or_none(i, 14, TEXTOID);
    }
    return people;
}

pg::Array<Tier> find_tiers() {
    pg::Array<Tier> tiers;
    uint64 rows = read_tiers.run();
    for (uint64 i = 0; i < rows; ++i)
        tiers.push({pg::copied_cell(i, 1, TEXTOID), pg::copied_cell(i, 3, NUMERICOID), pg::copied_cell(i, 4, JSONBOID), DatumGetInt32(pg::cell(i, 2).value)});
    return tiers;
}

// What a statement is asked about: who, and what goes with it.
struct Asking {
    pg::Array<Datum> numbers, told[4];

    void add(size_t number, std::initializer_list<Datum> values) {
        numbers.push(Int32GetDatum(static_cast<int32>(number)));
        pg::Array<Datum>* next = told;
        for (Datum value : values) (next++)->push(value);
    }
    void ask(pg::Statement& statement, std::span<Person> people) {
        if (numbers.empty()) return;
        Datum args[5] = {pg::int4_array(numbers.span())};
        size_t count = 1;
        for (; count < std::size(args) && !told[count - 1].empty(); ++count) args[count] = pg::text_array(told[count - 1].span());
        uint64 rows = statement.run({args, count});
        for (uint64 i = 0; i < rows; ++i) {
            Person& p = people[static_cast<size_t>(DatumGetInt32(pg::cell(i, 1).value))];
            auto* piece = static_cast<Piece*>(palloc(sizeof(Piece)));
            *piece = {pg::copied_cell(i, 2, JSONBOID), p.pieces};
            p.pieces = piece;
        }
    }
};

// What started the enrolment: the anchor is the order, the review, the product or the instant of the event. What a message does not need
// is not looked up.
void find_pieces(std::span<const Rendered> messages, std::span<Person> people) {
    Asking carts, wishes, recommendations, orders, reviews, products, events, offers;
    bool any_wishes = !pg::is_empty(pg::table_oid("wishlist"));
    for (size_t i = 0; i < people.size(); ++i) {
        const Person& p = people[i];
        const Rendered& m = messages[i];
        if (!p.found) continue;
        if (p.cart != 0) carts.add(i, {m.customer, p.cart});
        if (any_wishes) wishes.add(i, {m.customer});
        if (Datum recommends = told(m.payload, "recommends")) recommendations.add(i, {m.customer, m.anchor, p.trigger, recommends});
        if (Datum code = told(m.payload, "offer", "code")) offers.add(i, {m.customer, code});
        auto trigger = pg::view(p.trigger);
        if (trigger == "order_placed" || trigger == "delivered") orders.add(i, {m.customer, p.subject});
        if (trigger.starts_with("review")) reviews.add(i, {m.customer, p.subject});
        if (trigger == "wishlist_added") products.add(i, {m.customer, p.subject});
        if (trigger.starts_with("event:")) events.add(i, {m.customer, m.anchor, p.trigger});
    }
    carts.ask(read_carts, people);
    wishes.ask(read_wishes, people);
    recommendations.ask(read_recommendations, people);
    orders.ask(read_orders, people);
    reviews.ask(read_reviews, people);
    products.ask(read_products, people);
    events.ask(read_events, people);
    offers.ask(read_offers, people);
}

// A json object on its way. Of a key that is put twice the later value counts; null takes it away in the end.
struct Object {
    JsonbParseState* state = nullptr;

    Object() { pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr); }
    void put(const char* key, JsonbValue* value) {
        JsonbValue k;
        k.type = jbvString;
        k.val.string = {static_cast<int>(strlen(key)), const_cast<char*>(key)};
        pushJsonbValue(&state, WJB_KEY, &k);
        pushJsonbValue(&state, WJB_VALUE, value);
    }
    void put_text(const char* key, Datum value) {
        JsonbValue v;
        v.type = jbvNull;
        if (value != 0) {
            auto text = pg::view(value);
            v.type = jbvString;
            v.val.string = {static_cast<int>(text.size()), const_cast<char*>(text.data())};
        }
        put(key, &v);
    }
    void put_number(const char* key, Datum value) {
        JsonbValue v;
        v.type = jbvNumeric;
        v.val.numeric = DatumGetNumeric(value);
        put(key, &v);
    }
    void put_json(const char* key, Datum value) {
        JsonbValue v;
        v.type = jbvNull;
        if (value != 0) {
            Jsonb* json = DatumGetJsonbP(value);
            if (!JB_ROOT_IS_SCALAR(json)) {
                JsonbToJsonbValue(json, &v);
            } else {
                JsonbExtractScalar(&json->root, &v);
            }
        }
        put(key, &v);
    }
    void merge(Datum object) {
        JsonbIterator* pairs = JsonbIteratorInit(&DatumGetJsonbP(object)->root);
        JsonbValue v;
        for (JsonbIteratorToken token; (token = JsonbIteratorNext(&pairs, &v, true)) != WJB_DONE;) {
            if (token == WJB_KEY || token == WJB_VALUE) pushJsonbValue(&state, token, &v);
        }
    }
    Datum finish() { return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr))); }
};

void put_next_tier(Object& object, const Person& p, const pg::Array<Tier>& tiers) {
    for (const Tier& t : tiers) {
        if (t.rank <= DatumGetInt32(p.rank) || !DatumGetBool(DirectFunctionCall2(numeric_gt, t.min_spend, p.spend))) continue;
        Object next;
        next.put_text("name", t.name);
        next.put_number("missing", DirectFunctionCall2(numeric_sub, t.min_spend, p.spend));
        next.put_json("benefits", t.benefits);
        object.put_json("next_tier", next.finish());
        return;
    }
    object.put_json("next_tier", 0);
}

Datum render(Datum payload, const Person& p, const pg::Array<Tier>& tiers) {
    Object object;
    bool mergeable = JB_ROOT_IS_OBJECT(DatumGetJsonbP(payload));
    if (mergeable) object.merge(payload);
    object.put_text("first_name", p.first_name);
    object.put_text("last_name", p.last_name);
    object.put_number("points", p.points);
    object.put_text("tier", p.tier);
    object.put_json("benefits", p.benefits);
    object.put_json("tags", p.tags);
    object.put_json("attributes", p.attributes);
    put_next_tier(object, p, tiers);
    object.put_json("cart", 0);
    object.put_json("wishlist", 0);
    object.put_text("unsubscribe_token", p.token);
    for (const Piece* piece = p.pieces; piece != nullptr; piece = piece->next) object.merge(piece->object);
    Datum rendered = object.finish();
    if (!mergeable) rendered = DirectFunctionCall2(jsonb_concat, payload, rendered);
    return DirectFunctionCall1(jsonb_strip_nulls, rendered);
}

}  // namespace

Datum told(Datum payload, const char* key, const char* inner) {
    Jsonb* object = DatumGetJsonbP(payload);
    for (const char* k : {key, inner}) {
        JsonbValue room;
        if (k == nullptr || !JB_ROOT_IS_OBJECT(object)) return 0;
        JsonbValue* v = getKeyJsonValueFromContainer(&object->root, k, static_cast<int>(strlen(k)), &room);
        if (v == nullptr) return 0;
        if (v->type == jbvString) return pg::to_datum(std::string_view{v->val.string.val, static_cast<size_t>(v->val.string.len)});
        if (v->type != jbvBinary) return 0;
        object = JsonbValueToJsonb(v);
    }
    return 0;
}

void complete(std::span<Rendered> messages) {
    auto people = find_people(messages);
    bool any = false;
    for (const Person& p : people) any = any || p.found;
    if (!any) return;
    find_pieces(messages, people);
    auto tiers = find_tiers();
    for (size_t i = 0; i < people.size(); ++i) {
        if (people[i].found) messages[i].payload = render(messages[i].payload, people[i], tiers);
    }
}

}  // namespace lifecycle::outbox

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_fresh_payload) {
    MemoryContext caller = CurrentMemoryContext;
    outbox::Rendered message{PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3), PG_GETARG_DATUM(4)};
    pg::as_owner([&] {
        pg::open_spi();
        outbox::complete({&message, 1});
        MemoryContextSwitchTo(caller);
        message.payload = PointerGetDatum(PG_DETOAST_DATUM_COPY(message.payload));
        pg::close_spi();
    });
    PG_RETURN_DATUM(message.payload);
}
