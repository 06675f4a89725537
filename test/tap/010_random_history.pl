# Random histories: several sessions do what shops do, all at once, then everything is compared with plain SQL over the shop's tables.
#
#   LIFECYCLE_SEED=n       repeats a history (the statements are the same; who is first may differ)
#   LIFECYCLE_HISTORIES=n  how many histories

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $histories = $ENV{LIFECYCLE_HISTORIES} || 6;
my $seed = seed(20_260_301);
my $rounds = 12;
my $sessions = 4;

# Few and hot, some of which sort differently by locale.
my @customers = qw(c1 c2 c3 c4 C1 ann@example.org ünal c-1);

our ($history, $round, $clock, $partitioned);

sub customer
{
	return 'NULL' if chance(0.04);
	return "'r$history-$round-" . int(rand 2) . "'" if chance(0.08);    # new ones, met by several sessions at once
	return "'" . pick(@customers) . "'";
}

sub amount
{
	my $die = rand;
	return 'NULL' if $die < 0.02;
	return pick("'NaN'", "'infinity'") if $die < 0.03;
	return 0 if $die < 0.06;
	return pick(100, 500, 400, 900) if $die < 0.2;                      # onto the thresholds exactly
	return sprintf '%.2f', 1 + rand 400;
}

# Times are expressions over the frozen clock, so that ties and exact boundaries are frequent.
sub instant
{
	my $now = 'lifecycle.now()';
	my $die = rand;
	return $now if $die < 0.35;
	return "$now - interval '" . int(rand 120) . " minutes'" if $die < 0.55;
	return "date_trunc('day', $now)" if $die < 0.65;
	return "$now - interval '" . pick(60, 90, 180, 150) . " days'" if $die < 0.72;
	return "$now - interval '" . pick(60, 90, 180) . " days' + interval '" . pick(-1, 1) . " microsecond'" if $die < 0.76;
	return "$now - interval '" . int(rand 400 * 24) . " hours'" if $die < 0.88;
	return "$now + interval '" . int(rand 60 * 24) . " hours'" if $die < 0.96;
	return "$now + interval '" . pick(1, 60, 90) . " days'";
}

sub status { return pick(qw('paid' 'paid' 'paid' 'shipped' 'cancelled' 'new')); }

sub order_values { return '(' . join(', ', customer(), amount(), status(), instant()) . ')'; }

# A condition that meets one or a few orders.
sub some_orders
{
	my $die = rand;
	return 'id = (SELECT max(id) - ' . int(rand 30) . ' FROM shop.orders)' if $die < 0.5;
	return 'id % 13 = ' . int(rand 13) . ' AND customer = ' . customer() if $die < 0.8;
	return 'id % 17 = ' . int(rand 17);
}

my @statements = (
	[ 20, sub { 'INSERT INTO shop.orders (customer, amount, status, placed_at) VALUES ' . order_values() } ],
	[ 8, sub { 'INSERT INTO shop.orders (customer, amount, status, placed_at) VALUES ' . join(', ', map { order_values() } 1 .. 2 + rand 6) } ],
	[ 4, sub {
		# COPY takes values only.
		my @rows = map { my $c = customer(); $c =~ s/'//g; $c = '\N' if $c eq 'NULL';
			join "\t", $c, sprintf('%.2f', rand 300), pick(qw(paid cancelled)), "$clock" } 1 .. 1 + rand 5;
		"COPY shop.orders (customer, amount, status, placed_at) FROM stdin;\n" . join("\n", @rows) . "\n\\.\n" } ],
	[ 6, sub { 'UPDATE shop.orders SET amount = ' . amount() . ' WHERE ' . some_orders() } ],
	[ 4, sub { 'UPDATE shop.orders SET customer = ' . customer() . ' WHERE ' . some_orders() } ],
	[ 5, sub { 'UPDATE shop.orders SET placed_at = ' . instant() . ' WHERE ' . some_orders() } ],
	[ 8, sub { 'UPDATE shop.orders SET status = ' . status() . ' WHERE ' . some_orders() } ],
	[ 2, sub { "UPDATE shop.orders SET note = 'seen' WHERE " . some_orders() } ],
	[ 2, sub { 'UPDATE shop.orders SET amount = amount * 1.1, status = ' . status() . ', customer = ' . customer() . ' WHERE ' . some_orders() } ],
	[ 5, sub { 'DELETE FROM shop.orders WHERE ' . some_orders() } ],
	[ 8, sub { 'INSERT INTO shop.refunds (order_id, customer, amount, refunded_at) VALUES (' . join(', ', 1 + int rand 50, customer(), amount(), instant()) . ')' } ],
	[ 2, sub { 'INSERT INTO shop.refunds (order_id, customer, amount, refunded_at)'
		. ' SELECT id, customer, amount, placed_at FROM shop.orders WHERE ' . some_orders() } ],
	[ 2, sub { 'UPDATE shop.refunds SET amount = ' . amount() . ' WHERE id % 5 = ' . int rand 5 } ],
	[ 2, sub { 'DELETE FROM shop.refunds WHERE id % 7 = ' . int rand 7 } ],
	[ 2, sub { 'WITH gone AS (DELETE FROM shop.orders WHERE ' . some_orders() . ' RETURNING customer, amount, placed_at)'
		. ' INSERT INTO shop.orders (customer, amount, placed_at) SELECT customer, amount, placed_at FROM gone' } ],
	[ 2, sub { 'MERGE INTO shop.orders AS o USING (VALUES (' . (1 + int rand 60) . '), (' . (61 + int rand 60) . ')) AS v (id) ON o.id = v.id'
		. " WHEN MATCHED AND o.status = 'paid' THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'paid'"
		. ' WHEN NOT MATCHED THEN INSERT (customer, amount, placed_at) VALUES (' . customer() . ", 42, lifecycle.now())" } ],
	[ 0.4, sub { 'TRUNCATE ' . pick('shop.orders', 'shop.refunds', 'shop.orders, shop.refunds') } ],
	[ 2, sub { 'DO $$ BEGIN ' . 'INSERT INTO shop.orders (customer, amount, placed_at) VALUES (' . customer() . ', 77, lifecycle.now()); '
		. 'RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$' } ]);

# Past the parent, straight into a partition, which has no identity of its own.
my $next_id = q(nextval(pg_get_serial_sequence('shop.orders', 'id')));
my @partition_statements = (
	[ 6, sub { 'INSERT INTO shop.orders_paid (id, customer, amount, status, placed_at) VALUES ' . join(', ', map { '(' . join(', ', $next_id, customer(), amount(), "'paid'", instant()) . ')' } 1 .. 1 + rand 3) } ],
	[ 4, sub { 'INSERT INTO shop.orders_rest (id, customer, amount, status, placed_at) VALUES (' . join(', ', $next_id, customer(), amount(), pick(qw('shipped' 'new')), instant()) . ')' } ],
	[ 3, sub { 'UPDATE shop.orders_' . pick('paid', 'rest') . ' SET amount = ' . amount() . ', customer = ' . customer() . ' WHERE ' . some_orders() } ],
	[ 3, sub { 'UPDATE shop.orders_' . pick('paid', 'rest') . ' SET placed_at = ' . instant() . ' WHERE ' . some_orders() } ],
	[ 2, sub { "UPDATE shop.orders_rest SET status = CASE status WHEN 'shipped' THEN 'new' ELSE 'shipped' END WHERE " . some_orders() } ],
	[ 3, sub { 'DELETE FROM shop.orders_' . pick('paid', 'rest') . ' WHERE ' . some_orders() } ],
	[ 0.3, sub { 'TRUNCATE ' . pick('shop.orders_paid', 'shop.orders_rest', 'shop.orders_rest, shop.orders', 'shop.orders_rest, shop.refunds') } ]);

sub statement
{
	my @possible = (@statements, $partitioned ? @partition_statements : ());
	my $total = 0;
	$total += $_->[0] for @possible;
	my $die = rand $total;
	for my $s (@possible)
	{
		$die -= $s->[0];
		next if $die >= 0;
		my $text = $s->[1]->();
		return $text =~ /\n$/ ? $text : "$text;\n";
	}
	return $statements[0][1]->() . ";\n";
}

# Not COPY: psql would take its data for statements where a deadlock has ended the transaction before it.
sub statement_inside
{
	my $text;
	do { $text = statement() } while ($text =~ /^COPY/);
	return $text;
}

sub transaction
{
	return statement() if chance(0.4);
	return "SET session_replication_role = replica;\n" . statement() . "RESET session_replication_role;\n" if chance(0.1);
	my $isolation = chance(0.15) ? ' ISOLATION LEVEL ' . pick('REPEATABLE READ', 'SERIALIZABLE') : '';
	my $text = "BEGIN$isolation;\n";
	$text .= 'SET LOCAL lifecycle.settle = ' . pick('commit', 'commit', 'statement') . ";\n" if chance(0.5);
	$text .= "SET LOCAL lifecycle.settle_memory = '1kB';\n" if chance(0.1);
	$text .= "SET LOCAL session_replication_role = replica;\n" if chance(0.1);
	for (1 .. 1 + rand 3)
	{
		$text .= "SELECT lifecycle.settle() \\g /dev/null\n" if chance(0.1);
		if (chance(0.3))
		{
			$text .= "SAVEPOINT s;\n" . statement_inside() . (chance(0.4) ? statement_inside() : '')
			  . (chance(0.5) ? "ROLLBACK TO s;\n" : "RELEASE s;\n");
		}
		else { $text .= statement_inside(); }
	}
	return $text . (chance(0.15) ? "ROLLBACK;\n" : "COMMIT;\n");
}

sub shop_script
{
	return "SET client_min_messages = warning;\nSET lifecycle.clock = '$clock';\n"
	  . (chance(0.3) ? "SET timezone = 'America/New_York';\n" : '')
	  . (chance(0.3) ? "SET lifecycle.settle = commit;\n" : '')
	  . join '', map { transaction() } 1 .. 4 + rand 8;
}

# Time and the mailer come in between.
sub other_script
{
	return "SET lifecycle.clock = '$clock';\n" . join '', map { pick(
		"SELECT lifecycle.tick();\n",
		"SELECT count(*) FROM lifecycle.claim(5, consumer => 'mailer');\n",
		"SELECT lifecycle.ack(array_agg(message_id)) FROM lifecycle.outbox WHERE status = 'leased';\n",
		"SELECT count(*) FROM lifecycle.explain('c1');\n",
		$partitioned ? "BEGIN; ALTER TABLE shop.orders DETACH PARTITION shop.orders_rest; ALTER TABLE shop.orders ATTACH PARTITION shop.orders_rest DEFAULT; COMMIT;\n" : ()) } 1 .. 6;
}

my $node = new_cluster('history', conf => 'lifecycle.worker = off');

# What has been seen of one database at the present clock. True: all is well.
sub compare
{
	my ($db, $when) = @_;
	my $name = "seed $seed, history $history, round $round, $when";
	my $right = is_none($node, $db, "SELECT * FROM oracle.differences('$clock') ORDER BY 1, 2", "$name: customers");
	$right &= is_none($node, $db, "SELECT * FROM oracle.contradictions('$clock') WHERE what NOT LIKE 'stay%' ORDER BY 1, 2", "$name: no contradictions");
	is_none($node, $db, "SELECT * FROM oracle.contradictions('$clock') WHERE what LIKE 'stay%' ORDER BY 1, 2", "$name: no contradictory stays");
	$right &= is_none($node, $db, <<~SQL, "$name: quarantine holds the bad rows and no others");
		WITH bad AS (SELECT 'orders' AS source, id FROM shop.orders
		              WHERE customer <> '' AND status IN ('paid', 'shipped') AND (amount IS NULL OR amount IN ('NaN', 'infinity'))
		             UNION ALL
		             SELECT 'refunds', id FROM shop.refunds WHERE customer <> '' AND (amount IS NULL OR amount IN ('NaN', 'infinity')))
		SELECT coalesce(b.source, q.source), b.id AS bad, q.data ->> 'id' AS held, q.action, q.sqlstate, q.message
		  FROM bad AS b FULL JOIN lifecycle.quarantine AS q ON q.source = b.source AND q.data ->> 'id' = b.id::text AND q.action = 'arrived'
		 WHERE b.id IS NULL OR q.source IS NULL
		SQL
	$right &= is_none($node, $db, <<~SQL, "$name: each order is confirmed once");
		SELECT o.customer_id, o.id, count(DISTINCT e.*) AS enrolments, count(DISTINCT m.*) AS messages
		  FROM oracle.orders AS o
		  LEFT JOIN lifecycle.enrolment AS e ON (e.customer_id, e.scenario, e.anchor) = (o.customer_id, 'post_purchase', o.id)
		  LEFT JOIN lifecycle.outbox AS m ON (m.customer_id, m.scenario, m.anchor) = (o.customer_id, 'post_purchase', o.id)
		 WHERE o.at <= '$clock'
		 GROUP BY 1, 2 HAVING count(DISTINCT e.*) <> 1 OR count(DISTINCT m.*) <> 1
		SQL
	show_culprit($db) unless $right;
	return $right;
}

# What there is to know of the first customer who differs.
sub show_culprit
{
	my ($db) = @_;
	diag(lines($node, $db, <<~SQL));
		CREATE TEMP VIEW culprit AS SELECT customer_id FROM oracle.differences('$clock')
		    UNION ALL SELECT customer_id FROM oracle.contradictions('$clock') LIMIT 1;
		SELECT 'order', o.* FROM oracle.orders AS o WHERE o.customer_id IN (TABLE culprit)
		UNION ALL SELECT 'refund', r.* FROM oracle.refunds AS r WHERE r.customer_id IN (TABLE culprit) ORDER BY 4, 1, 3;
		SELECT 'stay', h.* FROM lifecycle.segment_history AS h WHERE h.customer_id IN (TABLE culprit) ORDER BY 4, 5;
		SELECT 'tier', h.* FROM lifecycle.tier_history AS h WHERE h.customer_id IN (TABLE culprit) ORDER BY 4, 5;
		SELECT to_jsonb(c) FROM lifecycle.customer AS c WHERE c.customer_id IN (TABLE culprit);
		SQL
	return;
}

for $history (1 .. $histories)
{
	srand($seed + $history - 1);
	my $db = "history$history";
	$partitioned = $history % 2 == 0;
	my @async = ([], [], ['refunds'], ['orders'])[ $history % 4 ]->@*;
	new_shop($node, $db, partitioned => $partitioned, clock => '2026-01-01', async => \@async);
	# However old an order is, it is confirmed: so each must have exactly one confirmation.
	$node->safe_psql($db, <<~SQL);
		UPDATE lifecycle.scenario SET max_age = '100 years' WHERE name = 'post_purchase';
		UPDATE lifecycle.step SET not_after = NULL WHERE scenario = 'post_purchase';
		SQL
	$clock = '2026-01-01 00:00:00+00';
	for $round (1 .. $rounds)
	{
		my @scripts = ((map { shop_script() } 1 .. $sessions), other_script());
		my $hours = pick(1 + rand 6, 24, 30 * 24, 60 * 24, 90 * 24, 24 * rand 100);
		my @running = map { script_session($node, $db, $_) } @scripts;
		my (@errors, $broken);
		for my $session (@running)
		{
			# A deadlock or serialization failure loses the session's transaction, as it must; nothing else may go wrong.
			for my $error (finish_session($session))
			{
				$broken = 1 if $error->[0] =~ /^40(P01|001)$/;
				push @errors, "@$error" unless $error->[0] =~ /^40(P01|001)$/ || ($broken && $error->[0] =~ /^(25P02|3B001)$/);
			}
		}
		my $right = is(join("\n", @errors), '', "seed $seed, history $history, round $round: no error");
		# What asynchronous sources have said waits for the worker.
		$node->safe_psql($db, "SET lifecycle.clock = '$clock'; SELECT lifecycle.tick()") if @async;
		$right &= compare($db, 'as they meet');
		last unless $right;
		$clock = $node->safe_psql($db, "SELECT '$clock'::timestamptz + interval '1 minute' * " . int(60 * $hours));
		my ($status, $out, $err) = $node->psql($db, "SET lifecycle.clock = '$clock'; SELECT lifecycle.tick() >= 0");
		$right = is("$out$err", 't', "seed $seed, history $history, round $round: tick at $clock");
		last unless $right && compare($db, "after the tick");
	}
	$round = 'the last';
	is_none($node, $db, 'SELECT * FROM lifecycle.check_sources()', "seed $seed, history $history: all is well with the sources");
	# A recomputation changes nothing, because nothing is wrong.
	$node->safe_psql($db, "SET lifecycle.clock = '$clock'; SELECT lifecycle.rebuild()");
	compare($db, 'rebuilt');
	# And what was there already when a table is attached counts the same.
	$node->safe_psql($db, <<~SQL);
		SET lifecycle.clock = '$clock';
		DROP EXTENSION pg_lifecycle CASCADE;
		CREATE EXTENSION pg_lifecycle;
		SQL
	Lifecycle::attach_shop($node, $db, "SET lifecycle.clock = '$clock';", @async);
	is_none($node, $db, "SELECT * FROM oracle.differences('$clock') ORDER BY 1, 2", "seed $seed, history $history: backfilled");
	is_none($node, $db, "SELECT * FROM oracle.contradictions('$clock') ORDER BY 1, 2", "seed $seed, history $history: backfilled, no contradictions");
	is($node->safe_psql($db, 'SELECT count(*) FROM lifecycle.outbox'), '0', "seed $seed, history $history: history sends no mail");
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

$node->stop;
done_testing();
