-- The triggers by which an attached table, its partitions and its children are watched, and whether all is well with them.
--
-- A statement fires the statement triggers of the table that it names and of no other, with all rows that it has changed, in whichever
-- partitions and children they are. So each table of the tree has them, and each row is seen once. Where session_replication_role is replica
-- (logical replication, some import tools) they rest, and row triggers see each row instead; TRUNCATE is seen in both modes.
--
-- Most updates of a shop change nothing that is read, and are not to pay for transition tables. Where a list of columns shows which do, a row
-- trigger with that list gathers the rows for the statement trigger. It does not where a BEFORE trigger may change other columns than the
-- statement names, where a generated column is read, and in trees; and there must be a primary key, by which a row that is held back is known.
--
-- Where the shop has triggers of its own, one of ours says when a statement begins: what they change within it is read together with it.

CREATE VIEW lifecycle.source_trigger AS
    SELECT convert_from(substr(t.tgargs, 1, octet_length(t.tgargs) - 1), getdatabaseencoding()) AS source,
           t.tgrelid::regclass AS relation, t.tgname AS name, t.tgenabled AS enabled,
           CASE WHEN t.tgname ~ '_row$' THEN 'R' WHEN t.tgname ~ '_truncate$' THEN 'A' ELSE 'O' END AS should_be,
           t.tgattr::text AS columns
      FROM pg_trigger AS t
     WHERE t.tgfoid IN ('lifecycle.capture()'::regprocedure, 'lifecycle.gather()'::regprocedure, 'lifecycle.begin_statement()'::regprocedure)
       AND t.tgnargs = 1;
COMMENT ON VIEW lifecycle.source_trigger IS 'Internal: the triggers on attached tables';
COMMENT ON COLUMN lifecycle.source_trigger.source IS 'The source';
COMMENT ON COLUMN lifecycle.source_trigger.relation IS 'The attached table, or a partition or child of it';
COMMENT ON COLUMN lifecycle.source_trigger.name IS 'The trigger';
COMMENT ON COLUMN lifecycle.source_trigger.enabled IS 'When it fires: O in ordinary sessions, R where session_replication_role is replica, A always, D never';
COMMENT ON COLUMN lifecycle.source_trigger.should_be IS 'When it should';
COMMENT ON COLUMN lifecycle.source_trigger.columns IS 'The numbers of the columns that it waits for; empty: all';

CREATE VIEW lifecycle.update_watched AS
    SELECT u.source, u.relation,
           CASE WHEN t.tgnewtable IS NOT NULL THEN '' ELSE coalesce(g.columns, 'none') END AS columns
      FROM lifecycle.source_trigger AS u
      JOIN pg_trigger AS t ON (t.tgrelid, t.tgname) = (u.relation, u.name)
      LEFT JOIN lifecycle.source_trigger AS g ON (g.source, g.relation) = (u.source, u.relation) AND g.name ~ '_gather$'
     WHERE u.name ~ '_update$';
COMMENT ON VIEW lifecycle.update_watched IS 'Internal: how updates of attached tables are watched';
COMMENT ON COLUMN lifecycle.update_watched.source IS 'The source';
COMMENT ON COLUMN lifecycle.update_watched.relation IS 'The attached table, or a partition or child of it';
COMMENT ON COLUMN lifecycle.update_watched.columns IS 'The numbers of the columns of which an update has to set one to be seen; empty: every update is';

CREATE FUNCTION lifecycle.source_members(relation regclass) RETURNS TABLE (member regclass, relkind "char")
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE tree (oid, depth) AS (
        SELECT source_members.relation::oid, 0
        UNION
        SELECT i.inhrelid, t.depth + 1
          FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
         WHERE NOT i.inhdetachpending)
    SELECT c.oid::regclass, c.relkind FROM tree AS t JOIN pg_class AS c ON c.oid = t.oid GROUP BY c.oid, c.relkind ORDER BY min(t.depth), c.oid
$$;
COMMENT ON FUNCTION lifecycle.source_members(regclass) IS 'Internal: a table, its partitions and its children, from the root down';

CREATE FUNCTION lifecycle.unannounced(source text, relation regclass) RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT m.member
      FROM lifecycle.source_members(unannounced.relation) AS m
     WHERE m.relkind IN ('r', 'p')
       AND NOT EXISTS (SELECT FROM lifecycle.source_trigger AS t
                        WHERE (t.source, t.relation) = (unannounced.source, m.member) AND t.name ~ '_begin$')
       -- A statement that names one table of the tree may fire the triggers of another.
       AND EXISTS (SELECT FROM pg_trigger AS t
                    WHERE NOT t.tgisinternal
                      AND t.tgrelid IN (SELECT o.member FROM lifecycle.source_members(unannounced.relation) AS o)
                      AND (t.tgrelid, t.tgname) NOT IN (SELECT u.relation, u.name FROM lifecycle.source_trigger AS u))
$$;
COMMENT ON FUNCTION lifecycle.unannounced(text, regclass) IS 'Internal: the tables of a source where triggers of the shop may run statements within a statement that has not said that it begins';

CREATE FUNCTION lifecycle.read_member(source text, member regclass, gone boolean) RETURNS bigint
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_read_member';
COMMENT ON FUNCTION lifecycle.read_member(text, regclass, boolean) IS 'Internal: takes in, or takes back, the rows of one table of a source. Returns how many';

CREATE FUNCTION lifecycle.source_error(source text) RETURNS text
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_source_error';
COMMENT ON FUNCTION lifecycle.source_error(text) IS 'Internal: why the mapping of a source has ceased to work; NULL: it works';

CREATE FUNCTION lifecycle.gathered_columns(source text) RETURNS smallint[]
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_gathered_columns';
COMMENT ON FUNCTION lifecycle.gathered_columns(text) IS 'Internal: the columns of which an UPDATE has to set one to say anything to a source; NULL: that cannot be told from the columns';

CREATE FUNCTION lifecycle.unread_columns(source text) RETURNS text[]
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_unread_columns';
COMMENT ON FUNCTION lifecycle.unread_columns(text) IS 'Internal: the columns in which a row that quarantine holds may differ from the row in the table; none if the table has no primary key';

CREATE FUNCTION lifecycle.unbind_trigger(trigger oid, relation oid) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_unbind_trigger';
COMMENT ON FUNCTION lifecycle.unbind_trigger(oid, oid) IS 'Internal: takes away what a trigger with a list of columns depends on them by';

CREATE FUNCTION lifecycle.unbind_triggers() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    bound record;
BEGIN
    -- With such a dependency PostgreSQL would refuse to drop a column that a mapping reads, or to alter its type. A restored dump has them anew.
    FOR bound IN
        SELECT t.oid, t.tgrelid
          FROM pg_trigger AS t
         WHERE t.tgfoid = 'lifecycle.gather()'::regprocedure
           AND EXISTS (SELECT FROM pg_depend AS d
                        WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.tgrelid AND d.refobjsubid > 0)
    LOOP
        BEGIN
            PERFORM lifecycle.unbind_trigger(bound.oid, bound.tgrelid);
        EXCEPTION
        WHEN deadlock_detected OR serialization_failure THEN
            RAISE;
        WHEN OTHERS THEN
            NULL;  -- another session has been faster
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.unbind_triggers() IS 'Internal: lets the columns that our triggers wait for be altered and dropped';

CREATE FUNCTION lifecycle.drop_triggers(source text, relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found_trigger record;
BEGIN
    FOR found_trigger IN
        SELECT t.name FROM lifecycle.source_trigger AS t
         WHERE (t.source, t.relation) = (drop_triggers.source, drop_triggers.relation)
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', found_trigger.name, relation);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.drop_triggers(text, regclass) IS 'Internal: ceases to watch one table of a source';

CREATE FUNCTION lifecycle.watch_updates(source text, number int, relation regclass, columns smallint[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    statement_trigger text := format('lifecycle_%s_update', number);
    row_trigger       text := format('lifecycle_%s_gather', number);
    names             text;
BEGIN
    -- Replaced, never dropped or disabled: the one would have to wait for everybody who reads the table, the other fails within a statement that uses it.
    IF columns IS NULL THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON %s REFERENCING OLD TABLE AS gone NEW TABLE AS arrived'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.capture(%L)', statement_trigger, relation, source);
        IF EXISTS (SELECT FROM lifecycle.source_trigger AS t
                    WHERE (t.source, t.relation, t.name) = (watch_updates.source, watch_updates.relation, row_trigger)) THEN
            EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON %s FOR EACH ROW WHEN (false) EXECUTE FUNCTION lifecycle.gather(%L)',
                           row_trigger, relation, source);
        END IF;
    ELSE
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO names
          FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum = ANY (columns);
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE OF %s ON %s FOR EACH ROW EXECUTE FUNCTION lifecycle.gather(%L)',
                       row_trigger, names, relation, source);
        -- Without the list: of several updates within a statement the last one would drop the call that the first has asked for.
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.capture(%L)',
                       statement_trigger, relation, source);
        PERFORM lifecycle.unbind_triggers();
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.watch_updates(text, int, regclass, smallint[]) IS 'Internal: watches the updates of one table of a source: those of these columns; NULL: of all';

CREATE FUNCTION lifecycle.create_triggers(source text, number int, relation regclass, columns smallint[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    prefix text := format('lifecycle_%s_', number);
    event  text;
BEGIN
    FOREACH event IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE'] LOOP
        IF event = 'UPDATE' THEN
            PERFORM lifecycle.watch_updates(source, number, relation, columns);
        ELSE
            EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.capture(%L)',
                           prefix || lower(event), event, relation, CASE event WHEN 'INSERT' THEN 'NEW TABLE AS arrived' ELSE 'OLD TABLE AS gone' END,
                           source);
        END IF;
    END LOOP;
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.capture(%L)',
                   prefix || 'truncate', relation, source);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, prefix || 'truncate');
    -- Not on a partitioned table: whoever makes a partition of it would need the right to call our function.
    IF (SELECT c.relkind = 'r' FROM pg_class AS c WHERE c.oid = relation) THEN
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION lifecycle.capture(%L)',
                       prefix || 'row', relation, source);
        EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', relation, prefix || 'row');
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.create_triggers(text, int, regclass, smallint[]) IS 'Internal: watches one table of a source';

CREATE FUNCTION lifecycle.keep_columns(columns jsonb) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_keep_columns';
COMMENT ON FUNCTION lifecycle.keep_columns(jsonb) IS 'Internal: keeps the names of columns while a table is altered';

CREATE FUNCTION lifecycle.kept_columns() RETURNS jsonb
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_kept_columns';
COMMENT ON FUNCTION lifecycle.kept_columns() IS 'Internal: what was kept, once';

CREATE FUNCTION lifecycle.follow_names(kept jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    attached record;
    renamed  jsonb;
BEGIN
    FOR attached IN
        SELECT s.name, s.relation, k.value AS columns FROM jsonb_each(kept) AS k JOIN lifecycle.source AS s ON s.name = k.key
    LOOP
        SELECT jsonb_object_agg(c.value, a.attname) INTO renamed
          FROM jsonb_each_text(attached.columns) AS c
          JOIN pg_attribute AS a ON a.attrelid = attached.relation AND a.attnum = c.key::smallint AND NOT a.attisdropped
         WHERE a.attname <> c.value;
        CONTINUE WHEN renamed IS NULL;
        UPDATE lifecycle.quarantine AS q
           SET data = (SELECT jsonb_object_agg(coalesce(renamed ->> e.key, e.key), e.value ORDER BY renamed ? e.key) FROM jsonb_each(q.data) AS e)
         WHERE q.source = attached.name AND jsonb_typeof(q.data) = 'object';
        UPDATE lifecycle.inbox AS i
           SET gone = (SELECT json_object_agg(coalesce(renamed ->> e.key, e.key), e.value ORDER BY e.n) FROM json_each(i.gone) WITH ORDINALITY AS e (key, value, n)),
               arrived = (SELECT json_object_agg(coalesce(renamed ->> e.key, e.key), e.value ORDER BY e.n)
                            FROM json_each(i.arrived) WITH ORDINALITY AS e (key, value, n))
         WHERE i.source = attached.name;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.follow_names(jsonb) IS 'Internal: rows that are held back get the names that their columns have now';

-- SECURITY DEFINER: whoever makes a partition need have no right to the parent, nor to anything in here.
CREATE FUNCTION lifecycle.watch_source(name text, read_rows boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    attached record;
    found    record;
    telling  smallint[];
BEGIN
    SELECT s.source_id, s.relation INTO attached FROM lifecycle.source AS s WHERE s.name = watch_source.name;
    telling := lifecycle.gathered_columns(name);  -- NULL in trees
    FOR found IN
        SELECT DISTINCT t.relation
          FROM lifecycle.source_trigger AS t
         WHERE t.source = watch_source.name
           AND t.relation NOT IN (SELECT m.member FROM lifecycle.source_members(attached.relation) AS m)
    LOOP
        PERFORM lifecycle.drop_triggers(name, found.relation);
        PERFORM lifecycle.read_member(name, found.relation, true)
          FROM pg_class AS c WHERE c.oid = found.relation AND c.relkind = 'r';
    END LOOP;
    FOR found IN
        SELECT m.member, m.relkind FROM lifecycle.source_members(attached.relation) AS m
         WHERE m.relkind IN ('r', 'p')
           AND NOT EXISTS (SELECT FROM lifecycle.source_trigger AS t
                            WHERE (t.source, t.relation) = (watch_source.name, m.member) AND t.name ~ '_insert$')
    LOOP
        PERFORM lifecycle.create_triggers(name, attached.source_id, found.member, telling);
        IF read_rows AND found.relkind = 'r' AND found.member <> attached.relation THEN
            PERFORM lifecycle.read_member(name, found.member, false);
        END IF;
    END LOOP;
    PERFORM lifecycle.watch_updates(name, attached.source_id, u.relation, telling)
       FROM lifecycle.update_watched AS u
      WHERE u.source = name AND u.columns <> coalesce(array_to_string(telling, ' '), '');
    FOR found IN SELECT u.member FROM lifecycle.unannounced(name, attached.relation) AS u (member) LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.begin_statement(%L)',
                       format('lifecycle_%s_begin', attached.source_id), found.member, name);
    END LOOP;
    PERFORM lifecycle.note_partitions(attached.source_id, attached.relation);
END
$$;
COMMENT ON FUNCTION lifecycle.watch_source(text, boolean) IS 'Makes sure that an attached table, its partitions and its children are watched, and no others. The rows of a table that has become one of them are taken in, those of one that is none any more are taken back. An event trigger calls it whenever tables are created or altered';

-- SECURITY DEFINER: fires for whoever creates or alters a table, and reads lifecycle.source.
CREATE FUNCTION lifecycle.tables_changed() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    stack text;
    kept  jsonb;
BEGIN
    IF tg_tag = 'CREATE TRIGGER' AND lifecycle.restoring() THEN
        PERFORM lifecycle.unbind_triggers();
    END IF;
    IF tg_tag = 'DROP TABLE' THEN
        PERFORM lifecycle.note_dropped_partitions();
        RETURN;
    END IF;
    GET DIAGNOSTICS stack = PG_CONTEXT;
    -- What watch_source() alters itself concerns nobody, and a dump brings its triggers along.
    IF stack LIKE '%watch_source(%' OR lifecycle.restoring() THEN
        RETURN;
    END IF;
    kept := lifecycle.kept_columns();
    IF kept IS NOT NULL THEN
        PERFORM lifecycle.follow_names(kept);
    END IF;
    PERFORM lifecycle.watch_source(s.name)
       FROM lifecycle.source AS s
      WHERE EXISTS (SELECT FROM pg_class AS c WHERE c.oid = s.relation)
        AND EXISTS (SELECT FROM pg_event_trigger_ddl_commands() AS d
                     WHERE d.classid = 'pg_class'::regclass
                       AND (d.objid IN (SELECT m.member FROM lifecycle.source_members(s.relation) AS m)
                            OR d.objid IN (SELECT t.relation FROM lifecycle.source_trigger AS t WHERE t.source = s.name))
                        OR d.classid = 'pg_trigger'::regclass
                       AND (SELECT t.tgrelid FROM pg_trigger AS t WHERE t.oid = d.objid) IN (SELECT m.member FROM lifecycle.source_members(s.relation) AS m));
EXCEPTION
WHEN deadlock_detected OR serialization_failure THEN
    RAISE;
WHEN OTHERS THEN
    RAISE WARNING 'pg_lifecycle could not look after the partitions of an attached table: %', SQLERRM
        USING ERRCODE = SQLSTATE, HINT = 'SELECT * FROM lifecycle.check_sources().';
END
$$;
COMMENT ON FUNCTION lifecycle.tables_changed() IS 'Event trigger: watches partitions and children of attached tables that are made or attached later, and sees to it that triggers of the shop hide nothing and that rows that are held back follow the names of their columns. It never fails the statement';

-- SECURITY DEFINER: as above.
CREATE FUNCTION lifecycle.tables_will_change() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM lifecycle.settle();
    PERFORM lifecycle.unbind_triggers();
    BEGIN
        -- Of an altering that failed some may be kept already; all that has been renamed was renamed since.
        PERFORM lifecycle.keep_columns(coalesce(jsonb_object_agg(s.name, c.columns), '{}') || coalesce(lifecycle.kept_columns(), '{}'))
           FROM lifecycle.source AS s
           JOIN LATERAL (SELECT jsonb_object_agg(a.attnum, a.attname) AS columns
                           FROM pg_attribute AS a WHERE a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped) AS c ON c.columns IS NOT NULL
          WHERE EXISTS (SELECT FROM lifecycle.quarantine AS q WHERE q.source = s.name)
             OR EXISTS (SELECT FROM lifecycle.inbox AS i WHERE i.source = s.name);
    EXCEPTION
    WHEN deadlock_detected OR serialization_failure THEN
        RAISE;
    WHEN OTHERS THEN
        RAISE WARNING 'pg_lifecycle could not look which rows of the table are held back: %', SQLERRM
            USING ERRCODE = SQLSTATE, HINT = 'If a column is being renamed, name it anew in the data of lifecycle.quarantine, too.';
    END;
END
$$;
COMMENT ON FUNCTION lifecycle.tables_will_change() IS 'Event trigger: before a table is altered or dropped, what this transaction has said is taken in, while it can be read as it was said, and the names of columns of rows that are held back are kept';

CREATE EVENT TRIGGER lifecycle_tables_will_change ON ddl_command_start
    WHEN TAG IN ('ALTER TABLE', 'DROP TABLE')
    EXECUTE FUNCTION lifecycle.tables_will_change();
CREATE EVENT TRIGGER lifecycle_tables_changed ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'DROP TABLE', 'CREATE SCHEMA', 'CREATE TRIGGER')
    EXECUTE FUNCTION lifecycle.tables_changed();
ALTER EVENT TRIGGER lifecycle_tables_will_change ENABLE ALWAYS;
ALTER EVENT TRIGGER lifecycle_tables_changed ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER lifecycle_tables_will_change IS 'Takes in what is pending before a table is altered or dropped';
COMMENT ON EVENT TRIGGER lifecycle_tables_changed IS 'Watches partitions and children of attached tables that are made or attached later, and sees to it that triggers of the shop hide nothing';

CREATE FUNCTION lifecycle.check_sources() RETURNS TABLE (source text, problem text, hint text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    attached record;
    reason   text;
    again    text := 'SELECT lifecycle.detach(%L), then lifecycle.attach() with %s.';
BEGIN
    FOR attached IN
        SELECT s.name, s.relation, s.attached_as, to_regclass(s.attached_as) AS namesake, c.oid IS NULL AS dropped, c.relispartition,
               EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = s.relation) AS is_member,
               EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = s.relation) AS is_parent
          FROM lifecycle.source AS s LEFT JOIN pg_class AS c ON c.oid = s.relation
         ORDER BY s.name
    LOOP
        source := attached.name;
        IF attached.dropped THEN
            problem := format('table %s has been dropped; what it has said still counts', attached.attached_as);
            hint := CASE WHEN attached.namesake IS NULL THEN format('SELECT lifecycle.detach(%L) to take it back.', source)
                         ELSE format(again, source, 'the table that has this name now') END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF attached.namesake IS NOT NULL AND attached.namesake <> attached.relation THEN
            problem := format('the attached table is called %s now, and another table is called %s', attached.relation, attached.attached_as);
            hint := format(again, source, 'the table that the shop uses');
            RETURN NEXT;
        END IF;
        reason := lifecycle.source_error(source);
        IF reason IS NOT NULL THEN
            problem := format('the mapping or filter does not work any more: %s', reason);
            hint := format(again, source, 'a mapping that fits the table') || ' Until then its rows go into quarantine.';
            RETURN NEXT;
        END IF;
        IF attached.is_member THEN
            problem := format('table %s has become a partition or child of another; what is said to that one is not seen', attached.relation);
            hint := format(again, source, 'the parent');
            RETURN NEXT;
        END IF;
        FOR problem, hint IN
            SELECT format('table %s is not watched', m.member),
                   CASE WHEN m.relkind IN ('r', 'p') THEN format('SELECT lifecycle.watch_source(%L).', source)
                        ELSE 'Only ordinary and partitioned tables can be watched.' END
              FROM lifecycle.source_members(attached.relation) AS m
             WHERE (SELECT count(*) FROM lifecycle.source_trigger AS t
                     WHERE (t.source, t.relation) = (attached.name, m.member) AND t.name !~ '_(gather|begin)$')
                   < CASE m.relkind WHEN 'p' THEN 4 ELSE 5 END
            UNION ALL
            SELECT format('table %s is watched but is no part of %s', t.relation, attached.relation),
                   format('SELECT lifecycle.watch_source(%L).', source)
              FROM (SELECT DISTINCT t.relation FROM lifecycle.source_trigger AS t WHERE t.source = attached.name) AS t
             WHERE t.relation NOT IN (SELECT m.member FROM lifecycle.source_members(attached.relation) AS m)
            UNION ALL
            SELECT format('table %s: not every update that changes what is read is seen', u.relation),
                   format('SELECT lifecycle.watch_source(%L).', attached.name)
              FROM lifecycle.update_watched AS u
             WHERE u.source = attached.name AND u.columns NOT IN ('', coalesce(array_to_string(lifecycle.gathered_columns(attached.name), ' '), ''))
            UNION ALL
            SELECT format('table %s: what its triggers change in the row that fires them is not read in its order', u.member),
                   format('SELECT lifecycle.watch_source(%L).', attached.name)
              FROM lifecycle.unannounced(attached.name, attached.relation) AS u (member)
            UNION ALL
            (SELECT format('trigger %s on table %s does not fire as it should', t.name, t.relation),
                    format('ALTER TABLE %s ENABLE %s %I; what has changed meanwhile was not seen.', t.relation,
                           CASE t.should_be WHEN 'R' THEN 'REPLICA TRIGGER' WHEN 'A' THEN 'ALWAYS TRIGGER' ELSE 'TRIGGER' END, t.name)
               FROM lifecycle.source_trigger AS t
              WHERE t.source = attached.name AND t.enabled::text <> t.should_be
              ORDER BY t.relation::text, t.name)
            UNION ALL
            SELECT 'later partitions or children will not be watched', 'ALTER EVENT TRIGGER lifecycle_tables_changed ENABLE ALWAYS.'
             WHERE attached.is_parent
               AND NOT EXISTS (SELECT FROM pg_event_trigger AS e WHERE e.evtname = 'lifecycle_tables_changed' AND e.evtenabled IN ('A', 'O'))
        LOOP
            RETURN NEXT;
        END LOOP;
    END LOOP;
    source := NULL;
    FOR problem, hint IN
        SELECT format('the predicate of segment "%s" does not work any more: %s', s.name, s.error),
               format('UPDATE lifecycle.segment with a predicate that works WHERE name = %L. Until then its members stay who they are.', s.name)
          FROM (SELECT s.name, lifecycle.segment_error(s.name) AS error FROM lifecycle.segment AS s) AS s
         WHERE s.error IS NOT NULL
         ORDER BY s.name
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.check_sources() IS 'What is wrong with attached tables, and the way out; no row: all is well. Of segments (source is NULL): a predicate that names what was dropped. A mapping whose column was renamed or dropped, a table that was dropped or renamed, a partition that is not watched, a trigger that is disabled';
