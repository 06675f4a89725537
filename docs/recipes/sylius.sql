-- Sylius 2: carts and orders are one table, told apart by state; times are those of the shop's clock on the wall, with no zone; money is in cents. It
-- has consent and reviews of its own.
--
-- A shop copies section 2. Sections 1, 3 and 4 make this file a test that runs in an empty database.

\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- 1. The shop's tables, as far as they matter here.

CREATE SCHEMA sylius;
SET search_path = sylius;

CREATE TABLE sylius_customer (
    id integer PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, email_canonical varchar(255) NOT NULL UNIQUE, first_name varchar(255),
    last_name varchar(255), birthday timestamp(0), phone_number varchar(255), subscribed_to_newsletter boolean NOT NULL,
    created_at timestamp(0) NOT NULL, updated_at timestamp(0));
CREATE TABLE sylius_order (
    id integer PRIMARY KEY, number varchar(255) UNIQUE, state varchar(255) NOT NULL, checkout_state varchar(255) NOT NULL,
    payment_state varchar(255) NOT NULL, checkout_completed_at timestamp(0), items_total integer NOT NULL, total integer NOT NULL,
    currency_code varchar(3) NOT NULL, customer_id integer REFERENCES sylius_customer, token_value varchar(255) UNIQUE,
    created_at timestamp(0) NOT NULL, updated_at timestamp(0));
CREATE TABLE sylius_shipment (
    id integer PRIMARY KEY, order_id integer NOT NULL REFERENCES sylius_order ON DELETE CASCADE, state varchar(255) NOT NULL, shipped_at timestamp(0));
CREATE TABLE sylius_product_review (
    id integer PRIMARY KEY, product_id integer NOT NULL, author_id integer NOT NULL, rating integer NOT NULL, status varchar(255) NOT NULL,
    created_at timestamp(0) NOT NULL);

INSERT INTO sylius_customer VALUES (1, 'Ann@Example.org', 'ann@example.org', 'Ann', 'Ash', '1990-02-28', NULL, true, '2029-11-01 10:00', NULL);
INSERT INTO sylius_order VALUES (1, '000001', 'fulfilled', 'completed', 'paid', '2029-12-20 11:00', 7500, 8000, 'EUR', 1, 't1', '2029-12-20 10:30', NULL);
INSERT INTO sylius_shipment VALUES (1, 1, 'shipped', '2029-12-21 09:00');

-- 2. The recipe. Run it as the owner of Sylius' tables, with the schema that they are in on the search_path.

-- Sylius does not say when a parcel has arrived, only when it was shipped: how long does it take from there?
INSERT INTO lifecycle.shop (currency, time_zone, delivery_time) VALUES ('EUR', 'Europe/Berlin', '3 days');

-- Doctrine writes the time of PHP's zone (date.timezone in php.ini) and does not say which. Here it is Berlin's; in a shop that runs in UTC write 'UTC'.
-- A guest has a row here, too, and keeps it as an account, so customer_id is the customer everywhere.
SELECT lifecycle.attach('sylius_customer', 'customer',
    $${"customer": "id", "email": "email_canonical", "phone": "phone_number", "first_name": "first_name", "last_name": "last_name",
       "birthday": "birthday::date", "created_at": "created_at AT TIME ZONE 'Europe/Berlin'"}$$);

-- A cart is an order in state cart. Sylius refunds by a plugin that has tables of its own; without it an order that was refunded as a whole shows as
-- such, and counts as if it had been cancelled.
SELECT lifecycle.attach('sylius_order', 'order',
    $${"order": "id", "customer": "customer_id", "amount": "total * 0.01", "currency": "currency_code",
       "placed_at": "checkout_completed_at AT TIME ZONE 'Europe/Berlin'"}$$,
    $$state IN ('new', 'fulfilled') AND checkout_completed_at IS NOT NULL AND payment_state <> 'refunded'$$);

-- updated_at is NULL until something changes.
SELECT lifecycle.attach('sylius_order', 'cart',
    $${"cart": "id", "customer": "customer_id", "value": "items_total * 0.01", "currency": "currency_code",
       "stage": "CASE WHEN checkout_state = 'cart' THEN 'cart' WHEN checkout_state LIKE 'payment%' THEN 'payment' ELSE 'checkout' END",
       "url": "'https://shop.example/cart/' || token_value", "updated_at": "coalesce(updated_at, created_at) AT TIME ZONE 'Europe/Berlin'"}$$,
    $$state = 'cart'$$);

SELECT lifecycle.attach('sylius_shipment', 'delivery',
    $${"order": "order_id", "shipped_at": "shipped_at AT TIME ZONE 'Europe/Berlin'"}$$, $$state = 'shipped'$$);

-- What is not moderated yet counts: whoever is dissatisfied should not wait for the moderator.
SELECT lifecycle.attach('sylius_product_review', 'review',
    $${"review": "id", "customer": "author_id", "rating": "rating", "product": "product_id",
       "reviewed_at": "created_at AT TIME ZONE 'Europe/Berlin'"}$$,
    $$status <> 'rejected'$$);

-- The flag has no time but that of the row's last change. Only a flag that changes says something: an edit for another reason does not overrule an
-- unsubscription by a link. The link's handler clears the flag, so that it can be set again.
SELECT lifecycle.attach('sylius_customer', 'consent',
    $${"customer": "id", "channel": "'email'", "status": "CASE WHEN subscribed_to_newsletter THEN 'granted' ELSE 'revoked' END",
       "changed_at": "coalesce(updated_at, created_at) AT TIME ZONE 'Europe/Berlin'"}$$);

-- What this does not see:
-- * Refunds in part. The refund plugin's sylius_refund_refund names the order's number and no customer: a table of your own that joins them, as for
--   Saleor, adds them.
-- * The hour that comes twice when summer time ends: its times are taken as the second one's.
-- * When a parcel has really arrived. Opens, clicks and wishlists: Sylius' core has none.

-- 3. A history.

-- A visitor fills a cart, and says at the checkout who it is.
INSERT INTO sylius_order VALUES (2, NULL, 'cart', 'cart', 'cart', NULL, 12000, 12000, 'EUR', NULL, 't2', '2030-03-01 12:50', NULL);
SELECT customer_id FROM lifecycle.customer;
SET lifecycle.clock = '2030-03-01 12:10+00';
INSERT INTO sylius_customer VALUES (2, 'bob@example.org', 'bob@example.org', 'Bob', NULL, NULL, NULL, false, '2030-03-01 13:05', NULL);
UPDATE sylius_order SET customer_id = 2, checkout_state = 'addressed', updated_at = '2030-03-01 13:05' WHERE id = 2;
SELECT c.customer_id, c.cart_id, c.cart_value, c.cart_updated_at AT TIME ZONE 'UTC' AS utc, k.stage, k.url
  FROM lifecycle.customer AS c JOIN lifecycle.cart AS k USING (cart_id);
-- The cart becomes an order, at 13:20 on the wall.
SET lifecycle.clock = '2030-03-01 12:20+00';
UPDATE sylius_order SET number = '000002', state = 'new', checkout_state = 'completed', payment_state = 'awaiting_payment', total = 12490,
                        checkout_completed_at = '2030-03-01 13:20', updated_at = '2030-03-01 13:20' WHERE id = 2;
SELECT customer_id, order_count, revenue, last_order_at = lifecycle.now() AS now, cart_id FROM lifecycle.customer WHERE customer_id = '2';
-- Ann orders three times: one she cancels, one she sends back, one she keeps.
INSERT INTO sylius_order VALUES
    (3, '000003', 'new', 'completed', 'paid', '2030-03-01 12:40', 30000, 30000, 'EUR', 1, 't3', '2030-03-01 12:30', NULL),
    (4, '000004', 'new', 'completed', 'paid', '2030-03-01 12:50', 2000, 2000, 'EUR', 1, 't4', '2030-03-01 12:30', NULL),
    (5, '000005', 'new', 'completed', 'paid', '2030-03-01 13:00', 5000, 5000, 'EUR', 1, 't5', '2030-03-01 12:30', NULL);
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = '1';
UPDATE sylius_order SET state = 'cancelled', updated_at = '2030-03-01 13:20' WHERE id = 4;
UPDATE sylius_order SET payment_state = 'refunded', updated_at = '2030-03-09 13:00' WHERE id = 5;
-- Bob's parcel goes out. He does not like what he gets; spam is rejected. Ann leaves the newsletter, Bob joins it.
SET lifecycle.clock = '2030-03-09 12:00+00';
INSERT INTO sylius_shipment VALUES (2, 2, 'ready', NULL);
UPDATE sylius_shipment SET state = 'shipped', shipped_at = '2030-03-02 10:00' WHERE id = 2;
INSERT INTO sylius_product_review VALUES (1, 12, 2, 1, 'new', '2030-03-08 19:00'), (2, 12, 1, 5, 'rejected', '2030-03-08 19:00');
UPDATE sylius_customer SET subscribed_to_newsletter = NOT subscribed_to_newsletter, updated_at = '2030-03-09 13:00';
-- Bob follows the link in a mail, moves house, and subscribes again the next day: the shop has cleared his flag.
SELECT lifecycle.unsubscribe(lifecycle.unsubscribe_token('2', 'email'));
UPDATE sylius_customer SET phone_number = '+49301', updated_at = '2030-03-09 13:00' WHERE id = 2;
SELECT email_consent FROM lifecycle.customer WHERE customer_id = '2';
UPDATE sylius_customer SET subscribed_to_newsletter = false, updated_at = '2030-03-09 13:00' WHERE id = 2;
SET lifecycle.clock = '2030-03-10 12:00+00';
UPDATE sylius_customer SET subscribed_to_newsletter = true, updated_at = '2030-03-10 13:00' WHERE id = 2;
-- A cart of Ann's lies there from the day before yesterday.
INSERT INTO sylius_order VALUES (6, NULL, 'cart', 'payment_selected', 'cart', NULL, 2500, 2500, 'EUR', 1, 't6', '2030-03-08 12:30', NULL);

-- 4. What it comes to.

SELECT customer_id, email, birthday, order_count, revenue, last_order_at, cart_id, email_consent, tier, lifecycle FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, order_id, shipped_at, delivered_at FROM lifecycle.delivery ORDER BY 3;
SELECT customer_id, review, rating, product, reviewed_at FROM lifecycle.review;
-- Nothing was put aside, nothing was missed.
SELECT source, message, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP SCHEMA sylius CASCADE;
RESET search_path;
