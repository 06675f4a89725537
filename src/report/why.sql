-- Why a customer has got, will get or will not get what a scenario sends.

CREATE FUNCTION lifecycle.why_trigger(customer lifecycle.customer, scenario lifecycle.scenario)
    RETURNS TABLE (verdict text, reason text, facts jsonb, threshold text, next_change_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    starts_on text := split_part(scenario.trigger, ':', 1);
    wanted    text := substr(scenario.trigger, length(split_part(scenario.trigger, ':', 1)) + 2);
    segment   lifecycle.segment;
    since     timestamptz;
    tier      lifecycle.tier;
    holds     boolean;
BEGIN
    threshold := scenario.trigger;
    IF starts_on IN ('segment_entered', 'segment_left') THEN
        SELECT s.* INTO segment FROM lifecycle.segment AS s WHERE s.name = wanted;
        SELECT m.since INTO since FROM lifecycle.unpack_memberships(customer.memberships) AS m WHERE m.id = segment.segment_id;
        holds := FOUND = (starts_on = 'segment_entered');
        facts := lifecycle.facts_in(to_jsonb(customer), segment.predicate)
                 || jsonb_strip_nulls(jsonb_build_object('since', since));
        threshold := segment.predicate;
        next_change_at := customer.next_change_at;
    ELSIF starts_on = 'tier_reached' THEN
        SELECT t.* INTO tier FROM lifecycle.tier AS t WHERE t.name = wanted OR (wanted = '' AND t.name = customer.tier);
        holds := customer.tier IS NOT NULL
                 AND (wanted = '' OR tier.rank <= (SELECT t.rank FROM lifecycle.tier AS t WHERE t.name = customer.tier));
        facts := jsonb_strip_nulls(jsonb_build_object('tier', customer.tier, 'tier_since', customer.tier_since, 'tier_spend', customer.tier_spend));
        threshold := concat_ws(' from ', scenario.trigger, lifecycle.min_spend_at(tier, lifecycle.now()));
    ELSIF starts_on = 'tier_ending' THEN
        holds := customer.tier IS NOT NULL AND customer.tier_valid_until IS NOT NULL AND (wanted = '' OR customer.tier = wanted)
                 AND customer.tier_valid_until <= lifecycle.add_in_zone(lifecycle.now(), coalesce((SELECT max(p.warn_before) FROM lifecycle.loyalty_program AS p), '0'), customer.time_zone);
        facts := jsonb_strip_nulls(jsonb_build_object('tier', customer.tier, 'valid_until', customer.tier_valid_until));
        next_change_at := customer.next_change_at;
    ELSIF starts_on = 'order_placed' THEN
        holds := customer.last_order_at IS NOT NULL;
        facts := jsonb_strip_nulls(jsonb_build_object('order_count', customer.order_count, 'last_order_at', customer.last_order_at));
    ELSIF starts_on = 'consent' THEN
        facts := jsonb_build_object('consent', coalesce(CASE wanted WHEN 'email' THEN customer.email_consent WHEN 'sms' THEN customer.sms_consent
                                                                    WHEN 'push' THEN customer.push_consent ELSE customer.ads_consent END, 'never asked'));
        holds := facts ->> 'consent' = 'granted';
    ELSIF starts_on IN ('cart_idle', 'birthday', 'date') THEN
        -- Time starts these: now, or when the time has come.
        next_change_at := lifecycle.starts_at(customer.customer_id, scenario.name);
        facts := jsonb_strip_nulls(CASE starts_on WHEN 'cart_idle' THEN jsonb_build_object('cart', customer.cart_id, 'updated_at', customer.cart_updated_at)
                                             WHEN 'birthday' THEN jsonb_build_object('birthday', customer.birthday) ELSE '{}' END);
        holds := CASE starts_on WHEN 'cart_idle' THEN customer.cart_id IS NOT NULL AND next_change_at IS NULL
                           WHEN 'date' THEN next_change_at IS NULL
                           ELSE EXISTS (SELECT FROM lifecycle.enrolment AS e
                                         WHERE e.customer_id = customer.customer_id AND e.scenario = why_trigger.scenario.name
                                           AND e.anchor_at + why_trigger.scenario.max_age > lifecycle.now()) END;
    ELSE
        -- What happens: the latest of it.
        SELECT jsonb_build_object('id', a.id, 'at', a.at) INTO facts
          FROM lifecycle.activity AS a
         WHERE a.customer_id = customer.customer_id AND a.at <= lifecycle.now()
           AND a.kind = CASE starts_on WHEN 'delivered' THEN 'delivery' WHEN 'wishlist_added' THEN 'wishlist' ELSE starts_on END
           AND CASE WHEN starts_on = 'event' THEN a.id = wanted
                    WHEN starts_on = 'review' AND wanted <> '' THEN EXISTS (SELECT FROM lifecycle.review AS r WHERE r.customer_id = a.customer_id AND r.review = a.id AND r.rating <= wanted::int)
                    ELSE true END
         ORDER BY a.at DESC, a.id LIMIT 1;
        holds := facts IS NOT NULL;
        facts := coalesce(facts, '{}');
    END IF;
    verdict := CASE WHEN holds THEN 'pass' ELSE 'stop' END;
    reason := CASE WHEN holds THEN NULL ELSE 'not_triggered' END;
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
          FROM (SELECT DISTINCT s.channel, s.class FROM lifecycle.step AS s WHERE s.scenario = why_channels.scenario AND s.template IS NOT NULL) AS s
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

CREATE FUNCTION lifecycle.why_gates(customer lifecycle.customer, program lifecycle.scenario)
    RETURNS TABLE (step int, gate text, verdict text, reason text, facts jsonb, threshold text, next_change_at timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT NULL::int, g.gate, CASE WHEN g.stops THEN 'stop' ELSE 'pass' END, CASE WHEN g.stops THEN g.reason END,
           lifecycle.facts_in(to_jsonb(customer), g.condition), g.condition, NULL::timestamptz
      FROM (SELECT 'entry_filter' AS gate, 'not_triggered' AS reason, (program).entry_filter AS condition,
                   NOT lifecycle.holds((customer).customer_id, (program).entry_filter) AS stops
            UNION ALL
            SELECT 'exit_when', 'exited', (program).exit_when, lifecycle.holds((customer).customer_id, (program).exit_when)) AS g
     WHERE g.condition IS NOT NULL;
    RETURN QUERY
    SELECT g.step, 'gates', CASE WHEN g.wait_until IS NOT NULL THEN 'wait' WHEN g.reason IS NULL THEN 'pass' ELSE 'stop' END, g.reason,
           jsonb_strip_nulls(jsonb_build_object('channel', s.channel, 'class', s.class, 'condition', s.condition,
                                                'exclusion', CASE s.class WHEN 'marketing' THEN (program).exclusion END)),
           'if the step fell due now', g.wait_until
      FROM lifecycle.step_gates((customer).customer_id, (program).name) AS g
      JOIN lifecycle.step AS s ON s.scenario = (program).name AND s.position = g.step
     ORDER BY g.step;
END
$$;
COMMENT ON FUNCTION lifecycle.why_gates(lifecycle.customer, lifecycle.scenario) IS 'Internal: part of lifecycle.why()';

CREATE FUNCTION lifecycle.counts_from(enrolment lifecycle.enrolment, step lifecycle.step) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN CASE step.counts_from
        WHEN 'anchor' THEN enrolment.anchor_at
        WHEN 'delivery' THEN (SELECT max(d.delivered_at) FROM lifecycle.delivery AS d
                               WHERE d.customer_id = enrolment.customer_id AND d.order_id IN (enrolment.anchor, regexp_replace(enrolment.anchor, '@[^@]*$', '')))
        ELSE (SELECT coalesce(enrolment.last_at, enrolment.anchor_at)
               WHERE NOT EXISTS (SELECT FROM lifecycle.steps_of(enrolment.scenario, enrolment.version) AS t
                                  WHERE t.position > coalesce(enrolment.last_position, '-2147483648') AND t.position < step.position)) END;
END
$$;
COMMENT ON FUNCTION lifecycle.counts_from(lifecycle.enrolment, lifecycle.step) IS 'Internal: the instant from which a step of an enrolment counts; NULL: it is not known yet';

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
           CASE WHEN s.position IS NULL THEN 'the step has been deleted' WHEN f.from_at IS NULL THEN CASE s.counts_from WHEN 'delivery' THEN 'the delivery' ELSE 'the step before it' END ELSE concat_ws(', ', 'from ' || w.due_at, 'before ' || w.ends_at) END,
           CASE WHEN o.status = 'pending' AND o.due_at > lifecycle.now() THEN o.due_at
                WHEN o.status = 'pending' THEN nullif(o.expires_at, 'infinity')
                WHEN o.status = 'leased' THEN o.leased_until
                WHEN d.outcome IS NULL AND e.status = 'active' THEN w.due_at END
      FROM lifecycle.enrolment AS e
     CROSS JOIN LATERAL (SELECT s.position FROM lifecycle.steps_of(e.scenario, e.version) AS s
                         UNION SELECT d.position FROM lifecycle.enrolment_step AS d
                                WHERE (d.customer_id, d.scenario, d.anchor) = (e.customer_id, e.scenario, e.anchor)) AS p
      LEFT JOIN LATERAL lifecycle.steps_of(e.scenario, e.version) AS s ON s.position = p.position
      LEFT JOIN lifecycle.enrolment_step AS d
             ON (d.customer_id, d.scenario, d.anchor, d.position) = (e.customer_id, e.scenario, e.anchor, p.position)
      LEFT JOIN LATERAL (SELECT o.* FROM lifecycle.outbox AS o
                          WHERE o.customer_id = e.customer_id AND o.idempotency_key = concat_ws(':', e.scenario, p.position, e.anchor, e.customer_id)
                          ORDER BY o.message_id DESC LIMIT 1) AS o ON true
     CROSS JOIN LATERAL (SELECT lifecycle.counts_from(e, s) AS from_at) AS f
     CROSS JOIN LATERAL (SELECT lifecycle.add_in_zone(f.from_at, s.delay, (customer).time_zone) AS due_at,
                                lifecycle.add_in_zone(f.from_at, s.not_after, (customer).time_zone) AS ends_at) AS w
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
    RETURN QUERY SELECT NULL::text, g.* FROM lifecycle.why_gates(person, program) AS g;
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
channel, entry_filter, exit_when, the gates of each step), each enrolment and each of its steps, with the verdict, the stored reason code, the facts that were looked at, what was asked of them, and the
instant at which time alone can change it. Errors: an unknown scenario (42704)';
