#!/usr/bin/env bash
# Segments and points: what a tick costs, and what they add to an order, beside what one would do by hand, all in one run on a scratch cluster.
# README.md has the method and its limits.
#   segments.sh [tick] [define] [classify] [single] [latency]    without a name: all five
. "$(dirname "$0")/../tools/lib.sh"

SIZES=${SIZES:-50000 200000}       # customers; "100000 1000000 10000000" for the real thing
DUE=${DUE:-10000}                  # of them, whom time moves to another segment at one instant
TICKS=${TICKS:-5}                  # such instants, an hour apart
RIVALS=${RIVALS-yes}               # of the ticks; empty: none, which saves most of the time among ten million
ROUNDS=${ROUNDS:-3}
DURATION=${DURATION:-5}            # of one pgbench run, in seconds
CLIENTS=${CLIENTS:-8}
LATENCIES=${LATENCIES:-20}
IDLE=${IDLE:-60}                   # seconds in which nothing is due, after these

asked=" ${*:-tick define classify single latency} "
wanted() { [[ $asked = *" $1 "* ]]; }

need_postgres
here=$root/bench
cluster=$("$root/tools/cluster.sh" new <(cat <<-CONF
	synchronous_commit = off
	wal_level = replica
	shared_buffers = $(awk '/^MemTotal/ { print int($2 / 2048) }' /proc/meminfo)MB
	max_wal_size = 8GB
	checkpoint_timeout = 1h
	autovacuum = off
	client_min_messages = warning
	jit = off
CONF
))
work=$(mktemp -d)
finish() { local code=$?; trap - EXIT; "$root/tools/cluster.sh" drop "$cluster" || true; rm -rf "$work"; exit $code; }
trap finish EXIT
eval "$("$root/tools/cluster.sh" env "$cluster")"
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

# Seconds that a statement takes, after others in the same session.
timed() {  # database, statement, before it
    sql -d "$1" <<-SQL | tail -1
	$3;
	SELECT clock_timestamp() AS begun \gset
	$2;
	SELECT extract(epoch FROM clock_timestamp() - :'begun'::timestamptz);
	SQL
}

fresh() {  # database
    sql -d postgres -c "DROP DATABASE IF EXISTS $1 WITH (FORCE)" -c "CREATE DATABASE $1"
    sql -d "$1" -c "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint, amount numeric(12,2), placed_at timestamptz)"
}

# Two orders for each customer; the last orders of $DUE of them, spread over all, are such that they fall at risk at one instant, those of others an
# hour later, and so on.
orders_of() {  # database, customers
    local apart=$(($2 / (DUE * TICKS)))
    sql -d "$1" -o /dev/null -c "SELECT setseed(0.42)" -c "INSERT INTO orders (customer_id, amount, placed_at)
        SELECT n, (5 + random() * 195)::numeric(12,2),
               CASE WHEN k = 1 THEN timestamptz '2030-01-01' - random() * interval '200 days'
                    WHEN n % $apart = 0 AND n <= $apart * $DUE * $TICKS THEN timestamptz '2030-06-01 13:00+00' - interval '60 days' + n / $apart % $TICKS * interval '1 hour'
                    ELSE timestamptz '2030-06-01' - random() * interval '40 days' END
          FROM generate_series(1, $2) AS n, generate_series(1, 2) AS k ORDER BY 3"
}

by_hand="SELECT customer_id, CASE WHEN last > t - interval '60 days' AND last > previous + interval '90 days' THEN 'reactivated'
                                  WHEN last > t - interval '60 days' AND n = 1 THEN 'new' WHEN last > t - interval '60 days' THEN 'active'
                                  WHEN last > t - interval '90 days' THEN 'at_risk' WHEN last > t - interval '180 days' THEN 'dormant' ELSE 'lost' END AS segment
           FROM (SELECT customer_id, count(*) AS n, max(placed_at) AS last, (array_agg(placed_at ORDER BY placed_at DESC))[2] AS previous FROM orders GROUP BY 1) AS c,
                shop_clock"
a_segment="INSERT INTO lifecycle.segment (name, predicate) VALUES ('one', 'revenue > 150 AND last_order_at < now() - interval ''30 days''')"
a_statement="CREATE TABLE one AS SELECT customer_id FROM orders, shop_clock GROUP BY customer_id, t HAVING sum(amount) > 150 AND max(placed_at) < t - interval '30 days'"
at_noon="SET lifecycle.clock = '2030-06-01 12:00+00'"

# A worker's process has met all pages sooner or later: what it costs to map them into a process is paid once.
read_all="SET enable_indexscan = off; SET enable_bitmapscan = off;
    SELECT count(*) FROM (SELECT FROM lifecycle.customer OFFSET 0) AS x; SELECT count(*) FROM (SELECT FROM lifecycle.timer OFFSET 0) AS x;
    SELECT count(*) FROM (SELECT FROM lifecycle.segment_member OFFSET 0) AS x; RESET ALL; SET enable_seqscan = off; SET enable_bitmapscan = off;
    SELECT count(*) FROM (SELECT FROM lifecycle.customer ORDER BY customer_id OFFSET 0) AS x; SELECT count(*) FROM (SELECT FROM lifecycle.timer ORDER BY due_at OFFSET 0) AS x;
    SELECT count(*) FROM (SELECT FROM lifecycle.segment_member ORDER BY segment OFFSET 0) AS x; RESET ALL"

# Seconds of the ticks from one instant to another, in one session, each just after a checkpoint: else the ticks before have paid for the images of the
# pages that it meets, and the more of them the fewer customers there are. What was written before reaches the disk before a tick, not meanwhile.
ticks() {  # first, last, before them
    local n
    { echo "SET max_parallel_workers_per_gather = 0; $3;"
      for ((n = $1; n <= $2; ++n)); do
          cat <<-SQL
		SET lifecycle.clock = '2030-06-01 $((12 + n)):00+00';
		CHECKPOINT;
		\! sync
		SELECT clock_timestamp() AS begun \gset
		SELECT lifecycle.tick();
		SELECT 'took ' || extract(epoch FROM clock_timestamp() - :'begun'::timestamptz);
		SQL
      done; } | sql -d run | sed -n 's/^took //p'
}

# pg_lifecycle, and what it is compared with: everything worked out anew from the orders.
tick() {  # customers
    local due
    fresh run
    sql -d run -o /dev/null -c "$at_noon" -f "$here/lifecycle.sql"
    PGOPTIONS="-c lifecycle.clock=2030-06-01T12:00Z" orders_of run "$1"
    sql -d run -c "VACUUM ANALYZE" -c CHECKPOINT
    due=$(sql -d run -c "SELECT count(*) FROM lifecycle.timer WHERE due_at <= '2030-06-01 13:00+00'")
    [ "$due" = "$DUE" ] || die "$due customers are due, not $DUE"
    ticks 1 1 "SELECT 1" >>"$work/first"
    ticks 2 "$TICKS" "$read_all" >>"$work/lifecycle"
    [ "$(sql -d run -c "SELECT members FROM lifecycle.segment_size WHERE segment = 'at_risk'")" = $((TICKS * DUE)) ] || die "the ticks have missed somebody"
    [ -n "$RIVALS" ] || return 0
    fresh hand
    orders_of hand "$1"
    sql -d hand -c "CREATE TABLE shop_clock AS SELECT timestamptz '2030-06-01 12:00+00' AS t" -c "CREATE MATERIALIZED VIEW seen AS $by_hand" \
        -c "CREATE UNIQUE INDEX ON seen (customer_id)" -c "CREATE TABLE member (customer_id bigint PRIMARY KEY, segment text)" -c "INSERT INTO member $by_hand" \
        -c "UPDATE shop_clock SET t = '2030-06-01 13:00+00'" \
        -c "CREATE TABLE moves AS SELECT s.customer_id, s.segment FROM ($by_hand) AS s JOIN member AS m USING (customer_id) WHERE s.segment <> m.segment" \
        -c "CREATE TABLE profile (customer_id bigint PRIMARY KEY, segment text, rest text) WITH (fillfactor = 50)" \
        -c "INSERT INTO profile SELECT customer_id, segment, repeat('x', 300) FROM member" -c "VACUUM ANALYZE" -c CHECKPOINT
    timed hand "REFRESH MATERIALIZED VIEW CONCURRENTLY seen" "SELECT 1" >>"$work/refresh"
    timed hand "UPDATE member AS m SET segment = s.segment FROM ($by_hand) AS s WHERE s.customer_id = m.customer_id AND s.segment <> m.segment" "SELECT 1" >>"$work/nightly"
    sql -d hand -c CHECKPOINT
    timed hand "UPDATE profile AS p SET segment = m.segment FROM moves AS m WHERE m.customer_id = p.customer_id" \
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT count(*) FROM (SELECT FROM profile OFFSET 0) AS x" >>"$work/keyed"
    if wanted define; then
        timed run "$a_segment" "SET lifecycle.clock = '2030-06-01 $((12 + TICKS)):00+00'; SET lifecycle.redefine_at_once = $((2 * $1))" >>"$work/define"
        timed hand "$a_statement" "SELECT 1" >>"$work/statement"
    fi
}

# All customers into all segments of the playbook for the first time, against one statement from the orders, five for each customer.
classify() {  # customers
    fresh run
    sql -d run -o /dev/null -c "$at_noon" -v whole_playbook=true -f "$here/lifecycle.sql"
    sql -d run -c "CREATE TABLE playbook AS TABLE lifecycle.segment" -c "DELETE FROM lifecycle.segment"
    PGOPTIONS="-c lifecycle.clock=2030-06-01T12:00Z" sql -d run -o /dev/null -c "SELECT setseed(0.42)" -c "INSERT INTO orders (customer_id, amount, placed_at)
        SELECT 1 + floor(random() * $1), (5 + random() * 195)::numeric(12,2), timestamptz '2030-06-01' - random() * interval '300 days' FROM generate_series(1, 5 * $1) ORDER BY 3"
    sql -d run <<-SQL
	CREATE TABLE member (segment text COLLATE "C", customer_id text COLLATE "C", PRIMARY KEY (segment, customer_id));
	CREATE TABLE shop_clock AS SELECT timestamptz '2030-06-01 12:00+00' AS t;
	CREATE TABLE profiles (customer_id bigint, tags text[]);
	CREATE TABLE activity (customer_id bigint, last_open timestamptz, last_click timestamptz, last_visit timestamptz, first_sent timestamptz);
	CREATE TABLE carts (customer_id bigint, cart_id text, updated_at timestamptz);
	CREATE TABLE ads_consent (customer_id bigint, status text);
	VACUUM ANALYZE;
	CHECKPOINT;
	SQL
    timed run "INSERT INTO lifecycle.segment (name, dimension, rank, predicate) SELECT name, dimension, rank, predicate FROM playbook" \
        "$at_noon; SET lifecycle.redefine_at_once = $((2 * $1))" >>"$work/classify"
    sql -d run -c CHECKPOINT
    timed run "\\i $here/segments_by_hand.sql" "SELECT 1" >>"$work/by_hand"
    [ "$(sql -d run -c "SELECT count(*) FROM (SELECT segment, customer_id FROM lifecycle.segment_member EXCEPT ALL SELECT segment, customer_id FROM member) AS x" \
        -c "SELECT count(*) FROM (SELECT segment, customer_id FROM member EXCEPT ALL SELECT segment, customer_id FROM lifecycle.segment_member) AS x")" = $'0\n0' ] ||
        die "the statement by hand and the segments differ"
}

report_ticks() {  # customers
    local what s
    printf '\n%s customers, %s of them due\n' "$1" "$DUE"
    for what in "first tick(), in a session that has just begun" "lifecycle tick(), in one that has met the tables before" "refresh REFRESH MATERIALIZED VIEW CONCURRENTLY" "nightly UPDATE of what differs, from all orders" \
        "keyed UPDATE of rows of 350 bytes, known by key"; do
        [ -f "$work/${what%% *}" ] || continue
        s=$(median <"$work/${what%% *}")
        awk -v name="${what#* }" -v s="$s" -v due="$DUE" -v spread="$(sort -g "$work/${what%% *}" | sed -n '1p;$p' | paste -sd-)" \
            'BEGIN { split(spread, ends, "-"); printf "  %-48s %8.3f s   %7.1f us for each who moves   %.3f-%.3f\n", name, s, s / due * 1e6, ends[1], ends[2] }'
    done
    for what in "define a new segment, defined" "statement the same once, by hand" "classify the playbook's segments, the first time" "by_hand the same memberships, by one statement"; do
        [ -f "$work/${what%% *}" ] || continue
        s=$(median <"$work/${what%% *}")
        awk -v name="${what#* }" -v s="$s" -v all="$1" 'BEGIN { printf "  %-48s %8.3f s   %7.1f us for each customer\n", name, s, s / all * 1e6 }'
    done
}

# What 20 predicates more, or points, add to a single order.
single() {  # name
    fresh run
    case $1 in
        bare) ;;
        points) sql -d run -o /dev/null -v points=true -f "$here/lifecycle.sql" ;;
        *) sql -d run -o /dev/null -f "$here/lifecycle.sql" ;;
    esac
    [ "$1" != predicates ] || sql -d run -c "INSERT INTO lifecycle.segment (name, predicate)
        SELECT 'p' || n, format('revenue > %s AND last_order_at > now() - interval ''%s days''', 1000000 * n, 10 * n) FROM generate_series(1, 20) AS n"
    sql -d run -c "INSERT INTO orders (customer_id, amount, placed_at) SELECT n, 20, now() - random() * interval '40 days' FROM generate_series(1, 20000) AS n" \
        -c "VACUUM ANALYZE" -c CHECKPOINT
    pgbench -n -M prepared -c "$CLIENTS" -j 2 -D customers=20000 -f "$here/single.sql" -T 1 run >/dev/null 2>&1
    pgbench -n -M prepared -c "$CLIENTS" -j 2 -D customers=20000 -f "$here/single.sql" -T "$DURATION" run 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p' >>"$work/single.$1"
}

# How long after the instant at which time moves a customer another session sees what the worker has done.
latency() {
    fresh run
    sql -d run -o /dev/null -f "$here/lifecycle.sql" \
        -c "INSERT INTO lifecycle.segment (name, predicate) VALUES ('second', 'last_order_at <= now() - interval ''1 second''')"
    local n
    for ((n = 1; n <= LATENCIES; ++n)); do
        sql -d run <<-SQL | tail -1
		INSERT INTO orders (customer_id, amount, placed_at) VALUES ($n, 10, now());
		DO \$\$
		BEGIN
		    WHILE NOT EXISTS (SELECT FROM lifecycle.segment_member WHERE segment = 'second' AND customer_id = '$n') LOOP PERFORM pg_sleep(0.0005); END LOOP;
		    PERFORM set_config('bench.seen', clock_timestamp()::text, false);
		END \$\$;
		SELECT 1000 * extract(epoch FROM current_setting('bench.seen')::timestamptz - entered_at)
		  FROM lifecycle.segment_member WHERE segment = 'second' AND customer_id = '$n';
		SQL
    done
}

if wanted tick || wanted define || wanted classify; then
    for size in $SIZES; do
        rm -f "$work"/*
        for ((round = 1; round <= ROUNDS; ++round)); do
            if wanted tick || wanted define; then tick "$size"; fi
            if wanted classify; then classify "$size"; fi
        done
        report_ticks "$size"
    done
fi
if wanted single; then
    for ((round = 1; round <= ROUNDS; ++round)); do
        for name in bare playbook predicates points; do single "$name"; done
    done
    printf '\nSingle-row inserts, %s clients: transactions a second, and as a part of those without pg_lifecycle\n' "$CLIENTS"
    base=$(median <"$work/single.bare")
    for name in bare playbook predicates points; do
        awk -v name="$name" -v tps="$(median <"$work/single.$name")" -v base="$base" 'BEGIN { printf "  %-12s %8.0f   %.2fx\n", name, tps, tps / base }'
    done
fi
if wanted latency; then
    wake_ups="SELECT wake_ups FROM lifecycle.status"
    latency | sort -g | awk '{ v[NR] = $1 } END {
        printf "\nDue to visible, by the worker: median %.1f ms, 99th percentile %.1f ms, worst of %d %.1f ms\n", v[int((NR + 1) / 2)], v[int(NR * 0.99 + 0.5)], NR, v[NR] }'
    before=$(sql -d run -c "$wake_ups")
    sleep "$IDLE"
    printf '  woken up %s times in %s s in which nothing was due; a nap lasts %s at most\n' \
        $(($(sql -d run -c "$wake_ups") - before)) "$IDLE" "$(sql -d run -c "SHOW lifecycle.worker_nap")"
fi
