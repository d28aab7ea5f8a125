#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes the golden images anew. Only for a format that nobody has used yet: once version 1 is released
# they stay as they are, and a changed format gets files of its own beside them.
#
#   make.sh BUILD_DIR
#
#   v1.img.gz          a small pool that was closed          v1.list          what is in it
#   v1-crashed.img.gz  one after a power failure             v1-crashed.list
#
# The lists are reader.py's.

set -euo pipefail
build=$(realpath "${1:-build}")
adit=$build/adit
crashed=$build/tests/golden/crashed
here=$(realpath "$(dirname "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir -p tree/directory/below tree/wide tree/empty
printf 'in the inode' >tree/inline
seq 1 3000 >tree/extent
: >tree/nothing
for i in {1..9}; do
    dd if=tree/extent of=tree/pieces bs=4096 seek=$((i * 3)) count=1 conv=notrunc status=none
done
for i in {1..70}; do
    echo "$i" >"tree/wide/a name that takes some room in a leaf, number $i"
done
ln tree/inline tree/directory/hard
ln -s inline tree/short
ln -s "$(printf 'long%.0s' {1..60})" tree/long
mkfifo tree/directory/below/fifo
chmod 4750 tree/extent
setfattr -n user.small -v value tree/inline
setfattr -n user.large -v "$(seq 1 800 | tr '\n' ' ')" tree/inline

"$adit" mkfs v1.img --size 4M --label golden
"$adit" cp -a tree v1.img:/tree
"$adit" mkfs c.img --size 4M --label crashed
"$crashed" c.img crash small
mv crash.0 v1-crashed.img
for image in v1 v1-crashed; do
    python3 "$here/reader.py" $image.img list >"$here/$image.list"
    gzip -9nc $image.img >"$here/$image.img.gz"
done
ls -l "$here"/v1*
