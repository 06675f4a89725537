-- Vendure 3: carts and orders are one table, told apart by "active"; columns are in camelCase, times have no zone, money is in cents, and the total
-- is not a column.
--
-- A shop copies section 2. Sections 1, 3 and 4 make this file a test that runs in an empty database.

\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- 1. The shop's tables, as far as they matter here.

CREATE SCHEMA vendure;
SET search_path = vendure;

CREATE TABLE customer (
    id integer PRIMARY KEY, "firstName" varchar NOT NULL, "lastName" varchar NOT NULL, "phoneNumber" varchar, "emailAddress" varchar NOT NULL,
    "createdAt" timestamp NOT NULL, "updatedAt" timestamp NOT NULL, "deletedAt" timestamp, "customFieldsNewsletter" timestamp);
CREATE TABLE "order" (
    id integer PRIMARY KEY, code varchar NOT NULL UNIQUE, type varchar NOT NULL DEFAULT 'Regular', state varchar NOT NULL,
    active boolean NOT NULL DEFAULT true, "orderPlacedAt" timestamp, "updatedAt" timestamp NOT NULL, "couponCodes" text NOT NULL DEFAULT '',
    "currencyCode" varchar NOT NULL, "subTotalWithTax" integer NOT NULL, "shippingWithTax" integer NOT NULL DEFAULT 0,
    "customerId" integer REFERENCES customer);
CREATE TABLE order_line (
    id integer PRIMARY KEY, quantity integer NOT NULL, "listPrice" integer NOT NULL, "productVariantId" integer NOT NULL,
    "orderId" integer REFERENCES "order" ON DELETE CASCADE);
CREATE TABLE history_entry (
    id integer PRIMARY KEY, type varchar NOT NULL, data text NOT NULL, "orderId" integer, "createdAt" timestamp NOT NULL);
CREATE TABLE product_review (
    id integer PRIMARY KEY, rating integer NOT NULL, state varchar NOT NULL, "productId" integer, "authorId" integer, "createdAt" timestamp NOT NULL);

INSERT INTO customer VALUES (1, 'Ann', 'Ash', NULL, 'ann@example.org', '2029-11-01 09:00', '2029-11-01 09:00', NULL, '2029-11-01 09:00');
INSERT INTO "order" VALUES (1, 'ORD1', 'Regular', 'Delivered', false, '2029-12-20 10:00', '2029-12-23 16:00', '', 'EUR', 7500, 500, 1);
INSERT INTO order_line VALUES (1, 3, 2500, 11, 1);
INSERT INTO history_entry VALUES
    (1, 'ORDER_STATE_TRANSITION', '{"from":"PaymentSettled","to":"Shipped"}', 1, '2029-12-21 08:00'),
    (2, 'ORDER_FULFILLMENT_TRANSITION', '{"fulfillmentId":1,"from":"Pending","to":"Shipped"}', 1, '2029-12-21 08:00'),
    (3, 'ORDER_FULFILLMENT_TRANSITION', '{"fulfillmentId":1,"from":"Shipped","to":"Delivered"}', 1, '2029-12-23 16:00');

-- 2. The recipe. Run it as the owner of Vendure's tables, with the schema that they are in on the search_path.

INSERT INTO lifecycle.shop (currency, time_zone, delivery_time) VALUES ('EUR', 'Europe/Berlin', '3 days');

-- Each name in camelCase is quoted within the string. A guest gets a row in customer, too, which becomes the account's when the guest registers.
-- TypeORM writes the time of the Node process and no zone: here it runs in UTC, as it should.
SELECT lifecycle.attach('customer', 'customer',
    $${"customer": "id", "email": "lower(\"emailAddress\")", "phone": "\"phoneNumber\"", "first_name": "\"firstName\"", "last_name": "\"lastName\"",
       "created_at": "\"createdAt\" AT TIME ZONE 'UTC'"}$$,
    '"deletedAt" IS NULL');

-- The total is the sum of two columns. Of an order that is split among sellers, the parts do not count beside the whole.
SELECT lifecycle.attach('"order"', 'order',
    $${"order": "id", "customer": "\"customerId\"", "amount": "(\"subTotalWithTax\" + \"shippingWithTax\") * 0.01", "currency": "\"currencyCode\"",
       "placed_at": "\"orderPlacedAt\" AT TIME ZONE 'UTC'", "coupon": "nullif(split_part(\"couponCodes\", ',', 1), '')"}$$,
    $$NOT active AND "orderPlacedAt" IS NOT NULL AND state <> 'Cancelled' AND type <> 'Seller'$$);

-- The same rows before that; nobody's, until the customer is set at the checkout or by signing in.
SELECT lifecycle.attach('"order"', 'cart',
    $${"cart": "id", "customer": "\"customerId\"", "value": "\"subTotalWithTax\" * 0.01", "currency": "\"currencyCode\"",
       "stage": "CASE WHEN state = 'ArrangingPayment' THEN 'payment' ELSE 'cart' END", "updated_at": "\"updatedAt\" AT TIME ZONE 'UTC'"}$$,
    $$active AND state IN ('AddingItems', 'ArrangingPayment')$$);

-- Lines belong to whoever places the order; those of a cart wait until then. Their discounts are json arrays, which one expression cannot add up:
-- so the products are known, and how many, but not what they cost in the end. The order knows its amount itself.
SELECT lifecycle.attach('order_line', 'order_item',
    '{"order": "\"orderId\"", "line": "id", "product": "\"productVariantId\"", "quantity": "quantity"}', 'quantity > 0');

-- When a parcel arrived is in the history only: a row for each transition, with its states as json in a text. Rows of other types may hold anything,
-- so they are not parsed.
SELECT lifecycle.attach('history_entry', 'delivery',
    $${"order": "\"orderId\"", "delivered_at": "\"createdAt\" AT TIME ZONE 'UTC'"}$$,
    $$CASE WHEN type = 'ORDER_FULFILLMENT_TRANSITION' THEN data::jsonb ->> 'to' = 'Delivered' END$$);

-- Consent is a custom field of this shop, a datetime: since when the newsletter is wanted; NULL is never, or no more.
SELECT lifecycle.attach('customer', 'consent',
    $${"customer": "id", "channel": "'email'", "status": "'granted'", "changed_at": "\"customFieldsNewsletter\" AT TIME ZONE 'UTC'"}$$,
    '"customFieldsNewsletter" IS NOT NULL AND "deletedAt" IS NULL');

-- Reviews come from a plugin, here the one in Vendure's examples.
SELECT lifecycle.attach('product_review', 'review',
    $${"review": "id", "customer": "\"authorId\"", "rating": "rating", "product": "\"productId\"", "reviewed_at": "\"createdAt\" AT TIME ZONE 'UTC'"}$$,
    $$state <> 'rejected'$$);

-- What this does not see:
-- * Refunds: a row of refund names a payment only. A table of your own that joins them, as for Saleor, adds them.
-- * Deliveries of a shop that never marks parcels as delivered. It attaches the transition to "Shipped" instead, as "shipped_at".
-- * Wishlists, opens and clicks: Vendure has none.

-- 3. A history.

-- A visitor fills a cart and gives an address at the checkout: only then it is somebody's.
INSERT INTO "order" VALUES (2, 'ORD2', 'Regular', 'AddingItems', true, NULL, '2030-03-01 12:00', '', 'EUR', 12000);
INSERT INTO order_line VALUES (2, 1, 8000, 12, 2), (3, 1, 4000, 13, 2), (4, 0, 1000, 14, 2);
SELECT customer_id, cart_id FROM lifecycle.customer;
INSERT INTO customer VALUES (2, 'Bob', 'Birch', NULL, 'Bob@Example.org', '2030-03-01 12:10', '2030-03-01 12:10');
SET lifecycle.clock = '2030-03-01 12:10+00';
UPDATE "order" SET "customerId" = 2, state = 'ArrangingPayment', "shippingWithTax" = 490, "updatedAt" = '2030-03-01 12:10' WHERE id = 2;
SELECT c.customer_id, c.cart_id, c.cart_value, c.cart_updated_at, k.stage FROM lifecycle.customer AS c JOIN lifecycle.cart AS k USING (cart_id);
-- It becomes an order.
SET lifecycle.clock = '2030-03-01 12:20+00';
UPDATE "order" SET state = 'PaymentSettled', active = false, "orderPlacedAt" = '2030-03-01 12:20', "updatedAt" = '2030-03-01 12:20', "couponCodes" = 'WELCOME,FREESHIP' WHERE id = 2;
SELECT customer_id, order_count, revenue, cart_id FROM lifecycle.customer WHERE customer_id = '2';
-- A marketplace: one order, split between two sellers.
INSERT INTO "order" VALUES
    (3, 'ORD3', 'Aggregate', 'PaymentSettled', false, '2030-03-01 12:15', '2030-03-01 12:15', '', 'EUR', 30000, 0, 1),
    (4, 'ORD4', 'Seller', 'PaymentSettled', false, '2030-03-01 12:15', '2030-03-01 12:15', '', 'EUR', 20000, 0, 1),
    (5, 'ORD5', 'Seller', 'PaymentSettled', false, '2030-03-01 12:15', '2030-03-01 12:15', '', 'EUR', 10000, 0, 1);
-- Another one is cancelled. Ann fills a cart, and empties it.
INSERT INTO "order" VALUES (6, 'ORD6', 'Regular', 'PaymentSettled', false, '2030-03-01 12:20', '2030-03-01 12:20', '', 'EUR', 2000, 0, 1);
UPDATE "order" SET state = 'Cancelled', "updatedAt" = '2030-03-01 12:25' WHERE id = 6;
SET lifecycle.clock = '2030-03-02 09:00+00';
INSERT INTO "order" VALUES (7, 'ORD7', 'Regular', 'AddingItems', true, NULL, '2030-03-02 08:30', '', 'EUR', 2500, 0, 1);
SELECT cart_id FROM lifecycle.customer WHERE customer_id = '1';
UPDATE "order" SET "subTotalWithTax" = 0, "updatedAt" = '2030-03-02 08:40' WHERE id = 7;
-- Bob's parcel arrives, he is content, and Ann leaves the newsletter.
SET lifecycle.clock = '2030-03-09 12:00+00';
INSERT INTO history_entry VALUES
    (4, 'ORDER_FULFILLMENT_TRANSITION', '{"fulfillmentId":2,"from":"Pending","to":"Shipped"}', 2, '2030-03-02 08:00'),
    (5, 'ORDER_FULFILLMENT_TRANSITION', '{"fulfillmentId":2,"from":"Shipped","to":"Delivered"}', 2, '2030-03-04 10:00'),
    (6, 'ORDER_NOTE', '{"note":"neighbour has it"}', 2, '2030-03-04 10:00');
INSERT INTO product_review VALUES (1, 5, 'new', 12, 2, '2030-03-08 18:00'), (2, 1, 'rejected', 12, 2, '2030-03-08 18:00');
SELECT email_consent FROM lifecycle.customer WHERE customer_id = '1';
UPDATE customer SET "customFieldsNewsletter" = NULL WHERE id = 1;

-- 4. What it comes to.

SELECT customer_id, email, order_count, revenue, last_order_at, cart_id, email_consent, tier, lifecycle FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, order_id, product, quantity FROM lifecycle.order_item ORDER BY line;
SELECT customer_id, order_id, shipped_at, delivered_at FROM lifecycle.delivery ORDER BY 4;
SELECT customer_id, review, rating, product FROM lifecycle.review;
SELECT customer_id, order_id, coupon FROM lifecycle.order_detail;
-- Nothing was put aside, nothing was missed.
SELECT source, message, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP SCHEMA vendure CASCADE;
RESET search_path;
