# Thousands of short random histories of all kinds of fact, each with customers of its own and in a mode of its own: taken in with each
# statement, at commit, row by row as replication does, or by the inbox; then everything is compared with plain SQL over the shop's tables.
#
#   LIFECYCLE_SEED=n, LIFECYCLE_HISTORIES=n  as in the random histories of orders; here 500 for each of them

use strict;
use warnings FATAL => 'all';

use Facts;
use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $histories = 500 * ($ENV{LIFECYCLE_HISTORIES} || 4);
my $seed = seed(20_260_303);
my $parts = 4;
my %settings = (
	statement => "lifecycle.settle = 'statement'",
	commit    => "lifecycle.settle = 'commit'",
	row       => 'session_replication_role = replica');

my $node = new_cluster('many', conf => "lifecycle.worker = off\nfsync = off");
for my $mode (qw(sync async))
{
	my $clock = '2026-01-01 00:00:00+00';
	create_shop($node, $mode);
	attach_shop($node, $mode, $clock, $mode);
	for my $part (1 .. $parts)
	{
		my $script = "SET lifecycle.clock = '$clock';\n";
		for my $n (1 .. $histories / $parts / 2)
		{
			my $history = $part * 10_000 + $n;
			srand($seed + $history);
			begin_history($history, 0);
			my $setting = pick(sort keys %settings);
			$script .= "-- history $history: $setting\nRESET session_replication_role; SET $settings{$setting};\n";
			$script .= transaction() for 1 .. 3 + rand 8;
		}
		my $name = "seed $seed, $mode, part $part";
		my @errors = finish_session(script_session($node, $mode, $script));
		is(join("\n", map { "@$_" } @errors), '', "$name: no error");
		$node->safe_psql($mode, "SET lifecycle.clock = '$clock'; SELECT lifecycle.tick()");
		is_none($node, $mode, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2 LIMIT 20", "$name: as they came");
		is_none($node, $mode, "SELECT source, message, data FROM lifecycle.quarantine WHERE sqlstate NOT IN ('22003', '22023') LIMIT 5", "$name: quarantine");
		is($node->safe_psql($mode, 'SELECT count(*) FROM lifecycle.inbox'), '0', "$name: nothing waits");
		$clock = $node->safe_psql($mode, "SELECT '$clock'::timestamptz + interval '1 hour' * " . pick(1, 24, 10 * 24, 30 * 24));
		$node->safe_psql($mode, "SET lifecycle.clock = '$clock'; SELECT lifecycle.tick()");
		is_none($node, $mode, "SELECT * FROM oracle.wrong('$clock') ORDER BY 1, 2 LIMIT 20", "$name: as time passes");
	}
	# But for since when somebody has been known of whom the first facts were withdrawn: history keeps that, and facts do not tell.
	is_none($node, $mode, "SET lifecycle.clock = '$clock'; SELECT * FROM lifecycle.verify() WHERE what <> 'segments' LIMIT 5", "seed $seed, $mode: verified");
}

$node->stop;
done_testing();
