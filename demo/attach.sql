-- Everything a shop does on its first day.
\set ECHO queries
\o /dev/null

CREATE EXTENSION pg_lifecycle;

-- Segments, tiers, scenarios and their steps, as rows to edit. Every scenario starts as a draft.
SELECT lifecycle.install_playbook();

SELECT lifecycle.attach(
  source  => 'public.customers',
  kind    => 'customer',
  mapping => '{"customer": "id", "email": "email", "first_name": "first_name", "last_name": "last_name",
               "locale": "locale", "time_zone": "time_zone", "birthday": "birthday", "created_at": "created_at"}');

SELECT lifecycle.attach(
  source  => 'public.customers',
  kind    => 'consent',
  mapping => $${"customer": "id", "channel": "'email'", "changed_at": "created_at",
                "status": "CASE WHEN newsletter THEN 'granted' ELSE 'revoked' END"}$$,
  name    => 'newsletter');

SELECT lifecycle.attach(
  source  => 'public.orders',
  kind    => 'order',
  mapping => '{"order": "id", "customer": "coalesce(customer_id::text, lower(email))",
               "amount": "total_cents * 0.01", "currency": "currency", "placed_at": "created_at"}',
  filter  => $$ status IN ('paid', 'shipped') $$);

SELECT lifecycle.attach(
  source  => 'public.refunds',
  kind    => 'refund',
  mapping => '{"refund": "id", "order": "order_id", "customer": "customer_id",
               "amount": "amount_cents * 0.01", "refunded_at": "created_at"}');

UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');

\set ECHO none
\o

SELECT source, rows_done, finished_at - started_at AS took FROM lifecycle.progress ORDER BY started_at;
