-- Many rows at once get pages at one go, but not many more than they need; what a rollback leaves is used by those who come next. Rows about the same
-- time lie together, in whatever order the orders come.
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "total", "placed_at": "placed_at"}');

-- How much larger the timers are than the same rows in a table of their own.
CREATE FUNCTION size_of_timers() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    size numeric;
BEGIN
    CREATE TEMP TABLE copy AS TABLE lifecycle.timer;
    size := pg_relation_size('lifecycle.timer') / pg_relation_size('copy')::numeric;
    DROP TABLE copy;
    RETURN CASE WHEN size <= 1.3 THEN 'as large as needed' ELSE round(size, 2) || ' times as large' END;
END
$$;

INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() - n % 700 * interval '1 hour' FROM generate_series(1, 20000) AS n;
SELECT size_of_timers();
ANALYZE lifecycle.timer, lifecycle.segment_member;
SELECT tablename, attname, correlation > 0.95 AS in_order FROM pg_stats
 WHERE schemaname = 'lifecycle' AND (tablename, attname) IN (('timer', 'due_at'), ('segment_member', 'entered_at')) ORDER BY 1;
-- A little at a time.
DO $$
BEGIN
    FOR i IN 0..39 LOOP
        INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() FROM generate_series(20001 + i * 250, 20250 + i * 250) AS n;
    END LOOP;
END
$$;
SELECT size_of_timers();
BEGIN;
INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() FROM generate_series(30001, 40000) AS n;
ROLLBACK;
VACUUM lifecycle.timer, lifecycle.customer;
INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() FROM generate_series(30001, 40000) AS n;
SELECT size_of_timers();
SELECT count(*), count(DISTINCT customer_id) AS customers FROM lifecycle.timer;

-- Many customers whom a changed definition has not reached yet have to catch up first, in the same statement.
SET lifecycle.redefine_at_once = 0;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('lately', 'last_order_at > now() - interval ''3 days''');
INSERT INTO orders SELECT 50000 + n, 'c' || n, 20, lifecycle.now() - n % 5 * interval '1 day' FROM generate_series(1, 20000, 7) AS n;
SELECT count(*) FROM lifecycle.segment_member WHERE segment = 'lately';
SELECT lifecycle.tick() > 0 AS went_on;
SELECT count(*) FROM lifecycle.customer AS c FULL JOIN (SELECT * FROM lifecycle.segment_member WHERE segment = 'lately') AS m USING (customer_id)
 WHERE (c.last_order_at > lifecycle.now() - interval '3 days') IS DISTINCT FROM (m.segment IS NOT NULL);
SELECT count(*) FROM (lifecycle.customer AS c CROSS JOIN LATERAL unnest(ARRAY[c.timer_at, c.later_timer_at]) AS u (timer_at))
  FULL JOIN lifecycle.timer AS t ON (t.customer_id, t.due_at) = (c.customer_id, u.timer_at)
 WHERE u.timer_at IS DISTINCT FROM t.due_at;
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION size_of_timers();
DROP TABLE orders;
