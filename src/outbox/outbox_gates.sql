-- Whether a message may go out: suppressed addresses, and the gates that are asked when a message is claimed and before it is sent.

CREATE TABLE lifecycle.suppression (
    address_hash  bytea NOT NULL,
    reason        text NOT NULL,
    suppressed_at timestamptz NOT NULL DEFAULT lifecycle.now(),
    note          text,
    CONSTRAINT suppression_pkey PRIMARY KEY (address_hash, reason),
    CONSTRAINT suppression_reason_is_known CHECK (reason IN ('hard_bounce', 'complaint', 'sunset', 'manual')),
    CONSTRAINT suppression_address_hash_is_sha256 CHECK (octet_length(address_hash) = 32)
);
COMMENT ON TABLE lifecycle.suppression IS 'Addresses that get nothing; with sunset no marketing. Delete a row to lift it';
COMMENT ON COLUMN lifecycle.suppression.address_hash IS 'lifecycle.address_hash() of the address, so that this survives merge, erasure and import';
COMMENT ON COLUMN lifecycle.suppression.reason IS 'hard_bounce, complaint, sunset or manual; an address may have several';
COMMENT ON COLUMN lifecycle.suppression.suppressed_at IS 'Since when';
COMMENT ON COLUMN lifecycle.suppression.note IS 'What the provider or the person who did it said';

CREATE FUNCTION lifecycle.address_hash(address text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN sha256(convert_to(CASE WHEN strpos(address, '@') > 0 THEN lower(btrim(address))
                                  ELSE regexp_replace(regexp_replace(address, '[^0-9+]', '', 'g'), '^00', '+') END, 'UTF8'));
COMMENT ON FUNCTION lifecycle.address_hash(text) IS 'SHA-256 of an address: of e-mail addresses in lower case without surrounding blanks, of others the digits, with + for a leading 00';

CREATE FUNCTION lifecycle.suppress(address text, reason text DEFAULT 'manual', note text DEFAULT NULL) RETURNS void
    LANGUAGE sql
    -- SECURITY DEFINER: who may report a bounce need not be able to read or lift suppressions.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO lifecycle.suppression AS s (address_hash, reason, note)
        SELECT lifecycle.address_hash(suppress.address), suppress.reason, suppress.note
         WHERE btrim(suppress.address) <> ''
    ON CONFLICT (address_hash, reason) DO NOTHING;
$$;
COMMENT ON FUNCTION lifecycle.suppress(text, text, text) IS 'Sends nothing to an address any more: reason hard_bounce, complaint, sunset (marketing only) or manual';

CREATE FUNCTION lifecycle.address_key(address text) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ('x' || encode(substr(lifecycle.address_hash(address), 1, 8), 'hex'))::bit(64)::bigint;
COMMENT ON FUNCTION lifecycle.address_key(text) IS 'Internal: what caps that count by address know it by';

CREATE FUNCTION lifecycle.bought_elsewhere(customer_id text, address text, since timestamptz, until timestamptz) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    -- With its collation said: an argument takes that of whatever the caller compares, and with "C" the index on email is not found.
    SELECT EXISTS (SELECT FROM lifecycle.customer AS c
                    WHERE c.customer_id IN (address, lower(address)) AND c.customer_id <> bought_elsewhere.customer_id
                      AND c.last_order_at >= since AND c.last_order_at < until)
        OR EXISTS (SELECT FROM lifecycle.customer AS c
                    WHERE c.email IN (address COLLATE "default", lower(address COLLATE "default")) AND c.customer_id <> bought_elsewhere.customer_id
                      AND c.last_order_at >= since AND c.last_order_at < until)
$$;
COMMENT ON FUNCTION lifecycle.bought_elsewhere(text, text, timestamptz, timestamptz) IS 'Internal: whether somebody else with this e-mail address, a guest by that id or another account, has ordered in that time';

CREATE FUNCTION lifecycle.gates(customers text[], recipients text[], scenarios text[], anchors text[], channels text[], classes text[])
    RETURNS TABLE (n bigint, reason text, until timestamptz)
    -- Works as the owner of the extension, because mailers ask and have no business in enrolments, customers and suppressions.
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_gates';
COMMENT ON FUNCTION lifecycle.gates(text[], text[], text[], text[], text[], text[]) IS 'For each of several messages the reason code for which it must not go out: suppressed, no_consent, goal_met, exited, quiet_hours; NULL: it may. until: when it may after all; NULL: never';

CREATE FUNCTION lifecycle.gate(message lifecycle.outbox) RETURNS text
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, because mailers ask and have no business in gates().
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT g.reason
      FROM lifecycle.gates(ARRAY[message.customer_id], ARRAY[message.recipient], ARRAY[message.scenario], ARRAY[message.anchor],
                           ARRAY[message.channel], ARRAY[message.class]) AS g
$$;
COMMENT ON FUNCTION lifecycle.gate(lifecycle.outbox) IS 'The reason code for which a message must not go out, NULL: it may. For mailers that poll with plain SQL: AND lifecycle.gate(o) IS NULL';
