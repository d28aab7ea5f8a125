/* SPDX-License-Identifier: BSD-3-Clause */
/* Short forms of the operations on names, for tests. */
#ifndef ADIT_TESTS_UNIT_NAMES_H
#define ADIT_TESTS_UNIT_NAMES_H

#include "pool.h"

#include "core/dir.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"
#include "core/namei_int.h"

#define POOL_BYTES (64ull << 20)
#define ROOT ADIT_INO_ROOT
#define N(name) (name), strlen(name)

static inline int setup(void **state)
{
	struct pool *p = malloc(sizeof *p);

	pool_make(p, POOL_BYTES);
	*state = p;
	return 0;
}

static inline int teardown(void **state)
{
	pool_destroy(*state);
	free(*state);
	return 0;
}

/* ---- short forms --------------------------------------------------------------- */

static inline int create(struct pool *p, uint64_t dir, const char *name, uint32_t mode)
{
	struct adit_create c = {.mode = mode, .link = "t", .link_len = 1};
	struct adit_id id;

	return adit__create(p->fs, dir, N(name), &c, NULL, &id);
}

static inline uint64_t find(struct pool *p, uint64_t dir, const char *name)
{
	struct adit_id id;
	int err = adit__lookup(p->fs, dir, N(name), &id);

	if (err == -ENOENT)
		return 0;
	assert_int_equal(err, 0);
	return id.ino;
}

static inline uint64_t file(struct pool *p, uint64_t dir, const char *name)
{
	assert_int_equal(create(p, dir, name, S_IFREG | 0644), 0);
	return find(p, dir, name);
}

static inline uint64_t folder(struct pool *p, uint64_t dir, const char *name)
{
	assert_int_equal(create(p, dir, name, S_IFDIR | 0755), 0);
	return find(p, dir, name);
}

static inline struct adit_attr attr(struct pool *p, uint64_t ino)
{
	struct adit_attr a;

	assert_int_equal(adit__getattr(p->fs, ino, &a), 0);
	return a;
}

static inline int rename_(struct pool *p, uint64_t d1, const char *n1, uint64_t d2, const char *n2,
		   unsigned flags)
{
	return adit__rename(p->fs, d1, N(n1), d2, N(n2), flags);
}

static inline void same_usage(struct pool *p, struct adit_statfs before)
{
	struct adit_statfs now = pool_usage(p);

	assert_int_equal(now.free, before.free);
	assert_int_equal(now.inodes_used, before.inodes_used);
}

static inline void set_flags(struct pool *p, uint64_t ino, uint32_t flags)
{
	struct adit_attr a = {.flags = flags};

	assert_int_equal(adit__setattr(p->fs, ino, ADIT_SET_IFLAGS, &a), 0);
}

static inline void poke_nlink(struct pool *p, uint64_t ino, uint32_t nlink)
{
	struct adit_inode_pm *ip;
	struct adit_op op;

	assert_int_equal(adit__op_begin_write(&op, p->fs), 0);
	adit__lock_inode(&op, ino, true);
	assert_int_equal(adit__cs_inode(op.cs, ino, &ip), 0);
	ip->nlink = put32(nlink);
	assert_int_equal(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
}

static inline void write_at(struct pool *p, uint64_t ino, uint64_t offset, size_t len)
{
	static uint8_t data[1 << 16];
	struct adit_iovec v = {data, len};

	assert_int_equal(adit__file_write(p->fs, ino, &v, 1, &offset, 0), len);
}

#endif
