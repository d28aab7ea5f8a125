/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h - what the benchmark programs share: time, a place for their files, rounds, output.
 *
 * Other programs may be running. So what is compared is measured in turns, round after round, and the
 * best round of each side counts; the median tells how calm the machine was.
 *
 * Options of every program: --json FILE writes the same numbers there, --dir DIR is where files go
 * (default /dev/shm).
 */
#ifndef ADIT_BENCH_BENCH_H
#define ADIT_BENCH_BENCH_H

#include <adit/adit.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 64

/* ---- the end of a benchmark -------------------------------------------------------------------- */

static char bench_dir[256] = "/dev/shm"; /* after bench_begin: a directory of our own in it */
static char bench_pool[300];
static bool bench_made;

static void bench_cleanup(void)
{
	char command[320];

	if (!bench_made)
		return;
	snprintf(command, sizeof command, "rm -rf '%s'", bench_dir);
	if (system(command) != 0)
		fprintf(stderr, "could not remove %s\n", bench_dir);
}

static __attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* rc: of a call of ours, -errno. */
static inline void check(int64_t rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, strerror((int)-rc));
}

/* rc: of a system call. */
static inline void check_sys(int64_t rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, strerror(errno));
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static FILE *json_file;
static bool json_comma;

/* One row: json_row("name", "stat", 's'), ("ns", 12.5), closed by json_end_row. */
static inline void json_begin_row(const char *name)
{
	if (!json_file)
		return;
	fprintf(json_file, "%s\n    {\"name\": \"%s\"", json_comma ? "," : "", name);
	json_comma = true;
}
static inline void json_number(const char *key, double value)
{
	if (json_file)
		fprintf(json_file, ", \"%s\": %.6g", key, value);
}
static inline void json_end_row(void)
{
	if (json_file)
		fputc('}', json_file);
}

/* ---- begin and end -------------------------------------------------------------------------------- */

static inline void bench_begin(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++) {
		if (i + 1 < argc && strcmp(argv[i], "--json") == 0) {
			json_file = fopen(argv[++i], "w");
			if (!json_file)
				die("%s: %s", argv[i], strerror(errno));
		} else if (i + 1 < argc && strcmp(argv[i], "--dir") == 0) {
			snprintf(bench_dir, sizeof bench_dir - 24, "%s", argv[++i]);
		} else {
			die("usage: %s [--json FILE] [--dir DIR]", argv[0]);
		}
	}
	strcat(bench_dir, "/adit-bench-XXXXXX");
	if (!mkdtemp(bench_dir))
		die("%s: %s", bench_dir, strerror(errno));
	bench_made = true;
	atexit(bench_cleanup);
	snprintf(bench_pool, sizeof bench_pool, "%s/pool", bench_dir);
	if (json_file)
		fprintf(json_file, "{\n  \"bench\": \"%s\",\n  \"rows\": [", name);
}

static inline void bench_end(void)
{
	if (json_file) {
		fprintf(json_file, "\n  ]\n}\n");
		fclose(json_file);
	}
}

/* ---- time ----------------------------------------------------------------------------------------- */

static inline double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What the rounds of one thing gave. */
struct series {
	double value[ROUNDS_MAX];
	unsigned n;
};

static inline void series_add(struct series *s, double value)
{
	if (s->n < ROUNDS_MAX)
		s->value[s->n++] = value;
}

static inline int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double series_best(const struct series *s)
{
	double best = s->n ? s->value[0] : 0;

	for (unsigned i = 1; i < s->n; i++)
		best = s->value[i] < best ? s->value[i] : best;
	return best;
}

static inline double series_median(const struct series *s)
{
	struct series sorted = *s;

	if (s->n == 0)
		return 0;
	qsort(sorted.value, sorted.n, sizeof sorted.value[0], compare_doubles);
	return sorted.value[sorted.n / 2];
}

/* xorshift64* */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* ---- a pool ---------------------------------------------------------------------------------------- */

/* A new one, opened with the memory domain assumed, so that flushes are real. */
static inline void pool_make(uint64_t bytes)
{
	struct adit_mkfs_options o = {.size_bytes = bytes, .force = 1,
				      .assume = ADIT_ASSUME_MEMORY};

	check(adit_mkfs(bench_pool, &o), "adit_mkfs");
}

static inline struct adit_pool *pool_open(void)
{
	struct adit_open_options o = {.assume = ADIT_ASSUME_MEMORY};
	struct adit_pool *pool = NULL;

	check(adit_open(bench_pool, &o, &pool), "adit_open");
	return pool;
}

/* Map every page now, as a device's pages are: what is measured is not the kernel handing out memory. */
static inline void pool_populate(struct adit_pool *pool, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes;) {
		uint64_t n = 0;
		void *p;

		check(adit_direct_access(pool, at, bytes - at, &p, &n), "adit_direct_access");
		/* MADV_POPULATE_WRITE; an older kernel is told by touching. */
		if (madvise(p, n, 23) != 0) {
			for (uint64_t i = 0; i < n; i += 4096)
				__atomic_fetch_or((uint8_t *)p + i, 0, __ATOMIC_RELAXED);
		}
		at += n;
	}
}

/* "x" and a number, NUL-terminated, without printf's cost. */
static inline void make_name(char *name, uint64_t number)
{
	char digits[24];
	unsigned n = 0, at = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	name[at++] = 'x';
	while (n > 0)
		name[at++] = digits[--n];
	name[at] = '\0';
}
#define NAME_BYTES 24

#endif
