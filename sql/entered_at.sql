-- Since when a membership has been held: what happens at one instant, time alone, days that are years away. The clock is frozen.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-06-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}');
CREATE VIEW members AS SELECT segment, customer_id, entered_at FROM lifecycle.segment_member ORDER BY 1, 2;
CREATE VIEW history AS SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history ORDER BY 1, 2, 3;

-- Orders of one instant happen together: with the second and third of Ann's there is no moment at which she has two.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('not_two', 'order_count <> 2'), ('two', 'order_count = 2');
INSERT INTO lifecycle.scenario (name, trigger, reentry) VALUES ('not_two', 'segment_entered:not_two', 'always'), ('two', 'segment_entered:two', 'always');
UPDATE lifecycle.scenario SET status = 'active';
INSERT INTO orders VALUES (1, 'ann', 10, '2026-06-01 12:00+00');
SET lifecycle.clock = '2026-06-02 12:00+00';
INSERT INTO orders SELECT n, 'ann', 10, lifecycle.now() FROM generate_series(2, 3) AS n;
TABLE history;
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment ORDER BY 1, 2, 3;
-- Corrections, what comes late and what is worked out anew say the same.
SET lifecycle.clock = '2026-06-05 12:00+00';
INSERT INTO orders VALUES (4, 'ann', 10, lifecycle.now());
UPDATE orders SET placed_at = '2026-06-01 11:00+00' WHERE id = 1;
INSERT INTO orders VALUES (10, 'bob', 10, '2026-06-01 12:00+00');
INSERT INTO orders VALUES (11, 'bob', 10, '2026-06-04 12:00+00'), (12, 'bob', 10, '2026-06-04 12:00+00');
INSERT INTO orders VALUES (20, 'cat', 10, '2026-06-01 12:00+00'), (21, 'cat', 10, '2026-06-01 12:00+00'), (22, 'cat', 10, '2026-06-01 12:00+00');
TABLE history;
DELETE FROM orders WHERE id = 4;
TABLE history;
CREATE TABLE before AS TABLE members;
SELECT lifecycle.rebuild();
(TABLE before EXCEPT TABLE members) UNION ALL (TABLE members EXCEPT TABLE before);
SELECT * FROM lifecycle.verify();
UPDATE lifecycle.segment SET predicate = 'order_count IS DISTINCT FROM 2' WHERE name = 'not_two';
TABLE members;

DELETE FROM lifecycle.scenario;
DELETE FROM lifecycle.segment;
TRUNCATE orders;

-- Whoever has not bought anything yet enters with time, too, not when the customer was created.
SET lifecycle.clock = '2026-08-01 12:00+00';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('fresh', 'order_count = 0');
SELECT lifecycle.track('dan', 'customer', '{"created_at": "2026-06-25 12:00+00", "birthday": "1990-07-31"}');
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('week', $$now() >= '2026-07-28'$$),
    ('after', $$created_at < now() - interval '30 days'$$),
    ('summer', $$is_birthday('14 days') OR now() - created_at BETWEEN interval '37 days' AND interval '38 days'$$),
    ('known', $$created_at < now()$$);
SELECT lifecycle.track('eve', 'customer', '{"created_at": "2026-06-25 12:00+00", "birthday": "1990-07-31"}');
SELECT lifecycle.track('fay', 'customer', '{"birthday": "1990-07-31"}');
TABLE members;
-- What the row has forgotten the record knows: when it was that Dan subscribed.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('subscriber', $$attributes ? 'plan' AND now() >= '2026-07-01'$$);
SELECT lifecycle.track('dan', 'customer', '{"attributes": {"plan": "tea"}}');
SET lifecycle.clock = '2026-08-02 12:00+00';
CREATE TABLE before_rebuild AS TABLE members;
SELECT lifecycle.rebuild();
(TABLE before_rebuild EXCEPT TABLE members) UNION ALL (TABLE members EXCEPT TABLE before_rebuild);
SELECT * FROM members WHERE segment = 'subscriber';
SELECT * FROM lifecycle.verify();
-- A definition changed: since when the new one holds, with a sign of life or without.
SELECT lifecycle.track('eve', 'engagement', '{"type": "visit"}', '2026-07-01 12:00+00');
UPDATE lifecycle.segment SET predicate = $$now() >= '2026-07-29'$$ WHERE name = 'week';
SELECT * FROM members WHERE segment = 'week';
SELECT customer_id, segment, at.entered_at FROM lifecycle.customer, lifecycle.segments_at(customer_id) AS at (segment, entered_at)
EXCEPT SELECT customer_id, segment, entered_at FROM members;
DELETE FROM lifecycle.segment;

-- Days whose first time is years ahead, and that begin to be looked forward to years before.
SET lifecycle.clock = '2026-09-01 12:00+00';
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('birthday', 'is_birthday()'),
    ('jubilee', $$is_anniversary(make_date((attributes->>'year')::int, 6, 1))$$),
    ('long_before', $$is_anniversary(make_date((attributes->>'year')::int, 6, 1), '26280 hours')$$),
    ('mixed', $$is_anniversary(make_date((attributes->>'year')::int, 6, 1), '1 year 400 days -24 hours')$$),
    ('after_all', $$is_anniversary(make_date((attributes->>'year')::int, 6, 1), '-3 years')$$);
SELECT lifecycle.track('gil', 'customer', '{"birthday": "2031-01-01"}');
SELECT lifecycle.track('hal', 'customer', '{"attributes": {"year": 2028}}');
SELECT lifecycle.track('lea', 'customer', '{"attributes": {"year": 2029}}');
SELECT lifecycle.track('ida', 'customer', '{"birthday": "3031-02-28", "attributes": {"year": 300000}}');
SELECT lifecycle.track('jon', 'customer', '{"birthday": "250000-01-01", "attributes": {"year": 5000000}}');
SELECT customer_id, next_change_at FROM lifecycle.customer WHERE customer_id IN ('gil', 'hal', 'ida', 'jon', 'lea') ORDER BY 1;
SET lifecycle.clock = '2030-07-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id IN ('gil', 'hal', 'lea') AND entered_at > '2026-09-01';
SELECT customer_id, next_change_at FROM lifecycle.customer WHERE customer_id IN ('gil', 'hal', 'ida', 'jon', 'lea') ORDER BY 1;
SET lifecycle.clock = '2032-07-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id IN ('gil', 'hal') AND entered_at > '2030-07-01';
TABLE lifecycle.problem;
-- Somebody born on 29 February who celebrates on that day only, from 2096 on.
INSERT INTO lifecycle.shop (leap_birthday) VALUES ('skip');
SELECT lifecycle.track('kim', 'customer', '{"birthday": "2096-02-29"}');
UPDATE lifecycle.segment SET predicate = 'is_anniversary(birthday)' WHERE name = 'jubilee';
SELECT next_change_at FROM lifecycle.customer WHERE customer_id = 'kim';
SET lifecycle.clock = '2106-03-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'kim';
DELETE FROM lifecycle.segment;
DELETE FROM lifecycle.shop;

DROP VIEW members, history;
DROP TABLE before, before_rebuild, orders;
DROP EXTENSION pg_lifecycle;
