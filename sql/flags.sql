-- Consents that are flags of the customer's row, whose only time is that of the row's last change. An edit for another reason is nobody's word.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'welcome';
CREATE TABLE customers (id text PRIMARY KEY, email text, name text, newsletter boolean, sms boolean, updated_at timestamptz);
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "email": "email", "first_name": "name"}', name => 'customers');
SELECT lifecycle.attach('customers', 'consent', $$ {"customer": "id", "channel": "'email'", "changed_at": "updated_at",
    "status": "CASE WHEN newsletter THEN 'granted' ELSE 'revoked' END"} $$, name => 'newsletter', filter => 'newsletter IS NOT NULL');
SELECT lifecycle.attach('customers', 'consent', $$ {"customer": "id", "channel": "'sms'", "changed_at": "updated_at",
    "status": "CASE WHEN sms THEN 'granted' ELSE 'revoked' END"} $$, name => 'sms', filter => 'sms IS NOT NULL');
CREATE VIEW consents AS SELECT customer_id, email_consent, sms_consent FROM lifecycle.customer ORDER BY 1;
CREATE VIEW log AS SELECT customer_id, channel, status, changed_at, since FROM lifecycle.consent_log ORDER BY 1, 2, coalesce(since, changed_at), 3;

INSERT INTO customers VALUES ('ann', 'ann@example.org', 'Ann', true, true, '2026-01-01 12:00+00'), ('ben', 'ben@example.org', 'Ben', false, NULL, '2026-01-01 12:00+00');
-- Ann follows the link in a mail, Ben subscribes at the checkout. Then both move house, twice.
SET lifecycle.clock = '2026-01-02 12:00+00';
SELECT lifecycle.track('ann', 'consent', '{"channel": "email", "status": "revoked"}'), lifecycle.track('ben', 'consent', '{"channel": "email", "status": "granted"}');
SELECT lifecycle.suppress('ann@example.org', 'sunset');
SET lifecycle.clock = '2026-01-03 12:00+00';
UPDATE customers SET name = name || ' Miller', updated_at = '2026-01-03 12:00+00';
UPDATE customers SET name = upper(name), updated_at = '2026-01-03 12:30+00';
SELECT * FROM consents;
SELECT * FROM log;
SELECT reason FROM lifecycle.suppression;
SELECT customer_id, scenario, anchor_at, status FROM lifecycle.enrolment ORDER BY 1, 3;

-- A flag that is set is the customer's word, from when it was set.
SET lifecycle.clock = '2026-01-04 12:00+00';
UPDATE customers SET newsletter = NOT newsletter, updated_at = '2026-01-04 12:00+00';
SELECT * FROM consents;
SET lifecycle.clock = '2026-01-05 12:00+00';
UPDATE customers SET newsletter = NOT newsletter, updated_at = '2026-01-05 12:00+00';
SELECT * FROM consents;
SELECT reason FROM lifecycle.suppression;

-- What is said twice in a table of consents with a row for each is told apart by its time.
CREATE TABLE words (id int PRIMARY KEY, customer text, status text, said_at timestamptz, wording text);
SELECT lifecycle.attach('words', 'consent', $$ {"customer": "customer", "channel": "'push'", "status": "status", "changed_at": "said_at", "evidence": "wording"} $$, name => 'words');
INSERT INTO words VALUES (1, 'cay', 'granted', '2026-01-01 09:00+00'), (2, 'cay', 'revoked', '2026-01-02 09:00+00'), (3, 'cay', 'granted', '2026-01-03 09:00+00');
UPDATE words SET said_at = said_at + interval '1 hour', wording = 'corrected';
SELECT push_consent FROM lifecycle.customer WHERE customer_id = 'cay';
DELETE FROM words WHERE id = 3;
SELECT push_consent FROM lifecycle.customer WHERE customer_id = 'cay';
SELECT * FROM log;
SELECT * FROM lifecycle.verify();

DROP VIEW consents, log;
DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE customers, words;
