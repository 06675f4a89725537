# Whatever is changed, switched off, deleted or emptied of what is configured, by whoever may: orders go through, none of them ends in quarantine, and
# time goes on: a tick comes to its end and leaves nobody behind who is due.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $now = '2026-11-23 12:00:00+00';
my $node = new_cluster('configuration', conf => "lifecycle.worker = off\nclient_min_messages = error\nstatement_timeout = '${patience}s'");
$node->safe_psql('postgres', <<~SQL);
	SET lifecycle.clock = '$now';
	CREATE EXTENSION pg_lifecycle;
	SELECT lifecycle.install_playbook();
	CREATE TABLE people (id text PRIMARY KEY, email text, birthday date);
	CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric, at timestamptz);
	CREATE TABLE items (order_id int, line int, product text, category text);
	SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "email", "birthday": "birthday"}');
	SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "at"}');
	SELECT lifecycle.attach('items', 'order_item', '{"order": "order_id", "line": "line", "product": "product", "category": "category"}');
	INSERT INTO people SELECT 'c' || n, 'c' || n || '\@example.org', date '1990-11-24' + n FROM generate_series(1, 20) AS n;
	SELECT lifecycle.track('c' || n, 'consent', '{"channel": "email", "status": "granted"}') FROM generate_series(1, 20) AS n;
	INSERT INTO lifecycle.offer (name, kind, value) VALUES ('five', 'percent', 5), ('ten', 'percent', 10);
	UPDATE lifecycle.tier SET offer = 'five' WHERE name IN ('bronze', 'gold');
	UPDATE lifecycle.step SET offer = 'ten' WHERE scenario = 'post_purchase';
	INSERT INTO lifecycle.points_rule (name, earns_on, event, rate, points) VALUES ('orders', 'order', NULL, 1, 0), ('often', 'streak', 'order:2 days', 0, 5);
	UPDATE lifecycle.scenario SET status = 'active';
	INSERT INTO orders SELECT n, 'c' || n % 10, 80, lifecycle.now() - n * interval '10 days' FROM generate_series(1, 20) AS n;
	INSERT INTO items SELECT n, k, 'p' || k, 'k' FROM generate_series(1, 20) AS n, generate_series(1, 3) AS k;
	INSERT INTO lifecycle.tier_grant (customer_id, tier, reason) VALUES ('c1', 'gold', 'a friend');
	SELECT lifecycle.track('c5', 'cart', '{"cart": "k5", "value": 30}'), lifecycle.track('c6', 'wishlist', '{"product": "p1"}');
	SELECT lifecycle.tick();
	SQL

# An order for each of thirty customers, ten of them new; ticks now, in three days, in a hundred and in eight hundred.
sub live_on
{
	my ($change) = @_;
	my $ticks = join '', map { "SET LOCAL lifecycle.clock = '$_'; DO 'BEGIN PERFORM lifecycle.tick(); END';\n" }
	  $now, '2026-11-26 12:00:00+00', '2027-03-03 12:00:00+00', '2029-01-31 12:00:00+00';
	my ($out, $err) = ('', '');
	$node->psql('postgres', <<~SQL, stdout => \$out, stderr => \$err, extra_params => [ '-At', '-v', 'ON_ERROR_STOP=1' ]);
		BEGIN;
		SET LOCAL lifecycle.clock = '$now';
		$change;
		INSERT INTO orders SELECT 1000 + n, 'c' || n, 300 * n, lifecycle.now() FROM generate_series(1, 30) AS n;
		INSERT INTO items SELECT 1000 + n, 1, 'p9', 'k' FROM generate_series(1, 20) AS n;
		DELETE FROM orders WHERE id IN (3, 1005);
		SET CONSTRAINTS ALL IMMEDIATE;
		$ticks
		SELECT 'quarantine', q.sqlstate, q.message, count(*) FROM lifecycle.quarantine AS q GROUP BY 2, 3;
		SELECT 'still due', t.customer_id, t.due_at FROM lifecycle.timer AS t WHERE t.due_at <= lifecycle.now();
		SELECT 'orders', o.n, c.n FROM (SELECT count(*) AS n FROM orders) AS o, (SELECT sum(k.order_count) AS n FROM lifecycle.customer AS k) AS c WHERE o.n <> c.n;
		SELECT 'verify', v.* FROM lifecycle.verify() AS v;
		ROLLBACK;
		SQL
	return is("$out$err", '', $change);
}

my @changes = map { "UPDATE lifecycle.$_" }
  "scenario SET status = 'draft'", "scenario SET status = 'paused'", "scenario SET status = 'draining'", "scenario SET status = 'draft' WHERE trigger ~ '^order'",
  "scenario SET status = 'draft' WHERE trigger !~ '^order'", "scenario SET status = 'draft' WHERE trigger = 'birthday'", "scenario SET trigger = 'event:none'",
  "scenario SET reentry = 'always'", "scenario SET holdout = 1", "scenario SET exclusion = 'order_count > 0'", "step SET offer = NULL", "step SET delay = '1 year', not_after = NULL",
  "step SET delay = '0', not_after = NULL", "step SET channel = 'push'", "channel SET cap_per_day = 0", "channel SET quiet_from = '00:00', quiet_until = '23:59'",
  "channel SET max_per_hour = 0", "offer SET valid_until = '2026-11-24 00:00+00'", "coupon SET status = 'revoked'", "tier SET name = name || '!' WHERE name = 'bronze'",
  "points_rule SET valid_from = '2026-01-01 00:00+00', valid_until = '2026-12-01 00:00+00'", "loyalty_program SET basis = 'points'",
  "loyalty_program SET period = 'calendar_year', warn_before = '10 days', grace = '3 days'", "loyalty_program SET period = 'rolling', period_length = '30 days', downgrade = 'one_down'",
  "segment SET predicate = 'false' WHERE dimension IS NULL", "segment SET predicate = 'true' WHERE dimension IS NULL", "shop SET time_zone = 'America/New_York'",
  "enrolment SET status = 'exited'", "enrolment SET next_due_at = '2027-01-01 00:00+00'";
push @changes, map { "DELETE FROM lifecycle.$_" }
  "scenario", "scenario WHERE trigger = 'birthday'", "step", "cap", "loyalty_program", "tier", "points_rule", "tier_grant", "enrolment", "enrolment_step", "outbox", "coupon";
push @changes, map { "TRUNCATE lifecycle.$_" }
  qw(scenario step variant scenario_version channel cap offer coupon tier tier_version tier_grant loyalty_program points_rule segment rfm_threshold shop
  exchange_rate consent_policy outbox_policy outbox suppression enrolment_step timer);
push @changes, 'DELETE FROM people', 'TRUNCATE people', 'TRUNCATE orders, items', "UPDATE people SET birthday = '1992-02-29'", 'UPDATE people SET birthday = NULL',
  "INSERT INTO lifecycle.timer VALUES ('2026-11-01 00:00+00', 'c1'), ('2026-11-01 00:00+00', 'nobody')", 'SELECT 1 WHERE false';
live_on($_) for @changes;

is($node->safe_psql('postgres', 'SELECT count(*) FROM lifecycle.customer'), '21', 'every transaction has been undone');
done_testing();
