# A shop whose orders cost the sum of lines that name no customer, with carts, visits, parcels and reviews: what happens in it at random, and
# the customers that plain SQL makes of its tables.
package Facts;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Lifecycle qw(pick chance);
our @EXPORT = qw(transaction create_shop attach_shop begin_history);

# Histories that share the tables have customers and orders of their own, by number; the one that is alone may empty a table.
my ($number, $alone);
sub begin_history { ($number, $alone) = @_; return; }

sub customer { return chance(0.05) ? 'NULL' : "'h$number-" . pick(qw(c1 c2 c3 c4 C1)) . "'"; }
sub order { return $number * 100 + 1 + int rand 40; }
sub basket { return "'h$number-b" . int(rand 8) . "'"; }
sub amount { return chance(0.03) ? pick('NULL', "'NaN'") : sprintf '%.2f', rand 200; }

sub instant
{
	my $die = rand;
	return 'lifecycle.now()' if $die < 0.5;
	return "lifecycle.now() - interval '" . int(rand 300) . " minutes'" if $die < 0.75;
	return "lifecycle.now() - interval '" . int(rand 200 * 24) . " hours'" if $die < 0.9;
	return "lifecycle.now() + interval '" . int(rand 40 * 24) . " hours'";
}

sub state { return pick(qw('cart' 'placed' 'placed' 'cancelled')); }

# Some rows of this history.
sub some
{
	my ($column) = @_;
	return 'id % 7 = ' . int(rand 7) . ($column eq 'customer' ? " AND customer LIKE 'h$number-%'" : " AND $column BETWEEN $number * 100 AND $number * 100 + 99");
}

my @statements = (
	[ 10, sub { 'INSERT INTO shop.sales VALUES (' . join(', ', order(), customer(), state(), instant(), chance(0.2) ? basket() : 'NULL') . ') ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state' } ],
	[ 5, sub { 'UPDATE shop.sales SET state = ' . state() . ' WHERE ' . some('id') } ],
	[ 3, sub { 'UPDATE shop.sales SET customer = ' . customer() . ' WHERE id = ' . order() } ],
	[ 2, sub { 'UPDATE shop.sales SET placed_at = ' . instant() . ', basket = NULL WHERE id = ' . order() } ],
	[ 3, sub { 'DELETE FROM shop.sales WHERE id = ' . order() } ],
	[ 12, sub { 'INSERT INTO shop.lines (sale, sku, amount) VALUES ' . join ', ', map { '(' . order() . ", 'p" . int(rand 5) . "', " . amount() . ')' } 1 .. 1 + rand 4 } ],
	[ 4, sub { 'UPDATE shop.lines SET amount = ' . amount() . ' WHERE sale = ' . order() } ],
	[ 2, sub { 'UPDATE shop.lines SET sale = ' . order() . ' WHERE ' . some('sale') } ],
	[ 4, sub { 'DELETE FROM shop.lines WHERE ' . some('sale') } ],
	[ 8, sub { "INSERT INTO shop.baskets VALUES (" . basket() . ', ' . join(', ', customer(), int(rand 100), pick("'0'", "'2'", "'[]'", 'NULL'), instant()) . ')'
		. ' ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value, items = EXCLUDED.items, updated_at = EXCLUDED.updated_at' } ],
	[ 2, sub { 'DELETE FROM shop.baskets WHERE id = ' . basket() } ],
	[ 10, sub { 'INSERT INTO shop.clicks (customer, what, at) VALUES ' . join ', ', map { '(' . customer() . ', ' . pick(qw('open' 'click' 'visit' 'visit' 'bounce' 'yawn')) . ', ' . instant() . ')' } 1 .. 1 + rand 3 } ],
	[ 3, sub { 'DELETE FROM shop.clicks WHERE ' . some('customer') } ],
	[ 2, sub { 'UPDATE shop.clicks SET at = ' . instant() . ' WHERE ' . some('customer') } ],
	[ 4, sub { 'INSERT INTO shop.parcels (sale, shipped_at, delivered_at) VALUES (' . join(', ', order(), pick('NULL', instant()), pick('NULL', instant())) . ')' } ],
	[ 2, sub { 'UPDATE shop.parcels SET delivered_at = ' . instant() . ' WHERE ' . some('sale') } ],
	[ 3, sub { 'INSERT INTO shop.reviews (customer, stars, at) VALUES (' . customer() . ', ' . int(rand 6) . ', ' . instant() . ')' } ],
	[ 1, sub { 'DELETE FROM shop.reviews WHERE ' . some('customer') } ],
	[ 0.3, sub { $alone ? 'TRUNCATE ' . pick('shop.lines', 'shop.clicks', 'shop.sales', 'shop.baskets') : statement() } ]);

sub statement
{
	my $total = 0;
	$total += $_->[0] for @statements;
	my $die = rand $total;
	for my $s (@statements) { return $s->[1]->() if ($die -= $s->[0]) < 0; }
	return $statements[0][1]->();
}

sub transaction
{
	return statement() . ";\n" if chance(0.5);
	my $isolation = chance(0.1) ? ' ISOLATION LEVEL REPEATABLE READ' : '';
	my $inner = chance(0.3) ? ("SAVEPOINT s;\n" . statement() . ";\n" . pick("ROLLBACK TO s;\n", "RELEASE s;\n")) : '';
	return "BEGIN$isolation;\n" . join('', map { statement() . ";\n" } 1 .. 1 + rand 3) . $inner . (chance(0.1) ? "ROLLBACK;\n" : "COMMIT;\n");
}

sub create_shop
{
	my ($node, $db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, <<~'SQL');
		CREATE SCHEMA shop; CREATE SCHEMA oracle;
		CREATE TABLE shop.sales (id int PRIMARY KEY, customer text, state text, placed_at timestamptz, basket text);
		CREATE TABLE shop.lines (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sale int, sku text, amount numeric);
		CREATE TABLE shop.baskets (id text PRIMARY KEY, customer text, value numeric, items jsonb, updated_at timestamptz);
		CREATE TABLE shop.clicks (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, what text, at timestamptz);
		CREATE TABLE shop.parcels (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sale int, shipped_at timestamptz, delivered_at timestamptz);
		CREATE TABLE shop.reviews (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, stars numeric, at timestamptz);
		-- For the views of the oracle.
		CREATE INDEX ON shop.sales ((id::text)); CREATE INDEX ON shop.sales (customer); CREATE INDEX ON shop.lines ((sale::text));
		CREATE INDEX ON shop.baskets (customer);
		SQL
	return;
}

# Makes the extension and, from the shop's tables, the views of what the customers should be.
sub attach_shop
{
	my ($node, $db, $clock, $mode) = @_;
	$node->safe_psql($db, "SET lifecycle.clock = '$clock'; CREATE EXTENSION pg_lifecycle;" . <<~'SQL' . attach_calls($mode));
		CREATE OR REPLACE VIEW oracle.sales AS SELECT id::text AS id, customer, placed_at AS at, basket FROM shop.sales WHERE state = 'placed' AND customer IS NOT NULL;
		CREATE OR REPLACE VIEW oracle.touches AS
		    SELECT customer, what, at FROM shop.clicks WHERE what IN ('open', 'click', 'visit')
		    UNION ALL SELECT customer, 'basket', updated_at FROM shop.baskets
		    UNION ALL SELECT customer, 'review', at FROM shop.reviews
		    UNION ALL SELECT customer, 'order', at FROM oracle.sales;
		CREATE OR REPLACE FUNCTION oracle.expected(clock timestamptz)
		    RETURNS TABLE (customer_id text, orders bigint, revenue numeric, last_order_at timestamptz, opened timestamptz, clicked timestamptz,
		                   visited timestamptz, active timestamptz, cart text)
		    LANGUAGE sql STABLE AS $$
		    WITH sales AS (SELECT s.customer, count(*) AS n, max(s.at) AS last,
		                          sum((SELECT coalesce(sum(l.amount), 0) FROM shop.lines AS l WHERE l.sale::text = s.id AND l.amount <> 'NaN')) AS revenue
		                     FROM oracle.sales AS s WHERE s.at <= clock GROUP BY 1),
		    touches AS (SELECT t.customer, max(t.at) FILTER (WHERE what = 'open') AS opened, max(t.at) FILTER (WHERE what = 'click') AS clicked,
		                       max(t.at) FILTER (WHERE what = 'visit') AS visited, max(t.at) AS active
		                  FROM oracle.touches AS t WHERE t.at <= clock GROUP BY 1)
		    SELECT c.customer_id, coalesce(s.n, 0), coalesce(s.revenue, 0), s.last, t.opened, t.clicked, t.visited, t.active,
		           (SELECT b.id FROM shop.baskets AS b
		             WHERE b.customer = c.customer_id AND b.updated_at > coalesce(s.last, '-infinity')
		               AND NOT EXISTS (SELECT FROM oracle.sales AS o WHERE o.customer = b.customer AND o.basket = b.id)
		               AND CASE WHEN b.items IS NULL THEN b.value > 0 ELSE b.items NOT IN ('0', '[]') END
		             ORDER BY b.updated_at DESC, b.id COLLATE "C" DESC LIMIT 1)
		      FROM lifecycle.customer AS c LEFT JOIN sales AS s ON s.customer = c.customer_id LEFT JOIN touches AS t ON t.customer = c.customer_id
		$$;
		CREATE OR REPLACE FUNCTION oracle.wrong(clock timestamptz) RETURNS TABLE (customer_id text, what text, expected text, found text)
		    LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
		    SELECT c.customer_id, v.* FROM lifecycle.customer AS c JOIN oracle.expected(clock) AS e USING (customer_id),
		           LATERAL (VALUES ('order_count', e.orders::text, c.order_count::text),
		                           ('revenue', trim_scale(e.revenue)::text, trim_scale(c.revenue)::text),
		                           ('last_order_at', e.last_order_at::text, c.last_order_at::text),
		                           ('last_open_at', e.opened::text, c.last_open_at::text),
		                           ('last_click_at', e.clicked::text, c.last_click_at::text),
		                           ('last_visit_at', e.visited::text, c.last_visit_at::text),
		                           ('last_activity_at', e.active::text, c.last_activity_at::text),
		                           ('cart_id', e.cart, c.cart_id),
		                           ('lively', (e.active > clock - interval '30 days')::text,
		                            nullif(EXISTS (SELECT FROM lifecycle.segment_member AS m WHERE (m.customer_id, m.segment) = (c.customer_id, 'lively')), false)::text),
		                           ('with a cart', (e.cart IS NOT NULL)::text,
		                            EXISTS (SELECT FROM lifecycle.segment_member AS m WHERE (m.customer_id, m.segment) = (c.customer_id, 'with a cart'))::text))
		                   AS v (what, expected, found)
		     WHERE nullif(v.expected, 'false') IS DISTINCT FROM nullif(v.found, 'false')
		    UNION ALL
		    SELECT customer, 'unknown', NULL, NULL FROM oracle.touches WHERE customer NOT IN (SELECT customer_id FROM lifecycle.customer)
		    UNION ALL
		    SELECT coalesce(e.owner, i.customer_id), 'line ' || coalesce(e.line, i.line), e.owner, i.customer_id
		      FROM (SELECT l.id::text AS line, coalesce((SELECT s.customer FROM oracle.sales AS s WHERE s.id = l.sale::text), '') AS owner
		              FROM shop.lines AS l WHERE l.amount IS DISTINCT FROM 'NaN') AS e
		      FULL JOIN lifecycle.order_item AS i ON i.line = e.line AND i.customer_id = e.owner
		     WHERE e.line IS NULL OR i.line IS NULL
		    UNION ALL
		    SELECT coalesce(e.owner, d.customer_id), 'parcel of ' || coalesce(e.sale, d.order_id), e.at::text, d.delivered_at::text
		      FROM (SELECT p.sale::text AS sale, coalesce(p.delivered_at, p.shipped_at + interval '5 days') AS at, p.shipped_at,
		                   coalesce((SELECT s.customer FROM oracle.sales AS s WHERE s.id = p.sale::text), '') AS owner,
		                   row_number() OVER (PARTITION BY p.sale, p.shipped_at, coalesce(p.delivered_at, p.shipped_at + interval '5 days')) AS nth
		              FROM shop.parcels AS p WHERE coalesce(p.shipped_at, p.delivered_at) IS NOT NULL) AS e
		      FULL JOIN (SELECT d.*, row_number() OVER (PARTITION BY d.order_id, d.shipped_at, d.delivered_at) AS nth FROM lifecycle.delivery AS d) AS d
		        ON d.order_id = e.sale AND d.customer_id = e.owner AND d.delivered_at = e.at AND d.nth = e.nth
		     WHERE e.sale IS NULL OR d.order_id IS NULL
		$$;
		SQL
	return;
}

sub attach_calls
{
	my ($mode) = @_;
	return <<~'SQL' =~ s/(lifecycle[.]attach.*)\);$/$1, mode => '$mode');/mgr;
		SELECT lifecycle.install_playbook();
		INSERT INTO lifecycle.segment (name, predicate) VALUES
		    ('lively', $$ last_activity_at > now() - interval '30 days' $$), ('with a cart', 'cart_id IS NOT NULL');
		SELECT lifecycle.attach('shop.lines', 'order_item', '{"order": "sale", "line": "id", "product": "sku", "amount": "amount"}', name => 'lines');
		SELECT lifecycle.attach('shop.sales', 'order', '{"order": "id", "customer": "customer", "placed_at": "placed_at", "cart": "basket"}', $$ state = 'placed' $$, name => 'sales');
		SELECT lifecycle.attach('shop.baskets', 'cart', '{"cart": "id", "customer": "customer", "value": "value", "items": "items", "updated_at": "updated_at"}');
		SELECT lifecycle.attach('shop.clicks', 'engagement', '{"customer": "customer", "type": "what", "occurred_at": "at"}', name => 'clicks');
		SELECT lifecycle.attach('shop.parcels', 'delivery', '{"order": "sale", "shipped_at": "shipped_at", "delivered_at": "delivered_at"}');
		SELECT lifecycle.attach('shop.reviews', 'review', '{"review": "id", "customer": "customer", "rating": "stars", "reviewed_at": "at"}');
		SQL
}

1;
