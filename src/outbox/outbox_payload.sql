-- What a mailer needs to render a message without asking back, as it is when the message is claimed.

CREATE FUNCTION lifecycle.payloads(customers text[], scenarios text[], anchors text[], recommends text[], channels text[], codes text[])
    RETURNS TABLE (n bigint, fresh jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET enable_seqscan = off SET jit = off
    AS $$
BEGIN
    -- One statement, whose plan is kept, and no function with statements of its own: those would be planned for each message. What a message
    -- does not need is not looked up.
    RETURN QUERY
        SELECT u.n,
                   jsonb_build_object(
                       'first_name', c.first_name, 'last_name', c.last_name, 'points', c.points, 'tier', c.tier, 'benefits', t.benefits,
                       'tags', to_jsonb(NULLIF(c.tags, '{}')), 'attributes', NULLIF(c.attributes, '{}'),
                       'next_tier', (SELECT jsonb_build_object('name', x.name, 'missing', x.min_spend - c.tier_spend, 'benefits', x.benefits)
                                       FROM lifecycle.tier AS x
                                      WHERE x.min_spend > c.tier_spend AND x.rank > coalesce(t.rank, '-2147483648'::int4)
                                      ORDER BY x.rank LIMIT 1),
                       'cart', CASE WHEN c.cart_id IS NOT NULL THEN
                           (SELECT jsonb_build_object('cart', b.cart_id, 'value', b.value, 'currency', b.currency, 'stage', b.stage, 'items', b.items,
                                                      'url', b.url, 'updated_at', b.updated_at)
                              FROM lifecycle.cart AS b
                             WHERE (b.customer_id, b.cart_id) = (u.customer_id, c.cart_id) ORDER BY b.updated_at DESC LIMIT 1) END,
                       'wishlist', (SELECT jsonb_agg(w.product ORDER BY w.added_at DESC, w.product)
                                      FROM (SELECT n.product, max(n.added_at) AS added_at FROM lifecycle.wishlist AS n
                                             WHERE n.customer_id = u.customer_id
                                             GROUP BY n.product ORDER BY max(n.added_at) DESC, n.product LIMIT 20) AS w),
                       'unsubscribe_token', lifecycle.signed_token(convert_to(h.consent || ':' || u.customer_id, 'UTF8'), z.key))
                   || CASE WHEN u.recommends IS NOT NULL THEN
                          jsonb_build_object('recommendations', (
                              SELECT jsonb_agg(jsonb_build_object('product', r.product, 'category', r.category, 'orders', r.orders) ORDER BY r.orders DESC, r.product)
                                FROM lifecycle.recommend(u.customer_id, u.recommends, products =>
                                         CASE WHEN u.recommends = 'complementary' AND k.trigger IN ('order_placed', 'delivered')
                                              THEN ARRAY(SELECT i.product FROM lifecycle.order_item AS i WHERE (i.customer_id, i.order_id) = (u.customer_id, u.anchor))
                                              WHEN u.recommends = 'alternatives' AND k.trigger = 'wishlist_added' THEN ARRAY[u.anchor] END) AS r))
                      ELSE '{}' END
                   -- What started the enrolment: the anchor is the order, the review, the product or the instant of the event.
                   || CASE WHEN k.trigger IN ('order_placed', 'delivered') THEN
                          jsonb_build_object('order',
                              coalesce((SELECT jsonb_build_object('placed_at', p.at, 'amount', coalesce(p.foreign_amount, p.amount),
                                                                  'currency', coalesce(p.currency, (SELECT s.currency FROM lifecycle.shop AS s)))
                                          FROM lifecycle.purchase AS p
                                         WHERE p.customer_id = u.customer_id AND p.kind = 'order' AND p.id = y.subject LIMIT 1), '{}')
                              || jsonb_build_object(
                                     'order', y.subject,
                                     'delivered_at', (SELECT max(d.delivered_at) FROM lifecycle.delivery AS d
                                                       WHERE (d.customer_id, d.order_id) = (u.customer_id, y.subject)),
                                     'lines', (SELECT jsonb_agg(jsonb_build_object('line', i.line, 'product', i.product, 'category', i.category,
                                                                                   'quantity', i.quantity, 'amount', i.amount) ORDER BY i.line, i.product)
                                                 FROM lifecycle.order_item AS i
                                                WHERE (i.customer_id, i.order_id) = (u.customer_id, y.subject))))
                      WHEN k.trigger LIKE 'review%' THEN
                          (SELECT jsonb_build_object('review', jsonb_build_object('review', r.review, 'rating', r.rating, 'product', r.product,
                                                                                  'reviewed_at', r.reviewed_at))
                             FROM (SELECT v.* FROM lifecycle.review AS v WHERE (v.customer_id, v.review) = (u.customer_id, y.subject)
                                    ORDER BY v.reviewed_at DESC LIMIT 1) AS r RIGHT JOIN (SELECT) AS always ON true)
                      WHEN k.trigger = 'wishlist_added' THEN jsonb_build_object('product', y.subject)
                      WHEN k.trigger LIKE 'event:%' AND y.at IS NOT NULL THEN
                          -- With what else was said in the same second: several prices that fell at once are one message.
                          (SELECT jsonb_build_object('event', jsonb_agg(e.told) FILTER (WHERE e.occurred_at = y.at) -> 0,
                                                     'events', CASE WHEN count(*) > 1 THEN jsonb_agg(e.told) END)
                             FROM (SELECT n.occurred_at,
                                          jsonb_build_object('event', n.event, 'occurred_at', n.occurred_at, 'properties', n.properties) AS told
                                     FROM lifecycle.event AS n
                                    WHERE (n.customer_id, n.event) = (u.customer_id, substr(k.trigger, 7))
                                      AND n.occurred_at BETWEEN y.at - interval '1 second' AND y.at + interval '1 second'
                                    ORDER BY n.occurred_at, n.properties LIMIT 100) AS e)
                      ELSE '{}' END
                   || CASE WHEN u.code IS NOT NULL THEN
                          coalesce((SELECT jsonb_build_object('offer', lifecycle.told_offer(o, q))
                                      FROM lifecycle.coupon AS q JOIN lifecycle.offer AS o ON o.name = q.offer
                                     WHERE q.code_key = lifecycle.normal_code(u.code)), '{}')
                      ELSE '{}' END
          FROM unnest(customers, scenarios, anchors, recommends, channels, codes)
               WITH ORDINALITY AS u (customer_id, scenario, anchor, recommends, channel, code, n)
          JOIN lifecycle.customer AS c ON c.customer_id = u.customer_id
          -- What is not of a scenario has the payload that whoever inserted it has given it.
          JOIN lifecycle.scenario AS k ON k.name = u.scenario
          -- The message may be older than the scenario's trigger: then its anchor may be no instant.
         CROSS JOIN LATERAL (SELECT CASE WHEN k.reentry = 'always' THEN regexp_replace(u.anchor, '@[^@]*$', '') ELSE u.anchor END AS subject,
                                    CASE WHEN u.anchor ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+[+]00$' THEN u.anchor::timestamptz END AS at) AS y
          LEFT JOIN lifecycle.channel AS h ON h.name = u.channel
          LEFT JOIN lifecycle.tier AS t ON t.name = c.tier
          -- As lifecycle.unsubscribe_token() does.
          LEFT JOIN lifecycle.secret AS z ON z.purpose = 'unsubscribe';
END
$$;
COMMENT ON FUNCTION lifecycle.payloads(text[], text[], text[], text[], text[], text[]) IS 'Internal: what is added to the payloads of several messages, as it is now, by their place in the arrays; null takes a key away';

-- By its number: whoever could hand in a row of his own making could ask about anybody.
CREATE FUNCTION lifecycle.payload_of(message_id bigint) RETURNS jsonb
    LANGUAGE sql STABLE
    -- SECURITY DEFINER, because mailers ask and may read nothing but the outbox.
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE WHEN o.status IN ('pending', 'leased')
                THEN coalesce((SELECT jsonb_strip_nulls(o.payload || p.fresh)
                                 FROM lifecycle.payloads(ARRAY[o.customer_id], ARRAY[o.scenario], ARRAY[o.anchor], ARRAY[o.payload ->> 'recommends'],
                                                         ARRAY[o.channel], ARRAY[o.payload -> 'offer' ->> 'code']) AS p), o.payload)
                ELSE o.payload END
      FROM lifecycle.outbox AS o
     WHERE o.message_id = payload_of.message_id
$$;
COMMENT ON FUNCTION lifecycle.payload_of(bigint) IS 'The payload of a message as lifecycle.claim() would return it now; of one that has ended, what it was sent with. For mailers that poll with plain SQL: SELECT o.*, lifecycle.payload_of(o.message_id) FROM lifecycle.outbox AS o ...';
