-- What is sent is a fact about its customer: whoever is mailed and stays silent is dormant, lost to the newsletter, and in the end let go. The clock is frozen.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
INSERT INTO lifecycle.channel (name) VALUES ('postcard');
UPDATE lifecycle.channel SET cap_per_day = NULL, cap_per_week = NULL WHERE name IN ('email', 'audience');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('letter', 'event:letter');
INSERT INTO lifecycle.step (scenario, position, delay, class, channel, template) VALUES
    ('letter', 1, '0', 'transactional', 'email', 'letter');
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('letter', 'sunset');
CREATE VIEW seen AS SELECT customer_id, first_sent_at, last_sent_at, last_activity_at, engagement FROM lifecycle.customer ORDER BY 1;
CREATE PROCEDURE travel(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE due timestamptz;
BEGIN
    LOOP
        PERFORM lifecycle.tick();
        SELECT min(t.due_at) INTO due FROM lifecycle.timer AS t;
        EXIT WHEN due >= until OR due IS NULL;
        PERFORM set_config('lifecycle.clock', due::text, false);
    END LOOP;
    PERFORM set_config('lifecycle.clock', until::text, false);
    PERFORM lifecycle.tick();
END $$;
SELECT count(lifecycle.track(c, 'consent', '{"channel": "email", "status": "granted"}')) FROM unnest('{ann,ben,cay,dan,eve,fay}'::text[]) AS c;

-- SENT, however the mailer says so. Cay's mailer dies, and the provider's records tell what became of her letter.
UPDATE lifecycle.scenario SET delivery = 'at_most_once' WHERE name = 'letter';
SELECT count(lifecycle.track(c, 'event', '{"event": "letter"}')) FROM unnest('{ann,ben,cay,dan}'::text[]) AS c;
SELECT lifecycle.ack(array_agg(message_id), min(lease_token)) FROM lifecycle.claim(1, customer_id => 'ann');
SELECT customer_id FROM lifecycle.claim(1, customer_id => 'cay', lease => '1 minute');
SELECT lease_token AS dans FROM lifecycle.claim(1, customer_id => 'dan', lease => '1 minute') \gset
UPDATE lifecycle.outbox SET status = 'sent' WHERE customer_id = 'ben';
-- The mailer has touched nobody's row; the tick does.
SELECT * FROM seen;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM seen;
SET lifecycle.clock = '2026-01-01 12:10+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, status FROM lifecycle.outbox WHERE status = 'unknown' ORDER BY 1;
UPDATE lifecycle.outbox SET status = 'sent', sent_at = '2026-01-01 12:01+00' WHERE customer_id = 'cay';
SELECT lifecycle.ack(array_agg(message_id), :dans) FROM lifecycle.outbox WHERE customer_id = 'dan';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM seen;
SELECT count(*) FROM lifecycle.sent_note;
SELECT customer_id, source_id, type, occurred_at, message = (SELECT message_id::text FROM lifecycle.outbox AS o WHERE o.customer_id = e.customer_id) AS its_message
  FROM lifecycle.engagement AS e ORDER BY 1;

-- What does not reach a mailbox or a telephone is not sent to the customer. Newsletters that go out from elsewhere can be said.
UPDATE lifecycle.step SET channel = 'postcard' WHERE scenario = 'letter';
SELECT lifecycle.track('eve', 'event', '{"event": "letter"}');
UPDATE lifecycle.step SET channel = 'support' WHERE scenario = 'letter';
SELECT lifecycle.track('eve', 'event', '{"event": "letter"}', '2026-01-01 12:05+00');
UPDATE lifecycle.outbox SET status = 'sent' WHERE customer_id = 'eve';
SELECT lifecycle.track('fay', 'engagement', '{"type": "sent"}', '2026-01-01 09:00+00');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM seen WHERE customer_id IN ('eve', 'fay');
UPDATE lifecycle.step SET channel = 'email' WHERE scenario = 'letter';

-- A second letter, a week later. Ben has ordered since; Ann's order is said before the tick has told her row of the letter.
SET lifecycle.clock = '2026-01-08 12:00+00';
SELECT count(lifecycle.track(c, 'event', '{"event": "letter"}')) FROM unnest('{ann,ben}'::text[]) AS c;
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending';
SET lifecycle.clock = '2026-01-08 13:00+00';
SELECT lifecycle.track('ann', 'order', '{"order": "1", "amount": 10}');
SELECT lifecycle.track('ben', 'order', '{"order": "2", "amount": 10}', '2026-01-05 12:00+00');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM seen;

-- SILENCE counts from the first letter on, or from the last sign of life. Nobody is dormant on the first day of being mailed.
CALL travel('2026-04-01 12:00+00');
SELECT * FROM seen WHERE engagement IS NOT NULL;
CALL travel('2026-07-20 12:00+00');
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE segment LIKE 'engage%' ORDER BY 1, 3;

-- LAST CALL, and two weeks later goodbye.
SELECT customer_id, step, channel, status, due_at FROM lifecycle.outbox WHERE scenario = 'sunset' ORDER BY 1, 2;

-- A FORECAST knows what its own letters bring about at once, and what was sent already but not taken in.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('just_mailed', $$ last_sent_at > now() - interval '1 day' $$);
INSERT INTO lifecycle.scenario (name, trigger, reentry) VALUES ('echo', 'segment_entered:just_mailed', 'every 1 day');
INSERT INTO lifecycle.step (scenario, position, delay, class, channel, template) VALUES
    ('echo', 1, '0', 'transactional', 'email', 'echo'), ('echo', 2, '2 days', 'transactional', 'email', 'farewell');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'echo';
SELECT lifecycle.track(c, 'event', '{"event": "letter"}') IS NULL FROM unnest('{ann,dan}'::text[]) AS c;
UPDATE lifecycle.outbox SET status = 'sent' WHERE customer_id = 'dan' AND status = 'pending';
CREATE TEMPORARY TABLE foreseen AS SELECT customer_id, scenario, step, sent_at FROM lifecycle.forecast_messages('3 days');
DO $$
DECLARE due timestamptz;
BEGIN
    LOOP
        PERFORM lifecycle.tick();
        WHILE EXISTS (SELECT FROM lifecycle.outbox WHERE status = 'pending' AND channel = 'email') LOOP
            UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND channel = 'email';
            PERFORM lifecycle.tick();
        END LOOP;
        SELECT min(t.due_at) INTO due FROM lifecycle.timer AS t;
        EXIT WHEN due >= '2026-07-23 12:00+00';
        PERFORM set_config('lifecycle.clock', due::text, false);
    END LOOP;
END $$;
SELECT f.*, EXISTS (SELECT FROM lifecycle.outbox AS o WHERE (o.customer_id, o.scenario, o.step, o.sent_at) = (f.customer_id, f.scenario, f.step, f.sent_at)) AS lived
  FROM foreseen AS f ORDER BY sent_at, customer_id, scenario, step;
SELECT count(*) AS lived FROM lifecycle.outbox WHERE status = 'sent' AND sent_at >= '2026-07-20 12:00+00' AND (customer_id <> 'dan' OR scenario = 'echo');

-- What is kept is what the facts say, also when it is worked out anew, and of a customer who was two.
SELECT * FROM lifecycle.verify();
CREATE TEMPORARY TABLE was AS TABLE seen;
SELECT lifecycle.rebuild();
SELECT * FROM seen EXCEPT TABLE was;
SELECT lifecycle.track('cay', 'event', '{"event": "letter"}');
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND customer_id = 'cay';
SELECT lifecycle.merge('cay', 'fay');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM seen;
SELECT * FROM lifecycle.verify();

-- AN ERROR puts off whom it is about, by an hour, and nobody else.
SELECT count(lifecycle.track(c, 'event', '{"event": "letter"}')) FROM unnest('{ann,dan}'::text[]) AS c;
SET lifecycle.clock = '2026-07-23 11:00+00';
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND scenario = 'letter';
SET lifecycle.fault = 'sent:error';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, last_sent_at FROM seen WHERE customer_id IN ('ann', 'dan');
SET lifecycle.clock = '2026-07-24 10:30+00';
SELECT lifecycle.track('dan', 'event', '{"event": "letter"}');
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND scenario = 'letter';
SET lifecycle.fault = 'sent:error';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, last_sent_at FROM seen WHERE customer_id = 'dan';
SELECT not_before FROM lifecycle.sent_note;
SET lifecycle.clock = '2026-07-24 11:30+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, last_sent_at FROM seen WHERE customer_id = 'dan';

-- Forgotten, with what was noted and not taken in yet; and the timeline tells of a letter once.
SELECT at, kind, name FROM lifecycle.timeline('ben') WHERE kind LIKE 'message%' OR kind = 'engagement';
SELECT jsonb_array_length(lifecycle.export('ben') -> 'engagement') AS letters;
SELECT lifecycle.track('ben', 'event', '{"event": "letter"}');
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND customer_id = 'ben';
SELECT place FROM lifecycle.forget('ben') ORDER BY 1;
SELECT * FROM lifecycle.forget_check('ben');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) FROM lifecycle.sent_note;
SELECT * FROM lifecycle.forget_check('ben');
SELECT * FROM lifecycle.verify();

DROP VIEW seen;
DROP TABLE was, foreseen;
DROP PROCEDURE travel;
DROP EXTENSION pg_lifecycle;
