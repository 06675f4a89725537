-- What a predicate that raises an error costs: the membership it would decide stays as it was, and nothing else. The clock is frozen.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-07-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}');
CREATE VIEW members AS SELECT segment, customer_id, entered_at FROM lifecycle.segment_member ORDER BY 1, 2;
CREATE VIEW problems AS SELECT segment, customer_id, sqlstate, message FROM lifecycle.problem ORDER BY 1, 2;

-- Bea's days are far too many to count with. Her order is taken all the same, and so is Carl's in the same statement.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('lately', $$orders_within(make_interval(days => (attributes->>'days')::int)) > 0$$),
    ('buyer', 'order_count > 0');
SELECT lifecycle.track('bea', 'customer', '{"attributes": {"days": "-2000000000"}}');
SELECT lifecycle.track('carl', 'customer', '{"attributes": {"days": "30"}}');
INSERT INTO orders VALUES (7, 'bea', 1, lifecycle.now()), (8, 'carl', 1, lifecycle.now());
SELECT sqlstate, message, data->>'id' AS id FROM lifecycle.quarantine;
TABLE members;
TABLE problems;
SELECT problems FROM lifecycle.preview_segment($$spent_within(make_interval(days => (attributes->>'days')::int)) > 0$$);
SET lifecycle.clock = '2026-08-15 12:00+00';
SELECT lifecycle.tick() \gset
TABLE members;

-- Spans that nobody's orders can be counted with, and days that cannot be found.
TRUNCATE lifecycle.problem;
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('beyond', $$orders_within(make_interval(years => -2 * (attributes->>'years')::int)) = 0$$),
    ('own_eve', $$is_anniversary(created_at::date, make_interval(years => (attributes->>'years')::int))$$);
SELECT lifecycle.track('dora', 'customer', '{"created_at": "2020-07-01", "attributes": {"years": "100000"}}');
SELECT lifecycle.track('emil', 'customer', '{"created_at": "2020-08-20", "attributes": {"years": "1"}}');
INSERT INTO orders VALUES (9, 'dora', 1, lifecycle.now()), (10, 'emil', 1, lifecycle.now());
SELECT sqlstate, message, data->>'id' AS id FROM lifecycle.quarantine;
TABLE members;
TABLE problems;
DELETE FROM lifecycle.segment WHERE name IN ('beyond', 'own_eve', 'lately');
TRUNCATE lifecycle.problem;

-- Where the same is passed for everybody, and works for nobody, it is refused when it is said, in conditions of scenarios and previews, too.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('beyond', $$orders_within('-200000 years') = 0$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('eve', $$is_anniversary(created_at::date, '100000 years')$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('birthday', $$is_birthday('-300000 years')$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('no day', $$is_anniversary(make_date(2021, 2, 29))$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('too much', $$bought('tea', interval '100000 years' * 100000)$$);
UPDATE lifecycle.segment SET predicate = $$event_count('search', '-200000 years') > 0$$ WHERE name = 'buyer';
SELECT lifecycle.preview_segment($$viewed('cup', '-200000 years')$$);
INSERT INTO lifecycle.scenario (name, trigger, entry_filter) VALUES ('thanks', 'order_placed', $$orders_within('-200000 years') = 0$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('for ever', $$last_order_at > now() - interval '300000 years'$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('nobody', $$order_count > 1 AND now()::date - interval '-200000 years' < first_order_at$$);
-- What works for some is not, and neither is nothing.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('to the end of time', $$order_count > 1 OR spent_within('290000 years') > 7$$);
INSERT INTO lifecycle.segment (name, predicate) VALUES ('long', $$orders_within('2000 years') > 0 AND orders_within('-1 day') = 0$$), ('unknown', $$orders_within(NULL) > 0$$),
    ('early', $$last_order_at > now() - interval '7000 years' + (last_order_at - first_order_at)$$), ('sum', $$last_order_at + make_interval(days => order_count::int) > now()$$),
    ('eve', $$is_birthday('1 year')$$), ('day', $$is_anniversary('2020-02-29', '-7 days')$$);
SELECT segment, customer_id FROM members WHERE customer_id = 'dora';
TABLE problems;
DELETE FROM lifecycle.segment WHERE name <> 'buyer';

-- What has been passed to a function counts like everything else of a predicate: nobody leaves a segment because of an error in it.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('call', $$orders_within(make_interval(days => (attributes->>'days')::int)) > 0$$),
    ('call_again', $$customer_id = 'fay' AND orders_within(make_interval(days => (attributes->>'days')::int)) > 0$$),
    ('day', $$is_anniversary(make_date((attributes->>'year')::int, 8, 15))$$),
    ('plain', $$now() < last_order_at + make_interval(days => (attributes->>'days')::int)$$);
SELECT lifecycle.track('fay', 'customer', '{"attributes": {"days": "30", "year": "2020"}}');
INSERT INTO orders VALUES (11, 'fay', 1, lifecycle.now());
SELECT segment FROM members WHERE customer_id = 'fay';
TRUNCATE lifecycle.problem;
SELECT lifecycle.track('fay', 'customer', '{"attributes": {"days": "thirty", "year": "mmxx"}}');
SELECT segment FROM members WHERE customer_id = 'fay';
TABLE problems;
SELECT problems FROM lifecycle.preview_segment($$orders_within(make_interval(days => (attributes->>'days')::int)) > 0$$);
-- An error that is not come to is none.
SELECT problems FROM lifecycle.preview_segment($$attributes->>'days' ~ '^[0-9]+$' AND orders_within(make_interval(days => (attributes->>'days')::int)) > 0$$);
-- Mended, it is judged again.
SELECT lifecycle.track('fay', 'customer', '{"attributes": {"days": "3", "year": "2021"}}');
SET lifecycle.clock = '2026-08-31 12:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id = 'fay' ORDER BY 1, 2;
DELETE FROM lifecycle.segment WHERE name <> 'buyer';
TRUNCATE lifecycle.problem;

-- CASE guards comparisons with the clock as AND does, and what guards them may itself change with time.
INSERT INTO lifecycle.segment (name, predicate) VALUES
    ('guarded', $$CASE WHEN attributes->>'days' ~ '^[0-9]+$' THEN now() < last_order_at + make_interval(days => (attributes->>'days')::int)
                       ELSE now() < last_order_at + interval '10 days' END$$),
    ('at_first', $$CASE WHEN now() < last_order_at + interval '5 days' THEN true
                        ELSE now() < last_order_at + make_interval(days => (attributes->>'days')::int) END$$);
SELECT lifecycle.track('gil', 'customer', '{"attributes": {"days": "thirty"}}');
TRUNCATE lifecycle.problem;
INSERT INTO orders VALUES (12, 'gil', 1, lifecycle.now());
SELECT segment FROM members WHERE customer_id = 'gil';
SELECT next_change_at FROM lifecycle.customer WHERE customer_id = 'gil';
SELECT segment, sqlstate, message FROM problems WHERE customer_id = 'gil';
SET lifecycle.clock = '2026-09-30 12:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id = 'gil' ORDER BY 1, 2;
SELECT segment, sqlstate, message FROM problems WHERE customer_id = 'gil';
DELETE FROM lifecycle.segment WHERE name <> 'buyer';

DROP VIEW members, problems;
DROP TABLE orders;
DROP EXTENSION pg_lifecycle;
