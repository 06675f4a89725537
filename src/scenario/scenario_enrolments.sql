-- Enrolments: who is on the way through a scenario, and how each step was decided.

-- Open enrolments are kept in their customer's row while there is room, which is written anyway by what starts one and by each of its steps; when
-- one ends, it moves here. lifecycle.enrolment shows all, wherever they are.
-- fillfactor: each step changes its enrolment, and no indexed column of it; a campaign reaches all rows of a page at once.
CREATE TABLE lifecycle.enrolment_settled (
    customer_id   text COLLATE "C" NOT NULL,
    scenario      text NOT NULL,
    anchor        text NOT NULL,
    anchor_at     timestamptz NOT NULL,
    version       int4 NOT NULL DEFAULT 1,
    status        text NOT NULL DEFAULT 'active',
    last_position int4,
    last_at       timestamptz,
    next_due_at   timestamptz,
    context       jsonb,
    enrolled_at   timestamptz NOT NULL,
    ended_at      timestamptz,
    end_reason    text,
    CONSTRAINT enrolment_settled_pkey PRIMARY KEY (customer_id, scenario, anchor),
    CONSTRAINT enrolment_status_is_known CHECK (status IN ('active', 'completed', 'exited'))
) WITH (fillfactor = 50);
COMMENT ON TABLE lifecycle.enrolment_settled IS 'Internal: enrolments that are not kept in their customers'' rows; read lifecycle.enrolment';

CREATE VIEW lifecycle.enrolment AS
    SELECT e.* FROM lifecycle.enrolment_settled AS e
    UNION ALL
    SELECT c.customer_id, w.scenario, w.anchor, w.anchor_at, w.version, 'active', w.last_position, w.last_at, w.next_due_at, NULL, w.enrolled_at, NULL, NULL
      FROM lifecycle.customer AS c CROSS JOIN LATERAL lifecycle.unpack_ways(c.ways) AS w
     WHERE c.ways IS NOT NULL;
COMMENT ON VIEW lifecycle.enrolment IS 'Customers on their way through scenarios, and those who were';
COMMENT ON COLUMN lifecycle.enrolment.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.enrolment.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.enrolment.anchor IS 'What started it: id of the order or review, cart and its last change, product, name of the tier, instant, year, date. The same anchor never starts it twice';
COMMENT ON COLUMN lifecycle.enrolment.anchor_at IS 'The instant from which the steps count';
COMMENT ON COLUMN lifecycle.enrolment.version IS 'The version of the scenario that it started with and finishes on';
COMMENT ON COLUMN lifecycle.enrolment.status IS 'active, completed (all steps done) or exited (before that)';
COMMENT ON COLUMN lifecycle.enrolment.last_position IS 'Steps up to this position have been decided or passed over; NULL: none yet';
COMMENT ON COLUMN lifecycle.enrolment.last_at IS 'When the last one was decided, or what it waited for happened';
COMMENT ON COLUMN lifecycle.enrolment.next_due_at IS 'When the next step is due, or the last message''s window ends';
COMMENT ON COLUMN lifecycle.enrolment.context IS 'What lifecycle.context() says in its conditions; NULL: none of them asks';
COMMENT ON COLUMN lifecycle.enrolment.enrolled_at IS 'When the enrolment was made';
COMMENT ON COLUMN lifecycle.enrolment.ended_at IS 'When it ended';
COMMENT ON COLUMN lifecycle.enrolment.end_reason IS 'Why it exited: goal_met, or exited where its reason has gone';

CREATE FUNCTION lifecycle.settle_ways(customers text[]) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    WITH kept AS (
        SELECT c.customer_id, c.ways FROM lifecycle.customer AS c
         WHERE c.customer_id = ANY (customers) AND c.ways IS NOT NULL ORDER BY c.customer_id FOR UPDATE),
    moved AS (
        INSERT INTO lifecycle.enrolment_settled (customer_id, scenario, anchor, anchor_at, version, last_position, last_at, next_due_at, enrolled_at)
            SELECT k.customer_id, w.scenario, w.anchor, w.anchor_at, w.version, w.last_position, w.last_at, w.next_due_at, w.enrolled_at
              FROM kept AS k CROSS JOIN LATERAL lifecycle.unpack_ways(k.ways) AS w)
    UPDATE lifecycle.customer AS c SET ways = NULL FROM kept AS k WHERE c.customer_id = k.customer_id
$$;
COMMENT ON FUNCTION lifecycle.settle_ways(text[]) IS 'Internal: moves the enrolments that are kept in these customers'' rows to lifecycle.enrolment_settled';

CREATE FUNCTION lifecycle.change_enrolment() RETURNS trigger
    LANGUAGE plpgsql
    -- SECURITY DEFINER, because who may change enrolments has no business in where they are kept.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM lifecycle.settle_ways(ARRAY[OLD.customer_id]);
        DELETE FROM lifecycle.enrolment_settled AS e WHERE (e.customer_id, e.scenario, e.anchor) = (OLD.customer_id, OLD.scenario, OLD.anchor);
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.version := coalesce(NEW.version, 1);
    NEW.status := coalesce(NEW.status, 'active');
    INSERT INTO lifecycle.enrolment_settled SELECT NEW.*;
    UPDATE lifecycle.customer AS c SET anchors_seen = '' WHERE c.customer_id = NEW.customer_id;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION lifecycle.change_enrolment() IS 'Trigger of lifecycle.enrolment: what is changed by hand is changed where it is kept';

CREATE TRIGGER change_enrolment INSTEAD OF INSERT OR UPDATE OR DELETE ON lifecycle.enrolment
    FOR EACH ROW EXECUTE FUNCTION lifecycle.change_enrolment();

CREATE TABLE lifecycle.enrolment_step (
    customer_id text COLLATE "C" NOT NULL,
    scenario    text NOT NULL,
    anchor      text NOT NULL,
    position    int4 NOT NULL,
    outcome     text NOT NULL,
    reason      text,
    decided_at  timestamptz NOT NULL,
    channel     text,
    class       text,
    address_key bigint,
    CONSTRAINT enrolment_step_pkey PRIMARY KEY (customer_id, scenario, anchor, position),
    CONSTRAINT enrolment_step_outcome_is_known CHECK (outcome IN ('enqueued', 'skipped', 'would_send', 'passed'))
);
COMMENT ON TABLE lifecycle.enrolment_step IS 'What became of each step of each enrolment, and why: at most one decision for each, for ever';
COMMENT ON COLUMN lifecycle.enrolment_step.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.enrolment_step.scenario IS 'The scenario';
COMMENT ON COLUMN lifecycle.enrolment_step.anchor IS 'The enrolment''s anchor';
COMMENT ON COLUMN lifecycle.enrolment_step.position IS 'The step';
COMMENT ON COLUMN lifecycle.enrolment_step.outcome IS 'enqueued; skipped; would_send: held out of an experiment, else it would have been; passed: it sends nothing, and the reason says how it went';
COMMENT ON COLUMN lifecycle.enrolment_step.reason IS 'Why it was not sent: no_consent, excluded, superseded, window_passed, holdout, capped, coupon_pool_empty; how it was passed: happened or timed_out, held or not_held';
COMMENT ON COLUMN lifecycle.enrolment_step.decided_at IS 'When';
COMMENT ON COLUMN lifecycle.enrolment_step.channel IS 'Of what was enqueued: the channel';
COMMENT ON COLUMN lifecycle.enrolment_step.class IS 'Of what was enqueued: marketing or transactional';
COMMENT ON COLUMN lifecycle.enrolment_step.address_key IS 'Internal: whose address it was for, where caps count by address';
CREATE INDEX enrolment_step_address_idx ON lifecycle.enrolment_step (address_key, decided_at) WHERE address_key IS NOT NULL;
