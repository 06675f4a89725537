-- What a mailer says of the messages it has claimed.

CREATE FUNCTION lifecycle.refuse_answer(message_ids bigint[], lease_token bigint, answer text, detail text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    -- To say the same twice is no offence; a message that was sent under this very token need not be told again.
    INSERT INTO lifecycle.late_answer (message_id, customer_id, answer, lease_token, status, held_by, detail, answered_at)
        SELECT o.message_id, o.customer_id, refuse_answer.answer, refuse_answer.lease_token, o.status, o.lease_token, refuse_answer.detail,
               lifecycle.now()
          FROM lifecycle.outbox AS o
         WHERE o.message_id = ANY (message_ids)
           AND NOT (o.status IN ('sent', 'failed', 'pending') AND (refuse_answer.lease_token IS NULL OR o.lease_token = refuse_answer.lease_token))
$$;
COMMENT ON FUNCTION lifecycle.refuse_answer(bigint[], bigint, text, text) IS 'Internal: notes in lifecycle.late_answer what a mailer said of messages that are not its own';

CREATE FUNCTION lifecycle.ack(message_ids bigint[], lease_token bigint DEFAULT NULL, provider_ids text[] DEFAULT NULL) RETURNS bigint
    -- Works as the owner of the extension, so that a mailer can acknowledge with EXECUTE on this function only.
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_ack';
COMMENT ON FUNCTION lifecycle.ack(bigint[], bigint, text[]) IS 'Marks claimed messages as sent, with the provider''s ids in the same order if there are any, and returns how many: those whose lease has passed to another consumer, or without a token has run out, are left alone and noted in lifecycle.late_answer';

CREATE FUNCTION lifecycle.backoff(attempts int) RETURNS interval
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    -- Twenty doublings are longer than any retry_at_most, and do not overflow.
    SELECT least(p.retry_after * 2 ^ least(greatest(attempts - 1, 0), 20), p.retry_at_most) FROM lifecycle.outbox_policy() AS p
$$;
COMMENT ON FUNCTION lifecycle.backoff(int) IS 'How long a message waits that has failed this many times; see lifecycle.outbox_policy';

CREATE FUNCTION lifecycle.fail(message_id bigint, error text, retry_after interval DEFAULT NULL, lease_token bigint DEFAULT NULL,
                               permanent boolean DEFAULT false)
    RETURNS boolean
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer can report a failure with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    policy lifecycle.outbox_policy := lifecycle.outbox_policy();
    message lifecycle.outbox;
BEGIN
    SELECT o.* INTO message
      FROM lifecycle.outbox AS o
     WHERE o.part < 1000 AND o.message_id = fail.message_id AND o.status = 'leased'
       AND CASE WHEN fail.lease_token IS NULL THEN o.leased_until > lifecycle.now() ELSE o.lease_token = fail.lease_token END
       FOR UPDATE;
    IF NOT FOUND THEN
        -- Given up as unknown, but the mailer lives and knows that it was not sent.
        UPDATE lifecycle.outbox AS o
           SET status = 'failed', error = fail.error, leased_until = NULL
         WHERE o.part >= 1000 AND o.message_id = fail.message_id AND o.status = 'unknown' AND o.lease_token = fail.lease_token
        RETURNING o.* INTO message;
        IF FOUND THEN
            IF NOT permanent AND NOT message.cancel_requested AND message.attempts < policy.max_attempts THEN
                UPDATE lifecycle.outbox AS o
                   SET status = 'pending', due_at = lifecycle.now() + coalesce(fail.retry_after, lifecycle.backoff(message.attempts))
                 WHERE o.part = message.part AND o.message_id = fail.message_id;
                UPDATE lifecycle.outbox AS o
                   SET attempts = message.attempts
                 WHERE o.part < 1000 AND o.message_id = fail.message_id;
            END IF;
            RETURN true;
        END IF;
        PERFORM lifecycle.refuse_answer(ARRAY[fail.message_id], fail.lease_token, 'failed', fail.error);
        RETURN false;
    END IF;
    IF message.cancel_requested THEN
        PERFORM lifecycle.end_messages(ARRAY[fail.message_id], ARRAY['cancelled'], NULL);
    ELSIF permanent OR message.attempts >= policy.max_attempts THEN
        PERFORM lifecycle.end_messages(ARRAY[fail.message_id], ARRAY['failed'], ARRAY[fail.error]);
    ELSE
        UPDATE lifecycle.outbox AS o
           SET status = 'pending', leased_until = NULL, error = fail.error,
               due_at = lifecycle.now() + coalesce(fail.retry_after, lifecycle.backoff(message.attempts))
         WHERE o.part < 1000 AND o.part = message.part AND o.message_id = fail.message_id;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION lifecycle.fail(bigint, text, interval, bigint, boolean) IS 'Says that a claimed message was not sent. It is tried again after retry_after, or if that is NULL after a wait that doubles each time; permanent, or after lifecycle.outbox_policy.max_attempts attempts, it is given up. False: the lease is no longer the caller''s';

CREATE FUNCTION lifecycle.extend(message_ids bigint[], lease_token bigint, lease interval DEFAULT '5 minutes') RETURNS bigint
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer can extend its leases with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    done bigint[];
BEGIN
    IF (lease > '0') IS NOT TRUE THEN
        RAISE EXCEPTION 'lease must be longer than nothing'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(lease::text, 'NULL'));
    END IF;
    WITH extended AS (
        UPDATE lifecycle.outbox AS o
           SET leased_until = greatest(o.leased_until, lifecycle.now() + lease)
         WHERE o.part < 1000 AND o.message_id = ANY (message_ids) AND o.status = 'leased' AND o.lease_token = extend.lease_token
        RETURNING o.message_id)
    SELECT coalesce(array_agg(e.message_id), '{}') INTO done FROM extended AS e;
    UPDATE lifecycle.lease AS l
       SET leased_until = greatest(l.leased_until, lifecycle.now() + lease)
     WHERE l.lease_token = extend.lease_token AND cardinality(done) > 0;
    PERFORM lifecycle.refuse_answer(ARRAY(SELECT m FROM unnest(message_ids) AS m WHERE m <> ALL (done)), extend.lease_token, 'extend', NULL)
      WHERE cardinality(done) < cardinality(message_ids);
    RETURN cardinality(done);
END
$$;
COMMENT ON FUNCTION lifecycle.extend(bigint[], bigint, interval) IS 'Lets leases hold for this long from now, and returns how many: those that another consumer has meanwhile are left alone';

CREATE FUNCTION lifecycle.release(message_ids bigint[], lease_token bigint) RETURNS bigint
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer can hand back messages with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    done bigint[];
BEGIN
    WITH released AS (
        UPDATE lifecycle.outbox AS o
           SET status = CASE WHEN o.cancel_requested THEN 'cancelled' ELSE 'pending' END, leased_until = NULL, attempts = o.attempts - 1
         WHERE o.part < 1000 AND o.message_id = ANY (message_ids) AND o.status = 'leased' AND o.lease_token = release.lease_token
        RETURNING o.message_id)
    SELECT coalesce(array_agg(r.message_id), '{}') INTO done FROM released AS r;
    PERFORM lifecycle.refuse_answer(ARRAY(SELECT m FROM unnest(message_ids) AS m WHERE m <> ALL (done)), release.lease_token, 'release', NULL)
      WHERE cardinality(done) < cardinality(message_ids);
    RETURN cardinality(done);
END
$$;
COMMENT ON FUNCTION lifecycle.release(bigint[], bigint) IS 'Hands back claimed messages that were not sent, for the next claim, and returns how many; the attempt does not count. For a mailer that shuts down';

CREATE FUNCTION lifecycle.may_send(message_id bigint, lease_token bigint DEFAULT NULL) RETURNS boolean
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, so that a mailer can ask with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM lifecycle.outbox AS o
                    WHERE o.part < 1000 AND o.message_id = may_send.message_id AND o.status = 'leased' AND NOT o.cancel_requested
                      AND o.leased_until > lifecycle.now() AND lifecycle.now() < o.expires_at
                      AND (may_send.lease_token IS NULL OR o.lease_token = may_send.lease_token)
                      AND lifecycle.is_armed() AND lifecycle.gate(o) IS NULL)
$$;
COMMENT ON FUNCTION lifecycle.may_send(bigint, bigint) IS 'Whether a claimed message may still go out: ask just before handing it to the provider';

CREATE FUNCTION lifecycle.cancel(message_ids bigint[], reason text DEFAULT 'cancelled') RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    cancelled bigint;
BEGIN
    UPDATE lifecycle.outbox AS o
       SET status = CASE o.status WHEN 'pending' THEN 'cancelled' ELSE o.status END, cancel_requested = true, error = cancel.reason
     WHERE o.part < 1000 AND o.message_id = ANY (message_ids) AND o.status IN ('pending', 'leased');
    GET DIAGNOSTICS cancelled = ROW_COUNT;
    RETURN cancelled;
END
$$;
COMMENT ON FUNCTION lifecycle.cancel(bigint[], text) IS 'Takes back messages that wait, and asks for those that a mailer holds: may_send() says no. Returns how many';

CREATE FUNCTION lifecycle.requeue(message_ids bigint[]) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    requeued bigint;
BEGIN
    UPDATE lifecycle.outbox AS o
       SET status = 'pending', due_at = lifecycle.now()
     WHERE o.part >= 1000 AND o.message_id = ANY (message_ids) AND o.status = 'failed';
    GET DIAGNOSTICS requeued = ROW_COUNT;
    NOTIFY lifecycle_outbox;
    RETURN requeued;
END
$$;
COMMENT ON FUNCTION lifecycle.requeue(bigint[]) IS 'Sends messages again that were given up (lifecycle.dead_letter), with all their attempts before them, and returns how many';

CREATE VIEW lifecycle.dead_letter AS
    SELECT o.message_id, o.customer_id, o.channel, o.recipient, o.scenario, o.step, o.template, o.status, o.attempts, o.due_at, o.expires_at,
           o.leased_by, o.error
      FROM lifecycle.outbox AS o
     WHERE o.status IN ('failed', 'unknown');
COMMENT ON VIEW lifecycle.dead_letter IS 'Messages that somebody must look at: failed ones can be sent again with requeue(), unknown ones become sent or failed when the provider''s records have been read';
COMMENT ON COLUMN lifecycle.dead_letter.message_id IS 'The message';
COMMENT ON COLUMN lifecycle.dead_letter.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.dead_letter.channel IS 'The channel';
COMMENT ON COLUMN lifecycle.dead_letter.recipient IS 'The address';
COMMENT ON COLUMN lifecycle.dead_letter.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.dead_letter.step IS 'The step';
COMMENT ON COLUMN lifecycle.dead_letter.template IS 'The template';
COMMENT ON COLUMN lifecycle.dead_letter.status IS 'failed or unknown';
COMMENT ON COLUMN lifecycle.dead_letter.attempts IS 'How often it has been claimed';
COMMENT ON COLUMN lifecycle.dead_letter.due_at IS 'When it was last due';
COMMENT ON COLUMN lifecycle.dead_letter.expires_at IS 'From when on it is too late';
COMMENT ON COLUMN lifecycle.dead_letter.leased_by IS 'The consumer that had it last';
COMMENT ON COLUMN lifecycle.dead_letter.error IS 'The mailer''s words';
