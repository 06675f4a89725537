-- A shop attaches an orders table that is too large to be taken in at once. What happens meanwhile waits for the history before it.
SET client_min_messages = warning;    -- notices tell how fast it goes
CREATE EXTENSION pg_lifecycle;
SET timezone = 'UTC';
SET lifecycle.clock = '2026-03-01 12:00+00';
SELECT FROM lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'post_purchase';

CREATE TABLE orders (id bigint, customer text, amount numeric, status text, placed_at timestamptz, note text) PARTITION BY LIST (status);
CREATE TABLE orders_paid PARTITION OF orders FOR VALUES IN ('paid');
-- This partition's columns stand in another order.
CREATE TABLE orders_rest (note text, placed_at timestamptz, status text, id bigint, amount numeric, customer text);
ALTER TABLE orders ATTACH PARTITION orders_rest DEFAULT;
INSERT INTO orders
SELECT n, 'c' || n % 4, n * 10, CASE WHEN n % 5 = 0 THEN 'shipped' ELSE 'paid' END, '2026-02-01'::timestamptz + n * interval '1 hour'
  FROM generate_series(1, 20) AS n;
INSERT INTO orders VALUES (21, 'c1', 'NaN', 'paid', '2026-02-03', 'the amount is bad'), (22, 'c2', 7, 'new', '2026-02-03', 'not paid'),
                          (23, NULL, 7, 'paid', '2026-02-03', 'nobody''s');

-- Smaller tables are taken in by attach() itself; here, none is small.
SET lifecycle.backfill_at_once = 0;
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}',
                        filter => $$ status IN ('paid', 'shipped') $$, name => 'orders');
SELECT source, state, rows_done, total > 0 AS estimated, started_at IS NOT NULL AS started, finished_at FROM lifecycle.progress;
SELECT count(*) AS customers FROM lifecycle.customer;

-- The shop goes on: an order, one that was new is paid, one is deleted, one gets another amount, one a note.
SET lifecycle.clock = '2026-03-01 12:05+00';
INSERT INTO orders VALUES (24, 'c1', 5, 'paid', lifecycle.now());
UPDATE orders SET status = 'paid' WHERE id = 22;
DELETE FROM orders WHERE id = 3;
UPDATE orders SET amount = 1000 WHERE id = 4;
UPDATE orders SET note = 'seen' WHERE id = 5;
SELECT count(*) AS customers FROM lifecycle.customer;

-- The background worker would do what this call does.
SET lifecycle.backfill_batch = 3;
CALL lifecycle.backfill('orders');
SELECT source, state, rows_done, total, finished_at >= started_at AS finished, time_left, error FROM lifecycle.progress;

SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer ORDER BY customer_id;
SELECT customer, count(*), sum(amount), max(placed_at)
  FROM orders WHERE status IN ('paid', 'shipped') AND amount < 'infinity' AND customer <> '' GROUP BY 1 ORDER BY 1;
SELECT source, action, data ->> 'id' AS id, message FROM lifecycle.quarantine;

-- History sends nothing. The order that was placed after attach() is confirmed.
SELECT customer_id, scenario, anchor AS order_id, template FROM lifecycle.outbox ORDER BY message_id;

-- From now on an order counts in its own transaction.
INSERT INTO orders VALUES (25, 'c9', 5, 'paid', lifecycle.now());
UPDATE orders SET amount = 9 WHERE id = 21;
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE customer_id IN ('c1', 'c9') ORDER BY customer_id;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT count(*) AS in_inbox FROM lifecycle.inbox;

-- Nothing is left to do.
CALL lifecycle.backfill('orders');

-- Detached half-way: what has been taken in is taken back.
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.backfill_step('orders');
SELECT lifecycle.backfill_step('orders');
SELECT lifecycle.backfill_step('orders');
INSERT INTO orders VALUES (26, 'c0', 5, 'paid', lifecycle.now());
SELECT state, rows_done, total FROM lifecycle.progress;
SELECT customer_id, order_count FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
SELECT lifecycle.detach('orders');
SELECT customer_id, order_count FROM lifecycle.customer WHERE order_count > 0;
SELECT (SELECT count(*) FROM lifecycle.progress) AS progress, (SELECT count(*) FROM lifecycle.inbox) AS in_inbox;

-- A TRUNCATE in the middle.
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.backfill_step('orders'), lifecycle.backfill_step('orders');
TRUNCATE orders;
INSERT INTO orders VALUES (27, 'c0', 5, 'paid', lifecycle.now());
CALL lifecycle.backfill('orders');
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;

-- Items that name no customer go by their order, even if orders and items are taken in at once, both half-way.
SELECT lifecycle.detach('orders');
INSERT INTO orders SELECT n, 'c' || n % 5, 1, 'paid', '2026-02-01'::timestamptz + n * interval '1 hour' FROM generate_series(100, 130) AS n;
CREATE TABLE items (order_id bigint, line int, product text, amount numeric);
INSERT INTO items SELECT n, line, 'p' || line, n FROM generate_series(100, 130) AS n, generate_series(1, 2) AS line;
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "placed_at": "placed_at"}', name => 'orders');
SELECT bool_and(lifecycle.backfill_step('orders')) FROM generate_series(1, 4);
SELECT lifecycle.attach('items', 'order_item', '{"order": "order_id", "line": "line", "product": "product", "amount": "amount"}', name => 'items');
SELECT bool_and(lifecycle.backfill_step('items')) FROM generate_series(1, 5);
UPDATE items SET amount = amount + 1 WHERE order_id IN (100, 130);
DELETE FROM items WHERE order_id = 101;
SELECT source, state, rows_done > 0 AND rows_done < total AS half_way FROM lifecycle.progress ORDER BY source;
CALL lifecycle.backfill('orders');
CALL lifecycle.backfill('items');
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
SELECT customer, count(DISTINCT id), coalesce(sum(i.amount), 0) FROM orders AS o LEFT JOIN items AS i ON i.order_id = o.id GROUP BY 1 ORDER BY 1;
SELECT count(*) AS differ
  FROM lifecycle.order_item AS l FULL JOIN (SELECT i.*, o.customer FROM items AS i JOIN orders AS o ON o.id = i.order_id) AS i
    ON (l.order_id, l.line, l.customer_id, l.amount) = (i.order_id::text, i.line::text, i.customer COLLATE "C", i.amount)
 WHERE l.order_id IS NULL OR i.order_id IS NULL;

-- What cannot be.
CALL lifecycle.backfill('nothing');
BEGIN;
CALL lifecycle.backfill('orders');
ROLLBACK;
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}',
                        name => 'without', backfill => false);
CALL lifecycle.backfill('without');
CREATE ROLE lifecycle_somebody;
GRANT USAGE ON SCHEMA lifecycle TO lifecycle_somebody;
SET ROLE lifecycle_somebody;
CALL lifecycle.backfill('orders');
RESET ROLE;
GRANT EXECUTE ON PROCEDURE lifecycle.backfill TO lifecycle_somebody;
GRANT EXECUTE ON FUNCTION lifecycle.backfill_step TO lifecycle_somebody;
SET ROLE lifecycle_somebody;
CALL lifecycle.backfill('orders');
RESET ROLE;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, items;
DROP OWNED BY lifecycle_somebody;
DROP ROLE lifecycle_somebody;
