#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Several commands one after the other, each for its part of ADIT_SECONDS (%s in the command). Goes on after a
# failure; the exit status is 1 when one of them failed. Part of scripts/soak.
#
#   tests/proof/in_turn.sh COMMAND...

set -uo pipefail

seconds=${ADIT_SECONDS:-60}
part=$((${seconds%.*} / $#))
[ "$part" -ge 1 ] || part=1
status=0
for command in "$@"; do
    echo "== $command"
    if ! ADIT_SECONDS=$part bash -c "${command//%s/$part}"; then
        echo "FAILED: $command"
        status=1
    fi
done
exit "$status"
