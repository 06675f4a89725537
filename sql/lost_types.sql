-- Predicates that name what has been dropped since, and walks to the end of time.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, c text, a numeric, p timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "c", "amount": "a", "placed_at": "p"}');
CREATE TYPE colour AS ENUM ('red', 'blue');
CREATE COLLATION mine FROM "C";
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('red', $$ (attributes->>'colour')::public.colour = 'red' $$), ('early', $$ attributes->>'colour' COLLATE public.mine < 'm' $$),
    ('recent', $$ last_order_at > now() - interval '60 days' $$), ('not_red', $$ NOT in_segment('red') $$);
SELECT lifecycle.track('ann', 'customer', '{"attributes": {"colour": "red"}}'), lifecycle.track('ben', 'customer', '{"attributes": {"colour": "blue"}}');
INSERT INTO orders VALUES (1, 'ann', 1, lifecycle.now()), (2, 'ben', 1, lifecycle.now());
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1, 2;

-- Their members stay who they are; each customer who is looked at has a problem on record; nothing else is touched.
DROP TYPE colour;
DROP COLLATION mine;
\c
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2030-03-01 12:00+00';
INSERT INTO orders VALUES (3, 'ann', 1, lifecycle.now()), (4, 'cem', 1, lifecycle.now());
SELECT sqlstate, message FROM lifecycle.quarantine;
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1, 2;
SELECT customer_id, segment, sqlstate, message FROM lifecycle.problem ORDER BY 1, 2;
SELECT * FROM lifecycle.check_sources();
SET lifecycle.clock = '2030-06-01 12:00+00';
SELECT lifecycle.tick();
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1, 2;
SELECT lifecycle.preview_segment($$ (attributes->>'colour')::public.colour = 'red' $$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('also_red', $$ (attributes->>'colour')::public.colour = 'red' $$);
-- Mended, they are worked out anew.
UPDATE lifecycle.segment SET predicate = $$ attributes->>'colour' = 'red' $$ WHERE name = 'red';
UPDATE lifecycle.segment SET predicate = $$ attributes->>'colour' < 'm' $$ WHERE name = 'early';
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1, 2;
INSERT INTO orders VALUES (5, 'ann', 1, lifecycle.now());
SELECT count(*) FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();

-- A day of each year, for ever.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('birthday', 'is_birthday()');
SELECT lifecycle.track('ann', 'customer', '{"birthday": "2000-01-01"}');
SET statement_timeout = '1min';
SELECT segment FROM lifecycle.segments_at('ann', 'infinity') ORDER BY 1;
SELECT segment FROM lifecycle.segments_at('ann', '290000-01-01 12:00+00') ORDER BY 1;
SELECT segment FROM lifecycle.segments_at('ann', '-infinity') ORDER BY 1;
RESET statement_timeout;

SELECT lifecycle.detach('public.orders:order');
DROP TABLE orders;
DROP EXTENSION pg_lifecycle;
