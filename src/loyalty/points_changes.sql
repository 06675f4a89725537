-- What happens to lots of points. All of this runs while the customer's row is locked, by an order's own path or by the functions that users call.

CREATE FUNCTION lifecycle.change_lot(lot lifecycle.points_lot_settled, reference text, kind text, pending bigint, available bigint,
                                     at timestamptz, note text DEFAULT NULL) RETURNS lifecycle.points_lot_settled
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    changed lifecycle.points_lot_settled;
BEGIN
    IF change_lot.pending = 0 AND change_lot.available = 0 THEN
        RETURN lot;
    END IF;
    INSERT INTO lifecycle.points_entry_settled (customer_id, reference, entry_id, lot_id, kind, pending, points, at, recorded_at, note)
        VALUES (lot.customer_id, change_lot.reference, nextval('lifecycle.points_entry_id_seq'), lot.lot_id, change_lot.kind,
                change_lot.pending, change_lot.available, change_lot.at, lifecycle.now(), change_lot.note);
    UPDATE lifecycle.points_lot_settled AS l
       SET pending = l.pending + change_lot.pending,
           available = l.available + change_lot.available,
           due_at = CASE WHEN l.pending + change_lot.pending > 0 THEN l.active_at
                         WHEN l.available + change_lot.available > 0 THEN coalesce(l.expires_at, 'infinity')
                         WHEN l.available + change_lot.available < 0 THEN 'infinity' END
     WHERE (l.customer_id, l.reference, l.lot_id) = (lot.customer_id, lot.reference, lot.lot_id)
    RETURNING l.* INTO STRICT changed;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION lifecycle.change_lot(lifecycle.points_lot_settled, text, text, bigint, bigint, timestamptz, text) IS 'Internal: changes a lot and writes the entry that says so';

CREATE FUNCTION lifecycle.settle_points(customers text[], clocks timestamptz[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    WITH due AS (
        SELECT l.* FROM unnest(customers, clocks) AS u (customer_id, clock)
          JOIN lifecycle.points_lot_settled AS l ON l.customer_id = u.customer_id AND l.due_at <= u.clock
         WHERE l.pending > 0),
    changed AS (
        UPDATE lifecycle.points_lot_settled AS l
           SET pending = 0, available = l.available + l.pending,
               due_at = CASE WHEN l.available + l.pending > 0 THEN coalesce(l.expires_at, 'infinity')
                             WHEN l.available + l.pending < 0 THEN 'infinity' END
          FROM due AS d
         WHERE (l.customer_id, l.reference, l.lot_id) = (d.customer_id, d.reference, d.lot_id))
    INSERT INTO lifecycle.points_entry_settled (customer_id, reference, entry_id, lot_id, kind, pending, points, at, recorded_at)
        SELECT d.customer_id, d.reference, nextval('lifecycle.points_entry_id_seq'), d.lot_id, 'activate', -d.pending, d.pending,
               greatest(d.active_at, c.as_of), lifecycle.now()
          FROM due AS d JOIN lifecycle.customer AS c USING (customer_id);

    WITH due AS (
        SELECT l.* FROM unnest(customers, clocks) AS u (customer_id, clock)
          JOIN lifecycle.points_lot_settled AS l ON l.customer_id = u.customer_id AND l.due_at <= u.clock
         WHERE l.pending = 0 AND l.available > 0),
    changed AS (
        UPDATE lifecycle.points_lot_settled AS l
           SET available = 0, due_at = NULL
          FROM due AS d
         WHERE (l.customer_id, l.reference, l.lot_id) = (d.customer_id, d.reference, d.lot_id))
    INSERT INTO lifecycle.points_entry_settled (customer_id, reference, entry_id, lot_id, kind, pending, points, at, recorded_at)
        SELECT d.customer_id, d.reference, nextval('lifecycle.points_entry_id_seq'), d.lot_id, 'expire', 0, -d.available,
               greatest(d.expires_at, c.as_of), lifecycle.now()
          FROM due AS d JOIN lifecycle.customer AS c USING (customer_id)
$$;
COMMENT ON FUNCTION lifecycle.settle_points(text[], timestamptz[]) IS 'Internal: activates and expires what is due for each customer up to an instant';

CREATE FUNCTION lifecycle.revoke_points(lot lifecycle.points_lot_settled, quantity bigint, cause text, effective timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    policy  text := coalesce((SELECT p.return_policy FROM lifecycle.loyalty_program AS p), 'within_balance');
    rest    bigint := quantity;
    part    bigint;
    expired bigint;
    other   lifecycle.points_lot_settled;
BEGIN
    -- Another lot's turn may have changed this one meanwhile.
    SELECT l.* INTO STRICT lot FROM lifecycle.points_lot_settled AS l
     WHERE (l.customer_id, l.reference, l.lot_id) = (lot.customer_id, lot.reference, lot.lot_id);
    part := least(rest, lot.pending);
    lot := lifecycle.change_lot(lot, cause, 'revoke', -part, 0, effective);
    rest := rest - part;
    IF policy <> 'only_pending' THEN
        part := least(rest, greatest(lot.available, 0));
        lot := lifecycle.change_lot(lot, cause, 'revoke', 0, -part, effective);
        rest := rest - part;
    END IF;
    -- What has expired cannot be taken back and need not be.
    SELECT least(rest, coalesce(-sum(e.points), 0) - lot.lapsed) INTO expired
      FROM lifecycle.points_entry_settled AS e
     WHERE (e.customer_id, e.reference, e.lot_id) = (lot.customer_id, lot.reference, lot.lot_id) AND e.kind = 'expire';
    rest := rest - expired;
    IF policy = 'allow_negative' THEN
        lot := lifecycle.change_lot(lot, cause, 'revoke', 0, -rest, effective);
        rest := 0;
    ELSIF policy = 'within_balance' THEN
        FOR other IN
            SELECT l.* FROM lifecycle.points_lot_settled AS l
             WHERE l.customer_id = lot.customer_id AND l.due_at IS NOT NULL AND l.available > 0
             ORDER BY l.expires_at, l.active_at, l.lot_id
        LOOP
            EXIT WHEN rest = 0;
            part := least(rest, other.available);
            PERFORM lifecycle.change_lot(other, cause, 'revoke', 0, -part, effective);
            rest := rest - part;
        END LOOP;
    END IF;
    UPDATE lifecycle.points_lot_settled AS l
       SET revoked = l.revoked + quantity - expired - rest, lapsed = l.lapsed + expired, shortfall = l.shortfall + rest
     WHERE (l.customer_id, l.reference, l.lot_id) = (lot.customer_id, lot.reference, lot.lot_id);
END
$$;
COMMENT ON FUNCTION lifecycle.revoke_points(lifecycle.points_lot_settled, bigint, text, timestamptz) IS 'Internal: takes back points of a lot: those that are left of it, then as the program''s return_policy has it';

CREATE FUNCTION lifecycle.reinstate_points(lot lifecycle.points_lot_settled, quantity bigint, cause text, effective timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    from_shortfall bigint := least(quantity, lot.shortfall);
    from_lapsed    bigint := least(quantity - from_shortfall, lot.lapsed);
    rest           bigint := quantity - from_shortfall - from_lapsed;
BEGIN
    UPDATE lifecycle.points_lot_settled AS l
       SET revoked = l.revoked - rest, lapsed = l.lapsed - from_lapsed, shortfall = l.shortfall - from_shortfall
     WHERE (l.customer_id, l.reference, l.lot_id) = (lot.customer_id, lot.reference, lot.lot_id);
    IF effective < lot.active_at THEN
        PERFORM lifecycle.change_lot(lot, cause, 'reinstate', rest, 0, effective);
    ELSE
        PERFORM lifecycle.change_lot(lot, cause, 'reinstate', 0, rest, effective);
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.reinstate_points(lifecycle.points_lot_settled, bigint, text, timestamptz) IS 'Internal: gives back to a lot what a refund had taken, when the refund is taken back itself';

CREATE FUNCTION lifecycle.collect_shortfall(lot lifecycle.points_lot_settled, whose text, effective timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    owing lifecycle.points_lot_settled;
    waits bigint;
    ready bigint;
BEGIN
    -- Another lot's turn may have changed this one meanwhile.
    SELECT l.* INTO STRICT lot FROM lifecycle.points_lot_settled AS l
     WHERE (l.customer_id, l.reference, l.lot_id) = (lot.customer_id, lot.reference, lot.lot_id);
    FOR owing IN
        SELECT l.* FROM lifecycle.points_lot_settled AS l
         WHERE l.customer_id = lot.customer_id AND l.reference = coalesce(whose, l.reference) AND l.shortfall > 0
         ORDER BY l.lot_id
    LOOP
        waits := least(owing.shortfall, lot.pending);
        ready := least(owing.shortfall - waits, greatest(lot.available, 0));
        lot := lifecycle.change_lot(lot, owing.reference, 'revoke', -waits, -ready, effective);
        UPDATE lifecycle.points_lot_settled AS l
           SET shortfall = l.shortfall - waits - ready, revoked = l.revoked + waits + ready
         WHERE (l.customer_id, l.reference, l.lot_id) = (owing.customer_id, owing.reference, owing.lot_id);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.collect_shortfall(lifecycle.points_lot_settled, text, timestamptz) IS 'Internal: points that come to a lot settle first what is still owed: by the occasion named, or if NULL by any of the customer''s';

CREATE FUNCTION lifecycle.take_points(customer text, quantity bigint, cause text, entry_kind text, effective timestamptz,
                                      remark text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    rest bigint := quantity;
    part bigint;
    lot  lifecycle.points_lot_settled;
BEGIN
    FOR lot IN
        SELECT l.* FROM lifecycle.points_lot_settled AS l
         WHERE l.customer_id = customer AND l.due_at IS NOT NULL AND l.available > 0
         ORDER BY l.expires_at, l.active_at, l.lot_id
    LOOP
        EXIT WHEN rest = 0;
        part := least(rest, lot.available);
        PERFORM lifecycle.change_lot(lot, cause, entry_kind, 0, -part, effective, remark);
        rest := rest - part;
    END LOOP;
    RETURN quantity - rest;
END
$$;
COMMENT ON FUNCTION lifecycle.take_points(text, bigint, text, text, timestamptz, text) IS 'Internal: takes points out of a customer''s lots, those that expire soonest first. Returns how many there were to take';

-- What an order was paid with, and what of that has come back.
CREATE FUNCTION lifecycle.points_paid(customer text, paid_order text, OUT paid bigint, OUT restored bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(-sum(e.points) FILTER (WHERE e.kind = 'redeem'), 0)::bigint,
           coalesce(sum(e.points) FILTER (WHERE e.kind = 'restore'), 0)::bigint
      FROM lifecycle.points_entry_settled AS e
     WHERE (e.customer_id, e.reference) = (customer, paid_order) AND e.kind IN ('redeem', 'restore')
$$;
COMMENT ON FUNCTION lifecycle.points_paid(text, text) IS 'Internal: the points an order was paid with, and those that refunds have given back';

CREATE FUNCTION lifecycle.restore_points(customer text, paid_order text, quantity bigint, effective timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    lasting interval := coalesce((SELECT p.restored_points_last FROM lifecycle.loyalty_program AS p), '30 days');
    lots    bigint[];
    taken   bigint[];
    parts   bigint[];
    i       int;
    lot     lifecycle.points_lot_settled;
BEGIN
    IF quantity < 0 THEN  -- the refund was taken back: the order is paid with them again, as far as they are still there
        PERFORM lifecycle.take_points(customer, -quantity, paid_order, 'restore', effective);
        RETURN;
    END IF;
    SELECT array_agg(e.lot_id ORDER BY e.lot_id), array_agg(e.taken ORDER BY e.lot_id) INTO lots, taken
      FROM (SELECT e.lot_id, (-sum(e.points))::bigint AS taken
              FROM lifecycle.points_entry_settled AS e
             WHERE (e.customer_id, e.reference) = (customer, paid_order) AND e.kind IN ('redeem', 'restore')
             GROUP BY e.lot_id) AS e
     WHERE e.taken > 0;
    parts := lifecycle.apportion(quantity, taken);
    FOR i IN 1 .. coalesce(cardinality(lots), 0) LOOP
        CONTINUE WHEN parts[i] = 0;
        UPDATE lifecycle.points_lot_settled AS l
           SET expires_at = CASE WHEN l.expires_at <= effective THEN effective + lasting ELSE l.expires_at END
         WHERE l.customer_id = customer AND l.lot_id = lots[i]
        RETURNING l.* INTO STRICT lot;
        lot := lifecycle.change_lot(lot, paid_order, 'restore', 0, parts[i], effective);
        -- What comes back pays first for what could not be taken back while it was spent.
        PERFORM lifecycle.collect_shortfall(lot, NULL, effective);
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.restore_points(text, text, bigint, timestamptz) IS 'Internal: gives points that an order was paid with back to the lots they came from; a negative number takes them again';

CREATE FUNCTION lifecycle.revise_points(customers text[], origins text[], occasions text[], happened timestamptz[], amounts numeric[],
                                        refunds numeric[], gone int[], effective timestamptz[])
    RETURNS TABLE (nth bigint, points_paid bigint)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    item     record;
    paid     bigint;
    restored bigint;
    wanted   bigint;
    lots     lifecycle.points_lot_settled[];
    done     bigint;
    earned   bigint;
    parts    bigint[];
    i        int;
BEGIN
    FOR item IN
        SELECT u.*, u.is_gone <> 0 AS went,
               CASE WHEN u.is_gone = 0 THEN u.refunded ELSE 1 END AS part,
               CASE WHEN u.is_gone = 0 THEN u.amount ELSE 1 END AS whole
          FROM unnest(customers, origins, occasions, happened, amounts, refunds, gone, effective) WITH ORDINALITY
            AS u (customer, origin, occasion, at, amount, refunded, is_gone, effective, n)
         ORDER BY u.n
    LOOP
        paid := 0;
        IF item.origin = 'order' THEN
            SELECT p.paid, p.restored INTO paid, restored FROM lifecycle.points_paid(item.customer, item.occasion) AS p;
            wanted := lifecycle.share_of_points(paid, item.part, item.whole);
            IF wanted <> restored THEN
                PERFORM lifecycle.restore_points(item.customer, item.occasion, wanted - restored, item.effective);
            END IF;
        END IF;

        SELECT array_agg(l ORDER BY l.lot_id), coalesce(sum(l.earned), 0), coalesce(sum(l.revoked + l.lapsed + l.shortfall), 0)
          INTO lots, earned, done
          FROM lifecycle.points_lot_settled AS l
         WHERE (l.customer_id, l.reference, l.origin) = (item.customer, item.occasion, item.origin) AND NOT l.closed;
        IF lots IS NOT NULL AND NOT item.went AND lots[1].amount = item.amount AND lots[1].earned_at = item.at AND lots[1].paid = paid THEN
            wanted := lifecycle.share_of_points(earned, item.part, item.whole);
            IF wanted >= done THEN
                parts := lifecycle.apportion(wanted - done,
                    (SELECT array_agg(l.earned - l.revoked - l.lapsed - l.shortfall ORDER BY l.lot_id) FROM unnest(lots) AS l));
            ELSE
                parts := lifecycle.apportion(done - wanted,
                    (SELECT array_agg(l.revoked + l.lapsed + l.shortfall ORDER BY l.lot_id) FROM unnest(lots) AS l));
            END IF;
            FOR i IN 1 .. cardinality(lots) LOOP
                CONTINUE WHEN parts[i] = 0;
                IF wanted >= done THEN
                    PERFORM lifecycle.revoke_points(lots[i], parts[i], item.occasion, item.effective);
                ELSE
                    PERFORM lifecycle.reinstate_points(lots[i], parts[i], item.occasion, item.effective);
                END IF;
            END LOOP;
            CONTINUE;
        END IF;
        -- The occasion has gone, or is no longer what it was: nothing of it stays, and it earns as if it were new.
        FOR i IN 1 .. coalesce(cardinality(lots), 0) LOOP
            PERFORM lifecycle.revoke_points(lots[i], lots[i].earned - lots[i].revoked - lots[i].lapsed - lots[i].shortfall,
                                            item.occasion, item.effective);
            UPDATE lifecycle.points_lot_settled AS l SET closed = true
             WHERE (l.customer_id, l.reference, l.lot_id) = (lots[i].customer_id, lots[i].reference, lots[i].lot_id);
        END LOOP;
        IF NOT item.went THEN
            nth := item.n;
            points_paid := paid;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.revise_points(text[], text[], text[], timestamptz[], numeric[], numeric[], int[], timestamptz[]) IS 'Internal: brings the points of occasions into line with what is known of them now. Returns those that are to earn anew';

CREATE FUNCTION lifecycle.collect_shortfalls(customers text[], origins text[], occasions text[], effective timestamptz[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT lifecycle.collect_shortfall(l, l.reference, u.effective)
      FROM unnest(customers, origins, occasions, effective) AS u (customer, origin, occasion, effective)
      JOIN lifecycle.points_lot_settled AS l ON (l.customer_id, l.reference, l.origin) = (u.customer, u.occasion, u.origin)
     WHERE NOT l.closed
$$;
COMMENT ON FUNCTION lifecycle.collect_shortfalls(text[], text[], text[], timestamptz[]) IS 'Internal: what has been earned anew settles first what the occasion still owes';
