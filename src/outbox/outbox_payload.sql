-- What a mailer needs to render a message without asking back, as it is when the message is claimed.

CREATE FUNCTION lifecycle.fresh_payload(payload jsonb, customer_id text, scenario text, anchor text, channel text) RETURNS jsonb
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_fresh_payload';
COMMENT ON FUNCTION lifecycle.fresh_payload(jsonb, text, text, text, text) IS 'Internal: a message''s payload as it is now';

-- By its number: whoever could hand in a row of his own making could ask about anybody.
CREATE FUNCTION lifecycle.payload_of(message_id bigint) RETURNS jsonb
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, because mailers ask and may read nothing but the outbox.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN o.status IN ('pending', 'leased')
                THEN lifecycle.fresh_payload(o.payload, o.customer_id, o.scenario, o.anchor, o.channel)
                ELSE o.payload END
      FROM lifecycle.outbox AS o
     WHERE o.message_id = payload_of.message_id
$$;
COMMENT ON FUNCTION lifecycle.payload_of(bigint) IS 'The payload of a message as lifecycle.claim() would return it now; of one that has ended, what it was sent with. For mailers that poll with plain SQL: SELECT o.*, lifecycle.payload_of(o.message_id) FROM lifecycle.outbox AS o ...';
