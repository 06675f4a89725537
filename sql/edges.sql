-- Names that predicates read as the server does, and what is no limit: zones, numbers of telephones, scores, dimensions.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2030-07-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

-- CET is an hour ahead of Greenwich in summer, too: what it says flips when it says so.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('cet', $$ (now() AT TIME ZONE 'CET')::date > '2030-07-10' $$), ('cest', $$ (now() AT TIME ZONE 'cest')::date > '2030-07-10' $$),
    ('berlin', $$ (now() AT TIME ZONE 'Europe/Berlin')::date > '2030-07-10' $$), ('cut', $$ date_trunc('day', now(), 'CET') > '2030-07-10 12:00+00' $$),
    ('posix', $$ (now() AT TIME ZONE 'XYZ+2')::date > '2030-07-10' $$);
SELECT lifecycle.track('ann', 'order', '{"order": "1", "amount": 5}');
SELECT next_change_at FROM lifecycle.customer;
SET lifecycle.clock = '2030-08-01 12:00+00';
SELECT lifecycle.tick();
SELECT segment, entered_at FROM lifecycle.segment_member ORDER BY 2, 1;
SELECT s.name, p.members FROM lifecycle.segment AS s, lifecycle.preview_segment(s.predicate) AS p ORDER BY 1;
DELETE FROM lifecycle.segment;

-- Numbers as they are dialled at home.
SELECT p, c, lifecycle.normalize_phone(p, c)
  FROM (VALUES ('06 1234 5678', '39'), ('340 1234567', '39'), ('0549 123456', '378'), ('1 415 555 0100', '1'), ('(415) 555-0100', '+1'), ('8 912 345 67 89', '7'),
               ('9123456789', '7'), ('06 20 123 4567', '36'), ('8 612 34567', '370'), ('0 612 34567', '370'), ('8 029 123 45 67', '375'), ('0171 1234567', '49'),
               ('0171 1234567', '0049'), ('0170 1234567', ''), ('0170 1234567', '+'), ('0170 1234567', NULL), ('+1 415 555 0100', '')) AS v (p, c);
SELECT e, lifecycle.normalize_email(e) FROM unnest(ARRAY['..@gmail.com', '.a.b@GMail.com', ' INFO@X.COM ', 'MÜLLER@X.DE']) AS e;

-- Whoever has orders has a score as soon as there are thresholds.
INSERT INTO lifecycle.rfm_threshold (score, recency) VALUES (5, '60 days');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('once', 'rfm_frequency() = 1'), ('lately', 'rfm_recency() = 5');
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1;
SELECT customer_id, cell FROM lifecycle.rfm;
DELETE FROM lifecycle.rfm_threshold;
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1;
DELETE FROM lifecycle.segment;

-- As many dimensions as there can be, and one more.
INSERT INTO lifecycle.segment (name, dimension, rank, predicate) SELECT format('s%s_%s', d, r), 'd' || d, r, 'order_count > 0' FROM generate_series(1, 255) AS d, generate_series(1, 2) AS r;
SELECT count(*), count(*) FILTER (WHERE segment LIKE '%\_1') FROM lifecycle.segment_member;
INSERT INTO lifecycle.segment (name, dimension, rank, predicate) VALUES ('one_more', 'd256', 1, 'order_count > 0');
DROP EXTENSION pg_lifecycle;
