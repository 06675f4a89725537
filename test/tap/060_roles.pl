# Rights: who writes orders needs none in schema lifecycle, gets none, and finds the session as it was.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('roles', conf => 'lifecycle.worker = off');
new_shop($node, 'shop', unattached => 1);
$node->safe_psql('shop', <<~SQL);
	CREATE ROLE clerk LOGIN;
	CREATE ROLE till LOGIN;
	GRANT CREATE ON DATABASE shop TO clerk;
	ALTER SCHEMA shop OWNER TO clerk;
	ALTER TABLE shop.orders OWNER TO clerk;
	ALTER TABLE shop.refunds OWNER TO clerk;
	GRANT USAGE ON SCHEMA shop TO till;
	GRANT INSERT ON shop.orders TO till;
	SQL

sub as
{
	my ($role, $sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql('shop', "SET client_min_messages = warning;\n$sql", stdout => \$out, stderr => \$err, extra_params => [ '-U', $role ]);
	return ($out, $err);
}

# A schema full of traps. Whoever steps into one is written down, and a superuser makes the clerk one.
my @traps = (
	[ 'now()', 'timestamptz', 'pg_catalog.now()' ],
	[ 'count(text)', 'bigint', '1::bigint' ],
	[ 'lower(text)', 'text', '$1' ],
	[ 'format(text, text)', 'text', '$1' ],
	[ 'nextval(regclass)', 'bigint', 'pg_catalog.nextval($1)' ],
	[ 'nextval(text)', 'bigint', 'pg_catalog.nextval($1::regclass)' ],
	[ 'unnest(text[])', 'SETOF text', undef ],
	[ 'unnest(timestamptz[])', 'SETOF timestamptz', undef ],
	[ 'unnest(numeric[])', 'SETOF numeric', undef ],
	[ 'array_agg(text)', 'text[]', 'ARRAY[$1]' ],
	[ 'to_jsonb(text)', 'jsonb', 'pg_catalog.to_jsonb($1)' ],
	[ 'current_database()', 'name', 'pg_catalog.current_database()' ],
	(map { [ "op_$_(text, text)", 'boolean', 'pg_catalog.texteq($1, $2)' ] } qw(eq ne)),
	(map { [ "op_$_(timestamptz, timestamptz)", 'boolean', "pg_catalog.timestamptz_$_(\$1, \$2)" ] } qw(eq lt le gt ge)),
	(map { [ "op_$_(bigint, bigint)", 'boolean', "pg_catalog.int8$_(\$1, \$2)" ] } qw(eq lt gt)),
	(map { [ "op_$_(integer, integer)", 'boolean', "pg_catalog.int4$_(\$1, \$2)" ] } qw(eq lt gt)),
	(map { [ "op_$_(numeric, numeric)", 'boolean', "pg_catalog.numeric_$_(\$1, \$2)" ] } qw(eq lt le gt ge)),
	[ 'op_plus(timestamptz, interval)', 'timestamptz', 'pg_catalog.timestamptz_pl_interval($1, $2)' ],
	[ 'op_minus(timestamptz, interval)', 'timestamptz', 'pg_catalog.timestamptz_mi_interval($1, $2)' ]);
my %sign = (eq => '=', ne => '<>', lt => '<', le => '<=', gt => '>', ge => '>=', plus => '+', minus => '-');

my $trap = <<~SQL;
	CREATE SCHEMA evil;
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	CREATE TABLE evil.caught (who text, what text);
	GRANT INSERT ON evil.caught TO PUBLIC;
	SQL
for my $t (@traps)
{
	my ($signature, $type, $value) = @$t;
	my $return = defined $value ? "RETURN $value;" : 'RETURN QUERY SELECT * FROM pg_catalog.unnest($1);';
	$trap .= <<~SQL;
		CREATE FUNCTION evil.$signature RETURNS $type LANGUAGE plpgsql STABLE AS \$f\$
		BEGIN
		    PERFORM evil.spring('$signature');
		    $return
		END \$f\$;
		SQL
	if ($signature =~ /^op_(\w+)\((.*), (.*)\)/ && $sign{$1})
	{
		$trap .= "CREATE OPERATOR evil.$sign{$1} (FUNCTION = evil.op_$1, LEFTARG = $2, RIGHTARG = $3);\n";
	}
}
$trap = <<~SQL . $trap;
	SET check_function_bodies = off;
	SQL
$trap .= <<~'SQL';
	CREATE FUNCTION evil.spring(what text) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $f$
	BEGIN
	    INSERT INTO evil.caught VALUES (current_user, what);
	    IF current_user <> 'clerk' THEN EXECUTE 'ALTER ROLE clerk SUPERUSER'; END IF;
	EXCEPTION WHEN OTHERS THEN NULL;
	END $f$;
	SQL
my ($out, $err) = as('clerk', $trap);
is($err, '', 'the traps are laid');
my $path = "SET search_path = evil, pg_catalog, shop, public;\n";
my $caught = "SELECT who, what FROM evil.caught ORDER BY 1, 2";
as('clerk', $path . "SELECT now(), 'a'::text = 'b'::text, 1::numeric < 2::numeric, now() - interval '1 day' > now();");
like($node->safe_psql('shop', $caught), qr/^clerk\|now\(\).*clerk\|op_eq\(text, text\).*clerk\|op_minus/ms, 'they work');
$node->safe_psql('shop', 'TRUNCATE evil.caught');

# Attached by the extension's owner, with the traps in front of him too.
Lifecycle::attach_shop($node, 'shop', $path);
is_none($node, 'shop', $caught, 'attach() and its backfill step into none, even with the traps in the caller\'s search_path');
$node->safe_psql('shop', $path . "SELECT lifecycle.tick(); SELECT lifecycle.rebuild(); SELECT * FROM lifecycle.claim(0);"
	. "INSERT INTO shop.orders (customer, amount, placed_at) SELECT 'owner', 10, pg_catalog.clock_timestamp();");
is_none($node, 'shop', $caught, 'nor does the owner in tick(), rebuild(), claim() or with an order');

# The session as it is, seen from inside a statement's last trigger as well.
my $state = "SELECT pg_catalog.concat_ws('|', current_user::pg_catalog.text, session_user::pg_catalog.text,"
  . join(',', map { "pg_catalog.current_setting('$_')" } qw(search_path TimeZone enable_seqscan jit row_security DateStyle work_mem role)) . ')';
as('clerk', <<~SQL);
	CREATE TABLE shop.seen (state text);
	CREATE FUNCTION shop.look() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO shop.seen $state; RETURN NULL; END \$\$;
	CREATE TRIGGER zz_look AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION shop.look();
	GRANT INSERT ON shop.seen TO till;
	SQL
my $session = $path . "SET TimeZone = 'Asia/Kathmandu'; SET work_mem = '3MB'; SET enable_seqscan = on; SET jit = on;\n";
my @work = (
	insert => "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('ann', 60, pg_catalog.clock_timestamp());",
	'insert several' => "INSERT INTO shop.orders (customer, amount, placed_at) SELECT 'c' || i, i, pg_catalog.clock_timestamp() FROM pg_catalog.generate_series(1, 30) AS i;",
	'insert a late one' => "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('ann', 60, '2020-01-01');",
	'insert a bad one' => "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('ann', 'NaN', pg_catalog.clock_timestamp());",
	update => 'UPDATE shop.orders SET amount = amount + 1;',
	'update in a savepoint' => "BEGIN; SAVEPOINT a; UPDATE shop.orders SET customer = customer || 'x'; ROLLBACK TO a; COMMIT;",
	refund => "INSERT INTO shop.refunds (customer, amount, refunded_at) VALUES ('ann', 5, pg_catalog.clock_timestamp());",
	delete => "DELETE FROM shop.orders WHERE id OPERATOR(pg_catalog.<) 5;");
while (my ($what, $statement) = splice @work, 0, 2)
{
	($out, $err) = as('clerk', "$session$state;\n$statement\n$state;");
	is($err, '', "$what: a role without rights may");
	my ($before, $after) = split /\n/, $out;
	like($before, qr{^clerk\|clerk\|evil, pg_catalog, shop, public\|Asia/Kathmandu\|on\|}, "$what: the session") if $what eq 'insert';
	is($after, $before, "$what: the session is as it was");
	next if $what eq 'refund' || $what eq 'update in a savepoint';
	is($node->safe_psql('shop', "SELECT DISTINCT state FROM shop.seen"), $before, "$what: and was so for the table's own triggers");
}
is($node->safe_psql('shop', "SELECT count(*) FROM lifecycle.quarantine"), '1', 'the bad row is in quarantine');
is_none($node, 'shop', 'SELECT * FROM oracle.differences(now())', 'all of it counts');
is_none($node, 'shop', $caught, 'the trigger has stepped into no trap');

# An error of ours, in the middle, leaves everything as it was too.
for my $fault (qw(customer.lock customer.store tiers))
{
	$node->safe_psql('postgres', "ALTER DATABASE shop SET lifecycle.fault = '$fault:error'");
	($out, $err) = as('clerk', "$session$state;\nINSERT INTO shop.orders (customer, amount, placed_at) VALUES ('faulty', 1, pg_catalog.clock_timestamp());\n$state;");
	$node->safe_psql('postgres', 'ALTER DATABASE shop RESET lifecycle.fault');
	my ($before, $after) = split /\n/, $out;
	is($after, $before, "$fault fails: the session is as it was");
	is($err, '', "$fault fails: the order does not");
	is($node->safe_psql('shop', 'SELECT lifecycle.replay_quarantine(); SELECT count(*) FROM lifecycle.quarantine'), "1\n1", "$fault fails: the order can be taken in later");
}

($out, $err) = as('till', "INSERT INTO shop.orders (customer, amount, placed_at) VALUES ('bob', 200, pg_catalog.clock_timestamp()); $state;");
is($err, '', 'nor does a role that may only insert need any right');
like($out, qr/^till\|till\|/, 'and it stays what it is');
is($node->safe_psql('shop', "SELECT order_count, tier FROM lifecycle.customer WHERE customer_id = 'bob'"), '1|bronze', 'its order counts');

# Nothing else is open to it.
# What only unpacks its argument anybody may call: views are made of it.
is_none($node, 'shop', <<~SQL, 'no rights on any relation, function or the schema');
	SELECT r.rolname, c.oid::regclass::text FROM pg_roles AS r, pg_class AS c
	 WHERE r.rolname IN ('clerk', 'till') AND c.relnamespace = 'lifecycle'::regnamespace
	   AND CASE WHEN c.relkind IN ('r', 'v', 'p') THEN has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
	            WHEN c.relkind = 'S' THEN has_sequence_privilege(r.oid, c.oid, 'USAGE, SELECT, UPDATE') END
	UNION ALL
	SELECT r.rolname, p.oid::regprocedure::text FROM pg_roles AS r, pg_proc AS p
	 WHERE r.rolname IN ('clerk', 'till') AND p.pronamespace = 'lifecycle'::regnamespace AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
	   AND NOT (p.proname IN ('unpack_orders', 'unpack_lots', 'unpack_memberships', 'unpack_ways') AND p.provolatile = 'i')
	UNION ALL
	SELECT r.rolname, 'schema' FROM pg_roles AS r
	 WHERE r.rolname IN ('clerk', 'till') AND has_schema_privilege(r.oid, 'lifecycle', 'USAGE, CREATE')
	SQL
for my $attempt (
	'SELECT * FROM lifecycle.customer',
	'SELECT * FROM lifecycle.status',
	'SELECT * FROM lifecycle.purchase',
	"UPDATE lifecycle.customer SET tier = 'vip'",
	'DELETE FROM lifecycle.outbox',
	"INSERT INTO lifecycle.segment (name, predicate) VALUES ('x', 'true')",
	'SELECT lifecycle.tick()',
	'SELECT * FROM lifecycle.claim()',
	'SELECT lifecycle.arm()',
	'SELECT lifecycle.rebuild()',
	"SELECT lifecycle.explain('ann')",
	"SELECT lifecycle.detach('orders')",
	q{SELECT lifecycle.attach('shop.seen', 'order', '{"order": "1", "customer": "state", "amount": "1", "placed_at": "now()"}')},
	"CREATE TABLE shop.forged (id bigint, customer text); CREATE TRIGGER forged AFTER INSERT ON shop.forged"
	  . " REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION lifecycle.capture('orders')")
{
	($out, $err) = as('clerk', "$attempt;");
	like($err, qr/ERROR:  permission denied for /, "refused: $attempt");
}
for my $setting ("lifecycle.clock = '2020-01-01'", 'lifecycle.on_error = raise', "lifecycle.fault = 'tiers:error'", 'lifecycle.worker = off')
{
	($out, $err) = as('clerk', "SET $setting;");
	like($err, qr/ERROR:  (permission denied to set|parameter .* cannot be)/, "refused: SET $setting");
}

# The owner of the table puts code of his own in the way: a function, casts, a domain. None of it ever runs as anybody else but who writes.
my $not_by_others = $caught =~ s/ORDER/WHERE who NOT IN ('clerk', 'till') ORDER/r;
($out, $err) = as('clerk', <<~'SQL');
	CREATE FUNCTION evil.price(numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $f$
	BEGIN PERFORM evil.spring('price'); RETURN $1; END $f$;
	CREATE FUNCTION evil.is_fine(numeric) RETURNS boolean LANGUAGE plpgsql AS $f$
	BEGIN PERFORM evil.spring('domain'); RETURN true; END $f$;
	CREATE DOMAIN evil.amount AS numeric CHECK (evil.is_fine(VALUE));
	CREATE TYPE evil.cash AS (v numeric);
	CREATE FUNCTION evil.cash_as_numeric(evil.cash) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $f$
	BEGIN PERFORM evil.spring('cast to numeric'); RETURN ($1).v; END $f$;
	CREATE CAST (evil.cash AS numeric) WITH FUNCTION evil.cash_as_numeric(evil.cash) AS IMPLICIT;
	CREATE FUNCTION evil.cash_as_json(evil.cash) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $f$
	BEGIN PERFORM evil.spring('cast to json'); RETURN '"1"'; END $f$;
	CREATE CAST (evil.cash AS json) WITH FUNCTION evil.cash_as_json(evil.cash);
	CREATE TABLE shop.priced (id bigint PRIMARY KEY, customer text, amount numeric, cash evil.cash, placed_at timestamptz);
	GRANT INSERT ON shop.priced TO till;
	SQL
is($err, '', 'more traps are laid');
for my $expression ('evil.price(amount)', 'cash')
{
	my ($status, $attached, $refusal) = $node->psql('shop', <<~SQL);
		SELECT lifecycle.attach('shop.priced', 'order', '{"order": "id", "customer": "customer", "amount": "$expression", "placed_at": "placed_at"}')
		SQL
	like($refusal, qr/Only functions that are part of PostgreSQL/, "attach() refuses $expression, which runs a function of the table's owner");
}
$node->safe_psql('shop', <<~SQL);
	SELECT lifecycle.attach('shop.priced', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}', name => 'priced')
	SQL
my $row = "VALUES (%s, 'zoe', %s, ROW(3)::evil.cash, pg_catalog.clock_timestamp())";
for my $type ('numeric', 'evil.amount', 'evil.cash')
{
	# After it has been attached he changes the column.
	($out, $err) = as('clerk', "DELETE FROM shop.priced; ALTER TABLE shop.priced DROP COLUMN amount; ALTER TABLE shop.priced ADD COLUMN amount $type;");
	is($err, '', "column amount becomes $type");
	my @amounts = $type eq 'evil.cash' ? ('ROW(7)', "ROW('NaN')") : ('7', "'NaN'");
	my $id = 0;
	for my $role (qw(clerk till))
	{
		for my $amount (@amounts)
		{
			($out, $err) = as($role, sprintf "INSERT INTO shop.priced (id, customer, amount, cash, placed_at) $row;", ++$id, $amount);
			is($err, '', "$type: $role writes $amount");
		}
	}
	isnt($node->safe_psql('shop', "SELECT count(*) FROM lifecycle.quarantine WHERE source = 'priced'"), '0', "$type: there is something in quarantine");
	$node->psql('shop', 'SELECT lifecycle.replay_quarantine()');
	$node->psql('shop', 'SELECT lifecycle.rebuild(); SELECT lifecycle.tick();');
	is_none($node, 'shop', $not_by_others, "$type: replay_quarantine(), rebuild() and tick() of the owner run nothing of it");
	is($node->safe_psql('shop', "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'"), 'f', "$type: the clerk is still a clerk");
	$node->safe_psql('shop', "ALTER ROLE clerk NOSUPERUSER; DELETE FROM evil.caught; DELETE FROM lifecycle.quarantine WHERE source = 'priced'");
}
$node->safe_psql('shop', "SELECT lifecycle.detach('priced')");
is_none($node, 'shop', $not_by_others, 'nor does detach()');

($out, $err) = as('clerk', "$session TRUNCATE shop.orders, shop.refunds; $state;");
is($err, '', 'the owner of the table may truncate it');
is($node->safe_psql('shop', 'SELECT sum(order_count), sum(revenue) FROM lifecycle.customer'), '0|0', 'which counts');
is_none($node, 'shop', $not_by_others, 'nobody has been trapped');
is($node->safe_psql('shop', "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'"), 'f', 'the clerk is still a clerk');

$node->stop;
done_testing();
