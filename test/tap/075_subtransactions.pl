# The price that others pay for our protection: a transaction publishes up to 64 ids of subtransactions. If it has more, everybody who meets
# rows of it has to look up in pg_subtrans whose they are, row by row. However many statements a transaction has, ours stay below.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = "SET lifecycle.clock = '2026-01-01 00:00+00';";
my $node = new_cluster('subtransactions', conf => "lifecycle.worker = off\nautovacuum = off\nmax_prepared_transactions = 2");
new_shop($node, 'shop', clock => '2026-01-01 00:00+00');
$node->safe_psql('shop', <<~SQL);
	$clock
	CREATE TABLE shop.tills (LIKE shop.orders INCLUDING ALL);
	SELECT lifecycle.attach('shop.tills', 'order',
	    '{"order": "''t'' || id::text", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'tills', mode => 'async');
	CREATE TABLE shop.notes (customer text);
	SQL

# How often a session that reads everything looks up a subtransaction while a transaction with these statements is open. A prepared one
# stays open without a session, and publishes its subtransactions as any other does.
sub lookups_while_open
{
	my ($settings, $statements) = @_;
	my $count = "SELECT blks_hit + blks_read FROM pg_stat_slru WHERE lower(name) LIKE 'subtrans%'";
	$node->safe_psql('shop', "$clock $settings BEGIN; $statements PREPARE TRANSACTION 'open'");
	$node->safe_psql('shop', 'SELECT pg_current_xact_id()');    # younger than all of them: only then they are looked up
	my $before = $node->safe_psql('shop', $count);
	# Counted at the latest when the session ends.
	$node->safe_psql('shop', 'SELECT count(*) FROM lifecycle.customer; SELECT count(*) FROM lifecycle.timer; SELECT count(*) FROM lifecycle.inbox;'
		. 'SELECT count(*) FROM shop.notes; SELECT count(*) FROM lifecycle.outbox; SELECT count(*) FROM lifecycle.quarantine;');
	my $lookups = $node->safe_psql('shop', $count) - $before;
	$node->safe_psql('shop', "COMMIT PREPARED 'open'; SELECT lifecycle.tick()");
	return $lookups;
}

sub loop { my ($n, $sql) = @_; return "DO \$\$ BEGIN FOR n IN 1 .. $n LOOP $sql END LOOP; END \$\$;"; }

my $order = "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('c' || n % 200, n, lifecycle.now());";
my $bad = "INSERT INTO shop.orders (customer, placed_at) VALUES ('c' || n % 200, lifecycle.now());";
my $change = "UPDATE shop.orders SET amount = amount + 1 WHERE id = n;";
my $till = "INSERT INTO shop.tills (customer, amount, placed_at) VALUES ('t' || n % 200, n, lifecycle.now());";
my $protected = "BEGIN INSERT INTO shop.notes VALUES ('c' || n); EXCEPTION WHEN division_by_zero THEN NULL; END;";

cmp_ok(lookups_while_open('', loop(100, $protected)), '>', 50, 'the measure shows a transaction with 100 subtransactions of its own');
is(lookups_while_open('', loop(60, $protected)), '0', 'and none with 60');

is(lookups_while_open('', loop(300, $order)), '0', '300 orders, statement by statement');
is(lookups_while_open('', loop(30, $protected) . loop(300, $order)), '0', '300 orders in a transaction with 30 subtransactions of its own');
is(lookups_while_open('', loop(100, "$order $change")), '0', '100 orders that are changed at once');
is(lookups_while_open('', loop(300, $bad)), '0', '300 orders that go into quarantine');
is(lookups_while_open('', loop(300, $till)), '0', '300 orders of an asynchronous source');
is(lookups_while_open('SET lifecycle.settle = commit;', loop(300, $order)), '0', '300 orders settled at commit');
is(lookups_while_open("SET lifecycle.settle = commit; SET lifecycle.settle_memory = '64kB';", loop(1000, $order)), '0', '1,000 orders, settled in several goes');
is(lookups_while_open('SET session_replication_role = replica;', loop(300, $order) . 'UPDATE shop.orders SET amount = amount + 1;'), '0', 'orders in replica mode, row by row');
# Everything that fails: halving what is at fault must not become a thousand subtransactions.
$node->safe_psql('shop', <<~'SQL');
	CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation; END $$;
	CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON lifecycle.outbox FOR EACH ROW WHEN (NEW.customer_id ~ '^c.*[05]$') EXECUTE FUNCTION shop.refuse();
	SQL
is(lookups_while_open('', loop(300, $order)), '0', '300 orders of which each fifth fails');
is(lookups_while_open('SET lifecycle.settle = commit;', loop(300, $order)), '0', 'the same, settled at commit');
$node->safe_psql('shop', 'DROP FUNCTION shop.refuse CASCADE');

# And with all that nothing is lost.
$node->safe_psql('shop', "$clock UPDATE shop.orders SET amount = 1 WHERE amount IS NULL; SELECT lifecycle.replay_quarantine(); SELECT lifecycle.tick()");
is_none($node, 'shop', <<~SQL, 'every order counts once');
	WITH said AS (SELECT customer, id::text, amount FROM shop.orders UNION ALL SELECT customer, 't' || id, amount FROM shop.tills),
	     known AS (SELECT customer_id, id, amount FROM lifecycle.purchase)
	(TABLE said EXCEPT ALL TABLE known) UNION ALL (TABLE known EXCEPT ALL TABLE said)
	SQL
is($node->safe_psql('shop', 'SELECT count(*) FROM lifecycle.quarantine'), '0', 'nothing is left in quarantine');
$node->stop;
done_testing();
