-- CDNOW, an American CD shop: everybody who first bought in early 1997, until June 1998. From standard input, one order
-- a line: customer, date, number of CDs, dollars. Orders have no number and no time of day.
SET timezone = 'UTC';

CREATE TABLE orders (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    customer_id  bigint,
    ordered_on   date,
    cds          int,
    amount       numeric,
    currency     text DEFAULT 'USD',
    placed_at    timestamptz
);
\copy orders (customer_id, ordered_on, cds, amount) FROM pstdin (FORMAT csv)
UPDATE orders SET placed_at = ordered_on::timestamp AT TIME ZONE 'UTC';

CREATE TABLE customers AS
SELECT customer_id AS id, 'customer' || customer_id || '@example.com' AS email, 'UTC' AS time_zone,
       min(placed_at) AS created_at
  FROM orders GROUP BY customer_id;

CREATE TABLE refunds (id text, customer_id bigint, amount numeric, currency text, refunded_at timestamptz);
