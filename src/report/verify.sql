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
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    AS $$
DECLARE
    attached lifecycle.source;
    fields   text[];
    read     text;
    said     text;
    kept     text;
BEGIN
    SELECT s.* INTO STRICT attached FROM lifecycle.source AS s WHERE s.name = source;
    -- What tells facts apart, with what counts most; purchases by customer, id and time, others as they are kept.
    fields := CASE attached.kind
        WHEN 'order'  THEN ARRAY['customer:text', 'order:text', 'placed_at:timestamptz']
        WHEN 'refund' THEN ARRAY['customer:text', 'refund:text', 'refunded_at:timestamptz']
        WHEN 'order_item' THEN ARRAY['order:text', 'line:text', 'product:text']
        WHEN 'cart' THEN ARRAY['customer:text', 'cart:text', 'updated_at:timestamptz']
        WHEN 'consent' THEN ARRAY['customer:text', 'channel:text', 'status:text', 'changed_at:timestamptz']
        WHEN 'engagement' THEN ARRAY['customer:text', 'type:text', 'occurred_at:timestamptz']
        WHEN 'delivery' THEN ARRAY['order:text']
        WHEN 'review' THEN ARRAY['customer:text', 'review:text', 'reviewed_at:timestamptz']
        WHEN 'wishlist' THEN ARRAY['customer:text', 'product:text', 'added_at:timestamptz']
        WHEN 'referral' THEN ARRAY['customer:text', 'referral:text', 'referred:text', 'referred_at:timestamptz']
        WHEN 'event' THEN ARRAY['customer:text', 'event:text', 'occurred_at:timestamptz']
        ELSE NULL END;
    IF fields IS NULL THEN
        RETURN;  -- a customer's profile may come from several places
    END IF;
    -- The expressions are the shop's: where they are read there must be no columns but those of its table.
    SELECT string_agg(format('(%s)::%s AS %I', attached.mapping ->> f.name, f.type, f.name), ', '),
           string_agg(CASE WHEN f.name = 'customer'
                           THEN 'coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = r.customer COLLATE "C"), r.customer) AS customer'
                           ELSE format('r.%I', f.name) END, ', '),
           string_agg(CASE WHEN attached.kind IN ('order', 'refund')
                           THEN CASE f.name WHEN 'customer' THEN 'k.customer_id' WHEN 'placed_at' THEN 'k.at' WHEN 'refunded_at' THEN 'k.at' ELSE 'k.id' END
                           ELSE format('k.%I', CASE f.name WHEN 'customer' THEN 'customer_id' WHEN 'order' THEN 'order_id' WHEN 'cart' THEN 'cart_id' ELSE f.name END) END
                      || format(' AS %I', f.name), ', ')
      INTO read, said, kept
      FROM (SELECT split_part(u.field, ':', 1) AS name, split_part(u.field, ':', 2) AS type FROM unnest(fields) AS u (field)) AS f;
    RETURN QUERY EXECUTE format($compare$
        WITH said AS MATERIALIZED (
            SELECT %1$s FROM (
                SELECT %10$s FROM %2$s AS r
                 WHERE (%3$s) AND %4$s %11$s AND NOT EXISTS (SELECT FROM lifecycle.quarantine AS q WHERE q.source = %5$L AND q.data - %12$L::text[] = to_jsonb(r.*) - %12$L::text[])) AS r),
        kept AS MATERIALIZED (SELECT %6$s FROM lifecycle.%7$I AS k WHERE k.source_id = %8$s %9$s)
        SELECT NULL::text, 'not taken in', to_jsonb(d)::text, NULL::text FROM (TABLE said EXCEPT ALL TABLE kept) AS d
        UNION ALL
        SELECT NULL::text, 'not in the table', NULL::text, to_jsonb(d)::text FROM (TABLE kept EXCEPT ALL TABLE said) AS d $compare$,
        said, attached.relation, coalesce(attached.filter, 'true'),
        CASE WHEN attached.kind = 'delivery' THEN format('coalesce(%s, %s) IS NOT NULL', coalesce(attached.mapping ->> 'delivered_at', 'NULL::timestamptz'),
                                                                  coalesce(attached.mapping ->> 'shipped_at', 'NULL::timestamptz'))
             WHEN attached.mapping ->> 'customer' IS NOT NULL THEN format('(%s)::text <> ''''', attached.mapping ->> 'customer') ELSE 'true' END,
        attached.name, kept,
        CASE attached.kind WHEN 'order' THEN 'purchase' WHEN 'refund' THEN 'purchase' WHEN 'consent' THEN 'consent_log' ELSE attached.kind END,
        attached.source_id, CASE WHEN attached.kind IN ('order', 'refund') THEN format('AND k.kind = %L', attached.kind) ELSE '' END, read,
        -- What the tables still say of the erased is passed over.
        CASE WHEN attached.mapping ->> 'customer' IS NOT NULL AND EXISTS (SELECT FROM lifecycle.erased)
             THEN format('AND NOT lifecycle.is_erased((%s)::text)', attached.mapping ->> 'customer') ELSE '' END,
        lifecycle.unread_columns(attached.name));
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
A difference of a source comes from a time at which its triggers were off; detach it and attach it again. lifecycle.rebuild() repairs the others';
