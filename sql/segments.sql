-- Segments: SQL conditions that know by themselves when they change. The clock is frozen, and a year passes in one file.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

CREATE TABLE customers (id text PRIMARY KEY, zone text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "time_zone": "zone", "tags": "CASE WHEN id = ''tess'' THEN ARRAY[''eco''] END"}');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
CREATE VIEW history AS
    SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id <> 'tess'
     ORDER BY customer_id, entered_at, segment;

-- Anna registers in January and orders in February.
SET lifecycle.clock = '2026-01-15 10:00+00';
INSERT INTO customers VALUES ('anna', NULL);
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';
SET lifecycle.clock = '2026-02-01 10:00+00';
INSERT INTO orders VALUES (1, 'anna', 50, '2026-02-01 10:00+00');
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';

-- At exactly 60 days she is at risk, one microsecond before she is not.
SET lifecycle.clock = '2026-04-02 09:59:59.999999+00';
SELECT lifecycle.tick() \gset
SELECT lifecycle FROM lifecycle.customer WHERE customer_id = 'anna';
SET lifecycle.clock = '2026-04-02 10:00+00';
SELECT lifecycle.tick() \gset
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';
SET lifecycle.clock = '2026-04-02 10:00:00.000001+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history;

-- She orders again: active. Then nothing for the rest of the year, and the worker looks in only now and then.
SET lifecycle.clock = '2026-04-10 10:00+00';
INSERT INTO orders VALUES (2, 'anna', 50, '2026-04-10 10:00+00');
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';
SET lifecycle.clock = '2026-06-20 00:00+00';
SELECT lifecycle.tick() \gset
SET lifecycle.clock = '2026-10-31 00:00+00';
SELECT lifecycle.tick() \gset
-- The last order is 180 days ago since 7 October. She comes back on 1 November, and that gap makes her reactivated.
SET lifecycle.clock = '2026-11-01 10:00+00';
INSERT INTO orders VALUES (3, 'anna', 50, '2026-11-01 10:00+00');
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';
SET lifecycle.clock = '2027-01-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history;
SELECT segment, entered_at FROM lifecycle.segment_member WHERE customer_id = 'anna';
SELECT lifecycle, next_change_at FROM lifecycle.customer WHERE customer_id = 'anna';

-- Nothing is left to do, and asking again changes nothing.
SELECT lifecycle.tick();

-- The worker was down for a year. One tick finds every flip, each at the instant at which it happened.
INSERT INTO customers VALUES ('ben', NULL);
INSERT INTO orders VALUES (10, 'ben', 50, '2026-12-31 18:00+00');
SET lifecycle.clock = '2028-01-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE customer_id = 'ben';

-- An order that was late: it is told in January, but placed in the November before. History is corrected.
INSERT INTO customers VALUES ('carl', NULL);
INSERT INTO orders VALUES (20, 'carl', 50, '2027-08-01 10:00+00');
SELECT lifecycle FROM lifecycle.customer WHERE customer_id = 'carl';
INSERT INTO orders VALUES (21, 'carl', 50, '2027-09-15 10:00+00');
SELECT lifecycle FROM lifecycle.customer WHERE customer_id = 'carl';
SELECT segment, entered_at FROM lifecycle.segment_member WHERE customer_id = 'carl';

-- An order for the future waits until its day has come.
INSERT INTO orders VALUES (22, 'carl', 80, '2028-02-01 10:00+00');
SELECT lifecycle, order_count, revenue, last_order_at, next_change_at FROM lifecycle.customer WHERE customer_id = 'carl';
SET lifecycle.clock = '2028-02-02 00:00+00';
SELECT lifecycle.tick() \gset
SELECT lifecycle, order_count, revenue, last_order_at FROM lifecycle.customer WHERE customer_id = 'carl';
SELECT segment, entered_at FROM lifecycle.segment_member WHERE customer_id = 'carl';

-- It was a mistake and is deleted: carl falls back to where he would have been without it.
DELETE FROM orders WHERE id = 22;
SELECT lifecycle, order_count, revenue, last_order_at FROM lifecycle.customer WHERE customer_id = 'carl';
SELECT segment, entered_at FROM lifecycle.segment_member WHERE customer_id = 'carl';
DELETE FROM orders WHERE customer_id = 'carl';
SELECT lifecycle, order_count FROM lifecycle.customer WHERE customer_id = 'carl';

-- What carl lived through, as far as it still stands.
SELECT * FROM history WHERE customer_id = 'carl';

-- Days are counted where the customer lives. All three order at 20:00 UTC on 20 January. Within the next 60 days the clocks go forward in
-- New York (11 March), not yet in Berlin (25 March): in New York the 60 days end an hour earlier. An unknown zone harms nobody, and
-- the session's own zone does not matter.
SET lifecycle.clock = '2029-01-20 20:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO customers VALUES ('dora', 'Europe/Berlin'), ('eve', 'America/New_York'), ('finn', 'Mars/Olympus');
INSERT INTO orders VALUES (30, 'dora', 10, '2029-01-20 20:00+00'), (31, 'eve', 10, '2029-01-20 20:00+00'), (32, 'finn', 10, '2029-01-20 20:00+00');
SET timezone = 'Asia/Tokyo';
SET lifecycle.clock = '2029-03-22 00:00+00';
SELECT lifecycle.tick() \gset
SET timezone = 'UTC';
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment = 'at_risk' ORDER BY customer_id;
-- The shop's own zone holds for those who have none of their own.
INSERT INTO lifecycle.shop (time_zone) VALUES ('America/New_York');
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment = 'at_risk' ORDER BY customer_id;
DELETE FROM lifecycle.shop;

-- A segment of one's own: a month after the last order. There is no 30 February, so orders of 28 to 31 January are all due on the 28th.
SET lifecycle.clock = '2030-01-31 12:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO lifecycle.segment (name, predicate) VALUES ('a_month_later', $$last_order_at + interval '1 month' <= now()$$);
INSERT INTO orders SELECT 100 + n, 'g' || n, 10, timestamptz '2030-01-28 08:00+00' + n * interval '1 day' FROM generate_series(0, 3) AS n;
SET lifecycle.clock = '2030-03-05 00:00+00';
SELECT lifecycle.tick() \gset
SELECT m.customer_id, c.last_order_at, m.entered_at
  FROM lifecycle.segment_member AS m JOIN lifecycle.customer AS c USING (customer_id)
 WHERE m.segment = 'a_month_later' AND m.customer_id LIKE 'g_' ORDER BY m.customer_id;

-- Segments are rows: a new one finds its members at once, with the instant from which on they would have been in it.
SET lifecycle.clock = '2030-06-01 00:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO lifecycle.segment (name, predicate, description) VALUES
    ('quiet', $$last_order_at < now() - interval '75 days'$$, 'nothing for 75 days'),
    ('spenders', 'revenue >= 150', NULL);
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE segment IN ('quiet', 'spenders') ORDER BY 1, 2;
-- Its condition is sharpened: who no longer fits leaves now.
UPDATE lifecycle.segment SET predicate = $$last_order_at < now() - interval '100 days'$$ WHERE name = 'quiet';
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE segment = 'quiet' ORDER BY 1, 2;
-- It gets another name; who is in it stays in it.
UPDATE lifecycle.segment SET name = 'very_quiet' WHERE name = 'quiet';
SELECT DISTINCT segment FROM lifecycle.segment_history WHERE segment LIKE '%quiet' ORDER BY segment;
SELECT count(*) AS members FROM lifecycle.segment_member WHERE segment = 'very_quiet';
-- It is deleted: nobody is in it any more, but its history remains.
DELETE FROM lifecycle.segment WHERE name = 'very_quiet';
SELECT count(*) AS members FROM lifecycle.segment_member WHERE segment = 'very_quiet';
SELECT customer_id, entered_at, left_at FROM lifecycle.segment_history WHERE segment = 'very_quiet' ORDER BY customer_id, entered_at;
-- Within a dimension the rank decides: a new first rank takes members from the others.
INSERT INTO lifecycle.segment (name, dimension, rank, predicate) VALUES ('big', 'lifecycle', 0, 'revenue >= 150');
SELECT customer_id, lifecycle FROM lifecycle.customer WHERE revenue >= 150 ORDER BY customer_id;
DELETE FROM lifecycle.segment WHERE name = 'big';
SELECT customer_id, lifecycle FROM lifecycle.customer WHERE revenue >= 150 ORDER BY customer_id;
-- Whatever happened, working everything out anew changes nothing.
CREATE TEMP TABLE before AS SELECT segment, customer_id, entered_at FROM lifecycle.segment_member;
SELECT lifecycle.rebuild();
(TABLE before EXCEPT TABLE lifecycle.segment_member) UNION ALL (TABLE lifecycle.segment_member EXCEPT TABLE before);
-- Whoever has been at the memberships by hand is found out, and rebuild() mends it.
CREATE TEMP TABLE sizes AS TABLE lifecycle.segment_size;
DELETE FROM lifecycle.segment_member WHERE customer_id IN (SELECT min(customer_id) FROM before);
INSERT INTO lifecycle.segment_member SELECT 'very_quiet', c.customer_id, lifecycle.now() FROM lifecycle.customer AS c ON CONFLICT DO NOTHING;
UPDATE lifecycle.segment_member SET entered_at = entered_at - interval '1 day' WHERE customer_id IN (SELECT max(customer_id) FROM before);
SELECT count(*) > 0 AS found_out FROM lifecycle.verify() WHERE what = 'segment_member';
SELECT lifecycle.rebuild();
(TABLE before EXCEPT TABLE lifecycle.segment_member) UNION ALL (TABLE lifecycle.segment_member EXCEPT TABLE before);
(TABLE sizes EXCEPT TABLE lifecycle.segment_size) UNION ALL (TABLE lifecycle.segment_size EXCEPT TABLE sizes);
SELECT * FROM lifecycle.verify() WHERE what = 'segment_member';

-- A condition that raises an error for one customer leaves that customer where it was; everybody else goes on, and no order is lost.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('thrifty', '100 / (revenue - 13) > 0');
INSERT INTO orders VALUES (200, 'hugo', 20, '2030-06-01 00:00+00'), (201, 'ida', 13, '2030-06-01 00:00+00');
SELECT customer_id, order_count, revenue, lifecycle FROM lifecycle.customer WHERE customer_id IN ('hugo', 'ida') ORDER BY customer_id;
SELECT customer_id FROM lifecycle.segment_member WHERE segment = 'thrifty' AND customer_id IN ('hugo', 'ida');
SELECT customer_id, segment, sqlstate, message, seen_at FROM lifecycle.problem ORDER BY customer_id;
SET lifecycle.clock = '2030-06-02 00:00+00';
INSERT INTO orders VALUES (202, 'hugo', -7, '2030-06-02 00:00+00');
SELECT customer_id, entered_at FROM lifecycle.segment_member WHERE segment = 'thrifty' AND customer_id IN ('hugo', 'ida');
SELECT customer_id, segment, sqlstate, message, seen_at FROM lifecycle.problem ORDER BY customer_id;
-- The condition is mended, and both are judged again.
UPDATE lifecycle.segment SET predicate = 'revenue >= 13 AND order_count = 1' WHERE name = 'thrifty';
SELECT customer_id FROM lifecycle.segment_member WHERE segment = 'thrifty' AND customer_id IN ('hugo', 'ida');

-- So it is where the time that the clock is compared with cannot be worked out; what an AND or OR does not come to raises no error.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('endless',  $$now() < last_order_at + 2000000 * (100 - revenue)::float8 * interval '1 day'$$),
    ('careful',  'revenue <> 13 AND 100 / (revenue - 13) > 0 AND last_order_at < now()'),
    ('careless', $$last_order_at < now() - interval '1 day' AND 100 / (revenue - 13) > 0$$);
SELECT m.customer_id, m.segment FROM lifecycle.segment_member AS m WHERE m.customer_id IN ('hugo', 'ida') AND m.segment IN ('endless', 'careful', 'careless') ORDER BY 1, 2;
SELECT p.customer_id, p.segment, p.message FROM lifecycle.problem AS p WHERE p.customer_id IN ('hugo', 'ida') ORDER BY 1, 2;
DELETE FROM lifecycle.segment WHERE name IN ('endless', 'careful', 'careless');

-- Tags, attributes and everything else of the customer can be asked for; NULL is not a member.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('eco', $$'eco' = ANY (tags)$$), ('berlin', $$time_zone = 'Europe/Berlin'$$), ('everybody', 'true'), ('unknown', 'NULL'),
    ('mail_me', $$email_consent = 'granted' AND email LIKE '%@%'$$), ('old_account', $$created_at < now() - interval '1 year'$$);
INSERT INTO customers VALUES ('tess', 'Europe/Berlin');
SELECT segment FROM lifecycle.segment_member WHERE customer_id = 'tess' ORDER BY segment;

-- A date without a zone in a condition means the same to everybody, whatever the zone of the session that happens to look.
UPDATE customers SET zone = 'Europe/Berlin';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('since_june', $$last_order_at >= '2030-06-01'$$);
SELECT customer_id FROM lifecycle.segment_member WHERE segment = 'since_june' ORDER BY customer_id;
SET timezone = 'America/Los_Angeles';
UPDATE lifecycle.segment SET description = 'orders since June' WHERE name = 'since_june';
SET timezone = 'UTC';
SELECT customer_id FROM lifecycle.segment_member WHERE segment = 'since_june' ORDER BY customer_id;

-- now() may stand on either side of a comparison, next to anything that does not depend on it.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('waiting', $$last_order_at BETWEEN now() - order_count * interval '40 days' AND now()$$),
    ('party', $$birthday IS NULL AND now() + interval '1 hour' > coalesce(last_order_at, created_at)$$),
    ('instant', $$last_order_at = now() - interval '1 day'$$);
SET lifecycle.clock = '2030-06-20 00:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, entered_at, left_at FROM lifecycle.segment_history
 WHERE customer_id = 'ida' AND segment IN ('waiting', 'party', 'instant') ORDER BY segment;
SET lifecycle.clock = '2030-08-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, entered_at, left_at FROM lifecycle.segment_history
 WHERE customer_id = 'ida' AND segment IN ('waiting', 'party', 'instant') ORDER BY segment;

-- What cannot work is refused, with the reason, the place and the way out.
CREATE FUNCTION is_nice(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'order_count >');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'orders_count > 1');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'order_count');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'revenue > 1; DELETE FROM lifecycle.customer');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'true FROM pg_authid');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', '');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'revenue > random()');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'last_order_at < clock_timestamp()');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'EXISTS (SELECT FROM pg_authid)');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$query_to_xml('DELETE FROM orders', true, false, '') IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$current_setting('work_mem') = '4MB'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'public.is_nice(email)');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'sum(revenue) > 1');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'customer IS NOT NULL');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'xmin IS NOT NULL');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$lifecycle = 'active'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'engagement IS NULL');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'next_change_at > now()');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'as_of < now()');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'timer_at IS NULL');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'true');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'false');
DELETE FROM lifecycle.segment WHERE name = 'x';
-- Uses of now() whose next change cannot be computed.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'extract(month FROM now()) = 12');
-- Words like yesterday would be the day on which the condition was read, a different one in each session.
\set VERBOSITY sqlstate
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'last_order_at < ''yesterday''');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'last_order_at < timestamptz ''now'' - interval ''60 days''');
SELECT name FROM lifecycle.segment WHERE name = 'x';
\set VERBOSITY default
-- A rank without a dimension, a rank that is taken, a name that is taken.
\set VERBOSITY terse
INSERT INTO lifecycle.segment (name, predicate, rank) VALUES ('x', 'true', 1);
INSERT INTO lifecycle.segment (name, predicate, dimension, rank) VALUES ('x', 'true', 'lifecycle', 1);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('active', 'true');
\set VERBOSITY default

-- All segments go at once: nobody is in any, and the stays remain.
SELECT count(*) > 0 AS members FROM lifecycle.segment_member;
SELECT count(*) AS stays FROM lifecycle.segment_history WHERE entered_at < lifecycle.now() \gset before_
TRUNCATE lifecycle.segment;
SELECT count(*) AS members FROM lifecycle.segment_member;
SELECT count(*) = :before_stays AS stays_remain, count(*) FILTER (WHERE left_at IS NULL) AS open FROM lifecycle.segment_history;
SELECT count(*) AS customers FROM lifecycle.customer WHERE lifecycle IS NOT NULL;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, customers;
DROP FUNCTION is_nice;
