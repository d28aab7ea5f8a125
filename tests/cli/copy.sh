# SPDX-License-Identifier: BSD-3-Clause
#
# cp: into, out of and inside pools.

# A tree with a bit of everything.
make_tree() {
    mkdir -p tree/sub/empty tree/.hidden
    printf 'some text\n' >tree/text
    head -c 300000 /dev/urandom >tree/sub/random
    : >tree/sub/nothing
    ln -s text tree/link
    ln -s /does/not/exist tree/dangling
    ln tree/text tree/sub/hard
    mkfifo tree/fifo
    truncate -s 1M tree/sparse
    printf data | dd of=tree/sparse bs=1 seek=500000 conv=notrunc status=none
    chmod 4711 tree/text; chmod 0750 tree/sub; chmod 1777 tree/.hidden; chmod 0400 tree/sub/nothing
    touch -d '2001-02-03 04:05:06.789012345' tree/text tree/sub
    touch -h -d '1999-01-01 00:00:01' tree/link
    printf x >"tree/a name with spaces, and ünïcode"
    setfattr -n user.colour -v blue tree/text 2>/dev/null
    setfattr -n user.shape -v round tree/sub 2>/dev/null
    true
}
# Everything that -a keeps, as text.
listing() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %U %G %T@ %n %s %l\n' | grep -v ' d ' | sort
    find . -mindepth 1 -type d -printf '%P %y %m %U %G %T@ %l\n' | sort); }

test_archive_round_trip() {
    pool 32M
    make_tree
    ok adit cp -a tree p.adit:/tree
    ok adit cp -a p.adit:/tree back
    ok diff -r --no-dereference tree/sub back/sub
    eq "$(listing back)" "$(listing tree)"
    eq "$(stat -c %i back/text)" "$(stat -c %i back/sub/hard)"
    # Holes: on both ways.
    ok adit stat --json p.adit:/tree/sparse
    eq "$(json 'd[0]["size"], d[0]["allocated_bytes"]')" '(1048576, 4096)'
    [ "$(stat -c %b back/sparse)" -le "$(stat -c %b tree/sparse)" ] || fail "holes were filled"
    cmp tree/sparse back/sparse || fail "sparse differs"
    if getfattr -n user.colour tree/text >/dev/null 2>&1; then
        eq "$(helper getxattr p.adit /tree/text user.colour)" blue
        eq "$(helper getxattr p.adit /tree/sub user.shape)" round
        eq "$(getfattr --only-values -n user.colour back/text)" blue
    fi
    # And inside, and to another pool.
    ok adit cp -a p.adit:/tree p.adit:/again
    ok adit cp -a p.adit:/again back2
    eq "$(listing back2)" "$(listing tree)"
    ok mkfs.adit -q -s 16M other.adit
    ok adit cp -a p.adit:/tree other.adit:/
    ok adit cp -a other.adit:/tree back3
    eq "$(listing back3)" "$(listing tree)"
    ok adit fsck -n other.adit
    # Once more over what is there.
    ok adit cp -a tree p.adit:/
    ok adit cp -a p.adit:/tree back4
    eq "$(listing back4)" "$(listing tree)"
}

test_recursive() {
    pool 32M
    make_tree
    ok adit cp -r tree p.adit:/t
    ok adit cp -r p.adit:/t out
    ok diff -r --no-dereference tree/sub out/sub
    eq "$(readlink out/link)" text
    [ "$(stat -c %i out/text)" != "$(stat -c %i out/sub/hard)" ] || fail "-r kept a hard link"
    eq "$(stat -c %a out/sub)" 750
    ok adit cp -rL tree/sub p.adit:/followed
    run adit cp tree p.adit:/x; is 1; complains --recursive
    ok adit ls p.adit; says_not x
    run adit cp tree/fifo p.adit:/x; is 1; complains fifo
}

test_operands() {
    pool
    mkdir d; printf 1 >one; printf 2 >two
    ok adit cp one p.adit:/uno
    ok adit cp one two p.adit:/
    ok adit ls p.adit; eq "$out" $'one\ntwo\nuno'
    ok adit mkdir p.adit:/dir
    ok adit cp one p.adit:/dir
    ok adit cp p.adit:/dir/one d
    eq "$(cat d/one)" 1
    ok adit cp p.adit:/one p.adit:/two d/
    eq "$(cat d/two)" 2
    ok adit cp p.adit:/one p.adit:/dir/copy
    ok adit cat p.adit:/dir/copy; eq "$out" 1
    # The whole pool, and into its root.
    ok adit cp -r p.adit:/ everything
    eq "$(ls everything)" $'dir\none\ntwo\nuno'
    ok adit cp -r d p.adit:/new
    ok adit cp -r d p.adit:/new
    ok adit ls -R p.adit:/new; says /new/d
    ok adit cp -rT d p.adit:/new
    run adit cp one two p.adit:/nowhere; is 1; complains 'no directory'
    run adit cp one two; is 0
    run adit cp one; is 2
    run adit cp one missing.adit:/x; is 1; complains missing.adit
    run adit cp none p.adit:/x; is 1; complains ENOENT
    run adit cp p.adit:/none x; is 1; complains ENOENT
    run adit cp one p.adit:/no/where; is 1; complains ENOENT
    run adit cp -L -P one p.adit:/; is 2
    ok adit cp -v one p.adit:/said; says 'one -> /said'
    ok adit cp --json one p.adit:/counted; eq "$(json 'd["files"], d["bytes"]')" '(1, 1)'
}

test_existing_targets() {
    pool
    printf old >old; printf new >new; mkdir dir
    ok adit cp old p.adit:/f
    ok adit cp -n new p.adit:/f
    ok adit cat p.adit:/f; eq "$out" old
    ok adit cp new p.adit:/f
    ok adit cat p.adit:/f; eq "$out" new
    ok adit mkdir p.adit:/d
    run adit cp -T new p.adit:/d; is 1; complains EISDIR
    run adit cp -rT dir p.adit:/f; is 1; complains 'no directory'
    run adit cp p.adit:/f p.adit:/f; is 1; complains 'same file'
    ok adit ln p.adit:/f p.adit:/g
    run adit cp p.adit:/f p.adit:/g; is 1; complains 'same file'
    run adit cp -r p.adit:/d p.adit:/d/inside; is 1; complains 'into itself'
    ok adit cat p.adit:/f; eq "$out" new
    ln -s new link
    ok adit cp link p.adit:/followed; ok adit cat p.adit:/followed; eq "$out" new
    ok adit cp -P link p.adit:/kept; ok adit ls -l p.adit:/kept; says '-> new'
    ok adit cp -P link p.adit:/followed; ok adit ls -l p.adit:/followed; says '-> new'
}

test_preserve() {
    pool
    printf x >f; chmod 640 f; touch -d '2001-02-03 04:05:06' f
    ok adit cp f p.adit:/plain
    ok adit cp -p f p.adit:/kept
    ok adit ls -l p.adit:/kept; says '-rw-r-----'; says '2001-02-03 04:05'
    ok adit ls -l p.adit:/plain; says_not 2001
    ok adit cp -p p.adit:/kept out
    eq "$(stat -c '%a %Y' out)" "$(stat -c '%a %Y' f)"
    (umask 077; adit cp f p.adit:/masked)
    ok adit stat --json p.adit:/masked; eq "$(json 'd[0]["mode"]')" 0600
}

test_holes_inside() {
    pool
    helper sparse p.adit /s
    ok adit cp -a p.adit:/s p.adit:/t
    ok adit stat --json p.adit:/s p.adit:/t
    eq "$(json '[(e["size"], e["allocated_bytes"]) for e in d]')" '[(1048576, 8192), (1048576, 8192)]'
    ok adit cp -a p.adit:/s s
    eq "$(stat -c %s s)" 1048576
    eq "$(adit cat p.adit:/t | sha256sum)" "$(sha256sum <s)"
}

test_many_files() {
    pool 64M
    mkdir many
    for i in {1..3000}; do echo "$i" >"many/$i"; done
    ok adit cp -a many p.adit:/many
    ok adit cp -a p.adit:/many back
    ok diff -r many back
    ok adit rm -r p.adit:/many
    ok adit ls p.adit; eq "$out" ''
}

test_no_space() {
    pool 8M
    mkdir big
    for i in {1..9}; do head -c 2M /dev/urandom >"big/$i"; done
    run adit cp -r big p.adit:/big; is 1; complains ENOSPC
    # What is there is whole.
    for name in $(adit ls p.adit:/big); do
        eq "$(adit cat "p.adit:/big/$name" | sha256sum)" "$(sha256sum <"big/$name")"
    done
}
