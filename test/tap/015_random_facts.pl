# Random histories of the other kinds of fact: a shop whose orders cost the sum of lines that name no customer, with carts, visits, parcels
# and reviews, changed by several sessions at once; then everything is compared with plain SQL over the shop's tables.
#
#   LIFECYCLE_SEED=n, LIFECYCLE_HISTORIES=n  as in the random histories of orders

use strict;
use warnings FATAL => 'all';

use Facts;
use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $histories = $ENV{LIFECYCLE_HISTORIES} || 4;
my $seed = seed(20_260_302);
my $rounds = 8;
my $sessions = 3;
my $clock;

sub script { return "SET lifecycle.clock = '$clock';\n" . join '', map { chance(0.1) ? "SELECT lifecycle.tick();\n" : transaction() } 1 .. 5 + rand 8; }

my $node = new_cluster('facts', conf => 'lifecycle.worker = off');
for my $history (1 .. $histories)
{
	srand($seed + $history - 1);
	my $db = "facts$history";
	$clock = '2026-01-01 00:00:00+00';
	begin_history(0, 1);
	create_shop($node, $db);
	attach_shop($node, $db, $clock, 'sync');
	for my $round (1 .. $rounds)
	{
		my @scripts = map { script() } 1 .. $sessions;
		my $hours = pick(1 + rand 6, 24, 10 * 24, 30 * 24);
		my (@errors, $broken);
		my @running = map { script_session($node, $db, $_) } @scripts;
		for my $session (@running)
		{
			for my $error (finish_session($session))
			{
				$broken = 1 if $error->[0] =~ /^40(P01|001)$/;
				push @errors, "@$error" unless $error->[0] =~ /^40(P01|001)$/ || ($broken && $error->[0] =~ /^(25P02|3B001)$/);
			}
		}
		my $name = "seed $seed, history $history, round $round";
		my $right = is(join("\n", @errors), '', "$name: no error");
		$right &= is_none($node, $db, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2", "$name: as they meet");
		$right &= is_none($node, $db, "SELECT source, message, data FROM lifecycle.quarantine WHERE sqlstate NOT IN ('22003', '22023')", "$name: quarantine");
		last unless $right;
		$clock = $node->safe_psql($db, "SELECT '$clock'::timestamptz + interval '1 minute' * " . int(60 * $hours));
		$node->safe_psql($db, "SET lifecycle.clock = '$clock'; SELECT lifecycle.tick()");
		last unless is_none($node, $db, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2", "$name: after the tick");
	}
	$node->safe_psql($db, "SET lifecycle.clock = '$clock'; SELECT lifecycle.rebuild()");
	is_none($node, $db, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2", "seed $seed, history $history: rebuilt");
	$node->safe_psql($db, 'DROP EXTENSION pg_lifecycle CASCADE');
	attach_shop($node, $db, $clock, 'sync');
	is_none($node, $db, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2", "seed $seed, history $history: backfilled");
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

$node->stop;
done_testing();
