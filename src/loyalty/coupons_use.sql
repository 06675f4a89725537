-- The life of a coupon: into the pool, to a customer, into an order.

CREATE FUNCTION lifecycle.find_offer(offer text) RETURNS lifecycle.offer
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found_offer lifecycle.offer;
BEGIN
    SELECT o.* INTO found_offer FROM lifecycle.offer AS o WHERE o.name = find_offer.offer;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'offer "%" does not exist', offer
            USING ERRCODE = 'undefined_object', HINT = 'Insert it into lifecycle.offer.';
    END IF;
    RETURN found_offer;
END
$$;
COMMENT ON FUNCTION lifecycle.find_offer(text) IS 'Internal: an offer, or the error that there is none';

CREATE FUNCTION lifecycle.import_coupons(offer text, codes text[]) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    pool  lifecycle.offer := lifecycle.find_offer(offer);
    taken bigint;
BEGIN
    IF pool.codes <> 'pool' THEN
        RAISE EXCEPTION 'offer "%" has no pool', offer
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set its codes to pool first.';
    END IF;
    INSERT INTO lifecycle.coupon (code_key, code, offer, created_at)
        SELECT lifecycle.normal_code(u.code), btrim(u.code), pool.name, lifecycle.now()
          FROM unnest(import_coupons.codes) AS u (code)
         WHERE lifecycle.normal_code(u.code) <> ''
        ON CONFLICT (code_key) DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken;
END
$$;
COMMENT ON FUNCTION lifecycle.import_coupons(text, text[]) IS 'Puts codes into the pool of an offer; those that are known already, of whatever offer, are passed over. Returns how many were new';

CREATE FUNCTION lifecycle.validity_end(pool lifecycle.offer, issued_at timestamptz, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT least(coalesce(lifecycle.deadline(issued_at, pool.validity, zone, pool.validity_rounding), 'infinity'),
                 coalesce(pool.valid_until, 'infinity'))
$$;
COMMENT ON FUNCTION lifecycle.validity_end(lifecycle.offer, timestamptz, text) IS 'Internal: when a coupon of an offer ends that is issued at an instant to somebody in a zone';

CREATE FUNCTION lifecycle.take_codes(pool lifecycle.offer, wanted int) RETURNS text[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    taken text[] := '{}';
    made  text[];
BEGIN
    IF pool.codes = 'pool' THEN
        SELECT array_agg(f.code_key) INTO taken
          FROM (SELECT c.code_key FROM lifecycle.coupon AS c
                 WHERE c.offer = pool.name AND c.status = 'free' LIMIT wanted FOR UPDATE SKIP LOCKED) AS f;
        IF pool.low_water IS NOT NULL
           AND (SELECT count(*) FROM (SELECT FROM lifecycle.coupon AS c WHERE c.offer = pool.name AND c.status = 'free'
                                       LIMIT pool.low_water::bigint + wanted + 1) AS c) <= pool.low_water::bigint + wanted THEN
            PERFORM lifecycle.notify_at_commit('lifecycle_coupon_pool', pool.name);
        END IF;
        RETURN taken;
    END IF;
    WHILE pool.codes = 'generated' AND cardinality(taken) < wanted LOOP
        WITH fresh AS (
            INSERT INTO lifecycle.coupon (code_key, code, offer, created_at)
                SELECT pool.prefix || r.code, pool.prefix || r.code, pool.name, lifecycle.now()
                  FROM (SELECT lifecycle.random_code(pool.code_length) AS code
                          FROM generate_series(1, wanted - cardinality(taken)) OFFSET 0) AS r
                ON CONFLICT (code_key) DO NOTHING
                RETURNING code_key)
        SELECT array_agg(f.code_key) INTO made FROM fresh AS f;
        taken := taken || made;
    END LOOP;
    RETURN taken;
END
$$;
COMMENT ON FUNCTION lifecycle.take_codes(lifecycle.offer, int) IS 'Internal: that many free codes, locked, or as many as there are. Notifies lifecycle_coupon_pool when few are left';

CREATE FUNCTION lifecycle.hand_out_coupon(pool lifecycle.offer, owner text, reason text, until timestamptz) RETURNS lifecycle.coupon
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    mine  lifecycle.coupon;
    taken text;
BEGIN
    IF owner IS NULL OR owner = '' THEN
        RAISE EXCEPTION 'a coupon is issued to a customer' USING ERRCODE = 'null_value_not_allowed', HINT = 'Give the customer''s id.';
    END IF;
    owner := lifecycle.merged_into(owner);
    -- Two who ask for the same purpose at the same time must get the same code: the second waits for the first.
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id = owner FOR UPDATE;
    IF reason IS NOT NULL THEN
        SELECT c.* INTO mine FROM lifecycle.coupon AS c
         WHERE (c.customer_id, c.offer, c.purpose) = (owner, pool.name, reason)
           FOR UPDATE;
    END IF;
    IF mine.code_key IS NULL THEN
        IF pool.valid_until <= lifecycle.now() THEN
            RAISE EXCEPTION 'offer "%" has ended', pool.name
                USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('It was valid until %s.', pool.valid_until);
        END IF;
        taken := (lifecycle.take_codes(pool, 1))[1];
    ELSIF mine.status <> 'reserved' THEN
        RETURN mine;
    ELSE
        taken := mine.code_key;
    END IF;
    UPDATE lifecycle.coupon AS c
       SET customer_id = owner, purpose = reason,
           status = CASE WHEN until IS NULL THEN 'issued' ELSE 'reserved' END,
           reserved_until = until,
           issued_at = CASE WHEN until IS NULL THEN lifecycle.now() END,
           valid_until = CASE WHEN until IS NULL
                              THEN lifecycle.validity_end(pool, lifecycle.now(),
                                                          (SELECT p.time_zone FROM lifecycle.customer AS p WHERE p.customer_id = owner))
                              ELSE 'infinity' END
     WHERE c.code_key = taken
    RETURNING c.* INTO mine;
    RETURN mine;
END
$$;
COMMENT ON FUNCTION lifecycle.hand_out_coupon(lifecycle.offer, text, text, timestamptz) IS 'Internal: issues a coupon, or reserves it until an instant; all NULL: the pool is empty';

CREATE FUNCTION lifecycle.try_issue_coupon(offer text, customer_id text, purpose text DEFAULT NULL) RETURNS text
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$ SELECT (lifecycle.hand_out_coupon(lifecycle.find_offer(offer), customer_id, purpose, NULL)).code $$;
COMMENT ON FUNCTION lifecycle.try_issue_coupon(text, text, text) IS 'Like issue_coupon(), but NULL if the pool is empty: for a caller who then skips, defers or sends without a code';

CREATE FUNCTION lifecycle.issue_coupon(offer text, customer_id text, purpose text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    issued text := lifecycle.try_issue_coupon(offer, customer_id, purpose);
BEGIN
    IF issued IS NULL THEN
        IF (lifecycle.find_offer(offer)).codes = 'none' THEN
            RAISE EXCEPTION 'offer "%" has no codes', offer
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set its codes to generated or pool.';
        END IF;
        RAISE EXCEPTION 'the coupon pool of offer "%" is empty', offer
            USING ERRCODE = 'no_data_found', HINT = 'Bring more codes with lifecycle.import_coupons().';
    END IF;
    RETURN issued;
END
$$;
COMMENT ON FUNCTION lifecycle.issue_coupon(text, text, text) IS 'Issues a coupon of an offer to a customer, valid from now on; asked again for the same purpose, the same one. Returns its code. Errors: an offer that does not exist (42704), has ended or has no codes (55000), an empty pool (P0002)';

CREATE FUNCTION lifecycle.reserve_coupon(offer text, customer_id text, purpose text, until timestamptz) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF purpose IS NULL OR until IS NULL THEN
        RAISE EXCEPTION 'a coupon is reserved for a purpose and until an instant' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    RETURN (lifecycle.hand_out_coupon(lifecycle.find_offer(offer), customer_id, purpose, until)).code;
END
$$;
COMMENT ON FUNCTION lifecycle.reserve_coupon(text, text, text, timestamptz) IS 'Sets a code aside until issue_coupon() is called for the same purpose, release_coupon() gives it back, or the instant has passed. Returns the code; NULL: the pool is empty';

CREATE FUNCTION lifecycle.release_coupon(offer text, customer_id text, purpose text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    released text;
BEGIN
    UPDATE lifecycle.coupon AS c
       SET status = CASE WHEN o.codes = 'pool' THEN 'free' ELSE 'revoked' END,
           customer_id = NULL, purpose = NULL, reserved_until = NULL, issued_at = NULL, valid_until = 'infinity'
      FROM lifecycle.offer AS o
     WHERE (c.customer_id, c.offer, c.purpose) = (lifecycle.merged_into(release_coupon.customer_id), release_coupon.offer, release_coupon.purpose)
       AND c.status IN ('reserved', 'issued') AND o.name = c.offer
    RETURNING c.code_key INTO released;
    RETURN released IS NOT NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.release_coupon(text, text, text) IS 'Takes back a coupon that was reserved or issued for a purpose and that nobody has seen: its message was cancelled or expired unsent. A pool''s code is free again. Returns whether there was one';

CREATE FUNCTION lifecycle.coupon_purpose(scenario text, anchor text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN concat_ws(':', 'scenario', scenario, anchor);
COMMENT ON FUNCTION lifecycle.coupon_purpose(text, text) IS 'Internal: the purpose of the coupons that the messages of an enrolment bring';

-- The customers are locked, so nobody else asks for the same purpose meanwhile.
CREATE FUNCTION lifecycle.bind_coupons(customers text[], offers text[], purposes text[], zones text[], clock timestamptz) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    pool  lifecycle.offer;
    asked bigint[];
    bound bigint[];
    taken text[];
BEGIN
    FOR pool IN
        SELECT o.* FROM lifecycle.offer AS o WHERE o.name = ANY (offers) AND clock < coalesce(o.valid_until, 'infinity') ORDER BY o.name
    LOOP
        SELECT array_agg(u.n ORDER BY u.n), array_agg(u.n) FILTER (WHERE pool.codes = 'none' OR c.code_key IS NOT NULL)
          INTO asked, bound
          FROM unnest(customers, offers, purposes) WITH ORDINALITY AS u (customer, offer, purpose, n)
          LEFT JOIN lifecycle.coupon AS c ON (c.customer_id, c.offer, c.purpose) = (u.customer, u.offer, u.purpose)
         WHERE u.offer = pool.name;
        bound := coalesce(bound, '{}');
        RETURN QUERY SELECT unnest(bound);
        asked := ARRAY(SELECT a FROM unnest(asked) AS a WHERE a <> ALL (bound));
        CONTINUE WHEN cardinality(asked) = 0;
        taken := lifecycle.take_codes(pool, cardinality(asked));
        RETURN QUERY
            UPDATE lifecycle.coupon AS c
               SET customer_id = customers[t.n], purpose = purposes[t.n], status = 'issued', issued_at = clock,
                   valid_until = lifecycle.validity_end(pool, clock, zones[t.n])
              FROM unnest(taken, asked) AS t (code_key, n)
             WHERE c.code_key = t.code_key
            RETURNING t.n;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.bind_coupons(text[], text[], text[], text[], timestamptz) IS 'Internal: issues coupons to several customers, who are locked, and returns the numbers (from 1) of those who have theirs or need none; the others'' pools are empty or their offers have ended';

CREATE FUNCTION lifecycle.renew_coupons(codes text[], bound_at timestamptz[], clock timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
    AS $$
BEGIN
    UPDATE lifecycle.coupon AS c
       SET issued_at = clock, valid_until = lifecycle.validity_end(o, clock, (SELECT p.time_zone FROM lifecycle.customer AS p WHERE p.customer_id = c.customer_id))
      FROM unnest(codes, bound_at) AS u (code, at), lifecycle.offer AS o
     WHERE c.code_key = lifecycle.normal_code(u.code) AND c.status = 'issued' AND c.issued_at = u.at AND o.name = c.offer;
END
$$;
COMMENT ON FUNCTION lifecycle.renew_coupons(text[], timestamptz[], timestamptz) IS 'Internal: lets the validity of coupons begin now that have been bound to a message at these instants and that no mailer has had yet';

-- Inlined where it is used, for many messages at once; so it sets nothing, and says UTC itself.
CREATE FUNCTION lifecycle.told_offer(told lifecycle.offer, bound lifecycle.coupon) RETURNS jsonb
    LANGUAGE sql STABLE
    RETURN CASE WHEN bound.code IS NOT NULL OR (told.codes = 'none' AND lifecycle.now() < coalesce(told.valid_until, 'infinity'))
                THEN jsonb_build_object('name', told.name, 'kind', told.kind, 'value', told.value, 'description', NULLIF(told.description, '{}'),
                                        'code', bound.code,
                                        'valid_until', to_char(NULLIF(least(bound.valid_until, told.valid_until), 'infinity') AT TIME ZONE 'UTC',
                                                               'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')) END;
COMMENT ON FUNCTION lifecycle.told_offer(lifecycle.offer, lifecycle.coupon) IS 'Internal: an offer as a message''s payload has it; NULL: it needs a code and has none';

CREATE FUNCTION lifecycle.tidy_coupons() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE lifecycle.coupon AS c SET status = 'expired'
     WHERE c.status = 'issued' AND c.valid_until <= lifecycle.now();
    UPDATE lifecycle.coupon AS c
       SET status = CASE WHEN o.codes = 'pool' THEN 'free' ELSE 'revoked' END, customer_id = NULL, purpose = NULL, reserved_until = NULL
      FROM lifecycle.offer AS o
     WHERE c.status = 'reserved' AND c.reserved_until <= lifecycle.now() AND o.name = c.offer
$$;
COMMENT ON FUNCTION lifecycle.tidy_coupons() IS 'Internal: marks coupons that have ended, and puts back those that were reserved in vain';

-- Why a coupon, whose row the caller has locked, cannot be redeemed; NULL: it can.
CREATE FUNCTION lifecycle.coupon_refusal(asked lifecycle.coupon, buyer text, clock timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN asked.status = 'redeemed' THEN 'is redeemed already'
                WHEN asked.status = 'revoked' THEN 'is revoked'
                WHEN asked.status = 'expired' OR asked.valid_until <= clock OR o.valid_until <= clock THEN 'has expired'
                WHEN asked.status IN ('free', 'reserved') AND o.owner_bound THEN 'has not been issued'
                WHEN asked.status = 'reserved' THEN 'has not been issued'
                WHEN o.owner_bound AND asked.customer_id IS DISTINCT FROM buyer THEN 'belongs to somebody else' END
      FROM lifecycle.offer AS o
     WHERE o.name = asked.offer
$$;
COMMENT ON FUNCTION lifecycle.coupon_refusal(lifecycle.coupon, text, timestamptz) IS 'Internal: why a coupon cannot be redeemed; NULL: it can';

CREATE FUNCTION lifecycle.mark_redeemed(key text, buyer text, paid_order text, clock timestamptz) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE lifecycle.coupon AS c
       SET status = 'redeemed', redeemed_at = clock, redeemed_by = buyer, redeemed_order = paid_order
     WHERE c.code_key = key;
    INSERT INTO lifecycle.coupon_use (code_key, customer_id, "order", outcome, at) VALUES (key, buyer, paid_order, 'redeemed', clock)
$$;
COMMENT ON FUNCTION lifecycle.mark_redeemed(text, text, text, timestamptz) IS 'Internal: redeems a coupon that the caller has locked and found good';

-- SECURITY DEFINER: a checkout's role needs EXECUTE on this function and no right on any table. It writes only through what is fixed here.
CREATE FUNCTION lifecycle.redeem_coupon(code text, "order" text, customer_id text, OUT offer text, OUT kind text, OUT value numeric)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    asked  lifecycle.coupon;
    reason text;
BEGIN
    IF redeem_coupon."order" IS NULL OR redeem_coupon."order" = '' OR redeem_coupon.customer_id IS NULL THEN
        RAISE EXCEPTION 'a coupon is redeemed for an order of a customer'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Give the ids of both.';
    END IF;
    redeem_coupon.customer_id := lifecycle.merged_into(redeem_coupon.customer_id);
    -- The customer first, then the coupon: an order that names the coupon locks them in that order, too.
    PERFORM FROM lifecycle.customer AS c WHERE c.customer_id = redeem_coupon.customer_id FOR UPDATE;
    SELECT c.* INTO asked FROM lifecycle.coupon AS c WHERE c.code_key = lifecycle.normal_code(redeem_coupon.code) FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'coupon "%" is not known', redeem_coupon.code USING ERRCODE = 'no_data_found', HINT = 'Look for a typing error.';
    END IF;
    -- The same order again is a retry, not a second use.
    IF asked.status <> 'redeemed' OR (asked.redeemed_order, asked.redeemed_by) IS DISTINCT FROM (redeem_coupon."order", redeem_coupon.customer_id) THEN
        reason := lifecycle.coupon_refusal(asked, redeem_coupon.customer_id, lifecycle.now());
        IF reason IS NOT NULL THEN
            RAISE EXCEPTION 'coupon "%" %', asked.code, reason
                USING ERRCODE = 'check_violation',
                      DETAIL = CASE asked.status WHEN 'redeemed' THEN format('It was redeemed at %s.', asked.redeemed_at)
                                                 ELSE format('Its offer is "%s", its validity ends at %s.', asked.offer, asked.valid_until) END,
                      HINT = 'Take the order without it.';
        END IF;
        PERFORM lifecycle.mark_redeemed(asked.code_key, redeem_coupon.customer_id, redeem_coupon."order", lifecycle.now());
    END IF;
    SELECT o.name, o.kind, o.value INTO redeem_coupon.offer, redeem_coupon.kind, redeem_coupon.value
      FROM lifecycle.offer AS o WHERE o.name = asked.offer;
END
$$;
COMMENT ON FUNCTION lifecycle.redeem_coupon(text, text, text) IS 'Redeems a coupon in the caller''s transaction, once under any concurrency, and returns what it gives. The same order again is no second use. Errors: a code that is not known (P0002); one that is redeemed, expired, revoked, not issued or somebody else''s (23514)';

CREATE FUNCTION lifecycle.revoke_coupon(code text, reason text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    gone lifecycle.coupon;
BEGIN
    UPDATE lifecycle.coupon AS c SET status = 'revoked'
     WHERE c.code_key = lifecycle.normal_code(revoke_coupon.code) AND c.status IN ('free', 'reserved', 'issued')
    RETURNING c.* INTO gone;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO lifecycle.coupon_use (code_key, customer_id, outcome, reason, at)
        VALUES (gone.code_key, gone.customer_id, 'revoked', revoke_coupon.reason, lifecycle.now());
    RETURN true;
END
$$;
COMMENT ON FUNCTION lifecycle.revoke_coupon(text, text) IS 'Makes a coupon worthless that has not been redeemed. Returns whether there was one';

CREATE FUNCTION lifecycle.restore_coupon(key text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used lifecycle.coupon;
BEGIN
    SELECT c.* INTO STRICT used FROM lifecycle.coupon AS c WHERE c.code_key = key FOR UPDATE;
    UPDATE lifecycle.coupon AS c
       SET status = CASE WHEN NOT o.restorable THEN 'revoked'
                         WHEN c.valid_until <= lifecycle.now() THEN 'expired'
                         WHEN c.issued_at IS NULL THEN 'free'
                         ELSE 'issued' END,
           redeemed_at = NULL, redeemed_by = NULL, redeemed_order = NULL, restored = c.restored + 1
      FROM lifecycle.offer AS o
     WHERE c.code_key = key AND o.name = c.offer;
    INSERT INTO lifecycle.coupon_use (code_key, customer_id, "order", outcome, at)
        VALUES (key, used.redeemed_by, used.redeemed_order, 'restored', lifecycle.now());
END
$$;
COMMENT ON FUNCTION lifecycle.restore_coupon(text) IS 'Internal: gives back a coupon whose order was cancelled, if its offer lets it';

CREATE FUNCTION lifecycle.take_in_coupons(customers text[], orders text[], codes text[], former text[], gone int[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    item   record;
    asked  lifecycle.coupon;
    reason text;
BEGIN
    FOR item IN
        SELECT c.code_key
          FROM unnest(customers, orders, codes, former, gone) AS u (customer, paid_order, code, former, is_gone)
          JOIN lifecycle.coupon AS c ON (c.redeemed_by, c.redeemed_order) = (u.customer, u.paid_order) AND c.status = 'redeemed'
         WHERE u.is_gone <> 0
            OR (c.code_key = lifecycle.normal_code(u.former) AND c.code_key IS DISTINCT FROM lifecycle.normal_code(u.code))
         ORDER BY c.code_key
    LOOP
        PERFORM lifecycle.restore_coupon(item.code_key);
    END LOOP;
    FOR item IN
        SELECT c.code_key, u.customer, u.paid_order
          FROM unnest(customers, orders, codes, gone) AS u (customer, paid_order, code, is_gone)
          JOIN lifecycle.coupon AS c ON c.code_key = lifecycle.normal_code(u.code)
         WHERE u.is_gone = 0
         ORDER BY c.code_key
    LOOP
        SELECT c.* INTO STRICT asked FROM lifecycle.coupon AS c WHERE c.code_key = item.code_key FOR UPDATE;
        CONTINUE WHEN asked.status = 'redeemed' AND (asked.redeemed_by, asked.redeemed_order) = (item.customer, item.paid_order);
        reason := lifecycle.coupon_refusal(asked, item.customer, lifecycle.now());
        IF reason IS NULL THEN
            PERFORM lifecycle.mark_redeemed(item.code_key, item.customer, item.paid_order, lifecycle.now());
        ELSE
            INSERT INTO lifecycle.coupon_use (code_key, customer_id, "order", outcome, reason, at)
                VALUES (item.code_key, item.customer, item.paid_order, 'refused', reason, lifecycle.now());
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.take_in_coupons(text[], text[], text[], text[], int[]) IS 'Internal: redeems the coupons that orders came with, and restores those of orders that have gone or come with another one now';
