#!/bin/bash
# Installs what building and testing need and this machine lacks. Changes nothing when all is there.
. "$(dirname "$0")/lib.sh"

missing=()
need_command() { command -v "$1" >/dev/null || missing+=("$2"); }
need_file()    { [ -e "$1" ] || missing+=("$2"); }

need_command g++ g++
need_command make make
need_command cmake cmake
need_command perl perl
need_command prove perl
need_command xz xz-utils
need_file /usr/include/gtest/gtest.h libgtest-dev
need_command openssl openssl
need_file /usr/include/postgresql/libpq-fe.h libpq-dev
echo '#include <curl/curl.h>' | c++ -E -x c++ - >/dev/null 2>&1 || missing+=(libcurl4-openssl-dev)
/usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing+=(python3-aiosmtpd)
perl -MIPC::Run -e 1 2>/dev/null || missing+=(libipc-run-perl)

if ! find_pg_config >/dev/null; then
    if [ -n "${PG_CONFIG:-}" ]; then
        major=$("$PG_CONFIG" --version 2>/dev/null | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    else
        # The newest server that is here; PGXS must be of the same version.
        major=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | grep -o '[0-9]\+' | sort -n | tail -1 || true)
    fi
    missing+=("postgresql-${major:-DEFAULT}" "postgresql-server-dev-${major:-DEFAULT}")
fi

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "please install the equivalents of these Debian packages: ${missing[*]}"
    echo "installing ${missing[*]}"
    as_root apt-get update -qq
    if [[ ${missing[*]} == *DEFAULT* ]]; then
        major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -1)
        [ -n "$major" ] || die "apt knows no package postgresql"
        missing=("${missing[@]//DEFAULT/$major}")
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

find_pg_config >/dev/null || die "still no PostgreSQL with server and PGXS; set PG_CONFIG"

# The mailer in Node is an example that the tests show at work where its modules can be had; without them they say so and go on.
modules=$root/build/examples/node
if command -v npm >/dev/null && [ ! -d "$modules/node_modules/pg" ]; then
    mkdir -p "$modules"
    cp "$root/examples/mailer-node/package.json" "$modules/"
    timeout 120 npm install --prefix "$modules" --no-audit --no-fund --silent >/dev/null 2>&1 ||
        echo "the modules of examples/mailer-node could not be installed: its tests will be skipped"
fi
