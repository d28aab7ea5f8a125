#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# run.sh ADIT HELPER CASES: runs the cases of one file (functions called test_*), each in an empty
# directory of its own, and says which failed. What the cases use:
#
#   adit ...           the program; also mkfs.adit, fsck.adit
#   run CMD...         runs it, keeps its exit code in $rc, its output in $out, its errors in $err
#   is CODE            the last run's exit code
#   says TEXT          the last run's output has the text;   complains TEXT: its errors have
#   eq A B             both are the same
#   pool [SIZE]        makes p.adit
#   helper ...         cli_helper.c: holds a pool open, leaves one without closing it, ...

set -u
adit=$(realpath "$1")
helper=$(realpath "$2")
cases=$(realpath "$3")

parent=/dev/shm
[ -w $parent ] || parent=${TMPDIR:-/tmp}
top=$(mktemp -d "$parent/adit-cli.XXXXXX")
trap 'rm -rf "$top"' EXIT
mkdir "$top/bin"
for name in adit mkfs.adit fsck.adit; do
    ln -s "$adit" "$top/bin/$name"
done
PATH=$top/bin:$PATH
export TZ=UTC LC_ALL=C.UTF-8
unset ADIT_ASSUME
umask 022
failures=0 checks=0

fail() {
    echo "FAILED: $current: $*"
    echo "  at ${BASH_SOURCE[2]##*/}:${BASH_LINENO[1]}; last run: exit ${rc:-none}"
    [ -n "${out-}" ] && printf '%s\n' "$out" | head -20 | sed 's/^/  out: /'
    [ -n "${err-}" ] && printf '%s\n' "$err" | head -20 | sed 's/^/  err: /'
    failures=$((failures + 1))
}

run() {
    "$@" >"$top/out" 2>"$top/err" </dev/null
    rc=$?
    out=$(tr -d '\0' <"$top/out")
    err=$(cat "$top/err")
    if [ "$rc" -gt 128 ]; then
        fail "'$*' was killed by signal $((rc - 128))"
    fi
}
is() { checks=$((checks + 1)); [ "$rc" = "$1" ] || fail "exit code $rc, not $1"; }
eq() { checks=$((checks + 1)); [ "$1" = "$2" ] || fail "'$1' is not '$2'"; }
says() { checks=$((checks + 1)); [[ $out == *"$1"* ]] || fail "the output has no '$1'"; }
says_not() { checks=$((checks + 1)); [[ $out != *"$1"* ]] || fail "the output has '$1'"; }
complains() { checks=$((checks + 1)); [[ $err == *"$1"* ]] || fail "the errors have no '$1'"; }
silent() { checks=$((checks + 1)); [ -z "$err" ] || fail "there are errors"; }
ok() { run "$@"; is 0; silent; }
helper() { "$helper" "$@"; }
pool() { ok mkfs.adit -q -s "${1:-16M}" p.adit; }
# json EXPRESSION: of the last output, which is `d`.
json() { printf '%s' "$out" | python3 -c "import json,sys; d=json.load(sys.stdin); print(($1))"; }

. "$cases"
for current in $(declare -F | awk '$3 ~ /^test_/ { print $3 }'); do
    mkdir "$top/$current"
    cd "$top/$current" || exit 2
    out='' err='' rc=''
    "$current"
    if [ -e p.adit ] && [ ! -e damaged ]; then
        run adit fsck -n p.adit
        is 0
    fi
    cd / && rm -rf "${top:?}/$current"
done
echo "${cases##*/}: $checks checks, $failures failures"
[ "$failures" = 0 ]
