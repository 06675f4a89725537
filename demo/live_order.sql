-- The shop inserts an order, as it always has. Of those who may be mailed, the customer closest to the next tier buys.
SELECT customer_id AS buyer, next_tier, greatest(ceil(missing * 100), 2900)::bigint AS cents
  FROM lifecycle.tier_progress
  JOIN lifecycle.customer USING (customer_id)
  JOIN public.customers AS c ON c.id::text = customer_id
 WHERE missing > 0 AND email_consent = 'granted'
 ORDER BY missing, customer_id
 LIMIT 1 \gset

\set ECHO queries
BEGIN;

SELECT customer_id, tier, tier_spend, lifecycle, order_count FROM lifecycle.customer WHERE customer_id = :'buyer';

INSERT INTO orders (customer_id, email, status, total_cents)
SELECT id, email, 'paid', :cents FROM customers WHERE id = :buyer;

-- Still in the same transaction:
SELECT customer_id, tier, tier_spend, lifecycle, order_count FROM lifecycle.customer WHERE customer_id = :'buyer';

SELECT message_id, scenario, step, template, recipient, subject, due_at::timestamptz(0)
  FROM lifecycle.outbox
 WHERE customer_id = :'buyer'
 ORDER BY due_at, message_id;

COMMIT;
\set ECHO none
