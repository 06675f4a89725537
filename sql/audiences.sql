-- The playbook's segments beside the lifecycle, and audiences for ad platforms. The clock is frozen.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-01-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE TABLE customers (id text PRIMARY KEY, email text, phone text, tags text[], ads text);
SELECT lifecycle.attach('customers', 'customer', '{"customer": "id", "email": "email", "phone": "phone", "tags": "tags"}');
SELECT lifecycle.attach('customers', 'consent', '{"customer": "id", "channel": "''ads''::text", "status": "ads", "changed_at": "''2026-01-01 00:00+00''::timestamptz"}',
    filter => 'ads IS NOT NULL');
INSERT INTO customers VALUES
    ('ann', ' Ann.Smith@GMail.com ', '0171 / 12 34 56-7', NULL, 'granted'),
    ('bob', 'bob@example.org', '+49 (0)30 123456', '{eco}', 'granted'),
    ('cem', 'cem@example.org', '0041 44 668 18 00', NULL, 'revoked'),
    ('dia', 'not an address', 'ask', NULL, 'granted'),
    ('eva', NULL, NULL, NULL, NULL);
CREATE VIEW members AS SELECT segment, customer_id FROM lifecycle.segment_member WHERE segment NOT IN ('prospect', 'new', 'active', 'at_risk', 'lost', 'dormant') ORDER BY 1, 2;

-- Engagement: a year without a sign of life. Eva was never mailed, so she is in none of these, although she visits.
SELECT lifecycle.track('ann', 'engagement', '{"type": "open"}');
SELECT lifecycle.track('bob', 'engagement', '{"type": "click"}');
SELECT lifecycle.track('eva', 'engagement', '{"type": "visit"}');
SELECT * FROM members;
SET lifecycle.clock = '2026-03-01 12:00+00';
SELECT lifecycle.track('bob', 'engagement', '{"type": "visit"}');
SET lifecycle.clock = '2027-01-01 12:00+00';
SELECT lifecycle.tick() \gset
SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history
 WHERE segment IN ('engaged', 'engagement_dormant', 'engagement_win_back', 'engagement_inactive') ORDER BY 1, 3;
SELECT customer_id, engagement FROM lifecycle.customer ORDER BY 1;

-- A cart is left. After an hour its owner may be shown ads, unless an order comes, or a newsletter is read.
SELECT lifecycle.track(id, 'cart', jsonb_build_object('cart', 'cart-' || id, 'value', 80, 'items', 2)) FROM customers WHERE id <> 'eva';
SET lifecycle.clock = '2027-01-01 13:00+00';
SELECT lifecycle.tick() \gset
SELECT * FROM members WHERE segment LIKE '%cart%';
SELECT lifecycle.track('bob', 'engagement', '{"type": "open"}');
SELECT * FROM members WHERE segment LIKE '%cart%';

-- The audience as the platforms take it: trimmed, lower case, E.164, hashed; only who has consented.
SELECT customer_id, email_sha256 = encode(sha256('annsmith@gmail.com'), 'hex') AS email, phone_sha256 = encode(sha256('+491711234567'), 'hex') AS phone
  FROM lifecycle.audience('remarketing_cart', country_code => '49');
SELECT customer_id, email_sha256 = encode(sha256('ann.smith@gmail.com'), 'hex') AS email, phone_sha256 = encode(sha256('491711234567'), 'hex') AS phone
  FROM lifecycle.audience('remarketing_cart', 'meta', '+49');
SELECT customer_id, phone_sha256 IS NULL AS no_phone FROM lifecycle.audience('remarketing_cart');
SELECT p, lifecycle.normalize_phone(p, '49') FROM unnest(ARRAY['0171 1234567', '+43 1 234567', '0043 1 234567', '(030) 12 34-56', '12', 'x', '', NULL]) AS p;
SELECT e, lifecycle.normalize_email(e), lifecycle.normalize_email(e, 'meta')
  FROM unnest(ARRAY[' A.B@Googlemail.com', 'a.b@example.org', 'a b@example.org', 'nobody', NULL]) AS e;
SELECT * FROM lifecycle.audience('remarketing_cart', 'friendface');
SELECT * FROM lifecycle.audience('nobody');
DROP VIEW members;
DROP TABLE customers;
DROP EXTENSION pg_lifecycle;
