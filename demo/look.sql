-- What the database knows now.
\echo 'Customers by lifecycle segment, and the next time any of them changes by itself:'
SELECT c.lifecycle, count(*) AS customers, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent,
       round(sum(revenue)) AS revenue, min(next_change_at)::timestamptz(0) AS next_change
  FROM lifecycle.customer AS c
  LEFT JOIN lifecycle.segment AS s ON s.name = c.lifecycle
 GROUP BY c.lifecycle, s.rank
 ORDER BY s.rank;

\echo 'Customers by tier:'
SELECT coalesce(c.tier, '(none)') AS tier, count(*) AS customers, round(min(tier_spend), 2) AS least_spend,
       round(max(tier_spend), 2) AS most_spend
  FROM lifecycle.customer AS c
  LEFT JOIN lifecycle.tier AS t ON t.name = c.tier
 GROUP BY c.tier, t.rank
 ORDER BY t.rank NULLS FIRST;

\echo 'Closest to the next tier:'
SELECT customer_id, tier, round(spend, 2) AS spend, next_tier, round(missing, 2) AS missing,
       round(100 * fraction) AS percent
  FROM lifecycle.tier_progress
 WHERE missing > 0
 ORDER BY missing, customer_id
 LIMIT 5;
