-- Where enrolments are kept: open ones in the customer's row while there is room, all others in a table. Nobody can tell from lifecycle.enrolment.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "at"}');
INSERT INTO lifecycle.scenario (name, trigger, max_age) VALUES ('care', 'order_placed', '1 year');
INSERT INTO lifecycle.step (scenario, position, delay, not_after, channel, class, template, subject, content)
    SELECT 'care', n, n * interval '1 day', n * interval '1 day' + '12 hours', 'email', 'transactional', 'care', '{"en": "Care"}', '{"en": {}}' FROM generate_series(1, 2) AS n;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'care';
CREATE VIEW enrolments AS
    SELECT customer_id, scenario, anchor, version, status, last_position AS last, last_at, next_due_at, enrolled_at, ended_at, end_reason FROM lifecycle.enrolment ORDER BY customer_id, anchor;
CREATE VIEW places AS
    SELECT e.customer_id, e.anchor, CASE WHEN s.anchor IS NULL THEN 'row' ELSE 'table' END AS place,
           EXISTS (SELECT FROM lifecycle.unpack_ways(c.ways) AS w WHERE (w.scenario, w.anchor) = (e.scenario, e.anchor)) AS in_row
      FROM lifecycle.enrolment AS e JOIN lifecycle.customer AS c USING (customer_id)
      LEFT JOIN lifecycle.enrolment_settled AS s ON (s.customer_id, s.scenario, s.anchor) = (e.customer_id, e.scenario, e.anchor)
     ORDER BY e.customer_id, e.anchor;

-- They wait with the customer; nothing begins twice.
INSERT INTO orders VALUES (1, 'ann', 10, '2030-01-01 12:00+00'), (2, 'bob', 10, '2030-01-01 12:00+00'), (3, 'bob', 10, '2030-01-01 12:00+00');
TABLE enrolments;
TABLE places;
UPDATE orders SET amount = 11;
DELETE FROM orders WHERE id IN (1, 3);
TABLE enrolments;
INSERT INTO orders VALUES (1, 'ann', 10, '2030-01-01 12:00+00'), (3, 'bob', 10, '2030-01-01 12:00+00');
TABLE enrolments;
TABLE places;
SELECT customer_id, open_enrolments, enrolment_due_at FROM lifecycle.customer ORDER BY 1;

-- It goes through its steps where it is. A statement that fails leaves it as it was.
SET lifecycle.clock = '2030-01-02 12:00+00';
SELECT lifecycle.tick() > 0 AS done;
TABLE enrolments;
TABLE places;
BEGIN;
SAVEPOINT before;
DELETE FROM orders WHERE id = 2;
TABLE enrolments;
ROLLBACK TO before;
TABLE enrolments;
COMMIT;

-- Ended, it makes room for the next.
SET lifecycle.clock = '2030-01-03 12:00+00';
SELECT lifecycle.tick() > 0 AS done;
INSERT INTO orders VALUES (4, 'ann', 10, '2030-01-03 12:00+00');
SET lifecycle.clock = '2030-01-04 00:00+00';
SELECT lifecycle.tick() > 0 AS done;
INSERT INTO orders VALUES (5, 'bob', 10, '2030-01-04 00:00+00');
TABLE enrolments;
TABLE places;
SELECT customer_id, anchor, step, status FROM lifecycle.outbox ORDER BY 1, 2, 3;

-- A scenario that is renamed takes along who is on the way, wherever that is.
INSERT INTO orders VALUES (6, 'bob', 10, '2030-01-04 00:00+00');
UPDATE lifecycle.scenario SET name = 'service' WHERE name = 'care';
TABLE enrolments;
UPDATE orders SET amount = 12;
SELECT count(*) FROM lifecycle.enrolment;

-- What is changed by hand is changed where it is.
UPDATE lifecycle.enrolment SET status = 'exited', end_reason = 'exited', ended_at = lifecycle.now(), next_due_at = NULL WHERE anchor = '4';
DELETE FROM lifecycle.enrolment WHERE anchor = '6';
TABLE enrolments;
TABLE places;
UPDATE orders SET amount = 13;
SELECT customer_id, anchor, status FROM lifecycle.enrolment WHERE anchor IN ('4', '6') ORDER BY 1, 2;

-- Two customers who are one: all enrolments are the one's, and none begins again.
INSERT INTO orders VALUES (7, 'cem', 10, '2030-01-04 00:00+00');
SELECT lifecycle.merge('cem', 'bob');
TABLE enrolments;
UPDATE orders SET amount = 14;
DELETE FROM orders WHERE id = 7;
INSERT INTO orders VALUES (7, 'cem', 10, '2030-01-04 00:00+00');
SELECT customer_id, anchor, status, end_reason FROM lifecycle.enrolment WHERE anchor = '7';
SELECT customer_id, open_enrolments FROM lifecycle.customer ORDER BY 1;

-- Paused, nothing happens to those on the way; deleted, they have ended.
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'service';
SELECT lifecycle.tick() > 0 AS done;
TABLE enrolments;
DELETE FROM lifecycle.scenario WHERE name = 'service';
SELECT lifecycle.tick() > 0 AS done;
SELECT customer_id, anchor, status, end_reason FROM lifecycle.enrolment ORDER BY 1, 2;
SELECT customer_id, open_enrolments, ways FROM lifecycle.customer ORDER BY 1;
SELECT * FROM lifecycle.verify();

-- Where there is no room left, the next lie beside the row; all go their way, whichever ends first.
INSERT INTO lifecycle.scenario (name, trigger, max_age) VALUES ('help', 'order_placed', '1 year');
INSERT INTO lifecycle.step (scenario, position, delay, not_after, channel, class, template, subject, content)
    SELECT 'help', n, n * interval '1 day', n * interval '1 day' + '12 hours', 'email', 'transactional', 'help', '{"en": "Help"}', '{"en": {}}' FROM generate_series(1, 2) AS n;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'help';
INSERT INTO orders SELECT n, 'dan', 10, '2030-01-04 00:00+00' FROM generate_series(1001, 1012) AS n;
INSERT INTO orders SELECT n, 'dan', 10, '2030-01-04 00:00+00' FROM generate_series(1013, 1014) AS n;
CREATE VIEW dans AS
    SELECT e.status, e.last, p.place, count(*), count(*) FILTER (WHERE p.in_row) AS in_row, min(e.anchor) AS first, max(e.anchor) AS last_one, min(e.next_due_at) AS next_due_at,
           min(e.last_at) AS last_at, min(e.ended_at) AS ended_at
      FROM enrolments AS e JOIN places AS p USING (customer_id, anchor) WHERE e.customer_id = 'dan' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
TABLE dans;
DELETE FROM orders WHERE id IN (1002, 1013);
TABLE dans;
INSERT INTO orders VALUES (1015, 'dan', 10, '2030-01-04 00:00+00');
TABLE dans;
SET lifecycle.clock = '2030-01-05 00:00+00';
SELECT lifecycle.tick() > 0 AS done;
TABLE dans;
UPDATE lifecycle.scenario SET name = 'assist' WHERE name = 'help';
TABLE dans;
INSERT INTO orders VALUES (1016, 'dan', 10, '2030-01-05 00:00+00');
DELETE FROM orders WHERE id IN (1003, 1004);
TABLE dans;
SET lifecycle.clock = '2030-01-07 12:00+00';
SELECT lifecycle.tick() > 0 AS done;
TABLE dans;
SELECT anchor, status, count(*) FROM lifecycle.outbox WHERE customer_id = 'dan' AND anchor IN ('1001', '1002', '1014', '1016') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT customer_id, open_enrolments, ways FROM lifecycle.customer WHERE customer_id = 'dan';
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
