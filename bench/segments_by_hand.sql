-- The segments of the playbook worked out and stored by one statement from the shop's own tables, as one would by hand: who is in which segment
-- now. Since when, and when that will change, it does not say.
INSERT INTO member (segment, customer_id)
WITH o AS (SELECT customer_id, count(*) AS n, avg(amount) AS average, max(placed_at) AS last, (array_agg(placed_at ORDER BY placed_at DESC))[2] AS previous
             FROM orders GROUP BY customer_id),
     c AS (SELECT o.*, t, p.tags, k.cart_id, k.updated_at, s.status, a.first_sent, greatest(a.last_open, a.last_click) AS answer,
                  coalesce(a.last_open, a.last_click, a.first_sent) AS reached, greatest(o.last, a.last_visit, a.last_open, a.last_click) AS alive
             FROM o CROSS JOIN shop_clock LEFT JOIN profiles AS p USING (customer_id) LEFT JOIN activity AS a USING (customer_id)
             LEFT JOIN carts AS k USING (customer_id) LEFT JOIN ads_consent AS s USING (customer_id))
SELECT s.segment, c.customer_id::text
  FROM c CROSS JOIN LATERAL (VALUES
    (CASE WHEN last > t - interval '60 days' AND last > previous + interval '90 days' THEN 'reactivated'
          WHEN last > t - interval '60 days' AND n = 1 THEN 'new'
          WHEN last > t - interval '60 days' THEN 'active'
          WHEN last > t - interval '90 days' THEN 'at_risk'
          WHEN last > t - interval '180 days' THEN 'dormant'
          ELSE 'lost' END),
    (CASE WHEN answer > t - interval '90 days' THEN 'engaged'
          WHEN reached <= t - interval '90 days' AND alive > t - interval '90 days' THEN 'engagement_dormant'
          WHEN reached IS NOT NULL AND greatest(alive, reached) BETWEEN t - interval '180 days' + interval '1 us' AND t - interval '90 days' THEN 'engagement_win_back'
          WHEN reached IS NOT NULL AND greatest(alive, reached) <= t - interval '180 days' THEN 'engagement_inactive' END),
    (CASE WHEN n >= 3 AND average >= 100 THEN 'high_value' END),
    (CASE WHEN n >= 3 AND last <= t - interval '90 days' AND last > t - interval '1 year' THEN 'churn_risk' END),
    (CASE WHEN tags && '{sustainability,eco}' THEN 'sustainability' END),
    (CASE WHEN cart_id IS NOT NULL AND updated_at <= t - interval '1 hour' AND updated_at > t - interval '30 days' THEN 'cart_abandoner' END),
    (CASE WHEN cart_id IS NOT NULL AND updated_at <= t - interval '1 hour' AND updated_at > t - interval '30 days' AND status = 'granted'
               AND NOT coalesce(answer > t - interval '90 days', false) AND last <= t - interval '14 days' THEN 'remarketing_cart' END),
    (CASE WHEN n >= 3 AND last <= t - interval '90 days' AND last > t - interval '1 year' AND status = 'granted'
               AND NOT coalesce(answer > t - interval '90 days', false) THEN 'remarketing_churn' END)) AS s (segment)
 WHERE s.segment IS NOT NULL;
