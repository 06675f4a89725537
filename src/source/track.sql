-- Facts from application code, with no table behind them.

CREATE FUNCTION lifecycle.track(customer_id text, kind text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL)
    RETURNS void
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_track';
COMMENT ON FUNCTION lifecycle.track(text, text, jsonb, timestamptz) IS
'Says a fact from application code, in the caller''s transaction: the same kinds with the same fields as lifecycle.attach().
properties: the fields, such as {"order": "4711", "amount": 59.90}; of an event also whatever else there is to say; of a customer only what has changed.
occurred_at: when, if the kind''s own field (placed_at, updated_at, ...) does not say it; default now. A time without a zone is in UTC.
A fact that was tracked before (the same order, cart, review, ...; the same event at the same instant) is replaced, so a call may be repeated.
Errors: what an attached row would be quarantined for, with the same SQLSTATE';

CREATE FUNCTION lifecycle.untrack(customer_id text, kind text, properties jsonb, occurred_at timestamptz DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'lifecycle_untrack';
COMMENT ON FUNCTION lifecycle.untrack(text, text, jsonb, timestamptz) IS
'Takes back a fact that lifecycle.track() has said; properties need only tell it apart, as {"order": "4711"} does. False: there is none';

CREATE FUNCTION lifecycle.tell_wishlists(event text, product text, properties jsonb DEFAULT '{}') RETURNS bigint
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    -- Of several products that are told in one statement each event needs an instant of its own.
    SELECT count(lifecycle.track(w.customer_id, 'event',
                                 jsonb_build_object('event', tell_wishlists.event, 'properties',
                                                    coalesce(tell_wishlists.properties, '{}') || jsonb_build_object('product', tell_wishlists.product)),
                                 coalesce((SELECT min(e.occurred_at) - interval '1 microsecond' FROM lifecycle.event AS e
                                            WHERE (e.customer_id, e.event) = (w.customer_id, tell_wishlists.event)
                                              AND e.occurred_at BETWEEN lifecycle.now() - interval '1 millisecond' AND lifecycle.now()
                                              AND e.properties ->> 'product' <> tell_wishlists.product),
                                          lifecycle.now()))::text)
      FROM (SELECT DISTINCT n.customer_id FROM lifecycle.wishlist AS n
             WHERE n.product = tell_wishlists.product
               AND NOT EXISTS (SELECT FROM lifecycle.order_item AS i WHERE i.customer_id = n.customer_id AND i.product = n.product)
             ORDER BY n.customer_id) AS w
$$;
COMMENT ON FUNCTION lifecycle.tell_wishlists(text, text, jsonb) IS
'Tracks an event, such as price_drop or back_in_stock, for every customer who has a product on the wishlist and has not bought it; scenarios on event:NAME
then do what follows. The event''s properties are those given and the product. Returns how many customers there are. It runs with the caller''s rights';
