-- Steps that wait for something or ask a question, and lead on accordingly. Each step is decided at most once, whatever happens.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email'), ('sms');
CREATE FUNCTION travel(clock text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('lifecycle.clock', clock, false), lifecycle.tick() $$;
CREATE VIEW way AS SELECT s.customer_id, s.position, s.outcome, s.reason, s.decided_at FROM lifecycle.enrolment_step AS s ORDER BY s.customer_id, s.anchor, s.position;

-- A MAIL, and if it is not opened within two days a text message; whoever opens it is asked a day later whether all is well, a VIP by another mail.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('call', 'event:invited');
INSERT INTO lifecycle.step (scenario, position, counts_from, delay, wait_for, condition, next, otherwise, channel, class, template) VALUES
    ('call', 10, 'anchor',   '0',      NULL,   NULL,                        NULL, NULL, 'email', 'transactional', 'invitation'),
    ('call', 20, 'anchor',   '2 days', 'open', NULL,                        NULL, 60,   'email', 'transactional', NULL),
    ('call', 30, 'previous', '1 day',  NULL,   $$ has_tag('vip') $$,        NULL, 50,   'email', 'transactional', NULL),
    ('call', 40, 'anchor',   '0',      NULL,   NULL,                        99,   NULL, 'email', 'transactional', 'personal'),
    ('call', 50, 'anchor',   '0',      NULL,   NULL,                        99,   NULL, 'email', 'transactional', 'question'),
    ('call', 60, 'anchor',   '0',      NULL,   NULL,                        NULL, NULL, 'sms',   'transactional', 'text');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'call';
SELECT lifecycle.track('ann', 'customer', '{"tags": ["vip"]}');
SELECT lifecycle.track(c, 'event', '{"event": "invited"}') FROM unnest('{ann,ben,cay,dan}'::text[]) AS c;
SELECT travel('2030-03-02 09:00+00');
SELECT lifecycle.track('ann', 'engagement', '{"type": "open"}'), lifecycle.track('ben', 'engagement', '{"type": "open"}'), lifecycle.track('cay', 'engagement', '{"type": "click"}');
SELECT customer_id, last_position, last_at, next_due_at FROM lifecycle.enrolment ORDER BY 1;
-- What is planned, and what has been decided.
SELECT customer_id, n.at, n.detail ->> 'step' AS step, n.detail ->> 'template' AS template, n.detail ->> 'waits_for' AS waits_for
  FROM unnest('{ann,cay}'::text[]) AS customer_id CROSS JOIN LATERAL lifecycle.next_actions(customer_id) AS n WHERE n.kind = 'step' ORDER BY 1, n.detail -> 'step';
SELECT step, verdict, reason, threshold FROM lifecycle.why('ann', 'call') WHERE gate = 'step';
SELECT travel('2030-03-03 12:00+00');
-- At exactly two days it is too late.
SELECT lifecycle.track('dan', 'engagement', '{"type": "open"}');
SELECT travel('2030-03-10 12:00+00');
SELECT * FROM way;
SELECT customer_id, step, template, channel FROM lifecycle.outbox ORDER BY customer_id, step;
SELECT customer_id, status, last_position FROM lifecycle.enrolment ORDER BY 1;

-- CART, THEN WAIT FOR THE CHECKOUT, THEN REMIND: who buys in time is thanked by another way, the others are reminded.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('checkout', 'event:added_to_cart');
INSERT INTO lifecycle.step (scenario, position, delay, wait_for, next, otherwise, class, template) VALUES
    ('checkout', 1, '1 hour', 'order_placed', 3, 2, 'transactional', NULL),
    ('checkout', 2, '0', NULL, 9, NULL, 'transactional', 'remind'),
    ('checkout', 3, '0', NULL, NULL, NULL, 'transactional', 'thank');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'checkout';
SELECT lifecycle.track(c, 'event', '{"event": "added_to_cart"}') FROM unnest('{eve,fay,gus}'::text[]) AS c;
SELECT travel('2030-03-10 12:30+00');
SELECT lifecycle.track('eve', 'order', '{"order": "e", "amount": 10}');
-- An order of before the cart is not what was waited for, however late it is told.
SELECT lifecycle.track('fay', 'order', '{"order": "f", "amount": 10}', '2030-03-10 11:00+00');
SELECT travel('2030-03-10 13:00+00');
SELECT * FROM way WHERE customer_id IN ('eve', 'fay', 'gus');

-- PAUSED meanwhile: what happened in time counts, though it is looked at later.
SELECT lifecycle.track(c, 'event', '{"event": "added_to_cart"}') FROM unnest('{hal,ivy}'::text[]) AS c;
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'checkout';
SELECT travel('2030-03-10 13:30+00');
SELECT lifecycle.track('hal', 'order', '{"order": "h", "amount": 10}');
SELECT travel('2030-03-10 16:00+00');
SELECT lifecycle.track('ivy', 'order', '{"order": "i", "amount": 10}');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'checkout';
SELECT lifecycle.tick() > 0;
SELECT * FROM way WHERE customer_id IN ('hal', 'ivy');

-- OUTAGE. The worker was away for weeks: nobody gets the whole way at once, only its end.
SELECT lifecycle.track('jim', 'event', '{"event": "invited"}');
SET lifecycle.clock = '2030-04-01 12:00+00';
SELECT lifecycle.track('kim', 'event', '{"event": "invited"}', '2030-03-31 13:00+00');
SELECT lifecycle.track('kim', 'engagement', '{"type": "open"}');
SELECT travel('2030-05-01 12:00+00');
SELECT * FROM way WHERE customer_id IN ('jim', 'kim');
-- Not even if it began before the outage: of the first message and the one after the wait only the later goes out.
UPDATE lifecycle.scenario SET max_age = '60 days' WHERE name = 'call';
SELECT lifecycle.track('lou', 'event', '{"event": "invited"}', '2030-04-01 12:00+00');
SELECT * FROM way WHERE customer_id = 'lou';

-- TWO WAITS one after the other, both ended before anybody looked; and a message that waits for its hour is not overtaken by what comes after it.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('two', 'event:begun');
INSERT INTO lifecycle.step (scenario, position, delay, wait_for, class, template, send_from, send_until) VALUES
    ('two', 1, '1 day', 'event:first', 'transactional', NULL, NULL, NULL), ('two', 2, '2 days', 'event:second', 'transactional', NULL, NULL, NULL),
    ('two', 3, '0', NULL, 'transactional', 'both', '09:00', '10:00'), ('two', 4, '10 days', 'visit', 'transactional', NULL, NULL, NULL), ('two', 5, '0', NULL, 'transactional', 'end', NULL, NULL);
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'two';
SELECT lifecycle.track('leo', 'event', '{"event": "begun"}');
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'two';
SELECT travel('2030-05-01 13:00+00');
SELECT lifecycle.track('leo', 'event', '{"event": "first"}');
SELECT travel('2030-05-01 14:00+00');
SELECT lifecycle.track('leo', 'event', '{"event": "second"}');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'two';
SELECT lifecycle.tick() > 0;
SELECT lifecycle.track('leo', 'engagement', '{"type": "visit"}');
SELECT * FROM way WHERE customer_id = 'leo';
SELECT travel('2030-05-02 09:00+00');
SELECT travel('2030-05-02 15:00+00');
SELECT lifecycle.track('leo', 'engagement', '{"type": "visit"}');
SELECT * FROM way WHERE customer_id = 'leo';

-- A condition with another way: the message is not sent, and the way leads elsewhere.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('either', 'referral');
INSERT INTO lifecycle.step (scenario, position, condition, next, otherwise, class, template) VALUES
    ('either', 1, 'order_count > 0', 9, 2, 'transactional', 'to_buyers'), ('either', 2, NULL, NULL, NULL, 'transactional', 'to_others');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'either';
SELECT lifecycle.track('eve', 'referral', '{"referral": "1", "referred": "x"}'), lifecycle.track('ann', 'referral', '{"referral": "2", "referred": "y"}');
SELECT s.customer_id, s.position, s.outcome, s.reason FROM lifecycle.enrolment_step AS s WHERE s.scenario = 'either' ORDER BY 1, 2;

-- The way was changed while somebody was on it: the old way is gone to its end.
SELECT lifecycle.track('mia', 'event', '{"event": "invited"}');
DELETE FROM lifecycle.step WHERE scenario = 'call' AND position >= 20;
SELECT travel('2030-05-03 15:00+00');
SELECT lifecycle.track('mia', 'engagement', '{"type": "open"}');
SELECT travel('2030-05-05 15:00+00');
SELECT * FROM way WHERE customer_id = 'mia';

-- A message that has to wait for the morning while what comes after it has been waited for in vain: the tick comes to an end, and goes on then.
UPDATE lifecycle.channel SET (quiet_from, quiet_until) = ('20:00', '09:00') WHERE name = 'sms';
INSERT INTO lifecycle.scenario (name, trigger, max_age) VALUES ('night', 'event:night', '10 days');
INSERT INTO lifecycle.step (scenario, position, delay, wait_for, next, channel, class, template) VALUES
    ('night', 1, '1 hour', NULL, NULL, 'sms', 'marketing', 'evening'), ('night', 2, '2 hours', 'open', NULL, 'sms', 'marketing', NULL), ('night', 3, '3 days', 'click', NULL, 'sms', 'marketing', NULL),
    ('night', 4, '3 days', NULL, NULL, 'sms', 'marketing', 'noon');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'night';
SELECT travel('2030-07-01 12:00+00');
SELECT lifecycle.track('nora', 'event', '{"event": "night"}');
SET statement_timeout = '1min';
SELECT travel('2030-07-02 02:00+00');
RESET statement_timeout;
SELECT position, outcome, reason, decided_at FROM way WHERE customer_id = 'nora';
SELECT next_due_at FROM lifecycle.enrolment WHERE customer_id = 'nora';
SELECT travel('2030-07-02 09:00+00');
SELECT position, outcome, reason, decided_at FROM way WHERE customer_id = 'nora';
SELECT travel('2030-07-04 12:00+00');
SELECT position, outcome, reason, decided_at FROM way WHERE customer_id = 'nora';
UPDATE lifecycle.channel SET (quiet_from, quiet_until) = (NULL, NULL) WHERE name = 'sms';

-- What cannot be is refused.
INSERT INTO lifecycle.step (scenario, position, template, wait_for) VALUES ('two', 6, 't', 'open');
INSERT INTO lifecycle.step (scenario, position) VALUES ('two', 6);
INSERT INTO lifecycle.step (scenario, position, wait_for) VALUES ('two', 6, 'full_moon');
INSERT INTO lifecycle.step (scenario, position, wait_for, condition) VALUES ('two', 6, 'open', 'true');
INSERT INTO lifecycle.step (scenario, position, template, next) VALUES ('two', 6, 't', 6);
INSERT INTO lifecycle.step (scenario, position, template, otherwise) VALUES ('two', 6, 't', 7);
SELECT count(*) FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION travel;
