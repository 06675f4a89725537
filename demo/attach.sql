-- Everything a shop does on its first day.
\set ECHO queries

CREATE EXTENSION pg_lifecycle;

-- Segments, tiers, scenarios and their steps, as rows to edit. Every scenario starts as a draft.
SELECT lifecycle.install_playbook() \g /dev/null

SELECT lifecycle.attach(
  source  => 'public.customers',
  kind    => 'customer',
  mapping => '{"customer": "id", "email": "email", "first_name": "first_name", "last_name": "last_name",
               "locale": "locale", "time_zone": "time_zone", "birthday": "birthday", "created_at": "created_at"}') \g /dev/null

SELECT lifecycle.attach(
  source  => 'public.customers',
  kind    => 'consent',
  mapping => $${"customer": "id", "channel": "'email'", "changed_at": "created_at",
                "status": "CASE WHEN newsletter THEN 'granted' ELSE 'revoked' END"}$$,
  name    => 'newsletter') \g /dev/null

SELECT lifecycle.attach(
  source  => 'public.orders',
  kind    => 'order',
  mapping => '{"order": "id", "customer": "coalesce(customer_id::text, lower(email))",
               "amount": "total_cents / 100.0", "currency": "currency", "placed_at": "created_at"}',
  filter  => $$ status IN ('paid', 'shipped') $$) \g /dev/null

SELECT lifecycle.attach(
  source  => 'public.refunds',
  kind    => 'refund',
  mapping => '{"refund": "id", "order": "order_id", "customer": "customer_id",
               "amount": "amount_cents / 100.0", "refunded_at": "created_at"}') \g /dev/null

UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');

\set ECHO none
