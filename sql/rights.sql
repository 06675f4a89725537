-- Rights: one role sends, one reads, one configures, and none can do what it was not given.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'post_purchase';
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
INSERT INTO orders SELECT n, 'c' || n || '@example.org', 10, lifecycle.now() FROM generate_series(1, 6) AS n;
CREATE ROLE regress_mailer;
CREATE ROLE regress_reader;
CREATE ROLE "regress Admin";
CREATE ROLE regress_nobody;
SELECT lifecycle.grant_mailer('regress_mailer'), lifecycle.grant_reader('regress_reader'), lifecycle.grant_admin('"regress Admin"');
\set VERBOSITY terse

-- NOBODY
SET ROLE regress_nobody;
SELECT * FROM lifecycle.outbox;
SELECT lifecycle.now();
RESET ROLE;

-- THE MAILER claims, answers, polls and passes on feedback.
SET ROLE regress_mailer;
SELECT customer_id, lease_token FROM lifecycle.claim(3) ORDER BY 1;
SELECT lifecycle.may_send(1, 1), lifecycle.extend(ARRAY[1, 2, 3], 1), lifecycle.ack(ARRAY[1], 1, ARRAY['p1']), lifecycle.fail(2, 'mailbox full', lease_token => 1),
       lifecycle.release(ARRAY[3], 1), lifecycle.feedback('bounce', 1);
BEGIN;
SELECT o.customer_id, lifecycle.gate(o) FROM lifecycle.outbox AS o WHERE status = 'pending' AND due_at <= lifecycle.now() ORDER BY message_id LIMIT 1 FOR UPDATE SKIP LOCKED;
UPDATE lifecycle.outbox SET status = 'sent', provider_id = 'p2' WHERE message_id = 3;
COMMIT;
SELECT message_id, status, provider_id, sent_at FROM lifecycle.outbox ORDER BY message_id;
-- Nothing else. It cannot undo what was sent,
UPDATE lifecycle.outbox SET status = 'pending' WHERE message_id = 1;
-- redirect a message, postpone it or take it for itself,
UPDATE lifecycle.outbox SET recipient = 'me@example.org' WHERE message_id = 4;
UPDATE lifecycle.outbox SET due_at = due_at + interval '1 year' WHERE message_id = 4;
UPDATE lifecycle.outbox SET lease_token = 1 WHERE message_id = 4;
UPDATE lifecycle.outbox SET part = 1000, status = 'sent' WHERE message_id = 4;
-- write or remove one,
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at) VALUES ('k', 'c', 'email', 's', 'a', 1, 'marketing', 't', now());
DELETE FROM lifecycle.outbox;
TRUNCATE lifecycle.outbox;
SELECT * FROM lifecycle.outbox_0;
UPDATE lifecycle.outbox_0 SET status = 'sent';
-- send again what was given up, or cancel,
SELECT lifecycle.requeue(ARRAY[1]);
SELECT lifecycle.cancel(ARRAY[4]);
SELECT lifecycle.end_messages(ARRAY[4], ARRAY['sent'], NULL);
SELECT * FROM lifecycle.waiting_channels();
-- arm the database, suppress whom it likes or see who is,
SELECT lifecycle.arm();
SELECT lifecycle.suppress('rival@example.org');
SELECT * FROM lifecycle.suppression;
-- look at customers, leases or configuration, let time pass, or give rights away.
SELECT * FROM lifecycle.customer;
SELECT * FROM lifecycle.lease;
SELECT * FROM lifecycle.late_answer;
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
SELECT lifecycle.tick();
SELECT lifecycle.grant_mailer('regress_nobody');
SELECT nextval('lifecycle.lease_token');
RESET ROLE;

-- THE READER sees everything,
SET ROLE regress_reader;
SELECT count(*) FROM lifecycle.customer;
SELECT count(*) FROM lifecycle.outbox;
SELECT armed FROM lifecycle.status;
SELECT topic, name FROM lifecycle.explain('c1@example.org') WHERE topic = 'message';
SELECT reason FROM lifecycle.suppression;
RESET ROLE;
BEGIN;
ALTER TABLE orders RENAME COLUMN total TO sum;
SET LOCAL ROLE regress_reader;
SELECT * FROM lifecycle.check_sources();
ROLLBACK;
SET ROLE regress_reader;
-- and that is all.
SELECT count(*) FROM lifecycle.claim();
UPDATE lifecycle.outbox SET status = 'sent';
SELECT lifecycle.ack(ARRAY[4]);
SELECT lifecycle.suppress('rival@example.org');
SELECT lifecycle.feedback('bounce', 2);
DELETE FROM lifecycle.suppression;
INSERT INTO lifecycle.channel (name) VALUES ('fax');
SELECT lifecycle.tick();
SELECT lifecycle.rebuild();
SELECT lifecycle.arm();
SELECT setval('lifecycle.message_id', 1);
RESET ROLE;

-- THE ADMIN configures and calls everything,
SET ROLE "regress Admin";
INSERT INTO lifecycle.channel (name, consent) VALUES ('letter', 'sms');
INSERT INTO lifecycle.segment (name, predicate) VALUES ('big', 'revenue > 5');
UPDATE lifecycle.scenario SET status = 'active', priority = 3 WHERE name = 'win_back';
UPDATE lifecycle.tier SET min_spend = 60 WHERE name = 'bronze';
INSERT INTO lifecycle.outbox_policy (keep) VALUES ('1 year');
SELECT lifecycle.suppress('rival@example.org');
DELETE FROM lifecycle.suppression WHERE address_hash = lifecycle.address_hash('rival@example.org');
SELECT count(*) FROM lifecycle.segment_member WHERE segment = 'big';
SELECT lifecycle.cancel(ARRAY[4], 'manual'), lifecycle.tick(), lifecycle.arm();
SELECT count(*) FROM lifecycle.claim();
-- and does not become more than it is: nothing of its own runs as the owner.
CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER mine AFTER INSERT ON lifecycle.outbox FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.mine();
CREATE POLICY mine ON lifecycle.outbox USING (true);
ALTER TABLE lifecycle.outbox DISABLE TRIGGER ALL;
DROP TABLE lifecycle.customer;
CREATE TABLE lifecycle.mine ();
TRUNCATE lifecycle.outbox;
SELECT key FROM lifecycle.secret;
DELETE FROM lifecycle.secret;
SELECT lifecycle.grant_admin('regress_nobody');
RESET ROLE;

DROP OWNED BY regress_mailer, regress_reader, "regress Admin", regress_nobody;
DROP ROLE regress_mailer, regress_reader, "regress Admin", regress_nobody;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders;
