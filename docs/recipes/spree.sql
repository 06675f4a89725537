-- Spree 4.3 to 5: carts and orders are one table, told apart by completed_at; times have no zone and mean UTC.
--
-- A shop copies section 2. Sections 1, 3 and 4 make this file a test that runs in an empty database.

\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- 1. The shop's tables, as far as they matter here.

CREATE SCHEMA spree;
SET search_path = spree;

CREATE TABLE spree_users (
    id bigint PRIMARY KEY, email varchar, first_name varchar, last_name varchar, selected_locale varchar,
    accepts_email_marketing boolean NOT NULL DEFAULT false, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE spree_orders (
    id bigint PRIMARY KEY, number varchar(32) UNIQUE, state varchar, user_id bigint, email varchar, currency varchar,
    item_total numeric(10,2) NOT NULL DEFAULT 0, total numeric(10,2) NOT NULL DEFAULT 0, item_count integer DEFAULT 0, token varchar,
    completed_at timestamp, canceled_at timestamp, accept_marketing boolean DEFAULT false, updated_at timestamp(6) NOT NULL);
CREATE TABLE spree_line_items (
    id bigint PRIMARY KEY, variant_id bigint, order_id bigint, quantity integer NOT NULL, price numeric(10,2) NOT NULL, promo_total numeric(10,2) DEFAULT 0);
CREATE TABLE spree_shipments (
    id bigint PRIMARY KEY, order_id bigint, state varchar, shipped_at timestamp);
CREATE TABLE spree_newsletter_subscribers (
    id bigint PRIMARY KEY, email varchar NOT NULL UNIQUE, user_id bigint, verified_at timestamp, created_at timestamp(6) NOT NULL);

INSERT INTO spree_users VALUES (1, 'ann@example.org', 'Ann', 'Ash', 'de', true, '2029-11-01 09:00', '2029-11-01 09:00');
INSERT INTO spree_orders VALUES (1, 'R1', 'complete', 1, 'ann@example.org', 'USD', 75, 80, 3, 't1', '2029-12-20 10:00', NULL, false, '2029-12-20 10:00');
INSERT INTO spree_line_items VALUES (1, 11, 1, 3, 25, 0);
INSERT INTO spree_shipments VALUES (1, 1, 'shipped', '2029-12-21 08:00');

-- 2. The recipe. Run it as the owner of Spree's tables, with the schema that they are in on the search_path.

-- Spree does not say when a parcel has arrived, only when it was shipped: how long does it take from there?
INSERT INTO lifecycle.shop (currency, time_zone, delivery_time) VALUES ('USD', 'America/New_York', '4 days');

-- The table of users may be the shop's own class: Spree.user_class says which. Rails writes UTC and does not say so.
SELECT lifecycle.attach('spree_users', 'customer',
    $${"customer": "id", "email": "lower(email)", "first_name": "first_name", "last_name": "last_name", "locale": "selected_locale",
       "created_at": "created_at AT TIME ZONE 'UTC'"}$$);

-- Accounts are known by their number, guests by their address. When a guest registers or signs in, Spree puts the number on the order.
SELECT lifecycle.attach('spree_orders', 'order',
    $${"order": "id", "customer": "coalesce(user_id::text, lower(email))", "amount": "total", "currency": "currency",
       "placed_at": "completed_at AT TIME ZONE 'UTC'"}$$,
    $$completed_at IS NOT NULL AND canceled_at IS NULL AND state <> 'canceled'$$);

-- The same rows before that. Whoever has neither signed in nor said an address is nobody yet.
SELECT lifecycle.attach('spree_orders', 'cart',
    $${"cart": "id", "customer": "coalesce(user_id::text, lower(email))", "value": "item_total", "currency": "currency", "items": "item_count::text::jsonb",
       "stage": "CASE WHEN state = 'cart' THEN 'cart' WHEN state IN ('payment', 'confirm') THEN 'payment' ELSE 'checkout' END",
       "url": "'https://shop.example/cart?order_token=' || token", "updated_at": "updated_at AT TIME ZONE 'UTC'"}$$,
    'completed_at IS NULL AND canceled_at IS NULL');

-- Lines name the order only, and belong to whoever places it; those of a cart wait until then. Promotions are negative amounts.
SELECT lifecycle.attach('spree_line_items', 'order_item',
    '{"order": "order_id", "line": "id", "product": "variant_id", "quantity": "quantity", "amount": "quantity * price + coalesce(promo_total, 0)"}');

SELECT lifecycle.attach('spree_shipments', 'delivery',
    $${"order": "order_id", "shipped_at": "shipped_at AT TIME ZONE 'UTC'"}$$, $$state = 'shipped'$$);

-- Three places say consent; the latest holds. The flag of an account has no time but that of the row's last change. Only a flag that changes says something:
-- an edit for another reason does not overrule an unsubscription by a link. The link's handler clears the flag, so that it can be set again.
SELECT lifecycle.attach('spree_users', 'consent',
    $${"customer": "id", "channel": "'email'", "status": "CASE WHEN accepts_email_marketing THEN 'granted' ELSE 'revoked' END",
       "changed_at": "updated_at AT TIME ZONE 'UTC'", "evidence": "'account'"}$$);
-- A guest ticks the box at checkout (from 5.0 on). Who does not tick it has said nothing.
SELECT lifecycle.attach('spree_orders', 'consent',
    $${"customer": "coalesce(user_id::text, lower(email))", "channel": "'email'", "status": "'granted'",
       "changed_at": "completed_at AT TIME ZONE 'UTC'", "evidence": "'order ' || number"}$$,
    'accept_marketing AND completed_at IS NOT NULL');
-- The newsletter (from 5.2 on) is double opt-in: until the address is verified, nothing may be sent but the request to do so.
SELECT lifecycle.attach('spree_newsletter_subscribers', 'consent',
    $${"customer": "coalesce(user_id::text, lower(email))", "channel": "'email'", "status": "CASE WHEN verified_at IS NULL THEN 'pending' ELSE 'granted' END",
       "changed_at": "coalesce(verified_at, created_at) AT TIME ZONE 'UTC'", "evidence": "'newsletter ' || id::text"}$$);

-- What this does not see:
-- * Refunds: spree_refunds names a payment only. A table of your own that joins them, as for Saleor, adds them.
-- * When a parcel has really arrived.
-- * Reviews, wishlists, opens and clicks: Spree's core has none; tables of extensions can be attached.

-- 3. A history.

-- A visitor fills a cart; at the checkout there is an address, and then it can be missed.
INSERT INTO spree_orders VALUES (2, 'R2', 'cart', NULL, NULL, 'USD', 120, 120, 2, 't2', NULL, NULL, false, '2030-03-01 12:00');
INSERT INTO spree_line_items VALUES (2, 12, 2, 1, 80, 0), (3, 13, 2, 1, 40, -10);
SELECT customer_id FROM lifecycle.customer;
SET lifecycle.clock = '2030-03-01 12:10+00';
UPDATE spree_orders SET email = 'Bob@Example.org', state = 'address', updated_at = '2030-03-01 12:10' WHERE id = 2;
SELECT customer_id, cart_id, cart_value, cart_updated_at FROM lifecycle.customer WHERE cart_id IS NOT NULL;
SELECT stage, items, url FROM lifecycle.cart;
-- Ann has emptied hers.
INSERT INTO spree_orders VALUES (3, 'R3', 'cart', 1, 'ann@example.org', 'USD', 25, 25, 1, 't3', NULL, NULL, false, '2030-03-01 12:10');
UPDATE spree_orders SET item_total = 0, total = 0, item_count = 0, updated_at = '2030-03-01 12:11' WHERE id = 3;
SELECT cart_id FROM lifecycle.customer WHERE customer_id = '1';
-- Bob buys, ticks the box, and registers afterwards.
SET lifecycle.clock = '2030-03-01 12:20+00';
UPDATE spree_orders SET state = 'complete', total = 114.90, completed_at = '2030-03-01 12:20', accept_marketing = true, updated_at = '2030-03-01 12:20' WHERE id = 2;
SELECT customer_id, order_count, revenue, cart_id, email_consent FROM lifecycle.customer WHERE customer_id LIKE 'bob%';
SET lifecycle.clock = '2030-03-01 12:30+00';
INSERT INTO spree_users VALUES (2, 'bob@example.org', 'Bob', 'Birch', 'en', true, '2030-03-01 12:30', '2030-03-01 12:30');
UPDATE spree_orders SET user_id = 2 WHERE id = 2;
-- Shipped the next day; Ann orders and cancels; Cid wants the newsletter, and confirms it a week later.
SET lifecycle.clock = '2030-03-02 09:00+00';
INSERT INTO spree_shipments VALUES (2, 2, 'ready', NULL);
UPDATE spree_shipments SET state = 'shipped', shipped_at = '2030-03-02 09:00' WHERE id = 2;
INSERT INTO spree_orders VALUES (4, 'R4', 'complete', 1, 'ann@example.org', 'USD', 20, 20, 1, 't4', '2030-03-02 09:00', NULL, false, '2030-03-02 09:00');
UPDATE spree_orders SET state = 'canceled', canceled_at = '2030-03-02 09:30' WHERE id = 4;
INSERT INTO spree_newsletter_subscribers VALUES (1, 'cid@example.org', NULL, NULL, '2030-03-02 09:00');
SELECT customer_id, email_consent FROM lifecycle.customer ORDER BY 1;
SET lifecycle.clock = '2030-03-09 12:00+00';
UPDATE spree_newsletter_subscribers SET verified_at = '2030-03-09 11:00' WHERE id = 1;
-- Ann has unsubscribed in a mail, and edits her profile afterwards: that does not subscribe her again.
SELECT lifecycle.track('1', 'consent', '{"channel": "email", "status": "revoked", "evidence": "link in mail"}');
UPDATE spree_users SET last_name = 'Ashes', updated_at = '2030-03-09 12:00' WHERE id = 1;
SELECT email_consent FROM lifecycle.customer WHERE customer_id = '1';
-- The shop clears her flag as well. The next day she sets it again: that does. Bob clears his, though he ticked the box at the checkout.
UPDATE spree_users SET accepts_email_marketing = false, updated_at = '2030-03-09 12:00' WHERE id = 1;
SET lifecycle.clock = '2030-03-10 12:00+00';
UPDATE spree_users SET accepts_email_marketing = NOT accepts_email_marketing, updated_at = '2030-03-10 12:00';

-- 4. What it comes to.

SELECT customer_id, email, order_count, revenue, last_order_at, cart_id, email_consent, tier, lifecycle FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, order_id, product, amount FROM lifecycle.order_item ORDER BY line;
SELECT customer_id, order_id, shipped_at, delivered_at FROM lifecycle.delivery ORDER BY 2;
SELECT customer_id, status, changed_at, evidence FROM lifecycle.consent_log ORDER BY 1, 3;
-- Nothing was put aside, nothing was missed.
SELECT source, message, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP SCHEMA spree CASCADE;
RESET search_path;
