-- The loyalty program and its tiers.

CREATE TABLE lifecycle.loyalty_program (
    name   text NOT NULL,
    period text NOT NULL DEFAULT 'lifetime',
    period_length interval NOT NULL DEFAULT '12 months',
    basis       text NOT NULL DEFAULT 'spend',
    downgrade   text NOT NULL DEFAULT 'recompute',
    grace       interval NOT NULL DEFAULT '0',
    warn_before interval,
    CONSTRAINT loyalty_program_pkey PRIMARY KEY (name),
    CONSTRAINT loyalty_program_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT loyalty_program_period_is_known CHECK (period IN ('lifetime', 'rolling', 'calendar_year', 'membership_year')),
    CONSTRAINT loyalty_program_period_length_is_in_range CHECK (period_length >= '1 hour' AND period_length <= '50 years'),
    CONSTRAINT loyalty_program_basis_is_known CHECK (basis IN ('spend', 'points')),
    CONSTRAINT loyalty_program_downgrade_is_known CHECK (downgrade IN ('none', 'one_down', 'recompute')),
    CONSTRAINT loyalty_program_grace_is_in_range CHECK (grace >= '0' AND grace <= '1 year'),
    CONSTRAINT loyalty_program_warn_before_is_positive CHECK (warn_before > '0')
);
CREATE UNIQUE INDEX loyalty_program_is_the_only_one ON lifecycle.loyalty_program ((true));
COMMENT ON TABLE lifecycle.loyalty_program IS 'The loyalty program; without one, nobody has a tier';
COMMENT ON COLUMN lifecycle.loyalty_program.name IS 'Its name';
COMMENT ON COLUMN lifecycle.loyalty_program.period IS 'What is counted towards a tier: lifetime (everything ever), rolling (the latest period_length, at every instant), calendar_year or membership_year (years since the first order). A tier won in a year is kept to the end of the next';
COMMENT ON COLUMN lifecycle.loyalty_program.period_length IS 'Of a rolling period';
COMMENT ON COLUMN lifecycle.loyalty_program.basis IS 'spend (orders less refunds) or points (earned less taken back, whether spent or not); tier.min_spend is in this';
COMMENT ON COLUMN lifecycle.loyalty_program.downgrade IS 'When a term has ended: none (a tier once reached is kept), one_down, or recompute (the tier that the spend is good for). What a refund takes away goes at once';
COMMENT ON COLUMN lifecycle.loyalty_program.grace IS 'How much longer a tier is kept after its term; days and months in the customer''s zone';
COMMENT ON COLUMN lifecycle.loyalty_program.warn_before IS 'How long before a tier ends a signal is raised; NULL: none';

CREATE TABLE lifecycle.tier (
    name      text NOT NULL,
    rank      int4 NOT NULL,
    min_spend numeric NOT NULL,
    benefits  jsonb NOT NULL DEFAULT '{}',
    offer     text,
    CONSTRAINT tier_pkey PRIMARY KEY (name),
    CONSTRAINT tier_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT tier_rank_is_unique UNIQUE (rank) DEFERRABLE INITIALLY IMMEDIATE,
    CONSTRAINT tier_min_spend_is_finite CHECK (min_spend >= 0 AND min_spend < 'Infinity')
);
COMMENT ON TABLE lifecycle.tier IS 'The tiers of the loyalty program; a customer has the highest one whose min_spend is reached';
COMMENT ON COLUMN lifecycle.tier.name IS 'Its name, as shown in lifecycle.customer.tier';
COMMENT ON COLUMN lifecycle.tier.rank IS 'Order of the tiers, the highest is best';
COMMENT ON COLUMN lifecycle.tier.min_spend IS 'Spend from which on the tier is reached; must grow with the rank';
COMMENT ON COLUMN lifecycle.tier.offer IS 'The offer of which a coupon is issued to who reaches the tier, once in each period; NULL: none';
COMMENT ON COLUMN lifecycle.tier.benefits IS 'What members of the tier get, for the shop and the mailer to read';

CREATE TABLE lifecycle.tier_version (
    tier       text NOT NULL,
    valid_from timestamptz NOT NULL,
    min_spend  numeric NOT NULL,
    CONSTRAINT tier_version_pkey PRIMARY KEY (tier, valid_from),
    CONSTRAINT tier_version_valid_from_is_finite CHECK (isfinite(valid_from)),
    CONSTRAINT tier_version_min_spend_is_finite CHECK (min_spend >= 0 AND min_spend < 'Infinity')
);
COMMENT ON TABLE lifecycle.tier_version IS 'What tiers cost from a date on, until the next version; before the first one, tier.min_spend. INSERT, UPDATE and DELETE take effect at once, for the past too; a future date when it comes';
COMMENT ON COLUMN lifecycle.tier_version.tier IS 'The tier';
COMMENT ON COLUMN lifecycle.tier_version.valid_from IS 'From this instant on. Who then reaches a tier rises; who no longer does keeps it for the program''s grace, and by years to the end of the term that was won';
COMMENT ON COLUMN lifecycle.tier_version.min_spend IS 'Spend from which on the tier is reached; must grow with the tier''s rank';

CREATE FUNCTION lifecycle.min_spend_at(tier lifecycle.tier, at timestamptz) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce((SELECT v.min_spend FROM lifecycle.tier_version AS v
                      WHERE v.tier = min_spend_at.tier.name AND v.valid_from <= min_spend_at.at ORDER BY v.valid_from DESC LIMIT 1),
                    min_spend_at.tier.min_spend)
$$;
COMMENT ON FUNCTION lifecycle.min_spend_at(lifecycle.tier, timestamptz) IS 'What a tier costs at an instant, by lifecycle.tier_version: SELECT t.name, lifecycle.min_spend_at(t, now()) FROM lifecycle.tier AS t';

CREATE FUNCTION lifecycle.check_tiers() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fault record;
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NULL;
    END IF;
    SELECT t.*, CASE WHEN isfinite(t.at) THEN format(', from %s on', t.at) END AS since INTO fault
      FROM (SELECT d.at, r.name, lifecycle.min_spend_at(r, d.at) AS min_spend,
                   lag(r.name) OVER ladder AS lower_name, lag(lifecycle.min_spend_at(r, d.at)) OVER ladder AS lower_spend
              FROM (SELECT '-infinity' UNION SELECT v.valid_from FROM lifecycle.tier_version AS v) AS d (at)
             CROSS JOIN lifecycle.tier AS r
            WINDOW ladder AS (PARTITION BY d.at ORDER BY r.rank)) AS t
     WHERE t.min_spend <= t.lower_spend
     ORDER BY t.at
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'tier "%" can be reached before the lower tier "%"', fault.name, fault.lower_name
            USING ERRCODE = 'check_violation',
                  DETAIL = format('min_spend is %s for "%s" and %s for "%s"%s.',
                                  fault.min_spend, fault.name, fault.lower_spend, fault.lower_name, fault.since),
                  HINT = 'Let min_spend grow with rank.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.check_tiers() IS 'Trigger of lifecycle.tier and lifecycle.tier_version: refuses thresholds that do not grow with the rank';

CREATE TRIGGER check_tiers AFTER INSERT OR UPDATE ON lifecycle.tier
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.check_tiers();
CREATE TRIGGER check_tiers AFTER INSERT OR UPDATE OR DELETE ON lifecycle.tier_version
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.check_tiers();

CREATE FUNCTION lifecycle.check_tier_version() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT lifecycle.restoring() AND NOT EXISTS (SELECT FROM lifecycle.tier AS t WHERE t.name = NEW.tier) THEN
        RAISE EXCEPTION 'tier "%" does not exist', NEW.tier
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.tier first.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_tier_version() IS 'Trigger of lifecycle.tier_version: refuses versions of a tier that does not exist';
CREATE TRIGGER check_tier_version BEFORE INSERT OR UPDATE ON lifecycle.tier_version
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_tier_version();

CREATE FUNCTION lifecycle.tier_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NULL;
    END IF;
    -- A statement that touches no row of these would still work every customer out anew.
    IF EXISTS (SELECT FROM lifecycle.tier_version AS v WHERE TG_OP = 'TRUNCATE' OR v.tier = OLD.name) THEN
        IF TG_OP = 'UPDATE' THEN
            UPDATE lifecycle.tier_version AS v SET tier = NEW.name WHERE v.tier = OLD.name;
        ELSE
            DELETE FROM lifecycle.tier_version AS v WHERE TG_OP = 'TRUNCATE' OR v.tier = OLD.name;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM lifecycle.tier_grant AS g WHERE TG_OP = 'TRUNCATE' OR g.tier = OLD.name) THEN
        IF TG_OP = 'UPDATE' THEN
            UPDATE lifecycle.tier_grant AS g SET tier = NEW.name WHERE g.tier = OLD.name;
        ELSE
            DELETE FROM lifecycle.tier_grant AS g WHERE TG_OP = 'TRUNCATE' OR g.tier = OLD.name;
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Nobody is welcomed again to the same tier under another name.
        UPDATE lifecycle.coupon AS c SET purpose = format('tier:%s:', NEW.name) || substr(c.purpose, length(format('tier:%s:', OLD.name)) + 1)
         WHERE starts_with(c.purpose, format('tier:%s:', OLD.name));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.tier_moved() IS 'Trigger of lifecycle.tier: renames or deletes the versions and grants of a tier with it, and renames it in what its coupons are for';
CREATE TRIGGER a_tier_deleted AFTER DELETE ON lifecycle.tier
    FOR EACH ROW EXECUTE FUNCTION lifecycle.tier_moved();
CREATE TRIGGER a_tier_renamed AFTER UPDATE ON lifecycle.tier
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.tier_moved();
CREATE TRIGGER a_tiers_truncated AFTER TRUNCATE ON lifecycle.tier
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.tier_moved();

CREATE TABLE lifecycle.tier_past (
    customer_id text COLLATE "C" NOT NULL,
    tier        text NOT NULL,
    entered_at  timestamptz NOT NULL,
    left_at     timestamptz NOT NULL
) USING heap;
CREATE INDEX tier_past_customer_id_idx ON lifecycle.tier_past (customer_id);
COMMENT ON TABLE lifecycle.tier_past IS 'Tiers that customers no longer have; read lifecycle.tier_history';
COMMENT ON COLUMN lifecycle.tier_past.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.tier_past.tier IS 'The tier';
COMMENT ON COLUMN lifecycle.tier_past.entered_at IS 'Time of the order that reached it';
COMMENT ON COLUMN lifecycle.tier_past.left_at IS 'Time of the order or refund that ended it';

CREATE VIEW lifecycle.tier_history AS
    SELECT p.customer_id, p.tier, p.entered_at, p.left_at
      FROM lifecycle.tier_past AS p
    UNION ALL
    SELECT c.customer_id, c.tier, c.tier_since, NULL
      FROM lifecycle.customer AS c
     WHERE c.tier IS NOT NULL;
COMMENT ON VIEW lifecycle.tier_history IS 'Who had which tier when: [entered_at, left_at), at the times of the orders and refunds, or the ends of terms, that brought it about';
COMMENT ON COLUMN lifecycle.tier_history.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.tier_history.tier IS 'The tier';
COMMENT ON COLUMN lifecycle.tier_history.entered_at IS 'Time of the order that reached it';
COMMENT ON COLUMN lifecycle.tier_history.left_at IS 'Time of the order or refund that ended it; NULL: it is the present tier';

CREATE VIEW lifecycle.tier_progress AS
    SELECT c.customer_id, c.tier, c.tier_since, c.tier_spend AS spend, n.name AS next_tier,
           n.min_spend - c.tier_spend AS missing,
           CASE WHEN n.name IS NULL THEN 1.0
                ELSE trunc(greatest(c.tier_spend - coalesce(t.min_spend, 0), 0)
                           / (n.min_spend - coalesce(t.min_spend, 0)), 4) END AS fraction,
           c.tier_valid_until AS valid_until, c.tier_missing AS missing_to_keep
      FROM lifecycle.customer AS c
      LEFT JOIN LATERAL (SELECT u.rank, lifecycle.min_spend_at(u, lifecycle.now()) AS min_spend FROM lifecycle.tier AS u WHERE u.name = c.tier) AS t ON true
      LEFT JOIN LATERAL (SELECT u.name, w.min_spend
                           FROM lifecycle.tier AS u
                          CROSS JOIN LATERAL lifecycle.min_spend_at(u, lifecycle.now()) AS w (min_spend)
                          WHERE w.min_spend > c.tier_spend AND u.rank > coalesce(t.rank, '-2147483648'::int4)
                          ORDER BY u.rank
                          LIMIT 1) AS n ON true;
COMMENT ON VIEW lifecycle.tier_progress IS 'How far each customer is on the way to the next tier';
COMMENT ON COLUMN lifecycle.tier_progress.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.tier_progress.tier IS 'The present tier; NULL: none';
COMMENT ON COLUMN lifecycle.tier_progress.tier_since IS 'Since when';
COMMENT ON COLUMN lifecycle.tier_progress.spend IS 'What counts towards the tier';
COMMENT ON COLUMN lifecycle.tier_progress.next_tier IS 'The next tier; NULL: the highest is reached';
COMMENT ON COLUMN lifecycle.tier_progress.missing IS 'What is still to be spent for it';
COMMENT ON COLUMN lifecycle.tier_progress.valid_until IS 'When the tier ends if nothing more is earned; NULL: never';
COMMENT ON COLUMN lifecycle.tier_progress.missing_to_keep IS 'What is to be earned by then to keep it';
COMMENT ON COLUMN lifecycle.tier_progress.fraction IS 'The part of the way from this tier to the next that is done, 0 to 1';
