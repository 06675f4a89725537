-- What has happened to a customer, and what is planned.

CREATE FUNCTION lifecycle.timeline(customer_id text) RETURNS TABLE (at timestamptz, kind text, name text, detail jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    self text := coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = timeline.customer_id), timeline.customer_id);
BEGIN
    RETURN QUERY
    SELECT t.at, t.kind, t.name, jsonb_strip_nulls(t.detail)
      FROM (SELECT p.at, p.kind, p.id AS name, jsonb_build_object('amount', p.amount, 'order', p.order_id, 'currency', p.currency) AS detail
              FROM lifecycle.purchase AS p WHERE p.customer_id = self
            UNION ALL
            SELECT a.at, a.kind, a.id, '{}' FROM lifecycle.activity AS a WHERE a.customer_id = self AND (a.kind, a.id) <> ('engagement', 'sent')
            UNION ALL
            -- What the outbox has sent is below.
            SELECT e.occurred_at, 'engagement', e.type, '{}' FROM lifecycle.engagement AS e WHERE e.customer_id = self AND e.type = 'sent' AND e.source_id <> -1
            UNION ALL
            SELECT coalesce(l.since, l.changed_at), 'consent', l.channel, jsonb_build_object('status', l.status, 'evidence', l.evidence)
              FROM lifecycle.consent_log AS l WHERE l.customer_id = self
            UNION ALL
            SELECT e.at, e.kind, h.tier, '{}'
              FROM lifecycle.tier_history AS h CROSS JOIN LATERAL (VALUES (h.entered_at, 'tier reached'), (h.left_at, 'tier left')) AS e (at, kind)
             WHERE h.customer_id = self AND e.at IS NOT NULL
            UNION ALL
            SELECT e.at, e.kind, p.segment, '{}'
              FROM lifecycle.segment_past AS p
             CROSS JOIN LATERAL (VALUES (p.entered_at, 'segment entered'), (p.left_at, 'segment left')) AS e (at, kind)
             WHERE p.customer_id = self
            UNION ALL
            -- From the row of the customer: segment_member is kept by segment.
            SELECT h.since, 'segment entered', s.name, '{}'
              FROM lifecycle.customer AS c CROSS JOIN LATERAL lifecycle.unpack_memberships(c.memberships) AS h
              JOIN lifecycle.segment AS s ON s.segment_id = h.id
             WHERE c.customer_id = self
            UNION ALL
            SELECT x.at, x.kind, e.scenario, jsonb_build_object('anchor', e.anchor, 'reason', CASE x.kind WHEN 'enrolled' THEN NULL ELSE coalesce(e.end_reason, e.status) END)
              FROM lifecycle.enrolment AS e CROSS JOIN LATERAL (VALUES (e.enrolled_at, 'enrolled'), (e.ended_at, 'enrolment ended')) AS x (at, kind)
             WHERE e.customer_id = self AND x.at IS NOT NULL
            UNION ALL
            SELECT d.decided_at, 'step ' || d.outcome, d.scenario, jsonb_build_object('anchor', d.anchor, 'step', d.position, 'reason', d.reason)
              FROM lifecycle.enrolment_step AS d WHERE d.customer_id = self
            UNION ALL
            SELECT coalesce(o.sent_at, o.created_at), 'message ' || o.status, o.template,
                   jsonb_build_object('message_id', o.message_id, 'channel', o.channel, 'recipient', o.recipient, 'due_at', o.due_at, 'error', o.error)
              FROM lifecycle.outbox AS o WHERE o.customer_id = self
            UNION ALL
            SELECT x.at, x.kind, r.channel, '{}'
              FROM lifecycle.consent_request AS r
             CROSS JOIN LATERAL (VALUES (r.requested_at, 'consent requested'), (r.confirmed_at, 'consent confirmed')) AS x (at, kind)
             WHERE r.customer_id = self AND x.at IS NOT NULL
            UNION ALL
            SELECT p.at, 'points ' || p.kind, p.reference, jsonb_build_object('points', nullif(p.points, 0), 'pending', nullif(p.pending, 0), 'note', p.note)
              FROM lifecycle.points_entry AS p WHERE p.customer_id = self
            UNION ALL
            SELECT x.at, x.kind, k.offer, jsonb_build_object('code', k.code, 'order', CASE x.kind WHEN 'coupon redeemed' THEN k.redeemed_order END)
              FROM lifecycle.coupon AS k CROSS JOIN LATERAL (VALUES (k.issued_at, 'coupon issued'), (k.redeemed_at, 'coupon redeemed')) AS x (at, kind)
             WHERE k.customer_id = self AND x.at IS NOT NULL
            UNION ALL
            SELECT m.merged_at, 'merged', m.customer_id, '{}' FROM lifecycle.merged AS m WHERE m.into_id = self) AS t
     ORDER BY t.at, t.kind, t.name, t.detail;
END
$$;
COMMENT ON FUNCTION lifecycle.timeline(text) IS 'Everything that has happened to a customer, in the order of time: facts, points, coupons, stays in tiers and segments, consents, enrolments, what was decided in them, and messages. A message stands at the instant it was sent, or was enqueued if it has not been';

CREATE FUNCTION lifecycle.next_actions(customer_id text) RETURNS TABLE (at timestamptz, kind text, name text, detail jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    person lifecycle.customer;
BEGIN
    SELECT c.* INTO person FROM lifecycle.customer AS c
     WHERE c.customer_id = coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = next_actions.customer_id), next_actions.customer_id);
    RETURN QUERY
    SELECT t.at, t.kind, t.name, jsonb_strip_nulls(t.detail)
      FROM (SELECT o.due_at AS at, 'message' AS kind, o.template AS name,
                   jsonb_build_object('message_id', o.message_id, 'scenario', o.scenario, 'step', o.step, 'channel', o.channel, 'status', o.status,
                                      'expires_at', nullif(o.expires_at, 'infinity'), 'stopped_by', CASE WHEN o.due_at > lifecycle.now() THEN nullif(lifecycle.gate(o), 'quiet_hours') ELSE lifecycle.gate(o) END) AS detail
              FROM lifecycle.outbox AS o WHERE o.customer_id = person.customer_id AND o.part < 1000 AND o.status IN ('pending', 'leased')
            UNION ALL
            -- What the gates say now of what falls due later: caps and quiet hours will have passed by then.
            SELECT CASE WHEN q.fork IS NULL THEN lifecycle.add_in_zone(f.from_at, s.delay, person.time_zone) END, 'step', e.scenario,
                   jsonb_build_object('anchor', e.anchor, 'step', s.position, 'channel', s.channel, 'template', s.template,
                                      'waits_for', CASE WHEN q.fork IS NOT NULL THEN format('step %s', q.fork) ELSE coalesce(s.wait_for, CASE WHEN f.from_at IS NULL THEN s.counts_from END) END,
                                      'expires_at', lifecycle.add_in_zone(f.from_at, s.not_after, person.time_zone),
                                      'stopped_by', CASE WHEN k.status = 'paused' THEN 'paused' WHEN s.template IS NOT NULL THEN coalesce(c.reason, g.reason) END)
              FROM lifecycle.enrolment AS e
              JOIN lifecycle.scenario AS k ON k.name = e.scenario
              JOIN LATERAL lifecycle.steps_of(e.scenario, e.version) AS s ON s.position > coalesce(e.last_position, '-2147483648'::int)
             CROSS JOIN LATERAL (SELECT lifecycle.counts_from(e, s) AS from_at) AS f
              -- Whether a step behind a fork comes at all is not known before the fork has been decided.
             CROSS JOIN LATERAL (SELECT min(t.position) AS fork FROM lifecycle.steps_of(e.scenario, e.version) AS t
                                  WHERE (t.template IS NULL OR t.otherwise IS NOT NULL)
                                    AND t.position > coalesce(e.last_position, '-2147483648'::int) AND t.position < s.position) AS q
              LEFT JOIN LATERAL (SELECT c.reason FROM lifecycle.why_channels(person, e.scenario) AS c
                                  WHERE c.reason IS NOT NULL AND c.facts ->> 'channel' = s.channel AND c.facts ->> 'class' = s.class LIMIT 1) AS c ON true
              LEFT JOIN lifecycle.step_gates(person.customer_id, e.scenario) AS g ON g.step = s.position AND g.wait_until IS NULL
             WHERE e.customer_id = person.customer_id AND e.status = 'active'
            UNION ALL
            -- What the next flip does; one that changes nothing is not worth telling.
            SELECT person.next_change_at, CASE WHEN f.segment IS NULL THEN 'segment left' ELSE 'segment entered' END, coalesce(f.segment, h.name), '{}'
              FROM (SELECT x.segment FROM lifecycle.evaluate_segments(person.customer_id, person.next_change_at) AS x) AS f
              FULL JOIN (SELECT s.name FROM lifecycle.unpack_memberships(person.memberships) AS m JOIN lifecycle.segment AS s ON s.segment_id = m.id) AS h ON h.name = f.segment
             WHERE f.segment IS NULL OR h.name IS NULL
            UNION ALL
            SELECT person.tier_valid_until, 'tier ends', person.tier, jsonb_build_object('missing', person.tier_missing)
             WHERE person.tier_valid_until IS NOT NULL
            UNION ALL
            SELECT k.valid_until, 'coupon ends', k.offer, jsonb_build_object('code', k.code)
              FROM lifecycle.coupon AS k WHERE k.customer_id = person.customer_id AND k.status = 'issued' AND k.valid_until < 'infinity'
            UNION ALL
            SELECT r.expires_at, 'consent request expires', r.channel, '{}'
              FROM lifecycle.consent_request AS r
             WHERE r.customer_id = person.customer_id AND r.confirmed_at IS NULL AND r.expires_at > lifecycle.now()) AS t
     ORDER BY t.at, t.kind, t.name, t.detail;
END
$$;
COMMENT ON FUNCTION lifecycle.next_actions(text) IS
'What is planned for a customer if nothing happens: messages that wait, steps to come, the next segments that time alone changes, the end of its tier and coupons, and
requests for consent that run out. stopped_by: the reason code for which it would not be sent as things stand';
