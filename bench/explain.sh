#!/usr/bin/env bash
# What it costs to explain one customer, among few and among many, and how fast the future is foreseen. README.md has the method and its limits.
. "$(dirname "$0")/../tools/lib.sh"

CUSTOMERS=${CUSTOMERS:-100000}  # and ten times as many
DURATION=${DURATION:-5}         # seconds of one pgbench run

need_postgres
cluster=$("$root/tools/cluster.sh" new <(cat <<-CONF
	synchronous_commit = off
	max_wal_size = 8GB
	client_min_messages = warning
	jit = off
	lifecycle.worker = off
CONF
))
finish() { local code=$?; trap - EXIT; "$root/tools/cluster.sh" drop "$cluster" || true; exit $code; }
trap finish EXIT
eval "$("$root/tools/cluster.sh" env "$cluster")"
sql() { psql -XqAt -v ON_ERROR_STOP=1 -d run "$@"; }

fill() {  # customers: three orders each over the last 400 days; of the last 1,000 in the last hour, so that they are on the way through scenarios
    psql -XqAt -d postgres -c "DROP DATABASE IF EXISTS run" -c "CREATE DATABASE run"
    sql -o /dev/null <<-SQL
	CREATE EXTENSION pg_lifecycle;
	SELECT lifecycle.install_playbook();
	SET lifecycle.backfill_at_once = 1000000000;
	CREATE TABLE people AS SELECT i AS id, 'c' || i || '@example.org' AS email FROM generate_series(1, $1) AS i;
	CREATE TABLE orders AS SELECT i AS id, 1 + i * 7919::bigint % $1 AS customer, 10 + i % 500 AS amount, now() - i % 400 * interval '1 day' AS placed_at
	                         FROM generate_series(1, 3 * $1) AS i;
	SELECT lifecycle.attach('people', 'customer', '{"customer": "id", "email": "email"}');
	SELECT lifecycle.attach('orders', 'order', '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "placed_at"}');
	UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
	INSERT INTO orders SELECT 10 * $1 + i, i, 100, now() FROM generate_series(1, 1000) AS i;
	SQL
    sql -c "SELECT lifecycle.tick()" -c "VACUUM ANALYZE" >/dev/null
}

latency() {  # call, with :c for the customer
    printf '\\set c random(1, 1000)\nSELECT * FROM %s\n' "$1" >"$cluster/script"
    pgbench -n -M prepared -T "$DURATION" -f "$cluster/script" run | sed -n 's/^latency average = \(.*\) ms/\1/p'
}

printf '| milliseconds for one customer | of %s | of %s | ratio |\n| --- | --- | --- | --- |\n' "$CUSTOMERS" $((10 * CUSTOMERS))
declare -A few
for customers in "$CUSTOMERS" $((10 * CUSTOMERS)); do
    fill "$customers"
    for call in "explain(:c::text)" "why(:c::text, 'post_purchase')" "timeline(:c::text)" "next_actions(:c::text)"; do
        took=$(latency "lifecycle.$call")
        if [ "$customers" = "$CUSTOMERS" ]; then
            few[$call]=$took
        else
            printf '| %s | %s | %s | %s |\n' "${call%%(*}" "${few[$call]}" "$took" "$(awk "BEGIN { printf \"%.1f\", $took / ${few[$call]} }")"
        fi
    done
done

printf '\n30 days of these 1,000 foreseen: %s\n' "$(sql -c "SELECT count(*) || ' messages, ' || round(1000 * extract(epoch FROM clock_timestamp() - statement_timestamp())) || ' ms'
    FROM lifecycle.foresee(ARRAY(SELECT i::text FROM generate_series(1, 1000) AS i), lifecycle.now(), lifecycle.now() + interval '30 days')")"
