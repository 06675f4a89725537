-- Points for checkouts, and tiers by hand: each function locks the customer as an order does, changes lots, and has the pipeline see to the rest.

CREATE FUNCTION lifecycle.points_changed(customers text[], paid_order text DEFAULT NULL) RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_points_changed';
COMMENT ON FUNCTION lifecycle.points_changed(text[], text) IS 'Internal: runs the pipeline for customers that are there, whose points or tier have changed otherwise than by facts; paid_order: the order that points have paid';

CREATE FUNCTION lifecycle.lock_for_points(customer text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM lifecycle.loyalty_program) THEN
        RAISE EXCEPTION 'there is no loyalty program'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Insert one into lifecycle.loyalty_program.';
    END IF;
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id = customer FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'customer "%" is not known', customer
            USING ERRCODE = 'no_data_found', HINT = 'A customer is known from the first fact on that an attached table says.';
    END IF;
    -- What time has activated or expired by now.
    PERFORM lifecycle.points_changed(ARRAY[customer]);
    RETURN (SELECT c.points FROM lifecycle.customer AS c WHERE c.customer_id = customer);
END
$$;
COMMENT ON FUNCTION lifecycle.lock_for_points(text) IS 'Internal: locks a customer and returns the balance of this instant';

CREATE FUNCTION lifecycle.check_points(points bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF points IS NULL OR abs(points::numeric) > 1000000000000 THEN
        RAISE EXCEPTION 'a number of points is out of range'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(points::text, 'null')),
                  HINT = 'At most 1000000000000 points are moved at once.';
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.check_points(bigint) IS 'Internal: refuses NULL and numbers so large that sums could overflow';

-- SECURITY DEFINER: a checkout's role needs EXECUTE on this function and no right on any table. It writes only through what is fixed here.
CREATE FUNCTION lifecycle.redeem_points(customer_id text, points bigint, "order" text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    balance bigint;
BEGIN
    customer_id := lifecycle.merged_into(customer_id);
    PERFORM lifecycle.check_points(points);
    IF points < 1 THEN
        RAISE EXCEPTION 'fewer than one point cannot be redeemed'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', points),
                  HINT = 'A refund of the order gives back what was redeemed; lifecycle.adjust_points() does by hand.';
    END IF;
    IF "order" IS NULL OR "order" = '' THEN
        RAISE EXCEPTION 'points are redeemed for an order'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Give the id of the order that they pay.';
    END IF;
    balance := lifecycle.lock_for_points(customer_id);
    IF balance < points THEN
        RAISE EXCEPTION 'customer "%" has too few points', customer_id
            USING ERRCODE = 'check_violation', DETAIL = format('The balance is %s, %s are missing.', balance, points - balance),
                  HINT = 'Points that are pending cannot be spent before their return window ends.';
    END IF;
    PERFORM lifecycle.take_points(customer_id, points, "order", 'redeem', lifecycle.now());
    PERFORM lifecycle.points_changed(ARRAY[customer_id], "order");
    RETURN balance - points;
END
$$;
COMMENT ON FUNCTION lifecycle.redeem_points(text, bigint, text) IS 'Pays an order with points, those that expire soonest first, in the caller''s transaction. Returns the new balance. Errors: a customer that is not known (P0002), too few points (23514)';

CREATE FUNCTION lifecycle.adjust_points(customer_id text, points bigint, reason text, expires_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
DECLARE
    balance bigint;
    at      timestamptz := lifecycle.now();
    number  bigint;
BEGIN
    customer_id := lifecycle.merged_into(customer_id);
    PERFORM lifecycle.check_points(points);
    IF reason IS NULL OR reason = '' THEN
        RAISE EXCEPTION 'an adjustment needs a reason'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Say why: it stays in the ledger.';
    END IF;
    IF expires_at <= at THEN
        RAISE EXCEPTION 'points cannot expire before they are given'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('expires_at is %s.', expires_at);
    END IF;
    balance := lifecycle.lock_for_points(customer_id);
    IF balance + points < 0 AND points < 0
       AND NOT EXISTS (SELECT FROM lifecycle.loyalty_program AS p WHERE p.return_policy = 'allow_negative') THEN
        RAISE EXCEPTION 'customer "%" has too few points', customer_id
            USING ERRCODE = 'check_violation', DETAIL = format('The balance is %s, %s are missing.', balance, -points - balance),
                  HINT = 'Take no more than the balance, or let the program''s return_policy be allow_negative.';
    END IF;
    IF points < 0 THEN
        points := points + lifecycle.take_points(customer_id, -points, 'adjust', 'adjust', at, reason);
    END IF;
    IF points <> 0 THEN
        number := nextval('lifecycle.points_entry_id_seq');
        INSERT INTO lifecycle.points_lot_settled (customer_id, reference, lot_id, origin, earned_at, earned, available, active_at, expires_at, due_at)
            VALUES (customer_id, 'adjust:' || number, number, 'adjust', at, points, points, at, expires_at,
                    CASE WHEN points > 0 THEN coalesce(expires_at, 'infinity') ELSE 'infinity' END);
        INSERT INTO lifecycle.points_entry_settled (customer_id, reference, entry_id, lot_id, kind, pending, points, at, recorded_at, note)
            VALUES (customer_id, 'adjust:' || number, number, number, 'adjust', 0, points, at, at, reason);
    END IF;
    PERFORM lifecycle.points_changed(ARRAY[customer_id]);
    RETURN (SELECT c.points FROM lifecycle.customer AS c WHERE c.customer_id = adjust_points.customer_id);
END
$$;
COMMENT ON FUNCTION lifecycle.adjust_points(text, bigint, text, timestamptz) IS 'Gives a customer points, or takes some if the number is negative, and keeps the reason. Returns the new balance. Errors: a customer that is not known (P0002), too few points (23514)';

CREATE FUNCTION lifecycle.tier_granted() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM lifecycle.points_changed((SELECT array_agg(g.customer_id) FROM given AS g));
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM lifecycle.bring_up_to_date((SELECT array_agg(t.customer_id) FROM taken AS t), true);
    ELSE
        PERFORM lifecycle.bring_up_to_date((SELECT array_agg(b.customer_id)
                                              FROM (SELECT g.customer_id FROM given AS g UNION SELECT t.customer_id FROM taken AS t) AS b),
                                           true);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.tier_granted() IS 'Trigger of lifecycle.tier_grant: gives the customers the tier they have now';
CREATE TRIGGER tier_granted AFTER INSERT ON lifecycle.tier_grant REFERENCING NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.tier_granted();
CREATE TRIGGER tier_grant_changed AFTER UPDATE ON lifecycle.tier_grant REFERENCING OLD TABLE AS taken NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.tier_granted();
CREATE TRIGGER tier_grant_deleted AFTER DELETE ON lifecycle.tier_grant REFERENCING OLD TABLE AS taken
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.tier_granted();
CREATE TRIGGER tier_grants_truncated AFTER TRUNCATE ON lifecycle.tier_grant
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();

CREATE FUNCTION lifecycle.preview_tier_change(changes jsonb)
    RETURNS TABLE (customer_id text, tier text, new_tier text, spend numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    unknown   text;
    customers text[];
    tiers     text[];
    moved     text[];
    moved_to  text[];
BEGIN
    SELECT j.key INTO unknown FROM jsonb_each(changes) AS j
     WHERE NOT EXISTS (SELECT FROM lifecycle.tier AS t WHERE t.name = j.key) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'tier "%" does not exist', unknown
            USING ERRCODE = 'undefined_object', HINT = 'Write it like {"gold": 1200, "bronze": null}; null does without the tier.';
    END IF;
    SELECT array_agg(c.customer_id), array_agg(c.tier) INTO customers, tiers FROM lifecycle.customer AS c;
    BEGIN
        -- The change itself, and everybody worked out by it; then none of it has happened.
        IF EXISTS (SELECT FROM lifecycle.tier_version AS v WHERE changes ? v.tier) THEN
            DELETE FROM lifecycle.tier_version AS v WHERE changes ? v.tier;
        END IF;
        DELETE FROM lifecycle.tier AS t USING jsonb_each(changes) AS j WHERE t.name = j.key AND j.value = 'null';
        UPDATE lifecycle.tier AS t SET min_spend = j.value::text::numeric
          FROM jsonb_each(changes) AS j WHERE t.name = j.key AND j.value <> 'null';
        SELECT array_agg(c.customer_id), array_agg(c.tier) INTO moved, moved_to
          FROM unnest(customers, tiers) AS u (customer_id, tier)
          JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id COLLATE "C"
         WHERE c.tier IS DISTINCT FROM u.tier;
        RAISE EXCEPTION USING ERRCODE = 'LC001', MESSAGE = 'undone';
    EXCEPTION WHEN SQLSTATE 'LC001' THEN
        NULL;
    END;
    RETURN QUERY
        SELECT c.customer_id, c.tier, u.new_tier, c.tier_spend
          FROM unnest(moved, moved_to) AS u (customer_id, new_tier)
          JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id COLLATE "C"
         ORDER BY c.customer_id;
END
$$;
COMMENT ON FUNCTION lifecycle.preview_tier_change(jsonb) IS 'Who would move if the tiers'' min_spend were these, whatever their versions ({"gold": 1200}; null: without the tier): makes the change, compares and undoes it. Locks the customers meanwhile';

CREATE FUNCTION lifecycle.reward_occurrences(customers text[], kinds text[], events text[], keys text[], occurred_at timestamptz[],
                                             amounts numeric[], gone boolean[]) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_reward_occurrences';
COMMENT ON FUNCTION lifecycle.reward_occurrences(text[], text[], text[], text[], timestamptz[], numeric[], boolean[]) IS 'Internal: rewards what has happened to customers that are there and locked; sorted by customer';

CREATE FUNCTION lifecycle.reward_many(customers text[], kinds text[], keys text[], occurred_at timestamptz[], amounts numeric[] DEFAULT NULL,
                                      events text[] DEFAULT NULL, gone boolean[] DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    what record;
BEGIN
    customers := ARRAY(SELECT lifecycle.merged_into(u.id) FROM unnest(customers) WITH ORDINALITY AS u (id, n) ORDER BY u.n);
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id = ANY (customers) ORDER BY c.customer_id FOR UPDATE;
    SELECT array_agg(u.customer) AS customers, array_agg(u.kind) AS kinds, array_agg(u.event) AS events, array_agg(u.key) AS keys,
           array_agg(u.at) AS at, array_agg(u.amount) AS amounts, array_agg(u.gone) AS gone, count(*) AS n
      INTO what
      FROM (SELECT u.* FROM unnest(customers, kinds, events, keys, occurred_at, amounts, gone) AS u (customer, kind, event, key, at, amount, gone)
              JOIN lifecycle.customer AS c ON c.customer_id = u.customer
             WHERE u.kind IS NOT NULL AND u.key IS NOT NULL AND isfinite(u.at)
             ORDER BY u.customer COLLATE "C", u.at, u.key COLLATE "C") AS u;
    IF what.n > 0 THEN
        PERFORM lifecycle.reward_occurrences(what.customers, what.kinds, what.events, what.keys, what.at, what.amounts, what.gone);
    END IF;
    RETURN what.n;
END
$$;
COMMENT ON FUNCTION lifecycle.reward_many(text[], text[], text[], timestamptz[], numeric[], text[], boolean[]) IS 'Rewards many things at once by the rules of lifecycle.points_rule; customers that are not known, and rows without kind, key or time, are passed over. The same kind and key earn once; gone takes back. Returns how many were looked at';

CREATE FUNCTION lifecycle.reward(customer_id text, kind text, key text, occurred_at timestamptz DEFAULT lifecycle.now(), amount numeric DEFAULT 0,
                                 event text DEFAULT NULL, gone boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF kind IS NULL OR kind NOT IN ('review', 'referral', 'referred', 'event') THEN
        RAISE EXCEPTION 'kind "%" is not rewarded by hand', kind
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The kinds are review, referral, referred and event; the others come with their facts.';
    END IF;
    IF lifecycle.reward_many(ARRAY[customer_id], ARRAY[kind], ARRAY[key], ARRAY[occurred_at], ARRAY[amount], ARRAY[event], ARRAY[gone]) = 0 THEN
        RAISE EXCEPTION 'customer "%" is not known, or key or time is missing', customer_id
            USING ERRCODE = 'no_data_found', HINT = 'A customer is known from the first fact on that an attached table says.';
    END IF;
    RETURN (SELECT c.points FROM lifecycle.customer AS c WHERE c.customer_id = lifecycle.merged_into(reward.customer_id));
END
$$;
COMMENT ON FUNCTION lifecycle.reward(text, text, text, timestamptz, numeric, text, boolean) IS 'Rewards a review, a referral or an event of the application by the rules of lifecycle.points_rule; the same key earns once, and gone takes it back. Returns the balance. Errors: a kind that is not rewarded by hand (22023), a customer that is not known (P0002)';

CREATE FUNCTION lifecycle.refer(referral text, customer_id text, referred text, referred_at timestamptz DEFAULT lifecycle.now()) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_variable
BEGIN
    customer_id := lifecycle.merged_into(customer_id);
    referred := lifecycle.merged_into(referred);
    IF customer_id = referred THEN
        RAISE EXCEPTION 'customer "%" cannot refer to itself', customer_id
            USING ERRCODE = 'check_violation', HINT = 'Another account of the same person is for the shop to recognise.';
    END IF;
    INSERT INTO lifecycle.points_referral AS r (referred, referral, referrer, referred_at)
        VALUES (refer.referred, refer.referral, refer.customer_id, refer.referred_at)
        ON CONFLICT ON CONSTRAINT points_referral_pkey DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO lifecycle.referral_check (referred) VALUES (refer.referred);
    RETURN true;
END
$$;
COMMENT ON FUNCTION lifecycle.refer(text, text, text, timestamptz) IS 'Says that a customer has brought another. Both earn by their rules once the other has bought, and lose it if that is refunded; the tick does both. Returns false if somebody has brought the other already. Errors: the two are one (23514)';

CREATE FUNCTION lifecycle.settle_referrals() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    due record;
BEGIN
    WITH checked AS (
        DELETE FROM lifecycle.referral_check AS k
         WHERE k.ctid IN (SELECT q.ctid FROM lifecycle.referral_check AS q LIMIT 1000 FOR UPDATE SKIP LOCKED)
        RETURNING k.referred),
    found AS (
        SELECT DISTINCT lifecycle.merged_into(r.referred) AS referred, r.referral, lifecycle.merged_into(r.referrer) AS referrer,
               r.withdrawn OR NOT coalesce(c.order_count > 0 AND c.revenue > 0, false) AS gone,
               greatest(r.referred_at, c.first_order_at) AS at
          FROM checked AS k
          JOIN lifecycle.points_referral AS r USING (referred)
          LEFT JOIN lifecycle.customer AS c ON c.customer_id = lifecycle.merged_into(r.referred)),
    both_sides AS (
        SELECT f.referrer AS customer, 'referral' AS kind, f.referral, f.at, f.gone FROM found AS f
        UNION ALL
        SELECT f.referred, 'referred', f.referral, f.at, f.gone FROM found AS f)
    SELECT array_agg(b.customer) AS customers, array_agg(b.kind) AS kinds, array_agg(b.referral) AS keys,
           array_agg(coalesce(b.at, lifecycle.now())) AS at, array_agg(b.gone) AS gone, count(*) AS n
      INTO due FROM both_sides AS b;
    IF due.n > 0 THEN
        PERFORM lifecycle.reward_many(due.customers, due.kinds, due.keys, due.at, gone => due.gone);
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.settle_referrals() IS 'Internal: rewards those who have brought somebody who has bought, and takes it back where that was refunded';

CREATE TRIGGER birthdays_are_rewarded AFTER INSERT OR UPDATE ON lifecycle.points_rule
    FOR EACH ROW WHEN (NEW.earns_on = 'birthday') EXECUTE FUNCTION lifecycle.definitions_changed();
