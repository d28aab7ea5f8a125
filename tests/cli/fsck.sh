# SPDX-License-Identifier: BSD-3-Clause
#
# fsck: exit codes, what it says, that -n writes nothing and -y mends. What it can mend is tested where
# the check itself is.

# The offset of the inode of a path: where its 256 bytes lie is found by their mark and number.
inode_offset() {
    adit stat --json "p.adit:$1" >stat.json
    python3 - <<'END'
import json, struct
ino = json.load(open("stat.json"))[0]["inode"]
data = open("p.adit", "rb").read()
for at in range(0, len(data), 256):
    if data[at + 4:at + 8] == b"ADII" and struct.unpack_from("<Q", data, at + 32)[0] == ino:
        print(at)
        break
END
}

test_clean() {
    pool
    ok adit cp -r /etc/alternatives p.adit:/a
    ok adit fsck p.adit; says clean
    ok adit fsck -n p.adit; says clean
    ok adit fsck -p p.adit; says clean
    ok adit fsck -y p.adit; says clean
    ok fsck.adit -a -f -C 0 p.adit; says clean
    ok fsck.adit -n -q p.adit; eq "$out" ''
    ok adit fsck --json p.adit
    eq "$(json 'd["clean"], d["errors_found"], d["was_closed"], d["findings"]')" '(True, 0, True, [])'
    ok adit ls p.adit; eq "$out" a
}

test_no_pool() {
    run adit fsck -n missing; is 8; complains ENOENT
    echo text >text
    run adit fsck -y text; is 8; complains EMEDIUMTYPE
    eq "$(cat text)" text
    truncate -s 16M zeros
    run adit fsck -y zeros; is 8; complains EMEDIUMTYPE
    run adit fsck -n .; is 8
    run adit fsck -n /dev/null; is 8
}

test_damaged_inode() {
    pool
    printf precious | adit write p.adit:/keep
    printf victim | adit write p.adit:/victim
    at=$(inode_offset /victim)
    [ -n "$at" ] || { fail "the inode is not found"; return; }
    helper damage p.adit $((at + 64)) 8
    touch damaged
    cp p.adit before
    run adit cat p.adit:/victim; is 1; complains p.adit
    ok adit cat p.adit:/keep; eq "$out" precious
    run adit fsck -n p.adit; is 4; says inode; says -y
    cmp p.adit before || fail "fsck -n wrote to the pool"
    run adit fsck -n --json p.adit; is 4
    eq "$(json 'd["clean"], d["errors_left"] > 0, len(d["findings"]) > 0')" '(False, True, True)'
    run adit fsck -y p.adit; is 1; says mended
    run adit fsck -n p.adit; is 0; says clean
    ok adit cat p.adit:/keep; eq "$out" precious
    ok adit touch p.adit:/new
    run adit fsck -n p.adit; is 0
}

test_second_superblock() {
    pool
    printf precious | adit write p.adit:/keep
    helper damage p.adit 100 8
    run adit fsck -n p.adit; is 4
    run adit fsck -y p.adit; is 1
    run adit fsck -n p.adit; is 0
    ok adit cat p.adit:/keep; eq "$out" precious
}

test_crashed() {
    pool
    helper crash p.adit 2>/dev/null
    run adit fsck -n p.adit; is 0; says 'not closed'; says 'in memory only'
    run adit fsck --json p.adit; is 0; eq "$(json 'd["was_closed"]')" False
    run adit fsck -p p.adit; is 0
    run adit fsck --json p.adit; is 0; eq "$(json 'd["was_closed"]')" True
    ok adit cat p.adit:/crashed; eq "$out" 'all of it'
}
