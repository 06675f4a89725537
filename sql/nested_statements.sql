-- Triggers of a shop change the rows that they fire for: they work out a total, hand an order over to somebody else, throw it away. Their statements
-- end before the one within which they run. What counts is what the table says when all is over, in one step.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), placed_at timestamptz DEFAULT '2026-02-01 10:00+00', wish text, note text);
CREATE FUNCTION differences() RETURNS TABLE (what text, customer_id text, id text, amount numeric, at timestamptz)
    LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH expected AS (
        SELECT o.customer_id COLLATE "C", o.id::text COLLATE "C", o.total::numeric, o.placed_at FROM orders AS o WHERE o.total IS NOT NULL),
    actual AS (SELECT p.customer_id, p.id, p.amount, p.at FROM lifecycle.purchase AS p),
    bad AS (SELECT o.customer_id, o.id::text, o.total, o.placed_at FROM orders AS o WHERE o.total IS NULL),
    quarantined AS (SELECT q.data ->> 'customer_id', q.data ->> 'id', NULL::numeric, (q.data ->> 'placed_at')::timestamptz FROM lifecycle.quarantine AS q)
    SELECT 'missing', * FROM (TABLE expected EXCEPT ALL TABLE actual) AS e
    UNION ALL
    SELECT 'wrong', * FROM (TABLE actual EXCEPT ALL TABLE expected) AS w
    UNION ALL
    SELECT 'not in quarantine', * FROM (TABLE bad EXCEPT ALL TABLE quarantined) AS e
    UNION ALL
    SELECT 'still in quarantine', * FROM (TABLE quarantined EXCEPT ALL TABLE bad) AS w
    UNION ALL
    SELECT 'verify: ' || v.what, v.customer_id, NULL, NULL, NULL FROM lifecycle.verify() AS v;
END $$;

-- What the trigger does with a row is the row's wish.
CREATE FUNCTION meddle(o orders) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE o.wish
    WHEN 'dearer' THEN UPDATE orders SET total = coalesce(total, 0) + 1 WHERE id = o.id;
    WHEN 'priceless' THEN UPDATE orders SET total = NULL WHERE id = o.id;
    WHEN 'gift' THEN UPDATE orders SET customer_id = 'friend of ' || customer_id WHERE id = o.id AND customer_id !~ 'friend';
    WHEN 'renumber' THEN UPDATE orders SET id = (SELECT max(id) + 1000 FROM orders) WHERE id = o.id;
    WHEN 'cancel' THEN DELETE FROM orders WHERE id = o.id;
    WHEN 'note' THEN UPDATE orders SET note = 'seen', wish = 'noted' WHERE id = o.id;
    WHEN 'note, dearer' THEN
        UPDATE orders SET note = 'seen' WHERE id = o.id;
        UPDATE orders SET total = total + 1 WHERE id = o.id;
    WHEN 'again' THEN
        DELETE FROM orders WHERE id = o.id;
        INSERT INTO orders VALUES (o.id, o.customer_id, o.total + 1, o.placed_at);
    WHEN 'fail' THEN
        BEGIN
            UPDATE orders SET total = total + 1000 WHERE id = o.id;
            PERFORM 1 / 0;
        EXCEPTION WHEN division_by_zero THEN
            UPDATE orders SET total = total + 2 WHERE id = o.id;
        END;
    WHEN 'all' THEN UPDATE orders SET total = total + 1;
    ELSE NULL;
    END CASE;
END $$;
CREATE FUNCTION each_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() <= tg_argv[0]::int THEN PERFORM meddle(NEW); END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION each_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o orders;
BEGIN
    IF pg_trigger_depth() = 1 THEN
        FOR o IN SELECT * FROM orders WHERE wish IS NOT NULL ORDER BY id LOOP
            PERFORM meddle(o);
        END LOOP;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.wish = 'replace' AND pg_trigger_depth() = 1 THEN
        DELETE FROM orders WHERE customer_id = NEW.customer_id AND id <> NEW.id;
    END IF;
    RETURN NEW;
END $$;

SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
CREATE VIEW triggers AS SELECT tgrelid::regclass AS relation, tgname AS name FROM pg_trigger WHERE tgname ~ '^lifecycle.*_begin$' ORDER BY 1, 2;
-- Whoever has no triggers pays for nothing.
TABLE triggers;
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION each_row(1);
TABLE triggers;

-- An order whose trigger works out the total.
INSERT INTO orders VALUES (1, 'ann', 7, DEFAULT, 'dearer');
SELECT customer_id, order_count, revenue FROM lifecycle.customer;
SELECT * FROM differences();
INSERT INTO orders VALUES (2, 'bob', NULL, DEFAULT, 'dearer');
INSERT INTO orders VALUES (3, 'cid', 5, DEFAULT, 'cancel');
INSERT INTO orders VALUES (4, 'dan', 5, DEFAULT, 'gift');
SELECT customer_id, order_count, revenue FROM lifecycle.customer ORDER BY 1;
SELECT * FROM lifecycle.quarantine;
SELECT * FROM differences();
DELETE FROM orders;
SELECT * FROM differences();

-- All of it, by all doors, with triggers of all kinds, taken in at once and at commit. Says only what is wrong.
CREATE PROCEDURE play(scene text) LANGUAGE plpgsql AS $$
DECLARE
    wishes text[] := '{dearer,priceless,gift,renumber,cancel,note,"note, dearer",again,fail,NULL}';
    script text[] := ARRAY[
        'INSERT INTO orders SELECT n, ''c'' || n % 4, n, ''2026-02-02'', $1[n] FROM generate_series(1, 10) AS n',
        'UPDATE orders SET total = total + 10, wish = $1[1 + id % 10]',
        'UPDATE orders SET total = 10',
        'UPDATE orders SET customer_id = ''d'' || id % 3, wish = $1[1 + (id + 3) % 10]',
        'INSERT INTO orders SELECT n, ''c'' || n % 4, n, ''2026-02-02'', $1[1 + n % 10] FROM generate_series(1, 10) AS n
            ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total + 100, wish = EXCLUDED.wish',
        'UPDATE orders SET note = ''unread'', wish = $1[1 + (id + 5) % 10]',
        'WITH come AS (INSERT INTO orders SELECT n, ''e'', n, ''2026-02-03'', $1[1 + n % 10] FROM generate_series(20, 29) AS n RETURNING id),
              gone AS (DELETE FROM orders WHERE id IN (2, 3, 5) RETURNING id)
            UPDATE orders SET total = 50, wish = $1[1 + (id + 7) % 10] WHERE id NOT IN (2, 3, 5)',
        'MERGE INTO orders AS o USING generate_series(1, 12) AS v (id) ON o.id = v.id
            WHEN MATCHED AND o.id % 3 = 0 THEN DELETE
            WHEN MATCHED THEN UPDATE SET total = 60, wish = $1[1 + (o.id + 2) % 10]
            WHEN NOT MATCHED THEN INSERT VALUES (v.id, ''m'', 1, DEFAULT, $1[1 + v.id % 10])',
        'INSERT INTO orders VALUES (40, ''f'', 1, DEFAULT, ''all''), (41, ''f'', 1, DEFAULT, ''gift'')',
        'INSERT INTO orders VALUES (50, ''g'', 1, DEFAULT, ''replace''), (51, ''g'', 2, DEFAULT, ''replace''), (52, ''g'', 3, DEFAULT, ''replace'')',
        'DELETE FROM orders'];
    settle text;
    found  record;
BEGIN
    FOREACH settle IN ARRAY ARRAY['statement', 'commit'] LOOP
        PERFORM set_config('lifecycle.settle', settle, false);
        FOR step IN 1 .. cardinality(script) LOOP
            EXECUTE script[step] USING wishes;
            COMMIT;
            FOR found IN SELECT * FROM differences() LOOP
                RAISE WARNING '%, settle %, step %: %', scene, settle, step, found;
            END LOOP;
        END LOOP;
        -- Several statements in one transaction.
        IF settle = 'commit' THEN
            FOR step IN 1 .. cardinality(script) - 1 LOOP
                EXECUTE script[step] USING wishes;
            END LOOP;
            COMMIT;
            FOR found IN SELECT * FROM differences() LOOP
                RAISE WARNING '%, settle %, together: %', scene, settle, found;
            END LOOP;
            DELETE FROM orders;
            COMMIT;
        END IF;
    END LOOP;
    PERFORM set_config('lifecycle.settle', 'statement', false);
END $$;
CALL play('each row');
SELECT count(*) FROM lifecycle.purchase;
DROP TRIGGER a_first ON orders;
CREATE TRIGGER z_last AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION each_row(1);
CALL play('each row, after ours');
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION each_row(3);
CALL play('within one another');
DROP TRIGGER a_first ON orders;
DROP TRIGGER z_last ON orders;
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION each_statement();
CALL play('each statement');
DROP TRIGGER a_first ON orders;
CREATE TRIGGER z_last AFTER INSERT OR UPDATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION each_statement();
CREATE TRIGGER before_row BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION before_row();
CALL play('each statement, after ours, and before each row');
DROP TRIGGER z_last ON orders;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION each_row(1);
CALL play('deferred');
DROP TRIGGER deferred ON orders;

-- COPY, and rows so large that they are stored beside the table.
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION each_row(1);
COPY orders (id, customer_id, total, wish) FROM stdin;
1	ann	7	dearer
2	bob	\N	dearer
3	cid	5	cancel
4	dan	5	gift
\.
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0 ORDER BY 1;
INSERT INTO orders SELECT n, 'large', 1, '2026-02-01', 'dearer', string_agg(sha256((n * i)::text::bytea)::text, '') FROM generate_series(5, 8) AS n, generate_series(1, 200) AS i GROUP BY n;
SELECT * FROM differences();
-- What is pending is not much; what belongs together is kept together all the same.
SET lifecycle.settle_memory = '1kB';
UPDATE orders SET total = total + 1;
INSERT INTO orders SELECT n, 'many', 1, '2026-02-01', 'dearer' FROM generate_series(100, 199) AS n;
SELECT * FROM differences();
RESET lifecycle.settle_memory;

-- Rolled back, in part or whole.
BEGIN;
SAVEPOINT s;
INSERT INTO orders VALUES (300, 'ann', 7, DEFAULT, 'dearer');
ROLLBACK TO s;
INSERT INTO orders VALUES (301, 'ann', 7, DEFAULT, 'dearer');
SELECT * FROM differences();
SET LOCAL lifecycle.settle = 'commit';
SAVEPOINT s;
UPDATE orders SET total = 8 WHERE id = 301;
ROLLBACK TO s;
UPDATE orders SET total = 9 WHERE id = 301;
COMMIT;
SELECT * FROM differences();
-- A statement that fails within its triggers leaves nothing behind.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION refuse();
BEGIN;
SAVEPOINT s;
INSERT INTO orders VALUES (302, 'ann', 7, DEFAULT, 'dearer');
ROLLBACK TO s;
UPDATE orders SET total = 10 WHERE id = 301;
SELECT customer_id, revenue FROM lifecycle.customer WHERE customer_id = 'ann';
COMMIT;
DROP TRIGGER refuse ON orders;
SELECT * FROM differences();

-- Another table's trigger says something of its own within the statement: that counts at once, as it would without the order.
CREATE TABLE carts (id int PRIMARY KEY, customer_id text, value numeric, updated_at timestamptz);
SELECT lifecycle.attach('carts', 'cart', '{"cart": "id", "customer": "customer_id", "value": "value", "updated_at": "updated_at"}', name => 'carts');
CREATE FUNCTION fill_cart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        UPDATE orders SET total = 1 WHERE id = NEW.id;
        INSERT INTO carts VALUES (NEW.id, NEW.customer_id, 3, '2026-02-28');
        RAISE WARNING 'cart %', (SELECT cart_value FROM lifecycle.customer AS c WHERE c.customer_id = NEW.customer_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fill_cart AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION fill_cart();
INSERT INTO orders VALUES (400, 'eve', 7);
SELECT customer_id, order_count, revenue, cart_value FROM lifecycle.customer WHERE customer_id = 'eve';
DROP TRIGGER fill_cart ON orders;
SELECT lifecycle.detach('carts');
SELECT * FROM differences();

-- What cannot be taken in goes into quarantine as it is in the end.
ALTER TABLE orders RENAME COLUMN total TO price;
CREATE OR REPLACE FUNCTION meddle(o orders) RETURNS void LANGUAGE sql AS 'UPDATE orders SET price = price + 1 WHERE id = o.id';
INSERT INTO orders VALUES (500, 'fay', 7);
SELECT action, data -> 'id' AS id FROM lifecycle.quarantine;
ALTER TABLE orders RENAME COLUMN price TO total;
SELECT lifecycle.detach('orders');
DELETE FROM orders;

-- Mode async, and twice attached.
DROP TRIGGER a_first ON orders;
CREATE OR REPLACE FUNCTION meddle(o orders) RETURNS void LANGUAGE sql AS 'UPDATE orders SET total = total + 1, customer_id = ''zoe'' WHERE id = o.id';
CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION each_row(1);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders', mode => 'async');
SELECT lifecycle.attach('orders', 'event', '{"customer": "customer_id", "event": "''ordered''", "occurred_at": "placed_at"}', name => 'events');
INSERT INTO orders VALUES (1, 'ann', 7), (2, 'bob', 7);
UPDATE orders SET total = 3;
SELECT gone, arrived FROM lifecycle.inbox ORDER BY entry_id;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0;
SELECT customer_id, count(*) FROM lifecycle.event GROUP BY 1;
SELECT * FROM differences();
DROP TABLE carts;
DELETE FROM orders;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT lifecycle.detach('orders'), lifecycle.detach('events');
SELECT * FROM lifecycle.check_sources();

-- Partitions whose columns stand in another order, named or not; rows that move between them.
DROP TABLE orders CASCADE;
CREATE TABLE orders (id int, customer_id text, total numeric(10,2), placed_at timestamptz, PRIMARY KEY (id, placed_at)) PARTITION BY RANGE (placed_at);
CREATE TABLE january PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE february (placed_at timestamptz NOT NULL, gone int, total numeric(10,2), customer_id text, id int NOT NULL);
ALTER TABLE february DROP COLUMN gone;
ALTER TABLE orders ATTACH PARTITION february FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        UPDATE orders SET total = total + 1 WHERE id = NEW.id;
        UPDATE february SET total = total + 10, customer_id = customer_id || '''s friend' WHERE id = NEW.id;
        UPDATE orders SET placed_at = placed_at + interval '20 days' WHERE id = NEW.id AND placed_at < '2026-01-20';
        DELETE FROM january WHERE id = NEW.id AND id % 5 = 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON february FOR EACH ROW EXECUTE FUNCTION touch();
TABLE triggers;
INSERT INTO orders VALUES (1, 'ann', 1, '2026-02-02'), (2, 'bob', 1, '2026-01-02');
SELECT * FROM differences();
DROP TRIGGER touch ON february;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO orders SELECT n, 'p' || n % 3, n, '2026-01-05 12:00+00'::timestamptz + n * interval '3 days' FROM generate_series(3, 17) AS n;
SELECT * FROM differences();
INSERT INTO february (id, customer_id, total, placed_at) VALUES (20, 'ann', 1, '2026-02-02');
UPDATE orders SET total = 100;
SELECT * FROM differences();
SET lifecycle.settle = 'commit';
UPDATE orders SET placed_at = placed_at + interval '10 days' WHERE placed_at < '2026-02-15';
UPDATE february SET total = 7;
SELECT * FROM differences();
SELECT count(*) > 10 AS many FROM lifecycle.purchase;
RESET lifecycle.settle;

-- A partition that has been given a column in its own time.
SELECT lifecycle.detach('orders');
DROP TABLE orders CASCADE;
CREATE TABLE orders (id int, customer_id text, total numeric(10,2), placed_at timestamptz, bonus numeric) PARTITION BY RANGE (placed_at);
CREATE TABLE january (id int, customer_id text, total numeric(10,2), placed_at timestamptz);
INSERT INTO january VALUES (1, 'ann', 10, '2026-01-02'), (2, 'bob', 20, '2026-01-02'), (3, 'cid', 30, '2026-01-02');
ALTER TABLE january ADD COLUMN bonus numeric DEFAULT 0;
ALTER TABLE orders ATTACH PARTITION january FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}',
    filter => $$ bonus = 0 $$, name => 'orders');
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON january FOR EACH ROW EXECUTE FUNCTION touch();
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM january WHERE id = NEW.id; RETURN NULL; END $$;
UPDATE january SET total = 7 WHERE id = 1;
SET lifecycle.settle = 'commit';
UPDATE january SET total = 7 WHERE id = 2;
RESET lifecycle.settle;
SELECT customer_id, id FROM lifecycle.purchase;
DROP TRIGGER touch ON january;

-- On the way a row becomes again what it has been.
CREATE TABLE prices (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT '2026-02-01 10:00+00', note text);
SELECT lifecycle.attach('prices', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'prices');
CREATE FUNCTION reset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 3 THEN
        INSERT INTO prices SELECT p.id, p.customer_id, 3 FROM prices AS p ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total + 5;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER z_reset AFTER UPDATE ON prices FOR EACH STATEMENT EXECUTE FUNCTION reset();
SET lifecycle.settle = 'commit';
BEGIN;
INSERT INTO prices (id, customer_id, total) VALUES (901, 'ann', 7), (902, 'ben', NULL), (903, 'cay', 3), (904, NULL, 4);
UPDATE prices SET total = total + 20;
UPDATE prices SET customer_id = customer_id || 'y' WHERE id % 2 = 1;
UPDATE prices SET note = 'z';
INSERT INTO prices (id, customer_id, total) VALUES (901, 'eve', 70), (911, 'eve', 71), (913, 'eve', 71)
    ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total, customer_id = EXCLUDED.customer_id;
MERGE INTO prices AS p USING (VALUES (903, 5), (911, 6), (915, 7)) AS v (id, total) ON p.id = v.id
    WHEN MATCHED AND v.total = 6 THEN DELETE
    WHEN MATCHED THEN UPDATE SET total = v.total
    WHEN NOT MATCHED THEN INSERT (id, customer_id, total) VALUES (v.id, 'fay', v.total);
WITH dearer AS (UPDATE prices SET total = total + 1 WHERE id = 903), come AS (INSERT INTO prices (id, customer_id, total) VALUES (917, 'guy', 8)) SELECT;
DELETE FROM prices WHERE id = 903;
COMMIT;
RESET lifecycle.settle;
SELECT id, customer_id, total FROM prices WHERE customer_id IS NOT NULL ORDER BY id;
SELECT id, customer_id, amount FROM lifecycle.purchase AS p JOIN lifecycle.source AS s USING (source_id) WHERE s.name = 'prices' ORDER BY id;
SELECT lifecycle.detach('prices');
DROP TABLE prices;
DROP FUNCTION reset;

-- Made while our event trigger is disabled, the shop's trigger is found, and can be mended.
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
TABLE triggers;
ALTER EVENT TRIGGER lifecycle_tables_changed DISABLE;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON january FOR EACH ROW EXECUTE FUNCTION touch();
ALTER EVENT TRIGGER lifecycle_tables_changed ENABLE ALWAYS;
SELECT * FROM lifecycle.check_sources();
SELECT lifecycle.watch_source('orders');
SELECT * FROM lifecycle.check_sources();

DROP EXTENSION pg_lifecycle CASCADE;
DROP VIEW triggers;
DROP TABLE orders CASCADE;
DROP FUNCTION differences, each_row, each_statement, before_row, touch, refuse, fill_cart;
DROP PROCEDURE play;
