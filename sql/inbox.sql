-- Sources of mode async: what they say waits in an inbox until the worker, here tick(), takes it in.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE orders (id int, customer_id int, total numeric(10,2), currency text, placed_at timestamptz, weight float8, status text DEFAULT 'paid');
INSERT INTO orders VALUES (1, 1, 10, 'EUR', '2026-01-01', 0.1);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total + weight::numeric", "currency": "currency", "placed_at": "placed_at"}',
    filter => $$status = 'paid'$$, name => 'orders', mode => 'async');
CREATE VIEW customers AS SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
CREATE VIEW differences AS
    SELECT * FROM (SELECT customer_id::text, id::text, total + weight::numeric, placed_at FROM orders
                    WHERE customer_id IS NOT NULL AND total IS NOT NULL AND status = 'paid'
                   EXCEPT ALL SELECT customer_id, id, amount, at FROM lifecycle.purchase) AS missing
    UNION ALL
    SELECT * FROM (SELECT customer_id, id, amount, at FROM lifecycle.purchase
                   EXCEPT ALL SELECT customer_id::text, id::text, total + weight::numeric, placed_at FROM orders WHERE status = 'paid') AS wrong;
-- What was there when it was attached has been taken in.
TABLE customers;

-- Orders come, change and go; no customer is touched before the tick.
SET extra_float_digits = 0;
SET timezone = 'America/New_York';
SET intervalstyle = 'sql_standard';
INSERT INTO orders VALUES (2, 1, 20, 'EUR', '2026-01-02', 0.30000000000000004), (3, 2, 30, 'EUR', '2026-01-03', 1e-7);
UPDATE orders SET total = 21 WHERE id = 2;
UPDATE orders SET customer_id = 3 WHERE id = 3;
DELETE FROM orders WHERE id = 1;
INSERT INTO orders VALUES (4, 4, NULL, 'EUR', '2026-01-04', 0);
SET timezone = 'UTC';
RESET intervalstyle;
RESET extra_float_digits;
TABLE customers;
SELECT entry_id, source, said_at, gone ->> 'total' AS gone, arrived ->> 'total' AS arrived, arrived ->> 'weight' AS weight FROM lifecycle.inbox
 ORDER BY entry_id;
SELECT inbox, inbox_since FROM lifecycle.status;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE customers;
TABLE differences;
SELECT data ->> 'id' AS id, message FROM lifecycle.quarantine;
SELECT inbox, inbox_since FROM lifecycle.status;
SELECT lifecycle.tick();

-- The bad row changes in a way that no mapping reads, then it is mended: in the table, so that quarantine is cleared.
ALTER TABLE orders ADD COLUMN note text;
UPDATE orders SET note = 'call back' WHERE id = 4;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT data ->> 'note' AS note, message FROM lifecycle.quarantine;
UPDATE orders SET total = 40 WHERE id = 4;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;
-- What no mapping reads costs no entry.
UPDATE orders SET note = 'seen';
SELECT count(*) AS entries FROM lifecycle.inbox;

-- The table is emptied in between: what came before does not count, what comes after does.
INSERT INTO orders VALUES (5, 5, 50, 'EUR', '2026-01-05', 0);
TRUNCATE orders;
INSERT INTO orders VALUES (6, 5, 60, 'EUR', '2026-01-06', 0), (7, 6, 70, 'EUR', '2026-01-07', 0);
SELECT entry_id IS NOT NULL AS entry, gone ->> 'id' AS gone, arrived ->> 'id' AS arrived FROM lifecycle.inbox ORDER BY entry_id;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE customers;
TABLE differences;

-- It is read with what holds when it is taken in.
INSERT INTO lifecycle.shop (currency) VALUES ('EUR');
INSERT INTO orders VALUES (8, 8, 80, 'USD', '2026-01-08', 0);
UPDATE lifecycle.shop SET currency = 'USD';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM customers WHERE customer_id = '8';
UPDATE lifecycle.shop SET currency = NULL;
-- A column that the mapping reads is renamed before it is: it goes into quarantine, not astray.
INSERT INTO orders VALUES (9, 9, 90, 'EUR', '2026-01-09', 0);
ALTER TABLE orders RENAME customer_id TO user_id;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT action, data ->> 'id' AS id, message FROM lifecycle.quarantine;
ALTER TABLE orders RENAME user_id TO customer_id;
-- Replayed, it queues like everything else.
INSERT INTO orders VALUES (10, 9, 100, 'EUR', '2026-01-10', 0);
SELECT lifecycle.replay_quarantine();
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE differences;

-- An entry that cannot be taken in does not hold up the others.
SET lifecycle.fault = 'inbox:error';
INSERT INTO orders VALUES (11, 11, 110, 'EUR', '2026-01-11', 0);
SET lifecycle.fault = '';
SELECT source, action, data ->> 'id' AS id, sqlstate FROM lifecycle.quarantine;
SELECT lifecycle.replay_quarantine();
INSERT INTO orders VALUES (12, 12, 120, 'EUR', '2026-01-12', 0), (13, 13, 9e7, 'EUR', '2026-01-13', 'NaN'), (14, 14, 140, 'EUR', '2026-01-14', 0);
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT source, action, data ->> 'id' AS id, message FROM lifecycle.quarantine;
DELETE FROM orders WHERE id = 13;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE differences;

-- Both ways together: settled at commit, the changes go to the inbox then; in replica mode row by row.
SET lifecycle.settle = 'commit';
BEGIN;
INSERT INTO orders VALUES (20, 20, 20, 'EUR', '2026-01-20', 0);
UPDATE orders SET total = 21 WHERE id = 20;
SELECT count(*) AS entries FROM lifecycle.inbox;
COMMIT;
RESET lifecycle.settle;
SET session_replication_role = replica;
UPDATE orders SET total = 22 WHERE id = 20;
RESET session_replication_role;
SELECT gone ->> 'total' AS gone, arrived ->> 'total' AS arrived FROM lifecycle.inbox ORDER BY entry_id;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE differences;

-- Detached, it says nothing any more, not even what still waits.
INSERT INTO orders VALUES (30, 30, 30, 'EUR', '2026-01-30', 0);
SELECT lifecycle.detach('orders');
SELECT count(*) AS entries FROM lifecycle.inbox;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE customers;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders CASCADE;
