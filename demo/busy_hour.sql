-- A bulk load is one statement, and so one batch.
\set ECHO queries
INSERT INTO orders (customer_id, email, status, total_cents)
SELECT id, email, 'paid', 1500 + id % 6000 FROM customers WHERE id % 20 = 0;
\set ECHO none

\ir outbox.sql
