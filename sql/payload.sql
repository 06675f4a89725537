-- What a mailer gets to render: everything a template needs, as it is when the message is claimed.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
SET lifecycle.clock = '2026-05-04 10:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
INSERT INTO lifecycle.scenario (name, trigger, reentry) VALUES
    ('price_drop', 'event:price_drop', 'every 1 day'), ('back_in_stock', 'event:back_in_stock', 'every 1 day');
INSERT INTO lifecycle.step (scenario, position, template, not_after) VALUES ('price_drop', 1, 'price_drop', '1 day'), ('back_in_stock', 1, 'back_in_stock', '1 day');
UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('cart_recovery', 'post_purchase', 'wishlist', 'review_care', 'price_drop', 'back_in_stock');
SELECT lifecycle.track('anna', 'customer', '{"email": "anna@example.org", "first_name": "Anna", "last_name": "Adler", "locale": "de-AT", "tags": ["eco"],
                                             "attributes": {"size": "M", "favourite_colour": "green"}}');
SELECT lifecycle.track('anna', 'consent', '{"channel": "email", "status": "granted"}');

-- AN ORDER, its lines, and how far it is to the next tier. What the row says before the claim is little; payload_of() says what claim() would.
SELECT lifecycle.track('anna', 'order_item', '{"order": "100", "line": "1", "product": "hat", "category": "hats", "quantity": 2, "amount": 60}'),
       lifecycle.track('anna', 'order_item', '{"order": "100", "line": "2", "product": "scarf", "category": "scarves", "quantity": 1, "amount": 45.5}'),
       lifecycle.track('anna', 'order', '{"order": "100", "amount": 105.5}');
SELECT payload - 'content' AS payload FROM lifecycle.outbox;
SELECT jsonb_pretty(lifecycle.payload_of(message_id) - '{content,unsubscribe_token}'::text[]) AS payload FROM lifecycle.outbox;
-- She changes her name and loses the tier before the mailer comes: what it gets is as it is then, and stays as it was sent.
SELECT lifecycle.track('anna', 'customer', '{"last_name": "Berger"}'), lifecycle.track('anna', 'refund', '{"refund": "r1", "order": "100", "amount": 45.5}');
SELECT payload - '{content,order,unsubscribe_token,attributes,tags}'::text[] AS payload, payload -> 'order' -> 'lines' -> 1 AS second_line, message_id FROM lifecycle.claim(1) \gx
SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox;
SELECT lifecycle.track('anna', 'customer', '{"last_name": "Cerny"}');
SELECT lifecycle.payload_of(message_id) ->> 'last_name' AS last_name FROM lifecycle.outbox;

-- A CART, with what is in it and where to go on; the token for the unsubscribe link works.
SET lifecycle.clock = '2026-05-05 10:00+00';
SELECT lifecycle.track('anna', 'cart', '{"cart": "k1", "value": 30, "currency": "EUR", "stage": "checkout", "url": "https://shop.example/cart/k1", "items": [{"product": "glove", "quantity": 1, "image": "glove.png"}]}');
SET lifecycle.clock = '2026-05-05 11:00+00';
SELECT lifecycle.tick() \gset
SELECT template, payload -> 'cart' AS cart, payload ->> 'unsubscribe_token' AS token, message_id FROM lifecycle.claim(1, 'email') \gset
SELECT :'template' AS template, jsonb_pretty(:'cart') AS cart;
SELECT lifecycle.ack(ARRAY[:message_id]);
BEGIN;
SELECT * FROM lifecycle.unsubscribe(:'token');
SELECT email_consent FROM lifecycle.customer;
ROLLBACK;

-- REVIEW, WISH.
SELECT lifecycle.track('anna', 'review', '{"review": "v1", "rating": 1, "product": "hat"}'), lifecycle.track('anna', 'wishlist', '{"product": "boots"}');
SELECT channel, payload -> 'review' AS review, payload ? 'unsubscribe_token' AS unsubscribe FROM lifecycle.claim(10, 'support');
SET lifecycle.clock = '2026-05-20 11:00+00';
SELECT lifecycle.tick() \gset
SELECT scenario, template, payload ->> 'product' AS product, payload -> 'wishlist' AS wishlist FROM lifecycle.claim(10, 'email') WHERE scenario = 'wishlist';

-- EVENTS bring what was said of them. Whoever has the product on the wishlist, and has not bought it, can be told at once.
SELECT lifecycle.track('ben', 'consent', '{"channel": "email", "status": "granted"}'), lifecycle.track('ben', 'wishlist', '{"product": "boots"}'),
       lifecycle.track('cleo', 'consent', '{"channel": "email", "status": "granted"}'), lifecycle.track('cleo', 'wishlist', '{"product": "boots"}'),
       lifecycle.track('cleo', 'order_item', '{"order": "200", "line": "1", "product": "boots", "amount": 90}'), lifecycle.track('cleo', 'order', '{"order": "200", "amount": 90}'),
       lifecycle.track('dan', 'wishlist', '{"product": "coat"}');
SELECT lifecycle.tell_wishlists('price_drop', 'boots', '{"old_price": 90, "price": 70}');
SELECT customer_id, scenario, jsonb_pretty(payload -> 'event') AS event FROM lifecycle.claim(10, 'email') WHERE scenario = 'price_drop' ORDER BY customer_id;
-- Said again it is the same event. Two products at once are one message that has both, if the scenario starts once a day at the most.
SELECT lifecycle.tell_wishlists('price_drop', 'boots', '{"old_price": 90, "price": 70}');
SET lifecycle.clock = '2026-05-22 11:00+00';
SELECT lifecycle.track('ben', 'wishlist', '{"product": "coat"}');
BEGIN;
SELECT lifecycle.tell_wishlists('back_in_stock', 'boots'), lifecycle.tell_wishlists('back_in_stock', 'coat', '{"price": 200}');
COMMIT;
SELECT customer_id, scenario, payload -> 'events' AS events FROM lifecycle.claim(10, 'email') WHERE scenario = 'back_in_stock' ORDER BY customer_id;

-- A message that the shop has put there itself, for no scenario, keeps the payload that it was given.
INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, recipient, scenario, anchor, step, class, template, payload, due_at)
    VALUES ('own:anna', 'anna', 'email', 'anna@example.org', 'own', 'x', 1, 'transactional', 'own', '{"first_name": "you"}', lifecycle.now());
SELECT payload, lifecycle.payload_of(message_id) FROM lifecycle.claim(10, 'email', customer_id => 'anna') WHERE scenario = 'own';
-- A mailer's role is told what its messages need, and nothing else.
CREATE ROLE regress_lifecycle_renderer;
SELECT lifecycle.grant_mailer('regress_lifecycle_renderer');
SET ROLE regress_lifecycle_renderer;
SELECT count(*) > 0 AS tells FROM lifecycle.outbox AS o WHERE lifecycle.payload_of(o.message_id) ? 'first_name';
\set VERBOSITY terse
SELECT lifecycle.fresh_payload('{}', 'anna', 'cart_recovery', 'x', 'email');
RESET ROLE;
DROP OWNED BY regress_lifecycle_renderer;
DROP ROLE regress_lifecycle_renderer;
DROP EXTENSION pg_lifecycle CASCADE;
