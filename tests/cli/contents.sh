# SPDX-License-Identifier: BSD-3-Clause
#
# Contents: cat, write, sum.

test_write_and_cat() {
    pool
    ok adit write p.adit:/empty; ok adit cat p.adit:/empty; eq "$out" ''
    printf 'one\n' | adit write p.adit:/f; eq $? 0
    printf 'two\n' | adit write -a p.adit:/f; eq $? 0
    ok adit cat p.adit:/f; eq "$out" $'one\ntwo'
    printf XY | adit write -o 1 p.adit:/f
    ok adit cat p.adit:/f p.adit:/f; eq "$out" $'oXY\ntwo\noXY\ntwo'
    printf ab | adit write --atomic --offset 2 p.adit:/f
    ok adit cat p.adit:/f; eq "$out" $'oXabtwo'
    printf new | adit write p.adit:/f
    ok adit cat p.adit:/f; eq "$out" new
    printf secret | adit write -m 600 p.adit:/s
    ok adit stat --json p.adit:/s; eq "$(json 'd[0]["mode"]')" 0600
    run adit write p.adit:/no/where; is 1; complains ENOENT
    run adit write p.adit:/; is 1; complains EISDIR
    run adit write -a -o 3 p.adit:/f; is 2
    run adit write -o x p.adit:/f; is 2
    run adit cat p.adit:/none p.adit:/f; is 1; says new; complains ENOENT
    run adit cat p.adit:/; is 1; complains EISDIR
}

test_large() {
    pool 64M
    head -c 20000000 /dev/urandom >big
    adit write p.adit:/big <big; eq $? 0
    eq "$(adit cat p.adit:/big | sha256sum)" "$(sha256sum <big)"
    # Slowly, through a pipe.
    (head -c 100000 big; sleep 0.1; tail -c +100001 big) | adit write p.adit:/piped
    eq "$(adit cat p.adit:/piped | sha256sum)" "$(sha256sum <big)"
    adit cat p.adit:/big | head -c 10 >/dev/null
}

test_no_space() {
    pool 8M
    head -c 32M /dev/urandom >big
    adit write p.adit:/big <big 2>errors; eq $? 1
    eq "$(grep -c ENOSPC errors)" 1
    run adit cp big p.adit:/copy; is 1; complains ENOSPC
    ok adit ls p.adit; eq "$out" big
    ok adit rm p.adit:/big
    head -c 1M big | adit write p.adit:/small; eq $? 0
}

test_sum() {
    pool
    # Values of the reference implementation.
    printf '' | adit write p.adit:/empty
    printf abc | adit write p.adit:/abc
    printf 'Nobody inspects the spammish repetition' | adit write p.adit:/long
    ok adit sum p.adit:/empty; eq "$out" 'ef46db3751d8e999  /empty'
    ok adit sum p.adit:/abc; eq "$out" '44bc2cf5ad770999  /abc'
    ok adit sum p.adit:/long; eq "$out" 'fbcea83c8a378bf1  /long'
    run adit sum p.adit:/; is 1; complains --recursive
    ok adit sum -r p.adit:/; eq "$(wc -l <<<"$out")" 3
    mkdir host; printf abc >host/abc
    ok adit sum --json host/abc; eq "$(json 'd[0]["xxh64"], d[0]["size"]')" "('44bc2cf5ad770999', 3)"
    ok adit cp -r host p.adit:/host
    ok adit sum -r --relative host; host=$out
    ok adit sum -r --relative p.adit:/host; eq "$out" "$host"
    for size in 1 31 32 33 63 64 65 4095 1048576 1048577 3000000; do
        head -c $size /dev/urandom >data
        adit write p.adit:/data <data
        a=$(adit sum data | cut -c1-16) b=$(adit sum p.adit:/data | cut -c1-16)
        eq "$a" "$b"
    done
    run adit sum none; is 1
}
