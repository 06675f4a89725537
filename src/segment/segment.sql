-- Segments: their definition, who is in them, and who was.

CREATE TABLE lifecycle.segment (
    name        text COLLATE "C" NOT NULL,
    predicate   text NOT NULL,
    dimension   text,
    rank        int4,
    description text,
    segment_id  int4 GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT segment_pkey PRIMARY KEY (name),
    CONSTRAINT segment_name_is_not_too_long CHECK (octet_length(name) <= 200),
    CONSTRAINT segment_id_is_unique UNIQUE (segment_id),
    CONSTRAINT segment_has_both_dimension_and_rank CHECK ((dimension IS NULL) = (rank IS NULL)),
    CONSTRAINT segment_rank_is_unique UNIQUE (dimension, rank) DEFERRABLE INITIALLY IMMEDIATE
);
COMMENT ON TABLE lifecycle.segment IS 'Segments of customers. INSERT, UPDATE and DELETE take effect for all customers in the same transaction';
COMMENT ON COLUMN lifecycle.segment.name IS 'Its name';
COMMENT ON COLUMN lifecycle.segment.predicate IS 'A boolean SQL expression over the columns of lifecycle.customer; now() is the instant asked about. NULL is not a member';
COMMENT ON COLUMN lifecycle.segment.dimension IS 'Within one dimension a customer is only in the first segment, by rank, whose predicate holds';
COMMENT ON COLUMN lifecycle.segment.rank IS 'Order within the dimension, lowest first';
COMMENT ON COLUMN lifecycle.segment.description IS 'What the segment is for';
COMMENT ON COLUMN lifecycle.segment.segment_id IS 'Internal number';

CREATE TABLE lifecycle.segment_member (
    segment     text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    entered_at  timestamptz NOT NULL,
    CONSTRAINT segment_member_pkey PRIMARY KEY (segment, customer_id)
) USING heap;
COMMENT ON TABLE lifecycle.segment_member IS 'Who is in which segment';
COMMENT ON COLUMN lifecycle.segment_member.segment IS 'The segment';
COMMENT ON COLUMN lifecycle.segment_member.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.segment_member.entered_at IS 'The instant from which on the predicate has held';

CREATE TABLE lifecycle.segment_past (
    segment     text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    entered_at  timestamptz NOT NULL,
    left_at     timestamptz NOT NULL
) USING heap;
CREATE INDEX segment_past_customer_id_idx ON lifecycle.segment_past (customer_id);
COMMENT ON TABLE lifecycle.segment_past IS 'Memberships that have ended; read lifecycle.segment_history';
COMMENT ON COLUMN lifecycle.segment_past.segment IS 'The segment';
COMMENT ON COLUMN lifecycle.segment_past.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.segment_past.entered_at IS 'The instant from which on the predicate held';
COMMENT ON COLUMN lifecycle.segment_past.left_at IS 'The instant from which on it no longer held';

CREATE TABLE lifecycle.segment_delta (
    segment text COLLATE "C" NOT NULL,
    members bigint NOT NULL
) USING heap;
COMMENT ON TABLE lifecycle.segment_delta IS 'Internal: by how much each change of memberships has changed the size of a segment; read lifecycle.segment_size';
COMMENT ON COLUMN lifecycle.segment_delta.segment IS 'The segment';
COMMENT ON COLUMN lifecycle.segment_delta.members IS 'How many more members; negative: fewer';

CREATE VIEW lifecycle.segment_size AS
    SELECT s.name AS segment, coalesce(sum(d.members), 0)::bigint AS members
      FROM lifecycle.segment AS s
      LEFT JOIN lifecycle.segment_delta AS d ON d.segment = s.name
     GROUP BY s.name;
COMMENT ON VIEW lifecycle.segment_size IS 'How many rows lifecycle.segment_member has for each segment, exact in every transaction, without counting them';
COMMENT ON COLUMN lifecycle.segment_size.segment IS 'The segment';
COMMENT ON COLUMN lifecycle.segment_size.members IS 'Number of members';

CREATE VIEW lifecycle.segment_history AS
    SELECT p.segment, p.customer_id, p.entered_at, p.left_at
      FROM lifecycle.segment_past AS p
    UNION ALL
    SELECT m.segment, m.customer_id, m.entered_at, NULL
      FROM lifecycle.segment_member AS m;
COMMENT ON VIEW lifecycle.segment_history IS 'Who was in which segment when: [entered_at, left_at)';
COMMENT ON COLUMN lifecycle.segment_history.segment IS 'The segment';
COMMENT ON COLUMN lifecycle.segment_history.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.segment_history.entered_at IS 'The instant from which on the predicate held';
COMMENT ON COLUMN lifecycle.segment_history.left_at IS 'The instant from which on it no longer held; NULL: it holds now';

CREATE TABLE lifecycle.problem (
    customer_id text COLLATE "C" NOT NULL,
    segment     text COLLATE "C" NOT NULL,
    sqlstate    text NOT NULL,
    message     text NOT NULL,
    seen_at     timestamptz NOT NULL,
    CONSTRAINT problem_pkey PRIMARY KEY (customer_id, segment)
);
COMMENT ON TABLE lifecycle.problem IS 'Customers for whom a predicate raised an error: their membership was left as it was';
COMMENT ON COLUMN lifecycle.problem.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.problem.segment IS 'The segment whose predicate raised it';
COMMENT ON COLUMN lifecycle.problem.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN lifecycle.problem.message IS 'Its message';
COMMENT ON COLUMN lifecycle.problem.seen_at IS 'When it was last seen';

CREATE FUNCTION lifecycle.check_segment() RETURNS trigger
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_check_segment';
COMMENT ON FUNCTION lifecycle.check_segment() IS 'Trigger of lifecycle.segment: refuses a predicate that cannot work, with the position and a hint';

CREATE FUNCTION lifecycle.segment_error(name text) RETURNS text
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_segment_error';
COMMENT ON FUNCTION lifecycle.segment_error(text) IS 'Internal: why the predicate of a segment has ceased to work; NULL: it works';

CREATE TRIGGER check_segment BEFORE INSERT OR UPDATE ON lifecycle.segment
    FOR EACH ROW EXECUTE FUNCTION lifecycle.check_segment();
