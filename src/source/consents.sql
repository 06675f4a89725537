-- Consent: asked for, confirmed, withdrawn. What is decided here goes the way of every other fact of kind consent.

-- What the customer has said last on a channel, and as whom: one who was merged is somebody else now.
CREATE FUNCTION lifecycle.consent_of(INOUT customer_id text, channel text, OUT status text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    customer_id := coalesce((SELECT m.into_id FROM lifecycle.merged AS m WHERE m.customer_id = consent_of.customer_id), customer_id);
    -- Locked first, as an order would lock it: whoever comes second sees what the first has said.
    SELECT CASE channel WHEN 'email' THEN c.email_consent WHEN 'sms' THEN c.sms_consent WHEN 'push' THEN c.push_consent ELSE c.ads_consent END
      INTO status
      FROM lifecycle.customer AS c WHERE c.customer_id = consent_of.customer_id
       FOR UPDATE;
END
$$;
COMMENT ON FUNCTION lifecycle.consent_of(text, text) IS 'Internal: locks a customer and returns the id under which it is known, and its consent on a channel';

CREATE FUNCTION lifecycle.request_consent(customer_id text, channel text, evidence text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a web handler can ask with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clock   timestamptz := lifecycle.now();
    policy  lifecycle.consent_policy := coalesce((SELECT p FROM lifecycle.consent_policy AS p), ROW(true, '7 days', '15 minutes', 5)::lifecycle.consent_policy);
    token   text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
    known   record;
    asked   record;
BEGIN
    PERFORM lifecycle.check_consent_channel(channel);
    IF lifecycle.is_erased(request_consent.customer_id) THEN
        RAISE EXCEPTION 'the customer has been erased'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SELECT lifecycle.readmit(customer_id) if this is a new beginning.';
    END IF;
    SELECT * INTO known FROM lifecycle.consent_of(request_consent.customer_id, channel);
    IF known.status = 'granted' THEN
        RETURN NULL;  -- there is nothing to confirm
    END IF;
    -- Creates and locks a customer who is new; so the requests of two sessions are counted one after the other.
    PERFORM lifecycle.track(known.customer_id, 'consent',
                            jsonb_build_object('channel', channel, 'status', 'pending', 'changed_at', clock, 'evidence', evidence));
    SELECT max(r.requested_at) AS last_at, count(*) FILTER (WHERE r.requested_at > clock - policy.valid_for) AS times INTO asked
      FROM lifecycle.consent_request AS r
     WHERE r.customer_id = known.customer_id AND r.channel = request_consent.channel;
    IF asked.last_at > clock - policy.ask_again_after OR asked.times >= policy.at_most THEN
        RAISE EXCEPTION 'the customer has been asked for this consent already'
            USING ERRCODE = 'configuration_limit_exceeded',
                  DETAIL = format('It was asked %s times, last at %s.', asked.times, asked.last_at),
                  HINT = 'See lifecycle.consent_policy for how often one may be asked.';
    END IF;
    DELETE FROM lifecycle.consent_request AS r
     WHERE r.customer_id = known.customer_id AND r.channel = request_consent.channel AND r.expires_at <= clock - policy.valid_for;
    INSERT INTO lifecycle.consent_request (customer_id, channel, token_hash, requested_at, expires_at, evidence)
        VALUES (known.customer_id, channel, sha256(convert_to(token, 'UTF8')), clock, clock + policy.valid_for, evidence);
    RETURN token;
END
$$;
COMMENT ON FUNCTION lifecycle.request_consent(text, text, text) IS
'Double opt-in, first half: the customer has asked to be written to on a channel (email, sms, push, ads). Notes the consent as pending and returns a token
for the link in the message that asks for confirmation; it can be used once and expires. Only its hash is kept. NULL: the consent is granted already.
evidence: what proves that it was asked for.
Errors: asked too often or too soon (53400), an unknown channel (22023), a customer who has been erased (55000)';

CREATE FUNCTION lifecycle.confirm_consent(token text, evidence text DEFAULT NULL, OUT customer_id text, OUT channel text)
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a web handler can confirm with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    clock   timestamptz := lifecycle.now();
    hash    bytea := sha256(convert_to(coalesce(token, ''), 'UTF8'));
    request lifecycle.consent_request;
BEGIN
    SELECT r.* INTO request FROM lifecycle.consent_request AS r WHERE r.token_hash = hash;
    IF FOUND THEN
        -- The customer first, then the request: the order in which everybody locks them.
        PERFORM FROM lifecycle.consent_of(request.customer_id, request.channel);
        SELECT r.* INTO request FROM lifecycle.consent_request AS r WHERE r.token_hash = hash FOR UPDATE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'token is not known'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Links of requests that were forgotten or expired long ago end here too.';
    ELSIF request.confirmed_at IS NOT NULL THEN
        RAISE EXCEPTION 'token has been used'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('It was confirmed at %s.', request.confirmed_at);
    ELSIF request.expires_at <= clock THEN
        RAISE EXCEPTION 'token has expired'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('It could be used until %s.', request.expires_at),
                  HINT = 'Ask for consent again.';
    ELSIF EXISTS (SELECT FROM lifecycle.consent_log AS l
                   WHERE l.customer_id = request.customer_id AND l.channel = request.channel AND l.status = 'revoked'
                     AND coalesce(l.since, l.changed_at) >= request.requested_at) THEN
        RAISE EXCEPTION 'consent has been withdrawn since the token was made'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Ask for consent again.';
    END IF;
    UPDATE lifecycle.consent_request AS r SET confirmed_at = clock
     WHERE r.customer_id = request.customer_id AND r.token_hash = hash;
    PERFORM lifecycle.track(request.customer_id, 'consent',
                            jsonb_build_object('channel', request.channel, 'status', 'granted', 'changed_at', clock,
                                               'evidence', concat_ws('; ', request.evidence, confirm_consent.evidence, format('confirmed, asked at %s', request.requested_at))));
    confirm_consent.customer_id := request.customer_id;
    confirm_consent.channel := request.channel;
END
$$;
COMMENT ON FUNCTION lifecycle.confirm_consent(text, text) IS
'Double opt-in, second half: the customer has followed the link. Grants the consent, once, and returns whose and which it is.
Errors: a token that is not known (22023); one that has been used, has expired, or was made before the consent was withdrawn (55000)';

CREATE FUNCTION lifecycle.unsubscribe(token text, evidence text DEFAULT 'unsubscribe link', OUT customer_id text, OUT channel text)
    LANGUAGE plpgsql
    -- SECURITY DEFINER, so that a web handler can unsubscribe with EXECUTE on this function only.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    code  text := translate(split_part(token, '.', 1), '-_', '+/');
    said  text;
    known record;
BEGIN
    BEGIN
        said := convert_from(decode(rpad(code, (length(code) + 3) / 4 * 4, '='), 'base64'), 'UTF8');
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    unsubscribe.channel := split_part(said, ':', 1);
    unsubscribe.customer_id := substr(said, length(unsubscribe.channel) + 2);
    IF said IS NULL OR unsubscribe.channel NOT IN ('email', 'sms', 'push', 'ads')
       -- Hashed, so that how long it takes to compare them tells nothing.
       OR sha256(convert_to(token, 'UTF8')) <> sha256(convert_to(lifecycle.unsubscribe_token(unsubscribe.customer_id, unsubscribe.channel), 'UTF8')) THEN
        RAISE EXCEPTION 'token is not valid'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is what lifecycle.unsubscribe_token() has returned, whole.';
    END IF;
    SELECT * INTO known FROM lifecycle.consent_of(unsubscribe.customer_id, unsubscribe.channel);
    IF known.status IS DISTINCT FROM 'revoked' AND NOT lifecycle.is_erased(known.customer_id) THEN
        PERFORM lifecycle.track(known.customer_id, 'consent',
                                jsonb_build_object('channel', unsubscribe.channel, 'status', 'revoked', 'changed_at', lifecycle.now(), 'evidence', evidence));
    END IF;
END
$$;
COMMENT ON FUNCTION lifecycle.unsubscribe(text, text) IS
'Withdraws the consent that a token of lifecycle.unsubscribe_token() is about; messages that wait for it are cancelled in the same transaction. May be
called as often as one likes (one click, RFC 8058). Returns whose consent and which. Errors: a token that was not made here (22023)';

CREATE FUNCTION lifecycle.grant_web(role regrole) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM lifecycle.check_grantor();
    EXECUTE format('GRANT USAGE ON SCHEMA lifecycle TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION lifecycle.request_consent, lifecycle.confirm_consent, lifecycle.unsubscribe TO %s', role);
END
$$;
COMMENT ON FUNCTION lifecycle.grant_web(regrole) IS 'Lets the role of a web shop ask for consents, confirm and withdraw them, and nothing else';
