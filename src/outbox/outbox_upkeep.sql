-- What keeps the outbox in shape: leases that run out, what is too late, emptied parts, history. tick() and the worker do it.

CREATE FUNCTION lifecycle.release_leases() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    clock timestamptz := lifecycle.now();
    tries int := (lifecycle.outbox_policy()).max_attempts;
    past lifecycle.lease;
BEGIN
    FOR past IN SELECT l.* FROM lifecycle.lease AS l WHERE l.leased_until <= clock ORDER BY l.leased_until FOR UPDATE SKIP LOCKED LOOP
        -- The mailer that held them is dead or too slow. Whether it has sent them nobody knows.
        WITH lapsed AS (
            SELECT o.message_id, o.part FROM lifecycle.outbox AS o
             WHERE o.part < 1000 AND o.message_id = ANY (past.message_ids) AND o.status = 'leased' AND o.lease_token = past.lease_token
               AND o.leased_until <= clock
               FOR UPDATE SKIP LOCKED)
        UPDATE lifecycle.outbox AS o
           SET status = CASE WHEN o.delivery = 'at_most_once' THEN 'unknown'
                             WHEN o.cancel_requested THEN 'cancelled'
                             WHEN o.attempts >= tries THEN 'failed'
                             ELSE 'pending' END,
               error = CASE WHEN o.cancel_requested THEN o.error
                            ELSE format('the lease of %s ran out', coalesce(quote_literal(o.leased_by), 'a consumer')) END
          FROM lapsed AS d
         WHERE o.part < 1000 AND o.part = d.part AND o.message_id = d.message_id;
        DELETE FROM lifecycle.lease AS l
         WHERE l.lease_token = past.lease_token
           AND NOT EXISTS (SELECT FROM lifecycle.outbox AS o
                            WHERE o.part < 1000 AND o.message_id = ANY (past.message_ids) AND o.status = 'leased' AND o.lease_token = past.lease_token);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.release_leases() IS 'Takes back leases that have run out: at_least_once messages are pending again, at_most_once ones unknown. tick() calls it; claim() does the same to what it comes upon';

CREATE FUNCTION lifecycle.late_messages(clock timestamptz) RETURNS bigint[]
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_late_messages';
COMMENT ON FUNCTION lifecycle.late_messages(timestamptz) IS 'Internal: numbers of messages that wait, or have just waited, and are too late, without another look at all that waits';

CREATE FUNCTION lifecycle.expire_messages() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
DECLARE
    clock timestamptz := lifecycle.now();  -- asked once, not for each message
    late bigint[] := lifecycle.late_messages(clock);
BEGIN
    IF late = '{}' THEN
        RETURN;
    END IF;
    PERFORM lifecycle.end_messages(a.ids, array_fill('expired'::text, ARRAY[cardinality(a.ids)]), NULL)
       FROM (SELECT array_agg(l.message_id) AS ids
               FROM (SELECT o.message_id FROM lifecycle.outbox AS o
                      WHERE o.message_id = ANY (late) AND o.expires_at <= clock AND o.part < 1000 AND o.status = 'pending'
                        FOR UPDATE SKIP LOCKED) AS l) AS a
      WHERE a.ids IS NOT NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.expire_messages() IS 'Sets messages that are too late to expired. tick() calls it; claim() does the same to what it comes upon';

CREATE FUNCTION lifecycle.cancel_refused() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    -- Those due first are read in the order of the index, and no more of them; a bitmap would sort all that wait.
    SET enable_bitmapscan = off
    AS $$
DECLARE
    ids     bigint[];
    reasons text[];
    untils  timestamptz[];
BEGIN
    -- What a plain-SQL mailer had locked when its reason went, and then did not send. Those due first, in case there are very many, but not what
    -- this transaction has just enqueued: it has passed the gates, and nobody else can have locked it.
    WITH due AS (
        SELECT o.message_id, o.customer_id, o.recipient, o.scenario, o.anchor, o.channel, o.class, row_number() OVER () AS n
          FROM (SELECT p.message_id, p.customer_id, p.recipient, p.scenario, p.anchor, p.channel, p.class, p.attempts, p.xmin AS written_by
                  FROM lifecycle.outbox AS p
                 WHERE p.part < 1000 AND p.status = 'pending' AND p.due_at <= lifecycle.now()
                 ORDER BY p.due_at LIMIT 10000) AS o
         WHERE o.attempts > 0 OR o.written_by IS DISTINCT FROM pg_current_xact_id_if_assigned()::xid)
    SELECT array_agg(d.message_id), array_agg(g.reason), array_agg(g.until) INTO ids, reasons, untils
      FROM (SELECT array_agg(e.customer_id ORDER BY e.n) AS customers, array_agg(e.recipient ORDER BY e.n) AS recipients,
                   array_agg(e.scenario ORDER BY e.n) AS scenarios, array_agg(e.anchor ORDER BY e.n) AS anchors,
                   array_agg(e.channel ORDER BY e.n) AS channels, array_agg(e.class ORDER BY e.n) AS classes
              FROM due AS e) AS a,
           lifecycle.gates(a.customers, a.recipients, a.scenarios, a.anchors, a.channels, a.classes) AS g
      JOIN due AS d USING (n)
     WHERE g.reason IS NOT NULL;
    -- Only what is refused is locked; a lock is a write.
    PERFORM lifecycle.end_messages(array_agg(l.message_id), array_agg(CASE WHEN l.until IS NULL THEN 'cancelled' ELSE 'expired' END),
                                   array_agg(CASE WHEN l.until IS NULL THEN l.reason END))
       FROM (SELECT o.message_id, u.reason, u.until
               FROM lifecycle.outbox AS o JOIN unnest(ids, reasons, untils) AS u (message_id, reason, until) USING (message_id)
              WHERE o.part < 1000 AND o.status = 'pending' AND coalesce(u.until, 'infinity') >= o.expires_at
                FOR UPDATE OF o SKIP LOCKED) AS l
     HAVING count(*) > 0;
    PERFORM lifecycle.put_off_messages(array_agg(l.message_id), array_agg(l.until), NULL)
       FROM (SELECT o.message_id, u.until
               FROM lifecycle.outbox AS o JOIN unnest(ids, untils) AS u (message_id, until) USING (message_id)
              WHERE o.part < 1000 AND o.status = 'pending' AND u.until < o.expires_at
                FOR UPDATE OF o SKIP LOCKED) AS l
     HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION lifecycle.cancel_refused() IS 'Cancels due messages that lifecycle.gates() refuses and that nobody has locked, and puts off those that quiet hours keep. tick() calls it; claim() does the same to what it comes upon';

CREATE FUNCTION lifecycle.empty_parts() RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    -- Whoever waits behind us for the lock waits no longer than this.
    SET lock_timeout = '50ms'
    AS $$
DECLARE
    here int4 := lifecycle.current_part();
    relation regclass;
    emptied int := 0;
    waiting bigint;
    message lifecycle.outbox;
BEGIN
    FOR k IN 0 .. 3 LOOP
        CONTINUE WHEN k = here;
        relation := format('lifecycle.outbox_%s', k)::regclass;
        CONTINUE WHEN pg_relation_size(relation) < 1048576;  -- too little to be in anybody's way
        -- A few stragglers move on; many (a backlog, a night's quiet) stay, and the part with them.
        waiting := (SELECT count(*) FROM (SELECT FROM lifecycle.outbox AS o WHERE o.part = k LIMIT 1001) AS few);
        CONTINUE WHEN waiting > 1000;
        IF waiting > 0 THEN
            FOR message IN
                WITH stragglers AS MATERIALIZED (
                    SELECT o.message_id, o.customer_id FROM lifecycle.outbox AS o
                     WHERE o.part = k AND o.status = 'pending' FOR UPDATE SKIP LOCKED)
                DELETE FROM lifecycle.outbox AS o USING stragglers AS s
                 WHERE o.part = k AND o.message_id = s.message_id AND o.customer_id = s.customer_id
                RETURNING o.*
            LOOP
                message.part := here;
                INSERT INTO lifecycle.outbox SELECT (message).*;
            END LOOP;
            CONTINUE WHEN EXISTS (SELECT FROM lifecycle.outbox AS o WHERE o.part = k);
        END IF;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', relation);
            IF NOT EXISTS (SELECT FROM lifecycle.outbox AS o WHERE o.part = k) THEN
                EXECUTE format('TRUNCATE ONLY %s', relation);
                emptied := emptied + 1;
            END IF;
        EXCEPTION WHEN lock_not_available OR object_in_use OR deadlock_detected THEN
            NULL;  -- a dump or a long transaction looks at it: another time
        END;
    END LOOP;
    RETURN emptied;
END
$$;
COMMENT ON FUNCTION lifecycle.empty_parts() IS 'Truncates parts of the outbox in which nothing waits any more, so that dead rows go whatever old snapshot is held; one that is locked is left for another time. tick() calls it. Returns how many';

CREATE FUNCTION lifecycle.keep_history() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms'
    AS $$
DECLARE
    clock timestamptz := lifecycle.now();
    keep interval := (lifecycle.outbox_policy()).keep;
    volume lifecycle.outbox_volume;
    next int4;
BEGIN
    -- One at a time; who comes second leaves it to the first.
    IF NOT pg_try_advisory_xact_lock('lifecycle.outbox_volume'::regclass::oid::int4, 0) THEN
        RETURN;
    END IF;
    FOR volume IN SELECT v.* FROM lifecycle.outbox_volume AS v WHERE v.ended_at <= clock - keep ORDER BY v.began_at LOOP
        BEGIN
            EXECUTE format('TRUNCATE ONLY lifecycle.outbox_%s', volume.part);
            DELETE FROM lifecycle.outbox_volume AS v WHERE v.part = volume.part;
        EXCEPTION WHEN lock_not_available OR object_in_use OR deadlock_detected THEN
            NULL;  -- a dump or a long transaction looks at it: another time
        END;
    END LOOP;

    SELECT v.* INTO volume FROM lifecycle.outbox_volume AS v WHERE v.ended_at IS NULL;
    IF NOT FOUND THEN
        INSERT INTO lifecycle.outbox_volume (part, began_at) VALUES (1000, clock);
    ELSIF clock >= volume.began_at + keep / 12 AND EXISTS (SELECT FROM lifecycle.outbox AS o WHERE o.part = volume.part) THEN
        next := 1000 + (volume.part - 999) % 16;
        -- While the next one holds what must be kept, the present one grows.
        IF NOT EXISTS (SELECT FROM lifecycle.outbox_volume AS v WHERE v.part = next) THEN
            UPDATE lifecycle.outbox_volume AS v SET ended_at = clock WHERE v.part = volume.part;
            INSERT INTO lifecycle.outbox_volume (part, began_at) VALUES (next, clock);
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.keep_history() IS 'Begins a new volume of history when it is time, and truncates those that ended longer ago than lifecycle.outbox_policy.keep; tick() calls it';

CREATE FUNCTION lifecycle.upkeep(thorough boolean DEFAULT true, late boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM lifecycle.release_leases();
    PERFORM lifecycle.empty_parts();
    IF thorough THEN
        IF late THEN
            PERFORM lifecycle.expire_messages();
        END IF;
        PERFORM lifecycle.cancel_refused();
        PERFORM lifecycle.keep_history();
    END IF;
    RETURN EXISTS (SELECT FROM lifecycle.lease);
END
$$;
COMMENT ON FUNCTION lifecycle.upkeep(boolean, boolean) IS 'Internal: what tick() and the worker do for the outbox; thorough: also what costs a look at everything that waits; late: messages may be too late. True: mailers are at work, look again soon';
