-- A guest with points, coupons and friends turns out to be a customer: what loyalty gave goes along, and nothing is given twice.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, code text, at timestamptz DEFAULT lifecycle.now());
CREATE TABLE brought (id text, who text, whom text, at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "coupon": "code", "placed_at": "at"}', name => 'orders');
SELECT lifecycle.attach('brought', 'referral', '{"referral": "id", "customer": "who", "referred": "whom", "referred_at": "at"}', name => 'brought');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO lifecycle.points_rule (name, earns_on, points, rate, valid_from) VALUES
    ('orders', 'order', 0, 1, '2000-01-01'), ('who brings', 'referral', 500, 0, '2000-01-01'), ('who is brought', 'referred', 300, 0, '2000-01-01');
INSERT INTO lifecycle.offer (name, kind, value) VALUES ('five', 'percent', 5);
CREATE VIEW points AS
    SELECT c.customer_id, c.points, (SELECT sum(e.points) FROM lifecycle.points_entry AS e WHERE e.customer_id = c.customer_id) AS ledger
      FROM lifecycle.customer AS c ORDER BY 1;

-- Ann was brought by Bob, and as a guest, later, by Cy; as a guest she has brought Dan.
INSERT INTO orders VALUES (1, 'ann', 10), (2, 'guest', 20), (3, 'bob', 1), (4, 'cy', 1), (5, 'dan', 1);
INSERT INTO brought VALUES ('r1', 'bob', 'ann', '2030-02-01 12:00+00'), ('r2', 'cy', 'guest', '2030-02-02 12:00+00'), ('r3', 'guest', 'dan', '2030-02-03 12:00+00');
SELECT lifecycle.tick() \gset
TABLE points;
SELECT lifecycle.merge('guest', 'ann');
SELECT referred, referral, referrer, withdrawn FROM lifecycle.points_referral ORDER BY referral;
-- The tick takes back what Cy had for her, and what she had for being brought twice.
SELECT lifecycle.tick() \gset
TABLE points;
-- The row of Dan goes: who takes it back is Ann. It comes again, under the guest's name.
DELETE FROM brought WHERE id = 'r3';
SELECT lifecycle.tick() \gset
TABLE points;
INSERT INTO brought VALUES ('r3', 'guest', 'dan', '2030-02-03 12:00+00');
SELECT lifecycle.tick() \gset
TABLE points;
-- Nobody brings herself under another name, and whoever is brought is known by both.
INSERT INTO brought VALUES ('r4', 'ann', 'guest', '2030-01-01 12:00+00'), ('r5', 'dan', 'guest', '2030-01-01 12:00+00');
SELECT lifecycle.refer('r6', 'guest', 'ann');
SELECT lifecycle.refer('r7', 'dan', 'guest');
SELECT lifecycle.tick() \gset
TABLE points;

-- The earlier one counts also where it is the guest's: Eve was brought as a guest first. Flo had brought herself.
INSERT INTO orders VALUES (10, 'eve', 5), (11, 'eve@example.org', 5), (12, 'flo', 5), (13, 'flo@example.org', 5);
INSERT INTO brought VALUES ('r10', 'bob', 'eve', '2030-02-05 12:00+00'), ('r11', 'cy', 'eve@example.org', '2030-02-04 12:00+00'),
                           ('r12', 'flo', 'flo@example.org', '2030-02-04 12:00+00');
SELECT lifecycle.tick() \gset
TABLE points;
SELECT lifecycle.merge('eve@example.org', 'eve');
SELECT lifecycle.merge('flo@example.org', 'flo');
SELECT lifecycle.tick() \gset
TABLE points;
SELECT referred, referral, referrer, withdrawn FROM lifecycle.points_referral WHERE referral IN ('r10', 'r11', 'r12') ORDER BY referral;

-- Coupons: what the guest has used is given back when the order is cancelled; of two for one purpose one stays good; the guest's id goes on.
CREATE TABLE codes AS SELECT 'used' AS name, lifecycle.issue_coupon('five', 'gus@example.org') AS code
    UNION ALL SELECT 'both 1', lifecycle.issue_coupon('five', 'gus', 'welcome') UNION ALL SELECT 'both 2', lifecycle.issue_coupon('five', 'gus@example.org', 'welcome');
INSERT INTO orders SELECT 20, 'gus@example.org', 50, code FROM codes WHERE name = 'used';
SELECT lifecycle.merge('gus@example.org', 'gus');
CREATE VIEW coupons AS SELECT n.name, c.customer_id, c.status, c.purpose, c.redeemed_by, c.redeemed_order FROM codes AS n JOIN lifecycle.coupon AS c USING (code) ORDER BY 1;
TABLE coupons;
DELETE FROM orders WHERE id = 20;
TABLE coupons;
SELECT r.* FROM codes AS n CROSS JOIN LATERAL lifecycle.redeem_coupon(n.code, '21', 'gus@example.org') AS r WHERE n.name = 'used';
SELECT lifecycle.issue_coupon('five', 'gus@example.org', 'welcome') = code AS the_same FROM codes WHERE name = 'both 1';
INSERT INTO orders VALUES (22, 'gus@example.org', 40);
SELECT lifecycle.redeem_points('gus@example.org', 15, '23'), lifecycle.adjust_points('gus@example.org', 5, 'sorry'),
       lifecycle.reward('gus@example.org', 'referral', 'r99');
SELECT * FROM points WHERE customer_id = 'gus';
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('gold', 1, 1000);
INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('gus@example.org', 'gold', 'a friend of ours');
SELECT customer_id, tier FROM lifecycle.tier_history;
SELECT * FROM lifecycle.verify();
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, brought, codes CASCADE;
