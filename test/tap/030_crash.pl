# Crashes: orders come while backends, the worker and the whole server are killed. What was committed counts once and is confirmed once.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $rounds = $ENV{LIFECYCLE_ROUNDS} || 8;
my $sessions = 3;

# So that what the server acknowledged before a crash is there after it.
my $node = new_cluster('crash', conf => "fsync = on\nrestart_after_crash = on\nlifecycle.worker_nap = '2s'");
my $db = 'shop';
new_quick_shop($node, $db);

# Orders of one customer, of several at once, and now and then one that is changed or taken back.
sub orders
{
	my ($round, $session) = @_;
	my $text = '';
	for my $n (1 .. 20000)
	{
		my $customer = "c" . int rand 12;
		$customer = "r$round-$session-$n" if $n % 10 == 0;
		my $die = rand;
		if ($die < 0.75)
		{
			$text .= "INSERT INTO shop.orders (customer, amount) VALUES ('$customer', " . int(rand 4000) / 100 . ");\n";
		}
		elsif ($die < 0.9)
		{
			$text .= "INSERT INTO shop.orders (customer, amount) SELECT 'c' || i, i FROM generate_series(1, 4) AS i;\n";
		}
		else
		{
			$text .= "UPDATE shop.orders SET amount = amount + 1 WHERE id = (SELECT max(id) - " . int(rand 9) . " FROM shop.orders);\n";
		}
		# Slow enough that customers fall at risk in between.
		$text .= "SELECT FROM pg_sleep(0.01);\n";
	}
	return $text;
}

# A server process at work in the shop's database, by its number.
sub kill_backend
{
	my ($type) = @_;
	my ($status, $pid) = $node->psql('postgres', <<~SQL);
		SELECT pid FROM pg_stat_activity
		 WHERE backend_type = '$type' AND datname = '$db' ORDER BY (state = 'active' AND query LIKE '%shop.orders%') DESC, random() LIMIT 1
		SQL
	return 0 unless $pid;
	return kill 'KILL', $pid;
}

my %disaster = (
	'a backend dies' => sub { kill_backend('client backend') },
	'the worker dies' => sub { kill_backend('pg_lifecycle worker') },
	'the server stops at once' => sub { $node->stop('immediate'); 1 },
	'the server dies' => sub { kill_server($node) });

my $orders = 0;
for my $round (1 .. $rounds)
{
	my $what = (sort keys %disaster)[ $round % 4 ];
	my @running = map { script_session($node, $db, orders($round, $_)) } 1 .. $sessions;
	# In full flow: some orders have come, and somebody has fallen at risk since.
	eventually($node, $db, <<~SQL, 't', "round $round: orders come, the worker works");
		SELECT (SELECT count(*) FROM shop.orders) > $orders + 200
		   AND (SELECT customers_ticked FROM lifecycle.status) > 20
		   AND EXISTS (SELECT FROM lifecycle.outbox WHERE scenario = 'win_back' AND created_at > now() - interval '3 seconds')
		SQL
	ok($disaster{$what}->(), "round $round: $what");
	# A killed process takes all sessions with it.
	for my $session (@running) { finish_session($session); }
	$node->start if $what =~ /server/;
	eventually($node, $db, <<~SQL, 't', "round $round: the worker has caught up");
		SELECT worker_pid IS NOT NULL AND next_due_at IS NULL AND NOT EXISTS (SELECT FROM lifecycle.enrolment WHERE status = 'active')
		  FROM lifecycle.status
		SQL
	$orders = $node->safe_psql($db, 'SELECT count(*) FROM shop.orders');
	cmp_ok($orders, '>', 200 * $round, "round $round: $orders orders have been committed");

	is_none($node, $db, <<~SQL, "round $round: each committed order is confirmed once, and nothing else is");
		SELECT o.id, m.anchor, o.messages, m.messages
		  FROM (SELECT customer COLLATE "C" AS customer, id::text, 1 AS messages FROM shop.orders) AS o
		  FULL JOIN (SELECT customer_id, anchor, count(*) AS messages FROM lifecycle.outbox WHERE scenario = 'post_purchase' GROUP BY 1, 2) AS m
		    ON m.customer_id = o.customer AND m.anchor = o.id
		 WHERE o.messages IS DISTINCT FROM m.messages
		SQL
	is_none($node, $db, <<~SQL, "round $round: no number of a message comes again");
		SELECT m.last FROM (SELECT max(message_id) AS last FROM lifecycle.outbox) AS m WHERE nextval('lifecycle.message_id') <= m.last
		SQL
	is_none($node, $db, <<~SQL, "round $round: no step twice");
		SELECT customer_id, scenario, anchor, step, count(*) FROM lifecycle.outbox GROUP BY 1, 2, 3, 4 HAVING count(*) > 1
		SQL
	is_none($node, $db, <<~SQL, "round $round: everybody who was at risk has left it and got a message, or ordered");
		SELECT h.customer_id, h.entered_at, h.left_at, e.status, e.end_reason, count(m)
		  FROM lifecycle.segment_history AS h
		  LEFT JOIN lifecycle.enrolment AS e ON e.customer_id = h.customer_id AND e.scenario = 'win_back' AND e.anchor_at = h.entered_at
		  LEFT JOIN lifecycle.outbox AS m ON (m.customer_id, m.scenario, m.anchor) = (e.customer_id, e.scenario, e.anchor)
		 WHERE h.segment = 'at_risk'
		 GROUP BY 1, 2, 3, 4, 5
		HAVING e.status IS NULL OR h.left_at IS NULL
		    OR (e.status = 'completed' AND count(m) < 1)
		    OR (e.status = 'exited' AND e.end_reason IS DISTINCT FROM 'goal_met')
		SQL
	is_none($node, $db, <<~SQL, "round $round: decisions and messages agree");
		SELECT customer_id, scenario, anchor, o.step, d.position
		  FROM lifecycle.outbox AS o
		  FULL JOIN (SELECT *, position AS step FROM lifecycle.enrolment_step WHERE outcome = 'enqueued') AS d
		 USING (customer_id, scenario, anchor, step)
		 WHERE o.step IS NULL OR d.position IS NULL
		SQL
	is_none($node, $db, <<~SQL, "round $round: the numbers are those of plain SQL");
		WITH expected AS (
		    SELECT customer COLLATE "C" AS customer_id, count(*) AS order_count, sum(amount) AS revenue, min(placed_at) AS first_order_at,
		           max(placed_at) AS last_order_at,
		           CASE WHEN sum(amount) >= 500 THEN 'silver' WHEN sum(amount) >= 100 THEN 'bronze' END AS tier
		      FROM shop.orders GROUP BY 1)
		SELECT * FROM (
		    (TABLE expected EXCEPT ALL SELECT customer_id, order_count, revenue, first_order_at, last_order_at, tier FROM lifecycle.customer)
		    UNION ALL
		    (SELECT customer_id, order_count, revenue, first_order_at, last_order_at, tier FROM lifecycle.customer EXCEPT ALL TABLE expected)) AS d
		SQL
	is_none($node, $db, <<~SQL, "round $round: everybody is lost, since two seconds after the last order");
		SELECT c.customer_id, c.lifecycle, c.last_order_at, m.segment, m.entered_at
		  FROM lifecycle.customer AS c LEFT JOIN lifecycle.segment_member AS m USING (customer_id)
		 WHERE (c.lifecycle, m.segment, m.entered_at) IS DISTINCT FROM ('lost', 'lost', c.last_order_at + interval '2 seconds')
		SQL
	is_none($node, $db, 'SELECT * FROM lifecycle.quarantine', "round $round: nothing is in quarantine");
	sound_indexes($node, $db, "round $round: the indexes are sound");

	my $state = <<~SQL;
		SELECT customer_id, order_count, revenue, average_order_value, first_order_at, last_order_at, tier, tier_since, tier_spend, lifecycle
		  FROM lifecycle.customer ORDER BY customer_id;
		SELECT * FROM lifecycle.segment_member ORDER BY 1, 2;
		SELECT customer_id, kind, id, at, amount FROM lifecycle.purchase ORDER BY 1, 2, 3;
		SELECT count(*), max(message_id) FROM lifecycle.outbox;
		SQL
	my $before = $node->safe_psql($db, $state);
	$node->safe_psql($db, 'SELECT lifecycle.rebuild()');
	my $after = $node->safe_psql($db, $state);
	ok($after eq $before, "round $round: a rebuild changes nothing");
	show_first_difference($before, $after) if $after ne $before;
}

sub show_first_difference
{
	my @a = split /\n/, $_[0];
	my @b = split /\n/, $_[1];
	for my $i (0 .. ($#a > $#b ? $#a : $#b))
	{
		my ($one, $other) = ($a[$i] // 'nothing', $b[$i] // 'nothing');
		return diag("before: $one\nafter:  $other") if $one ne $other;
	}
	return;
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, 'no crash but those of the test');
$node->stop;
done_testing();
