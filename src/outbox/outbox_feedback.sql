-- What comes back after a message was sent.

CREATE FUNCTION lifecycle.message_of_key(idempotency_key text) RETURNS SETOF lifecycle.outbox
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
BEGIN
    -- The key ends with the customer's id, which may have colons of its own, and the customer may have been merged into another since.
    -- So no index on the key alone is needed.
    RETURN QUERY
        SELECT o.*
          FROM regexp_split_to_table(message_of_key.idempotency_key, '') WITH ORDINALITY AS c (letter, n)
         CROSS JOIN LATERAL (SELECT substr(message_of_key.idempotency_key, c.n::int4 + 1) AS customer_id) AS e
          LEFT JOIN lifecycle.merged AS m ON m.customer_id = e.customer_id
          JOIN lifecycle.outbox AS o ON o.customer_id = coalesce(m.into_id, e.customer_id) AND o.idempotency_key = message_of_key.idempotency_key
         WHERE c.letter = ':';
END
$$;
COMMENT ON FUNCTION lifecycle.message_of_key(text) IS 'The message with this idempotency key';

CREATE FUNCTION lifecycle.take_feedback(customers text[], types text[], at timestamptz[], messages text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO lifecycle.suppression (address_hash, reason, suppressed_at, note)
        SELECT lifecycle.address_hash(f.address), CASE f.type WHEN 'bounce' THEN 'hard_bounce' ELSE 'complaint' END, min(f.at),
               'message ' || min(f.message)
          FROM (SELECT u.type, u.at, u.message,
                       -- Where no message is named it is about the address that is known now.
                       CASE WHEN u.message ~ '^[0-9]{1,18}$'
                            THEN (SELECT o.recipient FROM lifecycle.outbox AS o
                                   WHERE o.message_id = u.message::bigint AND o.customer_id = u.customer_id LIMIT 1)
                            WHEN u.message IS NOT NULL
                            THEN (SELECT o.recipient FROM lifecycle.outbox AS o
                                   WHERE o.customer_id = u.customer_id AND o.idempotency_key = u.message LIMIT 1)
                            ELSE (SELECT coalesce(c.email, substring(c.customer_id FROM '^[^@ ]+@[^@ ]+$')) FROM lifecycle.customer AS c
                                   WHERE c.customer_id = u.customer_id) END AS address
                  FROM unnest(customers, types, at, messages) AS u (customer_id, type, at, message)
                 WHERE u.type IN ('bounce', 'complaint')) AS f
         WHERE btrim(f.address) <> ''
         GROUP BY 1, 2
    ON CONFLICT (address_hash, reason) DO NOTHING;
END
$$;
COMMENT ON FUNCTION lifecycle.take_feedback(text[], text[], timestamptz[], text[]) IS 'Internal: suppresses the addresses that bounces and complaints are about. Each has a customer, a type, its time and the message (number or key) if known; other types are passed over';

CREATE FUNCTION lifecycle.feedback(type text, message_id bigint DEFAULT NULL, idempotency_key text DEFAULT NULL,
                                   occurred_at timestamptz DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a mailer can pass on what its provider reports with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    message lifecycle.outbox;
BEGIN
    IF type IS NULL OR type NOT IN ('open', 'click', 'bounce', 'complaint') THEN
        RAISE EXCEPTION 'type of feedback is not known'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(quote_literal(type), 'NULL')),
                  HINT = 'Use open, click, bounce (hard bounces only) or complaint.';
    END IF;
    IF feedback.message_id IS NOT NULL THEN
        SELECT o.* INTO message FROM lifecycle.outbox AS o WHERE o.message_id = feedback.message_id LIMIT 1;
    ELSE
        SELECT m.* INTO message FROM lifecycle.message_of_key(feedback.idempotency_key) AS m LIMIT 1;
    END IF;
    IF message.message_id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM lifecycle.track(message.customer_id, 'engagement', jsonb_build_object('type', type, 'message', message.message_id::text),
                            coalesce(occurred_at, lifecycle.now()));
    RETURN true;
END
$$;
COMMENT ON FUNCTION lifecycle.feedback(text, bigint, text, timestamptz) IS 'What a provider reports of a message, by its number or its idempotency key: open, click, bounce or complaint. Hard bounces and complaints suppress the address it went to. False: there is no such message';
