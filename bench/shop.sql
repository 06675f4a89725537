-- The shop as every contender finds it: an empty orders table, and in one schema beside it the rows that will be
-- ordered. psql variables: orders, customers, history (orders per customer).

SELECT setseed(0.42);

CREATE TABLE orders (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id bigint,
  amount      numeric(12,2),
  placed_at   timestamptz,
  note        text
);

CREATE SCHEMA prepared;

-- A year of orders, oldest first and their customers at random, as a shop would load them.
CREATE TABLE prepared.orders AS
SELECT 1 + floor(random() * :customers)::bigint AS customer_id,
       (5 + random() * 195)::numeric(12,2) AS amount,
       now() - interval '1 year' * (1 - n / (:orders + 1.0)) AS placed_at
  FROM generate_series(1, :orders) AS n;

-- What each customer ordered in the year before: the same number of orders, so that all of them exist.
CREATE TABLE prepared.history AS
SELECT customer_id,
       (5 + random() * 195)::numeric(12,2) AS amount,
       now() - interval '1 year' * (1 + random()) AS placed_at
  FROM generate_series(1, :customers) AS customer_id, generate_series(1, :history)
 ORDER BY placed_at;

VACUUM (FREEZE, ANALYZE) prepared.orders, prepared.history;
