# SPDX-License-Identifier: BSD-3-Clause
#
# Names: ls, stat, tree, find, mkdir, mv, ln, rm, touch, chmod, chown.

test_mkdir() {
    pool
    ok adit mkdir p.adit:/a p.adit:/a/b
    run adit mkdir p.adit:/a; is 1; complains EEXIST
    run adit mkdir p.adit:/x/y; is 1; complains ENOENT
    ok adit mkdir -p p.adit:/x/y/z
    ok adit mkdir -p p.adit:/x/y/z
    ok adit mkdir -p p.adit:/
    ok adit mkdir -m 0700 p.adit:/private
    ok adit mkdir -p -m 1777 p.adit:/deep/tmp/
    ok adit touch p.adit:/file
    run adit mkdir -p p.adit:/file; is 1; complains EEXIST
    run adit mkdir -p p.adit:/file/below; is 1; complains ENOTDIR
    run adit mkdir -m rubbish p.adit:/q; is 2
    run adit mkdir "p.adit:/$(printf 'n%.0s' {1..256})"; is 1; complains ENAMETOOLONG
    ok adit mkdir "p.adit:/$(printf 'n%.0s' {1..255})"
    ok adit stat --json p.adit:/private; eq "$(json 'd[0]["mode"]')" 0700
    ok adit stat --json p.adit:/deep/tmp; eq "$(json 'd[0]["mode"]')" 1777
    ok adit stat --json p.adit:/deep; eq "$(json 'd[0]["mode"]')" 0755
    ok adit mkdir -v p.adit:/said; says 'made /said'
}

test_ls() {
    pool
    ok adit ls p.adit; eq "$out" ''
    ok adit mkdir p.adit:/d p.adit:/d/e p.adit:/.hidden
    ok adit touch p.adit:/d/file p.adit:/b p.adit:/d/e/deep
    ok adit ln -s d/file p.adit:/link
    ok adit ls p.adit; eq "$out" $'b\nd\nlink'
    ok adit ls p.adit:/; eq "$out" $'b\nd\nlink'
    ok adit ls -1 -a p.adit:/; eq "$out" $'.hidden\nb\nd\nlink'
    ok adit ls p.adit:/d/file; eq "$out" /d/file
    ok adit ls -d p.adit:/d; eq "$out" /d
    ok adit ls -R p.adit; eq "$out" $'/:\nb\nd\nlink\n\n/d:\ne\nfile\n\n/d/e:\ndeep'
    ok adit ls -l p.adit; says 'link -> d/file'; says 'drwxr-xr-x   3 '; says '-rw-r--r--   1 '
    ok adit ls -laR p.adit; says '/.hidden:'
    ok adit ls p.adit:/d p.adit:/d/e; eq "$out" $'/d:\ne\nfile\n\n/d/e:\ndeep'
    ok adit ls --json p.adit
    eq "$(json '[(e["name"], e["type"]) for e in d]')" \
        "[('b', 'file'), ('d', 'directory'), ('link', 'symlink')]"
    eq "$(json 'd[2]["target"]')" d/file
    ok adit ls -R --json p.adit
    eq "$(json '[e["path"] for e in d]')" "['/b', '/d', '/link', '/d/e', '/d/file', '/d/e/deep']"
    run adit ls p.adit:/nothing; is 1; complains ENOENT
    run adit ls p.adit:/b/c; is 1; complains ENOTDIR
    ok adit touch p.adit:/$'odd\xffname'
    ok adit ls --json p.adit; eq "$(json 'd[-1]["name_hex"]')" 6f6464ff6e616d65
}

test_nodes() {
    pool
    helper mknod p.adit /char c
    helper mknod p.adit /fifo p
    helper mknod p.adit /sock s
    ok adit ls -l p.adit; says 'crw-r-----'; says '    5,    7'; says prw-r-----; says srw-r-----
    ok adit stat p.adit:/char; says char-device
    ok adit find p.adit -type ps; eq "$(sort <<<"$out")" $'/fifo\n/sock'
    run adit cat p.adit:/fifo; is 1; complains ENXIO
}

test_stat() {
    pool
    printf hello | adit write p.adit:/f
    ok adit ln p.adit:/f p.adit:/g
    helper setxattr p.adit /f user.colour blue
    ok adit ln -s nowhere p.adit:/dangling
    ok adit stat p.adit:/f; says '5 bytes'; says '2 links'; says 'user.colour, 4 bytes'; says Born
    ok adit stat --json p.adit:/f p.adit:/g
    eq "$(json 'd[0]["inode"] == d[1]["inode"], d[0]["links"], d[0]["xattrs"]')" \
        "(True, 2, [{'name': 'user.colour', 'size': 4}])"
    ok adit stat p.adit:/dangling; says '-> nowhere'
    run adit stat -L p.adit:/dangling; is 1; complains ENOENT
    ok adit ln -s f p.adit:/link
    ok adit stat -L --json p.adit:/link; eq "$(json 'd[0]["type"]')" file
    run adit stat p.adit:/f p.adit:/none; is 1; says /f; complains /none
}

test_tree() {
    pool
    ok adit mkdir -p p.adit:/a/b p.adit:/c
    ok adit touch p.adit:/a/b/f p.adit:/.h
    ok adit ln -s a p.adit:/l
    ok adit tree p.adit
    eq "$out" $'/\n├── a\n│   └── b\n│       └── f\n├── c\n└── l -> a\n\n3 directories, 2 files'
    ok adit tree -a p.adit; says .h
    ok adit tree -L 1 p.adit; says_not b
    ok adit tree -d p.adit:/a; says '1 directories, 0 files'
    ok adit tree --json p.adit
    eq "$(json 'd[0]["contents"][0]["contents"][0]["contents"][0]["name"]')" f
    run adit tree p.adit:/a/b/f; is 1; complains ENOTDIR
    run adit tree -L 0 p.adit; is 2
}

test_find() {
    pool
    ok adit mkdir -p p.adit:/a/b
    ok adit touch p.adit:/a/one.c p.adit:/a/b/two.c p.adit:/three.h
    head -c 3000 /dev/zero | adit write p.adit:/a/big.c
    ok adit ln -s three.h p.adit:/link
    ok adit find p.adit -name '*.c'; eq "$(sort <<<"$out")" $'/a/b/two.c\n/a/big.c\n/a/one.c'
    ok adit find p.adit:/a --name '*.c' -type f -maxdepth 1
    eq "$(sort <<<"$out")" $'/a/big.c\n/a/one.c'
    ok adit find p.adit -type d; eq "$out" $'/\n/a\n/a/b'
    ok adit find p.adit -type l; eq "$out" /link
    ok adit find p.adit -size +1k -type f; eq "$out" /a/big.c
    ok adit find p.adit -size 3k; eq "$out" /a/big.c
    ok adit find p.adit -size 3000c; eq "$out" /a/big.c
    ok adit find p.adit -size -1c -type f -name '*.h'; eq "$out" /three.h
    ok adit find p.adit -maxdepth 0; eq "$out" /
    ok adit find p.adit -mindepth 3; eq "$out" /a/b/two.c
    adit find p.adit -type d -print0 >raw
    eq "$(od -An -c raw | tr -d ' \n')" '/\0/a\0/a/b\0'
    ok adit find --json p.adit -name 'big*'; eq "$(json 'd[0]["size"]')" 3000
    run adit find p.adit -size many; is 2
    run adit find p.adit -type q; is 2
    run adit find p.adit -maxdepth x; is 2
    run adit find p.adit:/none; is 1; complains ENOENT
}

test_mv() {
    pool
    printf 1 | adit write p.adit:/a
    printf 2 | adit write p.adit:/b
    ok adit mkdir p.adit:/d
    ok adit mv p.adit:/a p.adit:/c
    ok adit ls p.adit; eq "$out" $'b\nc\nd'
    ok adit mv p.adit:/b p.adit:/c p.adit:/d
    ok adit ls p.adit:/d; eq "$out" $'b\nc'
    ok adit mv -v p.adit:/d/b p.adit:/d/c; says '/d/b -> /d/c'
    ok adit cat p.adit:/d/c; eq "$out" 2
    printf 3 | adit write p.adit:/x
    run adit mv -n p.adit:/x p.adit:/d/c; is 1; complains EEXIST
    ok adit mv --exchange p.adit:/x p.adit:/d/c
    ok adit cat p.adit:/x; eq "$out" 2
    ok adit mkdir p.adit:/d/e
    run adit mv p.adit:/d p.adit:/d/e; is 1; complains EINVAL
    run adit mv p.adit:/none p.adit:/y; is 1; complains ENOENT
    run adit mv p.adit:/x p.adit:/d/e p.adit:/y; is 1; complains 'no directory'
    run adit mv -T p.adit:/x p.adit:/d; is 1; complains EISDIR
    ok mkfs.adit -q -s 8M other.adit
    run adit mv p.adit:/x other.adit:/x; is 1; complains EXDEV
    run adit mv p.adit:/x; is 2
}

test_ln() {
    pool
    printf x | adit write p.adit:/f
    ok adit ln p.adit:/f p.adit:/g
    ok adit stat --json p.adit:/g; eq "$(json 'd[0]["links"]')" 2
    ok adit ln -s ../some/where p.adit:/s
    ok adit ls -l p.adit; says 's -> ../some/where'
    run adit ln p.adit:/f p.adit:/g; is 1; complains EEXIST
    ok adit ln -f -s f p.adit:/s
    ok adit cat p.adit:/s; eq "$out" x
    ok adit mkdir p.adit:/d
    ok adit ln p.adit:/f p.adit:/g p.adit:/d
    ok adit ls p.adit:/d; eq "$out" $'f\ng'
    run adit ln p.adit:/d p.adit:/dd; is 1; complains EPERM
    run adit ln p.adit:/none p.adit:/n; is 1; complains ENOENT
    ok adit ln -s loop p.adit:/loop
    run adit cat p.adit:/loop; is 1; complains ELOOP
}

test_rm() {
    pool
    ok adit mkdir -p p.adit:/d/e
    ok adit touch p.adit:/f p.adit:/d/g p.adit:/d/e/h
    ok adit ln -s d p.adit:/l
    run adit rm p.adit:/d; is 1; complains EISDIR
    run adit rm -d p.adit:/d; is 1; complains ENOTEMPTY
    run adit rm p.adit:/none; is 1; complains ENOENT
    ok adit rm -f p.adit:/none
    ok adit rm -r p.adit:/l
    ok adit ls p.adit:/d; eq "$out" $'e\ng'
    ok adit rm -v -r p.adit:/d; says 'removed /d/e/h'
    ok adit rm p.adit:/f
    ok adit ls p.adit; eq "$out" ''
    ok adit mkdir p.adit:/empty
    ok adit rm -d p.adit:/empty
    run adit rm -r p.adit:/; is 1; complains 'root directory'
    run adit rm -rf p.adit; is 1; complains 'root directory'
    ok adit touch p.adit:/...
    ok adit rm p.adit:/...
    run adit rm; is 2
}

test_rm_gives_space_back() {
    pool
    ok adit df --json p.adit; before=$(json 'd[0]["free_bytes"]')
    ok adit cp -r /etc/alternatives p.adit:/a
    head -c 4M /dev/urandom | adit write p.adit:/a/big
    ok adit rm -r p.adit:/a
    ok adit df --json p.adit; eq "$(json 'd[0]["inodes_used"]')" 1
    after=$(json 'd[0]["free_bytes"]') # the inode table keeps its blocks
    [ $((before - after)) -le 262144 ] || fail "$((before - after)) bytes were not given back"
}

test_deep() {
    pool
    path=/
    for _ in {1..400}; do path=${path}deeper-and-deeper/; done
    ok adit mkdir -p "p.adit:${path:0:4000}"
    ok adit find p.adit -type d; eq "$(tail -n +2 <<<"$out" | wc -l)" 223
    ok adit cp -a p.adit:/deeper-and-deeper p.adit:/copy
    ok adit ls -R p.adit
    ok adit rm -r p.adit:/deeper-and-deeper p.adit:/copy
    ok adit ls p.adit; eq "$out" ''
}

test_touch() {
    pool
    ok adit touch p.adit:/f
    ok adit stat --json p.adit:/f; before=$(json 'd[0]["mtime"]')
    sleep 0.02
    ok adit touch p.adit:/f
    ok adit stat --json p.adit:/f; [ "$(json 'd[0]["mtime"]')" != "$before" ] || fail "the same time"
    ok adit touch -c p.adit:/none
    ok adit ls p.adit; eq "$out" f
    run adit touch p.adit:/no/where; is 1; complains ENOENT
}

test_chmod_chown() {
    pool
    ok adit mkdir p.adit:/d
    ok adit touch p.adit:/d/f
    mode() { ok adit stat --json "p.adit:$1"; eq "$(json 'd[0]["mode"]')" "$2"; }
    ok adit chmod 4751 p.adit:/d/f; mode /d/f 4751
    ok adit chmod u+w,g-rx,o=r p.adit:/d/f; mode /d/f 4704
    ok adit chmod -- -w p.adit:/d/f; mode /d/f 4504
    ok adit chmod -r p.adit:/d/f; mode /d/f 4100
    ok adit chmod a=rX p.adit:/d/f; mode /d/f 0555
    ok adit chmod -R go-rwx p.adit:/d; mode /d/f 0500; mode /d 0700
    ok adit chmod +t p.adit:/d; mode /d 1700
    ok adit chmod g+s p.adit:/d; mode /d 3700
    ok adit chmod 755 p.adit:/d; mode /d 0755
    run adit chmod 999 p.adit:/d; is 2
    run adit chmod u+q p.adit:/d; is 2
    run adit chmod 644 p.adit:/none; is 1; complains ENOENT
    ok adit chown 123:456 p.adit:/d/f
    ok adit stat --json p.adit:/d/f; eq "$(json 'd[0]["uid"], d[0]["gid"]')" '(123, 456)'
    ok adit chown :7 p.adit:/d/f
    ok adit chown root p.adit:/d/f
    ok adit stat --json p.adit:/d/f; eq "$(json 'd[0]["uid"], d[0]["gid"]')" '(0, 7)'
    ok adit ln -s f p.adit:/d/l
    ok adit chown -R 1:1 p.adit:/d
    ok adit stat --json p.adit:/d/l p.adit:/d/f
    eq "$(json '[(e["uid"], e["gid"]) for e in d]')" '[(1, 1), (1, 1)]'
    run adit chown no-such-user p.adit:/d; is 2
}
