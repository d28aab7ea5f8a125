/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The B+tree: inserting records, splitting nodes.
 *
 *  - A split moves the upper part into a new node and leaves the lower one
 *    where it is; the blocks for it are there before anything is put, so a
 *    refused block (-ENOSPC) leaves the tree as it was.
 *  - Both sides of a split keep at least one record.
 *
 * Neighbours: tree.c (everything else), tree_node.c (inside of a node),
 * tree_path.h.
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/tree_path.h"

/* Compacting must leave this much room, or a nearly full leaf would be logged
 * whole for every second insert; better to split it. */
#define COMPACT_GAIN 384u

/* ---- splitting ---------------------------------------------------------- */

/* Blocks for a split, all of them or none. */
struct spare {
	uint64_t block[ADIT_TREE_MAX_LEVEL + 2];
	unsigned n, used;
};

static int spare_alloc(struct adit_tree *t, struct adit_cs *cs, uint64_t near, unsigned need,
		       struct spare *spare)
{
	int err = 0;

	spare->n = spare->used = 0;
	while (!err && spare->n < need) {
		err = adit__node_alloc(t, cs, near, &spare->block[spare->n]);
		if (!err)
			spare->n++;
	}
	while (err && spare->n > 0)
		adit__node_free(t, cs, spare->block[--spare->n]);
	return err;
}

/* New nodes that a split of the path's leaf takes. */
static int split_needs(struct adit_tree *t, struct adit_cs *cs, const struct adit_tree_path *path,
		       unsigned *need)
{
	unsigned level;

	*need = 1;
	for (level = 1; level <= t->level; level++) {
		const struct adit_node_pm *node;
		int err = adit__node_get(t, cs, path->block[level], (int)level, &node);

		if (err)
			return err;
		if (get16(node->count) < ADIT_INNER_MAX)
			return 0;
		++*need;
	}
	++*need; /* a new root */
	return t->level == ADIT_TREE_MAX_LEVEL ? -ENOSPC : 0;
}

/* The leaf's records in key order with the new one among them. */
struct split {
	const struct adit_node_pm *node;
	const struct adit_rec_pm *rec;
	const uint8_t *idx;
	unsigned n;	/* records, the new one not counted */
	unsigned pos;	/* where the new one belongs */
};

static inline const struct adit_rec_pm *split_item(const struct split *s, unsigned i)
{
	if (i == s->pos)
		return s->rec;
	return adit__leaf_rec(s->node, s->idx[i < s->pos ? i : i - 1]);
}

/*
 * The first item of the right node: nearest to the middle of the bytes, but
 * preferably not between two keys of one hash.  Records are at most a quarter
 * of a node, so near the middle both sides always fit.  The left node keeps at
 * least one of the records it has.
 */
static unsigned split_point(const struct adit_tree *t, const struct split *s)
{
	unsigned total = 0, left = 0, first = s->pos == 0 ? 2 : 1, i;
	unsigned best = first, best_off = UINT32_MAX;

	for (i = 0; i <= s->n; i++)
		total += adit__rec_bytes(split_item(s, i)) + 2;
	for (i = 1; i <= s->n; i++) {
		uint64_t a = get64(split_item(s, i - 1)->key), b = get64(split_item(s, i)->key);
		unsigned off;

		left += adit__rec_bytes(split_item(s, i - 1)) + 2;
		off = 2 * left > total ? 2 * left - total : total - 2 * left;
		if (i < first || left > ADIT_BLOCK - ADIT_NODE_BODY ||
		    total - left > ADIT_BLOCK - ADIT_NODE_BODY)
			continue;
		if (!t->ordered && a >> 7 == b >> 7)
			off += total / 2;
		if (off < best_off) {
			best_off = off;
			best = i;
		}
	}
	return best;
}

/* Separator: as low as it may be, so that a hash's lower ordinals join it. */
static uint64_t split_key(const struct adit_tree *t, const struct split *s, unsigned p)
{
	uint64_t left = get64(split_item(s, p - 1)->key), right = get64(split_item(s, p)->key);
	uint64_t base = right & ~(uint64_t)(ADIT_HASH_ORDINALS - 1);

	return !t->ordered && base > left ? base : right;
}

/* Room for the record in this leaf, after compacting it if need be. */
static int leaf_place(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
		      const struct adit_rec_pm *rec)
{
	const struct adit_node_pm *node;
	unsigned need = adit__rec_bytes(rec) + 2, slot;
	int err = adit__node_get(t, cs, block, 0, &node);

	if (err)
		return err;
	adit__leaf_find(node, t->ordered, get64(rec->key), &slot);
	if (adit__leaf_add(cs, block, node, slot, rec))
		return 0;
	if (adit__leaf_slack(node) < need)
		return adit__tree_bad(t, block, -EUCLEAN, "bytes in use are counted wrongly");
	if (!t->ordered) {
		adit__leaf_compact(cs, block, node, ADIT_KEY_END, rec);
		return 0;
	}
	adit__leaf_compact(cs, block, node, ADIT_KEY_END, NULL);
	err = adit__node_get(t, cs, block, 0, &node);
	if (err)
		return err;
	if (!adit__leaf_add(cs, block, node, slot, rec))
		return adit__tree_bad(t, block, -EUCLEAN, "bytes in use are counted wrongly");
	return 0;
}

/*
 * Names: their hashes spread evenly, so the middle of the leaf's range is near
 * the middle of its records, and needs no sorting to find; it is the same for
 * both halves of a hash's ordinals.  The left node only loses slots: its holes
 * are filled by what comes.  -EAGAIN, and nothing done, when one side would get
 * less than a quarter (few or contrived hashes).
 */
static int leaf_split_even(struct adit_tree *t, struct adit_cs *cs,
			   const struct adit_tree_path *path, const struct adit_node_pm *node,
			   const struct adit_rec_pm *rec, uint64_t right, uint64_t *separator)
{
	uint64_t low = path->low, high = min_u64(path->high, 1ull << 63);
	uint64_t middle = (low + (high - low) / 2) & ~(uint64_t)(ADIT_HASH_ORDINALS - 1);
	unsigned count = get16(node->count), live = get16(node->live_bytes);
	unsigned total = live + 2u * count, n = 0, i, part[2] = {total, 0};
	bool to_right = get64(rec->key) >= middle;
	uint8_t idx[256];

	for (i = 0; i < count; i++) {
		const struct adit_rec_pm *r = adit__leaf_rec(node, i);
		unsigned goes = get64(r->key) >= middle;

		idx[n] = (uint8_t)i;
		n += goes;
		part[1] += (adit__rec_bytes(r) + 2u) & (0u - goes);
	}
	part[0] -= part[1];
	if (part[0] < total / 4 || part[1] < total / 4)
		return -EAGAIN;
	part[to_right] += adit__rec_bytes(rec) + 2u;
	if (part[to_right] > ADIT_BLOCK - ADIT_NODE_BODY)
		return -EAGAIN;
	adit__leaf_create(t, cs, right, node, idx, n, to_right ? rec : NULL, n);
	adit__leaf_trim(cs, path->block[0], node, middle);
	*separator = middle;
	return to_right ? 0 : leaf_place(t, cs, path->block[0], rec);
}

/* Halve the leaf into `right` and put the record where it belongs. */
static int leaf_split(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
		      const struct adit_node_pm *node, const struct adit_rec_pm *rec,
		      uint64_t right, uint64_t *separator)
{
	uint8_t idx[256];
	struct split s = {.node = node, .rec = rec, .idx = idx};
	unsigned p;

	s.n = adit__leaf_sorted(node, idx);
	if (s.n < 2)
		return adit__tree_bad(t, block, -EUCLEAN, "full with a single record");
	while (s.pos < s.n && get64(adit__leaf_rec(node, idx[s.pos])->key) < get64(rec->key))
		s.pos++;
	/* Ascending inserts: the left node stays full. */
	p = t->ordered && s.pos == s.n ? s.n : split_point(t, &s);
	*separator = split_key(t, &s, p);
	if (s.pos >= p) {
		adit__leaf_create(t, cs, right, node, idx + p, s.n - p, rec, s.pos - p);
		if (p < s.n)
			adit__leaf_trim(cs, block, node, *separator);
		return 0;
	}
	adit__leaf_create(t, cs, right, node, idx + p - 1, s.n - (p - 1), NULL, 0);
	adit__leaf_trim(cs, block, node, *separator);
	return leaf_place(t, cs, block, rec);
}

/* Halve a full inner node; the entry goes in at `at`. */
static int inner_split(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
		       const struct adit_node_pm *node, unsigned at,
		       const struct adit_inner_pm *entry, uint64_t right, uint64_t *separator)
{
	unsigned count = get16(node->count), half = count / 2;
	int err;

	if (at == count) {
		*separator = get64(entry->key);
		adit__inner_create(t, cs, right, node->level, entry, 1);
		return 0;
	}
	*separator = get64(adit__inner_entries(node)[half].key);
	adit__inner_create(t, cs, right, node->level, adit__inner_entries(node) + half,
			   count - half);
	adit__inner_cut(cs, block, node, half);
	if (at > half) {
		block = right;
		at -= half;
	}
	err = adit__node_get(t, cs, block, -1, &node);
	if (!err)
		adit__inner_insert(cs, block, node, at, entry);
	return err;
}

/* Hang the new right node in behind the one on the path, upwards as needed. */
static int link_right(struct adit_tree *t, struct adit_cs *cs, const struct adit_tree_path *path,
		      struct spare *spare, uint64_t right, uint64_t separator)
{
	unsigned level;
	int err;

	for (level = 1; level <= t->level; level++) {
		struct adit_inner_pm entry = {put64(separator), put64(adit__node_ptr(t, right))};
		uint64_t block = path->block[level];
		unsigned at = path->slot[level] + 1u;
		const struct adit_node_pm *node;

		err = adit__node_get(t, cs, block, (int)level, &node);
		if (err)
			return err;
		if (get16(node->count) < ADIT_INNER_MAX) {
			adit__inner_insert(cs, block, node, at, &entry);
			return 0;
		}
		right = spare->block[spare->used++];
		err = inner_split(t, cs, block, node, at, &entry, right, &separator);
		if (err)
			return err;
	}
	struct adit_inner_pm two[2] = {
		{put64(0), put64(t->root)},
		{put64(separator), put64(adit__node_ptr(t, right))},
	};
	uint64_t root = spare->block[spare->used++];

	adit__inner_create(t, cs, root, t->level + 1u, two, 2);
	t->root = adit__node_ptr(t, root);
	t->level++;
	t->changed = true;
	return 0;
}

static int insert_split(struct adit_tree *t, struct adit_cs *cs, const struct adit_tree_path *path,
			const struct adit_rec_pm *rec)
{
	uint64_t block = path->block[0], right, separator;
	const struct adit_node_pm *node;
	struct spare spare;
	unsigned need;
	int err = split_needs(t, cs, path, &need);

	if (!err)
		err = spare_alloc(t, cs, block, need, &spare);
	/* A full pool: compacting a nearly full leaf is better than failing. */
	if (err == -ENOSPC && adit__leaf_slack(path->leaf) >= adit__rec_bytes(rec) + 2)
		return leaf_place(t, cs, block, rec);
	if (err)
		return err;
	err = adit__node_get(t, cs, block, 0, &node);
	if (err)
		return err;
	right = spare.block[spare.used++];
	err = t->ordered ? -EAGAIN :
			   leaf_split_even(t, cs, path, node, rec, right, &separator);
	if (err == -EAGAIN)
		err = leaf_split(t, cs, block, node, rec, right, &separator);
	if (err)
		return err;
	return link_right(t, cs, path, &spare, right, separator);
}

/* The first record of an empty tree. */
static int plant(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec)
{
	uint64_t block;
	int err = adit__node_alloc(t, cs, 0, &block);

	if (err)
		return err;
	adit__leaf_create(t, cs, block, NULL, NULL, 0, rec, 0);
	t->root = adit__node_ptr(t, block);
	t->level = 0;
	t->changed = true;
	return 0;
}

int adit__tree_insert(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec)
{
	unsigned len = get16(rec->len), need, slot;
	struct adit_tree_path path;
	int err;

	if (len < sizeof *rec || len > ADIT_RECORD_MAX)
		return -EINVAL;
	if (t->root == 0)
		return plant(t, cs, rec);
	err = adit__tree_descend(t, cs, get64(rec->key), &path);
	if (err)
		return err;
	if (adit__leaf_find(path.leaf, t->ordered, get64(rec->key), &slot))
		return -EEXIST;
	need = adit__rec_bytes(rec) + 2;
	if (ADIT_LIKELY(adit__leaf_add(cs, path.block[0], path.leaf, slot, rec)))
		return 0;
	if (adit__leaf_slack(path.leaf) >= need + COMPACT_GAIN)
		return leaf_place(t, cs, path.block[0], rec);
	return insert_split(t, cs, &path, rec);
}

int adit__tree_insert_at(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec,
			 uint64_t leaf)
{
	unsigned len = get16(rec->len);
	const struct adit_node_pm *node;
	int err;

	if (leaf == 0 || t->ordered || len < sizeof *rec || len > ADIT_RECORD_MAX)
		return adit__tree_insert(t, cs, rec);
	err = adit__node_see(t, cs, leaf, 0, &node);
	if (err)
		return err;
	if (!adit__leaf_add(cs, leaf, node, get16(node->count), rec))
		return adit__tree_insert(t, cs, rec);
	return 0;
}
