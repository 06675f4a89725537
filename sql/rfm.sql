-- RFM: scores from 1 to 5 that predicates can use, by fixed thresholds or by quintiles.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2027-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id serial PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE people (id text PRIMARY KEY, zone text);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "time_zone": "zone"}', name => 'people');

-- Without thresholds there are no scores, and nobody is in a segment by them.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('champions', 'rfm_recency() >= 4 AND rfm_frequency() >= 4 AND rfm_monetary() >= 4'),
    ('slipping',  'rfm_recency() <= 2 AND rfm_monetary() >= 3'),
    ('recent',    'lifecycle.rfm_recency() = 5');
INSERT INTO people VALUES ('window-shopper', NULL), ('anna', 'Europe/Berlin');
INSERT INTO orders (customer_id, total, placed_at) VALUES ('anna', 300, '2027-02-27 12:00+00'), ('anna', 300, '2027-02-28 10:00+00'), ('ben', 20, '2026-06-01 12:00+00');
TABLE lifecycle.rfm;
TABLE lifecycle.segment_member;
-- Fixed ones: exact at the instant, in the customer's own days. Anna's 30 days end an hour early in UTC, with the change to summer time.
INSERT INTO lifecycle.rfm_threshold (score, recency, frequency, monetary) VALUES
    (5, '30 days', 5, 1000), (4, '90 days', 2, 500), (3, '180 days', NULL, 100), (2, '1 year', 2, 10);
SELECT * FROM lifecycle.rfm ORDER BY customer_id;
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member ORDER BY 1, 2;
SELECT customer_id, next_change_at FROM lifecycle.customer ORDER BY 1;
SET lifecycle.clock = '2027-12-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, customer_id, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id = 'anna' ORDER BY 3, 1;
SELECT * FROM lifecycle.rfm ORDER BY customer_id;
INSERT INTO orders (customer_id, total) VALUES ('anna', 500), ('anna', 1), ('anna', 1);
SELECT * FROM lifecycle.rfm ORDER BY customer_id;
SELECT segment FROM lifecycle.segment_member WHERE customer_id = 'anna';
SELECT * FROM lifecycle.verify();

-- A score must not ask for less than a lower one.
UPDATE lifecycle.rfm_threshold SET monetary = 10000 WHERE score = 4;
UPDATE lifecycle.rfm_threshold SET recency = '1 day' WHERE score = 2;
INSERT INTO lifecycle.rfm_threshold VALUES (1, '1 day', 1, 1);

-- Quintiles: 1 + floor(5 * (rank - 1) / n). Most have bought once, and equals share a score.
DELETE FROM orders;
SELECT setseed(0.5);
INSERT INTO orders (customer_id, total, placed_at)
    SELECT 'c' || n % 97, 10 + n % 13, '2027-12-01 12:00+00'::timestamptz - random() * interval '400 days' FROM generate_series(1, 97) AS n
    UNION ALL SELECT 'c' || n % 31, 5 * (n % 7), '2027-11-01 12:00+00'::timestamptz - random() * interval '100 days' FROM generate_series(1, 60) AS n;
SELECT lifecycle.refresh_rfm();
CREATE VIEW quintiles AS
    SELECT customer_id COLLATE "C" AS customer_id, 1 + floor(5.0 * (rank() OVER (ORDER BY last) - 1) / count(*) OVER ()) AS recency,
           1 + floor(5.0 * (rank() OVER (ORDER BY n) - 1) / count(*) OVER ()) AS frequency, 1 + floor(5.0 * (rank() OVER (ORDER BY spent) - 1) / count(*) OVER ()) AS monetary
      FROM (SELECT customer_id, max(placed_at) AS last, count(*) AS n, sum(total) AS spent FROM orders GROUP BY 1) AS o;
SELECT customer_id, q.*, r.* FROM quintiles AS q FULL JOIN lifecycle.rfm AS r USING (customer_id)
 WHERE (q.recency, q.frequency, q.monetary) IS DISTINCT FROM (r.recency::numeric, r.frequency::numeric, r.monetary::numeric);
SELECT score, frequency, monetary, computed_at FROM lifecycle.rfm_threshold ORDER BY 1;
SELECT frequency, count(*) FROM lifecycle.rfm GROUP BY 1 ORDER BY 1;
-- The segments say what the scores say; nobody entered by a refresh, and recency goes on falling by itself.
CREATE VIEW wrong AS
    SELECT segment, customer_id FROM (SELECT 'champions' AS segment, customer_id FROM lifecycle.rfm WHERE recency >= 4 AND frequency >= 4 AND monetary >= 4
                            UNION ALL SELECT 'slipping', customer_id FROM lifecycle.rfm WHERE recency <= 2 AND monetary >= 3
                            UNION ALL SELECT 'recent', customer_id FROM lifecycle.rfm WHERE recency = 5) AS s
      FULL JOIN lifecycle.segment_member AS m USING (segment, customer_id) WHERE s IS NULL OR m IS NULL;
TABLE wrong;
SELECT segment, members > 0 AS any FROM lifecycle.segment_size ORDER BY 1;
SET lifecycle.clock = '2028-01-10 12:00+00';
SELECT lifecycle.tick() > 0 AS some;
TABLE wrong;
SELECT lifecycle.refresh_rfm();
TABLE wrong;
SELECT * FROM lifecycle.verify();
-- In the conditions of scenarios too, and in previews; nowhere else.
SELECT p.members = (SELECT count(*) FROM lifecycle.rfm WHERE monetary = 5) AS right FROM lifecycle.preview_segment('rfm_monetary() = 5') AS p;
SELECT lifecycle.rfm_recency();
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'rfm_recency() > ''old''');
DELETE FROM lifecycle.rfm_threshold;
SELECT count(*) FROM lifecycle.segment_member;
DELETE FROM orders;
SELECT lifecycle.refresh_rfm();
TABLE lifecycle.rfm_threshold;
-- Since when a score has been so good is worked out from the orders, as for any predicate that reads what they add up to.
DELETE FROM lifecycle.segment;
INSERT INTO lifecycle.rfm_threshold (score, recency, frequency, monetary) VALUES (4, '90 days', 2, 500) ON CONFLICT (score) DO UPDATE SET monetary = 500;
INSERT INTO lifecycle.segment (name, predicate) VALUES ('spender', 'rfm_monetary() >= 4');
INSERT INTO orders (customer_id, total, placed_at) VALUES ('carl', 300, '2027-01-05 12:00+00'), ('carl', 300, '2027-02-05 12:00+00'), ('carl', 1, '2027-02-06 12:00+00');
SELECT segment, customer_id, entered_at FROM lifecycle.segment_member WHERE customer_id = 'carl';

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, people CASCADE;
