\echo 'The outbox:'
SELECT scenario, step, channel, status, count(*) AS messages, min(due_at)::timestamptz(0) AS first_due,
       max(due_at)::timestamptz(0) AS last_due
  FROM lifecycle.outbox
 GROUP BY scenario, step, channel, status
 ORDER BY scenario, step, channel, status;
