-- One statement, timed to the end of its commit; prints seconds.

\o /dev/null
SELECT count(*) FROM orders;     -- into the cache, for everybody alike
\o

SELECT clock_timestamp() AS started \gset
UPDATE orders SET note = 'seen';
SELECT round(extract(epoch FROM clock_timestamp() - :'started'), 3);
