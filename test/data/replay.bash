# Sourced by the scripts beside it: replays real orders month by month and compares everything with plain SQL.
# A script loads schema rd, then fills shop.orders and shop.refunds (id, customer, amount, at) and calls replay.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=${LIFECYCLE_DATA:-$here/../../../shared/data}
failed=0

need_data() {
    local file
    for file in "$@"; do
        if [ ! -r "$data/$file" ]; then echo "skipped: no $data/$file"; exit 0; fi
    done
}

run() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
at() { run -c "SET lifecycle.clock = '$1'" -c "$2"; }

# none NAME QUERY: holds if the query returns no row.
none() {
    local rows
    rows=$(run -c "SET timezone = 'UTC'" -c "$2")
    if [ -z "$rows" ]; then echo "ok - $1"; return; fi
    echo "not ok - $1 ($(wc -l <<<"$rows") rows)"
    head -10 <<<"$rows" | sed 's/^/    /'
    failed=1
}

is() {  # is NAME EXPECTED QUERY
    local got
    got=$(run -c "$3")
    if [ "$got" = "$2" ]; then echo "ok - $1"; else echo "not ok - $1: got $got, expected $2"; failed=1; fi
}

new_database() {
    export PGOPTIONS='-c client_min_messages=warning -c timezone=UTC -c jit=off'
    PGDATABASE=postgres run -c "DROP DATABASE IF EXISTS $1" -c "CREATE DATABASE $1"
    export PGDATABASE=$1
    run -f - <<-'SQL'
	CREATE SCHEMA rd;
	CREATE SCHEMA shop;
	CREATE TABLE shop.orders (id text PRIMARY KEY, customer text NOT NULL, amount numeric NOT NULL, at timestamptz NOT NULL);
	CREATE TABLE shop.refunds (LIKE shop.orders INCLUDING ALL);
	CREATE SCHEMA oracle;
	CREATE VIEW oracle.orders AS SELECT customer AS customer_id, id, at, amount FROM shop.orders;
	CREATE VIEW oracle.refunds AS SELECT customer AS customer_id, id, at, amount FROM shop.refunds;
	SQL
}

install() {  # install CLOCK: the extension, the playbook, both tables
    run -f - <<-SQL
	SET lifecycle.clock = '$1';
	DROP EXTENSION IF EXISTS pg_lifecycle CASCADE;
	CREATE EXTENSION pg_lifecycle;
	SELECT lifecycle.install_playbook();
	UPDATE lifecycle.scenario SET status = 'active' WHERE name IN ('win_back', 'loyalty', 'post_purchase');
	SELECT lifecycle.attach('shop.orders', 'order',
	    '{"order": "id", "customer": "customer", "amount": "amount", "placed_at": "at"}', name => 'orders');
	SELECT lifecycle.attach('shop.refunds', 'refund',
	    '{"refund": "id", "customer": "customer", "amount": "amount", "refunded_at": "at"}', name => 'refunds');
	SQL
}

compare() {  # compare CLOCK NAME
    none "$2: every customer as plain SQL says" "SELECT * FROM oracle.differences('$1') ORDER BY 1, 2"
    none "$2: no contradictions" "SELECT * FROM oracle.contradictions('$1') ORDER BY 1, 2"
}

replay() {  # replay FIRST MONTHS: attaches at the first month's end, goes on month by month, then starts over with everything at once
    local first=$1 months=$2 clock month
    run -c 'VACUUM ANALYZE shop.orders, shop.refunds'
    install "$first" >/dev/null
    run -f "$here/../tap/oracle.sql"
    compare "$first" "attached at $first"
    for ((month = 1; month <= months; ++month)); do
        clock=$(run -c "SELECT ('$first'::timestamp + interval '$month months') AT TIME ZONE 'UTC'")
        at "$clock" 'SELECT lifecycle.tick()' >/dev/null
        if [ $((month % 6)) = 0 ]; then
            compare "$clock" "$clock"
        else
            none "$clock: every segment as plain SQL says" "
                SELECT customer_id, c.lifecycle, coalesce(e.segment, 'prospect')
                  FROM (SELECT o.customer_id COLLATE \"C\" AS customer_id,
                               oracle.segment_of(count(*), (array_agg(o.at ORDER BY o.at DESC))[2], max(o.at), '$clock') AS segment
                          FROM oracle.orders AS o WHERE o.at <= '$clock' GROUP BY 1) AS e
                  FULL JOIN lifecycle.customer AS c USING (customer_id)
                 WHERE c.lifecycle IS DISTINCT FROM coalesce(e.segment, 'prospect')"
        fi
        none "$clock: nothing is left to do" "SELECT customer_id, due_at FROM lifecycle.timer WHERE due_at <= '$clock'"
    done
    # All was lived through, so all of the history is there: every stay that went on when the tables were attached, and every later one.
    none "every stay in every segment" "
        WITH expected AS (SELECT * FROM oracle.stays('$clock') WHERE left_at IS NULL OR left_at > '$first'),
             found AS (SELECT customer_id, segment, entered_at, left_at FROM lifecycle.segment_history
                       WHERE segment IN (SELECT name FROM lifecycle.segment WHERE dimension = 'lifecycle') AND segment <> 'prospect')
        (SELECT 'missing', e.* FROM (TABLE expected EXCEPT ALL TABLE found) AS e)
        UNION ALL
        (SELECT 'unexpected', f.* FROM (TABLE found EXCEPT ALL TABLE expected) AS f)"
    # An order is confirmed if it is taken in within a day of its time, which at a month's end is that day's. What the backfill found is history.
    none "each order of a month's last day is confirmed once, no other" "
        SELECT o.id, o.at, count(m.*) FROM shop.orders AS o
          LEFT JOIN lifecycle.outbox AS m ON (m.customer_id, m.scenario, m.anchor) = (o.customer, 'post_purchase', o.id)
         GROUP BY o.id
        HAVING count(m.*) <> (o.at > '$first' AND o.at >= date_trunc('month', o.at - interval '1 microsecond') + interval '1 month' - interval '1 day')::int"

    run -c "DROP EXTENSION pg_lifecycle CASCADE"
    install "$clock" >/dev/null
    compare "$clock" "backfilled at once"
    is "history sends no mail" 0 'SELECT count(*) FROM lifecycle.outbox'
}

finish() {
    PGDATABASE=postgres run -c "DROP DATABASE $PGDATABASE"
    exit $failed
}
