#!/bin/bash
# REES46: the first 170 minutes of a day in an electronics shop, as an event log: views, carts by session, purchases. Most who buy never had a cart,
# and half of the carts are left behind. The log is attached three times; carts are kept by session, as shops do.
. "$(dirname "$0")/replay.bash"

need_data rees46/2019-Oct_first_2h50m.csv.gz
new_database lifecycle_rees46
run -f - <<'SQL'
CREATE UNLOGGED TABLE rd.events (
    line bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, type text, product bigint, category bigint, category_code text, brand text,
    price numeric, customer text, session uuid);
CREATE TABLE shop.events (LIKE rd.events, PRIMARY KEY (line));
CREATE TABLE shop.carts (session uuid, customer text, value numeric, items int, updated_at timestamptz, PRIMARY KEY (session, customer));

-- What happened in [since, until), as the shop would have written it: each customer's cart grows.
CREATE PROCEDURE shop.live_through(since timestamptz, until timestamptz) LANGUAGE sql AS $$
    INSERT INTO shop.events SELECT * FROM rd.events AS e WHERE e.at >= since AND e.at < until ORDER BY e.line;
    INSERT INTO shop.carts AS c
        SELECT e.session, e.customer, sum(e.price), count(*), max(e.at) FROM rd.events AS e
         WHERE e.type = 'cart' AND e.at >= since AND e.at < until GROUP BY 1, 2
        ON CONFLICT (session, customer) DO UPDATE SET value = c.value + EXCLUDED.value, items = c.items + EXCLUDED.items, updated_at = EXCLUDED.updated_at;
$$;

-- Every customer at an instant, from the raw log.
CREATE FUNCTION oracle.customers(clock timestamptz)
    RETURNS TABLE (customer_id text, order_count bigint, revenue numeric, last_order_at timestamptz, last_visit_at timestamptz,
                   last_activity_at timestamptz, cart_id text, cart_value numeric, cart_updated_at timestamptz, abandoned_at timestamptz)
    LANGUAGE sql STABLE AS $$
    WITH past AS MATERIALIZED (SELECT * FROM rd.events AS e WHERE e.at < clock),
    customers AS (
        SELECT p.customer, count(*) FILTER (WHERE p.type = 'purchase') AS orders, coalesce(sum(p.price) FILTER (WHERE p.type = 'purchase'), 0) AS revenue,
               max(p.at) FILTER (WHERE p.type = 'purchase') AS ordered, max(p.at) FILTER (WHERE p.type = 'view') AS visited, max(p.at) AS active
          FROM past AS p GROUP BY 1),
    carts AS (
        SELECT p.session, p.customer, sum(p.price) FILTER (WHERE p.type = 'cart') AS value, max(p.at) FILTER (WHERE p.type = 'cart') AS at,
               bool_or(p.type = 'purchase') AS bought
          FROM past AS p GROUP BY 1, 2),
    open AS (
        SELECT DISTINCT ON (k.customer) k.* FROM carts AS k JOIN customers AS c USING (customer)
         WHERE NOT k.bought AND k.at > coalesce(c.ordered, '-infinity') ORDER BY k.customer, k.at DESC, k.session DESC)
    SELECT c.customer COLLATE "C", c.orders, trim_scale(c.revenue), c.ordered, c.visited, c.active, o.session::text, o.value, o.at,
           CASE WHEN o.at + interval '1 hour' <= clock THEN o.at + interval '1 hour' END
      FROM customers AS c LEFT JOIN open AS o USING (customer)
$$;
SQL
gzip -dc "$data/rees46/2019-Oct_first_2h50m.csv.gz" | head -n -1 |  # the last line is cut off
    run -c "COPY rd.events (at, type, product, category, category_code, brand, price, customer, session) FROM stdin (FORMAT csv, HEADER)"
run -c 'VACUUM ANALYZE rd.events'
is "events" "17055|165|214" "SELECT count(*) FILTER (WHERE type = 'view'), count(*) FILTER (WHERE type = 'cart'), count(*) FILTER (WHERE type = 'purchase') FROM rd.events"

install() {  # install CLOCK
    run -f - <<-SQL >/dev/null
	SET lifecycle.clock = '$1';
	DROP EXTENSION IF EXISTS pg_lifecycle CASCADE;
	CREATE EXTENSION pg_lifecycle;
	INSERT INTO lifecycle.segment (name, predicate) VALUES ('cart_abandoned', \$\$cart_updated_at <= now() - interval '1 hour'\$\$);
	SELECT lifecycle.attach('shop.events', 'engagement', '{"customer": "customer", "type": "''visit''", "occurred_at": "at"}', \$\$type = 'view'\$\$);
	SELECT lifecycle.attach('shop.events', 'order', '{"order": "line", "customer": "customer", "amount": "price", "placed_at": "at", "cart": "session"}',
	    \$\$type = 'purchase'\$\$);
	SELECT lifecycle.attach('shop.carts', 'cart', '{"cart": "session", "customer": "customer", "value": "value", "items": "items::text::jsonb", "updated_at": "updated_at"}');
	SQL
}

compare() {  # compare CLOCK NAME
    none "$2: every customer and every abandoned cart as plain SQL says" "
        WITH expected AS MATERIALIZED (SELECT * FROM oracle.customers('$1')),
        found AS MATERIALIZED (
            SELECT c.customer_id, c.order_count, trim_scale(c.revenue), c.last_order_at, c.last_visit_at, c.last_activity_at, c.cart_id, c.cart_value,
                   c.cart_updated_at, m.entered_at
              FROM lifecycle.customer AS c LEFT JOIN lifecycle.segment_member AS m ON m.customer_id = c.customer_id AND m.segment = 'cart_abandoned')
        (SELECT 'expected', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e)
        UNION ALL
        (SELECT 'found', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
}

# Attached after 50 minutes; from then on in steps of ten, and two hours longer than the log, until every cart that is left is abandoned.
start='2019-10-01 00:00+00'
clock='2019-10-01 00:50+00'
run -c "CALL shop.live_through('$start', '$clock')"
install "$clock"
compare "$clock" "attached at $clock"
for ((step = 1; step <= 24; ++step)); do
    since=$clock
    clock=$(run -c "SELECT timestamptz '2019-10-01 00:50+00' + $step * interval '10 minutes'")
    at "$clock" "CALL shop.live_through('$since', '$clock'); SELECT lifecycle.tick()" >/dev/null
    compare "$clock" "$clock"
done
is "many carts are left behind" t "SELECT count(*) > 40 FROM lifecycle.segment_member WHERE segment = 'cart_abandoned'"
is "sessions that buy without a cart" 135 "
    SELECT count(DISTINCT d.cart) FROM lifecycle.order_detail AS d WHERE NOT EXISTS (SELECT FROM lifecycle.cart AS c WHERE c.cart_id = d.cart)"
is "sessions with a cart that buy, and that do not" "65|53" "
    SELECT count(*) FILTER (WHERE b.bought), count(*) FILTER (WHERE NOT b.bought)
      FROM (SELECT c.cart_id, bool_or(d.cart IS NOT NULL) AS bought FROM lifecycle.cart AS c LEFT JOIN lifecycle.order_detail AS d ON d.cart = c.cart_id GROUP BY 1) AS b"
none "nothing was put aside" "SELECT * FROM lifecycle.quarantine"
none "verify() finds nothing" "SELECT * FROM lifecycle.verify()"

install "$clock"
compare "$clock" "backfilled at once"
finish
