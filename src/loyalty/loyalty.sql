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
    CONSTRAINT tier_rank_is_unique UNIQUE (rank) DEFERRABLE INITIALLY IMMEDIATE,
    CONSTRAINT tier_min_spend_is_finite CHECK (min_spend >= 0 AND min_spend < 'Infinity')
);
COMMENT ON TABLE lifecycle.tier IS 'The tiers of the loyalty program; a customer has the highest one whose min_spend is reached';
COMMENT ON COLUMN lifecycle.tier.name IS 'Its name, as shown in lifecycle.customer.tier';
COMMENT ON COLUMN lifecycle.tier.rank IS 'Order of the tiers, the highest is best';
COMMENT ON COLUMN lifecycle.tier.min_spend IS 'Spend from which on the tier is reached; must grow with the rank';
COMMENT ON COLUMN lifecycle.tier.offer IS 'The offer of which a coupon is issued to who reaches the tier, once in each period; NULL: none';
COMMENT ON COLUMN lifecycle.tier.benefits IS 'What members of the tier get, for the shop and the mailer to read';

CREATE FUNCTION lifecycle.check_tiers() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fault record;
BEGIN
    SELECT t.name, t.min_spend, t.lower_name, t.lower_spend INTO fault
      FROM (SELECT name, min_spend,
                   lag(name) OVER (ORDER BY rank) AS lower_name,
                   lag(min_spend) OVER (ORDER BY rank) AS lower_spend
              FROM lifecycle.tier) AS t
     WHERE t.min_spend <= t.lower_spend
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'tier "%" can be reached before the lower tier "%"', fault.name, fault.lower_name
            USING ERRCODE = 'check_violation',
                  DETAIL = format('min_spend is %s for "%s" and %s for "%s".',
                                  fault.min_spend, fault.name, fault.lower_spend, fault.lower_name),
                  HINT = 'Let min_spend grow with rank.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.check_tiers() IS 'Trigger of lifecycle.tier: refuses thresholds that do not grow with the rank';

CREATE TRIGGER check_tiers AFTER INSERT OR UPDATE ON lifecycle.tier
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.check_tiers();

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
      LEFT JOIN lifecycle.tier AS t ON t.name = c.tier
      LEFT JOIN LATERAL (SELECT u.name, u.min_spend
                           FROM lifecycle.tier AS u
                          WHERE u.min_spend > c.tier_spend AND u.rank > coalesce(t.rank, '-2147483648'::int4)
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
