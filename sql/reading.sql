-- Reading segments: exact at the instant of reading, whether or not a tick has run. And definitions that change while customers are many.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO orders SELECT n, 'c' || n, 100 * n, timestamptz '2026-01-01' + n * interval '1 day' FROM generate_series(1, 5) AS n;

-- Nobody has looked since the orders were told. Still everybody is where time has brought them.
SET lifecycle.clock = '2026-01-06 00:00+00';
SELECT lifecycle.tick() \gset
SET lifecycle.clock = '2026-03-05 00:00+00';
SELECT segment, customer_id FROM lifecycle.segment_member WHERE segment IN ('new', 'at_risk') ORDER BY 1, 2;
SELECT * FROM lifecycle.members('new') ORDER BY 1;
SELECT * FROM lifecycle.members('at_risk') ORDER BY 1;
SELECT lifecycle.in_segment('c1', 'at_risk'), lifecycle.in_segment('c5', 'at_risk'), lifecycle.in_segment('nobody', 'at_risk');
SELECT * FROM lifecycle.segment_size WHERE members > 0 ORDER BY 1;
-- After a tick the table says the same.
SELECT lifecycle.tick() \gset
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE segment IN ('new', 'at_risk') ORDER BY 1, 2;
SELECT * FROM lifecycle.segment_size WHERE members > 0 ORDER BY 1;

-- Past, present, and what will be if nothing happens.
SELECT at, s.* FROM unnest(ARRAY['2026-01-01', '2026-01-03', '2026-03-04', '2026-03-05', '2026-05-01', '2027-01-01']::timestamptz[]) AS at,
       LATERAL lifecycle.segments_at('c2', at) AS s ORDER BY 1, 2;

-- Looking before defining: how many, who, and which tiers they are in.
SELECT * FROM lifecycle.preview_segment('revenue > 150');
SELECT * FROM lifecycle.preview_segment($$in_segment('at_risk') AND orders_within('1 year') = 1$$, 2);
SELECT * FROM lifecycle.preview_segment('1 / (order_count - 1) > 0');
SELECT * FROM lifecycle.preview_segment('order_count > ');
SELECT * FROM lifecycle.preview_segment('in_segment(''nowhere'')');
SELECT count(*) FROM lifecycle.problem;

-- The sizes are always those of the table: after renaming, changing and deleting segments, and after their deltas have been folded.
CREATE VIEW wrong AS
    SELECT z.segment, z.members, count(m.customer_id) FROM lifecycle.segment_size AS z LEFT JOIN lifecycle.segment_member AS m USING (segment)
     GROUP BY 1, 2 HAVING count(m.customer_id) <> z.members;
UPDATE lifecycle.segment SET name = 'in_danger' WHERE name = 'at_risk';
SELECT * FROM lifecycle.segment_size WHERE members > 0 ORDER BY 1;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('rich', 'revenue > 300');
UPDATE lifecycle.segment SET predicate = 'revenue > 100' WHERE name = 'rich';
SELECT * FROM wrong;
SELECT members FROM lifecycle.segment_size WHERE segment = 'rich';
INSERT INTO lifecycle.segment_delta SELECT 'rich', 1 - 2 * (n % 2) FROM generate_series(1, 1000) AS n;
SELECT lifecycle.tick() \gset
SELECT count(*) < 20 AS folded FROM lifecycle.segment_delta;
SELECT * FROM wrong;
DELETE FROM lifecycle.segment WHERE name = 'rich';
SELECT * FROM wrong;
SELECT count(*) FROM lifecycle.segment_delta WHERE segment = 'rich';

-- With many customers a new definition is on its way for a while. Orders do not wait for it, and whoever orders is brought up to date first: to be
-- found in a segment is not to enter it.
SET lifecycle.redefine_at_once = 3;
INSERT INTO lifecycle.channel (name) VALUES ('internal');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('rich', 'revenue > 300'), ('twice', 'order_count > 1');
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('riches', 'segment_entered:rich', 'active'), ('twice', 'segment_entered:twice', 'active');
SELECT finished_at, customers_done FROM lifecycle.definition_change;
SELECT customer_id, entered_at FROM lifecycle.segment_member WHERE segment = 'rich';
INSERT INTO orders VALUES (10, 'c5', 1, lifecycle.now()), (11, 'c3', 1, lifecycle.now());
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment IN ('rich', 'twice') ORDER BY 1, 2;
SELECT scenario, customer_id FROM lifecycle.enrolment WHERE scenario IN ('riches', 'twice') ORDER BY 1, 2;
-- The worker, or a tick, takes it to the others.
SELECT lifecycle.tick() \gset
SELECT finished_at, customers_done FROM lifecycle.definition_change;
SELECT customer_id, segment, entered_at FROM lifecycle.segment_member WHERE segment IN ('rich', 'twice') ORDER BY 1, 2;
SELECT scenario, customer_id FROM lifecycle.enrolment WHERE scenario IN ('riches', 'twice') ORDER BY 1, 2;
SELECT * FROM wrong;
-- A later change takes the place of one that is still on its way.
UPDATE lifecycle.segment SET predicate = 'revenue > 200' WHERE name = 'rich';
UPDATE lifecycle.segment SET predicate = 'revenue > 400' WHERE name = 'rich';
SELECT count(*), count(finished_at) FROM lifecycle.definition_change;
SELECT lifecycle.tick() \gset
SELECT customer_id FROM lifecycle.segment_member WHERE segment = 'rich' ORDER BY 1;
SELECT count(*), count(finished_at) FROM lifecycle.definition_change;
SELECT * FROM wrong;
DROP VIEW wrong;
DROP TABLE orders;
DROP EXTENSION pg_lifecycle;
