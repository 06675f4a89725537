-- Orders come and go in every way that SQL knows, and after each statement the customers are what the orders say.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(10,2), status text DEFAULT 'paid',
                     placed_at timestamptz, note text);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}',
    filter => $$status IN ('paid', 'shipped')$$);

-- Who bought what, straight from the shop's table; "differences" is where lifecycle.customer disagrees: it must stay empty.
CREATE VIEW expected AS
    SELECT customer_id::text, count(*) AS order_count, sum(total) AS revenue, min(placed_at) AS first_order_at,
           max(placed_at) AS last_order_at,
           (array_agg(placed_at ORDER BY placed_at DESC))[2] AS previous_order_at, sum(total) / count(*) AS average_order_value
      FROM orders WHERE status IN ('paid', 'shipped') AND customer_id IS NOT NULL GROUP BY customer_id;
CREATE VIEW actual AS
    SELECT customer_id, order_count, revenue, first_order_at, last_order_at, previous_order_at, average_order_value
      FROM lifecycle.customer WHERE order_count > 0;
CREATE VIEW differences AS
    (SELECT 'missing' AS what, * FROM (TABLE expected EXCEPT ALL TABLE actual) AS e)
    UNION ALL
    (SELECT 'wrong', * FROM (TABLE actual EXCEPT ALL TABLE expected) AS a);

-- One order.
INSERT INTO orders VALUES (1, 1, 10, 'paid', '2026-01-01 10:00+00');
TABLE actual;
TABLE differences;

-- Several at once, some of them for nobody, unpaid, or of the same customer.
INSERT INTO orders VALUES
    (2, 1, 20, 'paid', '2026-01-02 10:00+00'), (3, 2, 30, 'open', '2026-01-03 10:00+00'), (4, NULL, 40, 'paid', '2026-01-04 10:00+00'),
    (5, 3, 50, 'shipped', '2026-01-05 10:00+00'), (6, 1, 5.55, 'paid', '2025-12-24 10:00+00');
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;

-- From a query, and from a file.
INSERT INTO orders SELECT 100 + n, n % 7, n * 1.01, 'paid', timestamptz '2026-01-01 00:00+00' + n * interval '1 hour'
                     FROM generate_series(1, 500) AS n;
TABLE differences;
COPY orders (id, customer_id, total, placed_at) FROM stdin;
701	8	80.00	2026-01-08 10:00+00
702	8	8.08	2026-01-09 10:00+00
703	9	0.00	2026-01-10 10:00+00
\.
SELECT * FROM actual WHERE customer_id IN ('8', '9') ORDER BY customer_id;
TABLE differences;

-- Upserts, as imports do them: one order is new, one is known.
INSERT INTO orders VALUES (702, 8, 9.09, 'paid', '2026-01-09 10:00+00'), (704, 8, 1.00, 'paid', '2026-01-11 10:00+00')
    ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total;
INSERT INTO orders VALUES (704, 8, 2.00, 'paid', '2026-01-11 10:00+00') ON CONFLICT DO NOTHING;
SELECT * FROM actual WHERE customer_id = '8';
TABLE differences;

-- The order changes: its amount, its day, its customer.
UPDATE orders SET total = 11 WHERE id = 1;
TABLE differences;
UPDATE orders SET placed_at = '2026-02-01 10:00+00' WHERE id = 1;
TABLE differences;
UPDATE orders SET customer_id = 2 WHERE id = 1;
TABLE differences;
UPDATE orders SET customer_id = NULL WHERE id = 2;
TABLE differences;
SELECT * FROM actual WHERE customer_id IN ('1', '2') ORDER BY customer_id;
UPDATE orders SET customer_id = customer_id % 3, total = total + 1, placed_at = placed_at + interval '1 minute' WHERE id > 100;
TABLE differences;

-- It is paid, then cancelled, then paid after all.
UPDATE orders SET status = 'paid' WHERE id = 3;
TABLE differences;
UPDATE orders SET status = 'cancelled' WHERE id IN (3, 5);
TABLE differences;
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE customer_id = '3';
UPDATE orders SET status = 'shipped' WHERE id = 5;
TABLE differences;

-- It gets a new number.
UPDATE orders SET id = 6000 WHERE id = 6;
SELECT customer_id, id FROM lifecycle.purchase WHERE id IN ('6', '6000');
TABLE differences;

-- A change that no mapping reads touches no customer's row.
CREATE TEMP TABLE versions AS SELECT customer_id, xmin AS version FROM lifecycle.customer;
UPDATE orders SET note = 'leave at the door';
UPDATE orders SET status = 'shipped' WHERE id = 5;
SELECT count(*) AS touched FROM lifecycle.customer AS c JOIN versions AS v USING (customer_id) WHERE c.xmin <> v.version;

-- MERGE does all at once.
MERGE INTO orders USING (VALUES (1, 3.00), (4, 4.00), (900, 9.00)) AS news (id, total) ON orders.id = news.id
    WHEN MATCHED AND news.total < 4 THEN DELETE
    WHEN MATCHED THEN UPDATE SET total = news.total, customer_id = 4
    WHEN NOT MATCHED THEN INSERT VALUES (news.id, 9, news.total, 'paid', '2026-02-09 10:00+00');
TABLE differences;
-- So does a statement with several changes in it.
WITH gone AS (DELETE FROM orders WHERE id = 900 RETURNING *)
INSERT INTO orders SELECT 901, customer_id, total, status, placed_at FROM gone;
SELECT customer_id, id FROM lifecycle.purchase WHERE id IN ('900', '901');
TABLE differences;

-- Part of a transaction is undone, then the whole of one.
BEGIN;
INSERT INTO orders VALUES (801, 20, 1, 'paid', '2026-02-01 10:00+00');
SAVEPOINT basket;
INSERT INTO orders VALUES (802, 20, 2, 'paid', '2026-02-02 10:00+00');
UPDATE orders SET total = 100 WHERE id = 801;
SELECT * FROM actual WHERE customer_id = '20';
ROLLBACK TO basket;
TABLE differences;
INSERT INTO orders VALUES (803, 20, 3, 'paid', '2026-02-03 10:00+00');
COMMIT;
SELECT * FROM actual WHERE customer_id = '20';
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (804, 20, 4, 'paid', '2026-02-04 10:00+00'), (805, 21, 5, 'paid', '2026-02-05 10:00+00');
DELETE FROM orders WHERE id = 801;
TABLE differences;
ROLLBACK;
SELECT * FROM actual WHERE customer_id IN ('20', '21');
TABLE differences;

-- One order is placed, changed, deleted and placed again within one transaction: each statement sees those before it.
BEGIN;
INSERT INTO orders VALUES (806, 20, 6, 'paid', '2026-02-06 10:00+00');
UPDATE orders SET total = 7 WHERE id = 806;
DELETE FROM orders WHERE id = 806;
INSERT INTO orders VALUES (806, 20, 8, 'paid', '2026-02-06 10:00+00');
COMMIT;
TABLE differences;

-- Orders are deleted, at last all of them.
DELETE FROM orders WHERE id = 803;
TABLE differences;
DELETE FROM orders WHERE customer_id = 20;
SELECT order_count, revenue, first_order_at, last_order_at, average_order_value FROM lifecycle.customer WHERE customer_id = '20';
TABLE differences;
TRUNCATE orders;
TABLE differences;
SELECT count(*) AS still_with_orders FROM lifecycle.customer WHERE order_count > 0 OR revenue <> 0 OR last_order_at IS NOT NULL;
INSERT INTO orders VALUES (1, 1, 10, 'paid', '2026-01-01 10:00+00');
TABLE differences;

-- A till that knows nothing of schema lifecycle sells all the same, whatever its search_path and time zone.
CREATE ROLE regress_till;
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO regress_till;
SET ROLE regress_till;
SET search_path = pg_temp;
SET timezone = 'America/New_York';
INSERT INTO public.orders VALUES (2, 2, 20, 'paid', '2026-01-02 10:00+00'), (3, 2, 30, 'paid', '2026-01-03 10:00+00');
UPDATE public.orders SET total = 31 WHERE id = 3;
DELETE FROM public.orders WHERE id = 1;
SELECT count(*) FROM lifecycle.customer;
RESET ROLE;
RESET search_path;
SET timezone = 'UTC';
SELECT * FROM actual ORDER BY customer_id;
TABLE differences;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT lifecycle.detach('public.orders:order');
DROP OWNED BY regress_till;
DROP ROLE regress_till;
DROP TABLE orders CASCADE;

-- An order table that is partitioned by month.
CREATE TABLE orders (id int, customer_id int, total numeric(10,2), status text DEFAULT 'paid', placed_at timestamptz,
                     PRIMARY KEY (id, placed_at)) PARTITION BY RANGE (placed_at);
CREATE TABLE orders_2026_01 PARTITION OF orders FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE orders_2026_02 PARTITION OF orders FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');
INSERT INTO orders VALUES (1, 31, 10, 'paid', '2026-01-05 10:00+00');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', filter => $$status = 'paid'$$);
INSERT INTO orders VALUES (2, 31, 20, 'paid', '2026-01-06 10:00+00'), (3, 32, 30, 'paid', '2026-02-06 10:00+00');
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
-- The order moves to another partition.
UPDATE orders SET placed_at = '2026-02-07 10:00+00' WHERE id = 2;
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
DELETE FROM orders WHERE id = 1;
CREATE TABLE orders_2026_03 PARTITION OF orders FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00');
INSERT INTO orders VALUES (4, 32, 40, 'paid', '2026-03-01 10:00+00');
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
TRUNCATE orders;
SELECT count(*) AS still_with_orders FROM lifecycle.customer WHERE order_count > 0 OR revenue <> 0;

DROP TABLE orders;

-- Ids are of any type, and a mapping may name a column or say more.
CREATE DOMAIN ticket AS bigint;
CREATE TABLE tills (gone text, till smallint, receipt ticket, buyer int, code varchar(20), total int, paid numeric, at timestamptz);
ALTER TABLE tills DROP COLUMN gone;
SELECT lifecycle.attach('tills', 'order', '{"order": "receipt", "customer": "buyer", "amount": "paid", "placed_at": "at"}', name => 'plain');
SELECT lifecycle.attach('tills', 'order', '{"order": "till", "customer": "code", "amount": "total", "placed_at": "at"}', name => 'text');
SELECT lifecycle.attach('tills', 'order', '{"order": "receipt + 1", "customer": "''c'' || buyer::text", "amount": "total / 2.0", "placed_at": "at"}', name => 'worked_out');
INSERT INTO tills VALUES (-7, -9223372036854775808, -2147483648, 'Ann', 3, -0.5, '2026-01-05 10:00+00'), (32767, 9223372036854775806, 2147483647, 'Bob', NULL, 12.25, '2026-01-06 10:00+00'),
                         (0, 0, 0, '', 5, 1234567.890123, '2026-01-07 10:00+00'), (1, NULL, 40, NULL, 7, 0, '2026-01-08 10:00+00'), (2, 5, NULL, 'Cy', 9, 'NaN', '2026-01-09 10:00+00');
UPDATE tills SET paid = paid + 1 WHERE buyer = 0;
DELETE FROM tills WHERE buyer = 2147483647;
SELECT p.customer_id, s.name, p.id, p.at, p.amount FROM lifecycle.purchase AS p JOIN lifecycle.source AS s USING (source_id) ORDER BY 1, 2, 3;
SELECT source, message, data ->> 'till' AS till FROM lifecycle.quarantine ORDER BY source, till;

DROP TABLE tills;
DROP DOMAIN ticket;

-- Averages are what SQL would say, to the last decimal: of next to nothing and of millions, of few orders and of many.
CREATE TABLE sums (id int PRIMARY KEY, customer_id int, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('sums', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO sums SELECT n, 1000 + n % 3000, round((sin(n * 7919) * 10 ^ (n % 3000 % 19 - 10))::numeric, n % 13), '2026-01-01 10:00+00'::timestamptz + n * interval '1 minute'
  FROM generate_series(1, 12000) AS n;
SELECT count(*) AS customers, count(DISTINCT scale(c.average_order_value)) AS scales,
       count(*) FILTER (WHERE c.average_order_value::text <> s.average::text) AS other_average, count(*) FILTER (WHERE c.revenue::text <> s.revenue::text) AS other_revenue
  FROM lifecycle.customer AS c
  JOIN (SELECT customer_id::text, sum(total) AS revenue, sum(total) / count(*) AS average FROM sums GROUP BY customer_id) AS s USING (customer_id);
DROP TABLE sums;
DROP EXTENSION pg_lifecycle CASCADE;
