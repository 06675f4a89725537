-- The oracle: works out from the shop's own tables, with nothing but SQL, what pg_lifecycle should say, and lists the differences.
--
-- It reads two views that the test defines first:
--     oracle.orders  (customer_id text, id text, at timestamptz, amount numeric)    what counts as an order
--     oracle.refunds (customer_id text, id text, at timestamptz, amount numeric)

-- Purchases up to an instant with the running spend, orders before refunds of the same instant, then by id.
CREATE FUNCTION oracle.running(clock timestamptz)
    RETURNS TABLE (customer_id text, at timestamptz, nth bigint, spend numeric, tier text)
    LANGUAGE sql STABLE
    AS $$
    SELECT r.customer_id, r.at, r.nth, r.spend,
           (SELECT t.name FROM lifecycle.tier AS t WHERE t.min_spend <= r.spend ORDER BY t.rank DESC LIMIT 1)
      FROM (SELECT f.customer_id, f.at,
                   row_number() OVER w AS nth,
                   sum(f.amount) OVER w AS spend
              FROM (SELECT o.customer_id, 0 AS kind, o.id, o.at, o.amount FROM oracle.orders AS o WHERE o.at <= clock
                    UNION ALL
                    SELECT r.customer_id, 1, r.id, r.at, -r.amount FROM oracle.refunds AS r WHERE r.at <= clock) AS f
            WINDOW w AS (PARTITION BY f.customer_id ORDER BY f.at, f.kind, f.id COLLATE "C"
                         ROWS UNBOUNDED PRECEDING)) AS r
$$;

CREATE FUNCTION oracle.tier_changes(clock timestamptz)
    RETURNS TABLE (customer_id text, tier text, previous text, changed_at timestamptz, nth bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT c.customer_id, c.tier, c.previous, c.at, c.nth
      FROM (SELECT r.*, lag(r.tier) OVER (PARTITION BY r.customer_id ORDER BY r.nth) AS previous
              FROM oracle.running(clock) AS r) AS c
     WHERE c.tier IS DISTINCT FROM c.previous
$$;

-- The stays in the playbook's dimension "lifecycle", of customers with orders. In UTC a day is 24 hours.
CREATE FUNCTION oracle.stays(clock timestamptz)
    RETURNS TABLE (customer_id text, segment text, entered_at timestamptz, left_at timestamptz)
    LANGUAGE sql STABLE
    SET timezone = 'UTC'
    AS $$
    WITH instants AS (
        -- All orders of one instant happen together.
        SELECT o.customer_id, o.at, count(*) AS orders,
               sum(count(*)) OVER w AS order_count,
               CASE WHEN count(*) > 1 THEN o.at ELSE lag(o.at) OVER w END AS previous_order_at,
               lead(o.at) OVER w AS next_order_at
          FROM oracle.orders AS o
         WHERE o.at <= clock
         GROUP BY o.customer_id, o.at
        WINDOW w AS (PARTITION BY o.customer_id ORDER BY o.at)),
    pieces AS (
        SELECT i.customer_id, p.segment, p.entered_at,
               CASE WHEN p.ends_at <= clock AND (i.next_order_at IS NULL OR p.ends_at < i.next_order_at) THEN p.ends_at
                    ELSE i.next_order_at END AS left_at
          FROM instants AS i,
               LATERAL (VALUES
                   (CASE WHEN i.at > i.previous_order_at + interval '90 days' THEN 'reactivated'
                         WHEN i.order_count = 1 THEN 'new'
                         ELSE 'active' END, i.at, i.at + interval '60 days'),
                   ('at_risk', i.at + interval '60 days', i.at + interval '90 days'),
                   ('dormant', i.at + interval '90 days', i.at + interval '180 days'),
                   ('lost', i.at + interval '180 days', NULL)) AS p (segment, entered_at, ends_at)
         WHERE p.entered_at <= clock AND (i.next_order_at IS NULL OR p.entered_at < i.next_order_at)),
    islands AS (
        SELECT p.*, count(*) FILTER (WHERE p.begins) OVER (PARTITION BY p.customer_id ORDER BY p.entered_at) AS island
          FROM (SELECT q.*, q.segment IS DISTINCT FROM lag(q.segment) OVER (PARTITION BY q.customer_id ORDER BY q.entered_at)
                            AS begins
                  FROM pieces AS q) AS p)
    SELECT i.customer_id, i.segment, min(i.entered_at),
           CASE WHEN bool_or(i.left_at IS NULL) THEN NULL ELSE max(i.left_at) END
      FROM islands AS i
     GROUP BY i.customer_id, i.island, i.segment
$$;

-- The segment at an instant, as a plain CASE, and nothing shared with the function above.
CREATE FUNCTION oracle.segment_of(order_count bigint, previous timestamptz, last timestamptz, clock timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET timezone = 'UTC'
    AS $$
    SELECT CASE WHEN order_count = 0 THEN 'prospect'
                WHEN clock < last + interval '60 days' AND last > previous + interval '90 days' THEN 'reactivated'
                WHEN clock < last + interval '60 days' AND order_count = 1 THEN 'new'
                WHEN clock < last + interval '60 days' THEN 'active'
                WHEN clock < last + interval '90 days' THEN 'at_risk'
                WHEN clock < last + interval '180 days' THEN 'dormant'
                ELSE 'lost' END
$$;

CREATE FUNCTION oracle.customers(clock timestamptz)
    RETURNS TABLE (customer_id text, order_count bigint, revenue numeric, average numeric, first_order_at timestamptz,
                   previous_order_at timestamptz, last_order_at timestamptz, tier text, tier_since timestamptz,
                   segment text, entered_at timestamptz)
    LANGUAGE sql STABLE
    AS $$
    WITH everybody AS (
        SELECT o.customer_id FROM oracle.orders AS o
        UNION
        SELECT r.customer_id FROM oracle.refunds AS r),
    orders AS (
        SELECT o.customer_id, count(*) AS n, sum(o.amount) AS total, min(o.at) AS first, max(o.at) AS last,
               (array_agg(o.at ORDER BY o.at DESC))[2] AS previous
          FROM oracle.orders AS o WHERE o.at <= clock GROUP BY 1),
    refunds AS (
        SELECT r.customer_id, sum(r.amount) AS total FROM oracle.refunds AS r WHERE r.at <= clock GROUP BY 1),
    tiers AS (
        SELECT DISTINCT ON (t.customer_id) t.customer_id, t.tier, CASE WHEN t.tier IS NOT NULL THEN t.changed_at END AS since
          FROM oracle.tier_changes(clock) AS t ORDER BY t.customer_id, t.nth DESC)
    SELECT e.customer_id, coalesce(o.n, 0), coalesce(o.total, 0) - coalesce(r.total, 0),
           (coalesce(o.total, 0) - coalesce(r.total, 0)) / o.n,
           o.first, o.previous, o.last, t.tier, t.since,
           oracle.segment_of(coalesce(o.n, 0), o.previous, o.last, clock), s.entered_at
      FROM everybody AS e
      LEFT JOIN orders AS o USING (customer_id)
      LEFT JOIN refunds AS r USING (customer_id)
      LEFT JOIN tiers AS t USING (customer_id)
      LEFT JOIN (SELECT * FROM oracle.stays(clock) AS x WHERE x.left_at IS NULL) AS s USING (customer_id)
$$;

-- What every customer should be at `clock`, against what pg_lifecycle says. No row: all is right.
CREATE FUNCTION oracle.differences(clock timestamptz) RETURNS TABLE (customer_id text, what text, expected text, found text)
    LANGUAGE sql STABLE
    SET timezone = 'UTC' SET jit = off
    AS $$
    WITH compared AS MATERIALIZED (
        SELECT coalesce(e.customer_id, c.customer_id) AS id, e.customer_id IS NULL AS nobody, c.customer_id IS NULL AS missing, e.*, c
          FROM oracle.customers(clock) AS e
          FULL JOIN lifecycle.customer AS c ON c.customer_id = e.customer_id COLLATE "C")
    SELECT b.id, v.what, v.expected, v.found
      FROM compared AS b,
           LATERAL (VALUES
               ('customer', 'a row', CASE WHEN b.missing THEN 'none' ELSE 'a row' END),
               ('order_count', coalesce(b.order_count, 0)::text, (b.c).order_count::text),
               ('revenue', trim_scale(coalesce(b.revenue, 0))::text, trim_scale((b.c).revenue)::text),
               ('average_order_value', round(b.average, 6)::text, round((b.c).average_order_value, 6)::text),
               ('first_order_at', b.first_order_at::text, (b.c).first_order_at::text),
               ('previous_order_at', b.previous_order_at::text, (b.c).previous_order_at::text),
               ('last_order_at', b.last_order_at::text, (b.c).last_order_at::text),
               ('tier', b.tier, (b.c).tier),
               ('tier_since', b.tier_since::text, (b.c).tier_since::text),
               ('tier_spend', trim_scale(coalesce(b.revenue, 0))::text, trim_scale((b.c).tier_spend)::text),
               ('lifecycle', coalesce(b.segment, 'prospect'), (b.c).lifecycle)) AS v (what, expected, found)
     WHERE v.expected IS DISTINCT FROM v.found
    UNION ALL
    SELECT b.id, 'segment_member', coalesce((b.c).lifecycle, 'none'), m.segments
      FROM compared AS b
      LEFT JOIN (SELECT m.customer_id, string_agg(m.segment, ', ' ORDER BY m.segment) AS segments
                   FROM lifecycle.segment_member AS m JOIN lifecycle.segment AS s ON s.name = m.segment
                  WHERE s.dimension = 'lifecycle' GROUP BY 1) AS m ON m.customer_id = b.id COLLATE "C"
     WHERE (b.c).lifecycle IS DISTINCT FROM m.segments
    UNION ALL
    SELECT b.id, 'entered_at of ' || b.segment, b.entered_at::text, m.entered_at::text
      FROM compared AS b JOIN lifecycle.segment_member AS m ON m.customer_id = b.id COLLATE "C" AND m.segment = b.segment COLLATE "C"
     WHERE b.order_count > 0 AND b.entered_at IS DISTINCT FROM m.entered_at
       -- An order at the very instant at which the customer fell at risk: whether somebody looked in between shows.
       AND NOT EXISTS (SELECT FROM oracle.orders AS o JOIN oracle.orders AS p USING (customer_id)
                        WHERE o.customer_id = b.customer_id AND o.at = m.entered_at AND o.at = p.at + interval '60 days')
    UNION ALL
    SELECT d.customer_id, 'tier_history', d.expected, d.found
      FROM (SELECT coalesce(e.customer_id, f.customer_id) AS customer_id, e.stays AS expected, f.stays AS found
              FROM (SELECT t.customer_id, string_agg(format('%s [%s, %s)', t.tier, t.changed_at, t.left_at), '; ' ORDER BY t.changed_at) AS stays
                      FROM (SELECT t.*, lead(t.changed_at) OVER (PARTITION BY t.customer_id ORDER BY t.nth) AS left_at
                              FROM oracle.tier_changes(clock) AS t) AS t
                     WHERE t.tier IS NOT NULL AND t.changed_at IS DISTINCT FROM t.left_at
                     GROUP BY 1) AS e
              FULL JOIN (SELECT h.customer_id, string_agg(format('%s [%s, %s)', h.tier, h.entered_at, h.left_at), '; ' ORDER BY h.entered_at) AS stays
                           FROM lifecycle.tier_history AS h
                          GROUP BY 1) AS f ON f.customer_id = e.customer_id COLLATE "C") AS d
     WHERE d.expected IS DISTINCT FROM d.found
    UNION ALL
    SELECT m.customer_id, 'segment_member of nobody', NULL, m.segment
      FROM lifecycle.segment_member AS m
     WHERE NOT EXISTS (SELECT FROM lifecycle.customer AS c WHERE c.customer_id = m.customer_id)
$$;

-- What must hold whatever the facts are.
CREATE FUNCTION oracle.contradictions(clock timestamptz) RETURNS TABLE (customer_id text, what text, detail text)
    LANGUAGE sql STABLE
    SET timezone = 'UTC' SET jit = off
    AS $$
    SELECT h.customer_id, 'stays overlap', format('%s [%s, %s) and %s from %s', h.segment, h.entered_at, h.left_at, h.next_segment, h.next_at)
      FROM (SELECT h.*, lead(h.segment) OVER w AS next_segment, lead(h.entered_at) OVER w AS next_at
              FROM lifecycle.segment_history AS h JOIN lifecycle.segment AS s ON s.name = h.segment
            WINDOW w AS (PARTITION BY h.customer_id, coalesce(s.dimension, s.name) ORDER BY h.entered_at, h.left_at)) AS h
     WHERE h.next_at < coalesce(h.left_at, 'infinity')
    UNION ALL
    SELECT h.customer_id, 'stay ends before it begins', format('%s [%s, %s)', h.segment, h.entered_at, h.left_at)
      FROM lifecycle.segment_history AS h WHERE h.left_at <= h.entered_at
    UNION ALL
    SELECT h.customer_id, 'stay begins in the future', format('%s from %s', h.segment, h.entered_at)
      FROM lifecycle.segment_history AS h WHERE h.entered_at > clock
    UNION ALL
    SELECT min(o.customer_id), 'idempotency key twice', o.idempotency_key
      FROM lifecycle.outbox AS o GROUP BY o.idempotency_key HAVING count(*) > 1
    UNION ALL
    SELECT min(o.customer_id), 'message twice', concat_ws(' ', o.scenario, o.anchor, o.step)
      FROM lifecycle.outbox AS o GROUP BY o.customer_id, o.scenario, o.anchor, o.step HAVING count(*) > 1
    UNION ALL
    SELECT coalesce(o.customer_id, d.customer_id), 'decision and message disagree',
           concat_ws(' ', coalesce(o.scenario, d.scenario), coalesce(o.anchor, d.anchor), coalesce(o.step, d.position), d.outcome)
      FROM lifecycle.outbox AS o
      FULL JOIN (SELECT * FROM lifecycle.enrolment_step AS s WHERE s.outcome = 'enqueued') AS d
        ON (d.customer_id, d.scenario, d.anchor, d.position) = (o.customer_id, o.scenario, o.anchor, o.step)
     WHERE o.customer_id IS NULL OR d.customer_id IS NULL
    UNION ALL
    SELECT c.customer_id, 'timer', format('in the row %s and %s, in lifecycle.timer %s', c.timer_at, c.later_timer_at, t.timers)
      FROM lifecycle.customer AS c
      LEFT JOIN (SELECT t.customer_id, string_agg(t.due_at::text, ', ' ORDER BY t.due_at) AS timers FROM lifecycle.timer AS t GROUP BY 1) AS t USING (customer_id)
     WHERE nullif(concat_ws(', ', c.timer_at, c.later_timer_at), '') IS DISTINCT FROM t.timers OR c.later_timer_at <= c.timer_at
    UNION ALL
    SELECT c.customer_id, 'timer too late', format('%s for %s', c.timer_at, least(c.next_change_at, c.enrolment_due_at))
      FROM lifecycle.customer AS c WHERE coalesce(c.timer_at, 'infinity') > least(c.next_change_at, c.enrolment_due_at)
    UNION ALL
    SELECT c.customer_id, 'enrolments', format('%s open in the row, %s of %s in all; anchors seen: %s', c.open_enrolments, e.open, e.enrolments, c.anchors_seen)
      FROM lifecycle.customer AS c
      LEFT JOIN (SELECT e.customer_id, count(*) AS enrolments, count(*) FILTER (WHERE e.status = 'active') AS open FROM lifecycle.enrolment AS e GROUP BY 1) AS e USING (customer_id)
     WHERE c.open_enrolments <> coalesce(e.open, 0) OR (c.anchors_seen IS NULL AND e.enrolments > 0) OR (c.ways IS NOT NULL AND c.open_enrolments = 0)
    UNION ALL
    SELECT e.customer_id, 'enrolment kept twice', concat_ws(' ', e.scenario, e.anchor)
      FROM lifecycle.enrolment AS e GROUP BY e.customer_id, e.scenario, e.anchor HAVING count(*) > 1
    UNION ALL
    SELECT t.customer_id, 'timer of nobody', t.due_at::text
      FROM lifecycle.timer AS t WHERE NOT EXISTS (SELECT FROM lifecycle.customer AS c WHERE c.customer_id = t.customer_id)
    UNION ALL
    SELECT p.customer_id, 'problem', p.message FROM lifecycle.problem AS p
$$;
