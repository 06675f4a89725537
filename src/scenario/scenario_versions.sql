-- Versions: what has changed holds for whoever starts from then on; those on the way finish as they began.

CREATE TABLE lifecycle.scenario_version (
    scenario    text NOT NULL,
    version     int4 NOT NULL,
    definition  jsonb NOT NULL,
    replaced_at timestamptz NOT NULL,
    CONSTRAINT scenario_version_pkey PRIMARY KEY (scenario, version)
);
COMMENT ON TABLE lifecycle.scenario_version IS 'Former definitions of scenarios that have been active; lifecycle.import_scenario() brings one back. A row of a version that no enrolment needs may be deleted';
COMMENT ON COLUMN lifecycle.scenario_version.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.scenario_version.version IS 'Which version this was, as in lifecycle.enrolment.version';
COMMENT ON COLUMN lifecycle.scenario_version.definition IS 'As lifecycle.export_scenario() writes it, without the status';
COMMENT ON COLUMN lifecycle.scenario_version.replaced_at IS 'Start of the transaction that replaced it, by the real clock';

CREATE FUNCTION lifecycle.keep_version(scenario text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    present lifecycle.scenario;
BEGIN
    SELECT s.* INTO present FROM lifecycle.scenario AS s WHERE s.name = keep_version.scenario FOR UPDATE;
    -- What nobody can have started with is no version, nor is what one transaction leaves behind between its own statements.
    IF NOT FOUND OR present.version = 0 OR lifecycle.restoring()
       OR EXISTS (SELECT FROM lifecycle.scenario_version AS v
                   WHERE v.scenario = present.name AND v.version = present.version - 1 AND v.replaced_at = transaction_timestamp()) THEN
        RETURN false;
    END IF;
    INSERT INTO lifecycle.scenario_version (scenario, version, definition, replaced_at)
        VALUES (present.name, present.version, lifecycle.export_scenario(present.name) - 'status', transaction_timestamp());
    RETURN true;
END
$$;
COMMENT ON FUNCTION lifecycle.keep_version(text) IS 'Internal: keeps the definition of a scenario that is about to change; true: what comes is another version';

CREATE FUNCTION lifecycle.version_scenario() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NEW;
    ELSIF TG_OP = 'INSERT' THEN
        -- One of this name may have been here before, and its versions are not to be taken for these.
        NEW.version := coalesce((SELECT max(v.version) + 1 FROM lifecycle.scenario_version AS v WHERE v.scenario = NEW.name), 0);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM lifecycle.keep_version(OLD.name);
        RETURN OLD;
    ELSIF NEW.name <> OLD.name AND EXISTS (SELECT FROM lifecycle.scenario_version AS v WHERE v.scenario = NEW.name) THEN
        -- Those on record with the same number would be taken for versions of this one, and their enrolments, too.
        RAISE EXCEPTION 'there has been another scenario "%"', NEW.name
            USING ERRCODE = 'unique_violation', DETAIL = format('Its versions and what it sent are still on record, and scenario "%s" has its own.', OLD.name),
                  HINT = 'Choose a name that is new, or copy it with export_scenario() and import_scenario().';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.trigger, OLD.reentry, OLD.goal, OLD.goal_within, OLD.exit_when, OLD.exclusion)
          IS DISTINCT FROM (NEW.trigger, NEW.reentry, NEW.goal, NEW.goal_within, NEW.exit_when, NEW.exclusion)
          AND lifecycle.keep_version(OLD.name) THEN
        NEW.version := OLD.version + 1;
    END IF;
    IF NEW.status <> 'draft' AND NEW.version = 0 THEN
        NEW.version := 1;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.version_scenario() IS 'Trigger of lifecycle.scenario: counts its versions';

CREATE TRIGGER version_scenario BEFORE INSERT OR UPDATE OR DELETE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.version_scenario();

CREATE FUNCTION lifecycle.version_step() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    former text := CASE TG_OP WHEN 'INSERT' THEN NEW.scenario ELSE OLD.scenario END;
    latter text := CASE TG_OP WHEN 'DELETE' THEN OLD.scenario ELSE NEW.scenario END;
    changed text;
BEGIN
    -- A scenario that is renamed takes its steps along; then the former one is not there any more.
    IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - 'scenario' <> to_jsonb(OLD) - 'scenario'
       OR (former <> latter AND EXISTS (SELECT FROM lifecycle.scenario AS s WHERE s.name = former)) THEN
        FOR changed IN SELECT DISTINCT u.name FROM unnest(ARRAY[former, latter]) AS u (name) LOOP
            IF lifecycle.keep_version(changed) THEN
                UPDATE lifecycle.scenario AS s SET version = s.version + 1 WHERE s.name = changed;
            END IF;
        END LOOP;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION lifecycle.version_step() IS 'Trigger of lifecycle.step and lifecycle.variant: keeps the version of the scenario that they change';

CREATE TRIGGER version_step BEFORE INSERT OR UPDATE OR DELETE ON lifecycle.step
    FOR EACH ROW EXECUTE FUNCTION lifecycle.version_step();
CREATE TRIGGER version_variant BEFORE INSERT OR UPDATE OR DELETE ON lifecycle.variant
    FOR EACH ROW EXECUTE FUNCTION lifecycle.version_step();

CREATE FUNCTION lifecycle.scenario_of(scenario text, version int4) RETURNS SETOF lifecycle.scenario
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT s.* FROM lifecycle.scenario AS s WHERE (s.name, s.version) = (scenario_of.scenario, scenario_of.version)
    UNION ALL
    SELECT p.* FROM lifecycle.scenario_version AS v
      JOIN lifecycle.scenario AS s ON s.name = v.scenario
     CROSS JOIN LATERAL jsonb_populate_record(NULL::lifecycle.scenario, v.definition || jsonb_build_object('version', v.version, 'status', s.status)) AS p
     WHERE (v.scenario, v.version) = (scenario_of.scenario, scenario_of.version)
$$;
COMMENT ON FUNCTION lifecycle.scenario_of(text, int4) IS 'A scenario as it was in a version, but for its status; no row: there is no such version, or the scenario has been deleted';

CREATE FUNCTION lifecycle.steps_of(scenario text, version int4) RETURNS SETOF lifecycle.step
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- Planned once: reports ask for each enrolment.
    RETURN QUERY
        SELECT t.* FROM lifecycle.scenario AS s JOIN lifecycle.step AS t ON t.scenario = s.name
         WHERE (s.name, s.version) = (steps_of.scenario, steps_of.version)
        UNION ALL
        SELECT p.* FROM lifecycle.scenario_version AS v
         CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'steps') AS d
         CROSS JOIN LATERAL jsonb_populate_record(NULL::lifecycle.step, d || jsonb_build_object('scenario', v.scenario)) AS p
         WHERE (v.scenario, v.version) = (steps_of.scenario, steps_of.version);
END
$$;
COMMENT ON FUNCTION lifecycle.steps_of(text, int4) IS 'The steps of a scenario as they were in a version';

CREATE FUNCTION lifecycle.variants_of(scenario text, version int4) RETURNS SETOF lifecycle.variant
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT t.* FROM lifecycle.scenario AS s JOIN lifecycle.variant AS t ON t.scenario = s.name
     WHERE (s.name, s.version) = (variants_of.scenario, variants_of.version)
    UNION ALL
    SELECT p.* FROM lifecycle.scenario_version AS v
     CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'steps') AS d
     CROSS JOIN LATERAL jsonb_array_elements(d -> 'variants') AS a
     CROSS JOIN LATERAL jsonb_populate_record(NULL::lifecycle.variant,
                                              a || jsonb_build_object('scenario', v.scenario, 'position', d -> 'position')) AS p
     WHERE (v.scenario, v.version) = (variants_of.scenario, variants_of.version)
$$;
COMMENT ON FUNCTION lifecycle.variants_of(text, int4) IS 'The variants of a scenario''s steps as they were in a version';
