-- What stands between a step that is due and its message: caps of every kind, exclusions, holdouts, throttles.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name, consent) VALUES ('email', 'email'), ('sms', NULL), ('push', NULL);
CREATE FUNCTION travel(clock text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('lifecycle.clock', clock, false), lifecycle.tick() $$;
CREATE FUNCTION say(customer text, event text, properties jsonb DEFAULT '{}') RETURNS void LANGUAGE sql
    AS $$ SELECT lifecycle.track(customer, 'event', properties || jsonb_build_object('event', event)) $$;
CREATE FUNCTION agrees(customer text, email text DEFAULT NULL) RETURNS void LANGUAGE sql
    AS $$ SELECT lifecycle.track(customer, 'customer', jsonb_build_object('email', coalesce(email, customer || '@example.org'))),
                 lifecycle.track(customer, 'consent', '{"channel": "email", "status": "granted"}') $$;
CREATE VIEW decided AS SELECT s.customer_id, s.scenario, s.outcome, s.reason, s.decided_at FROM lifecycle.enrolment_step AS s ORDER BY s.decided_at, s.customer_id, s.scenario, s.anchor;
INSERT INTO lifecycle.scenario (name, trigger, max_age, status)
    SELECT n, 'event:' || n, '30 days', 'active' FROM unnest('{mail,text,push,note}'::text[]) AS n;
INSERT INTO lifecycle.step (scenario, position, not_after, channel, class, template) VALUES
    ('mail', 1, '3 days', 'email', 'marketing', 't'), ('text', 1, '3 days', 'sms', 'marketing', 't'), ('push', 1, '3 days', 'push', 'marketing', 't'),
    ('note', 1, '3 days', 'email', 'transactional', 't');
SELECT agrees(c) FROM unnest('{ann,ben,cay,dan,eve}'::text[]) AS c;

-- CAPS over all channels together: two marketing messages in three days, whatever they are. Transactional ones neither count nor wait.
INSERT INTO lifecycle.cap (name, most, span) VALUES ('two in three days', 2, '3 days');
SELECT say('ann', 'note'), say('ann', 'mail'), say('ann', 'text'), say('ann', 'push');
SELECT travel('2030-03-02 12:00+00');
SELECT * FROM decided;
SELECT travel('2030-03-04 11:59:59+00');
SELECT say('ann', 'mail');
SELECT travel('2030-03-04 12:00+00');
-- The window rolls to the second: at exactly three days there is room again. The push would have had to wait for that until it was too late.
SELECT * FROM decided WHERE decided_at > '2030-03-01 12:00+00';
DELETE FROM lifecycle.cap;

-- Several due at once: the more important one first, of equals the one that has been due for longer.
SELECT travel('2030-03-20 12:00+00');
INSERT INTO lifecycle.cap (name, most, span) VALUES ('one a day', 1, '1 day');
UPDATE lifecycle.scenario SET priority = 5 WHERE name = 'text';
SELECT say('eve', 'push');
SELECT travel('2030-03-20 13:00+00');
SELECT say('eve', 'mail');
SELECT travel('2030-03-20 14:00+00');
SELECT say('eve', 'text');
SELECT travel('2030-03-21 12:00+00');
SELECT travel('2030-03-22 12:00+00');
SELECT * FROM decided WHERE customer_id = 'eve';
DELETE FROM lifecycle.cap;

-- By channel and class: a cap of its own for transactional text messages; NULL counts both classes.
SELECT travel('2030-04-01 12:00+00');
INSERT INTO lifecycle.step (scenario, position, delay, not_after, channel, class, template) VALUES ('text', 2, '1 hour', '5 hours', 'sms', 'transactional', 'code');
INSERT INTO lifecycle.cap (name, channel, class, most, span) VALUES ('codes', 'sms', 'transactional', 1, '2 hours');
SELECT say('ben', 'text');
SELECT travel('2030-04-01 12:30+00');
SELECT say('ben', 'text');
SELECT travel('2030-04-01 13:00+00');
SELECT travel('2030-04-01 13:30+00');
SELECT travel('2030-04-01 15:00+00');
SELECT * FROM decided WHERE customer_id = 'ben';
UPDATE lifecycle.cap SET class = NULL, most = 0;
SELECT say('ben', 'text');
SELECT travel('2030-04-05 15:00+00');
SELECT * FROM decided WHERE customer_id = 'ben' AND decided_at >= '2030-04-01 15:00+00';
DELETE FROM lifecycle.cap;
DELETE FROM lifecycle.step WHERE position = 2;

-- By address: an account and a guest with one mailbox are one reader.
SELECT travel('2030-05-01 12:00+00');
INSERT INTO lifecycle.cap (name, counted_by, most, span) VALUES ('one a day', 'address', 1, '1 day');
SELECT agrees('cay@example.org', 'Cay@Example.org ');
SELECT say('cay', 'mail'), say('cay@example.org', 'mail'), say('dan', 'mail');
SELECT travel('2030-05-02 11:59:59+00');
SELECT * FROM decided WHERE decided_at >= '2030-05-01';
SELECT travel('2030-05-02 12:00+00');
SELECT * FROM decided WHERE decided_at > '2030-05-01 12:00+00';
-- In one statement, too, and nobody without an address is anybody else.
SELECT travel('2030-05-10 12:00+00');
SELECT say(c, 'mail') FROM unnest('{cay,cay@example.org}'::text[]) AS c;
SELECT say(c, 'text') FROM unnest('{kim,leo}'::text[]) AS c;
SELECT * FROM decided WHERE decided_at >= '2030-05-10';
-- What was cancelled before it was sent makes room again.
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status = 'pending' AND customer_id LIKE 'cay%';
SELECT say('cay@example.org', 'push');
SELECT * FROM decided WHERE decided_at >= '2030-05-10';
DELETE FROM lifecycle.cap;
INSERT INTO lifecycle.cap (name, channel, most, span) VALUES ('x', 'pigeon', 1, '1 day');
INSERT INTO lifecycle.cap (name, most, span) VALUES ('x', 1, '0');
INSERT INTO lifecycle.cap (name, most, span) VALUES ('x', -1, '1 day');

-- EXCLUSIONS: who has bought within fourteen days, who reads the newsletter anyway, who has an open support case, told by a tag or by events.
SELECT travel('2030-06-01 12:00+00');
SELECT agrees(c) FROM unnest('{buyer,reader,tagged,asking,answered,plain}'::text[]) AS c;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('readers', $$ last_open_at > now() - interval '30 days' $$);
UPDATE lifecycle.scenario
   SET exclusion = $$ last_order_at > now() - interval '14 days' OR in_segment('readers') OR has_tag('support_case')
                      OR event_count('case_opened') > event_count('case_closed') $$ WHERE name = 'mail';
SELECT lifecycle.track('buyer', 'order', '{"order": "b", "amount": 10}'), lifecycle.track('reader', 'engagement', '{"type": "open"}'),
       lifecycle.track('tagged', 'customer', '{"tags": ["support_case"]}'), say('asking', 'case_opened'), say('answered', 'case_opened'), say('answered', 'case_closed');
SELECT say(c, 'mail') FROM unnest('{buyer,reader,tagged,asking,answered,plain}'::text[]) AS c;
SELECT * FROM decided WHERE decided_at >= '2030-06-01';
SELECT travel('2030-06-15 12:00+00');
SELECT say('buyer', 'mail');
SELECT * FROM decided WHERE decided_at >= '2030-06-15';
UPDATE lifecycle.scenario SET exclusion = NULL;

-- HOLDOUTS: of all marketing, and of one scenario beside. The same people whenever it is asked; what they would have got is on record, and transactional
-- messages go out to them all the same.
SELECT travel('2030-07-01 12:00+00');
INSERT INTO lifecycle.shop (holdout) VALUES (0.25);
UPDATE lifecycle.scenario SET holdout = 0.5 WHERE name = 'text';
SELECT say('h' || n, e) FROM generate_series(1, 400) AS n, unnest('{push,text,note}'::text[]) AS e;
SELECT scenario, outcome, reason, round(count(*) / 400.0, 1) AS share FROM decided WHERE customer_id LIKE 'h%' GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT count(*) AS held_out_of_all_but_not_of_text FROM decided AS p JOIN decided AS t USING (customer_id)
 WHERE p.scenario = 'push' AND p.outcome = 'would_send' AND t.scenario = 'text' AND t.outcome <> 'would_send';
SELECT travel('2030-07-02 12:00+00');
SELECT say('h' || n, 'push') FROM generate_series(1, 400) AS n;
SELECT count(*) AS changed_arm FROM (SELECT customer_id FROM decided WHERE customer_id LIKE 'h%' AND scenario = 'push' GROUP BY 1 HAVING count(DISTINCT outcome) > 1) AS c;
SELECT count(*) FROM lifecycle.outbox AS o JOIN decided AS d USING (customer_id, scenario) WHERE d.outcome = 'would_send';
DELETE FROM lifecycle.shop;
UPDATE lifecycle.scenario SET holdout = 0;

-- WARMING UP: an address that mails for the first time may not mail everybody at once.
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status = 'pending';
SELECT travel('2030-08-01 12:00+00');
UPDATE lifecycle.channel SET max_per_hour = 5 WHERE name = 'push';
SELECT say('w' || n, 'push') FROM generate_series(1, 12) AS n;
SELECT say('w1', 'text');
SELECT channel, count(*) FROM lifecycle.claim(3, 'push', 'mailer-1') GROUP BY 1;
SELECT travel('2030-08-01 12:20+00');
SELECT channel, count(*) FROM lifecycle.claim(100, NULL, 'mailer-2') GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM lifecycle.claim(100, 'push', 'mailer-1');
SELECT travel('2030-08-01 12:59:59+00');
SELECT count(*) FROM lifecycle.claim(100, 'push', 'mailer-1');
SELECT travel('2030-08-01 13:00+00');
SELECT count(*) FROM lifecycle.claim(100, 'push', 'mailer-1');
SELECT travel('2030-08-01 13:20+00');
SELECT count(*) FROM lifecycle.claim(100, 'push', 'mailer-1');
UPDATE lifecycle.channel SET max_per_hour = 0 WHERE name = 'push';
SELECT travel('2030-08-02 13:20+00');
SELECT count(*) FROM lifecycle.claim(100, 'push', 'mailer-1');
UPDATE lifecycle.channel SET max_per_hour = NULL WHERE name = 'push';
SELECT count(*) > 0 FROM lifecycle.claim(100, 'push', 'mailer-1');

-- QUIET HOURS bind the mailer, too: what fell due before them, and was not fetched in time, waits for their end in the customer's zone.
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status = 'pending';
UPDATE lifecycle.channel SET quiet_from = '20:00', quiet_until = '09:00' WHERE name = 'sms';
INSERT INTO lifecycle.scenario (name, trigger, delivery, status) VALUES ('code', 'event:code', NULL, 'active'), ('twice', 'event:twice', 'at_least_once', 'active');
INSERT INTO lifecycle.step (scenario, position, not_after, channel, class, template) VALUES
    ('code', 1, '3 days', 'sms', 'transactional', 'c'), ('twice', 1, '8 hours', 'sms', 'marketing', 't');
CREATE FUNCTION waiting() RETURNS TABLE (customer text, scenario text, due_at timestamptz, attempts int, gate text, seen boolean) LANGUAGE sql AS $$
    SELECT o.customer_id, o.scenario, o.due_at, o.attempts, lifecycle.gate(o), o.due_at <= lifecycle.now()
      FROM lifecycle.outbox AS o WHERE o.status IN ('pending', 'leased') ORDER BY 1, 2 $$;
SELECT travel('2030-09-02 19:59+00');
SELECT lifecycle.track('may', 'customer', '{"time_zone": "America/New_York"}'), lifecycle.track('kai', 'customer', '{"time_zone": "nowhere"}');
SELECT say('kai', 'text'), say('lee', 'text'), say('may', 'text'), say('lee', 'code'), say('lee', 'mail'), say('kai', 'twice');
SELECT * FROM waiting();
SET lifecycle.clock = '2030-09-03 03:00+00';
SELECT * FROM waiting();
-- One at a time, and the important ones are those that must wait.
UPDATE lifecycle.outbox SET priority = 9 WHERE status = 'pending' AND scenario = 'text';
SELECT customer_id, scenario FROM lifecycle.claim(1, 'sms', 'mailer-1');
SELECT * FROM waiting();
SELECT customer_id, scenario FROM lifecycle.claim(100, 'sms', 'mailer-1');
-- It would have been too late by nine.
SELECT customer_id, scenario, status, error FROM lifecycle.outbox WHERE scenario = 'twice';
SET lifecycle.clock = '2030-09-03 08:59:59+00';
SELECT count(*) FROM lifecycle.claim(100, 'sms', 'mailer-1') WHERE class = 'marketing';
SET lifecycle.clock = '2030-09-03 09:00+00';
SELECT customer_id, scenario FROM lifecycle.claim(100, 'sms', 'mailer-1') ORDER BY 1;
-- In New York it is five in the morning.
SET lifecycle.clock = '2030-09-03 13:00+00';
SELECT customer_id, scenario FROM lifecycle.claim(100, 'sms', 'mailer-1') ORDER BY 1;
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE status = 'leased' AND leased_until > lifecycle.now();
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status IN ('pending', 'leased');

-- Who claims in time and sends too late asks may_send(). What comes back by then, or after a crash, waits as well.
SELECT travel('2030-09-05 19:59+00');
UPDATE lifecycle.step SET not_after = '3 days' WHERE scenario = 'twice';
SELECT say('kai', 'text'), say('lee', 'code'), say('lee', 'twice'), say('kai', 'twice');
SELECT count(*) FROM lifecycle.claim(100, 'sms', 'mailer-1', '2 minutes');
SELECT customer_id, scenario, lifecycle.may_send(message_id) FROM lifecycle.outbox WHERE status = 'leased' ORDER BY 1, 2;
SET lifecycle.clock = '2030-09-05 20:00+00';
SELECT customer_id, scenario, lifecycle.may_send(message_id) FROM lifecycle.outbox WHERE status = 'leased' ORDER BY 1, 2;
SELECT lifecycle.release(ARRAY[message_id], lease_token) FROM lifecycle.outbox WHERE status = 'leased' AND scenario = 'text';
SET lifecycle.clock = '2030-09-05 20:01+00';
SELECT customer_id, scenario FROM lifecycle.claim(100, 'sms', 'mailer-2') ORDER BY 1, 2;
SELECT customer_id, scenario, status, due_at, error FROM lifecycle.outbox WHERE status = 'pending' ORDER BY 1, 2;
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status IN ('pending', 'leased');

-- A mailer with plain SQL asks gate(); the tick moves what waits out of its sight. Whose consent has gone does not wait.
SELECT travel('2030-09-07 19:59+00');
UPDATE lifecycle.channel SET consent = 'sms' WHERE name = 'sms';
SELECT lifecycle.track(c, 'consent', '{"channel": "sms", "status": "granted"}') FROM unnest('{kai,lee}'::text[]) AS c;
SELECT say('kai', 'text'), say('lee', 'text'), say('lee', 'code');
SET lifecycle.clock = '2030-09-07 21:00+00';
BEGIN;
SELECT o.customer_id, o.scenario FROM lifecycle.outbox AS o
 WHERE o.status = 'pending' AND o.due_at <= lifecycle.now() AND lifecycle.now() < o.expires_at AND lifecycle.gate(o) IS NULL
 ORDER BY o.due_at LIMIT 100 FOR UPDATE SKIP LOCKED;
COMMIT;
UPDATE lifecycle.customer SET sms_consent = 'revoked' WHERE customer_id = 'kai';
SELECT lifecycle.tick();
SELECT * FROM waiting();
SELECT status, error FROM lifecycle.outbox WHERE customer_id = 'kai' ORDER BY message_id DESC LIMIT 1;
SELECT at, name, detail -> 'stopped_by' AS stopped_by FROM lifecycle.next_actions('lee') WHERE kind = 'message' ORDER BY 1, 2;
-- The forecast lets it go out at nine.
SELECT sent_at, scenario, template FROM lifecycle.forecast_messages('1 day') WHERE customer_id = 'lee' ORDER BY 1, 2;

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION travel, say, agrees, waiting;
