#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# scripts/demo again and again, with more kills and more power failures each time, other seeds and a small tree,
# for ADIT_SECONDS (60). Part of scripts/soak.
#
#   tests/demo/long.sh [BUILD]          ADIT_SECONDS=n ADIT_SEED=n

set -uo pipefail
cd "$(dirname "$0")/../.."

build=${1:-build}
seconds=${ADIT_SECONDS:-60}
seconds=${seconds%.*}
seed=${ADIT_SEED:-1}
first=$seed
runs=0 kills=0 calls=0 images=0 failures=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# number TEXT: the last line of the log that begins so, what follows it.
number() { sed -n "s/^ *$1 *\([0-9]*\).*/\1/p" "$log" | tail -n 1; }

while [ "$runs" -eq 0 ] || [ "$SECONDS" -lt "$seconds" ]; do
    if BUILD=$build SEED=$seed KILLS=30 IMAGES=1000 TREE=docs scripts/demo >"$log" 2>&1; then
        kills=$((kills + $(number "kills survived")))
        calls=$((calls + $(number "calls acknowledged and found")))
        images=$((images + $(number "crash images recovered")))
    else
        failures=$((failures + 1))
        cat "$log"
        echo "FAILED seed $seed"
        echo "  again: BUILD=$build SEED=$seed KILLS=30 IMAGES=1000 TREE=docs scripts/demo"
    fi
    runs=$((runs + 1))
    seed=$((seed + 1))
done

if [ -n "${ADIT_PROOF_DIR-}" ]; then
    cat >"$ADIT_PROOF_DIR/kill.json.new" <<JSON
{ "suite": "kill", "reliability": "R10", "what": "A writer killed at random moments and power failures in simulation, by the public interface: what was acknowledged is there",
  "seed": "$first",
  "tried": { "kills": $kills, "calls acknowledged and found": $calls, "power failures recovered": $images, "runs": $runs },
  "failures": $failures, "seconds": $SECONDS,
  "notes": [ "one process at a time, as the pool allows" ] }
JSON
    mv "$ADIT_PROOF_DIR/kill.json.new" "$ADIT_PROOF_DIR/kill.json"
fi
echo "kill: $runs runs, $kills kills, $calls calls acknowledged and found, $images power failures recovered, in $SECONDS s: $failures failures"
[ "$failures" -eq 0 ]
