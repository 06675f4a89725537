-- Many rows at once: a sale's campaign reaches everybody on one day. What is written by the page is found by every index, and a row that is there
-- already still is an error.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('thanks', 'order_placed');
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template, subject, content)
    SELECT 'thanks', n, n * interval '1 day', 'email', 'transactional', 'thanks_' || n, '{"en": "Thanks"}',
           '{"en": {"body": "For your order", "rate": 1.50, "list": [1, true, null, {"a": ""}], "b": false}}' FROM generate_series(1, 2) AS n;
UPDATE lifecycle.scenario SET status = 'active';

-- All indexes of our tables, from end to end, where the server has the means to check them.
CREATE FUNCTION broken_indexes() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    index regclass;
BEGIN
    BEGIN
        CREATE EXTENSION IF NOT EXISTS amcheck;
    EXCEPTION WHEN OTHERS THEN
        RETURN;
    END;
    FOR index IN SELECT c.oid FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam
                  WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relnamespace = 'lifecycle'::regnamespace LOOP
        BEGIN
            PERFORM bt_index_parent_check(index, true);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT index || ': ' || SQLERRM;
        END;
    END LOOP;
END
$$;

-- Customers who are new come in the order of their ids, later ones in between, and due at many instants: pages fill up, split and fill up again.
INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() - n % 7 * interval '1 minute' FROM generate_series(2, 3000, 2) AS n;
INSERT INTO orders SELECT n, 'c' || n, 10, lifecycle.now() - n % 11 * interval '1 minute' FROM generate_series(1, 3000, 2) AS n;
SELECT * FROM broken_indexes();
SET lifecycle.clock = '2026-03-02 12:00+00';
SELECT lifecycle.tick();
SELECT * FROM broken_indexes();
SET lifecycle.clock = '2026-03-03 12:00+00';
-- Whoever goes back to a savepoint leaves entries of rows that never were.
BEGIN;
SAVEPOINT before;
SELECT lifecycle.tick();
ROLLBACK TO before;
SELECT lifecycle.tick();
COMMIT;
SELECT step, count(*), count(DISTINCT customer_id) AS customers FROM lifecycle.outbox GROUP BY step ORDER BY step;
SELECT * FROM broken_indexes();
-- Each row is found by its key.
SET enable_seqscan = off;
SELECT count(*) FROM generate_series(1, 3000) AS n
  JOIN LATERAL (SELECT FROM lifecycle.enrolment_step AS s WHERE (s.customer_id, s.scenario, s.anchor, s.position) = ('c' || n, 'thanks', n::text, 2)) AS s ON true
  JOIN LATERAL (SELECT FROM lifecycle.outbox AS o WHERE o.customer_id = 'c' || n AND o.idempotency_key = 'thanks:2:' || n || ':c' || n) AS o ON true;
RESET enable_seqscan;
-- What a payload is put together from is what comes out of it.
SELECT payload FROM lifecycle.outbox WHERE customer_id = 'c12' AND step = 1;
SELECT count(*) FROM lifecycle.outbox
 WHERE payload IS DISTINCT FROM payload::text::jsonb OR pg_column_size(payload || '{}') <> pg_column_size(payload::text::jsonb)
    OR payload -> 'content' -> 'list' ->> 1 <> 'true' OR payload ->> 'anchor' <> anchor;

-- A decision that somebody has written by hand, in the midst of those that a tick writes.
INSERT INTO orders SELECT 3000 + n, 'c' || n, 10, lifecycle.now() FROM generate_series(1, 300) AS n;
INSERT INTO lifecycle.enrolment_step (customer_id, scenario, anchor, position, outcome, decided_at) VALUES ('c77', 'thanks', '3077', 1, 'skipped', lifecycle.now());
SET lifecycle.clock = '2026-03-04 12:00+00';
SELECT lifecycle.tick();
DELETE FROM lifecycle.enrolment_step WHERE (customer_id, anchor) = ('c77', '3077');
SELECT lifecycle.tick();
SELECT count(*) FROM lifecycle.enrolment_step WHERE position = 1;
SELECT * FROM broken_indexes();

-- Messages that are due at one instant share entries: behind those that are due earlier, before those that are due later, and where rows come to lie
-- in the places of others.
INSERT INTO orders SELECT 4000 + n, 'c' || n, 10, lifecycle.now() + n % 3 * interval '1 hour' FROM generate_series(1, 2500) AS n;
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at)
    SELECT 'by hand ' || n, 'c' || n, 'email', 'by hand', n, 1, 'transactional', 'by_hand', lifecycle.now() + interval '1 year' FROM generate_series(1, 1500) AS n;
SET lifecycle.clock = '2026-03-05 13:00+00';
SELECT lifecycle.tick();
SELECT * FROM broken_indexes();
DELETE FROM lifecycle.outbox WHERE message_id % 3 <> 0 OR message_id % 1000 < 400;
VACUUM lifecycle.outbox;
INSERT INTO orders SELECT 7000 + n, 'c' || n, 10, lifecycle.now() FROM generate_series(1, 3000) AS n;
SET lifecycle.clock = '2026-03-06 12:00+00';
SELECT lifecycle.tick();
SET lifecycle.clock = '2026-03-07 13:00+00';
SELECT lifecycle.tick();
SELECT * FROM broken_indexes();
SELECT * FROM lifecycle.verify();
SET enable_seqscan = off;
SELECT (SELECT count(*) FROM lifecycle.outbox WHERE part < 1000 AND due_at >= '2026-03-05') AS by_index,
       (SELECT count(*) FROM lifecycle.outbox WHERE part < 1000 AND due_at + interval '0' >= '2026-03-05') AS by_table;
DROP EXTENSION pg_lifecycle CASCADE;
DROP EXTENSION IF EXISTS amcheck;
DROP TABLE orders;
DROP FUNCTION broken_indexes;
