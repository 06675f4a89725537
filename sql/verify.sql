-- Shops change their tables behind our back: verify() compares what was taken in with what the tables say, row by row, whatever state they are in.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, currency text DEFAULT 'EUR', status text DEFAULT 'paid', placed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric, refunded_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE items (order_id int, line int, product text, quantity int, price numeric);
INSERT INTO lifecycle.shop (currency) VALUES ('EUR');
INSERT INTO lifecycle.exchange_rate (currency, valid_from, rate) VALUES ('USD', '2026-01-01', 0.9);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "currency": "currency", "placed_at": "placed_at"}',
                        $$ status <> 'cancelled' $$, name => 'orders');
SELECT lifecycle.attach('refunds', 'refund', '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}', name => 'refunds');
SELECT lifecycle.attach('items', 'order_item', '{"order": "order_id", "line": "line", "product": "product", "quantity": "quantity", "amount": "quantity * price"}', name => 'items');
CREATE VIEW differences AS SELECT source, what, expected::jsonb, found FROM lifecycle.verify() ORDER BY 1, 2, 3, 4;

-- As the shop says it, all is well: amounts with many digits, in other currencies, of nothing, and below it.
INSERT INTO orders (id, customer_id, total, currency) VALUES (1, 'anna', 10, 'EUR'), (2, 'anna', 100 / 8.0, 'EUR'), (3, 'ben', 20.00, 'usd'), (4, 'ben', 0, 'EUR'),
    (5, 'cleo', -5, 'EUR'), (6, 'cleo', 123456789.123456789012, 'EUR'), (7, 'dora', 30.50, 'EUR'), (8, '', 1, 'EUR'), (9, NULL, 1, 'EUR');
INSERT INTO refunds VALUES (1, 1, 'anna', 2.50), (2, 3, 'ben', 1), (3, NULL, 'cleo', -1);
INSERT INTO items VALUES (1, 1, 'cap', 2, 2.50), (1, 2, 'hat', 1, 5.000);
-- A rate that changes later changes nothing.
UPDATE lifecycle.exchange_rate SET rate = 0.8;
TABLE differences;

-- Rows that change while the triggers are off: the amount, the customer, the time, the currency, the status, of refunds and of items too.
BEGIN;
ALTER TABLE orders DISABLE TRIGGER USER;
ALTER TABLE refunds DISABLE TRIGGER USER;
ALTER TABLE items DISABLE TRIGGER USER;
UPDATE orders SET total = 11 WHERE id = 1;
UPDATE orders SET customer_id = 'anne' WHERE id = 2;
UPDATE orders SET currency = 'EUR' WHERE id = 3;
UPDATE orders SET placed_at = '2026-02-01 00:00+00' WHERE id = 4;
UPDATE orders SET status = 'cancelled' WHERE id = 5;
DELETE FROM orders WHERE id = 6;
INSERT INTO orders VALUES (10, 'emil', 7);
UPDATE refunds SET amount = 3 WHERE id = 1;
UPDATE refunds SET order_id = 4 WHERE id = 2;
UPDATE items SET quantity = 3 WHERE line = 1;
TABLE differences;
ROLLBACK;
TABLE differences;

-- A row that no filter can judge is in quarantine; it ends nothing. One that came unseen is said.
CREATE TABLE sales (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('sales', 'order', '{"order": "''s'' || id::text", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', '100 / total > 1', name => 'sales');
INSERT INTO sales VALUES (1, 'anna', 1), (2, 'ben', 0), (3, 'cleo', 200);
SELECT data ->> 'id' AS id, sqlstate, message FROM lifecycle.quarantine;
TABLE differences;
BEGIN;
ALTER TABLE sales DISABLE TRIGGER USER;
INSERT INTO sales VALUES (4, 'dora', 0), (5, 'dora', 2);
TABLE differences;
ROLLBACK;

-- A table that is gone, or whose columns are, cannot be compared; the others are.
ALTER TABLE sales DROP COLUMN total;
DROP TABLE items;
BEGIN;
ALTER TABLE orders DISABLE TRIGGER USER;
UPDATE orders SET total = 11 WHERE id = 1;
TABLE differences;
ROLLBACK;
SELECT lifecycle.detach('items'), lifecycle.detach('sales');
TABLE differences;

-- Columns may have any name.
CREATE TABLE odd (r int, said text, problem text, data numeric, "f.said" timestamptz DEFAULT lifecycle.now(), gone int);
ALTER TABLE odd DROP COLUMN gone;
SELECT lifecycle.attach('odd', 'order', '{"order": "''odd'' || r::text", "customer": "said || problem", "amount": "data", "placed_at": "\"f.said\""}', name => 'odd');
INSERT INTO odd VALUES (1, 'an', 'na', 3);
TABLE differences;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, sales, odd;
