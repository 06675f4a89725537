-- Why: what has happened to a customer, what is planned, and why a message was or was not sent.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('fussy', '1 / (order_count - 2) > 5');
CREATE TABLE people (id text PRIMARY KEY, mail text, zone text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "mail", "time_zone": "zone"}', name => 'people');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO lifecycle.points_rule (name, earns_on, rate) VALUES ('orders', 'order', 1);
INSERT INTO people VALUES ('ann', 'ann@example.org', 'Europe/Berlin'), ('bob', 'bob@example.org', NULL);
SELECT lifecycle.request_consent('ann', 'email', 'form') AS token \gset
SET lifecycle.clock = '2026-01-01 13:00+00';
SELECT * FROM lifecycle.confirm_consent(:'token');
INSERT INTO orders VALUES (1, 'ann', 150, '2026-01-01 13:00+00'), (2, 'bob', 10, '2026-01-01 13:00+00');

INSERT INTO lifecycle.offer (name, kind, value, validity) VALUES ('gift', 'percent', 5, '30 days');
SELECT lifecycle.issue_coupon('gift', 'ann') <> '' AS issued;
SELECT at, kind, name, detail ? 'code' AS code FROM lifecycle.next_actions('ann') WHERE kind ~ 'coupon';
SELECT at, kind, name, detail ? 'code' AS code FROM lifecycle.timeline('ann') WHERE kind ~ 'coupon';
DELETE FROM lifecycle.coupon;
-- BEFORE. Ann is bronze; a letter congratulates her. In March, if she does not come back, another will.
SELECT * FROM lifecycle.next_actions('ann');
SELECT anchor, step, gate, verdict, reason, facts, threshold, next_change_at FROM lifecycle.why('ann', 'win_back');
SELECT gate, verdict, reason, step, next_change_at FROM lifecycle.why('bob', 'win_back') WHERE verdict <> 'pass';

-- THE DAY. 60 days later both are at risk; Bob has consented to nothing. Summer time begins before Ann's second letter.
SET lifecycle.clock = '2026-03-02 13:00+00';
SELECT lifecycle.tick();
SELECT anchor, step, gate, verdict, reason, facts, threshold, next_change_at FROM lifecycle.why('ann', 'win_back');
SELECT anchor, step, gate, verdict, reason, facts, threshold, next_change_at FROM lifecycle.why('bob', 'win_back') WHERE gate IN ('trigger', 'consent', 'enrolment', 'step');
SELECT * FROM lifecycle.next_actions('ann');
SELECT at, kind, name, detail ->> 'stopped_by' AS stopped_by FROM lifecycle.next_actions('bob') WHERE kind = 'step';
-- A message that would not go out says so before anybody tries.
SELECT lifecycle.suppress('Ann@example.org', 'sunset');
SELECT kind, detail ->> 'stopped_by' AS stopped_by, detail ->> 'template' AS template FROM lifecycle.next_actions('ann') WHERE kind IN ('message', 'step');
SELECT gate, verdict, reason, facts FROM lifecycle.why('ann', 'win_back') WHERE gate = 'suppression';
SELECT gate, verdict, reason FROM lifecycle.why('ann', 'loyalty') WHERE gate IN ('suppression', 'consent');
SELECT name, value, since, why FROM lifecycle.explain('ann') WHERE topic = 'suppression';
DELETE FROM lifecycle.suppression;
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'win_back';
SELECT kind, detail ->> 'stopped_by' AS stopped_by FROM lifecycle.next_actions('ann') WHERE kind = 'step';
SELECT gate, verdict, reason FROM lifecycle.why('ann', 'win_back') WHERE gate = 'scenario';
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';

-- AFTERWARDS. She comes back: the first letter was on its way, the second will never be.
SELECT count(*), min(lease_token) AS lease FROM lifecycle.claim() \gset
SELECT lifecycle.ack(array_agg(message_id), :lease) FROM lifecycle.outbox WHERE status = 'leased';
SET lifecycle.clock = '2026-03-10 09:00+00';
SELECT lifecycle.unsubscribe(lifecycle.unsubscribe_token('ann', 'email'));
SET lifecycle.clock = '2026-03-12 09:00+00';
INSERT INTO orders VALUES (3, 'ann', 100, '2026-03-12 09:00+00');
SELECT anchor, step, gate, verdict, reason, next_change_at FROM lifecycle.why('ann', 'win_back') WHERE gate IN ('trigger', 'consent', 'enrolment', 'step');
SELECT * FROM lifecycle.timeline('ann');
SELECT topic, name, value, since, next_change_at, why FROM lifecycle.explain('ann');
-- The order in which it happened, and nothing twice: as many messages, purchases and decisions as the tables have.
SELECT count(*) FILTER (WHERE kind ~ '^message') = (SELECT count(*) FROM lifecycle.outbox WHERE customer_id = 'ann') AS messages,
       count(*) FILTER (WHERE kind = 'order') = (SELECT count(*) FROM lifecycle.purchase WHERE customer_id = 'ann') AS orders,
       count(*) FILTER (WHERE kind ~ '^step') = (SELECT count(*) FROM lifecycle.enrolment_step WHERE customer_id = 'ann') AS steps,
       count(*) FILTER (WHERE kind = 'segment entered') = (SELECT count(*) FROM lifecycle.segment_history WHERE customer_id = 'ann') AS stays,
       count(*) FILTER (WHERE kind = 'consent') = (SELECT count(*) FROM lifecycle.consent_log WHERE customer_id = 'ann') AS consents
  FROM lifecycle.timeline('ann');
-- Who was merged is asked about under either id; nobody, and the erased, have no story.
SELECT lifecycle.merge('bob', 'ann');
SELECT count(*) = (SELECT count(*) FROM lifecycle.timeline('ann')) AS same FROM lifecycle.timeline('bob');
SELECT gate, verdict, reason FROM lifecycle.why('nobody', 'win_back');
SELECT count(*) FROM lifecycle.forget('ann');
SELECT gate, verdict, reason FROM lifecycle.why('bob', 'win_back');
SELECT count(*) FROM lifecycle.timeline('ann');
SELECT count(*) FROM lifecycle.next_actions('ann');
SELECT count(*) FROM lifecycle.explain('ann');
SELECT * FROM lifecycle.why('ann', 'no such thing');

-- EVERYTHING ELSE that starts a scenario, before and after it has happened, and the gates it would meet.
SET lifecycle.clock = '2026-05-01 09:00+00';
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('cart_recovery', 'welcome', 'post_purchase', 'review_care', 'birthday', 'season', 'wishlist');
INSERT INTO lifecycle.scenario (name, trigger, entry_filter, exit_when, status) VALUES ('visits', 'event:visit', 'order_count > 0', 'order_count > 5', 'active');
INSERT INTO lifecycle.step (scenario, position, channel, template) VALUES ('visits', 1, 'sms', 'visited');
CREATE VIEW told AS SELECT s.name, w.verdict, w.reason, w.facts, w.next_change_at FROM lifecycle.scenario AS s, lifecycle.why('cat', s.name) AS w
                     WHERE s.status = 'active' AND w.gate = 'trigger' AND s.trigger NOT LIKE 'segment%' ORDER BY s.name;
INSERT INTO people VALUES ('cat', 'cat@example.org', 'America/New_York');
SELECT lifecycle.track('cat', 'customer', '{"birthday": "1992-02-29"}');
SELECT * FROM told;
SELECT lifecycle.track('cat', 'consent', '{"channel": "email", "status": "granted"}'),
       lifecycle.track('cat', 'cart', '{"cart": "k1", "value": 50}'),
       lifecycle.track('cat', 'review', '{"review": "r1", "rating": 2}'),
       lifecycle.track('cat', 'wishlist', '{"product": "hat"}'),
       lifecycle.track('cat', 'event', '{"event": "visit"}');
INSERT INTO orders VALUES (9, 'cat', 20, '2026-04-30 20:00+00');
SELECT * FROM told;
SELECT step, gate, verdict, reason, facts, threshold, next_change_at FROM lifecycle.why('cat', 'visits') WHERE gate IN ('consent', 'entry_filter', 'exit_when', 'gates');
-- She was welcomed today; a channel that allows no more makes the cart wait. Who has just bought is not reminded of wishes.
SELECT step, verdict, reason, next_change_at FROM lifecycle.why('cat', 'cart_recovery') WHERE gate = 'gates';
UPDATE lifecycle.channel SET cap_per_day = 1 WHERE name = 'email';
SELECT step, verdict, reason, next_change_at FROM lifecycle.why('cat', 'cart_recovery') WHERE gate = 'gates';
SELECT step, verdict, reason, next_change_at FROM lifecycle.why('cat', 'wishlist') WHERE gate = 'gates';
-- What counts from a delivery has no time before it.
SELECT at, name, detail -> 'step' AS step, detail ->> 'waits_for' AS waits_for, detail ->> 'stopped_by' AS stopped_by FROM lifecycle.next_actions('cat') WHERE kind = 'step';
SELECT lifecycle.track('cat', 'delivery', '{"order": "9", "delivered_at": "2026-05-01 08:00+00"}');
SELECT at, name, detail -> 'step' AS step, detail ->> 'waits_for' AS waits_for FROM lifecycle.next_actions('cat') WHERE kind = 'step' AND name = 'post_purchase';
SELECT step, verdict, threshold FROM lifecycle.why('cat', 'post_purchase') WHERE gate = 'step';
DROP VIEW told;
-- A step that waits says for what, and one that counts from it has no time before.
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('invite', 'event:ask', 'active');
INSERT INTO lifecycle.step (scenario, position, counts_from, delay, wait_for, otherwise, template) VALUES
    ('invite', 1, 'anchor', '0', NULL, NULL, 'invitation'), ('invite', 2, 'anchor', '2 days', 'open', 4, NULL),
    ('invite', 3, 'previous', '1 day', NULL, NULL, 'how_was_it'), ('invite', 4, 'anchor', '0', NULL, NULL, 'last_chance');
UPDATE lifecycle.channel SET cap_per_day = NULL WHERE name = 'email';
SELECT lifecycle.track('cat', 'event', '{"event": "ask"}');
SELECT at, name, detail -> 'step' AS step, detail ->> 'waits_for' AS waits_for FROM lifecycle.next_actions('cat') WHERE name = 'invite';
SELECT step, gate, verdict, threshold, next_change_at FROM lifecycle.why('cat', 'invite') WHERE gate IN ('gates', 'step');

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people, orders;
