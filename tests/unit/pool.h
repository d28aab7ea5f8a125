/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool in this process's memory for tests of the core: made, closed and reopened, or abandoned (as
 * a kill leaves it) and reopened. Reports are kept instead of printed.
 */
#ifndef ADIT_TESTS_UNIT_POOL_H
#define ADIT_TESTS_UNIT_POOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "core/core.h"
#include "core/linux_abi.h"
#include "fs/env.h"

struct pool {
	struct adit_pm pm;
	struct adit_fs *fs;
	struct adit_reporter reporter;
	char report[512]; /* the last one */
	unsigned reports;
};

static void pool_pm_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	(void)pm, (void)addr, (void)len;
}

static void pool_pm_fence(struct adit_pm *pm)
{
	(void)pm;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void pool_pm_copy(struct adit_pm *pm, void *dst, const void *src, size_t len)
{
	(void)pm;
	adit__pm_put_bytes(dst, src, len);
}

static void pool_pm_zero(struct adit_pm *pm, void *dst, size_t len)
{
	(void)pm;
	adit__pm_put_zeros(dst, len);
}

static const struct adit_pm_ops pool_pm_ops = {
	.flush = pool_pm_flush,
	.fence = pool_pm_fence,
	.copy_nt = pool_pm_copy,
	.zero_nt = pool_pm_zero,
};

static void pool_line(void *ctx, const char *line)
{
	struct pool *p = ctx;

	snprintf(p->report, sizeof p->report, "%s", line);
	p->reports++;
}

static inline void pool_open(struct pool *p)
{
	assert_int_equal(adit__core_open(&p->fs, &p->pm, &adit__env, &p->reporter, 0), 0);
}

static inline void pool_make(struct pool *p, uint64_t bytes)
{
	struct adit_mkfs_params params = {.pool_bytes = bytes, .hash_seed = 42,
					  .root_mode = 0755, .uuid = {1, 2, 3}};

	memset(p, 0, sizeof *p);
	p->reporter = (struct adit_reporter){pool_line, p};
	p->pm.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(p->pm.base, MAP_FAILED);
	p->pm.size_bytes = bytes;
	p->pm.ops = &pool_pm_ops;
	assert_int_equal(adit__core_mkfs(&p->pm, &adit__env, &p->reporter, &params), 0);
	pool_open(p);
}

/* What a kill and a restart leave. */
static inline void pool_crash(struct pool *p)
{
	uint32_t weak = p->fs->weak_hash_mask;

	adit__core_abandon(p->fs);
	pool_open(p);
	p->fs->weak_hash_mask = weak;
}

static inline void pool_reopen(struct pool *p)
{
	uint32_t weak = p->fs->weak_hash_mask;

	assert_int_equal(adit__core_close(p->fs), 0);
	pool_open(p);
	p->fs->weak_hash_mask = weak;
}

static inline void pool_destroy(struct pool *p)
{
	assert_int_equal(adit__core_close(p->fs), 0);
	munmap(p->pm.base, p->pm.size_bytes);
}

/* Free blocks and used inodes with nothing in quarantine. */
static inline struct adit_statfs pool_usage(struct pool *p)
{
	struct adit_statfs s;

	assert_int_equal(adit__checkpoint(p->fs), 0);
	adit__core_statfs(p->fs, &s);
	return s;
}

/* xorshift64*: the same sequence everywhere. */
static inline uint64_t pool_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

#endif
