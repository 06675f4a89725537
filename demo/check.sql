-- What the extension has kept up to date, order by order, against the shop's own tables added up afresh.
SELECT count(*) FILTER (WHERE kept IS NOT NULL) AS customers,
       sum((kept).order_count) AS orders,
       sum((kept).revenue) AS revenue,
       count(*) FILTER (WHERE kept IS DISTINCT FROM afresh) AS differences,
       (SELECT count(*) FROM lifecycle.quarantine) AS quarantined
  FROM (SELECT customer_id, order_count, revenue, last_order_at
          FROM lifecycle.customer
         WHERE order_count > 0 OR revenue <> 0) AS kept
  FULL JOIN (SELECT customer_id COLLATE "C", count(*) FILTER (WHERE ordered), sum(amount), max(at) FILTER (WHERE ordered)
               FROM (:said) AS said (customer_id, ordered, amount, at)
              GROUP BY 1
             HAVING bool_or(ordered) OR sum(amount) <> 0) AS afresh (customer_id, order_count, revenue, last_order_at)
 USING (customer_id) \gset checked_

\echo :checked_customers customers, :checked_orders orders, :checked_revenue revenue,
\echo :checked_differences differences, :checked_quarantined rows in quarantine.

SELECT :checked_differences > 0 OR :checked_quarantined > 0 AS wrong \gset
\if :wrong
SELECT source, sqlstate, message, count(*) FROM lifecycle.quarantine GROUP BY source, sqlstate, message;
DO $$ BEGIN RAISE EXCEPTION 'the extension and the shop do not agree'; END $$;
\endif
