# A year and a bit on the frozen clock, in Berlin and New York: across both changes of the clock in each and a 29 February, the history is what the predicates mean,
# written once more as plain SQL with each customer's own zone in force, at every local midnight, every hour around the changes, and a microsecond before each.
# What is random is in 085; here are the segments that shops have.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use Test::More;

my $from = '2027-10-01 00:00+00';
my $until = '2028-11-10 00:00+00';
my $node = new_cluster('year', conf => "lifecycle.worker = off\nlifecycle.clock = '$from'");
my $db = 'postgres';

# Each predicate, and what it means at the instant t of a customer with the orders first, last, n and a birthday.
my %segments = (
	two_months => [ "last_order_at > now() - interval '60 days'", "t < last + interval '60 days'" ],
	a_month    => [ "now() - last_order_at < interval '1 month'", "t < last + interval '1 month'" ],
	hours      => [ "last_order_at > now() - interval '36 hours'", "t < last + interval '36 hours'" ],
	yesterday  => [ "last_order_at::date = CURRENT_DATE - 1", "last::date = t::date - 1" ],
	this_week  => [ "last_order_at >= date_trunc('week', now())", "last >= date_trunc('week', t)" ],
	this_month => [ "last_order_at >= date_trunc('month', now())", "last >= date_trunc('month', t)" ],
	two_lately => [ "orders_within('90 days') >= 2", "lately >= 2" ],
	birthday   => [ "is_birthday()", "shop.celebrates(born, t::date)" ],
	birthweek  => [ "is_birthday('7 days')", "EXISTS (SELECT FROM generate_series(0, 7) AS d WHERE shop.celebrates(born, t::date + d) AND t >= (t::date + d)::timestamptz - interval '7 days')" ],
	jubilee    => [ "is_anniversary(first_order_at::date)", "shop.celebrates(first::date, t::date) AND t::date > first::date" ],
	in_spring  => [ "now() >= '2028-03-01' AND now() < '2028-06-01'", "t >= '2028-03-01 00:00+00' AND t < '2028-06-01 00:00+00'" ],
	recent     => [ "rfm_recency() >= 4", "t < last + interval '45 days'" ]);
my @names = sort keys %segments;

$node->safe_psql($db, <<~SQL);
	CREATE EXTENSION pg_lifecycle;
	CREATE SCHEMA shop;
	CREATE TABLE shop.customers (id text PRIMARY KEY, zone text, born date);
	CREATE TABLE shop.orders (id int PRIMARY KEY, customer text, total numeric, at timestamptz);
	CREATE TABLE shop.planned AS
	    -- At the very hours that come twice or never, at ends of months, on 29 February; else at any time.
	    SELECT n AS id, 'c' || n % 24 AS customer, 10 AS total,
	           CASE WHEN n % 3 = 0 THEN (ARRAY['2027-10-31 00:30+00', '2027-10-31 01:30+00', '2027-11-07 05:30+00', '2027-11-07 06:30+00', '2028-01-31 12:00+00', '2028-02-29 12:00+00',
	                                         '2028-03-12 07:30+00', '2028-03-26 01:00+00', '2028-02-01 00:00+00', '2027-12-29 23:59:59+00']::timestamptz[])[1 + n / 3 % 10]
	                ELSE timestamptz '2027-10-01' + (n * 7919 % 40000) / 40000.0 * interval '400 days' END AS at
	      FROM generate_series(1, 150) AS n;
	CREATE FUNCTION shop.celebrates(birthday date, day date) RETURNS boolean LANGUAGE sql IMMUTABLE AS \$\$
	    SELECT to_char(day, 'MMDD') = to_char(birthday, 'MMDD')
	        OR (to_char(birthday, 'MMDD') = '0229' AND to_char(day, 'MMDD') = '0228' AND to_char(day + 1, 'MMDD') = '0301')
	\$\$;
	SELECT lifecycle.attach('shop.customers', 'customer', '{"customer": "id", "time_zone": "zone", "birthday": "born"}');
	SELECT lifecycle.attach('shop.orders', 'order', '{"order": "id", "customer": "customer", "amount": "total", "placed_at": "at"}');
	INSERT INTO lifecycle.rfm_threshold (score, recency) VALUES (4, '45 days'), (5, '10 days');
	@{[ map { "INSERT INTO lifecycle.segment (name, predicate) VALUES ('$_', \$\$$segments{$_}[0]\$\$);\n" } @names ]}
	INSERT INTO shop.customers
	    SELECT 'c' || n, CASE n % 2 WHEN 0 THEN 'Europe/Berlin' ELSE 'America/New_York' END,
	           (ARRAY['1992-02-29', '1990-03-26', '1990-10-31', '1990-11-07', '1990-12-31', '1990-03-12']::date[])[1 + n / 2 % 6]
	      FROM generate_series(0, 23) AS n;
	SQL

# Day by day, but for two weeks in which nobody looks: the worker was down.
my $script = $node->safe_psql($db, <<~SQL);
	SELECT format('SET lifecycle.clock = %L; INSERT INTO shop.orders SELECT * FROM shop.planned WHERE at >= %L AND at < %L; %s',
	              d + interval '1 day', d, d + interval '1 day', CASE WHEN d::date BETWEEN '2028-02-20' AND '2028-03-05' THEN '' ELSE 'SELECT lifecycle.tick();' END)
	  FROM generate_series(timestamptz '$from', timestamptz '$until' - interval '1 day', interval '1 day') AS d
	SQL
$node->safe_psql($db, $script);
is_none($node, $db, 'SELECT * FROM lifecycle.problem', 'no predicate has raised an error');
is_none($node, $db, 'SELECT * FROM lifecycle.quarantine', 'nothing in quarantine');

for my $zone ('Europe/Berlin', 'America/New_York')
{
	my $meanings = join ', ', map { "('$_', coalesce($segments{$_}[1], false))" } @names;
	my $out = $node->safe_psql($db, <<~SQL);
		SET timezone = '$zone';
		SET jit = off;
		CREATE TEMP TABLE grid AS
		    SELECT DISTINCT c.id, c.born, g.t - e.n * interval '1 microsecond' AS t
		      FROM shop.customers AS c, generate_series(0, 1) AS e (n),
		           LATERAL (SELECT (d::date)::timestamptz FROM generate_series(date '2027-10-02', date '2028-11-08', interval '1 day') AS d
		                    UNION ALL
		                    SELECT h FROM unnest(ARRAY['2027-10-31', '2027-11-07', '2028-02-29', '2028-03-12', '2028-03-26', '2028-10-29', '2028-11-05']::timestamptz[]) AS x (day),
		                                  generate_series(x.day - interval '6 hours', x.day + interval '1 day', interval '30 minutes') AS h) AS g (t)
		     WHERE c.zone = '$zone';
		CREATE TEMP TABLE expected AS
		    SELECT g.id, g.t, m.segment, m.held
		      FROM grid AS g,
		           LATERAL (SELECT min(o.at) AS first, max(o.at) AS last, count(*) FILTER (WHERE g.t < o.at + interval '90 days') AS lately
		                      FROM shop.planned AS o WHERE o.customer = g.id AND o.at <= g.t) AS o,
		           LATERAL (VALUES $meanings) AS m (segment, held);
		SELECT 'cases ' || count(*) || ' of ' || count(DISTINCT segment) FILTER (WHERE held) FROM expected;
		SELECT format('%s %s at %s: expected %s', e.segment, e.id, e.t, e.held)
		  FROM expected AS e
		  LEFT JOIN lifecycle.segment_history AS h
		    ON h.customer_id = e.id COLLATE "C" AND h.segment = e.segment COLLATE "C" AND h.entered_at <= e.t AND e.t < coalesce(h.left_at, 'infinity')
		 WHERE e.held <> (h.segment IS NOT NULL)
		 ORDER BY 1 LIMIT 10;
		SQL
	like($out, qr/^cases (\d{6,}) of ${\scalar @names}/, "$zone: enough cases, and each segment has had members");
	$out =~ s/^cases.*\n?//;
	is($out, '', "$zone: the history of a year is that of the predicates");
}
is_none($node, $db, "SET lifecycle.clock = '$until'; SELECT * FROM lifecycle.verify()", 'the books are right');
$node->stop;
done_testing();
