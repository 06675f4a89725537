-- A guest turns out to be a customer; and the books are checked.
\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active', max_age = '10 years' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
UPDATE lifecycle.step SET class = 'transactional', not_after = NULL;
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, at timestamptz);
CREATE TABLE visits (customer text, at timestamptz);
CREATE TABLE consents (customer text, status text, at timestamptz);
CREATE TABLE people (id text PRIMARY KEY, email text, name text, tags text[], born date);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "at"}', name => 'orders');
SELECT lifecycle.attach('visits', 'engagement', '{"customer": "customer", "type": "''visit''", "occurred_at": "at"}', name => 'visits');
SELECT lifecycle.attach('consents', 'consent', '{"customer": "customer", "channel": "''email''", "status": "status", "changed_at": "at"}', name => 'consents');
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "email", "first_name": "name", "tags": "tags", "birthday": "born"}', name => 'people');

INSERT INTO people VALUES ('7', 'ann@example.org', 'Ann', '{vegan}', NULL), ('ann@example.org', 'old@example.org', 'Anne', '{berlin}', '1990-01-01');
INSERT INTO orders VALUES (1, 'ann@example.org', 300, '2029-11-01 12:00+00'), (2, '7', 250, '2030-02-01 12:00+00'), (3, 'ann@example.org', 20, '2030-02-20 12:00+00');
INSERT INTO visits VALUES ('ann@example.org', '2030-02-28 12:00+00'), ('7', '2030-02-27 12:00+00');
INSERT INTO consents VALUES ('ann@example.org', 'granted', '2030-01-01 12:00+00'), ('7', 'revoked', '2029-01-01 12:00+00');
SELECT customer_id, order_count, revenue, tier, tier_since, lifecycle, email_consent, last_visit_at FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, scenario, anchor, status FROM lifecycle.enrolment ORDER BY 1, 2, 3;

SELECT lifecycle.merge('ann@example.org', '7');
SELECT customer_id, email, first_name, tags, birthday, order_count, revenue, tier, tier_since, first_order_at, previous_order_at, last_order_at,
       lifecycle, email_consent, last_visit_at FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, id, amount FROM lifecycle.purchase ORDER BY id;
SELECT customer_id, tier, entered_at, left_at FROM lifecycle.tier_history ORDER BY 3;
SELECT customer_id, scenario, anchor, status FROM lifecycle.enrolment ORDER BY 1, 2, 3;
SELECT customer_id, scenario, anchor, status FROM lifecycle.outbox ORDER BY 2, 3;
SELECT segment, customer_id FROM lifecycle.segment_member;
SELECT segment, members FROM lifecycle.segment_size WHERE members > 0 ORDER BY 1;
SELECT count(*) FROM lifecycle.timer;
-- Said again, nothing happens; neither does the shop notice: it goes on with either id.
SELECT lifecycle.merge('ann@example.org', '7');
INSERT INTO orders VALUES (4, 'ann@example.org', 500, '2030-03-01 11:00+00');
UPDATE orders SET amount = 330 WHERE id = 1;
DELETE FROM orders WHERE id = 3;
SELECT customer_id, order_count, revenue, tier FROM lifecycle.customer ORDER BY 1;
SELECT lifecycle.track('ann@example.org', 'event', '{"event": "called"}');
SELECT customer_id, event FROM lifecycle.event;
-- Chains end at the last; circles there are none.
SELECT lifecycle.merge('7', '8');
INSERT INTO orders VALUES (5, 'ann@example.org', 1, '2030-03-01 12:00+00'), (6, '7', 1, '2030-03-01 12:00+00'), (7, '8', 1, '2030-03-01 12:00+00');
SELECT customer_id, order_count, revenue, email FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, into_id FROM lifecycle.merged ORDER BY 1;
SELECT lifecycle.merge('8', '7');
SELECT lifecycle.merge('8', '8');
SELECT lifecycle.merge('7', '9');
SELECT lifecycle.merge(NULL, '9');
-- Nobody known into nobody known: whoever comes later follows.
SELECT lifecycle.merge('ghost', 'guest');
INSERT INTO orders VALUES (8, 'ghost', 5, '2030-03-01 12:00+00');
SELECT customer_id, order_count FROM lifecycle.customer ORDER BY 1;

-- The books are right.
SELECT * FROM lifecycle.verify();
-- They are not: rows the triggers did not see, numbers somebody has touched.
ALTER TABLE orders DISABLE TRIGGER USER;
INSERT INTO orders VALUES (9, 'bob', 5, '2030-03-01 12:00+00');
DELETE FROM orders WHERE id = 7;
ALTER TABLE orders ENABLE TRIGGER USER;
INSERT INTO orders VALUES (10, 'bob', NULL, '2030-03-01 12:00+00');
UPDATE lifecycle.customer SET order_count = 17, tier = 'vip' WHERE customer_id = '8';
DELETE FROM lifecycle.segment_member WHERE customer_id = 'guest';
SELECT * FROM lifecycle.verify() ORDER BY 1, 2, 3, 4;
-- Looking has changed nothing; rebuild() repairs what is not the tables' fault.
INSERT INTO lifecycle.segment_member SELECT 'new', 'guest', '2030-03-01 12:00+00';
SELECT order_count, tier FROM lifecycle.customer WHERE customer_id = '8';
SELECT lifecycle.rebuild();
SELECT * FROM lifecycle.verify() ORDER BY 1, 2, 3, 4;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, visits, consents, people;
