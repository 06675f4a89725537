-- What to recommend: counted from the lines of orders, exactly, whatever comes, changes and goes.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-05-04 10:00+00';
CREATE EXTENSION pg_lifecycle;
CREATE TABLE items (order_id text, line int, customer_id text, product text, category text, PRIMARY KEY (order_id, line));
CREATE TABLE wishes (customer_id text, product text, added_at timestamptz DEFAULT '2026-05-01 10:00+00');
SELECT lifecycle.attach('items', 'order_item', '{"order": "order_id", "line": "line", "customer": "customer_id", "product": "product", "category": "category"}');
SELECT lifecycle.attach('wishes', 'wishlist', '{"customer": "customer_id", "product": "product", "added_at": "added_at"}');
-- The oracle: counted in plain SQL from the shop's own table. No row: all is right.
CREATE VIEW wrong AS
    SELECT 'pair' AS what, * FROM (
        (SELECT product, other, orders FROM lifecycle.product_pair WHERE orders <> 0
         EXCEPT
         SELECT a.product, b.product, count(DISTINCT a.order_id) FROM items AS a JOIN items AS b ON a.order_id = b.order_id AND a.product <> b.product
           WHERE a.customer_id IS NOT NULL AND (SELECT count(DISTINCT c.product) FROM items AS c WHERE c.order_id = a.order_id) <= 50 GROUP BY 1, 2)
        UNION ALL
        (SELECT a.product, b.product, count(DISTINCT a.order_id) FROM items AS a JOIN items AS b ON a.order_id = b.order_id AND a.product <> b.product
           WHERE a.customer_id IS NOT NULL AND (SELECT count(DISTINCT c.product) FROM items AS c WHERE c.order_id = a.order_id) <= 50 GROUP BY 1, 2
         EXCEPT
         SELECT product, other, orders FROM lifecycle.product_pair)) AS p
    UNION ALL
    SELECT 'sales', * FROM (
        (SELECT product, category, orders FROM lifecycle.product_sales WHERE orders <> 0
         EXCEPT SELECT product, coalesce(category, ''), count(DISTINCT order_id) FROM items WHERE customer_id IS NOT NULL GROUP BY 1, 2)
        UNION ALL
        (SELECT product, coalesce(category, ''), count(DISTINCT order_id) FROM items WHERE customer_id IS NOT NULL GROUP BY 1, 2
         EXCEPT SELECT product, category, orders FROM lifecycle.product_sales)) AS s;
CREATE FUNCTION order_of(customer text, id text, products text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO items SELECT id, p.n, customer, split_part(p.product, '/', 1), NULLIF(split_part(p.product, '/', 2), '')
      FROM unnest(string_to_array(products, ' ')) WITH ORDINALITY AS p (product, n) $$;

-- Hats go with scarves, seldom with gloves; nobody has bought boots with anything.
SELECT order_of('ann', '1', 'hat/wool scarf/wool'), order_of('ben', '2', 'hat/wool scarf/wool glove/leather'), order_of('cay', '3', 'hat/wool glove/leather belt/leather'),
       order_of('dan', '4', 'hat/wool scarf/wool'), order_of('eve', '5', 'boots/leather'), order_of('eve', '6', 'boots/leather'), order_of('fay', '7', 'belt/leather');
-- Nothing is counted in the order's own transaction; the tick does it.
SELECT count(*) FROM lifecycle.product_pair;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;
SELECT * FROM lifecycle.product_pair WHERE product = 'hat' ORDER BY orders DESC;
SELECT * FROM lifecycle.product_sales ORDER BY orders DESC, product;

-- COMPLEMENTARY: what others have ordered with it, and never what the customer has.
SELECT order_of('gus', '8', 'hat/wool');
SELECT * FROM lifecycle.recommend('gus', 'complementary');
SELECT * FROM lifecycle.recommend('ann', 'complementary');
SELECT * FROM lifecycle.recommend('ann', 'complementary', products => '{glove}');
SELECT * FROM lifecycle.recommend('eve', 'complementary');
-- BEST SELLERS of the favourite categories; of all for who has not bought anything.
SELECT * FROM lifecycle.recommend('fay', 'best_sellers');
SELECT * FROM lifecycle.recommend('nobody', 'best_sellers', 2);
-- ALTERNATIVES to what is on the wishlist, from the same categories.
INSERT INTO wishes VALUES ('ann', 'belt'), ('ann', 'boots'), ('fay', 'unheard of');
SELECT * FROM lifecycle.recommend('ann', 'alternatives');
SELECT * FROM lifecycle.recommend('fay', 'alternatives');
SELECT * FROM lifecycle.recommend('fay', 'alternatives', products => '{hat}');
SELECT * FROM lifecycle.recommend('fay', 'surprises');

-- Lines that change, orders that go, tables that are detached.
UPDATE items SET product = 'cap' WHERE order_id = '2' AND product = 'hat';
DELETE FROM items WHERE order_id = '4';
UPDATE items SET category = 'felt' WHERE product = 'hat' AND order_id IN ('1', '3');
INSERT INTO items VALUES ('3', 9, 'cay', 'hat', 'wool'), ('1', 9, 'ann', 'glove', NULL);
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;
-- What comes and goes before anybody has counted it was never there; a transaction that rolls back, neither.
SELECT order_of('hal', '9', 'hat/wool sock/wool');
DELETE FROM items WHERE order_id = '9';
BEGIN; SELECT order_of('hal', '10', 'hat/wool sock/wool'); ROLLBACK;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;
SELECT count(*) FROM lifecycle.product_sales WHERE product = 'sock' AND orders > 0;
-- A wholesaler's order says little of what goes together.
SELECT order_of('shop', '11', string_agg('p' || n, ' ')) FROM generate_series(1, 51) AS n;
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) FROM lifecycle.product_pair WHERE product = 'p1' AND orders > 0;
DELETE FROM items WHERE order_id = '11' AND product = 'p51';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) FROM lifecycle.product_pair WHERE product = 'p1' AND orders > 0;
TABLE wrong;
-- A thousand random orders, changed at random.
SELECT setseed(0.5);
SELECT order_of('c' || n % 50, 'r' || n, (SELECT string_agg(DISTINCT 'x' || (random() * 20)::int || '/k' || (random() * 3)::int, ' ') FROM generate_series(1, 1 + (n * 7) % 5)))
  FROM generate_series(1, 1000) AS n \g /dev/null
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;
DELETE FROM items WHERE random() < 0.2;
UPDATE items SET product = 'x' || (random() * 20)::int, category = 'k' || (random() * 3)::int WHERE random() < 0.2;
UPDATE items SET customer_id = 'c' || right(customer_id, 1) WHERE customer_id LIKE 'c__' AND order_id ~ '[13579]$';
SELECT * FROM lifecycle.verify() LIMIT 3;
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;

-- Two customers who are one; a customer who is forgotten. Orders that both have, too.
SELECT lifecycle.track('guest', 'order_item', '{"order": "both", "line": "1", "product": "hat", "category": "wool"}'),
       lifecycle.track('ann', 'order_item', '{"order": "both", "line": "2", "product": "hat", "category": "wool"}'),
       lifecycle.track('guest', 'order_item', '{"order": "both", "line": "3", "product": "tie", "category": "silk"}');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT lifecycle.merge('guest', 'ann');
SELECT source, what, expected, found FROM lifecycle.verify();
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT source, what, expected, found FROM lifecycle.verify();
SELECT lifecycle.track('ann', 'order_item', '{"order": "last", "line": "1", "product": "hat", "category": "wool"}');
SELECT count(*) > 0 AS gone FROM lifecycle.forget('ann');
DELETE FROM items WHERE customer_id = 'ann';
SELECT lifecycle.tick() >= 0 AS ticked;
TABLE wrong;
SELECT * FROM lifecycle.forget_check('ann');

-- verify() sees what is wrong, and rebuild() mends it.
UPDATE lifecycle.product_pair SET orders = orders + 1 WHERE (product, other) = ('cap', 'scarf');
DELETE FROM lifecycle.product_sales WHERE product = 'belt';
INSERT INTO lifecycle.product_pair VALUES ('moon', 'sun', 3);
SELECT what, expected, found FROM lifecycle.verify() ORDER BY what;
SELECT lifecycle.rebuild();
SELECT * FROM lifecycle.verify();
TABLE wrong;
-- A table that is detached takes along what it has said.
SELECT lifecycle.detach('public.items:order_item');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT count(*) FROM lifecycle.product_pair WHERE orders <> 0;
SELECT * FROM lifecycle.verify();

-- STEPS that recommend: the products are in the payload, chosen when the message is claimed.
SELECT lifecycle.attach('items', 'order_item', '{"order": "order_id", "line": "line", "customer": "customer_id", "product": "product", "category": "category"}');
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.scenario (name, trigger) VALUES ('thanks', 'order_placed'), ('wish', 'wishlist_added'), ('hello', 'event:hello');
INSERT INTO lifecycle.step (scenario, position, class, template, recommends) VALUES
    ('thanks', 1, 'transactional', 'thanks', 'complementary'), ('wish', 1, 'transactional', 'wish', 'alternatives'), ('hello', 1, 'transactional', 'hello', 'best_sellers');
UPDATE lifecycle.scenario SET status = 'active';
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT order_of('kim', '30', 'tent/camping stove/camping'), order_of('lou', '31', 'tent/camping stove/camping lamp/camping');
SELECT lifecycle.tick() >= 0 AS ticked;
SELECT lifecycle.track('ivy', 'order_item', '{"order": "20", "line": "1", "product": "tent", "category": "camping"}'), lifecycle.track('ivy', 'order', '{"order": "20", "amount": 5}'),
       lifecycle.track('ivy', 'wishlist', '{"product": "lamp"}'), lifecycle.track('joe', 'event', '{"event": "hello"}');
SELECT customer_id, scenario, payload -> 'recommendations' AS recommendations FROM lifecycle.claim(customer_id => 'ivy') ORDER BY 1, 2;
SELECT jsonb_path_query_array(payload, '$.recommendations[*].product') = (SELECT jsonb_agg(r.product) FROM lifecycle.recommend('joe', 'best_sellers') AS r) AS best_sellers
  FROM lifecycle.claim(customer_id => 'joe');
\set VERBOSITY terse
INSERT INTO lifecycle.step (scenario, position, class, template, recommends) VALUES ('thanks', 2, 'transactional', 'thanks', 'anything');

DROP EXTENSION pg_lifecycle CASCADE;
DROP TABLE items, wishes CASCADE;
DROP FUNCTION order_of;
