-- Steps that bring an offer: each message has its code, and what is not sent gives it back.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-05-04 10:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.offer (name, kind, value, codes, prefix, validity, validity_rounding, low_water, description) VALUES
    ('thanks', 'percent', 5, 'generated', 'THX', '48 hours', NULL, NULL, '{"en": "5 % off"}'),
    ('rare', 'amount', 20, 'pool', '', NULL, NULL, 1, '{}'),
    ('circle', 'tester_group', NULL, 'none', '', NULL, NULL, NULL, '{"en": "you test it first"}');
SELECT lifecycle.import_coupons('rare', ARRAY['RARE-1', 'RARE-2']);
CREATE VIEW messages AS SELECT o.customer_id, o.scenario, o.step, o.variant, o.status, o.error, o.payload -> 'offer' AS offer FROM lifecycle.outbox AS o ORDER BY o.message_id;
CREATE VIEW decisions AS SELECT customer_id, scenario, anchor, position, outcome, reason, decided_at FROM lifecycle.enrolment_step ORDER BY decided_at, customer_id, scenario, anchor, position;
CREATE VIEW coupons AS SELECT offer, CASE WHEN offer = 'rare' THEN code END AS code, status, customer_id, purpose, valid_until FROM lifecycle.coupon ORDER BY offer, created_at, customer_id, code;
CREATE FUNCTION say(customer text, event text) RETURNS void LANGUAGE sql
    AS $$ SELECT lifecycle.track(customer, 'event', jsonb_build_object('event', event)) $$;
CREATE FUNCTION scenario(name text, exit_when text DEFAULT NULL) RETURNS void LANGUAGE sql
    AS $$ INSERT INTO lifecycle.scenario (name, trigger, exit_when, status) VALUES (name, 'event:' || name, exit_when, 'active') $$;

-- What cannot be is refused.
SELECT scenario('thanks', 'has_tag(''gone'')');
\set VERBOSITY terse
INSERT INTO lifecycle.step (scenario, position, template, offer) VALUES ('thanks', 1, 'thanks', 'nothing');
INSERT INTO lifecycle.step (scenario, position, template, pool_empty) VALUES ('thanks', 1, 'thanks', 'cry');
\set VERBOSITY default

-- The message has its code as soon as it is due, for mailers that poll with plain SQL; asked again, it is the same.
INSERT INTO lifecycle.step (scenario, position, template, offer, not_after) VALUES ('thanks', 1, 'thanks', 'thanks', '3 days');
INSERT INTO lifecycle.step (scenario, position, template, offer, delay, not_after) VALUES ('thanks', 2, 'reminder', 'thanks', '1 day', '3 days');
SELECT say('anna', 'thanks'), say('ben', 'thanks'), say('cleo', 'thanks');
SELECT customer_id, status, offer - 'code' AS offer, offer ->> 'code' = (SELECT c.code FROM lifecycle.coupon AS c WHERE c.customer_id = m.customer_id) AS has_code
  FROM messages AS m;
TABLE coupons;
-- A validity of 48 hours begins when the first mailer takes the message, not before, and not anew with every try.
SET lifecycle.clock = '2026-05-04 13:00+00';
SELECT payload -> 'offer' ->> 'code' AS code, message_id, payload -> 'offer' ->> 'valid_until' AS valid_until FROM lifecycle.claim(1, customer_id => 'anna') \gset
SELECT :'valid_until' AS valid_until;
SELECT lifecycle.fail(:message_id, 'mailbox full', retry_after => '1 hour');
SET lifecycle.clock = '2026-05-04 14:00+00';
SELECT payload -> 'offer' ->> 'code' = :'code' AS same_code, payload -> 'offer' ->> 'valid_until' AS valid_until FROM lifecycle.claim(1, customer_id => 'anna');
SELECT lifecycle.ack(ARRAY[:message_id]);
-- A message that loses its reason gives the code back; so does one that expires, and one to an address that gets no mail.
SELECT lifecycle.track('ben', 'customer', '{"tags": ["gone"]}');
SELECT lifecycle.suppress('dan@example.org'), say('dan@example.org', 'thanks');
SELECT customer_id, status, error FROM messages;
TABLE coupons;
-- The next step of the same enrolment brings the same code; that it is cancelled takes nothing from her who has it already.
SET lifecycle.clock = '2026-05-05 10:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, step, status, offer ->> 'code' = :'code' AS same_code, offer ->> 'valid_until' AS valid_until FROM messages WHERE customer_id = 'anna';
SELECT lifecycle.cancel(array_agg(message_id)) FROM lifecycle.outbox WHERE customer_id = 'anna' AND step = 2;
SELECT status FROM coupons WHERE customer_id = 'anna';
-- Cleo's reminder takes the place of her first message, and the code stays with it until that expires too.
SELECT step, status, error FROM messages WHERE customer_id = 'cleo';
SELECT status FROM coupons WHERE customer_id = 'cleo';
SET lifecycle.clock = '2026-05-07 10:00+00';
SELECT lifecycle.tick() \gset
SELECT step, status, error FROM messages WHERE customer_id = 'cleo';
SELECT offer, status, customer_id FROM coupons;

-- THE POOL RUNS DRY: skip, ...
SELECT scenario('rare');
INSERT INTO lifecycle.step (scenario, position, template, offer, not_after) VALUES ('rare', 1, 'rare', 'rare', '3 hours');
BEGIN;
SELECT say('eve', 'rare');
PREPARE TRANSACTION 'an order that takes one of the last codes';
COMMIT PREPARED 'an order that takes one of the last codes';
SELECT say('fay', 'rare'), say('gus', 'rare');
SELECT customer_id, offer ->> 'code' AS code FROM messages WHERE scenario = 'rare';
SELECT customer_id, outcome, reason FROM decisions WHERE scenario = 'rare';
SELECT customer_id, status, last_position FROM lifecycle.enrolment WHERE customer_id = 'gus';
-- ... defer, until there are codes, ...
UPDATE lifecycle.step SET pool_empty = 'defer' WHERE scenario = 'rare';
SELECT say('hal', 'rare'), say('ian', 'rare');
SELECT customer_id, status, last_position, next_due_at FROM lifecycle.enrolment WHERE customer_id IN ('hal', 'ian') ORDER BY customer_id;
SELECT lifecycle.import_coupons('rare', ARRAY['RARE-3']);
SET lifecycle.clock = '2026-05-07 11:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, offer ->> 'code' AS code FROM messages WHERE customer_id IN ('hal', 'ian');
-- ... which comes too late for ian, ...
SET lifecycle.clock = '2026-05-07 12:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, outcome, reason, decided_at FROM decisions WHERE customer_id IN ('hal', 'ian');
-- ... or send without.
UPDATE lifecycle.step SET pool_empty = 'send_without' WHERE scenario = 'rare';
SELECT say('kay', 'rare');
SELECT customer_id, status, offer FROM messages WHERE customer_id = 'kay';
-- What expired has put its code back into the pool.
SET lifecycle.clock = '2026-05-07 14:00+00';
SELECT lifecycle.tick() \gset
SELECT code, status, customer_id FROM coupons WHERE offer = 'rare';
-- An offer that has ended has no codes either.
UPDATE lifecycle.step SET pool_empty = 'skip' WHERE scenario = 'rare';
UPDATE lifecycle.offer SET valid_until = '2026-05-07 14:00+00' WHERE name = 'rare';
SELECT say('leo', 'rare');
SELECT customer_id, outcome, reason FROM decisions WHERE customer_id = 'leo';
UPDATE lifecycle.offer SET valid_until = NULL WHERE name = 'rare';

-- VARIANTS may bring another offer, one without a code, too. Who is held out takes none.
SELECT scenario('choice');
INSERT INTO lifecycle.step (scenario, position, template, offer) VALUES ('choice', 1, 'choice', 'thanks');
INSERT INTO lifecycle.variant (scenario, position, name, offer) VALUES ('choice', 1, 'A', NULL), ('choice', 1, 'B', 'circle');
SELECT say('p' || n, 'choice') FROM generate_series(1, 6) AS n;
SELECT variant, offer - 'code' AS offer, offer ? 'code' AS has_code, count(*) FROM messages WHERE scenario = 'choice' GROUP BY 1, 2, 3 ORDER BY 1;
UPDATE lifecycle.scenario SET holdout = 1 WHERE name = 'choice';
SELECT count(*) FROM lifecycle.coupon \gset before_
SELECT say('q', 'choice');
SELECT customer_id, outcome, reason FROM decisions WHERE customer_id = 'q';
SELECT count(*) - :before_count AS taken FROM lifecycle.coupon;

-- A hundred at once get a code each, in one go; the pool has ten.
SELECT lifecycle.import_coupons('rare', ARRAY(SELECT 'MANY-' || n FROM generate_series(1, 7) AS n));
INSERT INTO lifecycle.segment (name, predicate) VALUES ('many', $$ customer_id > 'q' $$);
INSERT INTO lifecycle.scenario (name, trigger, enroll_existing) VALUES ('many', 'segment_entered:many', true);
INSERT INTO lifecycle.step (scenario, position, template, offer) VALUES ('many', 1, 'many', 'rare');
CREATE TABLE people (id text);
INSERT INTO people SELECT 'r' || n FROM generate_series(1, 100) AS n;
SELECT lifecycle.attach('people', 'customer', '{"customer": "id"}');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'many';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT outcome, reason, count(*) FROM decisions WHERE scenario = 'many' GROUP BY 1, 2 ORDER BY 1;
SELECT count(*), count(DISTINCT offer ->> 'code') FROM messages WHERE scenario = 'many';
-- Every issued code is in the message of whom it was issued to, and no code is in two.
SELECT count(*) FILTER (WHERE c.status = 'issued') AS issued, count(*) FILTER (WHERE c.status = 'issued' AND NOT EXISTS (
           SELECT FROM lifecycle.outbox AS o WHERE o.customer_id = c.customer_id AND o.payload -> 'offer' ->> 'code' = c.code
              AND o.status NOT IN ('cancelled', 'expired'))) AS astray
  FROM lifecycle.coupon AS c;

-- A scenario with another name goes on with the same codes; what steps bring cannot be deleted.
UPDATE lifecycle.scenario SET name = 'dear' WHERE name = 'thanks';
SELECT DISTINCT purpose ~ '^scenario:dear:' AS follows FROM lifecycle.coupon WHERE offer = 'thanks' AND customer_id = 'anna';
\set VERBOSITY terse
DELETE FROM lifecycle.offer WHERE name = 'circle';
UPDATE lifecycle.offer SET name = 'square' WHERE name = 'circle';
\set VERBOSITY default
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people;
DROP FUNCTION say, scenario;
