#!/usr/bin/env bash
# The outbox against other queues in PostgreSQL, all in one run on a scratch cluster: claim and ack in batches of 100 with 4 consumers; the
# same with a long history while an old snapshot is held; and the disk that history takes. README.md has the method and its limits.
#   outbox.sh [rate] [ageing] [disk]    without a name: all three
. "$(dirname "$0")/../tools/lib.sh"

MESSAGES=${MESSAGES:-40000}        # drained for the rate
ROUNDS=${ROUNDS:-2}
HISTORY=${HISTORY:-100000}         # sent before the ageing run; 10000000 for the real thing
AGE_MESSAGES=${AGE_MESSAGES:-80000} # through the queue while the snapshot is held
RATE=${RATE:-2000}                 # messages a second in the ageing run
DISK_MESSAGES=${DISK_MESSAGES:-200000} # through the outbox for the disk: measured at half of them and at the end
CONTENDERS=${CONTENDERS:-lifecycle plain pgmq pgq}

asked=" ${*:-rate ageing disk} "
wanted() { [[ $asked = *" $1 "* ]]; }

need_postgres
here=$root/bench
cluster=$("$root/tools/cluster.sh" new <(cat <<-CONF
	synchronous_commit = off
	max_wal_size = 8GB
	checkpoint_timeout = 1h
	autovacuum_naptime = 1s
	autovacuum_vacuum_cost_delay = 0
	client_min_messages = warning
	jit = off
	lifecycle.worker_nap = 1s
	CONF
))
finish() { local code=$?; trap - EXIT; kill $(jobs -p) 2>/dev/null || true; "$root/tools/cluster.sh" drop "$cluster" || true; exit $code; }
trap finish EXIT
eval "$("$root/tools/cluster.sh" env "$cluster")"
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
say() { printf '%s\n' "$*" >&2; }

fresh() {  # contender: a database of its own, without a history
    sql -d postgres -c "DROP DATABASE IF EXISTS run WITH (FORCE)"
    sql -d postgres -c "CREATE DATABASE run"
    sql -d run -o /dev/null -f "$here/outbox.sql"
    [ "$1" != pgq ] || sql -d run -o /dev/null -f "$here/outbox_pgq.sql"
}
consume() {  # contender, total
    local n
    for n in 0 1 2 3; do sql -d run -c "CALL bench.$1_work($n, $2)" & consumers+=($!); done
}
await() { local pid; for pid in "${consumers[@]}"; do wait "$pid"; done; consumers=(); }
consumers=()
check() {  # contender, messages: none lost, none twice
    local got
    got=$(sql -d run -c "SELECT sum(messages) FROM bench.claim")
    [ "$got" = "$2" ] || { say "$1 has claimed $got of $2 messages"; exit 1; }
}

if ! sql -d postgres -c "SELECT name FROM pg_available_extensions" | grep -qx pgq; then
    CONTENDERS=${CONTENDERS//pgq/}
    say "PgQ is left out: install Debian's postgresql-15-pgq3"
fi

rate() {  # contender
    fresh "$1"
    sql -d run -c "CALL bench.$1_put(1, $MESSAGES)"
    sql -d run -c "SELECT setval('bench.done', $MESSAGES)" -c "VACUUM ANALYZE" -c CHECKPOINT >/dev/null
    consume "$1" "$MESSAGES"
    await
    check "$1" "$MESSAGES"
    sql -d run -c "SELECT round($MESSAGES / extract(epoch FROM max(at + took) - min(at))) FROM bench.claim" >>"$cluster/rate.$1"
}

age() {  # contender
    local holder
    fresh "$1"
    sql -d run -c "CALL bench.$1_put($AGE_MESSAGES + 1, $AGE_MESSAGES + $HISTORY, 'sent')" -c "VACUUM ANALYZE" -c CHECKPOINT
    sql -d run -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT 1" -c "SELECT pg_sleep(100000)" >/dev/null 2>&1 & holder=$!
    consume "$1" "$AGE_MESSAGES"
    sql -d run >/dev/null <<-SQL
	DO \$\$
	DECLARE began timestamptz := clock_timestamp();
	BEGIN
	    FOR start IN 1 .. $AGE_MESSAGES BY 100 LOOP
	        CALL bench.$1_put(start, least(start + 99, $AGE_MESSAGES));
	        COMMIT;
	        PERFORM pg_sleep(extract(epoch FROM began + start * interval '1 second' / $RATE - clock_timestamp()))
	          WHERE clock_timestamp() < began + start * interval '1 second' / $RATE;
	    END LOOP;
	    PERFORM setval('bench.done', $AGE_MESSAGES);
	END \$\$;
	SQL
    await
    kill "$holder" 2>/dev/null || true
    check "$1" "$AGE_MESSAGES"
    sql -d run -F ' ' -c "
        WITH c AS (SELECT extract(epoch FROM took) * 1000 AS ms, ntile(10) OVER (ORDER BY at) AS tenth FROM bench.claim),
             p AS (SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FILTER (WHERE tenth = 1) AS first,
                          percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FILTER (WHERE tenth = 10) AS last,
                          percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE tenth = 1) AS median_first,
                          percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE tenth = 10) AS median_last FROM c)
        SELECT round(first::numeric, 2), round(last::numeric, 2), round((last / first)::numeric, 2), round(median_first::numeric, 2),
               round(median_last::numeric, 2) FROM p" >"$cluster/age.$1"
}

# Through the outbox with retention: the clock runs a day for each twentieth, and four days are kept.
disk() {
    local n step=$((DISK_MESSAGES / 20)) at
    fresh lifecycle
    sql -d postgres -c "ALTER DATABASE run SET lifecycle.worker = off" 2>/dev/null || true
    sql -d run -c "INSERT INTO lifecycle.outbox_policy (keep) VALUES ('4 days')"
    for n in $(seq 1 20); do
        at="timestamptz '2027-01-01' + $n * interval '1 day'"
        sql -d run >/dev/null <<-SQL
	SELECT set_config('lifecycle.clock', ($at)::text, false);
	CALL bench.lifecycle_put(($n - 1) * $step + 1, $n * $step);
	UPDATE lifecycle.outbox SET due_at = lifecycle.now() WHERE status = 'pending';
	SELECT setval('bench.done', 0);
	CALL bench.lifecycle_work(0, 0, false);
	SELECT lifecycle.tick();
	VACUUM;
	SQL
        case $n in 10|20) sql -d run -c "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('lifecycle.outbox')" >>"$cluster/disk" ;; esac
    done
}

for ((round = 1; round <= ROUNDS; round++)); do
    for contender in $CONTENDERS; do wanted rate && { say "rate, round $round: $contender"; rate "$contender"; }; done
done
for contender in $CONTENDERS; do wanted ageing && { say "ageing: $contender"; age "$contender"; }; done
if wanted disk; then say "disk"; disk; fi

sql -d postgres -c "SELECT split_part(version(), ' on ', 1)"
printf '%s messages, %s rounds; ageing with %s in history and %s more at %s/s; %s cores\n' "$MESSAGES" "$ROUNDS" "$HISTORY" "$AGE_MESSAGES" "$RATE" "$(nproc)"
tell_rate() {
    local contender median ours=0 best=0
    printf '\nClaim and ack, batches of 100, 4 consumers: messages a second (higher is better)\n  target for pg_lifecycle: the best of the others\n'
    for contender in $CONTENDERS; do
        median=$(sort -g "$cluster/rate.$contender" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }')
        printf '  %-12s %8.0f   %s\n' "$contender" "$median" "$(sort -g "$cluster/rate.$contender" | sed -n '1p;$p' | paste -sd- )"
        if [ "$contender" = lifecycle ]; then ours=$median; elif awk "BEGIN { exit !($median > $best) }"; then best=$median; fi
    done
    [ "$best" = 0 ] || awk "BEGIN { printf \"  pg_lifecycle / best of the others: %.2fx\n\", $ours / $best }"
}
tell_ageing() {
    local contender first last ratio m1 m2
    printf '\nAgeing with a snapshot held all the time: p99 of claim in ms (lower is better)\n  target for pg_lifecycle: last tenth <= 1.5x first tenth\n'
    printf '  %-12s %12s %12s %7s   %s\n' contender 'first tenth' 'last tenth' ratio 'medians'
    for contender in $CONTENDERS; do
        read -r first last ratio m1 m2 <"$cluster/age.$contender"
        printf '  %-12s %12s %12s %6sx   %s, %s\n' "$contender" "$first" "$last" "$ratio" "$m1" "$m2"
    done
}
tell_disk() {
    local half whole
    { read -r half; read -r whole; } <"$cluster/disk"
    printf '\nDisk of the outbox with retention, after %s and %s messages\n  target: <= 1.20x\n' $((DISK_MESSAGES / 2)) "$DISK_MESSAGES"
    awk "BEGIN { printf \"  %.1f MB, %.1f MB: %.2fx\n\", $half / 1048576, $whole / 1048576, $whole / $half }"
}
for part in rate ageing disk; do if wanted $part; then tell_$part; fi; done
