-- Numbers of messages: those of a tick follow one another, whatever has become of the sequence.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('call', 'event:call');
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template)
    SELECT 'call', n, n * interval '1 day', 'email', 'transactional', 'call_' || n FROM generate_series(1, 9) AS n;
UPDATE lifecycle.scenario SET status = 'active';
-- Day n: the tick, and which numbers its messages have.
CREATE FUNCTION day(n int) RETURNS TABLE (ticked bigint, messages bigint, first bigint, last bigint, step bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lifecycle.clock', (timestamptz '2026-01-01' + n * interval '1 day')::text, false);
    ticked := lifecycle.tick();
    SELECT count(*), min(o.message_id), max(o.message_id), (max(o.message_id) - min(o.message_id)) / nullif(count(*) - 1, 0)
      INTO messages, first, last, step FROM lifecycle.outbox AS o WHERE o.step = n;
    RETURN NEXT;
END
$$;
SELECT count(lifecycle.track('c' || n, 'event', '{"event": "call"}')) FROM generate_series(1, 70) AS n;

-- ONE AFTER THE OTHER, and between ticks whoever asks for a number gets the next.
SELECT * FROM day(1);
-- log_cnt: a batch is logged as a whole, and as many numbers ahead as by nextval().
SELECT last_value, log_cnt, is_called FROM lifecycle.message_id;
SELECT nextval('lifecycle.message_id');
SELECT * FROM day(2);

-- ROLLED BACK, a tick's numbers are not given again.
BEGIN;
SELECT * FROM day(3);
ROLLBACK;
SELECT * FROM day(3);

-- A SEQUENCE THAT WAS CHANGED counts as it says.
ALTER SEQUENCE lifecycle.message_id INCREMENT BY 10;
SELECT * FROM day(4);
ALTER SEQUENCE lifecycle.message_id INCREMENT BY 1 CACHE 5;
SELECT * FROM day(5);
ALTER SEQUENCE lifecycle.message_id CACHE 1 RESTART WITH 5000;
SELECT * FROM day(6);
-- As pg_dump brings it back.
SELECT setval('lifecycle.message_id', 19950, true);
SELECT * FROM day(7);
SELECT part, count(*), min(message_id), max(message_id) FROM lifecycle.outbox WHERE step = 7 GROUP BY part ORDER BY part;

-- USED UP, it says so.
ALTER SEQUENCE lifecycle.message_id MAXVALUE 20060;
SELECT * FROM day(8);
ALTER SEQUENCE lifecycle.message_id NO MAXVALUE;
SELECT * FROM day(8);
SELECT nextval('lifecycle.message_id');
DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION day;
