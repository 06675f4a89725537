-- Timers: when to look at a customer again. What comes in between leaves the later instant where it is.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

CREATE TABLE orders (id int PRIMARY KEY, customer_id text, amount numeric, placed_at timestamptz);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('fresh', 'last_order_at > lifecycle.now() - interval ''60 days''');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}');
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger, reentry) VALUES ('thanks', 'order_placed', 'once_per_anchor'), ('call_back', 'event:call', 'once_per_anchor');
INSERT INTO lifecycle.step (scenario, position, delay, class, template) VALUES
    ('thanks', 1, '3 days', 'transactional', 'thanks'), ('thanks', 2, '10 days', 'transactional', 'more_thanks'), ('call_back', 1, '1 day', 'transactional', 'call_back');
CREATE VIEW timers AS
    SELECT c.customer_id, c.timer_at, c.later_timer_at, (SELECT array_agg(t.due_at ORDER BY t.due_at) FROM lifecycle.timer AS t WHERE t.customer_id = c.customer_id) AS timers
      FROM lifecycle.customer AS c ORDER BY c.customer_id;

-- The order has made them fresh for sixty days. Then two scenarios begin for ann.
INSERT INTO orders VALUES (1, 'ann', 20, lifecycle.now()), (2, 'ben', 20, lifecycle.now());
TABLE timers;
UPDATE lifecycle.scenario SET status = 'active';
SET lifecycle.clock = '2030-03-02 12:00+00';
INSERT INTO orders VALUES (3, 'ann', 20, lifecycle.now());
TABLE timers;
SELECT lifecycle.track('ann', 'event', '{"event": "call"}');
TABLE timers;
-- Step by step; at the end the first timer of all is hers again, too early by the day between her orders, and then it is set anew.
SET lifecycle.clock = '2030-03-03 12:00+00';
SELECT lifecycle.tick();
TABLE timers;
SET lifecycle.clock = '2030-03-05 12:00+00';
SELECT lifecycle.tick();
TABLE timers;
SET lifecycle.clock = '2030-03-12 12:00+00';
SELECT lifecycle.tick();
TABLE timers;
SET lifecycle.clock = '2030-04-30 12:00+00';
SELECT lifecycle.tick();
TABLE timers;
SET lifecycle.clock = '2030-05-01 12:00+00';
SELECT lifecycle.tick();
TABLE timers;
SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history ORDER BY 2, 3;
SELECT customer_id, scenario, anchor, step, due_at FROM lifecycle.outbox ORDER BY due_at, scenario;

-- After an outage both have run out: she is looked at once.
INSERT INTO orders VALUES (4, 'ann', 20, lifecycle.now());
TABLE timers;
SELECT lifecycle.track('ann', 'event', '{"event": "call"}');
TABLE timers;
SET lifecycle.clock = '2031-01-01 12:00+00';
SELECT customer_id, entered_at FROM lifecycle.members('fresh');
SELECT lifecycle.tick();
TABLE timers;
SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history ORDER BY 2, 3;
SELECT scenario, anchor, position, outcome, reason FROM lifecycle.enrolment_step WHERE decided_at = lifecycle.now() ORDER BY 1, 2, 3;

-- A scenario that is paused and goes on looks at everybody on the way at once, at one instant as often as it likes.
INSERT INTO orders VALUES (5, 'ann', 20, lifecycle.now()), (6, 'ben', 20, lifecycle.now());
SELECT lifecycle.track('ann', 'event', '{"event": "call"}');
TABLE timers;
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'thanks';
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'thanks';
TABLE timers;
SELECT lifecycle.tick();
TABLE timers;
-- Who is merged or erased leaves none behind.
SELECT lifecycle.merge('ben', 'ann');
TABLE timers;
SELECT count(*) FROM lifecycle.timer WHERE customer_id <> 'ann';
SELECT place FROM lifecycle.forget('ann') WHERE place ~ 'customer';
SELECT * FROM lifecycle.forget_check('ann');
SELECT count(*) FROM lifecycle.timer;

DROP VIEW timers;
SELECT lifecycle.detach('public.orders:order');
DROP TABLE orders;
-- What time was to start is switched off before it comes: nothing is due for ever.
SET statement_timeout = '1min';
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('cake', 'birthday', 'active');
INSERT INTO lifecycle.step (scenario, position, class, template) VALUES ('cake', 1, 'transactional', 'cake');
SELECT lifecycle.track('cem', 'customer', '{"birthday": "1990-01-05"}');
DELETE FROM lifecycle.scenario;
SET lifecycle.clock = '2031-01-06 12:00+00';
SELECT lifecycle.tick();
SELECT customer_id, enrolment_due_at, timer_at FROM lifecycle.customer ORDER BY 1;
SELECT lifecycle.tick();
-- A timer that its customer knows nothing of is met once, and so is that of nobody.
INSERT INTO lifecycle.timer VALUES ('2031-01-02 12:00+00', 'cem'), ('2031-01-06 11:00+00', 'nobody');
SELECT lifecycle.tick();
SELECT lifecycle.tick();
SELECT count(*) FROM lifecycle.timer;
RESET statement_timeout;

DROP EXTENSION pg_lifecycle;
