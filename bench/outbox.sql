-- Queues with the same messages and the same history of what was sent, each consumed in batches of 100. Every claim and every ack is a
-- transaction of its own. For each contender X: bench.X_put(from, to), bench.X_work(consumer, until), bench.X_past(n).
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE SCHEMA bench;
CREATE UNLOGGED TABLE bench.claim (contender text, consumer int, at timestamptz, took interval, messages int);
CREATE FUNCTION bench.payload(n bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$ SELECT jsonb_build_object('first_name', 'Ann', 'last_name', 'Doe' || n, 'anchor', n, 'content', jsonb_build_object('body', repeat('Lorem ipsum. ', 15))) $$;

-- pg_lifecycle
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name, consent) VALUES ('email', 'email');
SELECT lifecycle.tick();
CREATE PROCEDURE bench.lifecycle_put(from_ bigint, to_ bigint, status text DEFAULT 'pending') LANGUAGE sql AS $$
    INSERT INTO lifecycle.outbox (message_id, part, idempotency_key, customer_id, channel, recipient, scenario, anchor, step, class, template,
                                  subject, locale, payload, due_at, status, sent_at)
        SELECT m.id, CASE status WHEN 'sent' THEN lifecycle.history_part() ELSE lifecycle.part_of(m.id) END,
               'post_purchase:1:' || m.n || ':c' || m.n, 'c' || m.n, 'email', 'c' || m.n || '@example.org', 'post_purchase', m.n, 1, 'transactional',
               'order_confirmed', 'Thank you for your order', 'en', bench.payload(m.n), clock_timestamp(), status,
               CASE status WHEN 'sent' THEN clock_timestamp() END
          FROM (SELECT nextval('lifecycle.message_id') AS id, n FROM generate_series(from_, to_) AS n) AS m
$$;
CREATE PROCEDURE bench.lifecycle_work(consumer int, total bigint, clock_runs boolean DEFAULT true) LANGUAGE plpgsql AS $$
DECLARE t timestamptz; took interval; ids bigint[]; token bigint;
BEGIN
    LOOP
        -- lifecycle.now() is the start of the statement, which here is the whole loop.
        PERFORM set_config('lifecycle.clock', clock_timestamp()::text, false) WHERE clock_runs;
        t := clock_timestamp();
        SELECT array_agg(c.message_id), min(c.lease_token) INTO ids, token FROM lifecycle.claim(100, 'email', 'bench') AS c;
        took := clock_timestamp() - t;
        COMMIT;
        IF ids IS NULL THEN
            EXIT WHEN (SELECT last_value >= total FROM bench.done);
            PERFORM pg_sleep(0.005);
        ELSE
            PERFORM lifecycle.ack(ids, token);
            INSERT INTO bench.claim VALUES ('lifecycle', consumer, t, took, cardinality(ids));
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- A table with a status, polled with SKIP LOCKED; history stays in it.
CREATE TABLE bench.plain (
    id bigint PRIMARY KEY, idempotency_key text NOT NULL, customer_id text NOT NULL, channel text, recipient text, scenario text, anchor text,
    step int, class text, template text, subject text, locale text, payload jsonb, status text NOT NULL, due_at timestamptz, attempts int DEFAULT 0,
    leased_by text, leased_until timestamptz, sent_at timestamptz, UNIQUE (customer_id, idempotency_key)) WITH (fillfactor = 80);
CREATE INDEX ON bench.plain (due_at) WHERE status = 'pending';
CREATE SEQUENCE bench.plain_id;
CREATE PROCEDURE bench.plain_put(from_ bigint, to_ bigint, status text DEFAULT 'pending') LANGUAGE sql AS $$
    INSERT INTO bench.plain
        SELECT nextval('bench.plain_id'), 'post_purchase:1:' || n || ':c' || n, 'c' || n, 'email', 'c' || n || '@example.org', 'post_purchase', n, 1, 'transactional',
               'order_confirmed', 'Thank you for your order', 'en', bench.payload(n), status, clock_timestamp()
          FROM generate_series(from_, to_) AS n
$$;
CREATE PROCEDURE bench.plain_work(consumer int, total bigint) LANGUAGE plpgsql AS $$
DECLARE t timestamptz; took interval; ids bigint[];
BEGIN
    LOOP
        t := clock_timestamp();
        WITH leased AS (
            UPDATE bench.plain AS p SET status = 'leased', leased_by = 'bench', leased_until = clock_timestamp() + interval '5 minutes', attempts = attempts + 1
             WHERE p.id = ANY (ARRAY(SELECT q.id FROM bench.plain AS q WHERE q.status = 'pending' AND q.due_at <= clock_timestamp()
                                      ORDER BY q.due_at LIMIT 100 FOR UPDATE SKIP LOCKED))
            RETURNING p.*)
        SELECT array_agg(l.id) INTO ids FROM leased AS l;
        took := clock_timestamp() - t;
        COMMIT;
        IF ids IS NULL THEN
            EXIT WHEN (SELECT last_value >= total FROM bench.done);
            PERFORM pg_sleep(0.005);
        ELSE
            UPDATE bench.plain SET status = 'sent', sent_at = clock_timestamp() WHERE id = ANY (ids);
            INSERT INTO bench.claim VALUES ('plain', consumer, t, took, cardinality(ids));
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- pgmq's published design: a visibility time with an index, read() and archive(). History has the two indexes that the others' has.
CREATE TABLE bench.pgmq (msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, read_ct int NOT NULL DEFAULT 0, enqueued_at timestamptz NOT NULL DEFAULT now(),
                         vt timestamptz NOT NULL, message jsonb);
CREATE INDEX ON bench.pgmq (vt);
CREATE TABLE bench.pgmq_archive (msg_id bigint PRIMARY KEY, read_ct int, enqueued_at timestamptz, archived_at timestamptz NOT NULL DEFAULT now(), vt timestamptz,
                                 message jsonb, customer_id text, idempotency_key text, UNIQUE (customer_id, idempotency_key));
CREATE FUNCTION bench.message(n bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('idempotency_key', 'post_purchase:1:' || n || ':c' || n, 'customer_id', 'c' || n, 'channel', 'email', 'recipient', 'c' || n || '@example.org',
        'scenario', 'post_purchase', 'anchor', n, 'step', 1, 'class', 'transactional', 'template', 'order_confirmed', 'subject', 'Thank you for your order', 'locale', 'en',
        'payload', bench.payload(n)) $$;
CREATE PROCEDURE bench.pgmq_put(from_ bigint, to_ bigint, status text DEFAULT 'pending') LANGUAGE plpgsql AS $$
BEGIN
    IF status = 'sent' THEN
        INSERT INTO bench.pgmq_archive SELECT -n, 1, now(), now(), now(), bench.message(n), 'c' || n, 'post_purchase:1:' || n || ':c' || n FROM generate_series(from_, to_) AS n;
    ELSE
        INSERT INTO bench.pgmq (vt, message) SELECT clock_timestamp(), bench.message(n) FROM generate_series(from_, to_) AS n;
    END IF;
END $$;
CREATE PROCEDURE bench.pgmq_work(consumer int, total bigint) LANGUAGE plpgsql AS $$
DECLARE t timestamptz; took interval; ids bigint[];
BEGIN
    LOOP
        t := clock_timestamp();
        WITH cte AS (SELECT msg_id FROM bench.pgmq WHERE vt <= clock_timestamp() ORDER BY msg_id ASC LIMIT 100 FOR UPDATE SKIP LOCKED),
             red AS (UPDATE bench.pgmq AS m SET vt = clock_timestamp() + interval '5 minutes', read_ct = read_ct + 1 FROM cte WHERE m.msg_id = cte.msg_id RETURNING m.*)
        SELECT array_agg(r.msg_id) INTO ids FROM red AS r;
        took := clock_timestamp() - t;
        COMMIT;
        IF ids IS NULL THEN
            EXIT WHEN (SELECT last_value >= total FROM bench.done);
            PERFORM pg_sleep(0.005);
        ELSE
            WITH archived AS (DELETE FROM bench.pgmq WHERE msg_id = ANY (ids) RETURNING *)
            INSERT INTO bench.pgmq_archive (msg_id, read_ct, enqueued_at, vt, message, customer_id, idempotency_key)
                SELECT msg_id, read_ct, enqueued_at, vt, message, message ->> 'customer_id', message ->> 'idempotency_key' FROM archived;
            INSERT INTO bench.claim VALUES ('pgmq', consumer, t, took, cardinality(ids));
            COMMIT;
        END IF;
    END LOOP;
END $$;

-- How many have been produced in all: what nobody has claimed by then is left to the others.
CREATE SEQUENCE bench.done MINVALUE 0 START 0;
