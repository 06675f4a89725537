#!/usr/bin/env bash
# Scenarios: what steps that fall due cost beside the plain insert of the same messages, on one session and on two, and what an enrolment adds to
# a single order, all in one run on a scratch cluster. README.md has the method and its limits.
. "$(dirname "$0")/../tools/lib.sh"

STEPS=${STEPS:-50000}              # due at once; 1000000 for the real thing
ROUNDS=${ROUNDS:-3}
CUSTOMERS=${CUSTOMERS:-20000}      # who place single orders
DURATION=${DURATION:-5}            # of one pgbench run, in seconds
CLIENTS=${CLIENTS:-8}
WHAT=${WHAT:-steps single}

need_postgres
here=$root/bench
cluster=$("$root/tools/cluster.sh" new <(cat <<-CONF
	synchronous_commit = off
	wal_level = replica
	shared_buffers = 1GB
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

fresh() {  # customers, orders of each before, scenario, settings
    sql -d postgres -c "DROP DATABASE IF EXISTS run WITH (FORCE)" -c "CREATE DATABASE run"
    sql -d run -c "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint, amount numeric(12,2), placed_at timestamptz)"
    PGOPTIONS="$4" sql -d run -o /dev/null -v customers="$1" -v history="$2" -v scenario="$3" -f "$here/scenarios.sql"
}

# Seconds, and those on the processor, of one statement.
timed() {  # before it, statement
    sql -d run -F ' ' <<-SQL | tail -1
	$1;
	SELECT clock_timestamp() AS begun, split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint AS ran \gset
	$2;
	SELECT extract(epoch FROM clock_timestamp() - :'begun'::timestamptz), (split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint - :ran) / 1e9;
	SQL
}

# What has been written so far reaches the disk before something is measured, not meanwhile.
settle() { sql -d run -c CHECKPOINT; sync; }

placed="-c lifecycle.clock=2030-06-01T12:00Z"
due="SET lifecycle.clock = '2030-06-02 12:00+00'"

# Everybody has ordered a day ago, and the first step is due.
wait_for_step() {
    local n
    fresh "$STEPS" 0 enrols "$placed"
    PGOPTIONS="$placed" sql -d run -c "INSERT INTO orders (customer_id, amount, placed_at) SELECT n, 20, lifecycle.now() FROM generate_series(1, $STEPS) AS n"
    sql -d run -c "VACUUM ANALYZE"
    settle
    n=$(sql -d run -c "SELECT count(*) FROM lifecycle.timer WHERE due_at <= '2030-06-02 12:00+00'")
    [ "$n" = "$STEPS" ] || die "$n steps are due, not $STEPS"
}
enqueued() {
    local n
    n=$(sql -d run -c "SELECT count(*) FROM lifecycle.outbox WHERE status = 'pending'")
    [ "$n" = "$STEPS" ] || die "$n messages are there, not $STEPS"
}

# Seconds until two sessions, each with a statement of its own, are both done.
together() {  # before them, statement, statement
    local begun statement pids=() pid
    begun=$(date +%s.%N)
    for statement in "$2" "$3"; do sql -d run -o /dev/null -c "$1" -c "$statement" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid"; done
    awk -v a="$begun" -v b="$(date +%s.%N)" 'BEGIN { print b - a }'
}

# The rival writes the same rows into the same table, which has been emptied, with the same indexes.
steps() {
    local half=$((STEPS / 2))
    wait_for_step
    timed "$due" "SELECT lifecycle.tick()" >>"$work/tick"
    enqueued
    sql -d run -c "CREATE TABLE messages AS SELECT * FROM lifecycle.outbox ORDER BY message_id" -c "TRUNCATE lifecycle.outbox"
    settle
    timed "SELECT count(*) FROM messages" "INSERT INTO lifecycle.outbox SELECT * FROM messages" >>"$work/insert"
    sql -d run -c "CREATE TABLE others AS SELECT * FROM messages ORDER BY message_id OFFSET $half" \
        -c "DELETE FROM messages WHERE message_id IN (SELECT message_id FROM others)" -c "VACUUM messages" -c "TRUNCATE lifecycle.outbox"
    settle
    together "SELECT count(*) FROM messages" "INSERT INTO lifecycle.outbox SELECT * FROM messages" "INSERT INTO lifecycle.outbox SELECT * FROM others" >>"$work/insert_two"
    wait_for_step
    together "$due" "SELECT lifecycle.tick()" "SELECT lifecycle.tick()" >>"$work/two"
    enqueued
}

# Customers who ordered lately order again.
single() {  # scenario
    fresh "$CUSTOMERS" 3 "$1" ""
    sql -d run -c "VACUUM ANALYZE"
    settle
    pgbench -n -M prepared -c "$CLIENTS" -j 2 -D customers="$CUSTOMERS" -f "$here/single.sql" -T 1 run >/dev/null 2>&1
    pgbench -n -M prepared -c "$CLIENTS" -j 2 -D customers="$CUSTOMERS" -f "$here/single.sql" -T "$DURATION" run 2>/dev/null |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p' >>"$work/single.$1"
}

report_steps() {
    local what seconds cpu base base_cpu
    base=$(cut -d' ' -f1 "$work/insert" | median)
    base_cpu=$(cut -d' ' -f2 "$work/insert" | median)
    printf '\n%s steps due at once, beside the plain insert of the same messages\n' "$STEPS"
    for what in "insert INSERT ... SELECT" "insert_two   in two sessions" "tick tick()" "two   in two sessions"; do
        seconds=$(cut -d' ' -f1 "$work/${what%% *}" | median)
        cpu=$(cut -s -d' ' -f2 "$work/${what%% *}" | median)
        awk -v name="${what#* }" -v s="$seconds" -v c="$cpu" -v b="$base" -v bc="$base_cpu" -v n="$STEPS" 'BEGIN {
            printf "  %-24s %8.3f s   %7.1f us each   %5.2fx", name, s, s / n * 1e6, s / b
            if (c > 0) printf "   on the processor %7.1f us each   %5.2fx", c / n * 1e6, c / bc
            print "" }'
    done
}

report_single() {
    local scenario base
    printf '\nSingle orders, %s clients: transactions a second, and as a part of those without an active scenario\n' "$CLIENTS"
    base=$(median <"$work/single.none")
    for scenario in none waits enrols; do
        awk -v name="$scenario" -v tps="$(median <"$work/single.$scenario")" -v base="$base" 'BEGIN { printf "  %-12s %8.0f   %.2fx\n", name, tps, tps / base }'
    done
}

for what in $WHAT; do
    for ((round = 1; round <= ROUNDS; ++round)); do
        case $what in
            steps) steps ;;
            single) for scenario in none waits enrols; do single "$scenario"; done ;;
        esac
    done
    "report_$what"
done
