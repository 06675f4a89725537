-- A changed definition is taken over in silence; what time has brought before is news, although nobody has looked.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
CREATE TABLE orders (id int, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO orders VALUES (1, 'ann', 10, '2026-01-01 12:00+00'), (2, 'bob', 10, '2026-01-03 12:00+00');

SET lifecycle.clock = '2026-03-03 12:00+00';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('anybody', 'order_count > 0');
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment IN ('at_risk', 'anybody', 'active') ORDER BY 1, 2;
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment;
SET lifecycle.clock = '2026-03-05 12:00+00';
UPDATE lifecycle.tier SET min_spend = 120 WHERE name = 'bronze';
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment ORDER BY 1;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
