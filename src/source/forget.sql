-- Erasure: what is kept of a person, wherever it is, by the catalog, so that no table is forgotten.

CREATE FUNCTION lifecycle.personal_columns() RETURNS TABLE (place regclass, name name, of_customer boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT c.oid::regclass, a.attname,
           EXISTS (SELECT FROM pg_attribute AS o WHERE o.attrelid = c.oid AND o.attname = 'customer_id' AND NOT o.attisdropped)
      FROM pg_class AS c
      JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped AND a.atttypid = 'text'::regtype
     WHERE c.relnamespace = 'lifecycle'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND a.attname IN ('customer_id', 'into_id', 'referred', 'referrer', 'redeemed_by')
     ORDER BY c.relname, a.attname
$$;
COMMENT ON FUNCTION lifecycle.personal_columns() IS 'Internal: the columns that hold ids of customers. of_customer: the table''s rows are some customer''s';

-- A number, or a word such as "new", stands for many things: only what can be nobody else is looked for in texts.
CREATE FUNCTION lifecycle.telling_pattern(ids text[], addresses text[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT '(?i)(^|[^[:alnum:]_@.+-])(' || string_agg(regexp_replace(t.term, '([^[:alnum:]_@])', E'\\\\\\1', 'g'), '|') || ')($|[^[:alnum:]_@.+-])'
      FROM (SELECT i.id AS term FROM unnest(ids) AS i (id) WHERE i.id ~ '@' OR (length(i.id) >= 8 AND i.id ~ '[0-9]' AND i.id !~ '^[0-9]+$')
            UNION
            SELECT a.address FROM unnest(addresses) AS a (address) WHERE length(a.address) >= 6) AS t
$$;
COMMENT ON FUNCTION lifecycle.telling_pattern(text[], text[]) IS 'Internal: a regular expression that finds a person in texts by addresses and by ids that are more than a number or a word; NULL: there is nothing to look for';

-- Volatile, so that readers are not given it: it reads any text as a row of an attached table, with the rights of the table's owner.
CREATE FUNCTION lifecycle.customer_of_row(source text, data jsonb) RETURNS text
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_customer_of_row';
COMMENT ON FUNCTION lifecycle.customer_of_row(text, jsonb) IS 'Internal: whose a row of an attached table is, by the mapping';

CREATE FUNCTION lifecycle.concerns(source text, data jsonb, ids text[], pattern text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF data IS NULL THEN
        RETURN false;
    ELSIF data::text ~ pattern THEN
        RETURN true;
    END IF;
    BEGIN
        RETURN coalesce(lifecycle.customer_of_row(source, data) = ANY (ids), false);
    EXCEPTION
    WHEN deadlock_detected OR serialization_failure THEN
        RAISE;
    WHEN OTHERS THEN
        -- The row cannot be read as one of its table, or the table is gone: by its values, wherever an id could stand.
        RETURN EXISTS (SELECT FROM jsonb_each_text(data) AS f WHERE f.value = ANY (ids) AND f.key ~* 'customer|user|email|guest');
    END;
END
$$;
COMMENT ON FUNCTION lifecycle.concerns(text, jsonb, text[], text) IS 'Internal: whether a row that is held back is about a person';

CREATE FUNCTION lifecycle.held_rows(ids text[], pattern text) RETURNS TABLE (place text, id bigint, content jsonb)
    LANGUAGE plpgsql STABLE
    -- SECURITY DEFINER, because customer_of_row() is not for everybody who may read quarantine.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN QUERY
        SELECT 'lifecycle.quarantine', q.quarantine_id, to_jsonb(q) FROM lifecycle.quarantine AS q
         WHERE lifecycle.concerns(q.source, q.data, ids, pattern)
        UNION ALL
        SELECT 'lifecycle.inbox', i.entry_id, to_jsonb(i) FROM lifecycle.inbox AS i
         WHERE lifecycle.concerns(i.source, i.gone::jsonb, ids, pattern) OR lifecycle.concerns(i.source, i.arrived::jsonb, ids, pattern);
END
$$;
COMMENT ON FUNCTION lifecycle.held_rows(text[], text) IS 'Internal: rows in quarantine and inbox that are about a person';

CREATE FUNCTION lifecycle.known_as(customer_id text) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH self AS (
        SELECT coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = known_as.customer_id), known_as.customer_id) AS id)
    SELECT array_agg(u.id ORDER BY u.n)
      FROM (SELECT s.id, 1 AS n FROM self AS s
            UNION ALL SELECT m.customer_id, 2 FROM lifecycle.merged AS m JOIN self AS s ON m.into_id = s.id) AS u
$$;
COMMENT ON FUNCTION lifecycle.known_as(text) IS 'Internal: the ids of a person: whom all were merged into first, then those that were merged';

CREATE FUNCTION lifecycle.addresses_of(ids text[]) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(DISTINCT a.address), '{}')
      FROM (SELECT unnest(ARRAY[c.email, c.phone]) FROM lifecycle.customer AS c WHERE c.customer_id = ANY (ids)
            UNION ALL SELECT o.recipient FROM lifecycle.outbox AS o WHERE o.customer_id = ANY (ids)
            UNION ALL SELECT i.id FROM unnest(ids) AS i (id) WHERE i.id ~ '^[^@ ]+@[^@ ]+$') AS a (address)
     WHERE btrim(a.address) <> ''
$$;
COMMENT ON FUNCTION lifecycle.addresses_of(text[]) IS 'Internal: the addresses that are known of a person';

CREATE FUNCTION lifecycle.forget_rows(ids text[], mentions text[]) RETURNS TABLE (place text, rows bigint)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT p.place AS relation, p.name, p.of_customer AND p.name <> 'customer_id' AS of_others,
               (SELECT a.attnotnull FROM pg_attribute AS a WHERE a.attrelid = p.place AND a.attname = p.name) AS needed
          FROM lifecycle.personal_columns() AS p
         -- The rows of their own first; the customer's row, which is the lock, last.
         WHERE p.place NOT IN ('lifecycle.customer'::regclass, 'lifecycle.timer'::regclass)
         ORDER BY p.name <> 'customer_id', p.place::text
    LOOP
        place := found.relation::text;
        IF found.of_others THEN
            EXECUTE format('UPDATE %s SET %I = %s WHERE %2$I COLLATE "C" = ANY ($1)', found.relation, found.name,
                           CASE WHEN found.needed THEN '''(erased)''' ELSE 'NULL' END) USING mentions;
        ELSE
            EXECUTE format('DELETE FROM %s WHERE %I COLLATE "C" = ANY ($1)', found.relation, found.name) USING ids;
        END IF;
        GET DIAGNOSTICS rows = ROW_COUNT;
        IF rows > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.forget_rows(text[], text[]) IS 'Internal: part of lifecycle.forget()';

-- Items and deliveries that name only an order stay, as nobody's: they are what the shop's table says, and no longer lead to a person.
CREATE FUNCTION lifecycle.forget_owner(ids text[], orders text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    by_order int4[] := ARRAY(SELECT s.source_id FROM lifecycle.source AS s
                              WHERE s.kind IN ('order_item', 'delivery') AND s.mapping ->> 'customer' IS NULL);
BEGIN
    UPDATE lifecycle.order_owner AS o SET customer_id = '' WHERE o.order_id = ANY (orders) AND o.customer_id = ANY (ids);
    UPDATE lifecycle.order_item AS i SET customer_id = '' WHERE i.customer_id = ANY (ids) AND i.source_id = ANY (by_order);
    UPDATE lifecycle.delivery AS d SET customer_id = '' WHERE d.customer_id = ANY (ids) AND d.source_id = ANY (by_order);
END
$$;
COMMENT ON FUNCTION lifecycle.forget_owner(text[], text[]) IS 'Internal: part of lifecycle.forget()';

-- Everybody's row is locked in the order in which orders lock them: the person's, and those of customers whose rows name the person.
CREATE FUNCTION lifecycle.lock_to_forget(self text, ids text[], mentions text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found  record;
    naming text[] := ids;
    more   text[];
BEGIN
    FOR found IN SELECT p.place AS relation, p.name FROM lifecycle.personal_columns() AS p WHERE p.of_customer AND p.name <> 'customer_id' LOOP
        EXECUTE format('SELECT array_agg(DISTINCT t.customer_id) FROM %s AS t WHERE t.%I COLLATE "C" = ANY ($1) AND t.customer_id <> ''''',
                       found.relation, found.name) INTO more USING mentions;
        naming := naming || more;
    END LOOP;
    INSERT INTO lifecycle.customer (customer_id, as_of) VALUES (self, '-infinity') ON CONFLICT (customer_id) DO NOTHING;
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id = ANY (naming) ORDER BY c.customer_id FOR UPDATE;
END
$$;
COMMENT ON FUNCTION lifecycle.lock_to_forget(text, text[], text[]) IS 'Internal: part of lifecycle.forget()';

CREATE FUNCTION lifecycle.forget(customer_id text) RETURNS TABLE (place text, rows bigint)
    LANGUAGE plpgsql
    -- SECURITY DEFINER: an admin may erase a person but has no business in internal tables.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    clock     timestamptz := lifecycle.now();
    ids       text[] := lifecycle.known_as(forget.customer_id);
    addresses text[];
    orders    text[];
    pattern   text;
    removed   record;
    again     boolean := true;
BEGIN
    IF coalesce(forget.customer_id, '') = '' THEN
        RAISE EXCEPTION 'customer_id is null or empty' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    -- The owners of orders are locked before customers, as by an order.
    PERFORM FROM lifecycle.order_owner AS o
      WHERE o.order_id IN (SELECT p.id FROM lifecycle.purchase AS p WHERE p.customer_id = ANY (ids) AND p.kind = 'order') ORDER BY o.order_id FOR UPDATE;
    PERFORM lifecycle.lock_to_forget(ids[1], ids, ids || lifecycle.addresses_of(ids));

    ids := lifecycle.known_as(forget.customer_id);  -- as it is now that nobody can change it
    addresses := lifecycle.addresses_of(ids);
    orders := ARRAY(SELECT p.id FROM lifecycle.purchase AS p WHERE p.customer_id = ANY (ids) AND p.kind = 'order');
    pattern := lifecycle.telling_pattern(ids, addresses);
    IF NOT EXISTS (SELECT FROM lifecycle.erased) THEN
        PERFORM lifecycle.note_config_change();  -- from now on there is somebody to pass over
    END IF;
    INSERT INTO lifecycle.erased (customer_hash, erased_at)
        SELECT lifecycle.customer_hash(i.id), clock FROM unnest(ids) AS i (id)
        ON CONFLICT (customer_hash) DO NOTHING;
    -- Imported again under another id, the address gets no marketing until its owner asks for it.
    INSERT INTO lifecycle.suppression (address_hash, reason, suppressed_at, note)
        SELECT DISTINCT lifecycle.address_hash(a.address), 'sunset', clock, 'erased' FROM unnest(addresses) AS a (address)
        ON CONFLICT (address_hash, reason) DO NOTHING;

    PERFORM lifecycle.uncount_baskets(ids);
    PERFORM lifecycle.forget_owner(ids, orders);
    DELETE FROM lifecycle.timer AS t USING lifecycle.customer AS c
     WHERE c.customer_id = ANY (ids) AND t.customer_id = c.customer_id AND t.due_at IN (c.timer_at, c.later_timer_at);
    WITH gone AS (DELETE FROM lifecycle.segment_member AS m WHERE m.customer_id = ANY (ids) RETURNING m.segment)
    INSERT INTO lifecycle.segment_delta (segment, members) SELECT g.segment, -1 FROM gone AS g;
    GET DIAGNOSTICS rows = ROW_COUNT;
    IF rows > 0 THEN
        place := 'lifecycle.segment_member';
        RETURN NEXT;
    END IF;
    UPDATE lifecycle.definition_change AS d SET after_id = '' WHERE d.finished_at IS NOT NULL AND d.after_id = ANY (ids);
    -- Until there is nothing more: what a mailer had locked has moved on to history when it lets go.
    WHILE again LOOP
        again := false;
        FOR removed IN SELECT r.* FROM lifecycle.forget_rows(ids, ids || addresses) AS r LOOP
            again := true;
            place := removed.place;
            rows := removed.rows;
            RETURN NEXT;
        END LOOP;
    END LOOP;
    -- What somebody else has locked is on its way out.
    FOR place, rows IN
        WITH held AS MATERIALIZED (SELECT h.place, h.id FROM lifecycle.held_rows(ids, pattern) AS h),
        gone AS (
            DELETE FROM lifecycle.quarantine AS q
             WHERE q.quarantine_id IN (SELECT l.quarantine_id FROM lifecycle.quarantine AS l JOIN held AS h ON h.id = l.quarantine_id
                                        WHERE h.place = 'lifecycle.quarantine' FOR UPDATE OF l SKIP LOCKED)
            RETURNING 'lifecycle.quarantine'),
        read AS (
            DELETE FROM lifecycle.inbox AS i
             WHERE i.entry_id IN (SELECT l.entry_id FROM lifecycle.inbox AS l JOIN held AS h ON h.id = l.entry_id
                                   WHERE h.place = 'lifecycle.inbox' FOR UPDATE OF l SKIP LOCKED)
            RETURNING 'lifecycle.inbox')
        SELECT a.place, count(*) FROM (TABLE gone UNION ALL TABLE read) AS a (place) GROUP BY a.place ORDER BY a.place
    LOOP
        RETURN NEXT;
    END LOOP;
    DELETE FROM lifecycle.customer AS c WHERE c.customer_id = ANY (ids) AND c.as_of > '-infinity';
    GET DIAGNOSTICS rows = ROW_COUNT;
    DELETE FROM lifecycle.customer AS c WHERE c.customer_id = ANY (ids);
    IF rows > 0 THEN
        place := 'lifecycle.customer';
        RETURN NEXT;
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.forget(text) IS
'Erases a person: profile, purchases, consents, messages, enrolments, everything in schema lifecycle, whatever the ids that were merged into this one.
Returns how many rows of which table went. What remains are keyed hashes: of the ids, so that later facts from the shop''s tables are passed over (see
lifecycle.readmit()), and of the addresses, so that they get no marketing even if they are imported again. The shop''s own tables are the shop''s affair.
May be called again. lifecycle.forget_check() tells what is left. Errors: customer_id is null or empty (22004)';

CREATE FUNCTION lifecycle.forget_check(customer_id text, addresses text[] DEFAULT '{}') RETURNS TABLE (place text, content jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    ids      text[] := lifecycle.known_as(forget_check.customer_id);
    wanted   text[] := forget_check.addresses || lifecycle.addresses_of(ids);
    pattern  text := lifecycle.telling_pattern(ids, wanted);
    relation record;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name,
               (SELECT string_agg(format('t.%I COLLATE "C" = ANY (%s)', p.name, CASE WHEN p.name = 'customer_id' THEN '$1' ELSE '$2' END), ' OR ')
                  FROM lifecycle.personal_columns() AS p WHERE p.place = c.oid) AS by_id
          FROM pg_class AS c
         WHERE c.relnamespace = 'lifecycle'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.oid <> 'lifecycle.secret'::regclass
         ORDER BY c.relname
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L, to_jsonb(t) FROM %s AS t WHERE %s OR t::text ~ $3', relation.name, relation.name,
                                    coalesce(relation.by_id, 'false')) USING ids, ids || wanted, pattern;
    END LOOP;
    RETURN QUERY SELECT h.place, h.content FROM lifecycle.held_rows(ids, NULL) AS h WHERE pattern IS NULL OR h.content::text !~ pattern;
END
$$;
COMMENT ON FUNCTION lifecycle.forget_check(text, text[]) IS
'Every row of schema lifecycle that still tells of a person: by the id, and by text in any column, json too, where the id is more than a number or a word.
addresses: e-mail addresses and telephone numbers to look for as well; those still known are looked for anyway. No row: nothing is left. Reads all tables';
