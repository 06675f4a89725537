# Dumps: a restored database is the one that was dumped, counts nothing twice, mails nobody until it is told to, and lives on.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = '2026-06-01 12:01:00+00';
my $node = new_cluster('dump', conf => "lifecycle.worker = off");

# What is compared: every table of the schema and what its views show. All of it but where it is armed and oids.
my @told = (
	customer => 'SELECT * FROM lifecycle.customer ORDER BY customer_id',
	timer => 'SELECT * FROM lifecycle.timer ORDER BY 1, 2',
	purchase => 'SELECT * FROM lifecycle.purchase ORDER BY 1, 2, 3',
	purchase_ledger => 'SELECT * FROM lifecycle.purchase_ledger ORDER BY 1, 2, 3, 4',
	segment_member => 'SELECT * FROM lifecycle.segment_member ORDER BY 1, 2',
	segment_history => 'SELECT * FROM lifecycle.segment_history ORDER BY 2, 3, 1',
	tier_history => 'SELECT * FROM lifecycle.tier_history ORDER BY 1, 2, 3',
	outbox => 'SELECT * FROM lifecycle.outbox ORDER BY message_id',
	outbox_volume => 'SELECT * FROM lifecycle.outbox_volume ORDER BY 1',
	lease => 'SELECT * FROM lifecycle.lease ORDER BY 1',
	late_answer => 'SELECT * FROM lifecycle.late_answer ORDER BY 1, 3',
	suppression => 'SELECT * FROM lifecycle.suppression ORDER BY 1, 2',
	enrolment => 'SELECT * FROM lifecycle.enrolment ORDER BY 1, 2, 3',
	enrolment_step => 'SELECT * FROM lifecycle.enrolment_step ORDER BY 1, 2, 3, 4',
	consent_log => 'SELECT * FROM lifecycle.consent_log ORDER BY 1, 2, 4',
	quarantine => 'SELECT * FROM lifecycle.quarantine ORDER BY 1',
	inbox => 'SELECT entry_id, source, said_at, gone::text, arrived::text FROM lifecycle.inbox ORDER BY 1',
	progress => 'SELECT source, rows_done, started_at, finished_at FROM lifecycle.progress ORDER BY 1',
	source => 'SELECT name, relation, kind, mapping, filter, mode, attached_at, source_id FROM lifecycle.source ORDER BY 1',
	segment => 'SELECT * FROM lifecycle.segment ORDER BY name',
	tier => 'SELECT * FROM lifecycle.tier ORDER BY name',
	loyalty_program => 'SELECT * FROM lifecycle.loyalty_program',
	points_lot => 'SELECT * FROM lifecycle.points_lot ORDER BY 1, 2, 3',
	points_entry => 'SELECT * FROM lifecycle.points_entry ORDER BY 1, 2, 3',
	recent_lot => 'SELECT * FROM lifecycle.recent_lot ORDER BY 1, 2, 3',
	shop => 'SELECT * FROM lifecycle.shop',
	channel => 'SELECT * FROM lifecycle.channel ORDER BY name',
	scenario => 'SELECT * FROM lifecycle.scenario ORDER BY name',
	step => 'SELECT * FROM lifecycle.step ORDER BY 1, 2',
	variant => 'SELECT * FROM lifecycle.variant ORDER BY 1, 2, 3',
	scenario_version => 'SELECT * FROM lifecycle.scenario_version ORDER BY 1, 2',
	cap => 'SELECT * FROM lifecycle.cap ORDER BY 1',
	channel_pace => 'SELECT * FROM lifecycle.channel_pace ORDER BY 1, 2',
	triggers => q{SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled, t.tgtype FROM pg_trigger AS t
	               WHERE t.tgfoid = 'lifecycle.capture()'::regprocedure ORDER BY 1, 2},
	sequences => q{SELECT s.sequencename, s.last_value FROM pg_sequences AS s WHERE s.schemaname = 'lifecycle' ORDER BY 1});

sub told
{
	my ($db, $where) = @_;
	my %rows;
	for (my $i = 0; $i < @told; $i += 2) { $rows{ $told[$i] } = ($where // $node)->safe_psql($db, $told[ $i + 1 ]); }
	return \%rows;
}

sub show_first_difference
{
	my @a = split /\n/, $_[0];
	my @b = split /\n/, $_[1];
	for my $i (0 .. ($#a > $#b ? $#a : $#b))
	{
		my ($one, $other) = ($a[$i] // 'nothing', $b[$i] // 'nothing');
		return diag("dumped:   $one\nrestored: $other") if $one ne $other;
	}
	return;
}

# A year of a shop with everything in it: late orders, refunds, scenarios on the way, messages sent, leased and waiting, quarantine.
sub live
{
	my ($db) = @_;
	$node->safe_psql($db, <<~SQL);
		SET lifecycle.clock = '2026-01-01';
		INSERT INTO lifecycle.shop (time_zone) VALUES ('Etc/UTC') ON CONFLICT DO NOTHING;
		CREATE TABLE shop.customers (id text PRIMARY KEY, mail text, lang text, consent text);
		SELECT lifecycle.attach('shop.customers', 'customer', '{"customer": "id", "email": "mail", "locale": "lang"}', name => 'customers');
		INSERT INTO shop.customers SELECT 'c' || i, 'c' || i || '\@example.org', 'de-AT' FROM generate_series(0, 39) AS i;
		INSERT INTO lifecycle.cap (name, channel, most, span) VALUES ('plenty', 'email', 1000, '1 day');
		UPDATE lifecycle.channel SET max_per_hour = 1000 WHERE name = 'email';
		SQL
	for my $day (0, 3, 40, 62, 100, 151)
	{
		$node->safe_psql($db, <<~SQL);
			SET lifecycle.clock = '2026-01-01 12:00+00';
			SELECT set_config('lifecycle.clock', (timestamptz '2026-01-01 12:00+00' + interval '$day days')::text, false);
			SELECT lifecycle.tick();
			INSERT INTO shop.orders (customer, amount, placed_at)
			    SELECT 'c' || i % 40, 10 + (i * 7919 + $day) % 300, lifecycle.now() - i * interval '1 minute'
			      FROM generate_series(0, 50) AS i WHERE i % 40 < 40 - $day / 5;
			INSERT INTO shop.refunds (order_id, customer, amount, refunded_at)
			    SELECT id, customer, 5, lifecycle.now() FROM shop.orders WHERE id % 11 = 0;
			SELECT count(*) FROM lifecycle.claim(7);
			SELECT lifecycle.ack(array_agg(message_id)) FROM (SELECT message_id FROM lifecycle.outbox WHERE status = 'leased' LIMIT 5) AS m;
			SQL
	}
	# Somebody is on the way through what has been changed since.
	$node->safe_psql($db, q{UPDATE lifecycle.step SET subject = '{"en": "Changed"}' WHERE scenario IN (SELECT s.name FROM lifecycle.scenario AS s WHERE s.status = 'active')});
	# One by one, so that they wait in the customers' rows, and what they earn with them.
	$node->safe_psql($db, join "\n",
		"INSERT INTO lifecycle.points_rule (name, earns_on, rate, pending, expiry, valid_from) VALUES ('orders', 'order', 1, '14 days', '1 year', '2026-06-01 12:00:01+00');",
		map { sprintf "SET lifecycle.clock = '2026-06-01 12:00:%02d+00'; INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c%d', 12.50, lifecycle.now());", $_, $_ > 15 ? 0 : $_ % 5 } 1 .. 40);
	cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM lifecycle.recent_lot'), '>=', 30, 'lots of points wait');
	cmp_ok($node->safe_psql($db, 'SELECT count(*) FROM lifecycle.points_run'), '>=', 1, 'and some are packed');
	$node->safe_psql($db, <<~SQL);
		SET lifecycle.clock = '$clock';
		INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('bad', 'NaN', lifecycle.now()), ('later', 9, lifecycle.now() + interval '2 days');
		SELECT lifecycle.tick();
		-- It waits in the inbox, and is nobody's.
		CREATE TABLE shop.tills (id bigint, customer text, amount numeric, placed_at timestamptz);
		SELECT lifecycle.attach('shop.tills', 'order',
		    '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'tills', mode => 'async');
		INSERT INTO shop.tills VALUES (1, NULL, 1, lifecycle.now());
		SQL
	return;
}

new_shop($node, 'shop', clock => '2026-01-01', partitioned => 1);
live('shop');
$node->safe_psql('shop', "SELECT lifecycle.suppress('c39\@example.org')");
my $dumped = told('shop');
isnt($dumped->{$_}, '', "there is something in $_") for qw(scenario_version cap channel_pace variant);
is_none($node, 'shop', "SELECT * FROM oracle.differences('$clock')", 'the original is right') or BAIL_OUT('nothing to compare with');
for my $table (qw(customer purchase segment_history tier_history outbox outbox_volume lease suppression enrolment enrolment_step quarantine timer source inbox))
{
	isnt($dumped->{$table}, '', "there is something in $table");
}
is($node->safe_psql('shop', 'SELECT lifecycle.is_armed()'), 't', 'the original is armed');
my $last_message = $node->safe_psql('shop', 'SELECT max(message_id) FROM lifecycle.outbox');

my $work = PostgreSQL::Test::Utils::tempdir();
my $connect = $node->connstr('shop');
$node->command_ok([ 'pg_dump', '-f', "$work/plain.sql", '-d', $connect ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$work/custom", '-d', $connect ], 'pg_dump -Fc');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain custom parallel);
$node->command_checks_all([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$work/plain.sql" ],
	0, [], [qr/^$/], 'psql restores it without a word');
$node->command_checks_all([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$work/custom" ], 0, [qr/^$/], [qr/^$/],
	'pg_restore restores it without a word');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('parallel'), "$work/custom" ], 'pg_restore -j 2');

for my $db (qw(plain custom parallel))
{
	my $restored = told($db);
	for my $table (sort keys %$dumped)
	{
		ok($restored->{$table} eq $dumped->{$table}, "$db: $table") or show_first_difference($dumped->{$table}, $restored->{$table});
	}
	is_none($node, $db, "SELECT * FROM oracle.differences('$clock')", "$db: nothing is counted twice");
	is($node->safe_psql($db, 'SELECT lifecycle.is_armed()'), 'f', "$db: disarmed");

	my ($out, $err) = ('', '');
	$node->psql($db, "SET lifecycle.clock = '$clock'; SELECT count(*) FROM lifecycle.claim(100)", stdout => \$out, stderr => \$err);
	is($out, '0', "$db: nothing can be claimed");
	like($err, qr/WARNING:  this database is a copy/, "$db: a warning says why");
	my $later = "timestamptz '$clock' + interval '40 days'";
	my $set = "SET lifecycle.clock = '2026-07-11 12:00:00+00';";
	is($node->safe_psql($db, "$set SELECT lifecycle.tick()"), '0', "$db: time does nothing");

	# It captures.
	my $got = $node->safe_psql($db, <<~SQL);
		SET lifecycle.clock = '$clock';
		INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c1', 20, lifecycle.now()), ('newcomer', 15, lifecycle.now());
		INSERT INTO shop.orders_paid (id, customer, amount, placed_at) VALUES (100000, 'newcomer', 15, lifecycle.now());
		UPDATE shop.orders SET amount = amount + 1 WHERE customer = 'c2';
		DELETE FROM shop.orders WHERE customer = 'c3' AND id % 2 = 0;
		INSERT INTO shop.refunds (order_id, customer, amount, refunded_at) VALUES (1, 'c4', 1, lifecycle.now());
		INSERT INTO shop.customers VALUES ('newcomer', 'new\@example.org', 'en');
		SELECT email, order_count, revenue FROM lifecycle.customer WHERE customer_id = 'newcomer';
		SQL
	is($got, 'new@example.org|2|30', "$db: what happens now is captured");
	is_none($node, $db, "SELECT * FROM oracle.differences('$clock')", "$db: and counted right");
	is($node->safe_psql($db, "SELECT count(*) FROM lifecycle.outbox WHERE message_id > $last_message AND customer_id IN ('c1', 'newcomer')"), '3',
		"$db: new messages have new ids");
	is($node->safe_psql($db, 'SELECT count(*) - count(DISTINCT message_id) FROM lifecycle.outbox'), '0', "$db: no id twice");
	$node->safe_psql($db, "SET lifecycle.clock = '$clock'; INSERT INTO lifecycle.segment (name, predicate) VALUES ('big', 'revenue > 100')");
	is($node->safe_psql($db, 'SELECT count(*) - count(DISTINCT segment_id) FROM lifecycle.segment'), '0', "$db: a new segment has a number of its own");

	# Armed, it sends.
	$node->safe_psql($db, 'SELECT lifecycle.arm()');
	is($node->safe_psql($db, "SELECT lifecycle.is_armed()"), 't', "$db: arm() arms it");
	cmp_ok($node->safe_psql($db, "SET lifecycle.clock = '$clock'; SELECT count(*) FROM lifecycle.claim(1000)"), '>=', 2, "$db: messages can be claimed");
	cmp_ok($node->safe_psql($db, "$set SELECT lifecycle.tick()"), '>', 0, "$db: time goes on");
	is_none($node, $db, "SELECT * FROM oracle.differences($later)", "$db: and is right");
	is_none($node, $db, "SELECT * FROM oracle.contradictions($later)", "$db: no contradictions");
	is($node->safe_psql($db, 'SELECT count(*) FROM lifecycle.inbox'), '0', "$db: the inbox is emptied");
	is_none($node, $db, 'SELECT * FROM lifecycle.check_sources()', "$db: all is well with the sources");
}
# A server whose worker is awake while the dump comes in: CREATE EXTENSION starts it, and then it looks at whatever is there.
my $live = new_cluster('live', conf => "lifecycle.clock = '$clock'\nlifecycle.worker_nap = '100ms'");
sub awake
{
	my ($db, $name) = @_;
	my $seen = $live->safe_psql($db, 'SELECT coalesce(wake_ups, 0) FROM lifecycle.worker_status()');
	return eventually($live, $db, "SELECT wake_ups > $seen + 2 FROM lifecycle.worker_status()", 't', "$db: the worker is awake $name");
}
$live->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain custom parallel at_once);
$live->command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $live->connstr('at_once'), "$work/custom" ], 'with a worker: pg_restore -j 2');
for my $section (qw(pre-data data post-data))
{
	$node->command_ok([ 'pg_dump', "--section=$section", '-f', "$work/$section.sql", '-d', $connect ], "pg_dump, plain, $section");
	$live->command_checks_all([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $live->connstr('plain'), '-f', "$work/$section.sql" ],
		0, [], [qr/^$/], "with a worker: psql restores $section");
	awake('plain', "after $section");
	for my $db (qw(custom parallel))
	{
		my @jobs = $db eq 'parallel' ? ('-j', '2') : ();
		$live->command_ok([ 'pg_restore', "--section=$section", '--exit-on-error', @jobs, '-d', $live->connstr($db), "$work/custom" ],
			"with a worker: pg_restore @jobs $section");
		awake($db, "after $section");
	}
}
for my $db (qw(plain custom parallel at_once))
{
	awake($db, 'when all is there');
	my $restored = told($db, $live);
	for my $table (sort keys %$dumped)
	{
		ok($restored->{$table} eq $dumped->{$table}, "with a worker: $db: $table") or show_first_difference($dumped->{$table}, $restored->{$table});
	}
	is($live->safe_psql($db, 'SELECT armed, worker_errors FROM lifecycle.status'), 'f|0', "with a worker: $db: disarmed");
	cmp_ok($live->safe_psql($db, 'SELECT count(*) FROM lifecycle.inbox'), '>', 0, "with a worker: $db: the inbox waits");
	$live->safe_psql($db, 'SELECT lifecycle.arm()');
	eventually($live, $db, 'SELECT count(*) FROM lifecycle.inbox', '0', "with a worker: $db: armed, it acts");
	is_none($live, $db, "SELECT * FROM oracle.differences('$clock')", "with a worker: $db: nothing is counted twice");
	is($live->safe_psql($db, 'SELECT count(*) - count(DISTINCT idempotency_key) FROM lifecycle.outbox'), '0', "with a worker: $db: no message twice");
}

# A dump that goes back into the database it was made from brings back what that database was then: it has sent more since.
$live->command_ok([ 'pg_dump', '-Fc', '-f', "$work/again", '-d', $live->connstr('at_once') ], 'a database that is armed is dumped');
$live->command_ok([ 'pg_restore', '--clean', '--if-exists', '--exit-on-error', '-d', $live->connstr('at_once'), "$work/again" ], 'and restored in its place');
is($live->safe_psql('at_once', 'SELECT lifecycle.is_armed()'), 'f', 'it is disarmed');
$live->stop;

is(told('shop')->{outbox}, $dumped->{outbox}, 'the original has noticed nothing');
is($node->safe_psql('shop', 'SELECT lifecycle.is_armed()'), 't', 'and is armed');

# A restored copy that is dumped again and restored is still a copy; so is a clone.
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE shop');
is($node->safe_psql('clone', 'SELECT lifecycle.is_armed()'), 'f', 'a clone is disarmed');

$node->stop;
done_testing();
