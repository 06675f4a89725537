-- What a session has set for its own statements changes nothing in ours.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 12:00+00';
SET standard_conforming_strings = off;
SET array_nulls = off;
SET transform_null_equals = on;
SET quote_all_identifiers = on;
SET intervalstyle = 'sql_standard';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id bigint, customer_id text, amount numeric, placed_at timestamptz);
CREATE TABLE calls (name text, customer_id text, at timestamptz, about jsonb);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "amount", "placed_at": "placed_at"}');
SELECT lifecycle.attach('calls', 'event', '{"event": "name", "customer": "customer_id", "occurred_at": "at", "properties": "about"}');

-- A backslash in a constant means itself only where that setting is on: there is none but in those that begin with an E.
RESET quote_all_identifiers;
SELECT p.oid::regprocedure FROM pg_proc AS p
 WHERE p.pronamespace = 'lifecycle'::regnamespace AND strpos(regexp_replace(p.prosrc, $$E'[^']*'$$, '', 'g'), E'\\') > 0 ORDER BY 1;

-- Whoever is to be forgotten is found in what others say, too: in a text, by an address with a dot in it.
INSERT INTO orders VALUES (1, 'ann.lee@example.org', 20, '2025-10-01 12:00+00'), (2, 'bob', 30, '2025-12-01 12:00+00');
INSERT INTO calls VALUES ('call', 'bob', '2025-12-02 12:00+00', '{"note": "ask ann.lee@example.org"}'), ('call', 'bob', '2025-12-03 12:00+00', '{"note": "annXlee@exampleXorg"}');
SELECT place, count(*) FROM lifecycle.forget_check('ann.lee@example.org') GROUP BY 1 ORDER BY 1;

-- The columns that a reason names.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('quiet', 'last_order_at < now() - interval $$60 days$$');
SELECT name, value, why FROM lifecycle.explain('ann.lee@example.org') WHERE topic = 'segment' ORDER BY 1;
SELECT lifecycle.facts_in('{"revenue": 20, "email": null}', 'revenue > 10');

-- What a predicate says is the same for whoever compiles it.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('a dot', E'customer_id ~ \'^ann\\.lee\''), ('no dot', E'customer_id ~ \'^annx?\\.?lee\''), ('nobody', 'email = NULL'),
    ('a day less two hours', 'last_order_at > now() - interval $$1 -2:00$$'), ('a day and two hours less', 'last_order_at > now() + interval $$-1 2:00$$');
INSERT INTO orders VALUES (3, 'eve', 10, '2025-12-31 13:00+00'), (4, 'annxlee', 10, '2025-12-31 16:00+00');
SELECT segment, customer_id FROM lifecycle.segment_member ORDER BY 1, 2;

-- An address needs a dot for ad platforms.
SELECT lifecycle.normalize_email('ann@example.org'), lifecycle.normalize_email('ann@example') IS NULL AS refused;
DROP TABLE orders, calls;
DROP EXTENSION pg_lifecycle CASCADE;
