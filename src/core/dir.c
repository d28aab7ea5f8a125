/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Directories.
 *
 * A few entries are packed in the inode's fork, compared one by one.  More of
 * them, or two whose names have one hash, live in a B+tree by name key
 * (namehash.h).  An entry's key is its readdir cookie for as long as it lives:
 *  - in the tree it is the lowest of its hash's 128 keys that was free;
 *  - in the inode it is the hash's first key, which is why two names of one
 *    hash never share the inode, and why the move to the tree changes nothing.
 * More than 128 names with one 56-bit hash are refused with -ENOSPC.
 *
 * `size` counts the entries, `blocks` the tree's nodes among others.  A tree
 * that becomes empty is gone; a directory does not move back into its inode.
 *
 * Neighbours: tree.c, namehash.h, namei.c (locks, times, link counts).
 */
#include "core/dir.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/namehash.h"
#include "core/tree.h"

#define INLINE_HEAD offsetof(struct adit_dirent_inline_pm, name)
/* A packed entry takes at least 16 bytes. */
#define INLINE_ENTRIES (ADIT_FORK_BYTES / 16)
#define INLINE_INO_MAX ((1ull << 48) - 1)
#define DIRENT_HEAD offsetof(struct adit_dirent_pm, name)

/* ---- entries packed in the inode ---------------------------------------- */

static inline unsigned inline_bytes(size_t namelen)
{
	return (unsigned)(INLINE_HEAD + namelen + 3) & ~3u;
}

/* The entry at *at, which moves behind it.  NULL at the end, and where a
 * length leads out of the fork (which verify_inline refuses). */
static const struct adit_dirent_inline_pm *inline_next(const struct adit_inode_pm *dir,
							unsigned *at)
{
	const uint8_t *p = dir->fork.bytes + *at;

	if (*at + INLINE_HEAD >= ADIT_FORK_BYTES || p[0] == 0 ||
	    *at + INLINE_HEAD + p[0] > ADIT_FORK_BYTES)
		return NULL;
	*at += inline_bytes(p[0]);
	return (const struct adit_dirent_inline_pm *)(const void *)p;
}

static void inline_get(const struct adit_dirent_inline_pm *e, struct adit_dirent *out)
{
	uint64_t ino = 0;
	unsigned i;

	for (i = 6; i-- > 0;)
		ino = ino << 8 | e->ino[i];
	out->ino = ino;
	out->generation = get32(e->generation);
	out->dtype = e->dtype;
}

static void inline_set(uint8_t *p, size_t namelen, const struct adit_dirent *de)
{
	struct adit_dirent_inline_pm head = {
		.namelen = (uint8_t)namelen,
		.dtype = de->dtype,
		.generation = put32(de->generation),
	};
	unsigned i;

	for (i = 0; i < 6; i++)
		head.ino[i] = (uint8_t)(de->ino >> 8 * i);
	memcpy(p, &head, INLINE_HEAD);
}

/* 0 and where the entry lies, or -ENOENT. */
static int inline_find(const struct adit_inode_pm *dir, const void *name, size_t len,
		       unsigned *where)
{
	const struct adit_dirent_inline_pm *e;
	unsigned at = 0, from;

	for (from = at; (e = inline_next(dir, &at)) != NULL; from = at) {
		if (e->namelen == len && memcmp(e->name, name, len) == 0) {
			*where = from;
			return 0;
		}
	}
	return -ENOENT;
}

int adit__dir_verify_inline(const struct adit_inode_pm *dir, const char **why)
{
	const struct adit_dirent_inline_pm *e;
	unsigned at = 0, n = 0, i;

	for (; (e = inline_next(dir, &at)) != NULL; n++) {
		for (i = 0; i < e->namelen; i++) {
			if (e->name[i] == '/' || e->name[i] == 0) {
				*why = "a packed entry's name is impossible";
				return -EUCLEAN;
			}
		}
	}
	for (; at < ADIT_FORK_BYTES; at++) {
		if (dir->fork.bytes[at] != 0) {
			*why = "packed entries do not end";
			return -EUCLEAN;
		}
	}
	if (n != get64(dir->size)) {
		*why = "packed entries are counted wrongly";
		return -EUCLEAN;
	}
	return 0;
}

/* Takes the entry at `at` out; what follows closes up. */
static void inline_cut(struct adit_inode_pm *dir, unsigned at)
{
	uint8_t *p = dir->fork.bytes + at;
	unsigned n = inline_bytes(p[0]);

	memmove(p, p + n, ADIT_FORK_BYTES - at - n);
	memset(dir->fork.bytes + ADIT_FORK_BYTES - n, 0, n);
}

/* ---- the tree ------------------------------------------------------------ */

static void tree_of(struct adit_fs *fs, const struct adit_inode_pm *dir, struct adit_tree *t)
{
	*t = (struct adit_tree){.fs = fs, .owner = get64(dir->ino), .type = ADIT_TREE_DIR};
	if (adit__inode_fork(dir) == ADIT_FORK_TREE) {
		t->root = get64(dir->fork.tree.root);
		t->level = dir->fork.tree.level;
	}
}

static void tree_keep(const struct adit_tree *t, struct adit_inode_pm *dir)
{
	if (!t->changed)
		return;
	if (t->root == 0 || adit__inode_fork(dir) != ADIT_FORK_TREE)
		memset(dir->fork.bytes, 0, ADIT_FORK_BYTES);
	dir->blocks = put64(get64(dir->blocks) + (uint64_t)t->nodes);
	if (t->root == 0) {
		adit__inode_set_fork(dir, ADIT_FORK_NONE);
		return;
	}
	adit__inode_set_fork(dir, ADIT_FORK_TREE);
	dir->fork.tree.root = put64(t->root);
	dir->fork.tree.level = t->level;
	dir->fork.tree.nodes = put64(get64(dir->fork.tree.nodes) + (uint64_t)t->nodes);
}

static void count_entries(struct adit_inode_pm *dir, int64_t delta)
{
	dir->size = put64(get64(dir->size) + (uint64_t)delta);
}

static inline const struct adit_dirent_pm *dirent_of(const struct adit_rec_pm *rec)
{
	return (const struct adit_dirent_pm *)(const void *)rec;
}

static inline bool dirent_ok(const struct adit_rec_pm *rec)
{
	return rec->a != 0 && get16(rec->len) == DIRENT_HEAD + rec->a;
}

static void dirent_get(const struct adit_rec_pm *rec, struct adit_dirent *out)
{
	out->ino = get64(dirent_of(rec)->ino);
	out->generation = get32(rec->c);
	out->dtype = rec->b;
}

struct wanted {
	const void *name;
	size_t len;
	uint64_t first;
	uint64_t *used; /* ordinals met on the way, or NULL */
};

static bool name_matches(const struct adit_rec_pm *rec, const void *arg)
{
	const struct wanted *w = arg;

	if (w->used) {
		uint64_t ordinal = get64(rec->key) - w->first;

		w->used[ordinal / 64] |= 1ull << (ordinal % 64);
	}
	return rec->a == w->len && dirent_ok(rec) &&
	       memcmp(dirent_of(rec)->name, w->name, w->len) == 0;
}

static int tree_lookup(struct adit_tree *t, struct adit_cs *cs, struct wanted *w,
		       struct adit_tree_pos *pos)
{
	w->first = adit__name_key(t->fs, w->name, w->len);
	return adit__tree_find_match(t, cs, w->first, adit__name_key_last(w->first), name_matches,
				     w, pos);
}

/* The record that an entry becomes. */
union dirent_buf {
	struct adit_dirent_pm d;
	uint8_t bytes[DIRENT_HEAD + ADIT_NAME_MAX + 1];
};

static const struct adit_rec_pm *dirent_make(union dirent_buf *buf, uint64_t key, const void *name,
					     size_t len, const struct adit_dirent *de)
{
	buf->d.rec = (struct adit_rec_pm){
		.key = put64(key),
		.len = put16((uint16_t)(DIRENT_HEAD + len)),
		.a = (uint8_t)len,
		.b = de->dtype,
		.c = put32(de->generation),
	};
	buf->d.ino = put64(de->ino);
	memcpy(buf->bytes + DIRENT_HEAD, name, len);
	return &buf->d.rec;
}

/* Look, and note the place. */
static int tree_find(struct adit_tree *t, struct adit_cs *cs, const void *name, size_t len,
		     struct adit_tree_pos *pos, struct adit_dir_place *place)
{
	struct wanted w = {.name = name, .len = len, .used = place->used};
	int err;

	ADIT_STATIC_ASSERT(sizeof place->used * 8 == ADIT_HASH_ORDINALS, "one bit an ordinal");
	place->used[0] = place->used[1] = 0;
	err = tree_lookup(t, cs, &w, pos);
	place->first = w.first;
	place->leaf = pos->block;
	place->slot = err ? 0 : pos->slot;
	place->key = err ? 0 : get64(pos->rec->key);
	return err;
}

static int tree_add(struct adit_tree *t, struct adit_cs *cs, const void *name, size_t len,
		    const struct adit_dirent *de, const struct adit_dir_place *place)
{
	struct adit_dir_place found;
	struct adit_tree_pos pos;
	union dirent_buf buf;
	unsigned ordinal;

	if (!place || place->first == 0 || place->key != 0) {
		int err = tree_find(t, cs, name, len, &pos, &found);

		if (err != -ENOENT)
			return err ? err : -EEXIST;
		place = &found;
	}
	if (~place->used[0] != 0)
		ordinal = (unsigned)__builtin_ctzll(~place->used[0]);
	else if (~place->used[1] != 0)
		ordinal = 64 + (unsigned)__builtin_ctzll(~place->used[1]);
	else
		return -ENOSPC;
	return adit__tree_insert_at(t, cs, dirent_make(&buf, place->first + ordinal, name, len, de),
				    place->leaf);
}

/* ---- the interface --------------------------------------------------------- */

int adit__dir_lookup(struct adit_fs *fs, struct adit_cs *cs, const struct adit_inode_pm *dir,
		     const void *name, size_t len, struct adit_dirent *out)
{
	struct wanted w = {.name = name, .len = len};
	struct adit_tree_pos pos;
	struct adit_tree t;
	unsigned at;
	int err;

	switch (adit__inode_fork(dir)) {
	case ADIT_FORK_INLINE:
		err = inline_find(dir, name, len, &at);
		if (!err)
			inline_get((const struct adit_dirent_inline_pm *)(const void *)(
					   dir->fork.bytes + at), out);
		return err;
	case ADIT_FORK_TREE:
		tree_of(fs, dir, &t);
		err = tree_lookup(&t, cs, &w, &pos);
		if (!err)
			dirent_get(pos.rec, out);
		return err;
	default:
		return -ENOENT;
	}
}

/* The new name can be packed beside the others. */
static bool inline_fits(struct adit_fs *fs, const struct adit_inode_pm *dir, const void *name,
			size_t len, const struct adit_dirent *de, unsigned *end)
{
	uint64_t key = adit__name_key(fs, name, len);
	const struct adit_dirent_inline_pm *e;
	unsigned at = 0;

	while ((e = inline_next(dir, &at)) != NULL)
		if (adit__name_key(fs, e->name, e->namelen) == key)
			return false;
	*end = at;
	return at + inline_bytes(len) <= ADIT_FORK_BYTES && de->ino <= INLINE_INO_MAX;
}

/* The packed entries go to a new tree, with the keys they had. */
static int inline_to_tree(struct adit_cs *cs, const struct adit_inode_pm *dir, struct adit_tree *t)
{
	const struct adit_dirent_inline_pm *e;
	unsigned at = 0;
	int err = 0;

	while (!err && (e = inline_next(dir, &at)) != NULL) {
		struct adit_dirent de;

		inline_get(e, &de);
		err = tree_add(t, cs, e->name, e->namelen, &de, NULL);
	}
	if (err == -EEXIST) {
		adit__report(adit__cs_fs(cs), "directory %llu: two packed entries of one name",
			     (unsigned long long)get64(dir->ino));
		err = -EUCLEAN;
	}
	return err;
}

int adit__dir_find(struct adit_fs *fs, struct adit_cs *cs, const struct adit_inode_pm *dir,
		   const void *name, size_t len, struct adit_dirent *out,
		   struct adit_dir_place *place)
{
	struct adit_tree_pos pos;
	struct adit_tree t;
	int err;

	if (adit__inode_fork(dir) != ADIT_FORK_TREE) {
		*place = (struct adit_dir_place){0};
		return adit__dir_lookup(fs, cs, dir, name, len, out);
	}
	tree_of(fs, dir, &t);
	err = tree_find(&t, cs, name, len, &pos, place);
	if (!err)
		dirent_get(pos.rec, out);
	return err;
}

int adit__dir_insert(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name, size_t len,
		     const struct adit_dirent *de)
{
	return adit__dir_insert_at(cs, dir, name, len, de, NULL);
}

int adit__dir_insert_at(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name, size_t len,
			const struct adit_dirent *de, const struct adit_dir_place *place)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	uint32_t fork = adit__inode_fork(dir);
	struct adit_tree t;
	unsigned at;
	int err;

	if (fork == ADIT_FORK_NONE)
		memset(dir->fork.bytes, 0, ADIT_FORK_BYTES);
	tree_of(fs, dir, &t);
	if (fork == ADIT_FORK_NONE || fork == ADIT_FORK_INLINE) {
		if (inline_find(dir, name, len, &at) == 0)
			return -EEXIST;
		if (inline_fits(fs, dir, name, len, de, &at)) {
			inline_set(dir->fork.bytes + at, len, de);
			memcpy(dir->fork.bytes + at + INLINE_HEAD, name, len);
			adit__inode_set_fork(dir, ADIT_FORK_INLINE);
			count_entries(dir, 1);
			return 0;
		}
		err = inline_to_tree(cs, dir, &t);
		if (err)
			return err;
	}
	err = tree_add(&t, cs, name, len, de, place);
	if (err)
		return err;
	tree_keep(&t, dir);
	count_entries(dir, 1);
	return 0;
}

int adit__dir_remove(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name, size_t len)
{
	return adit__dir_remove_at(cs, dir, name, len, NULL);
}

int adit__dir_remove_at(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name, size_t len,
			const struct adit_dir_place *place)
{
	struct adit_dir_place found;
	struct adit_tree_pos pos;
	struct adit_tree t;
	unsigned at;
	int err;

	switch (adit__inode_fork(dir)) {
	case ADIT_FORK_INLINE:
		err = inline_find(dir, name, len, &at);
		if (err)
			return err;
		inline_cut(dir, at);
		if (dir->fork.bytes[0] == 0)
			adit__inode_set_fork(dir, ADIT_FORK_NONE);
		break;
	case ADIT_FORK_TREE:
		tree_of(adit__cs_fs(cs), dir, &t);
		err = 0;
		if (!place || place->key == 0) {
			err = tree_find(&t, cs, name, len, &pos, &found);
			place = &found;
		}
		if (!err)
			err = adit__tree_remove_at(&t, cs, place->key, place->leaf, place->slot);
		if (err)
			return err;
		tree_keep(&t, dir);
		break;
	default:
		return -ENOENT;
	}
	count_entries(dir, -1);
	return 0;
}

int adit__dir_retarget(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name, size_t len,
		       const struct adit_dirent *de)
{
	return adit__dir_retarget_at(cs, dir, name, len, de, NULL);
}

int adit__dir_retarget_at(struct adit_cs *cs, struct adit_inode_pm *dir, const void *name,
			  size_t len, const struct adit_dirent *de,
			  const struct adit_dir_place *place)
{
	struct adit_dir_place found;
	struct adit_tree_pos pos;
	union dirent_buf buf;
	struct adit_tree t;
	unsigned at;
	int err;

	switch (adit__inode_fork(dir)) {
	case ADIT_FORK_INLINE:
		if (de->ino > INLINE_INO_MAX)
			return -EOVERFLOW;
		err = inline_find(dir, name, len, &at);
		if (!err)
			inline_set(dir->fork.bytes + at, len, de);
		return err;
	case ADIT_FORK_TREE:
		tree_of(adit__cs_fs(cs), dir, &t);
		err = 0;
		if (!place || place->key == 0) {
			err = tree_find(&t, cs, name, len, &pos, &found);
			place = &found;
		}
		if (!err)
			err = adit__tree_replace_at(&t, cs,
						    dirent_make(&buf, place->key, name, len, de),
						    place->leaf, place->slot);
		return err;
	default:
		return -ENOENT;
	}
}

/* ---- reading ---------------------------------------------------------------- */

struct reading {
	struct adit_fs *fs;
	uint64_t dir;
	adit_dir_visit visit;
	void *arg;
};

static int read_record(void *arg, const struct adit_rec_pm *rec)
{
	const struct reading *r = arg;
	struct adit_dirent de;

	if (!dirent_ok(rec)) {
		adit__report(r->fs, "directory %llu: a record is no entry", (unsigned long long)r->dir);
		return -EUCLEAN;
	}
	dirent_get(rec, &de);
	return r->visit(r->arg, get64(rec->key), dirent_of(rec)->name, rec->a, &de);
}

/* Packed entries with cookie > after: the lowest one first, again and again. */
static int read_inline(struct adit_fs *fs, const struct adit_inode_pm *dir, uint64_t after,
		       adit_dir_visit visit, void *arg)
{
	uint64_t key[INLINE_ENTRIES];
	uint8_t where[INLINE_ENTRIES];
	const struct adit_dirent_inline_pm *e;
	unsigned at = 0, from = 0, n = 0, i;

	for (; n < INLINE_ENTRIES && (e = inline_next(dir, &at)) != NULL; from = at, n++) {
		uint64_t k = adit__name_key(fs, e->name, e->namelen);

		for (i = n; i > 0 && key[i - 1] > k; i--) {
			key[i] = key[i - 1];
			where[i] = where[i - 1];
		}
		key[i] = k;
		where[i] = (uint8_t)from;
	}
	for (i = 0; i < n; i++) {
		struct adit_dirent de;
		int err;

		if (key[i] <= after)
			continue;
		e = (const struct adit_dirent_inline_pm *)(const void *)(dir->fork.bytes + where[i]);
		inline_get(e, &de);
		err = visit(arg, key[i], e->name, e->namelen, &de);
		if (err)
			return err;
	}
	return 0;
}

int adit__dir_read(struct adit_fs *fs, const struct adit_inode_pm *dir, uint64_t after,
		   adit_dir_visit visit, void *arg)
{
	struct reading r = {fs, get64(dir->ino), visit, arg};
	struct adit_tree t;

	switch (adit__inode_fork(dir)) {
	case ADIT_FORK_INLINE:
		return read_inline(fs, dir, after, visit, arg);
	case ADIT_FORK_TREE:
		if (after >= INT64_MAX)
			return 0;
		tree_of(fs, dir, &t);
		return adit__tree_walk(&t, NULL, after + 1, read_record, &r);
	default:
		return 0;
	}
}

/* ---- destroying --------------------------------------------------------------- */

static int count_record(void *arg, const struct adit_rec_pm *rec)
{
	(void)rec;
	++*(uint64_t *)arg;
	return 0;
}

int adit__dir_destroy_step(struct adit_cs *cs, struct adit_inode_pm *dir)
{
	uint64_t gone = 0;
	struct adit_tree t;
	int err;

	if (adit__inode_fork(dir) != ADIT_FORK_TREE) {
		memset(dir->fork.bytes, 0, ADIT_FORK_BYTES);
		adit__inode_set_fork(dir, ADIT_FORK_NONE);
		dir->size = put64(0);
		return 0;
	}
	tree_of(adit__cs_fs(cs), dir, &t);
	err = adit__tree_destroy_step(&t, cs, count_record, &gone);
	if (err && err != -EAGAIN)
		return err;
	tree_keep(&t, dir);
	dir->size = put64(err ? get64(dir->size) - min_u64(gone, get64(dir->size)) : 0);
	return err;
}
