-- Whether all that is kept is what the facts say, and the facts what the shop's tables say.

CREATE FUNCTION lifecycle.verify_customers(customers text[])
    RETURNS TABLE (customer_id text, what text, expected text, found text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    kept        jsonb;
    computed    jsonb;
    state       text;
    -- The state of some customers as one object: what is a function of the facts, and nothing else. Instants at which to look again may lie
    -- too early, which is harmless. Members are found by segment and customer,
    -- as their index has it.
    read_state constant text := $state$
        SELECT jsonb_object_agg(c.customer_id, to_jsonb(c) - '{as_of,timer_at,later_timer_at,recent_source,recent_orders,lot_number,lots,packed_lots,points_seen,ways,anchors_seen,memberships,next_change_at,next_fact_at,loyalty_due_at,points,enrolment_due_at,open_enrolments}'::text[]
                   || jsonb_build_object(
                       'segments', m.segments,
                       'tier history', (SELECT jsonb_agg(to_jsonb(h) - 'customer_id' ORDER BY h.entered_at) FROM lifecycle.tier_history AS h WHERE h.customer_id = c.customer_id),
                       'revenue', trim_scale(c.revenue), 'tier_spend', trim_scale(c.tier_spend), 'average_order_value', round(c.average_order_value, 6)))
          FROM lifecycle.customer AS c
          LEFT JOIN (SELECT m.customer_id, jsonb_object_agg(m.segment, m.entered_at) AS segments FROM lifecycle.segment_member AS m
                      WHERE m.segment = ANY (ARRAY(SELECT s.name FROM lifecycle.segment AS s)) AND m.customer_id = ANY ($1)
                      GROUP BY m.customer_id) AS m ON m.customer_id = c.customer_id
         WHERE c.customer_id = ANY ($1) $state$;
BEGIN
    BEGIN
        PERFORM lifecycle.bring_up_to_date(customers, false);
        EXECUTE read_state INTO kept USING customers;
        PERFORM lifecycle.bring_up_to_date(customers, true);
        EXECUTE read_state INTO computed USING customers;
        RAISE EXCEPTION USING ERRCODE = 'LC002';  -- undoes both
    EXCEPTION WHEN SQLSTATE 'LC002' THEN
        NULL;
    END;
    RETURN QUERY
        SELECT k.key, f.key, computed -> k.key ->> f.key, f.value #>> '{}'
          FROM jsonb_each(kept) AS k (key, value), jsonb_each(k.value) AS f (key, value)
         WHERE f.value IS DISTINCT FROM computed -> k.key -> f.key
        UNION ALL
        SELECT r.customer_id, 'segment_member', r.segments::text, m.segments::text
          FROM (SELECT c.customer_id, (SELECT jsonb_object_agg(s.name, u.since)
                                         FROM lifecycle.unpack_memberships(c.memberships) AS u JOIN lifecycle.segment AS s ON s.segment_id = u.id) AS segments
                  FROM lifecycle.customer AS c WHERE c.customer_id = ANY (customers)) AS r
          LEFT JOIN (SELECT m.customer_id, jsonb_object_agg(m.segment, m.entered_at) AS segments FROM lifecycle.segment_member AS m
                      WHERE m.segment = ANY (ARRAY(SELECT s.name FROM lifecycle.segment AS s)) AND m.customer_id = ANY (customers)
                      GROUP BY m.customer_id) AS m ON m.customer_id = r.customer_id
         WHERE r.segments IS DISTINCT FROM m.segments;
END
$$;
COMMENT ON FUNCTION lifecycle.verify_customers(text[]) IS 'Internal: part of lifecycle.verify(); works customers out anew, compares, and undoes it';

CREATE FUNCTION lifecycle.verify_source(source text)
    RETURNS TABLE (customer_id text, what text, expected text, found text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
    AS $$
DECLARE
    attached lifecycle.source;
    reason   text;
    fields   text[];
    names    text[];
    said     text;
    kept     text;
    keys     text;
    dropped  record;
BEGIN
    SELECT s.* INTO STRICT attached FROM lifecycle.source AS s WHERE s.name = source;
    reason := CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = attached.relation) THEN lifecycle.source_error(source)
                   ELSE format('table %s has been dropped: what it has said still counts', attached.attached_as) END;
    IF reason IS NOT NULL THEN
        RETURN QUERY SELECT NULL::text, 'not compared', NULL::text, reason;
        RETURN;
    END IF;
    -- What counts of a fact: field, type, and where it is kept; * marks what tells facts apart.
    fields := CASE attached.kind
        WHEN 'order'  THEN ARRAY['customer:text:customer_id', '*order:text:id', 'placed_at:timestamptz:at', 'amount:numeric:', 'currency:text:currency']
        WHEN 'refund' THEN ARRAY['customer:text:customer_id', '*refund:text:id', 'order:text:order_id', 'refunded_at:timestamptz:at', 'amount:numeric:',
                                 'currency:text:currency']
        WHEN 'order_item' THEN ARRAY['*order:text:order_id', '*line:text:line', 'product:text:product', 'category:text:category', 'quantity:numeric:quantity',
                                     'amount:numeric:amount']
        WHEN 'cart' THEN ARRAY['customer:text:customer_id', '*cart:text:cart_id', 'value:numeric:value', 'stage:text:stage', 'updated_at:timestamptz:updated_at']
        WHEN 'consent' THEN ARRAY['*customer:text:customer_id', '*channel:text:channel', 'status:text:status', '*changed_at:timestamptz:changed_at']
        WHEN 'engagement' THEN ARRAY['*customer:text:customer_id', '*type:text:type', '*occurred_at:timestamptz:occurred_at']
        WHEN 'delivery' THEN ARRAY['*order:text:order_id']
        WHEN 'review' THEN ARRAY['customer:text:customer_id', '*review:text:review', 'rating:numeric:rating', 'product:text:product',
                                 'reviewed_at:timestamptz:reviewed_at']
        WHEN 'wishlist' THEN ARRAY['*customer:text:customer_id', '*product:text:product', 'added_at:timestamptz:added_at']
        WHEN 'referral' THEN ARRAY['customer:text:customer_id', '*referral:text:referral', 'referred:text:referred', 'referred_at:timestamptz:referred_at']
        WHEN 'event' THEN ARRAY['*customer:text:customer_id', '*event:text:event', '*occurred_at:timestamptz:occurred_at']
        ELSE NULL END;
    IF fields IS NULL THEN
        RETURN;  -- a customer's profile may come from several places
    END IF;
    -- Amounts in the currency that the shop says them in: rates change, and what one has made of an amount stays. An order without an amount
    -- costs its items, which are compared themselves.
    SELECT array_agg(f.name ORDER BY f.n),
           string_agg(format('%s AS %I', CASE
               WHEN f.name = 'customer' THEN format('coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = r.said[%1$s] COLLATE "C"), r.said[%1$s])', f.n)
               WHEN f.name = 'currency' THEN format('(SELECT nullif(upper(r.said[%s]), upper(s.currency)) FROM lifecycle.shop AS s WHERE s.currency IS NOT NULL)', f.n)
               WHEN f.type = 'numeric' THEN format('trim_scale(r.said[%s]::numeric)', f.n)
               ELSE format('r.said[%s]::%s', f.n, f.type) END, f.name), ', ' ORDER BY f.n),
           string_agg(format('%s AS %I', CASE
               WHEN f.kept = '' THEN 'trim_scale(coalesce(k.foreign_amount, k.amount))'
               WHEN f.type = 'numeric' THEN format('trim_scale(k.%I)', f.kept)
               ELSE format('k.%I', f.kept) END, f.name), ', ' ORDER BY f.n),
           string_agg(format('%I', f.name), ', ' ORDER BY f.n) FILTER (WHERE f.is_key)
      INTO names, said, kept, keys
      FROM (SELECT ltrim(split_part(u.field, ':', 1), '*') AS name, split_part(u.field, ':', 2) AS type, split_part(u.field, ':', 3) AS kept,
                   u.field LIKE '*%' AS is_key, row_number() OVER (ORDER BY u.n) AS n
              FROM unnest(fields) WITH ORDINALITY AS u (field, n)
             WHERE attached.mapping ->> ltrim(split_part(u.field, ':', 1), '*') IS NOT NULL) AS f;
    dropped := lifecycle.dropped_bounds(source);
    RETURN QUERY EXECUTE format($compare$
        WITH read AS MATERIALIZED (
            SELECT f.said, f.problem, CASE WHEN f.problem IS NOT NULL THEN to_jsonb(r.*)::text END AS data
              FROM %1$s AS r, LATERAL lifecycle.said_by_row(%2$L, %3$L, r.*) AS f
             WHERE (f.said IS NOT NULL OR f.problem IS NOT NULL)
               AND NOT EXISTS (SELECT FROM lifecycle.quarantine AS q WHERE q.source = %2$L AND q.data - %4$L::text[] = to_jsonb(r.*) - %4$L::text[])),
        said AS MATERIALIZED (SELECT %5$s FROM read AS r WHERE r.said IS NOT NULL %6$s),
        kept AS MATERIALIZED (SELECT %7$s FROM lifecycle.%8$I AS k WHERE k.source_id = %9$s %10$s),
        missing AS (SELECT to_jsonb(d) AS fact, row_number() OVER (PARTITION BY %11$s ORDER BY d::text) AS n, %11$s FROM (TABLE said EXCEPT ALL TABLE kept) AS d),
        extra AS (SELECT to_jsonb(d) AS fact, row_number() OVER (PARTITION BY %11$s ORDER BY d::text) AS n, %11$s FROM (SELECT f.* FROM (TABLE kept EXCEPT ALL TABLE said) AS f WHERE %12$s) AS d),
        difference AS MATERIALIZED (
            SELECT CASE WHEN e.fact IS NULL THEN 'not taken in' WHEN m.fact IS NULL THEN 'not in the table' ELSE 'differs' END AS what,
                   jsonb_strip_nulls(m.fact)::text AS expected, jsonb_strip_nulls(e.fact)::text AS found
              FROM missing AS m FULL JOIN extra AS e USING (n, %11$s))
        SELECT NULL::text, 'cannot be read', r.data, r.problem FROM read AS r WHERE r.problem IS NOT NULL
        UNION ALL
        SELECT NULL::text, d.what, d.expected, d.found FROM difference AS d WHERE NOT (%13$s AND d.what = 'not in the table')
        UNION ALL
        SELECT NULL::text, 'not compared', NULL, format('facts that are in the table no more, and may have been in what was dropped of it (%%s): %%s', %14$L, count(*))
          FROM difference AS d WHERE %13$s AND d.what = 'not in the table' HAVING count(*) > 0 $compare$,
        attached.relation, source, names || ARRAY['delivered_at', 'shipped_at'], lifecycle.unread_columns(source), said,
        -- What says nothing yet, what the tables say of nobody, and what they still say of the erased.
        concat(CASE WHEN attached.kind = 'delivery' THEN 'AND coalesce(r.said[2], r.said[3]) IS NOT NULL ' END,
               CASE WHEN 'customer' = ANY (names) THEN 'AND r.said[1] <> '''' ' END,
               CASE WHEN 'customer' = ANY (names) AND EXISTS (SELECT FROM lifecycle.erased) THEN 'AND NOT lifecycle.is_erased(r.said[1])' END),
        kept, CASE WHEN attached.kind IN ('order', 'refund') THEN 'purchase' WHEN attached.kind = 'consent' THEN 'consent_log' ELSE attached.kind END,
        attached.source_id, CASE WHEN attached.kind IN ('order', 'refund') THEN format('AND k.kind = %L', attached.kind) END, keys,
        -- What was in a partition that has been dropped is to stay.
        coalesce('NOT ' || dropped.bounds, 'true'), (dropped.names IS NOT NULL AND dropped.bounds IS NULL)::text, dropped.names);
END
$$;
COMMENT ON FUNCTION lifecycle.verify_source(text) IS 'Internal: part of lifecycle.verify(); compares an attached table with what has been taken in of it';

CREATE FUNCTION lifecycle.verify_baskets()
    RETURNS TABLE (customer_id text, what text, expected text, found text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    differences jsonb;
BEGIN
    BEGIN
        PERFORM lifecycle.lock_baskets();
        WHILE lifecycle.fold_baskets() > 0 LOOP
        END LOOP;
        SELECT jsonb_agg(to_jsonb(d)) INTO differences
          FROM (SELECT 'product_sales' AS what, product, category AS other, c.orders AS expected, k.orders AS found
                  FROM lifecycle.counted_sales AS c FULL JOIN lifecycle.product_sales AS k USING (product, category)
                 WHERE coalesce(c.orders, 0) <> coalesce(k.orders, 0)
                UNION ALL
                SELECT 'product_pair', product, other, c.orders, k.orders
                  FROM lifecycle.counted_pairs AS c FULL JOIN lifecycle.product_pair AS k USING (product, other)
                 WHERE coalesce(c.orders, 0) <> coalesce(k.orders, 0)) AS d;
        RAISE EXCEPTION USING ERRCODE = 'LC002';  -- undoes what was counted
    EXCEPTION WHEN SQLSTATE 'LC002' THEN
        NULL;
    END;
    RETURN QUERY
        SELECT NULL::text, format('%s %s, %s', d.what, quote_literal(d.product), quote_literal(d.other)), d.expected::text, d.found::text
          FROM jsonb_to_recordset(differences) AS d (what text, product text, other text, expected bigint, found bigint);
END
$$;
COMMENT ON FUNCTION lifecycle.verify_baskets() IS 'Internal: part of lifecycle.verify(); compares how often products are ordered with what the lines of orders say';

CREATE FUNCTION lifecycle.verify()
    RETURNS TABLE (source text, customer_id text, what text, expected text, found text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    last  text := '';
    batch text[];
    each  record;
BEGIN
    FOR each IN SELECT s.name FROM lifecycle.source AS s ORDER BY s.name LOOP
        RETURN QUERY SELECT each.name, v.* FROM lifecycle.verify_source(each.name) AS v;
    END LOOP;
    LOOP
        -- A few at a time: while they are worked out, their orders wait.
        SELECT array_agg(c.customer_id ORDER BY c.customer_id) INTO batch
          FROM (SELECT c.customer_id FROM lifecycle.customer AS c WHERE c.customer_id > last ORDER BY c.customer_id LIMIT 500) AS c;
        EXIT WHEN batch IS NULL;
        RETURN QUERY SELECT NULL::text, v.* FROM lifecycle.verify_customers(batch) AS v;
        last := batch[array_upper(batch, 1)];
    END LOOP;
    RETURN QUERY SELECT NULL::text, v.* FROM lifecycle.verify_baskets() AS v;
END
$$;
COMMENT ON FUNCTION lifecycle.verify() IS
'Works everything out anew and returns what differs: attached tables against the facts that were taken in of them (source is set), then the facts against
what is kept of each customer. No row: all is right. Changes nothing. The caller must be able to read the attached tables; rows in quarantine are left out.
A difference of a source comes from a time at which its triggers were off. To detach it and attach it again takes it in anew, and takes back for good what
is in its table no more. lifecycle.rebuild() repairs the others';
