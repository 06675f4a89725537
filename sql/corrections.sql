-- A history that was cut by an import and is corrected afterwards: stays of one segment never overlap.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook() \g /dev/null
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, placed_at timestamptz);
CREATE TABLE refunds (id int PRIMARY KEY, customer text, amount numeric, refunded_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}') \g /dev/null
SELECT lifecycle.attach('refunds', 'refund', '{"refund": "id", "customer": "customer", "amount": "amount", "refunded_at": "refunded_at"}') \g /dev/null
CREATE VIEW stays AS SELECT segment, entered_at, left_at FROM lifecycle.segment_history ORDER BY entered_at;

INSERT INTO orders VALUES (1, 'c', 10, '2025-03-30 13:00+00');
DELETE FROM orders;
SET lifecycle.clock = '2026-06-10 00:00+00';
INSERT INTO refunds VALUES (1, 'c', 5, '2025-05-21 01:26+00');
INSERT INTO orders VALUES (2, 'c', 10, '2025-11-12 02:18+00');
TABLE stays;
-- Eleven facts of one customer's past at once are an import: what came before them stands as it is.
INSERT INTO orders SELECT n, 'c', 10, '2026-06-01'::timestamptz + n * interval '1 minute' FROM generate_series(10, 20) AS n;
DELETE FROM orders WHERE id < 20;
TABLE stays;
INSERT INTO orders VALUES (30, 'c', 10, '2026-01-01 00:00+00');
TABLE stays;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds;
