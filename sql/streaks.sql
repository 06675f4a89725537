-- Streaks: an order in each of four weeks on end, a visit on seven days. What is withdrawn breaks them, what comes late mends them.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2027-05-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.shop (time_zone) VALUES ('Europe/Berlin');
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric DEFAULT 10, placed_at timestamptz);
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric, refunded_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE visits (customer_id text, at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.attach('refunds', 'refund', '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
SELECT lifecycle.attach('visits', 'engagement', '{"customer": "customer_id", "type": "''visit''", "occurred_at": "at"}');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO lifecycle.points_rule (name, earns_on, event, points, valid_from) VALUES
    ('four weeks', 'streak', 'order:4 weeks', 100, '2027-01-01'), ('and a gift for it', 'streak', 'order:4 weeks', 10, '2027-01-01'),
    ('quarter', 'streak', 'order:3 months', 1000, '2027-01-01'), ('week of visits', 'streak', 'visit:7 days', 7, '2027-01-01');
CREATE VIEW streaks AS
    SELECT customer_id, reference, sum(earned) AS earned, sum(revoked) AS revoked, sum(available) AS available, max(earned_at) FILTER (WHERE NOT closed) AS earned_at
      FROM lifecycle.points_lot WHERE origin = 'streak' GROUP BY 1, 2 ORDER BY 1, 2;

-- Anna orders on four Mondays at half past midnight in Berlin, over the change to summer time; it is still Sunday in UTC.
INSERT INTO orders VALUES (1, 'anna', 10, '2027-03-14 23:30+00'), (2, 'anna', 10, '2027-03-21 23:30+00'), (3, 'anna', 10, '2027-03-28 22:30+00');
TABLE streaks;
INSERT INTO orders VALUES (4, 'anna', 10, '2027-04-04 22:30+00'), (5, 'anna', 10, '2027-04-06 22:30+00');
TABLE streaks;
-- A fifth week is the first of the next four. The fourth goes: there is another order in it. That goes, too.
INSERT INTO orders VALUES (6, 'anna', 10, '2027-04-14 12:00+00');
DELETE FROM orders WHERE id = 4;
TABLE streaks;
DELETE FROM orders WHERE id = 5;
TABLE streaks;
-- It comes after all, and a refund in full breaks the streak, a smaller one does not, nor one that is taken back.
INSERT INTO orders VALUES (5, 'anna', 10, '2027-04-06 22:30+00');
INSERT INTO refunds VALUES (1, 2, 'anna', 9);
TABLE streaks;
INSERT INTO refunds VALUES (2, 2, 'anna', 1);
TABLE streaks;
DELETE FROM refunds WHERE id = 2;
TABLE streaks;
SELECT customer_id, points FROM lifecycle.customer;

-- A late order joins two runs, and the streaks are cut anew.
INSERT INTO orders SELECT 20 + n, 'ben', 10, '2027-01-04 12:00+00'::timestamptz + n * interval '7 days' FROM generate_series(0, 8) AS n WHERE n <> 4;
TABLE streaks;
INSERT INTO orders VALUES (24, 'ben', 10, '2027-02-01 12:00+00');
SELECT * FROM streaks WHERE customer_id = 'ben';

-- Visits; one that lies in the future counts when it comes.
INSERT INTO visits SELECT 'anna', '2027-04-26 08:00+00'::timestamptz + n * interval '1 day' FROM generate_series(0, 6) AS n;
SELECT * FROM streaks WHERE reference ~ 'visit';
SET lifecycle.clock = '2027-05-02 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM streaks WHERE reference ~ 'visit';
DELETE FROM visits WHERE at = '2027-04-28 08:00+00';
SELECT * FROM streaks WHERE reference ~ 'visit';

-- What cannot be a streak is refused.
INSERT INTO lifecycle.points_rule (name, earns_on, event, points) VALUES ('x', 'streak', 'order:1 weeks', 1);
INSERT INTO lifecycle.points_rule (name, earns_on, event, points) VALUES ('x', 'streak', 'review:4 weeks', 1);
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES ('x', 'streak', 1);

-- Many orders, deleted, moved, refunded and brought back at random; gaps and islands in plain SQL come to the same. No row: they agree.
SELECT setseed(0.42);
INSERT INTO orders SELECT 1000 + n, 'c' || n % 12, 10, '2027-01-01'::timestamptz + random() * interval '120 days' FROM generate_series(1, 300) AS n;
DELETE FROM orders WHERE id > 1000 AND random() < 0.3;
UPDATE orders SET placed_at = placed_at + (random() - 0.5) * interval '20 days' WHERE id > 1000 AND random() < 0.2;
INSERT INTO refunds SELECT id, id, customer_id, CASE WHEN random() < 0.5 THEN 10 ELSE 5 END FROM orders WHERE id > 1000 AND random() < 0.2;
DELETE FROM refunds WHERE id > 1000 AND random() < 0.3;
INSERT INTO orders SELECT 2000 + n, 'c' || n % 12, 10, '2027-01-01'::timestamptz + random() * interval '120 days' FROM generate_series(1, 60) AS n;
WITH counted AS (
    SELECT o.customer_id, o.placed_at, date_trunc(u.unit, o.placed_at AT TIME ZONE 'Europe/Berlin')::date AS first_day, u.unit, u.length
      FROM orders AS o CROSS JOIN (VALUES ('week', 4), ('month', 3)) AS u (unit, length)
     WHERE o.id > 1000 AND o.total > (SELECT coalesce(sum(r.amount), 0) FROM refunds AS r WHERE r.order_id = o.id)),
units AS (SELECT customer_id, unit, length, first_day, min(placed_at) AS at FROM counted GROUP BY 1, 2, 3, 4),
islands AS (
    SELECT u.*, first_day - row_number() OVER w * CASE unit WHEN 'week' THEN interval '7 days' ELSE interval '1 month' END AS island FROM units AS u
    WINDOW w AS (PARTITION BY customer_id, unit ORDER BY first_day)),
expected AS (
    SELECT customer_id, format('streak:order:%s %ss:%s', length, unit, first_day) AS reference, at
      FROM (SELECT i.*, row_number() OVER (PARTITION BY customer_id, unit, island ORDER BY first_day) AS nth FROM islands AS i) AS i
     WHERE nth % length = 0 AND at >= '2027-01-01'),
found AS (SELECT customer_id, reference, earned_at AS at FROM streaks WHERE customer_id ~ '^c' AND earned_at IS NOT NULL AND earned > revoked)
SELECT 'missing' AS fault, * FROM (TABLE expected EXCEPT TABLE found) AS e UNION ALL SELECT 'too many', * FROM (TABLE found EXCEPT TABLE expected) AS f;
SELECT count(*) > 20 AS enough FROM streaks WHERE customer_id ~ '^c' AND earned > revoked;
SELECT customer_id, points, (SELECT coalesce(sum(e.points), 0) FROM lifecycle.points_entry AS e WHERE e.customer_id = c.customer_id) AS ledger
  FROM lifecycle.customer AS c WHERE points <> (SELECT coalesce(sum(e.points), 0) FROM lifecycle.points_entry AS e WHERE e.customer_id = c.customer_id);
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, visits CASCADE;
