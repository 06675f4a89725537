# The worker: it is there when it is needed and acts when time makes something due, and only then.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_cluster('worker');

sub workers { return "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifecycle worker' AND datname = '$_[0]'"; }

sub worker_of
{
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_lifecycle worker' AND datname = '$_[0]'");
}

# A new customer orders and is lost two seconds later. Nap: 30 s, so whoever is on time has been woken.
my $customers = 0;
sub acts
{
	my ($db, $name) = @_;
	my $customer = 'c' . ++$customers;
	$node->safe_psql($db, "INSERT INTO shop.orders (customer, amount) VALUES ('$customer', 60)");
	return eventually($node, $db, <<~SQL, "at_risk 1.000 lost 2.000\nwe_miss_you come_back", $name, 12);
		SELECT string_agg(concat_ws(' ', h.segment, extract(epoch FROM h.entered_at - o.placed_at)::numeric(9,3)), ' ' ORDER BY h.entered_at)
		  FROM lifecycle.segment_history AS h JOIN shop.orders AS o ON o.customer = h.customer_id
		 WHERE h.customer_id = '$customer' AND h.segment <> 'active';
		SELECT string_agg(template, ' ' ORDER BY step) FROM lifecycle.outbox WHERE customer_id = '$customer' AND scenario = 'win_back'
		SQL
}

# It starts.
$node->safe_psql('postgres', 'CREATE DATABASE plain');
new_quick_shop($node, 'shop');
eventually($node, 'postgres', workers('shop'), '1', 'CREATE EXTENSION starts a worker');
eventually($node, 'shop', <<~SQL, 't|t|t|t', 'lifecycle.status shows it');
	SELECT s.worker_pid = a.pid, s.worker_started_at <= now(), s.wake_ups > 0, s.worker_errors = 0
	  FROM lifecycle.status AS s, pg_stat_activity AS a WHERE a.backend_type = 'pg_lifecycle worker' AND a.datname = current_database()
	SQL
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifecycle launcher'"), '1', 'the launcher is visible too');
acts('shop', 'it acts when a timer runs out');

$node->restart;
eventually($node, 'postgres', workers('shop'), '1', 'a restarted server starts it');
acts('shop', 'and it acts');

# It sleeps. The customer who orders for the day after tomorrow gives it a timer that lies far away.
$node->safe_psql('shop', "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('far', 1, clock_timestamp() + interval '2 days')");
eventually($node, 'shop', "SELECT sleeps_until > now() + interval '1 day' AND sleeps_until = next_due_at AND lag = '0' FROM lifecycle.status", 't',
	'it sleeps until the earliest timer');
acts('shop', 'a commit that makes something due earlier wakes it');
eventually($node, 'shop', "SELECT sleeps_until > now() + interval '1 day' FROM lifecycle.status", 't', 'it sleeps again');
{
	my $count = 'SELECT worker_pid, wake_ups, ticks FROM lifecycle.status;';
	my $before = $node->safe_psql('shop', $count);
	my $after = $node->safe_psql('shop', <<~SQL);
		INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('far', 1, clock_timestamp() + interval '3 days');
		DO \$\$ BEGIN PERFORM pg_sleep(3); END \$\$;
		$count
		SQL
	is($after, $before, 'it does not wake up while nothing is due, not even for an order that makes nothing due earlier');
}

# Nor do mailers keep it awake, though each of their acknowledgements is news for it.
{
	my $woken = 'SELECT wake_ups FROM lifecycle.status';
	my $before = $node->safe_psql('shop', $woken);
	my $acknowledged = $node->safe_psql('shop', <<~SQL);
		CREATE PROCEDURE shop.mail(INOUT acknowledged bigint) LANGUAGE plpgsql AS \$\$
		DECLARE
		    ids bigint[];
		    until timestamptz := clock_timestamp() + interval '3 seconds';
		BEGIN
		    WHILE clock_timestamp() < until LOOP
		        acknowledged := acknowledged + 1;
		        INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at)
		            VALUES ('mail ' || acknowledged, 'somebody', 'email', 'mail', acknowledged, 1, 'transactional', 'mail', '2001-01-01');
		        ids := ARRAY(SELECT c.message_id FROM lifecycle.claim() AS c);
		        PERFORM lifecycle.ack(ids);
		        COMMIT;
		    END LOOP;
		END \$\$;
		CALL shop.mail(0);
		SQL
	cmp_ok($acknowledged, '>', 100, 'mailers are busy');
	cmp_ok($node->safe_psql('shop', $woken) - $before, '<', 25, 'the worker looks after them from time to time');
	eventually($node, 'shop', 'SELECT count(*) FROM lifecycle.sent_note', '0', 'and takes in what they sent');
}

# An order waits for no more customers than a batch has, however many messages are acknowledged at once.
{
	$node->safe_psql('shop', <<~SQL);
		SELECT lifecycle.track('reader' || n, 'customer', '{}') FROM generate_series(1, 3000) AS n;
		BEGIN;
		INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, scenario, anchor, step, class, template, due_at)
		    SELECT 'campaign', 'reader' || n, 'email', 'campaign', 1, 1, 'transactional', 'campaign', '2001-01-01' FROM generate_series(1, 3000) AS n;
		DO \$\$ BEGIN FOR n IN 1 .. 30 LOOP PERFORM lifecycle.ack(ARRAY(SELECT c.message_id FROM lifecycle.claim(100) AS c)); END LOOP; END \$\$;
		COMMIT;
		SQL
	my $told = 'FROM lifecycle.customer AS c WHERE c.last_sent_at IS NOT NULL';
	eventually($node, 'shop', "SELECT count(*) $told AND c.customer_id LIKE 'reader%'", '3000', 'a campaign is taken in');
	is($node->safe_psql('shop', "SELECT max(n) FROM (SELECT count(*) AS n $told GROUP BY c.xmin) AS x"), '1000', 'a batch of customers in each transaction');
}

# It comes back.
for my $who ('worker', 'launcher')
{
	my $old = $node->safe_psql('postgres', <<~SQL);
		SELECT pid FROM pg_stat_activity
		 WHERE backend_type = 'pg_lifecycle $who' AND coalesce(datname, 'shop') = 'shop'
		SQL
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($old)"), 't', "the $who is terminated");
	eventually($node, 'postgres', <<~SQL, '1', "another $who comes", 15);
		SELECT count(*) FROM pg_stat_activity
		 WHERE backend_type = 'pg_lifecycle $who' AND coalesce(datname, 'shop') = 'shop' AND pid <> $old
		SQL
}
eventually($node, 'postgres', workers('shop'), '1', 'one worker, not two');
acts('shop', 'it acts');

# It can be switched off.
$node->append_conf('postgresql.conf', 'lifecycle.worker = off');
$node->reload;
eventually($node, 'shop', workers('shop') . ' UNION ALL SELECT count(worker_pid) FROM lifecycle.status', "0\n0", 'lifecycle.worker = off ends it');
$node->append_conf('postgresql.conf', 'lifecycle.worker = on');
$node->reload;
eventually($node, 'postgres', workers('shop'), '1', 'and on starts it again', 15);

# Extensions and databases go and come.
$node->safe_psql('shop', 'DROP EXTENSION pg_lifecycle CASCADE; CREATE EXTENSION pg_lifecycle;');
Lifecycle::equip_quick_shop($node, 'shop');
eventually($node, 'postgres', workers('shop'), '1', 'DROP and CREATE EXTENSION: there is a worker');
acts('shop', 'DROP and CREATE EXTENSION: it acts');

$node->safe_psql('shop', 'DROP EXTENSION pg_lifecycle CASCADE');
$node->reload;    # wakes it: otherwise it sees at the end of its nap
eventually($node, 'postgres', workers('shop'), '0', 'without the extension the worker goes');
$node->safe_psql('shop', 'CREATE EXTENSION pg_lifecycle');
Lifecycle::equip_quick_shop($node, 'shop');
eventually($node, 'postgres', workers('shop'), '1', 'CREATE EXTENSION brings it back', 15);
acts('shop', 'it acts');

new_quick_shop($node, 'other');
eventually($node, 'postgres', workers('other'), '1', 'each database has its own');
isnt(worker_of('other'), worker_of('shop'), 'two processes');
acts('other', 'the second one acts');
{
	my $started = time;
	my ($status, $out, $err) = $node->psql('postgres', 'DROP DATABASE other');
	is($err, '', 'DROP DATABASE works while the worker runs');
	cmp_ok(time - $started, '<', 3, 'at once');
	is(worker_of('other'), '', 'the worker has gone with it');
}
new_quick_shop($node, 'other');
eventually($node, 'postgres', workers('other'), '1', 'a new database of the same name has a worker');
acts('other', 'which acts');

# A database that cannot be dropped keeps its worker.
{
	my $guest = $node->background_psql('other', on_error_stop => 0);
	my ($status, $out, $err) = $node->psql('postgres', 'DROP DATABASE other');
	like($err, qr/is being accessed by other users/, 'DROP DATABASE fails while somebody is connected');
	$guest->quit;
	eventually($node, 'postgres', workers('other'), '1', 'the worker comes back', 15);
}

# Databases that come and go while there are no workers leave nothing behind.
$node->append_conf('postgresql.conf', 'lifecycle.worker = off');
$node->reload;
eventually($node, 'postgres', workers('other'), '0', 'no workers');
$node->safe_psql('postgres', 'CREATE DATABASE guest');
$node->safe_psql('guest', 'CREATE EXTENSION pg_lifecycle');
for (1 .. 65)
{
	$node->safe_psql('postgres', 'CREATE DATABASE passing TEMPLATE guest');
	$node->safe_psql('passing', 'SELECT lifecycle.start_worker()');
	$node->safe_psql('postgres', 'DROP DATABASE passing');
}
$node->append_conf('postgresql.conf', 'lifecycle.worker = on');
$node->reload;
new_quick_shop($node, 'late');
eventually($node, 'postgres', workers('late'), '1', 'a database that comes after 65 that went has a worker', 15);
acts('late', 'which acts');

# One customer who cannot be brought up to date does not stop the others.
$node->safe_psql('shop', <<~SQL);
	INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('poisoned', 1, clock_timestamp() + interval '1 day');
	UPDATE lifecycle.customer SET next_fact_at = clock_timestamp(), timer_at = '2001-01-01', recent_source = 1, recent_orders = '\\x05' WHERE customer_id = 'poisoned';
	UPDATE lifecycle.timer SET due_at = '2001-01-01' WHERE customer_id = 'poisoned';
	SQL
acts('shop', 'others are served although one customer is poisoned');
cmp_ok($node->safe_psql('shop', 'SELECT worker_errors FROM lifecycle.status'), '>', 0, 'the error is counted');
cmp_ok($node->safe_psql('shop', 'SELECT worker_errors FROM lifecycle.status'), '<', 10, 'but not met over and over');
is($node->safe_psql('shop', "SELECT due_at > now() FROM lifecycle.timer WHERE customer_id = 'poisoned'"), 't', 'the poisoned one is put off');

eventually($node, 'postgres', workers('plain') . ' UNION ALL ' . workers('postgres') . ' UNION ALL ' . workers('template1'), "0\n0\n0",
	'databases without the extension have no worker');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing has crashed');
$node->stop;

# Without preloading all of it works by hand.
my $bare = new_cluster('bare', no_preload => 1);
new_quick_shop($bare, 'shop');
$bare->safe_psql('shop', "INSERT INTO shop.orders (customer, amount) VALUES ('c', 60)");
eventually($bare, 'shop', <<~SQL, "t\nlost|bronze|2", 'without preloading orders and tick() work');
	INSERT INTO shop.orders (customer, amount, placed_at)
	    SELECT customer, amount, placed_at FROM shop.orders WHERE (SELECT count(*) FROM shop.orders) < 2;
	SELECT lifecycle.tick() >= 0;
	SELECT lifecycle, tier, order_count FROM lifecycle.customer
	SQL
is($bare->safe_psql('shop', "SELECT count(*) FROM lifecycle.outbox WHERE scenario = 'win_back'"), '2', 'the messages are there');
is($bare->safe_psql('shop', 'SELECT worker_pid IS NULL AND wake_ups IS NULL AND armed FROM lifecycle.status'), 't', 'status shows that no worker runs');
$bare->stop;

done_testing();
