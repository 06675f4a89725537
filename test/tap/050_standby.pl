# A standby: it has everything, changes nothing, and after its promotion goes on by itself.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

# The standby compares each page that it changes with what the primary made of it.
my $primary = new_cluster('primary', init => { allows_streaming => 1 }, conf => "wal_consistency_checking = 'heap, heap2, btree'");
new_quick_shop($primary, 'shop');
# What it has not fetched yet the primary must keep, however far behind it is: the pages to compare make a lot of log.
$primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('standby', immediately_reserve => true)");
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'");
$standby->start;

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_lifecycle%'";
my $told = <<~SQL;
	SELECT customer_id, order_count, revenue, tier, lifecycle, next_change_at, timer_at FROM lifecycle.customer ORDER BY 1;
	SELECT * FROM lifecycle.segment_history ORDER BY 2, 3, 1;
	SELECT * FROM lifecycle.purchase ORDER BY 1, 2, 3;
	SELECT customer_id, idempotency_key, status, due_at FROM lifecycle.outbox ORDER BY message_id;
	SELECT * FROM lifecycle.enrolment ORDER BY 1, 2, 3;
	SELECT * FROM lifecycle.timer ORDER BY 1, 2;
	SQL

# What plain SQL says of the customers, where everybody is lost by now.
my $wrong = <<~SQL;
	WITH expected AS (
	    SELECT customer COLLATE "C" AS customer_id, count(*) AS order_count, sum(amount) AS revenue, max(placed_at) AS last_order_at,
	           CASE WHEN sum(amount) >= 500 THEN 'silver' WHEN sum(amount) >= 100 THEN 'bronze' END AS tier, 'lost' AS lifecycle
	      FROM shop.orders GROUP BY 1)
	SELECT * FROM (
	    (TABLE expected EXCEPT ALL SELECT customer_id, order_count, revenue, last_order_at, tier, lifecycle FROM lifecycle.customer)
	    UNION ALL
	    (SELECT customer_id, order_count, revenue, last_order_at, tier, lifecycle FROM lifecycle.customer EXCEPT ALL TABLE expected)) AS d
	SQL
my $unconfirmed = <<~SQL;
	SELECT o.id, count(m) FROM shop.orders AS o
	  LEFT JOIN lifecycle.outbox AS m ON m.customer_id = o.customer AND m.scenario = 'post_purchase' AND m.anchor = o.id::text
	 GROUP BY 1 HAVING count(m) <> 1
	SQL

my $orders = "INSERT INTO shop.orders (customer, amount) SELECT 'c' || i % 20, i FROM generate_series(1, 60) AS i;";

$primary->safe_psql('shop', $orders);
eventually($primary, 'shop', "SELECT count(*) FROM lifecycle.customer WHERE lifecycle = 'lost'", '20', 'the primary lives');
eventually($primary, 'shop', "SELECT count(*) FROM lifecycle.enrolment WHERE status = 'active'", '0', 'and has come to rest');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('shop', $told), $primary->safe_psql('shop', $told), 'the standby has all of it');
is($standby->safe_psql('postgres', $workers), '0', 'no worker runs on a standby');
is($standby->safe_psql('shop', 'SELECT worker_pid IS NULL AND next_due_at IS NULL FROM lifecycle.status'), 't', 'lifecycle.status can be read there');
like($standby->safe_psql('shop', "SELECT count(*) FROM lifecycle.explain('c1')"), qr/^[1-9]/, 'and lifecycle.explain()');
for my $call ('lifecycle.tick()', 'lifecycle.claim()', 'lifecycle.rebuild()')
{
	my ($status, $out, $err) = $standby->psql('shop', "SELECT $call");
	like($err, qr/ERROR: .*(read-only|recovery)/, "$call is refused there, and does not crash");
}

# A crowd, whose rows and index entries are written by the page.
new_quick_shop($primary, 'crowd');
for my $half (0, 1)
{
	$primary->safe_psql('crowd', "INSERT INTO shop.orders (customer, amount) SELECT 'c' || i, i % 700 FROM generate_series($half, 3000, 2) AS i");
}
eventually($primary, 'crowd', "SELECT count(*) FROM lifecycle.outbox WHERE scenario = 'win_back' AND step = 2", '3001', 'a crowd comes and goes');
sound_indexes($primary, 'crowd', 'the indexes of the primary are sound');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('crowd', $told), $primary->safe_psql('crowd', $told), 'the standby has the crowd');
sound_indexes($standby, 'crowd', 'and its indexes are sound');

# The primary dies with work to do: customers who are not at risk yet.
$primary->safe_psql('shop', $orders);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
is($standby->safe_psql('postgres', $workers), '0', 'still no worker');
my $messages = $standby->safe_psql('shop', 'SELECT max(message_id) FROM lifecycle.outbox');

$standby->promote;
eventually($standby, 'postgres', $workers, '3', 'promoted, it has a launcher and a worker for each shop');
eventually($standby, 'shop', <<~SQL, '40|20', 'the worker does what had been left to do');
	SELECT count(*), count(DISTINCT customer_id) FROM lifecycle.outbox WHERE scenario = 'win_back' AND step = 2
	SQL
eventually($standby, 'shop', "SELECT count(*) FROM lifecycle.customer WHERE lifecycle = 'lost'", '20', 'everybody is lost');
is_none($standby, 'shop', $wrong, 'the numbers are right');
is_none($standby, 'shop', $unconfirmed, 'each order is confirmed once');
is($standby->safe_psql('shop', 'SELECT lifecycle.is_armed()'), 't', 'it takes the place of the primary: it is armed');
cmp_ok($standby->safe_psql('shop', 'SELECT count(*) FROM lifecycle.claim(1000)'), '>', 0, 'and mails');

$standby->safe_psql('shop', $orders . "INSERT INTO shop.orders (customer, amount) VALUES ('newcomer', 700);");
cmp_ok($standby->safe_psql('shop', 'SELECT min(message_id) FROM lifecycle.outbox WHERE created_at >= (SELECT max(placed_at) FROM shop.orders) - interval \'1 second\''),
	'>', $messages, 'new messages have new ids');
eventually($standby, 'shop', "SELECT count(*) FROM lifecycle.customer WHERE lifecycle = 'lost'", '21', 'orders and time go on');
is($standby->safe_psql('shop', 'SELECT lifecycle.tick() >= 0'), 't', 'tick() works');
is_none($standby, 'shop', $wrong, 'the numbers are right');
is_none($standby, 'shop', $unconfirmed, 'each order is confirmed once');
my $numbers = 'SELECT customer_id, order_count, revenue, tier, tier_since, lifecycle FROM lifecycle.customer ORDER BY 1';
my $before = $standby->safe_psql('shop', $numbers);
is($standby->safe_psql('shop', "DO \$\$ BEGIN PERFORM lifecycle.rebuild(); END \$\$; $numbers"), $before, 'a rebuild changes nothing');

$standby->stop;
done_testing();
