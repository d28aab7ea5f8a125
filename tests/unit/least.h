/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Only what is certain: `least.durable` holds what a power failure leaves of lines that were flushed and fenced,
 * and nothing else, the worst case of tests/crash for every store at once. least.step is called before each event
 * of the recorder takes effect. For test_persist.c and test_turns.c; with a small pool, and a clock that stands still.
 */
#ifndef ADIT_TESTS_UNIT_LEAST_H
#define ADIT_TESTS_UNIT_LEAST_H

#include "check_image.h"

#include "core/extent.h"
#include "core/log.h"
#include "media/record.h"

#define SMALL	  (4ull << 20)
#define LINES_MAX ((64u << 20) / 64)

/* ---- only what is certain -------------------------------------------------------------- */

static struct {
	struct adit_pm *pm;	    /* NULL: not recording */
	uint8_t *durable, *flushed; /* flushed: contents of a line when it was, until the fence */
	uint8_t marks[LINES_MAX];   /* bit n: flushed by actor n since its last fence */
	unsigned actor;
	bool is_flush; /* the step stores nothing */
	/* Before each event takes effect. */
	void (*step)(uint64_t offset, uint64_t len);
} least;

static inline void take_step(const void *at, size_t len)
{
	void (*step)(uint64_t, uint64_t) = least.step;

	if (!step)
		return;
	least.step = NULL; /* not within itself */
	step(at ? (uint64_t)((const uint8_t *)at - least.pm->base) : UINT64_MAX, len);
	if (least.pm)
		least.step = step;
}

static inline void mark(const void *at, size_t len)
{
	uint64_t first = (uint64_t)((const uint8_t *)at - least.pm->base) / 64;
	uint64_t end = ((uint64_t)((const uint8_t *)at - least.pm->base) + len + 63) / 64;

	for (uint64_t line = first; line < end; line++) {
		memcpy(least.flushed + line * 64, least.pm->base + line * 64, 64);
		least.marks[line] |= (uint8_t)(1u << least.actor);
	}
}

static inline void on_store(struct adit_pm *pm, const void *at, size_t len)
{
	if (pm->base == least.pm->base)
		take_step(at, len);
}

static inline void on_nt(struct adit_pm *pm, const void *at, size_t len)
{
	if (pm->base != least.pm->base)
		return;
	take_step(at, len);
	mark(at, len);
}

static inline void on_flush(struct adit_pm *pm, const void *at, size_t len)
{
	if (pm->base != least.pm->base)
		return;
	least.is_flush = true;
	take_step(at, len);
	least.is_flush = false;
	mark(at, len);
}

static inline void on_fence(struct adit_pm *pm)
{
	uint8_t bit = (uint8_t)(1u << least.actor);

	if (pm->base != least.pm->base)
		return;
	take_step(NULL, 0);
	for (uint64_t line = 0; line < least.pm->size_bytes / 64; line++)
		if (least.marks[line] & bit) {
			memcpy(least.durable + line * 64, least.flushed + line * 64, 64);
			least.marks[line] = 0;
		}
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_flush, on_fence};

static inline uint8_t *memory(uint64_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* All that is there now is certain; what follows has to be made so. */
static inline void least_begin(struct adit_pm *pm)
{
	least.pm = pm;
	least.durable = memory(pm->size_bytes);
	least.flushed = memory(pm->size_bytes);
	memcpy(least.durable, pm->base, pm->size_bytes);
	memset(least.marks, 0, sizeof least.marks);
	least.actor = 0;
	least.step = NULL;
	adit__record = &hooks;
}

static inline void least_end(void)
{
	adit__record = NULL;
	munmap(least.durable, least.pm->size_bytes);
	munmap(least.flushed, least.pm->size_bytes);
	least.pm = NULL;
	least.step = NULL;
}

/* ---- an environment that is told whose turn it is ----------------------------------------- */

static struct adit_env env; /* ours: the clock stands still, the lane is chosen */
static uint32_t lane_hint;

static inline int64_t same_time(void)
{
	return 1000000007;
}

static inline uint32_t this_lane(void)
{
	return lane_hint;
}

static inline int begin_env(void **state)
{
	env = adit__env;
	env.now_ns = same_time;
	env.thread_hint = this_lane;
	return make_image(state);
}

static inline void pool_on(struct pool *p, uint8_t *base, uint64_t bytes)
{
	memset(p, 0, sizeof *p);
	p->reporter = (struct adit_reporter){pool_line, p};
	p->pm = (struct adit_pm){.base = base, .size_bytes = bytes, .ops = &pool_pm_ops};
}

static inline void open_on(struct pool *p, uint8_t *base, uint64_t bytes, const char *when)
{
	int err;

	pool_on(p, base, bytes);
	err = adit__core_open(&p->fs, &p->pm, &env, &p->reporter, 0);
	if (err)
		fail_msg("%s: open: error %d: %s", when, err, p->report);
}

static inline bool has(struct pool *p, const char *name)
{
	struct adit_id id;

	return adit__lookup(p->fs, ADIT_INO_ROOT, name, strlen(name), &id) == 0;
}

static inline uint64_t child(struct adit_fs *fs, uint64_t dir, const char *name)
{
	return make(fs, dir, name, S_IFREG | 0644, NULL);
}

static inline bool is_held(struct adit_fs *fs, struct adit_lock *lock)
{
	if (!fs->env->trylock(lock, fs->incarnation, true))
		return true;
	fs->env->unlock(lock, true);
	return false;
}

/* ---- a small pool --------------------------------------------------------------------- */

/* A small pool with something to change, closed. */
static inline uint8_t *small_image(void)
{
	struct adit_mkfs_params params = {.pool_bytes = SMALL,
					  .hash_seed = 42,
					  .lanes = 2,
					  .root_mode = 0755,
					  .uuid = {1, 2, 3}};
	uint8_t *base = memory(SMALL);
	struct pool p;

	pool_on(&p, base, SMALL);
	lane_hint = 0;
	assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	make(p.fs, ADIT_INO_ROOT, "other", S_IFDIR | 0755, NULL);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "victim"), 0, 20000);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "data"), 0, 20000);
	assert_int_equal(adit__core_close(p.fs), 0);
	return base;
}

static inline void act_create(struct pool *p)
{
	child(p->fs, ADIT_INO_ROOT, "new");
}

static inline bool created(struct pool *p)
{
	return has(p, "new");
}

static inline void act_unlink(struct pool *p)
{
	assert_int_equal(adit__unlink(p->fs, ADIT_INO_ROOT, "victim", 6), 0);
}

static inline bool unlinked(struct pool *p)
{
	return !has(p, "victim");
}

#endif
