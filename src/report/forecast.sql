-- What will be sent, if nothing more is said.

CREATE FUNCTION lifecycle.foresee(customers text[], start timestamptz, until timestamptz)
    RETURNS TABLE (customer_id text, scenario text, anchor text, step int, variant text, channel text, class text, template text,
                   due_at timestamptz, sent_at timestamptz)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_foresee';
COMMENT ON FUNCTION lifecycle.foresee(text[], timestamptz, timestamptz) IS 'Internal: part of lifecycle.forecast_messages(); lives through the future of these customers and undoes it. A row with nothing but the id: somebody else has locked that customer';

CREATE FUNCTION lifecycle.shop_day(at timestamptz) RETURNS date
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_shop_day';
COMMENT ON FUNCTION lifecycle.shop_day(timestamptz) IS 'The day of an instant in the shop''s zone';

CREATE FUNCTION lifecycle.forecast_until(until timestamptz, at_once int)
    RETURNS TABLE (customer_id text, scenario text, anchor text, step int, variant text, channel text, class text, template text,
                   due_at timestamptz, sent_at timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    start timestamptz := lifecycle.now();
    last  text := '';
    -- Whoever was sent something and is not told of it yet: that may be why something falls due.
    told  text[] := ARRAY(SELECT DISTINCT o.customer_id FROM lifecycle.sent_note AS n CROSS JOIN LATERAL unnest(n.message_ids) AS m (message_id)
                            JOIN lifecycle.outbox AS o ON o.part >= 1000 AND o.part = n.part AND o.message_id = m.message_id);
    batch text[];
    busy  text[] := '{}';
    one   text;
    sent  record;
BEGIN
    IF (until > start) IS NOT TRUE THEN
        RAISE EXCEPTION 'a forecast must end in the future'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It would end at %s.', coalesce(until::text, 'NULL'));
    END IF;
    IF at_once < 1 THEN
        RAISE EXCEPTION 'at_once must be positive' USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', at_once), HINT = 'NULL takes all together.';
    END IF;
    LOOP
        SELECT array_agg(c.customer_id ORDER BY c.customer_id) INTO batch
          FROM (SELECT c.customer_id FROM lifecycle.customer AS c
                 WHERE c.customer_id > last
                   AND (c.timer_at < until OR c.customer_id = ANY (told)
                        OR EXISTS (SELECT FROM lifecycle.outbox AS o WHERE o.part < 1000 AND o.customer_id = c.customer_id AND o.status = 'pending'))
                 ORDER BY c.customer_id LIMIT at_once) AS c;
        EXIT WHEN batch IS NULL;
        FOR sent IN SELECT f.* FROM lifecycle.foresee(batch, start, until) AS f LOOP
            IF sent.scenario IS NULL THEN
                busy := busy || sent.customer_id;
                CONTINUE;
            END IF;
            customer_id := sent.customer_id;
            scenario := sent.scenario;
            anchor := sent.anchor;
            step := sent.step;
            variant := sent.variant;
            channel := sent.channel;
            class := sent.class;
            template := sent.template;
            due_at := sent.due_at;
            sent_at := sent.sent_at;
            RETURN NEXT;
        END LOOP;
        last := batch[cardinality(batch)];
    END LOOP;
    -- Whoever waits for these has nobody else locked.
    FOREACH one IN ARRAY busy LOOP
        RETURN QUERY SELECT f.* FROM lifecycle.foresee(ARRAY[one], start, until) AS f;
    END LOOP;
END
$$;
COMMENT ON FUNCTION lifecycle.forecast_until(timestamptz, int) IS 'Internal: part of lifecycle.forecast_messages()';

CREATE FUNCTION lifecycle.forecast_messages(horizon interval DEFAULT '30 days', at_once int DEFAULT 100)
    RETURNS TABLE (customer_id text, scenario text, anchor text, step int, variant text, channel text, class text, template text,
                   due_at timestamptz, sent_at timestamptz)
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT f.* FROM lifecycle.forecast_until(lifecycle.add_in_zone(lifecycle.now(), forecast_messages.horizon, NULL), forecast_messages.at_once) AS f
$$;
COMMENT ON FUNCTION lifecycle.forecast_messages(interval, int) IS
'Every message that will be sent until then if nothing more is said and a mailer sends each as soon as it may: the engine itself lives through that time and
everything is undone. at_once: so many customers are locked together, and their orders wait for as long as it takes; what customers share (a pool of codes that
runs out, an address) is exact only among them; NULL: all together. Errors: a horizon that is not positive (22023), a read-only transaction or a standby (25006)';

CREATE FUNCTION lifecycle.forecast(horizon interval DEFAULT '30 days', at_once int DEFAULT 100)
    RETURNS TABLE (day date, scenario text, step int, channel text, class text, messages bigint)
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT lifecycle.shop_day(m.sent_at), m.scenario, m.step, m.channel, m.class, count(*)
      FROM lifecycle.forecast_messages(forecast.horizon, forecast.at_once) AS m
     GROUP BY 1, 2, 3, 4, 5
     ORDER BY 1, 2, 3, 4, 5
$$;
COMMENT ON FUNCTION lifecycle.forecast(interval, int) IS 'How many messages will be sent on which day, in the shop''s zone, if nothing more is said: lifecycle.forecast_messages(), counted';

CREATE FUNCTION lifecycle.who_would_get(scenario text, "from" timestamptz, "to" timestamptz, at_once int DEFAULT 100)
    RETURNS TABLE (customer_id text, step int, channel text, due_at timestamptz, sent_at timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM lifecycle.scenario AS s WHERE s.name = who_would_get.scenario) THEN
        RAISE EXCEPTION 'scenario "%" does not exist', who_would_get.scenario USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM lifecycle.scenario.';
    END IF;
    RETURN QUERY
        SELECT m.customer_id, m.step, m.channel, m.due_at, m.sent_at
          FROM lifecycle.forecast_until(who_would_get."to", who_would_get.at_once) AS m
         WHERE m.scenario = who_would_get.scenario AND m.sent_at >= who_would_get."from" AND m.sent_at < who_would_get."to"
         ORDER BY m.sent_at, m.customer_id, m.step;
END
$$;
COMMENT ON FUNCTION lifecycle.who_would_get(text, timestamptz, timestamptz, int) IS 'Who will get what of a scenario between two instants to come, if nothing more is said: lifecycle.forecast_messages(), sought through. Errors: an unknown scenario (42704), and as there';

CREATE FUNCTION lifecycle.compare_forecast(changed jsonb, horizon interval DEFAULT '30 days', at_once int DEFAULT 100)
    RETURNS TABLE (scenario text, step int, channel text, messages bigint, messages_changed bigint)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    present jsonb;
    other   jsonb;
BEGIN
    SELECT jsonb_agg(to_jsonb(f)) INTO present FROM lifecycle.forecast(horizon, at_once) AS f;
    BEGIN
        PERFORM lifecycle.import_scenario(d) FROM jsonb_array_elements(CASE jsonb_typeof(changed) WHEN 'array' THEN changed ELSE jsonb_build_array(changed) END) AS d;
        SELECT jsonb_agg(to_jsonb(f)) INTO other FROM lifecycle.forecast(horizon, at_once) AS f;
        RAISE EXCEPTION USING ERRCODE = 'LC002';  -- undoes the change
    EXCEPTION WHEN SQLSTATE 'LC002' THEN
        NULL;
    END;
    RETURN QUERY
        SELECT scenario, step, channel, coalesce(p.messages, 0), coalesce(o.messages, 0)
          FROM (SELECT f.scenario, f.step, f.channel, sum(f.messages)::bigint AS messages
                  FROM jsonb_to_recordset(present) AS f (scenario text, step int, channel text, messages bigint) GROUP BY 1, 2, 3) AS p
          FULL JOIN (SELECT f.scenario, f.step, f.channel, sum(f.messages)::bigint AS messages
                       FROM jsonb_to_recordset(other) AS f (scenario text, step int, channel text, messages bigint) GROUP BY 1, 2, 3) AS o
               USING (scenario, step, channel)
         ORDER BY 1, 2, 3;
END
$$;
COMMENT ON FUNCTION lifecycle.compare_forecast(jsonb, interval, int) IS
'What the present configuration will send until then, and what it would with changed scenarios: changed is one, or an array of them, as lifecycle.export_scenario()
writes them. The caller must be able to change scenarios. Errors: as of lifecycle.import_scenario() and lifecycle.forecast()';
