-- A month in which nobody orders anything passes within this session: every timer in it runs out.
CREATE TEMPORARY TABLE before AS SELECT customer_id, lifecycle FROM lifecycle.customer;

SELECT lifecycle.now() + interval '30 days' AS a_month_on \gset

\set ECHO queries
SET lifecycle.clock = :'a_month_on';
SELECT lifecycle.tick();
\set ECHO none

\echo 'Who went where:'
SELECT before.lifecycle AS was, customer.lifecycle AS is, count(*) AS customers
  FROM before JOIN lifecycle.customer USING (customer_id)
 WHERE before.lifecycle IS DISTINCT FROM customer.lifecycle
 GROUP BY 1, 2
 ORDER BY 3 DESC;
