-- Facts from application code, with no table behind them; and amounts in several currencies.
\set VERBOSITY terse
SET client_min_messages = warning;
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();

SELECT lifecycle.track('ann', 'customer', '{"email": "ann@example.org", "tags": ["vegan", "berlin"], "birthday": "1990-02-28"}');
SELECT lifecycle.track('ann', 'customer', '{"first_name": "Ann", "attributes": {"size": "M"}}');
SELECT email, first_name, tags, birthday, attributes FROM lifecycle.customer;
SELECT lifecycle.track('ann', 'consent', '{"channel": "email", "status": "granted", "evidence": "form 7"}');
SELECT lifecycle.track('ann', 'cart', '{"cart": "c1", "value": 80, "items": [{"product": "hat"}], "url": "https://shop.example/c1"}');
SELECT lifecycle.track('ann', 'order_item', '{"order": "o1", "line": "1", "product": "hat", "quantity": 1, "amount": 80}');
SELECT email_consent, cart_id, cart_value, last_activity_at FROM lifecycle.customer;
SELECT lifecycle.track('ann', 'order', '{"order": "o1", "amount": 80, "cart": "c1"}', '2030-03-01 12:30+00');
SELECT order_count, cart_id FROM lifecycle.customer;
SET lifecycle.clock = '2030-03-01 13:00+00';
SELECT lifecycle.tick() > 0 AS ticked;
SELECT order_count, revenue, last_order_at, cart_id FROM lifecycle.customer;
-- Said again, it counts once; said differently, the last word counts.
SELECT lifecycle.track('ann', 'order', '{"order": "o1", "amount": 80, "cart": "c1"}', '2030-03-01 12:30+00');
SELECT lifecycle.track('ann', 'order', '{"order": "o1", "amount": 75.50, "cart": "c1"}', '2030-03-01 12:30+00');
SELECT order_count, revenue, last_order_at FROM lifecycle.customer;
SELECT order_id, cart FROM lifecycle.order_detail;
SELECT lifecycle.track('ann', 'event', '{"event": "tried_on", "product": "hat", "properties": {"size": "M"}}') FROM generate_series(1, 3);
SELECT event, occurred_at, properties FROM lifecycle.event;
SELECT lifecycle.track('ann', 'engagement', '{"type": "click"}') FROM generate_series(1, 2);
SELECT count(*), max(occurred_at) FROM lifecycle.engagement;
SELECT lifecycle.track('ann', 'refund', '{"refund": "r1", "order": "o1", "amount": 5.50}');
SELECT revenue FROM lifecycle.customer;
-- Taken back.
SELECT lifecycle.untrack('ann', 'refund', '{"refund": "r1"}');
SELECT lifecycle.untrack('ann', 'refund', '{"refund": "r1"}');
SELECT lifecycle.untrack('ann', 'order', '{"order": "o1"}');
SELECT order_count, revenue, cart_id FROM lifecycle.customer;
SELECT count(*) FROM lifecycle.order_detail;
-- It is the caller's transaction.
BEGIN;
SELECT lifecycle.track('bob', 'order', '{"order": "o2", "amount": 10}');
ROLLBACK;
SELECT customer_id FROM lifecycle.customer;
-- What cannot be is refused.
SELECT lifecycle.track(NULL, 'order', '{"order": "o3", "amount": 10}');
SELECT lifecycle.track('', 'order', '{"order": "o3", "amount": 10}');
SELECT lifecycle.track('ann', 'invoice', '{}');
SELECT lifecycle.track('ann', 'order', '{"order": "o3"}');
SELECT lifecycle.track('ann', 'order', '{"amount": 10}');
SELECT lifecycle.track('ann', 'order', '{"order": "o3", "amount": "NaN"}');
SELECT lifecycle.track('ann', 'order', '{"order": "o3", "amount": "ten"}');
SELECT lifecycle.track('ann', 'order', '{"order": "o3", "amuont": 10}');
SELECT lifecycle.track('ann', 'order', '[]');
SELECT lifecycle.track('ann', 'engagement', '{"type": "yawn"}');
SELECT lifecycle.track('ann', 'visit');
-- Whoever may not, may not.
CREATE ROLE nobody_special;
SET ROLE nobody_special;
SELECT lifecycle.track('ann', 'order', '{"order": "o3", "amount": 10}');
RESET ROLE;
DROP ROLE nobody_special;

-- Currencies. Rates hold from their day, in the shop's zone, until the next.
INSERT INTO lifecycle.shop (currency, time_zone) VALUES ('EUR', 'Europe/Berlin');
INSERT INTO lifecycle.exchange_rate VALUES ('USD', '2030-01-01', 0.90), ('USD', '2030-03-01', 0.80), ('JPY', '2030-01-01', 0.0061);
CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, currency text, at timestamptz DEFAULT lifecycle.now());
CREATE TABLE refunds (id int PRIMARY KEY, order_id int, customer text, total numeric, currency text, at timestamptz DEFAULT lifecycle.now());
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "total", "currency": "currency", "placed_at": "at"}');
SELECT lifecycle.attach('refunds', 'refund', '{"refund": "id", "order": "order_id", "customer": "customer", "amount": "total", "currency": "currency", "refunded_at": "at"}');
INSERT INTO orders VALUES (1, 'cid', 100, 'EUR', lifecycle.now()), (2, 'cid', 100, 'usd', '2030-02-28 22:59:59+00'), (3, 'cid', 100, 'USD', '2030-02-28 23:00+00'),
                          (4, 'cid', 1000, 'JPY', lifecycle.now()), (5, 'cid', 100, 'GBP', lifecycle.now()), (6, 'cid', 100, 'USD', '2029-12-01');
SELECT order_count, revenue, average_order_value FROM lifecycle.customer WHERE customer_id = 'cid';
SELECT id, amount, currency, foreign_amount, rate FROM lifecycle.purchase WHERE customer_id = 'cid' ORDER BY id;
SELECT data ->> 'id' AS id, sqlstate, message, detail FROM lifecycle.quarantine ORDER BY quarantine_id;
-- The rate comes: what waited is taken in.
INSERT INTO lifecycle.exchange_rate VALUES ('GBP', '2030-01-01', 1.15);
SELECT lifecycle.replay_quarantine();
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'cid';
-- A refund gives back what its order was worth on the order's day.
INSERT INTO refunds VALUES (1, 2, 'cid', 100, 'USD');
SELECT id, amount, rate FROM lifecycle.purchase WHERE customer_id = 'cid' AND kind = 'refund';
INSERT INTO refunds VALUES (2, NULL, 'cid', 50, 'USD');
SELECT id, amount, rate FROM lifecycle.purchase WHERE customer_id = 'cid' AND kind = 'refund' ORDER BY id;
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'cid';
-- Changed rates change nothing that has been taken in; a changed currency does.
UPDATE lifecycle.exchange_rate SET rate = 2 WHERE currency = 'USD';
SELECT lifecycle.rebuild();
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'cid';
UPDATE orders SET currency = 'JPY' WHERE id = 1;
DELETE FROM refunds;
DELETE FROM orders WHERE id IN (2, 3);
SELECT order_count, revenue FROM lifecycle.customer WHERE customer_id = 'cid';
-- Rates that cannot be.
INSERT INTO lifecycle.exchange_rate VALUES ('EURO', '2030-01-01', 1);
INSERT INTO lifecycle.exchange_rate VALUES ('CHF', '2030-01-01', 0);
INSERT INTO lifecycle.exchange_rate VALUES ('CHF', '2030-01-01', 'NaN');

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE orders, refunds;
