# Sourced by the other scripts.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root for: $*"
    fi
}

# PostgreSQL refuses to run as root.
server_user() {
    local name
    for name in postgres nobody; do
        if id "$name" >/dev/null 2>&1; then echo "$name"; return; fi
    done
    die "running as root, and there is no unprivileged user to run a server as"
}

unprivileged() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$(server_user)" -- "$@"; else "$@"; fi
}

# Complete: has PGXS and the server's headers to build with and the server to run against. Debian's plain pg_config exists without any
# of them, and its client package brings PGXS without the headers.
complete_pg_config() {
    [ -f "$("$1" --pgxs 2>/dev/null)" ] && [ -f "$("$1" --includedir-server)/postgres.h" ] && [ -x "$("$1" --bindir)/initdb" ]
}

find_pg_config() {
    local candidate
    for candidate in ${PG_CONFIG:-pg_config $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV)}; do
        if complete_pg_config "$candidate"; then echo "$candidate"; return; fi
    done
    return 1
}

# For scripts that need a server: sets PG_CONFIG and bindir.
need_postgres() {
    PG_CONFIG=$(find_pg_config) || die "no complete PostgreSQL found: run tools/setup.sh or set PG_CONFIG"
    bindir=$("$PG_CONFIG" --bindir)
    export PG_CONFIG
}
