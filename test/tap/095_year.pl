# A simulated year across time zones, clock changes and a leap day: customers order, leave carts, consent, click, review and wish, a worker
# wakes up at every instant at which something is due, a mailer claims and sends at once. year_oracle.py works out from the facts and the
# documented rules what must have been decided and sent, and every row is compared. Then no message may have broken a gate.
#
#   LIFECYCLE_SEED=n       repeats a run
#   LIFECYCLE_CUSTOMERS=n  how many customers live through the year (40)
#
# All scenarios of the playbook are active, with quiet hours, a send window and a holdout besides. Left to other tests: merged and
# erased customers, points, tiers with a period, referrals, facts that arrive late or are taken back (but for wishes).

use strict;
use warnings FATAL => 'all';

use File::Basename;
use IPC::Run ();
use JSON::PP;
use Lifecycle;
use Test::More;
use Time::Local 'timegm';

my $oracle = dirname(__FILE__) . '/year_oracle.py';
plan skip_all => '/usr/bin/python3 with zoneinfo is not there' if system('/usr/bin/python3 -c "import zoneinfo" 2>/dev/null') != 0;

my $seed = seed(20_280_229);
my $many = $ENV{LIFECYCLE_CUSTOMERS} || 40;
my ($start, $end) = (timegm(0, 0, 9, 15, 8, 2027), timegm(0, 0, 9, 15, 8, 2028));
my ($hour, $day) = (3600, 86_400);
my @zones = qw(Europe/Berlin America/New_York Asia/Kathmandu Australia/Lord_Howe America/Havana UTC Pacific/Apia);

# Nights in which clocks change somewhere, and the leap day.
my @nights = map { timegm(0, @$_) } [ 0, 1, 31, 9, 2027 ], [ 30, 5, 7, 10, 2027 ], [ 30, 0, 26, 2, 2028 ], [ 30, 6, 12, 2, 2028 ],
  [ 0, 15, 1, 3, 2028 ], [ 0, 12, 29, 1, 2028 ];

srand($seed);

# Facts

my (@facts, %taken, @customers);

# Some time of the year; at times such that what counts days from it falls into such a night.
sub some_time
{
	return int($start + $hour + rand($end - $start - $hour)) if chance(0.85);
	my $t = pick(@nights) + int(rand 7200) - pick(0, 2, 5, 7, 14, 21, 30, 60, 90) * $day;
	return $t > $start + $hour ? $t : $t + 90 * $day;
}

sub say_fact
{
	my ($customer, $t, $kind, %properties) = @_;
	$t = int $t;
	return if $t <= $start + $hour || $t >= $end;
	++$t while $taken{$customer}{$t}++;
	push @facts, { customer => $customer, at => iso($t), kind => $kind, properties => \%properties, t => $t };
	return;
}

sub iso { my @t = gmtime shift; return sprintf '%04d-%02d-%02dT%02d:%02d:%02d+00:00', $t[5] + 1900, $t[4] + 1, @t[ 3, 2, 1, 0 ]; }

my $number = 0;

sub order
{
	my ($customer, $t, @cart) = @_;
	my $id = ++$number;
	my $amount = pick(15, 40, 120, 450, 900, 4200);
	say_fact($customer, $t, 'order', order => "$id", amount => $amount, @cart);
	say_fact($customer, $t + $day * (1 + rand 6), 'delivery', order => "$id") for 1 .. pick(0, 1, 1, 1, 2);
	say_fact($customer, $t + $day * (1 + rand 20), 'refund', refund => 'r' . $id, order => "$id", amount => $amount) if chance(0.1);
	say_fact($customer, $t + $day * (2 + rand 30), 'review', review => "v$id", rating => 1 + int rand 5) if chance(0.4);
	say_fact($customer, $t + $day * (2 + rand 40), 'review', review => "v$id", rating => 1 + int rand 5) if chance(0.2);
	return;
}

sub cart
{
	my ($customer, $t) = @_;
	my $cart = 'k' . ++$number;
	for (1 .. pick(1, 1, 1, 2, 3))
	{
		say_fact($customer, $t, 'cart', cart => $cart, value => pick(20, 60, 200));
		$t += pick(10 * 60, 30 * 60, 2 * $hour, 30 * $hour);
	}
	return order($customer, $t, chance(0.5) ? (cart => $cart) : ()) if chance(0.4);
	say_fact($customer, $t, 'cart', cart => $cart, value => 0) if chance(0.3);
	return;
}

for my $i (1 .. $many)
{
	my $c = sprintf 'c%03d', $i;
	my $born = chance(0.2) ? '1992-02-29' : chance(0.8) ? sprintf('19%02d-%02d-%02d', 50 + rand 50, 1 + rand 12, 1 + rand 28) : undef;
	push @customers, { id => $c, zone => pick(@zones), born => $born };
	push @facts, { customer => $c, at => iso($start + $i), kind => 'customer', t => $start + $i,
		properties => { email => "$c\@example.org", time_zone => $customers[-1]{zone}, $born ? (birthday => $born) : () } };
	say_fact($c, $start + $hour + rand(30 * $day), 'consent', channel => 'email', status => 'granted') if chance(0.85);
	if ($i % 10 == 0)    # reads a letter and is never seen again
	{
		say_fact($c, $start + 30 * $day + rand(60 * $day), 'engagement', type => 'open');
		next;
	}
	say_fact($c, some_time(), 'consent', channel => 'email', status => pick(qw(granted revoked pending))) for 1 .. pick(0, 0, 1, 2);
	say_fact($c, some_time(), 'consent', channel => 'ads', status => pick(qw(granted granted revoked))) for 1 .. pick(0, 1, 2);
	order($c, some_time()) for 1 .. pick(0, 1, 2, 4, 8);
	cart($c, some_time()) for 1 .. pick(0, 1, 3, 6);
	# Most read for a while and then no more.
	my ($from, $to) = sort { $a <=> $b } some_time(), some_time();
	say_fact($c, $from + rand($to - $from + 1), 'engagement', type => pick(qw(open open click))) for 1 .. pick(0, 2, 5, 10);
	say_fact($c, some_time(), 'engagement', type => 'visit') for 1 .. pick(0, 0, 2, 6);
	say_fact($c, some_time(), 'engagement', type => 'bounce') if chance(0.05);
	for (1 .. pick(0, 1, 2))
	{
		my ($t, $product) = (some_time(), 'p' . ++$number);
		say_fact($c, $t, 'wishlist', product => $product);
		say_fact($c, $t + $day * (1 + rand 10), 'order_item', order => 'none', line => "l$number", product => $product, amount => 1) if chance(0.3);
		if (chance(0.2))
		{
			my $later = $t + $day * (1 + rand 10);
			say_fact($c, $later, 'engagement', type => 'visit');    # so that the wish was not the last sign of life
			say_fact($c, $later + 60, 'unwish', product => $product);
		}
	}
}
@facts = sort { $a->{t} <=> $b->{t} || $a->{customer} cmp $b->{customer} } @facts;

# The year

my $node = new_cluster('year', conf => "lifecycle.worker = off\njit = off");
new_shop($node, 'year', clock => iso($start));
my $json = JSON::PP->new->canonical;
my $facts = $json->encode(\@facts);
$node->safe_psql('year', <<~SQL);
	SET lifecycle.clock = '${\ iso($start)}';
	UPDATE lifecycle.channel SET quiet_from = '21:30', quiet_until = '07:15' WHERE name = 'email';
	UPDATE lifecycle.scenario SET trigger = 'date:2027-11-26' WHERE name = 'season';
	UPDATE lifecycle.scenario SET holdout = 0.3 WHERE name = 'win_back';
	UPDATE lifecycle.step SET send_days = '{mon,tue,wed,thu,fri}', send_from = '09:00', send_until = '18:00' WHERE (scenario, position) = ('win_back', 2);
	UPDATE lifecycle.scenario SET status = 'active';
	CREATE SCHEMA sim;
	CREATE TABLE sim.fact (n int GENERATED ALWAYS AS IDENTITY, at timestamptz, customer text, kind text, properties jsonb);
	INSERT INTO sim.fact (at, customer, kind, properties)
	    SELECT f.at, f.customer, f.kind, f.properties FROM ROWS FROM (jsonb_to_recordset('$facts') AS (at timestamptz, customer text, kind text, properties jsonb)) WITH ORDINALITY AS f (at, customer, kind, properties, n) ORDER BY f.n;
	CREATE PROCEDURE sim.send() LANGUAGE plpgsql AS \$\$
	DECLARE ids bigint[]; token bigint;
	BEGIN
	    IF EXISTS (SELECT FROM lifecycle.outbox WHERE part < 1000 AND status = 'pending') THEN
	        SELECT array_agg(message_id), min(lease_token) INTO ids, token FROM lifecycle.claim(1000);
	        PERFORM lifecycle.ack(ids, token);
	        PERFORM lifecycle.tick();
	    END IF;
	END \$\$;
	CREATE PROCEDURE sim.live(until timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE due timestamptz;
	BEGIN
	    LOOP
	        SELECT min(t.due_at) INTO due FROM lifecycle.timer AS t;
	        EXIT WHEN due > until OR due IS NULL;
	        PERFORM set_config('lifecycle.clock', due::text, false);
	        PERFORM lifecycle.tick();
	        CALL sim.send();
	        COMMIT;
	    END LOOP;
	END \$\$;
	CREATE PROCEDURE sim.happen(f sim.fact) LANGUAGE plpgsql AS \$\$
	BEGIN
	    IF f.kind = 'order' AND NOT f.properties ? 'cart' THEN
	        INSERT INTO shop.orders (id, customer, amount, placed_at) VALUES ((f.properties ->> 'order')::bigint, f.customer, (f.properties ->> 'amount')::numeric, f.at);
	    ELSIF f.kind = 'unwish' THEN
	        PERFORM lifecycle.untrack(f.customer, 'wishlist', f.properties);
	    ELSE
	        PERFORM lifecycle.track(f.customer, f.kind, f.properties, f.at);
	    END IF;
	END \$\$;
	CREATE PROCEDURE sim.year() LANGUAGE plpgsql AS \$\$
	DECLARE f sim.fact;
	BEGIN
	    FOR f IN SELECT * FROM sim.fact ORDER BY n LOOP
	        CALL sim.live(f.at);
	        PERFORM set_config('lifecycle.clock', f.at::text, false);
	        CALL sim.happen(f);
	        CALL sim.send();
	        COMMIT;
	    END LOOP;
	    CALL sim.live('${\ iso($end)}'::timestamptz - interval '1 second');
	END \$\$;
	SQL
$node->safe_psql('year', 'CALL sim.year()');
is_none($node, 'year', 'SELECT source, sqlstate, message, data FROM lifecycle.quarantine', 'no fact was refused');

# What must have come of it

my $config = $node->safe_psql('year', <<~'SQL');
	CREATE FUNCTION sim.span(i interval) RETURNS jsonb LANGUAGE sql RETURN CASE WHEN i IS NOT NULL THEN jsonb_build_array(
	    extract(year FROM i)::int * 12 + extract(month FROM i)::int, extract(day FROM i)::int, extract(hour FROM i)::int * 3600 + extract(minute FROM i)::int * 60 + extract(second FROM i)::int) END;
	CREATE FUNCTION sim.minute(t time) RETURNS int LANGUAGE sql RETURN extract(epoch FROM t)::int / 60;
	SELECT jsonb_build_object(
	    'tiers', (SELECT jsonb_agg(jsonb_build_object('name', t.name, 'min_spend', t.min_spend) ORDER BY t.rank) FROM lifecycle.tier AS t),
	    'channels', (SELECT jsonb_object_agg(c.name, jsonb_build_object('consent', c.consent,
	            'caps', (SELECT coalesce(jsonb_agg(jsonb_build_array(k.hours, k.cap)), '[]') FROM (VALUES (24, c.cap_per_day), (168, c.cap_per_week), (720, c.cap_per_month)) AS k (hours, cap) WHERE k.cap IS NOT NULL),
	            'quiet', CASE WHEN c.quiet_from IS NOT NULL THEN jsonb_build_array(sim.minute(c.quiet_from), sim.minute(c.quiet_until)) END)) FROM lifecycle.channel AS c),
	    'scenarios', (SELECT jsonb_agg(jsonb_build_object('name', s.name, 'trigger', split_part(s.trigger, ':', 1), 'argument', split_part(s.trigger, ':', 2),
	            'goal', s.goal, 'exit_when', s.exit_when, 'exclusion', s.exclusion, 'reentry', s.reentry,
	            'every', CASE WHEN s.reentry LIKE 'every %' THEN sim.span(substr(s.reentry, 7)::interval) END,
	            'max_age', sim.span(s.max_age), 'holdout', (s.holdout * 10000)::int, 'priority', s.priority,
	            'steps', (SELECT jsonb_agg(jsonb_build_object('position', t.position, 'counts_from', t.counts_from, 'delay', sim.span(t.delay), 'not_after', sim.span(t.not_after),
	                    'condition', t.condition, 'channel', t.channel, 'class', t.class,
	                    'window', jsonb_build_array(coalesce(sim.minute(t.send_from), 0), coalesce(sim.minute(t.send_until), 1440),
	                        (SELECT jsonb_agg(d.n - 1) FROM unnest(ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']) WITH ORDINALITY AS d (day, n) WHERE d.day = ANY (t.send_days) OR t.send_days IS NULL)),
	                    'variants', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', v.name, 'weight', v.weight) ORDER BY v.name), '[]') FROM lifecycle.variant AS v WHERE (v.scenario, v.position) = (t.scenario, t.position)))
	                    ORDER BY t.position) FROM lifecycle.step AS t WHERE t.scenario = s.name)) ORDER BY s.name) FROM lifecycle.scenario AS s WHERE s.entry_filter IS NULL))
	SQL
my $world = '{"config": ' . $config . ', "until": "' . iso($end) . '", "customers": ' . $json->encode(\@customers) . ', "facts": ' . $facts . '}';
my ($expected, $errors) = ('', '');
IPC::Run::run([ '/usr/bin/python3', $oracle ], '<', \$world, '>', \$expected, '2>', \$errors);
is($errors, '', 'the oracle has no doubts');

my $found = $node->safe_psql('year', <<~'SQL');
	SET timezone = 'UTC';
	SELECT concat_ws('|', 'decision', customer_id, scenario, anchor, position, outcome, coalesce(reason, ''), decided_at) FROM lifecycle.enrolment_step
	UNION ALL
	SELECT concat_ws('|', 'message', customer_id, scenario, anchor, step, coalesce(variant, ''), status, due_at, coalesce(sent_at, created_at)) FROM lifecycle.outbox
	UNION ALL
	SELECT concat_ws('|', 'enrolment', customer_id, scenario, anchor, status, coalesce(end_reason, '')) FROM lifecycle.enrolment
	SQL
my @expected = split /\n/, $expected;
my @found = split /\n/, $found;
my %balance;
++$balance{$_} for @expected;
--$balance{$_} for @found;
my @wrong = map { ($balance{$_} > 0 ? 'missing: ' : 'too much: ') . $_ } sort { substr($a, index $a, '|') cmp substr($b, index $b, '|') } grep { $balance{$_} } keys %balance;
is(join("\n", grep { defined } @wrong[ 0 .. 29 ]), '', "seed $seed: every decision, message and enrolment, row by row");
my %messages;
/^message\|[^|]+\|([^|]+)/ and ++$messages{$1} for @found;
diag(scalar(@facts) . ' facts, ' . scalar(@found) . ' rows; messages: ' . join(', ', map { "$_ $messages{$_}" } sort keys %messages));
is(join(' ', grep { !$messages{$_} } split /\n/, $node->safe_psql('year', 'SELECT name FROM lifecycle.scenario')), '', 'every scenario has sent something')
  if $many >= 40;

# No message has broken a gate

my $sent = <<~'SQL';
	WITH sent AS (SELECT o.*, c.time_zone, h.consent, h.cap_per_day, h.cap_per_week, h.quiet_from, h.quiet_until
	                FROM lifecycle.outbox AS o JOIN lifecycle.customer AS c USING (customer_id) JOIN lifecycle.channel AS h ON h.name = o.channel
	               WHERE o.status = 'sent')
	SQL
my $marketing = "SELECT s.customer_id, s.scenario, s.anchor, s.step, s.sent_at FROM sent AS s WHERE s.class = 'marketing' AND ";
is_none($node, 'year', "$sent $marketing s.consent IS NOT NULL AND (SELECT l.status FROM lifecycle.consent_log AS l WHERE l.customer_id = s.customer_id"
	  . " AND l.channel = s.consent AND l.changed_at <= s.sent_at ORDER BY l.changed_at DESC LIMIT 1) IS DISTINCT FROM 'granted'", 'nobody got marketing without consent');
for my $cap ([ 'cap_per_day', '24 hours' ], [ 'cap_per_week', '168 hours' ])
{
	is_none($node, 'year', "$sent $marketing s.$cap->[0] < (SELECT count(*) FROM sent AS o WHERE o.customer_id = s.customer_id AND o.channel = s.channel AND o.class = 'marketing'"
		  . " AND o.sent_at > s.sent_at - interval '$cap->[1]' AND o.sent_at <= s.sent_at)", "nor more than $cap->[0]");
}
is_none($node, 'year', "$sent $marketing s.quiet_from IS NOT NULL AND ((s.sent_at AT TIME ZONE s.time_zone)::time >= s.quiet_from OR (s.sent_at AT TIME ZONE s.time_zone)::time < s.quiet_until)",
	'nor in quiet hours');
is_none($node, 'year', "$sent $marketing s.scenario = 'win_back' AND s.step = 2 AND (extract(isodow FROM s.sent_at AT TIME ZONE s.time_zone) > 5"
	  . " OR (s.sent_at AT TIME ZONE s.time_zone)::time NOT BETWEEN '09:00' AND '18:00')", 'nor outside the send window');
is_none($node, 'year', "$sent $marketing s.scenario = 'wishlist' AND EXISTS (SELECT FROM lifecycle.purchase AS p WHERE p.customer_id = s.customer_id AND p.kind = 'order'"
	  . " AND p.at <= s.sent_at AND p.at > s.sent_at - interval '13 days 22 hours')", 'nor while excluded');
is_none($node, 'year', "$sent SELECT s.* FROM sent AS s JOIN lifecycle.enrolment AS e USING (customer_id, scenario, anchor) WHERE e.status = 'exited' AND s.sent_at > e.ended_at",
	'nothing went out after its reason had gone');
is_none($node, 'year', "$sent SELECT s.* FROM sent AS s WHERE s.sent_at < s.due_at OR s.sent_at >= s.expires_at", 'before or after its window');
is_none($node, 'year', "$sent SELECT customer_id, scenario, anchor, step FROM sent GROUP BY 1, 2, 3, 4 HAVING count(*) > 1", 'or twice');
# Since when somebody is in a segment that asks about consents or carts, the facts that are kept do not tell.
is_none($node, 'year', "SET lifecycle.clock = '${\ iso($end)}'; SELECT * FROM lifecycle.verify() WHERE what <> 'segments'", 'and what is kept is what the facts say');

$node->stop;
done_testing();
