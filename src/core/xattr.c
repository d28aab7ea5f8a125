/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Extended attributes: a B+tree an inode (tree.h), keyed as names are (namehash.h). attr.c makes
 * whole operations of these.
 *
 * Invariants
 *  - A record holds the runs, then the name, then the value: its length is exactly their sum, and it
 *    is checked before anything in it is believed.
 *  - A value of more than ADIT_XATTR_INLINE_MAX bytes lies in blocks of its own, written as fresh
 *    memory and never changed: setting the attribute anew takes new blocks and frees the old ones in
 *    the same record. Its CRC32C is in the record and checked by every read.
 *  - The inode's `blocks` counts the tree's nodes and the values' blocks.
 */
#include "core/alloc.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/namehash.h"
#include "core/tree.h"
#include "core/xattr.h"

/* ---- names --------------------------------------------------------------------- */

int adit__xattr_check_name(const char *name, size_t len)
{
	static const char *const prefix[] = {"user.", "trusted.", "security."};

	if (len == 0 || len > ADIT_NAME_MAX)
		return -ERANGE;
	for (unsigned i = 0; i < sizeof prefix / sizeof *prefix; i++) {
		size_t n = strlen(prefix[i]);

		if (len >= n && memcmp(name, prefix[i], n) == 0)
			return len == n ? -EINVAL : 0;
	}
	if ((len == 23 && memcmp(name, "system.posix_acl_access", 23) == 0) ||
	    (len == 24 && memcmp(name, "system.posix_acl_default", 24) == 0))
		return 0;
	return -EOPNOTSUPP;
}

/* ---- the tree -------------------------------------------------------------------- */

static struct adit_tree tree_of(struct adit_fs *fs, const struct adit_inode_pm *ip)
{
	return (struct adit_tree){
		.fs = fs,
		.owner = get64(ip->ino),
		.type = ADIT_TREE_XATTR,
		.level = (uint8_t)((get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) >>
				   ADIT_IFLAG_XLEVEL_SHIFT),
		.root = get64(ip->xattr_root),
	};
}

static void add_blocks(struct adit_inode_pm *ip, int64_t n)
{
	ip->blocks = put64(get64(ip->blocks) + (uint64_t)n);
}

static void store_tree(struct adit_inode_pm *ip, const struct adit_tree *t)
{
	uint32_t level = (uint32_t)t->level << ADIT_IFLAG_XLEVEL_SHIFT & ADIT_IFLAG_XLEVEL_MASK;

	if (!t->changed)
		return;
	ip->xattr_root = put64(t->root);
	ip->flags = put32((get32(ip->flags) & ~ADIT_IFLAG_XLEVEL_MASK) | (t->root ? level : 0));
	add_blocks(ip, t->nodes);
}

/* ---- records ----------------------------------------------------------------------- */

/* A checked record, taken apart. */
struct attribute {
	const struct adit_xattr_run_pm *run; /* external value */
	unsigned runs;
	const uint8_t *name;
	size_t name_len;
	const uint8_t *value; /* value in the record; NULL: in the runs */
	uint32_t value_len;
	uint32_t crc;
};

static uint64_t blocks_for(uint64_t bytes)
{
	return (bytes + ADIT_BLOCK - 1) >> ADIT_BLOCK_SHIFT;
}

static const char *take_apart(const struct adit_fs *fs, const struct adit_rec_pm *rec,
			      struct attribute *a)
{
	const struct adit_xattr_pm *x = (const struct adit_xattr_pm *)rec;
	size_t len = get16(rec->len), want = sizeof *x;
	uint64_t blocks = 0;

	a->runs = rec->b;
	a->name_len = rec->a;
	a->value_len = get32(rec->c);
	if (a->runs > ADIT_XATTR_RUNS_MAX || a->name_len == 0)
		return "number of runs or length of the name is impossible";
	want += a->runs * sizeof *a->run + a->name_len;
	if (a->value_len > (a->runs ? ADIT_XATTR_VALUE_MAX : ADIT_XATTR_INLINE_MAX))
		return "its value is too long";
	if (len != want + (a->runs ? 0 : a->value_len))
		return "its length is wrong";
	a->run = (const struct adit_xattr_run_pm *)x->data;
	a->name = x->data + a->runs * sizeof *a->run;
	a->value = a->runs ? NULL : a->name + a->name_len;
	a->crc = get32(x->value_crc);
	for (unsigned i = 0; i < a->runs; i++) {
		uint64_t block = adit_ptr_block(get64(a->run[i].ptr));
		uint64_t n = get32(a->run[i].blocks);

		if (!adit__run_is_sane(fs, block, n))
			return "its value lies outside of the pool";
		blocks += n;
	}
	return a->runs && blocks != blocks_for(a->value_len) ? "its value has a wrong size" : NULL;
}

static int open_record(struct adit_fs *fs, uint64_t ino, const struct adit_rec_pm *rec,
		       struct attribute *a)
{
	const char *why = take_apart(fs, rec, a);

	if (ADIT_LIKELY(!why))
		return 0;
	adit__report(fs, "inode %llu: attribute at key %llx: %s", (unsigned long long)ino,
		     (unsigned long long)get64(rec->key), why);
	return -EUCLEAN;
}

struct wanted {
	const void *name;
	size_t len;
};

static bool name_matches(const struct adit_rec_pm *rec, const void *arg)
{
	const struct wanted *w = arg;
	size_t at = sizeof(struct adit_xattr_pm) + rec->b * sizeof(struct adit_xattr_run_pm);

	return rec->a == w->len && at + w->len <= get16(rec->len) &&
	       memcmp((const uint8_t *)rec + at, w->name, w->len) == 0;
}

/* The attribute with this name; its bytes hold until the tree changes. *key: its key. */
static int find(struct adit_tree *t, struct adit_cs *cs, const void *name, size_t len,
		struct attribute *out, uint64_t *key)
{
	uint64_t first = adit__name_key(t->fs, name, len);
	const struct wanted w = {name, len};
	struct adit_tree_pos pos;
	int err;

	if (t->root == 0)
		return -ENODATA;
	err = adit__tree_find_match(t, cs, first, adit__name_key_last(first), name_matches, &w,
				    &pos);
	if (err)
		return err == -ENOENT ? -ENODATA : err;
	*key = get64(pos.rec->key);
	return open_record(t->fs, t->owner, pos.rec, out);
}

/* ---- get, list ------------------------------------------------------------------------- */

static int read_runs(struct adit_fs *fs, uint64_t ino, const struct attribute *a, uint8_t *value)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < a->runs; i++) {
		uint64_t bytes = (uint64_t)get32(a->run[i].blocks) << ADIT_BLOCK_SHIFT;
		uint32_t n = (uint32_t)min_u64(bytes, a->value_len - at);

		memcpy(value + at, adit__block_at(fs, adit_ptr_block(get64(a->run[i].ptr))), n);
		at += n;
	}
	if (ADIT_LIKELY(fs->env->crc32c(0, value, a->value_len) == a->crc))
		return 0;
	adit__report(fs, "inode %llu: value of attribute \"%.*s\": bad checksum",
		     (unsigned long long)ino, (int)a->name_len, (const char *)a->name);
	return -EBADMSG;
}

int64_t adit__xattr_get(struct adit_fs *fs, const struct adit_inode_pm *ip, const void *name,
			size_t name_len, void *value, size_t bytes)
{
	struct adit_tree t = tree_of(fs, ip);
	struct attribute a;
	uint64_t key;
	int err = find(&t, NULL, name, name_len, &a, &key);

	if (err)
		return err;
	if (bytes == 0)
		return a.value_len;
	if (bytes < a.value_len)
		return -ERANGE;
	if (a.value)
		memcpy(value, a.value, a.value_len);
	else
		err = read_runs(fs, t.owner, &a, value);
	return err ? err : (int64_t)a.value_len;
}

struct listing {
	struct adit_fs *fs;
	uint64_t ino;
	char *list;
	size_t bytes, used;
};

static int list_one(void *arg, const struct adit_rec_pm *rec)
{
	struct listing *l = arg;
	struct attribute a;
	int err = open_record(l->fs, l->ino, rec, &a);

	if (err)
		return err;
	if (l->bytes) {
		if (l->bytes - l->used < a.name_len + 1)
			return -ERANGE;
		memcpy(l->list + l->used, a.name, a.name_len);
		l->list[l->used + a.name_len] = '\0';
	}
	l->used += a.name_len + 1;
	return 0;
}

int64_t adit__xattr_list(struct adit_fs *fs, const struct adit_inode_pm *ip, char *list,
			 size_t bytes)
{
	struct adit_tree t = tree_of(fs, ip);
	struct listing l = {fs, t.owner, list, bytes, 0};
	int err = t.root ? adit__tree_walk(&t, NULL, 0, list_one, &l) : 0;

	return err ? err : (int64_t)l.used;
}

/* ---- set, remove -------------------------------------------------------------------------- */

static void free_runs(struct adit_cs *cs, struct adit_inode_pm *ip, const struct attribute *a)
{
	for (unsigned i = 0; i < a->runs; i++) {
		uint64_t n = get32(a->run[i].blocks);

		adit__free_blocks(cs, adit_ptr_block(get64(a->run[i].ptr)), n);
		add_blocks(ip, -(int64_t)n);
	}
}

/* The longest record: a name and an inline value, rounded as the tree rounds it. */
#define RECORD_BYTES 800u
ADIT_STATIC_ASSERT(sizeof(struct adit_xattr_pm) + ADIT_NAME_MAX + ADIT_XATTR_INLINE_MAX <=
			   RECORD_BYTES && RECORD_BYTES % ADIT_RECORD_ALIGN == 0 &&
			   RECORD_BYTES <= ADIT_RECORD_MAX, "inline values fit");
ADIT_STATIC_ASSERT(sizeof(struct adit_xattr_pm) + ADIT_NAME_MAX +
			   ADIT_XATTR_RUNS_MAX * sizeof(struct adit_xattr_run_pm) <= RECORD_BYTES,
		   "runs fit");
union record {
	struct adit_xattr_pm x;
	uint8_t bytes[RECORD_BYTES];
};

/* Blocks for the value, filled: as few runs as the pool has, a block each at worst. */
static int put_external(struct adit_cs *cs, struct adit_inode_pm *ip, union record *r,
			const uint8_t *value, size_t bytes)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_xattr_run_pm *run = (struct adit_xattr_run_pm *)r->x.data;
	uint64_t left = blocks_for(bytes), goal = 0;
	unsigned n = 0;

	for (; left > 0; n++) {
		struct adit_run got;
		uint64_t at;
		size_t part;
		int err = adit__alloc_blocks(cs, goal, left, 1, 0, &got);

		if (err)
			return err;
		at = got.block << ADIT_BLOCK_SHIFT;
		part = (size_t)min_u64(bytes, got.count << ADIT_BLOCK_SHIFT);
		adit__cs_fresh(cs, at, value, part);
		if (part % ADIT_BLOCK)
			adit__cs_fresh_zero(cs, at + part, ADIT_BLOCK - part % ADIT_BLOCK);
		run[n] = (struct adit_xattr_run_pm){
			put64(adit_ptr_make(got.block, get32(fs->root->epoch))),
			put32((uint32_t)got.count), put32(0)};
		add_blocks(ip, (int64_t)got.count);
		value += part;
		bytes -= part;
		left -= got.count;
		goal = got.block + got.count;
	}
	r->x.rec.b = (uint8_t)n;
	return 0;
}

/* The record as it will be, but for its key. Not inlined: adit__xattr_set's frame holds the record. */
static __attribute__((noinline)) int make_record(struct adit_cs *cs, struct adit_inode_pm *ip,
						  union record *r, const void *name,
						  size_t name_len, const void *value,
						  size_t bytes)
{
	bool external = bytes > ADIT_XATTR_INLINE_MAX;
	size_t at;

	memset(r, 0, sizeof *r);
	r->x.rec.a = (uint8_t)name_len;
	r->x.rec.c = put32((uint32_t)bytes);
	if (external) {
		int err = put_external(cs, ip, r, value, bytes);

		if (err)
			return err;
		r->x.value_crc = put32(adit__cs_fs(cs)->env->crc32c(0, value, bytes));
	}
	at = sizeof r->x + r->x.rec.b * sizeof(struct adit_xattr_run_pm);
	memcpy(r->bytes + at, name, name_len);
	at += name_len;
	if (!external && bytes) {
		memcpy(r->bytes + at, value, bytes);
		at += bytes;
	}
	r->x.rec.len = put16((uint16_t)at);
	return 0;
}

int adit__xattr_set(struct adit_cs *cs, struct adit_inode_pm *ip, const void *name,
		    size_t name_len, const void *value, size_t bytes, int flags)
{
	struct adit_tree t = tree_of(adit__cs_fs(cs), ip);
	struct attribute old;
	union record r;
	uint64_t key;
	bool exists;
	int err;

	if (flags & ~(ADIT_XATTR_CREATE | ADIT_XATTR_REPLACE))
		return -EINVAL;
	if (bytes > ADIT_XATTR_VALUE_MAX)
		return -E2BIG;
	err = find(&t, cs, name, name_len, &old, &key);
	if (err && err != -ENODATA)
		return err;
	exists = !err;
	if (exists && flags & ADIT_XATTR_CREATE)
		return -EEXIST;
	if (!exists && flags & ADIT_XATTR_REPLACE)
		return -ENODATA;
	if (exists)
		free_runs(cs, ip, &old); /* before the tree changes: old points into it */
	err = make_record(cs, ip, &r, name, name_len, value, bytes);
	if (!err && !exists) {
		uint64_t first = adit__name_key(t.fs, name, name_len);

		key = first;
		if (t.root)
			err = adit__tree_free_key(&t, cs, first, adit__name_key_last(first), &key);
	}
	if (err)
		return err;
	r.x.rec.key = put64(key);
	err = exists ? adit__tree_replace(&t, cs, &r.x.rec) : adit__tree_insert(&t, cs, &r.x.rec);
	if (!err)
		store_tree(ip, &t);
	return err;
}

int adit__xattr_remove(struct adit_cs *cs, struct adit_inode_pm *ip, const void *name,
		       size_t name_len)
{
	struct adit_tree t = tree_of(adit__cs_fs(cs), ip);
	struct attribute old;
	uint64_t key;
	int err = find(&t, cs, name, name_len, &old, &key);

	if (err)
		return err;
	free_runs(cs, ip, &old);
	err = adit__tree_remove(&t, cs, key);
	if (!err)
		store_tree(ip, &t);
	return err;
}

/* ---- destruction ------------------------------------------------------------------------------ */

struct destruction {
	struct adit_cs *cs;
	struct adit_inode_pm *ip;
};

static int destroy_one(void *arg, const struct adit_rec_pm *rec)
{
	struct destruction *d = arg;
	struct attribute a;
	int err = open_record(adit__cs_fs(d->cs), get64(d->ip->ino), rec, &a);

	if (!err)
		free_runs(d->cs, d->ip, &a);
	return err;
}

int adit__xattr_destroy_step(struct adit_cs *cs, struct adit_inode_pm *ip)
{
	struct adit_tree t = tree_of(adit__cs_fs(cs), ip);
	struct destruction d = {cs, ip};
	int err;

	if (t.root == 0)
		return 0;
	t.alloc_flags = ADIT_ALLOC_RESERVE;
	err = adit__tree_destroy_step(&t, cs, destroy_one, &d);
	if (!err || err == -EAGAIN)
		store_tree(ip, &t);
	return err;
}
