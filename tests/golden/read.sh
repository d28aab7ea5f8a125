#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The second reader (reader.py) sees what the command put into a pool, and what recovery makes of a
# pool after a power failure.
#
#   read.sh ADIT CRASHED       CRASHED: crashed.c

set -euo pipefail
adit=$(realpath "$1")
crashed=$(realpath "$2")
reader=$(realpath "$(dirname "$0")/reader.py")

parent=/dev/shm
[ -w $parent ] || parent=${TMPDIR:-/tmp}
dir=$(mktemp -d "$parent/adit-reader.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export LC_ALL=C
unset ADIT_ASSUME

# ---- a tree, in and read -----------------------------------------------------------------------------

python3 - <<'PY'
import os, random, stat
random.seed(1)
os.makedirs("tree/a/b/c"); os.makedirs("tree/wide"); os.makedirs("tree/none")
def put(path, data):
    with open("tree/" + path, "wb") as f: f.write(data)
for size in (0, 1, 112, 113, 4095, 4096, 4097, 70000):
    put(f"a/size-{size}", random.randbytes(size))
for i in range(900):
    put(f"wide/{i}-" + "n" * (i % 200), str(i).encode() * (i % 40))
with open("tree/holes", "wb") as f:
    for i in range(7):
        f.seek(i * 50000); f.write(b"data")
    f.truncate(400000)
os.symlink("a", "tree/short"); os.symlink("x" * 1000, "tree/long"); os.link("tree/a/size-1", "tree/a/b/twice")
os.mkfifo("tree/fifo"); os.chmod("tree/a/size-4096", 0o4711)
os.utime("tree/a/size-1", ns=(1, -5000000001))
try:
    for i in range(60): os.setxattr("tree/holes", f"user.name{i}", b"v" * i * 20)
    os.setxattr("tree/a", "user.large", random.randbytes(2000))
except OSError:
    pass  # a file system without them
PY

# As `reader.py list` prints it.
cat >listing.py <<'PY'
import hashlib, os, stat, sys
top = os.fsencode(sys.argv[1])
def line(full, path):
    st = os.lstat(full)
    kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}[stat.S_IFMT(st.st_mode)]
    what = "-"
    if kind == "f": what = hashlib.sha256(open(full, "rb").read()).hexdigest()
    if kind == "l": what = os.readlink(full).decode()
    try:
        names = os.listxattr(full, follow_symlinks=False)
    except OSError:
        names = []
    xattrs = ",".join(sorted(f"{n}=" + hashlib.sha256(os.getxattr(full, n, follow_symlinks=False)).hexdigest()[:16]
                             for n in names if not n.startswith("security."))) or "-"
    size = st.st_size if kind in "fl" else 0
    links = 2 + sum(e.is_dir(follow_symlinks=False) for e in os.scandir(full)) if kind == "d" else st.st_nlink
    return path, f"{kind} {st.st_mode & 0o7777:04o} {links} {size} {st.st_mtime_ns} {what} {xattrs} ".encode() + path
out = [line(top, b"/tree")]
for at, dirs, files in os.walk(top):
    for name in dirs + files:
        full = os.path.join(at, name)
        out.append(line(full, b"/tree" + full[len(top):]))
for _, text in sorted(out): sys.stdout.buffer.write(text + b"\n")
PY

"$adit" mkfs p.adit --size 32M --label reader >/dev/null
"$adit" cp -a tree p.adit:/tree
python3 listing.py tree >want
python3 "$reader" p.adit list | grep ' /tree' >got
diff want got
python3 "$reader" p.adit cat /tree/a/size-70000 | cmp - tree/a/size-70000
echo "reader.py: $(wc -l <got) files as they were"

# ---- images after a power failure --------------------------------------------------------------------

"$adit" mkfs q.adit --size 16M >/dev/null
"$crashed" q.adit image
replayed=0 intents=0 images=0
for image in image.*; do
    python3 "$reader" "$image" list >before
    facts=$(python3 "$reader" "$image" info)
    replayed=$((replayed + $(sed -n 's/^replayed //p' <<<"$facts")))
    intents=$((intents + $(sed -n 's/^intents //p' <<<"$facts")))
    # Opened for reading only: the log is replayed and operations are finished in private memory.
    sum=$(sha256sum <"$image")
    "$adit" sum -r --relative "$image:/" | sort >looked
    [ "$sum" = "$(sha256sum <"$image")" ]
    "$adit" fsck -p "$image" >report || { echo "$image: exit $?"; cat report; exit 1; }
    "$adit" sum -r --relative "$image:/" | sort | diff looked - || {
        echo "$image: not the same before and after recovery"
        exit 1
    }
    python3 "$reader" "$image" list >after
    diff before after || { echo "$image: recovery and reader.py disagree"; exit 1; }
    [ "$(python3 "$reader" "$image" info | sed -n 's/^replayed //p')" = 0 ]
    rm "$image"
    images=$((images + 1))
done
echo "reader.py: $images images, $replayed records replayed, $intents unfinished operations"
[ "$images" -gt 10 ] && [ "$replayed" -gt 0 ] && [ "$intents" -gt 0 ]
