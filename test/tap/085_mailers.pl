# Mailers at work: those of examples/, as a role that may send and nothing else, against a real SMTP server. First how each behaves, then
# all at once with a plain psql loop beside them, while mailers and the server are killed and some mails take longer than their lease.
# LIFECYCLE_CHAOS=20 makes the second part twenty times as long.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $mailer = $ENV{LIFECYCLE_MAILER} // '';
my $node_mailer = $ENV{LIFECYCLE_NODE_MAILER} // '';
my $long = $ENV{LIFECYCLE_CHAOS} || 1;
plan skip_all => 'the mailer of examples/mailer has not been built' unless -x $mailer;
plan skip_all => 'python3-aiosmtpd is not installed' if system("/usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null") != 0;
my $with_node = $node_mailer ne '' && -d "$node_mailer/node_modules/pg" && -d "$node_mailer/node_modules/nodemailer";
note('the Node mailer is left out: its modules pg and nodemailer could not be installed') unless $with_node;

my $work = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $db = new_cluster('mailers', conf => "fsync = on\nrestart_after_crash = on\nlifecycle.worker_nap = '500ms'");
$db->safe_psql('postgres', 'CREATE DATABASE shop');
$db->safe_psql('shop', <<~SQL);
	CREATE EXTENSION pg_lifecycle;
	CREATE ROLE mailer LOGIN;
	SELECT lifecycle.grant_mailer('mailer');
	INSERT INTO lifecycle.channel (name) VALUES ('email'), ('print');
	INSERT INTO lifecycle.outbox_policy (retry_after, max_attempts) VALUES ('300 ms', 50);
	CREATE SEQUENCE letter;
	CREATE FUNCTION letters(n int, channel text, delivery text, class text DEFAULT 'transactional', recipient text DEFAULT NULL) RETURNS void LANGUAGE sql AS
	    'INSERT INTO lifecycle.outbox (idempotency_key, customer_id, channel, recipient, scenario, anchor, step, class, delivery, template, subject, payload, due_at)
	         SELECT concat_ws('':'', ''letter'', 1, a.id, ''c'' || a.id), ''c'' || a.id, letters.channel, coalesce(letters.recipient, ''c'' || a.id || ''\@example.org''),
	                ''letter'', a.id, 1, class, delivery, ''letter'', ''Grüße Nr. '' || a.id, jsonb_build_object(''first_name'', ''Zoë'', ''unsubscribe_token'', lifecycle.unsubscribe_token(''c'' || a.id, ''email'')), now()
	           FROM (SELECT nextval(''letter'') AS id FROM generate_series(1, n)) AS a; NOTIFY lifecycle_outbox';
	SQL

my %alive;    # by process id
sub spawn
{
	my ($log, @command) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$work/$log";
		open STDERR, '>&', \*STDOUT;
		POSIX::setpgid(0, 0);
		exec @command or POSIX::_exit(127);
	}
	$alive{$pid} = 1;
	return $pid;
}
sub reap { my ($pid) = @_; waitpid $pid, 0; delete $alive{$pid}; return $?; }
END { my $status = $?; kill 'KILL', map { -$_ } keys %alive; $? = $status; }

sub sink
{
	my ($log, $slow, @tls) = @_;
	my $dir = $INC{'Lifecycle.pm'} =~ s/[^\/]*$//r;
	my $pid = spawn("$log.sink", '/usr/bin/python3', "${dir}smtp_sink.py", $port, "$work/$log", $slow, 3, @tls);
	my $deadline = time + $patience;
	sleep 0.05 until (-s "$work/$log.sink" && slurp_file("$work/$log.sink") =~ /ready/) || time > $deadline;
	return $pid;
}
sub stop_process { my ($pid, $signal) = @_; kill $signal // 'TERM', $pid; return reap($pid); }
my @fields = qw(key id to unsubscribe subject speed);
sub arrived
{
	my ($log) = @_;
	return map { my %m; @m{@fields} = split /\t/; \%m } split /\n/, -e "$work/$log" ? slurp_file("$work/$log") : '';
}

my %mailers = (
	'C++' => sub {
		my ($name, @more) = @_;
		return spawn("$name.log", $mailer, '--db', 'user=mailer ' . $db->connstr('shop'), '--smtp', "smtp://127.0.0.1:$port", '--consumer', $name,
			'--from', 'Shop <news@shop.example>', qw(--batch 10 --lease 2 --poll 300), '--unsubscribe', 'https://shop.example/u?t=', @more);
	},
	'Node' => sub {
		my ($name) = @_;
		local %ENV = (%ENV, SMTP_URL => "smtp://127.0.0.1:$port", CONSUMER => $name, MAIL_FROM => 'Shop <news@shop.example>', BATCH => 10, LEASE => 2,
			DATABASE_URL => 'postgres://mailer@/shop?host=' . $db->host . '&port=' . $db->port, POLL => 300, UNSUBSCRIBE => 'https://shop.example/u?t=');
		return spawn("$name.log", 'node', "$node_mailer/mailer.js");
	});
delete $mailers{Node} unless $with_node;
my $unfinished = "SELECT count(*) FROM lifecycle.outbox WHERE status IN ('pending', 'leased')";

# HOW EACH BEHAVES
for my $kind (sort keys %mailers)
{
	my $log = "$kind.mails";
	my $smtp = sink($log, 0);
	my $pid = $mailers{$kind}->("one-$kind");
	eventually($db, 'shop', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'mailer' AND query ~ 'claim|LISTEN'", '1', "$kind: it is there");
	my $letter = $db->safe_psql('shop', "SELECT last_value + is_called::int FROM letter");
	$db->safe_psql('shop', "SELECT letters(1, 'email', 'at_most_once', 'marketing'), letters(1, 'email', 'at_least_once', recipient => 'gone\@example.org')");
	eventually($db, 'shop', $unfinished, '0', "$kind: everything is dealt with");
	my ($mail) = arrived($log);
	is($mail->{key}, "letter:1:$letter:c$letter", "$kind: the mail has arrived");
	like($mail->{subject}, qr/^Gr.+e Nr\. $letter$/, "$kind: its subject");
	like($mail->{id}, qr/^<[0-9a-f]{40}\@shop\.example>$/, "$kind: its Message-ID is made of the key");
	my ($token) = $mail->{unsubscribe} =~ m{^\s*<https://shop\.example/u\?t=([\w.-]+)>};
	is($db->safe_psql('shop', "BEGIN; SELECT * FROM lifecycle.unsubscribe('$token'); ROLLBACK"), "c$letter|email", "$kind: one can unsubscribe");
	is(scalar(my @all = arrived($log)), 1, "$kind: and nothing else has");
	is($db->safe_psql('shop', "SELECT status, provider_id, error FROM lifecycle.outbox WHERE anchor::int >= $letter ORDER BY anchor::int"),
		"sent|250 2.0.0 OK taken|\nfailed||550 5.1.1 no such mailbox", "$kind: the outbox knows what became of each");
	is($db->safe_psql('shop', "SELECT reason FROM lifecycle.suppression WHERE address_hash = lifecycle.address_hash('gone\@example.org')"),
		'hard_bounce', "$kind: the address that does not exist is suppressed");
	$db->safe_psql('shop', 'DELETE FROM lifecycle.suppression');

	# Asked to go, it goes, and leaves nothing behind.
	$db->safe_psql('shop', "SELECT letters(80, 'email', 'at_most_once')");
	eventually($db, 'shop', "SELECT count(*) > 10 FROM lifecycle.outbox WHERE status = 'sent' AND anchor::int > $letter + 1", 't', "$kind: it is at work");
	is(stop_process($pid), 0, "$kind: asked to stop it stops");
	is($db->safe_psql('shop', "SELECT count(*) FROM lifecycle.outbox WHERE status = 'leased'"), '0', "$kind: nothing is in its hands");
	my $sent = $db->safe_psql('shop', "SELECT string_agg(idempotency_key, ' ' ORDER BY anchor::int) FROM lifecycle.outbox WHERE status = 'sent' AND anchor::int >= $letter");
	is(join(' ', sort { ($a =~ /(\d+)$/)[0] <=> ($b =~ /(\d+)$/)[0] } map { $_->{key} } arrived($log)), $sent, "$kind: what is sent has arrived, and nothing else");
	$pid = $mailers{$kind}->("two-$kind");
	eventually($db, 'shop', $unfinished, '0', "$kind: another one does the rest");
	stop_process($pid);
	stop_process($smtp);
}

SKIP:
{
	my @certificate = ("$work/cert.pem", "$work/key.pem");
	system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
		. " -keyout $certificate[1] -out $certificate[0] 2>/dev/null") == 0
	  or skip 'no openssl to make a certificate with', 3;
	my $smtp = sink('tls.mails', 0, @certificate);
	$db->safe_psql('shop', "SELECT letters(1, 'email', 'at_least_once')");
	is(reap($mailers{'C++'}->('tls-blind', '--starttls', '--once')), 0, 'C++: a certificate that nobody vouches for');
	is(scalar(my @none = arrived('tls.mails')), 0, 'C++: nothing is sent');
	$db->safe_psql('shop', "UPDATE lifecycle.outbox SET due_at = now() WHERE status = 'pending'");
	reap($mailers{'C++'}->('tls', '--starttls', '--once', '--cacert', $certificate[0]));
	is(scalar(my @one = arrived('tls.mails')), 1, 'C++: sent through STARTTLS');
	stop_process($smtp);
}

# ALL AT ONCE
my $total = 400 * $long;
my $smtp = sink('chaos.mails', 150);
my $first = $db->safe_psql('shop', "SELECT last_value + is_called::int FROM letter");
my @kinds = $with_node ? ('C++', 'Node', 'C++', 'Node') : ('C++') x 4;
my @running = map { { kind => $kinds[$_], name => "chaos-$_", pid => $mailers{ $kinds[$_] }->("chaos-$_") } } 0 .. 3;

# The plain loop of the docs, on a channel of its own; a line in a file is its mail.
append_to_file("$work/poll.sql", <<~SQL);
	BEGIN;
	SELECT coalesce(string_agg(m.message_id::text, ','), '') AS ids, coalesce(string_agg(m.idempotency_key, E'\\n'), '') AS keys
	  FROM (SELECT * FROM lifecycle.outbox WHERE status = 'pending' AND due_at <= now() AND now() < expires_at AND channel = 'print'
	         ORDER BY due_at LIMIT 10 FOR UPDATE SKIP LOCKED) AS m \\gset
	\\setenv KEYS :keys
	\\! echo "\$KEYS" >> $work/plain.mails
	UPDATE lifecycle.outbox SET status = 'sent' WHERE message_id = ANY (string_to_array(:'ids', ',')::bigint[]);
	COMMIT;
	SQL
my $loop = "while [ ! -e $work/stop ]; do psql -XqAt -v ON_ERROR_STOP=1 -f $work/poll.sql '" . ('user=mailer ' . $db->connstr('shop')) =~ s/'//gr . "'; sleep 0.1; done";
my @plain = map { spawn('plain.log', 'bash', '-c', $loop) } 1 .. 2;

my ($enqueued, $kills, $server_kills) = (0, 0, 0);
my $next_server_kill = $total / 3;
my $deadline = time + $patience * (1 + $long);
while (time < $deadline)
{
	if ($enqueued < $total)
	{
		$db->safe_psql('shop', "SELECT letters(20, 'email', 'at_least_once'), letters(20, 'email', 'at_most_once'), letters(10, 'print', 'at_least_once')");
		$enqueued += 50;
	}
	elsif ($db->safe_psql('shop', $unfinished) eq '0') { last; }
	sleep 0.05 + rand 0.3;
	if ($enqueued >= $next_server_kill && $enqueued <= $total)
	{
		ok(kill_server($db), 'the server is killed');
		$db->start;
		$server_kills++;
		$next_server_kill += $total / (3 * $long);
	}
	elsif ($enqueued < $total || rand() < 0.03)
	{
		my $victim = $running[ rand @running ];
		stop_process($victim->{pid}, 'KILL');
		$kills++;
		$victim->{pid} = $mailers{ $victim->{kind} }->($victim->{name});
	}
}
is($db->safe_psql('shop', $unfinished), '0', 'everything is dealt with');
append_to_file("$work/stop", '');
is(stop_process($_->{pid}), 0, "$_->{name} ($_->{kind}) stops when asked to") for @running;
reap($_) for @plain;
cmp_ok($server_kills, '>=', 2, "the server was killed $server_kills times");
cmp_ok($kills, '>=', 3, "mailers were killed $kills times");

# What the provider's records say decides about the unknown ones; those that never went out are sent now. The provider is as bad as before, so that
# it may take more than one round.
my $unknown = "SELECT coalesce(string_agg(idempotency_key, ' '), '') FROM lifecycle.dead_letter JOIN lifecycle.outbox USING (message_id, status) WHERE status = 'unknown'";
for my $round (1 .. 20)
{
	my %times;
	$times{ $_->{key} }++ for arrived('chaos.mails');
	my @unknown = split / /, $db->safe_psql('shop', $unknown);
	my @gone_out = grep { $times{$_} } @unknown;
	note(@unknown . ' unknown, ' . @gone_out . ' of them had gone out');
	$db->safe_psql('shop', sprintf "UPDATE lifecycle.outbox SET status = 'sent' WHERE status = 'unknown' AND idempotency_key IN (%s)",
		join(',', map { "'$_'" } @gone_out, ''));
	$db->safe_psql('shop', "UPDATE lifecycle.outbox SET status = 'failed' WHERE status = 'unknown'; SELECT lifecycle.requeue(array_agg(message_id)) FROM lifecycle.dead_letter");
	is_none($db, 'shop', "SELECT * FROM lifecycle.outbox WHERE anchor::int >= $first AND status NOT IN ('sent', 'pending')", "round $round: nothing is given up");
	my $last = $mailers{'C++'}->("last-$round");
	eventually($db, 'shop', $unfinished, '0', "round $round: the rest is sent");
	stop_process($last);
	last if $db->safe_psql('shop', 'SELECT count(*) FROM lifecycle.dead_letter') eq '0';
}
stop_process($smtp);

my (%mails, %slow);
for my $m (arrived('chaos.mails')) { push @{ $mails{ $m->{key} } }, $m->{id}; $slow{ $m->{key} } = 1 if $m->{speed} eq 'slow'; }
my %expected = map { my ($key, $delivery, $status, $channel) = split /\|/; $key => { delivery => $delivery, status => $status, channel => $channel } }
  split /\n/, $db->safe_psql('shop', "SELECT idempotency_key, delivery, status, channel FROM lifecycle.outbox WHERE anchor::int >= $first");
is(scalar(keys %expected), $enqueued, "$enqueued messages were enqueued, and all are there");
my @email = grep { $expected{$_}{channel} eq 'email' } keys %expected;
is(join(' ', map { "$_ ($expected{$_}{status})" } grep { $expected{$_}{status} ne 'sent' } keys %expected), '', 'each is sent');
is(join(' ', grep { !$mails{$_} } @email), '', 'what is sent has arrived');
is(join(' ', grep { !$expected{$_} } keys %mails), '', 'what has arrived is sent');
is(join(' ', grep { $expected{$_}{delivery} eq 'at_most_once' && @{ $mails{$_} } > 1 } @email), '', 'at_most_once: none arrived twice');
my @twice = grep { @{ $mails{$_} } > 1 } @email;
is(join(' ', grep { my %ids = map { $_ => 1 } @{ $mails{$_} }; keys %ids > 1 } @twice), '', 'what arrived twice has the same Message-ID');
my $excess = 0;
$excess += @{ $mails{$_} } - 1 for grep { !$slow{$_} } @twice;
cmp_ok($excess, '<=', $kills + 4 * $server_kills, 'at_least_once: twice only around a kill, ' . $excess . ', or when its lease ran out, ' . grep { $slow{$_} } @twice);

my %plain;
$plain{$_}++ for grep { $_ ne '' } split /\n/, slurp_file("$work/plain.mails");
is(join(' ', grep { $expected{$_}{channel} eq 'print' && !$plain{$_} } keys %expected), '', 'the plain loop has sent all of its own');
my $again = 0;
$again += $plain{$_} - 1 for keys %plain;
cmp_ok($again, '<=', 20 * $server_kills, "and repeated itself only around a kill, $again");
is($db->safe_psql('shop', 'SELECT count(*), count(DISTINCT idempotency_key) FROM lifecycle.outbox'), join('|', ($first - 1 + $enqueued) x 2), 'no message twice in the outbox');

$db->stop;
done_testing();
