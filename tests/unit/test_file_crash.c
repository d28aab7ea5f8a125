/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_file_crash.c - a power failure at the fences of every kind of operation on a file's contents,
 * and operations on so many extents that they take many records, whole, interrupted and refused.  A
 * failure prints the seed; ADIT_TEST_SEED replays it, ADIT_TEST_ONLY names one test.
 *
 * What was stored may be on the medium or not, so there are three kinds of loss: only what was flushed
 * and fenced is left, or all that was flushed, or all that was stored (a kill).
 */
#include "file_model.h"

/* ---- power failures -------------------------------------------------------------------- */

struct image {
	uint8_t *pool;
	struct model before, after;
	bool may_tear; /* an overwrite in place */
};

/* Each byte is the old or the new one. */
static bool torn(struct test_pool *p, uint64_t ino, const struct image *im)
{
	static uint8_t buf[MODEL_MAX + 100];

	if (im->before.size != im->after.size || file_size(p, ino) != im->before.size)
		return false;
	CHECK_EQ(get(p, ino, buf, sizeof buf, 0), im->before.size);
	for (uint64_t i = 0; i < im->before.size; i++)
		if (buf[i] != im->before.data[i] && buf[i] != im->after.data[i])
			return false;
	return true;
}

/* Run it from this image, the power failing at fence n. False: it ended before. */
static bool crash_at(struct test_pool *p, uint64_t ino, const struct todo *t, struct image *im,
		     uint64_t n, enum loss loss)
{
	bool lost;

	adit__core_abandon(p->fs);
	memcpy(p->pm.base, im->pool, p->pm.size_bytes);
	test_pool_open(p);
	memcpy(medium.fenced, p->pm.base, p->pm.size_bytes);
	medium.pending = 0;
	medium.recording = true;
	medium.fences = 0;
	medium.stop_at = n;
	if (setjmp(medium.stop) == 0) {
		run(p, ino, t);
		lost = false;
	} else {
		lost = true;
	}
	pool_lose_power(p, loss);
	check_pool(p);
	check_inode(p, ino);
	if (!lost)
		compare(p, ino, &im->after);
	else if (!same(p, ino, &im->before) && !same(p, ino, &im->after) &&
		 !(im->may_tear && torn(p, ino, im))) {
		fprintf(stderr, "seed %llu: half done at fence %llu, loss %d: what %d mode %d "
			"flags %u off %llu len %llu\n", (unsigned long long)seed_now,
			(unsigned long long)n, loss, t->what, t->mode, t->flags,
			(unsigned long long)t->off, (unsigned long long)t->len);
		fail();
	}
	return lost;
}

static bool may_tear(const struct model *m, const struct todo *t)
{
	return t->what == WRITE && !(t->flags & ADIT_WRITE_ATOMIC) && t->off + t->len <= m->size;
}

static void crash_everywhere(struct test_pool *p, uint64_t ino, const struct todo *t,
			     struct model *m, uint64_t free_before, uint64_t stride)
{
	struct image im = {.pool = malloc(p->pm.size_bytes), .may_tear = may_tear(m, t)};

	model_init(&im.before);
	model_init(&im.after);
	model_copy(&im.before, m);
	model_copy(&im.after, m);
	CHECK_EQ(adit__checkpoint(p->fs), 0);
	memcpy(im.pool, p->pm.base, p->pm.size_bytes);
	run_model(&im.after, t);
	/* A short one: every fence in every way. A long one: the ways take turns. */
	for (unsigned first = 0; first < (stride > 1 ? 1 : LOSSES); first++) {
		uint64_t n = 1;
		unsigned loss = first;

		while (crash_at(p, ino, t, &im, n, (enum loss)loss)) {
			if (n % 3 == first)
				check_freed(p, free_before);
			n += n > 8 ? stride : 1;
			loss = stride > 1 ? (loss + 1) % LOSSES : first;
		}
	}
	/* Go on with what it was to become. */
	model_copy(m, &im.after);
	free(im.before.data);
	free(im.after.data);
	free(im.pool);
}

static void crash_seed(uint64_t seed, unsigned rounds)
{
	struct test_pool p;
	struct model m;
	uint64_t ino, free_before;

	seed_now = seed;
	pool_init(&p, 8u << 20);
	medium.fenced = malloc(p.pm.size_bytes);
	model_init(&m);
	make_file(&p, "other");
	free_before = test_pool_free(&p);
	ino = make_file(&p, "f");
	for (unsigned i = 0; i < rounds; i++) {
		struct todo t = some_todo(&m, &seed);

		if (m.size > 300000)
			t = (struct todo){.what = TRUNCATE, .len = test_rand(&seed) % 100000};
		crash_everywhere(&p, ino, &t, &m, free_before, 1);
	}
	test_pool_finish(&p);
	free(medium.fenced);
	free(m.data);
}

static void test_crash(void **state)
{
	uint64_t first = first_seed();

	(void)state;
	for (uint64_t s = first; s < first + (getenv("ADIT_TEST_SEED") ? 1 : 4); s++)
		crash_seed(s, 40);
}

/* ---- many fragments --------------------------------------------------------------------- */

/* Leave only single free blocks: a file that holds every other one, and `left` of them free. */
static void fragment(struct test_pool *p, uint64_t left)
{
	uint64_t ino = make_file(p, "frag"), blocks, done = 0;
	struct adit_statfs st;

	adit__core_statfs(p->fs, &st);
	blocks = st.available - 64;
	CHECK_EQ(adit__file_fallocate(p->fs, ino, 0, 0, blocks * ADIT_BLOCK), 0);
	while (adit__file_fallocate(p->fs, ino, 0, blocks * ADIT_BLOCK, ADIT_BLOCK) == 0)
		blocks++;
	for (uint64_t i = 0; i + 1 < blocks && done < left; i += 2, done++)
		CHECK_EQ(adit__file_fallocate(p->fs, ino,
					      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      i * ADIT_BLOCK, ADIT_BLOCK), 0);
	CHECK_EQ(adit__checkpoint(p->fs), 0);
}

static unsigned records_of(struct test_pool *p, uint64_t ino, const struct todo *t)
{
	uint64_t before = __atomic_load_n(&p->fs->vol->seq, __ATOMIC_RELAXED);
	int64_t r = run(p, ino, t);

	CHECK_EQ(r >= 0, 1);
	return (unsigned)(__atomic_load_n(&p->fs->vol->seq, __ATOMIC_RELAXED) - before);
}

/* Operations that take many records, in a pool where every extent is one block. */
static const struct {
	const char *name;
	struct todo first, then;
	bool one; /* may fit in a record all the same */
} big[] = {
	{"append", {.what = WRITE, .len = 5000}, {.what = APPEND, .len = 4000000}},
	{"append to inline", {.what = WRITE, .len = 100}, {.what = APPEND, .len = 4000000}},
	{"extend over a small tail", {.what = WRITE, .len = 70000},
	 {.what = WRITE, .off = 66000, .len = 3750000}},
	{"extend over much", {.what = WRITE, .len = 2250000},
	 {.what = WRITE, .off = 1000, .len = 3750000}},
	{"extend over holes", {.what = TRUNCATE, .len = 3500002},
	 {.what = WRITE, .off = 1000, .len = 3750000}},
	{"fill holes", {.what = TRUNCATE, .len = 4000000},
	 {.what = WRITE, .off = 1000, .len = 3750000}},
	{"fill holes, atomic", {.what = TRUNCATE, .len = 4000000},
	 {.what = WRITE, .off = 1000, .len = 3750000, .flags = ADIT_WRITE_ATOMIC}},
	{"fill unwritten", {.what = FALLOCATE, .len = 4000000},
	 {.what = WRITE, .off = 1000, .len = 3750000}},
	{"extend over unwritten", {.what = FALLOCATE, .mode = FALLOC_FL_KEEP_SIZE, .len = 4000000},
	 {.what = WRITE, .off = 1000, .len = 3750000}},
	{"overwrite, atomic", {.what = WRITE, .len = 3750000},
	 {.what = WRITE, .off = 1000, .len = 3500000, .flags = ADIT_WRITE_ATOMIC}},
	{"truncate", {.what = WRITE, .len = 4500000}, {.what = TRUNCATE, .len = 5001}, true},
	{"allocate", {.what = WRITE, .len = 50}, {.what = FALLOCATE, .len = 4500000}},
	{"allocate, keep size", {.what = WRITE, .len = 5000},
	 {.what = FALLOCATE, .mode = FALLOC_FL_KEEP_SIZE, .off = 4000, .len = 4500000}},
	{"punch", {.what = WRITE, .len = 4500000},
	 {.what = FALLOCATE, .mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, .off = 1000,
	  .len = 4250000}, true},
	{"zero", {.what = WRITE, .len = 4000000},
	 {.what = FALLOCATE, .mode = FALLOC_FL_ZERO_RANGE, .off = 1000, .len = 4250000}},
	{"collapse", {.what = WRITE, .len = 4500000},
	 {.what = FALLOCATE, .mode = FALLOC_FL_COLLAPSE_RANGE, .off = 40960, .len = 1228800}},
	{"insert", {.what = WRITE, .len = 3750000},
	 {.what = FALLOCATE, .mode = FALLOC_FL_INSERT_RANGE, .off = 40960, .len = 40960}},
};

static void run_big(struct test_pool *p, const uint8_t *empty, unsigned i, uint64_t free_before,
		    bool crash)
{
	struct todo first = big[i].first, then = big[i].then;
	struct model m;
	uint64_t ino;

	adit__core_abandon(p->fs);
	memcpy(p->pm.base, empty, p->pm.size_bytes);
	test_pool_open(p);
	model_init(&m);
	ino = make_file(p, "f");
	fill(todo_data, MODEL_MAX, 1);
	run_model(&m, &first);
	CHECK_EQ(run(p, ino, &first) >= 0, 1);
	compare(p, ino, &m);
	fill(todo_data, MODEL_MAX, 1000);
	if (crash) {
		crash_everywhere(p, ino, &then, &m, free_before, 11);
	} else {
		run_model(&m, &then);
		if (records_of(p, ino, &then) < 2 && !big[i].one) {
			fprintf(stderr, "%s: one record\n", big[i].name);
			fail();
		}
		compare(p, ino, &m);
		check_freed(p, free_before);
	}
	free(m.data);
}

static void fragments(bool crash)
{
	struct test_pool p;
	uint64_t free_before;
	uint8_t *empty;

	seed_now = 0;
	pool_init(&p, 32u << 20);
	medium.fenced = malloc(p.pm.size_bytes);
	make_file(&p, "other");
	fragment(&p, 2500);
	free_before = test_pool_free(&p);
	empty = malloc(p.pm.size_bytes);
	memcpy(empty, p.pm.base, p.pm.size_bytes);
	for (unsigned i = 0; i < sizeof big / sizeof big[0]; i++)
		run_big(&p, empty, i, free_before, crash);
	CHECK_EQ(p.reports, 0);
	free(empty);
	free(medium.fenced);
	adit__core_abandon(p.fs);
}

static void test_fragments(void **state)
{
	(void)state;
	fragments(false);
}

static void test_fragments_crash(void **state)
{
	(void)state;
	fragments(true);
}

/* The same where operations take many records. */
static void test_refused_fragments(void **state)
{
	struct test_pool p;
	uint64_t free_before;
	uint8_t *empty;

	(void)state;
	seed_now = 0;
	pool_init(&p, 32u << 20);
	make_file(&p, "other");
	fragment(&p, 2500);
	free_before = test_pool_free(&p);
	empty = malloc(p.pm.size_bytes);
	memcpy(empty, p.pm.base, p.pm.size_bytes);
	for (unsigned i = 0; i < 9; i++) {
		static const uint64_t at[] = {1, 5, 100, 700, 950};

		for (unsigned k = 0; k < 5; k++) {
			struct todo first = big[i].first, then = big[i].then;
			struct model m;
			uint64_t ino;
			int64_t r;

			adit__core_abandon(p.fs);
			memcpy(p.pm.base, empty, p.pm.size_bytes);
			test_pool_open(&p);
			model_init(&m);
			ino = make_file(&p, "f");
			fill(todo_data, MODEL_MAX, 1);
			run_model(&m, &first);
			CHECK_EQ(run(&p, ino, &first) >= 0, 1);
			fill(todo_data, MODEL_MAX, 1000);
			p.fs->fail_alloc_at = at[k];
			r = run(&p, ino, &then);
			if (r != -ENOSPC) {
				CHECK_EQ(r >= 0, 1);
				run_model(&m, &then);
			}
			p.fs->fail_alloc_at = 0;
			compare(&p, ino, &m);
			check_freed(&p, free_before);
			free(m.data);
		}
	}
	free(empty);
	adit__core_abandon(p.fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_fragments_crash),
		cmocka_unit_test(test_refused_fragments),
	};
	const char *only = getenv("ADIT_TEST_ONLY");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
