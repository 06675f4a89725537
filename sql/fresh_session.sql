-- The first thing that a session does may be a changed definition: nothing that an order would have read before is in memory then.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'loyalty';
CREATE TABLE orders (id int, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO orders VALUES (1, 'ann', 5000, '2026-01-01 11:00+00'), (2, 'ann', 20, '2025-06-01 12:00+00'), (3, 'bob', 10, '2025-12-03 12:00+00');
SELECT customer_id, scenario, anchor FROM lifecycle.enrolment;

-- An enrolment waits that asks for a tier.
\c -
SET client_min_messages = 'warning';
SET timezone = 'UTC';
SET lifecycle.clock = '2026-01-01 12:00+00';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('big', 'revenue > 100');
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE segment IN ('big', 'active') ORDER BY 1, 2;

-- No tiers at all, and customers whose past has to be read.
DELETE FROM lifecycle.tier;
DELETE FROM lifecycle.loyalty_program;
\c -
SET client_min_messages = 'warning';
SET timezone = 'UTC';
SET lifecycle.clock = '2026-01-01 12:00+00';
UPDATE lifecycle.segment SET predicate = 'order_count > 1 AND last_order_at > now() - interval ''1 year''' WHERE name = 'big';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('returned', 'order_count > 1 AND last_order_at > first_order_at + interval ''90 days'''), ('buyer', 'order_count > 0');
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE segment IN ('big', 'returned', 'buyer') ORDER BY 1, 2;
UPDATE lifecycle.segment SET predicate = 'order_count > 2' WHERE name = 'big';
SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history WHERE segment = 'big' ORDER BY 1, 2;
\c -
SET client_min_messages = 'warning';
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
