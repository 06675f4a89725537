-- Offers and coupons: codes from a pool or of our own making, each good once.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric(10,2), code text, status text DEFAULT 'paid', placed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE customers (id text PRIMARY KEY, zone text);
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "time_zone": "zone"}');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at", "coupon": "code"}', $$ status = 'paid' $$);
INSERT INTO customers VALUES ('anna', 'Europe/Berlin'), ('ben', NULL), ('cleo', 'America/Los_Angeles'), ('dora', 'No/Where');
CREATE VIEW coupons AS SELECT code, offer, status, customer_id, valid_until, redeemed_order, restored FROM lifecycle.coupon ORDER BY offer, code;

-- What can be offered.
INSERT INTO lifecycle.offer (name, kind, value, codes, validity, low_water) VALUES
    ('five off', 'percent', 5, 'pool', '14 days', 2),
    ('come back', 'amount', 10, 'generated', '48 hours', NULL);
INSERT INTO lifecycle.offer (name, kind, description, prefix, validity, validity_rounding) VALUES
    ('closed circle', 'tester_group', '{"en": "You test it first"}', 'VIP', '1 month', 'month');
INSERT INTO lifecycle.offer (name, kind, value, codes, owner_bound, valid_until) VALUES ('flyer', 'free_shipping', NULL, 'pool', false, '2026-04-01');
\set VERBOSITY terse
INSERT INTO lifecycle.offer (name, kind, value) VALUES ('too good', 'percent', 101);
INSERT INTO lifecycle.offer (name, kind) VALUES ('how much', 'amount');
INSERT INTO lifecycle.offer (name, kind) VALUES ('what', 'surprise');
INSERT INTO lifecycle.offer (name, kind, prefix) VALUES ('shouting', 'gift', 'hey!');
\set VERBOSITY default

-- A pool of codes: those that are known already are passed over, however they are written.
SELECT lifecycle.import_coupons('five off', ARRAY['AAA-111', 'AAA-222', 'aaa 111', ' AAA-333 ', '', 'AAA-444']);
SELECT lifecycle.import_coupons('flyer', ARRAY['FLY-1', 'FLY-2', 'aaa111']);
SELECT lifecycle.import_coupons('come back', ARRAY['X']);
SELECT lifecycle.import_coupons('nothing', ARRAY['X']);

-- Issued: valid to the end of the fourteenth day where the customer lives; asked again for the same purpose, the same code.
SELECT lifecycle.issue_coupon('five off', 'anna', 'cart 1') AS code \gset
SELECT :'code' = lifecycle.issue_coupon('five off', 'anna', 'cart 1') AS the_same;
SELECT lifecycle.issue_coupon('five off', 'cleo') IS NOT NULL AS issued;
SELECT lifecycle.issue_coupon('five off', 'dora', 'cart 2') IS NOT NULL AS issued;
SELECT customer_id, status, valid_until FROM coupons WHERE offer = 'five off' ORDER BY customer_id;
SELECT * FROM lifecycle.coupon_pool WHERE offer = 'five off';
-- The pool runs dry: an error, or NULL for a step that skips, defers or sends without.
SELECT lifecycle.issue_coupon('five off', 'ben') IS NOT NULL AS issued;
SELECT lifecycle.issue_coupon('five off', 'ben');
SELECT lifecycle.try_issue_coupon('five off', 'ben');
SELECT lifecycle.reserve_coupon('five off', 'ben', 'cart 3', '2026-03-02');
-- A message that was cancelled gives its code back.
SELECT lifecycle.release_coupon('five off', 'dora', 'cart 2');
SELECT lifecycle.release_coupon('five off', 'dora', 'cart 2');
SELECT lifecycle.reserve_coupon('five off', 'ben', 'cart 3', '2026-03-02') IS NOT NULL AS reserved;
SELECT customer_id, status, valid_until FROM coupons WHERE status = 'reserved';
SELECT lifecycle.issue_coupon('five off', 'ben', 'cart 3') IS NOT NULL AS issued;
SELECT customer_id, status, valid_until FROM coupons WHERE offer = 'five off' AND customer_id = 'ben';
-- One that was reserved in vain goes back by itself.
SELECT lifecycle.import_coupons('five off', ARRAY['AAA-555']);
SELECT lifecycle.reserve_coupon('five off', 'cleo', 'cart 4', '2026-03-02');
SET lifecycle.clock = '2026-03-02 00:00+00';
SELECT lifecycle.tick() \gset
SELECT code, status, customer_id FROM coupons WHERE code = 'AAA-555';

-- Codes of our own: no letters that look alike, and the last character tells a typing error.
SELECT lifecycle.issue_coupon('come back', 'anna') AS code \gset
SELECT :'code' ~ '^[2-9A-HJKMNP-Z]{10}$' AS looks_right, lifecycle.is_code(:'code') AS is_one, lifecycle.is_code(left(:'code', 9) || translate(right(:'code', 1), '23456789ABCDEFGHJKMNPQRSTUVWXYZ', '3456789ABCDEFGHJKMNPQRSTUVWXYZ2')) AS wrong_at_the_end,
       lifecycle.is_code(lower(:'code')) AS in_small_letters;
SELECT valid_until FROM coupons WHERE code = :'code';
SELECT lifecycle.issue_coupon('closed circle', 'anna') ~ '^VIP[2-9A-HJKMNP-Z]{10}$' AS looks_right;
SELECT valid_until FROM coupons WHERE offer = 'closed circle';
SELECT count(DISTINCT lifecycle.random_code(12)) FROM generate_series(1, 10000);
SELECT lifecycle.random_code(5);

-- Redeemed in the checkout's own transaction: once, by its owner, in time.
SELECT * FROM lifecycle.redeem_coupon(lower(left(:'code', 5)) || '-' || right(:'code', 5), '100', 'anna');
SELECT * FROM lifecycle.redeem_coupon(:'code', '100', 'anna');
\set VERBOSITY sqlstate
SELECT lifecycle.redeem_coupon(:'code', '101', 'anna');
\set VERBOSITY default
SELECT lifecycle.redeem_coupon('no such code', '102', 'anna');
SELECT lifecycle.issue_coupon('come back', 'ben') AS code \gset
\set VERBOSITY sqlstate
SELECT lifecycle.redeem_coupon(:'code', '103', 'anna');
SELECT lifecycle.redeem_coupon(:'code', NULL, 'ben');
SET lifecycle.clock = '2026-03-05 00:00+00';
SELECT lifecycle.redeem_coupon(:'code', '103', 'ben');
SELECT lifecycle.redeem_coupon('AAA-555', '104', 'ben');
\set VERBOSITY default
SELECT lifecycle.tick() \gset
SELECT status FROM coupons WHERE code = :'code';
-- What rolls back was not redeemed.
BEGIN;
SELECT * FROM lifecycle.redeem_coupon('FLY-1', '105', 'a guest');
ROLLBACK;
SELECT * FROM lifecycle.redeem_coupon('FLY-1', '106', 'a guest');
SELECT lifecycle.redeem_coupon('fly 1', '107', 'another guest');
SELECT lifecycle.revoke_coupon('FLY-2', 'misprint'), lifecycle.revoke_coupon('FLY-1', 'too late');
SELECT lifecycle.redeem_coupon('FLY-2', '107', 'another guest');

-- A coupon that arrives with the order; a cancelled order gives it back, once it is paid after all it takes it again.
SELECT lifecycle.issue_coupon('closed circle', 'ben', 'a') AS a, lifecycle.issue_coupon('closed circle', 'ben', 'b') AS b \gset
CREATE VIEW of_ben AS SELECT purpose, status, redeemed_order, restored FROM lifecycle.coupon WHERE customer_id = 'ben' AND purpose IN ('a', 'b') ORDER BY purpose;
INSERT INTO orders VALUES (200, 'ben', 50, lower(:'a'));
TABLE of_ben;
UPDATE orders SET status = 'cancelled' WHERE id = 200;
TABLE of_ben;
UPDATE orders SET status = 'paid' WHERE id = 200;
TABLE of_ben;
-- It comes with another one instead.
UPDATE orders SET code = :'b' WHERE id = 200;
TABLE of_ben;
-- An update that leaves the coupon alone leaves it redeemed.
UPDATE orders SET total = 60 WHERE id = 200;
TABLE of_ben;
-- What the checkout has redeemed itself is no second use when the order arrives.
SELECT offer FROM lifecycle.redeem_coupon(:'a', '201', 'ben');
INSERT INTO orders VALUES (201, 'ben', 50, :'a');
-- A second order with it: the shop has accepted it, so the order counts, and the misuse is on record. Codes of other systems are no concern of ours.
INSERT INTO orders VALUES (202, 'ben', 50, :'a'), (203, 'cleo', 50, :'b'), (204, 'cleo', 50, 'WELCOME');
TABLE of_ben;
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'ben';
SELECT customer_id, "order", outcome, reason FROM lifecycle.coupon_use WHERE code_key IN (:'a', :'b') ORDER BY "order", at, outcome;
-- Detaching the table cancels no orders.
SELECT lifecycle.detach('public.orders:order');
TABLE of_ben;
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at", "coupon": "code"}', $$ status = 'paid' $$);
TABLE of_ben;

-- An offer with coupons out cannot be deleted.
DELETE FROM lifecycle.offer WHERE name = 'closed circle';
DELETE FROM lifecycle.offer WHERE name = 'flyer';

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, customers CASCADE;
