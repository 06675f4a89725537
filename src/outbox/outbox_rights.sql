-- Roles: who sends, who reads, who configures. Nobody has any rights before one of these is called.

CREATE FUNCTION lifecycle.check_grantor() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT (SELECT pg_has_role(e.extowner, 'USAGE') FROM pg_extension AS e WHERE e.extname = 'pg_lifecycle') THEN
        RAISE EXCEPTION 'only the owner of the extension gives rights on it'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Call it as the role that has created the extension.';
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.check_grantor() IS 'Internal: refuses whoever does not own the extension, where GRANT would only warn';

CREATE FUNCTION lifecycle.grant_mailer(role regrole) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM lifecycle.check_grantor();
    EXECUTE format('GRANT USAGE ON SCHEMA lifecycle TO %s', role);
    -- UPDATE of these is what polling with plain SQL needs; the row's triggers see to the rest.
    EXECUTE format('GRANT SELECT, UPDATE (status, error, provider_id) ON lifecycle.outbox TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION lifecycle.claim, lifecycle.ack, lifecycle.fail, lifecycle.extend, lifecycle.release,
                        lifecycle.may_send, lifecycle.feedback, lifecycle.gate, lifecycle.payload_of, lifecycle.now, lifecycle.is_armed TO %s', role);
END
$$;
COMMENT ON FUNCTION lifecycle.grant_mailer(regrole) IS 'Lets a role read the outbox, poll it with plain SQL, claim, acknowledge and pass on feedback, and nothing else';

CREATE FUNCTION lifecycle.grant_reader(role regrole) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    called text;
BEGIN
    PERFORM lifecycle.check_grantor();
    EXECUTE format('GRANT USAGE ON SCHEMA lifecycle TO %s', role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA lifecycle TO %s', role);
    EXECUTE format('REVOKE ALL ON lifecycle.secret FROM %s', role);
    FOR called IN
        SELECT p.oid::regprocedure::text
          FROM pg_proc AS p
         WHERE p.pronamespace = 'lifecycle'::regnamespace AND p.prorettype <> 'trigger'::regtype
           AND (p.provolatile <> 'v' OR p.proname IN ('worker_status', 'check_sources', 'source_error', 'segment_error', 'gathered_columns',
                                                       'foresee', 'forecast_until', 'forecast_messages', 'forecast', 'who_would_get'))
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', called, role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.grant_reader(regrole) IS 'Lets a role read everything, personal data too, and change nothing';

CREATE FUNCTION lifecycle.grant_admin(role regrole) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    written regclass;
BEGIN
    PERFORM lifecycle.grant_reader(role);
    -- Internal tables too, or most functions would fail: they write with the rights of who calls them. Never TRIGGER or REFERENCES: what stands on our
    -- tables runs as their owner. Nor what a partition held: it is a condition that whoever calls verify() runs, and only watch_source() writes it down.
    FOR written IN
        SELECT c.oid
          FROM pg_class AS c
         WHERE c.relnamespace = 'lifecycle'::regnamespace AND NOT c.relispartition
           AND (c.relkind IN ('r', 'p') OR c.oid IN ('lifecycle.enrolment'::regclass, 'lifecycle.progress'::regclass))
           AND c.relname NOT IN ('secret', 'source_partition')
    LOOP
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %s', written, role);
    END LOOP;
    EXECUTE format('GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA lifecycle TO %s', role);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA lifecycle TO %s', role);
END
$$;
COMMENT ON FUNCTION lifecycle.grant_admin(regrole) IS 'Lets a role read everything, configure, and call every function. Attaching a table also needs the ownership of that table';
