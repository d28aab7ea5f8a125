/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The B+tree: paths, searches, splits, walks.  What happens inside one node is
 * in tree_node.c.
 *
 *  - A leaf holds the keys in [low, high) that the separators above it
 *    promise; the first separator of an inner node counts as minus infinity.
 *  - No node is empty: a leaf that loses its last record is freed, and so is
 *    an inner node that loses its last child.
 *  - A split moves the upper part into a new node and leaves the lower one
 *    where it is; the blocks for it are there before anything is put, so a
 *    refused block (-ENOSPC) leaves the tree as it was.
 *  - Searches never climb: whoever needs the next or previous leaf descends
 *    again with the bound of this one.  Bounds only tighten, so even a damaged
 *    tree makes every loop end.
 *
 * An error other than -ENOENT, -EEXIST, -EINVAL and a plain insert's -ENOSPC
 * may leave the change set half filled: the caller drops it.
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/tree_node.h"

#define KEY_END UINT64_MAX
/* Compacting must leave this much room, or a nearly full leaf would be logged
 * whole for every second insert; better to split it. */
#define COMPACT_GAIN 384u
/* destroy: the most that one leaf may add to the record. */
#define DESTROY_ROOM (12u * 1024)

struct tree_path {
	uint64_t block[ADIT_TREE_MAX_LEVEL + 1];
	uint16_t slot[ADIT_TREE_MAX_LEVEL + 1]; /* child taken in an inner node */
	const struct adit_node_pm *leaf;
	uint64_t low, high; /* the leaf's keys: low <= key < high */
};

/* ---- nodes and paths -------------------------------------------------- */

static int node_bad(const struct adit_tree *t, uint64_t block, int err, const char *why)
{
	adit__report(t->fs, "tree node in block %llu of inode %llu: %s", (unsigned long long)block,
		     (unsigned long long)t->owner, why);
	return err;
}

/* Cheap enough for every visit, and enough to stay inside of the block. */
static bool node_shape_ok(const struct adit_tree *t, const struct adit_node_pm *node, int level)
{
	unsigned count = get16(node->count), top = get16(node->heap_top);

	if (get32(node->magic) != ADIT_MAGIC_NODE || node->type != t->type || count == 0 ||
	    node->level > ADIT_TREE_MAX_LEVEL || (level >= 0 && node->level != level))
		return false;
	if (node->level > 0)
		return count <= ADIT_INNER_MAX;
	return count <= ADIT_LEAF_SLOTS_MAX && top <= ADIT_BLOCK &&
	       ADIT_NODE_BODY + 2u * count <= top;
}

int adit__node_get(struct adit_tree *t, struct adit_cs *cs, uint64_t block, int level,
		   const struct adit_node_pm **out)
{
	struct adit_fs *fs = t->fs;
	const struct adit_node_pm *medium, *node;
	const char *why = NULL;
	int err;

	if (ADIT_UNLIKELY(block == 0 || block >= fs->pool_blocks))
		return node_bad(t, block, -EUCLEAN, "lies outside of the pool");
	medium = adit__block_at(fs, block);
	node = cs ? adit__cs_view_block(cs, fs, block) : medium;
	if (node == medium && !adit__verified(fs, block << ADIT_BLOCK_SHIFT)) {
		err = adit__verify_node(fs, node, block, t->owner, t->type, level, &why);
		if (err)
			return node_bad(t, block, err, why);
		adit__set_verified(fs, block << ADIT_BLOCK_SHIFT);
	}
	if (ADIT_UNLIKELY(!node_shape_ok(t, node, level) || get64(node->owner) != t->owner))
		return node_bad(t, block, -EUCLEAN, "impossible header");
	*out = node;
	return 0;
}

/* adit__node_get without a call where nothing is to be done but looking. */
static inline int node_get(struct adit_tree *t, struct adit_cs *cs, uint64_t block, unsigned level,
			   const struct adit_node_pm **out)
{
	const struct adit_fs *fs = t->fs;

	if (ADIT_LIKELY(block < fs->pool_blocks && adit__block_verified(fs, block) &&
			(!cs || adit__cs_untouched(cs, block)))) {
		const struct adit_node_pm *node = adit__block_at(fs, block);

		*out = node;
		if (ADIT_LIKELY(node_shape_ok(t, node, (int)level) &&
				get64(node->owner) == t->owner))
			return 0;
	}
	return adit__node_get(t, cs, block, (int)level, out);
}

static inline void prefetch_node(const struct adit_fs *fs, uint64_t block, unsigned level)
{
	const uint8_t *p = adit__block_at(fs, block);

	__builtin_prefetch(p);
	if (level == 0) { /* the slots */
		__builtin_prefetch(p + 64);
		__builtin_prefetch(p + 128);
		__builtin_prefetch(p + 192);
	}
}

/* Pre: t->root is not 0. */
static inline int descend(struct adit_tree *t, struct adit_cs *cs, uint64_t key, struct tree_path *path)
{
	uint64_t block = adit_ptr_block(t->root);
	unsigned level = t->level;

	if (level > ADIT_TREE_MAX_LEVEL)
		return node_bad(t, block, -EUCLEAN, "root level is impossible");
	path->low = 0;
	path->high = KEY_END;
	for (;;) {
		const struct adit_node_pm *node;
		const struct adit_inner_pm *entry;
		int err = node_get(t, cs, block, level, &node);
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
		prefetch_node(t->fs, block, level - 1);
		path->slot[level] = (uint16_t)i;
		if (i > 0)
			path->low = max_u64(path->low, get64(entry[i].key));
		if (i + 1u < get16(node->count))
			path->high = min_u64(path->high, get64(entry[i + 1].key));
		level--;
	}
}

static int node_alloc(struct adit_tree *t, struct adit_cs *cs, uint64_t near, uint64_t *block)
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

static void node_free(struct adit_tree *t, struct adit_cs *cs, uint64_t block)
{
	adit__free_blocks(cs, block, 1);
	t->nodes--;
	t->changed = true;
}

static adit_ptr node_ptr(const struct adit_tree *t, uint64_t block)
{
	return adit_ptr_make(block, get32(t->fs->root->epoch));
}

/* ---- looking ---------------------------------------------------------- */

static void found_at(const struct tree_path *path, unsigned slot, struct adit_tree_pos *out)
{
	out->rec = adit__leaf_rec(path->leaf, slot);
	out->block = path->block[0];
	out->slot = slot;
	out->next_key = path->high;
}

int adit__tree_find(struct adit_tree *t, struct adit_cs *cs, enum adit_tree_find how, uint64_t key,
		    struct adit_tree_pos *out)
{
	struct tree_path path;
	uint64_t to = key;

	if (t->root == 0)
		return -ENOENT;
	for (;;) {
		int err = descend(t, cs, to, &path);
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
		if (how == ADIT_FIND_LE ? path.low == 0 : path.high == KEY_END)
			return -ENOENT;
		to = how == ADIT_FIND_LE ? path.low - 1 : path.high;
	}
}

int adit__tree_find_match(struct adit_tree *t, struct adit_cs *cs, uint64_t first, uint64_t last,
			  adit_tree_match match, const void *arg, struct adit_tree_pos *out)
{
	struct tree_path path;
	uint64_t to = first;

	out->block = 0;
	if (t->root == 0)
		return -ENOENT;
	for (;;) {
		int err = descend(t, cs, to, &path);
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

/* ---- inserting ---------------------------------------------------------- */

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
		err = node_alloc(t, cs, near, &spare->block[spare->n]);
		if (!err)
			spare->n++;
	}
	while (err && spare->n > 0)
		node_free(t, cs, spare->block[--spare->n]);
	return err;
}

/* New nodes that a split of the path's leaf takes. */
static int split_needs(struct adit_tree *t, struct adit_cs *cs, const struct tree_path *path,
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

	if (!err && adit__leaf_gap(node) < need) {
		if (adit__leaf_slack(node) < need)
			return node_bad(t, block, -EUCLEAN, "bytes in use are counted wrongly");
		if (!t->ordered) {
			adit__leaf_compact(cs, block, node, KEY_END, rec);
			return 0;
		}
		adit__leaf_compact(cs, block, node, KEY_END, NULL);
		err = adit__node_get(t, cs, block, 0, &node);
	}
	if (err)
		return err;
	adit__leaf_find(node, t->ordered, get64(rec->key), &slot);
	adit__leaf_add(cs, block, node, slot, rec);
	return 0;
}

/*
 * Names: their hashes spread evenly, so the middle of the leaf's range is near
 * the middle of its records, and needs no sorting to find; it is the same for
 * both halves of a hash's ordinals.  The left node is rewritten at once: it had
 * no room, and what moves out leaves holes.  False, and nothing done, when one
 * side would get less than a quarter (few or contrived hashes).
 */
static bool leaf_split_even(struct adit_tree *t, struct adit_cs *cs, const struct tree_path *path,
			    const struct adit_node_pm *node, const struct adit_rec_pm *rec,
			    uint64_t right, uint64_t *separator)
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
		return false;
	part[to_right] += adit__rec_bytes(rec) + 2u;
	if (part[to_right] > ADIT_BLOCK - ADIT_NODE_BODY)
		return false;
	adit__leaf_create(t, cs, right, node, idx, n, to_right ? rec : NULL, n);
	adit__leaf_compact(cs, path->block[0], node, middle, to_right ? NULL : rec);
	*separator = middle;
	return true;
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
		return node_bad(t, block, -EUCLEAN, "full with a single record");
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
static int link_right(struct adit_tree *t, struct adit_cs *cs, const struct tree_path *path,
		      struct spare *spare, uint64_t right, uint64_t separator)
{
	unsigned level;
	int err;

	for (level = 1; level <= t->level; level++) {
		struct adit_inner_pm entry = {put64(separator), put64(node_ptr(t, right))};
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
		{put64(separator), put64(node_ptr(t, right))},
	};
	uint64_t root = spare->block[spare->used++];

	adit__inner_create(t, cs, root, t->level + 1u, two, 2);
	t->root = node_ptr(t, root);
	t->level++;
	t->changed = true;
	return 0;
}

static int insert_split(struct adit_tree *t, struct adit_cs *cs, const struct tree_path *path,
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
	if (t->ordered || !leaf_split_even(t, cs, path, node, rec, right, &separator))
		err = leaf_split(t, cs, block, node, rec, right, &separator);
	if (err)
		return err;
	return link_right(t, cs, path, &spare, right, separator);
}

/* The first record of an empty tree. */
static int plant(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec)
{
	uint64_t block;
	int err = node_alloc(t, cs, 0, &block);

	if (err)
		return err;
	adit__leaf_create(t, cs, block, NULL, NULL, 0, rec, 0);
	t->root = node_ptr(t, block);
	t->level = 0;
	t->changed = true;
	return 0;
}

int adit__tree_insert(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec)
{
	unsigned len = get16(rec->len), need, slot;
	struct tree_path path;
	int err;

	if (len < sizeof *rec || len > ADIT_RECORD_MAX)
		return -EINVAL;
	if (t->root == 0)
		return plant(t, cs, rec);
	err = descend(t, cs, get64(rec->key), &path);
	if (err)
		return err;
	if (adit__leaf_find(path.leaf, t->ordered, get64(rec->key), &slot))
		return -EEXIST;
	need = adit__rec_bytes(rec) + 2;
	if (ADIT_LIKELY(adit__leaf_gap(path.leaf) >= need)) {
		adit__leaf_add(cs, path.block[0], path.leaf, slot, rec);
		return 0;
	}
	if (adit__leaf_slack(path.leaf) >= need + COMPACT_GAIN)
		return leaf_place(t, cs, path.block[0], rec);
	return insert_split(t, cs, &path, rec);
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
		node_free(t, cs, block);
	}
	return 0;
}

/* Free the path's leaf, and what is left empty above it. */
static int prune(struct adit_tree *t, struct adit_cs *cs, const struct tree_path *path)
{
	unsigned level;

	node_free(t, cs, path->block[0]);
	for (level = 1; level <= t->level; level++) {
		const struct adit_node_pm *node;
		int err = adit__node_get(t, cs, path->block[level], (int)level, &node);

		if (err)
			return err;
		if (get16(node->count) > 1) {
			adit__inner_remove(cs, path->block[level], node, path->slot[level]);
			return collapse(t, cs);
		}
		node_free(t, cs, path->block[level]);
	}
	t->root = 0;
	t->level = 0;
	t->changed = true;
	return 0;
}

int adit__tree_insert_at(struct adit_tree *t, struct adit_cs *cs, const struct adit_rec_pm *rec,
			 uint64_t leaf)
{
	unsigned len = get16(rec->len);
	const struct adit_node_pm *node;
	int err;

	if (leaf == 0 || t->ordered || len < sizeof *rec || len > ADIT_RECORD_MAX)
		return adit__tree_insert(t, cs, rec);
	err = node_get(t, cs, leaf, 0, &node);
	if (err)
		return err;
	if (adit__leaf_gap(node) < adit__rec_bytes(rec) + 2)
		return adit__tree_insert(t, cs, rec);
	adit__leaf_add(cs, leaf, node, get16(node->count), rec);
	return 0;
}

int adit__tree_remove_at(struct adit_tree *t, struct adit_cs *cs, uint64_t key, uint64_t leaf,
			 uint32_t slot)
{
	const struct adit_node_pm *node;
	int err;

	if (leaf == 0)
		return adit__tree_remove(t, cs, key);
	err = node_get(t, cs, leaf, 0, &node);
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
	struct tree_path path;
	unsigned slot;
	int err;

	if (t->root == 0)
		return -ENOENT;
	err = descend(t, cs, key, &path);
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
	struct tree_path path;
	int err;

	if (len < sizeof *rec || len > ADIT_RECORD_MAX)
		return -EINVAL;
	if (t->root == 0)
		return -ENOENT;
	err = descend(t, cs, key, &path);
	if (err)
		return err;
	if (!adit__leaf_find(path.leaf, t->ordered, key, &slot))
		return -ENOENT;
	if (adit__leaf_change(cs, path.block[0], path.leaf, slot, rec))
		return 0;
	if (adit__leaf_slack(path.leaf) >= adit__rec_bytes(rec)) {
		const struct adit_node_pm *node;

		adit__leaf_compact(cs, path.block[0], path.leaf, KEY_END, NULL);
		err = adit__node_get(t, cs, path.block[0], 0, &node);
		if (!err && !adit__leaf_change(cs, path.block[0], node, slot, rec))
			err = node_bad(t, path.block[0], -EUCLEAN,
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
	err = node_get(t, cs, leaf, 0, &node);
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
	struct tree_path path;
	uint8_t idx[256];

	if (t->root == 0)
		return 0;
	for (;;) {
		int err = descend(t, cs, from, &path);
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
			err = visit(arg, rec);
			if (err)
				return err;
		}
		if (path.high == KEY_END)
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
	uint64_t block = adit_ptr_block(t->root), low = 0, high = KEY_END;
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
		struct tree_path path;
		unsigned count, i;
		int err;

		if (adit__cs_room(cs) < DESTROY_ROOM)
			return -EAGAIN;
		err = descend(t, cs, KEY_END, &path);
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
