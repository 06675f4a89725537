#!/bin/bash
# Stops the demo's cluster and removes it.
. "$(dirname "$0")/../tools/lib.sh"

state=$root/build/demo
if [ -f "$state" ]; then
    cluster=$(cat "$state")
    if [ -d "$cluster" ]; then "$root/tools/cluster.sh" drop "$cluster"; fi
    rm "$state"
fi
