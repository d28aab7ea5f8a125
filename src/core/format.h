/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The on-media format: every structure of a pool, once.
 * docs/format.md is the normative text; change both and the golden image
 * together.
 *
 * Conventions
 *  - little-endian, naturally aligned, no implicit padding; reserved bytes are
 *    written zero (and checked zero in the superblock);
 *  - pool offsets and block numbers, never pointers; blocks of 4 KiB;
 *  - a *sealed* structure begins with { crc32c, magic }, then dirty_seq.  The
 *    CRC covers the bytes from ADIT_*_SEAL_FROM to its end, seeded with the
 *    magic.  dirty_seq is the sequence number of the newest record applied to
 *    the structure: while it lies above the checkpoint's C the CRC is stale,
 *    and the next checkpoint (or recovery) makes it right (invariant I7).
 */
#ifndef ADIT_CORE_FORMAT_H
#define ADIT_CORE_FORMAT_H

#include "core/types.h"

#define ADIT_BLOCK_SHIFT 12
#define ADIT_BLOCK 4096u
#define ADIT_LINE 64u
#define ADIT_HUGE_BLOCKS 512u /* blocks in 2 MiB */

#define ADIT_FORMAT_VERSION 1u

#define ADIT_MAGIC_SUPER 0x54494441u   /* "ADIT" */
#define ADIT_MAGIC_ROOT 0x52494441u    /* "ADIR" */
#define ADIT_MAGIC_GROUP 0x47494441u   /* "ADIG" */
#define ADIT_MAGIC_NODE 0x4e494441u    /* "ADIN" */
#define ADIT_MAGIC_INODE 0x49494441u   /* "ADII" */
#define ADIT_MAGIC_ICLUSTER 0x43494441u /* "ADIC" */
#define ADIT_MAGIC_CKPT 0x4b494441u    /* "ADIK" */
#define ADIT_MAGIC_RECORD 0x4c494441u  /* "ADIL" */

/* Feature words.  A bit that is not in the _KNOWN mask: compat is ignored,
 * ro_compat makes the pool read-only, incompat refuses it by name. */
#define ADIT_COMPAT_KNOWN 0ull
#define ADIT_ROCOMPAT_KNOWN 0ull
#define ADIT_INCOMPAT_KNOWN 0ull
#define ADIT_ROCOMPAT_SNAPSHOTS (1ull << 0) /* reserved for the snapshot list */
#define ADIT_INCOMPAT_REFLINK (1ull << 0)   /* reserved for shared extents */

/* ---- block pointers ------------------------------------------------- */

/* 40-bit block number, 24-bit birth epoch; 0 is "none". */
typedef uint64_t adit_ptr;
#define ADIT_PTR_BLOCK_BITS 40
#define ADIT_PTR_BLOCK_MASK ((1ull << ADIT_PTR_BLOCK_BITS) - 1)
static inline uint64_t adit_ptr_block(adit_ptr p) { return p & ADIT_PTR_BLOCK_MASK; }
static inline uint32_t adit_ptr_epoch(adit_ptr p) { return (uint32_t)(p >> ADIT_PTR_BLOCK_BITS); }
static inline adit_ptr adit_ptr_make(uint64_t block, uint32_t epoch)
{
	return block | (uint64_t)epoch << ADIT_PTR_BLOCK_BITS;
}

/* ---- superblock: block 0, second copy in block ADIT_SUPER_COPY ------- */

#define ADIT_SUPER_COPY 7u
#define ADIT_LABEL_MAX 64u

#define ADIT_SUPER_SEAL_FROM 16u
struct adit_super_pm {
	le32 crc;
	le32 magic;
	le64 dirty_seq; /* unused here, zero */
	uint8_t uuid[16];
	le32 version;
	le32 block_bytes;
	le64 compat;
	le64 ro_compat;
	le64 incompat;
	le64 pool_blocks;	/* blocks the pool spans */
	le64 group_blocks;	/* blocks a group spans; power of two */
	le32 groups;		/* groups in use */
	le32 cluster_groups;	/* groups whose metadata lie together */
	le64 lane_start;	/* block of the first lane's ring */
	le32 lanes;
	le32 lane_blocks;	/* ring size of a lane */
	le64 intent_start;	/* block of the lanes' intents */
	le64 vol_start;		/* volatile region: first block */
	le64 vol_blocks;
	le64 root_block;	/* struct adit_root_pm */
	le64 root_copy;		/* its replica */
	le64 ckpt_start;	/* two checkpoint slots, one block each */
	le64 meta_start;	/* first block of cluster 0's group metadata */
	le64 incarnation;	/* raised by the first opener */
	le64 hash_seed;		/* seed of XXH64 over names */
	le64 created_ns;	/* when mkfs ran, ns since 1970 */
	le64 reserve_blocks;	/* only freeing may use these */
	le32 owner;		/* ADIT_OWNER_* */
	le32 state;		/* ADIT_STATE_* */
	uint8_t label[ADIT_LABEL_MAX]; /* NUL padded */
	uint8_t reserved[4096 - 264];
};
#define ADIT_OWNER_NONE 0u
#define ADIT_OWNER_LIBRARY 1u
#define ADIT_OWNER_KERNEL 2u
#define ADIT_STATE_CLEAN 1u
#define ADIT_STATE_OPEN 2u
#define ADIT_STATE_MAKING 8u  /* mkfs did not finish */
#define ADIT_STATE_DAMAGED 4u /* a check found damage that it did not mend */
#define ADIT_STATE_GROWING 16u /* the size is right, totals and the headers' may not be (grow.c) */
ADIT_SIZE(struct adit_super_pm, 4096);
ADIT_AT(struct adit_super_pm, uuid, 16);
ADIT_AT(struct adit_super_pm, compat, 40);
ADIT_AT(struct adit_super_pm, pool_blocks, 64);
ADIT_AT(struct adit_super_pm, groups, 80);
ADIT_AT(struct adit_super_pm, lane_start, 88);
ADIT_AT(struct adit_super_pm, intent_start, 104);
ADIT_AT(struct adit_super_pm, vol_start, 112);
ADIT_AT(struct adit_super_pm, root_block, 128);
ADIT_AT(struct adit_super_pm, ckpt_start, 144);
ADIT_AT(struct adit_super_pm, incarnation, 160);
ADIT_AT(struct adit_super_pm, reserve_blocks, 184);
ADIT_AT(struct adit_super_pm, owner, 192);
ADIT_AT(struct adit_super_pm, label, 200);
ADIT_AT(struct adit_super_pm, reserved, 264);

/* ---- inode: 256 bytes ------------------------------------------------ */

#define ADIT_INODE_BYTES 256u
#define ADIT_INODE_SEAL_FROM 32u
#define ADIT_FORK_BYTES 112u

#define ADIT_INO_NONE 0ull
#define ADIT_INO_ITABLE 1ull /* the inode table; its inode is in the root block */
#define ADIT_INO_ROOT 2ull   /* "/" */
#define ADIT_INO_FIRST 3ull

struct adit_extent_inline_pm {
	le64 file_block;
	le64 ptr; /* adit_ptr */
	le32 blocks;
	le16 flags; /* ADIT_EXTENT_* */
	le16 reserved;
};
ADIT_SIZE(struct adit_extent_inline_pm, 24);
#define ADIT_INLINE_EXTENTS 4u

/* Where the fork's contents are: see ADIT_FORK_*. */
struct adit_fork_tree_pm { /* ADIT_FORK_TREE */
	le64 root;	   /* adit_ptr of the root node */
	uint8_t level;	   /* of the root node; 0 = leaf */
	uint8_t reserved[7];
	le64 nodes;	   /* nodes in the tree */
	uint8_t reserved2[88];
};
ADIT_SIZE(struct adit_fork_tree_pm, ADIT_FORK_BYTES);
struct adit_fork_extents_pm { /* ADIT_FORK_EXTENTS */
	le16 count;
	uint8_t reserved[6];
	struct adit_extent_inline_pm extent[ADIT_INLINE_EXTENTS]; /* ascending */
	uint8_t reserved2[8];
};
ADIT_SIZE(struct adit_fork_extents_pm, ADIT_FORK_BYTES);

struct adit_inode_pm {
	le32 crc;
	le32 magic;
	le64 dirty_seq;
	/* Volatile words, valid for one incarnation, outside the CRC. */
	le64 open_word; /* incarnation:32 | open count:32 */
	le64 data_seq;	/* newest record that logged this file's data */
	/* Sealed from here. */
	le64 ino;
	le32 generation;
	le32 mode; /* S_IFMT and permission bits; 0 = free */
	le32 uid;
	le32 gid;
	le32 nlink;
	le32 flags; /* ADIT_IFLAG_*, fork format in the low byte */
	le64 size;  /* bytes; of a directory: entries */
	le64 mtime_ns;
	le64 ctime_ns;
	le64 atime_ns;
	le64 btime_ns;
	le64 blocks;	 /* pool blocks held: data, tree nodes, attributes */
	le64 xattr_root; /* adit_ptr of the attribute tree's root; its level is in flags */
	le64 parent_or_rdev; /* directory: parent's inode; device: major:32|minor:32 */
	le64 orphan_next;
	le64 orphan_prev;
	union {
		uint8_t bytes[ADIT_FORK_BYTES];
		struct adit_fork_extents_pm extents;
		struct adit_fork_tree_pm tree;
	} fork;
};
ADIT_SIZE(struct adit_inode_pm, ADIT_INODE_BYTES);
ADIT_AT(struct adit_inode_pm, ino, 32);
ADIT_AT(struct adit_inode_pm, size, 64);
ADIT_AT(struct adit_inode_pm, blocks, 104);
ADIT_AT(struct adit_inode_pm, orphan_next, 128);
ADIT_AT(struct adit_inode_pm, fork, 144);

/* flags: fork format in bits 0-3, level of the attribute tree in bits 4-7. */
#define ADIT_FORK_MASK 0x0fu
#define ADIT_FORK_NONE 0u    /* nothing: empty file, device, empty directory */
#define ADIT_FORK_INLINE 1u  /* bytes: file data, link target, packed entries */
#define ADIT_FORK_EXTENTS 2u /* up to four extents */
#define ADIT_FORK_TREE 3u    /* root of the extent or directory tree */
#define ADIT_IFLAG_XLEVEL_SHIFT 4
#define ADIT_IFLAG_XLEVEL_MASK 0xf0u
#define ADIT_IFLAG_ORPHAN (1u << 8)	/* on an orphan list */
#define ADIT_IFLAG_ATOMIC (1u << 9)	/* every write is all-or-nothing */
#define ADIT_IFLAG_IMMUTABLE (1u << 10)
#define ADIT_IFLAG_APPEND (1u << 11)
#define ADIT_IFLAG_KNOWN 0xfffu

/* Directory entries packed in the fork (ADIT_FORK_INLINE of a directory):
 * one after the other, namelen 0 ends the list. */
struct adit_dirent_inline_pm {
	uint8_t namelen;
	uint8_t dtype; /* DT_* */
	uint8_t ino[6]; /* little-endian 48 bits */
	le32 generation;
	/* name follows, no NUL; then padding to a multiple of 4 */
	uint8_t name[];
};
ADIT_AT(struct adit_dirent_inline_pm, name, 12);

/* ---- inode table: clusters of 64 slots; slot 0 is the header ---------- */

#define ADIT_ICLUSTER_INODES 64u
#define ADIT_ICLUSTER_BYTES (ADIT_ICLUSTER_INODES * ADIT_INODE_BYTES)
struct adit_icluster_pm { /* inode slot n*64; sealed like an inode, from 32 */
	le32 crc;
	le32 magic;
	le64 dirty_seq;
	le64 reserved0[2];
	le64 ino;    /* of this slot */
	le64 used;   /* bit i: slot i is an inode in use; bit 0 always set */
	le64 next;   /* next cluster with a free slot in the same shard, named by
			the inode number of its slot 1; 0 = end; meaningless
			while all 64 bits are set */
	le32 shard;  /* whose list it belongs to */
	le32 reserved1;
	uint8_t reserved[ADIT_INODE_BYTES - 64];
};
ADIT_SIZE(struct adit_icluster_pm, ADIT_INODE_BYTES);
ADIT_AT(struct adit_icluster_pm, ino, 32);
ADIT_AT(struct adit_icluster_pm, used, 40);
ADIT_AT(struct adit_icluster_pm, next, 48);

/* ---- root block and its replica --------------------------------------- */

#define ADIT_ROOT_SEAL_FROM 16u
#define ADIT_SHARDS 64u
struct adit_root_pm {
	le32 crc;
	le32 magic;
	le64 dirty_seq;
	uint8_t uuid[16];
	le32 epoch;   /* the current birth epoch */
	le32 shards;  /* inode-allocation shards in use, 1..ADIT_SHARDS */
	le64 next_ino; /* first slot beyond the inode table */
	le64 snapshots; /* adit_ptr: root of the snapshot list, 0 */
	le64 shared;	/* adit_ptr: root of the shared-extent counts, 0 */
	uint8_t reserved[256 - 64];
	struct adit_inode_pm itable;
	le64 free_cluster[ADIT_SHARDS]; /* inode number of a cluster's slot 1, 0 = none */
	le64 orphan[ADIT_SHARDS];	/* heads of the orphan lists */
	uint8_t reserved2[4096 - 512 - 2 * 8 * ADIT_SHARDS];
};
ADIT_SIZE(struct adit_root_pm, 4096);
ADIT_AT(struct adit_root_pm, epoch, 32);
ADIT_AT(struct adit_root_pm, itable, 256);
ADIT_AT(struct adit_root_pm, free_cluster, 512);
ADIT_AT(struct adit_root_pm, orphan, 1024);

/* ---- allocation groups ------------------------------------------------ */

/*
 * The metadata of cluster_groups groups lie together, in the first group of
 * the cluster (in cluster 0: from meta_start; in the others: at its start):
 *   headers             cluster_groups blocks
 *   replicas of them    cluster_groups blocks
 *   bitmaps             cluster_groups * bitmap_blocks
 *   volatile bitmaps    cluster_groups * bitmap_blocks
 *   volatile summaries  cluster_groups blocks
 * so that all other groups are free from end to end.
 */
#define ADIT_GROUP_SEAL_FROM 16u
#define ADIT_GROUP_BITMAPS_MAX 8u
#define ADIT_GROUP_BLOCKS_MAX 262144u
struct adit_bitmap_seal_pm { /* seal of one bitmap block */
	le32 crc;
	le32 reserved;
	le64 dirty_seq;
};
ADIT_SIZE(struct adit_bitmap_seal_pm, 16);
struct adit_group_pm {
	le32 crc; /* covers 16..64 only: the part that changes only when the pool grows */
	le32 magic;
	le64 dirty_seq; /* unused, zero */
	uint8_t uuid[16];
	le32 group;
	le32 blocks;	/* of this group; the last one may be short */
	le64 start;	/* first block */
	le64 bitmap;	/* first bitmap block */
	le64 reserved0;
	/* Replicas do not keep this part: a repair recomputes it. */
	struct adit_bitmap_seal_pm seal[ADIT_GROUP_BITMAPS_MAX];
	uint8_t reserved[4096 - 64 - 16 * ADIT_GROUP_BITMAPS_MAX];
};
#define ADIT_GROUP_SEAL_TO 64u
ADIT_SIZE(struct adit_group_pm, 4096);
ADIT_AT(struct adit_group_pm, group, 32);
ADIT_AT(struct adit_group_pm, seal, 64);

/* ---- B+tree nodes ------------------------------------------------------ */

#define ADIT_TREE_EXTENTS 1u
#define ADIT_TREE_DIR 2u
#define ADIT_TREE_XATTR 3u
#define ADIT_TREE_SHARED 4u
#define ADIT_TREE_SNAPSHOTS 5u

#define ADIT_NODE_SEAL_FROM 16u
struct adit_node_pm {
	le32 crc;
	le32 magic;
	le64 dirty_seq;
	le64 block; /* its own */
	le64 owner; /* inode number */
	le32 uuid_tag; /* first four bytes of the pool's UUID */
	le32 birth_epoch;
	/* One 8-byte word that changes with every entry. */
	le16 count;	/* slots (leaf) or entries (inner node) */
	le16 heap_top;	/* leaf: lowest byte offset used by a record */
	le16 live_bytes; /* leaf: bytes of records that are reachable */
	uint8_t level;	/* 0 = leaf */
	uint8_t type;	/* ADIT_TREE_* */
	le64 reserved[2];
	uint8_t body[4096 - 64];
};
ADIT_SIZE(struct adit_node_pm, 4096);
ADIT_AT(struct adit_node_pm, block, 16);
ADIT_AT(struct adit_node_pm, uuid_tag, 32);
ADIT_AT(struct adit_node_pm, count, 40);
ADIT_AT(struct adit_node_pm, level, 46);
ADIT_AT(struct adit_node_pm, body, 64);

/* Inner node: body is a sorted array; the first key counts as minus infinity. */
struct adit_inner_pm {
	le64 key; /* smallest key below the child */
	le64 ptr; /* adit_ptr */
};
ADIT_SIZE(struct adit_inner_pm, 16);
#define ADIT_INNER_MAX 252u

/*
 * Leaf: body begins with le16 slots; records grow down from the block's end.
 * slot = offset/16 in the low byte (never 0), fingerprint in the high byte.
 * Extent, shared and snapshot trees keep slots in key order; directory and
 * attribute trees keep them in no order and find them by fingerprint.
 * A record starts with this header, is 16-byte aligned and at most
 * ADIT_RECORD_MAX bytes (rounded up to 16) long.
 */
struct adit_rec_pm {
	le64 key;
	le16 len; /* bytes, header included, not rounded */
	uint8_t a; /* by type: dirent: name length */
	uint8_t b; /* by type: dirent: DT_* */
	le32 c;	   /* by type: dirent: generation of the inode */
};
ADIT_SIZE(struct adit_rec_pm, 16);
#define ADIT_RECORD_ALIGN 16u
#define ADIT_RECORD_MAX 992u
#define ADIT_TREE_MAX_LEVEL 7u

/* Extent record: rec.key = file block; rec.c = blocks; rec.a = flags. */
struct adit_extent_pm {
	struct adit_rec_pm rec;
	le64 ptr;
	le64 reserved; /* a checksum of the data, later */
};
ADIT_SIZE(struct adit_extent_pm, 32);
#define ADIT_EXTENT_UNWRITTEN 1u
#define ADIT_EXTENT_SHARED 2u

/* Directory record: rec.key = cookie (56-bit hash << 7 | ordinal, below 2^63
 * and above ADIT_COOKIE_FIRST), rec.a = name length, rec.b = DT_*, rec.c =
 * generation; name after the inode number, no NUL. */
struct adit_dirent_pm {
	struct adit_rec_pm rec;
	le64 ino;
	uint8_t name[];
};
ADIT_AT(struct adit_dirent_pm, name, 24);
#define ADIT_NAME_MAX 255u
#define ADIT_HASH_ORDINALS 128u
#define ADIT_COOKIE_FIRST 128u /* cookies 1 and 2 are "." and ".." */

/* Attribute record: rec.key as for names; rec.a = name length (with its
 * prefix), rec.b = number of external extents (0: the value follows the
 * name), rec.c = value bytes. */
struct adit_xattr_pm {
	struct adit_rec_pm rec;
	le32 value_crc; /* CRC32C of an external value */
	le32 reserved;
	/* rec.b times struct adit_xattr_run_pm, then the name, then the
	 * value unless it is external */
	uint8_t data[];
};
ADIT_AT(struct adit_xattr_pm, data, 24);
struct adit_xattr_run_pm {
	le64 ptr;
	le32 blocks;
	le32 reserved;
};
ADIT_SIZE(struct adit_xattr_run_pm, 16);
#define ADIT_XATTR_VALUE_MAX 65536u
#define ADIT_XATTR_INLINE_MAX 512u /* longer values lie in blocks of their own */
#define ADIT_XATTR_RUNS_MAX 17u

/* Shared-extent record: rec.key = pool block; rec.c = blocks. */
struct adit_shared_pm {
	struct adit_rec_pm rec;
	le64 references;
	le64 reserved;
};
ADIT_SIZE(struct adit_shared_pm, 32);

/* ---- the log: lanes of records ----------------------------------------- */

/*
 * A lane is a ring of lane_blocks blocks.  Positions are 64-bit byte counts
 * that never fall; position p lies at p % ring bytes.  A record is 64-byte
 * aligned and never wraps: a pad record fills the ring's end.
 */
struct adit_record_pm {
	le32 crc;   /* CRC32C over bytes 4..len (of a pad: 4..48), seeded with the lane */
	le32 magic;
	le64 seq;   /* 0 in a pad record */
	le64 pos;   /* its own position */
	le32 len;   /* bytes, this header included; the next starts at
		       round_up(pos + len, 64) */
	le16 lane;
	le16 flags; /* ADIT_RECORD_PAD, and above it which checkpoint slot was the newest */
	le32 free_blocks; /* signed change of the pool's free blocks */
	le32 used_inodes; /* signed change of used inodes */
	le64 nonce; /* the checkpoint slot's: leftovers in the ring cannot pass for a
		       record, whatever a user wrote into a file */
};
ADIT_SIZE(struct adit_record_pm, 48);
#define ADIT_RECORD_PAD 1u
#define ADIT_RECORD_SLOT_SHIFT 8 /* the low byte of its generation */

/* Entry: 16 bytes, then `len` payload bytes for ADIT_OP_WRITE. */
struct adit_entry_pm {
	le64 where; /* pool byte offset; ALLOC and FREE: block number */
	le32 len;   /* WRITE, ZERO: bytes, a multiple of 8; ALLOC, FREE: blocks */
	uint8_t op;
	uint8_t kind; /* what to seal: ADIT_KIND_* */
	le16 reserved;
};
ADIT_SIZE(struct adit_entry_pm, 16);
#define ADIT_OP_WRITE 1u
#define ADIT_OP_ZERO 2u
#define ADIT_OP_ALLOC 3u /* bits set: blocks of one group */
#define ADIT_OP_FREE 4u	 /* bits cleared; reusable once C >= seq */
#define ADIT_KIND_NONE 0u
#define ADIT_KIND_DATA 1u  /* file contents */
#define ADIT_KIND_INODE 2u /* inode or cluster header: 256 bytes around it */
#define ADIT_KIND_NODE 3u  /* tree node: the block around it */
#define ADIT_KIND_ROOT 4u  /* the root block */
#define ADIT_KIND_INTENT 5u /* a lane's intent */
#define ADIT_KIND_BITMAP 6u /* only in ALLOC and FREE */

/* A lane's unfinished big operation: what recovery must finish (I9). */
struct adit_intent_pm { /* one line a lane */
	le32 type; /* ADIT_INTENT_*; 0 none */
	le32 generation;
	le64 ino;
	le64 a, b, c, d;
	le64 reserved[2];
};
ADIT_SIZE(struct adit_intent_pm, 64);
#define ADIT_INTENT_NONE 0u
#define ADIT_INTENT_TRUNCATE 1u /* free every block from file block a to b */
#define ADIT_INTENT_FREE 2u	/* free the inode and all it holds */
#define ADIT_INTENT_COLLAPSE 3u /* move extents from block a down by b, at c */
#define ADIT_INTENT_INSERT 4u	/* move extents from block a up by b, at c */
#define ADIT_INTENT_REPLACE 5u	/* c 0: free blocks a to b; then move what is
				   staged from 2^51 + a on down by 2^51, at c */
#define ADIT_INTENT_ZERO 6u	/* make blocks a to b unwritten */

/* Two slots, the one with the larger generation counts.  The checksum makes a slot
 * atomic; the other slot stays whole while this one is written. */
#define ADIT_LANES_MAX 256u
struct adit_ckpt_pm {
	le32 crc; /* over 16 .. 64 + 8 * lanes */
	le32 magic;
	le64 dirty_seq; /* unused, zero */
	le64 c;		/* every record up to C is in place */
	le64 generation; /* counts checkpoints */
	le64 free_blocks;
	le64 used_inodes;
	le32 lanes;
	le32 reserved;
	le64 nonce; /* random, new at each opening; carried by the records after it */
	le64 tail[ADIT_LANES_MAX]; /* where each lane's first record above C is */
	uint8_t reserved2[4096 - 64 - 8 * ADIT_LANES_MAX];
};
ADIT_SIZE(struct adit_ckpt_pm, 4096);
ADIT_AT(struct adit_ckpt_pm, tail, 64);

#endif
