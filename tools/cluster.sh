#!/bin/bash
# Scratch clusters: reachable through a unix socket in their own directory and by nobody else.
#
#   cluster.sh new [EXTRA.CONF]         create and start one in a fresh directory, print that directory
#   cluster.sh start DIR [EXTRA.CONF]   the same in DIR, or start again the one that is there
#   cluster.sh stop DIR                 stop it, keep the data
#   cluster.sh drop DIR                 stop it and remove DIR
#   cluster.sh env DIR                  print the variables to connect with, for eval
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { sed -n '/^#   /s/^#   //p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
need_postgres

# The marker is what makes a directory ours to stop or remove.
marker=.pg_lifecycle_scratch
ours() { [ -f "$1/$marker" ] || die "$1 was not made by cluster.sh"; }

# The server's user may not read the caller's directory, nor should the caller's settings reach the server.
server() { (cd / && unset "${!PG@}" && LC_ALL=C unprivileged "$bindir/$@"); }

init() {
    local dir=$1
    unprivileged touch "$dir/$marker"
    server initdb --no-sync -A trust -U postgres -E UTF8 --locale=C.UTF-8 -D "$dir/data" >"$dir/initdb.log" ||
        { cat "$dir/initdb.log" >&2; die "initdb failed"; }
    unprivileged tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
	listen_addresses = ''
	unix_socket_directories = '$dir'
	port = 5432
	timezone = 'UTC'
	log_timezone = 'UTC'
	fsync = off
	shared_buffers = 256MB
	max_wal_size = 2GB
	max_prepared_transactions = 10
	wal_level = logical
	shared_preload_libraries = 'pg_lifecycle'
	CONF
    if [ -n "${2:-}" ]; then unprivileged tee -a "$dir/data/postgresql.conf" <"$2" >/dev/null; fi
}

start() {
    local dir=$1
    [[ $dir = /* ]] || die "DIR must be an absolute path"
    if [ ! -d "$dir/data" ]; then
        mkdir -p "$dir"
        [ -z "$(ls -A "$dir")" ] || die "$dir is not empty"
        if [ "$(id -u)" = 0 ]; then chown "$(server_user):" "$dir"; fi
        chmod 700 "$dir"
        init "$@"
    fi
    ours "$dir"
    server pg_ctl -s -w -t 60 -D "$dir/data" -l "$dir/log" start || { tail -20 "$dir/log" >&2; die "no start"; }
}

stop() {
    ours "$1"
    if server pg_ctl -s -D "$1/data" status >/dev/null; then server pg_ctl -s -w -m fast -D "$1/data" stop; fi
}

case $1 in
    new)   dir=$(mktemp -d /tmp/lifecycle.XXXXXX)
           trap 'rm -rf "$dir"' EXIT; start "$dir" "${@:2}"; trap - EXIT
           echo "$dir" ;;
    start) [ $# -ge 2 ] || usage; start "${@:2}" ;;
    stop)  [ $# = 2 ] || usage; stop "$2" ;;
    drop)  [ $# = 2 ] || usage; stop "$2"; rm -rf "$2" ;;
    env)   [ $# = 2 ] || usage; ours "$2"
           echo "export PGHOST='$2' PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PATH='$bindir':\"\$PATH\"" ;;
    *)     usage ;;
esac
