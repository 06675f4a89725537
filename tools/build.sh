#!/bin/bash
# From a bare machine to an installed extension.
. "$(dirname "$0")/lib.sh"

"$root/tools/setup.sh"
need_postgres
cd "$root"

# "make demo DATA=DIR" reaches us through make, and to PGXS a DATA is files to install.
unset DATA MAKEFLAGS MAKEOVERRIDES MFLAGS
make -s -j"$(nproc)" all PG_CONFIG="$PG_CONFIG"

# The same flags again, so that nothing is compiled anew (and by root).
install=(env CI="${CI:-}" WERROR="${WERROR:-}" make -s install PG_CONFIG="$PG_CONFIG")
if [ -w "$("$PG_CONFIG" --pkglibdir)" ] && [ -w "$("$PG_CONFIG" --sharedir)/extension" ]; then
    "${install[@]}"
else
    as_root "${install[@]}"
fi
