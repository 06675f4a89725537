-- Loyalty programs: periods and what happens at their ends, tiers by hand, and what tiers welcome with.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), placed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric(10,2), refunded_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('bronze', 1, 100), ('silver', 2, 500), ('gold', 3, 1000);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('golden', $$ tier = 'gold' $$), ('big spender', 'tier_spend >= 700');
CREATE VIEW tiers AS SELECT customer_id, tier, tier_since, spend, next_tier, missing, valid_until, missing_to_keep FROM lifecycle.tier_progress ORDER BY 1;
CREATE VIEW history AS SELECT customer_id, tier, entered_at, left_at FROM lifecycle.tier_history ORDER BY customer_id, entered_at;
CREATE VIEW stays AS SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history ORDER BY customer_id, entered_at, segment;
-- All that a rebuild may change is nothing.
CREATE TABLE found (n int, what text);
CREATE PROCEDURE remember(moment int) LANGUAGE sql AS $$
    INSERT INTO found SELECT moment, h::text FROM history AS h;
    INSERT INTO found SELECT moment, s::text FROM stays AS s WHERE left_at IS NULL;
    INSERT INTO found SELECT moment, t::text FROM tiers AS t $$;
CREATE VIEW rebuilt_otherwise AS
    (SELECT what FROM found WHERE n = 1 EXCEPT SELECT what FROM found WHERE n = 2) UNION ALL (SELECT what FROM found WHERE n = 2 EXCEPT SELECT what FROM found WHERE n = 1);

-- A rolling year with a month's grace. Up at once; nobody looks for two years, and the history is exact all the same.
INSERT INTO lifecycle.loyalty_program (name, period, period_length, grace, warn_before) VALUES ('rolling', 'rolling', '1 year', '1 month', '14 days');
INSERT INTO orders VALUES (1, 'anna', 600, '2026-01-01 10:00+00'), (2, 'ben', 100, '2026-01-01 10:00+00');
SET lifecycle.clock = '2026-03-01 00:00+00';
INSERT INTO orders VALUES (3, 'anna', 400, '2026-03-01 10:00+00');
SET lifecycle.clock = '2026-03-02 00:00+00';
SELECT lifecycle.tick() \gset
TABLE tiers;
SET lifecycle.clock = '2028-01-01 00:00+00';
SELECT lifecycle.tick();
TABLE tiers;
TABLE history;
TABLE stays;
CALL remember(1);
SELECT lifecycle.rebuild();
CALL remember(2);
TABLE rebuilt_otherwise;
TRUNCATE found;

-- In grace, a purchase saves the tier.
INSERT INTO orders VALUES (10, 'cleo', 500, '2028-01-01 00:00+00');
SET lifecycle.clock = '2029-01-15 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM tiers WHERE customer_id = 'cleo';
INSERT INTO orders VALUES (11, 'cleo', 500);
SELECT * FROM tiers WHERE customer_id = 'cleo';
-- What a refund takes away gets no grace: without that purchase the tier would have ended on 1 February.
SET lifecycle.clock = '2029-02-10 00:00+00';
INSERT INTO refunds VALUES (1, 11, 'cleo', 1);
SELECT * FROM tiers WHERE customer_id = 'cleo';
SELECT * FROM history WHERE customer_id = 'cleo';
DELETE FROM refunds WHERE id = 1;
SELECT * FROM tiers WHERE customer_id = 'cleo';

-- One tier at a time, and never.
UPDATE lifecycle.loyalty_program SET downgrade = 'one_down', grace = '0';
SELECT * FROM history WHERE customer_id = 'anna';
UPDATE lifecycle.loyalty_program SET downgrade = 'none';
SELECT * FROM tiers WHERE customer_id = 'anna';

-- Calendar years, in the customer's own: a tier won in a year is kept to the end of the next.
TRUNCATE orders, refunds;
UPDATE lifecycle.loyalty_program SET period = 'calendar_year', downgrade = 'recompute', grace = '1 month';
SET lifecycle.clock = '2030-06-01 00:00+00';
INSERT INTO orders VALUES (20, 'dora', 600, '2030-05-01 00:00+00');
SET lifecycle.clock = '2031-06-01 00:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO orders VALUES (21, 'dora', 150, '2031-06-01 00:00+00');
SELECT * FROM tiers WHERE customer_id = 'dora';
SET lifecycle.clock = '2034-06-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'dora';
CALL remember(1);
SELECT lifecycle.rebuild();
CALL remember(2);
TABLE rebuilt_otherwise;
TRUNCATE found;
-- Years of membership, counted from the first order, which was on a 29 February.
UPDATE lifecycle.loyalty_program SET period = 'membership_year', grace = '0';
SET lifecycle.clock = '2036-02-29 12:00+00';
INSERT INTO orders VALUES (30, 'emil', 100, lifecycle.now()), (31, 'emil', 400, '2037-02-27 00:00+00');
SET lifecycle.clock = '2042-01-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'emil';

-- By points earned: spending them does not lower the tier.
INSERT INTO lifecycle.points_rule (name, earns_on, rate) VALUES ('two points a euro', 'order', 2);
UPDATE lifecycle.loyalty_program SET basis = 'points', period = 'rolling';
INSERT INTO orders VALUES (40, 'fritz', 250);
SELECT customer_id, points, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'fritz';
SELECT lifecycle.redeem_points('fritz', 500, '41');
INSERT INTO orders VALUES (41, 'fritz', 250);
SELECT customer_id, points, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'fritz';
INSERT INTO refunds VALUES (10, 40, 'fritz', 250);
SELECT customer_id, points, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'fritz';
UPDATE lifecycle.loyalty_program SET period = 'lifetime';
SELECT customer_id, points, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'fritz';

-- A tier by hand, with its reason: it wins while it is valid, and then the spend counts again.
UPDATE lifecycle.loyalty_program SET basis = 'spend', period = 'lifetime';
INSERT INTO orders VALUES (50, 'gina', 100);
SET lifecycle.clock = '2042-02-01 00:00+00';
INSERT INTO lifecycle.tier_grant (customer_id, tier, valid_until, reason) VALUES ('gina', 'gold', '2042-03-01', 'the editor of a magazine');
INSERT INTO lifecycle.tier_grant (customer_id, tier, valid_from, reason) VALUES ('gina', 'silver', '2042-06-01', 'a lasting friend');
SELECT * FROM tiers WHERE customer_id = 'gina';
INSERT INTO orders VALUES (51, 'gina', 2000, '2042-02-15 00:00+00');
SET lifecycle.clock = '2042-02-16 00:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO refunds VALUES (20, 51, 'gina', 2000);
SELECT * FROM tiers WHERE customer_id = 'gina';
SET lifecycle.clock = '2042-07-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'gina';
SELECT * FROM stays WHERE customer_id = 'gina';
CALL remember(1);
SELECT lifecycle.rebuild();
CALL remember(2);
TABLE rebuilt_otherwise;
UPDATE lifecycle.tier_grant SET valid_until = '2042-06-15' WHERE tier = 'silver';
SELECT * FROM history WHERE customer_id = 'gina';
DELETE FROM lifecycle.tier_grant;
SELECT * FROM history WHERE customer_id = 'gina';
INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('nobody', 'gold', 'why not');
INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('gina', 'platinum', 'why not');

-- A tier by hand and an order in one and the same instant.
UPDATE lifecycle.loyalty_program SET period = 'calendar_year';
INSERT INTO orders VALUES (55, 'ines', 150, '2042-06-01 00:00+00');
INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('ines', 'gold', 'a moderator');
INSERT INTO orders VALUES (56, 'ines', 300);
SELECT * FROM history WHERE customer_id = 'ines';
DELETE FROM lifecycle.tier_grant;
UPDATE lifecycle.loyalty_program SET period = 'lifetime';

-- What a tier welcomes with is given once, however often it is lost and reached again; the message is for the highest tier reached.
INSERT INTO lifecycle.offer (name, kind, value) VALUES ('thanks', 'percent', 5), ('welcome to gold', 'gift', NULL);
UPDATE lifecycle.tier SET offer = 'thanks' WHERE name = 'silver';
UPDATE lifecycle.tier SET offer = 'welcome to gold' WHERE name = 'gold';
UPDATE lifecycle.tier SET offer = 'no such thing' WHERE name = 'bronze';
INSERT INTO orders VALUES (60, 'hans', 1200);
SELECT offer, purpose, status FROM lifecycle.coupon WHERE customer_id = 'hans';
INSERT INTO refunds VALUES (30, 60, 'hans', 1200);
INSERT INTO orders VALUES (61, 'hans', 1200);
SELECT offer, purpose, status FROM lifecycle.coupon WHERE customer_id = 'hans';
UPDATE lifecycle.loyalty_program SET period = 'calendar_year';
SET lifecycle.clock = '2045-07-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT tier FROM lifecycle.customer WHERE customer_id = 'hans';
INSERT INTO orders VALUES (62, 'hans', 1000);
SELECT offer, purpose, status FROM lifecycle.coupon WHERE customer_id = 'hans' ORDER BY purpose;

-- Who would move, if.
UPDATE lifecycle.loyalty_program SET period = 'lifetime';
SELECT customer_id, tier, tier_spend FROM lifecycle.customer ORDER BY 1;
SELECT * FROM lifecycle.preview_tier_change('{"bronze": 600, "silver": 700}');
SELECT * FROM lifecycle.preview_tier_change('{"gold": null}');
SELECT * FROM lifecycle.preview_tier_change('{"bronze": 600}');
SELECT * FROM lifecycle.preview_tier_change('{"diamond": 600}');
SELECT name, min_spend FROM lifecycle.tier ORDER BY rank;
INSERT INTO orders VALUES (70, 'ida', 650);
SELECT tier FROM lifecycle.customer WHERE customer_id = 'ida';

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, found CASCADE;
DROP PROCEDURE remember;
