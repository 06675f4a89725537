-- Quarantine: whatever is wrong with a row, the shop's order is taken, and nothing is forgotten.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.shop (currency) VALUES ('EUR');

CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric, currency text, placed_at timestamptz, status text DEFAULT 'paid');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "currency": "currency", "placed_at": "placed_at"}',
    filter => $$status = 'paid'$$, name => 'orders');
CREATE VIEW quarantine AS SELECT data ->> 'id' AS id, action, sqlstate, message, detail, occurred_at FROM lifecycle.quarantine
                           ORDER BY quarantine_id;
CREATE VIEW customers AS SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;

-- An order of nobody counts for nobody: that is not an error.
INSERT INTO orders VALUES (1, NULL, 10, 'EUR', '2026-02-01 10:00+00');
TABLE quarantine;
TABLE customers;

-- Amounts and dates that cannot be counted. The good order between them counts at once.
INSERT INTO orders VALUES
    (10, 1, NULL, 'EUR', '2026-02-01 10:00+00'), (11, 1, 'NaN', 'EUR', '2026-02-01 10:00+00'),
    (12, 1, 'Infinity', 'EUR', '2026-02-01 10:00+00'), (13, 1, 13, 'EUR', '2026-02-01 10:00+00'),
    (14, 1, 1e30, 'EUR', '2026-02-01 10:00+00'), (15, 1, 0.0000000000001, 'EUR', '2026-02-01 10:00+00'),
    (16, 1, 16, 'EUR', NULL), (17, 1, 17, 'EUR', 'infinity'), (18, 1, 18, 'EUR', '-infinity'),
    (19, 1, 19, 'usd', '2026-02-01 10:00+00'), (20, 1, 20, 'eur', '2026-02-01 10:00+00'), (21, 1, 21, NULL, '2026-02-01 10:00+00'),
    (22, NULL, NULL, 'USD', NULL);
INSERT INTO orders VALUES (23, 1, NULL, 'USD', NULL, 'open');
SELECT count(*) AS orders FROM orders;
TABLE quarantine;
TABLE customers;
SELECT data FROM lifecycle.quarantine WHERE data ->> 'id' = '19';

-- Mended in the shop's own table: the order counts and is out of quarantine.
UPDATE orders SET total = 10 WHERE id = 10;
UPDATE orders SET placed_at = '2026-02-16 10:00+00' WHERE id = 16;
SELECT id FROM quarantine;
TABLE customers;
-- Mended to 0, which is what an amount that is no number is taken for when it goes: it counts all the same.
INSERT INTO orders VALUES (24, 6, 'NaN', 'EUR', '2026-02-16 10:00+00');
UPDATE orders SET total = 0 WHERE id = 24;
SELECT id FROM quarantine WHERE id = '24';
SELECT order_count FROM lifecycle.customer WHERE customer_id = '6';
DELETE FROM orders WHERE id = 24;
-- A change that does not mend it leaves it in quarantine, once, as it is now.
UPDATE orders SET total = NULL WHERE id = 11;
SELECT id, message, detail FROM quarantine WHERE id = '11';
-- Nor does a change of the status that takes it out of what counts leave anything behind.
UPDATE orders SET status = 'cancelled' WHERE id = 12;
SELECT id FROM quarantine WHERE id = '12';
-- It is deleted, and so it is from quarantine.
DELETE FROM orders WHERE id IN (14, 15);
SELECT id FROM quarantine;
TABLE customers;

-- Mended in quarantine, for shops whose tables nobody may touch. What is not mended stays, with its reason.
UPDATE lifecycle.quarantine SET data = data || '{"placed_at": "2026-02-17 10:00+00"}' WHERE data ->> 'id' = '17';
SELECT lifecycle.replay_quarantine();
SELECT id, message FROM quarantine;
TABLE customers;
UPDATE lifecycle.quarantine SET data = data || '{"total": "seven"}' WHERE data ->> 'id' = '11';
SELECT lifecycle.replay_quarantine('orders');
SELECT id, sqlstate, message FROM quarantine;
TABLE customers;
-- The shop begins to take dollars, and what waited for that can be taken in.
DELETE FROM lifecycle.quarantine WHERE data ->> 'id' IN ('11', '18');
UPDATE lifecycle.shop SET currency = NULL;
SELECT lifecycle.replay_quarantine();
TABLE quarantine;
TABLE customers;
SELECT lifecycle.replay_quarantine();

-- Mended in quarantine first, the order is mended in the shop's table too: it still counts once.
UPDATE orders SET placed_at = '2026-02-17 10:00+00' WHERE id = 17;
TABLE customers;
-- An order in dollars was taken in while that was possible: deleting it later takes it back, whatever the shop's currency is by then.
INSERT INTO orders VALUES (24, 6, 24, 'USD', '2026-02-01 10:00+00');
INSERT INTO lifecycle.shop (currency) VALUES ('EUR') ON CONFLICT ON CONSTRAINT shop_pkey DO UPDATE SET currency = 'EUR';
TABLE customers;
DELETE FROM orders WHERE id = 24;
TABLE customers;
UPDATE lifecycle.shop SET currency = NULL;

-- A source that is not there has nothing in quarantine.
SELECT lifecycle.replay_quarantine('no such source');

-- A mapping that raises an error for some row puts that row aside and no other.
CREATE TABLE parcels (id int, customer_id int, price text, placed_at timestamptz);
SELECT lifecycle.attach('parcels', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "price::numeric", "placed_at": "placed_at"}', name => 'parcels');
INSERT INTO parcels VALUES (1, 2, '5.00', '2026-02-01 10:00+00'), (2, 2, 'five', '2026-02-02 10:00+00'), (3, 2, '7', '2026-02-03 10:00+00');
SELECT data ->> 'price' AS price, source, sqlstate, message FROM lifecycle.quarantine;
TABLE customers;
-- Truncating the table empties its quarantine too.
TRUNCATE parcels;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
TABLE customers;
-- What is in the table already when it is attached is judged likewise, and detaching leaves no quarantine behind.
INSERT INTO parcels VALUES (4, 2, '8', '2026-02-01 10:00+00'), (5, 2, 'nine', '2026-02-02 10:00+00');
SELECT lifecycle.detach('parcels');
SELECT lifecycle.attach('parcels', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "price::numeric", "placed_at": "placed_at"}', name => 'parcels');
SELECT data ->> 'price' AS price, source, message FROM lifecycle.quarantine;
TABLE customers;
SELECT lifecycle.detach('parcels');
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
DROP TABLE parcels;

-- A column is renamed, and nothing can be read of a row until it has its name back: the row is kept whole, by the names that its columns have.
CREATE TABLE meals (id int PRIMARY KEY, customer_id int, price numeric, placed_at timestamptz DEFAULT '2026-02-01 10:00+00', "a ""note""" text);
SELECT lifecycle.attach('meals', 'order', '{"order": "id", "customer": "customer_id", "amount": "price", "placed_at": "placed_at"}', name => 'meals');
INSERT INTO meals VALUES (101, 7, NULL), (102, 7, NULL), (103, 7, 3);
ALTER TABLE meals RENAME COLUMN price TO cost;
INSERT INTO meals VALUES (104, 7, 4), (105, 7, 5);
UPDATE meals SET cost = 33 WHERE id = 103;
DELETE FROM meals WHERE id = 105;
BEGIN;
SAVEPOINT s;
ALTER TABLE meals RENAME COLUMN cost TO other;
ALTER TABLE meals RENAME COLUMN customer_id TO cost;
SELECT DISTINCT jsonb_object_keys(data) FROM lifecycle.quarantine ORDER BY 1;
ROLLBACK TO s;
ALTER TABLE meals RENAME COLUMN none TO cost;
ROLLBACK TO s;
SELECT action, data FROM lifecycle.quarantine ORDER BY quarantine_id;
ALTER TABLE meals RENAME COLUMN cost TO price;
ALTER TABLE meals RENAME COLUMN "a ""note""" TO remark;
COMMIT;
SELECT action, data FROM lifecycle.quarantine ORDER BY quarantine_id;
-- A row that is mended in the table is forgotten in here, whatever its columns were called.
UPDATE meals SET price = 1 WHERE id = 101;
SELECT lifecycle.replay_quarantine('meals');
SELECT action, data ->> 'id' AS id, message FROM lifecycle.quarantine ORDER BY quarantine_id;
SELECT id, amount FROM lifecycle.purchase WHERE source_id = (SELECT s.source_id FROM lifecycle.source AS s WHERE s.name = 'meals') ORDER BY 1;
UPDATE meals SET price = 2 WHERE id = 102;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT source, what FROM lifecycle.verify() WHERE source = 'meals';
SELECT lifecycle.detach('meals');
-- So it is where changes wait in the inbox.
SELECT lifecycle.attach('meals', 'order', '{"order": "id", "customer": "customer_id", "amount": "price", "placed_at": "placed_at"}', name => 'meals', mode => 'async');
UPDATE meals SET price = price + 1;
INSERT INTO meals VALUES (106, 7, 6);
ALTER TABLE meals RENAME COLUMN placed_at TO ordered_at;
SELECT gone, arrived FROM lifecycle.inbox ORDER BY entry_id;
ALTER TABLE meals RENAME COLUMN ordered_at TO placed_at;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT source, what FROM lifecycle.verify() WHERE source = 'meals';
SELECT lifecycle.detach('meals');
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
DROP TABLE meals;

-- Consents that say what nobody understands.
CREATE TABLE newsletter (customer_id int, channel text, status text, at timestamptz);
SELECT lifecycle.attach('newsletter', 'consent',
    '{"customer": "customer_id", "channel": "channel", "status": "status", "changed_at": "at"}', name => 'newsletter');
INSERT INTO newsletter VALUES (1, 'email', 'granted', '2026-02-01 10:00+00'), (1, 'fax', 'granted', '2026-02-01 10:00+00'),
    (1, 'sms', 'maybe', '2026-02-01 10:00+00'), (1, 'push', NULL, '2026-02-01 10:00+00'), (1, 'ads', 'granted', NULL),
    (1, 'ads', 'granted', 'infinity');
SELECT data ->> 'channel' AS channel, sqlstate, message, detail FROM lifecycle.quarantine ORDER BY quarantine_id;
SELECT email_consent, sms_consent, push_consent, ads_consent FROM lifecycle.customer WHERE customer_id = '1';
SELECT lifecycle.detach('newsletter');
DROP TABLE newsletter;

-- Something breaks inside, not in the row: everything that the statement said is put aside, and taken in later.
SET lifecycle.fault = 'tiers:error';
INSERT INTO orders VALUES (30, 3, 30, 'EUR', '2026-02-01 10:00+00'), (31, 3, 31, 'EUR', '2026-02-02 10:00+00');
SELECT id, action, sqlstate FROM quarantine;
TABLE customers;
SET lifecycle.fault = 'segments:error';
UPDATE orders SET total = 32 WHERE id = 13;
SELECT id, action, sqlstate FROM quarantine;
TABLE customers;
SET lifecycle.fault = '';
SELECT lifecycle.replay_quarantine();
TABLE quarantine;
TABLE customers;
-- Not even a failure while a row is being put into quarantine costs the shop its order.
SET lifecycle.fault = 'quarantine:error';
INSERT INTO orders VALUES (40, 4, NULL, 'EUR', '2026-02-01 10:00+00');
SELECT count(*) AS orders FROM orders WHERE id = 40;
SET lifecycle.fault = '';

-- For tests a shop may wish to hear of errors at once.
SET lifecycle.on_error = 'raise';
SET lifecycle.fault = 'tiers:error';
INSERT INTO orders VALUES (50, 5, 50, 'EUR', '2026-02-01 10:00+00');
SET lifecycle.fault = '';
SELECT count(*) AS orders FROM orders WHERE id = 50;
TABLE quarantine;
RESET lifecycle.on_error;
SET lifecycle.on_error = 'ignore';

-- Renamed unseen, what was kept has its values under the other names. It is not taken for a row without them, and its reason is the one that it has now.
ALTER TABLE orders RENAME status TO state;
INSERT INTO orders VALUES (60, 6, 60, 'EUR', '2026-02-01 10:00+00');
INSERT INTO orders VALUES (61, 6, 61, 'EUR', '2026-02-01 10:00+00', 'open');
SELECT id, action, sqlstate, message, detail FROM quarantine WHERE id IN ('60', '61');
ALTER EVENT TRIGGER lifecycle_tables_will_change DISABLE;
ALTER TABLE orders RENAME state TO status;
ALTER EVENT TRIGGER lifecycle_tables_will_change ENABLE ALWAYS;
SELECT lifecycle.replay_quarantine();
SELECT id, action, sqlstate, message, detail FROM quarantine WHERE id IN ('60', '61');
UPDATE lifecycle.quarantine SET data = data - 'state' || jsonb_build_object('status', data -> 'state') WHERE data ? 'state';
SELECT lifecycle.replay_quarantine();
SELECT id FROM quarantine WHERE id IN ('60', '61');

-- Whatever has become of our tables, the shop can alter its own.
ALTER TABLE lifecycle.quarantine RENAME TO elsewhere;
ALTER TABLE orders ADD COLUMN extra int;
ALTER TABLE orders DROP COLUMN extra;
ALTER TABLE lifecycle.elsewhere RENAME TO quarantine;

-- Nothing got lost on the way.
SELECT customer_id::text, count(*) AS order_count, sum(total) AS revenue FROM orders
 WHERE status = 'paid' AND customer_id IS NOT NULL AND id NOT IN (11, 18, 40) GROUP BY customer_id ORDER BY 1;
TABLE customers;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders CASCADE;
