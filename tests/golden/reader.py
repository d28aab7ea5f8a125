#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
A second reader of Adit pools, written from docs/format.md alone (section numbers below are its).

It reads a pool as it is, after a clean close or after a crash: the log is replayed in memory, every seal
on the way is checked, nothing is written.

    reader.py IMAGE list         one line per file: type mode size sha256|target|device attributes path
    reader.py IMAGE cat PATH     contents of a file
    reader.py IMAGE info         superblock, checkpoint, what replay did
"""
import hashlib
import struct
import sys

BLOCK = 4096
STAGE = 1 << 51
TYPES = {0o10: "f", 0o4: "d", 0o12: "l", 0o2: "c", 0o6: "b", 0o1: "p", 0o14: "s"}


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


# ---- 1.2 checksums, 10.1 hash --------------------------------------------------------------------------

def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC = list(_table())


def crc32c(seed, data):
    register = seed ^ 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ CRC[(register ^ byte) & 255]
    return register ^ 0xFFFFFFFF


P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5, M64 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, (1 << 64) - 1


def rotate(x, by):
    return (x << by | x >> (64 - by)) & M64


def mix(lane, word):
    return rotate((lane + word * P2) & M64, 31) * P1 & M64


def xxh64(data, seed):
    at, h = 0, (seed + P5) & M64
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & M64, (seed + P2) & M64, seed, (seed - P1) & M64]
        while at + 32 <= len(data):
            lanes = [mix(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18))) & M64
        for lane in lanes:
            h = ((h ^ mix(0, lane)) * P1 + P4) & M64
    h = (h + len(data)) & M64
    while at + 8 <= len(data):
        h = (rotate(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & M64
        at += 8
    if at + 4 <= len(data):
        h = (rotate(h ^ struct.unpack_from("<I", data, at)[0] * P1 & M64, 23) * P2 + P3) & M64
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5 & M64, 11) * P1 & M64
    h = (h ^ h >> 33) * P2 & M64
    h = (h ^ h >> 29) * P3 & M64
    return h ^ h >> 32


def magic_of(text):
    return struct.unpack("<I", text)[0]


# ---- the pool --------------------------------------------------------------------------------------------

class Pool:
    def __init__(self, path):
        self.image = memoryview(bytearray(open(path, "rb").read()))
        self.dirty = set()    # pool offsets of structures whose seal replay made stale
        self.checked = set()
        self.replayed = 0
        self.superblock()
        self.checkpoint()
        self.root_block()
        self.replay()
        need(self.root_is_right or self.root in self.dirty, "root block and replica")
        need(self.bytes(self.root + 16, 16) == self.uuid, "root block of another pool")
        self.intents = list(self.read_intents())
        self.bitmaps()
        self.table = Inode(self, self.root + 256, 1)

    def u16(self, at):
        return struct.unpack_from("<H", self.image, at)[0]

    def u32(self, at):
        return struct.unpack_from("<I", self.image, at)[0]

    def u64(self, at):
        return struct.unpack_from("<Q", self.image, at)[0]

    def bytes(self, at, length):
        return bytes(self.image[at:at + length])

    def block(self, pointer):
        """Pool offset of the block that a pointer names (1.1)."""
        number = pointer & (1 << 40) - 1
        need(0 < number < self.blocks, f"pointer to block {number}")
        return number * BLOCK

    def sealed(self, at, magic, start, end):
        return (self.bytes(at + 4, 4) == magic and
                self.u32(at) == crc32c(magic_of(magic), self.image[at + start:at + end]))

    def check(self, at, magic, start, end, what):
        """1.2: magic always, the seal unless replay changed the structure."""
        if at in self.checked:
            return
        need(self.bytes(at + 4, 4) == magic, f"{what}: magic")
        need(at in self.dirty or self.sealed(at, magic, start, end), f"{what}: checksum")
        self.checked.add(at)

    # 2
    def superblock(self):
        for at in (0, 7 * BLOCK):
            if len(self.image) < at + BLOCK or not self.sealed(at, b"ADIT", 16, BLOCK):
                continue
            if self.u32(at + 32) == 1 and not any(self.image[at + 264:at + BLOCK]):
                break
        else:
            raise Damaged("no superblock")
        self.uuid = self.bytes(at + 16, 16)
        (self.compat, self.ro_compat, self.incompat, self.blocks, self.group_blocks, self.groups,
         self.cluster_groups, self.lane_start, self.lanes, self.lane_blocks, self.intent_start, _, _,
         root, copy, self.ckpt_start, self.meta_start, self.incarnation, self.seed, self.created, _,
         self.owner, self.state) = struct.unpack_from("<3Q2Q2IQ2I3Q2Q2QQQQQ2I", self.image, at + 40)
        self.label = self.bytes(at + 200, 64).rstrip(b"\0").decode(errors="replace")
        need(self.incompat == 0, f"incompatible features {self.incompat:#x}")
        need(self.u32(at + 36) == BLOCK and self.blocks * BLOCK <= len(self.image), "size of the pool")
        need(not self.state & 8, "mkfs did not finish")
        self.root, self.root_copy = root * BLOCK, copy * BLOCK
        self.ring = self.lane_blocks * BLOCK

    # 5
    def checkpoint(self):
        best = None
        for slot in range(2):
            at = (self.ckpt_start + slot) * BLOCK
            if self.u32(at + 48) == self.lanes and self.sealed(at, b"ADIK", 16, 64 + 8 * self.lanes) and \
                    not any(t % 64 or t >> 63 for t in struct.unpack_from(f"<{self.lanes}Q", self.image, at + 64)):
                if best is None or self.u64(at + 24) > self.u64(best + 24):
                    best = at
        need(best is not None, "both checkpoint slots")
        self.c, self.generation, self.free, self.used = struct.unpack_from("<4Q", self.image, best + 16)
        self.nonce = self.u64(best + 56)
        self.tails = struct.unpack_from(f"<{self.lanes}Q", self.image, best + 64)

    # 4
    def root_block(self):
        self.root_is_right = self.sealed(self.root, b"ADIR", 16, BLOCK)
        if not self.root_is_right and self.sealed(self.root_copy, b"ADIR", 16, BLOCK):
            self.image[self.root:self.root + BLOCK] = self.image[self.root_copy:self.root_copy + BLOCK]
            self.root_is_right = True

    # 6.1
    def record(self, lane, p):
        """(offset in the image, seq, len, pad) of the valid record at p, or None."""
        at = self.lane_start * BLOCK + lane * self.ring + p % self.ring
        left = self.ring - p % self.ring
        if left < 48:
            return None
        crc, magic, seq, pos, length, number, flags = struct.unpack_from("<IIQQIHH", self.image, at)
        if magic != magic_of(b"ADIL") or pos != p or number != lane or not 48 <= length <= left:
            return None
        if self.u64(at + 40) != self.nonce:
            return None
        pad = flags & 1
        if pad and length != left:
            return None
        if crc != crc32c(lane, self.image[at + 4:at + (48 if pad else length)]):
            return None
        return at, seq, length, pad

    def next_record(self, lane, p):
        while p < self.tails[lane] + self.ring:
            found = self.record(lane, p)
            if found is None:
                return None
            at, seq, length, pad = found
            end = (p + length + 63) // 64 * 64
            if not pad:
                return (seq, lane, at, length, end) if seq > self.c else None
            if self.record(lane, end) is None:
                return None
            p = end
        return None

    # 6.2
    def replay(self):
        self.last = self.c
        waiting = [r for r in (self.next_record(i, t) for i, t in enumerate(self.tails)) if r]
        while waiting:
            first = min(waiting)
            waiting.remove(first)
            seq, lane, at, length, end = first
            self.apply(at, length)
            self.free += struct.unpack_from("<i", self.image, at + 32)[0]
            self.used += struct.unpack_from("<i", self.image, at + 36)[0]
            self.last = seq
            self.replayed += 1
            follower = self.next_record(lane, end)
            if follower:
                waiting.append(follower)

    def apply(self, at, length):
        end, at = at + length, at + 48
        while at < end:
            where, n, op, kind = struct.unpack_from("<QIBB", self.image, at)
            at += 16
            if op == 1:
                self.image[where:where + n] = self.image[at:at + n]
                at += n
            elif op == 2:
                self.image[where:where + n] = bytes(n)
            elif op in (3, 4):
                self.mark(where, n, op == 3)
            else:
                raise Damaged(f"entry of type {op}")
            if kind in (2, 3, 4):
                self.dirty.add(where // (256 if kind == 2 else BLOCK) * (256 if kind == 2 else BLOCK))

    # 3.1
    def group_meta(self, g):
        """(offset of the header, of the replica, of the first bitmap block, bitmap blocks)"""
        each = -(-self.group_blocks // 32768)
        k, i = divmod(g, self.cluster_groups)
        m = k * self.cluster_groups * self.group_blocks if k else self.meta_start
        bitmap = m + 2 * self.cluster_groups + i * each
        return (m + i) * BLOCK, (m + self.cluster_groups + i) * BLOCK, bitmap * BLOCK, each

    def mark(self, block, count, used):
        for b in range(block, block + count):
            g, j = divmod(b, self.group_blocks)
            bitmap = self.group_meta(g)[2]
            self.dirty.add(bitmap + j // 32768 * BLOCK)
            if used:
                self.image[bitmap + j // 8] |= 1 << j % 8
            else:
                self.image[bitmap + j // 8] &= ~(1 << j % 8) & 255

    def bitmaps(self):
        used = 0
        for g in range(self.groups):
            header, replica, bitmap, each = self.group_meta(g)
            for at in (header, replica):
                need(self.sealed(at, b"ADIG", 16, 64) and self.u32(at + 32) == g, f"group {g}: header")
            for i in range(each):
                at = bitmap + i * BLOCK
                need(at in self.dirty or self.u32(header + 64 + 16 * i) == crc32c(0, self.image[at:at + BLOCK]),
                     f"group {g}: bitmap block {i}")
                used += int.from_bytes(self.image[at:at + BLOCK], "little").bit_count()
        need(self.blocks - used == self.free, f"{self.free} blocks counted free, {self.blocks - used} are")

    # 11
    def read_intents(self):
        for lane in range(self.lanes):
            at = self.intent_start * BLOCK + 64 * lane
            kind, generation, ino, a, b, c = struct.unpack_from("<IIQQQQ", self.image, at)
            if kind:
                yield kind, generation, ino, a, b, c

    # 7
    def inode(self, ino):
        need(ino > 1 and ino % 64 != 0 and ino < self.u64(self.root + 40), f"inode number {ino}")
        header, at = self.slot(ino // 64 * 64), self.slot(ino)
        self.check(header, b"ADIC", 32, 256, f"cluster of inode {ino}")
        need(self.u64(header + 40) >> ino % 64 & 1, f"inode {ino}: its cluster says free")
        self.check(at, b"ADII", 32, 256, f"inode {ino}")
        return Inode(self, at, ino)

    def slot(self, ino):
        for first, block, blocks, _ in self.table.extents():
            if first <= ino // 16 < first + blocks:
                return (block + ino // 16 - first) * BLOCK + ino % 16 * 256
        raise Damaged(f"inode {ino} lies nowhere")

    # 8
    def leaves(self, pointer, level, owner, kind):
        """Records of a tree, in key order: (key, a, b, c, bytes after the header)."""
        at = self.block(pointer)
        what = f"node in block {at // BLOCK}"
        self.check(at, b"ADIN", 16, BLOCK, what)
        block, owned, tag, _, count, top, live, is_level, is_kind = struct.unpack_from("<QQIIHHHBB", self.image,
                                                                                       at + 16)
        need(block * BLOCK == at and owned == owner and tag == struct.unpack("<I", self.uuid[:4])[0] and
             is_level == level and is_kind == kind and count > 0, f"{what}: header")
        if level > 0:
            for i in range(count):
                yield from self.leaves(self.u64(at + 64 + 16 * i + 8), level - 1, owner, kind)
            return
        records = []
        for i in range(count):
            slot = self.u16(at + 64 + 2 * i)
            begin = (slot & 255) * 16
            key, length, a, b, c = struct.unpack_from("<QHBBI", self.image, at + begin)
            need(begin >= top and begin + length <= BLOCK and slot >> 8 == key >> 7 & 255, f"{what}: slot {i}")
            live -= (length + 15) // 16 * 16
            records.append((key, a, b, c, self.bytes(at + begin + 16, length - 16)))
        need(live == 0, f"{what}: live_bytes")
        need(kind != 1 or records == sorted(records), f"{what}: order")
        yield from sorted(records)

    # 10.1
    def key(self, name):
        return (xxh64(name, self.seed) >> 8 or 1) * 128

    def check_key(self, key, name):
        need(key // 128 * 128 == self.key(name), f"key of {name!r}")


class Inode:
    def __init__(self, pool, at, ino):
        self.pool, self.at, self.ino = pool, at, ino
        (number, self.generation, self.mode, self.uid, self.gid, self.nlink, self.flags, self.size,
         self.mtime, _, _, _, self.blocks, self.xattrs_at, self.rdev) = struct.unpack_from(
             "<Q6IQ4q3Q", pool.image, at + 32)
        need(number == ino, f"inode {ino} carries number {number}")
        self.type = TYPES.get(self.mode >> 12, "?")
        self.fork, self.format = at + 144, self.flags & 15
        self.cached = None

    # 9
    def extents(self):
        """(file block, pool block, blocks, flags), ascending; unfinished intents applied."""
        if self.cached is None:
            self.cached = self.finish(list(self.stored_extents()))
        return self.cached

    def stored_extents(self):
        pool = self.pool
        if self.format == 2:
            for i in range(pool.u16(self.fork)):
                first, pointer, blocks, flags = struct.unpack_from("<QQIH", pool.image, self.fork + 8 + 24 * i)
                yield first, pool.block(pointer) // BLOCK, blocks, flags
        elif self.format == 3:
            for first, flags, _, blocks, rest in pool.leaves(pool.u64(self.fork),
                                                             pool.image[self.fork + 8], self.ino, 1):
                yield first, pool.block(struct.unpack_from("<Q", rest)[0]) // BLOCK, blocks, flags

    # 11
    def finish(self, extents):
        for kind, generation, ino, a, b, c in self.pool.intents if self.ino != 1 else ():
            if ino != self.ino or generation != self.generation:
                continue
            if kind == 3:
                if c == 0:
                    extents, c = cut(extents, a, a + b, None), a + b
                extents = cut(extents, c, STAGE, lambda first, flags: (first - b, flags))
            elif kind == 4:
                extents = cut(extents, a, c, lambda first, flags: (first + b, flags))
            elif kind == 5:
                if c == 0:
                    extents, c = cut(extents, a, b, None), STAGE + a
                extents = cut(extents, c, 2 * STAGE, lambda first, flags: (first - STAGE, flags))
            elif kind == 6:
                extents = cut(extents, a, b, lambda first, flags: (first, flags | 1))
        return sorted(extents)

    def contents(self):
        pool, out = self.pool, bytearray()
        if self.format == 1:
            return pool.bytes(self.fork, self.size)
        for first, block, blocks, flags in self.extents():
            if first >= STAGE or first * BLOCK >= self.size or flags & 1:
                continue
            out += bytes(first * BLOCK - len(out))
            out += pool.bytes(block * BLOCK, blocks * BLOCK)
        return bytes(out[:self.size] + bytes(max(0, self.size - len(out))))

    # 10.1
    def entries(self):
        pool, count = self.pool, 0
        if self.format == 1:
            at = 0
            while at + 12 < 112 and pool.image[self.fork + at]:
                p = self.fork + at
                n = pool.image[p]
                yield (pool.bytes(p + 12, n), int.from_bytes(pool.image[p + 2:p + 8], "little"), pool.u32(p + 8),
                       pool.image[p + 1])
                at += (12 + n + 3) // 4 * 4
                count += 1
        elif self.format == 3:
            for key, n, kind, generation, rest in pool.leaves(pool.u64(self.fork), pool.image[self.fork + 8],
                                                              self.ino, 2):
                need(len(rest) == 8 + n, f"entry in directory {self.ino}")
                pool.check_key(key, rest[8:])
                yield rest[8:], struct.unpack_from("<Q", rest)[0], generation, kind
                count += 1
        need(count == self.size, f"directory {self.ino}: {self.size} entries counted, {count} there")

    # 10.2
    def xattrs(self):
        pool = self.pool
        if self.xattrs_at == 0:
            return
        for key, n, runs, size, rest in pool.leaves(self.xattrs_at, self.flags >> 4 & 15, self.ino, 3):
            name, value = rest[8 + 16 * runs:8 + 16 * runs + n], rest[8 + 16 * runs + n:]
            pool.check_key(key, name)
            for i in range(runs):
                pointer, blocks = struct.unpack_from("<QI", rest, 8 + 16 * i)
                value += pool.bytes(pool.block(pointer), blocks * BLOCK)
            value = value[:size]
            need(len(value) == size, f"inode {self.ino}: value of {name!r}")
            need(not runs or struct.unpack_from("<I", rest)[0] == crc32c(0, value), f"value of {name!r}: checksum")
            yield name, value


def cut(extents, low, high, change):
    """The parts of extents in low..high changed, or taken out."""
    out = []
    for first, block, blocks, flags in extents:
        a, b = max(first, low), min(first + blocks, high)
        if a >= b:
            out.append((first, block, blocks, flags))
            continue
        if first < a:
            out.append((first, block, a - first, flags))
        if change:
            to, new_flags = change(a, flags)
            out.append((to, block + a - first, b - a, new_flags))
        if b < first + blocks:
            out.append((b, block + b - first, first + blocks - b, flags))
    return out


# ---- commands ----------------------------------------------------------------------------------------------

def walk(pool):
    todo, names = [(b"/", pool.inode(2))], {}
    while todo:
        path, inode = todo.pop()
        names[inode.ino] = names.get(inode.ino, 0) + 1
        yield path, inode
        if inode.type != "d":
            continue
        for name, ino, generation, kind in inode.entries():
            child = pool.inode(ino)
            need(child.generation == generation and child.mode >> 12 == kind, f"entry {name!r}")
            todo.append((path.rstrip(b"/") + b"/" + name, child))


def describe(inode):
    if inode.type == "f":
        return hashlib.sha256(inode.contents()).hexdigest()
    if inode.type == "l":
        return inode.contents().decode("utf-8", "surrogateescape")
    if inode.type in "cb":
        return f"{inode.rdev >> 32}:{inode.rdev & 0xFFFFFFFF}"
    return "-"


def main():
    pool, command = Pool(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "list"
    out = sys.stdout.buffer
    if command == "info":
        print(f"label {pool.label}\nblocks {pool.blocks}\nfree {pool.free}\ninodes {pool.used}\n"
              f"incarnation {pool.incarnation}\nstate {pool.state}\nc {pool.c}\nreplayed {pool.replayed}\n"
              f"intents {len(pool.intents)}")
        return
    if command == "cat":
        inode = pool.inode(2)
        for name in sys.argv[3].encode().strip(b"/").split(b"/"):
            inode = pool.inode(next(ino for found, ino, _, _ in inode.entries() if found == name))
        out.write(inode.contents())
        return
    for path, inode in sorted(walk(pool), key=lambda found: found[0]):
        attributes = ",".join(sorted(f"{name.decode()}={hashlib.sha256(value).hexdigest()[:16]}"
                                     for name, value in inode.xattrs())) or "-"
        size = inode.size if inode.type in "fl" else 0
        line = f"{inode.type} {inode.mode & 0o7777:04o} {inode.nlink} {size} {inode.mtime} {describe(inode)} {attributes} "
        out.write(line.encode("utf-8", "surrogateescape") + path + b"\n")


if __name__ == "__main__":
    try:
        main()
    except Damaged as why:
        sys.exit(f"reader.py: {why}")
