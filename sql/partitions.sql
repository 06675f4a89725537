-- Rows come and go by every door: through the parent, straight into a partition or child, with a table that is attached or detached, in
-- replica mode. Each counts exactly once. And when something is wrong with an attached table, check_sources() says so.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

-- Orders by month; the columns of the second partition stand in another order, as in a table that was altered over the years.
CREATE TABLE orders (id int, customer_id int, total numeric(10,2), placed_at timestamptz NOT NULL, note text)
    PARTITION BY RANGE (placed_at);
CREATE TABLE orders_01 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE UNIQUE INDEX ON orders_01 (id);
CREATE TABLE orders_02 (note text, gone text, placed_at timestamptz NOT NULL, total numeric(10,2), id int NOT NULL, customer_id int);
ALTER TABLE orders_02 DROP COLUMN gone;
ALTER TABLE orders ATTACH PARTITION orders_02 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');

CREATE VIEW expected AS
    SELECT customer_id::text, count(*) AS order_count, sum(total) AS revenue, min(placed_at) AS first_order_at,
           max(placed_at) AS last_order_at FROM orders WHERE customer_id IS NOT NULL GROUP BY customer_id;
CREATE VIEW actual AS
    SELECT customer_id, order_count, revenue, first_order_at, last_order_at FROM lifecycle.customer WHERE order_count > 0;
CREATE VIEW differences AS
    (SELECT 'missing' AS what, * FROM (TABLE expected EXCEPT ALL TABLE actual) AS e)
    UNION ALL
    (SELECT 'wrong', * FROM (TABLE actual EXCEPT ALL TABLE expected) AS a);

-- Through the parent, and straight into each partition.
INSERT INTO orders VALUES (1, 1, 10, '2026-01-05'), (2, 2, 20, '2026-02-05');
INSERT INTO orders_01 VALUES (3, 1, 30, '2026-01-06');
INSERT INTO orders_02 (id, customer_id, total, placed_at) VALUES (4, 2, 40, '2026-02-06'), (5, 3, 50, '2026-02-07');
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;
COPY orders_02 (id, customer_id, total, placed_at) FROM stdin;
6	3	60	2026-02-08
\.
UPDATE orders_02 SET total = total + 1 WHERE id IN (4, 6);
UPDATE orders_02 SET customer_id = 1 WHERE id = 5;
DELETE FROM orders_01 WHERE id = 3;
INSERT INTO orders_01 VALUES (1, 1, 11, '2026-01-05') ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total;
MERGE INTO orders_01 AS o USING (VALUES (1, 12.00), (7, 70.00)) AS v (id, total) ON o.id = v.id
    WHEN MATCHED THEN UPDATE SET total = v.total
    WHEN NOT MATCHED THEN INSERT VALUES (v.id, 7, v.total, '2026-01-07');
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;
-- A bad row is held as the attached table has it, so that it is found again whichever way it is mended.
INSERT INTO orders_02 (id, customer_id, placed_at) VALUES (8, 8, '2026-02-08');
SELECT data FROM lifecycle.quarantine;
UPDATE orders SET total = 80 WHERE id = 8;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;
-- One statement changes both.
UPDATE orders SET placed_at = placed_at + interval '10 days', customer_id = customer_id + 10 WHERE id IN (2, 7);
TABLE differences;

-- A partition made later, and below it partitions of its own.
CREATE TABLE orders_03 PARTITION OF orders FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY LIST (customer_id);
CREATE TABLE orders_03_a PARTITION OF orders_03 FOR VALUES IN (1);
CREATE TABLE orders_03_b PARTITION OF orders_03 DEFAULT;
INSERT INTO orders_03_a VALUES (20, 1, 5, '2026-03-01 10:00');
INSERT INTO orders_03 VALUES (21, 1, 6, '2026-03-01 10:01'), (22, 2, 7, '2026-03-01 10:02');
INSERT INTO orders VALUES (23, 2, 8, '2026-03-01 10:03');
UPDATE orders_03 SET customer_id = 3 WHERE id = 21;
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;
-- Whoever makes a partition need have no right to anything of ours.
CREATE ROLE regress_partitioner;
GRANT USAGE, CREATE ON SCHEMA public TO regress_partitioner;
ALTER TABLE orders_03 OWNER TO regress_partitioner;
ALTER TABLE orders_03_a OWNER TO regress_partitioner;
SET ROLE regress_partitioner;
CREATE TABLE orders_03_c PARTITION OF orders_03 FOR VALUES IN (77);
INSERT INTO orders_03_c VALUES (24, 77, 77, '2026-03-01 10:04');
ALTER TABLE orders_03 DETACH PARTITION orders_03_c;
ALTER TABLE orders_03 ATTACH PARTITION orders_03_c FOR VALUES IN (77);
INSERT INTO orders_03_c VALUES (25, 77, 78, '2026-03-01 10:05');
RESET ROLE;
SELECT * FROM actual WHERE customer_id = '77';
TABLE differences;
DELETE FROM orders_03_c;
DROP TABLE orders_03_c;
REASSIGN OWNED BY regress_partitioner TO CURRENT_USER;
DROP OWNED BY regress_partitioner;
DROP ROLE regress_partitioner;

-- A partition that is emptied takes its own orders along and no others; so does the parent.
TRUNCATE orders_03_b;
TABLE differences;
SELECT * FROM actual ORDER BY customer_id;
BEGIN;
TRUNCATE orders;
TABLE differences;
INSERT INTO orders_03_b VALUES (29, 29, 29, '2026-03-01');
TRUNCATE orders_03;
TABLE differences;
SELECT count(*) AS with_orders FROM actual;
ROLLBACK;
TABLE differences;

-- A table with orders becomes a partition, ceases to be one, and becomes one again.
CREATE TABLE old_orders (LIKE orders);
INSERT INTO old_orders VALUES (30, 1, 300, '2025-12-05'), (31, 30, 310, '2025-12-06'), (32, 31, NULL, '2025-12-07');
TABLE differences;
ALTER TABLE orders ATTACH PARTITION old_orders FOR VALUES FROM ('2025-12-01') TO ('2026-01-01');
TABLE differences;
SELECT data ->> 'id' AS id, message FROM lifecycle.quarantine;
UPDATE old_orders SET total = 320 WHERE id = 32;
SELECT * FROM actual WHERE customer_id IN ('1', '30', '31') ORDER BY customer_id;
ALTER TABLE orders DETACH PARTITION old_orders;
TABLE differences;
INSERT INTO old_orders VALUES (33, 1, 330, '2025-12-08');
TABLE differences;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'old_orders'::regclass;
ALTER TABLE orders ATTACH PARTITION old_orders FOR VALUES FROM ('2025-12-01') TO ('2026-01-01');
TABLE differences;
SELECT lifecycle.watch_source('orders');
TABLE differences;
ALTER TABLE orders DETACH PARTITION old_orders CONCURRENTLY;
TABLE differences;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'old_orders'::regclass;
-- Orders are archived by dropping their partition: they still count.
DROP TABLE orders_01;
SELECT * FROM differences ORDER BY what, customer_id;
SELECT * FROM lifecycle.check_sources();

-- In replica mode, as a subscriber applies changes or an import tool loads them, the statement triggers rest and each row is seen by itself.
-- It is taken in when the transaction commits.
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
TABLE differences;
SET session_replication_role = replica;
INSERT INTO orders VALUES (40, 1, 1, '2026-02-20'), (41, 41, 2, '2026-03-02');
TABLE differences;
INSERT INTO orders_02 (id, customer_id, total, placed_at) VALUES (42, 41, 3, '2026-02-21');
UPDATE orders SET total = total * 2 WHERE id >= 40;
UPDATE orders SET placed_at = '2026-03-03' WHERE id = 42;
DELETE FROM orders_02 WHERE id = 40;
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (43, 43, 4, '2026-02-22');
SAVEPOINT s;
UPDATE orders SET total = 1000 WHERE id = 43;
ROLLBACK TO s;
UPDATE orders SET total = 5 WHERE id = 43;
COMMIT;
SELECT * FROM actual WHERE customer_id IN ('41', '43') ORDER BY customer_id;
TABLE differences;
CREATE TABLE orders_04 PARTITION OF orders FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
INSERT INTO orders_04 VALUES (44, 44, 6, '2026-04-22');
SELECT count(*) AS waiting_for_april FROM lifecycle.purchase WHERE customer_id = '44';
TRUNCATE orders_03, orders_04;
TABLE differences;
RESET session_replication_role;
INSERT INTO orders_04 VALUES (45, 44, 6, '2026-04-22');
SELECT count(*) AS waiting_for_april FROM lifecycle.purchase WHERE customer_id = '44';
TRUNCATE orders;
SELECT count(*) AS purchases FROM lifecycle.purchase;
SELECT * FROM lifecycle.check_sources();

-- What can go wrong with triggers.
ALTER TABLE orders_02 DISABLE TRIGGER ALL;
ALTER EVENT TRIGGER lifecycle_tables_changed DISABLE;
CREATE TABLE orders_05 PARTITION OF orders FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
SELECT * FROM lifecycle.check_sources();
ALTER EVENT TRIGGER lifecycle_tables_changed ENABLE ALWAYS;
SELECT lifecycle.watch_source('orders');
SELECT source, problem FROM lifecycle.check_sources();
-- A partition by itself cannot be attached: what is said to the parent would not be seen.
SELECT lifecycle.attach('orders_02', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.detach('orders');
SELECT count(*) AS triggers FROM pg_trigger WHERE tgname LIKE 'lifecycle%';
DROP TABLE orders CASCADE;
DROP TABLE old_orders;

-- Inheritance: one child a country, with columns of its own.
CREATE TABLE orders (id int, customer_id int, total numeric(10,2), placed_at timestamptz NOT NULL);
CREATE TABLE orders_at (vat_id text) INHERITS (orders);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
CREATE VIEW expected AS
    SELECT customer_id::text, count(*) AS order_count, sum(total) AS revenue, min(placed_at) AS first_order_at,
           max(placed_at) AS last_order_at FROM orders WHERE customer_id IS NOT NULL GROUP BY customer_id;
CREATE VIEW differences AS
    (SELECT 'missing' AS what, * FROM (TABLE expected EXCEPT ALL TABLE actual) AS e)
    UNION ALL
    (SELECT 'wrong', * FROM (TABLE actual EXCEPT ALL TABLE expected) AS a);
INSERT INTO orders VALUES (1, 1, 10, '2026-01-05');
INSERT INTO orders_at VALUES (2, 1, 20, '2026-01-06', 'ATU1'), (3, 2, 30, '2026-01-07', 'ATU2'), (4, 2, NULL, '2026-01-08', 'ATU2');
TABLE differences;
CREATE TABLE orders_ch (canton text) INHERITS (orders);
INSERT INTO orders_ch VALUES (5, 3, 50, '2026-01-09', 'ZH');
UPDATE orders SET total = total + 1 WHERE id <> 4;
UPDATE ONLY orders SET customer_id = 2;
UPDATE orders SET total = 40 WHERE id = 4;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;
SET session_replication_role = replica;
UPDATE orders SET total = total + 1;
RESET session_replication_role;
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;
TRUNCATE ONLY orders;
TABLE differences;
ALTER TABLE orders_ch NO INHERIT orders;
TABLE differences;
TRUNCATE orders;
TABLE differences;
SELECT * FROM lifecycle.check_sources();
SELECT lifecycle.detach('orders');
DROP TABLE orders CASCADE;
DROP TABLE orders_ch;

-- The shop changes its table and does not think of us: its orders are taken all the same.
CREATE TABLE orders (id int, customer_id int, total numeric(10,2), placed_at timestamptz NOT NULL);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO orders VALUES (1, 1, 10, '2026-01-05');
ALTER TABLE orders RENAME total TO total_gross;
INSERT INTO orders VALUES (2, 1, 20, '2026-01-06');
UPDATE orders SET total_gross = 11 WHERE id = 1;
SELECT id FROM orders ORDER BY id;
SELECT action, data, sqlstate, message FROM lifecycle.quarantine ORDER BY quarantine_id;
SELECT * FROM lifecycle.check_sources();
ALTER TABLE orders RENAME total_gross TO total;
SELECT * FROM lifecycle.check_sources();
SELECT lifecycle.replay_quarantine();
SELECT * FROM actual;
ALTER TABLE orders DROP COLUMN customer_id;
INSERT INTO orders VALUES (3, 30, '2026-01-07');
SELECT source, problem FROM lifecycle.check_sources();
ALTER TABLE orders ADD COLUMN customer_id int;
-- It makes the table anew, as CREATE TABLE AS and renaming do.
SELECT lifecycle.detach('orders');
UPDATE orders SET customer_id = 1;
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
CREATE TABLE orders_new AS SELECT * FROM orders;
ALTER TABLE orders RENAME TO orders_old;
SELECT * FROM lifecycle.check_sources();
ALTER TABLE orders_new RENAME TO orders;
SELECT * FROM lifecycle.check_sources();
INSERT INTO orders VALUES (4, 40, '2026-01-08', 1);
SELECT order_count, revenue FROM actual;
DROP TABLE orders_old;
SELECT * FROM lifecycle.check_sources();
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT order_count, revenue FROM actual;
DROP TABLE orders;
SELECT * FROM lifecycle.check_sources();

DROP EXTENSION pg_lifecycle CASCADE;
