-- One person who was known as two: a guest who now has an account.

CREATE TABLE lifecycle.merged (
    customer_id text COLLATE "C" NOT NULL,
    into_id     text COLLATE "C" NOT NULL,
    merged_at   timestamptz NOT NULL,
    CONSTRAINT merged_pkey PRIMARY KEY (customer_id),
    CONSTRAINT merged_into_somebody_else CHECK (customer_id <> into_id)
);
CREATE INDEX merged_into_id_idx ON lifecycle.merged (into_id);
COMMENT ON TABLE lifecycle.merged IS 'Customers who turned out to be somebody else; what the shop says of them from then on counts for whom they were merged into. Written by lifecycle.merge()';
COMMENT ON COLUMN lifecycle.merged.customer_id IS 'The customer who is no more';
COMMENT ON COLUMN lifecycle.merged.into_id IS 'Who it was all along';
COMMENT ON COLUMN lifecycle.merged.merged_at IS 'When that was said';

CREATE FUNCTION lifecycle.bring_up_to_date(customers text[], from_scratch boolean) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_bring_up_to_date';
COMMENT ON FUNCTION lifecycle.bring_up_to_date(text[], boolean) IS 'Internal: does for these customers what lifecycle.tick() does, or works them out anew from the ledger';

CREATE FUNCTION lifecycle.note_config_change() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_note_config_change';
COMMENT ON FUNCTION lifecycle.note_config_change() IS 'Internal: tells every session to read the configuration anew';

-- Of two enrolments that run in one scenario the earlier goes on; what both were told for the same thing is told once.
CREATE FUNCTION lifecycle.merge_enrolments(gone text, stays text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    ended record;
BEGIN
    PERFORM lifecycle.settle_ways(ARRAY[gone, stays]);
    UPDATE lifecycle.customer AS c SET anchors_seen = '' WHERE c.customer_id IN (gone, stays);
    FOR ended IN
        SELECT e.customer_id, e.scenario, e.anchor
          FROM (SELECT e.*, row_number() OVER (PARTITION BY e.scenario ORDER BY e.anchor_at, e.customer_id = stays DESC, e.anchor) AS nth,
                       count(*) FILTER (WHERE e.customer_id = gone) OVER (PARTITION BY e.scenario) AS of_gone,
                       count(*) OVER (PARTITION BY e.scenario) AS of_both
                  FROM lifecycle.enrolment_settled AS e
                  JOIN lifecycle.scenario AS s ON s.name = e.scenario AND s.trigger <> 'order_placed'
                 WHERE e.customer_id IN (gone, stays) AND e.status = 'active') AS e
         WHERE e.nth > 1 AND e.of_gone > 0 AND e.of_gone < e.of_both
    LOOP
        UPDATE lifecycle.enrolment_settled AS e SET status = 'exited', end_reason = 'merged', ended_at = lifecycle.now(), next_due_at = NULL
         WHERE (e.customer_id, e.scenario, e.anchor) = (ended.customer_id, ended.scenario, ended.anchor);
        UPDATE lifecycle.outbox AS o SET status = 'cancelled', error = 'merged'
         WHERE (o.customer_id, o.scenario, o.anchor) = (ended.customer_id, ended.scenario, ended.anchor) AND o.status = 'pending';
    END LOOP;
    UPDATE lifecycle.outbox AS o SET status = 'cancelled', error = 'merged'
      FROM lifecycle.enrolment_settled AS e
     WHERE o.customer_id = gone AND o.status = 'pending'
       AND (e.customer_id, e.scenario, e.anchor) = (stays, o.scenario, o.anchor);
END
$$;
COMMENT ON FUNCTION lifecycle.merge_enrolments(text, text) IS 'Internal: part of lifecycle.merge()';

-- A person is brought once, by somebody else: of two who brought it the first counts. The tick, which may lock whoever has brought somebody,
-- takes back what no longer counts; it finds it under the old id.
CREATE FUNCTION lifecycle.merge_referrals(gone text, stays text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE lifecycle.points_referral AS r SET withdrawn = true
     WHERE (r.referrer, r.referred) IN ((gone, stays), (stays, gone));
    UPDATE lifecycle.points_referral AS r SET withdrawn = true
      FROM (SELECT p.referred FROM lifecycle.points_referral AS p
             WHERE p.referred IN (gone, stays) AND NOT p.withdrawn ORDER BY p.referred_at, p.referral OFFSET 1) AS later
     WHERE r.referred = later.referred;
    UPDATE lifecycle.points_referral AS r SET referrer = stays WHERE r.referrer = gone AND r.referred <> stays;
    -- The one that counts is the survivor's; if both have a row, they change places.
    IF EXISTS (SELECT FROM lifecycle.points_referral AS r WHERE r.referred = gone AND NOT r.withdrawn) THEN
        WITH both_rows AS (DELETE FROM lifecycle.points_referral AS r WHERE r.referred IN (gone, stays) RETURNING r.*)
        INSERT INTO lifecycle.points_referral (referred, referral, referrer, referred_at, withdrawn)
            SELECT CASE b.referred WHEN gone THEN stays ELSE gone END, b.referral, b.referrer, b.referred_at, b.withdrawn
              FROM both_rows AS b ORDER BY b.referred;
    END IF;
    INSERT INTO lifecycle.referral_check (referred)
        SELECT r.referred FROM lifecycle.points_referral AS r WHERE r.referred IN (gone, stays);
END
$$;
COMMENT ON FUNCTION lifecycle.merge_referrals(text, text) IS 'Internal: part of lifecycle.merge()';

-- A code that somebody has stays known: of two for one purpose, the one that is gone is revoked.
CREATE FUNCTION lifecycle.merge_coupons(gone text, stays text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    twice text;
BEGIN
    FOR twice IN
        SELECT c.code FROM lifecycle.coupon AS c
          JOIN lifecycle.coupon AS k ON (k.offer, k.purpose) = (c.offer, c.purpose)
         WHERE c.customer_id = gone AND k.customer_id = stays ORDER BY c.code_key
    LOOP
        PERFORM lifecycle.revoke_coupon(twice, 'merged');
        UPDATE lifecycle.coupon AS c SET purpose = NULL WHERE c.code_key = lifecycle.normal_code(twice);
    END LOOP;
    UPDATE lifecycle.coupon AS c SET redeemed_by = stays WHERE c.redeemed_by = gone;
END
$$;
COMMENT ON FUNCTION lifecycle.merge_coupons(text, text) IS 'Internal: part of lifecycle.merge()';

-- Everything else that is kept by customer goes along, whatever it is. What both have (the same reward for the same thing) stays with whom it
-- was merged into.
CREATE FUNCTION lifecycle.merge_rows(gone text, stays text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    place record;
BEGIN
    FOR place IN
        SELECT c.oid::regclass AS name,
               (SELECT string_agg(format('(%s) IN (SELECT %s FROM %s AS k WHERE k.customer_id = $2)', u.columns, u.columns, c.oid::regclass), ' OR ')
                  FROM (SELECT string_agg(format('%I', a.attname), ', ') AS columns
                          FROM pg_index AS i CROSS JOIN LATERAL unnest(i.indkey) AS k (attnum)
                          JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                         WHERE i.indrelid = c.oid AND i.indisunique AND a.attname <> 'customer_id'
                           AND EXISTS (SELECT FROM pg_attribute AS m WHERE m.attrelid = c.oid AND m.attname = 'customer_id' AND m.attnum = ANY (i.indkey))
                         GROUP BY i.indexrelid) AS u) AS both_have
          FROM pg_class AS c
         WHERE c.relnamespace = 'lifecycle'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname NOT IN ('customer', 'merged', 'timer', 'segment_member', 'segment_past', 'tier_past', 'problem')
           AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped)
         ORDER BY c.relname
    LOOP
        IF place.both_have IS NOT NULL THEN
            EXECUTE format('DELETE FROM %s WHERE customer_id = $1 AND (%s)', place.name, place.both_have) USING gone, stays;
        END IF;
        EXECUTE format('UPDATE %s SET customer_id = $2 WHERE customer_id = $1', place.name) USING gone, stays;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.merge_rows(text, text) IS 'Internal: part of lifecycle.merge()';

CREATE FUNCTION lifecycle.merge("from" text, "into" text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    gone  text := "from";
    stays text;
    known text;
BEGIN
    IF coalesce("from", '') = '' OR coalesce("into", '') = '' THEN
        RAISE EXCEPTION 'a customer to merge is null or empty' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    stays := coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = "into"), "into");
    SELECT m.into_id INTO known FROM lifecycle.merged AS m WHERE m.customer_id = gone;
    IF known = stays THEN
        RETURN;  -- said before
    ELSIF known IS NOT NULL THEN
        RAISE EXCEPTION 'customer "%" has been merged already', gone
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It was merged into "%s".', known),
                  HINT = format('Merge "%s" into "%s", if they are one person.', known, stays);
    ELSIF gone = stays THEN
        RAISE EXCEPTION 'a customer cannot be merged into itself'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is "%s".', gone);
    END IF;

    -- Both rows are there and locked, in the order in which orders lock them: whoever says a fact of either waits, and looks again.
    INSERT INTO lifecycle.customer (customer_id, as_of)
        SELECT u.id, '-infinity' FROM unnest(ARRAY[least(gone COLLATE "C", stays), greatest(gone COLLATE "C", stays)]) WITH ORDINALITY AS u (id, n) ORDER BY u.n
        ON CONFLICT (customer_id) DO NOTHING;
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id IN (gone, stays) ORDER BY c.customer_id FOR UPDATE;
    IF lifecycle.is_erased(gone) OR lifecycle.is_erased(stays) THEN
        RAISE EXCEPTION 'customer "%" has been erased', CASE WHEN lifecycle.is_erased(gone) THEN gone ELSE stays END
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SELECT lifecycle.readmit(customer_id) first, if this is a new beginning.';
    END IF;
    PERFORM lifecycle.bring_up_to_date(ARRAY[gone, stays], false);
    PERFORM lifecycle.settle_recent_lots(ARRAY[gone, stays]);
    UPDATE lifecycle.customer AS c
       SET lot_number = NULL, lots = NULL, packed_lots = NULL, points_seen = NULL
     WHERE c.customer_id IN (gone, stays);

    PERFORM lifecycle.merge_enrolments(gone, stays);
    INSERT INTO lifecycle.purchase_ledger (customer_id, source_id, kind, ids, at, amounts)
        SELECT stays, c.recent_source, 'order', array_agg(u.id ORDER BY u.nth), array_agg(u.at ORDER BY u.nth), array_agg(u.amount ORDER BY u.nth)
          FROM lifecycle.customer AS c, LATERAL lifecycle.unpack_orders(c.recent_orders) AS u WHERE c.customer_id = gone GROUP BY c.recent_source;
    PERFORM lifecycle.merge_referrals(gone, stays);
    PERFORM lifecycle.merge_coupons(gone, stays);
    PERFORM lifecycle.uncount_baskets(ARRAY[gone], stays);
    PERFORM lifecycle.merge_rows(gone, stays);
    UPDATE lifecycle.customer AS c
       SET email = coalesce(c.email, g.email), phone = coalesce(c.phone, g.phone), first_name = coalesce(c.first_name, g.first_name),
           last_name = coalesce(c.last_name, g.last_name), locale = coalesce(c.locale, g.locale), time_zone = coalesce(c.time_zone, g.time_zone),
           birthday = coalesce(c.birthday, g.birthday), created_at = least(c.created_at, g.created_at),
           tags = (SELECT array_agg(DISTINCT t.tag ORDER BY t.tag) FROM unnest(c.tags || g.tags) AS t (tag)),
           attributes = coalesce(g.attributes || c.attributes, c.attributes, g.attributes),
           has_log = nullif(coalesce(c.has_log, false) OR coalesce(g.has_log, false), false),
           open_enrolments = (SELECT count(*) FROM lifecycle.enrolment AS e WHERE e.customer_id = stays AND e.status = 'active'),
           enrolment_due_at = (SELECT min(e.next_due_at) FROM lifecycle.enrolment AS e WHERE e.customer_id = stays AND e.status = 'active'),
           email_consent = s.email, sms_consent = s.sms, push_consent = s.push, ads_consent = s.ads
      FROM lifecycle.customer AS g,
           (SELECT max(l.status) FILTER (WHERE l.channel = 'email') AS email, max(l.status) FILTER (WHERE l.channel = 'sms') AS sms,
                   max(l.status) FILTER (WHERE l.channel = 'push') AS push, max(l.status) FILTER (WHERE l.channel = 'ads') AS ads
              FROM (SELECT DISTINCT ON (l.channel) l.channel, l.status FROM lifecycle.consent_log AS l WHERE l.customer_id = stays
                     ORDER BY l.channel, coalesce(l.since, l.changed_at) DESC, l.status = 'granted', l.status) AS l) AS s
     WHERE c.customer_id = stays AND g.customer_id = gone;

    DELETE FROM lifecycle.timer AS t USING lifecycle.customer AS c
     WHERE c.customer_id = gone AND t.customer_id = gone AND t.due_at IN (c.timer_at, c.later_timer_at);
    WITH left_behind AS (DELETE FROM lifecycle.segment_member AS m WHERE m.customer_id = gone RETURNING m.segment)
    INSERT INTO lifecycle.segment_delta (segment, members) SELECT l.segment, -1 FROM left_behind AS l;
    DELETE FROM lifecycle.segment_past AS p WHERE p.customer_id = gone;
    DELETE FROM lifecycle.tier_past AS p WHERE p.customer_id = gone;
    DELETE FROM lifecycle.problem AS p WHERE p.customer_id = gone;
    DELETE FROM lifecycle.customer AS c WHERE c.customer_id = gone;
    IF NOT EXISTS (SELECT FROM lifecycle.merged) THEN
        PERFORM lifecycle.note_config_change();  -- from now on there is somebody to follow
    END IF;
    UPDATE lifecycle.merged AS m SET into_id = stays WHERE m.into_id = gone;
    INSERT INTO lifecycle.merged (customer_id, into_id, merged_at) VALUES (gone, stays, lifecycle.now());
    PERFORM lifecycle.bring_up_to_date(ARRAY[stays], true);
END
$$;
COMMENT ON FUNCTION lifecycle.merge(text, text) IS
'Makes one customer of two, such as a guest who now has an account: orders and all other facts, enrolments, messages and what loyalty gave move from
the first to the second, whose own names and addresses win; of consents the latest holds. Facts that the shop says of the first from now on count for
the second. Tiers and segments are worked out over the union; no scenario starts. Doing it again changes nothing.
Errors: the same customer twice, one who has been merged into somebody else (22023), one who has been erased (55000)';
