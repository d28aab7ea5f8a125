/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * One node of the B+tree: what is in it and how a change set changes it.
 * Private to tree.c and tree_node.c; everybody else goes through tree.h.
 *
 * The functions take `node`, the node as the change set sees it now.  Puts may
 * show through that pointer or not (tree.h), so a caller asks again after a
 * change.  The functions themselves read what they need before they put, or
 * copy in a direction in which it does not matter.
 */
#ifndef ADIT_CORE_TREE_NODE_H
#define ADIT_CORE_TREE_NODE_H

#include "core/tree.h"

#define ADIT_NODE_BODY 64u
/* (4096 - 64) / (16 + 2): the smallest record and its slot. */
#define ADIT_LEAF_SLOTS_MAX 224u

static inline const le16 *adit__leaf_slots(const struct adit_node_pm *node)
{
	return (const le16 *)(const void *)node->body;
}
static inline const struct adit_inner_pm *adit__inner_entries(const struct adit_node_pm *node)
{
	return (const struct adit_inner_pm *)(const void *)node->body;
}
/* Heap bytes of a record. */
static inline unsigned adit__rec_bytes(const struct adit_rec_pm *rec)
{
	return (get16(rec->len) + ADIT_RECORD_ALIGN - 1) & ~(ADIT_RECORD_ALIGN - 1);
}
static inline unsigned adit__leaf_offset(const struct adit_node_pm *node, unsigned slot)
{
	return (get16(adit__leaf_slots(node)[slot]) & 0xffu) * ADIT_RECORD_ALIGN;
}
/* Bytes between the slots and the heap. */
static inline unsigned adit__leaf_gap(const struct adit_node_pm *node)
{
	return get16(node->heap_top) - (ADIT_NODE_BODY + 2u * get16(node->count));
}
/* The gap that compacting would give; 0 when the fields contradict each other. */
static inline unsigned adit__leaf_slack(const struct adit_node_pm *node)
{
	unsigned used = ADIT_NODE_BODY + 2u * get16(node->count) + get16(node->live_bytes);

	return used < ADIT_BLOCK ? ADIT_BLOCK - used : 0;
}

/* ---- looking ---------------------------------------------------------- */

/* The first slot >= from with this fingerprint, or count. */
unsigned adit__leaf_next_match(const struct adit_node_pm *, unsigned from, uint8_t fingerprint);
/* Slot of this key; false: not there, and *slot is where it belongs. */
bool adit__leaf_find(const struct adit_node_pm *, bool ordered, uint64_t key, unsigned *slot);
/* Slot of the smallest record with key >= key, or -1; greatest <= key, or -1. */
int adit__leaf_find_ge(const struct adit_node_pm *, bool ordered, uint64_t key);
int adit__leaf_find_le(const struct adit_node_pm *, bool ordered, uint64_t key);
/* The entry below which key lives.  even: the node's keys are spread evenly over
 * [from, to), as hashes are; only a hint. */
unsigned adit__inner_find(const struct adit_node_pm *, bool even, uint64_t key, uint64_t from,
			  uint64_t to);

/* ---- changing --------------------------------------------------------- */

/* A new leaf with the records of `from` whose slots are idx[0..n), in that
 * order, and `rec` (may be NULL) put in at position `at`. */
void adit__leaf_create(struct adit_tree *, struct adit_cs *, uint64_t block,
		       const struct adit_node_pm *from, const uint8_t *idx, unsigned n,
		       const struct adit_rec_pm *rec, unsigned at);
/* The gap is big enough. slot: where it belongs (ordered), else the end. */
void adit__leaf_add(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned slot,
		    const struct adit_rec_pm *rec);
/* The record keeps its slot; false when the gap is too small. */
bool adit__leaf_change(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
		       unsigned slot, const struct adit_rec_pm *rec);
void adit__leaf_drop(struct adit_cs *, uint64_t block, const struct adit_node_pm *, bool ordered,
		     unsigned slot);
/* Keep the records with key < limit: what a split leaves in the left node. */
void adit__leaf_trim(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
		     uint64_t limit);
/* Push the records together at the block's end. */
void adit__leaf_compact(struct adit_cs *, uint64_t block, const struct adit_node_pm *);

void adit__inner_create(struct adit_tree *, struct adit_cs *, uint64_t block, unsigned level,
			const struct adit_inner_pm *entry, unsigned n);
/* There is room. */
void adit__inner_insert(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned at,
			const struct adit_inner_pm *entry);
void adit__inner_remove(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
			unsigned at);
/* Forget the entries from n on. */
void adit__inner_cut(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned n);

#endif
