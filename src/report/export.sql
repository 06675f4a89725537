-- What is kept of a person, as one document.

CREATE FUNCTION lifecycle.export(customer_id text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    ids      text[] := lifecycle.known_as(export.customer_id);
    document jsonb := jsonb_build_object('customer_id', ids[1], 'exported_at', lifecycle.now());
    relation record;
    rows     jsonb;
BEGIN
    FOR relation IN
        -- Orders, points and enrolments are shown as their views have them, wherever they are kept: what is packed tells a person nothing, nor do
        -- hashes and filters.
        SELECT c.oid::regclass AS name, c.relname,
               ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.atttypid = 'bytea'::regtype AND NOT a.attisdropped) AS bytes
          FROM lifecycle.personal_columns() AS p
          JOIN pg_class AS c ON c.oid = CASE p.place WHEN 'lifecycle.purchase_ledger'::regclass THEN 'lifecycle.purchase'::regclass
                                                     WHEN 'lifecycle.points_lot_settled'::regclass THEN 'lifecycle.points_lot'::regclass
                                                     WHEN 'lifecycle.points_entry_settled'::regclass THEN 'lifecycle.points_entry'::regclass
                                                     WHEN 'lifecycle.enrolment_settled'::regclass THEN 'lifecycle.enrolment'::regclass
                                                     ELSE p.place END
         WHERE p.name = 'customer_id' AND p.place NOT IN ('lifecycle.timer'::regclass, 'lifecycle.points_run'::regclass)
    LOOP
        EXECUTE format('SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(t) - $2) ORDER BY to_jsonb(t)) FROM %s AS t WHERE t.customer_id = ANY ($1)', relation.name)
           INTO rows USING ids, relation.bytes;
        IF rows IS NOT NULL THEN
            document := document || jsonb_build_object(relation.relname, rows);
        END IF;
    END LOOP;
    FOR relation IN
        SELECT substr(h.place, 11) AS name, jsonb_agg(h.content ORDER BY h.id) AS held
          FROM lifecycle.held_rows(ids, lifecycle.telling_pattern(ids, lifecycle.addresses_of(ids))) AS h GROUP BY h.place
    LOOP
        document := document || jsonb_build_object(relation.name, relation.held);
    END LOOP;
    SELECT jsonb_agg(to_jsonb(s) - 'address_hash' ORDER BY s.suppressed_at, s.reason) INTO rows
      FROM lifecycle.suppression AS s
     WHERE s.address_hash IN (SELECT lifecycle.address_hash(a) FROM unnest(lifecycle.addresses_of(ids)) AS a);
    RETURN document || CASE WHEN rows IS NULL THEN '{}' ELSE jsonb_build_object('suppression', rows) END;
END
$$;
COMMENT ON FUNCTION lifecycle.export(text) IS 'Everything that is kept of a person, as one document: under the name of each table its rows, those that are held back in quarantine or the inbox too. Also of the ids that were merged into this one';
