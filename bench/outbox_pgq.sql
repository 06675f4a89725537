-- PgQ: a batch is what came between two ticks, here a hundred events. Consumers of one queue all get everything, so each has a queue.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION pgq;
SELECT pgq.create_queue('q' || n), pgq.register_consumer('q' || n, 'bench') FROM generate_series(0, 3) AS n;
CREATE TABLE bench.pgq_history (ev_id bigint, queue int, sent_at timestamptz, ev_type text, message jsonb, customer_id text, idempotency_key text,
                                PRIMARY KEY (ev_id, queue), UNIQUE (customer_id, idempotency_key));
CREATE PROCEDURE bench.pgq_put(from_ bigint, to_ bigint, status text DEFAULT 'pending') LANGUAGE plpgsql AS $$
BEGIN
    IF status = 'sent' THEN
        INSERT INTO bench.pgq_history SELECT -n, 0, now(), 'email', bench.message(n), 'c' || n, 'post_purchase:1:' || n || ':c' || n FROM generate_series(from_, to_) AS n;
        RETURN;
    END IF;
    FOR start IN from_ .. to_ BY 100 LOOP
        PERFORM pgq.insert_event('q' || start / 100 % 4, 'email', bench.message(n)::text) FROM generate_series(start, least(start + 99, to_)) AS n;
        COMMIT;
        PERFORM pgq.force_tick('q' || start / 100 % 4);
        PERFORM pgq.ticker('q' || start / 100 % 4);
        COMMIT;
    END LOOP;
END $$;
CREATE PROCEDURE bench.pgq_work(consumer int, total bigint) LANGUAGE plpgsql AS $$
DECLARE t timestamptz; took interval; batch bigint; n int;
BEGIN
    LOOP
        t := clock_timestamp();
        batch := pgq.next_batch('q' || consumer, 'bench');
        IF batch IS NOT NULL THEN
            SELECT count(*) INTO n FROM pgq.get_batch_events(batch);
        END IF;
        took := clock_timestamp() - t;
        COMMIT;
        IF batch IS NULL THEN
            EXIT WHEN (SELECT last_value >= total FROM bench.done);
            PERFORM pg_sleep(0.005);
        ELSE
            INSERT INTO bench.pgq_history
                SELECT e.ev_id, consumer, clock_timestamp(), e.ev_type, m, m ->> 'customer_id', m ->> 'idempotency_key'
                  FROM pgq.get_batch_events(batch) AS e, LATERAL (SELECT e.ev_data::jsonb) AS j (m);
            PERFORM pgq.finish_batch(batch);
            INSERT INTO bench.claim VALUES ('pgq', consumer, t, took, n);
            COMMIT;
        END IF;
    END LOOP;
END $$;
