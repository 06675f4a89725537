-- A shop of the past. The files know no consent: the rehearsal supposes it of everybody.
ALTER TABLE customers ADD PRIMARY KEY (id);
ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE refunds ADD PRIMARY KEY (id);
ANALYZE;

\set ECHO queries
\o /dev/null
CREATE EXTENSION pg_lifecycle;

SELECT lifecycle.install_playbook();

SELECT lifecycle.attach('public.customers', 'customer',
  '{"customer": "id", "email": "email", "time_zone": "time_zone", "created_at": "created_at"}');

SELECT lifecycle.attach('public.customers', 'consent',
  $${"customer": "id", "channel": "'email'", "status": "'granted'", "changed_at": "created_at"}$$,
  name => 'consent');

SELECT lifecycle.attach('public.orders', 'order',
  '{"order": "id", "customer": "customer_id", "amount": "amount", "currency": "currency",
    "placed_at": "placed_at"}');

SELECT lifecycle.attach('public.refunds', 'refund',
  '{"refund": "id", "customer": "customer_id", "amount": "amount", "currency": "currency",
    "refunded_at": "refunded_at"}');

UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
\set ECHO none
\o

SELECT source, rows_done, finished_at - started_at AS took FROM lifecycle.progress ORDER BY started_at;
