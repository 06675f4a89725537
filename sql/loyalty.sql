-- Loyalty: who has spent enough reaches a tier in the very statement that takes the order.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), placed_at timestamptz);
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric(10,2), refunded_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
CREATE VIEW tiers AS SELECT customer_id, tier, tier_since, tier_spend FROM lifecycle.customer ORDER BY customer_id;
CREATE VIEW history AS SELECT customer_id, tier, entered_at, left_at FROM lifecycle.tier_history ORDER BY customer_id, entered_at;

-- Without a program nobody has a tier.
INSERT INTO orders VALUES (1, 'anna', 60, '2026-01-01 10:00+00');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('bronze', 1, 100), ('silver', 2, 500), ('gold', 3, 1000), ('vip', 4, 5000);
INSERT INTO orders VALUES (2, 'anna', 50, '2026-01-02 10:00+00');
TABLE tiers;
-- With one everybody has what was earned before.
INSERT INTO lifecycle.loyalty_program (name) VALUES ('friends of the shop');
TABLE tiers;
TABLE history;

-- A cent short, then exactly enough.
INSERT INTO orders VALUES (3, 'anna', 389.99, '2026-02-01 10:00+00');
TABLE tiers;
SELECT tier, spend, next_tier, missing FROM lifecycle.tier_progress WHERE customer_id = 'anna';
INSERT INTO orders VALUES (4, 'anna', 0.01, '2026-02-02 10:00+00');
TABLE tiers;
SELECT * FROM lifecycle.tier_progress WHERE customer_id = 'anna';

-- Two tiers at once, in one order; and bit by bit in one statement: each tier since the order that reached it.
INSERT INTO orders VALUES (10, 'ben', 700, '2026-02-03 10:00+00');
INSERT INTO orders VALUES (20, 'cleo', 400, '2026-02-04 10:00+00'), (22, 'cleo', 300, '2026-02-06 10:00+00'), (21, 'cleo', 400, '2026-02-05 10:00+00');
SELECT * FROM tiers WHERE customer_id IN ('ben', 'cleo');
SELECT * FROM history WHERE customer_id IN ('ben', 'cleo');
SELECT * FROM lifecycle.tier_progress ORDER BY customer_id;

-- The highest tier, and how the way looks to somebody who has not bought anything yet.
INSERT INTO orders VALUES (30, 'dora', 5000, '2026-02-07 10:00+00'), (31, 'emil', 0, '2026-02-07 10:00+00');
SELECT * FROM lifecycle.tier_progress WHERE customer_id IN ('dora', 'emil') ORDER BY customer_id;

-- A refund takes the tier back, and the next order restores it.
INSERT INTO refunds VALUES (1, 22, 'cleo', 200, '2026-02-10 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'cleo';
INSERT INTO orders VALUES (23, 'cleo', 150, '2026-02-11 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'cleo';
SELECT * FROM history WHERE customer_id = 'cleo';
-- A refund of everything leaves no tier at all.
INSERT INTO refunds VALUES (2, 10, 'ben', 700, '2026-02-12 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'ben';
SELECT * FROM history WHERE customer_id = 'ben';
SELECT * FROM lifecycle.tier_progress WHERE customer_id = 'ben';
-- The refund was booked by mistake: as if it had never been.
DELETE FROM refunds WHERE id = 2;
SELECT * FROM tiers WHERE customer_id = 'ben';
SELECT * FROM history WHERE customer_id = 'ben';
-- More is refunded than was ever paid.
INSERT INTO refunds VALUES (3, NULL, 'emil', 10, '2026-02-12 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'emil';
SELECT * FROM lifecycle.tier_progress WHERE customer_id = 'emil';

-- An order that comes late corrects since when the tier has been reached.
INSERT INTO orders VALUES (5, 'anna', 450, '2026-01-03 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'anna';
SELECT * FROM history WHERE customer_id = 'anna';
-- An order for the future counts when its day has come.
INSERT INTO orders VALUES (6, 'anna', 100, '2026-03-10 10:00+00');
SELECT * FROM tiers WHERE customer_id = 'anna';
SET lifecycle.clock = '2026-03-12 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM tiers WHERE customer_id = 'anna';
SELECT * FROM history WHERE customer_id = 'anna';

-- Thresholds must grow with the rank.
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('platinum', 5, 4000);
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('platinum', 5, 5000);
UPDATE lifecycle.tier SET min_spend = 1000 WHERE name = 'silver';
\set VERBOSITY terse
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('free', 0, -1);
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('never', 6, 'Infinity');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('never', 6, 'NaN');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('second silver', 2, 600);
INSERT INTO lifecycle.loyalty_program (name) VALUES ('a second one');
\set VERBOSITY default

-- Changed thresholds put everybody where they belong at once, as if they had always held.
TABLE tiers;
UPDATE lifecycle.tier SET min_spend = 700 WHERE name = 'silver';
TABLE tiers;
-- All of them are doubled; a new first rank is added; the best one is given up.
UPDATE lifecycle.tier SET min_spend = min_spend * 2;
TABLE tiers;
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('welcome', 0, 0);
TABLE tiers;
DELETE FROM lifecycle.tier WHERE name = 'gold';
TABLE tiers;
-- Another name for it.
UPDATE lifecycle.tier SET name = 'bronce' WHERE name = 'bronze';
TABLE tiers;
SELECT DISTINCT tier FROM lifecycle.tier_history ORDER BY tier;
-- Two ranks change places.
UPDATE lifecycle.tier SET rank = -rank, min_spend = 10000 - min_spend WHERE rank >= 0;
TABLE tiers;
-- Without the program there are no tiers.
DELETE FROM lifecycle.loyalty_program;
TABLE tiers;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds;
