-- Since when somebody is in a segment is on record where the present cannot tell: working everybody out anew leaves it.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-07-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, c text, a numeric, p timestamptz);
CREATE TABLE items (o int, line int, c text, product text, PRIMARY KEY (o, line));
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "c", "amount": "a", "placed_at": "p"}');
SELECT lifecycle.attach('items', 'order_item', '{"order": "o", "line": "line::text", "customer": "c", "product": "product"}');
INSERT INTO lifecycle.segment (name, dimension, rank, predicate) VALUES
    ('reachable_quiet', NULL, NULL, $$ email_consent = 'granted' AND last_order_at < now() - interval '5 days' $$),
    ('tagged_buyer', NULL, NULL, $$ has_tag('vip') AND order_count > 0 $$), ('tea', NULL, NULL, $$ bought('tea') $$), ('called', NULL, NULL, $$ event_count('call', '60 days') > 0 $$),
    ('left_cart', NULL, NULL, $$ cart_updated_at < now() - interval '90 minutes' $$),
    ('not_tagged', 'kind', 1, $$ NOT coalesce(has_tag('vip'), false) AND order_count > 5 $$), ('buyer', 'kind', 2, 'order_count > 0'), ('quiet', NULL, NULL, $$ last_order_at < now() - interval '5 days' $$);
INSERT INTO orders VALUES (1, 'ann', 5, lifecycle.now());
SET lifecycle.clock = '2030-08-01 12:00+00';
SELECT lifecycle.tick();
SELECT lifecycle.track('ann', 'consent', '{"channel": "email", "status": "granted"}'), lifecycle.track('ann', 'customer', '{"tags": ["vip"]}');
-- The lines of the order and a call of July come late.
INSERT INTO items VALUES (1, 1, 'ann', 'tea');
SELECT lifecycle.track('ann', 'event', '{"event": "call"}', '2030-07-20');
SELECT lifecycle.track('bob', 'customer', '{"created_at": "2030-07-01"}');
SET lifecycle.clock = '2030-08-02 12:00+00';
SELECT lifecycle.track('bob', 'cart', '{"cart": "b", "value": 5}', '2030-08-01 10:00+00');
CREATE TABLE before AS TABLE lifecycle.segment_history;
SELECT segment, customer_id, entered_at, left_at FROM before ORDER BY 1, 2, 3;
SELECT * FROM lifecycle.verify();
SELECT lifecycle.rebuild();
SELECT * FROM lifecycle.verify();
(TABLE lifecycle.segment_history EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE lifecycle.segment_history);
-- A record that is wrong is still found where the facts can tell.
UPDATE lifecycle.customer SET memberships = NULL;
DELETE FROM lifecycle.segment_member;
SELECT customer_id, what, expected FROM lifecycle.verify();
DROP TABLE before;
SELECT lifecycle.detach('public.orders:order'), lifecycle.detach('public.items:order_item');
DROP TABLE orders, items;
DROP EXTENSION pg_lifecycle;
