-- What users of other systems complain about, and what happens here instead. Each scene is named after the complaint.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET lifecycle.clock = '2030-03-01 12:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
CREATE FUNCTION travel(clock text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('lifecycle.clock', clock, false), lifecycle.tick() $$;
CREATE FUNCTION travel_through(first timestamptz, last timestamptz, by interval) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN WHILE first <= last LOOP PERFORM travel(first::text); first := first + by; END LOOP; END $$;
CREATE FUNCTION agrees(customer text, email text DEFAULT NULL) RETURNS void LANGUAGE sql
    AS $$ SELECT lifecycle.track(customer, 'customer', jsonb_build_object('email', coalesce(email, customer || '@example.org'))),
                 lifecycle.track(customer, 'consent', '{"channel": "email", "status": "granted"}', '2020-01-01 00:00+00') $$;
CREATE FUNCTION say(customer text, event text) RETURNS void LANGUAGE sql AS $$ SELECT lifecycle.track(customer, 'event', jsonb_build_object('event', event)) $$;
CREATE VIEW told AS SELECT o.customer_id, o.scenario, o.step, o.template, o.status, o.error FROM lifecycle.outbox AS o ORDER BY o.message_id;
UPDATE lifecycle.channel SET cap_per_day = NULL, cap_per_week = NULL WHERE name = 'email';

-- ABANDONED CART SENT TO BUYERS (gumroad#6720: 25.9 % of the mails went to people who owned the product, another session's cart being alive;
-- woocommerce-abandoned-cart#166, #874: a guest becomes a user during the checkout).
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'cart_recovery';
SELECT agrees(c) FROM unnest('{ann,ben,dan}'::text[]) AS c;
SELECT agrees('cay', 'Cay@Example.org');
-- Ann's laptop and telephone: two carts, one order, told by neither.
SELECT lifecycle.track('ann', 'cart', '{"cart": "laptop", "value": 50}', '2030-03-01 11:00+00'), lifecycle.track('ann', 'cart', '{"cart": "phone", "value": 50}', '2030-03-01 11:30+00');
SELECT lifecycle.track('ann', 'order', '{"order": "a", "amount": 50}', '2030-03-01 11:40+00');
-- Ben and cay have carts in their accounts and buy as guests; dan's cart is a guest's, and he logs in to buy. Eve only has a similar address.
SELECT lifecycle.track(c, 'cart', jsonb_build_object('cart', c, 'value', 50), '2030-03-01 11:30+00') FROM unnest('{ben,cay}'::text[]) AS c;
SELECT agrees('dan@example.org', 'dan@example.org'), agrees('eve'), agrees('steve', 'x.eve@example.org');
SELECT lifecycle.track(c, 'cart', jsonb_build_object('cart', c, 'value', 50), '2030-03-01 11:30+00') FROM unnest('{dan@example.org,eve}'::text[]) AS c;
SELECT lifecycle.track('ben@example.org', 'order', '{"order": "b", "amount": 50}');
SELECT travel('2030-03-01 12:30+00');
SELECT * FROM told;
-- The reminder is out for cay, dan and eve; a mailer has leased it, and is told in time.
SELECT customer_id, message_id, lease_token FROM lifecycle.claim(10, 'email', 'mailer') ORDER BY 1;
SELECT lifecycle.track('cay@example.org', 'order', '{"order": "c", "amount": 50}'), lifecycle.track('dan', 'order', '{"order": "d", "amount": 50}'),
       lifecycle.track('steve', 'order', '{"order": "s", "amount": 50}');
SELECT o.customer_id, m.* FROM lifecycle.outbox AS o CROSS JOIN LATERAL lifecycle.may_send(o.message_id, o.lease_token) AS m WHERE o.status = 'leased' ORDER BY 1;
SELECT lifecycle.ack(ARRAY(SELECT message_id FROM lifecycle.outbox WHERE status = 'leased' AND customer_id = 'eve'));
-- Whoever it was sent to is done: no second and third reminder.
SELECT travel('2030-03-02 12:30+00');
SELECT customer_id, status, end_reason FROM lifecycle.enrolment ORDER BY 1;
SELECT * FROM told WHERE step > 1;
UPDATE lifecycle.scenario SET status = 'draft';

-- SENT OVER AND OVER, EVERY MINUTE (mautic#6505; #8802 and #11602 with weekdays, hours and the autumn clock change).
SELECT travel('2030-10-20 12:00+00');
SELECT lifecycle.import_scenario('{"name": "weekly", "trigger": "event:joined", "status": "active",
    "steps": [{"position": 1, "template": "t", "send_days": ["sun"], "send_from": "02:00", "send_until": "03:00"}, {"position": 2, "delay": "10 days", "template": "u"}]}');
SELECT agrees('fay'), lifecycle.track('fay', 'customer', '{"time_zone": "Europe/Berlin"}');
SELECT say('fay', 'joined');
-- In the night of 27 October two o'clock comes twice.
SELECT travel_through('2030-10-26 23:00+00', '2030-10-27 03:00+00', '5 minutes');
SELECT scenario, step, status, created_at FROM lifecycle.outbox WHERE customer_id = 'fay' ORDER BY created_at;

-- ENTRIES LOST WHEN THE CLOCKS CHANGE (Braze: a daily canvas with no entries that day), A BIRTHDAY A DAY EARLY (mautic#9040), AT THE WRONG HOUR (#17090).
SELECT lifecycle.import_scenario('{"name": "cake", "trigger": "birthday", "status": "active", "steps": [{"position": 1, "class": "transactional", "template": "t", "send_from": "19:00", "send_until": "20:00"}]}');
-- In Santiago there is no midnight on 7 September 2031. On Kiritimati the day begins first, in Honolulu nearly last.
SELECT lifecycle.track(c, 'customer', jsonb_build_object('birthday', '1990-09-07', 'time_zone', z))
  FROM (VALUES ('gil', 'America/Santiago'), ('hui', 'Pacific/Kiritimati'), ('ike', 'Pacific/Honolulu')) AS v (c, z);
SELECT travel_through('2031-09-05 00:00+00', '2031-09-09 00:00+00', '1 hour');
SELECT e.customer_id, e.anchor, e.anchor_at, o.created_at AT TIME ZONE c.time_zone AS sent_there
  FROM lifecycle.enrolment AS e JOIN lifecycle.customer AS c USING (customer_id) JOIN lifecycle.outbox AS o USING (customer_id, scenario, anchor) WHERE e.scenario = 'cake' ORDER BY 3;
UPDATE lifecycle.scenario SET status = 'draft';

-- A DELETED STEP IS RUN THROUGH AGAIN BY EVERYBODY (mautic#6054); A STEP THAT IS ADDED LEAVES PEOPLE IN LIMBO (#6445).
SELECT travel('2032-01-01 12:00+00');
SELECT lifecycle.import_scenario('{"name": "course", "trigger": "event:enlisted", "status": "active", "steps": [{"position": 1, "class": "transactional", "template": "one"},
    {"position": 2, "class": "transactional", "template": "two", "delay": "1 day"}]}');
SELECT say('ann', 'enlisted');
SELECT travel('2032-01-02 12:00+00');
SELECT say('ben', 'enlisted');
DELETE FROM lifecycle.step WHERE scenario = 'course' AND position = 1;
INSERT INTO lifecycle.step (scenario, position, class, template, delay) VALUES ('course', 1, 'transactional', 'one_again', '0'), ('course', 3, 'transactional', 'three', '2 days');
SELECT say('cay', 'enlisted');
SELECT travel('2032-01-03 12:00+00');
SELECT travel('2032-01-09 12:00+00');
SELECT customer_id, step, template FROM told WHERE scenario = 'course' ORDER BY 1, 2;
SELECT customer_id, status FROM lifecycle.enrolment WHERE scenario = 'course' ORDER BY 1;

-- PAUSE AND RESUME BEGIN ANEW, SOME GET FIVE COPIES AND SOME NONE (listmonk#2070, #2313); OVERDUE MAIL GOES OUT HOWEVER LATE (#1801).
SELECT lifecycle.import_scenario('{"name": "issue", "trigger": "event:issue", "status": "active", "steps": [{"position": 1, "class": "transactional", "template": "t", "delay": "1 hour", "not_after": "3 hours"}]}');
SELECT say('r' || n, 'issue') FROM generate_series(1, 6) AS n;
SELECT travel('2032-01-09 13:00+00');
SELECT count(*) FROM lifecycle.claim(3, 'email', 'm');
SELECT say('s' || n, 'issue') FROM generate_series(1, 6) AS n;
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'issue';
SELECT travel('2032-01-09 14:30+00');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'issue';
SELECT travel('2032-01-09 14:31+00');
SELECT say('t1', 'issue');
UPDATE lifecycle.scenario SET status = 'paused' WHERE name = 'issue';
SELECT travel('2032-01-10 14:31+00');
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'issue';
SELECT travel('2032-01-10 14:32+00');
SELECT left(customer_id, 1) AS group, outcome, reason, count(*) FROM lifecycle.enrolment_step WHERE scenario = 'issue' GROUP BY 1, 2, 3 ORDER BY 1;

-- THE MAILER FAILED IN THE MIDDLE: WHAT WAS DELIVERED GOES OUT AGAIN (mautic#13070); A RETRY IS TAKEN FOR A DUPLICATE (odoo#267972).
DELETE FROM lifecycle.scenario WHERE name IN ('issue', 'course');
UPDATE lifecycle.outbox SET status = 'cancelled', error = 'by hand' WHERE status = 'pending';
SELECT travel('2032-02-01 12:00+00');
SELECT lifecycle.import_scenario(jsonb_build_object('name', c, 'trigger', 'event:' || c, 'status', 'active',
    'steps', jsonb_build_array(jsonb_build_object('position', 1, 'class', c, 'template', 't')))) FROM unnest('{marketing,transactional}'::text[]) AS c;
SELECT say(c, e) FROM unnest('{ann,ben}'::text[]) AS c, unnest('{marketing,transactional}'::text[]) AS e;
SELECT lifecycle.ack(ARRAY(SELECT min(message_id) FROM lifecycle.claim(10, 'email', 'dies') GROUP BY class));
SELECT travel('2032-02-01 12:06+00');
SELECT customer_id, class, attempts FROM lifecycle.claim(10, 'email', 'lives') ORDER BY 1, 2;
SELECT lifecycle.fail(message_id, 'greylisted', '1 minute') FROM lifecycle.outbox WHERE status = 'leased';
SELECT travel('2032-02-01 12:08+00');
SELECT lifecycle.ack(ARRAY(SELECT message_id FROM lifecycle.claim(10, 'email', 'lives')));
SELECT customer_id, class, status, attempts FROM lifecycle.outbox WHERE scenario IN ('marketing', 'transactional') ORDER BY 1, 2;

-- MAIL TO THE UNSUBSCRIBED IS TRIED AGAIN AND AGAIN INSTEAD OF CANCELLED (mautic#4356, #4681), QUEUED MAIL CANNOT BE CALLED BACK (#4923), UNSUBSCRIBING IS FOR
-- EVERYTHING OR NOTHING (#2358), WHO COMES BACK STAYS UNSUBSCRIBED (#5313).
SELECT travel('2032-03-01 12:00+00');
SELECT lifecycle.track('ben', 'consent', '{"channel": "sms", "status": "granted"}'), lifecycle.track('ben', 'customer', '{"phone": "+49 30 1"}');
UPDATE lifecycle.channel SET quiet_from = NULL, quiet_until = NULL;
SELECT lifecycle.import_scenario('{"name": "text", "trigger": "event:marketing", "status": "active", "steps": [{"position": 1, "channel": "sms", "template": "t"}]}');
SELECT say('ben', 'marketing'), say('ben', 'transactional');
SELECT lifecycle.track('ben', 'consent', '{"channel": "email", "status": "revoked"}');
SELECT travel('2032-03-01 12:30+00');
SELECT say('ben', 'marketing');
SELECT lifecycle.track('ben', 'consent', '{"channel": "email", "status": "granted"}');
SELECT travel('2032-03-01 13:00+00');
SELECT say('ben', 'marketing');
SELECT scenario, created_at, status, error FROM lifecycle.outbox WHERE customer_id = 'ben' AND created_at >= '2032-03-01' ORDER BY created_at, scenario;
SELECT scenario, outcome, reason, decided_at FROM lifecycle.enrolment_step WHERE customer_id = 'ben' AND decided_at > '2032-03-01 12:00+00' ORDER BY decided_at, scenario;

-- VARIANTS BREAK "ONLY ONCE" AND WHAT FOLLOWS (mautic#14098, #3898); WHO RE-JOINS A SEGMENT GETS IT AGAIN (#7881).
INSERT INTO lifecycle.segment (name, predicate) VALUES ('fans', $$ has_tag('fan') $$);
SELECT lifecycle.import_scenario('{"name": "test", "trigger": "segment_entered:fans", "reentry": "once", "status": "active", "steps": [
    {"position": 1, "class": "transactional", "template": "a", "variants": [{"name": "A"}, {"name": "B", "template": "b"}]},
    {"position": 2, "delay": "1 day", "wait_for": "click", "otherwise": 9}, {"position": 3, "class": "transactional", "template": "thanks"}]}');
SELECT count(lifecycle.track('v' || n, 'customer', '{"tags": ["fan"]}')) FROM generate_series(1, 40) AS n;
SELECT count(lifecycle.track('v' || n, 'customer', '{"tags": []}')) FROM generate_series(1, 40) AS n;
SELECT count(lifecycle.track('v' || n, 'engagement', '{"type": "click"}')) FROM generate_series(1, 40, 2) AS n;
SELECT count(lifecycle.track('v' || n, 'customer', '{"tags": ["fan"]}')) FROM generate_series(1, 40) AS n;
SELECT travel('2032-03-03 13:00+00');
SELECT step, count(*), count(DISTINCT customer_id) AS customers, count(DISTINCT variant) AS variants FROM lifecycle.outbox WHERE scenario = 'test' GROUP BY 1 ORDER BY 1;

-- THOSE WHO SHARE AN ADDRESS LOSE MAIL (mautic#14381): each gets the confirmation of the own order.
UPDATE lifecycle.scenario SET status = 'active' WHERE name = 'post_purchase';
SELECT lifecycle.track(c, 'customer', '{"email": "both@example.org"}') FROM unnest('{ida,joe}'::text[]) AS c;
SELECT lifecycle.track(c, 'order', jsonb_build_object('order', 'of ' || c, 'amount', 5)) FROM unnest('{ida,joe}'::text[]) AS c;
SELECT customer_id, scenario, status FROM told WHERE customer_id IN ('ida', 'joe');

-- PENDING FOR EVER, "EXECUTED ALREADY", STUCK WITHOUT A REASON (mautic#16107, #9984): nothing is overdue, nothing was decided twice, nothing was left out without saying why.
SELECT lifecycle.tick() >= 0;
SELECT count(*) FROM lifecycle.enrolment AS e JOIN lifecycle.scenario AS s ON s.name = e.scenario AND s.status = 'active' WHERE e.status = 'active' AND e.next_due_at <= lifecycle.now();
SELECT count(*) FROM (SELECT FROM lifecycle.outbox AS o GROUP BY o.customer_id, o.scenario, o.anchor, o.step HAVING count(*) > 1) AS twice;
SELECT count(*) FROM lifecycle.enrolment_step AS s WHERE s.outcome <> 'enqueued' AND s.reason IS NULL;
SELECT count(*) FROM lifecycle.outbox AS o WHERE o.status IN ('cancelled', 'failed') AND o.error IS NULL;
SELECT count(*) FROM lifecycle.verify();

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION travel, travel_through, agrees, say;
