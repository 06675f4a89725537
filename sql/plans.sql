-- The plans of our statements are made once and kept. Those made while the tables were empty still look rows up when they have grown in
-- the same session, and do not go through a table for each batch of customers.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE orders (id int, customer_id int, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');

-- Two orders each of 12,000 customers, who come in three batches.
VACUUM (ANALYZE);  -- which leaves the impression that they stay empty
BEGIN;
INSERT INTO orders SELECT n, n % 12000, 10, timestamptz '2025-01-01' + n * interval '10 minutes' FROM generate_series(1, 24000) AS n;
UPDATE orders SET placed_at = placed_at + interval '1 day';
SELECT relname, seq_tup_read + idx_tup_fetch AS rows_read
  FROM pg_stat_xact_user_tables
 WHERE schemaname = 'lifecycle' AND seq_tup_read + idx_tup_fetch > 4 * 12000;
COMMIT;
SELECT count(*), sum(order_count) FROM lifecycle.customer;

-- Whether somebody with the same address has bought is looked up for each message that is claimed, not searched for among all customers.
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
SELECT lifecycle.track('friend' || n, 'customer', jsonb_build_object('email', 'friend' || n || '@example.org')) FROM generate_series(1, 500) AS n \g /dev/null
SELECT lifecycle.track('friend' || n, 'consent', '{"channel": "email", "status": "granted"}') FROM generate_series(1, 500) AS n \g /dev/null
SELECT lifecycle.track('friend' || n, 'order', jsonb_build_object('order', n, 'amount', 10, 'placed_at', lifecycle.now())) FROM generate_series(1, 500) AS n \g /dev/null
SET lifecycle.clock = '2026-05-01 12:00+00';
SELECT lifecycle.tick() \g /dev/null
SELECT pg_stat_force_next_flush() \g /dev/null
-- So are the messages of each customer whose future is foreseen, among all that wait.
BEGIN;
SELECT count(*) FROM lifecycle.foresee(ARRAY(SELECT 'friend' || n FROM generate_series(1, 500) AS n), lifecycle.now(), lifecycle.now() + interval '1 hour');
SELECT sum(seq_tup_read + idx_tup_fetch) > 20 * 500 AS too_many_rows_read FROM pg_stat_xact_user_tables WHERE schemaname = 'lifecycle' AND relname ~ '^outbox_\d+$';
COMMIT;
SELECT pg_stat_force_next_flush() \g /dev/null
BEGIN;
SELECT count(*) FROM lifecycle.claim(500);
SELECT relname, seq_tup_read + idx_tup_fetch AS rows_read
  FROM pg_stat_xact_user_tables
 WHERE schemaname = 'lifecycle' AND relname = 'customer' AND seq_tup_read + idx_tup_fetch > 10 * 500;
COMMIT;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
