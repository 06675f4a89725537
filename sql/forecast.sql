-- Forecast: what will be sent if nothing more is said, who will get it, and what another configuration would send.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = 'warning';
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET lifecycle.clock = '2026-03-01 09:00+00';
CREATE EXTENSION pg_lifecycle;
SELECT lifecycle.install_playbook();
INSERT INTO lifecycle.shop (time_zone) VALUES ('Europe/Berlin');
UPDATE lifecycle.scenario SET status = 'active';
CREATE TABLE people (id text PRIMARY KEY, mail text, zone text, born date);
CREATE TABLE orders (id int PRIMARY KEY, customer_id text, total numeric, placed_at timestamptz);
SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "mail", "time_zone": "zone", "birthday": "born"}', name => 'people');
SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer_id", "amount": "total", "placed_at": "placed_at"}', name => 'orders');
INSERT INTO people VALUES ('ann', 'ann@example.org', 'Europe/Berlin', '1980-03-29'), ('bob', 'bob@example.org', 'America/New_York', '1992-02-29'), ('cat', NULL, NULL, NULL);
SELECT lifecycle.track(c, 'consent', '{"channel": "email", "status": "granted"}') FROM unnest('{ann,bob}'::text[]) AS c;
INSERT INTO orders VALUES (1, 'ann', 150, '2026-03-01 08:00+00'), (2, 'cat', 20, '2026-03-01 08:30+00');
SELECT lifecycle.track('ann', 'cart', '{"cart": "k1", "value": 50}');
SELECT lifecycle.track('bob', 'wishlist', '{"product": "hat"}');
INSERT INTO lifecycle.offer (name, kind, value, validity) VALUES ('gift', 'percent', 5, '30 days');

-- Everything there is, to be compared.
CREATE FUNCTION everything() RETURNS TABLE (relation text, content text) LANGUAGE plpgsql AS $$
BEGIN
    FOR relation IN SELECT c.oid::regclass::text FROM pg_class AS c
                     WHERE c.relnamespace = 'lifecycle'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1 LOOP
        EXECUTE format('SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM %s AS t', relation) INTO content;
        RETURN NEXT;
    END LOOP;
END $$;
CREATE TEMPORARY TABLE before AS SELECT * FROM everything();

-- The welcome waits for the mailer; Ann's cart is left, then her birthday comes on the day of summer time.
SELECT customer_id, scenario, step, channel, due_at, sent_at FROM lifecycle.forecast_messages('30 days');
-- The days are the shop's.
SELECT * FROM lifecycle.forecast('30 days') WHERE scenario IN ('birthday', 'wishlist', 'cart_recovery');
SELECT * FROM lifecycle.who_would_get('wishlist', '2026-03-04 00:00+00', '2026-03-05 00:00+00');

-- Nothing has happened: no row differs, nobody was told, the clock is where it was.
LISTEN lifecycle_outbox;
SELECT count(*) FROM lifecycle.forecast_messages('1 year');
-- Nor when it is interrupted on the way.
SET lifecycle.fault = 'outbox:cancel';
SELECT count(*) FROM lifecycle.forecast_messages('1 year');
RESET lifecycle.fault;
SELECT * FROM everything() EXCEPT SELECT * FROM before;
SELECT lifecycle.now();
UNLISTEN *;
-- However many are taken together.
SELECT count(*) FROM (SELECT * FROM lifecycle.forecast_messages('1 year', at_once => NULL) EXCEPT SELECT * FROM lifecycle.forecast_messages('1 year', at_once => 1)) AS x;

-- Another configuration, the plain way.
BEGIN;
UPDATE lifecycle.step SET delay = '12 hours' WHERE scenario = 'birthday';
SELECT * FROM lifecycle.who_would_get('birthday', '2026-03-01 00:00+00', '2026-04-01 00:00+00');
ROLLBACK;
SELECT * FROM lifecycle.who_would_get('birthday', '2026-03-01 00:00+00', '2026-04-01 00:00+00');

-- And side by side: a cart is given up after two letters, and birthdays are left out.
SELECT * FROM lifecycle.compare_forecast(jsonb_build_array(lifecycle.export_scenario('cart_recovery') #- '{steps,2}', lifecycle.export_scenario('birthday') || '{"status": "paused"}')) WHERE scenario IN ('cart_recovery', 'birthday');
SELECT * FROM everything() EXCEPT SELECT * FROM before;

-- What is refused.
SELECT lifecycle.forecast('-1 day');
SELECT lifecycle.forecast(at_once => 0);
SELECT lifecycle.who_would_get('nothing', lifecycle.now(), lifecycle.now() + '1 day');
BEGIN READ ONLY;
SELECT lifecycle.forecast();
ROLLBACK;

-- A reader may.
CREATE ROLE forecast_reader;
SELECT lifecycle.grant_reader('forecast_reader');
SET ROLE forecast_reader;
SELECT sum(messages) FROM lifecycle.forecast('30 days');
RESET ROLE;
DROP OWNED BY forecast_reader;
DROP ROLE forecast_reader;

-- The week comes, and is as it was foreseen.
CREATE TEMPORARY TABLE foreseen AS SELECT * FROM lifecycle.forecast_messages('7 days');
DO $$
DECLARE due timestamptz;
BEGIN
    LOOP
        PERFORM lifecycle.tick();
        UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'pending' AND due_at <= lifecycle.now();
        SELECT min(due_at) INTO due FROM lifecycle.timer;
        EXIT WHEN due >= '2026-03-08 09:00+00';
        PERFORM set_config('lifecycle.clock', due::text, false);
    END LOOP;
END $$;
SELECT count(*) FROM foreseen;
(SELECT 'foreseen only', f.* FROM (SELECT * FROM foreseen
   EXCEPT ALL SELECT customer_id, scenario, anchor, step, variant, channel, class, template, due_at, sent_at FROM lifecycle.outbox WHERE status = 'sent') AS f)
UNION ALL
(SELECT 'lived only', f.* FROM (SELECT customer_id, scenario, anchor, step, variant, channel, class, template, due_at, sent_at FROM lifecycle.outbox WHERE status = 'sent'
   EXCEPT ALL SELECT * FROM foreseen) AS f);

DROP EXTENSION pg_lifecycle CASCADE;
DROP FUNCTION everything;
DROP TABLE people, orders;
