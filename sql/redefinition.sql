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

-- In the background it is the same, only later: it is taken over in silence as of when it was changed, and what time has brought until it reaches
-- somebody is news. Cat is reached by the change, for Dan the old timer runs out first, Eva orders before it has come.
TRUNCATE orders;
UPDATE lifecycle.scenario SET status = 'draft';
INSERT INTO orders VALUES (3, 'cat', 10, '2026-03-01 12:00+00'), (4, 'dan', 10, '2026-02-01 12:00+00'), (5, 'eva', 10, '2026-03-02 12:00+00'), (6, 'fox', 10, '2026-02-03 12:00+00'),
    (7, 'gil', 10, '2026-03-03 12:00+00');
SET lifecycle.clock = '2026-03-20 12:00+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SET lifecycle.redefine_at_once = 0;
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('quiet_for_a_month', $$ last_order_at <= now() - interval '1 month' $$), ('warm', $$ last_order_at > now() - interval '1 month' $$);
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('quiet', 'segment_entered:quiet_for_a_month'), ('cooled', 'segment_left:warm'), ('risk', 'segment_entered:at_risk');
INSERT INTO lifecycle.step (scenario, position, delay, class, channel, template) SELECT name, 1, '0', 'transactional', 'email', name FROM unnest('{quiet,cooled,risk}'::text[]) AS name;
UPDATE lifecycle.scenario SET status = 'active', max_age = '30 days' WHERE name IN ('quiet', 'cooled', 'risk');
SET lifecycle.clock = '2026-04-03 18:00+00';
INSERT INTO orders VALUES (8, 'eva', 10, '2026-04-03 17:00+00');
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE segment IN ('quiet_for_a_month', 'warm') ORDER BY 1, 3, 2;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE segment IN ('quiet_for_a_month', 'warm') ORDER BY 1, 3, 2;
-- Fox was quiet when the segment was made, so she has not entered it.
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment WHERE scenario IN ('quiet', 'cooled', 'risk') ORDER BY 1, 2;
SELECT customers_done, finished_at FROM lifecycle.definition_change;
SELECT segment, customer_id FROM lifecycle.segment_member WHERE segment IN ('quiet_for_a_month', 'warm')
EXCEPT SELECT CASE WHEN last_order_at <= lifecycle.now() - interval '1 month' THEN 'quiet_for_a_month' ELSE 'warm' END, customer_id FROM lifecycle.customer WHERE order_count > 0;
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
