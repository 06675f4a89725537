-- Attaching the shop's own tables.

CREATE TABLE lifecycle.source (
    name        text NOT NULL,
    relation    regclass NOT NULL,
    kind        text NOT NULL,
    mapping     jsonb NOT NULL,
    filter      text,
    mode        text NOT NULL DEFAULT 'sync',
    attached_at timestamptz NOT NULL,
    attached_as text,
    source_id   int4 GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT source_pkey PRIMARY KEY (name),
    CONSTRAINT source_id_is_unique UNIQUE (source_id),
    CONSTRAINT source_mode_is_known CHECK (mode IN ('sync', 'async'))
);
COMMENT ON TABLE lifecycle.source IS 'The shop''s tables that are attached; managed with lifecycle.attach() and lifecycle.detach()';
COMMENT ON COLUMN lifecycle.source.name IS 'Its name';
COMMENT ON COLUMN lifecycle.source.relation IS 'The shop''s table';
COMMENT ON COLUMN lifecycle.source.kind IS 'What its rows are: customer, order, refund, order_item, cart, consent, engagement, delivery, review, wishlist, referral or event';
COMMENT ON COLUMN lifecycle.source.mapping IS 'Each field of the kind as an SQL expression over one row of the table';
COMMENT ON COLUMN lifecycle.source.filter IS 'A boolean SQL expression: which rows count. NULL: all';
COMMENT ON COLUMN lifecycle.source.mode IS 'sync: facts are taken in by the transaction that says them; async: they wait in lifecycle.inbox for the worker or lifecycle.tick()';
COMMENT ON COLUMN lifecycle.source.attached_at IS 'When it was attached';
COMMENT ON COLUMN lifecycle.source.attached_as IS 'The name that the table had then';
COMMENT ON COLUMN lifecycle.source.source_id IS 'Internal number';

CREATE FUNCTION lifecycle.check_source() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_check_source';
COMMENT ON FUNCTION lifecycle.check_source() IS 'Trigger of lifecycle.source: refuses a mapping or filter that cannot work, with the position and a hint';

CREATE TRIGGER check_source BEFORE INSERT OR UPDATE ON lifecycle.source
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_source();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON lifecycle.source
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.config_changed();

CREATE TABLE lifecycle.quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY,
    source        text NOT NULL,
    action        text NOT NULL,
    data          jsonb NOT NULL,
    sqlstate      text NOT NULL,
    message       text NOT NULL,
    detail        text,
    occurred_at   timestamptz NOT NULL,
    CONSTRAINT quarantine_pkey PRIMARY KEY (quarantine_id),
    CONSTRAINT quarantine_action_is_known CHECK (action IN ('arrived', 'gone'))
);
CREATE INDEX quarantine_source_idx ON lifecycle.quarantine (source);
COMMENT ON TABLE lifecycle.quarantine IS 'Rows of the shop''s tables that could not be processed, with the reason. Mend the row in the shop''s table, or data in here, and call lifecycle.replay_quarantine()';
COMMENT ON COLUMN lifecycle.quarantine.quarantine_id IS 'Number of the entry';
COMMENT ON COLUMN lifecycle.quarantine.source IS 'The attached table it is from';
COMMENT ON COLUMN lifecycle.quarantine.action IS 'arrived: the row came; gone: it was changed or deleted, and this is what it was';
COMMENT ON COLUMN lifecycle.quarantine.data IS 'The row; columns that no mapping reads may have changed since';
COMMENT ON COLUMN lifecycle.quarantine.sqlstate IS 'SQLSTATE of the reason';
COMMENT ON COLUMN lifecycle.quarantine.message IS 'The reason';
COMMENT ON COLUMN lifecycle.quarantine.detail IS 'The offending value';
COMMENT ON COLUMN lifecycle.quarantine.occurred_at IS 'When';

CREATE FUNCTION lifecycle.capture() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_capture';
COMMENT ON FUNCTION lifecycle.capture() IS 'Trigger of attached tables: takes in what a statement has changed. It never fails the statement';

CREATE FUNCTION lifecycle.gather() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_gather';
COMMENT ON FUNCTION lifecycle.gather() IS 'Trigger of attached tables: keeps the rows that an UPDATE changes in what is read of them, for lifecycle.capture()';

CREATE FUNCTION lifecycle.begin_statement() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_begin_statement';
COMMENT ON FUNCTION lifecycle.begin_statement() IS 'Trigger of attached tables that have triggers of the shop: notes that a statement begins, so that what is said within it waits for it';

CREATE FUNCTION lifecycle.settle() RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_settle';
COMMENT ON FUNCTION lifecycle.settle() IS 'Takes in now what this transaction has said and would otherwise take in when it commits (see the setting lifecycle.settle)';

CREATE FUNCTION lifecycle.said_by_row(source text, fields text[], data record, OUT said text[], OUT problem text)
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_said_by_row';
COMMENT ON FUNCTION lifecycle.said_by_row(text, text[], record) IS 'Internal: these fields of what a row of an attached table says; NULL: it does not count, or there is a problem with it';

CREATE FUNCTION lifecycle.withdraw_source(name text) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_withdraw';
COMMENT ON FUNCTION lifecycle.withdraw_source(text) IS 'Internal: takes back everything that a source has said';

CREATE FUNCTION lifecycle.attach(source regclass, kind text, mapping jsonb, filter text DEFAULT NULL, name text DEFAULT NULL,
                                 backfill boolean DEFAULT true, mode text DEFAULT 'sync')
    RETURNS text
    -- quote_all_identifiers: the source is named after the table, in any session alike.
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS $$
DECLARE
    called   text := coalesce(name, source::text || ':' || kind);
    orders   regclass;
BEGIN
    IF mode IS NULL OR mode NOT IN ('sync', 'async') THEN
        RAISE EXCEPTION 'mode "%" is not known', mode
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The modes are sync and async.';
    END IF;
    IF mapping IS NULL THEN
        RAISE EXCEPTION 'mapping is null'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Write it like {"order": "id", "customer": "user_id", ...}.';
    END IF;
    IF NOT pg_has_role((SELECT c.relowner FROM pg_class AS c WHERE c.oid = source), 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table %', source
            USING ERRCODE = 'insufficient_privilege', HINT = 'Only who owns a table may attach it.';
    END IF;
    IF EXISTS (SELECT FROM lifecycle.source AS s WHERE s.name = called) THEN
        RAISE EXCEPTION 'source "%" is attached already', called
            USING ERRCODE = 'duplicate_object', HINT = 'Detach it first, or give this one another name.';
    END IF;
    -- Every later writer meets the triggers. A small table is taken in under this lock; what changes in a large one meanwhile goes to the inbox.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', source);
    INSERT INTO lifecycle.source (name, relation, kind, mapping, filter, mode, attached_at, attached_as)
        VALUES (called, source, kind, mapping, filter, mode, lifecycle.now(), source::text);
    PERFORM lifecycle.watch_source(called, false);

    -- From now on it must be known who placed which order. Nobody may place one before everybody knows that.
    IF kind IN ('order_item', 'delivery') AND mapping ->> 'customer' IS NULL AND NOT EXISTS (
           SELECT FROM lifecycle.source AS s
            WHERE s.kind IN ('order_item', 'delivery') AND s.mapping ->> 'customer' IS NULL AND s.name <> called) THEN
        FOR orders IN SELECT DISTINCT s.relation FROM lifecycle.source AS s WHERE s.kind = 'order' ORDER BY 1 LOOP
            EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', orders);
        END LOOP;
        DELETE FROM lifecycle.order_owner;
        INSERT INTO lifecycle.order_owner (order_id, customer_id)
            SELECT p.id, min(p.customer_id) FROM lifecycle.purchase AS p WHERE p.kind = 'order' GROUP BY p.id;
    END IF;

    IF backfill THEN
        PERFORM lifecycle.backfill_source(called);
    END IF;
    RETURN called;
END
$$;
COMMENT ON FUNCTION lifecycle.attach(regclass, text, jsonb, text, text, boolean, text) IS
'Attaches a table of the shop: from now on its rows count as facts of the kind (customer, order, refund, order_item, cart, consent, engagement,
delivery, review, wishlist, referral, event). Ids of orders must be unique over all attached tables of orders.
mapping: each field as an SQL expression over one row, e.g. {"order": "id", "customer": "user_id", "amount": "total", "placed_at": "created_at"};
filter: which rows count; name: default schema.table:kind; backfill: take in the rows that are there already, at once if they are at most
lifecycle.backfill_at_once, else after the commit (see lifecycle.progress and lifecycle.backfill());
mode: sync (taken in with the shop''s transaction) or async (by the worker, without locking customers).
Returns the name. Errors: an expression that does not parse, has the wrong type, is volatile or reads tables is refused with its position';

CREATE FUNCTION lifecycle.detach(name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM lifecycle.source AS s WHERE s.name = detach.name) THEN
        RAISE EXCEPTION 'source "%" is not attached', name
            USING ERRCODE = 'undefined_object', HINT = 'SELECT name FROM lifecycle.source.';
    END IF;
    -- First, so that a backfill that is at work has ended its batch and begins no other.
    DELETE FROM lifecycle.progress AS p WHERE p.source = detach.name;
    PERFORM lifecycle.drop_triggers(detach.name, w.relation)
       FROM (SELECT DISTINCT t.relation FROM lifecycle.source_trigger AS t WHERE t.source = detach.name) AS w;
    PERFORM lifecycle.withdraw_source(name);
    DELETE FROM lifecycle.source AS s WHERE s.name = detach.name;
END
$$;
COMMENT ON FUNCTION lifecycle.detach(text) IS 'Undoes attach(): drops the triggers and takes back every fact that the source has said';

CREATE FUNCTION lifecycle.replay_row(source text, data jsonb, gone boolean) RETURNS boolean
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_replay_row';
COMMENT ON FUNCTION lifecycle.replay_row(text, jsonb, boolean) IS 'Internal: takes in one row of a source; false: it went into quarantine';

CREATE FUNCTION lifecycle.replay_quarantine(source text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    entry record;
    taken boolean;
    total bigint := 0;
    state text;
    reason text;
    more text;
BEGIN
    FOR entry IN
        SELECT q.quarantine_id, q.source, q.action, q.data
          FROM lifecycle.quarantine AS q JOIN lifecycle.source AS s ON s.name = q.source
         WHERE (replay_quarantine.source IS NULL OR q.source = replay_quarantine.source)
           -- A backfill that is interrupted reads the rows again, the mended ones too.
           AND NOT EXISTS (SELECT FROM lifecycle.backfill AS b WHERE b.source = q.source AND b.state <> 'done')
         ORDER BY q.quarantine_id
           FOR UPDATE OF q
    LOOP
        BEGIN
            DELETE FROM lifecycle.quarantine AS q WHERE q.quarantine_id = entry.quarantine_id;
            taken := lifecycle.replay_row(entry.source, entry.data, entry.action = 'gone');
            total := total + taken::int;
        EXCEPTION WHEN OTHERS THEN
            -- Not mended yet: the entry stays, with the reason it has now.
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, reason = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
            UPDATE lifecycle.quarantine AS q SET sqlstate = state, message = reason, detail = nullif(more, '')
             WHERE q.quarantine_id = entry.quarantine_id;
        END;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION lifecycle.replay_quarantine(text) IS 'Takes in what can be taken in by now of what is in quarantine (of one source, or of all), in the order it came. Returns how many rows';
