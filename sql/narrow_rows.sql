-- What a customer's row says in few bytes says all of it: amounts, ids and instants of any size, however many orders; the names it has seen; and to
-- whoever was given a view and nothing else.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE people (id text PRIMARY KEY);
CREATE TABLE orders (id text PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('people', 'customer', '{"customer": "id"}');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');

-- No row: the ledger says what the shop's table says.
CREATE VIEW wrong AS
    (SELECT o.customer_id COLLATE "C", left(o.id, 40) AS id, o.placed_at, o.total FROM orders AS o EXCEPT ALL SELECT p.customer_id, left(p.id, 40), p.at, p.amount FROM lifecycle.purchase AS p)
    UNION ALL
    (SELECT p.customer_id, left(p.id, 40), p.at, p.amount FROM lifecycle.purchase AS p EXCEPT ALL SELECT o.customer_id COLLATE "C", left(o.id, 40), o.placed_at, o.total FROM orders AS o);

-- One by one, as they come in a shop.
CREATE PROCEDURE place(id text, total numeric, placed_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO orders VALUES (id, 'ann', total, placed_at);
END $$;
INSERT INTO people VALUES ('ann');
CALL place('', 0, '2026-01-01');
CALL place('cents', 19.99, '2026-01-01 00:00:00.000001+00');
CALL place('digits', 0.123456789012, '2026-01-02');
CALL place('back', -7.50, '2026-01-03');
CALL place('much', 999999999999999.99, '2026-01-04');
CALL place('most', 999999999999999999.999999999999, '2026-01-05');
CALL place('least', -999999999999999999.999999999999, '2026-01-06');
CALL place('zeros', 20.0000000000000000, '2026-01-07');
CALL place('long ago', 1, '4713-01-01 00:00+00 BC');
CALL place(repeat('é', 300), 1, '2026-01-08');
CALL place(E'tab\tand ünïcode 日本', 1e3, '2026-01-09');
TABLE wrong;
SELECT u.nth, left(u.id, 20) AS id, u.at, u.amount FROM lifecycle.customer AS c, lifecycle.unpack_orders(c.recent_orders) AS u ORDER BY u.nth;
-- Sixteen fit in.
DO $$ BEGIN FOR n IN 1..10 LOOP CALL place('more ' || n, n, timestamptz '2026-02-01' + n * interval '1 hour'); END LOOP; END $$;
SELECT (SELECT count(*) FROM lifecycle.unpack_orders(c.recent_orders)) AS in_row, (SELECT sum(cardinality(l.ids)) FROM lifecycle.purchase_ledger AS l) AS in_ledger
  FROM lifecycle.customer AS c;
TABLE wrong;
UPDATE orders SET total = total + 0.01 WHERE abs(total) < 1e17;
TABLE wrong;
DELETE FROM orders WHERE id LIKE 'more%';
TABLE wrong;
SELECT * FROM lifecycle.verify();

-- What somebody has spoilt is said to be so, whatever the bytes.
SELECT * FROM lifecycle.unpack_orders('');
SELECT * FROM lifecycle.unpack_orders('\x02');
SELECT * FROM lifecycle.unpack_orders('\x01ff6162');
SELECT * FROM lifecycle.unpack_orders('\x01016100ff');
SELECT * FROM lifecycle.unpack_orders('\x01ffffffffffffffffffffff');
SELECT * FROM lifecycle.unpack_orders('\x0101ff000000');
SELECT * FROM lifecycle.unpack_orders('\x010100000000');
SELECT * FROM lifecycle.unpack_memberships('\x02');
SELECT * FROM lifecycle.unpack_lots('\x0101');
SELECT * FROM lifecycle.unpack_lots('\x010101ff010000000000');
SELECT * FROM lifecycle.unpack_ways('\x04');
SELECT * FROM lifecycle.unpack_ways('\x0001ff016100000000');
SELECT * FROM lifecycle.unpack_ways('\x000161016100');
SELECT * FROM lifecycle.unpack_ways('\x0301610162000000000000');
SELECT count(*) FROM lifecycle.unpack_ways('');
SELECT count(*) FROM lifecycle.unpack_memberships('');

-- Where nothing earns points, the row does not say that none were earned.
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO people VALUES ('cy');
INSERT INTO orders VALUES ('c1', 'cy', 10), ('c2', 'cy', 10);
INSERT INTO orders VALUES ('c3', 'cy', 10);
SELECT points_seen IS NOT NULL AS says FROM lifecycle.customer WHERE customer_id = 'cy';

-- The names of orders that have earned points are listed up to ten of them, and then mapped; each is known ever after.
INSERT INTO lifecycle.points_rule (name, earns_on, rate, pending, valid_from) VALUES ('a point a euro', 'order', 1, '0', '2026-01-01');
INSERT INTO people VALUES ('bob');
CREATE TABLE lengths (n int, bytes int);
DO $$
BEGIN
    FOR n IN 1..14 LOOP
        INSERT INTO orders VALUES ('b' || n, 'bob', 10, timestamptz '2026-02-01' + n * interval '1 hour');
        INSERT INTO lengths SELECT n, octet_length(c.points_seen) FROM lifecycle.customer AS c WHERE c.customer_id = 'bob';
    END LOOP;
END $$;
SELECT array_agg(bytes ORDER BY n) FROM lengths;
SELECT points FROM lifecycle.customer WHERE customer_id = 'bob';
UPDATE orders SET total = 15 WHERE customer_id = 'bob' AND id IN ('b1', 'b10', 'b11', 'b14');
SELECT c.points, (SELECT count(DISTINCT l.reference) FROM lifecycle.points_lot AS l WHERE l.customer_id = c.customer_id AND l.earned > 0) AS orders
  FROM lifecycle.customer AS c WHERE c.customer_id = 'bob';
TABLE wrong;

-- Whoever may read a view may read it whole.
CREATE ROLE regress_lifecycle_analyst;
GRANT USAGE ON SCHEMA lifecycle TO regress_lifecycle_analyst;
GRANT SELECT ON lifecycle.purchase, lifecycle.points_lot TO regress_lifecycle_analyst;
SET ROLE regress_lifecycle_analyst;
SELECT count(*) FROM lifecycle.purchase;
SELECT count(*) FROM lifecycle.points_lot;
SELECT count(*) FROM lifecycle.customer;
RESET ROLE;
DROP OWNED BY regress_lifecycle_analyst;
DROP ROLE regress_lifecycle_analyst;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people, orders, lengths;
DROP PROCEDURE place;
