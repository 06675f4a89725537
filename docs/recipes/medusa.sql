-- Medusa 2: each module has tables of its own, and link tables between them. An order has neither a total nor a delivery in its row, a cart not
-- its lines.
--
-- A shop copies section 2. Sections 1, 3 and 4 make this file a test that runs in an empty database.

\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- 1. The shop's tables, as far as they matter here.

CREATE SCHEMA medusa;
SET search_path = medusa;

CREATE TYPE order_status_enum AS ENUM ('pending', 'completed', 'draft', 'archived', 'canceled', 'requires_action');
CREATE TABLE customer (
    id text PRIMARY KEY, email text, phone text, first_name text, last_name text, has_account boolean NOT NULL DEFAULT false, metadata jsonb,
    created_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE cart (
    id text PRIMARY KEY, customer_id text, email text, currency_code text NOT NULL, completed_at timestamptz,
    updated_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE cart_line_item (
    id text PRIMARY KEY, cart_id text NOT NULL REFERENCES cart ON DELETE CASCADE, product_id text, product_title text, quantity integer NOT NULL,
    unit_price numeric NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE "order" (
    id text PRIMARY KEY, customer_id text, status order_status_enum NOT NULL DEFAULT 'pending', is_draft_order boolean NOT NULL DEFAULT false,
    email text, currency_code text NOT NULL, created_at timestamptz NOT NULL, canceled_at timestamptz, deleted_at timestamptz);
CREATE TABLE order_transaction (
    id text PRIMARY KEY, order_id text NOT NULL, amount numeric NOT NULL, currency_code text NOT NULL, reference text,
    created_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE fulfillment (
    id text PRIMARY KEY, shipped_at timestamptz, delivered_at timestamptz, canceled_at timestamptz, deleted_at timestamptz);
CREATE TABLE order_fulfillment (
    order_id varchar(255) NOT NULL, fulfillment_id varchar(255) NOT NULL, deleted_at timestamptz, PRIMARY KEY (order_id, fulfillment_id));

INSERT INTO customer VALUES ('cus_ann', 'ann@example.org', NULL, 'Ann', 'Ash', true, '{"newsletter": {"status": "granted", "at": 1890000000}}', '2029-11-01 09:00+00');
INSERT INTO "order" VALUES ('order_1', 'cus_ann', 'completed', false, 'ann@example.org', 'eur', '2029-12-20 10:00+00');
INSERT INTO order_transaction VALUES ('ordtrx_1', 'order_1', 80, 'eur', 'capture', '2029-12-20 10:05+00');
INSERT INTO fulfillment VALUES ('ful_1', '2029-12-21 08:00+00', '2029-12-23 16:00+00');
INSERT INTO order_fulfillment VALUES ('order_1', 'ful_1');

-- 2. The recipe. Run it as the owner of Medusa's tables, with the schema that they are in on the search_path.

INSERT INTO lifecycle.shop (currency, time_zone, delivery_time) VALUES ('EUR', 'Europe/Berlin', '3 days');

-- A guest has a row in customer, too. With an account later, the same person has a second row with the same address: see section 3.
-- Nothing is ever deleted: deleted_at is set, and the row ceases to count.
SELECT lifecycle.attach('customer', 'customer',
    '{"customer": "id", "email": "lower(email)", "phone": "phone", "first_name": "first_name", "last_name": "last_name",
      "created_at": "created_at", "attributes": "metadata"}',
    'deleted_at IS NULL');

-- The total of an order is in order_summary, where each edit of the order adds a row and only the last one counts: that is not to be said of one
-- row. So the order has no amount here, and costs the sum of its lines (see below). Currencies are in small letters; that does not matter.
SELECT lifecycle.attach('"order"', 'order',
    '{"order": "id", "customer": "coalesce(customer_id, lower(email))", "currency": "currency_code", "placed_at": "created_at"}',
    $$NOT is_draft_order AND status <> 'draft' AND canceled_at IS NULL AND deleted_at IS NULL$$);

-- Its lines are what was paid: each payment that was captured, and each refund, which Medusa writes as a negative amount. They add up to what the
-- shop has kept, with shipping, taxes and discounts. An order that is not paid yet counts with nothing.
SELECT lifecycle.attach('order_transaction', 'order_item',
    '{"order": "order_id", "line": "id", "product": "coalesce(reference, ''payment'')", "amount": "amount"}',
    'deleted_at IS NULL');

-- Consent is the shop's own, in metadata, with the second at which it was given or withdrawn.
SELECT lifecycle.attach('customer', 'consent',
    $${"customer": "id", "channel": "'email'", "status": "metadata #>> '{newsletter,status}'",
       "changed_at": "to_timestamp((metadata #>> '{newsletter,at}')::float8)"}$$,
    $$metadata -> 'newsletter' IS NOT NULL AND deleted_at IS NULL$$);

-- What is in a cart, and when that changed, is in its lines; which order a parcel belongs to, in a link. An expression sees one row only, so tables
-- of our own join them, kept by triggers, and are attached instead.
CREATE TABLE lifecycle_cart (
    cart_id text PRIMARY KEY, customer text, currency text NOT NULL, value numeric NOT NULL, items jsonb NOT NULL, updated_at timestamptz NOT NULL,
    open boolean NOT NULL);
CREATE VIEW lifecycle_cart_now AS
    SELECT c.id, coalesce(c.customer_id, lower(c.email)) AS customer, c.currency_code, coalesce(l.value, 0) AS value,
           coalesce(l.items, '[]') AS items, greatest(c.updated_at, l.updated_at) AS updated_at,
           c.completed_at IS NULL AND c.deleted_at IS NULL AS open
      FROM cart AS c
     CROSS JOIN LATERAL (
           SELECT sum(i.quantity * i.unit_price) FILTER (WHERE i.deleted_at IS NULL) AS value, max(greatest(i.updated_at, i.deleted_at)) AS updated_at,
                  jsonb_agg(jsonb_build_object('product', i.product_id, 'name', i.product_title, 'quantity', i.quantity) ORDER BY i.id)
                      FILTER (WHERE i.deleted_at IS NULL) AS items
             FROM cart_line_item AS i WHERE i.cart_id = c.id) AS l;
CREATE FUNCTION lifecycle_cart() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO lifecycle_cart SELECT * FROM lifecycle_cart_now AS c WHERE c.id = to_jsonb(NEW) ->> TG_ARGV[0]
        ON CONFLICT (cart_id) DO UPDATE SET (customer, currency, value, items, updated_at, open)
            = ROW (EXCLUDED.customer, EXCLUDED.currency, EXCLUDED.value, EXCLUDED.items, EXCLUDED.updated_at, EXCLUDED.open);
    RETURN NULL;
END
$$;
CREATE TRIGGER lifecycle_cart AFTER INSERT OR UPDATE ON cart FOR EACH ROW EXECUTE FUNCTION lifecycle_cart('id');
CREATE TRIGGER lifecycle_cart AFTER INSERT OR UPDATE ON cart_line_item FOR EACH ROW EXECUTE FUNCTION lifecycle_cart('cart_id');
INSERT INTO lifecycle_cart SELECT * FROM lifecycle_cart_now;
SELECT lifecycle.attach('lifecycle_cart', 'cart',
    '{"cart": "cart_id", "customer": "customer", "value": "value", "currency": "currency", "items": "items", "updated_at": "updated_at"}', 'open');

CREATE TABLE lifecycle_delivery (order_id text, fulfillment_id text, shipped_at timestamptz, delivered_at timestamptz, PRIMARY KEY (order_id, fulfillment_id));
CREATE VIEW lifecycle_delivery_now AS
    SELECT l.order_id, f.id, f.shipped_at, f.delivered_at
      FROM fulfillment AS f JOIN order_fulfillment AS l ON l.fulfillment_id = f.id
     WHERE f.canceled_at IS NULL AND f.deleted_at IS NULL AND l.deleted_at IS NULL;
CREATE FUNCTION lifecycle_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    changed text := to_jsonb(NEW) ->> TG_ARGV[0];
BEGIN
    DELETE FROM lifecycle_delivery AS d
     WHERE d.fulfillment_id = changed AND (d.order_id, d.fulfillment_id) NOT IN (SELECT n.order_id, n.id FROM lifecycle_delivery_now AS n WHERE n.id = changed);
    INSERT INTO lifecycle_delivery SELECT * FROM lifecycle_delivery_now AS n WHERE n.id = changed
        ON CONFLICT (order_id, fulfillment_id) DO UPDATE SET shipped_at = EXCLUDED.shipped_at, delivered_at = EXCLUDED.delivered_at;
    RETURN NULL;
END
$$;
CREATE TRIGGER lifecycle_delivery AFTER INSERT OR UPDATE ON fulfillment FOR EACH ROW EXECUTE FUNCTION lifecycle_delivery('id');
CREATE TRIGGER lifecycle_delivery AFTER INSERT OR UPDATE ON order_fulfillment FOR EACH ROW EXECUTE FUNCTION lifecycle_delivery('fulfillment_id');
INSERT INTO lifecycle_delivery SELECT * FROM lifecycle_delivery_now;
SELECT lifecycle.attach('lifecycle_delivery', 'delivery',
    '{"order": "order_id", "shipped_at": "shipped_at", "delivered_at": "delivered_at"}');

-- What this does not see:
-- * The products of an order: order_item names the order, order_line_item the product. A joined table as for carts, attached as order_item
--   with no amount beside order_transaction, adds them.
-- * When money was given back: a refund makes the order smaller, from the order's own time on.
-- * Reviews, wishlists, opens and clicks: Medusa has none.

-- 3. A history.

-- Ann fills a cart. An hour later she takes something out, and only the line says so.
INSERT INTO cart VALUES ('cart_1', 'cus_ann', 'ann@example.org', 'eur', NULL, lifecycle.now());
INSERT INTO cart_line_item VALUES ('cali_1', 'cart_1', 'prod_hat', 'Hat', 1, 40, lifecycle.now()), ('cali_2', 'cart_1', 'prod_shirt', 'Shirt', 2, 25, lifecycle.now());
SELECT cart_id, cart_value, cart_updated_at FROM lifecycle.customer WHERE customer_id = 'cus_ann';
SET lifecycle.clock = '2030-03-01 13:00+00';
UPDATE cart_line_item SET deleted_at = lifecycle.now() WHERE id = 'cali_1';
SELECT cart_id, cart_value, cart_updated_at FROM lifecycle.customer WHERE customer_id = 'cus_ann';
SELECT items FROM lifecycle.cart;
-- A guest orders; the money is captured a day later, the parcel arrives two days after that.
INSERT INTO customer VALUES ('cus_guest', 'Bob@Example.org', NULL, 'Bob', NULL, false, NULL, lifecycle.now());
INSERT INTO cart VALUES ('cart_2', 'cus_guest', 'Bob@Example.org', 'eur', NULL, lifecycle.now());
INSERT INTO cart_line_item VALUES ('cali_3', 'cart_2', 'prod_hat', 'Hat', 3, 40, lifecycle.now());
SET lifecycle.clock = '2030-03-01 13:10+00';
INSERT INTO "order" VALUES ('order_2', 'cus_guest', 'pending', false, 'Bob@Example.org', 'eur', lifecycle.now());
UPDATE cart SET completed_at = lifecycle.now() WHERE id = 'cart_2';
SELECT order_count, revenue, cart_id, lifecycle FROM lifecycle.customer WHERE customer_id = 'cus_guest';
SET lifecycle.clock = '2030-03-02 09:00+00';
INSERT INTO order_transaction VALUES ('ordtrx_2', 'order_2', 124.90, 'eur', 'capture', lifecycle.now());
INSERT INTO fulfillment VALUES ('ful_2', NULL, NULL), ('ful_3', NULL, NULL);
INSERT INTO order_fulfillment VALUES ('order_2', 'ful_2'), ('order_2', 'ful_3');
UPDATE fulfillment SET shipped_at = lifecycle.now() WHERE id IN ('ful_2', 'ful_3');
SELECT customer_id, order_id, shipped_at, delivered_at FROM lifecycle.delivery WHERE order_id = 'order_2';
SET lifecycle.clock = '2030-03-04 10:00+00';
UPDATE fulfillment SET delivered_at = lifecycle.now() WHERE id = 'ful_2';
UPDATE fulfillment SET canceled_at = lifecycle.now() WHERE id = 'ful_3';
-- He makes an account: another row of customer. The shop, or a job of its, says that the two are one.
INSERT INTO customer VALUES ('cus_bob', 'bob@example.org', NULL, 'Bob', 'Birch', true, NULL, lifecycle.now());
SELECT lifecycle.merge(g.id, a.id) FROM customer AS g JOIN customer AS a ON lower(a.email) = lower(g.email)
 WHERE NOT g.has_account AND a.has_account AND g.deleted_at IS NULL AND a.deleted_at IS NULL;
-- He sends one hat back. Staff drafts an order for Ann; she places another one, cancels it, and leaves the newsletter.
SET lifecycle.clock = '2030-03-09 12:00+00';
INSERT INTO order_transaction VALUES ('ordtrx_3', 'order_2', -40, 'eur', 'refund', lifecycle.now());
INSERT INTO "order" VALUES ('order_3', 'cus_ann', 'draft', true, 'ann@example.org', 'eur', lifecycle.now()),
                           ('order_4', 'cus_ann', 'pending', false, 'ann@example.org', 'eur', lifecycle.now());
INSERT INTO order_transaction VALUES ('ordtrx_4', 'order_4', 20, 'eur', 'capture', lifecycle.now());
UPDATE "order" SET status = 'canceled', canceled_at = lifecycle.now() WHERE id = 'order_4';
SELECT email_consent FROM lifecycle.customer WHERE customer_id = 'cus_ann';
UPDATE customer SET metadata = '{"newsletter": {"status": "revoked", "at": 1899288000}}' WHERE id = 'cus_ann';

-- 4. What it comes to.

SELECT customer_id, email, order_count, revenue, last_order_at, cart_value, email_consent, tier, lifecycle FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, order_id, product, amount FROM lifecycle.order_item ORDER BY line;
SELECT customer_id, order_id, shipped_at, delivered_at FROM lifecycle.delivery ORDER BY 2;
-- Nothing was put aside, nothing was missed.
SELECT source, message, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP SCHEMA medusa CASCADE;
RESET search_path;
