-- Offers, and the coupons that carry them: each code is good once.

CREATE TABLE lifecycle.offer (
    name              text NOT NULL,
    kind              text NOT NULL,
    value             numeric,
    description       jsonb NOT NULL DEFAULT '{}',
    codes             text NOT NULL DEFAULT 'generated',
    prefix            text NOT NULL DEFAULT '',
    code_length       int4 NOT NULL DEFAULT 10,
    owner_bound       boolean NOT NULL DEFAULT true,
    validity          interval,
    validity_rounding text DEFAULT 'day',
    valid_until       timestamptz,
    restorable        boolean NOT NULL DEFAULT true,
    low_water         int4,
    CONSTRAINT offer_pkey PRIMARY KEY (name),
    CONSTRAINT offer_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT offer_kind_is_known CHECK (kind IN ('percent', 'amount', 'free_shipping', 'gift', 'early_access', 'event_invitation', 'tester_group')),
    CONSTRAINT offer_value_fits CHECK (CASE kind WHEN 'percent' THEN value > 0 AND value <= 100 AND value IS NOT NULL
                                                 WHEN 'amount' THEN value > 0 AND value < 'Infinity' AND value IS NOT NULL
                                                 ELSE value IS NULL OR (value >= 0 AND value < 'Infinity') END),
    CONSTRAINT offer_codes_is_known CHECK (codes IN ('generated', 'pool', 'none')),
    CONSTRAINT offer_prefix_is_plain CHECK (prefix ~ '^[0-9A-Z]{0,20}$'),
    CONSTRAINT offer_code_length_is_in_range CHECK (code_length BETWEEN 8 AND 30),
    CONSTRAINT offer_validity_is_positive CHECK (validity > '0'),
    CONSTRAINT offer_validity_rounding_is_known CHECK (validity_rounding IN ('day', 'month', 'quarter', 'year')),
    CONSTRAINT offer_low_water_is_not_negative CHECK (low_water >= 0)
);
COMMENT ON TABLE lifecycle.offer IS 'What coupons and tiers give: a discount, a gift, access';
COMMENT ON COLUMN lifecycle.offer.name IS 'Its name';
COMMENT ON COLUMN lifecycle.offer.kind IS 'percent, amount, free_shipping, gift, early_access, event_invitation or tester_group; the shop''s checkout applies it';
COMMENT ON COLUMN lifecycle.offer.value IS 'Per cent off, or the amount off; of other kinds what the shop makes of it';
COMMENT ON COLUMN lifecycle.offer.description IS 'For the mailer and the shop, such as texts by locale or the gift''s article number';
COMMENT ON COLUMN lifecycle.offer.codes IS 'generated: each coupon gets a code of its own; pool: codes are taken from those that lifecycle.import_coupons() has brought; none: there is nothing to redeem, the offer is only told';
COMMENT ON COLUMN lifecycle.offer.prefix IS 'Generated codes begin with it: digits and capital letters';
COMMENT ON COLUMN lifecycle.offer.code_length IS 'Length of generated codes without the prefix; the last character is a check';
COMMENT ON COLUMN lifecycle.offer.owner_bound IS 'Whether only the customer to whom a coupon was issued may redeem it; false: whoever has the code, even of a pool''s code that was not issued at all';
COMMENT ON COLUMN lifecycle.offer.validity IS 'How long a coupon is valid from its issue on, days and months in the customer''s zone; NULL: until valid_until';
COMMENT ON COLUMN lifecycle.offer.validity_rounding IS 'Validity ends with the end of this day, month, quarter or year; NULL: to the second';
COMMENT ON COLUMN lifecycle.offer.valid_until IS 'When all of its coupons end; NULL: never';
COMMENT ON COLUMN lifecycle.offer.restorable IS 'Whether a cancelled order gives its coupon back';
COMMENT ON COLUMN lifecycle.offer.low_water IS 'When no more than this many codes are left in the pool, lifecycle.coupon_pool says so and lifecycle_coupon_pool is notified; NULL: never';
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.offer
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();

-- The code and not the customer is what must be unique: it is the shop's before it is anybody's.
CREATE TABLE lifecycle.coupon (
    code_key       text COLLATE "C" NOT NULL,
    code           text NOT NULL,
    offer          text NOT NULL,
    status         text NOT NULL DEFAULT 'free',
    customer_id    text COLLATE "C",
    purpose        text,
    created_at     timestamptz NOT NULL,
    reserved_until timestamptz,
    issued_at      timestamptz,
    valid_until    timestamptz NOT NULL DEFAULT 'infinity',
    redeemed_at    timestamptz,
    redeemed_by    text COLLATE "C",
    redeemed_order text COLLATE "C",
    restored       int4 NOT NULL DEFAULT 0,
    CONSTRAINT coupon_pkey PRIMARY KEY (code_key),
    CONSTRAINT coupon_code_is_not_too_long CHECK (octet_length(code) <= 200),
    CONSTRAINT coupon_is_one_for_its_purpose UNIQUE (customer_id, offer, purpose),
    CONSTRAINT coupon_status_is_known CHECK (status IN ('free', 'reserved', 'issued', 'redeemed', 'expired', 'revoked')),
    CONSTRAINT coupon_free_is_nobodys CHECK (status <> 'free' OR (customer_id IS NULL AND purpose IS NULL)),
    CONSTRAINT coupon_redeemed_is_for_an_order CHECK ((status = 'redeemed') = (redeemed_order IS NOT NULL) AND (status = 'redeemed') = (redeemed_at IS NOT NULL))
);
CREATE INDEX coupon_free_idx ON lifecycle.coupon (offer) WHERE status = 'free';
CREATE INDEX coupon_reserved_idx ON lifecycle.coupon (reserved_until) WHERE status = 'reserved';
CREATE INDEX coupon_issued_idx ON lifecycle.coupon (valid_until) WHERE status = 'issued';
CREATE INDEX coupon_redeemed_idx ON lifecycle.coupon (redeemed_by, redeemed_order) WHERE status = 'redeemed';
COMMENT ON TABLE lifecycle.coupon IS 'Codes, each good once. Managed with import_coupons(), issue_coupon(), redeem_coupon() and revoke_coupon()';
COMMENT ON COLUMN lifecycle.coupon.code_key IS 'The code as it is compared: upper case, without spaces and hyphens';
COMMENT ON COLUMN lifecycle.coupon.code IS 'The code as it is shown';
COMMENT ON COLUMN lifecycle.coupon.offer IS 'What it gives';
COMMENT ON COLUMN lifecycle.coupon.status IS 'free (in the pool), reserved (for a message that is not sent yet), issued, redeemed, expired or revoked';
COMMENT ON COLUMN lifecycle.coupon.customer_id IS 'Whose it is; NULL: nobody''s';
COMMENT ON COLUMN lifecycle.coupon.purpose IS 'What it was issued for: asking again for the same purpose gives the same code. NULL: nothing in particular';
COMMENT ON COLUMN lifecycle.coupon.created_at IS 'When it was imported or generated';
COMMENT ON COLUMN lifecycle.coupon.reserved_until IS 'Reserved: until when';
COMMENT ON COLUMN lifecycle.coupon.issued_at IS 'When it was issued';
COMMENT ON COLUMN lifecycle.coupon.valid_until IS 'From when on it can no longer be redeemed';
COMMENT ON COLUMN lifecycle.coupon.redeemed_at IS 'When it was redeemed';
COMMENT ON COLUMN lifecycle.coupon.redeemed_by IS 'By whom';
COMMENT ON COLUMN lifecycle.coupon.redeemed_order IS 'With which order';
COMMENT ON COLUMN lifecycle.coupon.restored IS 'How often a cancelled order has given it back';

CREATE TABLE lifecycle.coupon_use (
    code_key    text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C",
    "order"     text COLLATE "C",
    outcome     text NOT NULL,
    reason      text,
    at          timestamptz NOT NULL,
    CONSTRAINT coupon_use_outcome_is_known CHECK (outcome IN ('redeemed', 'restored', 'refused', 'revoked'))
);
CREATE INDEX coupon_use_code_idx ON lifecycle.coupon_use (code_key);
COMMENT ON TABLE lifecycle.coupon_use IS 'What became of coupons: each redemption, each restoring, and the orders that came with a code that was not theirs to use';
COMMENT ON COLUMN lifecycle.coupon_use.code_key IS 'The coupon';
COMMENT ON COLUMN lifecycle.coupon_use.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.coupon_use."order" IS 'The order';
COMMENT ON COLUMN lifecycle.coupon_use.outcome IS 'redeemed, restored, refused (an order came with the code, and the shop has accepted what it should not have) or revoked';
COMMENT ON COLUMN lifecycle.coupon_use.reason IS 'Why it was refused or revoked';
COMMENT ON COLUMN lifecycle.coupon_use.at IS 'When';

CREATE FUNCTION lifecycle.check_offer() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF EXISTS (SELECT FROM lifecycle.coupon AS c WHERE c.offer = OLD.name AND c.status IN ('reserved', 'issued')) THEN
        RAISE EXCEPTION 'coupons of offer "%" are out', OLD.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Revoke them first, or set valid_until and let them end.';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION lifecycle.check_offer() IS 'Trigger of lifecycle.offer: refuses to delete or rename what customers hold coupons of';
CREATE TRIGGER check_offer_deleted BEFORE DELETE ON lifecycle.offer
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_offer();
CREATE TRIGGER check_offer_renamed BEFORE UPDATE ON lifecycle.offer
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_offer();

CREATE FUNCTION lifecycle.normal_code(code text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_normal_code';
COMMENT ON FUNCTION lifecycle.normal_code(text) IS 'A code as it is compared: upper case, without spaces and hyphens';

CREATE FUNCTION lifecycle.random_code(length int) RETURNS text
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_random_code';
COMMENT ON FUNCTION lifecycle.random_code(int) IS 'A code from the operating system''s strong random numbers, without letters that look alike; its last character is a check. Errors: a length that is not 6 to 30 (22023)';

CREATE FUNCTION lifecycle.is_code(code text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'lifecycle_is_code';
COMMENT ON FUNCTION lifecycle.is_code(text) IS 'Whether the check character of a generated code (without its prefix) is right: tells a typing error from a code that is not known, without a look into any table';

CREATE FUNCTION lifecycle.deadline(start timestamptz, span interval, zone text, rounding text) RETURNS timestamptz
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_deadline';
COMMENT ON FUNCTION lifecycle.deadline(timestamptz, interval, text, text) IS 'start + span, and then to the end of that day, month, quarter or year (NULL: as it is), counted in a zone; NULL or unknown: the shop''s';

CREATE VIEW lifecycle.coupon_pool AS
    SELECT o.name AS offer, o.codes,
           count(c.*) FILTER (WHERE c.status = 'free') AS free,
           count(c.*) FILTER (WHERE c.status = 'reserved') AS reserved,
           count(c.*) FILTER (WHERE c.status = 'issued') AS issued,
           count(c.*) FILTER (WHERE c.status = 'redeemed') AS redeemed,
           count(c.*) FILTER (WHERE c.status = 'expired') AS expired,
           count(c.*) FILTER (WHERE c.status = 'revoked') AS revoked,
           o.codes = 'pool' AND coalesce(count(c.*) FILTER (WHERE c.status = 'free') <= o.low_water, false) AS low
      FROM lifecycle.offer AS o
      LEFT JOIN lifecycle.coupon AS c ON c.offer = o.name
     GROUP BY o.name, o.codes, o.low_water;
COMMENT ON VIEW lifecycle.coupon_pool IS 'How many coupons of each offer are in which state';
COMMENT ON COLUMN lifecycle.coupon_pool.offer IS 'The offer';
COMMENT ON COLUMN lifecycle.coupon_pool.codes IS 'generated, pool or none';
COMMENT ON COLUMN lifecycle.coupon_pool.free IS 'Codes in the pool';
COMMENT ON COLUMN lifecycle.coupon_pool.reserved IS 'Reserved for messages';
COMMENT ON COLUMN lifecycle.coupon_pool.issued IS 'Issued and not redeemed';
COMMENT ON COLUMN lifecycle.coupon_pool.redeemed IS 'Redeemed';
COMMENT ON COLUMN lifecycle.coupon_pool.expired IS 'Ended without having been redeemed';
COMMENT ON COLUMN lifecycle.coupon_pool.revoked IS 'Revoked';
COMMENT ON COLUMN lifecycle.coupon_pool.low IS 'No more codes are left than the offer''s low_water: time to import some';
