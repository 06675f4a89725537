-- Reading segments at any instant, without waiting for a tick.

CREATE FUNCTION lifecycle.evaluate_segments(customer_id text, at timestamptz) RETURNS TABLE (segment text, entered_at timestamptz)
    LANGUAGE c STABLE STRICT ROWS 5
    AS 'MODULE_PATHNAME', 'lifecycle_evaluate_segments';
COMMENT ON FUNCTION lifecycle.evaluate_segments(text, timestamptz) IS 'Internal: the segments of a customer at an instant that no tick has reached yet, worked out without writing anything';

CREATE FUNCTION lifecycle.evaluate_predicate(predicate text) RETURNS TABLE (customer_id text, problem boolean)
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'lifecycle_evaluate_predicate';
COMMENT ON FUNCTION lifecycle.evaluate_predicate(text) IS 'Internal: the customers for whom a predicate holds now, and those for whom it raises an error';

CREATE FUNCTION lifecycle.segments_at(customer_id text, at timestamptz DEFAULT lifecycle.now())
    RETURNS TABLE (segment text, entered_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT h.segment, h.entered_at
      FROM lifecycle.segment_history AS h JOIN lifecycle.customer AS c USING (customer_id)
     WHERE h.customer_id = segments_at.customer_id AND h.entered_at <= segments_at.at
       AND (h.left_at > segments_at.at OR h.left_at IS NULL)
       AND (segments_at.at < c.as_of OR c.next_change_at > segments_at.at OR c.next_change_at IS NULL)
    UNION ALL
    SELECT e.segment, e.entered_at
      FROM lifecycle.customer AS c, LATERAL lifecycle.evaluate_segments(c.customer_id, segments_at.at) AS e
     WHERE c.customer_id = segments_at.customer_id AND segments_at.at >= c.as_of AND c.next_change_at <= segments_at.at
$$;
COMMENT ON FUNCTION lifecycle.segments_at(text, timestamptz) IS 'The segments a customer was, is or, if nothing happens, will be in at an instant, and since when';

CREATE FUNCTION lifecycle.in_segment(customer_id text, segment text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT EXISTS (SELECT FROM lifecycle.segments_at(in_segment.customer_id, lifecycle.now()) AS s
                    WHERE s.segment = in_segment.segment)
$$;
COMMENT ON FUNCTION lifecycle.in_segment(text, text) IS 'Whether a customer is in a segment at this very instant, whether or not a tick has run';

CREATE FUNCTION lifecycle.members(segment text) RETURNS TABLE (customer_id text, entered_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH due AS MATERIALIZED (
        SELECT c.customer_id
          FROM lifecycle.timer AS t JOIN lifecycle.customer AS c ON (c.timer_at, c.customer_id) = (t.due_at, t.customer_id)
         WHERE t.due_at <= lifecycle.now() AND c.next_change_at <= lifecycle.now())
    SELECT m.customer_id, m.entered_at
      FROM lifecycle.segment_member AS m
     WHERE m.segment = members.segment AND NOT EXISTS (SELECT FROM due AS d WHERE d.customer_id = m.customer_id)
    UNION ALL
    SELECT d.customer_id, e.entered_at
      FROM due AS d, LATERAL lifecycle.evaluate_segments(d.customer_id, lifecycle.now()) AS e
     WHERE e.segment = members.segment
$$;
COMMENT ON FUNCTION lifecycle.members(text) IS 'Who is in a segment at this very instant, and since when: lifecycle.segment_member, with what time has changed since the last tick';

CREATE FUNCTION lifecycle.preview_segment(predicate text, sample integer DEFAULT 10,
                                          OUT members bigint, OUT share numeric, OUT sample_ids text[], OUT tiers jsonb, OUT problems bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH found AS MATERIALIZED (
        SELECT e.customer_id, e.problem, c.tier
          FROM lifecycle.evaluate_predicate(preview_segment.predicate) AS e JOIN lifecycle.customer AS c USING (customer_id)),
    held AS (SELECT f.customer_id, f.tier FROM found AS f WHERE NOT f.problem)
    SELECT (SELECT count(*) FROM held),
           round((SELECT count(*) FROM held) / NULLIF((SELECT count(*) FROM lifecycle.customer), 0)::numeric, 4),
           ARRAY(SELECT h.customer_id FROM held AS h ORDER BY h.customer_id LIMIT preview_segment.sample),
           (SELECT jsonb_object_agg(coalesce(t.tier, 'none'), round(t.n / t.total, 4))
              FROM (SELECT h.tier, count(*)::numeric AS n, sum(count(*)) OVER () AS total FROM held AS h GROUP BY h.tier) AS t),
           (SELECT count(*) FROM found AS f WHERE f.problem)
$$;
COMMENT ON FUNCTION lifecycle.preview_segment(text, integer) IS 'What a segment with this predicate would hold now, before it is defined: how many members, which share of all customers, some of them, which share of them is in which tier, and for how many customers the predicate raises an error';
