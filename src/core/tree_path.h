/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The way from the root of a B+tree to a leaf.  Private to tree.c and
 * tree_insert.c.  Inline, because every lookup of a name takes it.
 */
#ifndef ADIT_CORE_TREE_PATH_H
#define ADIT_CORE_TREE_PATH_H

#include "core/linux_abi.h"
#include "core/log.h"
#include "core/tree_node.h"

#define ADIT_KEY_END UINT64_MAX

struct adit_tree_path {
	uint64_t block[ADIT_TREE_MAX_LEVEL + 1];
	uint16_t slot[ADIT_TREE_MAX_LEVEL + 1]; /* child taken in an inner node */
	const struct adit_node_pm *leaf;
	uint64_t low, high; /* the leaf's keys: low <= key < high */
};

void adit__tree_report(const struct adit_tree *, uint64_t block, const char *why);
static inline int adit__tree_bad(const struct adit_tree *t, uint64_t block, int err,
				 const char *why)
{
	adit__tree_report(t, block, why);
	return err;
}
int adit__node_alloc(struct adit_tree *, struct adit_cs *, uint64_t near, uint64_t *block);
void adit__node_free(struct adit_tree *, struct adit_cs *, uint64_t block);

static inline adit_ptr adit__node_ptr(const struct adit_tree *t, uint64_t block)
{
	return adit_ptr_make(block, get32(t->fs->root->epoch));
}

/* Cheap enough for every visit, and enough to stay inside of the block. */
static inline bool adit__node_shape_ok(const struct adit_tree *t, const struct adit_node_pm *node,
				       unsigned level)
{
	uint64_t word; /* count, heap_top, live_bytes, level and type */
	unsigned count, top;

	memcpy(&word, &node->count, sizeof word);
	word = ADIT_SWAP64(word);
	count = (unsigned)(word & 0xffff);
	top = (unsigned)(word >> 16 & 0xffff);
	if (word >> 48 != (level | (unsigned)t->type << 8) || count == 0 ||
	    get32(node->magic) != ADIT_MAGIC_NODE || get64(node->owner) != t->owner)
		return false;
	if (level > 0)
		return count <= ADIT_INNER_MAX;
	return count <= ADIT_LEAF_SLOTS_MAX && top <= ADIT_BLOCK &&
	       ADIT_NODE_BODY + 2u * count <= top;
}

/* adit__node_get without a call where nothing is to be done but looking. */
static inline int adit__node_see(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
				 unsigned level, const struct adit_node_pm **out)
{
	const struct adit_fs *fs = t->fs;

	if (ADIT_LIKELY(adit__block_verified(fs, block) &&
			(!cs || adit__cs_untouched(cs, block)))) {
		const struct adit_node_pm *node = adit__block_at(fs, block);

		*out = node;
		if (ADIT_LIKELY(adit__node_shape_ok(t, node, level)))
			return 0;
	}
	return adit__node_get(t, cs, block, (int)level, out);
}

static inline void adit__node_prefetch(const struct adit_fs *fs, uint64_t block, unsigned level)
{
	const uint8_t *p = adit__block_at(fs, block);

	__builtin_prefetch(p);
	if (level == 0) { /* the slots */
		__builtin_prefetch(p + 64);
		__builtin_prefetch(p + 128);
		__builtin_prefetch(p + 192);
	}
}

/* To the leaf where the key lives or belongs.  Pre: t->root is not 0. */
static inline int adit__tree_descend(struct adit_tree *t, struct adit_cs *cs, uint64_t key,
				     struct adit_tree_path *path)
{
	uint64_t block = adit_ptr_block(t->root);
	unsigned level = t->level;

	if (level > ADIT_TREE_MAX_LEVEL)
		return adit__tree_bad(t, block, -EUCLEAN, "root level is impossible");
	path->low = 0;
	path->high = ADIT_KEY_END;
	for (;;) {
		const struct adit_node_pm *node;
		const struct adit_inner_pm *entry;
		int err = adit__node_see(t, cs, block, level, &node);
		unsigned i;

		if (err)
			return err;
		path->block[level] = block;
		if (level == 0) {
			path->leaf = node;
			return 0;
		}
		i = adit__inner_find(node, !t->ordered, key, path->low, path->high);
		entry = adit__inner_entries(node);
		block = adit_ptr_block(get64(entry[i].ptr));
		adit__node_prefetch(t->fs, block, level - 1);
		path->slot[level] = (uint16_t)i;
		if (i > 0)
			path->low = max_u64(path->low, get64(entry[i].key));
		if (i + 1u < get16(node->count))
			path->high = min_u64(path->high, get64(entry[i + 1].key));
		level--;
	}
}

#endif
