-- The inbox of asynchronous sources.

CREATE TABLE lifecycle.inbox (
    entry_id bigint GENERATED ALWAYS AS IDENTITY,
    source   text NOT NULL,
    said_at  timestamptz NOT NULL,
    gone     json,
    arrived  json,
    held     boolean NOT NULL DEFAULT false,
    CONSTRAINT inbox_pkey PRIMARY KEY (entry_id)
);
CREATE INDEX inbox_source_idx ON lifecycle.inbox (source);
COMMENT ON TABLE lifecycle.inbox IS 'What attached tables of mode async have said and the worker, or lifecycle.tick(), has not taken in yet: one row for each change of a row, in the order of entry_id';
COMMENT ON COLUMN lifecycle.inbox.entry_id IS 'Number of the entry; of two changes of one row the later one has the higher number';
COMMENT ON COLUMN lifecycle.inbox.source IS 'The attached table';
COMMENT ON COLUMN lifecycle.inbox.said_at IS 'When it was said';
COMMENT ON COLUMN lifecycle.inbox.gone IS 'The row as it was; NULL: it is new';
COMMENT ON COLUMN lifecycle.inbox.arrived IS 'The row as it is; NULL: it was deleted. Both NULL: the table was emptied';
COMMENT ON COLUMN lifecycle.inbox.held IS 'Internal: when it was said, quarantine held rows of the source, maybe this one as it was: it may not count yet';
