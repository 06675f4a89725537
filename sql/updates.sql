-- Most updates of a shop change nothing that is read: a note, a picked-at date, a tracking number. Those cost nothing. All others are seen,
-- by whichever door they come: a cascade, a trigger, one statement within another.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE buyers (id int PRIMARY KEY);
CREATE TABLE vouchers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES buyers ON UPDATE CASCADE ON DELETE SET NULL, total numeric(10,2),
    placed_at timestamptz, note text, delivered_at timestamptz, voucher_id int REFERENCES vouchers ON UPDATE CASCADE ON DELETE SET NULL);
CREATE VIEW triggers AS
    SELECT tgname, regexp_replace(pg_get_triggerdef(oid), '.* AFTER (.*) EXECUTE .*', '\1') AS definition, tgenabled
      FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname ~ '^lifecycle.*_(update|gather)$' ORDER BY 1 DESC;
CREATE FUNCTION differences() RETURNS TABLE (what text, customer_id text, order_count bigint, revenue numeric, first_at timestamptz, last_at timestamptz)
    LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH expected AS (
        SELECT o.customer_id::text COLLATE "C", count(*), sum(o.total)::numeric, min(o.placed_at), max(o.placed_at)
          FROM orders AS o WHERE o.customer_id IS NOT NULL GROUP BY 1),
    actual AS (
        SELECT c.customer_id, c.order_count::bigint, c.revenue, c.first_order_at, c.last_order_at FROM lifecycle.customer AS c WHERE c.order_count > 0)
    SELECT 'missing', * FROM (TABLE expected EXCEPT ALL TABLE actual) AS e
    UNION ALL
    SELECT 'wrong', * FROM (TABLE actual EXCEPT ALL TABLE expected) AS w;
END $$;
CREATE PROCEDURE attach() LANGUAGE sql AS $$
    SELECT lifecycle.attach('orders', 'order',
        '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders') $$;
CALL attach();
TABLE triggers;
INSERT INTO buyers SELECT generate_series(1, 5);
INSERT INTO vouchers SELECT generate_series(1, 5);
INSERT INTO orders SELECT n, n, n * 10, '2026-02-01 10:00+00'::timestamptz + n * interval '1 hour', NULL, NULL, n FROM generate_series(1, 5) AS n;
SELECT * FROM differences();

-- A column that is not read: no row is looked at.
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE orders SET note = 'packed';
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) UPDATE orders SET total = total + 1, note = 'dearer';
SELECT * FROM differences();
-- Columns that are read, set to what they were, as some libraries write rows.
UPDATE orders SET id = id, customer_id = customer_id, total = total, placed_at = placed_at, note = 'written';
UPDATE orders SET id = id, customer_id = customer_id, total = total + CASE id WHEN 2 THEN 1 ELSE 0 END, placed_at = placed_at, note = 'written';
SELECT * FROM differences();
-- Customers and ids change places within one statement.
UPDATE orders SET customer_id = 6 - customer_id;
SELECT * FROM differences();

-- Through ON CONFLICT and MERGE.
INSERT INTO orders VALUES (1, 1, 99, '2026-02-01 10:00+00'), (6, 1, 60, '2026-02-02 10:00+00')
    ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total;
INSERT INTO orders VALUES (1, 1, 99, '2026-02-01 10:00+00') ON CONFLICT (id) DO UPDATE SET note = 'twice';
SELECT * FROM differences();
MERGE INTO orders AS o USING (VALUES (1, 'a'), (2, 'b'), (3, 'c'), (7, 'd')) AS v (id, what) ON o.id = v.id
    WHEN MATCHED AND v.what = 'a' THEN UPDATE SET note = 'merged'
    WHEN MATCHED AND v.what = 'b' THEN UPDATE SET total = 1000
    WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT VALUES (v.id, 2, 70, '2026-02-03 10:00+00');
SELECT * FROM differences();
-- Through foreign keys. Here one statement changes first a column that is read, then one that is not.
UPDATE buyers SET id = id + 100 WHERE id < 3;
SELECT * FROM differences();
WITH dearer AS (UPDATE orders SET total = total + 1 WHERE id = 4), noted AS (UPDATE orders SET note = 'cte' WHERE id = 5) SELECT;
SELECT * FROM differences();
WITH noted AS (UPDATE orders SET note = 'cte' WHERE id = 4), dearer AS (UPDATE orders SET total = total + 1 WHERE id = 5) SELECT;
SELECT * FROM differences();
ALTER TABLE orders ADD CONSTRAINT a_first FOREIGN KEY (customer_id) REFERENCES buyers ON DELETE SET NULL,
                   ADD COLUMN referred_by int CONSTRAINT z_last REFERENCES buyers ON DELETE SET NULL;
UPDATE orders SET referred_by = 101;
DELETE FROM buyers WHERE id = 101;
SELECT count(*) FILTER (WHERE customer_id IS NULL) AS of_nobody, count(referred_by) AS referred FROM orders;
SELECT * FROM differences();

-- Statements within statements: a function that is called by the statement, a trigger of the shop's on the same table, and one that fails.
CREATE FUNCTION dearer(which int) RETURNS numeric LANGUAGE sql AS $$ UPDATE orders SET total = total + 5 WHERE id = which RETURNING total $$;
UPDATE orders SET total = dearer(4) WHERE id = 2;
SELECT * FROM differences();
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        UPDATE orders SET total = total + 1 WHERE id = 6;
        BEGIN
            UPDATE orders SET total = total + 1000 WHERE id = 7;
            RAISE EXCEPTION 'on second thoughts';
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER follow AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION follow();
UPDATE orders SET total = total + 2 WHERE id IN (2, 4);
SELECT * FROM differences();
CREATE TRIGGER lifecycle_before_ours AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION follow();
UPDATE orders SET total = total + 2 WHERE id IN (2, 4);
SELECT * FROM differences();
DROP TRIGGER follow ON orders;
DROP TRIGGER lifecycle_before_ours ON orders;
-- What is rolled back was never said, whether it is taken in at once or at commit.
BEGIN;
UPDATE orders SET total = 1 WHERE id = 2;
SAVEPOINT s;
UPDATE orders SET total = 2 WHERE id = 2;
ROLLBACK TO s;
SELECT * FROM differences();
SET LOCAL lifecycle.settle = 'commit';
UPDATE orders SET total = 3 WHERE id = 2;
SAVEPOINT s;
UPDATE orders SET total = 4;
UPDATE orders SET note = 'no';
ROLLBACK TO s;
UPDATE orders SET total = 5 WHERE id = 4;
COMMIT;
SELECT * FROM differences();

-- Twice attached, each with columns of its own.
SELECT lifecycle.attach('orders', 'delivery', '{"order": "id", "customer": "customer_id", "delivered_at": "delivered_at"}',
    filter => $$ delivered_at IS NOT NULL $$, name => 'deliveries');
TABLE triggers;
UPDATE orders SET delivered_at = '2026-02-20' WHERE id = 4;
SELECT order_id, customer_id, delivered_at FROM lifecycle.delivery;
UPDATE orders SET total = 7 WHERE id = 4;
SELECT * FROM differences();
SELECT lifecycle.detach('deliveries');
TABLE triggers;

-- In quarantine, a row is known by what is read of it and by its key, however often the rest changes.
UPDATE orders SET customer_id = 4 WHERE customer_id IS NULL;
UPDATE orders SET total = NULL WHERE id IN (2, 4);
UPDATE orders SET note = 'where is it?' WHERE id IN (2, 4);
SELECT data ->> 'id' AS id, message FROM lifecycle.quarantine ORDER BY 1;
SELECT count(*) FROM lifecycle.verify();
UPDATE orders SET total = 20 WHERE id = 2;
DELETE FROM orders WHERE id = 4;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT * FROM differences();
UPDATE orders SET total = NULL WHERE id = 5;
UPDATE orders SET note = 'renumbered' WHERE id = 5;
UPDATE orders SET id = 50 WHERE id = 5;
SELECT data ->> 'id' AS id FROM lifecycle.quarantine;
UPDATE orders SET total = 50 WHERE id = 50;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT * FROM differences();
-- So it is where changes wait in the inbox.
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}',
    name => 'orders', mode => 'async');
UPDATE orders SET total = NULL WHERE id = 50;
UPDATE orders SET note = 'unread' WHERE id = 50;
UPDATE orders SET total = 51 WHERE id = 50;
UPDATE orders SET total = NULL WHERE id = 2;
SELECT count(*) AS letters FROM lifecycle.inbox;
SELECT lifecycle.tick() > 0 AS ticked;
SELECT data ->> 'id' AS id FROM lifecycle.quarantine;
UPDATE orders SET note = 'unread' WHERE id = 2;
UPDATE orders SET total = 21 WHERE id = 2;
SELECT lifecycle.tick() > 0 AS ticked;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT * FROM differences();
SELECT lifecycle.detach('orders');
CALL attach();
SELECT * FROM differences();

-- A trigger of the shop's may change what the statement does not name. Then every update is looked at, from the moment it is there.
CREATE FUNCTION round_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := ceil(OLD.total) + 1; RETURN NEW; END $$;
CREATE TRIGGER round_up BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION round_up();
TABLE triggers;
UPDATE orders SET note = 'round';
SELECT * FROM differences();
SELECT * FROM lifecycle.check_sources();
DROP TRIGGER round_up ON orders;
SELECT lifecycle.watch_source('orders');
TABLE triggers;
SELECT * FROM lifecycle.check_sources();
UPDATE orders SET total = total + 1;
SELECT * FROM differences();
-- Made while our event trigger is disabled, it is found, and can be mended.
ALTER EVENT TRIGGER lifecycle_tables_changed DISABLE;
CREATE TRIGGER round_up BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION round_up();
ALTER EVENT TRIGGER lifecycle_tables_changed ENABLE ALWAYS;
SELECT * FROM lifecycle.check_sources();
SELECT lifecycle.watch_source('orders');
SELECT * FROM lifecycle.check_sources();
UPDATE orders SET note = 'round';
SELECT * FROM differences();
DROP TRIGGER round_up ON orders;
-- Made while a statement uses the table.
SELECT lifecycle.watch_source('orders');
DO $$
DECLARE
    i record;
BEGIN
    FOR i IN SELECT id FROM orders ORDER BY id LIMIT 1 LOOP
        CREATE TRIGGER round_up BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION round_up();
    END LOOP;
END $$;
UPDATE orders SET note = 'round';
SELECT * FROM differences();
SELECT source, problem FROM lifecycle.check_sources();
DROP TRIGGER round_up ON orders;
SELECT lifecycle.watch_source('orders');

-- The shop alters its table as if we were not there.
ALTER TABLE orders ALTER COLUMN total TYPE numeric(12,3), ALTER COLUMN id TYPE bigint;
ALTER TABLE orders RENAME COLUMN placed_at TO ordered_at;
SELECT source, problem FROM lifecycle.check_sources();
TABLE triggers;
ALTER TABLE orders RENAME COLUMN ordered_at TO placed_at;
TABLE triggers;
UPDATE orders SET total = total + 1;
SELECT * FROM differences();
BEGIN;
ALTER TABLE orders DROP COLUMN total CASCADE;
TABLE triggers;
UPDATE orders SET note = 'no total';
ROLLBACK;
-- Also after its dump was restored with the dependencies that PostgreSQL gives such triggers.
INSERT INTO pg_depend SELECT 'pg_trigger'::regclass, oid, 0, 'pg_class'::regclass, tgrelid, 3, 'n' FROM pg_trigger WHERE tgname ~ 'gather$';
ALTER TABLE orders ALTER COLUMN total TYPE numeric(14,4);
UPDATE orders SET total = total + 1;
SELECT * FROM differences();
-- Without a primary key a row that is held back could not be told from others.
ALTER TABLE orders DROP CONSTRAINT orders_pkey;
TABLE triggers;
UPDATE orders SET total = total + 1;
SELECT * FROM differences();
ALTER TABLE orders ADD PRIMARY KEY (id);
TABLE triggers;
-- A child makes it a tree; a generated column is never set.
CREATE TABLE orders_at () INHERITS (orders);
TABLE triggers;
INSERT INTO orders_at (id, customer_id, total, placed_at) VALUES (90, 5, 5, '2026-02-01 10:00+00');
UPDATE orders SET total = total + 1;
SELECT * FROM differences();
DROP TABLE orders_at;
SELECT lifecycle.detach('orders');
ALTER TABLE orders ADD COLUMN gross numeric GENERATED ALWAYS AS (total * 1.2) STORED;
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "gross / 1.2", "placed_at": "placed_at"}', name => 'orders');
TABLE triggers;
UPDATE orders SET total = total + 1;
SELECT count(*) FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, buyers, vouchers CASCADE;
DROP FUNCTION differences, dearer, follow, round_up;
DROP PROCEDURE attach;
