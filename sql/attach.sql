-- Attaching the shop's own tables. Every shop names and types its columns differently; the mapping says in SQL what they mean.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;

-- A small shop with the four tables that can be attached: customers, orders, refunds, newsletter consents.
CREATE TABLE customers (id bigint PRIMARY KEY, email text, name text, lang text, zone text, born date, joined timestamptz,
                        interests text[], extra jsonb);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, total_cents int, currency text, status text, created_at timestamptz);
CREATE TABLE refunds (id bigint PRIMARY KEY, order_id bigint, customer_id bigint, amount numeric(10,2), refunded_at timestamptz);
CREATE TABLE newsletter (customer_id bigint, opted_in boolean, at timestamptz, ip inet);

INSERT INTO customers VALUES
    (1, 'Ada@Example.org', 'Ada Byron', 'en-GB', 'Europe/London', '1815-12-10', '2026-01-01 09:00+00', '{math}', '{"vip": false}'),
    (2, 'emil@example.org', 'Emil', 'de', 'Europe/Berlin', NULL, '2026-02-01 09:00+00', NULL, NULL);
INSERT INTO orders VALUES
    (10, 1, 1999, 'EUR', 'paid', '2026-01-10 10:00+00'), (11, 1, 5000, 'EUR', 'shipped', '2026-02-10 10:00+00'),
    (12, 2, 700, 'EUR', 'cancelled', '2026-02-11 10:00+00');
INSERT INTO refunds VALUES (90, 10, 1, 9.99, '2026-01-20 10:00+00');
INSERT INTO newsletter VALUES (1, true, '2026-01-01 09:01+00', '192.0.2.1'), (2, false, '2026-02-01 09:01+00', '192.0.2.2');

SELECT lifecycle.attach('customers', 'customer',
    '{"customer": "id", "email": "lower(email)", "first_name": "split_part(name, '' '', 1)",
      "last_name": "nullif(split_part(name, '' '', 2), '''')", "locale": "lang", "time_zone": "zone", "birthday": "born",
      "created_at": "joined", "tags": "interests", "attributes": "extra"}');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "currency": "currency", "placed_at": "created_at"}',
    filter => $$status IN ('paid', 'shipped')$$);
SELECT lifecycle.attach('refunds', 'refund',
    '{"refund": "id", "order": "order_id", "customer": "customer_id", "amount": "amount", "refunded_at": "refunded_at"}',
    name => 'money back');
SELECT lifecycle.attach('newsletter', 'consent',
    '{"customer": "customer_id", "channel": "''email''", "status": "CASE WHEN opted_in THEN ''granted'' ELSE ''revoked'' END",
      "changed_at": "at", "evidence": "ip"}');

SELECT name, relation, kind, filter, mode, attached_at FROM lifecycle.source ORDER BY name;
SELECT source, rows_done, finished_at >= started_at AS finished FROM lifecycle.progress ORDER BY source;
\x on
SELECT customer_id, email, first_name, last_name, locale, time_zone, birthday, created_at, tags, attributes, email_consent,
       first_order_at, previous_order_at, last_order_at, order_count, revenue, average_order_value
  FROM lifecycle.customer ORDER BY customer_id;
\x off
SELECT p.customer_id, p.kind, p.id, p.order_id, p.at, p.amount, s.name AS source
  FROM lifecycle.purchase AS p JOIN lifecycle.source AS s USING (source_id) ORDER BY p.at;
SELECT customer_id, channel, status, changed_at, evidence FROM lifecycle.consent_log ORDER BY customer_id;

-- Detaching takes back what the source said, and nothing else.
SELECT lifecycle.detach('money back');
SELECT customer_id, order_count, revenue FROM lifecycle.customer ORDER BY customer_id;
SELECT lifecycle.detach('public.newsletter:consent');
SELECT customer_id, email, email_consent FROM lifecycle.customer ORDER BY customer_id;
SELECT lifecycle.detach('public.customers:customer');
SELECT customer_id, email, first_name, tags, order_count FROM lifecycle.customer ORDER BY customer_id;
SELECT lifecycle.detach('public.orders:order');
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer ORDER BY customer_id;
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgname LIKE 'lifecycle%';
SELECT lifecycle.detach('public.orders:order');
DROP TABLE customers, refunds, newsletter;

-- Saleor: uuid orders, guests known by their e-mail address only, drafts in the same table.
CREATE TABLE order_order (id uuid PRIMARY KEY, created_at timestamptz NOT NULL, status varchar(32) NOT NULL, user_id integer,
                          user_email varchar(254) NOT NULL, currency varchar(3) NOT NULL, total_gross_amount numeric(20,3) NOT NULL);
INSERT INTO order_order VALUES
    ('00000000-0000-4000-8000-000000000001', '2026-01-05 08:00+00', 'fulfilled', 7, 'ada@example.org', 'EUR', 49.900),
    ('00000000-0000-4000-8000-000000000002', '2026-01-06 08:00+00', 'unfulfilled', NULL, 'Guest@Example.org', 'EUR', 10.000),
    ('00000000-0000-4000-8000-000000000003', '2026-01-07 08:00+00', 'draft', 7, 'ada@example.org', 'EUR', 99.000);
SELECT lifecycle.attach('order_order', 'order',
    '{"order": "id", "customer": "coalesce(user_id::text, lower(user_email))", "amount": "total_gross_amount", "currency": "currency",
      "placed_at": "created_at"}',
    filter => $$status NOT IN ('draft', 'unconfirmed', 'expired', 'canceled')$$, name => 'saleor');
SELECT customer_id, kind, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
SELECT lifecycle.detach('saleor');
DROP TABLE order_order;

-- Spree: times without a zone, UTC by convention, which the mapping has to say.
CREATE TABLE spree_orders (id bigserial PRIMARY KEY, state varchar, user_id bigint, email varchar, currency varchar,
                           total numeric(10,2) NOT NULL DEFAULT 0, completed_at timestamp, created_at timestamp(6) NOT NULL);
INSERT INTO spree_orders (state, user_id, email, currency, total, completed_at, created_at) VALUES
    ('complete', 3, 'a@example.org', 'EUR', 20.50, '2026-01-05 08:00', '2026-01-05 07:00'),
    ('cart', 3, 'a@example.org', 'EUR', 5.00, NULL, '2026-01-06 08:00');
SELECT lifecycle.attach('spree_orders', 'order',
    '{"order": "id", "customer": "user_id", "amount": "total", "currency": "currency", "placed_at": "completed_at"}',
    filter => 'completed_at IS NOT NULL', name => 'spree');
SELECT lifecycle.attach('spree_orders', 'order',
    '{"order": "id", "customer": "user_id", "amount": "total", "currency": "currency", "placed_at": "completed_at AT TIME ZONE ''UTC''"}',
    filter => 'completed_at IS NOT NULL', name => 'spree');
SELECT customer_id, kind, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT lifecycle.detach('spree');
DROP TABLE spree_orders;

-- Vendure: a reserved word as table name, camelCase columns, a total in cents that is the sum of two columns.
CREATE TABLE "order" ("orderPlacedAt" timestamp, active boolean NOT NULL, state varchar NOT NULL, "currencyCode" varchar NOT NULL,
                      "subTotalWithTax" integer NOT NULL, "shippingWithTax" integer NOT NULL, id serial PRIMARY KEY,
                      "customerId" integer);
INSERT INTO "order" VALUES
    ('2026-01-05 08:00', false, 'Delivered', 'EUR', 1000, 490, DEFAULT, 5),
    (NULL, true, 'AddingItems', 'EUR', 2000, 0, DEFAULT, 5),
    ('2026-01-07 08:00', false, 'Cancelled', 'EUR', 3000, 0, DEFAULT, 5);
SELECT lifecycle.attach('"order"', 'order',
    '{"order": "id", "customer": "\"customerId\"", "amount": "(\"subTotalWithTax\" + \"shippingWithTax\") / 100.0",
      "currency": "\"currencyCode\"", "placed_at": "\"orderPlacedAt\" AT TIME ZONE ''UTC''"}',
    filter => $$NOT active AND "orderPlacedAt" IS NOT NULL AND state <> 'Cancelled'$$);
SELECT customer_id, kind, id, at, round(amount, 2) AS amount FROM lifecycle.purchase ORDER BY at;
SELECT lifecycle.detach('public."order":order');
DROP TABLE "order";

-- Sylius: times in PHP's local zone, here Berlin's. 08:00 is 07:00 UTC in winter and 06:00 in summer.
CREATE TABLE sylius_order (id serial PRIMARY KEY, state varchar(255) NOT NULL, checkout_completed_at timestamp(0), total integer NOT NULL,
                           currency_code varchar(3) NOT NULL, customer_id integer);
INSERT INTO sylius_order VALUES
    (DEFAULT, 'fulfilled', '2025-08-05 08:00', 1234, 'EUR', 6), (DEFAULT, 'new', '2026-01-05 08:00', 4321, 'EUR', 6),
    (DEFAULT, 'cart', NULL, 100, 'EUR', 6);
SELECT lifecycle.attach('sylius_order', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total / 100.0", "currency": "currency_code",
      "placed_at": "checkout_completed_at AT TIME ZONE ''Europe/Berlin''"}',
    filter => $$state NOT IN ('cart', 'cancelled')$$, name => 'sylius');
SELECT customer_id, kind, id, at, round(amount, 2) AS amount FROM lifecycle.purchase ORDER BY at;
SELECT lifecycle.detach('sylius');
DROP TABLE sylius_order;

-- Medusa: text ids, the status is an enum, the currency in lower case, the total inside jsonb.
CREATE TYPE order_status_enum AS ENUM ('pending', 'completed', 'draft', 'archived', 'canceled', 'requires_action');
CREATE TABLE "order" (id text PRIMARY KEY, customer_id text, email text, status order_status_enum NOT NULL DEFAULT 'pending',
                      is_draft_order boolean NOT NULL DEFAULT false, currency_code text NOT NULL, metadata jsonb,
                      created_at timestamptz NOT NULL, deleted_at timestamptz);
INSERT INTO "order" VALUES
    ('order_01A', 'cus_1', 'a@example.org', 'completed', false, 'eur', '{"total": "12.50"}', '2026-01-05 08:00+00', NULL),
    ('order_01B', NULL, 'Guest@example.org', 'pending', false, 'eur', '{"total": "7.00"}', '2026-01-06 08:00+00', NULL),
    ('order_01C', 'cus_1', 'a@example.org', 'canceled', false, 'eur', '{"total": "99"}', '2026-01-07 08:00+00', NULL);
INSERT INTO lifecycle.shop (currency) VALUES ('EUR');
SELECT lifecycle.attach('"order"', 'order',
    '{"order": "id", "customer": "coalesce(customer_id, lower(email))", "amount": "(metadata ->> ''total'')::numeric",
      "currency": "currency_code", "placed_at": "created_at"}',
    filter => $$status <> 'canceled' AND status::text <> 'draft' AND NOT is_draft_order AND deleted_at IS NULL$$, name => 'medusa');
SELECT customer_id, kind, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT count(*) AS quarantined FROM lifecycle.quarantine;
SELECT lifecycle.detach('medusa');
DROP TABLE "order";
DROP TYPE order_status_enum;
DELETE FROM lifecycle.shop;

-- What cannot work is refused when it is attached, with the reason, the place and the way out. Here the amount of an order:
ALTER TABLE orders ADD note text, ADD day date, ADD local_time timestamp, ADD items int[];
CREATE FUNCTION attach_with(field text, expression text) RETURNS text LANGUAGE sql AS $$
    SELECT lifecycle.attach('orders', 'order',
        '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}'::jsonb
        || jsonb_build_object(field, expression)) $$;
CREATE FUNCTION vat(cents int) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT cents * 0.19';

-- It is no SQL.
SELECT attach_with('amount', 'total_cents +');
SELECT attach_with('amount', '');
SELECT attach_with('amount', 'total_cents / 100.0)');
-- It is more than one expression.
SELECT attach_with('amount', 'total_cents; DROP TABLE orders');
SELECT attach_with('amount', 'total_cents, 1');
SELECT attach_with('amount', 'total_cents FROM orders');
SELECT attach_with('amount', 'total_cents WHERE true');
SELECT attach_with('amount', 'total_cents AS amount');
SELECT attach_with('amount', 'total_cents LIMIT 1');
SELECT attach_with('amount', 'total_cents UNION SELECT 1');
SELECT attach_with('amount', '*');
-- It names what is not there, or is of another type.
SELECT attach_with('amount', 'total_euros');
SELECT attach_with('amount', 'pg_class.relpages');
SELECT attach_with('amount', 'note');
SELECT attach_with('amount', 'no_such_function(total_cents)');
SELECT attach_with('amount', 'note + 1');
SELECT attach_with('amount', '$1');
SELECT attach_with('order', 'ctid');
SELECT attach_with('customer', 'orders');
-- It depends on more than the row.
SELECT attach_with('amount', 'total_cents * random()');
SELECT attach_with('amount', 'extract(year FROM clock_timestamp())');
SELECT attach_with('amount', 'extract(year FROM now())');
SELECT attach_with('placed_at', 'now()');
SELECT attach_with('placed_at', 'CURRENT_TIMESTAMP');
SELECT attach_with('customer', 'CURRENT_USER');
SELECT attach_with('customer', $$current_setting('app.user')$$);
SELECT attach_with('customer', $$to_char(created_at, 'YYYY')$$);
SELECT attach_with('amount', $$nextval('lifecycle.message_id')$$);
SELECT attach_with('customer', $$'c' || customer_id$$);
-- It reads tables or files.
SELECT attach_with('amount', '(SELECT 1)');
SELECT attach_with('amount', 'CASE WHEN EXISTS (SELECT FROM pg_authid) THEN 1 ELSE 0 END');
SELECT attach_with('customer', $$pg_read_file('/etc/passwd')$$);
SELECT attach_with('customer', $$query_to_xml('SELECT * FROM pg_authid', true, false, '')$$);
SELECT attach_with('customer', $$table_to_xml('pg_authid', true, false, '')$$);
SELECT attach_with('customer', $$pg_get_userbyid(10)$$);
-- It sees more than one row, or makes more of them.
SELECT attach_with('amount', 'sum(total_cents)');
SELECT attach_with('amount', 'row_number() OVER ()');
SELECT attach_with('amount', 'unnest(items)');
SELECT attach_with('amount', 'generate_series(1, 3)');
-- It runs code that somebody else could change.
SELECT attach_with('amount', 'vat(total_cents)');
SELECT attach_with('amount', 'public.vat(total_cents)');
-- It does not say in which zone.
SELECT attach_with('placed_at', 'local_time');
SELECT attach_with('placed_at', 'day');
SELECT attach_with('placed_at', 'local_time::timestamptz');
SELECT attach_with('placed_at', $$'2026-01-01'::text::timestamptz$$);
SELECT attach_with('placed_at', 'note');
-- A field is missing, null, misspelt or no text.
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total_cents"}');
SELECT attach_with('placed_at', NULL);
SELECT attach_with('amuont', 'total_cents');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": 5, "placed_at": "created_at"}');
SELECT lifecycle.attach('orders', 'order', '["id"]');
-- The kind is not known, the mode neither.
SELECT lifecycle.attach('orders', 'invoice', '{"order": "id"}');
\set VERBOSITY terse
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}', mode => 'later');
\set VERBOSITY default
-- The filter is not a condition, or not one over the row.
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}', filter => 'status');
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}',
    filter => $$created_at > now() - interval '1 year'$$);
-- What is attached is no table.
CREATE VIEW paid_orders AS SELECT * FROM orders WHERE status = 'paid';
SELECT lifecycle.attach('paid_orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}');
SELECT lifecycle.attach('no_such_table', 'order', '{}');

-- None of it left anything behind.
SELECT count(*) AS sources FROM lifecycle.source;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgname LIKE 'lifecycle%';

-- A name is attached once; under another name the same table may be attached again.
SELECT attach_with('currency', 'currency');
SELECT attach_with('currency', 'currency');
SELECT lifecycle.attach('orders', 'consent',
    '{"customer": "customer_id", "channel": "''email''", "status": "''granted''", "changed_at": "created_at"}',
    filter => $$note = 'newsletter please'$$);
SELECT name FROM lifecycle.source ORDER BY name;
UPDATE orders SET note = 'newsletter please' WHERE id = 10;
SELECT customer_id, order_count, email_consent FROM lifecycle.customer ORDER BY customer_id;

-- A comment in a mapping is no harm.
SELECT lifecycle.detach('public.orders:order');
SELECT attach_with('customer', 'customer_id -- of the account');
SELECT customer_id, order_count FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
SELECT lifecycle.detach('public.orders:order');

-- The shop drops a table that is attached: detaching takes back what it said all the same.
CREATE TABLE old_orders (LIKE orders);
INSERT INTO old_orders SELECT * FROM orders;
SELECT lifecycle.attach('old_orders', 'order',
    '{"order": "id", "customer": "customer_id", "amount": "total_cents / 100.0", "placed_at": "created_at"}', name => 'old');
SELECT customer_id, order_count FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;
DROP TABLE old_orders;
SELECT lifecycle.detach('old');
SELECT customer_id, order_count FROM lifecycle.customer WHERE order_count > 0 ORDER BY customer_id;

-- Only who owns a table may attach it, and only who was given the right may call attach() at all.
CREATE ROLE regress_clerk;
SET ROLE regress_clerk;
SELECT lifecycle.attach('public.orders', 'order', '{}');
RESET ROLE;
GRANT USAGE ON SCHEMA lifecycle TO regress_clerk;
GRANT EXECUTE ON FUNCTION lifecycle.attach TO regress_clerk;
SET ROLE regress_clerk;
SELECT lifecycle.attach('public.orders', 'order', '{}', name => 'mine');
RESET ROLE;

-- Without backfill only what happens from now on counts.
SELECT lifecycle.attach('orders', 'order',
    '{"order": "id", "customer": "''new '' || customer_id::text", "amount": "total_cents / 100.0", "placed_at": "created_at"}',
    name => 'from now on', backfill => false);
INSERT INTO orders VALUES (13, 1, 100, 'EUR', 'paid', '2026-03-01 11:00+00');
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE customer_id LIKE 'new%';

-- Dropping the extension leaves the shop as it was.
DROP EXTENSION pg_lifecycle CASCADE;
INSERT INTO orders VALUES (14, 1, 100, 'EUR', 'paid', '2026-03-01 12:00+00');
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
DROP OWNED BY regress_clerk;
DROP ROLE regress_clerk;
DROP TABLE orders CASCADE;
DROP FUNCTION attach_with, vat;
