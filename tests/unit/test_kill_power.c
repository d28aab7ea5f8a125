/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process is killed, another opens the pool, and then the power fails. The kill leaves everything in the caches,
 * also what was never made durable; what recovery builds on that must not be lost under it (spec/log.pml, mistake
 * NOT_CLAIMED).
 *
 * The medium is a second image: a fence copies the lines flushed before it. A call is stopped at each of its fences
 * in turn; so is the recovery that follows; then every single line that differs may have reached the medium, or
 * none, and with the superblocks also one at the time of the kill. Each of these images is opened and checked.
 */
#include "core/check.h"
#include "core/namei.h"
#include "pool.h"

#include <string.h>

#define BYTES	 (4u << 20)
#define LINES	 (BYTES / ADIT_PM_LINE_BYTES)
#define LIVE_MAX 512

static uint8_t *medium;
static uint8_t flushed[LINES];
static long fences_left;
static jmp_buf stopped;

/* ---- a medium behind caches ------------------------------------------------- */

static void to_medium(const struct adit_pm *pm, uint64_t line)
{
	memcpy(medium + line * ADIT_PM_LINE_BYTES, pm->base + line * ADIT_PM_LINE_BYTES,
	       ADIT_PM_LINE_BYTES);
}

static void note_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	uint64_t from = (uint64_t)((const uint8_t *)addr - pm->base) / ADIT_PM_LINE_BYTES;
	uint64_t to = ((uint64_t)((const uint8_t *)addr - pm->base) + len - 1) / ADIT_PM_LINE_BYTES;

	memset(flushed + from, 1, to - from + 1);
}

static void fence_or_stop(struct adit_pm *pm)
{
	if (fences_left-- == 0)
		longjmp(stopped, 1);
	for (uint64_t i = 0; i < LINES; i++)
		if (flushed[i])
			to_medium(pm, i);
	memset(flushed, 0, sizeof flushed);
}

static void copy_and_note(struct adit_pm *pm, void *dst, const void *src, size_t len)
{
	adit__pm_put_bytes(dst, src, len);
	note_flush(pm, dst, len);
}

static void zero_and_note(struct adit_pm *pm, void *dst, size_t len)
{
	adit__pm_put_zeros(dst, len);
	note_flush(pm, dst, len);
}

static const struct adit_pm_ops cached_ops = {.flush = note_flush,
					      .fence = fence_or_stop,
					      .copy_nt = copy_and_note,
					      .zero_nt = zero_and_note};

/* ---- memory that goes with the process ---------------------------------------- */

static struct adit_env env;
static void *live[LIVE_MAX];

static void *env_alloc(size_t len)
{
	for (unsigned i = 0; i < LIVE_MAX; i++)
		if (!live[i])
			return live[i] = calloc(1, len);
	return NULL;
}

static void env_free(void *p)
{
	for (unsigned i = 0; p && i < LIVE_MAX; i++)
		if (live[i] == p)
			live[i] = NULL;
	free(p);
}

static void killed(struct pool *p)
{
	for (unsigned i = 0; i < LIVE_MAX; i++) {
		free(live[i]);
		live[i] = NULL;
	}
	*env.current_op() = NULL;
	p->fs = NULL;
	memset(flushed, 0, sizeof flushed);
}

/* ---- what is stopped ------------------------------------------------------------- */

static int make(struct adit_fs *fs, const char *name)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;

	return adit__create(fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id);
}

static int act_open(struct pool *p)
{
	return adit__core_open(&p->fs, &p->pm, &env, &p->reporter, 0);
}

static int act_create(struct pool *p)
{
	return make(p->fs, "made");
}

static int act_unlink(struct pool *p)
{
	return adit__unlink(p->fs, ADIT_INO_ROOT, "old", 3);
}

static int act_checkpoint(struct pool *p)
{
	return adit__checkpoint(p->fs);
}

static int act_close(struct pool *p)
{
	int err = adit__core_close(p->fs);

	p->fs = NULL;
	return err;
}

/* True when it was stopped at its fence-th fence. */
static bool stop_at(struct pool *p, int (*act)(struct pool *), unsigned fence)
{
	fences_left = (long)fence;
	if (setjmp(stopped) != 0) {
		killed(p);
		return true;
	}
	assert_int_equal(act(p), 0);
	fences_left = -1;
	return false;
}

/* ---- images ---------------------------------------------------------------------- */

struct images {
	uint8_t *cache, *medium;
};

static void images_make(struct images *m)
{
	m->cache = malloc(BYTES);
	m->medium = malloc(BYTES);
	assert_non_null(m->cache);
	assert_non_null(m->medium);
}

static void images_keep(struct images *m, const struct pool *p)
{
	memcpy(m->cache, p->pm.base, BYTES);
	memcpy(m->medium, medium, BYTES);
}

static void images_restore(const struct images *m, struct pool *p)
{
	memcpy(p->pm.base, m->cache, BYTES);
	memcpy(medium, m->medium, BYTES);
}

static void images_free(struct images *m)
{
	free(m->cache);
	free(m->medium);
}

/* The next line from *line on that differs; the volatile region means nothing. */
static bool next_difference(const struct pool *p, uint64_t *line, uint64_t below)
{
	const struct adit_super_pm *s = (const struct adit_super_pm *)p->pm.base;
	uint64_t vol = get64(s->vol_start) * ADIT_BLOCK / ADIT_PM_LINE_BYTES;
	uint64_t end = vol + get64(s->vol_blocks) * ADIT_BLOCK / ADIT_PM_LINE_BYTES;

	for (; *line < below; (*line)++) {
		if (*line >= vol && *line < end)
			continue;
		if (memcmp(medium + *line * ADIT_PM_LINE_BYTES,
			   p->pm.base + *line * ADIT_PM_LINE_BYTES, ADIT_PM_LINE_BYTES) != 0)
			return true;
	}
	return false;
}

/* ---- the cases ------------------------------------------------------------------- */

static struct pool after;
static unsigned long tried;
static char where[200];

/* The power failed, and line (or none) had reached the medium. */
static void check_one(struct pool *p, uint64_t line, bool has_line)
{
	char why[300] = "";
	int err;

	memcpy(after.pm.base, medium, BYTES);
	if (has_line)
		memcpy(after.pm.base + line * ADIT_PM_LINE_BYTES,
		       p->pm.base + line * ADIT_PM_LINE_BYTES, ADIT_PM_LINE_BYTES);
	tried++;
	err = adit__core_open(&after.fs, &after.pm, &adit__env, &after.reporter, 0);
	if (err)
		fail_msg("%s, line %llu of block %llu: open: %d (%s)", where,
			 (unsigned long long)line % 64, (unsigned long long)line / 64, err,
			 after.report);
	if (adit__check_quiet(after.fs, why, sizeof why) != 0)
		fail_msg("%s, line %llu of block %llu: %s", where, (unsigned long long)line % 64,
			 (unsigned long long)line / 64, why);
	adit__core_abandon(after.fs);
}

/* The kill has happened: p and medium are what it left. */
static void recover_and_fail(struct pool *p, const char *what, unsigned fence, uint64_t evicted)
{
	struct images left;
	bool again = true;

	images_make(&left);
	images_keep(&left, p);
	for (unsigned i = 0; again; i++) {
		uint64_t line = 0;

		images_restore(&left, p);
		again = stop_at(p, act_open, i);
		snprintf(where, sizeof where,
			 "%s killed at fence %u (line %llu evicted), recovery at fence %u", what,
			 fence, (unsigned long long)evicted, i);
		check_one(p, 0, false);
		for (; next_difference(p, &line, LINES); line++)
			check_one(p, line, true);
	}
	killed(p);
	images_free(&left);
}

/* Kill act at each of its fences; with the superblocks, also with one of their lines evicted. */
static void try_all(const char *what, int (*before)(struct pool *), int (*act)(struct pool *))
{
	struct images ready, left;
	struct pool p;

	env = adit__env;
	env.alloc = env_alloc;
	env.free = env_free;
	pool_make(&p, BYTES);
	pool_make(&after, BYTES);
	adit__core_abandon(after.fs);
	assert_int_equal(make(p.fs, "old"), 0);
	assert_int_equal(adit__core_close(p.fs), 0);
	medium = malloc(BYTES);
	assert_non_null(medium);
	memcpy(medium, p.pm.base, BYTES);
	p.pm.ops = &cached_ops;
	images_make(&ready);
	images_make(&left);
	images_keep(&ready, &p);
	for (unsigned fence = 0;; fence++) {
		uint64_t line = 0,
			 super_end = (ADIT_SUPER_COPY + 1) * ADIT_BLOCK / ADIT_PM_LINE_BYTES;

		images_restore(&ready, &p);
		fences_left = -1;
		if (act != act_open)
			assert_int_equal(act_open(&p), 0);
		if (before)
			assert_int_equal(before(&p), 0);
		if (!stop_at(&p, act, fence))
			break;
		images_keep(&left, &p);
		recover_and_fail(&p, what, fence, 0);
		for (images_restore(&left, &p); next_difference(&p, &line, super_end); line++) {
			images_restore(&left, &p);
			to_medium(&p.pm, line);
			recover_and_fail(&p, what, fence, line);
			images_restore(&left, &p);
		}
	}
	killed(&p);
	images_free(&ready);
	images_free(&left);
	free(medium);
	munmap(p.pm.base, BYTES);
	munmap(after.pm.base, BYTES);
}

static void test_record_is_claimed(void **state)
{
	(void)state;
	try_all("create", NULL, act_create);
	try_all("unlink", NULL, act_unlink);
}

static void test_slot_is_claimed(void **state)
{
	(void)state;
	try_all("checkpoint", act_create, act_checkpoint);
}

static void test_superblock_is_claimed(void **state)
{
	(void)state;
	try_all("open", NULL, act_open);
	try_all("close", NULL, act_close);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_is_claimed),
		cmocka_unit_test(test_slot_is_claimed),
		cmocka_unit_test(test_superblock_is_claimed),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	printf("kill, then power failure: %lu images\n", tried);
	return failed;
}
