/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_counts.c - what an operation costs in fences, cache lines and bytes: numbers that do not depend
 * on the machine, so that they can be asserted.
 *
 * Each case runs many operations in the steady state (the inode table has grown, the directory is
 * large) and is measured twice: alone, from operations during which no checkpoint ran, where every
 * single one must keep its number of fences; and with the checkpoints' share, from all of them and one
 * checkpoint at the end, so that nothing is left unpaid.
 *
 * Lines are those given to flush and those written by non-temporal stores. Neighbours: pool.h (the
 * pool), media/record.h (the counters).
 */
#include "pool.h"

#include <sys/stat.h>

#include "core/file.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "core/xattr.h"

#define POOL_BYTES (1ull << 30) /* the smallest that gets the usual lanes */
#define ENTRIES	   20000u	/* other names in the directory: several hundred leaves */
/* Names are hashed evenly, so leaves fill up and split together: only a doubling of the directory
 * holds the average number of splits. */
#define CREATES	   ENTRIES
#define ROUNDS	   2500u
#define APPENDS	   1500u

struct world {
	struct pool p;
	struct adit_fs *fs;
	uint64_t dir, other_dir; /* other_dir: for moves between directories */
	uint64_t file;		 /* 4 KiB of data */
	uint64_t growing;	 /* appended to */
	char name[32], name2[32];
	size_t len, len2;
};

struct op_case {
	const char *name;
	int (*run)(struct world *, unsigned i);
	unsigned rounds, fences;
	unsigned max_lines;	 /* alone; 0: not asserted */
	unsigned max_lines_ckpt; /* with the checkpoints' share; 0: not asserted */
};

/* ---- counting ---------------------------------------------------------------------------------- */

struct sum {
	uint64_t ops, fences, lines, bytes;
	uint64_t least, most; /* fences of one operation */
};

static uint64_t streamed_bytes;

static void count_nt(struct adit_pm *pm, const void *dst, size_t len)
{
	(void)pm, (void)dst;
	streamed_bytes += len;
}

static void add(struct sum *s, const struct adit_pm_counts *was, uint64_t bytes_was, bool is_op)
{
	struct adit_pm_counts now;
	uint64_t fences;

	adit__counts_get(&now);
	fences = now.fences - was->fences;
	s->fences += fences;
	s->lines += now.flushed_lines - was->flushed_lines + now.nt_lines - was->nt_lines;
	s->bytes += streamed_bytes - bytes_was;
	if (!is_op)
		return;
	s->ops++;
	s->most = fences > s->most ? fences : s->most;
	s->least = fences < s->least ? fences : s->least;
}

static double each(uint64_t total, uint64_t ops)
{
	return ops ? (double)total / (double)ops : 0;
}

static void settle(struct world *w)
{
	assert_int_equal(adit__checkpoint(w->fs), 0);
}

static void measure(struct world *w, const struct op_case *c)
{
	struct sum alone = {.least = UINT64_MAX}, all = alone;
	struct adit_pm_counts was;
	uint64_t checkpoints, bytes_was;

	settle(w);
	checkpoints = w->fs->vol->ckpt_count;
	for (unsigned i = 0; i < c->rounds; i++) {
		uint64_t ckpt_was = w->fs->vol->ckpt_count;

		w->len = (size_t)snprintf(w->name, sizeof w->name, "file-%06u", i);
		w->len2 = (size_t)snprintf(w->name2, sizeof w->name2, "name-%06u", i);
		adit__counts_get(&was);
		bytes_was = streamed_bytes;
		assert_int_equal(c->run(w, i), 0);
		add(&all, &was, bytes_was, true);
		if (w->fs->vol->ckpt_count == ckpt_was)
			add(&alone, &was, bytes_was, true);
	}
	checkpoints = w->fs->vol->ckpt_count - checkpoints;
	adit__counts_get(&was);
	bytes_was = streamed_bytes;
	settle(w);
	add(&all, &was, bytes_was, false);

	printf("%-26s %6.2f %7.2f %7.0f | %8.3f %7.2f %9.0f\n", c->name,
	       each(alone.fences, alone.ops), each(alone.lines, alone.ops),
	       each(alone.bytes, alone.ops), each(all.fences, all.ops), each(all.lines, all.ops),
	       checkpoints ? (double)c->rounds / (double)checkpoints : 0);
	fflush(stdout);
	assert_int_equal(alone.least, c->fences);
	assert_int_equal(alone.most, c->fences);
	/* At most one pair of fences per 100 operations goes to checkpoints. */
	assert_true(checkpoints * 100 <= c->rounds);
	assert_true(all.fences <= (uint64_t)c->fences * all.ops + 2 * (checkpoints + 1));
	if (c->fences == 0)
		assert_int_equal(all.lines, 0);
	if (c->max_lines)
		assert_true(each(alone.lines, alone.ops) <= c->max_lines);
	if (c->max_lines_ckpt)
		assert_true(each(all.lines, all.ops) <= c->max_lines_ckpt);
}

static void head(const char *what)
{
	printf("\n%-26s %23s | %s\n", what, "alone", "with checkpoints");
	printf("%-26s %6s %7s %7s | %8s %7s %9s\n", "per operation", "fences", "lines", "bytes",
	       "fences", "lines", "ops/ckpt");
}

/* ---- the operations ------------------------------------------------------------------------------ */

static const struct adit_create a_file = {.mode = S_IFREG | 0644};
static const struct adit_create a_dir = {.mode = S_IFDIR | 0755};

static int make(struct world *w, uint64_t dir, const char *name, const struct adit_create *c,
		uint64_t *ino)
{
	struct adit_id id = {0};
	int err = adit__create(w->fs, dir, name, strlen(name), c, NULL, &id);

	if (ino)
		*ino = id.ino;
	return err;
}

static int run_create(struct world *w, unsigned i)
{
	(void)i;
	return make(w, w->dir, w->name, &a_file, NULL);
}
static int run_mkdir(struct world *w, unsigned i)
{
	(void)i;
	return make(w, w->dir, w->name, &a_dir, NULL);
}
static int run_symlink(struct world *w, unsigned i)
{
	static const char to[] = "../some/where/else";
	const struct adit_create c = {.mode = S_IFLNK | 0777, .link = to,
				      .link_len = sizeof to - 1};

	(void)i;
	return make(w, w->dir, w->name, &c, NULL);
}
static int run_mknod(struct world *w, unsigned i)
{
	const struct adit_create c = {.mode = S_IFIFO | 0600};

	(void)i;
	return make(w, w->dir, w->name, &c, NULL);
}
static int run_lookup(struct world *w, unsigned i)
{
	struct adit_id id;

	(void)i;
	return adit__lookup(w->fs, w->dir, w->name, w->len, &id);
}
static int run_stat(struct world *w, unsigned i)
{
	struct adit_attr attr;
	struct adit_id id;
	int err = adit__lookup(w->fs, w->dir, w->name, w->len, &id);

	(void)i;
	return err ? err : adit__getattr(w->fs, id.ino, &attr);
}
static int run_open_close(struct world *w, unsigned i)
{
	struct adit_hold hold;
	struct adit_attr attr;
	struct adit_id id;
	int err = adit__lookup(w->fs, w->dir, w->name, w->len, &id);

	(void)i;
	if (!err)
		err = adit__hold(w->fs, id.ino, id.generation, &attr, &hold);
	return err ? err : adit__release(w->fs, &hold);
}
static int stop_soon(void *arg, uint64_t cookie, const void *name, size_t len,
		     const struct adit_dirent *de)
{
	unsigned *left = arg;

	(void)cookie, (void)name, (void)len, (void)de;
	return --*left == 0;
}
static int run_readdir(struct world *w, unsigned i)
{
	unsigned left = 20;

	return adit__readdir(w->fs, w->dir, (uint64_t)i << 48, stop_soon, &left) < 0;
}
static int run_rename(struct world *w, unsigned i)
{
	(void)i;
	return adit__rename(w->fs, w->dir, w->name, w->len, w->dir, w->name2, w->len2, 0);
}
static int run_move(struct world *w, unsigned i)
{
	(void)i;
	return adit__rename(w->fs, w->dir, w->name2, w->len2, w->other_dir, w->name, w->len, 0);
}
static int run_exchange(struct world *w, unsigned i)
{
	char last[32];
	size_t len = (size_t)snprintf(last, sizeof last, "file-%06u", ROUNDS - 1);

	if (i == ROUNDS - 1)
		return adit__rename(w->fs, w->other_dir, "file-000000", 11, w->other_dir, last, len,
				    ADIT_RENAME_EXCHANGE);
	return adit__rename(w->fs, w->other_dir, w->name, w->len, w->other_dir, last, len,
			    ADIT_RENAME_EXCHANGE);
}
static int run_rename_over(struct world *w, unsigned i)
{
	(void)i;
	return adit__rename(w->fs, w->other_dir, w->name, w->len, w->dir, w->name, w->len, 0);
}
static int run_link(struct world *w, unsigned i)
{
	(void)i;
	return adit__link(w->fs, w->file, w->dir, w->name2, w->len2);
}
static int run_unlink(struct world *w, unsigned i)
{
	(void)i;
	return adit__unlink(w->fs, w->dir, w->name, w->len);
}
static int run_unlink2(struct world *w, unsigned i)
{
	(void)i;
	return adit__unlink(w->fs, w->dir, w->name2, w->len2);
}
static int run_rmdir(struct world *w, unsigned i)
{
	(void)i;
	return adit__rmdir(w->fs, w->dir, w->name, w->len);
}
static int run_setattr(struct world *w, unsigned i)
{
	const struct adit_attr attr = {.mode = 0600 | (i & 0077)};

	return adit__setattr(w->fs, w->file, ADIT_SET_MODE, &attr);
}
static int run_setxattr(struct world *w, unsigned i)
{
	char value[16];

	snprintf(value, sizeof value, "%08u", i);
	return adit__setxattr(w->fs, w->file, "user.comment", value, 8, 0);
}
static int run_getxattr(struct world *w, unsigned i)
{
	char value[16];

	(void)i;
	return adit__getxattr(w->fs, w->file, "user.comment", value, sizeof value) == 8 ? 0 : -1;
}

static int transfer(struct world *w, bool writing, uint64_t ino, size_t len, uint64_t offset,
		    unsigned flags)
{
	static uint8_t buf[65536];
	struct adit_iovec v = {buf, len};
	int64_t n = writing ? adit__file_write(w->fs, ino, &v, 1, &offset, flags) :
			      adit__file_read(w->fs, ino, &v, 1, offset);

	buf[0]++;
	return n == (int64_t)len ? 0 : n < 0 ? (int)n : -1;
}
static int run_read_64(struct world *w, unsigned i)
{
	return transfer(w, false, w->file, 64, i % 63 * 64, 0);
}
static int run_read_4k(struct world *w, unsigned i)
{
	(void)i;
	return transfer(w, false, w->file, 4096, 0, 0);
}
static int run_overwrite(struct world *w, unsigned i)
{
	(void)i;
	return transfer(w, true, w->file, 4096, 0, 0);
}
static int run_overwrite_64(struct world *w, unsigned i)
{
	return transfer(w, true, w->file, 64, i % 63 * 64, 0);
}
static int run_atomic(struct world *w, unsigned i)
{
	return transfer(w, true, w->file, 64, i % 50 * 64 + 13, ADIT_WRITE_ATOMIC);
}
static int run_append(struct world *w, unsigned i)
{
	(void)i;
	return transfer(w, true, w->growing, 4096, 0, ADIT_WRITE_APPEND);
}
static int run_truncate(struct world *w, unsigned i)
{
	return adit__file_truncate(w->fs, w->growing, (APPENDS - 1 - i) * 4096ull);
}

/* ---- the tests ------------------------------------------------------------------------------------ */

static void fill(struct world *w, uint64_t dir, const char *format, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, format, i);
		assert_int_equal(make(w, dir, name, &a_file, NULL), 0);
	}
}

static int setup(void **state)
{
	static struct world w;
	char name[32];

	memset(&w, 0, sizeof w);
	pool_make(&w.p, POOL_BYTES);
	w.fs = w.p.fs;
	assert_int_equal(make(&w, ADIT_INO_ROOT, "dir", &a_dir, &w.dir), 0);
	assert_int_equal(make(&w, ADIT_INO_ROOT, "other", &a_dir, &w.other_dir), 0);
	assert_int_equal(make(&w, ADIT_INO_ROOT, "file", &a_file, &w.file), 0);
	assert_int_equal(make(&w, ADIT_INO_ROOT, "growing", &a_file, &w.growing), 0);
	assert_int_equal(transfer(&w, true, w.file, 4096, 0, 0), 0);
	fill(&w, w.dir, "entry-%06u", ENTRIES);
	/* Let the inode table grow by what the cases below need. */
	fill(&w, w.other_dir, "warm-%u", CREATES + 2 * ROUNDS);
	for (unsigned i = 0; i < CREATES + 2 * ROUNDS; i++) {
		int len = snprintf(name, sizeof name, "warm-%u", i);

		assert_int_equal(adit__unlink(w.fs, w.other_dir, name, (size_t)len), 0);
	}
	assert_int_equal(run_setxattr(&w, ROUNDS), 0);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	pool_destroy(&w->p);
	return 0;
}

static void run_cases(void **state, const char *what, const struct op_case *c, size_t n)
{
	struct world *w = *state;

	head(what);
	for (size_t i = 0; i < n; i++)
		measure(w, &c[i]);
}
#define RUN(state, what, cases) run_cases(state, what, cases, sizeof(cases) / sizeof(cases)[0])

static void test_names(void **state)
{
	static const struct op_case cases[] = {
		{"create", run_create, CREATES, 1, 8, 14},
		{"stat", run_stat, ROUNDS, 0, 0, 0},
		{"open, close", run_open_close, ROUNDS, 0, 0, 0},
		{"lookup", run_lookup, ROUNDS, 0, 0, 0},
		{"readdir of 20 entries", run_readdir, 1000, 0, 0, 0},
		{"rename", run_rename, ROUNDS, 1, 0, 0},
		{"rename, other directory", run_move, ROUNDS, 1, 0, 0},
		{"rename, exchange", run_exchange, ROUNDS, 1, 0, 0},
		{"create, some", run_create, ROUNDS, 1, 0, 0},
		{"rename over a file", run_rename_over, ROUNDS, 1, 0, 0},
		{"unlink", run_unlink, ROUNDS, 1, 0, 0},
		{"mkdir", run_mkdir, ROUNDS, 1, 0, 0},
		{"rmdir", run_rmdir, ROUNDS, 1, 0, 0},
		{"symlink", run_symlink, ROUNDS, 1, 0, 0},
		{"unlink of a symlink", run_unlink, ROUNDS, 1, 0, 0},
		{"mknod", run_mknod, ROUNDS, 1, 0, 0},
		{"unlink of a FIFO", run_unlink, ROUNDS, 1, 0, 0},
		{"link", run_link, ROUNDS, 1, 0, 0},
		{"unlink of a link", run_unlink2, ROUNDS, 1, 0, 0},
	};

	RUN(state, "names", cases);
}

static void test_attributes(void **state)
{
	static const struct op_case cases[] = {
		{"setattr", run_setattr, ROUNDS, 1, 0, 0},
		{"setxattr, 8 bytes", run_setxattr, ROUNDS, 1, 0, 0},
		{"getxattr", run_getxattr, ROUNDS, 0, 0, 0},
	};

	RUN(state, "attributes", cases);
}

static void test_data(void **state)
{
	static const struct op_case cases[] = {
		{"read 64 bytes", run_read_64, ROUNDS, 0, 0, 0},
		{"read 4 KiB", run_read_4k, ROUNDS, 0, 0, 0},
		{"overwrite 64 bytes", run_overwrite_64, ROUNDS, 1, 0, 0},
		{"write 64 bytes, atomic", run_atomic, ROUNDS, 1, 0, 0},
		{"overwrite 4 KiB", run_overwrite, ROUNDS, 1, 0, 0},
		{"append 4 KiB", run_append, APPENDS, 2, 0, 0},
		{"truncate by 4 KiB", run_truncate, APPENDS, 1, 0, 0},
	};

	RUN(state, "data", cases);
}

/* A pool that fills up for the first time: the inode table grows, the directory's leaves split. */
static void test_growing(void **state)
{
	struct world *w = *state;
	struct sum all = {.least = UINT64_MAX};
	struct adit_pm_counts was;
	const unsigned n = 20000;
	uint64_t dir, bytes_was = streamed_bytes;

	assert_int_equal(make(w, ADIT_INO_ROOT, "fresh", &a_dir, &dir), 0);
	settle(w);
	adit__counts_get(&was);
	fill(w, dir, "file-%06u", n);
	settle(w);
	add(&all, &was, bytes_was, false);
	printf("\n%u creates in a new directory, everything included: %.3f fences, %.2f lines, "
	       "%.0f bytes each\n", n, each(all.fences, n), each(all.lines, n), each(all.bytes, n));
	assert_true(all.fences <= n + n / 50);
}

int main(void)
{
	static struct adit_record_hooks hooks = {.nt = count_nt};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_growing),
	};

	adit__record = &hooks;
	return cmocka_run_group_tests(tests, setup, teardown);
}
