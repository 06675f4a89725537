-- Scenarios as documents, to be reviewed and kept under version control.

CREATE FUNCTION lifecycle.as_document(definition jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(definition) AS e WHERE e.value <> 'null' $$;
COMMENT ON FUNCTION lifecycle.as_document(jsonb) IS 'Internal: a row without its NULL columns; what is NULL inside a value stays';

CREATE FUNCTION lifecycle.export_scenario(name text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' SET timezone = 'UTC'
    AS $$
DECLARE
    document jsonb;
BEGIN
    SELECT lifecycle.as_document(to_jsonb(s) - 'version') || jsonb_build_object('steps', coalesce((
               SELECT jsonb_agg(lifecycle.as_document(to_jsonb(t) - 'scenario') || coalesce((
                          SELECT jsonb_build_object('variants', jsonb_agg(lifecycle.as_document(to_jsonb(v) - 'scenario' - 'position') ORDER BY v.name))
                            FROM lifecycle.variant AS v WHERE (v.scenario, v.position) = (t.scenario, t.position) HAVING count(*) > 0), '{}')
                          ORDER BY t.position)
                 FROM lifecycle.step AS t WHERE t.scenario = s.name), '[]'))
      INTO document FROM lifecycle.scenario AS s WHERE s.name = export_scenario.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'scenario "%" does not exist', export_scenario.name USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM lifecycle.scenario.';
    END IF;
    RETURN document;
END
$$;
COMMENT ON FUNCTION lifecycle.export_scenario(text) IS
'A scenario with its steps and their variants as one document, for review and version control: lifecycle.import_scenario() makes the same of it again. Columns
that are NULL are left out; the keys are always in the same order. jsonb_pretty() makes lines of it. Errors: an unknown scenario (42704)';

CREATE FUNCTION lifecycle.put_definition(target regclass, definition jsonb, identity text[], kept text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' SET timezone = 'UTC'
    AS $$
DECLARE
    unknown text;
    columns text;
    given   text;
    changed text;
BEGIN
    SELECT k.key INTO unknown FROM jsonb_object_keys(definition) AS k (key)
     WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = target AND a.attname = k.key AND a.attnum > 0 AND NOT a.attisdropped)
     ORDER BY k.key LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'key "%" of a % is not known', unknown, (SELECT c.relname FROM pg_class AS c WHERE c.oid = target)
            USING ERRCODE = 'invalid_parameter_value', DETAIL = definition::text, HINT = format('The keys are the columns of %s.', target);
    END IF;
    -- What the document does not say has its default, in a row that is there already too.
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
           string_agg(CASE WHEN definition ? a.attname::text THEN format('r.%I', a.attname) ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL') END,
                      ', ' ORDER BY a.attnum),
           string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE a.attname <> ALL (identity || kept))
      INTO columns, given, changed
      FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
     WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format('INSERT INTO %1$s AS t (%2$s) SELECT %3$s FROM jsonb_populate_record(NULL::%1$s, $1) AS r'
                   ' ON CONFLICT (%4$s) DO UPDATE SET (%5$s) = (SELECT %6$s) WHERE (%7$s) IS DISTINCT FROM (%6$s)',
                   target, columns, given, array_to_string(identity, ', '), changed,
                   'EXCLUDED.' || replace(changed, ', ', ', EXCLUDED.'), 't.' || replace(changed, ', ', ', t.')) USING definition;
END
$$;
COMMENT ON FUNCTION lifecycle.put_definition(regclass, jsonb, text[], text[]) IS 'Internal: part of lifecycle.import_scenario(); inserts a row, or changes the one with this key if it differs. Columns in kept are only written to a new row';

CREATE FUNCTION lifecycle.import_scenario(definition jsonb) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    wanted   text := definition ->> 'name';
    steps    jsonb := coalesce(definition -> 'steps', '[]');
    step     jsonb;
    variant  jsonb;
BEGIN
    IF jsonb_typeof(definition) IS DISTINCT FROM 'object' OR jsonb_typeof(steps) <> 'array' THEN
        RAISE EXCEPTION 'a scenario is an object, and its steps are an array'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'lifecycle.export_scenario() shows what it looks like.';
    END IF;
    IF coalesce(wanted, '') = '' THEN
        RAISE EXCEPTION 'the scenario to import has no name' USING ERRCODE = 'null_value_not_allowed', HINT = 'Say "name".';
    END IF;
    -- It starts when its steps are there, not before.
    PERFORM lifecycle.put_definition('lifecycle.scenario', definition - 'steps' - 'status', '{name}', '{status,version}');
    DELETE FROM lifecycle.step AS t
     WHERE t.scenario = wanted AND NOT EXISTS (SELECT FROM jsonb_array_elements(steps) AS s WHERE s ->> 'position' = t.position::text);
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        PERFORM lifecycle.put_definition('lifecycle.step', step - 'variants' || jsonb_build_object('scenario', wanted), '{scenario,position}', '{}');
        DELETE FROM lifecycle.variant AS v
         WHERE v.scenario = wanted AND v.position::text = step ->> 'position'
           AND NOT EXISTS (SELECT FROM jsonb_array_elements(step -> 'variants') AS o WHERE o ->> 'name' = v.name);
        FOR variant IN SELECT v FROM jsonb_array_elements(step -> 'variants') AS v LOOP
            PERFORM lifecycle.put_definition('lifecycle.variant', variant || jsonb_build_object('scenario', wanted, 'position', step -> 'position'),
                                             '{scenario,position,name}', '{}');
        END LOOP;
    END LOOP;
    UPDATE lifecycle.scenario AS s SET status = definition ->> 'status' WHERE s.name = wanted AND s.status <> definition ->> 'status';
    RETURN wanted;
END
$$;
COMMENT ON FUNCTION lifecycle.import_scenario(jsonb) IS
'Makes a scenario, its steps and their variants what a document says, as lifecycle.export_scenario() wrote it: what is missing is inserted, what differs changed,
steps and variants that it does not have are deleted, all in one go. A column that it does not name gets its default, but status: a scenario that exists keeps
its own, a new one is a draft. Returns the name. Errors: as of INSERT and UPDATE on these tables, and a key that is no column (22023), no name (22004)';
