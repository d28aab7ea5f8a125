#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Pools of an earlier day still open, list the same files and check clean, in the program and in the
# second reader. Then images.c changes them, and both read what it made of them.
#
#   golden.sh ADIT IMAGES

set -euo pipefail
adit=$(realpath "$1")
images=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export LC_ALL=C
unset ADIT_ASSUME

for list in "$here"/*.list; do
    name=$(basename "$list" .list)
    gunzip -c "$here/$name.img.gz" >p.img
    python3 "$here/reader.py" p.img list | diff "$list" -
    # Looking changes nothing.
    before=$(sha256sum <p.img)
    "$adit" find p.img -print0 >found
    python3 - "$list" found <<'PY'
import re, sys
want = sorted(re.search(rb" (/.*)$", line.rstrip(b"\n"))[1] for line in open(sys.argv[1], "rb"))
got = sorted(open(sys.argv[2], "rb").read().split(b"\0")[:-1])
sys.exit(0 if want == got else f"different paths: {set(want) ^ set(got)}")
PY
    [ "$before" = "$(sha256sum <p.img)" ]
    "$adit" fsck -p p.img
    "$adit" fsck -n p.img
    python3 "$here/reader.py" p.img list | diff "$list" -
    echo "$name: $(wc -l <"$list") files"
done

mkdir changed
"$images" changed "$here"/*.img.gz | tee said
for image in changed/*.img; do
    "$adit" fsck -n "$image"
    python3 "$here/reader.py" "$image" list >read
    "$adit" find "$image" -print0 | tr -cd '\0' | wc -c >found
    [ "$(wc -l <read)" = "$(cat found)" ]
    [ "$(grep -c ' /more/a file of today' read)" = 300 ]
done
tail -n 1 said
