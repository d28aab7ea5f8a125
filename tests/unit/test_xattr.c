/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: names, sizes on both sides of every border, flags, collisions, trees of
 * several levels, damage, a full pool, recovery, and random sequences beside a list in memory.
 */
#include "pool.h"

#include "core/format.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"
#include "core/tree.h"
#include "core/xattr.h"

#define POOL_BYTES (64ull << 20)

static uint8_t big[ADIT_XATTR_VALUE_MAX + 1], got[ADIT_XATTR_VALUE_MAX + 1];

static uint64_t make(struct pool *p, const char *name, uint32_t mode)
{
	struct adit_create c = {.mode = mode, .link = "target", .link_len = 6};
	struct adit_id id;

	assert_int_equal(adit__create(p->fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
	return id.ino;
}

static int setup(void **state)
{
	struct pool *p = malloc(sizeof *p);

	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (uint8_t)(i * 31 + i / 251);
	pool_make(p, POOL_BYTES);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	pool_destroy(*state);
	free(*state);
	return 0;
}

static void value_is(struct adit_fs *fs, uint64_t ino, const char *name, const void *value,
			 size_t len)
{
	assert_int_equal(adit__getxattr(fs, ino, name, NULL, 0), len);
	memset(got, 0xee, sizeof got);
	assert_int_equal(adit__getxattr(fs, ino, name, got, sizeof got), len);
	assert_memory_equal(got, value, len);
	assert_true(len < sizeof got);
	assert_int_equal(got[len], 0xee);
}

static uint64_t blocks_of(struct adit_fs *fs, uint64_t ino)
{
	struct adit_attr a;

	assert_int_equal(adit__getattr(fs, ino, &a), 0);
	return a.blocks;
}

static void names(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	uint64_t f = make(p, "f", S_IFREG | 0644), d = make(p, "d", S_IFDIR | 0755);
	uint64_t l = make(p, "l", S_IFLNK | 0777), s = make(p, "s", S_IFIFO | 0644);
	char name[300];

	static const struct {
		const char *name;
		int err;
	} t[] = {
		{"", -ERANGE}, {"user.", -EINVAL}, {"user", -EOPNOTSUPP}, {"trusted.", -EINVAL},
		{"security.", -EINVAL}, {"system.x", -EOPNOTSUPP}, {"system.", -EOPNOTSUPP},
		{"osx.x", -EOPNOTSUPP}, {"User.x", -EOPNOTSUPP}, {"user.x", 0}, {"trusted.x", 0},
		{"security.selinux", 0}, {"system.posix_acl_access", 0},
		{"system.posix_acl_access2", -EOPNOTSUPP}, {"x", -EOPNOTSUPP},
	};
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		assert_int_equal(adit__setxattr(fs, f, t[i].name, "v", 1, 0), t[i].err);
		assert_int_equal(adit__getxattr(fs, f, t[i].name, got, 9), t[i].err ? t[i].err : 1);
		assert_int_equal(adit__removexattr(fs, f, t[i].name), t[i].err);
		assert_int_equal(adit__getxattr(fs, f, t[i].name, got, 9),
				 t[i].err ? t[i].err : -ENODATA);
		assert_int_equal(adit__removexattr(fs, f, t[i].name),
				 t[i].err ? t[i].err : -ENODATA);
	}
	memset(name, 'x', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = 0;
	assert_int_equal(adit__setxattr(fs, f, name, "long", 4, 0), 0);
	value_is(fs, f, name, "long", 4);
	assert_int_equal(adit__setxattr(fs, f, name, big, ADIT_XATTR_INLINE_MAX, 0), 0);
	value_is(fs, f, name, big, ADIT_XATTR_INLINE_MAX);
	assert_int_equal(adit__setxattr(fs, f, name, big, 65536, 0), 0);
	value_is(fs, f, name, big, 65536);
	assert_int_equal(adit__removexattr(fs, f, name), 0);
	name[255] = 'x';
	name[256] = 0;
	assert_int_equal(adit__setxattr(fs, f, name, "long", 4, 0), -ERANGE);
	assert_int_equal(blocks_of(fs, f), 0);

	assert_int_equal(adit__setxattr(fs, d, "user.a", "v", 1, 0), 0);
	assert_int_equal(adit__setxattr(fs, d, "system.posix_acl_default", "v", 1, 0), 0);
	assert_int_equal(adit__setxattr(fs, f, "system.posix_acl_default", "v", 1, 0), -EACCES);
	assert_int_equal(adit__setxattr(fs, l, "user.a", "v", 1, 0), -EPERM);
	assert_int_equal(adit__getxattr(fs, l, "user.a", got, 1), -ENODATA);
	assert_int_equal(adit__removexattr(fs, l, "user.a"), -EPERM);
	assert_int_equal(adit__setxattr(fs, s, "user.a", "v", 1, 0), -EPERM);
	assert_int_equal(adit__setxattr(fs, l, "trusted.a", "v", 1, 0), 0);
	assert_int_equal(adit__setxattr(fs, l, "system.posix_acl_access", "v", 1, 0), -EOPNOTSUPP);
	assert_int_equal(adit__setxattr(fs, s, "security.a", "v", 1, 0), 0);
	assert_int_equal(adit__setxattr(fs, 12345678, "user.a", "v", 1, 0), -ESTALE);
	assert_int_equal(adit__getxattr(fs, 12345678, "user.a", got, 1), -ESTALE);
}

static void flags_and_sizes(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	struct adit_attr before, after;

	assert_int_equal(adit__setxattr(fs, f, "user.a", "1", 1, ADIT_XATTR_REPLACE), -ENODATA);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "1", 1, ADIT_XATTR_CREATE), 0);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "2", 1, ADIT_XATTR_CREATE), -EEXIST);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "22", 2, ADIT_XATTR_REPLACE), 0);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "3", 1, 4), -EINVAL);
	value_is(fs, f, "user.a", "22", 2);
	assert_int_equal(adit__getxattr(fs, f, "user.a", got, 1), -ERANGE);
	assert_int_equal(adit__setxattr(fs, f, "user.a", big, 65537, 0), -E2BIG);
	value_is(fs, f, "user.a", "22", 2);
	assert_int_equal(adit__setxattr(fs, f, "user.a", NULL, 0, 0), 0);
	assert_int_equal(adit__getxattr(fs, f, "user.a", got, 10), 0);
	assert_int_equal(adit__getxattr(fs, f, "user.a", NULL, 0), 0);

	assert_int_equal(adit__getattr(fs, f, &before), 0);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "x", 1, 0), 0);
	assert_int_equal(adit__getattr(fs, f, &after), 0);
	assert_true(after.ctime_ns >= before.ctime_ns);
	assert_int_equal(after.mtime_ns, before.mtime_ns);

	/* An attribute of an immutable or append-only file stays as it is. */
	before.flags = ADIT_IFLAG_APPEND;
	assert_int_equal(adit__setattr(fs, f, ADIT_SET_IFLAGS, &before), 0);
	assert_int_equal(adit__setxattr(fs, f, "user.a", "y", 1, 0), -EPERM);
	assert_int_equal(adit__removexattr(fs, f, "user.a"), -EPERM);
	value_is(fs, f, "user.a", "x", 1);
}

/* Every pair of neighbouring and far sizes after each other, blocks counted exactly. */
static void replacing(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	static const size_t size[] = {0, 1, 8, 511, 512, 513, 4095, 4096, 4097, 40000, 65535, 65536};
	const unsigned n = sizeof size / sizeof *size;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	struct adit_statfs base = pool_usage(p), now;

	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++) {
			size_t len = size[k];

			assert_int_equal(adit__setxattr(fs, f, "user.a", big, size[i], 0), 0);
			assert_int_equal(adit__setxattr(fs, f, "user.a", big + 1, len, 0), 0);
			value_is(fs, f, "user.a", big + 1, len);
			assert_int_equal(blocks_of(fs, f),
					 1 + (len > ADIT_XATTR_INLINE_MAX ? (len + 4095) / 4096 : 0));
			if ((i + k) % 5 == 0) {
				pool_crash(p);
				fs = p->fs;
				value_is(fs, f, "user.a", big + 1, len);
			}
		}
	assert_int_equal(adit__removexattr(fs, f, "user.a"), 0);
	assert_int_equal(blocks_of(fs, f), 0);
	now = pool_usage(p);
	assert_int_equal(now.free, base.free);
	/* The file takes them with it. */
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof name, "user.%u", i);
		assert_int_equal(adit__setxattr(fs, f, name, big, size[i], 0), 0);
	}
	assert_int_equal(adit__unlink(fs, ADIT_INO_ROOT, "f", 1), 0);
	now = pool_usage(p);
	assert_int_equal(now.free, base.free);
	assert_int_equal(now.inodes_used, base.inodes_used - 1);
}

static void many(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	const unsigned n = 3000;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	struct adit_statfs base = pool_usage(p);
	int64_t total = 0, len;
	char *list, name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.number%u", i);
		total += (int64_t)strlen(name) + 1;
		assert_int_equal(adit__setxattr(fs, f, name, big + i, i % 600, ADIT_XATTR_CREATE), 0);
	}
	assert_int_equal(adit__listxattr(fs, f, NULL, 0), total);
	list = malloc((size_t)total);
	assert_int_equal(adit__listxattr(fs, f, list, (size_t)total - 1), -ERANGE);
	len = adit__listxattr(fs, f, list, (size_t)total);
	assert_int_equal(len, total);
	unsigned seen = 0;
	for (char *at = list; at < list + len; at += strlen(at) + 1, seen++)
		assert_int_equal(strncmp(at, "user.number", 11), 0);
	assert_int_equal(seen, n);
	free(list);
	pool_crash(p);
	fs = p->fs;
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.number%u", i);
		value_is(fs, f, name, big + i, i % 600);
		if (i % 3 == 0)
			assert_int_equal(adit__removexattr(fs, f, name), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.number%u", i);
		assert_int_equal(adit__getxattr(fs, f, name, NULL, 0),
				 i % 3 ? (int64_t)(i % 600) : -ENODATA);
	}
	assert_int_equal(adit__unlink(fs, ADIT_INO_ROOT, "f", 1), 0);
	assert_int_equal(pool_usage(p).free, base.free);
}

static void collisions(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	unsigned n = 0;
	char name[32];
	int err = 0;

	fs->weak_hash_mask = 3; /* three ranges of 128 keys */
	for (; n < 1000; n++) {
		snprintf(name, sizeof name, "user.c%u", n);
		err = adit__setxattr(fs, f, name, &n, sizeof n, 0);
		if (err)
			break;
	}
	/* At 128 names of one hash there is no key left; what is there stays. */
	assert_int_equal(err, -ENOSPC);
	assert_true(n >= 128 && n <= 384);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.c%u", i);
		value_is(fs, f, name, &i, sizeof i);
	}
	for (unsigned i = 0; i < n; i += 2) {
		snprintf(name, sizeof name, "user.c%u", i);
		assert_int_equal(adit__removexattr(fs, f, name), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.c%u", i);
		if (i % 2)
			value_is(fs, f, name, &i, sizeof i);
		else
			assert_int_equal(adit__getxattr(fs, f, name, NULL, 0), -ENODATA);
	}
	fs->weak_hash_mask = 0;
}

static void damaged_value(void **state)
{
	struct pool *p = *state;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	const struct adit_inode_pm *ip;
	uint8_t *at = NULL;

	assert_int_equal(adit__setxattr(p->fs, f, "user.big", big, 10000, 0), 0);
	assert_int_equal(adit__setxattr(p->fs, f, "user.small", "ok", 2, 0), 0);
	pool_reopen(p);
	assert_int_equal(adit__inode_get(p->fs, f, &ip), 0);
	for (uint64_t b = 1; b < p->fs->pool_blocks && !at; b++)
		if (memcmp(adit__block_at(p->fs, b), big, 4096) == 0)
			at = adit__block_at(p->fs, b);
	assert_non_null(at);
	at[77] ^= 4;
	p->reports = 0;
	assert_int_equal(adit__getxattr(p->fs, f, "user.big", got, sizeof got), -EBADMSG);
	assert_int_equal(p->reports, 1);
	assert_non_null(strstr(p->report, "user.big"));
	assert_int_equal(adit__getxattr(p->fs, f, "user.big", NULL, 0), 10000);
	value_is(p->fs, f, "user.small", "ok", 2);
	/* It can be replaced and removed. */
	assert_int_equal(adit__setxattr(p->fs, f, "user.big", big, 10001, 0), 0);
	value_is(p->fs, f, "user.big", big, 10001);
}

/* A record whose bytes contradict each other, under a right checksum. */
static void damaged_record(void **state)
{
	struct pool *p = *state;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	const struct adit_inode_pm *ip;
	struct adit_node_pm *node, keep;

	assert_int_equal(adit__setxattr(p->fs, f, "user.big", big, 10000, 0), 0);
	pool_reopen(p);
	assert_int_equal(adit__inode_get(p->fs, f, &ip), 0);
	node = adit__block_at(p->fs, adit_ptr_block(get64(ip->xattr_root)));
	keep = *node;
	for (unsigned field = 0; field < 6; field++) {
		struct adit_xattr_pm *x = (struct adit_xattr_pm *)(uintptr_t)adit__leaf_rec(node, 0);
		struct adit_xattr_run_pm *run = (struct adit_xattr_run_pm *)x->data;

		switch (field) {
		case 0: x->rec.c = put32(ADIT_XATTR_VALUE_MAX + 1); break;
		case 1: x->rec.c = put32(100); break;
		case 2: run->ptr = put64(p->fs->pool_blocks); break;
		case 3: run->blocks = put32(0); break;
		case 4: run->blocks = put32(UINT32_MAX); break;
		case 5: run->ptr = put64(0); break;
		}
		node->crc = put32(adit__seal_crc(p->fs, node, ADIT_NODE_SEAL_FROM, ADIT_BLOCK,
						 ADIT_MAGIC_NODE));
		adit__clear_verified(p->fs, adit__offset_of(p->fs, node));
		p->reports = 0;
		assert_int_equal(adit__getxattr(p->fs, f, "user.big", got, sizeof got), -EUCLEAN);
		assert_int_equal(p->reports, 1);
		assert_int_equal(adit__listxattr(p->fs, f, NULL, 0), -EUCLEAN);
		assert_int_equal(adit__setxattr(p->fs, f, "user.big", "", 0, 0), -EUCLEAN);
		assert_int_equal(adit__removexattr(p->fs, f, "user.big"), -EUCLEAN);
		*node = keep;
		adit__clear_verified(p->fs, adit__offset_of(p->fs, node));
	}
	value_is(p->fs, f, "user.big", big, 10000);
}

/* Every allocation of a set refused in turn: nothing happens, nothing leaks. */
static void no_space(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	struct adit_statfs base;

	assert_int_equal(adit__setxattr(fs, f, "user.a", big, 5000, 0), 0);
	base = pool_usage(p);
	for (unsigned n = 1;; n++) {
		int err;

		fs->fail_alloc_at = n;
		err = adit__setxattr(fs, f, "user.b", big, 60000, 0);
		fs->fail_alloc_at = 0;
		if (!err)
			break;
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(adit__getxattr(fs, f, "user.b", NULL, 0), -ENODATA);
		value_is(fs, f, "user.a", big, 5000);
		assert_int_equal(blocks_of(fs, f), 3);
		assert_int_equal(pool_usage(p).free, base.free);
		fs->fail_alloc_at = n;
		err = adit__setxattr(fs, f, "user.a", big + 3, 50000, 0);
		fs->fail_alloc_at = 0;
		if (err) {
			assert_int_equal(err, -ENOSPC);
			value_is(fs, f, "user.a", big, 5000);
		} else {
			assert_int_equal(adit__setxattr(fs, f, "user.a", big, 5000, 0), 0);
		}
	}
	value_is(fs, f, "user.b", big, 60000);
}

/* A list in memory beside the pool. */
#define KEYS 40
static void random_sequence(void **state)
{
	struct pool *p = *state;
	struct adit_fs *fs = p->fs;
	struct {
		bool there;
		size_t at, len;
	} model[KEYS] = {{false, 0, 0}};
	uint64_t seed = 7, f = make(p, "f", S_IFREG | 0644);
	struct adit_statfs base = pool_usage(p);
	char name[32];

	fs->weak_hash_mask = 7;
	for (unsigned step = 0; step < 6000; step++) {
		uint64_t r = pool_random(&seed);
		unsigned k = (unsigned)(r % KEYS), action = (unsigned)(r >> 8) % 8;
		size_t len = (r >> 16) % ((r >> 40) % 4 ? 700 : 65537), at = (r >> 50) % 64;
		int flags = (int)(r >> 33) % 3, want, err;

		snprintf(name, sizeof name, "trusted.key%u", k);
		if (at + len > sizeof big)
			at = 0;
		if (action < 5) {
			want = model[k].there && flags == ADIT_XATTR_CREATE ? -EEXIST :
			       !model[k].there && flags == ADIT_XATTR_REPLACE ? -ENODATA : 0;
			err = adit__setxattr(fs, f, name, big + at, len, flags);
			assert_int_equal(err, want);
			if (!err) {
				model[k].there = true;
				model[k].at = at;
				model[k].len = len;
			}
		} else {
			want = model[k].there ? 0 : -ENODATA;
			assert_int_equal(adit__removexattr(fs, f, name), want);
			model[k].there = false;
		}
		if (step % 200 != 199)
			continue;
		if (step % 400 == 399) {
			pool_crash(p);
			fs = p->fs;
		}
		for (k = 0; k < KEYS; k++) {
			snprintf(name, sizeof name, "trusted.key%u", k);
			if (model[k].there)
				value_is(fs, f, name, big + model[k].at, model[k].len);
			else
				assert_int_equal(adit__getxattr(fs, f, name, NULL, 0), -ENODATA);
		}
	}
	for (unsigned k = 0; k < KEYS; k++) {
		snprintf(name, sizeof name, "trusted.key%u", k);
		assert_int_equal(adit__removexattr(fs, f, name), model[k].there ? 0 : -ENODATA);
	}
	assert_int_equal(blocks_of(fs, f), 0);
	assert_int_equal(pool_usage(p).free, base.free);
}

#ifdef ADIT_RECORD
static void fences(void **state)
{
	struct pool *p = *state;
	uint64_t f = make(p, "f", S_IFREG | 0644);
	struct adit_pm_counts c;

	assert_int_equal(adit__setxattr(p->fs, f, "user.a", big, 100, 0), 0);
	pool_usage(p);
	adit__counts_reset();
	assert_int_equal(adit__setxattr(p->fs, f, "user.a", big, 200, 0), 0);
	assert_int_equal(adit__setxattr(p->fs, f, "user.b", big, 200, 0), 0);
	assert_int_equal(adit__removexattr(p->fs, f, "user.a"), 0);
	adit__counts_get(&c);
	assert_int_equal(c.fences, 3);
	adit__counts_reset();
	value_is(p->fs, f, "user.b", big, 200);
	adit__counts_get(&c);
	assert_int_equal(c.fences, 0);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(names), T(flags_and_sizes), T(replacing), T(many), T(collisions),
		T(damaged_value), T(damaged_record), T(no_space), T(random_sequence),
#ifdef ADIT_RECORD
		T(fences),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
