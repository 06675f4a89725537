# A forecast is what happens: a shop with every scenario of the playbook active, half a year of history and a morning of news foresees
# thirty days in which the clocks change, lives through them, and the two are compared row by row.
#
#   LIFECYCLE_SEED=n       repeats a run
#   LIFECYCLE_CUSTOMERS=n  how many customers (250)
#   LIFECYCLE_GRAIN=i      what happened did so at a multiple of this interval (1 second); a large shop has fewer instants to live through then

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use Test::More;

my $seed = seed(20_280_310);
my $customers = $ENV{LIFECYCLE_CUSTOMERS} || 250;
my $grain = $ENV{LIFECYCLE_GRAIN} || '1 second';
my $at_once = $customers > 1000 ? 1000 : 50;
my $now = '2028-03-10 08:00+00';    # New York changes its clocks on the 12th, Berlin on the 26th
my $end = '2028-04-09 07:00+00';    # 30 days by Berlin's calendar, an hour short

my $node = new_cluster('forecast', conf => "lifecycle.worker = off\njit = off");
new_shop($node, 'shop', clock => $now);
$node->safe_psql('shop', <<~SQL);
	SET lifecycle.clock = '$now';
	INSERT INTO lifecycle.shop (time_zone) VALUES ('Europe/Berlin');
	UPDATE lifecycle.channel SET quiet_from = '21:00', quiet_until = '08:00' WHERE name = 'email';
	UPDATE lifecycle.scenario SET trigger = 'date:2028-03-26' WHERE name = 'season';
	UPDATE lifecycle.scenario SET holdout = 0.1 WHERE name = 'wishlist';
	UPDATE lifecycle.scenario SET status = 'active';

	SELECT setseed($seed % 100000 / 100000.0);
	CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS \$\$ SELECT choices[1 + floor(random() * cardinality(choices))::int] \$\$;
	CREATE FUNCTION ago(at_least interval, at_most interval) RETURNS timestamptz LANGUAGE sql VOLATILE
	    AS \$\$ SELECT date_bin('$grain', lifecycle.now() - at_least - random() * (at_most - at_least), '2000-01-01Z') \$\$;
	CREATE TABLE people AS
	    SELECT 'c' || i AS id, 'c' || i || '\@example.org' AS email, date '1950-01-01' + floor(random() * 18000)::int AS born,
	           pick('Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe', NULL) AS zone, i % 10 = 0 AS sleeps, i
	      FROM generate_series(1, $customers) AS i;
	SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "email", "birthday": "born", "time_zone": "zone"}');
	CREATE VIEW awake AS SELECT * FROM people WHERE NOT sleeps;
	-- The past, which starts nothing but what time still has in hand.
	SELECT lifecycle.track(id, 'consent', jsonb_build_object('channel', channel, 'status', pick('granted', 'granted', 'granted', 'revoked')), ago('100 days', '150 days'))
	  FROM people, unnest('{email,ads}'::text[]) AS channel;
	INSERT INTO shop.orders (customer, amount, placed_at)
	    SELECT id, pick('20', '80', '300', '900')::numeric, ago('1 day', pick('70 days', '200 days')::interval) FROM awake, generate_series(1, 3) WHERE random() < 0.6;
	SELECT lifecycle.track(id, 'engagement', jsonb_build_object('type', pick('open', 'click', 'visit')), ago('1 day', pick('60 days', '100 days', '190 days')::interval))
	  FROM awake, generate_series(1, 2) WHERE random() < 0.7;
	SELECT lifecycle.track(id, 'engagement', '{"type": "open"}', ago(span, span + interval '27 days'))
	  FROM people, LATERAL (SELECT CASE WHEN i % 20 = 0 THEN interval '62 days' ELSE '152 days' END AS span) AS s WHERE sleeps;
	-- The morning's news.
	INSERT INTO shop.orders (customer, amount, placed_at) SELECT id, pick('20', '150', '2000')::numeric, ago('0', '20 hours') FROM awake WHERE random() < 0.15;
	SELECT lifecycle.track(customer, 'delivery', jsonb_build_object('order', id), ago('0', '5 hours')) FROM shop.orders WHERE placed_at > lifecycle.now() - interval '1 day' AND random() < 0.7;
	SELECT lifecycle.track(id, 'cart', jsonb_build_object('cart', 'k' || id, 'value', 50), ago('0', '50 minutes')) FROM awake WHERE random() < 0.25;
	SELECT lifecycle.track(id, 'wishlist', jsonb_build_object('product', 'p' || n), ago('0', '20 hours')) FROM awake, generate_series(1, 2) AS n WHERE random() < 0.15;
	SELECT lifecycle.track(id, 'consent', '{"channel": "email", "status": "granted"}', lifecycle.now()) FROM awake WHERE random() < 0.15;
	SELECT lifecycle.track(id, 'review', jsonb_build_object('review', 'r' || id, 'rating', 1), lifecycle.now()) FROM awake WHERE random() < 0.05;

	CREATE TABLE foreseen AS SELECT * FROM lifecycle.forecast_messages('30 days', at_once => $at_once);
	CREATE PROCEDURE live(until timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE due timestamptz;
	BEGIN
	    LOOP
	        PERFORM lifecycle.tick();
	        WHILE EXISTS (SELECT FROM lifecycle.outbox WHERE part < 1000 AND status = 'pending') LOOP
	            PERFORM lifecycle.ack(array_agg(c.message_id), min(c.lease_token)) FROM lifecycle.claim(1000) AS c;
	            PERFORM lifecycle.tick();
	        END LOOP;
	        COMMIT;
	        SELECT min(t.due_at) INTO due FROM lifecycle.timer AS t;
	        EXIT WHEN due >= until OR due IS NULL;
	        PERFORM set_config('lifecycle.clock', due::text, false);
	    END LOOP;
	END \$\$;
	SQL
is_none($node, 'shop', 'SELECT source, sqlstate, message, data FROM lifecycle.quarantine', 'no fact was refused');
is_none($node, 'shop', "SELECT * FROM lifecycle.outbox WHERE status NOT IN ('pending', 'cancelled')", 'the forecast itself has sent nothing');
$node->safe_psql('shop', "SET lifecycle.clock = '$now'; CALL live('$end')");

my $lived = "SELECT customer_id, scenario, anchor, step, variant, channel, class, template, due_at, sent_at FROM lifecycle.outbox WHERE status = 'sent'";
is_none($node, 'shop', "TABLE foreseen EXCEPT ALL ($lived)", "seed $seed: what was foreseen has happened");
is_none($node, 'shop', "$lived EXCEPT ALL TABLE foreseen", "seed $seed: and nothing else");
my $messages = $node->safe_psql('shop', "SELECT string_agg(concat_ws(' ', scenario, n), ', ' ORDER BY scenario) FROM (SELECT scenario, count(*) AS n FROM foreseen GROUP BY 1) AS x");
diag("messages: $messages");
is_none($node, 'shop', 'SELECT name FROM lifecycle.scenario EXCEPT SELECT scenario FROM foreseen', 'every scenario has sent something') if $customers >= 250;

$node->stop;
done_testing();
