-- Scenarios: what starts them, their steps, and the customers that are on the way.

CREATE TABLE lifecycle.channel (
    name    text NOT NULL,
    consent text,
    CONSTRAINT channel_pkey PRIMARY KEY (name),
    CONSTRAINT channel_consent_is_known CHECK (consent IN ('email', 'sms', 'push', 'ads'))
);
COMMENT ON TABLE lifecycle.channel IS 'The ways in which messages go out';
COMMENT ON COLUMN lifecycle.channel.name IS 'Its name, as in lifecycle.step.channel and lifecycle.outbox.channel';
COMMENT ON COLUMN lifecycle.channel.consent IS 'The consent that a marketing message on this channel needs; NULL: none, for channels that do not reach the customer';

CREATE TABLE lifecycle.scenario (
    name    text NOT NULL,
    trigger text NOT NULL,
    goal    text,
    max_age interval NOT NULL DEFAULT '1 day',
    priority int4 NOT NULL DEFAULT 0,
    delivery text,
    status  text NOT NULL DEFAULT 'draft',
    CONSTRAINT scenario_pkey PRIMARY KEY (name),
    CONSTRAINT scenario_goal_is_known CHECK (goal IN ('order_placed')),
    CONSTRAINT scenario_max_age_is_not_negative CHECK (max_age >= '0'),
    CONSTRAINT scenario_delivery_is_known CHECK (delivery IN ('at_least_once', 'at_most_once')),
    CONSTRAINT scenario_status_is_known CHECK (status IN ('draft', 'active', 'paused'))
);
COMMENT ON TABLE lifecycle.scenario IS 'What is sent when: a trigger enrols a customer, the steps follow. Nothing is sent before status is active';
COMMENT ON COLUMN lifecycle.scenario.name IS 'Its name';
COMMENT ON COLUMN lifecycle.scenario.trigger IS 'order_placed, tier_reached, tier_reached:TIER or segment_entered:SEGMENT';
COMMENT ON COLUMN lifecycle.scenario.goal IS 'order_placed: an order ends the enrolment and cancels what waits; NULL: the steps run to their end';
COMMENT ON COLUMN lifecycle.scenario.max_age IS 'What happened longer ago than this starts nothing: a backfilled history sends no mail';
COMMENT ON COLUMN lifecycle.scenario.priority IS 'Mailers get messages of higher priority first';
COMMENT ON COLUMN lifecycle.scenario.delivery IS 'What happens to a message whose mailer died with it: at_least_once (it goes out again, under the same key) or at_most_once (it becomes unknown); NULL: at_least_once for transactional steps, at_most_once for marketing';
COMMENT ON COLUMN lifecycle.scenario.status IS 'draft: off; active: customers enrol and steps are sent; paused: nobody enrols and due steps wait';

CREATE FUNCTION lifecycle.check_scenario() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind text := split_part(NEW.trigger, ':', 1);
    wanted text := substr(NEW.trigger, length(kind) + 2);
BEGIN
    IF kind NOT IN ('order_placed', 'tier_reached', 'segment_entered')
       OR (kind = 'order_placed' AND NEW.trigger <> kind)
       OR (kind = 'segment_entered' AND wanted = '') THEN
        RAISE EXCEPTION 'trigger "%" of scenario "%" is not known', NEW.trigger, NEW.name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use order_placed, tier_reached, tier_reached:TIER or segment_entered:SEGMENT.';
    END IF;
    IF lifecycle.restoring() THEN
        RETURN NEW;  -- what the trigger names may come later in the dump
    END IF;
    IF kind = 'segment_entered' AND NOT EXISTS (SELECT FROM lifecycle.segment AS s WHERE s.name = wanted) THEN
        RAISE EXCEPTION 'segment "%" of scenario "%" does not exist', wanted, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.segment first.';
    END IF;
    IF kind = 'tier_reached' AND wanted <> '' AND NOT EXISTS (SELECT FROM lifecycle.tier AS t WHERE t.name = wanted) THEN
        RAISE EXCEPTION 'tier "%" of scenario "%" does not exist', wanted, NEW.name
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert it into lifecycle.tier first.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_scenario() IS 'Trigger of lifecycle.scenario: refuses a trigger that can never fire';

CREATE TRIGGER check_scenario BEFORE INSERT OR UPDATE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_scenario();

CREATE TABLE lifecycle.step (
    scenario  text NOT NULL,
    position  int4 NOT NULL,
    delay     interval NOT NULL DEFAULT '0',
    not_after interval,
    channel   text NOT NULL DEFAULT 'email',
    class     text NOT NULL DEFAULT 'marketing',
    template  text NOT NULL,
    subject   jsonb NOT NULL DEFAULT '{}',
    content   jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT step_pkey PRIMARY KEY (scenario, position),
    CONSTRAINT step_class_is_known CHECK (class IN ('marketing', 'transactional')),
    CONSTRAINT step_delay_is_not_negative CHECK (delay >= '0'),
    CONSTRAINT step_not_after_is_later CHECK (not_after > delay)
);
COMMENT ON TABLE lifecycle.step IS 'The steps of the scenarios';
COMMENT ON COLUMN lifecycle.step.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.step.position IS 'Order of the steps; a customer who has passed a position never comes back to it';
COMMENT ON COLUMN lifecycle.step.delay IS 'When the step is due, counted from what started the enrolment; days and months in the customer''s zone';
COMMENT ON COLUMN lifecycle.step.not_after IS 'From when on it is too late to send, counted likewise; NULL: never';
COMMENT ON COLUMN lifecycle.step.channel IS 'The channel it goes out on';
COMMENT ON COLUMN lifecycle.step.class IS 'marketing needs consent, transactional does not';
COMMENT ON COLUMN lifecycle.step.template IS 'Key of the template that the mailer renders';
COMMENT ON COLUMN lifecycle.step.subject IS 'Subject by locale: {"en": ..., "de": ...}; the customer''s locale, its language, then "en" is taken';
COMMENT ON COLUMN lifecycle.step.content IS 'Content for the template by locale, chosen likewise';

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
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.check_step() IS 'Trigger of lifecycle.step: refuses a step of a scenario or on a channel that does not exist';

CREATE TRIGGER check_step BEFORE INSERT OR UPDATE ON lifecycle.step
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_step();

CREATE FUNCTION lifecycle.scenario_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM lifecycle.step AS s WHERE s.scenario = OLD.name;
    ELSE
        UPDATE lifecycle.step SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.enrolment SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.enrolment_step SET scenario = NEW.name WHERE scenario = OLD.name;
        UPDATE lifecycle.outbox SET scenario = NEW.name WHERE scenario = OLD.name;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.scenario_moved() IS 'Trigger of lifecycle.scenario: its steps go with it, and everything that knows its name learns the new one';

CREATE TRIGGER a_scenario_deleted AFTER DELETE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.scenario_moved();
CREATE TRIGGER a_scenario_renamed AFTER UPDATE ON lifecycle.scenario
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.scenario_moved();

CREATE FUNCTION lifecycle.check_channel() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    user_of_it record;
BEGIN
    SELECT s.scenario, s.position INTO user_of_it FROM lifecycle.step AS s WHERE s.channel = OLD.name LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'channel "%" is in use', OLD.name
            USING ERRCODE = 'foreign_key_violation',
                  DETAIL = format('Step %s of scenario "%s" goes out on it.', user_of_it.position, user_of_it.scenario),
                  HINT = 'Change or delete the steps first.';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION lifecycle.check_channel() IS 'Trigger of lifecycle.channel: refuses to delete or rename one that steps go out on';

CREATE TRIGGER check_channel_deleted BEFORE DELETE ON lifecycle.channel
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_channel();
CREATE TRIGGER check_channel_renamed BEFORE UPDATE ON lifecycle.channel
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.check_channel();

CREATE TABLE lifecycle.enrolment (
    customer_id   text COLLATE "C" NOT NULL,
    scenario      text NOT NULL,
    anchor        text NOT NULL,
    anchor_at     timestamptz NOT NULL,
    status        text NOT NULL DEFAULT 'active',
    last_position int4,
    next_due_at   timestamptz,
    enrolled_at   timestamptz NOT NULL,
    ended_at      timestamptz,
    end_reason    text,
    CONSTRAINT enrolment_pkey PRIMARY KEY (customer_id, scenario, anchor),
    CONSTRAINT enrolment_status_is_known CHECK (status IN ('active', 'completed', 'exited'))
);
COMMENT ON TABLE lifecycle.enrolment IS 'Customers on their way through scenarios, and those who were';
COMMENT ON COLUMN lifecycle.enrolment.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.enrolment.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.enrolment.anchor IS 'What started it: id of the order, name of the tier, instant of the segment''s entry. The same anchor never starts it twice';
COMMENT ON COLUMN lifecycle.enrolment.anchor_at IS 'The instant from which the steps count';
COMMENT ON COLUMN lifecycle.enrolment.status IS 'active, completed (all steps done) or exited (before that)';
COMMENT ON COLUMN lifecycle.enrolment.last_position IS 'The last step that has been decided; NULL: none yet';
COMMENT ON COLUMN lifecycle.enrolment.next_due_at IS 'When the next step is due, or the last message''s window ends';
COMMENT ON COLUMN lifecycle.enrolment.enrolled_at IS 'When the enrolment was made';
COMMENT ON COLUMN lifecycle.enrolment.ended_at IS 'When it ended';
COMMENT ON COLUMN lifecycle.enrolment.end_reason IS 'Why it exited: goal_met, or exited where its reason has gone';

CREATE TABLE lifecycle.enrolment_step (
    customer_id text COLLATE "C" NOT NULL,
    scenario    text NOT NULL,
    anchor      text NOT NULL,
    position    int4 NOT NULL,
    outcome     text NOT NULL,
    reason      text,
    decided_at  timestamptz NOT NULL,
    CONSTRAINT enrolment_step_pkey PRIMARY KEY (customer_id, scenario, anchor, position),
    CONSTRAINT enrolment_step_outcome_is_known CHECK (outcome IN ('enqueued', 'skipped'))
);
COMMENT ON TABLE lifecycle.enrolment_step IS 'What became of each step of each enrolment, and why: at most one decision for each, for ever';
COMMENT ON COLUMN lifecycle.enrolment_step.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.enrolment_step.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.enrolment_step.anchor IS 'The enrolment''s anchor';
COMMENT ON COLUMN lifecycle.enrolment_step.position IS 'The step';
COMMENT ON COLUMN lifecycle.enrolment_step.outcome IS 'enqueued or skipped';
COMMENT ON COLUMN lifecycle.enrolment_step.reason IS 'Why it was skipped: no_consent, superseded, window_passed';
COMMENT ON COLUMN lifecycle.enrolment_step.decided_at IS 'When';
