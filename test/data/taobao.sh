#!/bin/bash
# Taobao: nine days of 43 people who look, put into the cart, wish and buy, in China, without prices. One log of behaviour is attached four times; a
# cart here is one product that was put into it, and lies there for days.
. "$(dirname "$0")/replay.bash"

need_data taobao/UserBehavior_43users.csv
new_database lifecycle_taobao
run -f - <<'SQL'
CREATE UNLOGGED TABLE rd.behaviour (line bigint GENERATED ALWAYS AS IDENTITY, customer text, item text, category text, what text, ts bigint);
CREATE TABLE shop.behaviour (LIKE rd.behaviour, PRIMARY KEY (line));

-- What happened in (since, until], each thing at its own instant and in a transaction of its own, as in the shop.
CREATE PROCEDURE shop.live_through(since timestamptz, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    b rd.behaviour;
BEGIN
    FOR b IN SELECT * FROM rd.behaviour AS r WHERE to_timestamp(r.ts) > since AND to_timestamp(r.ts) <= until ORDER BY r.ts, r.line LOOP
        PERFORM set_config('lifecycle.clock', to_timestamp(b.ts)::text, false);
        INSERT INTO shop.behaviour SELECT b.*;
        COMMIT;
    END LOOP;
END
$$;

CREATE FUNCTION oracle.customers(clock timestamptz)
    RETURNS TABLE (customer_id text, order_count bigint, revenue numeric, first_order_at timestamptz, last_order_at timestamptz, last_visit_at timestamptz,
                   last_activity_at timestamptz, cart_id text, cart_updated_at timestamptz, abandoned_at timestamptz, today_at timestamptz)
    LANGUAGE sql STABLE SET timezone = 'Asia/Shanghai' AS $$
    WITH past AS MATERIALIZED (SELECT b.*, to_timestamp(b.ts) AS at FROM rd.behaviour AS b WHERE to_timestamp(b.ts) <= clock),
    customers AS (
        SELECT p.customer, count(*) FILTER (WHERE p.what = 'buy') AS orders, min(p.at) FILTER (WHERE p.what = 'buy') AS first,
               max(p.at) FILTER (WHERE p.what = 'buy') AS ordered, max(p.at) FILTER (WHERE p.what = 'pv') AS visited, max(p.at) AS active
          FROM past AS p GROUP BY 1),
    open AS (
        SELECT DISTINCT ON (p.customer) p.customer, p.item, p.at
          FROM past AS p JOIN customers AS c USING (customer)
         WHERE p.what = 'cart' AND p.at > coalesce(c.ordered, '-infinity')
           AND NOT EXISTS (SELECT FROM past AS b WHERE b.what = 'buy' AND (b.customer, b.item) = (p.customer, p.item))
         ORDER BY p.customer, p.at DESC, p.item COLLATE "C" DESC)
    SELECT c.customer COLLATE "C", c.orders, 0::numeric, c.first, c.ordered, c.visited, c.active, o.item, o.at,
           CASE WHEN o.at + interval '1 day' <= clock THEN o.at + interval '1 day' END,
           -- Orders of one Chinese day are one stay, from the first of them on.
           (SELECT min(p.at) FROM past AS p WHERE p.customer = c.customer AND p.what = 'buy' AND p.at::date = clock::date)
      FROM customers AS c LEFT JOIN open AS o USING (customer)
$$;
SQL
run -c "COPY rd.behaviour (customer, item, category, what, ts) FROM stdin (FORMAT csv)" <"$data/taobao/UserBehavior_43users.csv"
is "behaviour" "3926|190|128|77" "
    SELECT count(*) FILTER (WHERE what = 'pv'), count(*) FILTER (WHERE what = 'cart'), count(*) FILTER (WHERE what = 'fav'), count(*) FILTER (WHERE what = 'buy')
      FROM rd.behaviour"

install() {  # install CLOCK
    run -f - <<-SQL >/dev/null
	SET lifecycle.clock = '$1';
	DROP EXTENSION IF EXISTS pg_lifecycle CASCADE;
	CREATE EXTENSION pg_lifecycle;
	INSERT INTO lifecycle.shop (time_zone) VALUES ('Asia/Shanghai');
	INSERT INTO lifecycle.segment (name, predicate) VALUES
	    ('cart_abandoned', \$\$cart_updated_at <= now() - interval '1 day'\$\$),
	    ('bought_today', \$\$date_trunc('day', last_order_at) + interval '1 day' > now()\$\$);
	SELECT lifecycle.attach('shop.behaviour', 'engagement', '{"customer": "customer", "type": "''visit''", "occurred_at": "to_timestamp(ts)"}', \$\$what = 'pv'\$\$);
	SELECT lifecycle.attach('shop.behaviour', 'cart', '{"cart": "item", "customer": "customer", "updated_at": "to_timestamp(ts)"}', \$\$what = 'cart'\$\$);
	SELECT lifecycle.attach('shop.behaviour', 'wishlist', '{"customer": "customer", "product": "item", "added_at": "to_timestamp(ts)"}', \$\$what = 'fav'\$\$);
	SELECT lifecycle.attach('shop.behaviour', 'order', '{"order": "line", "customer": "customer", "amount": "0", "placed_at": "to_timestamp(ts)", "cart": "item"}',
	    \$\$what = 'buy'\$\$);
	SQL
}

compare() {  # compare CLOCK NAME
    none "$2: every customer, abandoned cart and buyer of the day as plain SQL says" "
        WITH expected AS MATERIALIZED (SELECT * FROM oracle.customers('$1')),
        found AS MATERIALIZED (
            SELECT c.customer_id, c.order_count, trim_scale(c.revenue), c.first_order_at, c.last_order_at, c.last_visit_at, c.last_activity_at, c.cart_id,
                   c.cart_updated_at, a.entered_at, t.entered_at
              FROM lifecycle.customer AS c
              LEFT JOIN lifecycle.segment_member AS a ON a.customer_id = c.customer_id AND a.segment = 'cart_abandoned'
              LEFT JOIN lifecycle.segment_member AS t ON t.customer_id = c.customer_id AND t.segment = 'bought_today')
        (SELECT 'expected', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e)
        UNION ALL
        (SELECT 'found', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
}

# Attached after the first day; then every six hours, and two days longer than the log.
clock='2017-11-26 00:00+08'
run -c "INSERT INTO shop.behaviour SELECT * FROM rd.behaviour AS b WHERE to_timestamp(b.ts) <= '$clock'"
install "$clock"
compare "$clock" "attached at $clock"
for ((step = 1; step <= 40; ++step)); do
    since=$clock
    clock=$(run -c "SET timezone = 'Asia/Shanghai'" -c "SELECT timestamptz '2017-11-26 00:00+08' + $step * interval '6 hours'")
    run -c "CALL shop.live_through('$since', '$clock')"
    at "$clock" 'SELECT lifecycle.tick()' >/dev/null
    compare "$clock" "$clock"
done
none "every wish as it was said" "
    WITH expected AS (SELECT b.customer COLLATE \"C\", b.item, to_timestamp(b.ts) FROM rd.behaviour AS b WHERE b.what = 'fav'),
    found AS (SELECT w.customer_id, w.product, w.added_at FROM lifecycle.wishlist AS w)
    (TABLE expected EXCEPT ALL TABLE found) UNION ALL (TABLE found EXCEPT ALL TABLE expected)"
is "customers, those with carts, those with wishes, buyers" "43|29|14|23" "
    SELECT count(*), (SELECT count(DISTINCT k.customer_id) FROM lifecycle.cart AS k), (SELECT count(DISTINCT w.customer_id) FROM lifecycle.wishlist AS w),
           count(*) FILTER (WHERE order_count > 0)
      FROM lifecycle.customer"
# Each stay began with the first order of a Chinese day and ended with that day.
none "every day on which somebody bought" "
    WITH expected AS (
        SELECT b.customer COLLATE \"C\", min(to_timestamp(b.ts)), (date_trunc('day', to_timestamp(b.ts) AT TIME ZONE 'Asia/Shanghai') + interval '1 day') AT TIME ZONE 'Asia/Shanghai'
          FROM rd.behaviour AS b WHERE b.what = 'buy' AND to_timestamp(b.ts) > '2017-11-26 00:00+08' GROUP BY 1, 3),
    found AS (SELECT h.customer_id, h.entered_at, h.left_at FROM lifecycle.segment_history AS h WHERE h.segment = 'bought_today' AND h.entered_at > '2017-11-26 00:00+08')
    (SELECT 'expected', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e) UNION ALL (SELECT 'found', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
none "nothing was put aside" "SELECT * FROM lifecycle.quarantine"
none "verify() finds nothing" "SELECT * FROM lifecycle.verify()"

install "$clock"
compare "$clock" "backfilled at once"
finish
