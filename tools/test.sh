#!/bin/bash
# The whole test suite. A stage runs if its files exist; a failing one shows why and does not stop the others.
# With arguments only the stages named: module unit regress isolation tap data.
. "$(dirname "$0")/lib.sh"
cd "$root"

stages=" ${*:-module unit regress isolation tap data} "
wanted() { [[ $stages == *" $1 "* ]]; }

passed=0 failed=0
count() { passed=$((passed + $1)); failed=$((failed + $2)); }
heading() { printf '\n== %s\n' "$*"; }

# Said once more at the very end, for whoever sees only that: a few lines about each stage that failed.
remember() { { echo "failed: $1"; sed -n 1,20p; } >>"$logs/failures"; }

# Counts lines of a log: those that match PASS, those that match FAIL; a stage that failed without a line counts as one.
tally() {  # tally LOG STATUS PASS FAIL
    local ok not_ok
    ok=$(grep -cE "$3" "$1" || true)
    not_ok=$(grep -cE "$4" "$1" || true)
    if [ "$not_ok" != 0 ]; then grep -A 7 -E "$4" "$1" | remember "$(basename "$1")"
    elif [ "$2" != 0 ]; then not_ok=1; tail -n 20 "$1" | remember "$(basename "$1")"
    fi
    count "$ok" "$not_ok"
}

finish() {
    if [ -n "${cluster:-}" ]; then tools/cluster.sh drop "$cluster" || true; fi
    if [ -n "${work:-}" ]; then rm -rf "$work"; fi
    if [ -s "${logs:-}/failures" ]; then printf '\n'; cat "$logs/failures"; fi
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
}
trap 'status=$?; trap - EXIT; [ $status = 0 ] || count 0 1; finish' EXIT

heading "build"
WERROR=1 tools/build.sh
need_postgres
mkdir -p build
logs=$root/build/logs
rm -rf "$logs"; mkdir -p "$logs"
tests=$(cd "$(dirname "$("$PG_CONFIG" --pgxs)")/../test" && pwd)
regress_dir=$tests/regress isolation_dir=$tests/isolation perl_dir=$tests/perl

# Without the worker: these tests travel in time, and the worker lives in the present.
need_cluster() {
    [ -n "${cluster:-}" ] && return
    cluster=$(tools/cluster.sh new <(echo "lifecycle.worker = off"))
    eval "$(tools/cluster.sh env "$cluster")"
}

if wanted module; then
    heading "house rules"
    status=0; tools/check-module.sh | tee "$logs/module" || status=1
    tally "$logs/module" $status '^ok' '^not ok'
fi

if wanted unit && compgen -G 'test/unit/*.cpp' >/dev/null; then
    heading "unit"
    status=0
    { cmake -S . -B build/unit -DPG_CONFIG="$PG_CONFIG" -DLIFECYCLE_WERROR=ON \
          -DLIFECYCLE_SANITIZE="${LIFECYCLE_SANITIZE:-}" &&
      cmake --build build/unit -j "$(nproc)" &&
      ctest --test-dir build/unit -j "$(nproc)" --output-on-failure --no-tests=error; } >"$logs/unit" 2>&1 || status=1
    [ $status = 0 ] || cat "$logs/unit"
    tally "$logs/unit" $status '^ *[0-9]+/[0-9]+ Test +#.* Passed ' '^ *[0-9]+/[0-9]+ Test +#.*\*\*\*'
    grep -E 'tests passed' "$logs/unit" || true
fi

# pg_regress and its isolation sister print "test NAME ... ok" up to 15 and TAP from 16 on.
regress_pass='^(test .* ok |ok )|\.\.\. ok'
regress_fail='^not ok|\.\.\. FAILED'
run_regress() {  # run_regress STAGE PROGRAM INPUTDIR TESTS...
    local stage=$1 program=$2 input=$3 status=0
    need_cluster
    mkdir -p "build/$stage"
    "$program" --bindir="$bindir" --inputdir="$input" --outputdir="build/$stage" --host="$cluster" --port=5432 \
        --user=postgres --dbname="lifecycle_$stage" "${@:4}" 2>&1 | tee "$logs/$stage" || status=1
    tally "$logs/$stage" $status "$regress_pass" "$regress_fail"
    if [ $status != 0 ] && [ -f "build/$stage/regression.diffs" ]; then
        cat "build/$stage/regression.diffs"
        remember "differences of $stage" <"build/$stage/regression.diffs"
    fi
}

names() { local file; for file in "$@"; do basename "${file%.*}"; done; }

if wanted regress && compgen -G 'sql/*.sql' >/dev/null; then
    heading "regression"
    run_regress regress "$regress_dir/pg_regress" . $(names sql/*.sql)
fi

if wanted isolation && compgen -G 'test/isolation/specs/*.spec' >/dev/null; then
    heading "isolation"
    run_regress isolation "$isolation_dir/pg_isolation_regress" test/isolation $(names test/isolation/specs/*.spec)
fi

if wanted tap && compgen -G 'test/tap/*.pl' >/dev/null; then
    heading "TAP"
    # A copy: the servers' user may not be able to read the checkout.
    work=$(mktemp -d /tmp/lifecycle.XXXXXX)
    cp -r test/tap "$work/tap"
    mkdir "$work/log" "$work/node"
    make -s -C examples/mailer PG_CONFIG="$PG_CONFIG"
    cp build/examples/lifecycle-mailer "$work/"
    cp -r build/examples/node/. examples/mailer-node/mailer.js "$work/node/" 2>/dev/null || echo "the mailer in Node is not tested: its modules are missing"
    if [ "$(id -u)" = 0 ]; then chown -R "$(server_user):" "$work"; fi
    for file in test/tap/*.pl; do
        name=$(basename "$file" .pl); status=0
        (cd "$work" && unset "${!PG@}" && unprivileged env HOME="$work" CI="${CI:-}" PATH="$bindir:$PATH" \
            PG_REGRESS="$regress_dir/pg_regress" TESTDIR="$work" TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/log" \
            LIFECYCLE_MAILER="$work/lifecycle-mailer" LIFECYCLE_NODE_MAILER="$work/node" LIFECYCLE_CHAOS="${LIFECYCLE_CHAOS:-}" \
            timeout 600 prove -v -I "$perl_dir" -I "$work/tap" "tap/$name.pl") >"$logs/$name" 2>&1 || status=1
        if [ $status = 0 ]; then
            echo "$name: $(grep -c '^ok' "$logs/$name") ok"
        else
            cat "$logs/$name"
            # From 16 on the first of the two directories, until then the second; why a test died is only said there.
            tail -n 40 "$work"/{log,tmp_check/log}/{regress_log_,}"$name"* 2>/dev/null || true
        fi
        tally "$logs/$name" $status '^ok' '^not ok'
    done
fi

if wanted data && compgen -G 'test/data/*.sh' >/dev/null; then
    heading "real data"
    need_cluster
    for file in test/data/*.sh; do
        name=$(basename "$file" .sh); status=0
        LIFECYCLE_DATA=${LIFECYCLE_DATA:-$root/../shared/data} bash "$file" >"$logs/$name" 2>&1 || status=1
        if [ $status != 0 ]; then cat "$logs/$name"; count 0 1; tail -n 20 "$logs/$name" | remember "$name"
        elif grep -qi '^skipped' "$logs/$name"; then echo "$name: skipped"
        else echo "$name: ok"; count 1 0
        fi
    done
fi
