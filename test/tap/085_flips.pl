# Random predicates, customers and instants: what the history says is compared with the predicate itself, written once more as plain SQL
# over the shop's tables and evaluated instant by instant: a microsecond before, at and after everything it could turn on, and at every
# midnight of every customer.
#
#   LIFECYCLE_SEED=n    repeats a run
#   LIFECYCLE_ROUNDS=n  how many rounds; each is about 150,000 cases in five seconds (7 for a million)

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use Test::More;

my $rounds = $ENV{LIFECYCLE_ROUNDS} || 1;
my $seed = seed(20_260_301);
my $from = '2027-01-10 12:00+00';
my $segments = 20;

# Zones with summer time on either side of the equator, at midnight (Beirut, Havana: the hour from 0 to 1 comes never or twice), by half
# an hour (Lord Howe), and without.
my @zones = qw(UTC Europe/Berlin America/New_York America/Havana Asia/Beirut Australia/Lord_Howe Asia/Kolkata Pacific/Apia);

my @ops = ('<', '<=', '=', '<>', '>=', '>');
my %mirrored = ('<' => '>', '<=' => '>=', '=' => '=', '<>' => '<>', '>=' => '<=', '>' => '<');
my @columns = ('last_order_at', 'first_order_at', 'previous_order_at', 'created_at', 'coalesce(last_order_at, created_at)',
	'greatest(created_at, last_order_at)');
my @spans = ('60 days', '90 days', '30 days', '1 month', '3 months', '36 hours', '1 year', '2 months 3 days 5 hours', '0', '90 minutes', '4 weeks');

sub op { return chance(0.9) ? pick('<', '<=', '>=', '>') : pick(@ops); }

# Each leaf is a predicate as a marketer would write it, and what it means at the instant t.
my @leaves = (
	sub {
		my ($c, $i, $op) = (pick(@columns), pick(@spans), op());
		my $meaning = "t $mirrored{$op} ($c + interval '$i')";
		return [ pick("$c $op now() - interval '$i'", "now() - interval '$i' $mirrored{$op} $c", "$c + interval '$i' $op now()",
				"$c $op (now() - interval '$i')", "age(now(), $c) $mirrored{$op} interval '$i'", "now() - $c $mirrored{$op} interval '$i'",
				"lifecycle.now() $mirrored{$op} interval '$i' + $c"), $meaning ];
	},
	sub {
		my ($c, $i, $op) = (pick(@columns), pick(@spans), op());
		return [ "$c - interval '$i' $op now()", "t $mirrored{$op} ($c - interval '$i')" ] if chance(0.5);
		return [ "$c - now() $op interval '$i'", "t $mirrored{$op} ($c - interval '$i')" ];
	},
	sub {
		my ($c, $i, $j) = (pick(@columns), pick(@spans), pick(@spans));
		return [ "$c BETWEEN now() - interval '$i' AND now() - interval '$j'", "(t <= $c + interval '$i' AND t >= $c + interval '$j')" ];
	},
	sub { return as_it_is(pick(@columns) . "::date " . op() . " TODAY - " . int rand 120); },
	sub { return as_it_is("TODAY - " . pick(@columns) . "::date " . pick(@ops) . ' ' . int rand 120); },
	sub { return as_it_is(pick(@columns) . ' ' . op() . " TODAY - " . int rand 120); },
	sub { return as_it_is(pick(@columns) . ' ' . op() . " date_trunc('" . pick(qw(day week month quarter year hour)) . "', NOW)"); },
	sub { return as_it_is(pick(@columns) . ' ' . op() . " date_trunc('month', NOW - interval '" . int(rand 4) . " months')"); },
	sub { return as_it_is(pick(@columns) . "::date " . op() . " (NOW - interval '" . int(rand 90) . " days')::date"); },
	sub { return as_it_is("(NOW AT TIME ZONE 'Asia/Tokyo')::date " . op() . ' (' . pick(@columns) . " AT TIME ZONE 'Asia/Tokyo')::date + " . int rand 60); },
	sub { return as_it_is("NOW AT TIME ZONE 'Europe/Berlin' " . op() . " timestamp '2027-03-28 02:30' + " . int(rand 200) . " * interval '1 day'"); },
	sub { return as_it_is("NOW::timestamp " . op() . ' ' . pick(@columns) . "::timestamp + interval '" . pick(@spans) . "'"); },
	sub { return as_it_is(pick(@columns) . " >= date_trunc('day', NOW AT TIME ZONE 'Europe/Paris') AT TIME ZONE 'Europe/Paris'"); },
	sub {
		my $years = 18 + int rand 30;
		my $op = op();
		return [ "birthday $op now() - interval '$years years'", "t $mirrored{$op} (birthday + interval '$years years')::timestamptz" ];
	},
	sub { return as_it_is('order_count ' . op() . ' ' . int rand 5); },
	sub { return as_it_is('revenue > ' . int rand 300); },
	sub { return as_it_is("'" . pick(qw(eco vip none)) . "' = ANY (tags)"); },
	sub { my $tag = pick(qw(eco vip none)); return [ "has_tag('$tag')", "coalesce('$tag' = ANY (tags), false)" ]; },
	sub {
		my ($i, $op, $n) = (pick(@spans), pick(@ops), int rand 4);
		return [ "orders_within('$i') $op $n",
			"((SELECT count(*) FROM shop.orders AS o WHERE o.customer = s.id AND o.placed_at <= t AND t < o.placed_at + interval '$i') $op $n)" ];
	},
	sub {
		my ($i, $op, $n) = (pick(@spans), pick('<', '>', '>='), int rand 300);
		return [ "lifecycle.spent_within(interval '$i') $op $n",
			"((SELECT coalesce(sum(o.total), 0) FROM shop.orders AS o WHERE o.customer = s.id AND o.placed_at <= t AND t < o.placed_at + interval '$i') $op $n)" ];
	},
	sub { return [ 'is_birthday()', 'coalesce(shop.celebrates(birthday, t::date), false)' ]; },
	sub {
		my $days = 1 + int rand 40;
		return [ "is_birthday('$days days')",
			"EXISTS (SELECT FROM generate_series(0, $days) AS d WHERE shop.celebrates(birthday, t::date + d)"
			  . " AND t >= (t::date + d)::timestamptz - interval '$days days')" ];
	},
	sub { return [ 'is_anniversary(created_at::date)', 'coalesce(shop.celebrates(created_at::date, t::date) AND t::date > created_at::date, false)' ]; },
);

# Means the same once the instant stands for now.
sub as_it_is
{
	my ($form) = @_;
	my ($written, $meant) = ($form, $form);
	my $today = pick('now()::date', 'CURRENT_DATE');
	$written =~ s/TODAY/$today/g;
	$written =~ s/NOW/pick('now()', 'CURRENT_TIMESTAMP')/ge;
	$meant =~ s/TODAY/t::date/g;
	$meant =~ s/NOW/t/g;
	return [ $written, "($meant)" ];
}

sub predicate
{
	my ($depth, $known) = @_;
	if ($depth == 0 || chance(0.25))
	{
		if (@$known && chance(0.08))
		{
			my $other = int rand @$known;
			return [ "in_segment('s$other')", "coalesce($known->[$other][1], false)" ];
		}
		return pick(@leaves)->();
	}
	my @p = map { predicate($depth - 1, $known) } 1 .. 3;
	my $form = pick('(%1 AND %2)', '(%1 AND %2)', '(%1 OR %2)', '(%1 OR %2)', '(NOT %1)', '(CASE WHEN %1 THEN %2 ELSE %3 END)',
		'coalesce(%1, %2)', '((%1) IS TRUE)', '((%1) IS NOT NULL AND %2)', '((%1) = (%2))', 'coalesce(nullif(%1, %2), %3)');
	my ($written, $meant) = ($form, $form);
	$written =~ s/%(\d)/$p[$1 - 1][0]/g;
	$meant =~ s/%(\d)/$p[$1 - 1][1]/g;
	return [ $written, $meant ];
}

# What there is on record of the first customer that differs.
sub told_of
{
	my ($node, $db, $out) = @_;
	my ($segment, $id) = $out =~ /^(\S+) (\S+) at/ or return '';
	return lines($node, $db, <<~SQL) . "\n";
		SELECT concat_ws(' ', 'customer', c) FROM shop.customers AS c WHERE id = '$id'
		UNION ALL (SELECT concat_ws(' ', 'order', placed_at, total) FROM shop.orders WHERE customer = '$id' ORDER BY placed_at)
		UNION ALL (SELECT concat_ws(' ', segment, entered_at, coalesce(left_at, 'infinity')) FROM lifecycle.segment_history
		            WHERE (customer_id, segment) = ('$id', '$segment') ORDER BY entered_at)
		SQL
}

srand $seed;
note "seed $seed";
my $node = new_cluster('flips', conf => "lifecycle.worker = off\nlifecycle.clock = '$from'");

my $cases = 0;
for my $round (1 .. $rounds)
{
	my $db = "round$round";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	my @known;
	push @known, predicate(2, \@known) for 1 .. $segments;
	my $zone_list = join ', ', map { "'$_'" } @zones;
	my $rows = join ",\n", map { "('s$_', \$p\$$known[$_][0]\$p\$)" } 0 .. $#known;
	my $random = rand;
	$node->safe_psql($db, <<~SQL);
		SELECT setseed($random);
		CREATE EXTENSION pg_lifecycle;
		CREATE SCHEMA shop;
		CREATE TABLE shop.customers (id text PRIMARY KEY, zone text, birthday date, created_at timestamptz, tags text[]);
		CREATE TABLE shop.orders (id int PRIMARY KEY, customer text, total numeric, placed_at timestamptz);
		CREATE INDEX ON shop.orders (customer);
		-- Leap days, ends of months, midnights, the hours around changes of the clock, and anything else.
		INSERT INTO shop.customers
		    SELECT 'c' || n, (ARRAY[$zone_list])[1 + n % @{[ scalar @zones ]}],
		           CASE WHEN n % 5 = 0 THEN NULL WHEN n % 3 = 0 THEN '2004-02-29' ELSE date '1960-01-01' + (random() * 18000)::int END,
		           CASE WHEN n % 7 = 0 THEN NULL WHEN n % 4 = 0 THEN '2026-10-31 22:30+00'
		                ELSE timestamptz '2026-01-01' + random() * interval '370 days' END,
		           CASE n % 3 WHEN 0 THEN ARRAY['eco'] WHEN 1 THEN ARRAY['vip', 'eco'] END
		      FROM generate_series(1, 32) AS n;
		INSERT INTO shop.orders
		    SELECT n, 'c' || (1 + n * 7 % 30), round((random() * 100)::numeric, 2),
		           CASE n % 4 WHEN 0 THEN date_trunc('day', p.at) WHEN 1 THEN date_trunc('hour', p.at) ELSE p.at END
		      FROM generate_series(1, 60) AS n, LATERAL (SELECT timestamptz '2026-02-01' + random() * n * interval '5 days' AS at) AS p;
		DELETE FROM shop.orders WHERE placed_at > '$from';
		SELECT lifecycle.attach('shop.customers', 'customer', '{"customer": "id", "time_zone": "zone", "birthday": "birthday",
		    "created_at": "created_at", "tags": "tags"}');
		SELECT lifecycle.attach('shop.orders', 'order', '{"order": "id", "customer": "customer", "amount": "total", "placed_at": "placed_at"}');
		INSERT INTO lifecycle.segment (name, predicate) VALUES
		$rows;
		CREATE FUNCTION shop.celebrates(birthday date, day date) RETURNS boolean LANGUAGE sql IMMUTABLE AS \$\$
		    SELECT to_char(day, 'MMDD') = to_char(birthday, 'MMDD')
		        OR (to_char(birthday, 'MMDD') = '0229' AND to_char(day, 'MMDD') = '0228'
		            AND extract(day FROM (date_trunc('month', day) + interval '1 month - 1 day')) = 28)
		\$\$;
		SQL

	# A year and more, at an uneven pace: sometimes an order, sometimes nobody looks for months.
	my $script = '';
	my ($day, $order) = (0, 1000);
	while ($day < 420)
	{
		$day += pick(1, 3, 17, 40, 90) + rand;
		$script .= "SET lifecycle.clock = '" . `date -u -d '$from + @{[ int($day * 86400) ]} seconds' '+%Y-%m-%d %H:%M:%S+00'` . "';\n";
		$script .= "SELECT lifecycle.tick();\n" if chance(0.7);
		$script .= "INSERT INTO shop.orders SELECT @{[ $order++ ]}, 'c" . (1 + int rand 30) . "', @{[ int rand 200 ]}, lifecycle.now();\n" if chance(0.7);
		$script .= "INSERT INTO shop.orders SELECT @{[ $order++ ]}, 'c" . (1 + int rand 30) . "', @{[ int rand 200 ]}, lifecycle.now() - interval '@{[ int rand 5 ]} days';\n" if chance(0.2);
	}
	$script .= "SELECT lifecycle.tick();\nCREATE TABLE shop.clock AS SELECT lifecycle.now() AS until;\n";
	$node->safe_psql($db, $script);
	is_none($node, $db, 'SELECT * FROM lifecycle.problem', "round $round: no predicate has raised an error");
	is_none($node, $db, 'SELECT * FROM lifecycle.quarantine', "round $round: nothing in quarantine");

	# The grid of each customer: what could turn something on or off, by any of the spans; all midnights; the hours of clock changes.
	my $span_list = join ', ', map { "interval '$_'" } @spans, '1 day', '2 days', '7 days';
	for my $zone (@zones)
	{
		my $columns = join ",\n", map { "coalesce($known[$_][1], false)" } 0 .. $#known;
		my $names = join ', ', map { "'s$_'" } 0 .. $#known;
		my $query = <<~SQL;
			SET timezone = '$zone'; SET jit = off;
			CREATE TEMP TABLE grid AS
			    SELECT DISTINCT c.id, g.t
			      FROM shop.customers AS c, shop.clock AS k,
			           LATERAL (SELECT a.at + s.span + e.n * interval '1 microsecond' AS t
			                      FROM (SELECT o.placed_at FROM shop.orders AS o WHERE o.customer = c.id UNION ALL SELECT c.created_at) AS a (at),
			                           unnest(ARRAY[$span_list]) AS s (span), generate_series(-1, 1) AS e (n)
			                    UNION ALL
			                    SELECT (d.day::date)::timestamptz + e.n * interval '1 microsecond'
			                      FROM generate_series(date '2027-01-11', date '2028-04-01', interval '1 day') AS d (day), generate_series(-1, 0) AS e (n)
			                    UNION ALL
			                    SELECT h.at FROM unnest(ARRAY['2027-03-14', '2027-03-28', '2027-10-31', '2027-11-07', '2027-04-04', '2027-10-03']::timestamptz[]) AS x (day),
			                           LATERAL generate_series(x.day - interval '6 hours', x.day + interval '1 day', interval '30 minutes') AS h (at)) AS g
			     WHERE c.zone = '$zone' AND g.t > '$from' AND g.t < k.until AND random() < 0.2;
			ANALYZE grid;
			CREATE TEMP TABLE expected AS
			    SELECT s.id, s.t, u.segment, u.held
			      FROM (SELECT g.id, g.t, c.birthday, c.created_at, c.tags, n.* FROM grid AS g JOIN shop.customers AS c USING (id),
			                   LATERAL (SELECT count(*) AS order_count, coalesce(sum(o.total), 0) AS revenue, min(o.placed_at) AS first_order_at,
			                                   max(o.placed_at) AS last_order_at,
			                                   (array_agg(o.placed_at ORDER BY o.placed_at DESC, o.id::text DESC))[2] AS previous_order_at
			                              FROM shop.orders AS o WHERE o.customer = g.id AND o.placed_at <= g.t) AS n) AS s,
			           LATERAL (SELECT ARRAY[$columns] AS held) AS h,
			           LATERAL unnest(ARRAY[$names], h.held) AS u (segment, held);
			SELECT 'cases ' || count(*) FROM expected;
			SELECT format('%s %s at %s (%s): expected %s', e.segment, e.id, e.t, e.t AT TIME ZONE 'UTC', e.held)
			  FROM expected AS e
			  LEFT JOIN lifecycle.segment_history AS h
			    ON h.customer_id = e.id COLLATE "C" AND h.segment = e.segment COLLATE "C" AND h.entered_at <= e.t AND e.t < coalesce(h.left_at, 'infinity')
			 WHERE e.held <> (h.segment IS NOT NULL)
			 ORDER BY e.segment, e.id, e.t LIMIT 5;
			SQL
		my ($rc, $out, $err) = $node->psql($db, $query, on_error_stop => 1);
		is($err, '', "round $round, $zone: the oracle runs") or diag explain \@known;
		$cases += $1 if $out =~ s/^cases (\d+)\n?//;
		is($out, '', "round $round, $zone: the history is that of the predicates")
		  or diag told_of($node, $db, $out), join "\n", map { "s$_: $known[$_][0]\n    means $known[$_][1]" } grep { $out =~ /^s$_ /m } 0 .. $#known;
	}
	$node->safe_psql('postgres', "DROP DATABASE $db");
}
cmp_ok($cases, '>', 50_000 * $rounds, "enough cases");
note "$cases cases";
$node->stop;
done_testing();
