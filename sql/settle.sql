-- lifecycle.settle = commit: what a transaction says is taken in when it commits, all of it together, as if each statement had been
-- taken in by itself.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'post_purchase';

CREATE TABLE orders (id int, customer_id int, total numeric(10,2), placed_at timestamptz, note text);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
CREATE VIEW customers AS SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
CREATE VIEW differences AS
    SELECT * FROM (SELECT customer_id::text, id::text, total, placed_at FROM orders WHERE customer_id IS NOT NULL AND total IS NOT NULL
                   EXCEPT ALL SELECT customer_id, id, amount, at FROM lifecycle.purchase) AS missing
    UNION ALL
    SELECT * FROM (SELECT customer_id, id, amount, at FROM lifecycle.purchase
                   EXCEPT ALL SELECT customer_id::text, id::text, total, placed_at FROM orders WHERE total IS NOT NULL) AS wrong;
SET lifecycle.settle = 'commit';

-- A checkout of several statements: an order, then its total, then another order.
BEGIN;
INSERT INTO orders VALUES (1, 1, 0, '2026-02-01');
UPDATE orders SET total = 10 WHERE id = 1;
INSERT INTO orders VALUES (2, 2, 20, '2026-02-02');
TABLE customers;
COMMIT;
TABLE customers;
TABLE differences;

-- Without BEGIN each statement is a transaction.
INSERT INTO orders VALUES (3, 1, 30, '2026-02-03');
TABLE differences;

-- Everything happens to one order; ids change places; a customer gives an order to another who is new.
BEGIN;
INSERT INTO orders VALUES (4, 4, 1, '2026-02-04');
DELETE FROM orders WHERE id = 4;
INSERT INTO orders VALUES (4, 4, 2, '2026-02-04');
UPDATE orders SET total = 3 WHERE id = 4;
UPDATE orders SET id = CASE id WHEN 1 THEN 2 ELSE 1 END WHERE id IN (1, 2);
UPDATE orders SET customer_id = 5 WHERE id = 3;
UPDATE orders SET placed_at = placed_at + interval '1 day';
COMMIT;
TABLE customers;
TABLE differences;

-- A transaction may have become read-only since.
BEGIN;
INSERT INTO orders VALUES (7, 7, 1, '2026-02-07');
SET TRANSACTION READ ONLY;
COMMIT;
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (8, 7, 1, '2026-02-08');
SET TRANSACTION READ ONLY;
SELECT lifecycle.settle();
TABLE differences;
SHOW transaction_read_only;
DELETE FROM orders;
COMMIT;
BEGIN;
INSERT INTO orders VALUES (9, 7, 1, '2026-02-09');
SET TRANSACTION READ ONLY;
PREPARE TRANSACTION 'read only';
COMMIT PREPARED 'read only';
DELETE FROM orders WHERE customer_id = 7;
TABLE differences;

-- Rows that were written before a column was added say in it what it was added with.
CREATE TABLE parcels (id int, customer_id int, total numeric, placed_at timestamptz DEFAULT '2026-02-01');
INSERT INTO parcels SELECT n, 7, n FROM generate_series(101, 104) AS n;
ALTER TABLE parcels ADD COLUMN status text DEFAULT 'paid';
SELECT lifecycle.attach('parcels', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}',
    filter => $$ status = 'paid' $$, name => 'parcels');
DELETE FROM parcels WHERE id = 101;
UPDATE parcels SET total = 7 WHERE id = 102;
SELECT id, amount FROM lifecycle.purchase WHERE customer_id = '7' ORDER BY id;
-- Within a statement, too.
CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM parcels WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER give_up AFTER UPDATE ON parcels FOR EACH ROW EXECUTE FUNCTION give_up();
UPDATE parcels SET total = 8 WHERE id = 103;
SELECT id, amount FROM lifecycle.purchase WHERE customer_id = '7' ORDER BY id;
SELECT lifecycle.detach('parcels');
DROP TABLE parcels;
DROP FUNCTION give_up;

-- What is rolled back was never said.
BEGIN;
INSERT INTO orders VALUES (10, 1, 100, '2026-02-10');
SAVEPOINT a;
INSERT INTO orders VALUES (11, 1, 100, '2026-02-11');
SAVEPOINT b;
INSERT INTO orders VALUES (12, 1, 100, '2026-02-12');
RELEASE b;
ROLLBACK TO a;
INSERT INTO orders VALUES (13, 1, 100, '2026-02-13');
RELEASE a;
DO $$
BEGIN
    INSERT INTO orders VALUES (14, 1, 100, '2026-02-14');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    INSERT INTO orders VALUES (15, 1, 100, '2026-02-15');
END
$$;
COMMIT;
SELECT id FROM lifecycle.purchase WHERE customer_id = '1' ORDER BY at;
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (16, 16, 100, '2026-02-16');
ROLLBACK;
TABLE differences;

-- Who needs the numbers before the commit asks for them; rolling that back puts it off again.
BEGIN;
INSERT INTO orders VALUES (20, 20, 100, '2026-02-20');
SELECT lifecycle.settle();
SELECT * FROM customers WHERE customer_id = '20';
SAVEPOINT a;
INSERT INTO orders VALUES (21, 20, 100, '2026-02-21');
SAVEPOINT b;
SELECT lifecycle.settle();
SELECT * FROM customers WHERE customer_id = '20';
ROLLBACK TO b;
SELECT * FROM customers WHERE customer_id = '20';
INSERT INTO orders VALUES (22, 20, 100, '2026-02-22');
SAVEPOINT c;
SELECT lifecycle.settle();
RELEASE c;
RELEASE b;
SELECT * FROM customers WHERE customer_id = '20';
ROLLBACK TO a;
SELECT * FROM customers WHERE customer_id = '20';
INSERT INTO orders VALUES (23, 20, 100, '2026-02-23');
COMMIT;
SELECT * FROM customers WHERE customer_id = '20';
TABLE differences;

-- Little memory: what a transaction has said is taken in as often as the memory is full, and in the same order.
SET lifecycle.settle_memory = '1kB';
BEGIN;
INSERT INTO orders SELECT 100 + n, n % 3, n, timestamptz '2026-01-01' + n * interval '1 hour' FROM generate_series(1, 4) AS n;
INSERT INTO orders SELECT 200 + n, n % 3, n, timestamptz '2026-01-01' + n * interval '1 hour' FROM generate_series(1, 100) AS n;
UPDATE orders SET total = total + 1 WHERE id BETWEEN 101 AND 110;
UPDATE orders SET total = total + 1 WHERE id BETWEEN 101 AND 110;
DELETE FROM orders WHERE id BETWEEN 150 AND 250;
COMMIT;
RESET lifecycle.settle_memory;
TABLE differences;

-- Cursors, COPY, TRUNCATE, a changed table, a deferred trigger of the shop's own.
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM orders WHERE id < 4 ORDER BY id;
FETCH held;
COPY orders (id, customer_id, total, placed_at) FROM stdin;
300	30	30	2026-02-01
301	30	31	2026-02-02
\.
UPDATE orders SET total = 32 WHERE id = 301;
COMMIT;
FETCH held;
CLOSE held;
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (310, 31, 31, '2026-02-01');
ALTER TABLE orders RENAME total TO amount;
ALTER TABLE orders RENAME amount TO total;
ALTER TABLE orders ALTER COLUMN note TYPE varchar(100);
INSERT INTO orders VALUES (311, 31, 31, '2026-02-02');
COMMIT;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;
BEGIN;
INSERT INTO orders VALUES (312, 31, 31, '2026-02-01');
TRUNCATE orders;
INSERT INTO orders VALUES (313, 31, 33, '2026-02-03'), (314, 31, NULL, '2026-02-03');
COMMIT;
TABLE customers;
TABLE differences;
CREATE FUNCTION gift() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO orders VALUES (NEW.id + 1000, NEW.customer_id, 0, NEW.placed_at);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER gift AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id < 1000) EXECUTE FUNCTION gift();
INSERT INTO orders VALUES (315, 31, 35, '2026-02-05');
TABLE customers;
TABLE differences;
DROP TRIGGER gift ON orders;
-- A procedure that commits on its way.
CREATE PROCEDURE import() LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 400 .. 403 LOOP
        INSERT INTO orders VALUES (n, 40, n, timestamptz '2026-02-01' + n * interval '1 minute');
        IF n = 401 THEN COMMIT; END IF;
        IF n = 402 THEN ROLLBACK; END IF;
    END LOOP;
END
$$;
CALL import();
SELECT * FROM customers WHERE customer_id = '40';
TABLE differences;

-- PREPARE TRANSACTION takes it in.
BEGIN;
INSERT INTO orders VALUES (500, 50, 50, '2026-02-01'), (501, 51, 51, '2026-03-01 11:00');
PREPARE TRANSACTION 'order';
COMMIT PREPARED 'order';
SELECT customer_id, anchor FROM lifecycle.outbox ORDER BY message_id;
SELECT * FROM customers WHERE customer_id IN ('50', '51');
TABLE differences;

-- What cannot be taken in is put aside, and nothing else of the transaction.
BEGIN;
INSERT INTO orders VALUES (600, 60, 60, '2026-02-01');
INSERT INTO orders VALUES (601, 61, NULL, '2026-02-01');
UPDATE orders SET total = NULL WHERE id = 600;
UPDATE orders SET total = 61 WHERE id = 601;
COMMIT;
SELECT source, action, data ->> 'id' AS id, message FROM lifecycle.quarantine ORDER BY quarantine_id;
TABLE differences;
DELETE FROM orders WHERE id IN (314, 600);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation USING MESSAGE = 'not today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON lifecycle.outbox FOR EACH ROW WHEN (NEW.customer_id = '63') EXECUTE FUNCTION refuse();
BEGIN;
INSERT INTO orders VALUES (602, 62, 62, '2026-03-01 11:00');
INSERT INTO orders VALUES (603, 63, 63, '2026-03-01 11:00');
INSERT INTO orders VALUES (604, 64, 64, '2026-03-01 11:00');
COMMIT;
SELECT source, action, data ->> 'id' AS id, sqlstate, message FROM lifecycle.quarantine;
SELECT * FROM customers WHERE customer_id IN ('62', '63', '64');
DROP TRIGGER refuse ON lifecycle.outbox;
SELECT lifecycle.replay_quarantine();
TABLE differences;
SET lifecycle.on_error = 'raise';
BEGIN;
INSERT INTO orders VALUES (605, 65, 65, '2026-02-01');
SET lifecycle.fault = 'tiers:error';
COMMIT;
SET lifecycle.fault = '';
RESET lifecycle.on_error;
SELECT count(*) FROM orders WHERE id = 605;

-- A source is detached, or a customer looked at by another, before the commit.
BEGIN;
INSERT INTO orders VALUES (700, 70, 70, '2026-02-01');
SELECT lifecycle.detach('orders');
COMMIT;
TABLE customers;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;

-- In the mode "statement" too: what a transaction says after a great many statements is taken in when it commits.
SET lifecycle.settle = 'statement';
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
BEGIN;
DO $$
BEGIN
    FOR n IN 1 .. 100 LOOP
        INSERT INTO orders VALUES (2000 + n, 80, 1, timestamptz '2026-02-01' + n * interval '1 minute');
        IF n % 10 = 0 THEN UPDATE orders SET total = 2 WHERE id = 2000 + n - 5; END IF;
    END LOOP;
END
$$;
SELECT order_count < 100 AS some_wait FROM customers WHERE customer_id = '80';
SELECT lifecycle.settle();
SELECT * FROM customers WHERE customer_id = '80';
INSERT INTO orders VALUES (2999, 80, 1, '2026-02-28');
COMMIT;
SELECT * FROM customers WHERE customer_id = '80';
TABLE differences;

-- Orders, and items that name no customer, in one transaction: what goes to the owner of an order that is placed now, and what still
-- waits for its order.
SET lifecycle.settle = 'commit';
CREATE TABLE lines (id int, order_id int, product text, price numeric);
SELECT lifecycle.attach('lines', 'order_item',
    '{"order": "order_id", "line": "id", "product": "product", "amount": "price"}', name => 'lines');
INSERT INTO lines VALUES (1, 3001, 'early', 5);
BEGIN;
INSERT INTO orders VALUES (3001, 90, 5, '2026-02-20');
INSERT INTO lines VALUES (2, 3002, 'orphan', 6);
COMMIT;
SELECT order_id, line, product, customer_id FROM lifecycle.order_item ORDER BY line;
BEGIN;
INSERT INTO orders VALUES (3002, 91, 6, '2026-02-21');
UPDATE orders SET customer_id = NULL WHERE id = 3001;
INSERT INTO lines VALUES (3, 3003, 'orphan', 7), (4, 3002, 'late', 8);
COMMIT;
SELECT order_id, line, product, customer_id FROM lifecycle.order_item ORDER BY line;
-- A line that has gone before its order comes is not taken along.
BEGIN;
DELETE FROM lines WHERE id = 3;
INSERT INTO orders VALUES (3003, 92, 7, '2026-02-22');
COMMIT;
SELECT order_id, line, product, customer_id FROM lifecycle.order_item ORDER BY line;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, lines CASCADE;
DROP FUNCTION refuse, gift;
DROP PROCEDURE import;
