-- Customers whose orders start a scenario, or do not. psql variables: customers, history (orders of each that are there before), scenario ('none',
-- 'waits': one that orders do not start, 'enrols').

\set whole_playbook false
\ir lifecycle.sql

CREATE TABLE people (id bigint, email text, first_name text, locale text);
CREATE TABLE consents (id bigint, at timestamptz);
SELECT lifecycle.attach('public.people', 'customer', '{"customer": "id", "email": "email", "first_name": "first_name", "locale": "locale"}');
SELECT lifecycle.attach('public.consents', 'consent', '{"customer": "id", "channel": "''email''", "status": "''granted''", "changed_at": "at"}');

INSERT INTO lifecycle.scenario (name, trigger)
    SELECT 'after_order', CASE :'scenario' WHEN 'enrols' THEN 'order_placed' ELSE 'event:call' END WHERE :'scenario' <> 'none';
INSERT INTO lifecycle.step (scenario, position, delay, channel, class, template, subject, content)
    SELECT 'after_order', n, n * interval '1 day', 'email', 'marketing', 'after_order_' || n,
           '{"de": "Schön, dass Sie da sind", "en": "Good to have you"}',
           '{"de": {"body": "So haben Sie lange Freude an Ihrer Bestellung."}, "en": {"body": "How to enjoy what you ordered for a long time."}}'
      FROM generate_series(1, 2) AS n WHERE :'scenario' <> 'none';
INSERT INTO people SELECT n, 'customer' || n || '@example.org', 'Kim', CASE WHEN n % 3 = 0 THEN 'en' ELSE 'de-DE' END FROM generate_series(1, :customers) AS n;
INSERT INTO consents SELECT n, lifecycle.now() - interval '1 year' FROM generate_series(1, :customers) AS n;
INSERT INTO orders (customer_id, amount, placed_at)
    SELECT n, 20, lifecycle.now() - k * interval '10 days' FROM generate_series(1, :customers) AS n, generate_series(1, :history) AS k;
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'after_order';
