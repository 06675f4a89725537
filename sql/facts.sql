-- A shop whose orders have no total and whose lines have no customer; carts and orders in one table; deliveries that are never
-- recorded; and everything else that customers do.
\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

CREATE TABLE sales (id int PRIMARY KEY, customer text, state text NOT NULL DEFAULT 'cart', cart_id text, coupon text, currency text,
                    changed_at timestamptz DEFAULT lifecycle.now());
CREATE TABLE lines (id int PRIMARY KEY, sale int, sku text, category text, quantity int, price numeric);
CREATE TABLE parcels (id int PRIMARY KEY, sale int, shipped_at timestamptz, delivered_at timestamptz);
CREATE TABLE clicks (who text, what text, message text, at timestamptz DEFAULT lifecycle.now());
CREATE TABLE reviews (id int PRIMARY KEY, author text, stars numeric, sku text, state text, at timestamptz DEFAULT lifecycle.now());
CREATE TABLE wishes (customer text, sku text, at timestamptz DEFAULT lifecycle.now(), PRIMARY KEY (customer, sku));
CREATE TABLE friends (id int PRIMARY KEY, customer text, friend text, at timestamptz DEFAULT lifecycle.now());
CREATE TABLE happenings (customer text, name text, data jsonb, at timestamptz DEFAULT lifecycle.now());

SELECT lifecycle.attach('sales', 'order', '{"order": "id", "customer": "customer", "placed_at": "changed_at", "currency": "currency",
                                            "cart": "cart_id", "coupon": "coupon"}', $$ state = 'placed' $$);
SELECT lifecycle.attach('sales', 'cart', '{"cart": "id", "customer": "customer", "stage": "CASE state WHEN ''cart'' THEN state ELSE ''checkout'' END",
                                           "updated_at": "changed_at"}', $$ state IN ('cart', 'address') $$);
SELECT lifecycle.attach('lines', 'order_item', '{"order": "sale", "line": "id", "product": "sku", "category": "category",
                                                 "quantity": "quantity", "amount": "quantity * price"}');
SELECT lifecycle.attach('parcels', 'delivery', '{"order": "sale", "shipped_at": "shipped_at", "delivered_at": "delivered_at"}');
SELECT lifecycle.attach('clicks', 'engagement', '{"customer": "who", "type": "what", "occurred_at": "at", "message": "message"}');
SELECT lifecycle.attach('reviews', 'review', '{"review": "id", "customer": "author", "rating": "stars", "product": "sku", "reviewed_at": "at"}',
                        $$ state = 'accepted' $$);
SELECT lifecycle.attach('wishes', 'wishlist', '{"customer": "customer", "product": "sku", "added_at": "at"}');
SELECT lifecycle.attach('friends', 'referral', '{"referral": "id", "customer": "customer", "referred": "friend", "referred_at": "at"}');
SELECT lifecycle.attach('happenings', 'event', '{"customer": "customer", "event": "name", "occurred_at": "at", "properties": "data"}');

-- A cart is filled. Nobody has ordered its lines yet.
INSERT INTO sales (id, customer) VALUES (1, 'ann'), (2, 'bob');
INSERT INTO lines VALUES (1, 1, 'shirt', 'clothes', 2, 10), (2, 1, 'socks', 'clothes', 1, 5.50), (3, 2, 'shirt', 'clothes', 1, 10);
SELECT customer_id, order_count, revenue, cart_id, cart_updated_at, last_activity_at FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, order_id, line FROM lifecycle.order_item ORDER BY 3;
-- It becomes an order: its lines come with it, and add up to its amount.
SET lifecycle.clock = '2030-03-01 13:00+00';
UPDATE sales SET state = 'placed', changed_at = lifecycle.now(), coupon = 'SPRING' WHERE id = 1;
SELECT customer_id, order_count, revenue, cart_id, last_activity_at FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, order_id, line, product, category, quantity, amount FROM lifecycle.order_item ORDER BY 3;
SELECT customer_id, order_id, cart, coupon FROM lifecycle.order_detail;
-- A line is changed, taken out, put in; nobody else's orders are read for it.
SELECT pg_stat_force_next_flush();
BEGIN;
UPDATE lines SET price = 12 WHERE id = 1;
SELECT relname, seq_scan FROM pg_stat_xact_all_tables
 WHERE schemaname = 'lifecycle' AND relname IN ('customer', 'purchase_ledger', 'order_item') ORDER BY 1;
COMMIT;
SELECT revenue FROM lifecycle.customer WHERE customer_id = 'ann';
DELETE FROM lines WHERE id = 2;
INSERT INTO lines VALUES (4, 1, 'hat', 'clothes', 1, 30);
SELECT revenue, order_count, first_order_at FROM lifecycle.customer WHERE customer_id = 'ann';
-- The order changes hands, with all that hangs on it.
UPDATE sales SET customer = 'cid' WHERE id = 1;
SELECT customer_id, order_count, revenue FROM lifecycle.customer ORDER BY 1;
SELECT customer_id, line FROM lifecycle.order_item ORDER BY 2;
-- It goes, lines last, as a foreign key would have it; then one whose lines go first.
DELETE FROM sales WHERE id = 1;
DELETE FROM lines WHERE sale = 1;
SELECT customer_id, order_count, revenue, last_order_at FROM lifecycle.customer ORDER BY 1;
UPDATE sales SET state = 'placed' WHERE id = 2;
DELETE FROM lines WHERE sale = 2;
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'bob';
DELETE FROM sales WHERE id = 2;
SELECT count(*) FROM lifecycle.order_item;

-- Carts: the latest that is not empty and not older than the last order is the open one.
CREATE TABLE baskets (id text PRIMARY KEY, customer text, value numeric, pieces jsonb, at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('baskets', 'cart', '{"cart": "id", "customer": "customer", "value": "value", "items": "pieces", "updated_at": "at"}');
INSERT INTO baskets VALUES ('b1', 'dan', 20, '2', lifecycle.now() - interval '2 hours'), ('b2', 'dan', 30, '[{"sku": "hat"}]', lifecycle.now() - interval '1 hour');
SELECT cart_id, cart_value, cart_updated_at FROM lifecycle.customer WHERE customer_id = 'dan';
UPDATE baskets SET pieces = '[]' WHERE id = 'b2';
SELECT cart_id, cart_value FROM lifecycle.customer WHERE customer_id = 'dan';
UPDATE baskets SET pieces = '1', value = 7 WHERE id = 'b2';
DELETE FROM baskets WHERE id = 'b1';
SELECT cart_id, cart_value FROM lifecycle.customer WHERE customer_id = 'dan';
-- An order closes it, on whichever device; its withdrawal opens it again; an order that names it closes it whenever it was placed.
INSERT INTO sales VALUES (10, 'dan', 'placed');
SELECT cart_id, order_count FROM lifecycle.customer WHERE customer_id = 'dan';
UPDATE sales SET state = 'cancelled' WHERE id = 10;
SELECT cart_id, order_count FROM lifecycle.customer WHERE customer_id = 'dan';
INSERT INTO sales VALUES (11, 'dan', 'placed', 'b2', NULL, NULL, lifecycle.now() - interval '1 day');
SELECT cart_id, order_count FROM lifecycle.customer WHERE customer_id = 'dan';

-- Signs of life count at their own time: late ones, and those that lie in the future.
INSERT INTO clicks VALUES ('eve', 'open', 'm1', lifecycle.now()), ('eve', 'visit', NULL, lifecycle.now() - interval '1 hour'),
                          ('eve', 'click', 'm1', lifecycle.now() + interval '1 hour'), ('eve', 'bounce', 'm2', lifecycle.now());
SELECT last_open_at, last_click_at, last_visit_at, last_activity_at FROM lifecycle.customer WHERE customer_id = 'eve';
SET lifecycle.clock = '2030-03-01 15:00+00';
SELECT lifecycle.tick();
SELECT last_open_at, last_click_at, last_visit_at, last_activity_at FROM lifecycle.customer WHERE customer_id = 'eve';
DELETE FROM clicks WHERE what = 'click';
SELECT last_open_at, last_click_at, last_visit_at, last_activity_at FROM lifecycle.customer WHERE customer_id = 'eve';
-- Cutting the log of old visits takes nothing back.
INSERT INTO clicks VALUES ('eve', 'visit', NULL, lifecycle.now());
DELETE FROM clicks WHERE at < lifecycle.now();
SELECT last_open_at, last_visit_at FROM lifecycle.customer WHERE customer_id = 'eve';
INSERT INTO reviews VALUES (1, 'fay', 2, 'hat', 'new', lifecycle.now()), (2, 'fay', 5, 'shirt', 'accepted', lifecycle.now() - interval '1 minute');
INSERT INTO wishes VALUES ('gus', 'hat');
INSERT INTO friends VALUES (1, 'hal', 'gus');
INSERT INTO happenings VALUES ('ida', 'signed_up', '{"plan": "free"}');
SELECT customer_id, last_activity_at FROM lifecycle.customer WHERE customer_id > 'f' ORDER BY 1;
SELECT customer_id, kind, id, at FROM lifecycle.activity WHERE customer_id > 'f' ORDER BY 1;
UPDATE reviews SET state = 'accepted' WHERE id = 1;
SELECT customer_id, review, rating, product FROM lifecycle.review ORDER BY 2;
DELETE FROM reviews;
SELECT last_activity_at FROM lifecycle.customer WHERE customer_id = 'fay';

-- Deliveries: what is only shipped arrives shop.delivery_time later.
INSERT INTO sales VALUES (20, 'jan', 'placed');
INSERT INTO parcels VALUES (1, 20, '2030-03-01 08:00+00', NULL), (2, 20, NULL, NULL), (3, 99, NULL, '2030-03-02 10:00+00');
SELECT customer_id, order_id, delivered_at, shipped_at FROM lifecycle.delivery ORDER BY order_id;
UPDATE parcels SET delivered_at = '2030-03-04 16:00+00' WHERE id = 1;
SELECT customer_id, order_id, delivered_at, shipped_at FROM lifecycle.delivery ORDER BY order_id;

-- What cannot be: into quarantine, and the rest of the statement counts.
INSERT INTO clicks VALUES ('eve', 'yawn', NULL, lifecycle.now()), ('eve', NULL, NULL, lifecycle.now()), ('eve', 'open', NULL, 'infinity'),
                          ('kim', 'open', NULL, lifecycle.now());
INSERT INTO wishes VALUES ('kim', repeat('x', 2000));
INSERT INTO reviews VALUES (3, 'kim', 'NaN', NULL, 'accepted');
SELECT source, data ->> 'what' AS what, sqlstate, message, left(detail, 30) AS detail FROM lifecycle.quarantine ORDER BY quarantine_id;
SELECT customer_id, last_open_at FROM lifecycle.customer WHERE customer_id = 'kim';
DELETE FROM lifecycle.quarantine;

-- TRUNCATE and detach take back everything, nobody's items too.
INSERT INTO sales VALUES (30, 'lea', 'placed');
INSERT INTO lines VALUES (30, 30, 'hat', NULL, 1, 40), (31, 31, 'hat', NULL, 1, 40);
SELECT revenue FROM lifecycle.customer WHERE customer_id = 'lea';
TRUNCATE lines, clicks;
SELECT revenue, order_count FROM lifecycle.customer WHERE customer_id = 'lea';
SELECT last_open_at, last_visit_at FROM lifecycle.customer WHERE customer_id = 'eve';
SELECT lifecycle.detach(name) FROM lifecycle.source ORDER BY name;
SELECT customer_id FROM lifecycle.customer WHERE order_count > 0 OR revenue <> 0 OR last_activity_at IS NOT NULL OR cart_id IS NOT NULL;
SELECT count(*) FROM lifecycle.activity;
-- Attached again, everything is there again.
INSERT INTO lines VALUES (30, 30, 'hat', NULL, 1, 40);
SELECT lifecycle.attach('lines', 'order_item', '{"order": "sale", "line": "id", "product": "sku", "amount": "quantity * price"}');
SELECT lifecycle.attach('sales', 'order', '{"order": "id", "customer": "customer", "placed_at": "changed_at"}', $$ state = 'placed' $$);
SELECT customer_id, order_count, revenue FROM lifecycle.customer WHERE order_count > 0 ORDER BY 1;
-- Other mappings that cannot work.
SELECT lifecycle.attach('parcels', 'delivery', '{"order": "sale"}');
SELECT lifecycle.attach('wishes', 'wishlist', '{"customer": "customer", "product": "sku"}');
-- Somebody who is known for a day and then looks around was a prospect before that already, and still is when all is worked out anew.
SET lifecycle.clock = '2030-04-01 12:00+00';
SELECT lifecycle.track('zoe', 'customer', '{"first_name": "Zoe"}');
SET lifecycle.clock = '2030-04-02 12:00+00';
SELECT lifecycle.track('zoe', 'engagement', '{"type": "visit"}');
SELECT * FROM lifecycle.verify_customers('{zoe}');
SELECT lifecycle.rebuild();
SELECT segment, entered_at FROM lifecycle.segment_member WHERE customer_id = 'zoe';

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE sales, lines, parcels, clicks, reviews, wishes, friends, happenings, baskets;
