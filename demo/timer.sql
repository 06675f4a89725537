-- Nobody does anything, and still a customer changes. Ada's last order turns 60 days old, in her time zone, in a few
-- seconds; then she is at risk, and the worker is the one to notice.
INSERT INTO customers (email, first_name, last_name, time_zone, newsletter, created_at)
VALUES ('ada@example.com', 'Ada', 'Lovelace', 'Europe/London', true, now() - interval '1 year')
RETURNING id AS ada \gset

INSERT INTO orders (customer_id, email, status, total_cents, created_at)
SELECT id, email, 'shipped', 4900, at
  FROM customers,
       LATERAL (VALUES (now() - interval '70 days'),
                       (((now() + interval '4 seconds') AT TIME ZONE time_zone - interval '60 days') AT TIME ZONE time_zone))
         AS placed (at)
 WHERE id = :ada;

\set ECHO queries
SELECT customer_id, first_name, lifecycle, last_order_at::timestamptz(0), next_change_at
  FROM lifecycle.customer WHERE customer_id = :'ada';
\set ECHO none

\echo 'Waiting for the worker ...'
SELECT set_config('demo.ada', :'ada', false) \g /dev/null
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '30 seconds';
BEGIN
    WHILE (SELECT lifecycle FROM lifecycle.customer WHERE customer_id = current_setting('demo.ada')) <> 'at_risk' LOOP
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'the worker has not noticed that Ada is at risk';
        END IF;
        COMMIT;    -- to see what others have done since
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

\set ECHO queries
SELECT segment, entered_at, left_at
  FROM lifecycle.segment_history
 WHERE customer_id = :'ada' AND segment IN (SELECT name FROM lifecycle.segment WHERE dimension = 'lifecycle')
 ORDER BY entered_at;

SELECT message_id, scenario, step, template, recipient, created_at - due_at AS late
  FROM lifecycle.outbox WHERE customer_id = :'ada' AND due_at <= now() ORDER BY due_at, message_id;
\set ECHO none
