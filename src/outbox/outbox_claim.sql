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

CREATE FUNCTION lifecycle.put_off_messages(message_ids bigint[], until timestamptz[], errors text[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
    UPDATE lifecycle.outbox AS o
       SET status = 'pending', due_at = u.until, leased_until = NULL, error = coalesce(u.error, o.error)
      FROM unnest(message_ids, put_off_messages.until, errors) AS u (message_id, until, error)
     WHERE o.part < 1000 AND o.message_id = u.message_id
$$;
COMMENT ON FUNCTION lifecycle.put_off_messages(bigint[], timestamptz[], text[]) IS 'Internal: lets messages that are locked wait until an instant each';

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
    -- Works as the owner of the extension, so that a mailer can claim with EXECUTE on this function only.
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_claim';
COMMENT ON FUNCTION lifecycle.claim(int, text, text, interval, text) IS 'Leases up to max_messages due messages (of one channel or for one customer, if given) to a consumer for the length of the lease, and returns them; those of higher priority first, then those due first. Their payload is brought up to date. Concurrent claims never get the same message';
