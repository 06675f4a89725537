#!/bin/bash
# Olist: 5,000 orders of a Brazilian marketplace. What an order costs is in its lines, when it arrived is written into the order weeks later or never,
# and some reviews are written before that. Times have no zone, and Brazil's clocks change at midnight.
. "$(dirname "$0")/replay.bash"

need_data olist_5k/olist_{orders,customers,order_items,order_reviews}_dataset.csv
new_database lifecycle_olist
run -f - <<'SQL'
CREATE UNLOGGED TABLE rd.orders (id text, customer_id text, status text, purchased timestamp, approved timestamp, carrier timestamp, delivered timestamp, estimated timestamp);
CREATE UNLOGGED TABLE rd.customers (pk int, customer_id text, person text, zip text, city text, state text);
CREATE UNLOGGED TABLE rd.items (order_id text, item int, product text, seller text, shipping_limit timestamp, price numeric, freight numeric);
CREATE UNLOGGED TABLE rd.reviews (pk int, order_id text, score int, created timestamp, answered timestamp);
CREATE TABLE shop.sales (id text PRIMARY KEY, person text, status text, purchased timestamp, carrier timestamp, delivered timestamp);
CREATE TABLE shop.lines (order_id text, item int, product text, price numeric, freight numeric, PRIMARY KEY (order_id, item));
CREATE TABLE shop.opinions (id int PRIMARY KEY, person text, order_id text, score int, created timestamp);

-- What happened until an instant on Brazil's clocks, as the shop would have written it: orders come, then their lines, parcels go out and arrive.
CREATE PROCEDURE shop.live_through(until timestamp) LANGUAGE sql AS $$
    INSERT INTO shop.sales SELECT o.id, c.person, o.status, o.purchased FROM rd.orders AS o JOIN rd.customers AS c USING (customer_id)
        WHERE o.purchased <= until AND NOT EXISTS (SELECT FROM shop.sales AS s WHERE s.id = o.id);
    INSERT INTO shop.lines SELECT i.order_id, i.item, i.product, i.price, i.freight FROM rd.items AS i
        WHERE EXISTS (SELECT FROM shop.sales AS s WHERE s.id = i.order_id) AND NOT EXISTS (SELECT FROM shop.lines AS l WHERE l.order_id = i.order_id);
    UPDATE shop.sales AS s SET carrier = o.carrier FROM rd.orders AS o WHERE o.id = s.id AND s.carrier IS NULL AND o.carrier <= until;
    UPDATE shop.sales AS s SET delivered = o.delivered FROM rd.orders AS o WHERE o.id = s.id AND s.delivered IS NULL AND o.delivered <= until;
    INSERT INTO shop.opinions SELECT r.pk, c.person, r.order_id, r.score, r.created FROM rd.reviews AS r JOIN rd.orders AS o ON o.id = r.order_id JOIN rd.customers AS c USING (customer_id)
        WHERE r.created <= until AND NOT EXISTS (SELECT FROM shop.opinions AS p WHERE p.id = r.pk);
$$;

CREATE VIEW rd.counting AS
    SELECT o.*, c.person, (SELECT coalesce(sum(i.price + i.freight), 0) FROM rd.items AS i WHERE i.order_id = o.id) AS amount
      FROM rd.orders AS o JOIN rd.customers AS c USING (customer_id) WHERE o.status NOT IN ('canceled', 'unavailable');

CREATE FUNCTION oracle.persons(until timestamp)
    RETURNS TABLE (customer_id text, order_count bigint, revenue numeric, first_order_at timestamptz, previous_order_at timestamptz, last_order_at timestamptz,
                   last_activity_at timestamptz, lifecycle text)
    LANGUAGE sql STABLE SET timezone = 'America/Sao_Paulo' AS $$
    WITH orders AS (
        SELECT o.person, count(*) AS n, sum(o.amount) AS revenue, array_agg(o.purchased::timestamptz ORDER BY o.purchased DESC) AS at
          FROM rd.counting AS o WHERE o.purchased <= until GROUP BY 1),
    reviews AS (
        SELECT c.person, max(r.created)::timestamptz AS at FROM rd.reviews AS r JOIN rd.orders AS o ON o.id = r.order_id JOIN rd.customers AS c USING (customer_id)
         WHERE r.created <= until GROUP BY 1)
    SELECT person COLLATE "C", coalesce(o.n, 0), trim_scale(coalesce(o.revenue, 0)), o.at[o.n], o.at[2], o.at[1], greatest(o.at[1], r.at),
           CASE WHEN o.at IS NULL THEN 'prospect'
                WHEN until < o.at[1] + interval '60 days' THEN CASE WHEN o.at[1] > o.at[2] + interval '90 days' THEN 'reactivated' WHEN o.n = 1 THEN 'new' ELSE 'active' END
                WHEN until < o.at[1] + interval '90 days' THEN 'at_risk'
                WHEN until < o.at[1] + interval '180 days' THEN 'dormant'
                ELSE 'lost' END
      FROM orders AS o FULL JOIN reviews AS r USING (person)
$$;
-- When each order arrived: as written, else twelve days after it went out; counted on the shop's calendar.
CREATE FUNCTION oracle.deliveries(until timestamp) RETURNS TABLE (customer_id text, order_id text, delivered_at timestamptz, shipped_at timestamptz)
    LANGUAGE sql STABLE SET timezone = 'America/Sao_Paulo' AS $$
    SELECT coalesce(c.person, '') COLLATE "C", o.id, coalesce(d.delivered::timestamptz, d.carrier::timestamptz + interval '12 days'), d.carrier::timestamptz
      FROM rd.orders AS o LEFT JOIN rd.counting AS c USING (id),
           LATERAL (VALUES (CASE WHEN o.carrier <= until THEN o.carrier END, CASE WHEN o.delivered <= until THEN o.delivered END)) AS d (carrier, delivered)
     WHERE o.purchased <= until AND coalesce(d.carrier, d.delivered) IS NOT NULL
$$;
SQL
load() {
    run -c "SET datestyle = 'ISO, MDY'" -c "COPY rd.$1 FROM stdin (FORMAT csv, HEADER)" <"$data/olist_5k/olist_$2_dataset.csv"
}
load orders orders; load customers customers; load items order_items; load reviews order_reviews
run -c 'CREATE INDEX ON rd.items (order_id)' -c 'CREATE INDEX ON rd.orders (id)' -c 'ANALYZE'
is "orders, persons, lines, reviews" "5000|4991|5603|4988" "
    SELECT (SELECT count(*) FROM rd.orders), (SELECT count(DISTINCT person) FROM rd.customers), (SELECT count(*) FROM rd.items), (SELECT count(*) FROM rd.reviews)"

install() {  # install CLOCK
    run -f - <<-SQL >/dev/null
	SET lifecycle.clock = '$1 America/Sao_Paulo';
	DROP EXTENSION IF EXISTS pg_lifecycle CASCADE;
	CREATE EXTENSION pg_lifecycle;
	INSERT INTO lifecycle.shop (time_zone, delivery_time) VALUES ('America/Sao_Paulo', '12 days');
	SELECT lifecycle.install_playbook();
	SELECT lifecycle.attach('shop.sales', 'order', '{"order": "id", "customer": "person", "placed_at": "purchased AT TIME ZONE ''America/Sao_Paulo''"}',
	    \$\$status NOT IN ('canceled', 'unavailable')\$\$);
	SELECT lifecycle.attach('shop.lines', 'order_item', '{"order": "order_id", "line": "item", "product": "product", "quantity": "1", "amount": "price + freight"}');
	SELECT lifecycle.attach('shop.sales', 'delivery', '{"order": "id", "delivered_at": "delivered AT TIME ZONE ''America/Sao_Paulo''",
	    "shipped_at": "carrier AT TIME ZONE ''America/Sao_Paulo''"}');
	SELECT lifecycle.attach('shop.opinions', 'review', '{"review": "id", "customer": "person", "rating": "score", "product": "order_id",
	    "reviewed_at": "created AT TIME ZONE ''America/Sao_Paulo''"}');
	SQL
}

compare() {  # compare CLOCK NAME
    none "$2: every customer as plain SQL says" "
        WITH expected AS MATERIALIZED (SELECT * FROM oracle.persons('$1')),
        found AS MATERIALIZED (
            SELECT c.customer_id, c.order_count, trim_scale(c.revenue), c.first_order_at, c.previous_order_at, c.last_order_at, c.last_activity_at, c.lifecycle
              FROM lifecycle.customer AS c)
        (SELECT 'expected', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e)
        UNION ALL
        (SELECT 'found', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
    none "$2: every delivery as plain SQL says" "
        WITH expected AS MATERIALIZED (SELECT * FROM oracle.deliveries('$1')),
        found AS MATERIALIZED (SELECT d.customer_id, d.order_id, d.delivered_at, d.shipped_at FROM lifecycle.delivery AS d)
        (SELECT 'expected', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e)
        UNION ALL
        (SELECT 'found', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
}

# Attached when a third of the orders were there; then month by month until all has been lived through, and half a year more.
clock='2017-09-01 00:00'
run -c "CALL shop.live_through('$clock')"
install "$clock"
compare "$clock" "attached at $clock"
for ((month = 1; month <= 19; ++month)); do
    clock=$(run -c "SELECT timestamp '2017-09-01 00:00' + $month * interval '1 month'")
    at "$clock America/Sao_Paulo" "CALL shop.live_through('$clock'); SELECT lifecycle.tick()" >/dev/null
    compare "$clock" "$clock"
done
# Of the 142 orders that never say when they arrived, 64 say when they went out.
is "deliveries written, deliveries reckoned" "4858|64" "
    SELECT count(*) FILTER (WHERE s.delivered IS NOT NULL), count(*) FILTER (WHERE s.delivered IS NULL)
      FROM lifecycle.delivery AS d JOIN shop.sales AS s ON s.id = d.order_id"
is "reviews, those from before the delivery" "4988|412" "
    SELECT count(*), count(*) FILTER (WHERE r.reviewed_at < d.delivered_at AND s.delivered IS NOT NULL)
      FROM lifecycle.review AS r JOIN shop.sales AS s ON s.id = r.product LEFT JOIN lifecycle.delivery AS d ON d.order_id = r.product"
none "every rating as it was given" "
    (SELECT rating, count(*) FROM lifecycle.review GROUP BY 1) EXCEPT (VALUES (5, 2923), (4, 978), (3, 396), (2, 141), (1, 550))"
none "nothing was put aside" "SELECT * FROM lifecycle.quarantine"
none "verify() finds nothing" "SELECT * FROM lifecycle.verify()"

install "$clock"
compare "$clock" "backfilled at once"
finish
