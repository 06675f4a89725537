#!/bin/bash
# The house rules that a compiler does not check. One line per rule; exits non-zero if any is broken.
. "$(dirname "$0")/lib.sh"
cd "$root"

broken=0
rule() {  # rule NAME OFFENDERS: holds if there are none
    if [ -z "$2" ]; then echo "ok - $1"; else echo "not ok - $1"; sed 's/^/    /' <<<"$2"; broken=1; fi
}

sources() { find src -name '*.[ch]pp' "$@" 2>/dev/null | sort; }

# Whatever the compiler found a header in decides what is a server header, not a list of names here.
server_headers_used() {
    local include file header
    include=$("$PG_CONFIG" --includedir-server)
    while read -r file; do
        while read -r header; do
            if [ -f "$include/$header" ]; then echo "$file includes $header"; fi
        done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]\([^>"]*\.h\)[>"].*/\1/p' "$file")
    done
}

# Finds fault if a PostgreSQL that lacks one part of what building and testing need passes for a complete one.
incomplete_accepted() {
    local dir part
    dir=$(mktemp -d)
    printf '#!/bin/sh\ncase $1 in --pgxs) echo %s/pgxs.mk;; --bindir) echo %s;; --includedir-server) echo %s;; esac\n' "$dir" "$dir" "$dir" >"$dir/pg_config"
    chmod +x "$dir/pg_config"
    for part in pgxs.mk initdb postgres.h; do
        install -m 755 /dev/null "$dir/pgxs.mk"; install -m 755 /dev/null "$dir/initdb"; install -m 755 /dev/null "$dir/postgres.h"
        complete_pg_config "$dir/pg_config" || echo "one that has all is refused"
        rm "$dir/$part"
        if complete_pg_config "$dir/pg_config"; then echo "one without $part"; fi
    done
    rm -r "$dir"
}

need_postgres

# __cxa_finalize is what every shared object asks of libc, C or C++.
rule "the module needs nothing from libstdc++" \
    "$(nm -D --undefined-only pg_lifecycle.so | grep -E ' (_Znw|_Zna|_Zdl|_Zda|_ZSt|_ZNSt|_ZNKSt|__cxa_|__gxx_personality)' |
       grep -v ' __cxa_finalize' || true)"
rule "src/rules knows nothing of PostgreSQL" \
    "$( { sources -path 'src/rules/*' | server_headers_used; grep -rnE '#\s*include\s*"pg/' src/rules 2>/dev/null; } || true)"
rule "only src/pg includes server headers" \
    "$(sources -not -path 'src/pg/*' | server_headers_used)"
rule "only src/pg/compat.hpp asks for the server's version" \
    "$(sources -not -path src/pg/compat.hpp | xargs -r grep -n PG_VERSION_NUM || true)"
rule "every C function that the script names is there" \
    "$(comm -23 <(grep -oE "'MODULE_PATHNAME', *'\w+'" pg_lifecycle--*.sql | sed "s/.*, *'//; s/'//" | sort -u) \
                <(nm -D --defined-only pg_lifecycle.so | awk '{ print $3 }' | sort))"
rule "every regression test has its expected output" \
    "$(for f in sql/*.sql; do
           if [ -e "$f" ] && [ ! -e "expected/$(basename "$f" .sql).out" ]; then echo "$f"; fi
       done)"
rule "only a complete PostgreSQL is built against" "$(incomplete_accepted)"
rule "control file and META.json agree on the version" \
    "$(version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_lifecycle.control)
       grep '"version"' META.json | grep -v '"1.0.0"' | grep -v "\"$version\"" || true)"

exit $broken
