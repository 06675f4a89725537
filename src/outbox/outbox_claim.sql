-- claim(): messages go out on lease.

CREATE FUNCTION lifecycle.end_messages(message_ids bigint[], statuses text[], errors text[]) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    history int4 := lifecycle.history_part();
    ended bigint;
BEGIN
    WITH gone AS (
        DELETE FROM lifecycle.outbox AS o
         WHERE o.part < 1000 AND o.message_id = ANY (message_ids)
        RETURNING o.*)
    INSERT INTO lifecycle.outbox (
           message_id, idempotency_key, customer_id, channel, recipient, scenario, anchor, step, variant, class, delivery, priority,
           template, subject, locale, payload, status, created_at, due_at, expires_at, attempts, leased_by, leased_until,
           lease_token, cancel_requested, sent_at, provider_id, error, part)
        SELECT g.message_id, g.idempotency_key, g.customer_id, g.channel, g.recipient, g.scenario, g.anchor, g.step, g.variant, g.class,
               g.delivery, g.priority, g.template, g.subject, g.locale, g.payload, u.status, g.created_at, g.due_at, g.expires_at,
               g.attempts, g.leased_by, CASE u.status WHEN 'unknown' THEN g.leased_until END, g.lease_token,
               g.cancel_requested OR u.status = 'cancelled', g.sent_at,
               g.provider_id, coalesce(u.error, g.error), history
          FROM gone AS g
          JOIN unnest(message_ids, statuses, errors) AS u (message_id, status, error) ON u.message_id = g.message_id;
    GET DIAGNOSTICS ended = ROW_COUNT;
    RETURN ended;
END
$$;
COMMENT ON FUNCTION lifecycle.end_messages(bigint[], text[], text[]) IS 'Internal: moves messages that are locked and do not go out into history, each with its status and why';

CREATE TABLE lifecycle.channel_pace (
    channel    text NOT NULL,
    claimed_at timestamptz NOT NULL,
    messages   bigint NOT NULL
);
COMMENT ON TABLE lifecycle.channel_pace IS 'Internal: what was claimed within the last hour on channels that have a max_per_hour';
COMMENT ON COLUMN lifecycle.channel_pace.channel IS 'The channel';
COMMENT ON COLUMN lifecycle.channel_pace.claimed_at IS 'When';
COMMENT ON COLUMN lifecycle.channel_pace.messages IS 'How many messages';

CREATE FUNCTION lifecycle.room_on(channels text[], clock timestamptz) RETURNS bigint[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    held text[];
BEGIN
    -- One claim at a time counts; who comes upon a channel that is being claimed from finds no room on it, and does not wait.
    held := ARRAY(SELECT h.name FROM lifecycle.channel AS h WHERE h.name = ANY (channels) AND h.max_per_hour IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED);
    RETURN ARRAY(SELECT CASE WHEN h.max_per_hour IS NULL THEN NULL
                             WHEN h.name <> ALL (held) THEN 0
                             ELSE greatest(h.max_per_hour - coalesce((SELECT sum(p.messages) FROM lifecycle.channel_pace AS p
                                                                       WHERE p.channel = h.name AND p.claimed_at > clock - interval '1 hour'), 0), 0) END
                   FROM unnest(channels) WITH ORDINALITY AS c (name, n) LEFT JOIN lifecycle.channel AS h ON h.name = c.name ORDER BY c.n);
END
$$;
COMMENT ON FUNCTION lifecycle.room_on(text[], timestamptz) IS 'Internal: how many messages may be claimed on each of these channels now, and holds those that have a limit until the transaction ends; NULL: any number';

CREATE FUNCTION lifecycle.pick_messages(clock timestamptz, wanted bigint, channels text[], customer text, room bigint[] DEFAULT NULL)
    RETURNS TABLE (message_id bigint, part int4, customer_id text, recipient text, scenario text, anchor text, channel text, class text,
                   status text, delivery text, cancel_requested boolean, expires_at timestamptz, attempts int4, leased_by text,
                   priority int4, due_at timestamptz, recommends text, code text, created_at timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    -- The order of the index and nothing else, whatever the statistics say of tables that fill and empty within seconds.
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
BEGIN
    IF customer IS NOT NULL THEN
        RETURN QUERY
            WITH own AS MATERIALIZED (
                SELECT o.message_id, o.part, o.customer_id, o.recipient, o.scenario, o.anchor, o.channel, o.class, o.status, o.delivery,
                       o.cancel_requested, o.expires_at, o.attempts, o.leased_by, o.priority, o.due_at, o.payload ->> 'recommends', o.payload -> 'offer' ->> 'code',
                       o.created_at
                  FROM lifecycle.outbox AS o
                 -- Not by the index on due_at, whatever a plan that was made on an empty table thinks of it.
                 WHERE o.part < 1000 AND o.customer_id = customer
                   AND (channels[1] IS NULL OR o.channel = channels[1]) AND o.due_at + interval '0' <= clock
                   AND (o.status = 'pending' OR (o.status = 'leased' AND o.leased_until <= clock))
                   FOR UPDATE SKIP LOCKED)
            SELECT w.* FROM own AS w ORDER BY w.priority DESC, w.due_at, w.message_id LIMIT wanted;
    ELSIF cardinality(channels) = 1 THEN
        RETURN QUERY
            SELECT o.message_id, o.part, o.customer_id, o.recipient, o.scenario, o.anchor, o.channel, o.class, o.status, o.delivery,
                   o.cancel_requested, o.expires_at, o.attempts, o.leased_by, o.priority, o.due_at, o.payload ->> 'recommends', o.payload -> 'offer' ->> 'code',
                   o.created_at
              FROM lifecycle.outbox AS o
             WHERE o.part < 1000 AND o.channel = channels[1] AND o.due_at <= clock
               AND (o.status = 'pending' OR (o.status = 'leased' AND o.leased_until <= clock))
             ORDER BY o.channel, o.priority DESC, o.due_at
             LIMIT least(wanted, room[1])
               FOR UPDATE SKIP LOCKED;
    ELSE
        RETURN QUERY
            SELECT p.*
              FROM unnest(channels, room) AS c (name, room), lifecycle.pick_messages(clock, wanted, ARRAY[c.name], NULL, ARRAY[c.room]) AS p
             ORDER BY p.priority DESC, p.due_at, p.message_id
             LIMIT wanted;
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.pick_messages(timestamptz, bigint, text[], text, bigint[]) IS 'Internal: locks messages of these channels, on each as many as there is room, or of one customer, that are due and that nobody holds, the first ones first';

CREATE FUNCTION lifecycle.waiting_channels() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
BEGIN
    -- From channel to channel by the index, however many messages each has.
    RETURN QUERY
        WITH RECURSIVE found AS (
            SELECT min(o.channel) AS channel FROM lifecycle.outbox AS o WHERE o.part < 1000
            UNION ALL
            SELECT (SELECT min(o.channel) FROM lifecycle.outbox AS o WHERE o.part < 1000 AND o.channel > f.channel)
              FROM found AS f WHERE f.channel IS NOT NULL)
        SELECT f.channel FROM found AS f WHERE f.channel IS NOT NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.waiting_channels() IS 'Internal: channels on which something waits';

CREATE FUNCTION lifecycle.claim(max_messages int DEFAULT 100, channel text DEFAULT NULL, consumer text DEFAULT NULL,
                                lease interval DEFAULT '5 minutes', customer_id text DEFAULT NULL)
    RETURNS SETOF lifecycle.outbox
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer can claim with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
    AS $$
DECLARE
    clock timestamptz := lifecycle.now();
    tries int := (lifecycle.outbox_policy()).max_attempts;
    token bigint;
    channels text[];
    ids bigint[];
    good bigint[];
    customers text[];
    recipients text[];
    scenarios text[];
    anchors text[];
    on_channels text[];
    classes text[];
    recommend text[];
    codes text[];
    bound_at timestamptz[];
    payloads jsonb;
    verdicts text[];
    lapses text[];
    reasons text[];
    taken bigint[] := '{}';
    parts int4[] := '{}';
    k int4;
    room bigint[];
    paced boolean;
BEGIN
    IF max_messages < 0 OR max_messages IS NULL THEN
        RAISE EXCEPTION 'max_messages must not be negative'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(max_messages::text, 'NULL'));
    END IF;
    IF (lease > '0') IS NOT TRUE THEN
        RAISE EXCEPTION 'lease must be longer than nothing'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(lease::text, 'NULL'));
    END IF;
    IF NOT lifecycle.is_armed() THEN
        RAISE WARNING 'this database is a copy and sends nothing until it is armed'
            USING HINT = 'SELECT lifecycle.arm() if its customers are to get mail from here.';
        RETURN;
    END IF;
    -- What is shown on the site waits for its customer, who must be named.
    channels := CASE WHEN claim.channel IS NOT NULL OR claim.customer_id IS NOT NULL THEN ARRAY[claim.channel]
                     ELSE ARRAY(SELECT w FROM lifecycle.waiting_channels() AS w WHERE w <> 'onsite') END;
    IF claim.customer_id IS NULL THEN
        room := lifecycle.room_on(channels, clock);
    END IF;
    paced := array_remove(room, NULL) <> '{}';
    WHILE cardinality(taken) < max_messages LOOP
        SELECT array_agg(p.message_id), array_agg(DISTINCT p.part), array_agg(p.customer_id), array_agg(p.recipient), array_agg(p.scenario),
               array_agg(p.anchor), array_agg(p.channel), array_agg(p.class), array_agg(p.recommends), array_agg(p.code), array_agg(p.created_at),
               array_agg(CASE WHEN p.status = 'leased' AND p.delivery = 'at_most_once' THEN 'unknown'
                              WHEN p.cancel_requested THEN 'cancelled'
                              WHEN p.expires_at <= clock THEN 'expired'
                              WHEN p.attempts >= tries THEN 'failed' END),
               array_agg(CASE WHEN p.status = 'leased' AND NOT p.cancel_requested
                              THEN format('the lease of %s ran out', coalesce(quote_literal(p.leased_by), 'a consumer')) END)
          INTO ids, parts, customers, recipients, scenarios, anchors, on_channels, classes, recommend, codes, bound_at, verdicts, lapses
          FROM lifecycle.pick_messages(clock, max_messages - cardinality(taken), channels, claim.customer_id, room) AS p;
        EXIT WHEN ids IS NULL;
        reasons := ARRAY(SELECT g.reason FROM lifecycle.gates(customers, recipients, scenarios, anchors, on_channels, classes) AS g ORDER BY g.n);
        good := ids;
        IF array_remove(verdicts, NULL) <> '{}' OR array_remove(reasons, NULL) <> '{}' THEN
            PERFORM lifecycle.end_messages(array_agg(u.id), array_agg(u.verdict), array_agg(u.error))
               FROM (SELECT u.id,
                            -- Whether an at_most_once message has gone out nobody knows, and no gate can change that.
                            CASE WHEN u.verdict = 'unknown' OR u.reason IS NULL THEN u.verdict ELSE 'cancelled' END AS verdict,
                            CASE WHEN u.verdict = 'unknown' OR u.reason IS NULL THEN u.lapse ELSE u.reason END AS error
                       FROM unnest(ids, verdicts, reasons, lapses) AS u (id, verdict, reason, lapse)
                      WHERE u.verdict IS NOT NULL OR u.reason IS NOT NULL) AS u;
            good := ARRAY(SELECT u.id FROM unnest(ids, verdicts, reasons) AS u (id, verdict, reason) WHERE u.verdict IS NULL AND u.reason IS NULL);
        END IF;
        CONTINUE WHEN cardinality(good) = 0;
        IF paced THEN
            WITH claimed AS (
                SELECT u.channel, count(*) AS messages FROM unnest(ids, on_channels) AS u (id, channel) WHERE u.id = ANY (good) GROUP BY u.channel),
            noted AS (
                INSERT INTO lifecycle.channel_pace (channel, claimed_at, messages)
                    SELECT c.channel, clock, c.messages FROM claimed AS c JOIN lifecycle.channel AS h ON h.name = c.channel AND h.max_per_hour IS NOT NULL)
            SELECT array_agg(u.room - coalesce(c.messages, 0) ORDER BY u.n) INTO room
              FROM unnest(channels, room) WITH ORDINALITY AS u (channel, room, n) LEFT JOIN claimed AS c ON c.channel = u.channel;
        END IF;
        IF array_remove(codes, NULL) <> '{}' THEN
            PERFORM lifecycle.renew_coupons(codes, bound_at, clock);
        END IF;
        payloads := lifecycle.payloads(ids, customers, scenarios, anchors, recommend, on_channels, codes);
        token := coalesce(token, nextval('lifecycle.lease_token'));
        FOREACH k IN ARRAY parts LOOP
            RETURN QUERY
                UPDATE lifecycle.outbox AS o
                   SET status = 'leased', attempts = o.attempts + 1, leased_by = consumer, leased_until = clock + lease,
                       lease_token = token, payload = lifecycle.fresh_payload(o.payload, payloads -> o.message_id::text),
                       error = CASE o.status WHEN 'leased'
                                    THEN format('the lease of %s ran out', coalesce(quote_literal(o.leased_by), 'a consumer'))
                                    ELSE o.error END
                 WHERE o.part < 1000 AND o.part = k AND o.message_id = ANY (good)
                RETURNING o.*;
        END LOOP;
        taken := taken || good;
    END LOOP;
    IF token IS NOT NULL THEN
        INSERT INTO lifecycle.lease (lease_token, consumer, leased_until, message_ids) VALUES (token, consumer, clock + lease, taken);
        IF paced THEN
            DELETE FROM lifecycle.channel_pace AS p WHERE p.claimed_at <= clock - interval '1 hour' AND p.channel = ANY (channels);
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.claim(int, text, text, interval, text) IS 'Leases up to max_messages due messages (of one channel or for one customer, if given) to a consumer for the length of the lease, and returns them; those of higher priority first, then those due first. Their payload is brought up to date. Concurrent claims never get the same message';
