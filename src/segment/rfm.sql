-- RFM: how recently, how often and for how much somebody has bought, each scored from 1 to 5.

CREATE TABLE lifecycle.rfm_threshold (
    score       int4 NOT NULL,
    recency     interval,
    frequency   bigint,
    monetary    numeric,
    computed_at timestamptz,
    CONSTRAINT rfm_threshold_pkey PRIMARY KEY (score),
    CONSTRAINT rfm_threshold_score_is_in_range CHECK (score BETWEEN 2 AND 5),
    CONSTRAINT rfm_threshold_recency_is_positive CHECK (recency > '0'),
    CONSTRAINT rfm_threshold_monetary_is_finite CHECK (monetary > '-Infinity' AND monetary < 'Infinity')
);
COMMENT ON TABLE lifecycle.rfm_threshold IS 'What a customer with orders needs for a score of 2 to 5; 1 is everybody else. Written by hand, or by lifecycle.refresh_rfm() as quintiles. A change is one of definitions: nobody enters a segment by it';
COMMENT ON COLUMN lifecycle.rfm_threshold.score IS 'The score, 2 to 5';
COMMENT ON COLUMN lifecycle.rfm_threshold.recency IS 'The last order is less than this ago, days and months in the customer''s zone; NULL: nobody has the score';
COMMENT ON COLUMN lifecycle.rfm_threshold.frequency IS 'At least so many orders; NULL: nobody has the score';
COMMENT ON COLUMN lifecycle.rfm_threshold.monetary IS 'At least so much revenue; NULL: nobody has the score';
COMMENT ON COLUMN lifecycle.rfm_threshold.computed_at IS 'When refresh_rfm() has computed it; NULL: written by hand';

CREATE FUNCTION lifecycle.check_rfm_thresholds() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    fault record;
BEGIN
    SELECT t.* INTO fault
      FROM (SELECT r.score, r.recency > min(r.recency) OVER lower OR r.frequency < max(r.frequency) OVER lower
                            OR r.monetary < max(r.monetary) OVER lower AS easier
              FROM lifecycle.rfm_threshold AS r
            WINDOW lower AS (ORDER BY r.score ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS t
     WHERE t.easier
     ORDER BY t.score LIMIT 1;
    IF FOUND AND NOT lifecycle.restoring() THEN
        RAISE EXCEPTION 'score % can be reached before a lower one', fault.score
            USING ERRCODE = 'check_violation', HINT = 'Let recency shrink, and frequency and monetary grow, with the score.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifecycle.check_rfm_thresholds() IS 'Trigger of lifecycle.rfm_threshold: refuses a score that asks for less than a lower one';
CREATE TRIGGER check_rfm_thresholds AFTER INSERT OR UPDATE ON lifecycle.rfm_threshold
    FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.check_rfm_thresholds();

CREATE FUNCTION lifecycle.rfm_recency() RETURNS int
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.rfm_recency() IS 'In predicates: how recently the customer has ordered, from 1 to 5 (best), by lifecycle.rfm_threshold; it falls at the very instant. NULL: no order, or no thresholds';

CREATE FUNCTION lifecycle.rfm_frequency() RETURNS int
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.rfm_frequency() IS 'In predicates: how often the customer has ordered, from 1 to 5 (best), by lifecycle.rfm_threshold. NULL: no order, or no thresholds';

CREATE FUNCTION lifecycle.rfm_monetary() RETURNS int
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'lifecycle_in_predicates_only';
COMMENT ON FUNCTION lifecycle.rfm_monetary() IS 'In predicates: how much the customer has spent, refunds taken off, from 1 to 5 (best), by lifecycle.rfm_threshold. NULL: no order, or no thresholds';

CREATE FUNCTION lifecycle.rfm_expression(measure text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN count(*) = 0 THEN 'NULL::int'
                ELSE 'CASE WHEN order_count > 0 THEN '
                     || coalesce('CASE ' || string_agg(format(CASE measure WHEN 'recency' THEN 'WHEN now() < last_order_at + %L::interval THEN %s'
                                                                WHEN 'frequency' THEN 'WHEN order_count >= %L::bigint THEN %s'
                                                                ELSE 'WHEN revenue >= %L::numeric THEN %s' END, t.needed, t.score), ' ' ORDER BY t.score DESC)
                                 FILTER (WHERE t.needed IS NOT NULL) || ' ELSE 1 END', '1')
                     || ' END' END
      FROM (SELECT r.score, CASE measure WHEN 'recency' THEN r.recency::text WHEN 'frequency' THEN r.frequency::text ELSE r.monetary::text END AS needed
              FROM lifecycle.rfm_threshold AS r) AS t
$$;
COMMENT ON FUNCTION lifecycle.rfm_expression(text) IS 'Internal: what rfm_recency(), rfm_frequency() or rfm_monetary() stands for in a predicate';

CREATE VIEW lifecycle.rfm AS
    SELECT s.customer_id, s.recency, s.frequency, s.monetary, concat(s.recency, s.frequency, s.monetary) AS cell
      FROM (SELECT c.customer_id,
                   1 + coalesce((SELECT max(t.score) - 1 FROM lifecycle.rfm_threshold AS t
                                  WHERE lifecycle.now() < lifecycle.add_in_zone(c.last_order_at, t.recency, c.time_zone)), 0) AS recency,
                   1 + coalesce((SELECT max(t.score) - 1 FROM lifecycle.rfm_threshold AS t WHERE c.order_count >= t.frequency), 0) AS frequency,
                   1 + coalesce((SELECT max(t.score) - 1 FROM lifecycle.rfm_threshold AS t WHERE c.revenue >= t.monetary), 0) AS monetary
              FROM lifecycle.customer AS c
             WHERE c.order_count > 0 AND EXISTS (SELECT FROM lifecycle.rfm_threshold)) AS s;
COMMENT ON VIEW lifecycle.rfm IS 'The scores of all customers with orders, at this very instant, by lifecycle.rfm_threshold';
COMMENT ON COLUMN lifecycle.rfm.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.rfm.recency IS 'How recently, 1 to 5 (best)';
COMMENT ON COLUMN lifecycle.rfm.frequency IS 'How often, 1 to 5 (best)';
COMMENT ON COLUMN lifecycle.rfm.monetary IS 'For how much, 1 to 5 (best)';
COMMENT ON COLUMN lifecycle.rfm.cell IS 'The three together, such as 545';

-- With n customers, score s begins at the least value that s - 1 fifths of them are below: equals share the score of the lowest of them.
CREATE FUNCTION lifecycle.refresh_rfm() RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clock   timestamptz := lifecycle.now();
    counted bigint;
BEGIN
    WITH buyers AS (
        SELECT c.last_order_at, c.order_count, c.revenue, count(*) OVER () AS n,
               rank() OVER (ORDER BY c.last_order_at) - 1 AS earlier,
               rank() OVER (ORDER BY c.order_count) - 1 AS fewer,
               rank() OVER (ORDER BY c.revenue) - 1 AS less
          FROM lifecycle.customer AS c WHERE c.order_count > 0),
    cuts AS (
        SELECT s.score, max(b.n) AS n,
               min(b.last_order_at) FILTER (WHERE b.earlier * 5 >= (s.score - 1) * b.n) AS since,
               min(b.order_count) FILTER (WHERE b.fewer * 5 >= (s.score - 1) * b.n) AS frequency,
               min(b.revenue) FILTER (WHERE b.less * 5 >= (s.score - 1) * b.n) AS monetary
          FROM generate_series(2, 5) AS s (score) CROSS JOIN buyers AS b GROUP BY s.score),
    written AS (
        INSERT INTO lifecycle.rfm_threshold AS t (score, recency, frequency, monetary, computed_at)
            -- Whoever ordered at that very instant has the score, so a microsecond more; in seconds, which no zone stretches.
            SELECT c.score, make_interval(secs => extract(epoch FROM clock - c.since) + 0.000001), c.frequency, c.monetary, clock FROM cuts AS c
            ON CONFLICT (score) DO UPDATE SET recency = EXCLUDED.recency, frequency = EXCLUDED.frequency, monetary = EXCLUDED.monetary,
                                              computed_at = EXCLUDED.computed_at)
    SELECT max(c.n) INTO counted FROM cuts AS c;
    RETURN coalesce(counted, 0);
END
$$;
COMMENT ON FUNCTION lifecycle.refresh_rfm() IS 'Sets lifecycle.rfm_threshold to the quintiles of this instant, over the customers with orders: a score is 1 + floor(5 * (rank() - 1) / customers), so equals share the lower one. Reads every customer, and works out anew whom the new thresholds concern; call it every night or week, as fresh as quintiles should be. Returns over how many customers. Without any it changes nothing';
