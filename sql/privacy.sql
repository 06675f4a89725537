-- Privacy: consent that is asked for and confirmed, the link at the foot of every mail, and the right to be forgotten.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'post_purchase');
CREATE TABLE people (id text PRIMARY KEY, mail text, phone text, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
CREATE TABLE lines (order_id int, line int, product text);
CREATE TABLE visits (customer_id text, at timestamptz);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "mail", "phone": "phone", "first_name": "name"}', name => 'people');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT lifecycle.attach('lines', 'order_item', '{"order": "order_id", "line": "line", "product": "product"}', name => 'lines');
SELECT lifecycle.attach('visits', 'engagement', '{"customer": "customer_id", "type": "''visit''", "occurred_at": "at"}', name => 'visits', mode => 'async');
CREATE VIEW consents AS SELECT channel, status, changed_at, evidence FROM lifecycle.consent_log ORDER BY changed_at, channel;
INSERT INTO people VALUES ('7', 'Ann@Example.org', '+49 30 1234', 'Ann'), ('8', 'bob@example.org', NULL, 'Bob');

-- DOUBLE OPT-IN. Ann enters her address in a form; nothing is granted before she has followed the link.
SELECT lifecycle.request_consent('7', 'email', 'form on /newsletter, wording 3') AS token \gset
SELECT length(:'token') >= 60 AS long, strpos(r::text, :'token') AS kept_in_the_clear, r.channel, r.requested_at, r.expires_at, r.confirmed_at FROM lifecycle.consent_request AS r;
SELECT email_consent FROM lifecycle.customer WHERE customer_id = '7';
-- Impatient people, and robots, get no second mail at once, and not too many in a week.
SET lifecycle.clock = '2026-01-01 12:14:59+00';
SELECT lifecycle.request_consent('7', 'email');
SET lifecycle.clock = '2026-01-01 12:15+00';
SELECT lifecycle.request_consent('7', 'email') <> :'token' AS another;
INSERT INTO lifecycle.consent_policy (at_most) VALUES (2);
SET lifecycle.clock = '2026-01-02 12:00+00';
SELECT lifecycle.request_consent('7', 'email');
SELECT lifecycle.request_consent('7', 'sms', 'form') <> '' AS on_another_channel;
SELECT lifecycle.request_consent('7', 'fax');
-- Either link will do, once.
SELECT * FROM lifecycle.confirm_consent(:'token', 'from 192.0.2.1');
SELECT email_consent, sms_consent FROM lifecycle.customer WHERE customer_id = '7';
TABLE consents;
SELECT lifecycle.confirm_consent(:'token');
SELECT lifecycle.confirm_consent('guess');
SELECT lifecycle.confirm_consent(NULL);
SELECT lifecycle.request_consent('7', 'email') IS NULL AS nothing_to_confirm;
-- Too late is too late: the end belongs to it.
SELECT lifecycle.request_consent('8', 'email') AS bobs \gset
SET lifecycle.clock = '2026-01-09 12:00+00';
SELECT lifecycle.confirm_consent(:'bobs');
SELECT lifecycle.request_consent('8', 'email') AS bobs \gset
SET lifecycle.clock = '2026-01-16 11:59:59+00';
SELECT * FROM lifecycle.confirm_consent(:'bobs');
-- Who is new becomes known by asking.
SELECT lifecycle.request_consent('new@example.org', 'email') IS NOT NULL AS asked;
SELECT customer_id, email_consent FROM lifecycle.customer ORDER BY 1;

-- ONE CLICK. The link says who and what, and cannot be made by anybody else.
SELECT lifecycle.unsubscribe_token('7', 'email') AS link \gset
SELECT lifecycle.unsubscribe_token('7', 'email') = :'link' AS always_the_same, :'link' ~ '^[A-Za-z0-9_.-]+$' AS fits_into_a_url, lifecycle.unsubscribe_token('7', 'sms') <> :'link' AS by_channel,
       lifecycle.unsubscribe_token(NULL, 'email') IS NULL AS nobody;
-- The signature is HMAC-SHA-256 (RFC 4231, cases 1, 2 and 6).
SELECT encode(lifecycle.hmac(decode(repeat('0b', 20), 'hex'), 'Hi There'), 'hex') = 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7' AS case_1,
       encode(lifecycle.hmac('Jefe', 'what do ya want for nothing?'), 'hex') = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843' AS case_2,
       encode(lifecycle.hmac(decode(repeat('aa', 131), 'hex'), 'Test Using Larger Than Block-Size Key - Hash Key First'), 'hex') = '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54' AS case_6;
SELECT count(*) AS forged FROM (SELECT lifecycle.as_token(convert_to(said, 'UTF8')) || substr(:'link', strpos(:'link', '.')) AS token FROM unnest('{email:8,sms:7,email:77}'::text[]) AS said) AS t
 WHERE token = :'link';
SELECT lifecycle.unsubscribe(lifecycle.as_token('email:8') || substr(:'link', strpos(:'link', '.')));
SELECT lifecycle.unsubscribe(left(:'link', -1));
SELECT lifecycle.unsubscribe('?');
SELECT lifecycle.unsubscribe(NULL);
-- Ann has not bought for two months; a mail waits, and one is on its way.
INSERT INTO orders VALUES (1, '7', 60, '2026-01-16 12:00+00'), (2, '8', 60, '2026-01-16 12:00+00');
INSERT INTO lines VALUES (1, 1, 'teapot'), (2, 1, 'kettle');
SET lifecycle.clock = '2026-01-16 12:00+00';
SELECT lifecycle.tick();
SET lifecycle.clock = '2026-03-17 12:00+00';
SELECT lifecycle.tick();
SELECT customer_id, lease_token IS NOT NULL AS leased FROM lifecycle.claim(customer_id => '8');
SELECT customer_id, scenario, class, status FROM lifecycle.outbox ORDER BY 1, 2;
SELECT * FROM lifecycle.unsubscribe(:'link');
SELECT * FROM lifecycle.unsubscribe(lifecycle.unsubscribe_token('8', 'email'));
SELECT o.customer_id, o.scenario, o.class, o.status, o.error, lifecycle.may_send(o.message_id) FROM lifecycle.outbox AS o ORDER BY 1, 2;
SET lifecycle.clock = '2026-03-18 12:01+00';
SELECT * FROM lifecycle.unsubscribe(:'link');
SELECT * FROM consents WHERE status = 'revoked';
-- A link to confirm that was asked for before that is void; a new one is not.
SELECT lifecycle.unsubscribe(lifecycle.unsubscribe_token('new@example.org', 'email'));
SELECT email_consent FROM lifecycle.customer WHERE customer_id = 'new@example.org';
SELECT lifecycle.request_consent('new@example.org', 'email') AS again \gset
SET lifecycle.clock = '2026-03-18 12:02+00';
SELECT lifecycle.unsubscribe(lifecycle.unsubscribe_token('new@example.org', 'email'));
SELECT lifecycle.confirm_consent(:'again');
-- Who was merged meanwhile is meant all the same.
SELECT lifecycle.request_consent('guest-0815', 'push') AS guests \gset
SELECT lifecycle.merge('guest-0815', '7');
SET lifecycle.clock = '2026-03-18 12:03+00';
SELECT * FROM lifecycle.confirm_consent(:'guests');
SELECT * FROM lifecycle.unsubscribe(lifecycle.unsubscribe_token('guest-0815', 'push'));
SELECT email_consent, push_consent FROM lifecycle.customer WHERE customer_id = '7';

-- WHAT IS KEPT OF ANN: rows of her own, what others say of her, what could not be read, what has not been read yet.
SELECT lifecycle.track('7', 'cart', '{"cart": "c1", "value": 30}'), lifecycle.track('7', 'event', '{"event": "quiz", "answer": "green"}');
SELECT lifecycle.track('8', 'referral', '{"referral": "r1", "referred": "7"}');
SELECT lifecycle.suppress('+49 30 1234', 'complaint');
INSERT INTO orders VALUES (3, '7', 'NaN', lifecycle.now()), (4, '8', 'NaN', lifecycle.now()), (7, '8', 7, lifecycle.now());
INSERT INTO visits VALUES ('7', lifecycle.now()), ('8', lifecycle.now());
-- A table that comes with a later version is no different.
CREATE TABLE lifecycle.horoscope (customer_id text COLLATE "C", sign text);
INSERT INTO lifecycle.horoscope VALUES ('7', 'aries'), ('8', 'leo');
SELECT key, CASE jsonb_typeof(value) WHEN 'array' THEN jsonb_array_length(value)::text ELSE value #>> '{}' END AS held FROM jsonb_each(lifecycle.export('7')) ORDER BY 1;
SELECT lifecycle.export('guest-0815') = lifecycle.export('7') AS the_same_person, lifecycle.export('7') -> 'customer' -> 0 ->> 'email' AS email,
       lifecycle.export('7') -> 'event' -> 0 -> 'properties' AS answer, lifecycle.export('7')::text ~ '(?i)bob|kettle' AS of_others;
-- In words and numbers, wherever it is kept: orders that are packed with the customer, or in the ledger.
SELECT p ->> 'id' AS "order", p ->> 'amount' AS amount, p ->> 'at' AS at FROM jsonb_array_elements(lifecycle.export('7') -> 'purchase') AS p ORDER BY 1;
SELECT (SELECT count(*) FROM lifecycle.purchase_ledger AS l WHERE l.customer_id IN ('7', '8')) > 0 AS ledger, (SELECT count(*) FROM lifecycle.customer AS c WHERE c.recent_orders IS NOT NULL) > 0 AS rows;
SELECT e.id, count(DISTINCT o.id) AS orders, jsonb_array_length(lifecycle.export(e.id) -> 'purchase') AS exported, lifecycle.export(e.id)::text ~ '\\\\x' AS bytes
  FROM unnest(ARRAY['7', '8']) AS e (id) LEFT JOIN lifecycle.purchase AS o ON o.customer_id = e.id GROUP BY 1 ORDER BY 1;
SELECT lifecycle.export('nobody');
SELECT place, count(*) FROM lifecycle.forget_check('7') GROUP BY 1 ORDER BY 1;
CREATE TEMP TABLE others AS SELECT lifecycle.export('8') AS document;

-- FORGOTTEN. Nothing is left: not by her ids, not by her addresses.
SELECT * FROM lifecycle.forget('7') ORDER BY 1;
SELECT * FROM lifecycle.forget_check('7', '{Ann@Example.org,+49 30 1234}');
SELECT * FROM lifecycle.forget_check('guest-0815');
SELECT count(*) FROM lifecycle.forget_check('8');
-- To check without the function: her names in the text of every row of every table.
CREATE FUNCTION pg_temp.left_of(pattern text) RETURNS TABLE (place text, said text) LANGUAGE plpgsql AS $$
DECLARE relation regclass;
BEGIN
    FOR relation IN SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'lifecycle'::regnamespace AND c.relkind IN ('r', 'p') LOOP
        RETURN QUERY EXECUTE format('SELECT %L, t::text FROM %s AS t WHERE t::text ~* $1', relation, relation) USING pattern;
    END LOOP;
END $$;
SELECT * FROM pg_temp.left_of('\mann\M|30 1234|guest-0815|\mgreen\M|aries');
SELECT lifecycle.is_erased('7'), lifecycle.is_erased('guest-0815'), lifecycle.is_erased('8');
-- Bob's are as they were, but for whom he has brought.
SELECT key FROM others, jsonb_each(others.document) WHERE value IS DISTINCT FROM lifecycle.export('8') -> key ORDER BY 1;
SELECT referral, referred FROM lifecycle.referral;
SELECT source, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.segment_size EXCEPT SELECT m.segment, count(*) FROM lifecycle.segment_member AS m GROUP BY 1;
-- Once more finds nothing to do.
SELECT * FROM lifecycle.forget('7');

-- SHE STAYS FORGOTTEN, whatever the shop's tables go on saying; others in the same statement are not affected.
SELECT lifecycle.tick() >= 0 AS inbox_read;
INSERT INTO orders VALUES (11, '7', 5, lifecycle.now()), (12, '8', 5, lifecycle.now()), (13, 'guest-0815', 5, lifecycle.now()), (14, 'carl', 5, lifecycle.now());
INSERT INTO orders VALUES (15, '7', 5, lifecycle.now());
UPDATE orders SET total = total + 1 WHERE id IN (1, 2);
UPDATE people SET name = 'Anna' WHERE id = '7';
INSERT INTO lines VALUES (11, 1, 'teapot'), (15, 1, 'cup');
BEGIN;
SET LOCAL lifecycle.settle = 'commit';
INSERT INTO orders VALUES (16, '7', 5, lifecycle.now());
INSERT INTO orders VALUES (17, 'dora', 5, lifecycle.now());
COMMIT;
DELETE FROM orders WHERE id = 11;
SELECT lifecycle.track('7', 'event', '{"event": "called"}');
-- Attached anew, the table says it all again; what cannot be read of her is erased by erasing again.
SELECT lifecycle.detach('orders');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
SELECT customer_id, order_count FROM lifecycle.customer ORDER BY 1;
SELECT place, content -> 'data' AS data FROM lifecycle.forget_check('7', '{Ann@Example.org,+49 30 1234}');
SELECT * FROM lifecycle.forget('7');
SELECT * FROM lifecycle.forget_check('7', '{Ann@Example.org,+49 30 1234}');
SELECT * FROM lifecycle.verify();
-- Nor by a link that she still has, a merge, or a form.
SELECT * FROM lifecycle.unsubscribe(:'link');
SELECT lifecycle.merge('7', '8');
SELECT lifecycle.request_consent('7', 'email');
SELECT count(*) FROM lifecycle.customer WHERE customer_id = '7';
-- Imported again under another id, her address gets no marketing. What she complained of stays a complaint.
SELECT s.reason, s.note, s.address_hash = lifecycle.address_hash('ann@example.org') AS the_mail FROM lifecycle.suppression AS s ORDER BY 1, 2;
-- COME BACK: what is said from now on counts, and nothing of what was.
SELECT lifecycle.readmit('7'), lifecycle.readmit('7');
INSERT INTO orders VALUES (21, '7', 9, lifecycle.now());
SELECT order_count, revenue, email FROM lifecycle.customer WHERE customer_id = '7';
SELECT lifecycle.forget(NULL);

-- WHO MAY WHAT.
CREATE ROLE regress_web;
CREATE ROLE regress_reader;
CREATE ROLE regress_admin;
SELECT lifecycle.grant_web('regress_web'), lifecycle.grant_reader('regress_reader'), lifecycle.grant_admin('regress_admin');
\set VERBOSITY terse
SET ROLE regress_web;
SELECT lifecycle.request_consent('9', 'email') AS nines \gset
SET lifecycle.clock = '2026-03-18 12:10+00';
RESET ROLE;
SET lifecycle.clock = '2026-03-18 12:10+00';
SET ROLE regress_web;
SELECT * FROM lifecycle.confirm_consent(:'nines');
SELECT customer_id FROM lifecycle.unsubscribe(:'link');
-- It cannot make a link for somebody else, look at anything, or erase.
SELECT lifecycle.unsubscribe_token('8', 'email');
SELECT * FROM lifecycle.consent_request;
SELECT * FROM lifecycle.secret;
SELECT lifecycle.export('8');
SELECT lifecycle.forget('8');
SELECT lifecycle.is_erased('8');
RESET ROLE;
SET ROLE regress_reader;
SELECT lifecycle.export('8') ->> 'customer_id' AS read, (SELECT count(*) > 0 FROM lifecycle.forget_check('8')) AS checked;
SELECT * FROM lifecycle.secret;
SELECT lifecycle.customer_of_row('orders', '{}');
SELECT lifecycle.forget('8');
SELECT lifecycle.readmit('8');
RESET ROLE;
SET ROLE regress_admin;
SELECT * FROM lifecycle.secret;
INSERT INTO lifecycle.secret (purpose) VALUES ('erasure');
SELECT count(*) > 0 AS erased FROM lifecycle.forget('8');
SELECT count(*) FROM lifecycle.forget_check('8', '{bob@example.org}');
RESET ROLE;
DROP OWNED BY regress_web, regress_reader, regress_admin;
DROP ROLE regress_web, regress_reader, regress_admin;
DROP TABLE lifecycle.horoscope;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE people, orders, lines, visits;
