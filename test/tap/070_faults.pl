# The shop always wins: whatever fails in here, the shop's statement succeeds and what it said is in quarantine; what is not ours to keep
# (a cancel, shutdown) fails the statement and leaves nothing behind. First with errors injected at every point, then with real ones.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my %sqlstate = (error => 'XX000', memory => '53200', cancel => '57014');

# The fault points of the code, by what reaches them; "quarantine" has a test of its own.
my @in_pipeline = qw(customer.lock profiles ledger tiers segments scenarios customer.store customer.timers);
my @in_capture = ('capture.read', @in_pipeline);
my @in_tick = (@in_pipeline, 'scenarios.decisions', 'outbox');

# Without autovacuum: what it tells the sessions makes them plan anew, and the memory of plans is measured below.
my $node = new_cluster('faults', conf => "lifecycle.worker = off\nmax_prepared_transactions = 5\nrestart_after_crash = on\nautovacuum = off");
new_shop($node, 'shop', clock => '2026-01-01 00:00+00');
$node->safe_psql('shop', <<~SQL);
	SET lifecycle.clock = '2026-01-01 00:00+00';
	CREATE TABLE shop.consents (customer text, channel text, status text, at timestamptz);
	SELECT lifecycle.attach('shop.consents', 'consent',
	    '{"customer": "customer", "channel": "channel", "status": "status", "changed_at": "at"}', name => 'consents');
	UPDATE lifecycle.step SET class = 'transactional';
	UPDATE lifecycle.step SET not_after = NULL;
	-- Writes to the shop and has no right to anything of ours.
	CREATE ROLE clerk;
	GRANT USAGE ON SCHEMA shop TO clerk;
	GRANT ALL ON ALL TABLES IN SCHEMA shop TO clerk;
	ALTER ROLE clerk SET search_path = public;
	CREATE VIEW shop.settings AS
	    SELECT concat_ws('|', current_user, current_setting('search_path'), current_setting('TimeZone'),
	                     current_setting('enable_seqscan'), current_setting('jit'), current_setting('is_superuser'),
	                     pg_current_xact_id_if_assigned() IS NULL) AS settings;
	GRANT SELECT ON shop.settings TO clerk;
	CREATE VIEW shop.held AS SELECT source, action, sqlstate, data ->> 'id' AS id FROM lifecycle.quarantine;
	CREATE VIEW shop.consent_differences AS
	    SELECT * FROM (SELECT customer, channel, status, at FROM shop.consents
	                   EXCEPT ALL SELECT customer_id, channel, status, changed_at FROM lifecycle.consent_log) AS lost
	    UNION ALL
	    SELECT * FROM (SELECT customer_id, channel, status, changed_at FROM lifecycle.consent_log
	                   EXCEPT ALL SELECT customer, channel, status, at FROM shop.consents) AS invented;
	SQL

# Other than what is set inside, so that a change that stays shows.
my $as_clerk = <<~SQL;
	SET client_min_messages = error;
	SET lifecycle.clock = '2026-01-01 00:00+00';
	SET search_path = shop, public;
	SET timezone = 'America/New_York';
	SET enable_seqscan = on;
	SET jit = on;
	SQL
my $clerk_settings = 'clerk|shop, public|America/New_York|on|on|off|t';
(my $own_settings = $clerk_settings) =~ s/^clerk(.*)off/postgres$1on/;

# Runs a script in one session that goes on after errors, and returns its output; a statement's SQLSTATE is shown by `state`.
my $state = '\echo :SQLSTATE' . "\n";
sub session
{
	my ($script) = @_;
	my ($out, $err);
	$node->psql('shop', $script, stdout => \$out, stderr => \$err, on_error_stop => 0, timeout => $patience);
	return $out;
}

sub all_is_right
{
	my ($name, $clock) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$clock //= '2026-01-01 00:00+00';
	is_none($node, 'shop', <<~SQL, $name);
		SELECT concat_ws(' ', customer_id, what, expected, 'but', found) FROM oracle.differences('$clock')
		UNION ALL SELECT concat_ws(' ', customer_id, what, detail) FROM oracle.contradictions('$clock')
		UNION ALL SELECT concat_ws(' ', source, action, sqlstate, message, data) FROM lifecycle.quarantine
		UNION ALL SELECT concat_ws(' ', 'consent', customer, channel, status, at) FROM shop.consent_differences
		SQL
	return;
}

# Each statement with the points that it reaches and what quarantine then holds of it.
my %statement = (
	insert => {
		before => '',
		sql => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 150, '2026-01-01 00:00+00')",
		held => 'orders|arrived|STATE|:id', points => [ @in_capture, 'scenarios.decisions', 'outbox' ] },
	update => {
		before => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 600, '2026-01-01 00:00+00');",
		sql => "UPDATE shop.orders SET amount = 150 WHERE id = :id",
		held => "orders|gone|STATE|:id\norders|arrived|STATE|:id", points => [@in_capture] },
	delete => {
		before => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 600, '2026-01-01 00:00+00');",
		sql => "DELETE FROM shop.orders WHERE id = :id",
		held => 'orders|gone|STATE|:id', points => [@in_capture] },
	refund => {
		before => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 600, '2026-01-01 00:00+00');",
		sql => "INSERT INTO shop.refunds (id, order_id, customer, amount, refunded_at) VALUES (:id, :id, 'c:id', 500, '2026-01-01 00:00+00')",
		held => 'refunds|arrived|STATE|:id', points => [ 'ledger', 'tiers', 'customer.store' ] },
	consent => {
		before => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 60, '2026-01-01 00:00+00');",
		sql => "INSERT INTO shop.consents VALUES ('c:id', 'email', 'granted', '2026-01-01 00:00+00')",
		held => 'consents|arrived|STATE|', points => [ 'capture.read', 'profiles', 'customer.store' ] },
	several => {
		before => "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id, 'c:id', 60, '2026-01-01 00:00+00');",
		sql => "INSERT INTO shop.orders (id, customer, amount, placed_at)"
		  . " VALUES (:id + 1, 'c:id', 60, '2026-01-01 00:00+00'), (:id + 2, 'n:id', 10, '2026-01-01 00:00+00')",
		held => "orders|arrived|STATE|:1\norders|arrived|STATE|:2", points => [ @in_capture, 'scenarios.decisions', 'outbox' ] });

# The same by the other ways that rows come: put off until the commit, row by row, through the inbox. Then quarantine tells the same story,
# unless the way itself has failed and another one was taken.
my @at_commit = ('settle', @in_pipeline);
my %way = (
	'at commit' => {
		set => 'SET lifecycle.settle = commit', points => { insert => [ @at_commit, 'scenarios.decisions', 'outbox' ], update => \@at_commit,
			delete => \@at_commit, several => \@at_commit, consent => [ 'settle', 'profiles', 'customer.store' ] } },
	'row by row' => {
		set => 'SET session_replication_role = replica', points => { insert => \@at_commit, update => \@at_commit, delete => \@at_commit } });
for my $way (sort keys %way)
{
	for my $what (sort keys %{ $way{$way}{points} })
	{
		$statement{"$what $way"} = { %{ $statement{$what} }, set => $way{$way}{set}, points => $way{$way}{points}{$what} };
	}
}
# Where not even memory can be had for putting it off, it is taken in at once, and nothing is lost or held.
$statement{"$_ not put off"} = { %{ $statement{$_} }, set => 'SET lifecycle.settle = commit', points => ['capture.put_off'], held => '', }
  for qw(insert update delete several);
$statement{"$_ not put off row by row"} = { %{ $statement{$_} }, set => 'SET session_replication_role = replica', points => ['capture.put_off'], held => '' }
  for qw(insert update delete);

my $id = 1000;
for my $what (sort keys %statement)
{
	my $s = $statement{$what};
	my ($script, @expected) = ($as_clerk);
	for my $point (@{ $s->{points} })
	{
		for my $kind (qw(error memory cancel))
		{
			$id += 10;
			my $fill = sub { my ($text) = @_; $text =~ s/:1/$id + 1/ge; $text =~ s/:2/$id + 2/ge; $text =~ s/:id/$id/g; return $text; };
			my $kept = $kind ne 'cancel';
			# The clerk's statement, the settings after it, what is held; the next order; all taken in.
			$script .= $fill->(<<~SQL);
				$s->{before}
				@{[ $s->{set} // '' ]};
				SET lifecycle.fault = '$point:$kind';
				SET ROLE clerk;
				$s->{sql};
				\\echo $what $point:$kind :SQLSTATE
				SELECT * FROM shop.settings;
				RESET ROLE;
				RESET lifecycle.settle;
				RESET session_replication_role;
				SELECT * FROM shop.held;
				SET ROLE clerk;
				INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:id + 5, 'c:id', 1, '2026-01-01 00:00+00');
				RESET ROLE;
				\\echo :SQLSTATE
				SELECT 'replayed', lifecycle.replay_quarantine();
				\\echo :SQLSTATE
				SELECT * FROM oracle.differences('2026-01-01 00:00+00') WHERE customer_id IN ('c:id', 'n:id');
				SELECT * FROM shop.consent_differences;
				SQL
			my $held = $fill->($s->{held});
			$held =~ s/STATE/$sqlstate{$kind}/g;
			push @expected, $fill->("$what $point:$kind " . ($kept ? '00000' : $sqlstate{$kind})), $clerk_settings,
			  ($kept && $held ne '' ? $held : ()), '00000', 'replayed|' . ($kept ? scalar(my @rows = split /\n/, $held) : 0), '00000';
		}
	}
	is(session($script), join("\n", @expected), "$what: with errors everywhere, kept or cancelled, and taken in afterwards");
}
all_is_right('after faults in all statements');

# An asynchronous source: the way into the inbox fails, or the way out of it.
$node->safe_psql('shop', <<~SQL);
	SET lifecycle.clock = '2026-01-01 00:00+00';
	CREATE TABLE shop.letters (id bigint, customer text, amount numeric, placed_at timestamptz);
	GRANT ALL ON shop.letters TO clerk;
	SELECT lifecycle.attach('shop.letters', 'order',
	    '{"order": "''l'' || id::text", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'letters', mode => 'async');
	CREATE VIEW shop.letter_differences AS
	    (SELECT customer, 'l' || id, amount FROM shop.letters EXCEPT ALL SELECT customer_id, id, amount FROM lifecycle.purchase WHERE id LIKE 'l%')
	    UNION ALL
	    (SELECT customer_id, id, amount FROM lifecycle.purchase WHERE id LIKE 'l%' EXCEPT ALL SELECT customer, 'l' || id, amount FROM shop.letters);
	SQL
{
	my ($script, @expected) = ($as_clerk);
	for my $settle (qw(statement commit))
	{
		for my $kind (qw(error memory cancel))
		{
			for my $point ('capture.read', 'inbox')
			{
				next if $settle eq 'commit' && $point eq 'capture.read';
				$id += 10;
				my $kept = $kind ne 'cancel';
				$script .= <<~SQL;
					SET lifecycle.settle = $settle;
					SET lifecycle.fault = '$point:$kind';
					SET ROLE clerk;
					INSERT INTO shop.letters VALUES ($id, 'c$id', 5, '2026-01-01 00:00+00');
					\\echo letters $settle $point:$kind :SQLSTATE
					SELECT * FROM shop.settings;
					RESET ROLE;
					SELECT * FROM shop.held;
					UPDATE shop.letters SET amount = 6 WHERE id = $id;
					SELECT 'replayed', lifecycle.replay_quarantine();
					SELECT lifecycle.tick() >= 0;
					SELECT * FROM shop.letter_differences;
					SQL
				push @expected, "letters $settle $point:$kind " . ($kept ? '00000' : $sqlstate{$kind}), $clerk_settings,
				  ($kept ? "letters|arrived|$sqlstate{$kind}|$id" : ()), 'replayed|0', 't';
			}
		}
	}
	for my $point ('inbox.fold', 'settle', @in_pipeline)
	{
		for my $kind (qw(error memory cancel))
		{
			$id += 10;
			# What fails in the pipeline fails for one entry; what fails before that leaves the inbox as it is.
			my $kept = $kind ne 'cancel' && $point ne 'inbox.fold';
			$script .= <<~SQL;
				INSERT INTO shop.letters VALUES ($id, 'c$id', 5, '2026-01-01 00:00+00');
				SET lifecycle.fault = '$point:$kind';
				SELECT lifecycle.tick() >= 0;
				\\echo fold $point:$kind :SQLSTATE
				SELECT * FROM shop.held;
				SELECT 'waiting', count(*) FROM lifecycle.inbox;
				SET lifecycle.fault = '';
				SELECT 'replayed', lifecycle.replay_quarantine();
				SELECT lifecycle.tick() >= 0;
				SELECT * FROM shop.letter_differences;
				SQL
			push @expected, ($kept ? 't' : ()), "fold $point:$kind " . ($kept ? '00000' : $sqlstate{$kind}),
			  ($kept ? "letters|arrived|$sqlstate{$kind}|$id" : ()), 'waiting|' . ($kept ? 0 : 1), 'replayed|' . ($kept ? 1 : 0), 't';
		}
	}
	is(session($script), join("\n", @expected), 'an asynchronous source: whatever fails, nothing is lost');
	$node->safe_psql('shop', <<~SQL);
		SET lifecycle.clock = '2026-01-01 00:00+00';
		DELETE FROM shop.letters;
		SELECT lifecycle.tick();
		SELECT lifecycle.detach('letters');
		DROP TABLE shop.letters CASCADE;
		SELECT customer_id INTO shop.strangers FROM lifecycle.customer WHERE order_count = 0 AND customer_id NOT IN (SELECT customer FROM shop.orders);
		DELETE FROM lifecycle.timer WHERE customer_id IN (TABLE shop.strangers);
		DELETE FROM lifecycle.customer WHERE customer_id IN (TABLE shop.strangers);
		DELETE FROM lifecycle.segment_member WHERE customer_id IN (TABLE shop.strangers);
		DROP TABLE shop.strangers;
		SQL
}
all_is_right('after faults on the way into the inbox and out of it');

# A bad row whose way into quarantine fails: then the statement goes there as a whole, for that reason; and by replay for its own.
for my $kind (qw(error memory cancel))
{
	$id += 10;
	my $kept = $kind ne 'cancel';
	is(session(<<~SQL), join("\n", $kept ? '00000' : '57014', $own_settings, $kept ? "orders|arrived|$sqlstate{$kind}|$id" : (), 'replayed|0', $kept ? "orders|arrived|22004|$id" : (), '00000', ()),
		$as_clerk
		SET lifecycle.fault = 'quarantine:$kind';
		INSERT INTO shop.orders (id, customer, placed_at) VALUES ($id, 'c$id', '2026-01-01 00:00+00');
		\\echo :SQLSTATE
		SELECT * FROM shop.settings;
		SELECT * FROM shop.held;
		SELECT 'replayed', lifecycle.replay_quarantine();
		SELECT * FROM shop.held;
		UPDATE shop.orders SET amount = 10 WHERE id = $id;
		\\echo :SQLSTATE
		SELECT * FROM shop.held;
		SQL
		"quarantine:$kind, of a row without an amount");
}
all_is_right('after faults on the way into quarantine');

# lifecycle.on_error = raise: the statement fails as it met it, and nothing is kept.
{
	my ($script, @expected) = ("$as_clerk SET lifecycle.on_error = raise;\n");
	for my $point (@in_capture, 'scenarios.decisions', 'outbox')
	{
		for my $kind (qw(error memory cancel))
		{
			$id += 10;
			$script .= <<~SQL;
				SET lifecycle.fault = '$point:$kind';
				SET ROLE clerk;
				INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES ($id, 'c$id', 150, '2026-01-01 00:00+00');
				\\echo raise $point:$kind :SQLSTATE
				SELECT * FROM shop.settings;
				RESET ROLE;
				SELECT * FROM shop.held;
				SELECT * FROM shop.orders WHERE id = $id;
				SQL
			push @expected, "raise $point:$kind $sqlstate{$kind}", $clerk_settings;
		}
	}
	is(session($script), join("\n", @expected), 'on_error = raise: the statement fails as it met it');
	all_is_right('after on_error = raise');
}

# In a transaction with savepoints the settings of each level stay as they are.
is(session(<<~SQL), join("\n", qw(57014 public|Asia/Tokyo|off 00000 public|Asia/Tokyo|off), 'shop, public|America/New_York|on', 1), 'inside a transaction, with SET LOCAL and savepoints');
	$as_clerk
	CREATE VIEW pg_temp.s AS SELECT concat_ws('|', current_setting('search_path'), current_setting('TimeZone'), current_setting('enable_seqscan'));
	SET lifecycle.fault = 'ledger:cancel';
	BEGIN;
	SET LOCAL search_path = public;
	SET LOCAL timezone = 'Asia/Tokyo';
	SET LOCAL enable_seqscan = off;
	SAVEPOINT s;
	INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (11, 'c11', 150, '2026-01-01 00:00+00');
	\\echo :SQLSTATE
	ROLLBACK TO s;
	SELECT * FROM pg_temp.s;
	SET lifecycle.fault = 'customer.store:error';
	INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (12, 'c12', 150, '2026-01-01 00:00+00');
	\\echo :SQLSTATE
	SELECT * FROM pg_temp.s;
	COMMIT;
	SELECT * FROM pg_temp.s;
	SELECT lifecycle.replay_quarantine();
	SQL
all_is_right('after faults inside a transaction');

# What is not the shop's statement fails cleanly and works when it is called again.
my $clock;
{
	my ($script, @expected) = ($as_clerk);
	my $day = 0;
	for my $point (@in_tick)
	{
		for my $kind (qw(error memory cancel))
		{
			$id += 10;
			my $then = $day + 61;
			$script .= <<~SQL;
				SELECT set_config('lifecycle.clock', (timestamptz '2026-01-01 00:00+00' + interval '$day days')::text, false) \\g /dev/null
				INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES ($id, 'c$id', 150, lifecycle.now());
				SELECT set_config('lifecycle.clock', (timestamptz '2026-01-01 00:00+00' + interval '$then days')::text, false) \\g /dev/null
				SET lifecycle.fault = '$point:$kind';
				SELECT lifecycle.tick();
				\\echo tick $point:$kind :SQLSTATE
				SELECT * FROM shop.settings;
				SELECT * FROM shop.held;
				SELECT lifecycle.tick() > 0;
				SELECT lifecycle FROM lifecycle.customer WHERE customer_id = 'c$id';
				SELECT count(*) FROM lifecycle.outbox WHERE customer_id = 'c$id' AND scenario = 'win_back';
				SQL
			push @expected, "tick $point:$kind $sqlstate{$kind}", $own_settings, 't', 'at_risk', 1;
			$day = $then;
		}
	}
	is(session($script), join("\n", @expected), 'tick(): fails, and works the next time');
	$clock = $node->safe_psql('shop', "SELECT timestamptz '2026-01-01 00:00+00' + interval '$day days'");
	all_is_right('after faults in tick()', $clock);

	# rebuild() and changed definitions go the same way, for everybody at once; attach() reads what is there.
	$as_clerk =~ s/2026-01-01 00:00\+00/$clock/;
	my %call = (
		'rebuild' => [ '', 'SELECT count(*) = 1 FROM lifecycle.rebuild()' ],
		'a changed tier' => [ '', 'WITH u AS (UPDATE lifecycle.tier SET benefits = benefits RETURNING 1) SELECT count(*) > 0 FROM u' ],
		'attach' => [ "CREATE TABLE shop.more AS SELECT id, 'm' || id % 7 AS customer, 33 AS amount, placed_at FROM shop.orders LIMIT 20",
			q(SELECT lifecycle.attach('shop.more', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'more') = 'more') ]);
	for my $what (sort keys %call)
	{
		my ($before, $call) = @{ $call{$what} };
		($script, @expected) = ("$as_clerk $before;\n");
		for my $point (@in_pipeline)
		{
			for my $kind (qw(error memory cancel))
			{
				$script .= <<~SQL;
					SET lifecycle.fault = '$point:$kind';
					$call;
					\\echo $what $point:$kind :SQLSTATE
					SELECT * FROM shop.settings;
					SELECT count(*) FROM lifecycle.source;
					SELECT count(*) FROM lifecycle.quarantine;
					SQL
				push @expected, "$what $point:$kind $sqlstate{$kind}", $own_settings, 3, 0;
			}
		}
		$script .= "$call;\n";
		push @expected, 't';
		$script .= "SELECT count(*), sum(order_count), sum(revenue) FROM lifecycle.customer WHERE customer_id LIKE 'm%';\nSELECT lifecycle.detach('more'); DROP TABLE shop.more; DELETE FROM lifecycle.customer WHERE customer_id LIKE 'm%'; DELETE FROM lifecycle.timer WHERE customer_id LIKE 'm%'; DELETE FROM lifecycle.segment_member WHERE customer_id LIKE 'm%';\n" if $what eq 'attach';
		push @expected, '7|20|660', '' if $what eq 'attach';
		is(session($script), join("\n", @expected), "$what: fails, and works the next time");
		all_is_right("after faults in $what", $clock);
	}
}
# Memory: one session, thousands of statements that fail or do not.
{
	my @points = map { ("$_:error", "$_:memory", "$_:cancel") } @in_capture, 'scenarios.decisions', 'outbox';
	my $measure = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts;\n";
	my $orders = sub {
		my ($n, $faulty) = @_;
		my $text = '';
		for my $i (1 .. $n)
		{
			$text .= "SET lifecycle.fault = '$points[$i % @points]';\n" if $faulty;
			$text .= 'INSERT INTO shop.orders (customer, amount, placed_at) VALUES (' . "'k" . $i % 50 . "', 1, lifecycle.now());\n";
		}
		return $text;
	};
	for my $faulty (1, 0)
	{
		my ($before, $after) = split /\n/, session("$as_clerk SELECT setval('shop.orders_id_seq', max(id)) FROM shop.orders \\g /dev/null\n"
			. $orders->(300, $faulty) . $measure . $measure =~ s/.*\n//r . $orders->(2000, $faulty) . $measure);
		my $which = $faulty ? 'faulting orders' : 'orders';
		cmp_ok($before, '>', 100_000, "$which: memory is measured ($before bytes)");
		cmp_ok($after - $before, '<=', 32 * 1024, "2,000 $which: memory does not grow (by " . ($after - $before) . ' bytes)');
	}
	my $kept = $node->safe_psql('shop', 'SELECT count(*) FROM lifecycle.quarantine');
	cmp_ok($kept, '>', 1000, "$kept orders are in quarantine");
	is($node->safe_psql('shop', "SET lifecycle.clock = '$clock'; SELECT lifecycle.replay_quarantine()"), $kept, 'all of them are taken in');
	all_is_right('after thousands of faults', $clock);
}

# A cancel that comes from outside, while an order waits for a customer whom somebody else holds.
{
	my $hold = sub {
		$node->safe_psql('shop', "BEGIN; SELECT FROM lifecycle.customer WHERE customer_id = 'k1' FOR UPDATE; PREPARE TRANSACTION 'hold'");
	};
	my $order = "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('k1', 7, '$clock');\n";
	my $waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO shop.orders%'";
	my $count = sub { $node->safe_psql('shop', "SELECT count(*) FROM shop.orders WHERE amount = 7") };

	$hold->();
	my $session = script_session($node, 'shop', "$as_clerk SET ROLE clerk;\n${order}TABLE shop.settings;\n" . $order =~ s/k1/k2/r . $order);
	eventually($node, 'shop', $waits, '1', 'an order waits for the customer');
	$node->safe_psql('shop', $waits =~ s/count\(\*\)/pg_cancel_backend(pid)/r);
	eventually($node, 'shop', "SELECT count(*) FROM shop.orders WHERE customer = 'k2' AND amount = 7", '1', 'cancelled, its session goes on to another customer');
	eventually($node, 'shop', $waits, '1', 'and waits again for the first');
	$node->safe_psql('shop', "COMMIT PREPARED 'hold'");
	is_deeply([ finish_session($session) ], [ [ '57014', 'canceling statement due to user request' ] ], 'the order has failed as cancelled');
	is(slurp_file("$session->{file}.out"), "$clerk_settings\n", 'and left the session as it was');
	is($count->(), '2', 'the others are there');
	all_is_right('after a cancel', $clock);

	$hold->();
	is(session("$as_clerk SET statement_timeout = '200ms';\n$order$state SET statement_timeout = 0;\nTABLE shop.settings;\n" . $order =~ s/k1/k2/r . $state),
		"57014\n$own_settings\n00000", 'statement_timeout: the order fails as cancelled, the next one works');
	is(session("$as_clerk SET lock_timeout = '200ms';\n" . $order =~ s/7/8/r . $state), '00000', 'lock_timeout: the order goes through, what it says waits in quarantine');
	$session = script_session($node, 'shop', "$as_clerk$order$state");
	eventually($node, 'shop', $waits, '1', 'an order waits for the customer');
	$node->safe_psql('shop', $waits =~ s/count\(\*\)/pg_terminate_backend(pid)/r);
	my @errors = finish_session($session);
	is($errors[0][0], '57P01', 'its session is ended from outside');
	$node->safe_psql('shop', "ROLLBACK PREPARED 'hold'");
	is($count->(), '3', 'only what was said to have worked is there');
	$node->safe_psql('shop', "SET lifecycle.clock = '$clock'; SELECT lifecycle.replay_quarantine()");
	all_is_right('after timeouts and an ended session', $clock);
}

# Real damage: [damage, a statement that meets it, SQLSTATE, how it is undone]. In a session that knows the tables and in a fresh one.
my @damages = (
	[ 'a member who is not one', "INSERT INTO lifecycle.segment_member VALUES ('new', 'd:n', lifecycle.now())",
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", '23505',
		"DELETE FROM lifecycle.segment_member WHERE customer_id = 'd:n'" ],
	[ 'lifecycle.tier_past renamed', 'ALTER TABLE lifecycle.tier_past RENAME TO gone',
		"DELETE FROM shop.orders WHERE id = 5", '42P01', 'ALTER TABLE lifecycle.gone RENAME TO tier_past' ],
	# A session that has met one of these goes on writing it, under whatever name.
	[ 'lifecycle.customer renamed', 'ALTER TABLE lifecycle.customer RENAME TO gone',
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", undef,
		'ALTER TABLE lifecycle.gone RENAME TO customer' ],
	[ 'an index on an expression', 'CREATE INDEX extra ON lifecycle.segment_member (lower(customer_id))',
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", '0A000',
		'DROP INDEX lifecycle.extra' ],
	[ 'lifecycle.outbox renamed', 'ALTER TABLE lifecycle.outbox RENAME TO gone',
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", undef,
		'ALTER TABLE lifecycle.gone RENAME TO outbox' ],
	[ 'a message that a trigger refuses', q(CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END'; CREATE TRIGGER refuse BEFORE INSERT ON lifecycle.outbox FOR EACH ROW EXECUTE FUNCTION shop.refuse()),
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", '23514',
		'DROP FUNCTION shop.refuse CASCADE' ],
	[ 'a source without its row', "CREATE TABLE shop.kept AS TABLE lifecycle.source; DELETE FROM lifecycle.source WHERE name = 'orders'",
		"INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (:n, 'd:n', 150, lifecycle.now())", '42704',
		"INSERT INTO lifecycle.source OVERRIDING SYSTEM VALUE SELECT * FROM shop.kept WHERE name = 'orders'; DROP TABLE shop.kept" ],
	[ 'an index dropped', 'DROP INDEX lifecycle.purchase_ledger_customer_id_idx',
		"DELETE FROM shop.orders WHERE id = 5", undef,
		'CREATE INDEX purchase_ledger_customer_id_idx ON lifecycle.purchase_ledger (customer_id)' ],
	map { my ($table, $columns) = @$_; [ "${table}_pkey dropped", "ALTER TABLE lifecycle.$table DROP CONSTRAINT ${table}_pkey",
		'DELETE FROM shop.orders WHERE id = 5', undef,
		"ALTER TABLE lifecycle.$table ADD CONSTRAINT ${table}_pkey PRIMARY KEY ($columns)" ] }
	  [ 'timer', 'due_at, customer_id' ], [ 'segment_member', 'segment, customer_id' ], [ 'customer', 'customer_id' ]);
$node->safe_psql('shop', "SET lifecycle.clock = '$clock'; INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (4, 'd', 120, lifecycle.now() - interval '2 days'), (5, 'd', 500, lifecycle.now() - interval '1 day')");
my $n = 100_000;
for my $damage (@damages)
{
	my ($what, $break, $sql, $error, $mend) = @$damage;
	for my $warm (1, 0)
	{
		++$n;
		my $name = $what . ($warm ? ', in a session that knows the tables' : ', in a fresh session');
		my $at = sub { my ($text) = @_; $text =~ s/:n/$n/g; return "$text;\n"; };
		my $before = $as_clerk . ($warm ? "UPDATE shop.orders SET amount = amount + 1 WHERE customer = 'd';\nINSERT INTO shop.orders (customer, amount, placed_at) VALUES ('w$n', 150, lifecycle.now());\n" : '');
		# Broken and mended by the session itself: what it remembers of the tables is what is to be tested.
		my $out = session($before . $at->($break) . $at->($sql) . $state . "TABLE shop.settings;\nSELECT 'held', sqlstate FROM lifecycle.quarantine;\n"
			. $at->($mend) . "SELECT lifecycle.replay_quarantine() >= 0;\n"
			. "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('d$n', 1, lifecycle.now());\n$state");
		if (defined $error)
		{
			is($out, "00000\n$own_settings\nheld|$error\nt\n00000", "$name: the statement commits, what it said is kept");
		}
		else
		{
			like($out, qr/^00000\n\Q$own_settings\E\n(held\|.....\n)?t\n00000$/, "$name: the statement commits");
		}
		if ($out !~ /00000$/)
		{
			# The server went down with it: nothing of the other tests is to be lost.
			eventually($node, 'shop', 'SELECT 1', '1', "$name: the server is back");
			$node->psql('shop', $mend);
		}
		$node->safe_psql('shop', "SET lifecycle.clock = '$clock'; INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (5, 'd', 500, lifecycle.now() - interval '1 day') ON CONFLICT DO NOTHING");
		all_is_right("$name: mended, all is right", $clock);
		# What one test has lost is not to fail the next ones.
		$node->safe_psql('shop', "SET lifecycle.clock = '$clock'; DELETE FROM shop.orders WHERE id = $n; DELETE FROM lifecycle.quarantine");
	}
}

# Not even quarantine works: the order still commits, with a warning and the reason in the log.
is(session("$as_clerk ALTER TABLE lifecycle.quarantine RENAME TO gone; SET lifecycle.fault = 'ledger:error';\n"
	. "INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES (6, 'd6', 150, lifecycle.now());\n$state"
	. "TABLE shop.settings;\nALTER TABLE lifecycle.gone RENAME TO quarantine;\nSELECT count(*) FROM shop.orders WHERE id = 6;\n"
	. "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('d', 150, lifecycle.now());\n$state"),
	"00000\n$own_settings\n1\n00000", 'without quarantine the order still commits');
like(slurp_file($node->logfile), qr/WARNING:  pg_lifecycle could not process a change of "orders": error at fault point "ledger"/, 'and the log says why');

$node->stop;
done_testing();
