-- Reports: why a customer is where it is.
--
-- Each looks at one customer, by indexes only, with plans that are kept: a generic plan of a few dozen lookups costs less than making one.

CREATE FUNCTION lifecycle.facts_in(customer jsonb, expression text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- What the predicate names; a name in a text constant at worst shows a column too many.
    RETURN (SELECT coalesce(jsonb_object_agg(f.key, f.value), '{}')
              FROM jsonb_each(customer) AS f
             WHERE f.key = ANY (ARRAY(SELECT m.word[1] FROM regexp_matches(lower(expression), E'\\m[a-z_]+\\M', 'g') AS m (word))));
END
$$;
COMMENT ON FUNCTION lifecycle.facts_in(jsonb, text) IS 'Internal: the columns of a customer''s row that an expression names, with their values';

CREATE FUNCTION lifecycle.explain(customer_id text)
    RETURNS TABLE (topic text, name text, value text, since timestamptz, next_change_at timestamptz, why text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'orders', 'order_count', c.order_count::text, c.first_order_at, NULL::timestamptz,
           format('last order %s, revenue %s', coalesce(c.last_order_at::text, 'never'), c.revenue)
      FROM lifecycle.customer AS c
     WHERE c.customer_id = explain.customer_id
    UNION ALL
    SELECT 'tier', coalesce(p.tier, 'none'), p.spend::text, p.tier_since, p.valid_until,
           CASE WHEN p.next_tier IS NULL THEN 'the highest tier is reached'
                ELSE format('%s more for %s', p.missing, p.next_tier) END
      FROM lifecycle.tier_progress AS p
     WHERE p.customer_id = explain.customer_id
    UNION ALL
    (SELECT 'segment', s.name, s.dimension, h.since, c.next_change_at,
            concat(s.predicate, CASE WHEN p.message IS NOT NULL THEN format('; left as it was, because it raises: %s', p.message) END)
       FROM lifecycle.customer AS c
      CROSS JOIN LATERAL lifecycle.unpack_memberships(c.memberships) AS h
       JOIN lifecycle.segment AS s ON s.segment_id = h.id
       LEFT JOIN lifecycle.problem AS p ON p.customer_id = c.customer_id AND p.segment = s.name
      WHERE c.customer_id = explain.customer_id
      ORDER BY s.name)
    UNION ALL
    (SELECT 'consent', u.channel, u.status, l.changed_at, r.expires_at, coalesce(l.evidence, CASE WHEN u.status IS NULL THEN 'never asked' END)
       FROM lifecycle.customer AS c
      CROSS JOIN LATERAL (VALUES (1, 'email', c.email_consent), (2, 'sms', c.sms_consent), (3, 'push', c.push_consent), (4, 'ads', c.ads_consent)) AS u (n, channel, status)
       LEFT JOIN LATERAL (SELECT coalesce(l.since, l.changed_at) AS changed_at, l.evidence FROM lifecycle.consent_log AS l
                           WHERE l.customer_id = c.customer_id AND l.channel = u.channel AND l.status = u.status
                           ORDER BY coalesce(l.since, l.changed_at) DESC LIMIT 1) AS l ON true
       LEFT JOIN LATERAL (SELECT max(r.expires_at) AS expires_at FROM lifecycle.consent_request AS r
                           WHERE r.customer_id = c.customer_id AND r.channel = u.channel AND r.confirmed_at IS NULL
                             AND r.expires_at > lifecycle.now() AND u.status = 'pending') AS r ON true
      WHERE c.customer_id = explain.customer_id AND (u.status IS NOT NULL OR u.channel = 'email')
      ORDER BY u.n)
    UNION ALL
    (SELECT 'suppression', s.reason, a.address, s.suppressed_at, NULL, s.note
       FROM lifecycle.customer AS c
      CROSS JOIN LATERAL (VALUES (coalesce(c.email, substring(c.customer_id FROM '^[^@ ]+@[^@ ]+$'))), (c.phone)) AS a (address)
       JOIN lifecycle.suppression AS s ON s.address_hash = lifecycle.address_hash(a.address)
      WHERE c.customer_id = explain.customer_id
      ORDER BY s.suppressed_at, s.reason)
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
      ORDER BY o.message_id);
END
$$;
COMMENT ON FUNCTION lifecycle.explain(text) IS 'One customer: what it is in, since when and why, when that can next change, what it has consented to, and what was or was not sent';
