/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The B+tree: 4 KiB nodes, variable records in leaves, changed through change
 * sets.  Serves extents, directories, attributes, shared counts, snapshots.
 *
 * Readers hold the owner's lock shared, writers exclusively.  No recursion; a
 * path holds at most ADIT_TREE_MAX_LEVEL + 1 nodes.  Nodes are always written
 * through the change set's record, never as fresh memory, so an operation that
 * splits still needs one fence.  A leaf that becomes empty is freed, a root
 * with one child gives way to it.
 */
#ifndef ADIT_CORE_TREE_H
#define ADIT_CORE_TREE_H

#include "core/core.h"

/* The caller keeps this (in an inode's fork, xattr_root, the root block) and
 * writes it back when `changed`. */
struct adit_tree {
	struct adit_fs *fs;
	uint64_t owner;	 /* inode number, as in the nodes */
	uint8_t type;	 /* ADIT_TREE_* */
	bool ordered;	 /* slots in key order (extents...), else by fingerprint */
	bool changed;
	uint8_t level;	 /* of the root node */
	unsigned alloc_flags; /* ADIT_ALLOC_RESERVE for operations that free */
	adit_ptr root;	 /* 0: empty tree, no node */
	uint64_t goal;	 /* block near which nodes are wanted */
	int64_t nodes;	 /* nodes gained minus lost; the caller adds it up */
};

/* Where a record is. rec points to the medium or into the change set's view
 * and holds until the next change of the tree. */
struct adit_tree_pos {
	const struct adit_rec_pm *rec;
	uint64_t block;	 /* leaf */
	uint32_t slot;
	uint64_t next_key; /* smallest key that may live in the next leaf, or ~0 */
};

/* Verify on first touch, then the node as the change set (may be NULL) sees it. */
int adit__node_get(struct adit_tree *, struct adit_cs *, uint64_t block, int level,
		   const struct adit_node_pm **out) ADIT_MUST_CHECK;

enum adit_tree_find {
	ADIT_FIND_EQ, /* exactly key */
	ADIT_FIND_LE, /* the greatest record with rec.key <= key */
	ADIT_FIND_GE, /* the smallest record with rec.key >= key */
};
/* 0, -ENOENT, -EUCLEAN, -EBADMSG. Works for ordered and unordered leaves. */
int adit__tree_find(struct adit_tree *, struct adit_cs *, enum adit_tree_find, uint64_t key,
		    struct adit_tree_pos *out) ADIT_MUST_CHECK;

/* Names: visits the records whose key lies in [first, last] and whose
 * fingerprint equals adit__tree_fingerprint(first); match decides. Returns 0
 * and *out for the first that matches, -ENOENT when none does; then
 * out->block is the leaf where all of these keys belong, or 0 if there are
 * several. */
typedef bool (*adit_tree_match)(const struct adit_rec_pm *, const void *arg);
int adit__tree_find_match(struct adit_tree *, struct adit_cs *, uint64_t first, uint64_t last,
			  adit_tree_match match, const void *arg, struct adit_tree_pos *out)
	ADIT_MUST_CHECK;
/* Of all keys in the same ordinal range: depends on key >> 7 only. */
static inline uint8_t adit__tree_fingerprint(uint64_t key)
{
	/* The hash's low bits: a leaf's keys share the high ones. */
	return (uint8_t)(key >> 7);
}

/* rec->key and rec->len say where and how much. -EEXIST when the key is there,
 * -ENOSPC. Splits as needed; a split keeps keys with equal key >> 7 together
 * in directory and attribute trees where it can. */
int adit__tree_insert(struct adit_tree *, struct adit_cs *, const struct adit_rec_pm *rec)
	ADIT_MUST_CHECK;
/* As insert, replace and remove, for who has just looked with find_match and
 * knows the leaf. insert_at: the tree is as it was then, and the key is not in
 * it. The others: the slot may be out of date, the leaf is still the tree's. */
int adit__tree_insert_at(struct adit_tree *, struct adit_cs *, const struct adit_rec_pm *rec,
			 uint64_t leaf) ADIT_MUST_CHECK;
int adit__tree_replace_at(struct adit_tree *, struct adit_cs *, const struct adit_rec_pm *rec,
			  uint64_t leaf, uint32_t slot) ADIT_MUST_CHECK;
int adit__tree_remove_at(struct adit_tree *, struct adit_cs *, uint64_t key, uint64_t leaf,
			 uint32_t slot) ADIT_MUST_CHECK;
/* Replace the record with the same key (any length). -ENOENT. */
int adit__tree_replace(struct adit_tree *, struct adit_cs *, const struct adit_rec_pm *rec)
	ADIT_MUST_CHECK;
/* Remove the record with this key. -ENOENT. Never needs space. */
int adit__tree_remove(struct adit_tree *, struct adit_cs *, uint64_t key) ADIT_MUST_CHECK;

/* Smallest unused key in [first, last] for a new name; -ENOSPC when none. */
int adit__tree_free_key(struct adit_tree *, struct adit_cs *, uint64_t first, uint64_t last,
			uint64_t *out) ADIT_MUST_CHECK;

/* All records with key >= from, in key order, until visit returns nonzero
 * (which is returned). cs may be NULL. Visit must not change the tree. */
typedef int (*adit_tree_visit)(void *arg, const struct adit_rec_pm *);
int adit__tree_walk(struct adit_tree *, struct adit_cs *, uint64_t from, adit_tree_visit,
		    void *arg) ADIT_MUST_CHECK;
/* All nodes, parents before children: for check and dump. No recursion. visit
 * may return -ENOTBLK... any nonzero stops, except ADIT_TREE_SKIP, which goes
 * on without the node's children. err is what verification said (0 = fine;
 * then node is valid). low/high: the key range the parent promises. */
#define ADIT_TREE_SKIP 1
typedef int (*adit_tree_node_visit)(void *arg, uint64_t block, const struct adit_node_pm *node,
				    int err, uint64_t low, uint64_t high);
int adit__tree_walk_nodes(struct adit_tree *, adit_tree_node_visit, void *arg) ADIT_MUST_CHECK;

/* Free the tree's nodes from its high end, leaf by leaf, as long as the record
 * has room; records are handed to visit first (to free what they name).
 * Returns 0 when the tree is empty, -EAGAIN when there is more to do in a
 * further step (commit, then call again). */
int adit__tree_destroy_step(struct adit_tree *, struct adit_cs *, adit_tree_visit, void *arg)
	ADIT_MUST_CHECK;

/* Records of a leaf in key order: fills idx[] (at most 256) with slot numbers,
 * returns how many. For walk, check, dump. */
unsigned adit__leaf_sorted(const struct adit_node_pm *, uint8_t *idx);
static inline const struct adit_rec_pm *adit__leaf_rec(const struct adit_node_pm *node,
						       unsigned slot)
{
	const le16 *slots = (const le16 *)(const void *)node->body;
	unsigned offset = (get16(slots[slot]) & 0xffu) * ADIT_RECORD_ALIGN;

	return (const struct adit_rec_pm *)(const void *)((const uint8_t *)node + offset);
}

#endif
