-- A long queue that is worked off: what has been sent costs claims nothing any more, and nothing that can still be sent is passed over.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email'), ('print'), ('sms');
CREATE SEQUENCE letter;
CREATE PROCEDURE letters(from_ int, to_ int, channel text DEFAULT 'email', priority int DEFAULT 0, due interval DEFAULT '0') LANGUAGE sql AS $$
    INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, priority, template, due_at)
        SELECT 'letter ' || nextval('letter'), 'c' || n, channel, 'letter', n, 1, 'transactional', priority, 'letter',
               lifecycle.now() + due + n * interval '1 microsecond'
          FROM generate_series(from_, to_) AS n
$$;
CREATE VIEW queue AS SELECT channel, status, count(*) FROM lifecycle.outbox GROUP BY channel, status ORDER BY channel, status;
-- Claims and acknowledges so many, and says whose they were.
CREATE FUNCTION send(many int, on_channel text DEFAULT 'email') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    told text;
    token bigint;
BEGIN
    SELECT array_agg(c.message_id), min(c.lease_token), format('%s: %s to %s', count(*), (array_agg(c.customer_id))[1], (array_agg(c.customer_id))[count(*)])
      INTO ids, token, told FROM lifecycle.claim(many, on_channel) AS c;
    PERFORM lifecycle.ack(ids, token);
    RETURN told;
END
$$;
CALL letters(1, 3000);
CALL letters(3001, 3600, 'sms');
SET lifecycle.clock = '2026-01-01 00:01+00';

-- IN THE ORDER OF THEIR TIMES, claim by claim.
SELECT send(1000);
SELECT send(1000);
SELECT send(10), send(10), send(100, 'sms');
TABLE queue;

-- WHAT IS ROLLED BACK WAITS AGAIN, however it was sent.
BEGIN;
SELECT send(500);
SAVEPOINT halfway;
SELECT send(480);
SELECT send(10);
ROLLBACK TO halfway;
SELECT send(480);
ROLLBACK;
SELECT send(10), send(980), send(10);
TABLE queue;

-- WHAT COMES LATER but is due earlier, or is more urgent, goes to places where others were sent from.
CALL letters(1, 3, due => '-1 month');
CALL letters(4, 6, due => '-1 s', priority => 1);
SELECT send(10), send(10);
-- A message that failed is tried again, with its time as it was.
CALL letters(7, 9, due => '-1 month');
SELECT lifecycle.fail(message_id, 'no line', retry_after => '0 s') FROM lifecycle.claim(2, 'email');
SELECT send(10), send(10);
-- A lease that runs out.
CALL letters(10, 12, due => '-1 month');
SELECT count(*) FROM lifecycle.claim(2, 'email', lease => '1 s');
SELECT send(10), send(10);
SET lifecycle.clock = '2026-01-01 00:02+00';
SELECT send(10), send(10);
-- What was not due yet.
CALL letters(13, 15, due => '1 minute');
SELECT send(10);
SET lifecycle.clock = '2026-01-01 00:04+00';
SELECT send(10), send(10);
-- On a channel between two others.
CALL letters(1, 400, 'print');
SELECT send(300, 'print'), send(300, 'print'), send(300, 'print');
SET lifecycle.clock = '2026-01-01 00:05+00';
SELECT send(300, 'print'), send(300, 'print'), send(600, 'sms'), send(600, 'sms');
TABLE queue;

-- EMPTIED AND FILLED AGAIN, while the session remembers how the index looked.
TRUNCATE lifecycle.outbox;
CALL letters(1, 3000);
SET lifecycle.clock = '2026-01-01 00:06+00';
SELECT send(1500), send(1500), send(1500);
BEGIN;
TRUNCATE lifecycle.outbox;
CALL letters(1, 1000);
SET LOCAL lifecycle.clock = '2026-01-01 00:07+00';
SELECT send(600), send(600), send(600);
CALL letters(1001, 1003, due => '-1 month');
SELECT send(600), send(600);
ROLLBACK;
VACUUM lifecycle.outbox;
CALL letters(3001, 3003, due => '-1 month');
SELECT send(10), send(10);
TABLE queue;
SELECT lifecycle.tick();
DROP EXTENSION pg_lifecycle CASCADE;
DROP PROCEDURE letters;
DROP SEQUENCE letter;
DROP FUNCTION send;
