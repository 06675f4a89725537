-- What was said by partitions that have been dropped: the shop archives, and the customers' past stays. So verify() has to know which facts these are.

CREATE TABLE lifecycle.source_partition (
    source_id  int4 NOT NULL,
    partition  regclass,
    name       text NOT NULL,
    bounds     text,
    dropped_at timestamptz,
    CONSTRAINT source_partition_is_known_once UNIQUE (source_id, partition)
);
COMMENT ON TABLE lifecycle.source_partition IS 'Internal: partitions and children of attached tables, those that have been dropped too';
COMMENT ON COLUMN lifecycle.source_partition.source_id IS 'The source';
COMMENT ON COLUMN lifecycle.source_partition.partition IS 'The partition or child; NULL: it has been dropped';
COMMENT ON COLUMN lifecycle.source_partition.name IS 'What it was called';
COMMENT ON COLUMN lifecycle.source_partition.bounds IS 'Which rows it holds: a condition over the columns of the attached table. NULL: that cannot be told from them';
COMMENT ON COLUMN lifecycle.source_partition.dropped_at IS 'When it was dropped; NULL: it is there';

-- The condition is run by whoever calls verify(), so it must call nothing of anybody's: columns and types that are PostgreSQL's own, no operators but those.
CREATE FUNCTION lifecycle.partition_bounds(partition regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
    AS $$
    SELECT b.bounds
      FROM (SELECT pg_get_partition_constraintdef(partition_bounds.partition) AS bounds) AS b
     WHERE strpos(b.bounds, 'OPERATOR(') = 0
       AND NOT EXISTS (
           SELECT FROM pg_partition_ancestors(partition_bounds.partition) AS a JOIN pg_partitioned_table AS p ON p.partrelid = a.relid
            WHERE a.relid <> partition_bounds.partition
              AND (p.partstrat NOT IN ('r', 'l') OR p.partexprs IS NOT NULL
                   OR EXISTS (SELECT FROM pg_attribute AS c JOIN pg_type AS t ON t.oid = c.atttypid
                               WHERE c.attrelid = p.partrelid AND c.attnum = ANY (p.partattrs::int2[]) AND t.typnamespace <> 'pg_catalog'::regnamespace)))
$$;
COMMENT ON FUNCTION lifecycle.partition_bounds(regclass) IS 'Internal: which rows a partition holds, as a condition over its columns; NULL: it is no partition, or its condition is more than a comparison with constants';

CREATE FUNCTION lifecycle.note_partitions(source_id int, relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS $$
BEGIN
    PERFORM lifecycle.note_dropped_partitions();
    -- What is detached takes along what it has said.
    DELETE FROM lifecycle.source_partition AS p
     WHERE p.source_id = note_partitions.source_id AND p.partition NOT IN (SELECT m.member FROM lifecycle.source_members(relation) AS m)
        OR p.source_id NOT IN (SELECT s.source_id FROM lifecycle.source AS s);
    INSERT INTO lifecycle.source_partition AS p (source_id, partition, name, bounds)
        SELECT note_partitions.source_id, m.member, m.member::text, lifecycle.partition_bounds(m.member)
          FROM lifecycle.source_members(relation) AS m
         WHERE m.member <> relation AND m.relkind = 'r'
        ON CONFLICT ON CONSTRAINT source_partition_is_known_once DO UPDATE SET name = excluded.name, bounds = excluded.bounds
         WHERE (p.name, p.bounds) IS DISTINCT FROM (excluded.name, excluded.bounds);
END
$$;
COMMENT ON FUNCTION lifecycle.note_partitions(int, regclass) IS 'Internal: part of lifecycle.watch_source(); notes which partitions and children an attached table has';

CREATE FUNCTION lifecycle.note_dropped_partitions() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE lifecycle.source_partition AS p SET partition = NULL, dropped_at = lifecycle.now()
     WHERE p.partition IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = p.partition)
$$;
COMMENT ON FUNCTION lifecycle.note_dropped_partitions() IS 'Internal: notes which partitions and children of attached tables are there no more';

CREATE FUNCTION lifecycle.dropped_bounds(source text, OUT names text, OUT bounds text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
    AS $$
DECLARE
    columns text;
    blank   text;
BEGIN
    SELECT string_agg(p.name, ', ' ORDER BY p.name),
           CASE WHEN bool_and(p.bounds IS NOT NULL) THEN string_agg(DISTINCT format('(%s)', p.bounds), ' OR ') END
      INTO names, bounds
      FROM lifecycle.source_partition AS p JOIN lifecycle.source AS s ON s.source_id = p.source_id
     WHERE s.name = source AND (p.partition IS NULL OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = p.partition));
    IF bounds IS NULL THEN
        RETURN;
    END IF;
    -- Columns that a field of the fact f shows as they are, or that it shows in a zone.
    SELECT string_agg(format('(f.%I%s)::%s AS %I', c.field, c.zone, c.type, c.name), ', '), string_agg(format('NULL::%s AS %I', c.type, c.name), ', ')
      INTO columns, blank
      FROM (SELECT DISTINCT ON (a.attname) a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, m.key AS field,
                   coalesce(' AT TIME ZONE ' || (regexp_match(m.value, '^[^ ]+ AT TIME ZONE (''[^'']+'')$', 'i'))[1], '') AS zone
              FROM lifecycle.source AS s
              JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped
              JOIN pg_type AS t ON t.oid = a.atttypid AND t.typnamespace = 'pg_catalog'::regnamespace
             CROSS JOIN LATERAL jsonb_each_text(s.mapping) AS m
             CROSS JOIN LATERAL regexp_replace(m.value, ' AT TIME ZONE ''[^'']+''$', '', 'i') AS e (said)
             WHERE s.name = source AND m.key IN ('order', 'refund', 'placed_at', 'refunded_at', 'occurred_at', 'updated_at', 'changed_at', 'added_at',
                                                 'reviewed_at', 'referred_at')
               AND (e.said = quote_ident(a.attname) OR e.said = '"' || a.attname || '"' OR e.said ~ '^[A-Za-z_][A-Za-z0-9_]*$' AND lower(e.said) = a.attname)
             ORDER BY a.attname, m.key) AS c;
    BEGIN
        EXECUTE format('SELECT FROM (SELECT %s) AS r WHERE %s', blank, bounds);
    EXCEPTION WHEN undefined_column THEN
        bounds := NULL;
        RETURN;
    END;
    bounds := format('EXISTS (SELECT FROM (SELECT %s) AS r WHERE %s)', columns, bounds);
END
$$;
COMMENT ON FUNCTION lifecycle.dropped_bounds(text) IS 'Internal: part of lifecycle.verify(); the partitions of a source that have been dropped, and a condition by which their facts f are known. NULL: it cannot be told';
