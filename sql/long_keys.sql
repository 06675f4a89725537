-- What is too long for an index: ids, addresses and categories that no shop has, until one has. It is put aside alone, with the reason, and nothing
-- else comes to harm; names are refused where they are given.
\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
-- Text that no compression makes shorter.
CREATE FUNCTION noise(seed text, bytes int) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT left(string_agg(md5(seed || i), '' ORDER BY i), bytes) FROM generate_series(0, bytes / 32) AS i $$;
CREATE FUNCTION brief(value text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE WHEN length(value) > 12 THEN left(value, 4) || '... ' || octet_length(value) || ' bytes' ELSE value END $$;

-- NAMES of what shops define have 200 bytes, and so have codes.
INSERT INTO lifecycle.segment (name, predicate) VALUES (noise('segment', 201), 'order_count > 0');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES (noise('tier', 201), 1, 0);
INSERT INTO lifecycle.loyalty_program (name) VALUES (noise('program', 201));
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES (noise('rule', 201), 'order', 1);
INSERT INTO lifecycle.offer (name, kind, value) VALUES (noise('offer', 201), 'percent', 10);
INSERT INTO lifecycle.channel (name) VALUES (noise('channel', 201));
INSERT INTO lifecycle.cap (name, most, span) VALUES (noise('cap', 201), 1, '1 day');
INSERT INTO lifecycle.scenario (name, trigger) VALUES (repeat('ü', 101), 'order_placed');
INSERT INTO lifecycle.offer (name, kind, value, codes) VALUES ('pool', 'percent', 10, 'pool');
SELECT lifecycle.import_coupons('pool', ARRAY[noise('code', 201)]);
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger) VALUES (noise('scenario', 200), 'order_placed');
INSERT INTO lifecycle.offer (name, kind, value) VALUES (noise('offer', 200), 'percent', 10);
INSERT INTO lifecycle.step (scenario, position, channel, class, template, offer) VALUES (noise('scenario', 200), 1, 'email', 'transactional', 't', noise('offer', 200));
INSERT INTO lifecycle.variant (scenario, position, name) VALUES (noise('scenario', 200), 1, noise('variant', 201));
INSERT INTO lifecycle.segment (name, predicate) VALUES (noise('segment', 200), 'order_count > 0');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('club');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES (noise('tier', 200), 1, 0);
INSERT INTO lifecycle.points_rule (name, earns_on, points) VALUES (noise('rule', 200), 'order', 1);
UPDATE lifecycle.scenario SET status = 'active', reentry = 'always';

-- The longest that there is room for, all at once: an order with its message, coupon, tier and points.
CREATE TABLE orders (id text, customer text, amount numeric, placed_at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}');
INSERT INTO orders VALUES (noise('order', 1000), noise('customer', 500), 100);
SELECT brief(message) AS message, brief(detail) AS detail FROM lifecycle.quarantine;
SELECT brief(customer_id) AS customer, order_count, points, brief(tier) AS tier FROM lifecycle.customer;
SELECT brief(customer_id) AS customer, brief(idempotency_key) AS key, brief(anchor) AS anchor, payload #>> '{offer,code}' IS NOT NULL AS has_code FROM lifecycle.outbox;
SELECT lifecycle.redeem_points(noise('customer', 500), 1, noise('order', 1000));
-- Its key comes back with what the customer does.
SELECT lifecycle.feedback('open', idempotency_key => idempotency_key) FROM lifecycle.outbox;
SELECT count(*) FROM lifecycle.engagement;
SELECT count(*) AS claimed FROM lifecycle.claim();
SELECT lifecycle.tick() >= 0 AS ticked;

-- ORDERS that are longer are put aside alone.
INSERT INTO orders VALUES ('1', 'ann', 10), (noise('order', 1001), 'ann', 20), ('2', noise('customer', 501), 30), ('3', 'ben', 40);
SELECT sqlstate, message, detail FROM lifecycle.quarantine ORDER BY quarantine_id;
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE length(customer_id) < 10 ORDER BY 1;
UPDATE orders SET customer = 'cay' WHERE id = '2';
SELECT message FROM lifecycle.quarantine;
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE length(customer_id) < 10 ORDER BY 1;
DELETE FROM orders WHERE length(id) > 1000;
SELECT count(*) FROM lifecycle.quarantine;

-- ADDRESSES.
CREATE TABLE accounts (id text, email text);
SELECT lifecycle.attach('accounts', 'customer', '{"customer": "id", "email": "email"}');
INSERT INTO accounts VALUES ('ann', 'ann@example.org'), ('ben', noise('ben', 3000) || '@example.org'), ('cay', noise('cay', 988) || '@example.org');
SELECT data ->> 'id' AS id, message, detail FROM lifecycle.quarantine;
SELECT customer_id, brief(email) AS email FROM lifecycle.customer WHERE length(customer_id) < 10 ORDER BY 1;

-- LINES of orders: the category counts for what sells with what, and the tick counts it.
CREATE TABLE lines (customer text, order_id text, line text, product text, category text);
SELECT lifecycle.attach('lines', 'order_item', '{"customer": "customer", "order": "order_id", "line": "line", "product": "product", "category": "category"}');
INSERT INTO lines VALUES ('ann', '1', 'a', 'tea', 'drinks'), ('ann', '1', 'b', 'cup', noise('category', 3000)), ('ann', '1', 'c', noise('product', 3000), NULL),
                         ('ben', '3', 'a', noise('product', 1000), noise('category', 1000));
SELECT data ->> 'line' AS line, message, detail FROM lifecycle.quarantine WHERE source LIKE '%lines%' ORDER BY 1;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT brief(product) AS product, brief(category) AS category, orders FROM lifecycle.product_sales ORDER BY 1;
UPDATE lines SET category = 'crockery' WHERE line = 'b';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT brief(product) AS product, brief(other) AS other, orders FROM lifecycle.product_pair ORDER BY 1, 2;

-- WHATEVER ELSE is said; what no index has may be as long as it likes.
CREATE FUNCTION said(kind text, properties jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lifecycle.track('ann', kind, properties);
    RETURN 'taken in';
EXCEPTION WHEN string_data_right_truncation THEN
    RETURN SQLERRM;
END
$$;
SELECT kind, said(kind, properties)
  FROM (VALUES ('wishlist', jsonb_build_object('product', noise('p', 3000))), ('event', jsonb_build_object('event', noise('e', 3000))),
               ('review', jsonb_build_object('review', noise('r', 3000), 'rating', 5)), ('cart', jsonb_build_object('cart', noise('c', 3000), 'value', 1)),
               ('delivery', jsonb_build_object('order', noise('o', 3000), 'delivered_at', lifecycle.now())),
               ('referral', jsonb_build_object('referral', 'r', 'referred', noise('r', 3000))),
               ('engagement', jsonb_build_object('type', 'open', 'message', noise('m', 3000))),
               ('refund', jsonb_build_object('refund', noise('f', 3000), 'amount', 1)),
               ('order', jsonb_build_object('order', '4', 'amount', 1, 'coupon', noise('k', 3000), 'cart', noise('c', 3000))),
               ('refund', jsonb_build_object('refund', '1', 'order', noise('o', 3000), 'amount', 1)),
               ('consent', jsonb_build_object('channel', 'email', 'status', 'granted', 'evidence', noise('e', 3000)))) AS t (kind, properties);
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT * FROM lifecycle.verify();
DROP TABLE orders, accounts, lines;
DROP EXTENSION pg_lifecycle;
DROP FUNCTION noise(text, int), brief(text), said(text, jsonb);
