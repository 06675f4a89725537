-- Scenarios: what starts them, and their steps.

CREATE TABLE lifecycle.channel (
    name          text NOT NULL,
    consent       text,
    max_per_hour  int4,
    cap_per_day   int4,
    cap_per_week  int4,
    cap_per_month int4,
    quiet_from    time,
    quiet_until   time,
    CONSTRAINT channel_pkey PRIMARY KEY (name),
    CONSTRAINT channel_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT channel_max_per_hour_is_not_negative CHECK (max_per_hour >= 0),
    CONSTRAINT channel_caps_are_not_negative CHECK (least(cap_per_day, cap_per_week, cap_per_month) >= 0),
    CONSTRAINT channel_quiet_hours_have_both_ends CHECK ((quiet_from IS NULL) = (quiet_until IS NULL) AND quiet_from <> quiet_until),
    CONSTRAINT channel_consent_is_known CHECK (consent IN ('email', 'sms', 'push', 'ads'))
);
COMMENT ON TABLE lifecycle.channel IS 'The ways in which messages go out';
COMMENT ON COLUMN lifecycle.channel.name IS 'Its name, as in lifecycle.step.channel and lifecycle.outbox.channel';
COMMENT ON COLUMN lifecycle.channel.consent IS 'The consent that a marketing message on this channel needs; NULL: none, for channels that do not reach the customer';
COMMENT ON COLUMN lifecycle.channel.max_per_hour IS 'How many of its messages lifecycle.claim() hands out in any 60 minutes, for addresses and domains that have to be warmed up; NULL: as many as there are';
COMMENT ON COLUMN lifecycle.channel.cap_per_day IS 'How many marketing messages a customer gets on it in any 24 hours; NULL: no cap, 0: none';
COMMENT ON COLUMN lifecycle.channel.cap_per_week IS 'The same in any 7 times 24 hours';
COMMENT ON COLUMN lifecycle.channel.cap_per_month IS 'The same in any 30 times 24 hours';
COMMENT ON COLUMN lifecycle.channel.quiet_from IS 'From this time of day, in the customer''s zone, marketing waits';
COMMENT ON COLUMN lifecycle.channel.quiet_until IS 'Until this time of day, in the customer''s zone';

CREATE TABLE lifecycle.cap (
    name       text NOT NULL,
    channel    text,
    class      text DEFAULT 'marketing',
    counted_by text NOT NULL DEFAULT 'customer',
    most       int4 NOT NULL,
    span       interval NOT NULL,
    CONSTRAINT cap_pkey PRIMARY KEY (name),
    CONSTRAINT cap_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT cap_class_is_known CHECK (class IN ('marketing', 'transactional')),
    CONSTRAINT cap_counted_by_is_known CHECK (counted_by IN ('customer', 'address')),
    CONSTRAINT cap_most_is_not_negative CHECK (most >= 0),
    CONSTRAINT cap_span_is_a_time CHECK (span > '0' AND span <= '10 years')
);
COMMENT ON TABLE lifecycle.cap IS 'Caps beside those of the channels: how many messages somebody gets in any span of time';
COMMENT ON COLUMN lifecycle.cap.name IS 'Its name';
COMMENT ON COLUMN lifecycle.cap.channel IS 'The channel; NULL: all channels together';
COMMENT ON COLUMN lifecycle.cap.class IS 'marketing or transactional; NULL: both together';
COMMENT ON COLUMN lifecycle.cap.counted_by IS 'customer, or address: all customers with the same e-mail address or telephone number together';
COMMENT ON COLUMN lifecycle.cap.most IS 'So many messages; 0: none';
COMMENT ON COLUMN lifecycle.cap.span IS 'In any span of this length; days of 24 hours, months of 30 days';

CREATE FUNCTION lifecycle.is_awaitable(event text) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN event IN ('order_placed', 'delivered', 'review', 'wishlist_added', 'referral', 'open', 'click', 'visit') OR event ~ '^event:.';
COMMENT ON FUNCTION lifecycle.is_awaitable(text) IS 'Internal: whether a goal can be this, or a step wait for it';

CREATE TABLE lifecycle.scenario (
    name            text NOT NULL,
    trigger         text NOT NULL,
    entry_filter    text,
    goal            text,
    goal_within     interval,
    exit_when       text,
    exclusion       text,
    reentry         text NOT NULL DEFAULT 'once_per_anchor',
    max_age         interval NOT NULL DEFAULT '1 day',
    priority        int4 NOT NULL DEFAULT 0,
    holdout         numeric NOT NULL DEFAULT 0,
    enroll_existing boolean NOT NULL DEFAULT false,
    max_per_hour    int4,
    delivery        text,
    status          text NOT NULL DEFAULT 'draft',
    version         int4 NOT NULL DEFAULT 0,
    CONSTRAINT scenario_pkey PRIMARY KEY (name),
    CONSTRAINT scenario_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT scenario_reentry_is_known CHECK (reentry IN ('once', 'once_per_anchor', 'always') OR reentry ~ '^every .'),
    CONSTRAINT scenario_holdout_is_a_share CHECK (holdout BETWEEN 0 AND 1),
    CONSTRAINT scenario_max_per_hour_is_positive CHECK (max_per_hour > 0),
    CONSTRAINT scenario_goal_is_known CHECK (lifecycle.is_awaitable(goal)),
    CONSTRAINT scenario_goal_within_is_positive CHECK (goal_within > '0'),
    CONSTRAINT scenario_goal_within_needs_a_goal CHECK (goal_within IS NULL OR goal IS NOT NULL),
    CONSTRAINT scenario_max_age_is_not_negative CHECK (max_age >= '0'),
    CONSTRAINT scenario_delivery_is_known CHECK (delivery IN ('at_least_once', 'at_most_once')),
    CONSTRAINT scenario_status_is_known CHECK (status IN ('draft', 'active', 'paused', 'draining'))
);
COMMENT ON TABLE lifecycle.scenario IS 'What is sent when: a trigger enrols a customer, the steps follow. Nothing is sent before status is active';
COMMENT ON COLUMN lifecycle.scenario.name IS 'Its name';
COMMENT ON COLUMN lifecycle.scenario.trigger IS 'What enrols a customer: order_placed, delivered, cart_idle, consent:CHANNEL, segment_entered:SEGMENT, segment_left:SEGMENT, tier_reached, tier_reached:TIER, tier_ending, review, review:N (at most N stars), wishlist_added, referral, event:NAME, points_expiring:INTERVAL (so long before they do), birthday, date:YYYY-MM-DD or date:YYYY-MM-DD..YYYY-MM-DD (from the first day to the end of the last)';
COMMENT ON COLUMN lifecycle.scenario.entry_filter IS 'A condition over the customer, as in lifecycle.segment.predicate, and over what has happened, lifecycle.context(): only those for whom it holds then enrol; NULL: all';
COMMENT ON COLUMN lifecycle.scenario.exit_when IS 'A condition likewise: when it holds, the enrolment ends and what waits is cancelled';
COMMENT ON COLUMN lifecycle.scenario.exclusion IS 'A condition likewise: while it holds, a marketing step that falls due is skipped';
COMMENT ON COLUMN lifecycle.scenario.reentry IS 'once (in a customer''s life), once_per_anchor (for each order, cart, tier, year, ...), every INTERVAL, such as every 30 days, at the most, or always: each time it happens, to the same order or tier too';
COMMENT ON COLUMN lifecycle.scenario.holdout IS 'Share of customers, 0 to 1, who get no marketing of this scenario, so that its effect can be measured; what they would have got is recorded';
COMMENT ON COLUMN lifecycle.scenario.enroll_existing IS 'When a scenario on segment_entered becomes active, those who are in the segment already enrol too';
COMMENT ON COLUMN lifecycle.scenario.max_per_hour IS 'How many of those start in an hour; NULL: all at once';
COMMENT ON COLUMN lifecycle.scenario.goal IS 'What ends the enrolment and cancels what waits: order_placed, delivered, review, wishlist_added, referral, open, click, visit or event:NAME; NULL: the steps run to their end';
COMMENT ON COLUMN lifecycle.scenario.goal_within IS 'What happens later than this after the anchor is not the goal any more; NULL: for as long as the steps run';
COMMENT ON COLUMN lifecycle.scenario.max_age IS 'What happened longer ago than this starts nothing: a backfilled history sends no mail';
COMMENT ON COLUMN lifecycle.scenario.priority IS 'Mailers get messages of higher priority first';
COMMENT ON COLUMN lifecycle.scenario.delivery IS 'What happens to a message whose mailer died with it: at_least_once (it goes out again, under the same key) or at_most_once (it becomes unknown); NULL: at_least_once for transactional steps, at_most_once for marketing';
COMMENT ON COLUMN lifecycle.scenario.status IS 'draft: off; active: customers enrol and steps are sent; paused: nobody enrols and due steps wait; draining: nobody enrols, and those on the way go on to the end';
COMMENT ON COLUMN lifecycle.scenario.version IS 'Counted up when what those on the way go through is changed: trigger, reentry, goal, exit_when, exclusion, steps or variants. 0: it has never been active';

CREATE FUNCTION lifecycle.check_condition(condition text) RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_check_condition';
COMMENT ON FUNCTION lifecycle.check_condition(text) IS 'Internal: refuses a condition over the customer that cannot work, with the position and a hint; NULL is none';

CREATE FUNCTION lifecycle.is_interval(interval_text text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN interval_text::interval > '0';
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION lifecycle.is_interval(text) IS 'Internal: whether a text is an interval longer than nothing';

CREATE FUNCTION lifecycle.check_scenario() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind   text := split_part(NEW.trigger, ':', 1);
    wanted text := substr(NEW.trigger, length(kind) + 2);
    colon  boolean := strpos(NEW.trigger, ':') > 0;
    days   text[] := string_to_array(wanted, '..');
BEGIN
    IF NOT (CASE
           WHEN kind IN ('order_placed', 'delivered', 'cart_idle', 'wishlist_added', 'referral', 'birthday') THEN NOT colon
           WHEN kind IN ('segment_entered', 'segment_left', 'event') THEN wanted <> ''
           WHEN kind IN ('tier_reached', 'tier_ending') THEN NOT colon OR wanted <> ''
           WHEN kind = 'consent' THEN wanted IN ('email', 'sms', 'push', 'ads')
           WHEN kind = 'review' THEN NOT colon OR wanted ~ '^[0-9]{1,3}$'
           WHEN kind = 'points_expiring' THEN wanted <> ''
           WHEN kind = 'date' THEN wanted ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([.]{2}[0-9]{4}-[0-9]{2}-[0-9]{2})?$' AND days[1] <= days[cardinality(days)]
                                   AND NOT EXISTS (SELECT FROM unnest(days) AS d (day) WHERE to_char(to_date(d.day, 'YYYY-MM-DD'), 'YYYY-MM-DD') <> d.day)
           ELSE false END) THEN
        RAISE EXCEPTION 'trigger "%" of scenario "%" is not known', NEW.trigger, NEW.name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use order_placed, delivered, cart_idle, consent:CHANNEL, segment_entered:SEGMENT, segment_left:SEGMENT, tier_reached, tier_reached:TIER, tier_ending, '
                      || 'review, review:N, wishlist_added, referral, event:NAME, points_expiring:INTERVAL, birthday, date:YYYY-MM-DD or date:YYYY-MM-DD..YYYY-MM-DD.';
    END IF;
    IF NEW.reentry LIKE 'every %' AND NOT lifecycle.is_interval(substr(NEW.reentry, 7)) THEN
        RAISE EXCEPTION 'reentry "%" of scenario "%" names no interval', NEW.reentry, NEW.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write it like every 30 days.';
    END IF;
    IF kind = 'points_expiring' AND NOT lifecycle.is_interval(wanted) THEN
        RAISE EXCEPTION 'trigger "%" of scenario "%" names no interval', NEW.trigger, NEW.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write it like points_expiring:14 days.';
    END IF;
    IF lifecycle.restoring() THEN
        RETURN NEW;  -- what the trigger names may come later in the dump
    END IF;
    IF kind IN ('segment_entered', 'segment_left') AND NOT EXISTS (SELECT FROM lifecycle.segment AS s WHERE s.name = wanted) THEN
        RAISE EXCEPTION 'segment "%" of scenario "%" does not exist', wanted, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.segment first.';
    END IF;
    IF kind IN ('tier_reached', 'tier_ending') AND wanted <> '' AND NOT EXISTS (SELECT FROM lifecycle.tier AS t WHERE t.name = wanted) THEN
        RAISE EXCEPTION 'tier "%" of scenario "%" does not exist', wanted, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.tier first.';
    END IF;
    PERFORM lifecycle.check_condition(NEW.entry_filter),
            lifecycle.check_condition(NEW.exit_when),
            lifecycle.check_condition(NEW.exclusion);
    -- What a draft names may have gone meanwhile.
    IF NEW.status <> 'draft' THEN
        PERFORM lifecycle.check_condition(s.condition) FROM lifecycle.step AS s WHERE s.scenario = NEW.name;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_scenario() IS 'Trigger of lifecycle.scenario: refuses a trigger that can never fire';

CREATE TRIGGER check_scenario BEFORE INSERT OR UPDATE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_scenario();

CREATE TABLE lifecycle.step (
    scenario    text NOT NULL,
    position    int4 NOT NULL,
    counts_from text NOT NULL DEFAULT 'anchor',
    delay       interval NOT NULL DEFAULT '0',
    not_after   interval,
    send_from   time,
    send_until  time,
    send_days   text[],
    condition   text,
    wait_for    text,
    next        int4,
    otherwise   int4,
    channel     text NOT NULL DEFAULT 'email',
    class       text NOT NULL DEFAULT 'marketing',
    template    text,
    subject     jsonb NOT NULL DEFAULT '{}',
    content     jsonb NOT NULL DEFAULT '{}',
    offer       text,
    pool_empty  text NOT NULL DEFAULT 'skip',
    recommends  text,
    CONSTRAINT step_counts_from_is_known CHECK (counts_from IN ('anchor', 'delivery', 'previous')),
    CONSTRAINT step_wait_for_is_known CHECK (lifecycle.is_awaitable(wait_for)),
    CONSTRAINT step_sends_or_decides CHECK ((template IS NOT NULL) <> (wait_for IS NOT NULL OR (condition IS NOT NULL AND template IS NULL))),
    CONSTRAINT step_waits_or_asks CHECK (wait_for IS NULL OR condition IS NULL),
    CONSTRAINT step_leads_on CHECK (least(next, otherwise) > position),
    CONSTRAINT step_otherwise_needs_a_question CHECK (otherwise IS NULL OR condition IS NOT NULL OR wait_for IS NOT NULL),
    CONSTRAINT step_send_window_has_both_ends CHECK ((send_from IS NULL) = (send_until IS NULL) AND send_from <> send_until),
    CONSTRAINT step_send_days_are_known CHECK (send_days <@ ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] AND send_days <> '{}'),
    CONSTRAINT step_pkey PRIMARY KEY (scenario, position),
    CONSTRAINT step_recommends_is_known CHECK (recommends IN ('complementary', 'best_sellers', 'alternatives')),
    CONSTRAINT step_pool_empty_is_known CHECK (pool_empty IN ('skip', 'defer', 'send_without')),
    CONSTRAINT step_class_is_known CHECK (class IN ('marketing', 'transactional')),
    CONSTRAINT step_delay_is_not_negative CHECK (delay >= '0'),
    CONSTRAINT step_not_after_is_later CHECK (not_after > delay)
);
COMMENT ON TABLE lifecycle.step IS 'The steps of the scenarios';
COMMENT ON COLUMN lifecycle.step.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.step.position IS 'Order of the steps; a customer who has passed a position never comes back to it';
COMMENT ON COLUMN lifecycle.step.counts_from IS 'anchor: what started the enrolment; delivery: the last delivery of the order that did, and the step waits for it; previous: when the step before it was decided, or what it waited for happened';
COMMENT ON COLUMN lifecycle.step.delay IS 'When the step is due, counted from there; days and months in the customer''s zone. Of a step that waits: when it waits no longer';
COMMENT ON COLUMN lifecycle.step.not_after IS 'From when on it is too late to send, counted likewise; NULL: never';
COMMENT ON COLUMN lifecycle.step.send_from IS 'It is sent from this time of day on, in the customer''s zone; NULL: at any time';
COMMENT ON COLUMN lifecycle.step.send_until IS 'Until this time of day';
COMMENT ON COLUMN lifecycle.step.send_days IS 'And on these days of the week: mon, tue, wed, thu, fri, sat, sun; NULL: on all';
COMMENT ON COLUMN lifecycle.step.condition IS 'A condition over the customer, as in lifecycle.segment.predicate: unless it holds when the step is due, the step is skipped. A step with neither template nor wait_for only asks it, and sends nothing';
COMMENT ON COLUMN lifecycle.step.wait_for IS 'It sends nothing but waits, until its delay has passed, for this: order_placed, delivered, review, wishlist_added, referral, open, click, visit or event:NAME';
COMMENT ON COLUMN lifecycle.step.next IS 'After this step, or when what it waits for has happened, the first step from this position on is next; a number beyond all steps: none. NULL: the step after it';
COMMENT ON COLUMN lifecycle.step.otherwise IS 'The same when the condition does not hold, or what it waits for has not happened in time';
COMMENT ON COLUMN lifecycle.step.channel IS 'The channel it goes out on';
COMMENT ON COLUMN lifecycle.step.class IS 'marketing needs consent, transactional does not';
COMMENT ON COLUMN lifecycle.step.template IS 'Key of the template that the mailer renders; NULL: the step sends nothing and only decides what comes next';
COMMENT ON COLUMN lifecycle.step.subject IS 'Subject by locale: {"en": ..., "de": ...}; the customer''s locale, its language, then "en" is taken';
COMMENT ON COLUMN lifecycle.step.content IS 'Content for the template by locale, chosen likewise';
COMMENT ON COLUMN lifecycle.step.offer IS 'An offer that the message brings: the customer gets a coupon of it when the step is due, one for each anchor of the scenario; NULL: none';
COMMENT ON COLUMN lifecycle.step.recommends IS 'Products that the message recommends, as lifecycle.recommend() chooses them: complementary (to the order that started it, or to all that was bought), best_sellers or alternatives (to the wish that started it, or to the wishlist); NULL: none';
COMMENT ON COLUMN lifecycle.step.pool_empty IS 'If there is no code to be had, because the pool is empty or the offer has ended: skip the step, defer it (it is tried again each hour until not_after), or send_without';

-- Triggers and not foreign keys: a parallel restore loads the tables in any order, and a foreign key would refuse that.
CREATE FUNCTION lifecycle.check_step() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM lifecycle.scenario AS s WHERE s.name = NEW.scenario) THEN
        RAISE EXCEPTION 'scenario "%" of a step does not exist', NEW.scenario
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.scenario first.';
    END IF;
    IF NOT EXISTS (SELECT FROM lifecycle.channel AS c WHERE c.name = NEW.channel) THEN
        RAISE EXCEPTION 'channel "%" of step % of scenario "%" does not exist', NEW.channel, NEW.position, NEW.scenario
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.channel first.';
    END IF;
    IF NEW.offer IS NOT NULL AND NOT EXISTS (SELECT FROM lifecycle.offer AS o WHERE o.name = NEW.offer) THEN
        RAISE EXCEPTION 'offer "%" of step % of scenario "%" does not exist', NEW.offer, NEW.position, NEW.scenario
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.offer first.';
    END IF;
    PERFORM lifecycle.check_condition(NEW.condition);
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_step() IS 'Trigger of lifecycle.step: refuses a step of a scenario, on a channel or with an offer that does not exist';

CREATE TRIGGER check_step BEFORE INSERT OR UPDATE ON lifecycle.step
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_step();

CREATE TABLE lifecycle.variant (
    scenario text NOT NULL,
    position int4 NOT NULL,
    name     text NOT NULL,
    weight   int4 NOT NULL DEFAULT 1,
    template text,
    subject  jsonb,
    content  jsonb,
    offer    text,
    CONSTRAINT variant_pkey PRIMARY KEY (scenario, position, name),
    CONSTRAINT variant_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT variant_weight_is_not_negative CHECK (weight >= 0)
);
COMMENT ON TABLE lifecycle.variant IS 'Weighted alternatives of steps; which one a customer gets is a function of scenario, step and customer, the same for ever';
COMMENT ON COLUMN lifecycle.variant.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.variant.position IS 'The step';
COMMENT ON COLUMN lifecycle.variant.name IS 'Its name, as in lifecycle.outbox.variant';
COMMENT ON COLUMN lifecycle.variant.weight IS 'Its share is weight / sum of the weights of the step; 0: nobody gets it';
COMMENT ON COLUMN lifecycle.variant.template IS 'Instead of the step''s; NULL: the step''s';
COMMENT ON COLUMN lifecycle.variant.subject IS 'Instead of the step''s; NULL: the step''s';
COMMENT ON COLUMN lifecycle.variant.content IS 'Instead of the step''s; NULL: the step''s';
COMMENT ON COLUMN lifecycle.variant.offer IS 'Instead of the step''s; NULL: the step''s';

CREATE FUNCTION lifecycle.check_variant() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM lifecycle.step AS s WHERE (s.scenario, s.position) = (NEW.scenario, NEW.position)) THEN
        RAISE EXCEPTION 'step % of scenario "%" does not exist', NEW.position, NEW.scenario
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.step first.';
    END IF;
    IF NEW.offer IS NOT NULL AND NOT EXISTS (SELECT FROM lifecycle.offer AS o WHERE o.name = NEW.offer) THEN
        RAISE EXCEPTION 'offer "%" of step % of scenario "%" does not exist', NEW.offer, NEW.position, NEW.scenario
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.offer first.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_variant() IS 'Trigger of lifecycle.variant: refuses one of a step or with an offer that does not exist';

CREATE TRIGGER check_variant BEFORE INSERT OR UPDATE ON lifecycle.variant
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_variant();

CREATE FUNCTION lifecycle.step_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM lifecycle.variant AS v WHERE (v.scenario, v.position) = (OLD.scenario, OLD.position);
    ELSE
        UPDATE lifecycle.variant SET scenario = NEW.scenario, position = NEW.position WHERE (scenario, position) = (OLD.scenario, OLD.position);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.step_moved() IS 'Trigger of lifecycle.step: its variants go with it';

CREATE TRIGGER a_step_deleted AFTER DELETE ON lifecycle.step
    FOR EACH ROW EXECUTE FUNCTION lifecycle.step_moved();
CREATE TRIGGER a_step_moved AFTER UPDATE ON lifecycle.step
    FOR EACH ROW WHEN ((OLD.scenario, OLD.position) IS DISTINCT FROM (NEW.scenario, NEW.position)) EXECUTE FUNCTION lifecycle.step_moved();

CREATE FUNCTION lifecycle.scenario_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM lifecycle.step AS s WHERE s.scenario = OLD.name;
    ELSE
        UPDATE lifecycle.step SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.scenario_version SET scenario = NEW.name, definition = definition || jsonb_build_object('name', NEW.name) WHERE scenario = OLD.name;
        -- Whoever has read an enrolment to write it is waited for: its row must not change in between. Customers first, as everybody else: no row of
        -- theirs can be locked then by somebody who waits for the other table.
        LOCK TABLE lifecycle.customer, lifecycle.enrolment_settled IN SHARE ROW EXCLUSIVE MODE;
        PERFORM lifecycle.settle_ways(ARRAY(SELECT e.customer_id FROM lifecycle.enrolment AS e WHERE e.scenario = OLD.name AND e.status = 'active'));
        UPDATE lifecycle.enrolment_settled SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.enrolment_step SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.outbox SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.coupon AS c SET purpose = lifecycle.coupon_purpose(NEW.name, substr(c.purpose, length(lifecycle.coupon_purpose(OLD.name, '')) + 1))
         WHERE starts_with(c.purpose, lifecycle.coupon_purpose(OLD.name, ''));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.scenario_moved() IS 'Trigger of lifecycle.scenario: its steps go with it, and everything that knows its name learns the new one';

CREATE TRIGGER a_scenario_deleted AFTER DELETE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.scenario_moved();
CREATE TRIGGER a_scenario_renamed AFTER UPDATE ON lifecycle.scenario
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.scenario_moved();

CREATE FUNCTION lifecycle.check_cap() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NEW.channel IS NOT NULL AND NOT lifecycle.restoring() AND NOT EXISTS (SELECT FROM lifecycle.channel AS c WHERE c.name = NEW.channel) THEN
        RAISE EXCEPTION 'channel "%" of cap "%" does not exist', NEW.channel, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.channel first.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_cap() IS 'Trigger of lifecycle.cap: refuses one of a channel that does not exist';

CREATE TRIGGER check_cap BEFORE INSERT OR UPDATE ON lifecycle.cap
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_cap();

CREATE FUNCTION lifecycle.step_on_the_way(key text, name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT format('Step %s of version %s of scenario "%s"', d.step ->> 'position', v.version, v.scenario)
      FROM lifecycle.scenario_version AS v
      JOIN lifecycle.scenario AS s ON s.name = v.scenario AND s.status <> 'draft'
     CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'steps') AS d (step)
     WHERE (d.step ->> key = step_on_the_way.name OR EXISTS (SELECT FROM jsonb_array_elements(d.step -> 'variants') AS a (variant) WHERE a.variant ->> key = step_on_the_way.name))
       AND EXISTS (SELECT FROM lifecycle.enrolment AS e WHERE (e.scenario, e.version) = (v.scenario, v.version) AND e.status = 'active')
     ORDER BY v.scenario, v.version LIMIT 1
$$;
COMMENT ON FUNCTION lifecycle.step_on_the_way(text, text) IS 'Internal: which step of a former version, with which somebody is still on the way, has this under this key (channel, offer); NULL: none';

CREATE FUNCTION lifecycle.check_channel() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used record;
BEGIN
    SELECT u.detail, u.hint INTO used
      FROM (SELECT format('Step %s of scenario "%s" goes out on it.', s.position, s.scenario), 'Change or delete the steps first.'
              FROM lifecycle.step AS s WHERE s.channel = OLD.name
            UNION ALL
            SELECT format('Cap "%s" is for it.', c.name), 'Change or delete the cap first.'
              FROM lifecycle.cap AS c WHERE c.channel = OLD.name
            UNION ALL
            SELECT format('%s goes out on it, and somebody is still on the way with that version.', f.step), 'Wait until they have finished, or end their enrolments.'
              FROM lifecycle.step_on_the_way('channel', OLD.name) AS f (step) WHERE f.step IS NOT NULL) AS u (detail, hint)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'channel "%" is in use', OLD.name USING ERRCODE = 'foreign_key_violation', DETAIL = used.detail, HINT = used.hint;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION lifecycle.check_channel() IS 'Trigger of lifecycle.channel: refuses to delete or rename one that steps go out on, or did in a version with which somebody is still on the way';

CREATE TRIGGER check_channel_deleted BEFORE DELETE ON lifecycle.channel
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_channel();
CREATE TRIGGER check_channel_renamed BEFORE UPDATE ON lifecycle.channel
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_channel();

CREATE FUNCTION lifecycle.check_offer_in_use() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    used record;
BEGIN
    SELECT u.detail, u.hint INTO used
      FROM (SELECT format('Step %s of scenario "%s" brings it.', s.position, s.scenario), 'Change or delete the steps first.'
              FROM lifecycle.step AS s WHERE s.offer = OLD.name
            UNION ALL
            SELECT format('Step %s of scenario "%s" brings it.', v.position, v.scenario), 'Change or delete the steps first.'
              FROM lifecycle.variant AS v WHERE v.offer = OLD.name
            UNION ALL
            SELECT format('Who reaches tier "%s" is welcomed with it.', t.name), 'Change the tier first.'
              FROM lifecycle.tier AS t WHERE t.offer = OLD.name
            UNION ALL
            SELECT format('%s brings it, and somebody is still on the way with that version.', f.step), 'Wait until they have finished, or end their enrolments.'
              FROM lifecycle.step_on_the_way('offer', OLD.name) AS f (step) WHERE f.step IS NOT NULL) AS u (detail, hint)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'offer "%" is in use', OLD.name USING ERRCODE = 'foreign_key_violation', DETAIL = used.detail, HINT = used.hint;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION lifecycle.check_offer_in_use() IS 'Trigger of lifecycle.offer: refuses to delete or rename one that steps or tiers bring, or steps did in a version with which somebody is still on the way';

CREATE TRIGGER check_offer_in_use_deleted BEFORE DELETE ON lifecycle.offer
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_offer_in_use();
CREATE TRIGGER check_offer_in_use_renamed BEFORE UPDATE ON lifecycle.offer
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_offer_in_use();
