#!/usr/bin/env bash
# What pg_lifecycle costs a shop's statements, and how fast it takes in what is there already, as ratios against a bare table and against
# what one would write by hand, all measured in one run on a scratch cluster of its own. The extension must be installed. README.md has the method and its limits.
set -euo pipefail

ORDERS=${ORDERS:-1000000}         # rows of the bulk statement
CUSTOMERS=${CUSTOMERS:-100000}
HISTORY=${HISTORY:-2}             # earlier orders of each customer, where there are any
ROUNDS=${ROUNDS:-3}
DURATION=${DURATION:-8}           # of one pgbench run, in seconds (bash keeps SECONDS for itself)
CLIENTS=${CLIENTS:-8}
BACKFILL=${BACKFILL:-1000000}     # orders that are there before the table is attached, ten for each customer
BENCHES=${BENCHES:-bulk copy single update backfill}
CONTENDERS=${CONTENDERS:-bare row_trigger statement_trigger pg_lifecycle whole_playbook points}
PRELOAD=${PRELOAD-pg_lifecycle}    # with its worker, as in production; empty: nothing
BENCH_USER=${BENCH_USER:-postgres} # who runs the server when we are root, whom it refuses
PG_CONFIG=${PG_CONFIG:-pg_config}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$("$PG_CONFIG" --bindir)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lifecycle_bench.XXXXXX")
mkdir "$scratch/results"
cd "$scratch"

# Nothing of the caller's environment may lead us to another server.
for variable in "${!PG@}"; do unset "$variable"; done
export PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres

as_server_user() {
  if [ "$(id -u)" = 0 ]; then runuser -u "$BENCH_USER" -- "$@"; else "$@"; fi
}

finish() {
  local code=$?
  trap - EXIT
  if [ "$code" != 0 ] && [ -f server.log ]; then tail -n 20 server.log >&2; fi
  as_server_user "$bin/pg_ctl" -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true
  cd /
  rm -rf "$scratch"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

wanted() { [[ " $BENCHES " == *" $1 "* ]]; }

say() { printf '%s\n' "$*" >&2; }

sql() {  # database, psql arguments
  "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -d "$@"
}

start_server() {
  if [ "$(id -u)" = 0 ]; then chown -R "$BENCH_USER" "$scratch"; fi
  as_server_user "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --no-locale >initdb.log
  # JIT is off because its compile time depends on the LLVM at hand; autovacuum, because it strikes at random.
  cat >>"$scratch/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$scratch'
fsync = on
synchronous_commit = off
shared_buffers = 1GB
max_wal_size = 8GB
min_wal_size = 4GB
checkpoint_timeout = 1h
shared_preload_libraries = '$PRELOAD'
autovacuum = off
log_checkpoints = off
client_min_messages = warning
jit = off
CONF
  as_server_user "$bin/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null
}

# The original must have no session while it is copied, and a worker may be looking in.
clone() {  # from, to
  sql postgres -c "DROP DATABASE IF EXISTS $2 WITH (FORCE)"
  sql postgres -o /dev/null -c "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '$1'"
  sql postgres -c "CREATE DATABASE $2 TEMPLATE $1 STRATEGY file_copy"
}

attach() {  # contender, database
  case $1 in
    bare) ;;
    row_trigger) sql "$2" -v each=row -f "$here/rivals.sql" ;;
    statement_trigger) sql "$2" -v each=statement -f "$here/rivals.sql" ;;
    pg_lifecycle) sql "$2" -o /dev/null -v whole_playbook=false -f "$here/lifecycle.sql" ;;
    whole_playbook) sql "$2" -o /dev/null -v whole_playbook=true -f "$here/lifecycle.sql" ;;
    points) sql "$2" -o /dev/null -v whole_playbook=false -v points=true -f "$here/lifecycle.sql" ;;
    *) say "unknown contender: $1"; exit 2 ;;
  esac
}

# What each contender knows must equal what was ordered; a fast wrong answer does not count.
check() {  # contender, database
  local known ordered
  ordered="SELECT count(DISTINCT customer_id), count(*), coalesce(sum(amount), 0) FROM orders"
  case $1 in
    bare | copy_and_insert) return ;;
    pg_lifecycle | whole_playbook | points) known="SELECT count(*), coalesce(sum(order_count), 0), coalesce(sum(revenue), 0) FROM lifecycle.customer" ;;
    *) known="SELECT count(*), coalesce(sum(order_count), 0), coalesce(sum(revenue), 0) FROM customer" ;;
  esac
  if [ -n "$(sql "$2" -c "$ordered EXCEPT $known")" ]; then
    say "$1 lost count: ordered $(sql "$2" -c "$ordered"), known $(sql "$2" -c "$known")"
    exit 1
  fi
}

# Each contender brings about its own prior state, through its own trigger; VACUUM FULL then makes all equally compact.
# Not the empty ones: the planner believes an empty table that was vacuumed to stay empty, and would scan it whole for
# each of a million rows.
build_templates() {
  local contender state database
  sql postgres -c "CREATE DATABASE shop"
  sql shop -o /dev/null -v orders="$ORDERS" -v customers="$CUSTOMERS" -v history="$HISTORY" -f "$here/shop.sql"
  for contender in $CONTENDERS; do
    say "preparing $contender"
    for state in empty earlier active; do
      database=${contender}_$state
      clone shop "$database"
      attach "$contender" "$database"
      case $state in
        empty) ;;
        earlier) order_history "$contender" "$database" 'placed_at' ;;
        # The same orders within the last 50 days: customers that an order finds active and leaves active.
        active) order_history "$contender" "$database" 'now() - (now() - placed_at) / 15' ;;
      esac
      sql postgres -c "ALTER DATABASE $database ALLOW_CONNECTIONS false"    # workers stay out from now on
    done
  done
}

build_backfill() {
  say "preparing the backfill"
  sql postgres -c "CREATE DATABASE large"
  sql large -o /dev/null -v orders="$BACKFILL" -v customers="$((BACKFILL / 10))" -v history=0 -f "$here/shop.sql"
  sql large -c "INSERT INTO orders (customer_id, amount, placed_at) SELECT customer_id, amount, placed_at FROM prepared.orders"
  sql large -c "DROP SCHEMA prepared CASCADE" -c "VACUUM (FREEZE, ANALYZE) orders"
}

order_history() {  # contender, database, when each order was placed
  sql "$2" -c "INSERT INTO orders (customer_id, amount, placed_at)
               SELECT customer_id, amount, $3 FROM prepared.history ORDER BY placed_at"
  check "$1" "$2"
  # What has fallen due since those orders would have been worked off long ago.
  if sql "$2" -c "SELECT extname FROM pg_extension" | grep -qx pg_lifecycle; then sql "$2" -o /dev/null -c "SELECT lifecycle.tick()"; fi
  sql "$2" -c "VACUUM (FULL, FREEZE, ANALYZE)"
}

bulk() {  # contender, state
  clone "$1_$2" run
  sql run -c CHECKPOINT
  sql run -f "$here/bulk.sql" >>"results/bulk_$2.$1"
  check "$1" run
}

# The first two seconds fill the caches of server and sessions and do not count.
single() {  # contender, state
  local pgbench=("$bin/pgbench" -n -M prepared -c "$CLIENTS" -j 2 -D customers="$CUSTOMERS" -f "$here/single.sql")
  clone "$1_$2" run
  "${pgbench[@]}" -T 2 run >/dev/null 2>>server.log
  sql run -c CHECKPOINT
  "${pgbench[@]}" -T "$DURATION" run 2>>server.log | sed -n 's/^tps = \([0-9.]*\).*/\1/p' >>"results/single_$2.$1"
  check "$1" run
}

# The rival loads its ledger with one more statement, after the COPY.
copy() {  # contender
  local from=$1
  if [ "$1" = copy_and_insert ]; then from=bare; fi
  clone "${from}_empty" run
  if [ "$1" = copy_and_insert ]; then sql run -v each=none -f "$here/rivals.sql"; fi
  sql run -c CHECKPOINT
  sql run -v contender="$1" -v file="$scratch/orders.copy" -f "$here/copy.sql" >>"results/copy.$1"
  check "$1" run
}

# A column that no mapping reads: row by row, then all in one statement.
update() {  # contender
  local pgbench=("$bin/pgbench" -n -M prepared -c "$CLIENTS" -j 2 -D orders="$((CUSTOMERS * HISTORY))" -f "$here/update.sql")
  clone "$1_active" run
  "${pgbench[@]}" -T 2 run >/dev/null 2>>server.log
  sql run -c CHECKPOINT
  "${pgbench[@]}" -T "$DURATION" run 2>>server.log | sed -n 's/^tps = \([0-9.]*\).*/\1/p' >>"results/update.$1"
  clone "$1_active" run
  sql run -c CHECKPOINT
  sql run -f "$here/update_all.sql" >>"results/update_all.$1"
  check "$1" run
}

backfill() {  # contender
  clone large run
  case $1 in
    by_hand) sql run -v each=none -f "$here/rivals.sql" ;;
    pg_lifecycle) sql run -o /dev/null -c "CREATE EXTENSION pg_lifecycle" -c "SELECT lifecycle.install_playbook()" ;;
  esac
  sql run -c CHECKPOINT
  sql run -v orders="$BACKFILL" -f "$here/backfill_$1.sql" >>"results/backfill.$1"
  check "$1" run
}

median() { sort -g "$1" | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
lowest() { sort -g "$1" | head -n 1; }
highest() { sort -g "$1" | tail -n 1; }

report() {  # benchmark, heading, unit, target for pg_lifecycle, contenders (the first is the base)
  local contender file base digits=2 contenders=${5:-$CONTENDERS}
  local first=${contenders%% *}
  if [ "$3" != s ]; then digits=0; fi
  printf '\n%s\n' "$2"
  printf '  target for pg_lifecycle: %s\n' "$4"
  printf '  %-20s %9s   %12s   %4s   %s\n' contender 'vs. first' "median, $3" runs 'lowest - highest'
  base=$(median "results/$1.$first")
  for contender in $contenders; do
    file=results/$1.$contender
    awk -v name="$contender" -v base="$base" -v m="$(median "$file")" -v low="$(lowest "$file")" \
        -v high="$(highest "$file")" -v digits="$digits" -v runs="$(wc -l <"$file")" 'BEGIN {
      printf "  %-20s %8.2fx   %12.*f   %4d   %.*f - %.*f\n",
             name, m / base, digits, m, runs, digits, low, digits, high }'
  done
}

start_server
if wanted bulk || wanted copy || wanted single || wanted update; then build_templates; fi
if wanted copy; then sql shop -c "COPY prepared.orders TO '$scratch/orders.copy'"; fi
if wanted backfill; then build_backfill; fi
# Interleaved, so that a slow spell of the machine falls on everybody.
for ((round = 1; round <= ROUNDS; round++)); do
  say "round $round of $ROUNDS"
  for state in empty earlier; do
    wanted bulk || break
    for contender in $CONTENDERS; do
      # Once will do for the slow one: it takes half a minute, and its distance is far beyond the noise.
      if [ "$contender" = row_trigger ] && [ "$round" != 1 ]; then continue; fi
      bulk "$contender" "$state"
    done
  done
  if wanted copy; then for contender in copy_and_insert pg_lifecycle; do copy "$contender"; done; fi
  for state in active earlier; do
    wanted single || break
    for contender in $CONTENDERS; do single "$contender" "$state"; done
  done
  if wanted update; then for contender in bare pg_lifecycle; do update "$contender"; done; fi
  if wanted backfill; then for contender in by_hand pg_lifecycle; do backfill "$contender"; done; fi
done

sql postgres -c "SELECT split_part(version(), ' on ', 1)"
printf '%s orders, %s customers, %s rounds, %s s, %s clients, %s cores\n' \
  "$ORDERS" "$CUSTOMERS" "$ROUNDS" "$DURATION" "$CLIENTS" "$(getconf _NPROCESSORS_ONLN)"
if wanted bulk; then
  report bulk_empty "Bulk, customers unknown before: time (lower is better)" s '<= 2.50x'
  report bulk_earlier "Bulk, customers with earlier orders: time (lower is better)" s '<= 2.50x'
fi
if wanted copy; then
  report copy "COPY, against COPY and one insert of the ledger: time (lower is better)" s '<= 2.00x' 'copy_and_insert pg_lifecycle'
fi
if wanted single; then
  report single_active "Single-row inserts, customers who ordered lately: throughput (higher is better)" tps '>= 0.50x, above both triggers'
  report single_earlier "Single-row inserts, customers back after a year or more: throughput (higher is better)" tps 'none: each order changes segments'
fi
if wanted update; then
  report update "Single-row updates of a column that no mapping reads: throughput (higher is better)" tps '>= 0.91x' 'bare pg_lifecycle'
  report update_all "The same of all rows in one statement: time (lower is better)" s '<= 1.10x' 'bare pg_lifecycle'
fi
if wanted backfill; then
  report backfill "Backfill of $BACKFILL orders: rows a second (higher is better)" rows/s '>= 0.50x' 'by_hand pg_lifecycle'
fi
