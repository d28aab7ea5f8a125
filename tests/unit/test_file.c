/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_file.c - contents of regular files against an array of bytes: random writes, truncates and
 * fallocates of all modes with restarts between them; every allocation refused in turn; a full pool;
 * positions near 2^63; what lies beyond the end; fences counted.  A failure prints the seed;
 * ADIT_TEST_SEED replays it, ADIT_TEST_ONLY names one test.  Power failures: test_file_crash.c.
 */
#include "file_model.h"

/* ---- random operations ------------------------------------------------------------- */

static void run_seed(uint64_t seed, unsigned rounds)
{
	struct test_pool p;
	struct model m;
	uint64_t ino, free_before;

	seed_now = seed;
	pool_init(&p, 32u << 20);
	model_init(&m);
	make_file(&p, "other");
	free_before = test_pool_free(&p);
	ino = make_file(&p, "f");
	for (unsigned i = 0; i < rounds; i++) {
		struct todo t = some_todo(&m, &seed);
		int64_t expected = run_model(&m, &t);

		CHECK_EQ(run(&p, ino, &t), expected);
		if (i % 4 == 3)
			compare(&p, ino, &m);
		if (i % 32 == 31) {
			adit__core_abandon(p.fs);
			test_pool_open(&p);
			compare(&p, ino, &m);
			check_pool(&p);
		}
	}
	compare(&p, ino, &m);
	unlink_file(&p, "f");
	CHECK_EQ(test_pool_free(&p), free_before);
	CHECK_EQ(p.reports, 0);
	test_pool_finish(&p);
	free(m.data);
}

static void test_random(void **state)
{
	uint64_t first = first_seed();

	(void)state;
	for (uint64_t s = first; s < first + (getenv("ADIT_TEST_SEED") ? 1 : 12); s++)
		run_seed(s, 500);
}

/* ---- no space -------------------------------------------------------------------------- */

/* Every allocation of an operation is refused in turn: nothing has happened. */
static void refuse_all(struct test_pool *p, uint64_t ino, const struct todo *t, struct model *m,
		       bool frees)
{
	for (uint64_t n = 1;; n++) {
		uint64_t free_before = test_pool_free(p);
		struct model after;
		int64_t r, expected;
		bool refused;

		model_init(&after);
		model_copy(&after, m);
		expected = run_model(&after, t);
		p->fs->fail_alloc_at = n;
		r = run(p, ino, t);
		refused = p->fs->fail_alloc_at == 0;
		p->fs->fail_alloc_at = 0;
		if (refused && r == -ENOSPC) {
			compare(p, ino, m);
			check_pool(p);
			/* What was reserved beyond the end may go (file_write.c). */
			if (!frees)
				CHECK_EQ(test_pool_free(p) >= free_before, 1);
		} else {
			CHECK_EQ(r, expected);
			model_copy(m, &after);
			compare(p, ino, m);
		}
		free(after.data);
		if (!refused || r != -ENOSPC)
			return;
	}
}

static void test_refused(void **state)
{
	uint64_t first = first_seed();

	(void)state;
	for (uint64_t s = first; s < first + (getenv("ADIT_TEST_SEED") ? 1 : 4); s++) {
		uint64_t seed = s, ino, free_before;
		struct test_pool p;
		struct model m;

		seed_now = s;
		pool_init(&p, 16u << 20);
		model_init(&m);
		make_file(&p, "other");
		free_before = test_pool_free(&p);
		ino = make_file(&p, "f");
		for (unsigned i = 0; i < 200; i++) {
			struct todo t = some_todo(&m, &seed);

			refuse_all(&p, ino, &t, &m, t.mode & FALLOC_FL_ZERO_RANGE);
		}
		check_freed(&p, free_before);
		test_pool_finish(&p);
		free(m.data);
	}
}

/* A pool filled to the brim: writes fail whole, freeing works. */
static void test_full(void **state)
{
	struct test_pool p;
	struct model m;
	uint64_t ino, full, free_before, size;

	(void)state;
	seed_now = 0;
	pool_init(&p, 8u << 20);
	model_init(&m);
	fill(todo_data, MODEL_MAX, 3);
	ino = make_file(&p, "f");
	make_file(&p, "full");
	free_before = test_pool_free(&p);
	CHECK_EQ(put(&p, ino, todo_data, 600000, 0, 0), 600000);
	unlink_file(&p, "full");
	full = make_file(&p, "full");
	for (size = 0; put(&p, full, todo_data, 4096, size, 0) == 4096;)
		size += 4096;
	CHECK_EQ(file_size(&p, full), size);
	CHECK_EQ(put(&p, full, todo_data, 100000, size, 0), -ENOSPC);
	CHECK_EQ(file_size(&p, full), size);
	CHECK_EQ(adit__file_fallocate(p.fs, full, 0, 0, size + 40960), -ENOSPC);
	CHECK_EQ(adit__file_fallocate(p.fs, full, 0, 0, 1ull << 61), -ENOSPC);
	CHECK_EQ(put(&p, ino, todo_data, 200000, 0, ADIT_WRITE_ATOMIC), -ENOSPC);
	/* In place and in the record there is no need for space. */
	CHECK_EQ(put(&p, ino, todo_data + 1, 200000, 0, 0), 200000);
	CHECK_EQ(put(&p, ino, todo_data + 1, 65536, 100, ADIT_WRITE_ATOMIC), 65536);
	/* Every other block of the file: the tree grows while space is freed. */
	for (uint64_t b = 1; b < 140; b += 2)
		CHECK_EQ(adit__file_fallocate(p.fs, ino,
					      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      b * 4096, 4096), 0);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_COLLAPSE_RANGE, 4096, 40960), 0);
	CHECK_EQ(adit__file_truncate(p.fs, full, 100), 0);
	CHECK_EQ(adit__file_truncate(p.fs, ino, 0), 0);
	unlink_file(&p, "full");
	make_file(&p, "full");
	CHECK_EQ(test_pool_free(&p), free_before);
	test_pool_finish(&p);
	free(m.data);
}

/* ---- limits and errors --------------------------------------------------------------- */

static void test_limits(void **state)
{
	const uint64_t max = INT64_MAX;
	struct test_pool p;
	uint8_t buf[9000], zero[9000] = {0};
	uint64_t ino, off, free_before;

	(void)state;
	seed_now = 0;
	pool_init(&p, 8u << 20);
	make_file(&p, "other");
	free_before = test_pool_free(&p);
	ino = make_file(&p, "f");
	fill(todo_data, 9000, 5);
	CHECK_EQ(put(&p, ino, todo_data, 10, max, 0), -EFBIG);
	CHECK_EQ(put(&p, ino, todo_data, 0, max, 0), 0);
	CHECK_EQ(put(&p, ino, todo_data, 10, max + 1, 0), -EINVAL);
	CHECK_EQ(put(&p, ino, todo_data, 10, max - 4, ADIT_WRITE_ATOMIC), -EFBIG);
	CHECK_EQ(file_size(&p, ino), 0);
	CHECK_EQ(put(&p, ino, todo_data, 10, max - 4, 0), 4);
	CHECK_EQ(file_size(&p, ino), max);
	CHECK_EQ(put(&p, ino, todo_data, 9000, max - 8999, 0), 8999);
	CHECK_EQ(get(&p, ino, buf, 9000, max - 8999), 8999);
	CHECK_EQ(memcmp(buf, todo_data, 8999), 0);
	CHECK_EQ(get(&p, ino, buf, 9000, 1ull << 40), 9000);
	CHECK_EQ(memcmp(buf, zero, 9000), 0);
	CHECK_EQ(get(&p, ino, buf, 9000, max), 0);
	CHECK_EQ(get(&p, ino, buf, 9000, max + 1), -EINVAL);
	off = 0;
	CHECK_EQ(adit__file_write(p.fs, ino, &(struct adit_iovec){todo_data, 1}, 1, &off,
				  ADIT_WRITE_APPEND), -EFBIG);
	CHECK_EQ(adit__file_seek(p.fs, ino, 0, SEEK_DATA), (max - 8999) & ~4095ull);
	CHECK_EQ(adit__file_seek(p.fs, ino, max - 1, SEEK_HOLE), max);
	CHECK_EQ(adit__file_seek(p.fs, ino, max, SEEK_DATA), -ENXIO);
	CHECK_EQ(adit__file_seek(p.fs, ino, ~0ull, SEEK_DATA), -ENXIO);
	CHECK_EQ(adit__file_seek(p.fs, ino, 0, 0), -EINVAL);
	CHECK_EQ(adit__file_truncate(p.fs, ino, max + 1), -EFBIG);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, 0, max - 10, 11), -EFBIG);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, 0, max - 10, 10), 0);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_INSERT_RANGE, 0, 4096), -EFBIG);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_COLLAPSE_RANGE, 4096, 1ull << 62), 0);
	CHECK_EQ(file_size(&p, ino), max - (1ull << 62));
	CHECK_EQ(get(&p, ino, buf, 9000, max - 8999 - (1ull << 62)), 8999);
	CHECK_EQ(memcmp(buf, todo_data, 8999), 0);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_INSERT_RANGE, 8192, 1ull << 62), 0);
	CHECK_EQ(get(&p, ino, buf, 9000, max - 8999), 8999);
	CHECK_EQ(memcmp(buf, todo_data, 8999), 0);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, max),
		 0);
	CHECK_EQ(adit__file_seek(p.fs, ino, 0, SEEK_DATA), -ENXIO);
	check_freed(&p, free_before);
	test_pool_finish(&p);
}

static void set_flags(struct test_pool *p, uint64_t ino, uint32_t set, uint32_t clear)
{
	struct adit_inode_pm *ip;
	struct adit_op op;

	CHECK_EQ(adit__file_begin(&op, p->fs, ino, &ip), 0);
	ip->flags = put32((get32(ip->flags) | set) & ~clear);
	CHECK_EQ(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
}

static void test_errors(void **state)
{
	struct adit_create fifo = {.mode = S_IFIFO | 0644};
	struct adit_id id;
	struct test_pool p;
	uint8_t buf[10];
	uint64_t ino, off = 0;

	(void)state;
	seed_now = 0;
	pool_init(&p, 8u << 20);
	ino = make_file(&p, "f");
	CHECK_EQ(put(&p, ADIT_INO_ROOT, buf, 1, 0, 0), -EISDIR);
	CHECK_EQ(get(&p, ADIT_INO_ROOT, buf, 1, 0), -EISDIR);
	CHECK_EQ(adit__file_truncate(p.fs, ADIT_INO_ROOT, 0), -EISDIR);
	CHECK_EQ(adit__file_fallocate(p.fs, ADIT_INO_ROOT, 0, 0, 1), -EISDIR);
	CHECK_EQ(adit__create(p.fs, ADIT_INO_ROOT, "p", 1, &fifo, NULL, &id), 0);
	CHECK_EQ(put(&p, id.ino, buf, 1, 0, 0), -EINVAL);
	CHECK_EQ(get(&p, id.ino, buf, 1, 0), -EINVAL);
	CHECK_EQ(adit__file_truncate(p.fs, id.ino, 0), -EINVAL);
	CHECK_EQ(adit__file_fallocate(p.fs, id.ino, 0, 0, 1), -ESPIPE);
	CHECK_EQ(get(&p, ino + 5, buf, 1, 0), -ESTALE);
	CHECK_EQ(put(&p, 1ull << 60, buf, 1, 0, 0), -ESTALE);

	CHECK_EQ(adit__file_fallocate(p.fs, ino, 0, 0, 0), -EINVAL);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, 0x1000, 0, 1), -EOPNOTSUPP);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_PUNCH_HOLE, 0, 1), -EOPNOTSUPP);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0,
				      4096), -EINVAL);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_INSERT_RANGE, 0, 4096), -EINVAL);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EINVAL);

	set_flags(&p, ino, ADIT_IFLAG_APPEND, 0);
	CHECK_EQ(put(&p, ino, "a", 1, 0, 0), -EPERM);
	CHECK_EQ(put(&p, ino, "a", 1, 0, ADIT_WRITE_APPEND), 1);
	CHECK_EQ(adit__file_truncate(p.fs, ino, 0), -EPERM);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_ZERO_RANGE, 0, 1), -EPERM);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, FALLOC_FL_KEEP_SIZE, 0, 1), 0);
	set_flags(&p, ino, ADIT_IFLAG_IMMUTABLE, ADIT_IFLAG_APPEND);
	CHECK_EQ(put(&p, ino, "a", 1, 0, ADIT_WRITE_APPEND), -EPERM);
	CHECK_EQ(adit__file_truncate(p.fs, ino, 0), -EPERM);
	CHECK_EQ(adit__file_fallocate(p.fs, ino, 0, 0, 1), -EPERM);
	set_flags(&p, ino, 0, ADIT_IFLAG_IMMUTABLE);
	CHECK_EQ(adit__file_write(p.fs, ino, &(struct adit_iovec){buf, 1}, 1, &off,
				  ADIT_WRITE_APPEND), 1);
	CHECK_EQ(off, 1);
	CHECK_EQ(file_size(&p, ino), 2);
	test_pool_finish(&p);
}

/* Garbage beyond the end (of a mapping, or of an append that was cut off) never shows. */
static void test_tail(void **state)
{
	struct test_pool p;
	struct model m;
	uint64_t ino;

	(void)state;
	seed_now = 0;
	pool_init(&p, 8u << 20);
	model_init(&m);
	ino = make_file(&p, "f");
	fill(todo_data, 10000, 9);
	for (unsigned i = 0; i < 5; i++) {
		struct todo t = {.what = WRITE, .len = 5003};
		const struct adit_inode_pm *ip;
		struct adit_extent e;

		run_model(&m, &(struct todo){.what = TRUNCATE, .len = 0});
		CHECK_EQ(adit__file_truncate(p.fs, ino, 0), 0);
		run_model(&m, &t);
		CHECK_EQ(run(&p, ino, &t), 5003);
		CHECK_EQ(adit__inode_get(p.fs, ino, &ip), 0);
		CHECK_EQ(adit__extent_at(p.fs, NULL, ip, 1, &e), 0);
		memset((uint8_t *)adit__block_at(p.fs, e.block) + 907, 0xaa, 4096 - 907);
		if (i == 0)
			t = (struct todo){.what = TRUNCATE, .len = 9000};
		else if (i == 1)
			t = (struct todo){.what = WRITE, .off = 7777, .len = 1};
		else if (i == 2)
			t = (struct todo){.what = APPEND, .len = 3};
		else if (i == 3)
			t = (struct todo){.what = FALLOCATE, .off = 7000, .len = 3000};
		else
			t = (struct todo){.what = FALLOCATE, .mode = FALLOC_FL_ZERO_RANGE,
					  .off = 6001, .len = 200};
		CHECK_EQ(run(&p, ino, &t), run_model(&m, &t));
		compare(&p, ino, &m);
		t = (struct todo){.what = TRUNCATE, .len = 12000};
		CHECK_EQ(run(&p, ino, &t), run_model(&m, &t));
		compare(&p, ino, &m);
	}
	test_pool_finish(&p);
	free(m.data);
}

/* ---- fences ---------------------------------------------------------------------------- */

static uint64_t fences_of(struct test_pool *p, uint64_t ino, struct todo t)
{
	uint64_t before;

	CHECK_EQ(adit__checkpoint(p->fs), 0);
	before = medium.fences;
	CHECK_EQ(run(p, ino, &t) >= 0, 1);
	return medium.fences - before;
}

static void test_fences(void **state)
{
	struct test_pool p;
	uint64_t ino, before;
	uint8_t buf[4096];

	(void)state;
	seed_now = 0;
	pool_init(&p, 32u << 20);
	ino = make_file(&p, "f");
	fill(todo_data, MODEL_MAX, 11);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = APPEND, .len = 100}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = APPEND, .len = 4096}), 2);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = APPEND, .len = 4096}), 2);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = APPEND, .len = 100}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = APPEND, .len = 1000000}), 2);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = WRITE, .off = 4096, .len = 4096}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = WRITE, .off = 77, .len = 500000}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = WRITE, .off = 4099, .len = 64,
						  .flags = ADIT_WRITE_ATOMIC}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = WRITE, .off = 4099, .len = 65536,
						  .flags = ADIT_WRITE_ATOMIC}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = WRITE, .off = 4099, .len = 165536,
						  .flags = ADIT_WRITE_ATOMIC}), 2);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = TRUNCATE, .len = 7000}), 1);
	CHECK_EQ(fences_of(&p, ino, (struct todo){.what = FALLOCATE, .len = 1000000}), 1);
	/* Logged data are not settled: small writes are logged then, too, with no checkpoint. */
	before = medium.fences;
	CHECK_EQ(put(&p, ino, todo_data, 64, 100, ADIT_WRITE_ATOMIC), 64);
	CHECK_EQ(put(&p, ino, todo_data, 4096, 100, 0), 4096);
	CHECK_EQ(medium.fences - before, 2);
	before = medium.fences;
	CHECK_EQ(get(&p, ino, buf, 4096, 100), 4096);
	CHECK_EQ(medium.fences, before);
	test_pool_finish(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_fences),
	};
	const char *only = getenv("ADIT_TEST_ONLY");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
