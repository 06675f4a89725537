-- The outbox over the years: what has ended moves into history, history is dropped after its time, and emptied parts give back their space.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
CREATE PROCEDURE letters(from_ int, to_ int) LANGUAGE sql AS $$
    INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at)
        SELECT concat_ws(':', 'letter', 1, n, 'c' || n), 'c' || n, 'email', 'letter', n, 1, 'transactional', 'letter', lifecycle.now()
          FROM generate_series(from_, to_) AS n
$$;
CREATE VIEW parts AS
    SELECT CASE WHEN part < 1000 THEN 'waits in ' || part ELSE 'volume ' || part - 1000 END AS part, status, count(*)
      FROM lifecycle.outbox GROUP BY outbox.part, status ORDER BY outbox.part, status;

-- WHAT HAS ENDED MOVES, whoever ends it and how.
CALL letters(1, 6);
SELECT lease_token AS token FROM lifecycle.claim(2) LIMIT 1 \gset
SELECT lifecycle.ack(ARRAY[1, 2], :token);
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = 3;
UPDATE lifecycle.outbox SET status = 'failed', error = 'no' WHERE message_id = 4;
SELECT lifecycle.cancel(ARRAY[5]);
TABLE parts;
-- Nobody who asks for pending messages looks into history.
DO $$
DECLARE
    line text;
    waiting int := 0;
    history int := 0;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN SELECT * FROM lifecycle.outbox WHERE status = ''pending'' AND due_at <= now() AND now() < expires_at
                          ORDER BY due_at LIMIT 100 FOR UPDATE SKIP LOCKED'
    LOOP
        waiting := waiting + (line ~ ' on outbox_[0-3] ')::int;
        history := history + (line ~ ' on outbox_10[0-9][0-9] ')::int;
    END LOOP;
    RAISE WARNING 'a poll looks at % parts that wait and % of history', waiting, history;
END
$$;
-- One that is tried again comes back.
UPDATE lifecycle.outbox SET status = 'pending' WHERE message_id = 4;
TABLE parts;
-- Nothing that waits can get into history.
UPDATE lifecycle.outbox SET part = 1000 WHERE message_id = 6;

-- VOLUMES. Two years are kept; a volume takes two months.
SELECT lifecycle.tick();
SET lifecycle.clock = '2026-02-28 23:59:59.999999+00';
SELECT lifecycle.tick();
SELECT part, began_at, ended_at FROM lifecycle.outbox_volume ORDER BY began_at;
SET lifecycle.clock = '2026-03-01 00:00+00';
SELECT lifecycle.tick();
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = 4;
SELECT part, began_at, ended_at FROM lifecycle.outbox_volume ORDER BY began_at;
TABLE parts;
-- Years go by.
DO $$
BEGIN
    FOR month IN 3 .. 60 LOOP
        PERFORM set_config('lifecycle.clock', (timestamptz '2026-01-01 00:00+00' + month * interval '1 month')::text, false);
        CALL public.letters(month * 10, month * 10);
        UPDATE lifecycle.outbox SET status = 'sent' WHERE customer_id = 'c' || month * 10;
        PERFORM lifecycle.tick();
    END LOOP;
END
$$;
SELECT lifecycle.now(), count(*) AS volumes, min(began_at), max(ended_at) FROM lifecycle.outbox_volume;
-- Everything of the last two years is there, and at most two months more.
SELECT count(*) AS messages, min(sent_at), max(sent_at) FROM lifecycle.outbox WHERE status = 'sent';
INSERT INTO lifecycle.outbox_policy (keep) VALUES ('6 months');
SELECT lifecycle.tick();
SELECT count(*) AS messages, min(sent_at), max(sent_at) FROM lifecycle.outbox WHERE status = 'sent';
-- What waits is never too old to be kept.
SELECT customer_id, status FROM lifecycle.outbox WHERE status <> 'sent';
INSERT INTO lifecycle.outbox_policy (keep) VALUES ('1 hour');
UPDATE lifecycle.outbox_policy SET keep = '1 hour';

-- EMPTIED PARTS are truncated, also while an old snapshot would keep vacuum from it; what still waits in them moves on.
SELECT setval('lifecycle.message_id', 19999);
CALL letters(1001, 6000);
SELECT setval('lifecycle.message_id', 40000);
SELECT pg_relation_size('lifecycle.outbox_1') > 1048576 AS large;
UPDATE lifecycle.outbox SET status = 'sent' WHERE part = 1 AND anchor::int < 5998;
SELECT lifecycle.tick();
SELECT pg_relation_size('lifecycle.outbox_1') AS size;
SELECT anchor, part, status FROM lifecycle.outbox WHERE anchor::int BETWEEN 5997 AND 6000 AND part < 1000 ORDER BY 1;
SELECT count(*), count(DISTINCT idempotency_key) FROM lifecycle.outbox WHERE anchor::int > 1000;
-- A part with a lease in it waits for the lease.
SELECT setval('lifecycle.message_id', 59999);
CALL letters(7001, 12000);
SELECT setval('lifecycle.message_id', 80000);
UPDATE lifecycle.outbox SET status = 'sent' WHERE part = 3 AND anchor::int < 12000;
SELECT anchor FROM lifecycle.claim(customer_id => 'c12000');
SELECT lifecycle.tick();
SELECT pg_relation_size('lifecycle.outbox_3') > 0 AS still_there;
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE status = 'leased';
SELECT lifecycle.tick();
SELECT pg_relation_size('lifecycle.outbox_3') AS size;

DROP EXTENSION pg_lifecycle CASCADE;
DROP PROCEDURE letters;
