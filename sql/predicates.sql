-- What a predicate can say: dates, differences, counts that lose rows as time goes on, birthdays, other segments. The clock is frozen.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE customers (id text PRIMARY KEY, zone text, birthday date, tags text[]);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "time_zone": "zone", "birthday": "birthday", "tags": "tags"}');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
CREATE VIEW members AS
    SELECT m.segment, m.customer_id, m.entered_at, c.next_change_at
      FROM lifecycle.segment_member AS m JOIN lifecycle.customer AS c USING (customer_id) ORDER BY 1, 2;
CREATE VIEW history AS SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history ORDER BY 1, 2, 3;
INSERT INTO customers VALUES ('berlin', 'Europe/Berlin', '1990-03-29', '{eco}'), ('york', 'America/New_York', '2004-02-29', NULL);

-- Three orders within 30 days make a regular. The third falls out of the window a month later, and nobody has to look before.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('regular', $$orders_within('30 days') >= 3$$),
    ('big_month', $$lifecycle.spent_within(interval '1 month') > 200$$);
INSERT INTO orders SELECT n, 'berlin', 100, timestamptz '2026-03-01 12:00+00' FROM generate_series(1, 2) AS n;
SET lifecycle.clock = '2026-03-11 12:00+00';
INSERT INTO orders VALUES (3, 'berlin', 100, lifecycle.now());
SELECT * FROM members;
-- A refund counts at its own time; a deleted order never was.
SET lifecycle.clock = '2026-05-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history;
DELETE FROM orders WHERE id = 2;
SELECT * FROM history;
-- More orders than the customer's row keeps: the rest is in the ledger.
INSERT INTO orders SELECT 100 + n, 'berlin', 10, lifecycle.now() + n * interval '1 hour' FROM generate_series(0, 39) AS n;
SET lifecycle.clock = '2026-05-03 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM members;
SET lifecycle.clock = '2026-08-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE left_at > '2026-05-01';
DELETE FROM lifecycle.segment;

-- Days begin at midnight where the customer lives: yesterday's orders in Berlin and in New York.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('yesterday', $$last_order_at::date = CURRENT_DATE - 1$$),
    ('this_month', $$last_order_at >= date_trunc('month', now())$$),
    ('two_weeks', $$now() - last_order_at BETWEEN interval '14 days' AND interval '15 days'$$),
    ('berlin_day', $$(last_order_at AT TIME ZONE 'Europe/Berlin')::date = (now() AT TIME ZONE 'Europe/Berlin')::date$$);
INSERT INTO orders VALUES (200, 'berlin', 10, lifecycle.now()), (201, 'york', 10, lifecycle.now());
SET lifecycle.clock = '2026-10-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE segment IN ('yesterday', 'this_month', 'two_weeks', 'berlin_day') AND left_at > '2026-08-01 12:00+00';
DELETE FROM lifecycle.segment;

-- Birthdays. Somebody born on 29 February celebrates a day early in common years; the shop may say otherwise.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('birthday', 'is_birthday()'),
    ('birthday_week', $$is_birthday('7 days')$$);
SET lifecycle.clock = '2028-04-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE segment IN ('birthday', 'birthday_week');
INSERT INTO lifecycle.shop (leap_birthday) VALUES ('march_1');
SET lifecycle.clock = '2029-04-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE segment = 'birthday' AND customer_id = 'york' AND left_at > '2028-04-01';
DELETE FROM lifecycle.shop;
DELETE FROM lifecycle.segment;

-- What was bought, by product or category, and what was looked at.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('bought_tea', $$bought('tea')$$),
    ('tea_lately', $$bought('green tea', '30 days')$$),
    ('looked_at_cups', $$viewed('cup', '7 days') AND NOT bought('cup')$$),
    ('searches', $$event_count('search', interval '1 day') >= 2$$),
    ('searched', $$event_count('search') > 0$$);
INSERT INTO orders VALUES (300, 'york', 10, lifecycle.now());
SELECT lifecycle.track('york', 'order_item', '{"order": "300", "line": "1", "product": "green tea", "category": "tea"}');
SELECT lifecycle.track('berlin', 'event', '{"event": "viewed", "properties": {"product": "cup"}}');
SELECT lifecycle.track('berlin', 'event', '{"event": "search"}');
SELECT segment, customer_id, entered_at FROM members;
SET lifecycle.clock = '2029-04-01 12:00+00';
SELECT lifecycle.track('berlin', 'event', '{"event": "search"}');
SET lifecycle.clock = '2029-06-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM history WHERE segment IN ('bought_tea', 'tea_lately', 'looked_at_cups', 'searches', 'searched');
DELETE FROM lifecycle.segment;

-- Tags, and customers without any; other segments, whichever comes first.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('green', $$has_tag('eco')$$),
    ('not_green', $$NOT has_tag('eco')$$),
    ('audience', $$in_segment('buyer') AND NOT in_segment('green')$$),
    ('buyer', 'order_count > 0');
SELECT segment, customer_id FROM members;
INSERT INTO lifecycle.segment (name, predicate, dimension, rank) VALUES
    ('gone', $$last_order_at < now() - interval '1 year'$$, 'mine', 1),
    ('there', $$order_count > 0$$, 'mine', 2),
    ('gone_berlin', $$in_segment('gone') AND time_zone = 'Europe/Berlin'$$, NULL, NULL);
SELECT segment, customer_id FROM members WHERE segment IN ('gone', 'there', 'gone_berlin');

-- Circles are refused, and so is asking for what is not there, or taking away what others ask for.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('a', $$in_segment('b')$$), ('b', $$in_segment('a')$$);
UPDATE lifecycle.segment SET predicate = $$in_segment('audience')$$ WHERE name = 'buyer';
UPDATE lifecycle.segment SET predicate = $$NOT in_segment('there')$$ WHERE name = 'gone';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('a', $$revenue > 1 AND in_segment('nowhere')$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('a', $$in_segment(tier)$$);
DELETE FROM lifecycle.segment WHERE name = 'buyer';
UPDATE lifecycle.segment SET name = 'customer' WHERE name = 'buyer';
DELETE FROM lifecycle.segment WHERE name IN ('buyer', 'audience');

-- Uses of the clock whose next change cannot be computed.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$extract(day FROM now() - last_order_at) > 60$$);
\set VERBOSITY sqlstate
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$coalesce(last_order_at, now()) < '2026-01-01'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now() - last_order_at > now() - first_order_at$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now()::text < 'x'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$extract(isodow FROM now()) = 1$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$date_trunc('week', now() - interval '1 month') < last_order_at$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$date_trunc('fortnight', now()) < last_order_at$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now() AT TIME ZONE time_zone < last_order_at::timestamp$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now() AT TIME ZONE 'Mars/Olympus' < last_order_at::timestamp$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now() AT TIME ZONE 'Europe/Berlin' < last_order_at$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$orders_within(now() - last_order_at) > 1$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$now() < last_order_at + orders_within('1 day') * interval '1 day'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$CURRENT_TIME > '12:00'$$);

-- Nobody gains rights through a predicate: it is run by the extension's owner, so it may do nothing that needs any.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$(SELECT true FROM pg_authid LIMIT 1)$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$table_to_xml('pg_authid', true, false, '') IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$query_to_xml('SELECT 1', true, false, '') IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$cursor_to_xml('c', 1, true, false, '') IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$pg_read_file('/etc/passwd') <> ''$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$pg_ls_dir('.') IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$lo_import('/etc/passwd') > 0$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$set_config('role', 'postgres', false) <> ''$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$pg_terminate_backend(1)$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$nextval('lifecycle.segment_segment_id_seq') > 0$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$customer_id::regclass IS NOT NULL$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$has_table_privilege('pg_authid', 'select')$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$lifecycle.tick() > 0$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$attributes @? current_query()::jsonpath$$);
-- Functions and operators of somebody's own, even if they are called as ours or as PostgreSQL's are.
CREATE FUNCTION public.has_tag(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$public.has_tag('eco')$$);
CREATE FUNCTION lifecycle.bought(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$lifecycle.bought(1)$$);
CREATE FUNCTION public.later(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR public.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = public.later);
SET search_path = public, pg_catalog;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$last_order_at OPERATOR(public.<) now()$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('fine', $$last_order_at < now()$$);
RESET search_path;
SELECT count(*) FROM lifecycle.segment WHERE name = 'x';
\set VERBOSITY default
-- Outside of predicates these functions have nothing to look at.
SELECT lifecycle.orders_within('1 day');

DROP VIEW members, history;
DROP FUNCTION lifecycle.bought(int);
DROP FUNCTION public.has_tag;
DROP OPERATOR public.< (timestamptz, timestamptz);
DROP FUNCTION public.later;
DROP TABLE customers, orders;
DROP EXTENSION pg_lifecycle;
