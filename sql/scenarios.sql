-- Scenarios: what a shop sends to whom and when, and above all what it does not send.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 00:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

CREATE TABLE customers (id text PRIMARY KEY, email text, name text, lang text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz, note text);
CREATE TABLE newsletter (customer_id text, status text, at timestamptz);
-- What was there before the shop attached its tables: old orders, and one of a few hours ago.
INSERT INTO customers SELECT n, n || '@example.org', initcap(n), l
                        FROM (VALUES ('anna', 'de-AT'), ('ben', 'en'), ('cleo', 'fr'), ('dan', NULL), ('old', 'en')) AS v (n, l);
INSERT INTO orders VALUES (1, 'old', 600, '2025-06-01 10:00+00'), (2, 'old', 600, '2025-12-31 20:00+00');
CREATE VIEW messages AS
    SELECT customer_id, scenario, step, status, due_at, expires_at, error FROM lifecycle.outbox WHERE customer_id <> 'old'
     ORDER BY due_at, customer_id, scenario, step;
CREATE VIEW decisions AS
    SELECT customer_id, scenario, anchor, position, outcome, reason, decided_at FROM lifecycle.enrolment_step WHERE customer_id <> 'old'
     ORDER BY decided_at, customer_id, scenario, anchor, position;
CREATE VIEW enrolments AS
    SELECT customer_id, scenario, anchor, status, last_position AS last, next_due_at, ended_at, end_reason FROM lifecycle.enrolment WHERE customer_id <> 'old'
     ORDER BY anchor_at, customer_id, scenario, anchor;

-- The playbook comes as drafts: nothing is sent before the shop says so.
SELECT name, trigger, goal, max_age, status FROM lifecycle.scenario ORDER BY name;
SELECT scenario, position, delay, not_after, channel, class, template FROM lifecycle.step ORDER BY scenario, position;
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
-- In this shop the news of a tier is for the top tier only.
UPDATE lifecycle.scenario SET trigger = 'tier_reached:vip' WHERE name = 'loyalty';

-- History never sends mail: neither the tier that was reached long ago, nor the order that was placed last night, nor the segment.
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "email": "email", "first_name": "name", "locale": "lang"}');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.attach('newsletter', 'consent', '{"customer": "customer_id", "channel": "''email''", "status": "status", "changed_at": "at"}');
SELECT customer_id, lifecycle, tier FROM lifecycle.customer ORDER BY customer_id;
SELECT customer_id, scenario, anchor FROM lifecycle.enrolment;
SELECT customer_id, scenario, status FROM lifecycle.outbox;

-- POST PURCHASE. An order is confirmed, once, in the customer's language; whatever happens to it later, it is not confirmed again.
SET lifecycle.clock = '2026-01-05 10:00+00';
INSERT INTO orders VALUES (10, 'anna', 40, '2026-01-05 10:00+00'), (11, 'cleo', 40, '2026-01-05 09:59+00');
SELECT customer_id, recipient, template, subject, locale, class, status, due_at, expires_at, payload FROM lifecycle.outbox
 WHERE customer_id <> 'old' ORDER BY customer_id;
SELECT customer_id, idempotency_key FROM lifecycle.outbox
 WHERE customer_id <> 'old' ORDER BY customer_id;
UPDATE orders SET note = 'leave at the door' WHERE id = 10;
UPDATE orders SET total = 45 WHERE id = 10;
UPDATE orders SET placed_at = '2026-01-05 09:00+00' WHERE id = 11;
DELETE FROM orders WHERE id = 11;
INSERT INTO orders VALUES (11, 'cleo', 40, '2026-01-05 09:59+00');
SELECT lifecycle.tick() \gset
TABLE messages;
TABLE enrolments;
-- An order that is told too late is not confirmed any more, and one that is taken back before the mailer came is not either.
INSERT INTO orders VALUES (12, 'dan', 40, '2026-01-03 10:00+00');
INSERT INTO orders VALUES (13, 'dan', 40, '2026-01-05 10:00+00');
DELETE FROM orders WHERE id = 13;
SELECT * FROM messages WHERE customer_id = 'dan';
SELECT * FROM enrolments WHERE customer_id = 'dan';
-- An order of the future is confirmed when its day has come.
INSERT INTO orders VALUES (14, 'dan', 40, '2026-01-07 10:00+00');
SELECT * FROM messages WHERE customer_id = 'dan' AND status = 'pending';
SET lifecycle.clock = '2026-01-07 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id = 'dan' AND status = 'pending';
-- If the transaction of the order rolls back, so does its confirmation.
BEGIN;
INSERT INTO orders VALUES (15, 'ben', 40, '2026-01-07 10:00+00');
SELECT count(*) FROM lifecycle.outbox WHERE customer_id = 'ben';
ROLLBACK;
SELECT count(*) FROM lifecycle.outbox WHERE customer_id = 'ben';

-- LOYALTY. Only the top tier is news, and only once however often the tier flaps.
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending';
UPDATE lifecycle.scenario SET status = 'draft' WHERE name = 'post_purchase';
SET lifecycle.clock = '2026-01-08 10:00+00';
INSERT INTO orders VALUES (20, 'ben', 1200, '2026-01-08 10:00+00');
SELECT customer_id, tier FROM lifecycle.customer WHERE customer_id = 'ben';
SELECT * FROM messages WHERE scenario = 'loyalty';
INSERT INTO orders VALUES (21, 'ben', 4000, '2026-01-08 10:00+00');
SELECT customer_id, recipient, template, subject, payload ->> 'tier' AS tier, payload -> 'benefits' AS benefits
  FROM lifecycle.outbox WHERE scenario = 'loyalty';
UPDATE lifecycle.outbox SET status = 'sent' WHERE scenario = 'loyalty';
UPDATE orders SET total = 3000 WHERE id = 21;
SELECT customer_id, tier FROM lifecycle.customer WHERE customer_id = 'ben';
SET lifecycle.clock = '2026-01-09 10:00+00';
INSERT INTO orders VALUES (22, 'ben', 2000, '2026-01-09 10:00+00');
SELECT customer_id, tier FROM lifecycle.customer WHERE customer_id = 'ben';
SELECT * FROM messages WHERE scenario = 'loyalty';
-- Who loses the tier before the mailer came gets no congratulations.
INSERT INTO orders VALUES (23, 'cleo', 9000, '2026-01-09 10:00+00');
SELECT * FROM messages WHERE customer_id = 'cleo' AND scenario = 'loyalty';
DELETE FROM orders WHERE id = 23;
SELECT * FROM messages WHERE customer_id = 'cleo' AND scenario = 'loyalty';
SELECT * FROM enrolments WHERE scenario = 'loyalty' AND customer_id IN ('ben', 'cleo');
UPDATE lifecycle.scenario SET status = 'draft' WHERE name = 'loyalty';
SELECT lifecycle.tick() \gset

-- WIN BACK. Anna agreed to the newsletter, ben did not, cleo has withdrawn, dan was asked and has not answered: only anna hears from us.
INSERT INTO newsletter VALUES ('anna', 'granted', '2026-01-05 10:00+00'), ('cleo', 'granted', '2026-01-05 10:00+00'),
                              ('cleo', 'revoked', '2026-01-06 10:00+00'), ('dan', 'pending', '2026-01-05 10:00+00');
SELECT customer_id, last_order_at, email_consent, next_change_at FROM lifecycle.customer WHERE customer_id <> 'old' ORDER BY customer_id;
SET lifecycle.clock = '2026-03-06 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE scenario = 'win_back';
SELECT customer_id, subject, locale, payload FROM lifecycle.outbox WHERE scenario = 'win_back';
SET lifecycle.clock = '2026-03-10 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE scenario = 'win_back';
SELECT * FROM decisions WHERE scenario = 'win_back';
-- Thirty days later a second letter follows; the first one has long been sent.
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending';
SET lifecycle.clock = '2026-04-05 09:59:59+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE scenario = 'win_back';
SET lifecycle.clock = '2026-04-05 10:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE scenario = 'win_back';
-- Anna orders before the mailer comes round: the letter has lost its reason.
SET lifecycle.clock = '2026-04-05 10:30+00';
INSERT INTO orders VALUES (30, 'anna', 40, '2026-04-05 10:30+00');
SELECT * FROM messages WHERE customer_id = 'anna' AND scenario = 'win_back';
SELECT * FROM enrolments WHERE customer_id = 'anna' AND scenario = 'win_back';
-- What anyone who asks about anna gets to know.
SELECT * FROM lifecycle.explain('anna');
-- And about ben, who got no letter.
SELECT topic, name, value, why FROM lifecycle.explain('ben') WHERE topic IN ('enrolment', 'message');
SELECT * FROM lifecycle.explain('nobody');

-- The next time she is silent she withdraws her consent between the first letter and the second.
SET lifecycle.clock = '2026-06-04 12:00+00';
SELECT lifecycle.tick() \gset
UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND customer_id = 'anna';
INSERT INTO newsletter VALUES ('anna', 'revoked', '2026-06-04 11:00+00');
SET lifecycle.clock = '2026-07-05 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id = 'anna' AND scenario = 'win_back';
SELECT * FROM decisions WHERE customer_id = 'anna' AND scenario = 'win_back';

-- Consent that is withdrawn while a letter waits takes the letter back.
SET lifecycle.clock = '2026-08-02 00:00+00';
INSERT INTO customers VALUES ('eva', 'eva@example.org', 'Eva', 'de');
INSERT INTO newsletter VALUES ('eva', 'granted', '2026-08-01 00:00+00');
INSERT INTO orders VALUES (40, 'eva', 10, '2026-08-02 00:00+00');
SET lifecycle.clock = '2026-10-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id = 'eva';
INSERT INTO newsletter VALUES ('eva', 'revoked', '2026-10-01 00:00+00');
SELECT * FROM messages WHERE customer_id = 'eva';

-- OUTAGE. The worker was down from the day before the first letter until after the second was due: one letter goes out, not two.
SET lifecycle.clock = '2027-01-01 00:00+00';
INSERT INTO customers VALUES ('fay', 'fay@example.org', 'Fay', 'en'), ('gus', 'gus@example.org', 'Gus', 'en');
INSERT INTO newsletter VALUES ('fay', 'granted', '2027-01-01 00:00+00'), ('gus', 'granted', '2027-01-01 00:00+00');
INSERT INTO orders VALUES (50, 'fay', 10, '2027-01-01 00:00+00');
UPDATE lifecycle.scenario SET max_age = '60 days' WHERE name = 'win_back';
UPDATE lifecycle.step SET not_after = '60 days' WHERE scenario = 'win_back' AND position = 1;
SET lifecycle.clock = '2027-04-02 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id = 'fay';
SELECT * FROM decisions WHERE customer_id = 'fay';
-- After a still longer one the first letter's window has passed, and after the longest nobody is bothered at all.
UPDATE lifecycle.step SET not_after = '14 days' WHERE scenario = 'win_back' AND position = 1;
INSERT INTO orders VALUES (51, 'gus', 10, '2027-04-02 00:00+00');
SET lifecycle.clock = '2027-07-03 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM decisions WHERE customer_id = 'gus';
UPDATE lifecycle.scenario SET max_age = '7 days' WHERE name = 'win_back';
INSERT INTO orders VALUES (52, 'gus', 10, '2027-07-03 00:00+00');
SET lifecycle.clock = '2027-10-01 00:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, lifecycle FROM lifecycle.customer WHERE customer_id = 'gus';
SELECT * FROM enrolments WHERE customer_id = 'gus';

-- PAUSED. A scenario is paused: who is on the way waits, nobody enrols. When it goes on, what is still in time is sent.
SET lifecycle.clock = '2028-01-01 00:00+00';
SELECT lifecycle.tick() \gset
INSERT INTO customers VALUES ('hal', 'hal@example.org', 'Hal', 'en'), ('ivy', 'ivy@example.org', 'Ivy', 'en');
INSERT INTO newsletter VALUES ('hal', 'granted', '2028-01-01 00:00+00'), ('ivy', 'granted', '2028-01-01 00:00+00');
INSERT INTO orders VALUES (60, 'hal', 10, '2028-01-01 00:00+00'), (61, 'ivy', 10, '2028-01-20 00:00+00');
SET lifecycle.clock = '2028-03-01 00:00+00';
SELECT lifecycle.tick() \gset
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'win_back';
SELECT lifecycle.tick() \gset
SELECT * FROM enrolments WHERE customer_id IN ('hal', 'ivy');
SET lifecycle.clock = '2028-04-02 00:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id IN ('hal', 'ivy');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'win_back';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id IN ('hal', 'ivy');
SELECT * FROM enrolments WHERE customer_id IN ('hal', 'ivy');
-- The scenario is taken out of service: who is on the way leaves it, and what waits is cancelled.
UPDATE lifecycle.scenario SET status = 'draft' WHERE name = 'win_back';
SELECT lifecycle.tick() \gset
SELECT * FROM messages WHERE customer_id = 'hal';
SELECT * FROM enrolments WHERE customer_id = 'hal';

-- REFUSED. A scenario that can never start, or a step that can never be sent, is refused.
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'full_moon');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'order_placed:big');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'segment_entered:nowhere');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'segment_entered');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('x', 'tier_reached:platinum');
\set VERBOSITY terse
INSERT INTO lifecycle.scenario (name, trigger, status) VALUES ('x', 'order_placed', 'live');
INSERT INTO lifecycle.scenario (name, trigger, goal) VALUES ('x', 'order_placed', 'happiness');
INSERT INTO lifecycle.scenario (name, trigger, max_age) VALUES ('x', 'order_placed', '-1 day');
INSERT INTO lifecycle.step (scenario, position, template) VALUES ('x', 1, 'x');
INSERT INTO lifecycle.step (scenario, position, template, channel) VALUES ('loyalty', 2, 'x', 'pigeon');
INSERT INTO lifecycle.step (scenario, position, template, delay, not_after) VALUES ('loyalty', 2, 'x', '2 days', '1 day');
INSERT INTO lifecycle.step (scenario, position, template, class) VALUES ('loyalty', 2, 'x', 'spam');
\set VERBOSITY default

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, customers, newsletter;
