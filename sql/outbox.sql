-- The outbox: how a mailer gets its messages, and what happens to them when it fails.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'post_purchase';
INSERT INTO lifecycle.channel (name) VALUES ('print');
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}');
CREATE VIEW messages AS
    SELECT anchor AS "order", class, status, attempts AS tries, leased_by, leased_until, sent_at, error
      FROM lifecycle.outbox ORDER BY anchor;
-- The number of an order's message.
CREATE FUNCTION message(for_order int) RETURNS bigint LANGUAGE sql STABLE AS
    'SELECT message_id FROM lifecycle.outbox WHERE anchor = for_order::text';

-- PLAIN SQL. A mailer needs nothing but SELECT and UPDATE; here lifecycle.now() stands for now(), because the clock is frozen.
INSERT INTO orders SELECT n, 'c' || n || '@example.org', 10, timestamptz '2026-03-01 12:00+00' - n * interval '1 minute'
                     FROM generate_series(1, 3) AS n;
BEGIN;
SELECT anchor, recipient, template, due_at FROM lifecycle.outbox
 WHERE status = 'pending' AND due_at <= lifecycle.now() AND lifecycle.now() < expires_at
 ORDER BY due_at LIMIT 2 FOR UPDATE SKIP LOCKED;
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id IN (message(3), message(2));
COMMIT;
TABLE messages;
-- It crashes before COMMIT: the message is still there.
BEGIN;
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = message(1);
ROLLBACK;
SELECT * FROM messages WHERE "order" = '1';

-- What has ended stays ended.
UPDATE lifecycle.outbox SET status = 'pending' WHERE message_id = message(2);
UPDATE lifecycle.outbox SET status = 'cancelled' WHERE message_id = message(2);
\set VERBOSITY terse
UPDATE lifecycle.outbox SET status = 'lost' WHERE message_id = message(1);
\set VERBOSITY default

-- CLAIM AND ACK. Two mailers never get the same message.
INSERT INTO orders SELECT n, 'c' || n || '@example.org', 10, timestamptz '2026-03-01 12:00+00' - n * interval '1 second'
                     FROM generate_series(11, 14) AS n;
SELECT anchor, status, attempts, leased_by, leased_until FROM lifecycle.claim(2, consumer => 'mailer-1') ORDER BY due_at;
SELECT anchor, status, attempts, leased_by, leased_until FROM lifecycle.claim(2, consumer => 'mailer-2', lease => '1 hour') ORDER BY due_at;
SELECT anchor FROM lifecycle.claim(10, channel => 'print');
SELECT anchor FROM lifecycle.claim(0);
SELECT anchor FROM lifecycle.claim(10, consumer => 'mailer-3', lease => '1 minute');
SELECT anchor FROM lifecycle.claim();
SELECT count(DISTINCT lease_token) AS tokens FROM lifecycle.outbox;
-- The mailer asks just before it hands a message to the provider, and tells how it went.
SELECT lifecycle.may_send(message(1)), lifecycle.may_send(message(14)), lifecycle.may_send(message(2)), lifecycle.may_send(-1);
SELECT lifecycle.ack(ARRAY[message(1), message(14)]);
SELECT lifecycle.ack(ARRAY[message(1), message(14)]);
SELECT lifecycle.fail(message(13), 'mailbox full', retry_after => '10 minutes');
SELECT lifecycle.fail(message(12), 'no such address', permanent => true);
SELECT lifecycle.fail(message(12), 'no such address', permanent => true);
TABLE messages;
SELECT anchor, due_at FROM lifecycle.outbox WHERE status = 'pending' ORDER BY anchor;
SELECT anchor FROM lifecycle.claim();
-- A failed message may be tried again by hand.
UPDATE lifecycle.outbox SET status = 'pending' WHERE message_id = message(12);
SET lifecycle.clock = '2026-03-01 12:10+00';
SELECT anchor, attempts, error FROM lifecycle.claim(lease => '5 minutes') ORDER BY anchor;

-- Nonsense is refused.
SELECT * FROM lifecycle.claim(-1);
SELECT * FROM lifecycle.claim(NULL);
SELECT * FROM lifecycle.claim(1, lease => '0');
INSERT INTO orders VALUES (15, 'c15@example.org', 10, '2026-03-01 12:10+00');
\set VERBOSITY terse
SELECT anchor, leased_until FROM lifecycle.claim(1, lease => NULL);
\set VERBOSITY default
SELECT * FROM messages WHERE "order" = '15';
SELECT lifecycle.ack(NULL), lifecycle.ack('{}'), lifecycle.ack(ARRAY[-1]);
SELECT lifecycle.fail(-1, 'no such message');

-- LAPSED LEASE. The mailer died with two messages in its hands. The order confirmation goes out again, by another mailer; the
-- newsletter might have gone out already, and nobody gets it twice.
SELECT lifecycle.ack(ARRAY[message(12), message(13), message(11)]);
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = message(15);
INSERT INTO orders VALUES (21, 'c21@example.org', 10, '2026-03-01 12:10+00'), (22, 'c22@example.org', 10, '2026-03-01 12:10+00');
UPDATE lifecycle.outbox SET class = 'marketing', channel = 'print', delivery = 'at_most_once' WHERE message_id = message(22);
SELECT anchor FROM lifecycle.claim(consumer => 'mailer-1', lease => '5 minutes') ORDER BY anchor;
SELECT lease_token AS token_1 FROM lifecycle.outbox WHERE anchor = '21' \gset
SET lifecycle.clock = '2026-03-01 12:14:59.999999+00';
SELECT lifecycle.may_send(message(21), :token_1), lifecycle.may_send(message(21), :token_1 + 1);
SET lifecycle.clock = '2026-03-01 12:15+00';
SELECT lifecycle.may_send(message(21), :token_1), lifecycle.ack(ARRAY[message(21)]);
SELECT anchor, attempts FROM lifecycle.claim(consumer => 'mailer-2', lease => '5 minutes');
SELECT * FROM messages WHERE "order" IN ('21', '22');
SELECT anchor, count(DISTINCT idempotency_key) AS keys FROM lifecycle.outbox WHERE anchor = '21' GROUP BY anchor;
-- The first mailer was only slow. Its token is worth nothing any more, neither for success nor for failure.
SELECT lifecycle.ack(ARRAY[message(21)], :token_1), lifecycle.fail(message(21), 'late', lease_token => :token_1);
SELECT lease_token AS token_2 FROM lifecycle.outbox WHERE anchor = '21' \gset
SELECT lifecycle.ack(ARRAY[message(21)], :token_2);
SELECT * FROM messages WHERE "order" = '21';
-- The provider's records tell what became of the newsletter.
UPDATE lifecycle.outbox SET status = 'pending' WHERE message_id = message(22);
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = message(22);
SELECT * FROM messages WHERE "order" = '22';
-- Slow, but nobody else has taken the message over meanwhile: the token still counts.
INSERT INTO orders VALUES (23, 'c23@example.org', 10, '2026-03-01 12:15+00');
SELECT anchor FROM lifecycle.claim(lease => '1 minute');
SELECT lease_token AS token_3 FROM lifecycle.outbox WHERE anchor = '23' \gset
SET lifecycle.clock = '2026-03-01 12:20+00';
SELECT lifecycle.ack(ARRAY[message(23)]), lifecycle.ack(ARRAY[message(23)], :token_3);

-- THE REASON GOES while a mailer holds the message: may_send() says no. If it comes back it is cancelled, not tried again.
INSERT INTO orders VALUES (31, 'c31@example.org', 10, '2026-03-01 12:20+00'), (32, 'c32@example.org', 10, '2026-03-01 12:20+00');
SELECT anchor FROM lifecycle.claim(1, lease => '5 minutes');
DELETE FROM orders WHERE id IN (31, 32);
SELECT anchor, status, cancel_requested, error FROM lifecycle.outbox WHERE anchor IN ('31', '32') ORDER BY status;
SELECT bool_or(lifecycle.may_send(message_id)) FROM lifecycle.outbox WHERE anchor IN ('31', '32');
SELECT lifecycle.fail(message_id, 'not sent', retry_after => '1 minute') FROM lifecycle.outbox WHERE anchor IN ('31', '32') AND status = 'leased';
SELECT * FROM messages WHERE "order" IN ('31', '32');

-- TOO LATE. Nobody fetched the message within its three days.
INSERT INTO orders VALUES (41, 'c41@example.org', 10, '2026-03-01 12:20+00');
SET lifecycle.clock = '2026-03-04 12:19:59.999999+00';
SELECT anchor, expires_at FROM lifecycle.outbox WHERE anchor = '41' AND status = 'pending' AND lifecycle.now() < expires_at;
SET lifecycle.clock = '2026-03-04 12:20+00';
SELECT anchor FROM lifecycle.claim();
SELECT * FROM messages WHERE "order" = '41';
UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = message(41);

-- MORE TIME for a slow mailer; what it will not manage it hands back, and that was no attempt.
INSERT INTO orders VALUES (51, 'c51@example.org', 10, '2026-03-04 12:20+00'), (52, 'c52@example.org', 10, '2026-03-04 12:19+00');
SELECT anchor, leased_until FROM lifecycle.claim(lease => '1 minute') ORDER BY anchor;
SELECT lease_token AS token_4 FROM lifecycle.outbox WHERE anchor = '51' \gset
SELECT lifecycle.extend(ARRAY[message(51), message(52)], :token_4, '10 minutes'), lifecycle.extend(ARRAY[message(51)], :token_4 - 1);
SET lifecycle.clock = '2026-03-04 12:29+00';
SELECT lifecycle.tick();
SELECT lifecycle.may_send(message(51), :token_4), lifecycle.release(ARRAY[message(52)], :token_4), lifecycle.release(ARRAY[message(52)], :token_4);
SELECT * FROM messages WHERE "order" IN ('51', '52');
SELECT lifecycle.extend(ARRAY[message(51)], :token_4, '0');
SELECT lifecycle.ack(ARRAY[message(51)], :token_4, ARRAY['<a1@provider>']);
SELECT status, provider_id FROM lifecycle.outbox WHERE anchor = '51';

-- FAILURE UPON FAILURE. Each wait is twice as long as the one before, up to a limit; then the message is given up.
INSERT INTO lifecycle.outbox_policy (max_attempts, retry_after, retry_at_most) VALUES (4, '1 minute', '3 minutes');
DO $$
DECLARE
    m record;
BEGIN
    LOOP
        SELECT c.* INTO m FROM lifecycle.claim() AS c;
        EXIT WHEN NOT FOUND;
        PERFORM lifecycle.fail(m.message_id, 'mailbox full', lease_token => m.lease_token);
        SELECT o.* INTO m FROM lifecycle.outbox AS o WHERE o.message_id = m.message_id;
        RAISE WARNING 'attempt %: % until %', m.attempts, m.status, m.due_at AT TIME ZONE 'UTC';
        PERFORM set_config('lifecycle.clock', m.due_at::text, false);
    END LOOP;
END
$$;
SELECT recipient, status, attempts, error FROM lifecycle.dead_letter;
-- Somebody mends what was wrong.
SELECT lifecycle.requeue(ARRAY[message(52), message(51)]);
SELECT anchor, attempts FROM lifecycle.claim();
-- A message that kills every mailer is not tried for ever either.
SET lifecycle.clock = '2026-03-04 13:00+00';
SELECT lifecycle.tick();
SELECT * FROM messages WHERE "order" = '52';
DO $$
BEGIN
    FOR n IN 1 .. 5 LOOP
        PERFORM lifecycle.claim(lease => '1 minute');
        PERFORM set_config('lifecycle.clock', (lifecycle.now() + interval '1 minute')::text, false);
    END LOOP;
END
$$;
SELECT * FROM messages WHERE "order" = '52';
DELETE FROM lifecycle.outbox_policy;

-- FIRST THINGS FIRST. Order confirmations overtake a campaign; on the site a customer gets the customer's own.
SET lifecycle.clock = '2026-03-05 12:00+00';
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at, priority)
    SELECT concat_ws(':', 'campaign', 1, n, 'k' || n), 'k' || n, CASE WHEN n > 3 THEN 'onsite' ELSE 'email' END, 'campaign', n, 1, 'transactional', 'spring',
           lifecycle.now() - n * interval '1 hour', CASE n WHEN 1 THEN 5 ELSE 0 END
      FROM generate_series(1, 5) AS n;
INSERT INTO orders VALUES (61, 'c61@example.org', 10, '2026-03-05 12:00+00');
SELECT scenario, anchor, priority FROM lifecycle.claim(2) ORDER BY priority DESC, due_at;
SELECT scenario, anchor, priority FROM lifecycle.claim() ORDER BY priority DESC, due_at DESC;
SELECT scenario, anchor, channel FROM lifecycle.claim(channel => 'onsite', customer_id => 'k5');
SELECT scenario, anchor, channel FROM lifecycle.claim(customer_id => 'k5');
SELECT scenario, anchor, channel FROM lifecycle.claim(channel => 'email', customer_id => 'k4');

-- A LATE WORD of a mailer that had lost the message is refused and kept.
SET lifecycle.clock = '2026-03-05 13:00+00';
SELECT anchor FROM lifecycle.claim(1, lease => '1 hour', consumer => 'quick');
SELECT lifecycle.ack(ARRAY[message(61)], 1), lifecycle.ack(ARRAY[message(61)]);
SELECT o.anchor, l.answer, l.status, l.held_by <> l.lease_token AS somebody_else, l.detail
  FROM lifecycle.late_answer AS l JOIN lifecycle.outbox AS o USING (message_id) ORDER BY l.answered_at, o.anchor, l.answer;
-- One that was given up as unknown belongs to nobody: the mailer that had it may still say what became of it.
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, delivery, template, due_at)
    SELECT concat_ws(':', 'letter', 1, n, 'k' || n), 'k' || n, 'print', 'letter', n, 1, 'marketing', 'at_most_once', 'letter', lifecycle.now()
      FROM generate_series(71, 73) AS n;
SELECT count(*) FROM lifecycle.claim(channel => 'print', lease => '1 minute');
SELECT lease_token AS token_5 FROM lifecycle.outbox WHERE anchor = '71' \gset
SET lifecycle.clock = '2026-03-05 14:00+00';
SELECT lifecycle.tick();
SELECT anchor, status, error FROM lifecycle.dead_letter JOIN lifecycle.outbox USING (message_id, status, error) WHERE status = 'unknown' ORDER BY 1;
SELECT lifecycle.ack(ARRAY[message(71)], :token_5), lifecycle.fail(message(72), 'out of paper', lease_token => :token_5),
       lifecycle.ack(ARRAY[message(73)], :token_5 + 1), lifecycle.requeue(ARRAY[message(73)]);
SELECT * FROM messages WHERE "order" IN ('71', '72', '73');

-- TAKEN BACK by hand.
INSERT INTO orders VALUES (81, 'c81@example.org', 10, '2026-03-05 14:00+00'), (82, 'c82@example.org', 10, '2026-03-05 14:00+00');
SELECT anchor FROM lifecycle.claim(1, channel => 'email', customer_id => 'c81@example.org');
SELECT lifecycle.cancel(ARRAY[message(81), message(82), message(51)], 'manual');
SELECT lifecycle.may_send(message(81));
SELECT anchor, status, cancel_requested, error FROM lifecycle.outbox WHERE anchor IN ('81', '82', '51') ORDER BY anchor;

-- A COPY of the database, made from a backup, mails nobody until somebody says that it may.
INSERT INTO orders VALUES (91, 'c91@example.org', 10, '2026-03-05 14:00+00');
CREATE ROLE regress_mailer;
SELECT lifecycle.grant_mailer('regress_mailer');
SELECT lifecycle.is_armed();
UPDATE lifecycle.armed_for SET system_identifier = 1;
SELECT lifecycle.is_armed();
SELECT anchor FROM lifecycle.claim(channel => 'email');
SELECT armed FROM lifecycle.status;
SET ROLE regress_mailer;
SELECT count(*) FROM lifecycle.outbox WHERE anchor = '91';
SELECT anchor FROM lifecycle.outbox WHERE anchor = '91' FOR UPDATE SKIP LOCKED;
UPDATE lifecycle.outbox SET status = 'sent' WHERE anchor = '91';
RESET ROLE;
SELECT lifecycle.arm();
SET ROLE regress_mailer;
SELECT anchor FROM lifecycle.outbox WHERE anchor = '91' FOR UPDATE SKIP LOCKED;
RESET ROLE;
DROP OWNED BY regress_mailer;
DROP ROLE regress_mailer;

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION message;
DROP TABLE orders;
