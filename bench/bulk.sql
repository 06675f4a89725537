-- One statement, timed to the end of its commit; prints seconds.

\o /dev/null
SELECT count(*) FROM prepared.orders;     -- into the cache, for everybody alike
\o

SELECT clock_timestamp() AS started \gset
INSERT INTO orders (customer_id, amount, placed_at)
SELECT customer_id, amount, placed_at
  FROM prepared.orders;
SELECT round(extract(epoch FROM clock_timestamp() - :'started'), 3);
