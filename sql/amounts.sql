-- Amounts of every size are added up exactly: from a hair's breadth of a cent to more than any shop turns over.
CREATE EXTENSION pg_lifecycle;
SET timezone = 'UTC';
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, customer text, amount numeric, placed_at timestamptz DEFAULT '2026-02-01 10:00+00');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}');

INSERT INTO orders (customer, amount) VALUES
    ('cents', 0.01), ('cents', 19.99), ('cents', -5.00), ('cents', 0), ('cents', 0.00), ('cents', 100), ('cents', 10000), ('cents', 10000.5),
    ('hair', 0.000000000001), ('hair', 1.000000000001), ('hair', -0.0001), ('hair', 0.00010001),
    ('huge', 999999999999999999), ('huge', -0.5), ('huge', 123456789012345.678901234567), ('huge', 9999.9999),
    ('wide', 1.50), ('wide', 1.500), ('wide', 40000.00000000000000);
SELECT o.customer, c.order_count = count(*) AS all_counted, c.revenue = sum(o.amount) AS exact, c.revenue
  FROM orders AS o JOIN lifecycle.customer AS c ON c.customer_id = o.customer COLLATE "C"
 GROUP BY 1, c.order_count, c.revenue ORDER BY 1;

-- What is finer or larger than that is not guessed at.
INSERT INTO orders (customer, amount) VALUES ('finer', 0.0000000000001), ('larger', 1e18), ('largest', 1e300), ('less', -1e30);
SELECT q.data ->> 'customer' AS customer, q.sqlstate, q.message, left(q.detail, 40) AS detail FROM lifecycle.quarantine AS q ORDER BY 1;

-- A thousand amounts at once, the same one by one, and all of them taken away again.
INSERT INTO orders (customer, amount)
    SELECT 'c' || n % 7, (n * 7919 % 100003)::numeric / 10 ^ (n % 6) * CASE WHEN n % 11 = 0 THEN -1 ELSE 1 END FROM generate_series(1, 1000) AS n;
DO $$
BEGIN
    FOR n IN 1 .. 40 LOOP
        INSERT INTO orders (customer, amount) VALUES ('c' || n % 7, (n * 104729 % 99991)::numeric / 10 ^ (n % 5));
    END LOOP;
END
$$;
SELECT count(*) AS wrong
  FROM (SELECT o.customer, sum(o.amount) AS amount, count(*) AS orders FROM orders AS o WHERE o.customer LIKE 'c_' GROUP BY 1) AS o
  FULL JOIN (SELECT * FROM lifecycle.customer WHERE customer_id LIKE 'c_') AS c ON c.customer_id = o.customer COLLATE "C"
 WHERE (o.amount, o.orders) IS DISTINCT FROM (c.revenue, c.order_count);
DELETE FROM orders WHERE customer LIKE 'c_';
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE customer_id LIKE 'c_' ORDER BY 1;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
