-- Points: rules that say what earns them, lots in which they are held, and the ledger of everything that happened to them.
--
-- Points of one occasion are a lot: they wait (pending) until the return window ends, can be spent from then on (available), and expire.
-- Each change of a lot is an entry of the ledger, which only grows; so the balance of a customer is the sum of the entries, and the sum of the
-- lots, and lifecycle.customer.points.

ALTER TABLE lifecycle.loyalty_program
    ADD COLUMN point_value          numeric,
    ADD COLUMN return_policy        text NOT NULL DEFAULT 'within_balance',
    ADD COLUMN restored_points_last interval NOT NULL DEFAULT '30 days',
    ADD CONSTRAINT loyalty_program_point_value_is_positive CHECK (point_value > 0 AND point_value <= 1000000),
    ADD CONSTRAINT loyalty_program_return_policy_is_known CHECK (return_policy IN ('only_pending', 'within_balance', 'allow_negative')),
    ADD CONSTRAINT loyalty_program_restored_points_last_is_not_negative CHECK (restored_points_last >= '0');
COMMENT ON COLUMN lifecycle.loyalty_program.point_value IS 'What a point is worth where an order is paid with it: that much of the order earns no points. NULL: the amounts of orders are net of points already';
COMMENT ON COLUMN lifecycle.loyalty_program.return_policy IS 'How a refund takes back points that have been spent meanwhile: only_pending (only what is not available yet), within_balance (from the customer''s other points, as far as there are any) or allow_negative (the balance may fall below zero)';
COMMENT ON COLUMN lifecycle.loyalty_program.restored_points_last IS 'Points given back by a refund of what was paid with them expire when they would have, but no earlier than this';

ALTER TABLE lifecycle.tier
    ADD COLUMN points_multiplier numeric NOT NULL DEFAULT 1,
    ADD CONSTRAINT tier_points_multiplier_is_in_range CHECK (points_multiplier >= 0 AND points_multiplier <= 1000 AND scale(points_multiplier) <= 6);
COMMENT ON COLUMN lifecycle.tier.points_multiplier IS 'Points earned while in this tier are multiplied by it';

CREATE TABLE lifecycle.points_rule (
    name            text NOT NULL,
    earns_on        text NOT NULL,
    event           text,
    points          numeric NOT NULL DEFAULT 0,
    rate            numeric NOT NULL DEFAULT 0,
    min_amount      numeric,
    tier_multiplier boolean NOT NULL DEFAULT true,
    pending         interval NOT NULL DEFAULT '0',
    expiry          interval,
    expiry_rounding text,
    valid_from      timestamptz NOT NULL DEFAULT lifecycle.now(),
    valid_until     timestamptz NOT NULL DEFAULT 'infinity',
    CONSTRAINT points_rule_pkey PRIMARY KEY (name),
    CONSTRAINT points_rule_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT points_rule_earns_on_is_known CHECK (earns_on IN ('order', 'review', 'referral', 'referred', 'birthday', 'season', 'streak', 'consent', 'event')),
    CONSTRAINT points_rule_event_fits CHECK ((event IS NOT NULL) = (earns_on IN ('consent', 'event', 'season', 'streak'))),
    CONSTRAINT points_rule_streak_is_known CHECK (earns_on <> 'streak' OR event ~ '^(order|visit):([2-9]|[1-9][0-9]{1,2}) (days|weeks|months)$'),
    CONSTRAINT points_rule_points_are_in_range CHECK (points >= 0 AND points <= 1000000000 AND scale(points) <= 6),
    CONSTRAINT points_rule_rate_is_in_range CHECK (rate >= 0 AND rate <= 1000000 AND scale(rate) <= 6),
    CONSTRAINT points_rule_rate_needs_an_amount CHECK (rate = 0 OR earns_on IN ('order', 'season', 'event')),
    CONSTRAINT points_rule_earns_something CHECK (points > 0 OR rate > 0),
    CONSTRAINT points_rule_min_amount_is_finite CHECK (min_amount > '-Infinity' AND min_amount < 'Infinity'),
    CONSTRAINT points_rule_pending_is_not_negative CHECK (pending >= '0'),
    CONSTRAINT points_rule_expiry_is_positive CHECK (expiry > '0'),
    CONSTRAINT points_rule_expiry_rounding_is_known CHECK (expiry_rounding IN ('day', 'month', 'quarter', 'year')),
    CONSTRAINT points_rule_valid_from_is_earlier CHECK (valid_from < valid_until)
);
COMMENT ON TABLE lifecycle.points_rule IS 'What earns points. Each rule that fits an occasion makes a lot of its own; a changed rule changes nothing that has been earned: to change one from a date on, end it there and insert the next';
COMMENT ON COLUMN lifecycle.points_rule.name IS 'Its name';
COMMENT ON COLUMN lifecycle.points_rule.earns_on IS 'order, review, referral (who has referred), referred (who was), birthday, season (the first order of a year while the rule is valid), streak (an order or a visit in each of so many days, weeks or months on end), consent or event';
COMMENT ON COLUMN lifecycle.points_rule.event IS 'consent: the channel (email is the newsletter); event: its name; season: the name of the rule''s season; streak: what, and in how many of what, such as order:4 weeks or visit:7 days';
COMMENT ON COLUMN lifecycle.points_rule.points IS 'Points for each occasion';
COMMENT ON COLUMN lifecycle.points_rule.rate IS 'Points for each whole unit of the amount, added to points; the sum is rounded down';
COMMENT ON COLUMN lifecycle.points_rule.min_amount IS 'Amounts below this earn nothing; NULL: no limit';
COMMENT ON COLUMN lifecycle.points_rule.tier_multiplier IS 'Whether the points are multiplied by points_multiplier of the tier that the customer has at the time';
COMMENT ON COLUMN lifecycle.points_rule.pending IS 'The return window: how long after the occasion the points wait before they can be spent; days and months in the customer''s zone';
COMMENT ON COLUMN lifecycle.points_rule.expiry IS 'How long they can be spent, counted from the end of the return window; NULL: for ever';
COMMENT ON COLUMN lifecycle.points_rule.expiry_rounding IS 'Expiry waits for the end of this day, month, quarter or year, in the customer''s zone; NULL: it does not';
COMMENT ON COLUMN lifecycle.points_rule.valid_from IS 'Occasions from this instant on earn';
COMMENT ON COLUMN lifecycle.points_rule.valid_until IS 'Occasions before this instant earn';
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.points_rule
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();

-- A customer whose lots wait in its row draws numbers for a row full of them at once (kRecentLots in src/loyalty/recent_lots.hpp).
CREATE SEQUENCE lifecycle.points_entry_id_seq INCREMENT BY 16;
COMMENT ON SEQUENCE lifecycle.points_entry_id_seq IS 'Internal: numbers of lots and entries of points; those in between are the customer''s, too';

CREATE TABLE lifecycle.points_lot_settled (
    customer_id text COLLATE "C" NOT NULL,
    reference   text COLLATE "C" NOT NULL,
    lot_id      bigint NOT NULL,
    origin      text NOT NULL,
    rule        text,
    source_id   int4 NOT NULL DEFAULT 0,
    earned_at   timestamptz NOT NULL,
    amount      numeric NOT NULL DEFAULT 0,
    paid        bigint NOT NULL DEFAULT 0,
    earned      bigint NOT NULL,
    revoked     bigint NOT NULL DEFAULT 0,
    shortfall   bigint NOT NULL DEFAULT 0,
    lapsed      bigint NOT NULL DEFAULT 0,
    pending     bigint NOT NULL DEFAULT 0,
    available   bigint NOT NULL DEFAULT 0,
    active_at   timestamptz NOT NULL,
    expires_at  timestamptz,
    due_at      timestamptz,
    closed      boolean NOT NULL DEFAULT false,
    CONSTRAINT points_lot_settled_pkey PRIMARY KEY (customer_id, reference, lot_id),
    CONSTRAINT points_lot_pending_is_not_negative CHECK (pending >= 0),
    CONSTRAINT points_lot_revoked_is_not_negative CHECK (revoked >= 0 AND shortfall >= 0 AND lapsed >= 0)
) USING heap;
CREATE INDEX points_lot_settled_due_idx ON lifecycle.points_lot_settled (customer_id, due_at);
COMMENT ON TABLE lifecycle.points_lot_settled IS 'Internal: lots that something has happened to, or may soon; read lifecycle.points_lot';
COMMENT ON COLUMN lifecycle.points_lot_settled.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.points_lot_settled.reference IS 'The shop''s id of the occasion: the order, review, referral, event; the year of a birthday; a streak and the day on which its last week began';
COMMENT ON COLUMN lifecycle.points_lot_settled.lot_id IS 'Number of the lot';
COMMENT ON COLUMN lifecycle.points_lot_settled.origin IS 'What earned them, as in lifecycle.points_rule.earns_on, or adjust: somebody gave them';
COMMENT ON COLUMN lifecycle.points_lot_settled.rule IS 'The rule; NULL: adjusted by hand';
COMMENT ON COLUMN lifecycle.points_lot_settled.source_id IS 'The source that said it; 0: none';
COMMENT ON COLUMN lifecycle.points_lot_settled.earned_at IS 'When: the occasion''s own time';
COMMENT ON COLUMN lifecycle.points_lot_settled.amount IS 'The amount that earned them';
COMMENT ON COLUMN lifecycle.points_lot_settled.paid IS 'Points that the order was paid with when it earned';
COMMENT ON COLUMN lifecycle.points_lot_settled.earned IS 'Points earned';
COMMENT ON COLUMN lifecycle.points_lot_settled.revoked IS 'Points that refunds have taken back';
COMMENT ON COLUMN lifecycle.points_lot_settled.shortfall IS 'Points that refunds should have taken back, but they had been spent; when what they have paid is refunded, they are taken then';
COMMENT ON COLUMN lifecycle.points_lot_settled.lapsed IS 'Points that refunds should have taken back, but they had expired';
COMMENT ON COLUMN lifecycle.points_lot_settled.pending IS 'Points that cannot be spent yet';
COMMENT ON COLUMN lifecycle.points_lot_settled.available IS 'Points that can be spent';
COMMENT ON COLUMN lifecycle.points_lot_settled.active_at IS 'When the return window ends';
COMMENT ON COLUMN lifecycle.points_lot_settled.expires_at IS 'When what is left expires; NULL: never';
COMMENT ON COLUMN lifecycle.points_lot_settled.due_at IS 'Internal: when time next changes the lot; infinity: never, though there are points in it; NULL: it is empty';
COMMENT ON COLUMN lifecycle.points_lot_settled.closed IS 'The occasion was taken back or has changed: if it comes again, it earns anew';

CREATE TABLE lifecycle.points_entry_settled (
    customer_id text COLLATE "C" NOT NULL,
    reference   text COLLATE "C" NOT NULL,
    entry_id    bigint NOT NULL,
    lot_id      bigint NOT NULL,
    kind        text NOT NULL,
    pending     bigint NOT NULL,
    points      bigint NOT NULL,
    at          timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    note        text,
    CONSTRAINT points_entry_settled_pkey PRIMARY KEY (customer_id, reference, entry_id),
    CONSTRAINT points_entry_kind_is_known CHECK (kind IN ('earn', 'activate', 'redeem', 'restore', 'revoke', 'reinstate', 'expire', 'adjust'))
) USING heap;
COMMENT ON TABLE lifecycle.points_entry_settled IS 'Internal: the entries of those lots; read lifecycle.points_entry';
COMMENT ON COLUMN lifecycle.points_entry_settled.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.points_entry_settled.reference IS 'What brought it about: the order that earned, was paid or was refunded; otherwise as in the lot';
COMMENT ON COLUMN lifecycle.points_entry_settled.entry_id IS 'Number of the entry';
COMMENT ON COLUMN lifecycle.points_entry_settled.lot_id IS 'The lot that changes';
COMMENT ON COLUMN lifecycle.points_entry_settled.kind IS 'earn, activate (the return window has ended), redeem, restore (what was paid with points is refunded), revoke (what earned them is refunded), reinstate (a refund is taken back), expire or adjust (by hand)';
COMMENT ON COLUMN lifecycle.points_entry_settled.pending IS 'By how much the points that wait change';
COMMENT ON COLUMN lifecycle.points_entry_settled.points IS 'By how much the points that can be spent change';
COMMENT ON COLUMN lifecycle.points_entry_settled.at IS 'When it took effect. What arrives late earns with its own time, and changes what can be spent when it arrives';
COMMENT ON COLUMN lifecycle.points_entry_settled.recorded_at IS 'When it was written';
COMMENT ON COLUMN lifecycle.points_entry_settled.note IS 'Why, where somebody has said so';

-- What an order has just earned waits with the order: in the customer's row, beside recent_orders, and packed like the purchases when these move on.
-- Most lots are left alone until their return window ends, and many orders of today are those of a few customers. As soon as anything but another such
-- order concerns the customer's points, all of them move on to the tables above, where they can change: lifecycle.settle_recent_lots().
CREATE TABLE lifecycle.points_run (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    lot_number  bigint NOT NULL,
    orders      text[] NOT NULL,
    earned_at   timestamptz[] NOT NULL,
    amounts     numeric[] NOT NULL,
    rules       text[] NOT NULL,
    points      bigint[] NOT NULL,
    active_at   timestamptz[] NOT NULL,
    expires_at  timestamptz[] NOT NULL,
    recorded_at timestamptz[] NOT NULL
) USING heap;
CREATE INDEX points_run_customer_id_idx ON lifecycle.points_run (customer_id);
COMMENT ON TABLE lifecycle.points_run IS 'Internal: lots of orders as they were earned, packed; read lifecycle.points_lot';
COMMENT ON COLUMN lifecycle.points_run.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.points_run.source_id IS 'The source that said the orders';
COMMENT ON COLUMN lifecycle.points_run.lot_number IS 'Number of the first lot; the others follow one by one';
COMMENT ON COLUMN lifecycle.points_run.orders IS 'The order of each lot';
COMMENT ON COLUMN lifecycle.points_run.earned_at IS 'When the order was placed';
COMMENT ON COLUMN lifecycle.points_run.amounts IS 'The amount that earned each';
COMMENT ON COLUMN lifecycle.points_run.rules IS 'The rule of each';
COMMENT ON COLUMN lifecycle.points_run.points IS 'The points of each';
COMMENT ON COLUMN lifecycle.points_run.active_at IS 'When the return window of each ends';
COMMENT ON COLUMN lifecycle.points_run.expires_at IS 'When each expires; infinity: never';
COMMENT ON COLUMN lifecycle.points_run.recorded_at IS 'When each was written';

CREATE FUNCTION lifecycle.unpack_lots(lots bytea)
    RETURNS TABLE (n bigint, nth int4, rule text, points bigint, active_at timestamptz, expires_at timestamptz, recorded_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 4
    AS 'MODULE_PATHNAME', 'lifecycle_unpack_lots';
COMMENT ON FUNCTION lifecycle.unpack_lots(bytea) IS 'Internal: the lots of points that wait in a customer''s row, and which of recent_orders has earned each';

CREATE VIEW lifecycle.recent_lot AS
    SELECT l.customer_id, l.reference, l.lot_id, l.rule, l.source_id, l.earned_at, l.amount, l.earned,
           CASE WHEN l.active_at = l.earned_at THEN 0 ELSE l.earned END AS pending,
           CASE WHEN l.active_at = l.earned_at THEN l.earned ELSE 0 END AS available, l.active_at, l.expires_at,
           CASE WHEN l.active_at = l.earned_at THEN coalesce(l.expires_at, 'infinity') ELSE l.active_at END AS due_at, l.recorded_at
      FROM (SELECT r.customer_id, u.reference, r.lot_number + u.n - 1 AS lot_id, u.rule, r.source_id, u.earned_at, u.amount, u.earned, u.active_at,
                   nullif(u.expires_at, 'infinity') AS expires_at, u.recorded_at
              FROM lifecycle.points_run AS r,
                   LATERAL unnest(r.orders, r.earned_at, r.amounts, r.rules, r.points, r.active_at, r.expires_at, r.recorded_at)
                       WITH ORDINALITY AS u (reference, earned_at, amount, rule, earned, active_at, expires_at, recorded_at, n)
            UNION ALL
            SELECT c.customer_id, o.id, c.lot_number + u.n - 1, u.rule, c.recent_source, o.at, o.amount, u.points, u.active_at, u.expires_at, u.recorded_at
              FROM lifecycle.customer AS c, LATERAL lifecycle.unpack_lots(c.lots) AS u
              LEFT JOIN LATERAL lifecycle.unpack_orders(c.recent_orders) AS o ON o.nth = u.nth) AS l;
COMMENT ON VIEW lifecycle.recent_lot IS 'Internal: lots of points that nothing has happened to since an order earned them; each is an entry, too';
COMMENT ON COLUMN lifecycle.recent_lot.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.recent_lot.reference IS 'The order';
COMMENT ON COLUMN lifecycle.recent_lot.lot_id IS 'Number of the lot, and of its entry';
COMMENT ON COLUMN lifecycle.recent_lot.rule IS 'The rule';
COMMENT ON COLUMN lifecycle.recent_lot.source_id IS 'The source that said the order';
COMMENT ON COLUMN lifecycle.recent_lot.earned_at IS 'When the order was placed';
COMMENT ON COLUMN lifecycle.recent_lot.amount IS 'The amount that earned them';
COMMENT ON COLUMN lifecycle.recent_lot.earned IS 'The points';
COMMENT ON COLUMN lifecycle.recent_lot.pending IS 'Those that wait for the end of the return window';
COMMENT ON COLUMN lifecycle.recent_lot.available IS 'Those that could be spent at once';
COMMENT ON COLUMN lifecycle.recent_lot.active_at IS 'When the return window ends';
COMMENT ON COLUMN lifecycle.recent_lot.expires_at IS 'When they expire; NULL: never';
COMMENT ON COLUMN lifecycle.recent_lot.due_at IS 'When time next changes them; infinity: never';
COMMENT ON COLUMN lifecycle.recent_lot.recorded_at IS 'When they were written';

CREATE VIEW lifecycle.points_lot AS
    SELECT l.* FROM lifecycle.points_lot_settled AS l
    UNION ALL
    SELECT r.customer_id, r.reference, r.lot_id, 'order', r.rule, r.source_id, r.earned_at, r.amount, 0, r.earned, 0, 0, 0,
           r.pending, r.available, r.active_at, r.expires_at, r.due_at, false
      FROM lifecycle.recent_lot AS r;
COMMENT ON VIEW lifecycle.points_lot IS 'Points by the occasion that has earned them, and what is left of them; each change is an entry of lifecycle.points_entry';
COMMENT ON COLUMN lifecycle.points_lot.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.points_lot.reference IS 'The shop''s id of the occasion: the order, review, referral, event; the year of a birthday; a streak and the day on which its last week began';
COMMENT ON COLUMN lifecycle.points_lot.lot_id IS 'Number of the lot';
COMMENT ON COLUMN lifecycle.points_lot.origin IS 'What earned them, as in lifecycle.points_rule.earns_on, or adjust: somebody gave them';
COMMENT ON COLUMN lifecycle.points_lot.rule IS 'The rule; NULL: adjusted by hand';
COMMENT ON COLUMN lifecycle.points_lot.source_id IS 'The source that said it; 0: none';
COMMENT ON COLUMN lifecycle.points_lot.earned_at IS 'When: the occasion''s own time';
COMMENT ON COLUMN lifecycle.points_lot.amount IS 'The amount that earned them';
COMMENT ON COLUMN lifecycle.points_lot.paid IS 'Points that the order was paid with when it earned';
COMMENT ON COLUMN lifecycle.points_lot.earned IS 'Points earned';
COMMENT ON COLUMN lifecycle.points_lot.revoked IS 'Points that refunds have taken back';
COMMENT ON COLUMN lifecycle.points_lot.shortfall IS 'Points that refunds should have taken back, but they had been spent; when what they have paid is refunded, they are taken then';
COMMENT ON COLUMN lifecycle.points_lot.lapsed IS 'Points that refunds should have taken back, but they had expired';
COMMENT ON COLUMN lifecycle.points_lot.pending IS 'Points that cannot be spent yet';
COMMENT ON COLUMN lifecycle.points_lot.available IS 'Points that can be spent';
COMMENT ON COLUMN lifecycle.points_lot.active_at IS 'When the return window ends';
COMMENT ON COLUMN lifecycle.points_lot.expires_at IS 'When what is left expires; NULL: never';
COMMENT ON COLUMN lifecycle.points_lot.due_at IS 'Internal: when time next changes the lot; infinity: never, though there are points in it; NULL: it is empty';
COMMENT ON COLUMN lifecycle.points_lot.closed IS 'The occasion was taken back or has changed: if it comes again, it earns anew';

CREATE VIEW lifecycle.points_entry AS
    SELECT e.* FROM lifecycle.points_entry_settled AS e
    UNION ALL
    SELECT r.customer_id, r.reference, r.lot_id, r.lot_id, 'earn', r.pending, r.available, r.earned_at, r.recorded_at, NULL
      FROM lifecycle.recent_lot AS r;
COMMENT ON VIEW lifecycle.points_entry IS 'Everything that ever happened to points; rows are added and never changed. A customer''s balance is the sum of points';
COMMENT ON COLUMN lifecycle.points_entry.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.points_entry.reference IS 'What brought it about: the order that earned, was paid or was refunded; otherwise as in the lot';
COMMENT ON COLUMN lifecycle.points_entry.entry_id IS 'Number of the entry';
COMMENT ON COLUMN lifecycle.points_entry.lot_id IS 'The lot that changes';
COMMENT ON COLUMN lifecycle.points_entry.kind IS 'earn, activate (the return window has ended), redeem, restore (what was paid with points is refunded), revoke (what earned them is refunded), reinstate (a refund is taken back), expire or adjust (by hand)';
COMMENT ON COLUMN lifecycle.points_entry.pending IS 'By how much the points that wait change';
COMMENT ON COLUMN lifecycle.points_entry.points IS 'By how much the points that can be spent change';
COMMENT ON COLUMN lifecycle.points_entry.at IS 'When it took effect. What arrives late earns with its own time, and changes what can be spent when it arrives';
COMMENT ON COLUMN lifecycle.points_entry.recorded_at IS 'When it was written';
COMMENT ON COLUMN lifecycle.points_entry.note IS 'Why, where somebody has said so';

CREATE FUNCTION lifecycle.keep_points_entry() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'entries of the points ledger are never changed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = format('This is entry %s of customer "%s".', OLD.entry_id, OLD.customer_id),
              HINT = 'Write another one with lifecycle.adjust_points().';
END
$$;
COMMENT ON FUNCTION lifecycle.keep_points_entry() IS 'Trigger of lifecycle.points_entry, and the table behind it: refuses to rewrite the past';
CREATE TRIGGER keep_points_entry BEFORE UPDATE OF entry_id, lot_id, kind, pending, points, at, recorded_at ON lifecycle.points_entry_settled
    FOR EACH ROW EXECUTE FUNCTION lifecycle.keep_points_entry();
CREATE TRIGGER keep_points_entry INSTEAD OF UPDATE ON lifecycle.points_entry
    FOR EACH ROW EXECUTE FUNCTION lifecycle.keep_points_entry();

CREATE FUNCTION lifecycle.settle_recent_lots(customers text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO lifecycle.points_lot_settled (customer_id, reference, lot_id, origin, rule, source_id, earned_at, amount, earned, pending, available,
                                              active_at, expires_at, due_at)
        SELECT r.customer_id, r.reference, r.lot_id, 'order', r.rule, r.source_id, r.earned_at, r.amount, r.earned,
               r.pending, r.available, r.active_at, r.expires_at, r.due_at
          FROM lifecycle.recent_lot AS r WHERE r.customer_id = ANY (customers);
    INSERT INTO lifecycle.points_entry_settled (customer_id, reference, entry_id, lot_id, kind, pending, points, at, recorded_at)
        SELECT r.customer_id, r.reference, r.lot_id, r.lot_id, 'earn', r.pending, r.available, r.earned_at, r.recorded_at
          FROM lifecycle.recent_lot AS r WHERE r.customer_id = ANY (customers);
    DELETE FROM lifecycle.points_run AS r WHERE r.customer_id = ANY (customers);
END
$$;
COMMENT ON FUNCTION lifecycle.settle_recent_lots(text[]) IS 'Internal: moves the lots that wait to where they can change, for customers that are locked; who calls it takes them out of the customer''s row';

CREATE FUNCTION lifecycle.share_of_points(points bigint, part numeric, whole numeric) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_share_of_points';
COMMENT ON FUNCTION lifecycle.share_of_points(bigint, numeric, numeric) IS 'The part of some points that belongs to a part of an amount, rounded to the nearest; shares of growing parts add up to the points';

CREATE FUNCTION lifecycle.apportion(total bigint, weights bigint[]) RETURNS bigint[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_apportion';
COMMENT ON FUNCTION lifecycle.apportion(bigint, bigint[]) IS 'Shares out a total in proportion to weights, by the largest remainder: the parts add up to the total';

CREATE VIEW lifecycle.points_liability AS
    SELECT date_trunc('month', l.expires_at, coalesce((SELECT s.time_zone FROM lifecycle.shop AS s), 'UTC')) AS expires_in,
           sum(l.available)::bigint AS available, sum(l.pending)::bigint AS pending, count(DISTINCT l.customer_id) AS customers,
           (sum(l.available) + sum(l.pending)) * (SELECT p.point_value FROM lifecycle.loyalty_program AS p) AS value
      FROM lifecycle.points_lot AS l
     WHERE l.available <> 0 OR l.pending <> 0
     GROUP BY 1;
COMMENT ON VIEW lifecycle.points_liability IS 'Points that customers hold, by the month in which they expire: what the shop owes';
COMMENT ON COLUMN lifecycle.points_liability.expires_in IS 'Beginning of the month, in the shop''s zone; NULL: they never expire';
COMMENT ON COLUMN lifecycle.points_liability.available IS 'Points that can be spent';
COMMENT ON COLUMN lifecycle.points_liability.pending IS 'Points whose return window has not ended';
COMMENT ON COLUMN lifecycle.points_liability.customers IS 'How many customers hold them';
COMMENT ON COLUMN lifecycle.points_liability.value IS 'What they are worth by the program''s point_value; NULL: it has none';

-- Whoever sees the leaderboard must not be able to try out ids: a name is a hash with a salt that nobody else knows.
CREATE TABLE lifecycle.points_salt (
    only_row boolean NOT NULL DEFAULT true,
    salt     text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text,
    CONSTRAINT points_salt_pkey PRIMARY KEY (only_row),
    CONSTRAINT points_salt_has_one_row CHECK (only_row)
);
COMMENT ON TABLE lifecycle.points_salt IS 'Internal: makes the names on the leaderboard';
COMMENT ON COLUMN lifecycle.points_salt.only_row IS 'Keeps the table at one row';
COMMENT ON COLUMN lifecycle.points_salt.salt IS 'Random; made anew, everybody has another name';
CREATE FUNCTION lifecycle.player_name(customer_id text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT left(encode(sha256(convert_to(s.salt || customer_id, 'UTF8')), 'hex'), 12) FROM lifecycle.points_salt AS s $$;
COMMENT ON FUNCTION lifecycle.player_name(text) IS 'The name under which a customer stands on the leaderboard: for the shop to show who is meant to that customer alone';

CREATE VIEW lifecycle.points_leaderboard AS
    SELECT rank() OVER (ORDER BY b.earned DESC) AS place, lifecycle.player_name(b.customer_id) AS player, b.earned, b.tier
      FROM (SELECT l.customer_id, sum(l.earned - l.revoked - l.lapsed)::bigint AS earned, c.tier
              FROM lifecycle.points_lot AS l
              JOIN lifecycle.customer AS c USING (customer_id)
             WHERE l.rule IS NOT NULL AND NOT l.closed AND l.earned_at > lifecycle.now() - interval '30 days'
             GROUP BY l.customer_id, c.tier) AS b
     WHERE b.earned > 0;
COMMENT ON VIEW lifecycle.points_leaderboard IS 'Who has earned most points in the last 30 days, without personal data';
COMMENT ON COLUMN lifecycle.points_leaderboard.place IS 'Place; equals share one';
COMMENT ON COLUMN lifecycle.points_leaderboard.player IS 'A name that says nothing; see lifecycle.player_name()';
COMMENT ON COLUMN lifecycle.points_leaderboard.earned IS 'Points earned, less those taken back';
COMMENT ON COLUMN lifecycle.points_leaderboard.tier IS 'The tier';

CREATE FUNCTION lifecycle.make_points_salt() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT lifecycle.restoring() THEN
        INSERT INTO lifecycle.points_salt DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.make_points_salt() IS 'Trigger of lifecycle.points_rule: whoever earns points has a name on the leaderboard';
CREATE TRIGGER make_points_salt AFTER INSERT ON lifecycle.points_rule
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.make_points_salt();

CREATE TABLE lifecycle.points_referral (
    referred    text COLLATE "C" NOT NULL,
    referral    text COLLATE "C" NOT NULL,
    referrer    text COLLATE "C" NOT NULL,
    referred_at timestamptz NOT NULL,
    withdrawn   boolean NOT NULL DEFAULT false,
    CONSTRAINT points_referral_pkey PRIMARY KEY (referred),
    CONSTRAINT points_referral_is_of_another CHECK (referrer <> referred)
);
CREATE INDEX points_referral_referrer_idx ON lifecycle.points_referral (referrer, referral);
COMMENT ON TABLE lifecycle.points_referral IS 'Who has brought whom, for the points: the first of several who say so. From facts of kind referral, and lifecycle.refer()';
COMMENT ON COLUMN lifecycle.points_referral.referred IS 'The customer who was brought';
COMMENT ON COLUMN lifecycle.points_referral.referral IS 'The shop''s id of the referral';
COMMENT ON COLUMN lifecycle.points_referral.referrer IS 'The customer who has brought them';
COMMENT ON COLUMN lifecycle.points_referral.referred_at IS 'When';
COMMENT ON COLUMN lifecycle.points_referral.withdrawn IS 'Its row has gone: nobody is rewarded';

-- An order never touches another customer: what it means for who has brought its customer waits here for the tick.
CREATE TABLE lifecycle.referral_check (
    referred text COLLATE "C" NOT NULL
);
COMMENT ON TABLE lifecycle.referral_check IS 'Internal: customers that were brought and have bought or been refunded since';
COMMENT ON COLUMN lifecycle.referral_check.referred IS 'The customer';

CREATE FUNCTION lifecycle.merged_into(customer_id text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = merged_into.customer_id), merged_into.customer_id) $$;
COMMENT ON FUNCTION lifecycle.merged_into(text) IS 'Internal: who a customer is now: the one it was merged into, or itself';

CREATE FUNCTION lifecycle.note_referrals(referrers text[], referrals text[], gone int[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE lifecycle.points_referral AS p SET withdrawn = true
      FROM unnest(referrers, referrals, gone) AS u (referrer, referral, is_gone)
     WHERE u.is_gone <> 0 AND (p.referrer, p.referral) = (u.referrer, u.referral);
    INSERT INTO lifecycle.points_referral AS p (referred, referral, referrer, referred_at)
        SELECT DISTINCT ON (w.referred COLLATE "C") w.referred, r.referral, r.customer_id, r.referred_at
          FROM unnest(referrers, referrals, gone) AS u (referrer, referral, is_gone)
          JOIN lifecycle.referral AS r ON (r.customer_id, r.referral) = (u.referrer, u.referral)
         CROSS JOIN LATERAL lifecycle.merged_into(r.referred) AS w (referred)
         WHERE u.is_gone = 0 AND w.referred <> r.customer_id
         ORDER BY w.referred COLLATE "C", r.referred_at
        ON CONFLICT (referred) DO UPDATE SET withdrawn = false, referral = EXCLUDED.referral, referrer = EXCLUDED.referrer,
                                             referred_at = EXCLUDED.referred_at
         WHERE p.withdrawn OR (p.referrer, p.referral) = (EXCLUDED.referrer, EXCLUDED.referral);
    INSERT INTO lifecycle.referral_check (referred)
        SELECT p.referred FROM unnest(referrers, referrals) AS u (referrer, referral)
          JOIN lifecycle.points_referral AS p ON (p.referrer, p.referral) = (u.referrer, u.referral)
$$;
COMMENT ON FUNCTION lifecycle.note_referrals(text[], text[], int[]) IS 'Internal: takes in who has brought whom, and who has not after all; the tick rewards them';
