-- Versions: whoever is on the way finishes as it began; whoever starts later gets what holds then.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
CREATE VIEW told AS SELECT o.customer_id, o.step, o.variant, o.template, o.subject, o.status, o.error FROM lifecycle.outbox AS o ORDER BY o.message_id;
CREATE FUNCTION signs_up(customer text) RETURNS void LANGUAGE sql AS $$ SELECT lifecycle.track(customer, 'event', '{"event": "signed_up"}') $$;
CREATE FUNCTION wait_until(clock text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('lifecycle.clock', clock, false), lifecycle.tick() $$;

INSERT INTO lifecycle.scenario (name, trigger) VALUES ('course', 'event:signed_up');
INSERT INTO lifecycle.step (scenario, position, delay, template, subject) VALUES
    ('course', 1, '0', 'lesson_1', '{"en": "Lesson one"}'), ('course', 2, '1 day', 'lesson_2', '{"en": "Lesson two"}'), ('course', 3, '2 days', 'lesson_3', '{"en": "Lesson three"}');
-- A draft has no versions, however often it is changed.
UPDATE lifecycle.step SET not_after = delay + '5 days' WHERE scenario = 'course';
SELECT version FROM lifecycle.scenario;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'course';
SELECT version FROM lifecycle.scenario;
SELECT signs_up('ann');

-- The course is rewritten while ann is in it: the second lesson gets another text and two variants, the third goes, a fourth comes.
BEGIN;
UPDATE lifecycle.step SET template = 'lesson_2_new', subject = '{"en": "Lesson two, revised"}' WHERE scenario = 'course' AND position = 2;
INSERT INTO lifecycle.variant (scenario, position, name) VALUES ('course', 2, 'A');
DELETE FROM lifecycle.step WHERE scenario = 'course' AND position = 3;
INSERT INTO lifecycle.step (scenario, position, delay, template, subject) VALUES ('course', 4, '3 days', 'lesson_4', '{"en": "Lesson four"}');
COMMIT;
SELECT version, definition -> 'steps' -> 1 ->> 'template' AS second, jsonb_array_length(definition -> 'steps') AS steps FROM lifecycle.scenario_version;
SELECT version FROM lifecycle.scenario;
SELECT signs_up('ben');
SELECT wait_until('2030-03-02 12:00+00');
SELECT wait_until('2030-03-03 12:00+00');
SELECT wait_until('2030-03-04 12:00+00');
-- Ann gets the course that she signed up for, ben the new one.
SELECT * FROM told;
SELECT customer_id, version, status, last_position FROM lifecycle.enrolment ORDER BY 1;
SELECT step, verdict, facts ->> 'template' AS template FROM lifecycle.why('ann', 'course') WHERE gate = 'step';

-- What concerns beginning and sending only (priority, filters, holdout) makes no version; a goal does, and does not change what others have begun.
UPDATE lifecycle.scenario SET priority = 5, entry_filter = 'order_count = 0', max_age = '2 days' WHERE name = 'course';
SELECT version FROM lifecycle.scenario;
SELECT signs_up('cay');
UPDATE lifecycle.scenario SET goal = 'order_placed' WHERE name = 'course';
SELECT version FROM lifecycle.scenario;
SELECT signs_up('dan');
SELECT lifecycle.track(c, 'order', jsonb_build_object('order', c, 'amount', 10)) FROM unnest('{cay,dan}'::text[]) AS c;
SELECT customer_id, version, status, end_reason FROM lifecycle.enrolment WHERE customer_id IN ('cay', 'dan') ORDER BY 1;

-- All steps deleted: who is on the way finishes, who comes now gets nothing, and nobody anything twice.
SELECT signs_up('eve');
DELETE FROM lifecycle.step WHERE scenario = 'course';
SELECT signs_up('fay');
SELECT wait_until('2030-03-05 12:00+00');
SELECT wait_until('2030-03-08 12:00+00');
SELECT customer_id, step, template FROM told WHERE customer_id IN ('eve', 'fay');

-- Brought back from the version that had it all.
SELECT version FROM lifecycle.scenario;
SELECT lifecycle.import_scenario(definition) FROM lifecycle.scenario_version WHERE version = 2;
SELECT lifecycle.export_scenario('course') - 'status' = definition AS the_same FROM lifecycle.scenario_version WHERE version = 2;
SELECT signs_up('gus');
SELECT customer_id, step, template FROM told WHERE customer_id = 'gus';
-- Renamed, it takes its versions along; changed again, gus goes on.
UPDATE lifecycle.scenario SET name = 'school' WHERE name = 'course';
UPDATE lifecycle.step SET template = 'lesson' WHERE scenario = 'school';
SELECT wait_until('2030-03-09 12:00+00');
SELECT customer_id, step, template FROM told WHERE customer_id = 'gus';
SELECT DISTINCT scenario, definition ->> 'name' AS name FROM lifecycle.scenario_version;
-- Deleted and made anew it is another scenario: its versions go on counting.
DELETE FROM lifecycle.scenario;
SELECT wait_until('2030-03-10 12:00+00');
SELECT status, end_reason FROM lifecycle.enrolment WHERE customer_id = 'gus';
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('school', 'event:signed_up', 'active');
SELECT version > (SELECT max(version) FROM lifecycle.scenario_version) AS is_new FROM lifecycle.scenario;
SELECT scenario, customer_id, position, count(*) FROM lifecycle.enrolment_step GROUP BY 1, 2, 3 HAVING count(*) > 1;

-- Another trigger, while a message of the former one waits: it goes out as what it is.
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('swap', 'order_placed', 'active'), ('wish', 'wishlist_added', 'draft');
UPDATE lifecycle.scenario SET reentry = 'always', status = 'active' WHERE name = 'wish';
INSERT INTO lifecycle.step (scenario, position, class, template) VALUES ('swap', 1, 'transactional', 't'), ('wish', 1, 'transactional', 't');
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE status = 'pending';
SELECT lifecycle.track('ivy', 'order', '{"order": "i", "amount": 10}'), lifecycle.track('ivy', 'wishlist', '{"product": "hat"}');
UPDATE lifecycle.scenario SET trigger = 'event:swapped' WHERE name = 'swap';
SELECT scenario, anchor, payload ->> 'product' AS product FROM lifecycle.claim(10) ORDER BY 1;

-- AN OFFER that only a former version brings stays until the last one who began with it is through.
\set VERBOSITY default
INSERT INTO lifecycle.offer (name, kind, value) VALUES ('thank_you', 'percent', 5), ('by_variant', 'percent', 6);
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('gift', 'event:gift');
INSERT INTO lifecycle.step (scenario, position, delay, class, template, offer) VALUES ('gift', 1, '1 day', 'transactional', 'gift', 'thank_you');
INSERT INTO lifecycle.variant (scenario, position, name, offer) VALUES ('gift', 1, 'A', 'by_variant');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'gift';
SELECT lifecycle.track('kim', 'event', '{"event": "gift"}');
DELETE FROM lifecycle.variant WHERE scenario = 'gift';
UPDATE lifecycle.step SET offer = NULL WHERE scenario = 'gift';
DELETE FROM lifecycle.offer WHERE name = 'thank_you';
UPDATE lifecycle.offer SET name = 'another' WHERE name = 'by_variant';
SELECT wait_until('2030-03-11 12:00+00');
SELECT payload -> 'offer' ->> 'name' AS offer FROM lifecycle.outbox WHERE scenario = 'gift';
SELECT status FROM lifecycle.enrolment WHERE scenario = 'gift';
DELETE FROM lifecycle.offer WHERE name = 'thank_you';
\set VERBOSITY terse

-- A name that another scenario has had is not given again to one with a history of its own.
\set VERBOSITY default
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('spring', 'event:spring', 'active'), ('autumn', 'event:autumn', 'active');
DELETE FROM lifecycle.scenario WHERE name = 'spring';
UPDATE lifecycle.scenario SET name = 'spring' WHERE name = 'autumn';
UPDATE lifecycle.scenario SET name = 'fall' WHERE name = 'autumn';
UPDATE lifecycle.scenario SET name = 'autumn', trigger = 'event:fall' WHERE name = 'fall';
SELECT scenario, version, definition ->> 'trigger' AS trigger FROM lifecycle.scenario_version WHERE scenario IN ('spring', 'autumn', 'fall') ORDER BY 1, 2;
DELETE FROM lifecycle.scenario WHERE name = 'autumn';
\set VERBOSITY terse

-- A condition whose segment has gone does not hold, and costs nobody an order.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('buyers', 'order_count > 0');
INSERT INTO lifecycle.step (scenario, position, template) VALUES ('school', 1, 'x');
UPDATE lifecycle.scenario SET exit_when = $$ in_segment('buyers') $$;
SET client_min_messages = error;
TRUNCATE lifecycle.segment;
SELECT signs_up('hal');
SELECT lifecycle.track('hal', 'order', '{"order": "h", "amount": 10}');
SELECT order_count FROM lifecycle.customer WHERE customer_id = 'hal';
SELECT count(*) FROM lifecycle.quarantine;

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION signs_up, wait_until;
