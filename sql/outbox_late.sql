-- Messages that wait too long: each tick finds those that have become too late, among however many wait, whoever wrote them.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
-- Letter n is too late after n minutes.
CREATE PROCEDURE letters(from_ int, to_ int) LANGUAGE sql AS $$
    INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at, expires_at)
        SELECT 'letter ' || n, 'c' || n, 'email', 'letter', n, 1, 'transactional', 'letter', '2026-01-01', timestamptz '2026-01-01' + n * interval '1 minute'
          FROM generate_series(from_, to_) AS n
$$;
CREATE VIEW queue AS
    SELECT status, count(*), min(anchor::int) AS first, max(anchor::int) AS last FROM lifecycle.outbox GROUP BY status ORDER BY status;
CALL letters(1, 5000);
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at)
    VALUES ('letter 0', 'c0', 'email', 'letter', 0, 1, 'transactional', 'letter', '2026-01-01');

-- TIME PASSES, and a tick ends what is too late; at exactly its end a message is.
SELECT lifecycle.tick();
TABLE queue;
SET lifecycle.clock = '2026-01-01 00:00:59.999999+00';
SELECT lifecycle.tick();
TABLE queue;
SET lifecycle.clock = '2026-01-01 00:01+00';
SELECT lifecycle.tick();
TABLE queue;
SET lifecycle.clock = '2026-01-03 02:00+00';
SELECT lifecycle.tick();
TABLE queue;
SELECT lifecycle.tick();
TABLE queue;

-- BY HAND: a message that need not be sent so long, one that must go earlier, a new one that is too late already.
UPDATE lifecycle.outbox SET expires_at = 'infinity' WHERE anchor = '3001';
UPDATE lifecycle.outbox SET expires_at = lifecycle.now() WHERE anchor = '4711';
CALL letters(6001, 6002);
UPDATE lifecycle.outbox SET expires_at = '-infinity' WHERE anchor = '6001';
SELECT lifecycle.tick();
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3001', '4711', '6001', '6002') ORDER BY anchor;

-- WHAT IS ROLLED BACK was never too late; what the same transaction has written is.
BEGIN;
UPDATE lifecycle.outbox SET expires_at = lifecycle.now() WHERE anchor = '3002';
SAVEPOINT earlier;
UPDATE lifecycle.outbox SET expires_at = lifecycle.now() WHERE anchor = '3003';
SELECT lifecycle.tick();
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3002', '3003') ORDER BY anchor;
ROLLBACK TO earlier;
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3002', '3003') ORDER BY anchor;
SELECT lifecycle.tick();
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3002', '3003') ORDER BY anchor;
ROLLBACK;
SELECT lifecycle.tick();
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3002', '3003') ORDER BY anchor;
UPDATE lifecycle.outbox SET expires_at = lifecycle.now() WHERE anchor = '3003';
SELECT lifecycle.tick();
SELECT anchor, status FROM lifecycle.outbox WHERE anchor IN ('3002', '3003') ORDER BY anchor;

-- WHO HOLDS a message may send it; once the lease has run out it is too late.
SELECT count(*) FROM lifecycle.claim(5, 'email', lease => '3 hours');
UPDATE lifecycle.outbox SET expires_at = lifecycle.now() WHERE status = 'leased';
SELECT lifecycle.tick();
SELECT status, count(*) FROM lifecycle.outbox GROUP BY status ORDER BY status;
SET lifecycle.clock = '2026-01-03 05:00+00';
SELECT lifecycle.tick();
SELECT status, count(*) FROM lifecycle.outbox GROUP BY status ORDER BY status;

-- A PART THAT WAS EMPTIED and filled again is read anew.
SET lifecycle.clock = '2026-02-01 00:00+00';
SELECT lifecycle.tick(), lifecycle.tick();
TABLE queue;
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at, expires_at)
    SELECT 'another ' || n, 'c' || n, 'email', 'another', n, 1, 'transactional', 'letter', '2026-02-01', timestamptz '2026-02-01' + n * interval '1 hour'
      FROM generate_series(1, 100) AS n;
SET lifecycle.clock = '2026-02-01 12:00+00';
SELECT lifecycle.tick();
SELECT status, count(*) FROM lifecycle.outbox WHERE scenario = 'another' GROUP BY status ORDER BY status;
DROP EXTENSION pg_lifecycle CASCADE;
DROP PROCEDURE letters;
