-- One COPY from a file, timed to the end of its commit; prints seconds. The rival then loads its ledger, sorted, because that is faster.
-- psql variables: contender, file.

\o /dev/null
SELECT count(*) FROM prepared.orders;
SELECT pg_read_binary_file(:'file') IS NOT NULL;     -- into the cache, for everybody alike
\o

SELECT :'contender' = 'copy_and_insert' AS by_hand \gset
SELECT clock_timestamp() AS started \gset
COPY orders (customer_id, amount, placed_at) FROM :'file';
\if :by_hand
INSERT INTO ledger
SELECT id, customer_id, amount, placed_at
  FROM orders
 ORDER BY customer_id;
\endif
SELECT round(extract(epoch FROM clock_timestamp() - :'started'), 3);
