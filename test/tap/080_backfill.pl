# Backfill beside live traffic: several sessions change a table at random while it is attached and taken in, in small batches; who does it is
# killed on the way, with the whole server now and then, and another goes on. Then everything is compared with plain SQL over the table.
#
#   LIFECYCLE_SEED=n       repeats a history (the statements are the same; who is first may differ)
#   LIFECYCLE_HISTORIES=n  how many histories

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $histories = $ENV{LIFECYCLE_HISTORIES} || 2;
my $seed = seed(20_260_301);
my $sessions = 3;
my $clock = '2026-01-01 00:00:00+00';

my $node = new_cluster('backfill', conf => "fsync = on\nrestart_after_crash = on\nlifecycle.worker = off\nlifecycle.worker_nap = '1s'");

sub customer { return chance(0.05) ? 'NULL' : chance(0.5) ? "'c" . int(rand 12) . "'" : "'x" . int(rand 2000) . "'"; }
sub amount { return chance(0.03) ? pick("'NaN'", 'NULL') : chance(0.2) ? pick(100, 500) : sprintf '%.2f', 1 + rand 200; }
sub status { return pick(qw('paid' 'paid' 'paid' 'shipped' 'cancelled' 'new')); }

sub instant
{
	return "timestamptz '$clock' - interval '" . int(rand 700 * 24) . " hours'" if chance(0.7);
	return "timestamptz '$clock' + interval '" . int(rand 48) . " hours'" if chance(0.3);
	return "timestamptz '$clock'";
}

# Old rows, which the backfill may or may not have come to, and new ones.
sub some_orders
{
	my $die = rand;
	return 'id = ' . (1 + int rand 3000) if $die < 0.5;
	return 'id IN (SELECT id FROM shop.orders ORDER BY id DESC LIMIT 3)' if $die < 0.7;
	return 'customer = ' . customer() . ' AND id % 5 = ' . int rand 5 if $die < 0.9;
	return 'id % 401 = ' . int rand 401;
}

sub orders { return join ', ', map { '(' . join(', ', customer(), amount(), status(), instant()) . ')' } 1 .. $_[0]; }

sub change
{
	my $die = rand;
	return 'INSERT INTO shop.orders (customer, amount, status, placed_at) VALUES ' . orders(chance(0.8) ? 1 : 20) if $die < 0.35;
	return 'UPDATE shop.orders SET amount = ' . amount() . ' WHERE ' . some_orders() if $die < 0.45;
	return 'UPDATE shop.orders SET status = ' . status() . ' WHERE ' . some_orders() if $die < 0.55;
	return 'UPDATE shop.orders SET customer = ' . customer() . ' WHERE ' . some_orders() if $die < 0.63;
	return 'UPDATE shop.orders SET placed_at = ' . instant() . ' WHERE ' . some_orders() if $die < 0.68;
	return "UPDATE shop.orders SET note = 'seen' WHERE " . some_orders() if $die < 0.73;
	return 'DELETE FROM shop.orders WHERE ' . some_orders() if $die < 0.83;
	return 'DELETE FROM shop.orders WHERE amount IS NULL' if $die < 0.84;
	# Refunds are taken in as they come, and lock the same customers.
	return 'INSERT INTO shop.refunds (customer, amount, refunded_at) VALUES (' . customer() . ', ' . int(rand 20) . ', ' . instant() . ')';
}

sub transaction
{
	return change() . ";\n" if chance(0.6);
	my $isolation = chance(0.2) ? ' ISOLATION LEVEL REPEATABLE READ' : '';
	my $text = "BEGIN$isolation;\n" . join '', map { chance(0.2) ? "SAVEPOINT s;\n" . change() . ";\nROLLBACK TO s;\n" : change() . ";\n" } 1 .. 1 + rand 4;
	$text .= "SELECT FROM pg_sleep(0.02);\n" if chance(0.3);
	return $text . (chance(0.15) ? "ROLLBACK;\n" : "COMMIT;\n");
}

sub traffic { return "SET client_min_messages = warning;\n" . join '', map { transaction() . "SELECT FROM pg_sleep(0.005);\n" } 1 .. $_[0]; }

sub progress { my ($db) = @_; return $node->safe_psql($db, "SELECT state || ' ' || rows_done FROM lifecycle.progress WHERE source = 'orders'"); }

# How a run of the backfill ends before its time.
my %disaster = (
	'it is cancelled' => sub { kill_backfill('pg_cancel_backend(pid)') },
	'its session is ended' => sub { kill_backfill('pg_terminate_backend(pid)') },
	'it is killed, and the server starts anew' => sub { kill 'KILL', kill_backfill('pid') },
	'the server is stopped at once' => sub { $node->stop('immediate'); $node->start; 1 });

sub kill_backfill
{
	my ($how) = @_;
	return $node->safe_psql('postgres', "SELECT $how FROM pg_stat_activity WHERE query LIKE 'CALL lifecycle.backfill%' AND pid <> pg_backend_pid() LIMIT 1");
}

sub compare
{
	my ($db, $name) = @_;
	is_none($node, $db, "SELECT * FROM oracle.differences('$clock') ORDER BY 1, 2", "$name: customers");
	is_none($node, $db, "SELECT * FROM oracle.contradictions('$clock') ORDER BY 1, 2", "$name: no contradictions");
	is_none($node, $db, <<~SQL, "$name: the ledger holds each order once");
		SELECT customer_id, id, at, amount, count(*) FROM (
		    SELECT customer_id, id, at, amount, 'shop' AS place FROM oracle.orders
		    UNION ALL SELECT customer_id, id, at, amount, 'ledger' FROM lifecycle.purchase WHERE kind = 'order') AS o
		 GROUP BY 1, 2, 3, 4 HAVING count(*) <> 2 OR count(DISTINCT place) <> 2
		SQL
	is_none($node, $db, <<~SQL, "$name: quarantine holds the bad rows and no others");
		WITH bad AS (SELECT id FROM shop.orders WHERE customer <> '' AND status IN ('paid', 'shipped') AND (amount IS NULL OR amount = 'NaN'))
		SELECT b.id AS bad, q.data ->> 'id' AS held, q.action, q.sqlstate, q.message
		  FROM bad AS b FULL JOIN lifecycle.quarantine AS q ON q.data ->> 'id' = b.id::text AND q.action = 'arrived'
		 WHERE b.id IS NULL OR q.source IS NULL
		SQL
	is($node->safe_psql($db, 'SELECT count(*) FROM lifecycle.inbox'), '0', "$name: nothing waits in the inbox");
	return;
}

for my $history (1 .. $histories)
{
	srand($seed + $history - 1);
	my $name = "seed $seed, history $history";
	my $db = "backfill$history";
	new_shop($node, $db, partitioned => $history % 2 == 0, unattached => 1);
	$node->safe_psql($db, "ALTER DATABASE $db SET lifecycle.clock = '$clock'");
	$node->safe_psql($db, <<~SQL);
		SELECT setseed($seed % 1000000 / 1000000.0);
		INSERT INTO shop.orders (customer, amount, status, placed_at)
		SELECT CASE WHEN n % 2 = 0 THEN 'c' || n % 12 ELSE 'x' || floor(random() * 2000) END, round((random() * 200)::numeric, 2),
		       (ARRAY['paid', 'shipped', 'new'])[1 + n % 3], timestamptz '$clock' - random() * interval '2 years'
		  FROM generate_series(1, 3000) AS n;
		SQL
	my @running = map { script_session($node, $db, traffic(60)) } 1 .. $sessions;
	# The table is attached while orders come and go.
	$node->safe_psql('postgres', "ALTER DATABASE $db SET lifecycle.backfill_at_once = 0");
	Lifecycle::attach_shop($node, $db, '');
	$node->safe_psql($db, "CALL lifecycle.backfill('refunds')");
	like(progress($db), qr/^waiting 0$/, "$name: the orders wait to be read");

	my $slowly = "SET client_min_messages = warning; SET lifecycle.backfill_batch = 40; SET lifecycle.backfill_rate = 500;\n";
	my $done = 0;
	for my $what (@{[ [ 'it is cancelled', 'it is killed, and the server starts anew' ], [ 'its session is ended', 'the server is stopped at once' ] ]->[ $history % 2 ]})
	{
		my $run = script_session($node, $db, "${slowly}CALL lifecycle.backfill('orders');\n");
		eventually($node, $db, "SELECT state = 'taking in' AND rows_done > $done + 150 FROM lifecycle.progress WHERE source = 'orders'", 't',
			"$name: a run takes in, and shows how far it is");
		ok($disaster{$what}->(), "$name: $what");
		finish_session($run);
		if ($what =~ /server/)
		{
			for my $session (@running) { finish_session($session); }
			eventually($node, $db, 'SELECT 1', '1', "$name: the server is back");
			@running = map { script_session($node, $db, traffic(60)) } 1 .. $sessions;
		}
		# Not before it has ended: the next run must not be taken for one at work by what this one has done while it was being ended.
		my $left = progress($db);
		like($left, qr/^taking in [1-9]/, "$name: the run has left what it had done");
		($done) = $left =~ /(\d+)/;
	}

	# An order that is placed while its customers' history is being taken in counts after it, and is confirmed.
	my $last;
	if ($history % 2)
	{
		$last = script_session($node, $db, "${slowly}CALL lifecycle.backfill('orders');\n");
	}
	else
	{
		$node->safe_psql('postgres', "ALTER DATABASE $db SET lifecycle.backfill_batch = 40");
		$node->safe_psql('postgres', "ALTER DATABASE $db SET lifecycle.backfill_rate = 1500");
		$node->append_conf('postgresql.conf', 'lifecycle.worker = on');
		$node->reload;
	}
	eventually($node, $db, <<~SQL, 't', "$name: " . ($last ? 'another run' : 'the background worker') . ' goes on');
		SELECT rows_done > $done AND rows_done < total AND run_began_with > 0 FROM lifecycle.backfill WHERE source = 'orders' AND state = 'taking in'
		SQL
	$node->safe_psql($db, "INSERT INTO shop.orders (customer, amount, placed_at) SELECT 'live' || n, 10, lifecycle.now() FROM generate_series(1, 3) AS n");
	is($node->safe_psql($db, "SELECT count(*) FROM lifecycle.customer WHERE customer_id LIKE 'live%'"), '0', "$name: an order waits for the history before it");
	for my $session (@running)
	{
		my @errors = grep { $_->[0] !~ /^(40P01|40001|25P02|3B001)$/ } finish_session($session);
		is(join("\n", map { "@$_" } @errors), '', "$name: no session notices");
	}
	# A second caller waits for the first.
	$node->safe_psql($db, "SET client_min_messages = warning; CALL lifecycle.backfill('orders')");
	finish_session($last) if $last;
	is($node->safe_psql($db, "SELECT state, rows_done = total, finished_at > started_at, rate > 0, error FROM lifecycle.progress WHERE source = 'orders'"),
		'done|t|t|t|', "$name: done");
	compare($db, $name);
	is($node->safe_psql($db, "SELECT count(*) FROM lifecycle.outbox WHERE customer_id LIKE 'live%' AND scenario = 'post_purchase'"), '3',
		"$name: orders of meanwhile are confirmed");

	# From now on everything counts at once.
	@running = map { script_session($node, $db, traffic(15)) } 1 .. $sessions;
	for my $session (@running) { finish_session($session); }
	compare($db, "$name, afterwards");
	if (!$last)
	{
		$node->append_conf('postgresql.conf', 'lifecycle.worker = off');
		$node->reload;
	}
	$node->safe_psql('postgres', "DROP DATABASE $db WITH (FORCE)");
}

# An error at any point costs what was at work, and the next call goes on.
{
	my $db = 'faults';
	new_shop($node, $db, unattached => 1);
	$node->safe_psql($db, "ALTER DATABASE $db SET lifecycle.clock = '$clock'");
	$node->safe_psql($db, <<~SQL);
		INSERT INTO shop.orders (customer, amount, placed_at)
		SELECT 'c' || n % 50, n, timestamptz '$clock' - n * interval '1 hour' FROM generate_series(1, 300) AS n;
		INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c1', 'NaN', '$clock');
		ALTER DATABASE $db SET lifecycle.backfill_at_once = 0;
		ALTER DATABASE $db SET lifecycle.backfill_batch = 40;
		ALTER DATABASE $db SET client_min_messages = warning;
		SQL
	Lifecycle::attach_shop($node, $db, '');
	$node->safe_psql($db, "CALL lifecycle.backfill('refunds')");
	my @points = qw(backfill.read quarantine customer.lock ledger customer.store backfill.batch backfill.finish);
	for my $fault ((map { [ $_, 'error' ] } @points), [ 'ledger', 'memory' ], [ 'backfill.batch', 'cancel' ])
	{
		my ($point, $kind) = @$fault;
		my ($status, $out, $err) = $node->psql($db, "SET lifecycle.fault = '$point:$kind'; CALL lifecycle.backfill('orders');");
		like($err, $kind eq 'memory' ? qr/invalid memory alloc|out of memory/ : qr/at fault point "$point"/, "$point, $kind: the call fails");
		# What is placed meanwhile is kept, whether it can be noted or not.
		my $note = $kind eq 'error' ? "SET lifecycle.fault = 'inbox:error';" : '';
		$node->safe_psql($db, "$note INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c7', 1, '$clock'), ('new $point $kind', 2, '$clock')");
		$node->safe_psql($db, "UPDATE shop.orders SET amount = amount + 1 WHERE id = 5");
		$node->safe_psql($db, "CALL lifecycle.backfill('orders'); SELECT lifecycle.replay_quarantine();");
		compare($db, "$point, $kind");
		$node->safe_psql($db, <<~SQL);
			SELECT lifecycle.detach('orders');
			SELECT lifecycle.attach('shop.orders', 'order',
			    '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}',
			    filter => \$\$ status IN ('paid', 'shipped') \$\$, name => 'orders');
			SQL
	}
}

# A dump that is taken in the middle goes on where it is restored.
{
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/middle.sql';
	$node->safe_psql('faults', "SELECT lifecycle.backfill_step('orders') FROM generate_series(1, 4)");
	like(progress('faults'), qr/^taking in [1-9]/, 'a backfill has got half-way');
	# Of customers who are done, and of customers who are not.
	$node->safe_psql('faults', "UPDATE shop.orders SET amount = amount + 1 WHERE id % 3 = 0; DELETE FROM shop.orders WHERE id % 7 = 0;"
		. "INSERT INTO shop.orders (customer, amount, placed_at) SELECT 'c' || n, 5, '$clock' FROM generate_series(0, 60) AS n");
	$node->command_ok([ 'pg_dump', '-d', $node->connstr('faults'), '-f', $dump ], 'dumped in the middle');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->safe_psql('postgres', "ALTER DATABASE restored SET lifecycle.clock = '$clock'");
	$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'and restored');
	for my $db (qw(restored faults))
	{
		$node->safe_psql($db, "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c3', 8, '$clock'), ('$db', 8, '$clock')");
		$node->safe_psql($db, "SET client_min_messages = warning; CALL lifecycle.backfill('orders')");
		compare($db, "in the middle, $db");
	}
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, 'no crash but those of the test');
$node->stop;
done_testing();
