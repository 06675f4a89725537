-- Tiers that are given by hand, and what tiers welcome with.

CREATE TABLE lifecycle.tier_grant (
    customer_id text COLLATE "C" NOT NULL,
    tier        text NOT NULL,
    valid_from  timestamptz NOT NULL DEFAULT lifecycle.now(),
    valid_until timestamptz NOT NULL DEFAULT 'infinity',
    reason      text NOT NULL,
    CONSTRAINT tier_grant_pkey PRIMARY KEY (customer_id, valid_from),
    CONSTRAINT tier_grant_valid_from_is_earlier CHECK (valid_from < valid_until),
    CONSTRAINT tier_grant_has_a_reason CHECK (reason <> '')
);
COMMENT ON TABLE lifecycle.tier_grant IS 'Tiers given by hand: while one is valid, it is the customer''s tier whatever was spent; the one that began last wins. INSERT, UPDATE and DELETE take effect at once';
COMMENT ON COLUMN lifecycle.tier_grant.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.tier_grant.tier IS 'The tier';
COMMENT ON COLUMN lifecycle.tier_grant.valid_from IS 'From when on; the past is not changed by giving, so at the earliest now';
COMMENT ON COLUMN lifecycle.tier_grant.valid_until IS 'Until when; infinity: for good';
COMMENT ON COLUMN lifecycle.tier_grant.reason IS 'Why';

CREATE FUNCTION lifecycle.check_tier_grant() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    known_until timestamptz;
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NEW;
    END IF;
    NEW.customer_id := lifecycle.merged_into(NEW.customer_id);
    IF NOT EXISTS (SELECT FROM lifecycle.tier AS t WHERE t.name = NEW.tier) THEN
        RAISE EXCEPTION 'tier "%" does not exist', NEW.tier
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.tier first.';
    END IF;
    SELECT c.as_of INTO known_until FROM lifecycle.customer AS c WHERE c.customer_id = NEW.customer_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'customer "%" is not known', NEW.customer_id
            USING ERRCODE = 'foreign_key_violation', HINT = 'A customer is known from the first fact on that an attached table says.';
    END IF;
    IF TG_OP = 'INSERT' THEN
        NEW.valid_from := greatest(NEW.valid_from, known_until, lifecycle.now());
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_tier_grant() IS 'Trigger of lifecycle.tier_grant: refuses what does not exist, and leaves the past alone';
CREATE TRIGGER check_tier_grant BEFORE INSERT OR UPDATE ON lifecycle.tier_grant
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_tier_grant();
CREATE TRIGGER a_config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.tier_grant
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();

CREATE FUNCTION lifecycle.check_tier_offer() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT lifecycle.restoring() AND NEW.offer IS NOT NULL
       AND NOT EXISTS (SELECT FROM lifecycle.offer AS o WHERE o.name = NEW.offer) THEN
        RAISE EXCEPTION 'offer "%" of tier "%" does not exist', NEW.offer, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.offer first.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_tier_offer() IS 'Trigger of lifecycle.tier: refuses an offer that does not exist';
CREATE TRIGGER check_tier_offer BEFORE INSERT OR UPDATE ON lifecycle.tier
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_tier_offer();

CREATE FUNCTION lifecycle.reward_period(customer text, at timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE p.period
               WHEN 'calendar_year' THEN to_char(lifecycle.deadline(at, '0', c.time_zone, 'year') AT TIME ZONE 'UTC', '"before" YYYY-MM-DD')
               WHEN 'membership_year' THEN format('year %s', 1 + extract(year FROM age(at, coalesce(c.first_order_at, at))))
               WHEN 'rolling' THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
               ELSE 'ever' END
      FROM lifecycle.loyalty_program AS p
      LEFT JOIN lifecycle.customer AS c ON c.customer_id = customer
$$;
COMMENT ON FUNCTION lifecycle.reward_period(text, timestamptz) IS 'Internal: the period in which a tier was reached, as text';

CREATE FUNCTION lifecycle.give_tier_rewards(customers text[], tiers text[], reached timestamptz[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT u.customer, u.tier, u.at, t.offer, p.period, p.period_length
          FROM unnest(customers, tiers, reached) AS u (customer, tier, at)
          JOIN lifecycle.tier AS t ON t.name = u.tier AND t.offer IS NOT NULL
         CROSS JOIN lifecycle.loyalty_program AS p
         ORDER BY u.customer
    LOOP
        -- Once in each period; of a rolling one, once in its length, wherever it begins.
        CONTINUE WHEN item.period = 'rolling' AND EXISTS (
            SELECT FROM lifecycle.coupon AS c
             WHERE c.customer_id = item.customer AND c.offer = item.offer AND starts_with(c.purpose, format('tier:%s:', item.tier))
               AND c.issued_at > item.at - item.period_length);
        -- An order is never failed: without a code the reward waits until somebody issues it.
        BEGIN
            PERFORM lifecycle.try_issue_coupon(item.offer, item.customer,
                                               format('tier:%s:%s', item.tier, lifecycle.reward_period(item.customer, item.at)));
        EXCEPTION WHEN object_not_in_prerequisite_state OR undefined_object THEN
            NULL;  -- the offer has ended, or is gone
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.give_tier_rewards(text[], text[], timestamptz[]) IS 'Internal: issues the coupons that tiers welcome with, once for each customer, tier and period';
