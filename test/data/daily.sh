#!/bin/bash
# CDNOW and Online Retail, day by day: the history of a sample of customers in the lifecycle and in segments of every sort is compared with their
# predicates in plain SQL, at every midnight and a microsecond before it. LIFECYCLE_SEED=n repeats a run, LIFECYCLE_SAMPLE=n takes so many customers.
. "$(dirname "$0")/replay.bash"

seed=${LIFECYCLE_SEED:-$([ "${CI:-}" = true ] && echo 20260301 || echo $((RANDOM * 32768 + RANDOM)))}
sample=${LIFECYCLE_SAMPLE:-40}

# day_by_day NAME FIRST LAST: every day's orders and refunds, then a tick at midnight.
day_by_day() {
    echo "# seed $seed, $sample customers"
    run -o /dev/null -f - <<-SQL
	DELETE FROM rd.purchases WHERE customer NOT IN (SELECT customer FROM rd.purchases GROUP BY customer ORDER BY md5('$seed ' || customer) LIMIT $sample);
	SET lifecycle.clock = '$2';
	CREATE EXTENSION pg_lifecycle;
	SELECT lifecycle.install_playbook();
	SELECT lifecycle.attach('shop.orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "at"}', name => 'orders');
	SELECT lifecycle.attach('shop.refunds', 'refund', '{"refund": "id", "customer": "customer", "amount": "amount", "refunded_at": "at"}', name => 'refunds');
	INSERT INTO lifecycle.rfm_threshold (score, recency, frequency, monetary) VALUES (5, '2 weeks', 6, 300), (4, '1 month', 4, 150), (3, '100 days', 2, 50), (2, '1 year', 2, 20);
	INSERT INTO lifecycle.segment (name, predicate) VALUES
	    ('silent spenders', \$\$ revenue > 60 AND last_order_at < now() - interval '60 days' \$\$),
	    ('twice a quarter', \$\$ orders_within('90 days') >= 2 \$\$),
	    ('good month',      \$\$ spent_within('1 month') > 30 \$\$),
	    ('champions',       \$\$ rfm_recency() >= 4 AND rfm_frequency() >= 3 AND rfm_monetary() >= 3 \$\$),
	    ('fading',          \$\$ rfm_recency() = 2 \$\$),
	    ('this spring',     \$\$ first_order_at >= date_trunc('month', now() - interval '2 months') \$\$),
	    ('back again',      \$\$ previous_order_at < last_order_at - interval '30 days' AND last_order_at > now() - interval '14 days' \$\$),
	    ('not this month',  \$\$ NOT coalesce(last_order_at >= date_trunc('month', now()), false) AND order_count > 1 \$\$);
	SQL
    # A statement for each day, as the shop and the worker would make them.
    run -c "SELECT format('SET lifecycle.clock = %L; INSERT INTO shop.orders SELECT id, customer, amount, at FROM rd.purchases WHERE kind = ''order'' AND at >= %L AND at < %L;'
                   || ' INSERT INTO shop.refunds SELECT id, customer, amount, at FROM rd.purchases WHERE kind = ''refund'' AND at >= %2\$L AND at < %3\$L; SELECT lifecycle.tick();',
                   d + interval '1 day', d, d + interval '1 day')
              FROM generate_series('$2'::timestamptz, '$3'::timestamptz, interval '1 day') AS d" | run -o /dev/null -f -
    none "$1: nothing in quarantine" 'SELECT * FROM lifecycle.quarantine'
    none "$1: no predicate has raised an error" 'SELECT * FROM lifecycle.problem'
    run -f - <<-SQL
	SET timezone = 'UTC';
	CREATE TABLE rd.grid AS
	    SELECT c.customer, t.t
	      FROM (SELECT customer, min(at) AS known_at FROM rd.purchases GROUP BY 1) AS c
	      JOIN LATERAL (SELECT d - e * interval '1 microsecond' AS t FROM generate_series('$2'::timestamptz, '$3'::timestamptz, interval '1 day') AS d, generate_series(0, 1) AS e) AS t ON t.t >= c.known_at;
	CREATE INDEX ON shop.orders (customer);
	CREATE INDEX ON shop.refunds (customer);
	ANALYZE;
	CREATE TABLE rd.expected AS
	    SELECT g.customer, g.t, s.segment, s.held
	      FROM rd.grid AS g,
	           LATERAL (SELECT count(*) AS n, coalesce(sum(o.amount), 0) AS bought, min(o.at) AS first, max(o.at) AS last,
	                           (array_agg(o.at ORDER BY o.at DESC, o.id COLLATE "C" DESC))[2] AS previous,
	                           count(*) FILTER (WHERE g.t < o.at + interval '90 days') AS in_quarter,
	                           coalesce(sum(o.amount) FILTER (WHERE g.t < o.at + interval '1 month'), 0) AS in_month
	                      FROM shop.orders AS o WHERE o.customer = g.customer AND o.at <= g.t) AS o,
	           LATERAL (SELECT coalesce(sum(r.amount), 0) AS back, coalesce(sum(r.amount) FILTER (WHERE g.t < r.at + interval '1 month'), 0) AS back_in_month
	                      FROM shop.refunds AS r WHERE r.customer = g.customer AND r.at <= g.t) AS r,
	           LATERAL (SELECT o.bought - r.back AS revenue,
	                           CASE WHEN g.t < o.last + interval '2 weeks' THEN 5 WHEN g.t < o.last + interval '1 month' THEN 4 WHEN g.t < o.last + interval '100 days' THEN 3
	                                WHEN g.t < o.last + interval '1 year' THEN 2 WHEN o.n > 0 THEN 1 END AS recency) AS x,
	           LATERAL (VALUES ('silent spenders', x.revenue > 60 AND o.last + interval '60 days' < g.t), ('twice a quarter', o.in_quarter >= 2),
	                           ('good month', o.in_month - r.back_in_month > 30), ('champions', x.recency >= 4 AND o.n >= 2 AND x.revenue >= 50), ('fading', x.recency = 2),
	                           ('this spring', o.first >= date_trunc('month', g.t - interval '2 months')),
	                           ('back again', o.previous + interval '30 days' < o.last AND g.t < o.last + interval '14 days'),
	                           ('not this month', coalesce(o.last < date_trunc('month', g.t), true) AND o.n > 1),
	                           (CASE WHEN o.n = 0 THEN 'prospect'
	                                 WHEN g.t < o.last + interval '60 days' AND o.last > o.previous + interval '90 days' THEN 'reactivated'
	                                 WHEN g.t < o.last + interval '60 days' AND o.n = 1 THEN 'new'
	                                 WHEN g.t < o.last + interval '60 days' THEN 'active'
	                                 WHEN g.t < o.last + interval '90 days' THEN 'at_risk'
	                                 WHEN g.t < o.last + interval '180 days' THEN 'dormant'
	                                 ELSE 'lost' END, true)) AS s (segment, held);
	SQL
    none "$1: each segment is what its predicate says, at every midnight" "
        SELECT * FROM (
            SELECT customer COLLATE \"C\" AS customer_id, t, segment COLLATE \"C\" AS segment FROM rd.expected WHERE held
            EXCEPT
            SELECT g.customer COLLATE \"C\", g.t, h.segment FROM rd.grid AS g JOIN lifecycle.segment_history AS h ON h.customer_id = g.customer COLLATE \"C\" AND h.entered_at <= g.t AND g.t < coalesce(h.left_at, 'infinity')) AS missing
        UNION ALL
        SELECT * FROM (
            SELECT g.customer COLLATE \"C\", g.t, h.segment FROM rd.grid AS g JOIN lifecycle.segment_history AS h ON h.customer_id = g.customer COLLATE \"C\" AND h.entered_at <= g.t AND g.t < coalesce(h.left_at, 'infinity')
             WHERE h.segment IN (SELECT segment COLLATE \"C\" FROM rd.expected)
            EXCEPT
            SELECT customer COLLATE \"C\", t, segment COLLATE \"C\" FROM rd.expected WHERE held) AS too_many"
    none "$1: every segment has had members" "SELECT u.segment FROM (SELECT segment, bool_or(held) AS ever FROM rd.expected GROUP BY 1) AS u WHERE u.ever IS NOT TRUE"
}

need_data cdnow/CDNOW_master.txt.gz online_retail/online_retail.csv.xz
new_database lifecycle_daily
run -c "CREATE UNLOGGED TABLE rd.cdnow (line bigint GENERATED ALWAYS AS IDENTITY, customer text, day date, cds int, amount numeric)"
gzip -dc "$data/cdnow/CDNOW_master.txt.gz" | tail -n +2 | tr -d '\r' | sed -E 's/^ +//; s/ +/,/g' |
    run -c "COPY rd.cdnow (customer, day, cds, amount) FROM stdin (FORMAT csv)"
run -c "CREATE TABLE rd.purchases AS SELECT 'order' AS kind, line::text AS id, customer, amount, day::timestamp AT TIME ZONE 'UTC' AS at FROM rd.cdnow"
day_by_day CDNOW '1997-01-01 00:00+00' '1998-12-31 00:00+00'

new_database lifecycle_daily
run -c 'CREATE UNLOGGED TABLE rd.online_retail (
    invoice text, stock_code text, description text, quantity int, invoice_ts timestamp, unit_price numeric, customer text, country text)'
xz -dc "$data/online_retail/online_retail.csv.xz" | run -c "COPY rd.online_retail FROM stdin (FORMAT csv, HEADER)"
run -c "CREATE TABLE rd.purchases AS
    SELECT CASE WHEN invoice LIKE 'C%' THEN 'refund' ELSE 'order' END AS kind, invoice AS id, min(customer) AS customer, abs(sum(quantity * unit_price)) / 10 AS amount,
           min(invoice_ts) AT TIME ZONE 'Europe/London' AS at FROM rd.online_retail WHERE customer IS NOT NULL GROUP BY invoice"
day_by_day 'Online Retail' '2010-12-01 00:00+00' '2012-03-31 00:00+00'
finish
