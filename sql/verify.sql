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
-- Old orders are archived by dropping their partition. They stay, and nobody is told for ever that they are missing.
CREATE TABLE log (id int, customer_id text, total numeric, created timestamp, PRIMARY KEY (id, created)) PARTITION BY RANGE (created);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (id);
CREATE TABLE log_2a PARTITION OF log_2 FOR VALUES IN (1, 2, 3);
CREATE TABLE log_2b PARTITION OF log_2 DEFAULT;
CREATE TABLE log_3 PARTITION OF log DEFAULT;
SELECT lifecycle.attach('log', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "Created AT TIME ZONE ''Europe/Berlin''"}', name => 'log');
INSERT INTO log VALUES (1, 'fay', 1, '2026-01-01 00:00'), (4, 'fay', 2, '2026-01-31 23:59'), (2, 'gil', 3, '2026-02-01 00:00'), (5, 'gil', 4, '2026-02-01 00:00'), (6, 'gil', 5, '2026-03-01 00:00');
DROP TABLE log_1;
TABLE differences;
DROP TABLE log_2a;
TABLE differences;
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE customer_id IN ('fay', 'gil') ORDER BY 1;
-- What was lost otherwise is found, be it of other partitions or moved out of them.
BEGIN;
ALTER TABLE log_2b DISABLE TRIGGER USER;
DELETE FROM log_2b;
ALTER TABLE log_3 DISABLE TRIGGER USER;
UPDATE log_3 SET total = 6;
TABLE differences;
ROLLBACK;
-- What is dropped with its schema stays, too; a partition that is detached takes along what it has said.
CREATE SCHEMA archive;
ALTER TABLE log_2b SET SCHEMA archive;
DROP SCHEMA archive CASCADE;
TABLE differences;
ALTER TABLE log DETACH PARTITION log_3;
TABLE differences;
SELECT name, bounds, dropped_at FROM lifecycle.source_partition ORDER BY name;
DROP TABLE log, log_3;
TABLE differences;
SELECT lifecycle.detach('log');

-- By a column that no field shows, or without bounds: how many facts may have been in it is all that can be told.
CREATE TABLE shops (id int, customer_id text, total numeric, shop text, placed_at timestamptz DEFAULT lifecycle.now()) PARTITION BY LIST (shop);
CREATE TABLE shops_at PARTITION OF shops FOR VALUES IN ('at');
CREATE TABLE shops_ch PARTITION OF shops FOR VALUES IN ('ch');
SELECT lifecycle.attach('shops', 'order', '{"order": "''shop'' || id::text", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'shops');
INSERT INTO shops VALUES (1, 'hal', 1, 'at'), (2, 'hal', 2, 'ch'), (3, 'ida', 3, 'ch');
DROP TABLE shops_ch;
TABLE differences;
BEGIN;
ALTER TABLE shops_at DISABLE TRIGGER USER;
UPDATE shops_at SET total = 6;
TABLE differences;
ROLLBACK;
SELECT lifecycle.detach('shops');
CREATE TABLE parents (id int, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE children () INHERITS (parents);
SELECT lifecycle.attach('parents', 'order', '{"order": "''child'' || id::text", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'parents');
INSERT INTO children VALUES (1, 'jan', 1);
DROP TABLE children;
TABLE differences;
SELECT lifecycle.detach('parents');
TABLE differences;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, sales, odd, shops, parents;
