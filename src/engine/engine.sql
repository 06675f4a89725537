-- Bringing customers up to date when a definition changes.

CREATE FUNCTION lifecycle.rebuild() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_rebuild';
COMMENT ON FUNCTION lifecycle.rebuild() IS 'Works out every customer anew from the ledger: numbers, tiers, segments. Changes nothing that is right; sends nothing';

-- What the customers' rows say has just been worked out; segment_member says the same, unless somebody has changed it by hand.
CREATE FUNCTION lifecycle.mend_members() RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    WITH held AS MATERIALIZED (
        SELECT s.name AS segment, c.customer_id, u.since
          FROM lifecycle.customer AS c CROSS JOIN LATERAL lifecycle.unpack_memberships(c.memberships) AS u
          JOIN lifecycle.segment AS s ON s.segment_id = u.id)
    DELETE FROM lifecycle.segment_member AS m
     WHERE NOT EXISTS (SELECT FROM held AS h WHERE (h.segment, h.customer_id, h.since) = (m.segment, m.customer_id, m.entered_at));

    INSERT INTO lifecycle.segment_member (segment, customer_id, entered_at)
        SELECT s.name, c.customer_id, u.since
          FROM lifecycle.customer AS c CROSS JOIN LATERAL lifecycle.unpack_memberships(c.memberships) AS u
          JOIN lifecycle.segment AS s ON s.segment_id = u.id
        ON CONFLICT (segment, customer_id) DO NOTHING;

    INSERT INTO lifecycle.segment_delta (segment, members)
        SELECT segment, coalesce(m.members, 0) - coalesce(d.members, 0)
          FROM (SELECT n.segment, count(*) AS members FROM lifecycle.segment_member AS n GROUP BY n.segment) AS m
          FULL JOIN (SELECT e.segment, sum(e.members) AS members FROM lifecycle.segment_delta AS e GROUP BY e.segment) AS d USING (segment)
         WHERE coalesce(m.members, 0) <> coalesce(d.members, 0)
$$;
COMMENT ON FUNCTION lifecycle.mend_members() IS 'Internal: part of lifecycle.rebuild(); makes segment_member and the sizes of segments what the customers'' rows say';

CREATE TABLE lifecycle.definition_change (
    change_id       bigint GENERATED ALWAYS AS IDENTITY,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    customers_done  bigint NOT NULL DEFAULT 0,
    customers_total bigint NOT NULL,
    after_id        text COLLATE "C" NOT NULL DEFAULT '',
    segments_only   boolean NOT NULL DEFAULT false,
    CONSTRAINT definition_change_pkey PRIMARY KEY (change_id)
);
COMMENT ON TABLE lifecycle.definition_change IS 'Changed definitions of segments, tiers, loyalty program or shop on their way to the customers, where there are more than lifecycle.redefine_at_once';
COMMENT ON COLUMN lifecycle.definition_change.change_id IS 'Number of the change';
COMMENT ON COLUMN lifecycle.definition_change.started_at IS 'When the definition was changed';
COMMENT ON COLUMN lifecycle.definition_change.finished_at IS 'When it had reached everybody, or a later change took its place; NULL: it is on its way';
COMMENT ON COLUMN lifecycle.definition_change.customers_done IS 'How many customers it has reached';
COMMENT ON COLUMN lifecycle.definition_change.customers_total IS 'How many there were, about, when it began';
COMMENT ON COLUMN lifecycle.definition_change.after_id IS 'Internal: the customer that it has reached last, in the order of their ids';
COMMENT ON COLUMN lifecycle.definition_change.segments_only IS 'Internal: numbers and tiers stand as they are';

CREATE FUNCTION lifecycle.definitions_changed() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_definitions_changed';
COMMENT ON FUNCTION lifecycle.definitions_changed() IS 'Trigger of lifecycle.segment, lifecycle.tier and other definitions: before a change works off what is due, after it takes the new definition to every customer';

CREATE FUNCTION lifecycle.segment_moved() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
        INSERT INTO lifecycle.segment_past (segment, customer_id, entered_at, left_at)
            SELECT m.segment, m.customer_id, m.entered_at, lifecycle.now()
              FROM lifecycle.segment_member AS m
             WHERE (TG_OP = 'TRUNCATE' OR m.segment = OLD.name) AND m.entered_at < lifecycle.now();
        DELETE FROM lifecycle.segment_member AS m WHERE TG_OP = 'TRUNCATE' OR m.segment = OLD.name;
        DELETE FROM lifecycle.segment_delta AS d WHERE TG_OP = 'TRUNCATE' OR d.segment = OLD.name;
    ELSE
        UPDATE lifecycle.segment_member SET segment = NEW.name WHERE segment = OLD.name;
        UPDATE lifecycle.segment_past SET segment = NEW.name WHERE segment = OLD.name;
        UPDATE lifecycle.segment_delta SET segment = NEW.name WHERE segment = OLD.name;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.segment_moved() IS 'Trigger of lifecycle.segment: ends the memberships of a segment that is deleted and renames those of one that is renamed';

-- Named so that they fire in this order: PostgreSQL goes by name.
CREATE TRIGGER a_segment_deleted AFTER DELETE ON lifecycle.segment
    FOR EACH ROW EXECUTE FUNCTION lifecycle.segment_moved();
CREATE TRIGGER a_segment_truncated AFTER TRUNCATE ON lifecycle.segment
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.segment_moved();
CREATE TRIGGER a_segment_renamed AFTER UPDATE ON lifecycle.segment
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION lifecycle.segment_moved();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.segment
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.segment
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.rfm_threshold
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.rfm_threshold
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.tier
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.tier
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.tier_version
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.tier_version
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.loyalty_program
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.loyalty_program
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_change BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.shop
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.shop
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.definitions_changed();

CREATE FUNCTION lifecycle.wake_enrolments() RETURNS trigger
    LANGUAGE plpgsql
    -- SECURITY DEFINER, because who may change scenarios has no business in the timers.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    WITH waiting AS (
        SELECT c.customer_id, c.timer_at, c.later_timer_at
          FROM lifecycle.customer AS c
         WHERE c.customer_id IN (SELECT e.customer_id FROM lifecycle.enrolment AS e
                                  WHERE e.scenario = OLD.name AND e.status = 'active')
         ORDER BY c.customer_id
           FOR UPDATE),
    disarmed AS (
        DELETE FROM lifecycle.timer AS t USING waiting AS w
         WHERE t.due_at = w.timer_at AND t.customer_id = w.customer_id AND w.timer_at <> lifecycle.now()),
    armed AS (
        INSERT INTO lifecycle.timer (due_at, customer_id)
            SELECT lifecycle.now(), w.customer_id FROM waiting AS w
             WHERE w.timer_at IS DISTINCT FROM lifecycle.now() AND w.later_timer_at IS DISTINCT FROM lifecycle.now())
    UPDATE lifecycle.customer AS c
       SET enrolment_due_at = lifecycle.now(), timer_at = lifecycle.now(), later_timer_at = nullif(c.later_timer_at, lifecycle.now())
      FROM waiting AS w
     WHERE c.customer_id = w.customer_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.wake_enrolments() IS 'Trigger of lifecycle.scenario: looks again at everybody on the way when a scenario is paused, goes on or is deleted';

CREATE TRIGGER wake_enrolments AFTER UPDATE ON lifecycle.scenario
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION lifecycle.wake_enrolments();
CREATE TRIGGER wake_enrolments_of_deleted AFTER DELETE ON lifecycle.scenario
    FOR EACH ROW EXECUTE FUNCTION lifecycle.wake_enrolments();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.scenario
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.variant
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.step
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.exchange_rate
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.cap
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.channel
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();

CREATE FUNCTION lifecycle.scenario_activated() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kind      text := split_part(NEW.trigger, ':', 1);
    wanted    text := substr(NEW.trigger, length(split_part(NEW.trigger, ':', 1)) + 2);
    customers text[];
    last      text := '';
BEGIN
    IF lifecycle.restoring() THEN
        RETURN NULL;
    END IF;
    PERFORM lifecycle.note_config_change();
    IF kind = 'segment_entered' AND NEW.enroll_existing THEN
        -- Spread over the hours, so that nobody's mail server sees them all at once.
        INSERT INTO lifecycle.enrolment_settled (customer_id, scenario, anchor, anchor_at, version, next_due_at, enrolled_at)
            SELECT m.customer_id, NEW.name, 'existing', m.starts_at, NEW.version, m.starts_at, lifecycle.now()
              FROM (SELECT m.customer_id,
                           lifecycle.now() + coalesce((row_number() OVER (ORDER BY m.entered_at, m.customer_id) - 1) / NEW.max_per_hour, 0) * interval '1 hour' AS starts_at
                      FROM lifecycle.segment_member AS m WHERE m.segment = wanted) AS m
            ON CONFLICT (customer_id, scenario, anchor) DO NOTHING;
        UPDATE lifecycle.customer AS c
           SET open_enrolments = c.open_enrolments + 1, enrolment_due_at = least(c.enrolment_due_at, e.next_due_at), anchors_seen = ''
          FROM lifecycle.enrolment_settled AS e
         WHERE e.customer_id = c.customer_id AND e.scenario = NEW.name AND e.anchor = 'existing' AND e.status = 'active' AND e.enrolled_at = lifecycle.now();
    ELSIF kind NOT IN ('cart_idle', 'birthday', 'date', 'points_expiring') THEN
        RETURN NULL;
    END IF;
    -- Whoever time will start it for has to be looked at when that time comes.
    LOOP
        SELECT array_agg(c.customer_id) INTO customers
          FROM (SELECT c.customer_id FROM lifecycle.customer AS c
                 WHERE c.customer_id > last
                   AND CASE kind WHEN 'cart_idle' THEN c.cart_id IS NOT NULL WHEN 'birthday' THEN c.birthday IS NOT NULL WHEN 'points_expiring' THEN c.points > 0
                                 WHEN 'date' THEN true ELSE c.enrolment_due_at IS NOT NULL END
                 ORDER BY c.customer_id LIMIT 1000) AS c;
        EXIT WHEN customers IS NULL;
        PERFORM lifecycle.bring_up_to_date(customers, false);
        last := (SELECT max(u.id COLLATE "C") FROM unnest(customers) AS u (id));
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.scenario_activated() IS 'Trigger of lifecycle.scenario: sets the timers of those whom time will enrol, and enrols who is in the segment already if enroll_existing says so';

CREATE TRIGGER b_scenario_activated AFTER UPDATE ON lifecycle.scenario
    FOR EACH ROW WHEN (NEW.status = 'active' AND (OLD.status <> 'active' OR OLD.trigger <> NEW.trigger)) EXECUTE FUNCTION lifecycle.scenario_activated();
CREATE TRIGGER b_scenario_inserted_active AFTER INSERT ON lifecycle.scenario
    FOR EACH ROW WHEN (NEW.status = 'active') EXECUTE FUNCTION lifecycle.scenario_activated();
