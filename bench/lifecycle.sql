-- pg_lifecycle as the README installs it: the playbook's tiers and segments are on, its scenarios stay drafts. psql variable whole_playbook:
-- false, or unset, leaves the segments of dimension lifecycle, which is what the rivals come nearest to. points: set, orders earn points.

CREATE EXTENSION pg_lifecycle;

SELECT lifecycle.install_playbook();

\if :{?whole_playbook}
\else
\set whole_playbook false
\endif
\if :whole_playbook
\else
DELETE FROM lifecycle.segment WHERE name LIKE 'remarketing%';    -- they name others
DELETE FROM lifecycle.segment WHERE dimension IS DISTINCT FROM 'lifecycle';
\endif

SELECT lifecycle.attach(
  source  => 'public.orders',
  kind    => 'order',
  mapping => '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}');

\if :{?points}
INSERT INTO lifecycle.points_rule (name, earns_on, rate, pending, expiry, expiry_rounding, valid_from)
    VALUES ('orders', 'order', 1, '14 days', '1 year', 'month', '2000-01-01');
\endif
