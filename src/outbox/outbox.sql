-- The outbox: what is to be sent, for any mailer to poll.
--
-- One partitioned table. Parts 0 to 3 hold what waits or is leased; a message enters the part that its number falls into, which changes every
-- 20,000 numbers. What has ended moves on to a part of history. So the parts that mailers search stay small, and one that has been emptied is
-- truncated: dead rows go with it even while some old snapshot keeps vacuum from removing them.

CREATE SEQUENCE lifecycle.message_id AS bigint;
COMMENT ON SEQUENCE lifecycle.message_id IS 'Numbers of the messages';

CREATE FUNCTION lifecycle.part_of(message_id bigint) RETURNS int4
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (message_id / 20000 % 4)::int4;
COMMENT ON FUNCTION lifecycle.part_of(bigint) IS 'Internal: the part of lifecycle.outbox that a new message of this number enters';

CREATE FUNCTION lifecycle.current_part() RETURNS int4
    LANGUAGE sql STABLE
    RETURN (SELECT lifecycle.part_of(m.last_value) FROM lifecycle.message_id AS m);
COMMENT ON FUNCTION lifecycle.current_part() IS 'Internal: the part of lifecycle.outbox that messages enter at present';

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
    delivery         text NOT NULL DEFAULT 'at_least_once',
    priority         int4 NOT NULL DEFAULT 0,
    template         text NOT NULL,
    subject          text,
    locale           text,
    payload          jsonb NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'pending',
    created_at       timestamptz NOT NULL DEFAULT lifecycle.now(),
    due_at           timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL DEFAULT 'infinity',
    attempts         int4 NOT NULL DEFAULT 0,
    leased_by        text,
    leased_until     timestamptz,
    lease_token      bigint,
    cancel_requested boolean NOT NULL DEFAULT false,
    sent_at          timestamptz,
    provider_id      text,
    error            text,
    part             int4 NOT NULL DEFAULT lifecycle.current_part(),
    CONSTRAINT outbox_status_is_known
        CHECK (status IN ('pending', 'leased', 'sent', 'failed', 'cancelled', 'expired', 'unknown')),
    CONSTRAINT outbox_class_is_known CHECK (class IN ('marketing', 'transactional')),
    CONSTRAINT outbox_delivery_is_known CHECK (delivery IN ('at_least_once', 'at_most_once'))
) PARTITION BY RANGE (part);
COMMENT ON TABLE lifecycle.outbox IS 'Messages to be sent and those that were. Poll it with SELECT ... FOR UPDATE SKIP LOCKED, or with claim() and ack()';
COMMENT ON COLUMN lifecycle.outbox.message_id IS 'Number of the message';
COMMENT ON COLUMN lifecycle.outbox.idempotency_key IS 'The same on every attempt: hand it on to a provider that recognises repetitions. Ends with the customer''s id';
COMMENT ON COLUMN lifecycle.outbox.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.outbox.channel IS 'The channel it goes out on';
COMMENT ON COLUMN lifecycle.outbox.recipient IS 'Address; NULL: the shop has never said one';
COMMENT ON COLUMN lifecycle.outbox.scenario IS 'The scenario that wants it sent';
COMMENT ON COLUMN lifecycle.outbox.anchor IS 'The anchor of the enrolment';
COMMENT ON COLUMN lifecycle.outbox.step IS 'Position of the step';
COMMENT ON COLUMN lifecycle.outbox.variant IS 'Variant of the step';
COMMENT ON COLUMN lifecycle.outbox.class IS 'marketing or transactional';
COMMENT ON COLUMN lifecycle.outbox.delivery IS 'What happens when a mailer dies with it: at_least_once (it goes out again, under the same key) or at_most_once (it becomes unknown)';
COMMENT ON COLUMN lifecycle.outbox.priority IS 'claim() gives messages of higher priority first';
COMMENT ON COLUMN lifecycle.outbox.template IS 'Key of the template to render';
COMMENT ON COLUMN lifecycle.outbox.subject IS 'Subject in the customer''s language';
COMMENT ON COLUMN lifecycle.outbox.locale IS 'The locale that subject and content are in';
COMMENT ON COLUMN lifecycle.outbox.payload IS 'What the template needs: names, tier, content, the order''s id';
COMMENT ON COLUMN lifecycle.outbox.status IS 'pending, leased, sent, failed (given up), cancelled (the reason has gone), expired (too late) or unknown (the mailer died and the message must not go twice)';
COMMENT ON COLUMN lifecycle.outbox.created_at IS 'When it was enqueued';
COMMENT ON COLUMN lifecycle.outbox.due_at IS 'From when on it may be sent';
COMMENT ON COLUMN lifecycle.outbox.expires_at IS 'From when on it must not be sent any more';
COMMENT ON COLUMN lifecycle.outbox.attempts IS 'How often it has been claimed';
COMMENT ON COLUMN lifecycle.outbox.leased_by IS 'The consumer that claimed it last';
COMMENT ON COLUMN lifecycle.outbox.leased_until IS 'Until when the claim holds';
COMMENT ON COLUMN lifecycle.outbox.lease_token IS 'Token of the claim: what a later claim has taken over cannot be acknowledged with it';
COMMENT ON COLUMN lifecycle.outbox.cancel_requested IS 'The reason has gone while a mailer held the message: may_send() says no';
COMMENT ON COLUMN lifecycle.outbox.sent_at IS 'When it was sent';
COMMENT ON COLUMN lifecycle.outbox.provider_id IS 'The provider''s id of the message, as ack() was told';
COMMENT ON COLUMN lifecycle.outbox.error IS 'Why it failed or was cancelled';
COMMENT ON COLUMN lifecycle.outbox.part IS 'Internal: the partition. Below 1000: waiting or leased; from 1000: ended';

-- What waits. Half of each page stays free, so that leasing a message changes no index. No index may name a column that a claim changes,
-- and none may name part: a plan that is made while a part is empty and then kept would scan such an index from end to end.
DO $$
BEGIN
    FOR k IN 0 .. 3 LOOP
        EXECUTE format('CREATE TABLE lifecycle.outbox_%1$s PARTITION OF lifecycle.outbox FOR VALUES FROM (%1$s) TO (%2$s)
                            WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)', k, k + 1);
        EXECUTE format('ALTER TABLE lifecycle.outbox_%1$s
                            ADD CONSTRAINT outbox_%1$s_pkey PRIMARY KEY (message_id, customer_id),
                            ADD CONSTRAINT outbox_%1$s_idempotency_key_is_unique UNIQUE (customer_id, idempotency_key)', k);
        EXECUTE format('CREATE INDEX outbox_%1$s_due_at_idx ON lifecycle.outbox_%1$s (due_at)', k);
        EXECUTE format('CREATE INDEX outbox_%1$s_channel_idx ON lifecycle.outbox_%1$s (channel, priority DESC, due_at)', k);
        EXECUTE format('COMMENT ON TABLE lifecycle.outbox_%1$s IS ''Internal: messages that wait; see lifecycle.outbox''', k);
    END LOOP;
END
$$;

CREATE FUNCTION lifecycle.return_coupon() RETURNS trigger
    LANGUAGE plpgsql
    -- SECURITY DEFINER, because who may cancel a message need not have any rights on coupons.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- Another message of the same enrolment may have brought the code before.
    IF NOT lifecycle.restoring()
       AND NOT EXISTS (SELECT FROM lifecycle.outbox AS o
                        WHERE (o.customer_id, o.scenario, o.anchor) = (NEW.customer_id, NEW.scenario, NEW.anchor)
                          AND o.payload -> 'offer' -> 'code' = NEW.payload -> 'offer' -> 'code' AND o.status NOT IN ('cancelled', 'expired')) THEN
        PERFORM lifecycle.release_coupon(NEW.payload -> 'offer' ->> 'name', NEW.customer_id, lifecycle.coupon_purpose(NEW.scenario, NEW.anchor));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.return_coupon() IS 'Trigger of lifecycle.outbox: gives back the coupon of a message that was cancelled or expired unsent';

-- What has ended. The check lets the planner leave history aside when somebody asks for pending messages. Sixteen volumes go round:
-- each takes a twelfth of the time that history is kept, and the oldest is truncated. So no table is ever made or dropped, and a dump is whole.
DO $$
BEGIN
    FOR k IN 1000 .. 1015 LOOP
        EXECUTE format('CREATE TABLE lifecycle.outbox_%1$s PARTITION OF lifecycle.outbox (
                            CONSTRAINT outbox_%1$s_has_ended CHECK (status <> ''pending'' AND status <> ''leased''))
                            FOR VALUES FROM (%1$s) TO (%2$s)', k, k + 1);
        EXECUTE format('ALTER TABLE lifecycle.outbox_%1$s
                            ADD CONSTRAINT outbox_%1$s_pkey PRIMARY KEY (message_id, customer_id),
                            ADD CONSTRAINT outbox_%1$s_idempotency_key_is_unique UNIQUE (customer_id, idempotency_key)', k);
        EXECUTE format('CREATE INDEX outbox_%1$s_dead_idx ON lifecycle.outbox_%1$s (message_id) WHERE status IN (''failed'', ''unknown'')', k);
        EXECUTE format('CREATE TRIGGER return_coupon AFTER INSERT ON lifecycle.outbox_%1$s
                            FOR EACH ROW WHEN (NEW.status IN (''cancelled'', ''expired'') AND NEW.payload -> ''offer'' ? ''code'')
                            EXECUTE FUNCTION lifecycle.return_coupon()', k);
        EXECUTE format('COMMENT ON TABLE lifecycle.outbox_%1$s IS ''Internal: messages that have ended; see lifecycle.outbox''', k);
    END LOOP;
END
$$;

CREATE TABLE lifecycle.outbox_volume (
    part     int4 NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT outbox_volume_pkey PRIMARY KEY (part),
    CONSTRAINT outbox_volume_part_is_history CHECK (part BETWEEN 1000 AND 1015)
);
COMMENT ON TABLE lifecycle.outbox_volume IS 'Internal: the parts of lifecycle.outbox that hold history';
COMMENT ON COLUMN lifecycle.outbox_volume.part IS 'The part';
COMMENT ON COLUMN lifecycle.outbox_volume.began_at IS 'Since when messages have moved there';
COMMENT ON COLUMN lifecycle.outbox_volume.ended_at IS 'Until when; NULL: they still do';

CREATE TABLE lifecycle.outbox_policy (
    only_row      boolean NOT NULL DEFAULT true,
    keep          interval NOT NULL DEFAULT '2 years',
    max_attempts  int4 NOT NULL DEFAULT 8,
    retry_after   interval NOT NULL DEFAULT '1 minute',
    retry_at_most interval NOT NULL DEFAULT '6 hours',
    CONSTRAINT outbox_policy_pkey PRIMARY KEY (only_row),
    CONSTRAINT outbox_policy_has_one_row CHECK (only_row),
    CONSTRAINT outbox_policy_keep_is_a_day_or_more CHECK (keep >= '1 day'),
    CONSTRAINT outbox_policy_max_attempts_is_positive CHECK (max_attempts > 0),
    CONSTRAINT outbox_policy_retry_after_is_positive CHECK (retry_after > '0' AND retry_at_most >= retry_after)
);
COMMENT ON TABLE lifecycle.outbox_policy IS 'How the outbox is run, in one row; without it the defaults hold';
COMMENT ON COLUMN lifecycle.outbox_policy.only_row IS 'Keeps the table at one row';
COMMENT ON COLUMN lifecycle.outbox_policy.keep IS 'How long messages that have ended are kept, at least. They go a twelfth of that time at once';
COMMENT ON COLUMN lifecycle.outbox_policy.max_attempts IS 'After how many attempts a message is given up (failed)';
COMMENT ON COLUMN lifecycle.outbox_policy.retry_after IS 'How long a message waits after the first failure; twice as long after each further one';
COMMENT ON COLUMN lifecycle.outbox_policy.retry_at_most IS 'The longest such wait';

-- In PL/pgSQL, so that each claim and each acknowledgement finds a plan that was made before; with no operator, so that search_path need not be set.
CREATE FUNCTION lifecycle.outbox_policy() RETURNS lifecycle.outbox_policy
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN coalesce((SELECT p FROM lifecycle.outbox_policy AS p), ROW(true, '2 years', 8, '1 minute', '6 hours')::lifecycle.outbox_policy);
END
$$;
COMMENT ON FUNCTION lifecycle.outbox_policy() IS 'Internal: lifecycle.outbox_policy, or the defaults';

CREATE FUNCTION lifecycle.history_part() RETURNS int4
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN coalesce((SELECT v.part FROM lifecycle.outbox_volume AS v WHERE v.ended_at IS NULL), 1000);
END
$$;
COMMENT ON FUNCTION lifecycle.history_part() IS 'Internal: the part of lifecycle.outbox that messages which end now move to';

-- What was sent is news for its customer, whom a mailer must neither lock nor wait for: it leaves a note, and the tick tells the customer.
CREATE TABLE lifecycle.sent_note (
    part        int4 NOT NULL,
    message_ids bigint[] NOT NULL,
    not_before  timestamptz
) USING heap;
COMMENT ON TABLE lifecycle.sent_note IS 'Internal: messages that were sent and of which their customers do not know yet (lifecycle.customer.last_sent_at)';
COMMENT ON COLUMN lifecycle.sent_note.part IS 'The part of lifecycle.outbox that they are in';
COMMENT ON COLUMN lifecycle.sent_note.message_ids IS 'The messages';
COMMENT ON COLUMN lifecycle.sent_note.not_before IS 'An error was in the way: when to try again';

CREATE FUNCTION lifecycle.note_sent(part int4, message_ids bigint[]) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_note_sent';
COMMENT ON FUNCTION lifecycle.note_sent(int4, bigint[]) IS 'Internal: leaves a note that these messages were sent, and wakes the worker once this transaction has committed';

-- A claim holds leases; whoever looks for those that have run out finds them here and need not search the messages.
CREATE TABLE lifecycle.lease (
    lease_token  bigint NOT NULL,
    consumer     text,
    leased_until timestamptz NOT NULL,
    message_ids  bigint[] NOT NULL,
    CONSTRAINT lease_pkey PRIMARY KEY (lease_token)
);
CREATE INDEX lease_leased_until_idx ON lifecycle.lease (leased_until);
COMMENT ON TABLE lifecycle.lease IS 'Internal: the claims whose leases have not been looked at since they ran out';
COMMENT ON COLUMN lifecycle.lease.lease_token IS 'Token of the claim';
COMMENT ON COLUMN lifecycle.lease.consumer IS 'Who claimed';
COMMENT ON COLUMN lifecycle.lease.leased_until IS 'Until when';
COMMENT ON COLUMN lifecycle.lease.message_ids IS 'What was claimed';

CREATE SEQUENCE lifecycle.lease_token AS bigint;
COMMENT ON SEQUENCE lifecycle.lease_token IS 'Tokens of claims';

CREATE TABLE lifecycle.late_answer (
    message_id  bigint NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    answer      text NOT NULL,
    lease_token bigint,
    status      text NOT NULL,
    held_by     bigint,
    detail      text,
    answered_at timestamptz NOT NULL,
    CONSTRAINT late_answer_is_known CHECK (answer IN ('sent', 'failed', 'extend', 'release'))
);
CREATE INDEX late_answer_customer_id_idx ON lifecycle.late_answer (customer_id, message_id);
COMMENT ON TABLE lifecycle.late_answer IS 'What mailers said of messages that were no longer theirs: refused, and kept here. A late "sent" may be a message that the customer got twice';
COMMENT ON COLUMN lifecycle.late_answer.message_id IS 'The message';
COMMENT ON COLUMN lifecycle.late_answer.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.late_answer.answer IS 'sent, failed, extend or release';
COMMENT ON COLUMN lifecycle.late_answer.lease_token IS 'The token it came with';
COMMENT ON COLUMN lifecycle.late_answer.status IS 'What the message was at that time';
COMMENT ON COLUMN lifecycle.late_answer.held_by IS 'The token of the lease that counted';
COMMENT ON COLUMN lifecycle.late_answer.detail IS 'The mailer''s words';
COMMENT ON COLUMN lifecycle.late_answer.answered_at IS 'When';

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
    IF OLD.status = 'failed' THEN
        NEW.part := lifecycle.current_part();  -- back among those that wait
        NEW.attempts := 0;
    END IF;
    IF NEW.status = 'sent' AND NEW.sent_at IS NULL THEN
        NEW.sent_at := lifecycle.now();
    END IF;
    IF NEW.status = 'sent' AND OLD.part >= 1000 THEN
        PERFORM lifecycle.note_sent(OLD.part, ARRAY[OLD.message_id]);  -- what waits is noted when it is filed
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_outbox_status() IS 'Trigger of lifecycle.outbox: refuses a status that cannot follow the present one, and notes when a message was sent';

CREATE TRIGGER check_outbox_status BEFORE UPDATE OF status ON lifecycle.outbox
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status AND NOT (OLD.status = 'pending' AND NEW.status = 'leased'))
    EXECUTE FUNCTION lifecycle.check_outbox_status();

-- Deleted and inserted instead of moved by an UPDATE of part: whoever comes upon a row that was moved gets an error even with SKIP
-- LOCKED, and skips one that was deleted.
CREATE FUNCTION lifecycle.file_message() RETURNS trigger
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer that polls with plain SQL needs nothing but SELECT and UPDATE on the outbox.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
BEGIN
    DELETE FROM lifecycle.outbox AS o
     WHERE o.part = NEW.part AND o.part < 1000 AND o.message_id = NEW.message_id AND o.customer_id = NEW.customer_id;
    NEW.part := lifecycle.history_part();
    INSERT INTO lifecycle.outbox SELECT (NEW).*;
    IF NEW.status = 'sent' THEN
        PERFORM lifecycle.note_sent(NEW.part, ARRAY[NEW.message_id]);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.file_message() IS 'Trigger of lifecycle.outbox: moves a message that has ended into history, and notes that it was sent';

CREATE TRIGGER file_message AFTER UPDATE OF status ON lifecycle.outbox
    FOR EACH ROW WHEN (NEW.part < 1000 AND NEW.status <> 'pending' AND NEW.status <> 'leased')
    EXECUTE FUNCTION lifecycle.file_message();

-- A database that was restored from a dump or cloned must not mail anybody. What is armed is a database with its own row and no other. A clone has
-- the row of the database it was made from. CREATE EXTENSION in a dump writes a row that is nobody's, so that the worker does nothing while the
-- tables come in, nor afterwards if the dump goes back into the very database it was made from.
CREATE TABLE lifecycle.armed_for (
    system_identifier bigint NOT NULL,
    database          oid NOT NULL,
    CONSTRAINT armed_for_pkey PRIMARY KEY (system_identifier, database)
);
INSERT INTO lifecycle.armed_for
    SELECT CASE WHEN r.restoring THEN pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0) ELSE c.system_identifier END,
           CASE WHEN r.restoring THEN 0 ELSE d.oid END
      FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d, lifecycle.restoring() AS r (restoring)
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();
COMMENT ON TABLE lifecycle.armed_for IS 'The database for which sending is on; see lifecycle.arm()';
COMMENT ON COLUMN lifecycle.armed_for.system_identifier IS 'Of the cluster; random in a row that a restore began with';
COMMENT ON COLUMN lifecycle.armed_for.database IS 'Of the database; 0: nobody''s';

CREATE FUNCTION lifecycle.is_armed() RETURNS boolean
    LANGUAGE plpgsql STABLE
    -- SECURITY DEFINER, because mailers have no business in the table.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (SELECT count(*) = 1 AND bool_and(a.system_identifier = lifecycle.system_identifier() AND a.database = d.oid)
              FROM lifecycle.armed_for AS a, pg_database AS d
             WHERE d.datname = current_database());
END
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

-- A mailer that polls a copy with plain SQL finds nothing to lock. Owners and superusers see past it.
ALTER TABLE lifecycle.outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY anybody_reads ON lifecycle.outbox FOR SELECT USING (true);
CREATE POLICY sending_needs_arming ON lifecycle.outbox FOR UPDATE USING ((SELECT lifecycle.is_armed())) WITH CHECK (true);
CREATE POLICY anybody_inserts ON lifecycle.outbox FOR INSERT WITH CHECK (true);
CREATE POLICY anybody_deletes ON lifecycle.outbox FOR DELETE USING (true);
