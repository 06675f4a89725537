-- Points: earned by rules, held in lots, spent soonest expiry first, and taken back to the last point by refunds.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), placed_at timestamptz DEFAULT lifecycle.now(), status text DEFAULT 'paid');
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer_id text, amount numeric(10,2), refunded_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE newsletter (customer_id text, status text, at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', $$ status = 'paid' $$);
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}');
SELECT lifecycle.attach('newsletter', 'consent', '{"customer": "customer_id", "channel": "''email''", "status": "status", "changed_at": "at"}');

-- The books: the balance in the customer's row, the sum of the ledger, the sum of the lots. No row: they agree.
CREATE VIEW off_balance AS
    SELECT c.customer_id, c.points, e.points AS ledger, e.pending AS ledger_pending, l.available AS lots, l.pending AS lots_pending
      FROM lifecycle.customer AS c
      LEFT JOIN (SELECT customer_id, sum(points) AS points, sum(pending) AS pending FROM lifecycle.points_entry GROUP BY 1) AS e USING (customer_id)
      LEFT JOIN (SELECT customer_id, sum(available) AS available, sum(pending) AS pending FROM lifecycle.points_lot GROUP BY 1) AS l USING (customer_id)
     WHERE (c.points, coalesce(e.pending, 0)) IS DISTINCT FROM (coalesce(e.points, 0), coalesce(l.pending, 0))
        OR c.points IS DISTINCT FROM coalesce(l.available, 0);
CREATE VIEW balance AS
    SELECT c.customer_id, c.points, coalesce(sum(l.pending), 0) AS pending
      FROM lifecycle.customer AS c LEFT JOIN lifecycle.points_lot AS l USING (customer_id) GROUP BY 1, 2 ORDER BY 1;
CREATE VIEW lots AS
    SELECT customer_id, reference, rule, earned, revoked, shortfall, pending, available, active_at, expires_at FROM lifecycle.points_lot ORDER BY customer_id, lot_id;
CREATE VIEW ledger AS
    SELECT customer_id, reference, kind, pending, points, at FROM lifecycle.points_entry ORDER BY customer_id, entry_id;

-- Without rules nobody earns.
INSERT INTO lifecycle.loyalty_program (name, point_value) VALUES ('friends of the shop', 0.01);
INSERT INTO orders VALUES (1, 'anna', 100, '2026-02-01 10:00+00');
TABLE balance;

-- A point for each euro, spendable after the return window of 14 days, good for a year and until the end of the month; an extra 50 for 200 euros.
INSERT INTO lifecycle.points_rule (name, earns_on, points, rate, min_amount, pending, expiry, expiry_rounding, valid_from) VALUES
    ('a point a euro', 'order', 0,  1, NULL, '14 days', '1 year', 'month', '2026-01-01'),
    ('large order',    'order', 50, 0, 200,  '14 days', '30 days', NULL,   '2026-01-01');
INSERT INTO orders VALUES (2, 'anna', 19.99, '2026-03-01 10:00+00'), (3, 'anna', 200, '2026-03-01 11:00+00'), (4, 'anna', 0.99, '2026-03-01 11:30+00');
TABLE balance;
TABLE lots;
-- Time activates and expires them, to the instant, whenever somebody looks.
SELECT points FROM lifecycle.customer;
SET lifecycle.clock = '2026-03-15 10:59:59.999999+00';
SELECT lifecycle.tick();
TABLE balance;
SET lifecycle.clock = '2026-06-01 00:00+00';
SELECT lifecycle.tick();
TABLE balance;
TABLE ledger;
TABLE off_balance;
SELECT * FROM lifecycle.points_liability ORDER BY expires_in;

-- Spending takes what expires soonest, and refuses what is not there.
INSERT INTO orders VALUES (5, 'ben', 300);
SET lifecycle.clock = '2026-06-15 00:00+00';
SELECT lifecycle.redeem_points('ben', 60, 'B1');
SELECT reference, rule, available, expires_at FROM lots WHERE customer_id = 'ben';
SELECT lifecycle.redeem_points('ben', 291, 'B2');
SELECT lifecycle.redeem_points('ben', 290, 'B2');
TABLE balance;
\set VERBOSITY terse
SELECT lifecycle.redeem_points('ben', 1, 'B3');
SELECT lifecycle.redeem_points('ben', 0, 'B3');
SELECT lifecycle.redeem_points('ben', NULL, 'B3');
SELECT lifecycle.redeem_points('ben', 1, NULL);
SELECT lifecycle.redeem_points('nobody', 1, 'B3');
UPDATE lifecycle.points_entry SET points = 1000000;
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES ('for nothing', 'order', 0);
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES ('which one', 'event', 10);
INSERT INTO lifecycle.points_rule (name, earns_on, rate) VALUES ('birthdays cost nothing', 'birthday', 1);
\set VERBOSITY default
TABLE off_balance;

-- Refunds take back pro rata, and parts add up: a third, a third, a third of an order that earned 100 points.
UPDATE lifecycle.points_rule SET valid_until = '2026-06-15' WHERE name = 'large order';
INSERT INTO orders VALUES (10, 'cleo', 100);
INSERT INTO refunds VALUES (1, 10, 'cleo', 33.33);
SELECT * FROM balance WHERE customer_id = 'cleo';
INSERT INTO refunds VALUES (2, 10, 'cleo', 33.33);
SELECT * FROM balance WHERE customer_id = 'cleo';
INSERT INTO refunds VALUES (3, 10, 'cleo', 33.34);
SELECT * FROM balance WHERE customer_id = 'cleo';
SELECT reference, kind, pending, points FROM ledger WHERE customer_id = 'cleo';
-- Booked by mistake: it all comes back.
DELETE FROM refunds;
SELECT * FROM balance WHERE customer_id = 'cleo';
-- Two lots of one order: the points taken are shared out by the largest remainder, and in the end nothing is left.
INSERT INTO lifecycle.points_rule (name, earns_on, points, pending) VALUES ('seven on top', 'order', 7, '0'), ('three on top', 'order', 3, '0');
INSERT INTO orders VALUES (11, 'dora', 10);
INSERT INTO refunds VALUES (4, 11, 'dora', 5);
SELECT rule, earned, revoked, pending, available FROM lots WHERE customer_id = 'dora' ORDER BY rule;
INSERT INTO refunds VALUES (5, 11, 'dora', 4.99), (6, 11, 'dora', 0.01);
SELECT rule, earned, revoked, pending, available FROM lots WHERE customer_id = 'dora' ORDER BY rule;
DELETE FROM lifecycle.points_rule WHERE name LIKE '%on top';
TABLE off_balance;

-- An order that is cancelled, and paid again after all; one whose amount changes; one that is deleted.
INSERT INTO orders VALUES (20, 'emil', 80);
UPDATE orders SET status = 'cancelled' WHERE id = 20;
SELECT * FROM balance WHERE customer_id = 'emil';
UPDATE orders SET status = 'paid' WHERE id = 20;
SELECT * FROM balance WHERE customer_id = 'emil';
UPDATE orders SET total = 120 WHERE id = 20;
SELECT * FROM balance WHERE customer_id = 'emil';
UPDATE orders SET status = status WHERE id = 20;
SELECT count(*) FROM ledger WHERE customer_id = 'emil';
DELETE FROM orders WHERE id = 20;
SELECT * FROM balance WHERE customer_id = 'emil';

-- Buy, earn, spend, refund: what was spent is taken from other points as far as there are any, and is not earned twice.
INSERT INTO orders VALUES (30, 'fritz', 100);
SET lifecycle.clock = '2026-07-01 00:00+00';
SELECT lifecycle.redeem_points('fritz', 90, '31');
-- The order paid with them: what points have paid earns none.
INSERT INTO orders VALUES (31, 'fritz', 50);
SELECT reference, earned, pending, available FROM lots WHERE customer_id = 'fritz';
INSERT INTO refunds VALUES (10, 30, 'fritz', 100);
SELECT reference, earned, revoked, shortfall, pending, available FROM lots WHERE customer_id = 'fritz';
-- Now the other one, too: its points go back to the lot they came from, which owes them.
INSERT INTO refunds VALUES (11, 31, 'fritz', 50);
SELECT reference, earned, revoked, shortfall, pending, available FROM lots WHERE customer_id = 'fritz';
SELECT * FROM balance WHERE customer_id = 'fritz';
TABLE off_balance;

-- Refunds in parts of an order paid with points of two lots give them back to both, with their own expiry; what has expired meanwhile lives on for 30 days.
SET lifecycle.clock = '2026-07-02 00:00+00';
SELECT lifecycle.adjust_points('gina', 10, 'she does not exist yet');
INSERT INTO orders VALUES (40, 'gina', 1);
SELECT lifecycle.adjust_points('gina', 70, 'sorry for the delay', '2026-07-10 00:00+00');
SELECT lifecycle.adjust_points('gina', 30, 'sorry again');
SELECT lifecycle.redeem_points('gina', 100, '41');
INSERT INTO orders VALUES (41, 'gina', 10);
INSERT INTO refunds VALUES (20, 41, 'gina', 5);
SELECT * FROM balance WHERE customer_id = 'gina';
SET lifecycle.clock = '2026-07-20 00:00+00';
INSERT INTO refunds VALUES (21, 41, 'gina', 5);
SELECT reference ~ '^adjust' AS adjusted, earned, available, expires_at FROM lots WHERE customer_id = 'gina';
SELECT kind, points, at FROM ledger WHERE customer_id = 'gina' AND points <> 0;
SELECT lifecycle.adjust_points('gina', -86, 'more than there is');
SELECT lifecycle.adjust_points('gina', -10, 'fraud');
SELECT lifecycle.adjust_points('gina', 10, '');

-- Points redeemed after the order has come: it earned too much.
INSERT INTO orders VALUES (50, 'hans', 100);
SELECT lifecycle.adjust_points('hans', 5000, 'opening balance');
SELECT lifecycle.redeem_points('hans', 4000, '50');
SELECT * FROM balance WHERE customer_id = 'hans';
UPDATE orders SET status = 'cancelled' WHERE id = 50;
SELECT * FROM balance WHERE customer_id = 'hans';
TABLE off_balance;

-- The multiplier of the tier that the customer had when ordering.
INSERT INTO lifecycle.tier (name, rank, min_spend, points_multiplier) VALUES ('silver', 1, 100, 1), ('gold', 2, 200, 1.5);
INSERT INTO orders VALUES (60, 'ida', 150, lifecycle.now()), (61, 'ida', 51, lifecycle.now() + interval '1 hour');
SET lifecycle.clock = '2026-07-20 03:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO orders VALUES (62, 'ida', 33.33);
SELECT reference, earned FROM lots WHERE customer_id = 'ida';
-- A refund takes the tier, and of the points those of the order: with the multiplier of then.
INSERT INTO refunds VALUES (30, 62, 'ida', 33.33);
SELECT tier, points FROM lifecycle.customer WHERE customer_id = 'ida';
SELECT reference, earned, revoked, pending FROM lots WHERE customer_id = 'ida';

-- The newsletter is rewarded once, whoever signs up again and again.
INSERT INTO lifecycle.points_rule (name, earns_on, event, points) VALUES ('newsletter', 'consent', 'email', 25);
INSERT INTO newsletter VALUES ('jana', 'pending');
SELECT * FROM balance WHERE customer_id = 'jana';
INSERT INTO newsletter VALUES ('jana', 'granted');
INSERT INTO newsletter VALUES ('jana', 'revoked', lifecycle.now() + interval '1 second');
INSERT INTO newsletter VALUES ('jana', 'granted', lifecycle.now());
SELECT * FROM balance WHERE customer_id = 'jana';

-- A segment of those with points is entered and left at the instants at which points become available and expire.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('has points', 'points >= 100');
INSERT INTO lifecycle.points_rule (name, earns_on, points, pending, expiry) VALUES ('a week only', 'order', 100, '1 day', '7 days');
INSERT INTO orders VALUES (70, 'kurt', 0, '2026-07-20 03:00+00');
SET lifecycle.clock = '2026-09-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT segment, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id = 'kurt';
SELECT lifecycle.rebuild();
SELECT segment, entered_at, left_at FROM lifecycle.segment_history WHERE customer_id = 'kurt';
TABLE off_balance;

-- A backfill of old orders earns as far as the rules reach back, and expires what has expired.
SELECT lifecycle.detach('public.orders:order');
TABLE off_balance;
SELECT customer_id, points, pending FROM balance WHERE points <> 0 OR pending <> 0;
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', $$ status = 'paid' $$);
TABLE balance;
TABLE off_balance;

-- What a refund takes back is the program's choice.
UPDATE lifecycle.loyalty_program SET return_policy = 'allow_negative';
INSERT INTO orders VALUES (80, 'lena', 1000, '2026-08-01 00:00+00');
SELECT lifecycle.redeem_points('lena', 900, 'elsewhere');
INSERT INTO refunds VALUES (40, 80, 'lena', 1000);
SELECT * FROM balance WHERE customer_id = 'lena';
UPDATE lifecycle.loyalty_program SET return_policy = 'only_pending';
INSERT INTO orders VALUES (81, 'mona', 1000, '2026-08-01 00:00+00');
INSERT INTO refunds VALUES (41, 81, 'mona', 1000);
SELECT * FROM balance WHERE customer_id = 'mona';
TABLE off_balance;

-- Reviews and events of the application: once for each, and taken back with it. A batch is passed as arrays.
UPDATE lifecycle.loyalty_program SET return_policy = 'within_balance';
DELETE FROM lifecycle.points_rule;
INSERT INTO lifecycle.points_rule (name, earns_on, event, points, tier_multiplier) VALUES
    ('review', 'review', NULL, 20, false), ('unboxing video', 'event', 'video', 100, false),
    ('who brings', 'referral', NULL, 500, false), ('who is brought', 'referred', NULL, 300, false);
INSERT INTO lifecycle.points_rule (name, earns_on, event, rate, points, min_amount, valid_from, valid_until) VALUES
    ('advent', 'season', 'advent', 1, 50, 10, '2026-12-01', '2027-12-25');
SELECT lifecycle.reward('nora', 'review', 'r1');
INSERT INTO orders VALUES (90, 'nora', 10), (91, 'otto', 10);
SELECT lifecycle.reward('nora', 'review', 'r1'), lifecycle.reward('nora', 'review', 'r1'), lifecycle.reward('nora', 'event', 'v1', event => 'video');
SELECT lifecycle.reward('nora', 'event', 'v2', event => 'something else');
SELECT lifecycle.reward('nora', 'review', 'r1', gone => true);
SELECT lifecycle.reward('nora', 'birthday', '2026');
SELECT lifecycle.reward_many(ARRAY['otto', 'nora', 'nobody', 'otto'], ARRAY['review', 'review', 'review', 'review'], ARRAY['r2', 'r3', 'r4', 'r2'],
                             array_fill(lifecycle.now(), ARRAY[4]));
SELECT * FROM balance WHERE customer_id IN ('nora', 'otto');

-- Referrals reward both sides once the other has bought, and are reversed when that is refunded. Nobody refers to oneself, or is brought twice.
SELECT lifecycle.refer('f1', 'nora', 'nora');
SELECT lifecycle.refer('f1', 'nora', 'paul'), lifecycle.refer('f2', 'otto', 'paul');
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('nora', 'paul');
INSERT INTO orders VALUES (92, 'paul', 30);
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('nora', 'paul');
INSERT INTO refunds VALUES (50, 92, 'paul', 30);
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('nora', 'paul');
INSERT INTO orders VALUES (93, 'paul', 30);
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('nora', 'paul');
-- The same from tables and from lifecycle.track(): a review that is deleted loses its points, an event may happen again.
CREATE TABLE reviews (id text, customer_id text, stars int, at timestamptz DEFAULT lifecycle.now());
UPDATE lifecycle.points_rule SET valid_from = '2026-01-01' WHERE earns_on IN ('event', 'review');
CREATE TABLE brought (id text, who text, whom text, at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('reviews', 'review', '{"review": "id", "customer": "customer_id", "rating": "stars", "reviewed_at": "at"}');
SELECT lifecycle.attach('brought', 'referral', '{"referral": "id", "customer": "who", "referred": "whom", "referred_at": "at"}');
INSERT INTO reviews VALUES ('r10', 'tina', 5, lifecycle.now()), ('r11', 'tina', 1, lifecycle.now()), ('r12', 'tina', 3, lifecycle.now() + interval '1 hour');
UPDATE reviews SET stars = 4 WHERE id = 'r10';
DELETE FROM reviews WHERE id = 'r11';
SELECT lifecycle.track('tina', 'event', '{"event": "video"}', lifecycle.now() - interval '1 minute');
SELECT lifecycle.track('tina', 'event', '{"event": "video"}', lifecycle.now());
SELECT reference, earned, revoked, available FROM lots WHERE customer_id = 'tina' ORDER BY reference COLLATE "C";
INSERT INTO brought VALUES ('f10', 'tina', 'ulla'), ('f11', 'tina', 'tina');
INSERT INTO orders VALUES (95, 'ulla', 10);
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('tina', 'ulla');
DELETE FROM brought WHERE id = 'f10';
SELECT lifecycle.tick() \gset
SELECT * FROM balance WHERE customer_id IN ('tina', 'ulla');
DELETE FROM reviews;
SELECT * FROM balance WHERE customer_id IN ('tina', 'ulla');

-- The leaderboard says nothing of who it is.
SELECT place, player = lifecycle.player_name('nora') AS is_nora, player ~ '^[0-9a-f]{12}$' AS anonymous, earned FROM lifecycle.points_leaderboard WHERE place < 3 ORDER BY 1;
TABLE off_balance;

-- A season is rewarded once a year, with the first order that is large enough.
SET lifecycle.clock = '2026-12-05 00:00+00';
INSERT INTO orders VALUES (100, 'quin', 9.99, '2026-12-02 00:00+00'), (101, 'quin', 20, '2026-12-04 00:00+00'), (102, 'quin', 40, '2026-12-03 00:00+00');
SELECT reference, rule, earned FROM lots WHERE customer_id = 'quin';
SET lifecycle.clock = '2027-12-05 00:00+00';
INSERT INTO orders VALUES (103, 'quin', 30), (104, 'quin', 30);
SELECT reference, rule, earned FROM lots WHERE customer_id = 'quin';

-- Birthdays: in the customer's own zone, once a year whatever is edited, on 28 February where there is no 29th.
CREATE TABLE people (id text PRIMARY KEY, born date, zone text);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "birthday": "born", "time_zone": "zone"}');
INSERT INTO people VALUES ('rosa', '2000-02-29', 'Asia/Tokyo'), ('sven', '1990-12-10', NULL);
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES ('birthday', 'birthday', 50);
SET lifecycle.clock = '2028-02-28 15:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, reference, earned, active_at FROM lots WHERE customer_id IN ('rosa', 'sven');
UPDATE people SET born = '2000-03-05' WHERE id = 'rosa';
SET lifecycle.clock = '2030-01-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, reference, earned, active_at FROM lots WHERE customer_id IN ('rosa', 'sven');
UPDATE people SET born = '2000-02-29' WHERE id = 'rosa';
SET lifecycle.clock = '2030-03-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, reference, earned, active_at FROM lots WHERE customer_id = 'rosa' AND active_at > '2030-01-01';
SELECT lifecycle.rebuild();
SELECT count(*) FROM lots WHERE customer_id IN ('rosa', 'sven');
TABLE off_balance;

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds, newsletter, people, reviews, brought CASCADE;
