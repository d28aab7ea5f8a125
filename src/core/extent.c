/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * A file's map from file blocks to pool blocks.
 *
 * Up to four extents lie in the inode's fork, in ascending order; a fifth moves
 * all of them into a B+tree (tree.h), keyed by file block.  A map that loses its
 * last extent goes back to ADIT_FORK_NONE.
 *
 * What holds:
 *  - extents of one file never overlap; those that touch in the file and in the
 *    pool, with equal flags and epoch, are one, up to EXTENT_GROUPS_MAX groups;
 *  - no extent crosses ADIT_STAGE: what lies above is not part of the file (yet),
 *    see file_steps.c;
 *  - every extent is checked against the pool's bounds when it is read, so that a
 *    damaged map is an error and not a wild pointer;
 *  - every function that changes asks for room for its worst case first and says
 *    -E2BIG (-EAGAIN where that is a normal answer) before it has put anything.
 *    After any other error the change set is only good for dropping.
 *
 * Splits of an existing extent use the reserve (ADIT_ALLOC_RESERVE) for a tree
 * node: they belong to freeing, and to writes into space that was promised.
 */
#include "core/extent.h"
#include "core/alloc.h"
#include "core/file_int.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/tree.h"

/* An extent is at most so many groups long: a leaf of them (118) is freed with
 * one entry a group in what adit__tree_destroy_step leaves for it. */
#define EXTENT_GROUPS_MAX 4u

/* ---- media form ----------------------------------------------------------- */

static uint64_t end_of(const struct adit_extent *e)
{
	return e->file_block + e->blocks;
}

static int check(struct adit_fs *fs, const struct adit_inode_pm *ip, const struct adit_extent *e)
{
	if (adit__run_is_sane(fs, e->block, e->blocks) && e->file_block < ADIT_STAGE_END &&
	    e->blocks <= ADIT_STAGE_END - e->file_block &&
	    e->blocks <= EXTENT_GROUPS_MAX * fs->group_blocks)
		return 0;
	adit__report(fs, "inode %llu: extent at file block %llu: cannot be %llu blocks from %llu",
		     (unsigned long long)get64(ip->ino),
		     (unsigned long long)e->file_block, (unsigned long long)e->blocks,
		     (unsigned long long)e->block);
	return -EUCLEAN;
}

static ADIT_NOINLINE int not_in_order(struct adit_fs *fs, const struct adit_inode_pm *ip,
				      uint64_t file_block)
{
	adit__report(fs, "inode %llu: extents around file block %llu are not in order",
		     (unsigned long long)get64(ip->ino), (unsigned long long)file_block);
	return -EUCLEAN;
}

static void from_inline(const struct adit_extent_inline_pm *p, struct adit_extent *e)
{
	uint64_t ptr = get64(p->ptr);

	*e = (struct adit_extent){.file_block = get64(p->file_block), .block = adit_ptr_block(ptr),
				  .blocks = get32(p->blocks), .epoch = adit_ptr_epoch(ptr),
				  .flags = get16(p->flags)};
}

static void to_inline(struct adit_extent_inline_pm *p, const struct adit_extent *e)
{
	*p = (struct adit_extent_inline_pm){.file_block = put64(e->file_block),
					    .ptr = put64(adit_ptr_make(e->block, e->epoch)),
					    .blocks = put32((uint32_t)e->blocks),
					    .flags = put16((uint16_t)e->flags)};
}

static void from_record(const struct adit_rec_pm *rec, struct adit_extent *e)
{
	const struct adit_extent_pm *p = (const struct adit_extent_pm *)(const void *)rec;
	uint64_t ptr = get64(p->ptr);

	*e = (struct adit_extent){.file_block = get64(rec->key), .block = adit_ptr_block(ptr),
				  .blocks = get32(rec->c), .epoch = adit_ptr_epoch(ptr),
				  .flags = rec->a};
}

static void to_record(struct adit_extent_pm *p, const struct adit_extent *e)
{
	*p = (struct adit_extent_pm){
		.rec = {.key = put64(e->file_block), .len = put16(sizeof *p),
			.a = (uint8_t)e->flags, .c = put32((uint32_t)e->blocks)},
		.ptr = put64(adit_ptr_make(e->block, e->epoch))};
}

static void tree_of(struct adit_fs *fs, const struct adit_inode_pm *ip, struct adit_tree *t)
{
	const struct adit_fork_tree_pm *f = &ip->fork.tree;

	*t = (struct adit_tree){.fs = fs, .owner = get64(ip->ino), .type = ADIT_TREE_EXTENTS,
				.ordered = true};
	if (adit__inode_fork(ip) == ADIT_FORK_TREE) {
		t->root = get64(f->root);
		t->level = f->level;
		t->goal = adit_ptr_block(t->root);
	}
}

/* The tree changed: so does the fork. */
static void tree_back(struct adit_inode_pm *ip, const struct adit_tree *t)
{
	struct adit_fork_tree_pm *f = &ip->fork.tree;
	bool was = adit__inode_fork(ip) == ADIT_FORK_TREE;
	uint64_t nodes = (was ? get64(f->nodes) : 0) + (uint64_t)t->nodes;

	ip->blocks = put64(get64(ip->blocks) + (uint64_t)t->nodes);
	if (!was || t->root == 0)
		memset(&ip->fork, 0, sizeof ip->fork);
	adit__inode_set_fork(ip, t->root ? ADIT_FORK_TREE : ADIT_FORK_NONE);
	if (t->root) {
		f->root = put64(t->root);
		f->level = t->level;
		f->nodes = put64(nodes);
	}
}

/* ---- looking ---------------------------------------------------------------- */

static int inline_count(struct adit_fs *fs, const struct adit_inode_pm *ip, unsigned *count)
{
	*count = get16(ip->fork.extents.count);
	if (ADIT_LIKELY(*count <= ADIT_INLINE_EXTENTS))
		return 0;
	adit__report(fs, "inode %llu: %u extents in the inode",
		     (unsigned long long)get64(ip->ino), *count);
	return -EUCLEAN;
}

static int find_inline(struct adit_fs *fs, const struct adit_inode_pm *ip, enum adit_tree_find how,
		       uint64_t key, struct adit_extent *out)
{
	const struct adit_extent_inline_pm *p = ip->fork.extents.extent, *found = NULL;
	unsigned count, i;
	int err = inline_count(fs, ip, &count);

	if (err)
		return err;
	for (i = 0; i < count && get64(p[i].file_block) <= key; i++)
		found = &p[i];
	if (how == ADIT_FIND_GE && !(found && get64(found->file_block) == key))
		found = i < count ? &p[i] : NULL;
	if (!found)
		return -ENOENT;
	from_inline(found, out);
	return 0;
}

/* The extent that starts at or before (ADIT_FIND_LE), at or after (GE) key. */
static int find(struct adit_fs *fs, struct adit_cs *cs, const struct adit_inode_pm *ip,
		enum adit_tree_find how, uint64_t key, struct adit_extent *out)
{
	struct adit_extent e;
	struct adit_tree_pos pos;
	struct adit_tree t;
	int err;

	switch (adit__inode_fork(ip)) {
	case ADIT_FORK_NONE:
		return -ENOENT;
	case ADIT_FORK_EXTENTS:
		err = find_inline(fs, ip, how, key, &e);
		break;
	case ADIT_FORK_TREE:
		tree_of(fs, ip, &t);
		err = adit__tree_find(&t, cs, how, key, &pos);
		if (!err)
			from_record(pos.rec, &e);
		break;
	default:
		return -EINVAL;
	}
	if (!err)
		err = check(fs, ip, &e);
	/* A damaged tree may find another one. */
	if (!err && (how == ADIT_FIND_LE ? e.file_block > key : e.file_block < key))
		err = not_in_order(fs, ip, key);
	if (!err)
		*out = e;
	return err;
}

int adit__extent_at(struct adit_fs *fs, struct adit_cs *cs, const struct adit_inode_pm *ip,
		    uint64_t file_block, struct adit_extent *out)
{
	uint64_t limit = file_block < ADIT_STAGE ? ADIT_STAGE : ADIT_STAGE_END;
	struct adit_extent e;
	int err = find(fs, cs, ip, ADIT_FIND_LE, file_block, &e);

	if (!err && file_block < end_of(&e)) {
		uint64_t skip = file_block - e.file_block;

		e.file_block += skip;
		e.block += skip;
		e.blocks -= skip;
		*out = e;
		return 0;
	}
	if (err && err != -ENOENT)
		return err;
	err = find(fs, cs, ip, ADIT_FIND_GE, file_block, &e);
	if (err && err != -ENOENT)
		return err;
	/* It would have been found above. */
	if (!err && e.file_block == file_block)
		return not_in_order(fs, ip, file_block);
	if (!err)
		limit = min_u64(limit, e.file_block);
	*out = (struct adit_extent){.file_block = file_block, .blocks = limit - file_block};
	return 0;
}

int adit__extent_before(struct adit_fs *fs, struct adit_cs *cs, const struct adit_inode_pm *ip,
			uint64_t file_block, struct adit_extent *out)
{
	return file_block ? find(fs, cs, ip, ADIT_FIND_LE, file_block - 1, out) : -ENOENT;
}

struct walk {
	struct adit_fs *fs;
	const struct adit_inode_pm *ip;
	uint64_t from;
	adit_extent_visit visit;
	void *arg;
};

static int walk_extent(const struct walk *w, struct adit_extent *e)
{
	int err = check(w->fs, w->ip, e);

	if (err)
		return err;
	if (end_of(e) <= w->from)
		return 0;
	if (e->file_block < w->from) {
		uint64_t skip = w->from - e->file_block;

		e->file_block += skip;
		e->block += skip;
		e->blocks -= skip;
	}
	return w->visit(w->arg, e);
}

static int walk_record(void *arg, const struct adit_rec_pm *rec)
{
	struct adit_extent e;

	from_record(rec, &e);
	return walk_extent(arg, &e);
}

static int walk_inline(struct walk *w)
{
	unsigned count;
	int err = inline_count(w->fs, w->ip, &count);

	for (unsigned i = 0; !err && i < count; i++) {
		struct adit_extent e;

		from_inline(&w->ip->fork.extents.extent[i], &e);
		err = walk_extent(w, &e);
	}
	return err;
}

int adit__extent_walk(struct adit_fs *fs, const struct adit_inode_pm *ip, uint64_t file_block,
		      adit_extent_visit visit, void *arg)
{
	struct walk w = {fs, ip, file_block, visit, arg};
	struct adit_extent first;
	struct adit_tree t;
	int err;

	switch (adit__inode_fork(ip)) {
	case ADIT_FORK_NONE:
		return 0;
	case ADIT_FORK_EXTENTS:
		return walk_inline(&w);
	case ADIT_FORK_TREE:
		err = find(fs, NULL, ip, ADIT_FIND_LE, file_block, &first);
		if (err && err != -ENOENT)
			return err;
		tree_of(fs, ip, &t);
		return adit__tree_walk(&t, NULL, err ? file_block : first.file_block, walk_record,
				       &w);
	default:
		return -EINVAL;
	}
}

/* ---- changing one record ---------------------------------------------------- */

size_t adit__extent_room(const struct adit_inode_pm *ip)
{
	unsigned level = adit__inode_fork(ip) == ADIT_FORK_TREE ? ip->fork.tree.level : 0;

	/* A split writes a new node and the edge of the old one on each level,
	 * and a new root; then what the leaf itself needs, and the entries of
	 * what is freed. */
	return (level + 2u) * (ADIT_BLOCK + 512u) + ADIT_BLOCK;
}

static int tree_insert(struct adit_tree *t, struct adit_cs *cs, const struct adit_extent *e)
{
	struct adit_extent_pm rec;

	to_record(&rec, e);
	return adit__tree_insert(t, cs, &rec.rec);
}

/* The fork is full: its extents and one more go into a tree. */
static int make_tree(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *more,
		     unsigned alloc_flags)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_tree t;

	tree_of(fs, ip, &t);
	t.alloc_flags = alloc_flags;
	t.goal = adit_ptr_block(get64(ip->fork.extents.extent[0].ptr));
	for (unsigned i = 0; i < ADIT_INLINE_EXTENTS; i++) {
		struct adit_extent e;
		int err;

		from_inline(&ip->fork.extents.extent[i], &e);
		err = tree_insert(&t, cs, &e);
		if (err)
			return err;
	}
	int err = tree_insert(&t, cs, more);

	if (!err)
		tree_back(ip, &t);
	return err;
}

static int inline_add(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *e,
		      unsigned alloc_flags)
{
	struct adit_fork_extents_pm *f = &ip->fork.extents;
	unsigned count, i;
	int err = inline_count(adit__cs_fs(cs), ip, &count);

	if (err)
		return err;
	if (count == ADIT_INLINE_EXTENTS)
		return make_tree(cs, ip, e, alloc_flags);
	for (i = count; i > 0 && get64(f->extent[i - 1].file_block) > e->file_block; i--)
		f->extent[i] = f->extent[i - 1];
	to_inline(&f->extent[i], e);
	f->count = put16((uint16_t)(count + 1));
	return 0;
}

static int record_add(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *e,
		      unsigned alloc_flags)
{
	struct adit_tree t;
	int err;

	if (adit__inode_fork(ip) == ADIT_FORK_NONE) {
		memset(&ip->fork, 0, sizeof ip->fork);
		adit__inode_set_fork(ip, ADIT_FORK_EXTENTS);
	}
	if (adit__inode_fork(ip) == ADIT_FORK_EXTENTS)
		return inline_add(cs, ip, e, alloc_flags);
	tree_of(adit__cs_fs(cs), ip, &t);
	t.alloc_flags = alloc_flags;
	err = tree_insert(&t, cs, e);
	if (!err && t.changed)
		tree_back(ip, &t);
	return err;
}

static struct adit_extent_inline_pm *inline_find(struct adit_inode_pm *ip, uint64_t key)
{
	unsigned count = get16(ip->fork.extents.count);

	for (unsigned i = 0; i < count; i++)
		if (get64(ip->fork.extents.extent[i].file_block) == key)
			return &ip->fork.extents.extent[i];
	return NULL;
}

static int record_remove(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t key)
{
	struct adit_fork_extents_pm *f = &ip->fork.extents;
	struct adit_extent_inline_pm *p;
	struct adit_tree t;
	unsigned last;
	int err;

	if (adit__inode_fork(ip) == ADIT_FORK_TREE) {
		tree_of(adit__cs_fs(cs), ip, &t);
		t.alloc_flags = ADIT_ALLOC_RESERVE;
		err = adit__tree_remove(&t, cs, key);
		if (!err && t.changed)
			tree_back(ip, &t);
		return err;
	}
	p = inline_find(ip, key);
	if (!p)
		return -EUCLEAN;
	last = get16(f->count) - 1u;
	memmove(p, p + 1, (size_t)(&f->extent[last] - p) * sizeof *p);
	memset(&f->extent[last], 0, sizeof *p);
	f->count = put16((uint16_t)last);
	if (last == 0)
		adit__inode_set_fork(ip, ADIT_FORK_NONE);
	return 0;
}

/* Same key, new length or flags. */
static int record_change(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *e)
{
	struct adit_extent_inline_pm *p;
	struct adit_extent_pm rec;
	struct adit_tree t;
	int err;

	if (adit__inode_fork(ip) == ADIT_FORK_TREE) {
		tree_of(adit__cs_fs(cs), ip, &t);
		t.alloc_flags = ADIT_ALLOC_RESERVE;
		to_record(&rec, e);
		err = adit__tree_replace(&t, cs, &rec.rec);
		if (!err && t.changed)
			tree_back(ip, &t);
		return err;
	}
	p = inline_find(ip, e->file_block);
	if (!p)
		return -EUCLEAN;
	to_inline(p, e);
	return 0;
}

/* ---- changing the map ------------------------------------------------------- */

static bool joins(const struct adit_fs *fs, const struct adit_extent *a,
		  const struct adit_extent *b)
{
	return end_of(a) == b->file_block && a->block + a->blocks == b->block &&
	       a->epoch == b->epoch && a->flags == b->flags && b->file_block != ADIT_STAGE &&
	       a->blocks + b->blocks <= EXTENT_GROUPS_MAX * fs->group_blocks;
}

static int overlap(struct adit_fs *fs, const struct adit_inode_pm *ip, const struct adit_extent *e)
{
	adit__report(fs, "inode %llu: extents overlap at file block %llu",
		     (unsigned long long)get64(ip->ino), (unsigned long long)e->file_block);
	return -EUCLEAN;
}

int adit__extent_insert(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *new,
			unsigned alloc_flags)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_extent e = *new, prev, next;
	bool left = false, right = false;
	int err;

	if (adit__cs_room(cs) < adit__extent_room(ip))
		return -E2BIG;
	err = find(fs, cs, ip, ADIT_FIND_LE, e.file_block, &prev);
	if (err && err != -ENOENT)
		return err;
	if (!err) {
		if (end_of(&prev) > e.file_block)
			return overlap(fs, ip, &e);
		left = joins(fs, &prev, &e);
	}
	err = find(fs, cs, ip, ADIT_FIND_GE, e.file_block, &next);
	if (err && err != -ENOENT)
		return err;
	if (!err) {
		if (end_of(&e) > next.file_block)
			return overlap(fs, ip, &e);
		right = joins(fs, &e, &next);
	}
	if (left) {
		prev.blocks += e.blocks;
		e = prev;
		right = right && joins(fs, &e, &next);
	}
	if (right) {
		err = record_remove(cs, ip, next.file_block);
		if (err)
			return err;
		e.blocks += next.blocks;
	}
	err = left ? record_change(cs, ip, &e) : record_add(cs, ip, &e, alloc_flags);
	if (!err)
		ip->blocks = put64(get64(ip->blocks) + new->blocks);
	return err;
}

/* Take [cut, top), which lies in e, out of the map. */
static int cut_out(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *e,
		   uint64_t cut, uint64_t top)
{
	struct adit_extent left = *e, right = *e;
	int err;

	left.blocks = cut - e->file_block;
	right.file_block = top;
	right.block += top - e->file_block;
	right.blocks = end_of(e) - top;
	err = left.blocks ? record_change(cs, ip, &left) : record_remove(cs, ip, e->file_block);
	if (!err && right.blocks)
		err = record_add(cs, ip, &right, ADIT_ALLOC_RESERVE);
	if (!err)
		ip->blocks = put64(get64(ip->blocks) - (top - cut));
	return err;
}

int adit__extent_remove(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t from, uint64_t to,
			bool free, uint64_t *done_to)
{
	struct adit_fs *fs = adit__cs_fs(cs);

	while (from < to) {
		struct adit_extent e;
		uint64_t cut, top;
		int err = find(fs, cs, ip, ADIT_FIND_LE, to - 1, &e);

		if (err && err != -ENOENT)
			return err;
		if (err || end_of(&e) <= from)
			break;
		if (adit__cs_room(cs) < adit__extent_room(ip)) {
			*done_to = to;
			return -EAGAIN;
		}
		top = min_u64(end_of(&e), to);
		cut = max_u64(e.file_block, from);
		err = cut_out(cs, ip, &e, cut, top);
		if (err)
			return err;
		if (free)
			adit__free_blocks(cs, e.block + (cut - e.file_block), top - cut);
		to = cut;
	}
	*done_to = from;
	return 0;
}

int adit__extent_convert(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t from, uint64_t to,
			 bool unwritten)
{
	struct adit_fs *fs = adit__cs_fs(cs);

	while (from < to) {
		struct adit_extent whole, e;
		uint64_t top;
		int err = find(fs, cs, ip, ADIT_FIND_LE, from, &whole);

		if (err == -ENOENT || (!err && end_of(&whole) <= from))
			return -EINVAL;
		if (err)
			return err;
		top = min_u64(end_of(&whole), to);
		if (((whole.flags & ADIT_EXTENT_UNWRITTEN) != 0) != unwritten) {
			if (adit__cs_room(cs) < 2 * adit__extent_room(ip))
				return -E2BIG;
			e = whole;
			e.file_block = from;
			e.block += from - whole.file_block;
			e.blocks = top - from;
			e.flags ^= ADIT_EXTENT_UNWRITTEN;
			err = cut_out(cs, ip, &whole, from, top);
			if (!err)
				err = adit__extent_insert(cs, ip, &e, ADIT_ALLOC_RESERVE);
			if (err)
				return err;
		}
		from = top;
	}
	return 0;
}

/* Move the part [cut, end) of e by delta. */
static int move(struct adit_cs *cs, struct adit_inode_pm *ip, const struct adit_extent *e,
		uint64_t cut, int64_t delta)
{
	struct adit_extent m = *e;
	int err = cut_out(cs, ip, e, cut, end_of(e));

	if (err)
		return err;
	m.file_block = cut + (uint64_t)delta;
	m.block += cut - e->file_block;
	m.blocks -= cut - e->file_block;
	return adit__extent_insert(cs, ip, &m, ADIT_ALLOC_RESERVE);
}

int adit__extent_shift(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t from, int64_t delta,
		       uint64_t *at)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	uint64_t now = *at;

	for (;;) {
		struct adit_extent e;
		uint64_t cut;
		int err;

		if (delta > 0 && now <= from)
			return 0;
		err = find(fs, cs, ip, delta > 0 ? ADIT_FIND_LE : ADIT_FIND_GE,
			   delta > 0 ? now - 1 : max_u64(now, from), &e);
		if (err == -ENOENT || (!err && end_of(&e) <= from)) {
			*at = delta > 0 ? from : ADIT_STAGE_END;
			return 0;
		}
		if (err)
			return err;
		if (adit__cs_room(cs) < 2 * adit__extent_room(ip)) {
			*at = now;
			return -EAGAIN;
		}
		cut = max_u64(e.file_block, from);
		err = move(cs, ip, &e, cut, delta);
		if (err)
			return err;
		now = delta > 0 ? cut : end_of(&e);
	}
}

/* ---- destroying --------------------------------------------------------------- */

struct destroy {
	struct adit_cs *cs;
	struct adit_inode_pm *ip;
};

static int free_record(void *arg, const struct adit_rec_pm *rec)
{
	struct destroy *d = arg;
	struct adit_extent e;
	int err;

	from_record(rec, &e);
	err = check(adit__cs_fs(d->cs), d->ip, &e);
	if (err)
		return err;
	adit__free_blocks(d->cs, e.block, e.blocks);
	d->ip->blocks = put64(get64(d->ip->blocks) - e.blocks);
	return 0;
}

int adit__extent_destroy_step(struct adit_cs *cs, struct adit_inode_pm *ip)
{
	struct destroy d = {cs, ip};
	struct adit_tree t;
	uint64_t done;
	int err;

	if (adit__inode_fork(ip) != ADIT_FORK_TREE)
		return adit__extent_remove(cs, ip, 0, ADIT_STAGE_END, true, &done);
	tree_of(adit__cs_fs(cs), ip, &t);
	err = adit__tree_destroy_step(&t, cs, free_record, &d);
	if ((!err || err == -EAGAIN) && t.changed)
		tree_back(ip, &t);
	return err;
}
