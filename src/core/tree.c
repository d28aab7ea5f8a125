/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The B+tree: nodes, searches, removing, walks.  Inserting and splits are in
 * tree_insert.c, the way down in tree_path.h, what happens inside one node in
 * tree_node.c.
 *
 *  - A leaf holds the keys in [low, high) that the separators above it
 *    promise; the first separator of an inner node counts as minus infinity.
 *  - No node is empty: a leaf that loses its last record is freed, and so is
 *    an inner node that loses its last child.
 *  - Searches never climb: whoever needs the next or previous leaf descends
 *    again with the bound of this one.  Bounds only tighten, so even a damaged
 *    tree makes every loop end.
 *
 * An error other than -ENOENT, -EEXIST, -EINVAL and a plain insert's -ENOSPC
 * may leave the change set half filled: the caller drops it.
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/tree_path.h"

/* destroy: the most that one leaf may add to the record. */
#define DESTROY_ROOM (12u * 1024)

/* ---- nodes ----------------------------------------------------------- */

void adit__tree_report(const struct adit_tree *t, uint64_t block, const char *why)
{
	adit__report(t->fs, "tree node in block %llu of inode %llu: %s", (unsigned long long)block,
		     (unsigned long long)t->owner, why);
}

int adit__node_get(struct adit_tree *t, struct adit_cs *cs, uint64_t block, int level,
		   const struct adit_node_pm **out)
{
	struct adit_fs *fs = t->fs;
	const struct adit_node_pm *medium, *node;
	const char *why = NULL;
	int err;

	if (ADIT_UNLIKELY(!adit__run_is_sane(fs, block, 1)))
		return adit__tree_bad(t, block, -EUCLEAN, "lies outside of the pool");
	medium = adit__block_at(fs, block);
	node = cs ? adit__cs_view_block(cs, fs, block) : medium;
	/* No memory for the set's view: the medium's bytes are older, not damaged. */
	if (ADIT_UNLIKELY(cs && cs->err == -ENOMEM))
		return -ENOMEM;
	if (node == medium && !adit__verified(fs, block << ADIT_BLOCK_SHIFT)) {
		err = adit__verify_node(fs, node, block, t->owner, t->type, level, &why);
		if (err)
			return adit__tree_bad(t, block, err, why);
		adit__set_verified(fs, block << ADIT_BLOCK_SHIFT);
	}
	if (level < 0)
		level = node->level;
	if (ADIT_UNLIKELY(level > (int)ADIT_TREE_MAX_LEVEL ||
			  !adit__node_shape_ok(t, node, (unsigned)level)))
		return adit__tree_bad(t, block, -EUCLEAN, "impossible header");
	*out = node;
	return 0;
}

int adit__node_alloc(struct adit_tree *t, struct adit_cs *cs, uint64_t near, uint64_t *block)
{
	struct adit_run run;
	int err = adit__alloc_blocks(cs, t->goal ? t->goal : near, 1, 1, t->alloc_flags, &run);

	if (err)
		return err;
	adit__clear_verified(t->fs, run.block << ADIT_BLOCK_SHIFT);
	*block = run.block;
	t->nodes++;
	t->changed = true;
	return 0;
}

void adit__node_free(struct adit_tree *t, struct adit_cs *cs, uint64_t block)
{
	adit__free_blocks(cs, block, 1);
	t->nodes--;
	t->changed = true;
}

/* ---- looking ---------------------------------------------------------- */

static void found_at(const struct adit_tree_path *path, unsigned slot, struct adit_tree_pos *out)
{
	out->rec = adit__leaf_rec(path->leaf, slot);
	out->block = path->block[0];
	out->slot = slot;
	out->next_key = path->high;
}

int adit__tree_find(struct adit_tree *t, struct adit_cs *cs, enum adit_tree_find how, uint64_t key,
		    struct adit_tree_pos *out)
{
	struct adit_tree_path path;
	uint64_t to = key;

	if (t->root == 0)
		return -ENOENT;
	for (;;) {
		int err = adit__tree_descend(t, cs, to, &path);
		int slot = -1;
		unsigned s;

		if (err)
			return err;
		if (how == ADIT_FIND_EQ) {
			if (!adit__leaf_find(path.leaf, t->ordered, key, &s))
				return -ENOENT;
			slot = (int)s;
		} else if (how == ADIT_FIND_LE) {
			slot = adit__leaf_find_le(path.leaf, t->ordered, key);
		} else {
			slot = adit__leaf_find_ge(path.leaf, t->ordered, key);
		}
		if (slot >= 0) {
			found_at(&path, (unsigned)slot, out);
			return 0;
		}
		if (how == ADIT_FIND_LE ? path.low == 0 : path.high == ADIT_KEY_END)
			return -ENOENT;
		to = how == ADIT_FIND_LE ? path.low - 1 : path.high;
	}
}

/* Every lookup of a name: in one piece, without calls but match. */
__attribute__((flatten))
int adit__tree_find_match(struct adit_tree *t, struct adit_cs *cs, uint64_t first, uint64_t last,
			  adit_tree_match match, const void *arg, struct adit_tree_pos *out)
{
	struct adit_tree_path path;
	uint64_t to = first;

	out->block = 0;
	if (t->root == 0)
		return -ENOENT;
	for (;;) {
		int err = adit__tree_descend(t, cs, to, &path);
		struct adit_leaf_scan scan;
		unsigned slot;

		if (err)
			return err;
		scan = adit__leaf_scan(path.leaf, adit__tree_fingerprint(first));
		while (adit__scan_next(&scan, &slot)) {
			const struct adit_rec_pm *rec = adit__leaf_rec(path.leaf, slot);

			__builtin_prefetch((const uint8_t *)rec + 48); /* the name's end */
			if (get64(rec->key) - first > last - first || !match(rec, arg))
				continue;
			found_at(&path, slot, out);
			return 0;
		}
		if (path.high > last) {
			if (to == first)
				out->block = path.block[0];
			return -ENOENT;
		}
		to = path.high;
	}
}

struct used_keys {
	uint64_t first;
	uint64_t *used; /* bit i: first + i */
};

static bool note_used(const struct adit_rec_pm *rec, const void *arg)
{
	const struct used_keys *u = arg;
	uint64_t i = get64(rec->key) - u->first;

	u->used[i / 64] |= 1ull << (i % 64);
	return false;
}

int adit__tree_free_key(struct adit_tree *t, struct adit_cs *cs, uint64_t first, uint64_t last,
			uint64_t *out)
{
	uint64_t used[ADIT_HASH_ORDINALS / 64] = {0};
	struct used_keys u = {first, used};
	struct adit_tree_pos pos;
	unsigned i;
	int err;

	last = min_u64(last, first + (ADIT_HASH_ORDINALS - 1));
	err = adit__tree_find_match(t, cs, first, last, note_used, &u, &pos);
	if (err != -ENOENT)
		return err;
	for (i = 0; i <= last - first; i++) {
		if (!(used[i / 64] >> (i % 64) & 1)) {
			*out = first + i;
			return 0;
		}
	}
	return -ENOSPC;
}

/* ---- removing ----------------------------------------------------------- */

/* A root with one child gives way to it. */
static int collapse(struct adit_tree *t, struct adit_cs *cs)
{
	while (t->level > 0) {
		uint64_t block = adit_ptr_block(t->root);
		const struct adit_node_pm *node;
		int err = adit__node_get(t, cs, block, t->level, &node);

		if (err)
			return err;
		if (get16(node->count) != 1)
			return 0;
		t->root = get64(adit__inner_entries(node)[0].ptr);
		t->level--;
		t->changed = true;
		adit__node_free(t, cs, block);
	}
	return 0;
}

/* Free the path's leaf, and what is left empty above it. */
static int prune(struct adit_tree *t, struct adit_cs *cs, const struct adit_tree_path *path)
{
	unsigned level;

	adit__node_free(t, cs, path->block[0]);
	for (level = 1; level <= t->level; level++) {
		const struct adit_node_pm *node;
		int err = adit__node_get(t, cs, path->block[level], (int)level, &node);

		if (err)
			return err;
		if (get16(node->count) > 1) {
			adit__inner_remove(cs, path->block[level], node, path->slot[level]);
			return collapse(t, cs);
		}
		adit__node_free(t, cs, path->block[level]);
	}
	t->root = 0;
	t->level = 0;
	t->changed = true;
	return 0;
}

int adit__tree_remove_at(struct adit_tree *t, struct adit_cs *cs, uint64_t key, uint64_t leaf,
			 uint32_t slot)
{
	const struct adit_node_pm *node;
	int err;

	if (leaf == 0)
		return adit__tree_remove(t, cs, key);
	err = adit__node_see(t, cs, leaf, 0, &node);
	if (err)
		return err;
	if (get16(node->count) == 1 || slot >= get16(node->count) ||
	    get64(adit__leaf_rec(node, slot)->key) != key)
		return adit__tree_remove(t, cs, key);
	adit__leaf_drop(cs, leaf, node, t->ordered, slot);
	return 0;
}

int adit__tree_remove(struct adit_tree *t, struct adit_cs *cs, uint64_t key)
{
	struct adit_tree_path path;
	unsigned slot;
	int err;

	if (t->root == 0)
		return -ENOENT;
	err = adit__tree_descend(t, cs, key, &path);
	if (err)
		return err;
	if (!adit__leaf_find(path.leaf, t->ordered, key, &slot))
		return -ENOENT;
	if (get16(path.leaf->count) == 1)
		return prune(t, cs, &path);
	adit__leaf_drop(cs, path.block[0], path.leaf, t->ordered, slot);
	return 0;
}

int adit__tree_replace(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec)
{
	unsigned len = get16(rec->len), slot;
	uint64_t key = get64(rec->key);
	struct adit_tree_path path;
	int err;

	if (len < sizeof *rec || len > ADIT_RECORD_MAX)
		return -EINVAL;
	if (t->root == 0)
		return -ENOENT;
	err = adit__tree_descend(t, cs, key, &path);
	if (err)
		return err;
	if (!adit__leaf_find(path.leaf, t->ordered, key, &slot))
		return -ENOENT;
	if (adit__leaf_change(cs, path.block[0], path.leaf, slot, rec))
		return 0;
	if (adit__leaf_slack(path.leaf) >= adit__rec_bytes(rec)) {
		const struct adit_node_pm *node;

		adit__leaf_compact(cs, path.block[0], path.leaf, ADIT_KEY_END, NULL);
		err = adit__node_get(t, cs, path.block[0], 0, &node);
		if (!err && !adit__leaf_change(cs, path.block[0], node, slot, rec))
			err = adit__tree_bad(t, path.block[0], -EUCLEAN,
				       "bytes in use are counted wrongly");
		return err;
	}
	err = adit__tree_remove(t, cs, key);
	return err ? err : adit__tree_insert(t, cs, rec);
}

int adit__tree_replace_at(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec,
			  uint64_t leaf, uint32_t slot)
{
	unsigned len = get16(rec->len);
	const struct adit_node_pm *node;
	int err;

	if (leaf == 0 || len < sizeof *rec || len > ADIT_RECORD_MAX)
		return adit__tree_replace(t, cs, rec);
	err = adit__node_see(t, cs, leaf, 0, &node);
	if (err)
		return err;
	if (slot < get16(node->count) &&
	    get64(adit__leaf_rec(node, slot)->key) == get64(rec->key) &&
	    adit__leaf_change(cs, leaf, node, slot, rec))
		return 0;
	return adit__tree_replace(t, cs, rec);
}

/* ---- walking ------------------------------------------------------------ */

int adit__tree_walk(struct adit_tree *t, struct adit_cs *cs, uint64_t from, adit_tree_visit visit,
		    void *arg)
{
	struct adit_tree_path path;
	uint8_t idx[256];

	if (t->root == 0)
		return 0;
	for (;;) {
		int err = adit__tree_descend(t, cs, from, &path);
		unsigned n, i;

		if (err)
			return err;
		n = adit__leaf_sorted(path.leaf, idx);
		for (i = 0; i < n; i++) {
			const struct adit_rec_pm *rec = adit__leaf_rec(path.leaf, idx[i]);

			if (get64(rec->key) < from)
				continue;
			if (get64(rec->key) >= path.high)
				break; /* a damaged tree: not its place */
			if (i > 0 && get64(adit__leaf_rec(path.leaf, idx[i - 1])->key) ==
					     get64(rec->key))
				return adit__tree_bad(t, path.block[0], -EUCLEAN,
						      "two records of one key");
			err = visit(arg, rec);
			if (err)
				return err;
		}
		if (path.high == ADIT_KEY_END)
			return 0;
		from = path.high;
	}
}

struct walk_frame {
	const struct adit_node_pm *node;
	unsigned next;
	uint64_t low, high;
};

int adit__tree_walk_nodes(struct adit_tree *t, adit_tree_node_visit visit, void *arg)
{
	struct walk_frame stack[ADIT_TREE_MAX_LEVEL + 1], *f;
	const struct adit_node_pm *node = NULL;
	uint64_t block = adit_ptr_block(t->root), low = 0, high = ADIT_KEY_END;
	int level = t->level, depth = 0;

	if (t->root == 0)
		return 0;
	for (;;) {
		int err = level > (int)ADIT_TREE_MAX_LEVEL ?
				  -EUCLEAN :
				  adit__node_get(t, NULL, block, level, &node);
		int stop = visit(arg, block, err ? NULL : node, err, low, high);

		if (stop && stop != ADIT_TREE_SKIP)
			return stop;
		if (!err && !stop && level > 0)
			stack[depth++] = (struct walk_frame){node, 0, low, high};
		while (depth > 0 && stack[depth - 1].next >= get16(stack[depth - 1].node->count))
			depth--;
		if (depth == 0)
			return 0;
		f = &stack[depth - 1];
		const struct adit_inner_pm *entry = adit__inner_entries(f->node) + f->next;

		block = adit_ptr_block(get64(entry->ptr));
		level = f->node->level - 1;
		low = f->next == 0 ? f->low : get64(entry->key);
		f->next++;
		high = f->next < get16(f->node->count) ? get64(entry[1].key) : f->high;
	}
}

/* ---- destroying --------------------------------------------------------- */

int adit__tree_destroy_step(struct adit_tree *t, struct adit_cs *cs, adit_tree_visit visit,
			    void *arg)
{
	while (t->root != 0) {
		struct adit_tree_path path;
		unsigned count, i;
		int err;

		if (adit__cs_room(cs) < DESTROY_ROOM)
			return -EAGAIN;
		err = adit__tree_descend(t, cs, ADIT_KEY_END, &path);
		if (err)
			return err;
		count = get16(path.leaf->count);
		for (i = 0; visit && i < count; i++) {
			err = visit(arg, adit__leaf_rec(path.leaf, i));
			if (err)
				return err;
		}
		err = prune(t, cs, &path);
		if (err)
			return err;
	}
	return 0;
}
