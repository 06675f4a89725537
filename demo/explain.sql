-- One customer, and why everything about them is as it is: of those who may be mailed, the best one at risk.
SELECT customer_id AS someone
  FROM lifecycle.customer
 WHERE lifecycle = 'at_risk' AND email_consent = 'granted'
 ORDER BY revenue DESC, customer_id
 LIMIT 1 \gset

\set ECHO queries
SELECT topic, name, value, since::date, next_change_at::date AS next_change, why
  FROM lifecycle.explain(:'someone');
\set ECHO none
