# SPDX-License-Identifier: BSD-3-Clause
#
# Pools as a whole: the command line, mkfs, info, df, and pools that cannot be opened.

test_command_line() {
    run adit; is 2; complains Usage
    ok adit --help; says Commands:; says mkfs
    ok adit help; says fsck
    ok adit help cp; says 'adit cp'; says --archive
    ok adit cp --help; says --archive
    ok adit --version; says 'adit '
    ok adit ls --version; says 'adit '
    run adit nonsense; is 2; complains "'nonsense': no such command"
    run adit --nonsense ls; is 2; complains --nonsense
    run adit ls --nonsense p.adit; is 2; complains --nonsense
    run adit ls; is 2; complains operand
    run adit help nonsense; is 2
    run adit --assume; is 2
    run adit info --assume=moon p.adit; is 2; complains 'no such persistence domain'
    run adit info p.adit more; is 2; complains 'one operand too many'
    # Every command has help, and refuses an empty command line.
    for command in mkfs info grow df ps top ls tree find stat cat sum write cp mv ln mkdir rm touch chmod chown \
        dump; do
        ok adit "$command" --help; says Usage
        run adit "$command"; is 2
    done
    ok adit fsck --help
    run adit fsck; is 16
    run adit fsck -n -y p.adit; is 16; complains exclude
    run fsck.adit --nonsense; is 16
    run fsck.adit a b; is 16
    run mkfs.adit; is 2; complains mkfs.adit:
    ok mkfs.adit --help; says mkfs.adit
}

test_mkfs() {
    ok adit mkfs p.adit --size 16M --label 'a label'
    says 'a label'; says 16.0M
    ok adit info p.adit; says 'a label'; says 'persistence domain'; says '16777216 bytes'
    run adit mkfs p.adit --size 16M; is 1; complains EEXIST; complains --force
    ok adit info p.adit; says 'a label'
    ok adit touch p.adit:/old
    ok adit mkfs p.adit --size 32M --force -q; eq "$out" ''
    ok adit ls p.adit; eq "$out" ''
    eq "$(stat -c %s p.adit)" 33554432
    ok adit --json mkfs u.adit --size 8M --uuid 00112233-4455-6677-8899-aabbccddeeff
    eq "$(json 'd["uuid"]')" 00112233-4455-6677-8899-aabbccddeeff
    eq "$(json 'd["size_bytes"]')" 8388608
    ok mkfs.adit -q -s 4M smallest.adit
    ok fsck.adit -n smallest.adit
    truncate -s 8M sized
    ok mkfs.adit -q sized
    ok mkfs.adit -q -s 64M --group-size 2M --lanes 3 grouped.adit
    ok adit info --json grouped.adit
    eq "$(json 'd["lanes"], d["group_bytes"]')" '(3, 2097152)'
}

test_mkfs_refuses() {
    run adit mkfs p.adit; is 1; complains --size
    run adit mkfs p.adit --size 1M; is 1; complains 4M
    run adit mkfs p.adit --size 0; is 2
    for size in 4X -1 '' abc 1e99G 99999999999999999999 4GG '4 G'; do
        run adit mkfs p.adit "--size=$size"; is 2; complains 'no such size'
    done
    run adit mkfs p.adit --size 16M --label "$(printf 'x%.0s' {1..64})"; is 2; complains label
    run adit mkfs p.adit --size 16M --uuid 1234; is 2; complains uuid
    run adit mkfs p.adit --size 16M --lanes 257; is 2
    run adit mkfs p.adit --size 16M --group-size 3M; is 1; complains EINVAL
    [ ! -e p.adit ] || fail "a failed mkfs left a file"
    run adit mkfs nowhere/p.adit --size 16M; is 1; complains ENOENT
    run adit mkfs . --size 16M; is 1; complains EISDIR
    run adit mkfs /dev/null --size 16M; [ "$rc" = 1 ] || fail "/dev/null became a pool"
    echo precious >file
    run adit mkfs file --size 16M; is 1; complains EEXIST
    eq "$(cat file)" precious
    # Another file system: ext4's magic number is enough to be careful.
    truncate -s 16M other
    printf '\x53\xef' | dd of=other bs=1 seek=1080 conv=notrunc status=none
    run adit mkfs other --size 16M; is 1; complains EEXIST
    ok adit mkfs -q other --size 16M --force
}

test_sizes() {
    ok mkfs.adit -q -s 8388608 a; eq "$(stat -c %s a)" 8388608
    ok mkfs.adit -q -s 8m b; eq "$(stat -c %s b)" 8388608
    ok mkfs.adit -q -s 8MiB c; eq "$(stat -c %s c)" 8388608
    ok mkfs.adit -q -s 8MB d; eq "$(stat -c %s d)" 8000000
    ok mkfs.adit -q -s 4.5M e; eq "$(stat -c %s e)" 4718592
    ok mkfs.adit -q -s 1T f; eq "$(stat -c %s f)" 1099511627776
    ok adit df f; says 1.0T
    ok adit info f
}

test_info_and_df() {
    pool 64M
    ok adit info p.adit; says process; says tmpfs || true
    ok adit --assume memory info p.adit; says 'memory (assumed)'
    ok adit info --assume=cpu-cache p.adit; says 'cpu-cache (assumed)'
    ok adit info p.adit; says 'not blocked'
    ok env ADIT_PROTECT=mprotect adit info p.adit; says ' blocked by mprotect'
    ok env ADIT_PROTECT=mprotect adit info --json p.adit; eq "$(json 'd["protection"]')" mprotect
    run env ADIT_PROTECT=always adit info p.adit; is 1; complains 'ADIT_PROTECT may be'
    ok adit info --json p.adit
    eq "$(json 'd["domain_assumed"], d["was_clean"], d["block_bytes"]')" '(False, True, 4096)'
    ok adit --json --assume=memory info p.adit
    eq "$(json 'd["domain"]')" memory
    ok adit df p.adit; says p.adit; says 64.0M
    ok adit df --json p.adit
    eq "$(json 'len(d), d[0]["size_bytes"]')" '(1, 67108864)'
    before=$(json 'd[0]["free_bytes"]')
    head -c 1M /dev/zero | adit write p.adit:/f
    ok adit df --json p.adit
    eq "$(json "$before - d[0]['free_bytes'] >= 1048576")" True
    ok adit df -b p.adit; says 67108864
    run adit df p.adit missing.adit; is 1; says p.adit; complains missing.adit
}

test_grow() {
    pool 4M
    head -c 100000 /dev/urandom >f; ok adit cp f p.adit:/f
    ok adit grow p.adit 5M; says '5.0M (5242880 bytes), was 4.0M'
    ok adit grow --json p.adit +3M
    eq "$(json 'd["size_bytes"], d["was_bytes"], d["groups"]')" '(8388608, 5242880, 2)'
    eq "$(stat -c %s p.adit)" 8388608
    ok adit fsck -n p.adit
    # The size that it has is no error, a smaller one is.
    ok adit grow p.adit 8M
    run adit grow p.adit 7M; is 1; complains 'does not shrink'; complains EINVAL
    run adit grow p.adit 9P; is 1; complains EFBIG
    for size in 4X +-1 + '' abc 0 +0; do
        run adit grow p.adit "$size"; is 2; complains 'no such size'
    done
    eq "$(stat -c %s p.adit)" 8388608
    # To the end of the file; an odd one.
    ok adit grow p.adit; says 8388608
    truncate -s 20000001 p.adit
    ok adit info p.adit; says 8388608
    ok adit grow p.adit; says 19996672
    ok adit df --json p.adit; eq "$(json 'd[0]["size_bytes"]')" 19996672
    # Beyond the classes that mkfs has, and over clusters.
    ok adit grow p.adit 3G
    ok adit info --json p.adit; eq "$(json 'd["size_bytes"], d["was_clean"]')" '(3221225472, True)'
    ok adit fsck -n p.adit
    ok adit cat p.adit:/f; adit cat p.adit:/f | cmp - f || fail "the file has changed"
    run adit grow missing.adit 8M; is 1; complains ENOENT
    chmod 444 p.adit
    [ "$(id -u)" = 0 ] || { run adit grow p.adit 4G; is 1; }
    chmod 644 p.adit
}

# Somebody has it open, and sees the space.
test_grow_in_use() {
    pool 4M
    mkfifo in out.fifo
    helper hold p.adit <in >out.fifo &
    exec 8>in 9<out.fifo
    read -r line <&9
    eq "$line" held
    ok adit grow p.adit 16M
    ok adit info p.adit; says '16777216 bytes'
    head -c 10M /dev/zero >ten
    ok adit cp ten p.adit:/ten
    ok adit ps p.adit; says alive
    ok adit dump p.adit superblock; says 'pool blocks: 4096'; says 'state: open'
    exec 8>&- 9<&-
    wait
    ok adit info p.adit; says '16777216 bytes'
    adit cat p.adit:/ten | cmp - ten || fail "the file has changed"
}

# A pool of the first version of the format, which has no places for several processes.
test_grow_old() {
    zcat "$(dirname "$cases")/../golden/v1.img.gz" >old
    run adit grow old +4M; is 1; complains EOPNOTSUPP; complains 'new pool'
    eq "$(stat -c %s old)" "$(zcat "$(dirname "$cases")/../golden/v1.img.gz" | wc -c)"
    ok adit fsck -n old
}

# Where the process holding it is allowed little address space.
test_grow_without_room() {
    # The sanitizers need more than that for themselves.
    (ulimit -v 4000000 2>/dev/null; exec "$helper") >/dev/null 2>&1
    [ $? -lt 128 ] || return 0
    pool 4M
    mkfifo in out.fifo
    (ulimit -v 4000000 2>/dev/null; exec "$helper" hold p.adit <in >out.fifo) &
    exec 8>in 9<out.fifo
    read -r line <&9
    eq "$line" held
    run adit grow p.adit 16M; is 1; complains ENOMEM; complains cli_helper
    eq "$(stat -c %s p.adit)" 4194304
    exec 8>&- 9<&-
    wait
    ok adit grow p.adit 16M
}

test_not_a_pool() {
    run adit ls missing.adit:/; is 1; complains 'missing.adit: does not exist'; complains ENOENT
    run adit ls .; is 1; complains EISDIR
    echo text >text
    run adit ls text; is 1; complains EMEDIUMTYPE
    : >empty
    run adit info empty; is 1
    truncate -s 16M zeros
    run adit ls zeros:/; is 1; complains EMEDIUMTYPE
    run adit ls /dev/null; is 1
    run adit ls /dev/zero; is 1
}

test_truncated_pool() {
    pool
    ok adit mkdir p.adit:/d
    cp p.adit short; truncate -s 8M short
    run adit ls short; is 1; complains short
    run adit fsck -n short; is 4; says truncated
    truncate -s 20K short
    run adit ls short; is 1
    run adit fsck -n short; is 8
    truncate -s 100 short
    run adit ls short; is 1
    truncate -s 0 short
    run adit ls short; is 1
}

test_busy() {
    pool
    mkfifo in out.fifo
    helper hold p.adit <in >out.fifo &
    exec 8>in 9<out.fifo
    read -r line <&9
    eq "$line" held
    ok adit ls p.adit
    ok adit touch p.adit:/x
    ok adit ps p.adit; says PARTICIPANT; says helper; says alive
    ok adit ps --json p.adit; eq "$(json 'len(d)')" 1; eq "$(json 'd[0]["running"]')" 0
    ok adit dump p.adit superblock; says 'state: open'
    run adit fsck -n p.adit; is 8; complains EBUSY
    run adit fsck -y p.adit; is 8; complains EBUSY
    run adit mkfs p.adit --size 16M --force; is 1; complains EBUSY
    # A copy is a pool of its own.
    cp p.adit copy.adit
    ok adit ls copy.adit
    ok adit touch copy.adit:/x
    exec 8>&- 9<&-
    wait
    ok adit ls p.adit
}

test_crashed() {
    pool
    helper crash p.adit 2>/dev/null
    sum=$(sha256sum <p.adit)
    # Looking recovers in memory and leaves the pool alone.
    ok adit cat p.adit:/crashed; eq "$out" 'all of it'
    ok adit info --json p.adit; eq "$(json 'd["was_clean"]')" False
    run adit fsck -n p.adit; is 0; says 'not closed'
    eq "$(sha256sum <p.adit)" "$sum"
    ok adit ls p.adit; eq "$out" crashed
    ok adit touch p.adit:/after
    ok adit info --json p.adit; eq "$(json 'd["was_clean"]')" True
    ok adit ls p.adit; eq "$out" $'after\ncrashed'
    ok adit find p.adit; eq "$(sort <<<"$out")" $'/\n/after\n/crashed'
}

test_read_only_file() {
    pool
    ok adit touch p.adit:/f
    chmod 444 p.adit
    ok adit ls p.adit; eq "$out" f
    if [ "$(id -u)" != 0 ]; then
        run adit touch p.adit:/g; is 1; complains EACCES
    fi
    chmod 644 p.adit
}

test_damaged_superblock() {
    pool
    ok adit touch p.adit:/f
    helper damage p.adit 0 4096
    run adit ls p.adit; is 0; says f
    helper damage p.adit 28672 4096
    run adit ls p.adit; is 1; complains p.adit
    run adit fsck -n p.adit; is 8
    touch damaged
}

test_closed_output() {
    pool
    ok adit touch p.adit:/f
    run adit ls p.adit; is 0
    adit ls p.adit >/dev/full 2>errors; eq $? 1
    eq "$(grep -c ENOSPC errors)" 1
    adit cat p.adit:/f >/dev/full; eq $? 0
}
