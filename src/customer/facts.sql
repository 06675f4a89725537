-- What the shop says beside orders and refunds, as it said it: one table for each kind of fact.

CREATE TABLE lifecycle.order_item (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    order_id    text NOT NULL,
    line        text NOT NULL,
    product     text NOT NULL,
    category    text,
    quantity    numeric,
    amount      numeric
) USING heap;
CREATE INDEX order_item_customer_id_idx ON lifecycle.order_item (customer_id, order_id);
COMMENT ON TABLE lifecycle.order_item IS 'What was ordered, line by line';
COMMENT ON COLUMN lifecycle.order_item.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.order_item.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.order_item.order_id IS 'The shop''s id of the order';
COMMENT ON COLUMN lifecycle.order_item.line IS 'The line of the order';
COMMENT ON COLUMN lifecycle.order_item.product IS 'The product';
COMMENT ON COLUMN lifecycle.order_item.category IS 'Its category';
COMMENT ON COLUMN lifecycle.order_item.quantity IS 'How many';
COMMENT ON COLUMN lifecycle.order_item.amount IS 'What the whole line costs; an order mapped without an amount costs the sum of its lines';

CREATE TABLE lifecycle.cart (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    cart_id     text NOT NULL,
    value       numeric,
    currency    text,
    stage       text,
    items       jsonb,
    url         text,
    updated_at  timestamptz NOT NULL
) USING heap;
CREATE INDEX cart_customer_id_idx ON lifecycle.cart (customer_id, cart_id);
COMMENT ON TABLE lifecycle.cart IS 'Carts that the shop has';
COMMENT ON COLUMN lifecycle.cart.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.cart.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.cart.cart_id IS 'The shop''s id of the cart';
COMMENT ON COLUMN lifecycle.cart.value IS 'What is in it is worth';
COMMENT ON COLUMN lifecycle.cart.currency IS 'In which currency';
COMMENT ON COLUMN lifecycle.cart.stage IS 'How far the customer has come: cart, checkout or payment';
COMMENT ON COLUMN lifecycle.cart.items IS 'What is in it: an array, or how many. Empty or 0: it was emptied';
COMMENT ON COLUMN lifecycle.cart.url IS 'Where to go on';
COMMENT ON COLUMN lifecycle.cart.updated_at IS 'When it last changed';

CREATE TABLE lifecycle.engagement (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    type        text NOT NULL,
    occurred_at timestamptz NOT NULL,
    message     text
) USING heap;
CREATE INDEX engagement_customer_id_idx ON lifecycle.engagement (customer_id, type, occurred_at);
COMMENT ON TABLE lifecycle.engagement IS 'What was sent to customers and what they did with it, and visits to the shop';
COMMENT ON COLUMN lifecycle.engagement.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.engagement.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track(), -1: lifecycle.outbox';
COMMENT ON COLUMN lifecycle.engagement.type IS 'sent, open, click, visit, bounce or complaint';
COMMENT ON COLUMN lifecycle.engagement.occurred_at IS 'When';
COMMENT ON COLUMN lifecycle.engagement.message IS 'The message it is about';

CREATE TABLE lifecycle.delivery (
    customer_id  text COLLATE "C" NOT NULL,
    source_id    int4 NOT NULL,
    order_id     text NOT NULL,
    delivered_at timestamptz NOT NULL,
    shipped_at   timestamptz
) USING heap;
CREATE INDEX delivery_customer_id_idx ON lifecycle.delivery (customer_id, order_id);
COMMENT ON TABLE lifecycle.delivery IS 'Deliveries; an order may come in several';
COMMENT ON COLUMN lifecycle.delivery.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.delivery.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.delivery.order_id IS 'The shop''s id of the order';
COMMENT ON COLUMN lifecycle.delivery.delivered_at IS 'When it arrived; where the shop says only when it was shipped, shop.delivery_time after that';
COMMENT ON COLUMN lifecycle.delivery.shipped_at IS 'When it was shipped';

CREATE TABLE lifecycle.review (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    review      text NOT NULL,
    rating      numeric NOT NULL,
    product     text,
    reviewed_at timestamptz NOT NULL
) USING heap;
CREATE INDEX review_customer_id_idx ON lifecycle.review (customer_id, review);
COMMENT ON TABLE lifecycle.review IS 'Reviews of products';
COMMENT ON COLUMN lifecycle.review.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.review.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.review.review IS 'The shop''s id of the review';
COMMENT ON COLUMN lifecycle.review.rating IS 'Stars, from 1';
COMMENT ON COLUMN lifecycle.review.product IS 'The product';
COMMENT ON COLUMN lifecycle.review.reviewed_at IS 'When';

CREATE TABLE lifecycle.wishlist (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    product     text NOT NULL,
    added_at    timestamptz NOT NULL
) USING heap;
CREATE INDEX wishlist_customer_id_idx ON lifecycle.wishlist (customer_id, product);
CREATE INDEX wishlist_product_idx ON lifecycle.wishlist USING hash (product);
COMMENT ON TABLE lifecycle.wishlist IS 'Products on wishlists';
COMMENT ON COLUMN lifecycle.wishlist.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.wishlist.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.wishlist.product IS 'The product';
COMMENT ON COLUMN lifecycle.wishlist.added_at IS 'When it was put there';

CREATE TABLE lifecycle.referral (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    referral    text NOT NULL,
    referred    text NOT NULL,
    referred_at timestamptz NOT NULL
) USING heap;
CREATE INDEX referral_customer_id_idx ON lifecycle.referral (customer_id, referral);
COMMENT ON TABLE lifecycle.referral IS 'Customers who brought others';
COMMENT ON COLUMN lifecycle.referral.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.referral.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.referral.referral IS 'The shop''s id of the referral';
COMMENT ON COLUMN lifecycle.referral.referred IS 'The customer who was brought';
COMMENT ON COLUMN lifecycle.referral.referred_at IS 'When';

CREATE TABLE lifecycle.event (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    event       text NOT NULL,
    occurred_at timestamptz NOT NULL,
    properties  jsonb
) USING heap;
CREATE INDEX event_customer_id_idx ON lifecycle.event (customer_id, event, occurred_at);
COMMENT ON TABLE lifecycle.event IS 'Whatever else happened to a customer';
COMMENT ON COLUMN lifecycle.event.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.event.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.event.event IS 'What happened';
COMMENT ON COLUMN lifecycle.event.occurred_at IS 'When';
COMMENT ON COLUMN lifecycle.event.properties IS 'What else there is to say of it';

CREATE TABLE lifecycle.order_detail (
    customer_id text COLLATE "C" NOT NULL,
    source_id   int4 NOT NULL,
    order_id    text NOT NULL,
    cart        text,
    coupon      text
) USING heap;
CREATE INDEX order_detail_customer_id_idx ON lifecycle.order_detail (customer_id, order_id);
COMMENT ON TABLE lifecycle.order_detail IS 'The carts and coupons that orders name';
COMMENT ON COLUMN lifecycle.order_detail.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.order_detail.source_id IS 'The source (lifecycle.source) that said it; 0: lifecycle.track()';
COMMENT ON COLUMN lifecycle.order_detail.order_id IS 'The shop''s id of the order';
COMMENT ON COLUMN lifecycle.order_detail.cart IS 'The cart that became this order';
COMMENT ON COLUMN lifecycle.order_detail.coupon IS 'The code that was used';

CREATE VIEW lifecycle.activity AS
    SELECT e.customer_id, 'engagement' AS kind, e.type AS id, e.occurred_at AS at FROM lifecycle.engagement AS e
    UNION ALL SELECT c.customer_id, 'cart', c.cart_id, c.updated_at FROM lifecycle.cart AS c
    UNION ALL SELECT d.customer_id, 'delivery', d.order_id, d.delivered_at FROM lifecycle.delivery AS d
    UNION ALL SELECT r.customer_id, 'review', r.review, r.reviewed_at FROM lifecycle.review AS r
    UNION ALL SELECT w.customer_id, 'wishlist', w.product, w.added_at FROM lifecycle.wishlist AS w
    UNION ALL SELECT r.customer_id, 'referral', r.referral, r.referred_at FROM lifecycle.referral AS r
    UNION ALL SELECT e.customer_id, 'event', e.event, e.occurred_at FROM lifecycle.event AS e;
COMMENT ON VIEW lifecycle.activity IS 'Everything that has a time beside orders and refunds, of all kinds';
COMMENT ON COLUMN lifecycle.activity.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.activity.kind IS 'engagement, cart, delivery, review, wishlist, referral or event';
COMMENT ON COLUMN lifecycle.activity.id IS 'The type of an engagement, the order that was delivered, the product wished for, the name of an event; else the shop''s id';
COMMENT ON COLUMN lifecycle.activity.at IS 'When it happened';

-- The one table here that is not by customer: it is there to find the customer. Used only if items or deliveries say none.
CREATE TABLE lifecycle.order_owner (
    order_id    text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    CONSTRAINT order_owner_pkey PRIMARY KEY (order_id)
) USING heap;
COMMENT ON TABLE lifecycle.order_owner IS 'Internal: who placed which order; kept while a source of items or deliveries is attached that says no customer';
COMMENT ON COLUMN lifecycle.order_owner.order_id IS 'The shop''s id of the order';
COMMENT ON COLUMN lifecycle.order_owner.customer_id IS 'The customer; empty: nobody yet';
