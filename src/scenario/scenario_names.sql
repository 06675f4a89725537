-- What scenarios name: segments and tiers are not deleted or renamed under those that are in use.

CREATE FUNCTION lifecycle.check_name_in_use() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind text := CASE TG_RELID WHEN 'lifecycle.tier'::regclass THEN 'tier' ELSE 'segment' END;
    used record;
BEGIN
    IF lifecycle.restoring() OR EXISTS (SELECT FROM lifecycle.segment AS s WHERE kind = 'segment' AND s.name = OLD.name)
       OR EXISTS (SELECT FROM lifecycle.tier AS t WHERE kind = 'tier' AND t.name = OLD.name) THEN
        RETURN NULL;
    END IF;
    FOR used IN
        SELECT s.name, s.trigger, c.condition
          FROM lifecycle.scenario AS s
          LEFT JOIN lifecycle.step AS p ON p.scenario = s.name
         CROSS JOIN LATERAL (VALUES (NULL), (s.entry_filter), (s.exit_when), (s.exclusion), (p.condition)) AS c (condition)
         WHERE s.status <> 'draft' ORDER BY s.name
    LOOP
        IF used.trigger IN (kind || '_entered:' || OLD.name, kind || '_left:' || OLD.name, kind || '_reached:' || OLD.name, kind || '_ending:' || OLD.name) THEN
            RAISE EXCEPTION '% "%" is in use', kind, OLD.name
                USING ERRCODE = 'foreign_key_violation',
                      DETAIL = format('Scenario "%s" starts with it.', used.name),
                      HINT = 'Change the scenario in the same transaction, or make it a draft or delete it first.';
        ELSIF kind = 'segment' AND strpos(used.condition, OLD.name) > 0 THEN
            BEGIN
                PERFORM lifecycle.check_condition(used.condition);
            EXCEPTION WHEN undefined_object THEN
                RAISE EXCEPTION 'segment "%" is in use', OLD.name
                    USING ERRCODE = 'foreign_key_violation',
                          DETAIL = format('A condition of scenario "%s" asks for it: %s', used.name, used.condition),
                          HINT = 'Change the condition in the same transaction, or make the scenario a draft or delete it first.';
            END;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.check_name_in_use() IS 'Trigger of lifecycle.segment and lifecycle.tier: at the commit, refuses to delete or rename what a scenario that is no draft names';

-- Deferred, so that one transaction may rename a segment and change the scenarios that start with it.
CREATE CONSTRAINT TRIGGER check_name_in_use_deleted AFTER DELETE ON lifecycle.segment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lifecycle.check_name_in_use();
CREATE CONSTRAINT TRIGGER check_name_in_use_renamed AFTER UPDATE ON lifecycle.segment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_name_in_use();
CREATE CONSTRAINT TRIGGER check_name_in_use_deleted AFTER DELETE ON lifecycle.tier
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lifecycle.check_name_in_use();
CREATE CONSTRAINT TRIGGER check_name_in_use_renamed AFTER UPDATE ON lifecycle.tier
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_name_in_use();
