# A subscriber with attached tables: what logical replication copies and applies counts exactly once, row by row.

use strict;
use warnings FATAL => 'all';

use Lifecycle;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('replication', conf => "lifecycle.worker = off\nwal_level = logical\nmax_wal_senders = 5\nmax_replication_slots = 5\nlifecycle.clock = '2026-01-01 00:00+00'");
$node->safe_psql('postgres', 'CREATE DATABASE publisher');
$node->safe_psql('publisher', <<~SQL);
	CREATE SCHEMA shop;
	CREATE TABLE shop.orders (id bigint, customer text, amount numeric, status text NOT NULL DEFAULT 'paid', placed_at timestamptz NOT NULL, note text);
	ALTER TABLE shop.orders REPLICA IDENTITY FULL;
	CREATE TABLE shop.refunds (id bigint PRIMARY KEY, order_id bigint, customer text, amount numeric, refunded_at timestamptz NOT NULL);
	INSERT INTO shop.orders SELECT n, 'c' || n % 7, n, 'paid', '2025-06-01' FROM generate_series(1, 50) AS n;
	CREATE PUBLICATION shop FOR ALL TABLES;
	SELECT pg_create_logical_replication_slot('shop', 'pgoutput');
	SQL
# The subscriber keeps its orders in partitions.
new_shop($node, 'subscriber', partitioned => 1, clock => '2026-01-01 00:00+00');
$node->safe_psql('subscriber', <<~SQL);
	CREATE SUBSCRIPTION shop CONNECTION '@{[ $node->connstr('publisher') =~ s{'}{''}gr ]}' PUBLICATION shop WITH (create_slot = false, slot_name = 'shop');
	SQL

sub published
{
	my ($sql, $name) = @_;
	$node->safe_psql('publisher', $sql);
	$node->wait_for_catchup('shop');
	is_none($node, 'subscriber', "SELECT concat_ws(' ', customer_id, what, expected, 'but', found) FROM oracle.differences('2026-01-01 00:00+00')", $name);
	is($node->safe_psql('subscriber', 'SELECT count(*) FROM shop.orders'), $node->safe_psql('publisher', 'SELECT count(*) FROM shop.orders'), "$name: all is there");
	return;
}

eventually($node, 'subscriber', "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'", '0', 'the tables are copied');
published('', 'what was copied');
cmp_ok($node->safe_psql('subscriber', 'SELECT sum(order_count) FROM lifecycle.customer'), '==', 50, 'counts');
published("INSERT INTO shop.orders VALUES (51, 'new', 500, 'paid', '2025-12-01'), (52, 'c1', 1, 'cancelled', '2025-12-02')", 'an insert');
published("UPDATE shop.orders SET amount = amount + 1, customer = CASE WHEN id % 10 = 0 THEN 'new' ELSE customer END WHERE id % 5 = 0", 'an update');
published("UPDATE shop.orders SET status = 'cancelled' WHERE id = 51", 'a row that moves to another partition');
published("BEGIN; INSERT INTO shop.orders VALUES (53, 'c1', 7, 'paid', '2025-12-03'); UPDATE shop.orders SET amount = 8 WHERE id = 53;"
	. " DELETE FROM shop.orders WHERE id < 10; INSERT INTO shop.refunds VALUES (1, 53, 'c1', 3, '2025-12-04'); COMMIT", 'several changes in a transaction');
published("INSERT INTO shop.orders VALUES (54, 'c1', NULL, 'paid', '2025-12-05')", 'a bad row');
is($node->safe_psql('subscriber', 'SELECT count(*) FROM lifecycle.quarantine'), '1', 'which is in quarantine');
published("TRUNCATE shop.orders", 'a truncation');
is($node->safe_psql('subscriber', 'SELECT sum(order_count), sum(revenue) FROM lifecycle.customer'), '0|-3', 'leaves no order');
published("INSERT INTO shop.orders VALUES (55, 'c1', 7, 'paid', '2025-12-03')", 'and it goes on');
# The subscriber's own statements count too.
$node->safe_psql('subscriber', "INSERT INTO shop.orders VALUES (100, 'c1', 9, 'paid', '2025-12-07')");
is_none($node, 'subscriber', "SELECT * FROM oracle.differences('2026-01-01 00:00+00')", 'beside orders of its own');

$node->safe_psql('subscriber', 'DROP SUBSCRIPTION shop');
$node->stop;
done_testing();
