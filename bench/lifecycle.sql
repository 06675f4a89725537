-- pg_lifecycle as the README installs it: the playbook's tiers and segments are on, its scenarios stay drafts.

CREATE EXTENSION pg_lifecycle;

SELECT lifecycle.install_playbook();

SELECT lifecycle.attach(
  source  => 'public.orders',
  kind    => 'order',
  mapping => '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}');
