-- Segments and tiers that scenarios name are not deleted or renamed under them; in one transaction everything can be.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('quiet', 'last_order_at < now() - interval ''60 days'''), ('loud', 'order_count > 9'), ('silent', 'order_count = 0'), ('odd', 'NOT in_segment(''quiet'')');
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('silver', 1, 100), ('gold', 2, 1000);
INSERT INTO lifecycle.scenario (name, trigger, exclusion) VALUES ('win_back', 'segment_entered:quiet', 'in_segment(''loud'')'), ('farewell', 'segment_left:quiet', NULL), ('congratulate', 'tier_reached:gold', NULL);
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template, subject, content, condition)
    SELECT s.name, 1, '0', 'email', 'transactional', 't', '{"en": "t"}', '{"en": {}}', CASE s.name WHEN 'farewell' THEN 'NOT in_segment(''silent'')' END FROM lifecycle.scenario AS s;

-- A draft holds nothing up, but does not become active with what has gone.
BEGIN;
UPDATE lifecycle.segment SET predicate = 'true' WHERE name = 'odd';
DELETE FROM lifecycle.segment WHERE name IN ('quiet', 'loud');
DELETE FROM lifecycle.tier WHERE name = 'gold';
SET CONSTRAINTS ALL IMMEDIATE;
SAVEPOINT before;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
ROLLBACK TO before;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'congratulate';
ROLLBACK;
BEGIN;
DELETE FROM lifecycle.segment WHERE name = 'silent';
SET CONSTRAINTS ALL IMMEDIATE;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'farewell';
ROLLBACK;
UPDATE lifecycle.scenario SET status = 'active';
DELETE FROM lifecycle.segment WHERE name = 'silent';

DELETE FROM lifecycle.segment WHERE name = 'quiet';
UPDATE lifecycle.segment SET predicate = 'true' WHERE name = 'odd';
DELETE FROM lifecycle.segment WHERE name = 'quiet';
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
DELETE FROM lifecycle.segment WHERE name = 'loud';
UPDATE lifecycle.segment SET name = 'noisy' WHERE name = 'loud';
DELETE FROM lifecycle.segment WHERE name = 'silent';
DELETE FROM lifecycle.tier WHERE name = 'gold';
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'win_back';
UPDATE lifecycle.scenario SET status = 'draft' WHERE name = 'farewell';
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
SELECT name FROM lifecycle.segment UNION ALL SELECT name FROM lifecycle.tier ORDER BY 1;

-- What nobody names goes.
DELETE FROM lifecycle.segment WHERE name IN ('odd', 'silent');
UPDATE lifecycle.tier SET name = 'silvery' WHERE name = 'silver';
-- So does what is renamed together with who names it, in whichever order that is possible, or comes again under its name.
BEGIN;
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
UPDATE lifecycle.segment SET name = 'noisy' WHERE name = 'loud';
UPDATE lifecycle.scenario SET trigger = 'segment_entered:still', exclusion = 'in_segment(''noisy'')' WHERE name = 'win_back';
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
UPDATE lifecycle.scenario SET trigger = 'tier_reached:golden' WHERE name = 'congratulate';
COMMIT;
BEGIN;
DELETE FROM lifecycle.segment WHERE name = 'still';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('still', 'last_order_at < now() - interval ''90 days''');
COMMIT;
BEGIN;
DELETE FROM lifecycle.scenario;
DELETE FROM lifecycle.segment;
DELETE FROM lifecycle.tier;
COMMIT;
SELECT name FROM lifecycle.segment UNION ALL SELECT name FROM lifecycle.tier ORDER BY 1;

-- A tier's grants, and what its coupons are for, go with its name; its offer stays as long as the tier brings it.
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO lifecycle.offer (name, kind, value) VALUES ('five', 'percent', 5), ('ten', 'percent', 10);
INSERT INTO lifecycle.tier (name, rank, min_spend, offer) VALUES ('silver', 1, 100, 'five'), ('gold', 2, 1000, NULL), ('black', 3, 5000, NULL), ('diamond', 4, 9000, 'ten');
INSERT INTO orders VALUES (1, 'ann', 10, lifecycle.now()), (2, 'bob', 120, lifecycle.now()), (3, 'cem', 10, lifecycle.now());
INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('ann', 'gold', 'a friend'), ('cem', 'black', 'staff');
SELECT customer_id, tier FROM lifecycle.customer ORDER BY 1;
DELETE FROM lifecycle.offer WHERE name = 'ten';
UPDATE lifecycle.offer SET name = 'twenty' WHERE name = 'ten';
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
UPDATE lifecycle.tier SET name = 'silvery' WHERE name = 'silver';
DELETE FROM lifecycle.tier WHERE name IN ('black', 'diamond');
DELETE FROM lifecycle.offer WHERE name = 'ten';
SELECT customer_id, tier FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, tier FROM lifecycle.tier_grant ORDER BY 1;
-- Lost and reached again: one coupon.
DELETE FROM orders WHERE id = 2;
INSERT INTO orders VALUES (4, 'bob', 130, lifecycle.now());
SELECT customer_id, tier FROM lifecycle.customer WHERE customer_id = 'bob';
SELECT customer_id, offer, purpose FROM lifecycle.coupon;
-- An offer that has gone nevertheless costs nobody the order.
TRUNCATE lifecycle.offer, lifecycle.coupon;
INSERT INTO orders VALUES (5, 'dan', 130, lifecycle.now());
SELECT customer_id, tier FROM lifecycle.customer WHERE customer_id = 'dan';
SELECT * FROM lifecycle.verify();
SELECT count(*) FROM lifecycle.quarantine;

-- A channel stays as long as a step or an enrolment's version of one goes out on it. If it has gone nevertheless, the step is skipped.
INSERT INTO lifecycle.channel (name, consent) VALUES ('letter', NULL);
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('thanks', 'order_placed');
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template) VALUES ('thanks', 1, '1 day', 'letter', 'transactional', 'thanks'), ('thanks', 2, '2 days', 'email', 'transactional', 'thanks');
UPDATE lifecycle.scenario SET status = 'active';
INSERT INTO orders VALUES (6, 'eve', 10, lifecycle.now());
DELETE FROM lifecycle.channel WHERE name = 'letter';
SET lifecycle.clock = '2026-03-01 13:00+00';
UPDATE lifecycle.step SET channel = 'email' WHERE scenario = 'thanks' AND position = 1;
DELETE FROM lifecycle.channel WHERE name = 'letter';
UPDATE lifecycle.channel SET name = 'post' WHERE name = 'letter';
TRUNCATE lifecycle.channel;
INSERT INTO orders VALUES (7, 'fay', 10, lifecycle.now());
SET lifecycle.clock = '2026-03-02 14:00+00';
SELECT lifecycle.tick();
SELECT customer_id, position, outcome, reason FROM lifecycle.enrolment_step ORDER BY 1, 2;
INSERT INTO lifecycle.channel (name) VALUES ('email');
SET lifecycle.clock = '2026-03-03 14:00+00';
SELECT lifecycle.tick();
SELECT customer_id, position, outcome, reason FROM lifecycle.enrolment_step ORDER BY 1, 2;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
