-- Timers say where the rows lie that they are about, which saves a tick the way through two indexes. What they say may be wrong.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id text, amount numeric, placed_at timestamptz);
INSERT INTO lifecycle.segment (name, dimension, rank, predicate) VALUES
    ('fresh', 'lifecycle', 1, 'last_order_at > now() - interval ''60 days'''), ('stale', 'lifecycle', 2, 'last_order_at > now() - interval ''90 days'''),
    ('gone', 'lifecycle', 3, 'last_order_at <= now() - interval ''90 days'''), ('small', NULL, NULL, 'order_count < 3');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}');

-- Which timers know where the customer's row is, and which membership they take to end first.
CREATE VIEW places AS
    SELECT t.due_at, m.segment AS ends, count(*), bool_and(t.customer_row IS NOT NULL) AS customer_known
      FROM lifecycle.timer AS t LEFT JOIN lifecycle.segment_member AS m ON m.customer_id = t.customer_id AND m.ctid = t.member_row
     GROUP BY 1, 2 ORDER BY 1, 2;
-- Who is in which segment, beside who should be, and whether the indexes were asked.
CREATE FUNCTION tick_at(at timestamptz) RETURNS TABLE (customers_searched boolean, members_searched boolean, wrong bigint, left_over bigint) LANGUAGE plpgsql AS $$
    DECLARE customers bigint := pg_stat_get_xact_numscans('lifecycle.customer_pkey'::regclass);
            members bigint := pg_stat_get_xact_numscans('lifecycle.segment_member_pkey'::regclass);
    BEGIN
        PERFORM set_config('lifecycle.clock', at::text, false), lifecycle.tick();
        customers_searched := pg_stat_get_xact_numscans('lifecycle.customer_pkey'::regclass) > customers;
        members_searched := pg_stat_get_xact_numscans('lifecycle.segment_member_pkey'::regclass) > members;
        SELECT count(*) INTO wrong
          FROM (SELECT customer_id, CASE WHEN max(placed_at) > at - interval '60 days' THEN 'fresh' WHEN max(placed_at) > at - interval '90 days' THEN 'stale' ELSE 'gone' END AS segment
                  FROM orders GROUP BY 1) AS expected
          FULL JOIN (SELECT customer_id, segment FROM lifecycle.segment_member WHERE segment <> 'small') AS found USING (customer_id, segment)
         WHERE expected.* IS NULL OR found.* IS NULL;
        SELECT count(*) INTO left_over FROM lifecycle.timer WHERE due_at <= at;
        RETURN NEXT;
    END $$;

-- One by one, a few at once, many at once.
INSERT INTO orders (customer_id, amount, placed_at) VALUES ('one', 10, '2030-02-01 12:00+00');
INSERT INTO orders (customer_id, amount, placed_at) SELECT 'few' || n, 10, '2030-02-02 12:00+00' FROM generate_series(1, 5) AS n;
INSERT INTO orders (customer_id, amount, placed_at) SELECT 'many' || n, 10, '2030-02-03 12:00+00' FROM generate_series(1, 1200) AS n;
TABLE places;
SELECT count(*) FROM lifecycle.timer AS t JOIN lifecycle.customer AS c ON c.customer_id = t.customer_id AND c.ctid = t.customer_row;
-- Those who were known have a timer from before that is too early; it is set anew when it has run out.
INSERT INTO orders (customer_id, amount, placed_at) VALUES ('old1', 10, '2030-02-04 12:00+00'), ('old2', 10, '2030-02-04 12:00+00');
INSERT INTO orders (customer_id, amount, placed_at) VALUES ('old1', 10, '2030-02-05 12:00+00');
INSERT INTO orders (customer_id, amount, placed_at) VALUES ('old1', 10, '2030-02-05 13:00+00'), ('old2', 10, '2030-02-05 12:00+00');
TABLE places;

-- All fall from fresh to stale, by the places alone.
SELECT * FROM tick_at('2030-04-02 12:00+00');
SELECT * FROM tick_at('2030-04-03 12:00+00');
SELECT * FROM tick_at('2030-04-04 12:00+00');
SELECT * FROM tick_at('2030-04-05 12:00+00');
SELECT * FROM tick_at('2030-04-06 13:00+00');
TABLE places;
-- Rows that have moved are found by their keys, and noted anew.
CLUSTER lifecycle.customer USING customer_pkey;
CLUSTER lifecycle.segment_member USING segment_member_pkey;
SELECT * FROM tick_at('2030-05-04 12:00+00');
SELECT * FROM tick_at('2030-05-06 13:00+00');
-- So are those of which a timer says nothing, something wrong or something impossible.
INSERT INTO orders (customer_id, amount, placed_at) SELECT customer_id, 1, lifecycle.now() FROM (SELECT DISTINCT customer_id FROM orders) AS o;
SELECT * FROM tick_at('2030-05-20 12:00+00');
UPDATE lifecycle.timer AS t SET customer_row = o.customer_row, member_row = o.member_row
  FROM (SELECT customer_id, lead(customer_row) OVER w AS customer_row, lag(member_row) OVER w AS member_row FROM lifecycle.timer WINDOW w AS (ORDER BY customer_id)) AS o
 WHERE o.customer_id = t.customer_id;
UPDATE lifecycle.timer SET customer_row = '(0,65535)', member_row = '(4294967295,1)' WHERE customer_id LIKE 'many1%';
UPDATE lifecycle.timer SET customer_row = '(4294967295,1)', member_row = '(0,65535)' WHERE customer_id LIKE 'many2%';
UPDATE lifecycle.timer SET customer_row = '(0,0)', member_row = '(0,0)' WHERE customer_id LIKE 'many3%';
SELECT * FROM tick_at('2030-07-01 12:00+00');
SELECT * FROM tick_at('2030-07-31 12:00+00');
SELECT * FROM tick_at('2031-07-31 12:00+00');
-- Nor is anybody else's row taken for that of a customer who is gone.
INSERT INTO orders (customer_id, amount, placed_at) VALUES ('one', 10, '2031-07-01 12:00+00');
DELETE FROM lifecycle.customer WHERE customer_id = 'few1';
INSERT INTO lifecycle.timer SELECT '2031-07-31 12:00+00', 'few1', customer_row, member_row FROM lifecycle.timer WHERE customer_id = 'one';
SELECT lifecycle.tick();
SELECT customer_id, lifecycle, timer_at FROM lifecycle.customer WHERE customer_id IN ('one', 'few1');

DROP FUNCTION tick_at;
DROP VIEW places;
SELECT lifecycle.detach('public.orders:order');
DROP TABLE orders;
DROP EXTENSION pg_lifecycle;
