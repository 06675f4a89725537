-- Orders that come late, or are announced, in programs whose tiers end by time: the history has no two tiers at once, and is what the orders say.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2028-03-10 08:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO lifecycle.loyalty_program (name, period, period_length) VALUES ('club', 'rolling', '5 days');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('bronze', 1, 100), ('silver', 2, 500);
CREATE VIEW history AS SELECT customer_id, tier, entered_at, left_at FROM lifecycle.tier_history ORDER BY customer_id, entered_at, left_at;

-- Bronze has ended when an order becomes known that was placed while it still held, and is not enough to keep it.
INSERT INTO orders (customer_id, total) VALUES ('anna', 150), ('ben', 150);
SET lifecycle.clock = '2028-03-15 10:00+00';
SELECT lifecycle.tick() \gset
TABLE history;
INSERT INTO orders (customer_id, total, placed_at) VALUES ('anna', 20, '2028-03-15 00:00+00');
-- Ben's is: bronze has never ended.
INSERT INTO orders (customer_id, total, placed_at) VALUES ('ben', 100, '2028-03-15 00:00+00');
TABLE history;
SELECT * FROM lifecycle.verify();

-- The same with a tier that was given by hand for some days and has ended, by terms and without.
INSERT INTO lifecycle.tier_grant (customer_id, tier, valid_from, valid_until, reason) VALUES
    ('anna', 'silver', '2028-03-15 10:00+00', '2028-03-17 00:00+00', 'sorry');
SET lifecycle.clock = '2028-03-18 10:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO orders (customer_id, total, placed_at) VALUES ('anna', 90, '2028-03-16 12:00+00');
SELECT * FROM history WHERE customer_id = 'anna';
SELECT * FROM lifecycle.verify();
UPDATE lifecycle.loyalty_program SET period = 'lifetime';
INSERT INTO orders (customer_id, total) VALUES ('emil', 10);
INSERT INTO lifecycle.tier_grant (customer_id, tier, valid_from, valid_until, reason) VALUES ('emil', 'silver', '2028-03-18 10:00+00', '2028-03-20 00:00+00', 'sorry');
SELECT * FROM history WHERE customer_id = 'anna';
SET lifecycle.clock = '2028-03-20 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'emil';
INSERT INTO orders (customer_id, total, placed_at) VALUES ('emil', 20, '2028-03-19 10:00+00');
SELECT * FROM history WHERE customer_id = 'emil';
SELECT * FROM lifecycle.verify();
TRUNCATE lifecycle.tier_grant;

-- By calendar years.
TRUNCATE orders;
UPDATE lifecycle.loyalty_program SET period = 'calendar_year';
INSERT INTO orders (customer_id, total) VALUES ('cleo', 150);
SET lifecycle.clock = '2030-01-01 10:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO orders (customer_id, total, placed_at) VALUES ('cleo', 20, '2029-12-31 10:00+00');
SELECT * FROM history WHERE customer_id = 'cleo';
SELECT * FROM lifecycle.verify();

-- An order that is announced for a later time keeps no tier before that: valid_until and what is missing are as if nothing more came.
TRUNCATE orders;
UPDATE lifecycle.loyalty_program SET period = 'rolling';
SET lifecycle.clock = '2030-02-01 08:00+00';
INSERT INTO orders (customer_id, total) VALUES ('dora', 150);
INSERT INTO orders (customer_id, total, placed_at) VALUES ('dora', 300, '2030-02-01 10:00+00');
SELECT tier, spend, valid_until, missing_to_keep FROM lifecycle.tier_progress WHERE customer_id = 'dora';
SELECT * FROM lifecycle.verify();
SELECT lifecycle.rebuild();
SELECT tier, spend, valid_until, missing_to_keep FROM lifecycle.tier_progress WHERE customer_id = 'dora';
SET lifecycle.clock = '2030-02-01 10:00+00';
SELECT lifecycle.tick() \gset
SELECT tier, spend, valid_until, missing_to_keep FROM lifecycle.tier_progress WHERE customer_id = 'dora';
SELECT * FROM lifecycle.verify();

-- Three weeks of orders that come in time, up to two days late, or early, with and without a worker that looks between them.
TRUNCATE orders;
SELECT setseed(0.5) \gset
DO $$
DECLARE
    clock timestamptz := '2031-01-01 00:00+00';
BEGIN
    FOR n IN 1 .. 150 LOOP
        clock := clock + random() * interval '7 hours';
        PERFORM set_config('lifecycle.clock', clock::text, false);
        IF random() < 0.4 THEN
            PERFORM lifecycle.tick();
        END IF;
        INSERT INTO orders (customer_id, total, placed_at)
            SELECT 'random ' || (random() * 20)::int, (random() * 150)::int,
                   clock - CASE WHEN random() < 0.5 THEN interval '0' WHEN random() < 0.8 THEN random() * interval '2 days' ELSE random() * interval '-1 day' END
              FROM generate_series(1, (random() * 3)::int);
    END LOOP;
    PERFORM lifecycle.tick();
END
$$;
SELECT count(*) > 40 AS many, count(DISTINCT tier) AS tiers FROM history WHERE left_at IS NOT NULL;
-- No row: nobody had two tiers at once, and at each instant at which something happened the tier was what the five days before it had brought.
SELECT a.* FROM lifecycle.tier_history AS a JOIN lifecycle.tier_history AS b USING (customer_id)
 WHERE (a.tier, a.entered_at) <> (b.tier, b.entered_at)
   AND tstzrange(a.entered_at, a.left_at) && tstzrange(b.entered_at, b.left_at);
SELECT * FROM (
    SELECT i.customer_id, i.at,
           (SELECT t.name FROM lifecycle.tier AS t
             WHERE t.min_spend <= (SELECT sum(o.total) FROM orders AS o
                                    WHERE o.customer_id = i.customer_id AND o.placed_at <= i.at AND i.at < o.placed_at + interval '5 days')
             ORDER BY t.rank DESC LIMIT 1) AS expected,
           (SELECT h.tier FROM lifecycle.tier_history AS h
             WHERE h.customer_id = i.customer_id AND h.entered_at <= i.at AND (h.left_at > i.at OR h.left_at IS NULL)) AS found
      FROM (SELECT customer_id, placed_at AS at FROM orders UNION SELECT customer_id, placed_at + interval '5 days' FROM orders) AS i
     WHERE i.at <= lifecycle.now()) AS i
 WHERE expected IS DISTINCT FROM found;
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
