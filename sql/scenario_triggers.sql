-- What starts scenarios, how often, for whom, and when they have reached their goal.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
INSERT INTO lifecycle.channel (name) VALUES ('email');
INSERT INTO lifecycle.loyalty_program (name) VALUES ('program');
INSERT INTO lifecycle.tier (name, rank, min_spend) VALUES ('silver', 1, 100), ('gold', 2, 500);
CREATE FUNCTION scenario(name text, trigger text, definition jsonb DEFAULT '{}', steps jsonb DEFAULT '[{"position": 1}]') RETURNS text LANGUAGE sql
    AS $$ SELECT lifecycle.import_scenario(jsonb_build_object('name', name, 'trigger', trigger, 'status', 'active', 'steps',
              (SELECT jsonb_agg('{"class": "transactional", "template": "t"}'::jsonb || s) FROM jsonb_array_elements(steps) AS s)) || definition) $$;
CREATE FUNCTION travel(clock text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('lifecycle.clock', clock, false), lifecycle.tick() $$;
CREATE VIEW begun AS SELECT e.scenario, e.customer_id, e.anchor, e.anchor_at, e.status, e.end_reason, e.context FROM lifecycle.enrolment AS e ORDER BY 1, 4, 2, 3;

-- CONTEXT. Filters and conditions look at what has happened, not only at the customer.
SELECT scenario('big_order', 'order_placed', $d${"entry_filter": "(context() ->> 'amount')::numeric >= 100"}$d$);
SELECT scenario('first_coupon', 'order_placed', $d${"entry_filter": "context() ->> 'coupon' = 'HELLO'"}$d$);
SELECT scenario('praise', 'review', $d${"entry_filter": "(context() ->> 'rating')::numeric = 5"}$d$,
                $s$[{"position": 1, "condition": "context() ->> 'product' = 'hat'"}]$s$);
SELECT scenario('price_drop', 'event:price_drop', $d${"entry_filter": "(context() -> 'properties' ->> 'percent')::int >= 10"}$d$);
SELECT scenario('full_cart', 'cart_idle', $d${"entry_filter": "(context() ->> 'value')::numeric > 50"}$d$, '[{"position": 1, "delay": "1 hour"}]');
SELECT scenario('promoted', 'tier_reached', $d${"entry_filter": "context() ->> 'tier' = 'silver'"}$d$);
SELECT lifecycle.track('ann', 'order', '{"order": "1", "amount": 99.99}'), lifecycle.track('ann', 'order', '{"order": "2", "amount": 100, "coupon": "HELLO"}');
SELECT lifecycle.track('ann', 'review', '{"review": "r1", "rating": 5, "product": "hat"}'), lifecycle.track('ann', 'review', '{"review": "r2", "rating": 5, "product": "sock"}'),
       lifecycle.track('ann', 'review', '{"review": "r3", "rating": 4, "product": "hat"}');
SELECT lifecycle.track('ann', 'event', '{"event": "price_drop", "percent": 5}', '2030-03-01 11:00+00'), lifecycle.track('ann', 'event', '{"event": "price_drop", "percent": 15, "product": "hat"}');
SELECT lifecycle.track('ben', 'cart', '{"cart": "k1", "value": 50}'), lifecycle.track('cay', 'cart', '{"cart": "k2", "value": 51}');
SELECT travel('2030-03-01 13:00+00');
SELECT scenario, customer_id, anchor, context FROM begun;
SELECT scenario, anchor, outcome, reason FROM lifecycle.enrolment_step WHERE scenario = 'praise' ORDER BY anchor;
-- Elsewhere nothing has happened that could be asked for; and what is said of it is checked.
INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', $$ context() ->> 'amount' = '1' $$);
SELECT scenario('x', 'order_placed', '{"entry_filter": "context() > 1"}');
UPDATE lifecycle.scenario SET status = 'draft';
SELECT travel('2030-03-01 13:01+00');

-- REENTRY. Always: each time it happens, to the same tier, product or order too. Once per anchor: never again for the same.
UPDATE lifecycle.scenario SET status = 'active', entry_filter = NULL WHERE name = 'promoted';
SELECT scenario('promoted_again', 'tier_reached', '{"reentry": "always"}');
SELECT scenario('wished_again', 'wishlist_added', '{"reentry": "always"}', '[{"position": 1, "delay": "1 day"}]');
SELECT lifecycle.track('dan', 'order', '{"order": "d1", "amount": 600}'), lifecycle.track('dan', 'wishlist', '{"product": "hat"}');
SELECT travel('2030-03-02 13:00+00');
SELECT lifecycle.track('dan', 'order', '{"order": "d1", "amount": 60}'), lifecycle.untrack('dan', 'wishlist', '{"product": "hat"}');
SELECT travel('2030-03-03 13:00+00');
SELECT lifecycle.track('dan', 'order', '{"order": "d2", "amount": 600}'), lifecycle.track('dan', 'wishlist', '{"product": "hat"}');
-- Taken off the list again: the new start has lost its reason, as the first had.
SELECT lifecycle.untrack('dan', 'wishlist', '{"product": "hat"}');
SELECT scenario, anchor, status, end_reason FROM begun WHERE customer_id = 'dan' AND scenario <> 'big_order';
UPDATE lifecycle.scenario SET status = 'draft';
SELECT travel('2030-03-03 13:01+00');

-- A SEASON has a first and a last day, in the customer's zone. Who comes in the middle begins then, who meets the filter later begins with the season's first day.
SELECT travel('2030-03-09 00:00+00');
SELECT lifecycle.track('eve', 'customer', '{"time_zone": "Asia/Tokyo"}'), lifecycle.track('fay', 'customer', '{}'), lifecycle.track('gus', 'customer', '{}');
SELECT scenario('spring', 'date:2030-03-10..2030-03-20', $d${"entry_filter": "NOT has_tag('no_spring')"}$d$, '[{"position": 1, "delay": "9 hours", "not_after": "2 days"}]');
SELECT lifecycle.track('gus', 'customer', '{"tags": ["no_spring"]}');
SELECT travel('2030-03-09 15:00+00');
SELECT customer_id, anchor, anchor_at FROM begun WHERE scenario = 'spring';
SELECT travel('2030-03-10 10:00+00');
SELECT travel('2030-03-15 10:00+00');
SELECT lifecycle.track('hal', 'customer', '{}'), lifecycle.track('gus', 'customer', '{"tags": []}');
SELECT travel('2030-03-20 23:59:59+00');
SELECT lifecycle.track('ivy', 'customer', '{}');
SELECT travel('2030-03-21 00:00+00');
SELECT lifecycle.track('jim', 'customer', '{}');
SELECT customer_id, anchor_at, status FROM begun WHERE scenario = 'spring' AND customer_id >= 'eve';
SELECT customer_id, outcome, reason, decided_at FROM lifecycle.enrolment_step WHERE scenario = 'spring' AND customer_id >= 'eve' ORDER BY 1;
UPDATE lifecycle.scenario SET status = 'draft';

-- POINTS that will expire are announced, unless they are spent; those that are spent meanwhile need no second reminder.
SELECT travel('2030-04-01 12:00+00');
INSERT INTO lifecycle.points_rule (name, earns_on, points, expiry, tier_multiplier) VALUES ('order', 'order', 50, '60 days', false);
SELECT scenario('use_them', 'points_expiring:14 days', $d${"entry_filter": "(context() ->> 'points')::int >= 50"}$d$, '[{"position": 1}, {"position": 2, "delay": "10 days"}]');
SELECT lifecycle.track(c, 'order', jsonb_build_object('order', c, 'amount', 10)) FROM unnest('{kim,leo,mia}'::text[]) AS c;
SELECT lifecycle.track('leo', 'customer', '{"time_zone": "America/New_York"}');
SELECT lifecycle.redeem_points('mia', 20, 'm2');
SELECT travel('2030-05-17 11:59:59+00');
SELECT customer_id FROM begun WHERE scenario = 'use_them';
SELECT travel('2030-05-17 12:00+00');
SELECT customer_id, anchor, anchor_at, context FROM begun WHERE scenario = 'use_them';
SELECT lifecycle.redeem_points('leo', 50, 'l2');
SELECT travel('2030-05-27 12:00+00');
SELECT travel('2030-06-01 12:00+00');
SELECT customer_id, status, end_reason FROM begun WHERE scenario = 'use_them';
SELECT customer_id, position, outcome FROM lifecycle.enrolment_step WHERE scenario = 'use_them' ORDER BY 1, 2;
UPDATE lifecycle.scenario SET status = 'draft';

-- A TIER that will be lost soon is announced, once, and not if it has been earned anew.
DELETE FROM lifecycle.points_rule;
UPDATE lifecycle.loyalty_program SET period = 'rolling', period_length = '1 year', warn_before = '30 days';
SELECT scenario('keep_it', 'tier_ending:gold');
SELECT scenario('keep_any', 'tier_ending');
SELECT travel('2031-01-01 12:00+00');
SELECT lifecycle.track(c, 'order', jsonb_build_object('order', c || 1, 'amount', 500)) FROM unnest('{nan,ole}'::text[]) AS c;
SELECT lifecycle.track('pia', 'order', '{"order": "p1", "amount": 150}');
SELECT travel('2031-11-30 12:00+00');
SELECT lifecycle.track('ole', 'order', '{"order": "o2", "amount": 500}');
SELECT travel('2031-12-02 11:59:59+00');
SELECT scenario, customer_id FROM begun WHERE scenario LIKE 'keep%' AND customer_id > 'n';
SELECT travel('2031-12-02 12:00+00');
SELECT travel('2031-12-20 12:00+00');
SELECT scenario, customer_id, anchor_at FROM begun WHERE scenario LIKE 'keep%' AND customer_id > 'n';
UPDATE lifecycle.scenario SET status = 'draft';

-- GOALS. Of any kind of fact, and only for so long: what comes later is not the scenario's doing.
SELECT travel('2032-01-01 12:00+00');
SELECT scenario('trial', 'event:trial', '{"goal": "event:subscribed", "goal_within": "7 days"}', '[{"position": 1}, {"position": 2, "delay": "14 days"}]');
SELECT scenario('nudge', 'event:trial', '{"goal": "visit"}', '[{"position": 1, "delay": "1 day"}]');
SELECT lifecycle.track(c, 'event', '{"event": "trial"}') FROM unnest('{qi,ray,sue}'::text[]) AS c;
SELECT lifecycle.track('qi', 'engagement', '{"type": "open"}'), lifecycle.track('ray', 'engagement', '{"type": "visit"}');
SELECT travel('2032-01-08 11:59:59+00');
SELECT lifecycle.track('qi', 'event', '{"event": "subscribed"}');
SELECT travel('2032-01-08 12:00+00');
SELECT lifecycle.track('ray', 'event', '{"event": "subscribed"}');
SELECT travel('2032-01-15 12:00+00');
SELECT scenario, customer_id, status, end_reason FROM begun WHERE scenario IN ('trial', 'nudge');

-- DRAINING: nobody begins any more, those on the way go on.
SELECT scenario('letters', 'event:subscribed', '{}', '[{"position": 1}, {"position": 2, "delay": "1 day"}]');
SELECT lifecycle.track('tom', 'event', '{"event": "subscribed"}');
UPDATE lifecycle.scenario SET status = 'draining' WHERE name = 'letters';
SELECT lifecycle.track('una', 'event', '{"event": "subscribed"}');
SELECT travel('2032-01-16 12:00+00');
SELECT customer_id, position, outcome FROM lifecycle.enrolment_step WHERE scenario = 'letters' ORDER BY 1, 2;

-- What cannot be is refused.
SELECT scenario('x', 'points_expiring:soon');
SELECT scenario('x', 'points_expiring:-1 day');
SELECT scenario('x', 'date:2030-03-20..2030-03-10');
SELECT scenario('x', 'date:2030-03-10..2030-02-30');
SELECT scenario('x', 'date:2030-03-10..');
SELECT scenario('x', 'referral', '{"goal": "happiness"}');
SELECT scenario('x', 'referral', '{"goal_within": "1 day"}');
SELECT scenario('x', 'referral', '{"goal": "review", "goal_within": "0"}');
SELECT count(*) FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION scenario, travel;
