-- A changed definition is taken over in silence; what time has brought before is news, although nobody has looked.
SET timezone = 'UTC';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
CREATE TABLE orders (id int, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO orders VALUES (1, 'ann', 10, '2026-01-01 12:00+00'), (2, 'bob', 10, '2026-01-03 12:00+00');

SET lifecycle.clock = '2026-03-03 12:00+00';
INSERT INTO lifecycle.segment (name, predicate) VALUES ('anybody', 'order_count > 0');
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment IN ('at_risk', 'anybody', 'active') ORDER BY 1, 2;
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment;
SET lifecycle.clock = '2026-03-05 12:00+00';
UPDATE lifecycle.tier SET min_spend = 120 WHERE name = 'bronze';
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment ORDER BY 1;

-- In the background it is the same, only later: it is taken over in silence as of when it was changed, and what time has brought until it reaches
-- somebody is news. Cat is reached by the change, for Dan the old timer runs out first, Eva orders before it has come.
TRUNCATE orders;
UPDATE lifecycle.scenario SET status = 'draft';
INSERT INTO orders VALUES (3, 'cat', 10, '2026-03-01 12:00+00'), (4, 'dan', 10, '2026-02-01 12:00+00'), (5, 'eva', 10, '2026-03-02 12:00+00'), (6, 'fox', 10, '2026-02-03 12:00+00'),
    (7, 'gil', 10, '2026-03-03 12:00+00');
SET lifecycle.clock = '2026-03-20 12:00+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SET lifecycle.redefine_at_once = 0;
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('quiet_for_a_month', $$ last_order_at <= now() - interval '1 month' $$), ('warm', $$ last_order_at > now() - interval '1 month' $$);
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('quiet', 'segment_entered:quiet_for_a_month'), ('cooled', 'segment_left:warm'), ('risk', 'segment_entered:at_risk');
INSERT INTO lifecycle.step (scenario, position, delay, class, channel, template) SELECT name, 1, '0', 'transactional', 'email', name FROM unnest('{quiet,cooled,risk}'::text[]) AS name;
UPDATE lifecycle.scenario SET status = 'active', max_age = '30 days' WHERE name IN ('quiet', 'cooled', 'risk');
SET lifecycle.clock = '2026-04-03 18:00+00';
INSERT INTO orders VALUES (8, 'eva', 10, '2026-04-03 17:00+00');
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE segment IN ('quiet_for_a_month', 'warm') ORDER BY 1, 3, 2;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history WHERE segment IN ('quiet_for_a_month', 'warm') ORDER BY 1, 3, 2;
-- Fox was quiet when the segment was made, so she has not entered it.
SELECT customer_id, scenario, anchor_at FROM lifecycle.enrolment WHERE scenario IN ('quiet', 'cooled', 'risk') ORDER BY 1, 2;
SELECT customers_done, finished_at FROM lifecycle.definition_change;
SELECT segment, customer_id FROM lifecycle.segment_member WHERE segment IN ('quiet_for_a_month', 'warm')
EXCEPT SELECT CASE WHEN last_order_at <= lifecycle.now() - interval '1 month' THEN 'quiet_for_a_month' ELSE 'warm' END, customer_id FROM lifecycle.customer WHERE order_count > 0;
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;

-- What a changed definition makes of customers is what working them out anew from all that they have done makes of them.
RESET lifecycle.redefine_at_once;
SET lifecycle.clock = '2026-03-05 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE orders (id int, customer_id text, total numeric, placed_at timestamptz);
CREATE TABLE refunds (id int, order_id int, customer_id text, amount numeric, at timestamptz);
CREATE TABLE visits (customer_id text, kind text, at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "currency": "''EUR''", "refunded_at": "at"}', name => 'refunds');
SELECT lifecycle.attach('visits', 'engagement', '{"customer": "customer_id", "type": "kind", "occurred_at": "at"}', name => 'visits');
INSERT INTO orders SELECT n, 'c' || n % 200, 5 + hashint4(n) & 127, timestamptz '2026-03-05 12:00+00' - (hashint4(n + 1) & 511) * interval '1 day 1 minute'
  FROM generate_series(10, 1000) AS n;
INSERT INTO refunds SELECT n, n, 'c' || n % 200, 4, timestamptz '2026-03-04 12:00+00' - (hashint4(n + 2) & 63) * interval '1 day' FROM generate_series(10, 1000, 7) AS n;
INSERT INTO visits SELECT 'c' || n % 100, (ARRAY['open', 'click', 'visit'])[1 + n % 3], timestamptz '2026-03-05 10:00+00' - (hashint4(n + 3) & 255) * interval '1 day'
  FROM generate_series(1, 150) AS n;
CREATE TEMP VIEW state AS
    SELECT h.customer_id, h.segment, h.entered_at, h.left_at FROM lifecycle.segment_history AS h
    UNION ALL SELECT c.customer_id, coalesce(c.lifecycle, '') || coalesce(c.engagement, ''), c.next_change_at, NULL FROM lifecycle.customer AS c;
CREATE FUNCTION pg_temp.compare(OUT customers bigint, OUT members bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE found ON COMMIT DROP AS TABLE state;
    PERFORM lifecycle.rebuild();
    SELECT count(DISTINCT s.customer_id), count(*) FROM state AS s INTO customers, members;
    SELECT count(*) FROM ((TABLE found EXCEPT ALL TABLE state) UNION ALL (TABLE state EXCEPT ALL TABLE found)) AS d INTO wrong;
END
$$;
DELETE FROM lifecycle.segment;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('rich', 'revenue > 250');
SELECT * FROM pg_temp.compare();
SELECT lifecycle.install_playbook();
SELECT * FROM pg_temp.compare();
UPDATE lifecycle.segment SET predicate = $$revenue > 200 AND last_order_at > now() - interval '100 days'$$ WHERE name = 'rich';
SELECT * FROM pg_temp.compare();
UPDATE lifecycle.segment SET predicate = $$last_activity_at > now() - interval '45 days'$$ WHERE name = 'active';
SELECT * FROM pg_temp.compare();
-- Among many, in the background; what has fallen due meanwhile is news.
SET lifecycle.redefine_at_once = 10;
SET lifecycle.clock = '2026-03-20 12:00+00';
UPDATE lifecycle.segment SET predicate = $$orders_within('1 year') >= 2 AND NOT in_segment('lost')$$ WHERE name = 'rich';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT * FROM pg_temp.compare();
INSERT INTO lifecycle.segment (name, predicate) VALUES ('gilded', $$tier_since < now() - interval '30 days'$$);
SELECT lifecycle.tick() > 0 AS ticked;
SELECT * FROM pg_temp.compare();
SELECT segment, count(*) FROM lifecycle.segment_member GROUP BY segment ORDER BY segment;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, visits;
