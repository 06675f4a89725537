-- Many rows at once get pages at one go, but not many more than they need; what a rollback leaves is used by those who come next.
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
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION size_of_timers();
DROP TABLE orders;
