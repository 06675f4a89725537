-- Saleor 3: orders and checkouts in tables of their own. A checkout is deleted when it is bought, and when it is too old.
--
-- A shop copies section 2. Sections 1, 3 and 4 make this file a test that runs in an empty database.

\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

-- 1. The shop's tables, as far as they matter here.

CREATE SCHEMA saleor;
SET search_path = saleor;

CREATE TABLE account_user (
    id integer PRIMARY KEY, email varchar(254) NOT NULL UNIQUE, first_name varchar(256) NOT NULL, last_name varchar(256) NOT NULL,
    is_staff boolean NOT NULL DEFAULT false, is_active boolean NOT NULL DEFAULT true, date_joined timestamptz NOT NULL,
    language_code varchar(35) NOT NULL, metadata jsonb NOT NULL DEFAULT '{}');
CREATE TABLE checkout_checkout (
    token uuid PRIMARY KEY, created_at timestamptz NOT NULL, last_change timestamptz NOT NULL, completing_started_at timestamptz,
    user_id integer, email varchar(254), currency varchar(3) NOT NULL, subtotal_gross_amount numeric(20,3) NOT NULL,
    authorize_status varchar(32) NOT NULL DEFAULT 'none');
CREATE TABLE order_order (
    id uuid PRIMARY KEY, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, status varchar(32) NOT NULL,
    user_id integer REFERENCES account_user ON DELETE SET NULL, user_email varchar(254) NOT NULL,
    currency varchar(3) NOT NULL, total_gross_amount numeric(20,3) NOT NULL, voucher_code varchar(255), checkout_token varchar(36) NOT NULL);
CREATE TABLE order_orderline (
    id uuid PRIMARY KEY, order_id uuid NOT NULL REFERENCES order_order ON DELETE CASCADE, variant_id integer, product_name varchar(386) NOT NULL,
    product_sku varchar(255), quantity integer NOT NULL, total_price_gross_amount numeric(20,3) NOT NULL);
CREATE TABLE order_fulfillment (
    id integer PRIMARY KEY, order_id uuid NOT NULL REFERENCES order_order ON DELETE CASCADE, status varchar(32) NOT NULL,
    created_at timestamptz NOT NULL, total_refund_amount numeric(20,3));

INSERT INTO account_user VALUES
    (1, 'ann@example.org', 'Ann', 'Ash', false, true, '2029-11-01 09:00+00', 'de'),
    (2, 'staff@example.org', 'Sam', 'Staff', true, true, '2029-10-01 09:00+00', 'en');
INSERT INTO order_order VALUES
    ('a0000000-0000-0000-0000-000000000001', '2029-12-20 10:00+00', '2029-12-23 10:00+00', 'fulfilled', 1, 'ann@example.org', 'EUR', 80, NULL, '');
INSERT INTO order_fulfillment VALUES (1, 'a0000000-0000-0000-0000-000000000001', 'fulfilled', '2029-12-21 08:00+00');

-- 2. The recipe. Run it as the owner of Saleor's tables, with the schema that they are in on the search_path.

-- Saleor does not say when a parcel has arrived, only when it was packed: how long does it take from there?
INSERT INTO lifecycle.shop (currency, time_zone, delivery_time) VALUES ('EUR', 'Europe/Berlin', '3 days');

-- Accounts are known by their number, guests by their address, in small letters, because Saleor keeps it as it was typed. When a guest
-- registers, Saleor puts the number on the guest's old orders, and they go over to the account by themselves. Staff do not buy.
SELECT lifecycle.attach('account_user', 'customer',
    $${"customer": "id", "email": "email", "first_name": "first_name", "last_name": "last_name", "locale": "language_code",
       "created_at": "date_joined", "attributes": "metadata"}$$,
    'NOT is_staff AND is_active');

-- Drafts and unpaid orders lie in the same table. There is no column that says when an order was cancelled: it just ceases to count.
SELECT lifecycle.attach('order_order', 'order',
    $${"order": "id", "customer": "coalesce(user_id::text, lower(user_email))", "amount": "total_gross_amount", "currency": "currency",
       "placed_at": "created_at", "cart": "nullif(checkout_token, '')", "coupon": "voucher_code"}$$,
    $$status NOT IN ('draft', 'unconfirmed', 'expired', 'canceled')$$);

-- Lines name the order only, and belong to whoever placed it. A product that was deleted since has no variant any more.
SELECT lifecycle.attach('order_orderline', 'order_item',
    $${"order": "order_id", "line": "id", "product": "coalesce(product_sku, variant_id::text, product_name)", "quantity": "quantity",
       "amount": "total_price_gross_amount"}$$);

-- A checkout without lines is worth nothing, which means empty. A row that is deleted was bought or given up: the cart is gone, not abandoned.
SELECT lifecycle.attach('checkout_checkout', 'cart',
    $${"cart": "token", "customer": "coalesce(user_id::text, lower(email))", "value": "subtotal_gross_amount", "currency": "currency",
       "stage": "CASE WHEN completing_started_at IS NOT NULL OR authorize_status <> 'none' THEN 'payment' ELSE 'cart' END",
       "updated_at": "last_change"}$$);

-- A fulfillment is made when the parcel is packed.
SELECT lifecycle.attach('order_fulfillment', 'delivery',
    '{"order": "order_id", "shipped_at": "created_at"}',
    $$status IN ('fulfilled', 'returned', 'refunded_and_returned')$$);

-- Saleor knows no consent; this shop keeps it in metadata, with the second at which it was given or withdrawn, and sets both together.
SELECT lifecycle.attach('account_user', 'consent',
    $${"customer": "id", "channel": "'email'", "status": "CASE metadata ->> 'newsletter' WHEN 'yes' THEN 'granted' ELSE 'revoked' END",
       "changed_at": "to_timestamp((metadata ->> 'newsletter_at')::float8)"}$$,
    $$metadata ? 'newsletter_at'$$);

-- A refund is a fulfillment, too, and says neither whose it is nor in which currency. An expression sees one row only, so a table of our own
-- joins the two, kept by triggers, and is attached instead. Both triggers, because an order may change hands.
CREATE TABLE lifecycle_refund (
    fulfillment_id integer PRIMARY KEY REFERENCES order_fulfillment ON DELETE CASCADE,
    order_id uuid NOT NULL, customer text, amount numeric NOT NULL, currency text NOT NULL, refunded_at timestamptz NOT NULL);
CREATE VIEW lifecycle_refund_now AS
    SELECT f.id, f.order_id, coalesce(o.user_id::text, lower(o.user_email)), f.total_refund_amount, o.currency, f.created_at
      FROM order_fulfillment AS f JOIN order_order AS o ON o.id = f.order_id
     WHERE f.status IN ('refunded', 'refunded_and_returned') AND f.total_refund_amount > 0;
CREATE FUNCTION lifecycle_refund() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO lifecycle_refund SELECT * FROM lifecycle_refund_now AS r WHERE r.order_id = (to_jsonb(NEW) ->> TG_ARGV[0])::uuid
        ON CONFLICT (fulfillment_id) DO UPDATE SET customer = EXCLUDED.customer, amount = EXCLUDED.amount;
    RETURN NULL;
END
$$;
CREATE TRIGGER lifecycle_refund AFTER INSERT OR UPDATE ON order_fulfillment FOR EACH ROW EXECUTE FUNCTION lifecycle_refund('order_id');
CREATE TRIGGER lifecycle_refund AFTER UPDATE OF user_id, user_email ON order_order FOR EACH ROW EXECUTE FUNCTION lifecycle_refund('id');
INSERT INTO lifecycle_refund SELECT * FROM lifecycle_refund_now;
SELECT lifecycle.attach('lifecycle_refund', 'refund',
    '{"refund": "fulfillment_id", "order": "order_id", "customer": "customer", "amount": "amount", "currency": "currency",
      "refunded_at": "refunded_at"}');

-- What this does not see:
-- * Refunds without a fulfillment, made in the payment provider's back office only.
-- * When a parcel has really arrived, and what was in a checkout. For both Saleor's apps get webhooks, which can call lifecycle.track().
-- * Reviews, wishlists, opens and clicks: Saleor has none. An app that keeps them in a table can be attached.

-- 3. A history.

-- Ann, who is known from before, fills a checkout; a guest does; and somebody who has not said who it is.
INSERT INTO checkout_checkout (token, created_at, last_change, user_id, email, currency, subtotal_gross_amount) VALUES
    ('c0000000-0000-0000-0000-000000000001', lifecycle.now(), lifecycle.now(), 1, NULL, 'EUR', 45),
    ('c0000000-0000-0000-0000-000000000002', lifecycle.now(), lifecycle.now(), NULL, 'Bob@Example.org', 'EUR', 120),
    ('c0000000-0000-0000-0000-000000000003', lifecycle.now(), lifecycle.now(), NULL, NULL, 'EUR', 7),
    ('c0000000-0000-0000-0000-000000000004', lifecycle.now(), lifecycle.now(), NULL, 'cid@example.org', 'EUR', 0);
SELECT customer_id, cart_id, cart_value, lifecycle FROM lifecycle.customer ORDER BY 1;
-- Bob buys: the order comes, the checkout goes, in one transaction.
SET lifecycle.clock = '2030-03-01 12:30+00';
BEGIN;
INSERT INTO order_order VALUES ('a0000000-0000-0000-0000-000000000002', lifecycle.now(), lifecycle.now(), 'unfulfilled', NULL, 'Bob@Example.org',
    'EUR', 124.90, 'WELCOME', 'c0000000-0000-0000-0000-000000000002');
INSERT INTO order_orderline VALUES
    ('b0000000-0000-0000-0000-000000000001', 'a0000000-0000-0000-0000-000000000002', 11, 'Hat', 'HAT-1', 2, 80),
    ('b0000000-0000-0000-0000-000000000002', 'a0000000-0000-0000-0000-000000000002', NULL, 'Gone from the shop', NULL, 1, 40);
DELETE FROM checkout_checkout WHERE token = 'c0000000-0000-0000-0000-000000000002';
COMMIT;
SELECT customer_id, order_count, revenue, cart_id FROM lifecycle.customer WHERE customer_id LIKE 'bob%';
-- He makes an account. Saleor finds his order by its address.
INSERT INTO account_user VALUES (3, 'bob@example.org', 'Bob', 'Birch', false, true, lifecycle.now(), 'en');
UPDATE order_order SET user_id = 3 WHERE user_id IS NULL AND lower(user_email) = 'bob@example.org';
SELECT customer_id, order_count, revenue, email, lifecycle FROM lifecycle.customer WHERE 'bob@example.org' IN (customer_id, email) ORDER BY 1;
-- Staff writes down an order for Ann on the phone: it counts when it is confirmed. Her second one she cancels.
INSERT INTO order_order VALUES
    ('a0000000-0000-0000-0000-000000000003', '2030-03-01 12:10+00', lifecycle.now(), 'draft', 1, 'ann@example.org', 'EUR', 300, NULL, ''),
    ('a0000000-0000-0000-0000-000000000004', '2030-03-01 11:00+00', lifecycle.now(), 'unfulfilled', 1, 'ann@example.org', 'EUR', 20, NULL, '');
UPDATE order_order SET status = 'unfulfilled' WHERE id = 'a0000000-0000-0000-0000-000000000003';
UPDATE order_order SET status = 'canceled' WHERE id = 'a0000000-0000-0000-0000-000000000004';
UPDATE account_user SET metadata = '{"newsletter": "yes", "newsletter_at": 1898600000}' WHERE id = 1;
UPDATE account_user SET first_name = 'Anna' WHERE id = 1;
-- Bob's parcel is packed on the next day; he sends one hat back. His order had been a guest's when it came.
SET lifecycle.clock = '2030-03-02 12:30+00';
INSERT INTO order_fulfillment VALUES (2, 'a0000000-0000-0000-0000-000000000002', 'fulfilled', lifecycle.now(), NULL);
SET lifecycle.clock = '2030-03-09 12:30+00';
INSERT INTO order_fulfillment VALUES (3, 'a0000000-0000-0000-0000-000000000002', 'refunded', lifecycle.now(), 40);
-- Ann fills another checkout; Saleor deletes the old ones of people it does not know.
INSERT INTO checkout_checkout (token, created_at, last_change, user_id, currency, subtotal_gross_amount)
    VALUES ('c0000000-0000-0000-0000-000000000005', lifecycle.now(), lifecycle.now(), 1, 'EUR', 33);
SELECT cart_id, cart_value FROM lifecycle.customer WHERE customer_id = '1';
DELETE FROM checkout_checkout WHERE user_id IS NULL;
-- Bob deletes his account. Saleor keeps the order and its address, and the refund stays with the order.
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE customer_id = '3';
DELETE FROM account_user WHERE id = 3;

-- 4. What it comes to.

SELECT customer_id, email, order_count, revenue, last_order_at, cart_value, email_consent, tier, lifecycle FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, kind, order_id, at, amount FROM lifecycle.purchase ORDER BY at;
SELECT customer_id, product, quantity, amount FROM lifecycle.order_item ORDER BY product;
SELECT customer_id, shipped_at, delivered_at FROM lifecycle.delivery ORDER BY 2;
SELECT customer_id, order_id, cart, coupon FROM lifecycle.order_detail;
-- Nothing was put aside, nothing was missed.
SELECT source, message, data FROM lifecycle.quarantine;
SELECT * FROM lifecycle.check_sources();
SELECT * FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP SCHEMA saleor CASCADE;
RESET search_path;
