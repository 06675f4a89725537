-- Segments and tiers that scenarios name are not deleted or renamed under them; in one transaction everything can be.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('quiet', 'last_order_at < now() - interval ''60 days'''), ('loud', 'order_count > 9'), ('silent', 'order_count = 0'), ('odd', 'NOT in_segment(''quiet'')');
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('silver', 1, 100), ('gold', 2, 1000);
INSERT INTO lifecycle.scenario (name, trigger, exclusion) VALUES ('win_back', 'segment_entered:quiet', 'in_segment(''loud'')'), ('farewell', 'segment_left:quiet', NULL), ('congratulate', 'tier_reached:gold', NULL);
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template, subject, content, condition)
    SELECT s.name, 1, '0', 'email', 'transactional', 't', '{"en": "t"}', '{"en": {}}', CASE s.name WHEN 'farewell' THEN 'NOT in_segment(''silent'')' END FROM lifecycle.scenario AS s;

-- A draft holds nothing up, but does not become active with what has gone.
BEGIN;
UPDATE lifecycle.segment SET predicate = 'true' WHERE name = 'odd';
DELETE FROM lifecycle.segment WHERE name IN ('quiet', 'loud');
DELETE FROM lifecycle.tier WHERE name = 'gold';
SET CONSTRAINTS ALL IMMEDIATE;
SAVEPOINT before;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
ROLLBACK TO before;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'congratulate';
ROLLBACK;
BEGIN;
DELETE FROM lifecycle.segment WHERE name = 'silent';
SET CONSTRAINTS ALL IMMEDIATE;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'farewell';
ROLLBACK;
UPDATE lifecycle.scenario SET status = 'active';
DELETE FROM lifecycle.segment WHERE name = 'silent';

DELETE FROM lifecycle.segment WHERE name = 'quiet';
UPDATE lifecycle.segment SET predicate = 'true' WHERE name = 'odd';
DELETE FROM lifecycle.segment WHERE name = 'quiet';
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
DELETE FROM lifecycle.segment WHERE name = 'loud';
UPDATE lifecycle.segment SET name = 'noisy' WHERE name = 'loud';
DELETE FROM lifecycle.segment WHERE name = 'silent';
DELETE FROM lifecycle.tier WHERE name = 'gold';
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'win_back';
UPDATE lifecycle.scenario SET status = 'draft' WHERE name = 'farewell';
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
SELECT name FROM lifecycle.segment UNION ALL SELECT name FROM lifecycle.tier ORDER BY 1;

-- What nobody names goes.
DELETE FROM lifecycle.segment WHERE name IN ('odd', 'silent');
UPDATE lifecycle.tier SET name = 'silvery' WHERE name = 'silver';
-- So does what is renamed together with who names it, in whichever order that is possible, or comes again under its name.
BEGIN;
UPDATE lifecycle.segment SET name = 'still' WHERE name = 'quiet';
UPDATE lifecycle.segment SET name = 'noisy' WHERE name = 'loud';
UPDATE lifecycle.scenario SET trigger = 'segment_entered:still', exclusion = 'in_segment(''noisy'')' WHERE name = 'win_back';
UPDATE lifecycle.tier SET name = 'golden' WHERE name = 'gold';
UPDATE lifecycle.scenario SET trigger = 'tier_reached:golden' WHERE name = 'congratulate';
COMMIT;
BEGIN;
DELETE FROM lifecycle.segment WHERE name = 'still';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('still', 'last_order_at < now() - interval ''90 days''');
COMMIT;
BEGIN;
DELETE FROM lifecycle.scenario;
DELETE FROM lifecycle.segment;
DELETE FROM lifecycle.tier;
COMMIT;
SELECT name FROM lifecycle.segment UNION ALL SELECT name FROM lifecycle.tier ORDER BY 1;
DROP EXTENSION pg_lifecycle CASCADE;
