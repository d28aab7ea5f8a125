/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_pool.h - a pool in memory for tests of the core, with a durable copy beside it if asked for.
 *
 * With a copy, only what was flushed gets there (at once, which the medium may do), so a crash is
 * "the copy is what is left": a change that recovery cannot redo from flushed lines is lost.
 */
#ifndef ADIT_TEST_POOL_H
#define ADIT_TEST_POOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/alloc.h"
#include "core/inode.h"
#include "core/tree.h"
#include "fs/env.h"

struct test_pool {
	struct adit_pm pm; /* first */
	uint8_t *durable;  /* or NULL */
	struct adit_fs *fs;
	bool quiet;
	unsigned reports;
	struct adit_reporter reporter;
};

static inline uint64_t test_rand(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* CPU time: others' load on the machine does not count. */
static inline uint64_t test_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void test_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	struct test_pool *p = (struct test_pool *)pm->priv;
	uint64_t from = (uint64_t)((const uint8_t *)addr - pm->base) & ~63ull;
	uint64_t to = ((uint64_t)((const uint8_t *)addr - pm->base) + len + 63) & ~63ull;

	if (p->durable && len > 0)
		memcpy(p->durable + from, pm->base + from, to - from);
}
static inline void test_fence(struct adit_pm *pm)
{
	(void)pm;
}
static inline void test_copy_nt(struct adit_pm *pm, void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	test_flush(pm, dst, len);
}
static inline void test_zero_nt(struct adit_pm *pm, void *dst, size_t len)
{
	memset(dst, 0, len);
	test_flush(pm, dst, len);
}

static inline void test_report(void *ctx, const char *line)
{
	struct test_pool *p = ctx;

	p->reports++;
	if (!p->quiet)
		fprintf(stderr, "report: %s\n", line);
}

static inline void test_pool_open(struct test_pool *p)
{
	assert_int_equal(adit__core_open(&p->fs, &p->pm, &adit__env, &p->reporter, 0), 0);
}

static inline void test_pool_init(struct test_pool *p, uint64_t bytes, bool crashes)
{
	static const struct adit_pm_ops ops = {test_flush, test_fence, test_copy_nt, test_zero_nt};
	struct adit_mkfs_params params = {.pool_bytes = bytes, .hash_seed = 42, .root_mode = 0755};
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	memset(p, 0, sizeof *p);
	p->pm.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	assert_ptr_not_equal(p->pm.base, MAP_FAILED);
	if (crashes) {
		p->durable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
		assert_ptr_not_equal(p->durable, MAP_FAILED);
	}
	p->pm.size_bytes = bytes;
	p->pm.ops = &ops;
	p->pm.priv = p;
	p->reporter = (struct adit_reporter){test_report, p};
	memset(params.uuid, 0x5a, sizeof params.uuid);
	assert_int_equal(adit__core_mkfs(&p->pm, &adit__env, &p->reporter, &params), 0);
	test_pool_open(p);
}

/* Nobody closes: what was not flushed is gone, if there is a durable copy. */
static inline void test_pool_crash(struct test_pool *p)
{
	uint32_t weak = p->fs->weak_hash_mask;

	adit__core_abandon(p->fs);
	if (p->durable)
		memcpy(p->pm.base, p->durable, p->pm.size_bytes);
	test_pool_open(p);
	p->fs->weak_hash_mask = weak;
}

static inline void test_pool_finish(struct test_pool *p)
{
	assert_int_equal(adit__core_close(p->fs), 0);
	munmap(p->pm.base, p->pm.size_bytes);
	if (p->durable)
		munmap(p->durable, p->pm.size_bytes);
}

static inline uint64_t test_pool_free(struct test_pool *p)
{
	struct adit_statfs st;

	assert_int_equal(adit__checkpoint(p->fs), 0);
	adit__core_statfs(p->fs, &st);
	return st.free;
}

#endif
