-- A role with grant_admin() does everything that the owner can, also what reaches into tables that nobody writes by hand.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE ROLE regress_admin;
SELECT lifecycle.grant_admin('regress_admin');
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
ALTER TABLE orders OWNER TO regress_admin;
CREATE FUNCTION order_many(first int, last int) RETURNS void LANGUAGE sql SECURITY DEFINER AS
    $$ INSERT INTO orders SELECT n, 'c' || n % 5, 50, lifecycle.now() FROM generate_series(first, last) AS n $$;
SELECT order_many(1, 10);
SET ROLE regress_admin;

-- SOURCES
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT source, state FROM lifecycle.progress;
SELECT lifecycle.track('c1', 'event', '{"event": "viewed", "product": "p1"}'), lifecycle.settle(), lifecycle.replay_quarantine();
SELECT count(*) FROM lifecycle.check_sources();

-- SCENARIOS and segments, with customers in them
INSERT INTO lifecycle.segment (name, predicate) VALUES ('buyers', 'order_count > 0');
INSERT INTO lifecycle.scenario (name, trigger, enroll_existing) VALUES ('hello', 'segment_entered:buyers', true), ('care', 'order_placed', false);
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template, subject, content)
    SELECT s.name, n, n * interval '1 day', 'email', 'transactional', 'care', '{"en": "Care"}', '{"en": {}}' FROM lifecycle.scenario AS s, generate_series(1, 2) AS n WHERE s.name IN ('hello', 'care');
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('hello', 'care', 'birthday');
SELECT order_many(11, 20);
SELECT e.scenario, count(*) FROM lifecycle.enrolment AS e GROUP BY 1 ORDER BY 1;
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'hello';
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'hello';
UPDATE lifecycle.scenario SET name = 'thanks' WHERE name = 'care';
UPDATE lifecycle.segment SET predicate = 'order_count > 1' WHERE name = 'buyers';
DELETE FROM lifecycle.enrolment WHERE customer_id = 'c0' AND anchor = '20';
UPDATE lifecycle.step SET delay = '3 days' WHERE scenario = 'thanks' AND position = 2;
DELETE FROM lifecycle.scenario WHERE name = 'hello';
UPDATE lifecycle.segment SET name = 'twice' WHERE name = 'buyers';
SELECT s.segment, s.members FROM lifecycle.segment_size AS s WHERE s.segment = 'twice';
DELETE FROM lifecycle.segment WHERE name = 'twice';
SELECT lifecycle.import_scenario(lifecycle.export_scenario('birthday') || '{"name": "name_day"}');
SELECT lifecycle.preview_segment('order_count > 1') IS NOT NULL AS previewed;

-- LOYALTY
INSERT INTO lifecycle.points_rule (name, earns_on, rate) VALUES ('orders', 'order', 1);
SELECT order_many(21, 25);
SELECT lifecycle.adjust_points('c2', 200, 'sorry') AS adjusted, lifecycle.redeem_points('c2', 60, 'till 1') AS redeemed, lifecycle.reward('c2', 'review', 's1') AS rewarded,
       lifecycle.refer('r1', 'c2', 'c4') AS referred;
INSERT INTO lifecycle.offer (name, kind, value, prefix) VALUES ('five', 'percent', 5, 'FIVE');
SELECT lifecycle.issue_coupon('five', 'c2') IS NOT NULL AS issued;
UPDATE lifecycle.tier SET min_spend = 60 WHERE name = 'bronze';
INSERT INTO lifecycle.tier_grant (customer_id, tier, valid_until, reason) VALUES ('c4', 'gold', '2027-01-01 00:00+00', 'a friend');

-- CUSTOMERS
SELECT lifecycle.request_consent('c1', 'email') IS NOT NULL AS requested, lifecycle.unsubscribe_token('c1', 'email') IS NOT NULL AS token;
SELECT lifecycle.export('c1') IS NOT NULL AS exported;
SELECT lifecycle.merge('c1', 'c2');
SELECT lifecycle.forget('c3') IS NOT NULL AS forgotten;
SELECT lifecycle.recount_baskets(), lifecycle.refresh_rfm(), lifecycle.rebuild();
SELECT * FROM lifecycle.verify();

-- OUTBOX and time
RESET ROLE;
SET lifecycle.clock = '2026-03-02 12:00+00';
SET ROLE regress_admin;
SELECT lifecycle.tick() > 0 AS ticked;
SELECT count(*) > 0 AS claimed FROM lifecycle.claim();
SELECT count(*) > 0 AS foreseen FROM lifecycle.forecast('3 days');
SELECT count(*) > 0 AS compared FROM lifecycle.compare_forecast(lifecycle.export_scenario('thanks'), '3 days');
RESET ROLE;
SET lifecycle.clock = '2027-03-02 12:00+00';
SET ROLE regress_admin;
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.release_leases(), lifecycle.expire_messages(), lifecycle.keep_history(), lifecycle.empty_parts() >= 0 AS emptied;
DELETE FROM lifecycle.outbox;
SELECT * FROM lifecycle.verify();
SELECT lifecycle.readmit('c3') AS readmitted, lifecycle.detach('public.orders:order');
SELECT count(*) FROM lifecycle.customer WHERE order_count > 0;
RESET ROLE;

DROP OWNED BY regress_admin CASCADE;
DROP ROLE regress_admin;
DROP FUNCTION order_many;
DROP EXTENSION pg_lifecycle CASCADE;
