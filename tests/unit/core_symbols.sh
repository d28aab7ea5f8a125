#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# core is kernel-clean: what its objects leave undefined must be in the list.
#
#   core_symbols.sh CORE-ARCHIVE LIST

set -euo pipefail
archive=$1
list=$2

defined=$(nm --defined-only --extern-only --format=posix "$archive" | awk 'NF > 1 {print $1}' | sort -u)
undefined=$(nm --undefined-only --format=posix "$archive" | awk 'NF > 1 {print $1}' | sort -u)
allowed=$(grep -v '^#' "$list" | sort -u)

bad=$(comm -23 <(comm -23 <(echo "$undefined") <(echo "$defined")) <(echo "$allowed"))
if [ -n "$bad" ]; then
    echo "core needs symbols that are not in $(basename "$list"):"
    for symbol in $bad; do
        echo "  $symbol, from:" $(nm --undefined-only -A "$archive" | awk -v s="$symbol" '$NF == s {print $1}' | sort -u)
    done
    exit 1
fi
if [ -z "$defined" ]; then
    echo "no symbols in $archive: is it the right file?"
    exit 1
fi
