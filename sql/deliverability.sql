-- Deliverability: dead addresses and complaints get nothing more, whatever happens, and a step that comes too late is left out.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'post_purchase');
CREATE TABLE people (id text PRIMARY KEY, mail text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
CREATE TABLE consents (customer_id text, status text, changed_at timestamptz);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "mail"}');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
SELECT lifecycle.attach('consents', 'consent', '{"customer": "customer_id", "channel": "''email''", "status": "status", "changed_at": "changed_at"}');
CREATE VIEW messages AS SELECT customer_id, scenario, step, status, error FROM lifecycle.outbox ORDER BY customer_id, message_id;
CREATE VIEW suppressed AS
    SELECT p.id, s.reason, s.suppressed_at, s.note FROM lifecycle.suppression AS s
      LEFT JOIN people AS p ON lifecycle.address_hash(p.mail) = s.address_hash ORDER BY 1, 2;
INSERT INTO people SELECT c, c || '@example.org' FROM unnest('{ann,ben,cay,dan}'::text[]) AS c;
INSERT INTO consents SELECT id, 'granted', lifecycle.now() FROM people;
INSERT INTO orders SELECT row_number() OVER (ORDER BY id), id, 10, lifecycle.now() FROM people;
SELECT count(*), min(lease_token) AS token FROM lifecycle.claim() \gset
SELECT lifecycle.ack(array_agg(message_id), :token) FROM lifecycle.outbox;

-- FEEDBACK. Ann's mailbox is gone, Ben complains, Cay reads.
SELECT idempotency_key AS anns_key FROM lifecycle.outbox WHERE customer_id = 'ann' \gset
SELECT message_id AS bens FROM lifecycle.outbox WHERE customer_id = 'ben' \gset
SELECT message_id AS cays FROM lifecycle.outbox WHERE customer_id = 'cay' \gset
SELECT lifecycle.feedback('bounce', idempotency_key => :'anns_key'), lifecycle.feedback('complaint', :bens, occurred_at => '2026-01-01 13:00+00'),
       lifecycle.feedback('open', :cays), lifecycle.feedback('click', :cays);
SELECT lifecycle.feedback('bounce', idempotency_key => :'anns_key');
SELECT lifecycle.feedback('bounce', -1), lifecycle.feedback('bounce', idempotency_key => 'post_purchase:1:99:ann'), lifecycle.feedback('bounce');
SELECT lifecycle.feedback('yawn', :cays);
-- It is the customer's engagement, as an attached table or track() would have said it.
SELECT customer_id, type, occurred_at FROM lifecycle.engagement ORDER BY 1, 2;
INSERT INTO people VALUES ('hal', 'hal@example.org');
SELECT lifecycle.track('hal', 'engagement', '{"type": "complaint"}');
SELECT id, reason FROM suppressed WHERE id = 'hal';
DELETE FROM lifecycle.suppression WHERE address_hash = lifecycle.address_hash('hal@example.org');
DELETE FROM people WHERE id = 'hal';
SELECT lifecycle.suppress(' Dan@Example.ORG ', 'sunset', 'silent for half a year');
SELECT lifecycle.suppress('dan@example.org', 'rude');
TABLE suppressed;
SELECT count(*) FROM lifecycle.suppression WHERE lifecycle.address_hash('0049 (30) 123-4') = lifecycle.address_hash('+49301234');

-- SUPPRESSED, and said so: a sunset stops marketing only, the rest stops everything.
INSERT INTO orders SELECT 10 + row_number() OVER (ORDER BY id), id, 10, lifecycle.now() FROM people;
SELECT * FROM messages WHERE scenario = 'post_purchase' AND status <> 'sent';
SET lifecycle.clock = '2026-03-02 12:00+00';
SELECT lifecycle.tick();
SELECT * FROM messages WHERE scenario = 'win_back';
SELECT customer_id, outcome, reason FROM lifecycle.enrolment_step WHERE scenario = 'win_back' ORDER BY 1;

-- Between enqueuing and claiming, and between claiming and sending.
SELECT lifecycle.suppress('cay@example.org');
SELECT customer_id FROM lifecycle.claim();
SELECT * FROM messages WHERE customer_id = 'cay' AND scenario = 'win_back';
INSERT INTO orders VALUES (21, 'dan', 10, lifecycle.now()), (22, 'eve@example.org', 10, lifecycle.now());
SELECT customer_id FROM lifecycle.claim() ORDER BY 1;
SELECT lifecycle.suppress('eve@example.org');
SELECT o.customer_id, lifecycle.may_send(o.message_id), lifecycle.gate(o) FROM lifecycle.outbox AS o WHERE o.status = 'leased' ORDER BY 1;
-- A mailer that polls with plain SQL does not ask; the tick does.
INSERT INTO orders VALUES (23, 'ivy@example.org', 10, lifecycle.now()), (24, 'joe@example.org', 10, lifecycle.now());
SELECT lifecycle.suppress('ivy@example.org');
SELECT lifecycle.tick();
SELECT * FROM messages WHERE customer_id IN ('ivy@example.org', 'joe@example.org');

-- WELCOME BACK. Who asks for mail again gets some, after a sunset; not after a complaint.
INSERT INTO consents SELECT id, 'revoked', lifecycle.now() FROM people WHERE id IN ('ben', 'dan');
SELECT id FROM suppressed WHERE reason = 'sunset';
SET lifecycle.clock = '2026-03-02 12:01+00';
INSERT INTO consents SELECT id, 'granted', lifecycle.now() FROM people WHERE id IN ('ben', 'dan');
TABLE suppressed;
-- Said again without having been withdrawn, it counts as well.
SELECT lifecycle.suppress('dan@example.org', 'sunset');
INSERT INTO consents VALUES ('dan', 'granted', lifecycle.now());
SELECT id FROM suppressed WHERE reason = 'sunset';

-- SUPERSEDED. No mailer has fetched the first letter by the time the second is due: only that one is sent.
SET lifecycle.clock = '2026-05-10 12:00+00';
UPDATE lifecycle.step SET not_after = NULL WHERE scenario = 'win_back';
INSERT INTO people VALUES ('fay', 'fay@example.org');
INSERT INTO consents VALUES ('fay', 'granted', lifecycle.now());
INSERT INTO orders VALUES (31, 'fay', 10, lifecycle.now());
SET lifecycle.clock = '2026-07-10 12:00+00';
SELECT lifecycle.tick();
SELECT * FROM messages WHERE customer_id = 'fay' AND scenario = 'win_back';
SET lifecycle.clock = '2026-08-10 12:00+00';
SELECT lifecycle.tick();
SELECT * FROM messages WHERE customer_id = 'fay' AND scenario = 'win_back';
SELECT step FROM lifecycle.claim();

-- WHOSE CHOICE it is what happens when a mailer dies.
SELECT DISTINCT scenario, class, delivery, priority FROM lifecycle.outbox ORDER BY 1;
UPDATE lifecycle.scenario SET delivery = 'at_least_once', priority = 7 WHERE name = 'win_back';
INSERT INTO people VALUES ('gil', 'gil@example.org');
INSERT INTO consents VALUES ('gil', 'granted', lifecycle.now());
INSERT INTO orders VALUES (41, 'gil', 10, lifecycle.now());
SET lifecycle.clock = '2026-10-10 12:00+00';
SELECT lifecycle.tick();
SELECT scenario, class, delivery, priority FROM lifecycle.outbox WHERE customer_id = 'gil' AND scenario = 'win_back';

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people, orders, consents;
