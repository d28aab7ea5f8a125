/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ops.c - the everyday calls beside the same system calls on tmpfs, one thread; large writes beside a
 * bare non-temporal copy; two threads beside one.
 *
 * Both sides name files relative to an open directory, and do the same calls in the same order. The
 * pool lies on the same tmpfs, is mapped beforehand, and is opened with the memory domain assumed.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "media/flush.h"

#define ROUNDS	     40
#define FILES	     1000u /* a round is about a millisecond: some are left alone by other programs */
#define SMALL_OPS    1000u
#define APPENDS	     2000u /* new blocks, and not the few that were just freed */
#define POOL_BYTES   (1ull << 30)
#define DATA_BYTES   ((uint64_t)64 << 20) /* of the file that is read and overwritten: beyond L2 */
#define HOT_BYTES    ((uint64_t)64 << 10) /* 64-byte reads stay in here */
#define BIG_BYTES    ((uint64_t)1 << 20)
#define BIG_OPS	     8u
#define SCALE_OPS    1500u
#define SCALE_ROUNDS 240

static struct adit_pool *pool;
static int adit_dir, sys_dir;	/* where names are made */
static int adit_data, sys_data; /* DATA_BYTES long */
static int adit_grown, sys_grow; /* appended to, cut again between rounds */
static char name_a[FILES][NAME_BYTES], name_b[FILES][NAME_BYTES];
static uint8_t buffer[1 << 20] __attribute__((aligned(4096)));
static struct adit_media bare; /* tmpfs memory for bare copies */
static uint64_t turn;	       /* goes on from round to round, so that all of the file is used */
static size_t missed_count;

/* ---- the calls: i counts up to the number of operations of a round -------------------------------- */

static int64_t adit_create(unsigned i)
{
	int fd = adit_openat(pool, adit_dir, name_a[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

	return fd < 0 ? fd : adit_close_fd(pool, fd);
}
static int64_t sys_create(unsigned i)
{
	int fd = openat(sys_dir, name_a[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

	return fd < 0 ? fd : close(fd);
}
static int64_t adit_open_close(unsigned i)
{
	int fd = adit_openat(pool, adit_dir, name_a[i], O_RDONLY, 0);

	return fd < 0 ? fd : adit_close_fd(pool, fd);
}
static int64_t sys_open_close(unsigned i)
{
	int fd = openat(sys_dir, name_a[i], O_RDONLY);

	return fd < 0 ? fd : close(fd);
}
static int64_t adit_do_stat(unsigned i)
{
	struct stat st;

	return adit_fstatat(pool, adit_dir, name_a[i], &st, 0);
}
static int64_t sys_do_stat(unsigned i)
{
	struct stat st;

	return fstatat(sys_dir, name_a[i], &st, 0);
}
static int64_t adit_do_rename(unsigned i)
{
	return adit_renameat(pool, adit_dir, name_a[i], adit_dir, name_b[i]);
}
static int64_t sys_do_rename(unsigned i)
{
	return renameat(sys_dir, name_a[i], sys_dir, name_b[i]);
}
static int64_t adit_do_unlink(unsigned i)
{
	return adit_unlinkat(pool, adit_dir, name_b[i], 0);
}
static int64_t sys_do_unlink(unsigned i)
{
	return unlinkat(sys_dir, name_b[i], 0);
}
static int64_t adit_do_mkdir(unsigned i)
{
	return adit_mkdirat(pool, adit_dir, name_a[i], 0755);
}
static int64_t sys_do_mkdir(unsigned i)
{
	return mkdirat(sys_dir, name_a[i], 0755);
}
static int64_t adit_do_rmdir(unsigned i)
{
	return adit_unlinkat(pool, adit_dir, name_a[i], AT_REMOVEDIR);
}
static int64_t sys_do_rmdir(unsigned i)
{
	return unlinkat(sys_dir, name_a[i], AT_REMOVEDIR);
}
static int64_t adit_read_64(unsigned i)
{
	return adit_pread(pool, adit_data, buffer, 64, (off_t)(i * 64ull * 37 % HOT_BYTES));
}
static int64_t sys_read_64(unsigned i)
{
	return pread(sys_data, buffer, 64, (off_t)(i * 64ull * 37 % HOT_BYTES));
}
static off_t next_4k(unsigned i)
{
	return (off_t)((turn * SMALL_OPS + i) * 4096 % DATA_BYTES);
}
static int64_t adit_read_4k(unsigned i)
{
	return adit_pread(pool, adit_data, buffer, 4096, next_4k(i));
}
static int64_t sys_read_4k(unsigned i)
{
	return pread(sys_data, buffer, 4096, next_4k(i));
}
static int64_t adit_write_4k(unsigned i)
{
	return adit_pwrite(pool, adit_data, buffer, 4096, next_4k(i));
}
static int64_t sys_write_4k(unsigned i)
{
	return pwrite(sys_data, buffer, 4096, next_4k(i));
}
static int64_t adit_append_4k(unsigned i)
{
	return adit_pwrite(pool, adit_grown, buffer, 4096, (off_t)(i * 4096ull));
}
static int64_t sys_append_4k(unsigned i)
{
	return pwrite(sys_grow, buffer, 4096, (off_t)(i * 4096ull));
}
static int64_t adit_lock(unsigned i)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = i, .l_len = 1};
	int rc = adit_fcntl_lock(pool, adit_data, F_SETLK, &l);

	l.l_type = F_UNLCK;
	return rc < 0 ? rc : adit_fcntl_lock(pool, adit_data, F_SETLK, &l);
}
static int64_t sys_lock(unsigned i)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = i, .l_len = 1};

	if (fcntl(sys_data, F_SETLK, &l) < 0)
		return -1;
	l.l_type = F_UNLCK;
	return fcntl(sys_data, F_SETLK, &l);
}
static int64_t adit_do_flock(unsigned i)
{
	int rc = adit_flock(pool, adit_data, LOCK_EX);

	(void)i;
	return rc < 0 ? rc : adit_flock(pool, adit_data, LOCK_UN);
}
static int64_t sys_do_flock(unsigned i)
{
	(void)i;
	return flock(sys_data, LOCK_EX) < 0 ? -1 : flock(sys_data, LOCK_UN);
}
static int64_t adit_big(unsigned i)
{
	return adit_pwrite(pool, adit_data, buffer, BIG_BYTES, (off_t)(i * BIG_BYTES % DATA_BYTES));
}
static int64_t adit_big_append(unsigned i)
{
	return adit_pwrite(pool, adit_grown, buffer, BIG_BYTES, (off_t)(i * BIG_BYTES));
}
static int64_t bare_copy(uint64_t at, size_t bytes)
{
	adit__pm_copy_nt(&bare.pm, bare.pm.base + at, buffer, bytes);
	adit__pm_fence(&bare.pm);
	return 0;
}
static int64_t bare_big(unsigned i)
{
	return bare_copy(i * BIG_BYTES % DATA_BYTES, BIG_BYTES);
}
static int64_t bare_4k(unsigned i)
{
	return bare_copy((uint64_t)next_4k(i), 4096);
}
/* As the log: one after the other in half a MiB. */
static int64_t bare_record(unsigned i)
{
	return bare_copy(i * 448ull % (512 << 10), 448);
}
static int64_t bare_line(unsigned i)
{
	return bare_copy(i * 64ull % (512 << 10), 64);
}
static int64_t sys_big(unsigned i)
{
	return pwrite(sys_data, buffer, BIG_BYTES, (off_t)(i * BIG_BYTES % DATA_BYTES));
}

static void cut(void)
{
	check(adit_ftruncate(pool, adit_grown, 0), "adit_ftruncate");
	check_sys(ftruncate(sys_grow, 0), "ftruncate");
}

/* ---- rounds ------------------------------------------------------------------------------------------ */

struct pair {
	const char *name;
	int64_t (*ours)(unsigned i), (*theirs)(unsigned i);
	unsigned ops;
	double target;	      /* theirs divided by ours must reach it; 0: none */
	void (*after)(void); /* not timed */
	bool first;	      /* of those that take turns: not to spoil each other's caches */
	struct series ns[2];
};

static struct pair pairs[] = {
	{"create", adit_create, sys_create, FILES, 4, NULL, true, {{{0}, 0}}},
	{"open, close", adit_open_close, sys_open_close, FILES, 0, NULL, false, {{{0}, 0}}},
	{"stat", adit_do_stat, sys_do_stat, FILES, 4, NULL, false, {{{0}, 0}}},
	{"rename", adit_do_rename, sys_do_rename, FILES, 4, NULL, false, {{{0}, 0}}},
	{"unlink", adit_do_unlink, sys_do_unlink, FILES, 4, NULL, false, {{{0}, 0}}},
	{"mkdir", adit_do_mkdir, sys_do_mkdir, FILES, 0, NULL, false, {{{0}, 0}}},
	{"rmdir", adit_do_rmdir, sys_do_rmdir, FILES, 0, NULL, false, {{{0}, 0}}},
	{"read 64 B", adit_read_64, sys_read_64, SMALL_OPS, 6, NULL, true, {{{0}, 0}}},
	{"read 4 KiB", adit_read_4k, sys_read_4k, SMALL_OPS, 2.5, NULL, true, {{{0}, 0}}},
	{"overwrite 4 KiB", adit_write_4k, sys_write_4k, SMALL_OPS, 2.5, NULL, true, {{{0}, 0}}},
	{"fcntl, unlock", adit_lock, sys_lock, SMALL_OPS, 0, NULL, true, {{{0}, 0}}},
	{"flock, unlock", adit_do_flock, sys_do_flock, SMALL_OPS, 0, NULL, false, {{{0}, 0}}},
	{"append 4 KiB", adit_append_4k, sys_append_4k, APPENDS, 2.5, cut, true, {{{0}, 0}}},
};
#define PAIRS (sizeof pairs / sizeof pairs[0])

/* No call that changes something can be faster than its lines and one fence. */
static struct pair floors[] = {
	{"64 B and a fence", bare_line, bare_line, SMALL_OPS, 0, NULL, true, {{{0}, 0}}},
	{"448 B and a fence", bare_record, bare_record, SMALL_OPS, 0, NULL, false, {{{0}, 0}}},
	{"4 KiB and a fence", bare_4k, bare_4k, SMALL_OPS, 0, NULL, false, {{{0}, 0}}},
};
#define FLOORS (sizeof floors / sizeof floors[0])

/* Theirs: the bare copy. */
static struct pair big_pairs[] = {
	{"overwrite 1 MiB", adit_big, bare_big, BIG_OPS, 0.9, NULL, true, {{{0}, 0}}},
	{"append 1 MiB", adit_big_append, bare_big, BIG_OPS, 0.9, cut, true, {{{0}, 0}}},
	{"(tmpfs) 1 MiB", sys_big, bare_big, BIG_OPS, 0, NULL, true, {{{0}, 0}}},
};
#define BIG_PAIRS (sizeof big_pairs / sizeof big_pairs[0])

static void run_side(struct pair *p, unsigned side, bool count)
{
	int64_t (*call)(unsigned) = side ? p->theirs : p->ours;
	double begin = now_ns();

	for (unsigned i = 0; i < p->ops; i++) {
		int64_t rc = call(i);

		if (rc < 0)
			die("%s (%s): %s", p->name, side ? "tmpfs" : "adit",
			    strerror(side ? errno : (int)-rc));
	}
	if (count)
		series_add(&p->ns[side], (now_ns() - begin) / p->ops);
}

/* The longest series of pairs from here on that take turns. */
static size_t group_of(const struct pair *list, size_t n)
{
	size_t i = 1;

	while (i < n && !list[i].first)
		i++;
	return i;
}

static void run_rounds(struct pair *list, size_t n)
{
	/* The first round warms up both sides. Who begins changes every time. */
	for (unsigned round = 0; round <= ROUNDS; round++) {
		for (size_t i = 0; i < n; i++) {
			run_side(&list[i], round % 2, round > 0);
			run_side(&list[i], !(round % 2), round > 0);
			if (list[i].after)
				list[i].after();
		}
		turn++;
	}
}

static void judge(double ratio, double target)
{
	if (target > 0) {
		missed_count += ratio < target;
		printf(" %7.1f  %s", target, ratio >= target ? "reached" : "MISSED");
	}
	putchar('\n');
}

static void report(const struct pair *p, const char *theirs)
{
	double ours_best = series_best(&p->ns[0]), theirs_best = series_best(&p->ns[1]);
	double ours_median = series_median(&p->ns[0]), theirs_median = series_median(&p->ns[1]);

	printf("%-18s %9.0f %9.0f %9.0f %9.0f %7.2f %7.2f", p->name, ours_best, theirs_best,
	       ours_median, theirs_median, theirs_best / ours_best, theirs_median / ours_median);
	judge(theirs_best / ours_best, p->target);
	json_begin_row(p->name);
	json_number("adit_best_ns", ours_best);
	json_number("adit_median_ns", ours_median);
	json_number(theirs, theirs_best);
	json_number("ratio_best", theirs_best / ours_best);
	json_number("ratio_median", theirs_median / ours_median);
	json_number("target", p->target);
	json_end_row();
}

static void floor_table(void)
{
	run_rounds(floors, FLOORS);
	printf("\n%-18s %9s\n", "bare memory", "best, ns");
	for (size_t i = 0; i < FLOORS; i++) {
		double best = series_best(&floors[i].ns[0]), other = series_best(&floors[i].ns[1]);

		best = other < best ? other : best;
		printf("%-18s %9.0f\n", floors[i].name, best);
		json_begin_row(floors[i].name);
		json_number("best_ns", best);
		json_end_row();
	}
}

static void table(struct pair *list, size_t n, const char *theirs, const char *key)
{
	for (size_t i = 0; i < n; i += group_of(list + i, n - i))
		run_rounds(list + i, group_of(list + i, n - i));
	printf("\n%-18s %19s %19s %15s\n", "", "best, ns", "median, ns", "ratio");
	printf("%-18s %9s %9s %9s %9s %7s %7s %7s\n", "operation", "adit", theirs, "adit", theirs,
	       "best", "median", "target");
	for (size_t i = 0; i < n; i++)
		report(&list[i], key);
}

/* ---- threads ----------------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	unsigned number, kind, total; /* total: how many work now */
	int fd, dir;
	double begin, end;
};
static struct worker workers[2];
static unsigned arrived;

/* The last one is what the memory itself gives. */
static const char *const kinds[] = {"read 4 KiB", "overwrite 4 KiB", "append 4 KiB",
				    "create, unlink", "(4 KiB bare copy)"};
#define KIND_BARE 4u

static int64_t one_op(struct worker *w, uint8_t *buf, unsigned i)
{
	off_t at = (off_t)(i % 1024 * 4096ull);
	char name[NAME_BYTES];
	int64_t rc;

	switch (w->kind) {
	case 0:
		return adit_pread(pool, w->fd, buf, 4096, at);
	case 1:
		return adit_pwrite(pool, w->fd, buf, 4096, at);
	case 2:
		if (i % 1024 == 0) {
			rc = adit_ftruncate(pool, w->fd, 0);
			if (rc < 0)
				return rc;
		}
		return adit_pwrite(pool, w->fd, buf, 4096, at);
	case KIND_BARE:
		adit__pm_copy_nt(&bare.pm, bare.pm.base + (w->number * 1024 + i % 1024) * 4096ull, buf,
				 4096);
		adit__pm_fence(&bare.pm);
		return 0;
	default:
		make_name(name, i);
		rc = adit_mknodat(pool, w->dir, name, S_IFREG | 0644, 0);
		return rc < 0 ? rc : adit_unlinkat(pool, w->dir, name, 0);
	}
}

/* Each on a processor of its own, or the kernel may let them take turns on one. */
static void pin(unsigned number)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || number-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)pthread_setaffinity_np(pthread_self(), sizeof one, &one);
		return;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	static uint8_t buf[2][4096] __attribute__((aligned(4096)));

	pin(w->number);
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < w->total)
		sched_yield();
	w->begin = now_ns();
	for (unsigned i = 0; i < SCALE_OPS; i++)
		check(one_op(w, buf[w->number], i), kinds[w->kind]);
	w->end = now_ns();
	return NULL;
}

/* Operations a second, all threads together. */
static double rate(unsigned threads, unsigned kind)
{
	double begin = 1e300, end = 0;

	arrived = 0;
	for (unsigned i = 0; i < threads; i++) {
		workers[i].number = i;
		workers[i].kind = kind;
		workers[i].total = threads;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			die("pthread_create");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned i = 0; i < threads; i++) {
		begin = workers[i].begin < begin ? workers[i].begin : begin;
		end = workers[i].end > end ? workers[i].end : end;
	}
	return (double)SCALE_OPS * threads / (end - begin) * 1e9;
}

static void scaling(void)
{
	printf("\n%-18s %10s %10s %7s %7s %7s\n", "threads, each with", "1 thread", "2 threads", "ratio",
	       "", "");
	printf("%-18s %10s %10s %7s %7s %7s\n", "files of its own", "ops/s", "ops/s", "best", "median",
	       "target");
	for (unsigned kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
		struct series one = {.n = 0}, two = {.n = 0}, ratio = {.n = 0};
		double best_one, best_two;

		for (unsigned round = 0; round < SCALE_ROUNDS; round++) {
			double a = rate(1, kind), b = rate(2, kind);

			/* Negative, so that the least is the best. */
			series_add(&one, -a);
			series_add(&two, -b);
			series_add(&ratio, b / a);
		}
		best_one = -series_best(&one);
		best_two = -series_best(&two);
		printf("%-18s %10.0f %10.0f %7.2f %7.2f", kinds[kind], best_one, best_two,
		       best_two / best_one, series_median(&ratio));
		judge(best_two / best_one, kind == KIND_BARE ? 0 : 1.8);
		json_begin_row(kinds[kind]);
		json_number("threads", 2);
		json_number("one_thread_ops", best_one);
		json_number("two_threads_ops", best_two);
		json_number("ratio_best", best_two / best_one);
		json_number("ratio_median", series_median(&ratio));
		json_number("target", 1.8);
		json_end_row();
	}
}

/* ---- before ------------------------------------------------------------------------------------------- */

static int open_adit(const char *name)
{
	int fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0644);

	check(fd, name);
	return fd;
}

static int adit_directory(const char *name)
{
	int fd;

	check(adit_mkdir(pool, name, 0755), name);
	fd = adit_openat(pool, AT_FDCWD, name, O_RDONLY | O_DIRECTORY, 0);
	check(fd, name);
	return fd;
}

static int open_sys(const char *name, uint64_t bytes)
{
	char path[400];
	int fd;

	snprintf(path, sizeof path, "%s/%s", bench_dir, name);
	fd = open(path, O_CREAT | O_RDWR, 0644);
	check_sys(fd, path);
	for (uint64_t at = 0; at < bytes; at += sizeof buffer)
		check_sys(pwrite(fd, buffer, sizeof buffer, (off_t)at), path);
	return fd;
}

static void prepare_workers(void)
{
	char name[NAME_BYTES];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(name, sizeof name, "own-%u", i);
		workers[i].fd = open_adit(name);
		for (unsigned k = 0; k < 1024; k++)
			check(adit_pwrite(pool, workers[i].fd, buffer, 4096, (off_t)(k * 4096ull)),
			      "adit_pwrite");
		snprintf(name, sizeof name, "own-dir-%u", i);
		workers[i].dir = adit_directory(name);
	}
}

static void prepare_bare(void)
{
	const struct adit_flush_variant *const *v;

	adit__flush_variants(&v);
	bare.pm.priv = &bare;
	bare.variant = v[0];
	bare.pm.ops = adit__flush_ops(ADIT_DOMAIN_MEMORY);
	bare.pm.size_bytes = DATA_BYTES;
	bare.pm.base = mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			    open_sys("bare", DATA_BYTES), 0);
	if (bare.pm.base == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

static void prepare(void)
{
	char path[400];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name_a[i], NAME_BYTES, "file-%06u", i);
		snprintf(name_b[i], NAME_BYTES, "name-%06u", i);
	}
	memset(buffer, 'b', sizeof buffer);
	pool_make(POOL_BYTES);
	pool = pool_open();
	pool_populate(pool, POOL_BYTES);
	adit_dir = adit_directory("names");
	adit_data = open_adit("data");
	adit_grown = open_adit("grow");
	for (uint64_t at = 0; at < DATA_BYTES; at += sizeof buffer)
		check(adit_pwrite(pool, adit_data, buffer, sizeof buffer, (off_t)at), "adit_pwrite");

	snprintf(path, sizeof path, "%s/names", bench_dir);
	check_sys(mkdir(path, 0755), path);
	sys_dir = open(path, O_RDONLY | O_DIRECTORY);
	check_sys(sys_dir, path);
	sys_data = open_sys("data", DATA_BYTES);
	sys_grow = open_sys("grow", 0);
	prepare_bare();
	prepare_workers();
}

int main(int argc, char **argv)
{
	struct adit_pool_info info;

	bench_begin(argc, argv, "ops");
	prepare();
	check(adit_info(pool, &info), "adit_info");
	printf("everyday calls: a pool on %s, domain %s%s, flush by %s; %d rounds in turns\n",
	       info.medium, info.domain_name, info.domain_assumed ? " (assumed)" : "",
	       info.flush_name, ROUNDS);
	table(pairs, PAIRS, "tmpfs", "tmpfs_best_ns");
	floor_table();
	table(big_pairs, BIG_PAIRS, "bare copy", "bare_best_ns");
	scaling();
	check(adit_close(pool), "adit_close");
	if (missed_count)
		printf("\n%zu targets missed in this run\n", missed_count);
	bench_end();
	return 0;
}
