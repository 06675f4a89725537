-- Backfill: what is in a table already when it is attached, and what the shop changes while that is being read.

CREATE TABLE lifecycle.backfill (
    source          text NOT NULL,
    state           text NOT NULL,
    total           bigint NOT NULL,
    rows_done       bigint NOT NULL DEFAULT 0,
    customers_up_to text COLLATE "C",
    started_at      timestamptz NOT NULL,
    run_started_at  timestamptz NOT NULL,
    run_began_with  bigint NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    error           text,
    failed_at       timestamptz,
    CONSTRAINT backfill_pkey PRIMARY KEY (source),
    CONSTRAINT backfill_state_is_known CHECK (state IN ('waiting', 'reading', 'taking in', 'catching up', 'done'))
) WITH (fillfactor = 50);
COMMENT ON TABLE lifecycle.backfill IS 'Internal: how far each backfill is; read lifecycle.progress';
COMMENT ON COLUMN lifecycle.backfill.source IS 'The source';
COMMENT ON COLUMN lifecycle.backfill.state IS 'waiting, reading, taking in, catching up or done';
COMMENT ON COLUMN lifecycle.backfill.total IS 'Rows of the table; an estimate until they have been read';
COMMENT ON COLUMN lifecycle.backfill.rows_done IS 'Rows that are done with';
COMMENT ON COLUMN lifecycle.backfill.customers_up_to IS 'Customers up to this one, in the order of their ids, have been taken in; of a table that names no customer, orders';
COMMENT ON COLUMN lifecycle.backfill.started_at IS 'When it began';
COMMENT ON COLUMN lifecycle.backfill.run_started_at IS 'When the table was last read';
COMMENT ON COLUMN lifecycle.backfill.run_began_with IS 'rows_done at run_started_at';
COMMENT ON COLUMN lifecycle.backfill.updated_at IS 'When rows_done last grew';
COMMENT ON COLUMN lifecycle.backfill.finished_at IS 'When it ended';
COMMENT ON COLUMN lifecycle.backfill.error IS 'What the last try of the background worker failed with';
COMMENT ON COLUMN lifecycle.backfill.failed_at IS 'When';

CREATE VIEW lifecycle.progress AS
    SELECT b.source, b.state, b.rows_done, b.total,
           CASE WHEN b.updated_at > b.run_started_at
                THEN round((b.rows_done - b.run_began_with) / extract(epoch FROM b.updated_at - b.run_started_at)) END AS rate,
           CASE WHEN b.state = 'taking in' AND b.rows_done > b.run_began_with
                THEN (b.updated_at - b.run_started_at) * ((b.total - b.rows_done)::float8 / (b.rows_done - b.run_began_with))
                END AS time_left,
           b.started_at, b.finished_at, b.error
      FROM lifecycle.backfill AS b;
COMMENT ON VIEW lifecycle.progress IS 'Backfills: how far the rows are taken in that were in an attached table already';
COMMENT ON COLUMN lifecycle.progress.source IS 'The source';
COMMENT ON COLUMN lifecycle.progress.state IS 'waiting: for the background worker or CALL lifecycle.backfill(); reading: the table is read and sorted by customer; taking in: customers are worked out; catching up: with what the shop has changed meanwhile; done';
COMMENT ON COLUMN lifecycle.progress.rows_done IS 'Rows that are done with, those that do not count included';
COMMENT ON COLUMN lifecycle.progress.total IS 'Rows of the table; while waiting and reading an estimate, then exact';
COMMENT ON COLUMN lifecycle.progress.rate IS 'Rows a second, since the table was last read';
COMMENT ON COLUMN lifecycle.progress.time_left IS 'How long the rest will take at that rate; NULL: not known';
COMMENT ON COLUMN lifecycle.progress.started_at IS 'When it began';
COMMENT ON COLUMN lifecycle.progress.finished_at IS 'When it ended';
COMMENT ON COLUMN lifecycle.progress.error IS 'What the last try of the background worker failed with; it tries again';

CREATE FUNCTION lifecycle.backfill_source(name text) RETURNS void
    LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'lifecycle_backfill_source';
COMMENT ON FUNCTION lifecycle.backfill_source(text) IS 'Internal: takes in the rows that are in a source, at once if they are few, and otherwise leaves them to the background worker or lifecycle.backfill()';

CREATE FUNCTION lifecycle.backfill_step(name text) RETURNS boolean
    LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'lifecycle_backfill_step';
COMMENT ON FUNCTION lifecycle.backfill_step(text) IS 'Internal: as much of a backfill as goes into one transaction. False: it is done';

-- Without SET search_path, which would forbid COMMIT: everything in it is qualified.
CREATE PROCEDURE lifecycle.backfill(name text)
    LANGUAGE plpgsql
    AS $$
DECLARE
    more boolean;
BEGIN
    LOOP
        COMMIT;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        more := lifecycle.backfill_step(backfill.name);
        EXIT WHEN NOT more;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE lifecycle.backfill(text) IS
'Takes in the rows that were in a source already when it was attached, a batch a transaction, and returns when they all are; goes on where it was if an earlier run was interrupted, and waits while another session or the background worker is at it.
Errors: not the owner of the table; called in a transaction block; the source is not attached, or was attached without backfill';
