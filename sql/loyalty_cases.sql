-- Loyalty case by case, as tables: what is done, and what must come of it.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET lifecycle.clock = '2027-02-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE people (id text PRIMARY KEY, born date, zone text);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id text, total numeric DEFAULT 10, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "birthday": "born", "time_zone": "zone"}', name => 'people');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
-- What each customer was rewarded for, by year.
CREATE VIEW rewarded AS
    SELECT customer_id, string_agg(reference, ' ' ORDER BY reference) AS rewards
      FROM lifecycle.points_lot WHERE origin IN ('birthday', 'season') AND earned > revoked GROUP BY 1 ORDER BY 1;
-- Runs one statement at each instant, with a tick before and after it as the worker would make them.
CREATE FUNCTION play(cases text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    scene record;
BEGIN
    FOR scene IN EXECUTE format('SELECT at, told, n FROM (SELECT c.*, row_number() OVER () AS n FROM %I AS c) AS c ORDER BY at, n', cases) LOOP
        PERFORM set_config('lifecycle.clock', scene.at::text, false);
        PERFORM lifecycle.tick();
        EXECUTE scene.told;
        PERFORM lifecycle.tick();
    END LOOP;
END
$$;

-- BIRTHDAYS, once a year whatever is edited.
INSERT INTO lifecycle.points_rule (name, earns_on, points, valid_from) VALUES ('birthday', 'birthday', 100, '2027-01-01');
INSERT INTO people VALUES ('moves later', '1990-03-10'), ('moves earlier', '1990-08-10'), ('forgets it', '1990-03-10'), ('missed it', '1990-04-10'), ('eve of new year', '1990-12-31'),
    ('leap', '1992-02-29'), ('ordinary', '1990-03-10'), ('while a segment changes', '1990-03-10');
INSERT INTO people VALUES ('travels', '1990-03-10', 'Pacific/Kiritimati');
CREATE TABLE birthdays (at timestamptz, told text);
INSERT INTO birthdays VALUES
    -- The segment is defined before the worker has come to that day's birthdays.
    ('2027-03-09 12:00+00', $$ SELECT set_config('lifecycle.clock', '2027-03-10 09:00+00', false); INSERT INTO lifecycle.segment (name, predicate) VALUES ('all', 'true') $$),
    ('2027-03-11 12:00+00', $$ UPDATE people SET born = '1990-10-10' WHERE id = 'moves later' $$),
    ('2027-03-11 12:00+00', $$ UPDATE people SET born = NULL WHERE id = 'forgets it' $$),
    ('2027-03-12 12:00+00', $$ UPDATE people SET born = '1990-03-13' WHERE id = 'forgets it' $$),
    ('2027-03-12 12:00+00', $$ UPDATE people SET born = '1990-02-01' WHERE id = 'missed it' $$),
    ('2027-03-12 12:00+00', $$ UPDATE people SET zone = 'Pacific/Honolulu', born = '1990-03-13' WHERE id = 'travels' $$),
    ('2027-04-01 12:00+00', $$ DELETE FROM people WHERE id = 'ordinary'; INSERT INTO people VALUES ('ordinary', '1990-05-01') $$),
    ('2027-07-01 12:00+00', $$ UPDATE people SET born = '1990-07-02' WHERE id = 'moves earlier' $$),
    ('2027-07-03 12:00+00', $$ UPDATE people SET born = '1990-09-10' WHERE id = 'moves earlier' $$),
    ('2027-12-31 12:00+00', $$ UPDATE people SET born = '1990-01-01' WHERE id = 'eve of new year' $$),
    ('2028-01-02 12:00+00', $$ UPDATE people SET born = '1990-12-31' WHERE id = 'eve of new year' $$),
    ('2028-06-01 12:00+00', $$ INSERT INTO lifecycle.shop (leap_birthday) VALUES ('march_1') $$),
    ('2029-02-28 12:00+00', $$ SELECT 1 $$),
    ('2029-03-02 12:00+00', $$ UPDATE lifecycle.shop SET leap_birthday = 'skip' $$),
    ('2030-06-01 12:00+00', $$ SELECT lifecycle.rebuild() $$);
SELECT play('birthdays');
TABLE rewarded;
SELECT reference, earned_at FROM lifecycle.points_lot WHERE customer_id = 'leap' ORDER BY earned_at;

-- SEASONS, once a year whatever is edited: the first large enough order of each year.
DELETE FROM lifecycle.points_rule;
INSERT INTO lifecycle.points_rule (name, earns_on, event, points, min_amount, valid_from, valid_until) VALUES
    ('advent', 'season', 'advent', 50, 10, '2030-12-01', '2030-12-25'), ('turn of the year', 'season', 'turn', 5, NULL, '2030-12-31', '2031-01-02');
CREATE TABLE seasons (at timestamptz, told text);
INSERT INTO seasons VALUES
    ('2030-11-30 12:00+00', $$ INSERT INTO orders (customer_id) VALUES ('too early'), ('again in season') $$),
    ('2030-12-01 12:00+00', $$ INSERT INTO orders (customer_id) VALUES ('again in season'), ('cancelled'), ('moved'), ('renamed') $$),
    ('2030-12-02 12:00+00', $$ INSERT INTO orders (customer_id, total) VALUES ('too small', 9.99), ('grows', 9.99) $$),
    ('2030-12-03 12:00+00', $$ DELETE FROM orders WHERE customer_id = 'cancelled' $$),
    ('2030-12-03 12:00+00', $$ UPDATE orders SET placed_at = '2030-11-01' WHERE customer_id = 'moved' $$),
    ('2030-12-03 12:00+00', $$ UPDATE orders SET total = 100 WHERE customer_id IN ('grows', 'again in season') $$),
    ('2030-12-04 12:00+00', $$ INSERT INTO orders (customer_id) VALUES ('cancelled'), ('moved'), ('again in season') $$),
    ('2030-12-05 12:00+00', $$ UPDATE lifecycle.points_rule SET name = 'christmas', points = 60, valid_from = '2030-11-01' WHERE name = 'advent' $$),
    ('2030-12-06 12:00+00', $$ INSERT INTO orders (customer_id) VALUES ('renamed'), ('late comer') $$),
    ('2030-12-24 12:00+00', $$ INSERT INTO orders (customer_id, placed_at) VALUES ('announced', '2030-12-24 20:00+00'), ('after it', '2030-12-25 00:00+00') $$),
    -- 2031 has begun in Berlin when this is ordered, not in New York.
    ('2030-12-31 23:30+00', $$ INSERT INTO people VALUES ('berlin', NULL, 'Europe/Berlin'), ('new york', NULL, 'America/New_York') $$),
    ('2030-12-31 23:30+00', $$ INSERT INTO orders (customer_id) VALUES ('berlin'), ('new york') $$),
    ('2031-01-01 12:00+00', $$ INSERT INTO orders (customer_id) VALUES ('berlin'), ('new york') $$);
SELECT play('seasons');
SELECT r.* FROM rewarded AS r WHERE r.rewards ~ 'season';
SELECT customer_id, earned FROM lifecycle.points_lot WHERE rule = 'christmas' ORDER BY 1;

-- EXPIRY: counted from the end of the return window, in the customer's zone, clamped to ends of months from the anchor.
DELETE FROM lifecycle.points_rule;
CREATE TABLE expiries (name text, zone text, earned_at timestamptz, pending interval, expiry interval, rounding text, active_at timestamptz, expires_at timestamptz);
INSERT INTO expiries VALUES
    ('a day is a calendar day',    'Europe/Berlin',    '2027-03-27 12:00+01', '1 day',   NULL,       NULL,      '2027-03-28 12:00+02', NULL),
    ('24 hours are 24 hours',      'Europe/Berlin',    '2027-03-27 12:00+01', '24 hours', NULL,      NULL,      '2027-03-28 13:00+02', NULL),
    ('31 January and a month',     'UTC',              '2027-01-31 12:00+00', '0',       '1 month',  NULL,      '2027-01-31 12:00+00', '2027-02-28 12:00+00'),
    ('in a leap year',             'UTC',              '2028-01-31 12:00+00', '0',       '1 month',  NULL,      '2028-01-31 12:00+00', '2028-02-29 12:00+00'),
    ('two months do not clamp',    'UTC',              '2027-01-31 12:00+00', '0',       '2 months', NULL,      '2027-01-31 12:00+00', '2027-03-31 12:00+00'),
    ('29 February and a year',     'UTC',              '2028-02-29 12:00+00', '0',       '1 year',   NULL,      '2028-02-29 12:00+00', '2029-02-28 12:00+00'),
    ('from activation',            'UTC',              '2027-01-15 12:00+00', '14 days', '1 month',  NULL,      '2027-01-29 12:00+00', '2027-02-28 12:00+00'),
    ('to the end of the day',      'America/New_York', '2027-05-01 22:00-04', '0',       '1 day',    'day',     '2027-05-01 22:00-04', '2027-05-03 00:00-04'),
    ('of the month',               'America/New_York', '2027-01-31 22:00-05', '0',       '1 month',  'month',   '2027-01-31 22:00-05', '2027-03-01 00:00-05'),
    ('of the quarter',             'UTC',              '2027-05-15 12:00+00', '0',       '1 month',  'quarter', '2027-05-15 12:00+00', '2027-07-01 00:00+00'),
    ('of the year',                'UTC',              '2027-12-31 12:00+00', '1 day',   '1 day',    'year',    '2028-01-01 12:00+00', '2029-01-01 00:00+00'),
    ('the end is not rounded up',  'UTC',              '2027-06-30 00:00+00', '0',       '1 day',    'month',   '2027-06-30 00:00+00', '2027-07-01 00:00+00'),
    ('an hour that is left out',   'Europe/Berlin',    '2027-03-27 02:30+01', '1 day',   NULL,       NULL,      '2027-03-28 03:30+02', NULL),
    ('an hour that comes twice',   'Europe/Berlin',    '2027-10-30 02:30+02', '1 day',   NULL,       NULL,      '2027-10-31 02:30+01', NULL);
SET lifecycle.clock = '2031-06-01 12:00+00';
INSERT INTO people SELECT name, NULL, zone FROM expiries;
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN TABLE expiries LOOP
        INSERT INTO lifecycle.points_rule (name, earns_on, points, pending, expiry, expiry_rounding, valid_from) VALUES ('r', 'order', 10, c.pending, c.expiry, c.rounding, '2000-01-01');
        INSERT INTO orders (customer_id, placed_at) VALUES (c.name, c.earned_at);
        DELETE FROM lifecycle.points_rule;
    END LOOP;
END
$$;
SELECT e.name, e.active_at, l.active_at AS found_active_at, e.expires_at, l.expires_at AS found_expires_at
  FROM expiries AS e LEFT JOIN lifecycle.points_lot AS l ON l.customer_id = e.name
 WHERE (e.active_at, e.expires_at) IS DISTINCT FROM (l.active_at, l.expires_at);

-- REFUNDS IN PARTS add up, however the order is cut: an order of 100 that earned so many points, three refunds, what is left after each.
CREATE TABLE refunds (id serial PRIMARY KEY, order_id int, customer_id text, amount numeric, refunded_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('refunds', 'refund', '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
CREATE TABLE cuts (name text, points int, parts numeric[], remaining bigint[]);
INSERT INTO cuts VALUES
    ('thirds of a hundred', 100, '{33.33, 33.33, 33.34}', '{67, 33, 0}'),
    ('thirds of one',       1,   '{33.33, 33.33, 33.34}', '{1, 0, 0}'),
    ('thirds of two',       2,   '{33.33, 33.33, 33.34}', '{1, 1, 0}'),
    ('crumbs',              7,   '{0.01, 0.01, 99.98}',   '{7, 7, 0}'),
    ('more than it was',    7,   '{50, 50, 50}',          '{3, 0, 0}');
CREATE TABLE cut_found (name text, remaining bigint[]);
DO $$
DECLARE
    c     record;
    number int;
    part  numeric;
    seen  bigint[];
BEGIN
    FOR c IN TABLE cuts LOOP
        INSERT INTO lifecycle.points_rule (name, earns_on, points, valid_from) VALUES ('r', 'order', c.points, '2000-01-01');
        INSERT INTO orders (customer_id, total) VALUES (c.name, 100) RETURNING id INTO number;
        seen := '{}';
        FOREACH part IN ARRAY c.parts LOOP
            INSERT INTO refunds (order_id, customer_id, amount) VALUES (number, c.name, part);
            seen := seen || (SELECT points FROM lifecycle.customer WHERE customer_id = c.name);
        END LOOP;
        INSERT INTO cut_found VALUES (c.name, seen);
        DELETE FROM lifecycle.points_rule;
    END LOOP;
END
$$;
SELECT c.name, c.remaining, f.remaining AS found FROM cuts AS c JOIN cut_found AS f USING (name) WHERE c.remaining <> f.remaining;

-- COUPONS: what may be done in which state. Each row issues a code, brings it into the state and tries one thing.
INSERT INTO lifecycle.offer (name, kind, value, owner_bound, validity, restorable) VALUES
    ('mine', 'percent', 5, true, '10 days', true), ('anyone''s', 'percent', 5, false, '10 days', true), ('once', 'percent', 5, true, '10 days', false);
CREATE TABLE uses (name text, offer text, before text, told text, outcome text);
INSERT INTO uses VALUES
    ('its owner',           'mine',      $$ SELECT 1 $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, 'redeemed'),
    ('as it is typed',      'mine',      $$ SELECT 1 $$, $$ SELECT lifecycle.redeem_coupon(lower(' CODE '), 'o1', 'owner') $$, 'redeemed'),
    ('somebody else',       'mine',      $$ SELECT 1 $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'thief') $$, 'belongs to somebody else'),
    ('a friend',            'anyone''s', $$ SELECT 1 $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'friend') $$, 'redeemed'),
    ('twice',               'mine',      $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o2', 'owner') $$, 'is redeemed already'),
    ('a retry',             'mine',      $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, 'redeemed'),
    ('on the last day',     'mine',      $$ SELECT set_config('lifecycle.clock', '2031-06-11 23:59:59+00', true) $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, 'redeemed'),
    ('the day after',       'mine',      $$ SELECT set_config('lifecycle.clock', '2031-06-12 00:00+00', true) $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, 'has expired'),
    ('revoked',             'mine',      $$ SELECT lifecycle.revoke_coupon('CODE', 'misuse') $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, 'is revoked'),
    ('given back',          'mine',      $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner'), lifecycle.restore_coupon('CODE') $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o2', 'owner') $$, 'redeemed'),
    ('not given back',      'once',      $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner'), lifecycle.restore_coupon('CODE') $$, $$ SELECT lifecycle.redeem_coupon('CODE', 'o2', 'owner') $$, 'is revoked'),
    ('revoked when redeemed', 'mine',    $$ SELECT lifecycle.redeem_coupon('CODE', 'o1', 'owner') $$, $$ SELECT lifecycle.revoke_coupon('CODE', 'misuse') $$, 'redeemed'),
    ('a typing error',      'mine',      $$ SELECT 1 $$, $$ SELECT lifecycle.redeem_coupon('XCODE', 'o1', 'owner') $$, 'is not known');
CREATE TABLE use_found (name text, outcome text);
DO $$
DECLARE
    u    record;
    issued text;
    came text;
BEGIN
    FOR u IN TABLE uses LOOP
        PERFORM set_config('lifecycle.clock', '2031-06-01 12:00+00', true);
        issued := lifecycle.issue_coupon(u.offer, 'owner');
        EXECUTE replace(u.before, 'CODE', issued);
        BEGIN
            EXECUTE replace(u.told, 'CODE', issued);
            SELECT c.status INTO came FROM lifecycle.coupon AS c WHERE c.code_key = issued;
        EXCEPTION WHEN check_violation OR no_data_found THEN
            came := regexp_replace(SQLERRM, '^coupon "[^"]*" ', '');
        END;
        INSERT INTO use_found VALUES (u.name, came);
    END LOOP;
END
$$;
SELECT u.name, u.outcome, f.outcome AS found FROM uses AS u JOIN use_found AS f USING (name) WHERE u.outcome <> f.outcome;
SELECT (SELECT count(*) FROM use_found) = (SELECT count(*) FROM uses) AS all_tried;

SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people, orders, refunds, birthdays, seasons, expiries, cuts, cut_found, uses, use_found CASCADE;
DROP FUNCTION play;
