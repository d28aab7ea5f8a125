/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * open.c - how long opening takes: a 1 TiB sparse pool with a thousand and with a million files, after
 * a clean close and after a crash, and how much memory the process has of its own.
 *
 * Each open happens in a process of its own. The crash: threads change files, each in a lane of its
 * own, until their logs are well filled, and the process ends without closing.
 */
#include "bench.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define POOL_BYTES  (1ull << 40)
#define ROUNDS	    7
#define PER_DIR	    1000u
#define CRASHERS    16u
#define CRASH_FILES 300u /* created by each: about half a lane's ring */
#define TARGET_MS   20.0

struct result { /* of a child */
	double open_ms, first_stat_us;
	double anon_kib, rss_kib; /* after the open */
	double walked_anon_kib;	  /* after a stat of every file */
	uint32_t was_clean;
};

static uint64_t files;

static double status_kib(const char *key)
{
	char line[256];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtod(line + strlen(key), NULL);
	if (f)
		fclose(f);
	return kib;
}

static void path_of(char *path, uint64_t i)
{
	snprintf(path, 64, "d%llu/f%llu", (unsigned long long)(i / PER_DIR),
		 (unsigned long long)(i % PER_DIR));
}

static void make_files(struct adit_pool *pool, uint64_t from, uint64_t to)
{
	char path[64];

	for (uint64_t i = from; i < to; i++) {
		if (i % PER_DIR == 0) {
			snprintf(path, sizeof path, "d%llu", (unsigned long long)(i / PER_DIR));
			check(adit_mkdir(pool, path, 0755), path);
		}
		path_of(path, i);
		check(adit_mknod(pool, path, S_IFREG | 0644, 0), path);
	}
}

static void walk(struct adit_pool *pool)
{
	struct stat st;
	char path[64];

	for (uint64_t i = 0; i < files; i++) {
		path_of(path, i);
		check(adit_stat(pool, path, &st), path);
	}
}

static void *crash_thread(void *arg)
{
	struct adit_pool *pool = arg;
	static unsigned next;
	unsigned me = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED);
	char path[64];

	for (unsigned i = 0; i < CRASH_FILES; i++) {
		snprintf(path, sizeof path, "crash-%u-%u", me, i);
		(void)adit_mknod(pool, path, S_IFREG | 0644, 0);
		if (i % 2)
			(void)adit_unlink(pool, path);
	}
	return NULL;
}

static void crash(void)
{
	struct adit_pool *pool = pool_open();
	pthread_t thread[CRASHERS];

	for (unsigned i = 0; i < CRASHERS; i++)
		if (pthread_create(&thread[i], NULL, crash_thread, pool) != 0)
			die("pthread_create");
	for (unsigned i = 0; i < CRASHERS; i++)
		pthread_join(thread[i], NULL);
}

static void measure(struct result *r, bool walk_all)
{
	struct adit_pool_info info;
	struct adit_pool *pool;
	struct stat st;
	double begin = now_ns();

	pool = pool_open();
	r->open_ms = (now_ns() - begin) / 1e6;
	r->anon_kib = status_kib("RssAnon:");
	r->rss_kib = status_kib("VmRSS:");
	begin = now_ns();
	check(adit_stat(pool, "d0/f0", &st), "adit_stat");
	r->first_stat_us = (now_ns() - begin) / 1e3;
	if (walk_all) {
		walk(pool);
		r->walked_anon_kib = status_kib("RssAnon:");
	}
	check(adit_info(pool, &info), "adit_info");
	r->was_clean = info.was_clean;
	check(adit_close(pool), "adit_close");
}

/* In a child, so that nothing of an earlier open is left; _exit leaves a crash behind. */
static void in_child(void (*work)(struct result *, bool), struct result *r, bool flag)
{
	int pipes[2];
	struct result got = {0};
	pid_t pid;
	int status;

	if (pipe(pipes) != 0)
		die("pipe");
	fflush(NULL);
	pid = fork();
	check_sys(pid, "fork");
	if (pid == 0) {
		bench_made = false;
		work(&got, flag);
		_exit(write(pipes[1], &got, sizeof got) == sizeof got ? 0 : 1);
	}
	close(pipes[1]);
	if (read(pipes[0], r, sizeof *r) != sizeof *r)
		die("a child failed");
	close(pipes[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("a child failed");
}

static void do_crash(struct result *r, bool flag)
{
	(void)r, (void)flag;
	crash();
}

static void do_fill(struct result *r, bool flag)
{
	struct adit_pool *pool = pool_open();

	(void)r, (void)flag;
	make_files(pool, 0, files);
	check(adit_close(pool), "adit_close");
}

static void do_mkfs(struct result *r, bool flag)
{
	(void)r, (void)flag;
	pool_make(POOL_BYTES);
}

static void report(const char *what, struct result *r, unsigned n)
{
	struct series open_ms = {.n = 0}, stat_us = {.n = 0};
	double best, median;

	for (unsigned i = 0; i < n; i++) {
		series_add(&open_ms, r[i].open_ms);
		series_add(&stat_us, r[i].first_stat_us);
	}
	best = series_best(&open_ms);
	median = series_median(&open_ms);
	printf("%9llu %-14s %8.2f %8.2f %8.1f | %9.0f %9.0f %9.0f  %s\n", (unsigned long long)files,
	       what, best, median, series_best(&stat_us), r[n - 1].anon_kib, r[n - 1].walked_anon_kib,
	       r[n - 1].rss_kib, best < TARGET_MS ? "reached" : "MISSED");
	json_begin_row(what);
	json_number("files", (double)files);
	json_number("open_best_ms", best);
	json_number("open_median_ms", median);
	json_number("first_stat_us", series_best(&stat_us));
	json_number("anon_kib", r[n - 1].anon_kib);
	json_number("anon_after_stat_of_all_kib", r[n - 1].walked_anon_kib);
	json_number("rss_kib", r[n - 1].rss_kib);
	json_number("target_ms", TARGET_MS);
	json_end_row();
}

static void one_pool(void)
{
	struct result clean[ROUNDS], crashed[ROUNDS], none;

	in_child(do_mkfs, &none, false);
	in_child(do_fill, &none, false);
	for (unsigned i = 0; i < ROUNDS; i++) {
		in_child(measure, &clean[i], i == ROUNDS - 1);
		in_child(do_crash, &none, false);
		in_child(measure, &crashed[i], i == ROUNDS - 1);
		if (!clean[i].was_clean || crashed[i].was_clean)
			die("the pool does not say how it was left");
	}
	report("clean close", clean, ROUNDS);
	report("crash", crashed, ROUNDS);
	if (unlink(bench_pool) != 0)
		die("%s: %s", bench_pool, strerror(errno));
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "open");
	printf("opening a sparse pool of 1 TiB, target: under %.0f ms, whatever the number of files\n",
	       TARGET_MS);
	printf("%9s %-14s %17s %8s | %29s\n", "", "", "open, ms", "stat, us", "own memory, KiB    RSS, KiB");
	printf("%9s %-14s %8s %8s %8s | %9s %9s %9s\n", "files", "after a", "best", "median", "first",
	       "opened", "stat all", "opened");
	for (files = 1000; files <= 1000000; files *= 1000)
		one_pool();
	bench_end();
	return 0;
}
