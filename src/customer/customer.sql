-- The customer row, the purchase ledger it is computed from, and what a shop says of itself.

CREATE TABLE lifecycle.shop (
    only_row      boolean NOT NULL DEFAULT true,
    time_zone     text NOT NULL DEFAULT 'UTC',
    currency      text,
    delivery_time interval NOT NULL DEFAULT '5 days',
    holdout       numeric NOT NULL DEFAULT 0,
    leap_birthday text NOT NULL DEFAULT 'february_28',
    CONSTRAINT shop_pkey PRIMARY KEY (only_row),
    CONSTRAINT shop_has_one_row CHECK (only_row),
    CONSTRAINT shop_holdout_is_a_share CHECK (holdout BETWEEN 0 AND 1),
    CONSTRAINT shop_leap_birthday_is_known CHECK (leap_birthday IN ('february_28', 'march_1', 'skip')),
    CONSTRAINT shop_currency_is_iso_4217 CHECK (currency ~ '^[A-Z]{3}$')
);
COMMENT ON TABLE lifecycle.shop IS 'What holds for the whole shop, in one row; without it the defaults hold';
COMMENT ON COLUMN lifecycle.shop.only_row IS 'Keeps the table at one row';
COMMENT ON COLUMN lifecycle.shop.time_zone IS 'Zone in which days and months are counted for customers whose own is unknown';
COMMENT ON COLUMN lifecycle.shop.leap_birthday IS 'When somebody born on 29 February celebrates in a common year: february_28, march_1, or skip: not at all';
COMMENT ON COLUMN lifecycle.shop.delivery_time IS 'How long after it was shipped an order counts as delivered if the shop never says when it was';
COMMENT ON COLUMN lifecycle.shop.holdout IS 'Share of customers, 0 to 1, who get no marketing at all, so that the effect of all of it can be measured';
COMMENT ON COLUMN lifecycle.shop.currency IS 'ISO 4217 code that amounts are added up in; others are converted with lifecycle.exchange_rate. NULL: currencies are not looked at';

CREATE TABLE lifecycle.exchange_rate (
    currency   text NOT NULL,
    valid_from date NOT NULL,
    rate       numeric NOT NULL,
    CONSTRAINT exchange_rate_pkey PRIMARY KEY (currency, valid_from),
    CONSTRAINT exchange_rate_currency_is_iso_4217 CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT exchange_rate_is_positive CHECK (rate > 0 AND rate < 'infinity')
);
COMMENT ON TABLE lifecycle.exchange_rate IS 'What other currencies are worth in the shop''s. A purchase keeps the rate of its day; what came before its rate waits in quarantine';
COMMENT ON COLUMN lifecycle.exchange_rate.currency IS 'ISO 4217 code';
COMMENT ON COLUMN lifecycle.exchange_rate.valid_from IS 'The first day, in the shop''s zone, on which the rate holds; it does until the next';
COMMENT ON COLUMN lifecycle.exchange_rate.rate IS 'What one unit of the currency is worth in shop.currency';

-- fillfactor leaves room for heap-only updates: an order changes no indexed column, nor does a step; and a campaign reaches all rows of a page at once.
CREATE TABLE lifecycle.customer (
    customer_id         text COLLATE "C" NOT NULL,
    email               text,
    phone               text,
    first_name          text,
    last_name           text,
    locale              text,
    time_zone           text,
    birthday            date,
    created_at          timestamptz,
    tags                text[],
    attributes          jsonb,
    email_consent       text,
    sms_consent         text,
    push_consent        text,
    ads_consent         text,
    first_order_at      timestamptz,
    previous_order_at   timestamptz,
    last_order_at       timestamptz,
    order_count         bigint NOT NULL DEFAULT 0,
    revenue             numeric NOT NULL DEFAULT 0,
    average_order_value numeric,
    first_sent_at       timestamptz,
    last_sent_at        timestamptz,
    last_open_at        timestamptz,
    last_click_at       timestamptz,
    last_visit_at       timestamptz,
    last_activity_at    timestamptz,
    cart_id             text,
    cart_value          numeric,
    cart_updated_at     timestamptz,
    points              bigint NOT NULL DEFAULT 0,
    tier                text,
    tier_since          timestamptz,
    tier_spend          numeric NOT NULL DEFAULT 0,
    lifecycle           text,
    engagement          text,
    next_change_at      timestamptz,
    -- Internal from here on.
    memberships         bytea,
    as_of               timestamptz NOT NULL,
    ledger_at           timestamptz,
    next_fact_at        timestamptz,
    enrolment_due_at    timestamptz,
    open_enrolments     int4 NOT NULL DEFAULT 0,
    timer_at            timestamptz,
    recent_source       int4,
    recent_orders       bytea,
    has_log             boolean,
    touched_at          timestamptz,
    loyalty_due_at      timestamptz,
    tier_valid_until    timestamptz,
    tier_missing        numeric,
    later_timer_at      timestamptz,
    lot_number          bigint,
    lots                bytea,
    packed_lots         boolean,
    points_seen         bytea,
    ways                bytea,
    anchors_seen        bytea,
    CONSTRAINT customer_pkey PRIMARY KEY (customer_id)
) USING heap WITH (fillfactor = 50);
CREATE INDEX customer_email_idx ON lifecycle.customer (email) WHERE email IS NOT NULL;
COMMENT ON TABLE lifecycle.customer IS 'One row for each customer, kept up to date in the transactions that change the facts';
COMMENT ON COLUMN lifecycle.customer.customer_id IS 'The shop''s own id of the customer, as text';
COMMENT ON COLUMN lifecycle.customer.email IS 'E-mail address';
COMMENT ON COLUMN lifecycle.customer.phone IS 'Telephone number';
COMMENT ON COLUMN lifecycle.customer.first_name IS 'Given name';
COMMENT ON COLUMN lifecycle.customer.last_name IS 'Family name';
COMMENT ON COLUMN lifecycle.customer.locale IS 'Language and region, such as de-AT';
COMMENT ON COLUMN lifecycle.customer.time_zone IS 'IANA name of the zone in which this customer''s days are counted; NULL or unknown: the shop''s';
COMMENT ON COLUMN lifecycle.customer.birthday IS 'Date of birth';
COMMENT ON COLUMN lifecycle.customer.created_at IS 'When the shop created the customer';
COMMENT ON COLUMN lifecycle.customer.tags IS 'Tags that the shop gives';
COMMENT ON COLUMN lifecycle.customer.attributes IS 'Anything else the shop says of the customer';
COMMENT ON COLUMN lifecycle.customer.email_consent IS 'Consent to e-mail: pending, granted or revoked; NULL: never asked';
COMMENT ON COLUMN lifecycle.customer.sms_consent IS 'Consent to text messages: pending, granted or revoked; NULL: never asked';
COMMENT ON COLUMN lifecycle.customer.push_consent IS 'Consent to push messages: pending, granted or revoked; NULL: never asked';
COMMENT ON COLUMN lifecycle.customer.ads_consent IS 'Consent to ad audiences: pending, granted or revoked; NULL: never asked';
COMMENT ON COLUMN lifecycle.customer.first_order_at IS 'When the first order was placed';
COMMENT ON COLUMN lifecycle.customer.previous_order_at IS 'When the order before the last one was placed';
COMMENT ON COLUMN lifecycle.customer.last_order_at IS 'When the last order was placed';
COMMENT ON COLUMN lifecycle.customer.order_count IS 'Number of orders';
COMMENT ON COLUMN lifecycle.customer.revenue IS 'Orders less refunds';
COMMENT ON COLUMN lifecycle.customer.average_order_value IS 'revenue / order_count; NULL without orders';
COMMENT ON COLUMN lifecycle.customer.first_sent_at IS 'When a message by e-mail, SMS or push was first sent, as far as is known; the tick keeps it';
COMMENT ON COLUMN lifecycle.customer.last_sent_at IS 'When one was last sent';
COMMENT ON COLUMN lifecycle.customer.last_open_at IS 'When a message was last opened';
COMMENT ON COLUMN lifecycle.customer.last_click_at IS 'When a link in a message was last clicked';
COMMENT ON COLUMN lifecycle.customer.last_visit_at IS 'When the shop was last visited';
COMMENT ON COLUMN lifecycle.customer.last_activity_at IS 'The latest sign of life: order, open, click, visit, cart, review, wishlist or referral';
COMMENT ON COLUMN lifecycle.customer.cart_id IS 'The open cart: the latest that has something in it and changed after the last order; no order names it';
COMMENT ON COLUMN lifecycle.customer.cart_value IS 'Value of the open cart';
COMMENT ON COLUMN lifecycle.customer.cart_updated_at IS 'When the open cart last changed';
COMMENT ON COLUMN lifecycle.customer.points IS 'Loyalty points that can be spent';
COMMENT ON COLUMN lifecycle.customer.tier IS 'Loyalty tier; NULL: none reached';
COMMENT ON COLUMN lifecycle.customer.tier_since IS 'When the present tier was reached';
COMMENT ON COLUMN lifecycle.customer.tier_spend IS 'What counts towards the tier';
COMMENT ON COLUMN lifecycle.customer.lifecycle IS 'The segment of the dimension "lifecycle" that the customer is in';
COMMENT ON COLUMN lifecycle.customer.engagement IS 'The segment of the dimension "engagement" that the customer is in';
COMMENT ON COLUMN lifecycle.customer.next_change_at IS 'The earliest instant at which time alone could change something in this row or the segments';
COMMENT ON COLUMN lifecycle.customer.memberships IS 'Internal: the segments the customer is in and since when, as unpack_memberships() reads them';
COMMENT ON COLUMN lifecycle.customer.as_of IS 'Internal: the instant up to which the facts have been taken in';
COMMENT ON COLUMN lifecycle.customer.ledger_at IS 'Internal: time of the latest purchase that has been taken in';
COMMENT ON COLUMN lifecycle.customer.next_fact_at IS 'Internal: time of the earliest fact that lies in the future';
COMMENT ON COLUMN lifecycle.customer.enrolment_due_at IS 'Internal: when the next step of an enrolment is due';
COMMENT ON COLUMN lifecycle.customer.open_enrolments IS 'Internal: number of enrolments that have not ended';
COMMENT ON COLUMN lifecycle.customer.timer_at IS 'Internal: due_at of this customer''s row in lifecycle.timer';
COMMENT ON COLUMN lifecycle.customer.later_timer_at IS 'Internal: due_at of another row there, from before something earlier came in between';

COMMENT ON COLUMN lifecycle.customer.recent_source IS 'Internal: the source of recent_orders; read lifecycle.purchase';
COMMENT ON COLUMN lifecycle.customer.recent_orders IS 'Internal: the latest orders, before they move to the purchase ledger together; unpack_orders() reads them';
COMMENT ON COLUMN lifecycle.customer.has_log IS 'Internal: there are or were facts of the customer in the tables of other kinds than order and refund';
COMMENT ON COLUMN lifecycle.customer.touched_at IS 'Internal: the latest sign of life other than an order or an engagement';
COMMENT ON COLUMN lifecycle.customer.tier_valid_until IS 'Internal: when the tier ends if nothing more is earned; NULL: never';
COMMENT ON COLUMN lifecycle.customer.tier_missing IS 'Internal: what would have to be earned by then to keep it';
COMMENT ON COLUMN lifecycle.customer.lot_number IS 'Internal: of the lots of points that wait here, as earned, the number of the first; the others follow one by one';
COMMENT ON COLUMN lifecycle.customer.lots IS 'Internal: those lots, as unpack_lots() reads them';
COMMENT ON COLUMN lifecycle.customer.packed_lots IS 'Internal: more such lots lie in lifecycle.points_run';
COMMENT ON COLUMN lifecycle.customer.points_seen IS 'Internal: a Bloom filter of all references that entries of points have; NULL: not known';
COMMENT ON COLUMN lifecycle.customer.ways IS 'Internal: enrolments that are kept here while they are open, as unpack_ways() reads them; read lifecycle.enrolment';
COMMENT ON COLUMN lifecycle.customer.anchors_seen IS 'Internal: a Bloom filter of the anchors that enrolments of the customer have ever had; NULL: there was none; empty: not known';
COMMENT ON COLUMN lifecycle.customer.loyalty_due_at IS 'Internal: no earlier than this will time change points or tier';

-- A row holds what one statement of the shop said about one customer (up to 64 purchases): a bulk load of ten orders for each of
-- 100,000 customers writes 100,000 rows, not a million. Orders that come one by one wait in the customer's own row, which their order writes
-- anyway, until sixteen move here together. lifecycle.purchase shows the purchases one by one, wherever they are.
CREATE TABLE lifecycle.purchase_ledger (
    customer_id     text COLLATE "C" NOT NULL,
    source_id       int4 NOT NULL,
    kind            text NOT NULL,
    ids             text[] NOT NULL,
    orders          text[],
    at              timestamptz[] NOT NULL,
    amounts         numeric[] NOT NULL,
    currencies      text[],
    foreign_amounts numeric[],
    rates           numeric[],
    CONSTRAINT purchase_ledger_kind_is_known CHECK (kind IN ('order', 'refund'))
) USING heap;
CREATE INDEX purchase_ledger_customer_id_idx ON lifecycle.purchase_ledger (customer_id);
COMMENT ON TABLE lifecycle.purchase_ledger IS 'Orders and refunds as the shop''s tables said them, packed; read lifecycle.purchase';
COMMENT ON COLUMN lifecycle.purchase_ledger.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.purchase_ledger.source_id IS 'The source (lifecycle.source) that said it';
COMMENT ON COLUMN lifecycle.purchase_ledger.kind IS 'order or refund';
COMMENT ON COLUMN lifecycle.purchase_ledger.ids IS 'The shop''s ids of the orders or refunds';
COMMENT ON COLUMN lifecycle.purchase_ledger.orders IS 'Refunds: the orders they belong to, where the shop says so';
COMMENT ON COLUMN lifecycle.purchase_ledger.at IS 'When each was placed or refunded';
COMMENT ON COLUMN lifecycle.purchase_ledger.amounts IS 'The amount of each in the shop''s currency, positive for a refund too';
COMMENT ON COLUMN lifecycle.purchase_ledger.currencies IS 'The currency of each that was not in the shop''s';
COMMENT ON COLUMN lifecycle.purchase_ledger.foreign_amounts IS 'The amount of each in that currency';
COMMENT ON COLUMN lifecycle.purchase_ledger.rates IS 'What one unit of that currency was worth in the shop''s: on the day of the order, for its refunds too';

CREATE FUNCTION lifecycle.unpack_memberships(memberships bytea)
    RETURNS TABLE (id int4, since timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 4
    AS 'MODULE_PATHNAME', 'lifecycle_unpack_memberships';
COMMENT ON FUNCTION lifecycle.unpack_memberships(bytea) IS 'Internal: the segments that a customer''s row says the customer is in, by number, and since when';

CREATE FUNCTION lifecycle.unpack_ways(ways bytea)
    RETURNS TABLE (scenario text, anchor text, anchor_at timestamptz, version int4, last_position int4, last_at timestamptz, next_due_at timestamptz, enrolled_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2
    AS 'MODULE_PATHNAME', 'lifecycle_unpack_ways';
COMMENT ON FUNCTION lifecycle.unpack_ways(bytea) IS 'Internal: the open enrolments that wait in a customer''s row';

CREATE FUNCTION lifecycle.unpack_orders(orders bytea)
    RETURNS TABLE (nth int4, id text, at timestamptz, amount numeric)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 4
    AS 'MODULE_PATHNAME', 'lifecycle_unpack_orders';
COMMENT ON FUNCTION lifecycle.unpack_orders(bytea) IS 'Internal: the latest orders, which wait in a customer''s row';

CREATE VIEW lifecycle.purchase AS
    SELECT l.customer_id, l.kind, u.id, u.order_id, u.at, u.amount, l.source_id, u.currency, u.foreign_amount, u.rate
      FROM lifecycle.purchase_ledger AS l,
           LATERAL unnest(l.ids, l.orders, l.at, l.amounts, l.currencies, l.foreign_amounts, l.rates)
               AS u (id, order_id, at, amount, currency, foreign_amount, rate)
    UNION ALL
    SELECT c.customer_id, 'order', u.id, NULL, u.at, u.amount, c.recent_source, NULL, NULL, NULL
      FROM lifecycle.customer AS c,
           LATERAL lifecycle.unpack_orders(c.recent_orders) AS u;
COMMENT ON VIEW lifecycle.purchase IS 'The purchase ledger, one row for each order or refund';
COMMENT ON COLUMN lifecycle.purchase.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.purchase.kind IS 'order or refund';
COMMENT ON COLUMN lifecycle.purchase.id IS 'The shop''s id of the order or refund';
COMMENT ON COLUMN lifecycle.purchase.order_id IS 'Of a refund: the order it belongs to, where the shop says so';
COMMENT ON COLUMN lifecycle.purchase.at IS 'When it was placed or refunded';
COMMENT ON COLUMN lifecycle.purchase.amount IS 'The amount in the shop''s currency, positive for a refund too';
COMMENT ON COLUMN lifecycle.purchase.source_id IS 'The source that said it';
COMMENT ON COLUMN lifecycle.purchase.currency IS 'The currency it was in; NULL: the shop''s';
COMMENT ON COLUMN lifecycle.purchase.foreign_amount IS 'The amount in that currency';
COMMENT ON COLUMN lifecycle.purchase.rate IS 'What one unit of that currency was worth in the shop''s: on the day of the order, for its refunds too';

CREATE TABLE lifecycle.consent_log (
    customer_id text COLLATE "C" NOT NULL,
    channel     text NOT NULL,
    status      text NOT NULL,
    changed_at  timestamptz NOT NULL,
    evidence    text,
    source_id   int4 NOT NULL,
    since       timestamptz,
    CONSTRAINT consent_log_channel_is_known CHECK (channel IN ('email', 'sms', 'push', 'ads')),
    CONSTRAINT consent_log_status_is_known CHECK (status IN ('pending', 'granted', 'revoked'))
);
CREATE INDEX consent_log_customer_id_idx ON lifecycle.consent_log (customer_id, channel, changed_at);
COMMENT ON TABLE lifecycle.consent_log IS 'Every consent that was given, asked for or withdrawn; the latest of a channel holds';
COMMENT ON COLUMN lifecycle.consent_log.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.consent_log.channel IS 'email, sms, push or ads';
COMMENT ON COLUMN lifecycle.consent_log.status IS 'pending, granted or revoked';
COMMENT ON COLUMN lifecycle.consent_log.changed_at IS 'When the customer said so';
COMMENT ON COLUMN lifecycle.consent_log.evidence IS 'What proves it: wording, address, form';
COMMENT ON COLUMN lifecycle.consent_log.source_id IS 'The source that said it';
COMMENT ON COLUMN lifecycle.consent_log.since IS 'When the row that says it first did so: it has been changed for another reason since, and changed_at with it, and the consent holds from this time on. NULL: from changed_at';

-- One index only: whoever moves a timer knows from the customer's row where it stands.
CREATE TABLE lifecycle.timer (
    due_at       timestamptz NOT NULL,
    customer_id  text COLLATE "C" NOT NULL,
    customer_row tid,
    member_row   tid,
    CONSTRAINT timer_pkey PRIMARY KEY (due_at, customer_id)
) USING heap;
COMMENT ON TABLE lifecycle.timer IS 'Internal: when to look at which customer again. A timer may fire too early, never too late: it is left alone unless the new instant is earlier. Then it stays for later';
COMMENT ON COLUMN lifecycle.timer.customer_id IS 'The customer';
COMMENT ON COLUMN lifecycle.timer.due_at IS 'When to look';
COMMENT ON COLUMN lifecycle.timer.customer_row IS 'Where the customer''s row began when this was written, which is where it is looked for first';
COMMENT ON COLUMN lifecycle.timer.member_row IS 'Where in lifecycle.segment_member the membership lay then that time is to end first, likewise';
