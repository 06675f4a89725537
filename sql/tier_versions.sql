-- Gold gets dearer on New Year's Day: tiers have versions with a date, and the history is right at that instant, whenever somebody looks.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-10-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO lifecycle.offer (name, kind) VALUES ('silver box', 'gift');
INSERT INTO lifecycle.tier (name, rank, min_spend, offer) VALUES ('silver', 1, 100, 'silver box'), ('gold', 2, 500, NULL);
INSERT INTO orders VALUES (1, 'anna', 600), (2, 'ben', 60), (3, 'cleo', 900), (4, 'dora', 490);

INSERT INTO lifecycle.tier_version (tier, valid_from, min_spend) VALUES ('silver', '2027-01-01', 50), ('gold', '2027-01-01', 800), ('gold', '2027-07-01', 700);
-- Until then nothing changes, but Anna can be told what she will lack.
SELECT * FROM lifecycle.tier_progress ORDER BY customer_id;
SELECT customer_id, due_at FROM lifecycle.timer ORDER BY 1;
-- Nobody looks until September. Dora orders in March, when gold costs 800, and Emil comes in February.
SET lifecycle.clock = '2027-09-01 12:00+00';
INSERT INTO orders VALUES (5, 'dora', 220, '2027-03-01 12:00+00'), (6, 'emil', 55, '2027-02-01 12:00+00'), (7, 'emil', 650, '2027-06-30 12:00+00');
SELECT lifecycle.tick() \gset
SELECT * FROM lifecycle.tier_history ORDER BY customer_id, entered_at;
SELECT customer_id, offer, status FROM lifecycle.coupon ORDER BY 1;
SELECT * FROM lifecycle.tier_progress WHERE customer_id IN ('anna', 'ben') ORDER BY customer_id;
SELECT * FROM lifecycle.verify();

-- The same in plain SQL: at each instant at which anything happened, the highest tier whose price then was reached. No row: they agree.
CREATE VIEW oracle AS
    WITH instants AS (SELECT c.customer_id, t.at FROM (SELECT DISTINCT customer_id FROM orders) AS c
                       JOIN LATERAL (SELECT placed_at AS at FROM orders AS o WHERE o.customer_id = c.customer_id
                                     UNION SELECT valid_from FROM lifecycle.tier_version) AS t ON t.at <= lifecycle.now()),
    price AS (SELECT i.at, t.name, t.rank,
                     coalesce((SELECT v.min_spend FROM lifecycle.tier_version AS v WHERE v.tier = t.name AND v.valid_from <= i.at ORDER BY valid_from DESC LIMIT 1), t.min_spend) AS min_spend
                FROM (SELECT DISTINCT at FROM instants) AS i CROSS JOIN lifecycle.tier AS t)
    SELECT i.customer_id, i.at,
           (SELECT p.name FROM price AS p
             WHERE p.at = i.at AND p.min_spend <= (SELECT sum(o.total) FROM orders AS o WHERE o.customer_id = i.customer_id AND o.placed_at <= i.at)
             ORDER BY p.rank DESC LIMIT 1) AS expected,
           (SELECT h.tier FROM lifecycle.tier_history AS h
             WHERE h.customer_id = i.customer_id AND h.entered_at <= i.at AND (h.left_at > i.at OR h.left_at IS NULL)) AS found
      FROM instants AS i;
SELECT * FROM oracle WHERE expected IS DISTINCT FROM found;

-- A version with a date in the past corrects the history from there on, and so does taking it back.
INSERT INTO lifecycle.tier_version VALUES ('gold', '2026-11-01', 1000);
SELECT * FROM lifecycle.tier_history WHERE customer_id = 'cleo' ORDER BY entered_at;
SELECT * FROM oracle WHERE expected IS DISTINCT FROM found;
DELETE FROM lifecycle.tier_version WHERE valid_from = '2026-11-01';
SELECT * FROM oracle WHERE expected IS DISTINCT FROM found;
-- Who would move if gold cost 600, whatever has been said of other dates? Nothing happens.
SELECT * FROM lifecycle.preview_tier_change('{"gold": 600}');
SELECT count(*) FROM lifecycle.tier_version;

-- Refused: an unknown tier, a price that does not grow with the rank at some date, no date.
INSERT INTO lifecycle.tier_version VALUES ('diamond', '2028-01-01', 1000);
INSERT INTO lifecycle.tier_version VALUES ('silver', '2028-01-01', 700);
UPDATE lifecycle.tier SET min_spend = 90 WHERE name = 'gold';
INSERT INTO lifecycle.tier_version VALUES ('silver', 'infinity', 10);
INSERT INTO lifecycle.tier_version VALUES ('silver', '2028-01-01', 'NaN');
-- Versions go by the tier's name, and with it.
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
SELECT * FROM lifecycle.tier_version ORDER BY 1, 2;
DELETE FROM lifecycle.tier WHERE name = 'golden';
SELECT * FROM lifecycle.tier_version ORDER BY 1, 2;
SELECT name, lifecycle.min_spend_at(t, '2026-12-31'), lifecycle.min_spend_at(t, '2027-01-01') FROM lifecycle.tier AS t;

-- By calendar years, gold won in 2026 is kept to the end of 2027 though it costs more by then; what is earned in 2027 has to be more.
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('gold', 2, 500);
UPDATE lifecycle.loyalty_program SET period = 'calendar_year';
INSERT INTO lifecycle.tier_version VALUES ('gold', '2027-01-01', 800);
INSERT INTO orders VALUES (10, 'anna', 600, '2027-02-01 12:00+00'), (11, 'cleo', 850, '2027-02-01 12:00+00');
SET lifecycle.clock = '2028-02-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM lifecycle.tier_history WHERE customer_id IN ('anna', 'cleo') ORDER BY customer_id, entered_at;
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders CASCADE;
