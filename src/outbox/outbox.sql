-- The outbox: what is to be sent, for any mailer to poll.

CREATE SEQUENCE lifecycle.message_id AS bigint;
COMMENT ON SEQUENCE lifecycle.message_id IS 'Numbers of the messages';

CREATE TABLE lifecycle.outbox (
    message_id       bigint NOT NULL DEFAULT nextval('lifecycle.message_id'),
    idempotency_key  text NOT NULL,
    customer_id      text COLLATE "C" NOT NULL,
    channel          text NOT NULL,
    recipient        text,
    scenario         text NOT NULL,
    anchor           text NOT NULL,
    step             int4 NOT NULL,
    variant          text,
    class            text NOT NULL,
    template         text NOT NULL,
    subject          text,
    locale           text,
    payload          jsonb NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'pending',
    created_at       timestamptz NOT NULL,
    due_at           timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL DEFAULT 'infinity',
    attempts         int4 NOT NULL DEFAULT 0,
    leased_by        text,
    leased_until     timestamptz,
    lease_token      bigint,
    cancel_requested boolean NOT NULL DEFAULT false,
    sent_at          timestamptz,
    error            text,
    CONSTRAINT outbox_pkey PRIMARY KEY (message_id, customer_id),
    CONSTRAINT outbox_idempotency_key_is_unique UNIQUE (customer_id, idempotency_key),
    CONSTRAINT outbox_status_is_known
        CHECK (status IN ('pending', 'leased', 'sent', 'failed', 'cancelled', 'expired', 'unknown'))
) WITH (fillfactor = 80);
CREATE INDEX outbox_due_at_idx ON lifecycle.outbox (due_at) WHERE status = 'pending';
CREATE INDEX outbox_leased_until_idx ON lifecycle.outbox (leased_until) WHERE status = 'leased';
COMMENT ON TABLE lifecycle.outbox IS 'Messages to be sent and those that were. Poll it with SELECT ... FOR UPDATE SKIP LOCKED, or with claim() and ack()';
COMMENT ON COLUMN lifecycle.outbox.message_id IS 'Number of the message';
COMMENT ON COLUMN lifecycle.outbox.idempotency_key IS 'The same on every attempt: hand it on to a provider that recognises repetitions';
COMMENT ON COLUMN lifecycle.outbox.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.outbox.channel IS 'The channel it goes out on';
COMMENT ON COLUMN lifecycle.outbox.recipient IS 'Address; NULL: the shop has never said one';
COMMENT ON COLUMN lifecycle.outbox.scenario IS 'The scenario that wants it sent';
COMMENT ON COLUMN lifecycle.outbox.anchor IS 'The anchor of the enrolment';
COMMENT ON COLUMN lifecycle.outbox.step IS 'Position of the step';
COMMENT ON COLUMN lifecycle.outbox.variant IS 'Variant of the step';
COMMENT ON COLUMN lifecycle.outbox.class IS 'marketing or transactional';
COMMENT ON COLUMN lifecycle.outbox.template IS 'Key of the template to render';
COMMENT ON COLUMN lifecycle.outbox.subject IS 'Subject in the customer''s language';
COMMENT ON COLUMN lifecycle.outbox.locale IS 'The locale that subject and content are in';
COMMENT ON COLUMN lifecycle.outbox.payload IS 'What the template needs: names, tier, content, the order''s id';
COMMENT ON COLUMN lifecycle.outbox.status IS 'pending, leased, sent, failed, cancelled (the reason has gone), expired (too late) or unknown (the mailer died and the message must not go twice)';
COMMENT ON COLUMN lifecycle.outbox.created_at IS 'When it was enqueued';
COMMENT ON COLUMN lifecycle.outbox.due_at IS 'From when on it may be sent';
COMMENT ON COLUMN lifecycle.outbox.expires_at IS 'From when on it must not be sent any more';
COMMENT ON COLUMN lifecycle.outbox.attempts IS 'How often it has been claimed';
COMMENT ON COLUMN lifecycle.outbox.leased_by IS 'The consumer that claimed it last';
COMMENT ON COLUMN lifecycle.outbox.leased_until IS 'Until when the claim holds';
COMMENT ON COLUMN lifecycle.outbox.lease_token IS 'Token of the claim: what a later claim has taken over cannot be acknowledged with it';
COMMENT ON COLUMN lifecycle.outbox.cancel_requested IS 'The reason has gone while a mailer held the message: may_send() says no';
COMMENT ON COLUMN lifecycle.outbox.sent_at IS 'When it was sent';
COMMENT ON COLUMN lifecycle.outbox.error IS 'Why it failed or was cancelled';

CREATE FUNCTION lifecycle.check_outbox_status() RETURNS trigger
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer that polls with plain SQL needs nothing but SELECT and UPDATE on the outbox.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- What has ended stays ended: a message that was sent cannot become pending again.
    IF OLD.status IN ('sent', 'cancelled', 'expired') OR (OLD.status = 'failed' AND NEW.status <> 'pending')
       OR (OLD.status = 'unknown' AND NEW.status NOT IN ('sent', 'failed')) THEN
        RAISE EXCEPTION 'message % cannot go from % to %', OLD.message_id, OLD.status, NEW.status
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Select it again: another consumer may have dealt with it, or its reason has gone.';
    END IF;
    IF NEW.status = 'sent' AND NEW.sent_at IS NULL THEN
        NEW.sent_at := lifecycle.now();
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_outbox_status() IS 'Trigger of lifecycle.outbox: refuses a status that cannot follow the present one, and notes when a message was sent';

CREATE TRIGGER check_outbox_status BEFORE UPDATE OF status ON lifecycle.outbox
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION lifecycle.check_outbox_status();

CREATE SEQUENCE lifecycle.lease_token AS bigint;
COMMENT ON SEQUENCE lifecycle.lease_token IS 'Tokens of claims';

-- A database that was restored from a dump or cloned must not mail anybody. The dump brings the row of the database it was made
-- from; what is armed is a database with its own row and no other.
CREATE TABLE lifecycle.armed_for (
    system_identifier bigint NOT NULL,
    database          oid NOT NULL,
    CONSTRAINT armed_for_pkey PRIMARY KEY (system_identifier, database)
);
INSERT INTO lifecycle.armed_for
    SELECT c.system_identifier, d.oid
      FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();
COMMENT ON TABLE lifecycle.armed_for IS 'The database for which sending is on; see lifecycle.arm()';
COMMENT ON COLUMN lifecycle.armed_for.system_identifier IS 'Of the cluster';
COMMENT ON COLUMN lifecycle.armed_for.database IS 'Of the database';

CREATE FUNCTION lifecycle.is_armed() RETURNS boolean
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, because pg_control_system() is not for everybody and mailers claim without further rights.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 1 AND bool_and(a.system_identifier = c.system_identifier AND a.database = d.oid)
      FROM lifecycle.armed_for AS a, pg_control_system() AS c, pg_database AS d
     WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION lifecycle.is_armed() IS 'Whether this database may send: false in a restored dump or a clone until lifecycle.arm()';

CREATE FUNCTION lifecycle.arm() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    DELETE FROM lifecycle.armed_for;
    INSERT INTO lifecycle.armed_for
        SELECT c.system_identifier, d.oid
          FROM pg_control_system() AS c, pg_database AS d
         WHERE d.datname = current_database();
$$;
COMMENT ON FUNCTION lifecycle.arm() IS 'Lets this database send. Needed once after a restore or in a clone, if it is to mail customers';

CREATE FUNCTION lifecycle.reason_stands(customer_id text, scenario text, anchor text, channel text, class text) RETURNS boolean
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, because mailers ask and have no business in lifecycle.enrolment and lifecycle.customer.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    -- A message that another mailer had locked when its reason went could not be cancelled then.
    SELECT NOT EXISTS (SELECT FROM lifecycle.enrolment AS e
                        WHERE e.customer_id = reason_stands.customer_id AND e.scenario = reason_stands.scenario
                          AND e.anchor = reason_stands.anchor AND e.status = 'exited')
       AND NOT EXISTS (SELECT FROM lifecycle.channel AS h
                         JOIN lifecycle.customer AS c ON c.customer_id = reason_stands.customer_id
                        WHERE reason_stands.class = 'marketing' AND h.name = reason_stands.channel AND h.consent IS NOT NULL
                          AND CASE h.consent WHEN 'email' THEN c.email_consent WHEN 'sms' THEN c.sms_consent
                                             WHEN 'push' THEN c.push_consent ELSE c.ads_consent END IS DISTINCT FROM 'granted')
$$;
COMMENT ON FUNCTION lifecycle.reason_stands(text, text, text, text, text) IS 'Whether the enrolment that a message is from has not been ended before its time, and the consent that it needs is granted';

CREATE FUNCTION lifecycle.claim(max_messages int DEFAULT 100, channel text DEFAULT NULL, consumer text DEFAULT NULL,
                                lease interval DEFAULT '5 minutes')
    RETURNS SETOF lifecycle.outbox
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clock timestamptz := lifecycle.now();
    token bigint := nextval('lifecycle.lease_token');
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
    PERFORM lifecycle.release_leases();
    RETURN QUERY
        UPDATE lifecycle.outbox AS o
           SET status = 'leased', attempts = o.attempts + 1, leased_by = consumer,
               leased_until = clock + lease, lease_token = token
          FROM (SELECT p.message_id, p.customer_id
                  FROM lifecycle.outbox AS p
                 WHERE p.status = 'pending' AND p.due_at <= clock AND clock < p.expires_at
                   AND (claim.channel IS NULL OR p.channel = claim.channel)
                   AND lifecycle.reason_stands(p.customer_id, p.scenario, p.anchor, p.channel, p.class)
                 ORDER BY p.due_at
                 LIMIT max_messages
                   FOR UPDATE SKIP LOCKED) AS due
         WHERE o.message_id = due.message_id AND o.customer_id = due.customer_id
        RETURNING o.*;
END
$$;
COMMENT ON FUNCTION lifecycle.claim(int, text, text, interval) IS 'Leases up to max_messages due messages (of one channel, if given) to a consumer for the length of the lease, and returns them. Concurrent claims never get the same message';

CREATE FUNCTION lifecycle.release_leases() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    -- The mailer that held them is dead or too slow. Whether it had sent them nobody knows: a transactional message goes out again
    -- under the same key, a marketing message does not.
    WITH lapsed AS (
        SELECT o.message_id, o.customer_id
          FROM lifecycle.outbox AS o
         WHERE o.status = 'leased' AND o.leased_until <= lifecycle.now()
           FOR UPDATE SKIP LOCKED)
    UPDATE lifecycle.outbox AS o
       SET status = CASE WHEN o.class = 'marketing' THEN 'unknown'
                         WHEN o.cancel_requested THEN 'cancelled'
                         ELSE 'pending' END,
           error = 'the lease of ' || coalesce(quote_literal(o.leased_by), 'a consumer') || ' ran out'
      FROM lapsed
     WHERE o.message_id = lapsed.message_id AND o.customer_id = lapsed.customer_id;

    -- What was locked when its reason went.
    WITH orphaned AS (
        SELECT o.message_id, o.customer_id
          FROM lifecycle.outbox AS o
         WHERE o.status = 'pending' AND o.due_at <= lifecycle.now()
           AND NOT lifecycle.reason_stands(o.customer_id, o.scenario, o.anchor, o.channel, o.class)
           FOR UPDATE SKIP LOCKED)
    UPDATE lifecycle.outbox AS o
       SET status = 'cancelled', cancel_requested = true, error = 'exited'
      FROM orphaned
     WHERE o.message_id = orphaned.message_id AND o.customer_id = orphaned.customer_id;

    WITH late AS (
        SELECT o.message_id, o.customer_id
          FROM lifecycle.outbox AS o
         WHERE o.status = 'pending' AND o.due_at <= lifecycle.now() AND o.expires_at <= lifecycle.now()
           FOR UPDATE SKIP LOCKED)
    UPDATE lifecycle.outbox AS o
       SET status = 'expired'
      FROM late
     WHERE o.message_id = late.message_id AND o.customer_id = late.customer_id;
$$;
COMMENT ON FUNCTION lifecycle.release_leases() IS 'Takes back leases that have run out, cancels what has lost its reason while it was locked, and expires what is too late; claim() and tick() call it';

CREATE FUNCTION lifecycle.ack(message_ids bigint[], lease_token bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    acknowledged bigint;
BEGIN
    UPDATE lifecycle.outbox AS o
       SET status = 'sent', leased_until = NULL
     WHERE o.message_id = ANY (message_ids) AND o.status = 'leased'
       AND CASE WHEN ack.lease_token IS NULL THEN o.leased_until > lifecycle.now() ELSE o.lease_token = ack.lease_token END;
    GET DIAGNOSTICS acknowledged = ROW_COUNT;
    RETURN acknowledged;
END
$$;
COMMENT ON FUNCTION lifecycle.ack(bigint[], bigint) IS 'Marks claimed messages as sent and returns how many: those whose lease has passed to another consumer, or without a token has run out, are left alone';

CREATE FUNCTION lifecycle.fail(message_id bigint, error text, retry_after interval DEFAULT NULL, lease_token bigint DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE lifecycle.outbox AS o
       SET status = CASE WHEN o.cancel_requested THEN 'cancelled' WHEN retry_after IS NULL THEN 'failed' ELSE 'pending' END,
           due_at = CASE WHEN retry_after IS NULL THEN o.due_at ELSE lifecycle.now() + retry_after END,
           error = CASE WHEN o.cancel_requested THEN o.error ELSE fail.error END, leased_until = NULL
     WHERE o.message_id = fail.message_id AND o.status = 'leased'
       AND CASE WHEN fail.lease_token IS NULL THEN o.leased_until > lifecycle.now() ELSE o.lease_token = fail.lease_token END;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION lifecycle.fail(bigint, text, interval, bigint) IS 'Says that a claimed message could not be sent: for good, or to be tried again after retry_after. False: the lease is no longer the caller''s';

CREATE FUNCTION lifecycle.may_send(message_id bigint, lease_token bigint DEFAULT NULL) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM lifecycle.outbox AS o
                    WHERE o.message_id = may_send.message_id AND o.status = 'leased' AND NOT o.cancel_requested
                      AND o.leased_until > lifecycle.now() AND lifecycle.now() < o.expires_at
                      AND (may_send.lease_token IS NULL OR o.lease_token = may_send.lease_token)
                      AND lifecycle.reason_stands(o.customer_id, o.scenario, o.anchor, o.channel, o.class))
$$;
COMMENT ON FUNCTION lifecycle.may_send(bigint, bigint) IS 'Whether a claimed message may still go out: ask just before handing it to the provider';
