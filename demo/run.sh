#!/bin/bash
# The example shop, from CREATE EXTENSION to the mailer, on a cluster of its own that is left running.
#
#   demo/run.sh         a simulated shop; CUSTOMERS and SEED change it
#   demo/run.sh DIR     the real shops found in DIR: Online Retail (online_retail.csv.xz), CDNOW (CDNOW_master.txt.gz)
. "$(dirname "$0")/../tools/lib.sh"
need_postgres

CUSTOMERS=${CUSTOMERS:-20000} SEED=${SEED:-1}
data=${1:+$(realpath "$1")}
cd "$root"

# The file of a data set, which DIR holds itself or in a folder of the set's name.
data_file() {  # data_file NAME FILE
    local file
    for file in "$data"/{,"$1"/}"$2"; do
        if [ -f "$file" ]; then echo "$file"; return; fi
    done
}

retail_file='' cdnow_file=''
if [ -n "$data" ]; then
    retail_file=$(data_file online_retail online_retail.csv.xz)
    cdnow_file=$(data_file cdnow CDNOW_master.txt.gz)
    [ -n "$retail_file$cdnow_file" ] || die "neither online_retail.csv.xz nor CDNOW_master.txt.gz in $data"
fi

mkdir -p build
demo/stop.sh
tools/cluster.sh new > build/demo
cluster=$(cat build/demo)
eval "$(tools/cluster.sh env "$cluster")"

databases=()

new_database() {
    database=$1
    createdb "$database"
    databases+=("$database")
}

finish() {
    status=$?
    if [ $status != 0 ]; then
        printf '\nThe demo stopped early. The last lines of the server log %s:\n' "$cluster/log"
        tail -n 15 "$cluster/log"
    fi
    printf '\nThe cluster is still running. To look around:\n\n'
    printf "    psql -h $cluster -p 5432 -U postgres %s\n" "${databases[@]}"
    printf '\nTo stop and remove it:\n\n    make demo-stop\n'
    exit $status
}
trap finish EXIT

sql() {
    psql -X -q -v ON_ERROR_STOP=1 -P pager=off -P footer=off -P null=- -d "$database" "$@"
}

milliseconds() { date +%s%3N; }

scene() {  # scene TITLE COMMAND...
    local start
    printf '\n\n======== %s\n\n' "$1"
    start=$(milliseconds)
    "${@:2}"
    printf -- '-------- %d ms\n' $(($(milliseconds) - start))
}

simulated_shop() {
    new_database shop
    scene "A shop: $CUSTOMERS customers and two years of their orders (seed $SEED)" simulate
    scene "The first day: load the playbook, attach the shop's tables, activate three scenarios" sql -f demo/attach.sql
    scene "Who the customers are today" sql -f demo/look.sql
    scene "One of them, explained" sql -f demo/explain.sql
    scene "A live order lifts a customer to the next tier" sql -f demo/live_order.sql
    scene "A thousand more in one statement" sql -f demo/busy_hour.sql
    scene "Time passes: the worker" sql -f demo/timer.sql
    scene "A mailer polls" sql -f demo/mailer.sql
    scene "The worker's own account" sql -f demo/status.sql
    scene "Does it add up?" sql -f demo/check.sql -v said="
        SELECT coalesce(customer_id::text, lower(email)), true, total_cents * 0.01, created_at FROM orders
         WHERE status IN ('paid', 'shipped')
        UNION ALL SELECT customer_id::text, false, amount_cents * -0.01, created_at FROM refunds"
}

simulate() {
    sql -v customers="$CUSTOMERS" -v seed="$SEED" -f demo/simulate.sql
    sql -c "SELECT (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM orders) AS orders,
                   (SELECT count(*) FROM orders WHERE customer_id IS NULL) AS by_guests,
                   (SELECT count(*) FROM refunds) AS refunds"
}

# The clock of the database stands at the end of the data, for the worker as for everybody else.
real_shop() {  # real_shop DATABASE TITLE CLOCK READER...
    new_database "$1"
    sql -c "ALTER DATABASE $database SET lifecycle.clock = '$3'"
    scene "$2" load "${@:4}"
    scene "The first day: load the playbook, attach the shop's tables, activate three scenarios" sql -f demo/replay_attach.sql
    scene "Who the customers are on ${3%% *}" sql -f demo/look.sql
    scene "One of them, explained" sql -f demo/explain.sql
    scene "A month without a single order" sql -f demo/replay_month.sql
    scene "What is due" sql -f demo/outbox.sql
    scene "The worker's own account" sql -f demo/status.sql
    scene "Does it add up?" sql -f demo/check.sql -v said="
        SELECT customer_id::text, true, amount, placed_at FROM orders
        UNION ALL SELECT customer_id::text, false, -amount, refunded_at FROM refunds"
}

load() {
    "$@" | sql -f "demo/$database.sql"
    sql -c "SELECT (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM orders) AS orders,
                   (SELECT count(*) FROM refunds) AS refunds"
}

online_retail() { xz -dc "$1"; }

# Fixed width with blanks, and a header.
cdnow() { gzip -dc "$1" | tail -n +2 | tr -d '\r' | sed -E 's/^ +//; s/ +/,/g'; }

if [ -z "$data" ]; then simulated_shop; fi
if [ -n "$retail_file" ]; then
    real_shop online_retail "Online Retail, 2010-12-01 to 2011-12-09" '2011-12-10 00:00+00' online_retail "$retail_file"
fi
if [ -n "$cdnow_file" ]; then
    real_shop cdnow "CDNOW, 1997-01-01 to 1998-06-30" '1998-07-01 00:00+00' cdnow "$cdnow_file"
fi
