-- What an order has just earned waits with the order, in the customer's row. Nobody sees a difference, and nothing is lost or counted twice when
-- something else happens to the customer's points.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), placed_at timestamptz DEFAULT lifecycle.now(), status text DEFAULT 'paid');
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric(10,2), refunded_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', $$ status = 'paid' $$);
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('friends of the shop');
INSERT INTO lifecycle.points_rule (name, earns_on, points, rate, pending, expiry, valid_from) VALUES
    ('a point a euro', 'order', 0, 1, '14 days', '1 year', '2026-01-01'),
    ('each order',     'order', 5, 0, '0',       NULL,     '2026-01-01');

-- Each order comes a minute after what was before.
CREATE PROCEDURE place(id int, customer text, total numeric) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lifecycle.clock', (lifecycle.now() + interval '1 minute')::text, false);
    INSERT INTO orders VALUES (id, customer, total);
END $$;

-- Where the lots of each customer are: in its row, packed, or settled.
CREATE VIEW places AS
    SELECT c.customer_id, (SELECT count(*) FROM lifecycle.unpack_lots(c.lots)) AS waiting,
           (SELECT coalesce(sum(cardinality(r.rules)), 0) FROM lifecycle.points_run AS r WHERE r.customer_id = c.customer_id) AS packed,
           (SELECT count(*) FROM lifecycle.points_lot_settled AS l WHERE l.customer_id = c.customer_id) AS settled, c.points
      FROM lifecycle.customer AS c ORDER BY 1;
-- No row: balance, ledger and lots agree, each order has each of its lots once, and what waits is in order.
CREATE VIEW wrong AS
    SELECT c.customer_id, 'books' AS what
      FROM lifecycle.customer AS c
      LEFT JOIN (SELECT customer_id, sum(points) AS points, sum(pending) AS pending FROM lifecycle.points_entry GROUP BY 1) AS e USING (customer_id)
      LEFT JOIN (SELECT customer_id, sum(available) AS available, sum(pending) AS pending FROM lifecycle.points_lot GROUP BY 1) AS l USING (customer_id)
     WHERE (c.points, coalesce(e.pending, 0)) IS DISTINCT FROM (coalesce(e.points, 0), coalesce(l.pending, 0))
        OR c.points IS DISTINCT FROM coalesce(l.available, 0)
    UNION ALL
    SELECT coalesce(o.customer_id, l.customer_id), 'lots of order ' || coalesce(o.id::text, l.reference)
      FROM (SELECT * FROM orders WHERE status = 'paid') AS o
      FULL JOIN (SELECT customer_id, reference, count(*) AS n FROM lifecycle.points_lot WHERE origin = 'order' AND NOT closed GROUP BY 1, 2) AS l
        ON (l.customer_id, l.reference) = (o.customer_id COLLATE "C", o.id::text)
     WHERE coalesce(l.n, 0) <> CASE WHEN o.id IS NULL THEN 0 ELSE 2 END
    UNION ALL
    SELECT l.customer_id, 'lot ' || l.reference || ' twice' FROM lifecycle.points_lot AS l GROUP BY 1, l.reference, l.lot_id HAVING count(*) > 1
    UNION ALL
    SELECT c.customer_id, 'wakes too late' FROM lifecycle.customer AS c JOIN lifecycle.points_lot AS l USING (customer_id)
     WHERE isfinite(l.due_at) GROUP BY c.customer_id HAVING min(l.due_at) < coalesce(c.loyalty_due_at, 'infinity');

-- Orders that come one by one.
CALL place(1, 'anna', 100);
CALL place(2, 'anna', 50);
CALL place(3, 'ben', 30);
TABLE places;
TABLE wrong;
SELECT customer_id, reference, origin, rule, amount, paid, earned, revoked, pending, available, active_at, expires_at, due_at, closed
  FROM lifecycle.points_lot ORDER BY customer_id, lot_id;
SELECT customer_id, reference, kind, pending, points, at, recorded_at, note FROM lifecycle.points_entry ORDER BY customer_id, entry_id;
SELECT * FROM lifecycle.points_liability ORDER BY 1;
SELECT earned FROM lifecycle.points_leaderboard;
\set VERBOSITY terse
UPDATE lifecycle.points_entry SET points = 1000000;
\set VERBOSITY default

-- Paying with points settles them, and the next order waits again. An order is not new that was paid before it came.
SELECT lifecycle.redeem_points('anna', 7, '4');
CALL place(4, 'anna', 20);
CALL place(5, 'anna', 10);
TABLE places;
TABLE wrong;
SELECT reference, paid, earned FROM lifecycle.points_lot WHERE reference = '4' ORDER BY lot_id;

-- A refund, an order that changes, one that goes, one that comes back, one that moves to another customer: whose lots still wait.
INSERT INTO refunds VALUES (1, 3, 'ben', 15);
TABLE places;
TABLE wrong;
CALL place(6, 'carl', 60);
UPDATE orders SET total = 61 WHERE id = 6;
CALL place(7, 'dora', 70);
DELETE FROM orders WHERE id = 7;
CALL place(8, 'emma', 80);
UPDATE orders SET status = 'cancelled' WHERE id = 8;
UPDATE orders SET status = 'paid' WHERE id = 8;
CALL place(9, 'fritz', 90);
UPDATE orders SET customer_id = 'gerd' WHERE id = 9;
TABLE places;
TABLE wrong;

-- What is rolled back has never been.
BEGIN;
CALL place(10, 'hans', 10);
SAVEPOINT one;
CALL place(11, 'hans', 11);
SELECT lifecycle.redeem_points('hans', 6, 'x');
ROLLBACK TO one;
CALL place(12, 'hans', 12);
COMMIT;
SELECT * FROM places WHERE customer_id = 'hans';
TABLE wrong;

-- More than the row holds is packed. The same order again is known, wherever its lots are; other orders are new.
CALL place(100, 'ida', 1);
DO $$ BEGIN FOR i IN 101 .. 125 LOOP CALL place(i, 'ida', i); END LOOP; END $$;
SELECT * FROM places WHERE customer_id = 'ida';
TABLE wrong;
SELECT count(*), count(DISTINCT lot_id), sum(pending) FROM lifecycle.points_lot WHERE customer_id = 'ida';
UPDATE orders SET total = 1000 WHERE id = 101;
SELECT * FROM places WHERE customer_id = 'ida';
TABLE wrong;

-- Time: the return window ends, for who has been packed, too.
DO $$ BEGIN FOR i IN 201 .. 220 LOOP CALL place(i, 'jana', i); END LOOP; END $$;
SELECT * FROM places WHERE customer_id = 'jana';
SET lifecycle.clock = '2026-03-15 18:00+00';
SELECT lifecycle.tick();
SELECT * FROM places WHERE customer_id IN ('ben', 'jana');
TABLE wrong;

-- Who is merged takes along what waits; who is forgotten leaves nothing.
CALL place(301, 'guest', 31);
CALL place(302, 'karl', 32);
SELECT lifecycle.merge('guest', 'karl');
SELECT * FROM places WHERE customer_id IN ('guest', 'karl');
CALL place(303, 'guest', 33);
SELECT customer_id, reference, earned FROM lifecycle.points_lot WHERE customer_id = 'karl' ORDER BY lot_id;
DO $$ BEGIN FOR i IN 401 .. 420 LOOP CALL place(i, 'lisa', i); END LOOP; END $$;
SELECT jsonb_array_length(e -> 'points_lot') AS lots, jsonb_array_length(e -> 'points_entry') AS entries FROM lifecycle.export('lisa') AS e;
SELECT place, rows FROM lifecycle.forget('lisa') WHERE place ~ 'points';
SELECT count(*) FROM lifecycle.points_entry WHERE customer_id = 'lisa';
SELECT place FROM lifecycle.forget_check('lisa');

-- Worked out anew, nothing changes; nor by another rule.
CALL place(501, 'mona', 51);
CREATE TABLE before AS SELECT customer_id, reference, rule, earned, pending, available, lot_id FROM lifecycle.points_lot;
SELECT * FROM lifecycle.verify();
SELECT lifecycle.rebuild();
UPDATE lifecycle.points_rule SET rate = 2 WHERE rate = 1;
SELECT * FROM places WHERE customer_id = 'mona';
(TABLE before EXCEPT SELECT customer_id, reference, rule, earned, pending, available, lot_id FROM lifecycle.points_lot)
UNION ALL (SELECT customer_id, reference, rule, earned, pending, available, lot_id FROM lifecycle.points_lot EXCEPT TABLE before);

-- Points towards a tier are counted wherever they are.
CALL place(502, 'nora', 52);
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('hundred points', 1, 100);
UPDATE lifecycle.loyalty_program SET basis = 'points';
SELECT customer_id, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'nora';
CALL place(503, 'nora', 53);
SELECT * FROM places WHERE customer_id = 'nora';
SELECT customer_id, tier, tier_spend FROM lifecycle.customer WHERE customer_id = 'nora';
UPDATE lifecycle.loyalty_program SET basis = 'spend';

-- Nothing stays of orders that are gone.
CALL place(504, 'otto', 54);
TRUNCATE orders;
SELECT count(*) AS lots, sum(pending) AS pending, sum(available) AS available FROM lifecycle.points_lot WHERE NOT closed;
SELECT * FROM places WHERE waiting > 0 OR packed > 0;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, before;
DROP PROCEDURE place;
