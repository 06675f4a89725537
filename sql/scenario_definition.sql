-- Scenarios as a shop defines them: rows that are checked, and documents that can be reviewed.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- A DOCUMENT for review. A colleague reads it as text; the same scenario always gives the same text.
SELECT jsonb_pretty(lifecycle.export_scenario('birthday'));
SELECT step ->> 'position' AS position, step ->> 'template' AS template, step -> 'variants' -> 1 ->> 'name' AS second_variant
  FROM jsonb_array_elements(lifecycle.export_scenario('cart_recovery') -> 'steps') AS step;

-- What was exported is imported as it was, every scenario of the playbook, into a shop that has lost them all.
CREATE TABLE kept AS SELECT name, lifecycle.export_scenario(name) AS document FROM lifecycle.scenario;
DELETE FROM lifecycle.scenario;
SELECT count(*) FROM lifecycle.variant;
SELECT count(lifecycle.import_scenario(document)) FROM kept;
SELECT name FROM kept WHERE lifecycle.export_scenario(name) IS DISTINCT FROM document;
-- Said again it changes nothing, not even a row's version in storage.
CREATE TABLE rows_before AS SELECT name, xmin AS version FROM lifecycle.scenario;
SELECT count(lifecycle.import_scenario(document)) FROM kept;
SELECT count(*) FROM rows_before AS b JOIN lifecycle.scenario AS s USING (name) WHERE s.xmin <> b.version;

-- An import is the whole truth: a step that the document does not have goes, one that it has comes, a column that it does not name has its default.
SELECT lifecycle.import_scenario('{"name": "birthday", "trigger": "birthday", "max_age": "2 days",
    "steps": [{"position": 2, "delay": "10 hours", "template": "cake", "variants": [{"name": "chocolate"}, {"name": "cheese", "weight": 3}]}]}');
SELECT lifecycle.export_scenario('birthday') AS birthday \gset
SELECT jsonb_pretty(:'birthday');
-- It keeps its status, unless the document says one; then it starts with its steps in place.
SELECT lifecycle.import_scenario(:'birthday'::jsonb || '{"status": "active"}'), lifecycle.import_scenario(:'birthday'::jsonb - 'status');
SELECT status FROM lifecycle.scenario WHERE name = 'birthday';
-- A value of NULL inside a content is the shop's affair and stays.
SELECT lifecycle.import_scenario('{"name": "nulls", "trigger": "referral", "steps": [{"position": 1, "template": "t", "content": {"en": {"image": null}}}]}');
SELECT lifecycle.export_scenario('nulls') -> 'steps' -> 0 -> 'content';

-- What cannot be is refused as a whole, with the reason.
SELECT lifecycle.import_scenario(:'birthday'::jsonb || '{"triger": "birthday"}');
SELECT lifecycle.import_scenario(jsonb_set(:'birthday', '{steps,0,channel}', '"pigeon"'));
SELECT lifecycle.import_scenario(jsonb_set(:'birthday', '{steps,0,condition}', '"order_cout > 1"'));
SELECT lifecycle.import_scenario(jsonb_set(:'birthday', '{steps,0,delay}', '"soon"'));
SELECT lifecycle.import_scenario(jsonb_set(:'birthday', '{trigger}', '"full_moon"'));
SELECT lifecycle.import_scenario('{"trigger": "birthday"}');
SELECT lifecycle.import_scenario('[]');
SELECT lifecycle.import_scenario(NULL);
SELECT lifecycle.export_scenario('nothing');
SELECT lifecycle.export_scenario('birthday') = :'birthday'::jsonb || '{"status": "active"}' AS untouched;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE kept, rows_before;
