-- The same for pg_lifecycle, as for any large table: attached, then taken in in batches, each a transaction; prints rows a second. Whether the
-- worker does it or the session that calls makes no difference. psql variable: orders.

\o /dev/null
SELECT count(*) FROM orders;     -- into the cache, for everybody alike

SET lifecycle.backfill_at_once = 0;
\o

SELECT clock_timestamp() AS started \gset
\o /dev/null
SELECT lifecycle.attach(
  source  => 'public.orders',
  kind    => 'order',
  mapping => '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}',
  name    => 'orders');
CALL lifecycle.backfill('orders');
\o
SELECT round(:orders / extract(epoch FROM clock_timestamp() - :'started'));
