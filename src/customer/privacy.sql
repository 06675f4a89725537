-- Who has been erased, who has been asked for consent, and the keys that nobody may read.

CREATE TABLE lifecycle.secret (
    purpose text NOT NULL,
    key     bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    CONSTRAINT secret_pkey PRIMARY KEY (purpose),
    CONSTRAINT secret_purpose_is_known CHECK (purpose IN ('unsubscribe', 'erasure'))
);
COMMENT ON TABLE lifecycle.secret IS 'Internal: keys of signatures and hashes. No role is given a right to read it';
COMMENT ON COLUMN lifecycle.secret.purpose IS 'unsubscribe: signs the tokens in messages; erasure: hashes the ids of erased customers';
COMMENT ON COLUMN lifecycle.secret.key IS 'Random, 32 bytes';

-- A dump brings the keys of the database it was made from: links in messages that were sent go on working, and the erased stay erased.
CREATE FUNCTION lifecycle.replace_secret() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM lifecycle.secret AS s WHERE s.purpose = NEW.purpose;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.replace_secret() IS 'Trigger of lifecycle.secret: a key that comes from a dump takes the place of the one made here';

CREATE TRIGGER replace_secret BEFORE INSERT ON lifecycle.secret
    FOR EACH ROW EXECUTE FUNCTION lifecycle.replace_secret();
INSERT INTO lifecycle.secret (purpose) VALUES ('unsubscribe'), ('erasure');

CREATE TABLE lifecycle.erased (
    customer_hash bytea NOT NULL,
    erased_at     timestamptz NOT NULL,
    CONSTRAINT erased_pkey PRIMARY KEY (customer_hash)
);
COMMENT ON TABLE lifecycle.erased IS 'Customers who have been erased with lifecycle.forget(): what the shop says of them is passed over until lifecycle.readmit()';
COMMENT ON COLUMN lifecycle.erased.customer_hash IS 'Keyed hash of the id, which tells nobody who it is';
COMMENT ON COLUMN lifecycle.erased.erased_at IS 'When';

CREATE FUNCTION lifecycle.customer_hash(customer_id text) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN lifecycle.hmac((SELECT s.key FROM lifecycle.secret AS s WHERE s.purpose = 'erasure'), convert_to(customer_id, 'UTF8'));
COMMENT ON FUNCTION lifecycle.customer_hash(text) IS 'Internal: what lifecycle.erased keeps of a customer''s id';

CREATE FUNCTION lifecycle.is_erased(customer_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    -- SECURITY DEFINER, because nobody but the owner may read the key.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN EXISTS (SELECT FROM lifecycle.erased AS e WHERE e.customer_hash = lifecycle.customer_hash(is_erased.customer_id));
END
$$;
COMMENT ON FUNCTION lifecycle.is_erased(text) IS 'Whether a customer of this id has been erased and not readmitted';

CREATE FUNCTION lifecycle.readmit(customer_id text) RETURNS boolean
    LANGUAGE plpgsql
    -- SECURITY DEFINER, because nobody but the owner may read the key.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM lifecycle.erased AS e WHERE e.customer_hash = lifecycle.customer_hash(readmit.customer_id);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION lifecycle.readmit(text) IS 'An erased customer has come back: what the shop says of this id from now on counts again; what was erased does not return. False: nobody of this id has been erased';

CREATE TABLE lifecycle.consent_policy (
    only_row        boolean NOT NULL DEFAULT true,
    valid_for       interval NOT NULL DEFAULT '7 days',
    ask_again_after interval NOT NULL DEFAULT '15 minutes',
    at_most         int4 NOT NULL DEFAULT 5,
    CONSTRAINT consent_policy_pkey PRIMARY KEY (only_row),
    CONSTRAINT consent_policy_has_one_row CHECK (only_row),
    CONSTRAINT consent_policy_valid_for_is_positive CHECK (valid_for > '0'),
    CONSTRAINT consent_policy_ask_again_after_is_not_negative CHECK (ask_again_after >= '0'),
    CONSTRAINT consent_policy_at_most_is_positive CHECK (at_most > 0)
);
COMMENT ON TABLE lifecycle.consent_policy IS 'How double opt-in is run, in one row; without it the defaults hold';
COMMENT ON COLUMN lifecycle.consent_policy.only_row IS 'Keeps the table at one row';
COMMENT ON COLUMN lifecycle.consent_policy.valid_for IS 'How long a token can be confirmed';
COMMENT ON COLUMN lifecycle.consent_policy.ask_again_after IS 'How soon a customer can be asked again on the same channel';
COMMENT ON COLUMN lifecycle.consent_policy.at_most IS 'How often, within valid_for, a customer can be asked on the same channel';

CREATE TABLE lifecycle.consent_request (
    customer_id  text COLLATE "C" NOT NULL,
    channel      text NOT NULL,
    token_hash   bytea NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    confirmed_at timestamptz,
    evidence     text,
    CONSTRAINT consent_request_pkey PRIMARY KEY (customer_id, token_hash)
);
CREATE INDEX consent_request_token_hash_idx ON lifecycle.consent_request (token_hash);
COMMENT ON TABLE lifecycle.consent_request IS 'Who has been asked to confirm a consent; see lifecycle.request_consent()';
COMMENT ON COLUMN lifecycle.consent_request.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.consent_request.channel IS 'email, sms, push or ads';
COMMENT ON COLUMN lifecycle.consent_request.token_hash IS 'SHA-256 of the token, which itself is kept nowhere';
COMMENT ON COLUMN lifecycle.consent_request.requested_at IS 'When';
COMMENT ON COLUMN lifecycle.consent_request.expires_at IS 'From when on the token is of no use';
COMMENT ON COLUMN lifecycle.consent_request.confirmed_at IS 'When it was used; NULL: not yet';
COMMENT ON COLUMN lifecycle.consent_request.evidence IS 'What proves that the customer has asked: wording, address, form';

CREATE FUNCTION lifecycle.add_in_zone(at timestamptz, span interval, time_zone text) RETURNS timestamptz
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_add_in_zone';
COMMENT ON FUNCTION lifecycle.add_in_zone(timestamptz, interval, text) IS 'Internal: at + span, days and months counted in this zone, or the shop''s if it is NULL or unknown';

CREATE FUNCTION lifecycle.check_consent_channel(channel text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF channel IS NULL OR channel NOT IN ('email', 'sms', 'push', 'ads') THEN
        RAISE EXCEPTION 'channel of a consent is not known'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(quote_literal(channel), 'NULL')),
                  HINT = 'Consents are for email, sms, push or ads.';
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.check_consent_channel(text) IS 'Internal: refuses what is none of email, sms, push, ads';

CREATE FUNCTION lifecycle.as_token(value bytea) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN translate(encode(value, 'base64'), E'+/=\n', '-_');
COMMENT ON FUNCTION lifecycle.as_token(bytea) IS 'Internal: base64url';

-- Inlined where it is used, for many messages at once.
CREATE FUNCTION lifecycle.signed_token(said bytea, key bytea) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lifecycle.as_token(said) || '.' || lifecycle.as_token(lifecycle.hmac(key, said));
COMMENT ON FUNCTION lifecycle.signed_token(bytea, bytea) IS 'Internal: what is said, and a signature of it';

CREATE FUNCTION lifecycle.unsubscribe_token(customer_id text, channel text) RETURNS text
    LANGUAGE plpgsql STABLE
    -- SECURITY DEFINER, because nobody but the owner may read the key.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    said bytea := convert_to(channel || ':' || customer_id, 'UTF8');
BEGIN
    PERFORM lifecycle.check_consent_channel(channel);
    RETURN lifecycle.signed_token(said, (SELECT s.key FROM lifecycle.secret AS s WHERE s.purpose = 'unsubscribe'));
END
$$;
COMMENT ON FUNCTION lifecycle.unsubscribe_token(text, text) IS 'The token for the unsubscribe link of messages to a customer on a channel (email, sms, push, ads). Signed, the same every time, and valid for ever. NULL: no customer. Errors: an unknown channel (22023)';
