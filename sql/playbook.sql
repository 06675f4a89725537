-- The rest of the playbook, scenario by scenario, on a frozen clock.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
INSERT INTO lifecycle.shop (time_zone) VALUES ('Europe/Berlin');
UPDATE lifecycle.channel SET cap_per_day = NULL, cap_per_week = NULL WHERE name = 'email';
CREATE VIEW told AS SELECT o.customer_id, o.scenario, o.step, o.variant, o.template, o.status, o.created_at, o.error
                      FROM lifecycle.outbox AS o WHERE o.scenario <> 'post_purchase' OR o.step > 1 ORDER BY o.created_at, o.message_id;
CREATE FUNCTION consent(customer text) RETURNS void LANGUAGE sql
    AS $$ SELECT lifecycle.track(customer, 'consent', '{"channel": "email", "status": "granted"}', '2020-01-01 00:00+00') $$;
SELECT consent(c) FROM unnest('{ann,ben,cay,dan,eve,fay,gus}'::text[]) AS c;
UPDATE lifecycle.scenario SET status = 'active' WHERE name NOT IN ('season', 'loyalty', 'win_back');

-- CART. Nobody is bothered who goes on, buys (on whichever device) or empties the cart.
SELECT lifecycle.track(c, 'cart', '{"cart": "k1", "value": 50}') FROM unnest('{ann,ben,cay,dan}'::text[]) AS c;
SET lifecycle.clock = '2030-03-01 12:30+00';
SELECT lifecycle.track('ben', 'order', '{"order": "1", "amount": 50}');
SELECT lifecycle.track('cay', 'cart', '{"cart": "k1", "value": 0}');
SELECT lifecycle.track('dan', 'cart', '{"cart": "k1", "value": 60}');
SET lifecycle.clock = '2030-03-01 13:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT customer_id, scenario, step, template FROM told;
SET lifecycle.clock = '2030-03-01 13:30+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT customer_id, scenario, step, template FROM told;
-- She buys as soon as she has read it: the reminder that waits is cancelled with the order, and so is the rest.
SELECT lifecycle.track('ann', 'order', '{"order": "2", "amount": 50}');
SET lifecycle.clock = '2030-03-02 13:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SET lifecycle.clock = '2030-03-04 14:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT customer_id, scenario, step, variant, template, status, error FROM told;
SELECT customer_id, scenario, status, end_reason FROM lifecycle.enrolment WHERE scenario = 'cart_recovery' ORDER BY 1;
-- The last reminder brings free shipping or 5 %, for 48 hours.
SELECT variant, payload -> 'offer' ->> 'name' AS offer, payload -> 'offer' ->> 'code' ~ '^(FREE|CART)' AS has_code, payload -> 'offer' ->> 'valid_until' AS valid_until
  FROM lifecycle.outbox WHERE scenario = 'cart_recovery' AND step = 3;
SELECT s.scenario, s.position, v.name AS variant, coalesce(v.offer, s.offer) AS offer, o.kind, o.value, o.codes, o.validity, s.pool_empty
  FROM lifecycle.step AS s LEFT JOIN lifecycle.variant AS v USING (scenario, position) JOIN lifecycle.offer AS o ON o.name = coalesce(v.offer, s.offer)
 ORDER BY 1, 2, 3;

-- WELCOME begins with a consent that is given now, and ends when it is withdrawn.
SET lifecycle.clock = '2030-04-01 12:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.track('hal', 'consent', '{"channel": "email", "status": "granted"}');
SET lifecycle.clock = '2030-04-03 12:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.track('hal', 'consent', '{"channel": "email", "status": "revoked"}');
SET lifecycle.clock = '2030-04-10 12:00+00';
SELECT lifecycle.tick() >= 0 AS ticked;
-- Who comes back within half a year is not welcomed again.
SELECT lifecycle.track('hal', 'consent', '{"channel": "email", "status": "granted"}');
SELECT step, template, status, error FROM told WHERE customer_id = 'hal';

-- CARE counts from the last delivery.
SELECT lifecycle.track('eve', 'order', '{"order": "3", "amount": 50}');
SELECT lifecycle.track('eve', 'delivery', '{"order": "3", "delivered_at": "2030-04-12 10:00+00"}');
SET lifecycle.clock = '2030-04-13 10:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.track('eve', 'delivery', '{"order": "3", "delivered_at": "2030-04-14 10:00+00"}');
SET lifecycle.clock = '2030-04-21 09:59:59+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT step, template FROM told WHERE customer_id = 'eve';
SET lifecycle.clock = '2030-04-21 10:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT step, template FROM told WHERE customer_id = 'eve';

-- A bad review goes to support, and not if it is edited up before anybody has seen it; a good one does not.
SELECT lifecycle.track('fay', 'review', '{"review": "r1", "rating": 2}'), lifecycle.track('fay', 'review', '{"review": "r2", "rating": 5}'),
       lifecycle.track('gus', 'review', '{"review": "r3", "rating": 1}');
SELECT lifecycle.track('gus', 'review', '{"review": "r3", "rating": 4}');
SELECT customer_id, scenario, status, error FROM told WHERE scenario = 'review_care';

-- A WISH, until it is bought.
SELECT lifecycle.track(c, 'wishlist', '{"product": "hat"}') FROM unnest('{fay,gus}'::text[]) AS c;
SELECT lifecycle.track('gus', 'order_item', '{"order": "4", "line": "1", "product": "hat", "amount": 30}');
SET lifecycle.clock = '2030-04-24 10:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT customer_id, step, template FROM told WHERE scenario = 'wishlist';

-- BIRTHDAYS at nine in the customer's morning, in common years too.
SELECT lifecycle.track('gus', 'customer', '{"birthday": "1992-02-29", "time_zone": "America/New_York"}');
SET lifecycle.clock = '2031-02-28 13:59:59+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) FROM told WHERE scenario = 'birthday';
SET lifecycle.clock = '2031-02-28 14:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.track('gus', 'customer', '{"birthday": "1992-03-01"}');
SET lifecycle.clock = '2031-03-01 20:00+00';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT customer_id, template, created_at FROM told WHERE scenario = 'birthday';

-- GATES: caps, quiet hours, days of the week, conditions, exclusions, holdouts.
INSERT INTO lifecycle.scenario (name, trigger, max_age) VALUES ('news', 'event:news', '30 days');
INSERT INTO lifecycle.step (scenario, position, not_after, template) VALUES ('news', 1, '3 days', 'news');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'news';
UPDATE lifecycle.channel SET cap_per_day = 1, quiet_from = '21:00', quiet_until = '08:00' WHERE name = 'email';
SET lifecycle.clock = '2031-04-01 20:30+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
SELECT created_at FROM told WHERE scenario = 'news';
SET lifecycle.clock = '2031-04-02 06:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
SELECT created_at FROM told WHERE scenario = 'news';
SET lifecycle.clock = '2031-04-03 06:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT created_at FROM told WHERE scenario = 'news';
UPDATE lifecycle.channel SET cap_per_day = 0 WHERE name = 'email';
SET lifecycle.clock = '2031-05-01 12:00+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
UPDATE lifecycle.channel SET cap_per_day = NULL, quiet_from = NULL, quiet_until = NULL WHERE name = 'email';
UPDATE lifecycle.scenario SET exclusion = 'order_count = 0' WHERE name = 'news';
SET lifecycle.clock = '2031-05-01 12:01+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
UPDATE lifecycle.scenario SET exclusion = NULL, holdout = 1 WHERE name = 'news';
SET lifecycle.clock = '2031-05-01 12:02+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
UPDATE lifecycle.scenario SET holdout = 0, entry_filter = 'order_count > 0' WHERE name = 'news';
SET lifecycle.clock = '2031-05-01 12:03+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
UPDATE lifecycle.scenario SET entry_filter = NULL WHERE name = 'news';
UPDATE lifecycle.step SET send_days = '{mon}', send_from = '10:00', send_until = '12:00' WHERE scenario = 'news';
SET lifecycle.clock = '2031-05-03 12:00+00';
SELECT lifecycle.track('fay', 'event', '{"event": "news"}');
SET lifecycle.clock = '2031-05-05 08:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT anchor, outcome, reason, decided_at FROM lifecycle.enrolment_step WHERE scenario = 'news' ORDER BY anchor;

-- EXISTING members enrol when it is wanted, so many an hour.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('everybody', 'order_count >= 0');
INSERT INTO lifecycle.scenario (name, trigger, enroll_existing, max_per_hour) VALUES ('hello', 'segment_entered:everybody', true, 3);
INSERT INTO lifecycle.step (scenario, position, class, template) VALUES ('hello', 1, 'transactional', 'hello');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'hello';
SELECT count(*) FROM told WHERE scenario = 'hello';
SET lifecycle.clock = '2031-05-05 09:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT count(*) FROM told WHERE scenario = 'hello';

-- EVERY 180 DAYS counts each customer's own: on the 180th day Zed may be welcomed again at half past eight UTC, Ida in Berlin, who has winter time by then, an hour later.
CREATE TABLE people (id text, zone text);
CREATE TABLE consents (customer text, status text, at timestamptz);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "time_zone": "zone"}'), lifecycle.attach('consents', 'consent', '{"customer": "customer", "channel": "''email''", "status": "status", "changed_at": "at"}');
INSERT INTO people VALUES ('ida', 'Europe/Berlin'), ('zed', 'UTC');
SET lifecycle.clock = '2031-09-15 08:30+00';
INSERT INTO consents SELECT id, 'granted', lifecycle.now() FROM people;
SET lifecycle.clock = '2031-09-15 08:31+00';
INSERT INTO consents SELECT id, 'revoked', lifecycle.now() FROM people;
SET lifecycle.clock = '2032-03-13 09:00+00';
INSERT INTO consents SELECT id, 'granted', lifecycle.now() FROM people;
SELECT customer_id, anchor FROM lifecycle.enrolment WHERE scenario = 'welcome' AND customer_id IN ('ida', 'zed') ORDER BY 1, 2;
DROP TABLE people, consents;

-- What cannot be is refused.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'consent:fax');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'date:2030-02-30');
INSERT INTO lifecycle.scenario (name, trigger, reentry) VALUES ('x', 'birthday', 'every moon');
INSERT INTO lifecycle.scenario (name, trigger, entry_filter) VALUES ('x', 'birthday', 'no_such_column > 1');
INSERT INTO lifecycle.scenario (name, trigger, holdout) VALUES ('x', 'birthday', 2);
INSERT INTO lifecycle.variant (scenario, position, name) VALUES ('news', 9, 'A');
UPDATE lifecycle.step SET condition = 'random() > 0.5' WHERE scenario = 'news';

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION consent;

-- INSTALLED AGAIN it brings what is missing, and leaves alone what the shop has made of it.
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE VIEW rows AS
    SELECT 'tier' AS kind, name FROM lifecycle.tier UNION ALL SELECT 'segment', name FROM lifecycle.segment UNION ALL SELECT 'offer', name FROM lifecycle.offer
    UNION ALL SELECT 'channel', name FROM lifecycle.channel UNION ALL SELECT 'scenario', name FROM lifecycle.scenario
    UNION ALL SELECT 'step', concat_ws(' ', scenario, position) FROM lifecycle.step
    UNION ALL SELECT 'variant', concat_ws(' ', scenario, position, name) FROM lifecycle.variant;
CREATE TABLE at_first AS SELECT * FROM rows;
SELECT lifecycle.install_playbook();
(SELECT 'new' AS is, * FROM (TABLE rows EXCEPT TABLE at_first) AS n) UNION ALL (SELECT 'gone', * FROM (TABLE at_first EXCEPT TABLE rows) AS g);
BEGIN;
UPDATE lifecycle.segment SET name = 'risky' WHERE name = 'at_risk';
UPDATE lifecycle.scenario SET trigger = 'segment_entered:risky' WHERE name = 'win_back';
COMMIT;
UPDATE lifecycle.tier SET name = 'platinum' WHERE name = 'vip';
DELETE FROM lifecycle.tier WHERE name = 'silver';
UPDATE lifecycle.tier SET min_spend = 600 WHERE name = 'bronze';
DELETE FROM lifecycle.step WHERE (scenario, position) = ('cart_recovery', 3);
DELETE FROM lifecycle.segment WHERE name = 'sustainability';
DELETE FROM lifecycle.scenario WHERE name = 'birthday';
SELECT lifecycle.install_playbook();
(SELECT 'new' AS is, * FROM (TABLE rows EXCEPT TABLE at_first) AS n) UNION ALL (SELECT 'gone', * FROM (TABLE at_first EXCEPT TABLE rows) AS g) ORDER BY 1, 2, 3;
-- The scenario of a segment that has another name now does not come back.
DELETE FROM lifecycle.scenario WHERE name = 'win_back';
SELECT lifecycle.install_playbook();
SELECT name FROM lifecycle.scenario WHERE name IN ('win_back', 'birthday');
DROP VIEW rows;
DROP TABLE at_first;
DROP EXTENSION pg_lifecycle CASCADE;
