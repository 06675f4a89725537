-- Why a customer has got, will get or will not get what a scenario sends.

CREATE FUNCTION lifecycle.why_trigger(customer lifecycle.customer, scenario lifecycle.scenario)
    RETURNS TABLE (verdict text, reason text, facts jsonb, threshold text, next_change_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind    text := split_part(scenario.trigger, ':', 1);
    wanted  text := substr(scenario.trigger, length(split_part(scenario.trigger, ':', 1)) + 2);
    segment lifecycle.segment;
    tier    lifecycle.tier;
    holds   boolean;
BEGIN
    threshold := scenario.trigger;
    IF kind IN ('segment_entered', 'segment_left') THEN
        SELECT s.* INTO segment FROM lifecycle.segment AS s WHERE s.name = wanted;
        holds := (segment.segment_id = ANY (customer.segment_ids)) IS TRUE = (kind = 'segment_entered');
        facts := lifecycle.facts_in(to_jsonb(customer), segment.predicate)
                 || jsonb_strip_nulls(jsonb_build_object('since', customer.segment_since[array_position(customer.segment_ids, segment.segment_id)]));
        threshold := segment.predicate;
        next_change_at := customer.next_change_at;
    ELSIF kind = 'tier_reached' THEN
        SELECT t.* INTO tier FROM lifecycle.tier AS t WHERE t.name = wanted OR (wanted = '' AND t.name = customer.tier);
        holds := customer.tier IS NOT NULL
                 AND (wanted = '' OR tier.rank <= (SELECT t.rank FROM lifecycle.tier AS t WHERE t.name = customer.tier));
        facts := jsonb_strip_nulls(jsonb_build_object('tier', customer.tier, 'tier_since', customer.tier_since, 'tier_spend', customer.tier_spend));
        threshold := concat_ws(' from ', scenario.trigger, tier.min_spend);
    ELSIF kind = 'order_placed' THEN
        holds := customer.last_order_at IS NOT NULL;
        facts := jsonb_strip_nulls(jsonb_build_object('order_count', customer.order_count, 'last_order_at', customer.last_order_at));
    ELSE
        -- What happens and is over: the enrolments tell of it.
        facts := '{}';
    END IF;
    verdict := CASE WHEN holds THEN 'pass' WHEN NOT holds THEN 'stop' ELSE 'unknown' END;
    reason := CASE WHEN NOT holds THEN 'not_triggered' END;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lifecycle.why_trigger(lifecycle.customer, lifecycle.scenario) IS 'Internal: part of lifecycle.why()';

CREATE FUNCTION lifecycle.why_channels(customer lifecycle.customer, scenario text)
    RETURNS TABLE (gate text, verdict text, reason text, facts jsonb, threshold text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH used AS (
        SELECT s.channel, s.class, h.consent,
               CASE WHEN s.channel = 'sms' THEN (customer).phone
                    ELSE coalesce((customer).email, substring((customer).customer_id FROM '^[^@ ]+@[^@ ]+$')) END AS address,
               CASE h.consent WHEN 'email' THEN (customer).email_consent WHEN 'sms' THEN (customer).sms_consent
                              WHEN 'push' THEN (customer).push_consent WHEN 'ads' THEN (customer).ads_consent END AS consented
          FROM (SELECT DISTINCT s.channel, s.class FROM lifecycle.step AS s WHERE s.scenario = why_channels.scenario) AS s
          JOIN lifecycle.channel AS h ON h.name = s.channel)
    SELECT g.gate, CASE WHEN g.reason IS NULL THEN 'pass' ELSE 'stop' END, g.reason, g.facts, g.threshold
      FROM used AS u
     CROSS JOIN LATERAL (
        SELECT 1 AS n, 'suppression' AS gate,
               (SELECT 'suppressed' FROM lifecycle.suppression AS x
                 WHERE x.address_hash = lifecycle.address_hash(u.address) AND (x.reason <> 'sunset' OR u.class = 'marketing') LIMIT 1) AS reason,
               jsonb_strip_nulls(jsonb_build_object('channel', u.channel, 'class', u.class, 'address', u.address, 'suppressed',
                   (SELECT jsonb_object_agg(x.reason, x.suppressed_at) FROM lifecycle.suppression AS x WHERE x.address_hash = lifecycle.address_hash(u.address)))) AS facts,
               'the address is not suppressed' AS threshold
        UNION ALL
        SELECT 2, 'consent', CASE WHEN u.class = 'marketing' AND u.consent IS NOT NULL AND u.consented IS DISTINCT FROM 'granted' THEN 'no_consent' END,
               jsonb_build_object('channel', u.channel, 'class', u.class, 'consent', coalesce(u.consented, 'never asked')),
               CASE WHEN u.class = 'marketing' AND u.consent IS NOT NULL THEN format('consent to %s is granted', u.consent) ELSE 'none needed' END) AS g
     ORDER BY g.n, u.channel, u.class;
END
$$;
COMMENT ON FUNCTION lifecycle.why_channels(lifecycle.customer, text) IS 'Internal: part of lifecycle.why()';

CREATE FUNCTION lifecycle.why_steps(customer lifecycle.customer, scenario text)
    RETURNS TABLE (anchor text, step int, gate text, verdict text, reason text, facts jsonb, threshold text, next_change_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.anchor, p.position, 'step',
           CASE WHEN o.message_id IS NOT NULL THEN o.status WHEN d.outcome IS NOT NULL THEN d.outcome
                WHEN e.status <> 'active' THEN 'not_reached' ELSE 'waiting' END,
           coalesce(o.error, d.reason, CASE WHEN d.outcome IS NULL AND e.status <> 'active' THEN coalesce(e.end_reason, e.status) END),
           jsonb_strip_nulls(jsonb_build_object('due_at', w.due_at, 'decided_at', d.decided_at, 'message_id', o.message_id, 'channel', coalesce(o.channel, s.channel),
                                                'recipient', o.recipient, 'template', coalesce(o.template, s.template), 'variant', o.variant, 'attempts', nullif(o.attempts, 0), 'sent_at', o.sent_at)),
           CASE WHEN s.position IS NULL THEN 'the step has been deleted' ELSE concat_ws(', ', 'from ' || w.due_at, 'before ' || w.ends_at) END,
           CASE WHEN o.status = 'pending' AND o.due_at > lifecycle.now() THEN o.due_at
                WHEN o.status = 'pending' THEN nullif(o.expires_at, 'infinity')
                WHEN o.status = 'leased' THEN o.leased_until
                WHEN d.outcome IS NULL AND e.status = 'active' THEN w.due_at END
      FROM lifecycle.enrolment AS e
     CROSS JOIN LATERAL (SELECT s.position FROM lifecycle.step AS s WHERE s.scenario = e.scenario
                         UNION SELECT d.position FROM lifecycle.enrolment_step AS d
                                WHERE (d.customer_id, d.scenario, d.anchor) = (e.customer_id, e.scenario, e.anchor)) AS p
      LEFT JOIN lifecycle.step AS s ON s.scenario = e.scenario AND s.position = p.position
      LEFT JOIN lifecycle.enrolment_step AS d
             ON (d.customer_id, d.scenario, d.anchor, d.position) = (e.customer_id, e.scenario, e.anchor, p.position)
      LEFT JOIN LATERAL (SELECT o.* FROM lifecycle.outbox AS o
                          WHERE o.customer_id = e.customer_id AND o.idempotency_key = concat_ws(':', e.scenario, p.position, e.anchor, e.customer_id)
                          ORDER BY o.message_id DESC LIMIT 1) AS o ON true
     CROSS JOIN LATERAL (SELECT lifecycle.add_in_zone(e.anchor_at, s.delay, (customer).time_zone) AS due_at,
                                lifecycle.add_in_zone(e.anchor_at, s.not_after, (customer).time_zone) AS ends_at) AS w
     WHERE e.customer_id = (customer).customer_id AND e.scenario = why_steps.scenario;
END
$$;
COMMENT ON FUNCTION lifecycle.why_steps(lifecycle.customer, text) IS 'Internal: part of lifecycle.why()';

CREATE FUNCTION lifecycle.why(customer_id text, scenario text)
    RETURNS TABLE (anchor text, step int, gate text, verdict text, reason text, facts jsonb, threshold text, next_change_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
#variable_conflict use_column
DECLARE
    person  lifecycle.customer;
    program lifecycle.scenario;
BEGIN
    SELECT s.* INTO program FROM lifecycle.scenario AS s WHERE s.name = why.scenario;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'scenario "%" does not exist', why.scenario USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM lifecycle.scenario.';
    END IF;
    SELECT c.* INTO person FROM lifecycle.customer AS c
     WHERE c.customer_id = coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = why.customer_id), why.customer_id);
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, NULL::int, 'customer', 'stop', CASE WHEN lifecycle.is_erased(why.customer_id) THEN 'erased' ELSE 'unknown' END,
                            '{}'::jsonb, 'the customer is known', NULL::timestamptz;
        RETURN;
    END IF;
    RETURN QUERY SELECT NULL::text, NULL::int, 'armed', CASE WHEN lifecycle.is_armed() THEN 'pass' ELSE 'stop' END, CASE WHEN NOT lifecycle.is_armed() THEN 'not_armed' END,
                        '{}'::jsonb, 'this database may send', NULL::timestamptz;
    RETURN QUERY SELECT NULL::text, NULL::int, 'scenario', CASE program.status WHEN 'active' THEN 'pass' ELSE 'stop' END,
                        nullif(program.status, 'active'), jsonb_build_object('status', program.status), 'status is active', NULL::timestamptz;
    RETURN QUERY SELECT NULL::text, NULL::int, 'trigger', t.* FROM lifecycle.why_trigger(person, program) AS t;
    RETURN QUERY SELECT NULL::text, NULL::int, c.*, NULL::timestamptz FROM lifecycle.why_channels(person, why.scenario) AS c;
    RETURN QUERY
        SELECT q.anchor, q.step, q.gate, q.verdict, q.reason, q.facts, q.threshold, q.next_change_at
          FROM (SELECT e.anchor, NULL::int AS step, 'enrolment' AS gate, e.status AS verdict, e.end_reason AS reason,
                       jsonb_strip_nulls(jsonb_build_object('anchor_at', e.anchor_at, 'enrolled_at', e.enrolled_at, 'last_position', e.last_position, 'ended_at', e.ended_at)) AS facts,
                       concat('goal: ', coalesce(program.goal, 'none')) AS threshold, e.next_due_at AS next_change_at, e.anchor_at
                  FROM lifecycle.enrolment AS e WHERE e.customer_id = person.customer_id AND e.scenario = why.scenario
                UNION ALL
                SELECT w.anchor, w.step, w.gate, w.verdict, w.reason, w.facts, w.threshold, w.next_change_at, e.anchor_at
                  FROM lifecycle.why_steps(person, why.scenario) AS w
                  JOIN lifecycle.enrolment AS e ON (e.customer_id, e.scenario, e.anchor) = (person.customer_id, why.scenario, w.anchor)) AS q
         ORDER BY q.anchor_at, q.anchor, q.step NULLS FIRST;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, NULL::int, 'enrolment', 'stop', 'not_enrolled', '{}'::jsonb,
                            format('the trigger fires, not longer than %s ago, while the scenario is active', program.max_age), NULL::timestamptz;
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.why(text, text) IS
'Why a customer has got, will get or will not get what a scenario sends: a row for each gate (armed, scenario, trigger, suppression and consent of each
channel), each enrolment and each of its steps, with the verdict, the stored reason code, the facts that were looked at, what was asked of them, and the
instant at which time alone can change it. Errors: an unknown scenario (42704)';
