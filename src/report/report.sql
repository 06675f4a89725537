-- Reports: why a customer is where it is.

CREATE FUNCTION lifecycle.explain(customer_id text)
    RETURNS TABLE (topic text, name text, value text, since timestamptz, next_change_at timestamptz, why text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT 'orders', 'order_count', c.order_count::text, c.first_order_at, NULL::timestamptz,
           format('last order %s, revenue %s', coalesce(c.last_order_at::text, 'never'), c.revenue)
      FROM lifecycle.customer AS c
     WHERE c.customer_id = explain.customer_id
    UNION ALL
    SELECT 'tier', coalesce(p.tier, 'none'), p.spend::text, p.tier_since, NULL,
           CASE WHEN p.next_tier IS NULL THEN 'the highest tier is reached'
                ELSE format('%s more for %s', p.missing, p.next_tier) END
      FROM lifecycle.tier_progress AS p
     WHERE p.customer_id = explain.customer_id
    UNION ALL
    SELECT 'segment', s.name, s.dimension, m.entered_at, c.next_change_at, s.predicate
      FROM lifecycle.segment_member AS m
      JOIN lifecycle.segment AS s ON s.name = m.segment
      JOIN lifecycle.customer AS c USING (customer_id)
     WHERE m.customer_id = explain.customer_id
    UNION ALL
    (SELECT 'enrolment', e.scenario, e.status, e.anchor_at, e.next_due_at,
            concat_ws(', ', 'started by ' || e.anchor, e.end_reason,
                      (SELECT string_agg(format('step %s %s', d.position, concat_ws(': ', d.outcome, d.reason)), ', ' ORDER BY d.position)
                         FROM lifecycle.enrolment_step AS d
                        WHERE (d.customer_id, d.scenario, d.anchor) = (e.customer_id, e.scenario, e.anchor)))
       FROM lifecycle.enrolment AS e
      WHERE e.customer_id = explain.customer_id
      ORDER BY e.enrolled_at, e.scenario, e.anchor)
    UNION ALL
    (SELECT 'message', o.template, o.status, o.due_at, CASE WHEN o.status IN ('pending', 'leased') THEN NULLIF(o.expires_at, 'infinity') END,
            concat_ws(', ', concat_ws(' to ', o.channel, o.recipient), o.error)
       FROM lifecycle.outbox AS o
      WHERE o.customer_id = explain.customer_id
      ORDER BY o.message_id)
$$;
COMMENT ON FUNCTION lifecycle.explain(text) IS 'One customer: what it is in, since when and why, when that can next change, and what was or was not sent';
