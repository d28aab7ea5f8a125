/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grow - a pool grows while other processes work on it, and whoever makes it grow is killed now and then.
 *
 * The workers' files are always what they wrote, nothing but ENOSPC is ever refused, and in the end every block is
 * counted and the check finds nothing.  Before that: a full pool on which a write goes on once another process has
 * made it larger; a process without address space for it, which is named; what is refused.
 *
 *	grow				some seconds
 *	ADIT_SECONDS=n ADIT_SEED=n grow
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <adit/adit.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/scratch.h"
#include "fs/pool.h"
#include "proof.h"

#define WORKERS	  2
#define FILES	  24
#define SIZE_MAX_ 300000u
#define FIRST	  (4ull << 20)
#define LAST	  (200ull << 20)

static struct shared {
	int stop, failed; /* atomic */
	uint64_t calls, refused, grown;
	char line[300];
} * shared;

static char path[100];
static struct adit_pool *pool;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "FAILED (process %d): ", (int)getpid());
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	__atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
	_exit(1);
}

static uint64_t chance(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static void on_line(void *ctx, const char *line)
{
	(void)ctx;
	snprintf(shared->line, sizeof shared->line, "%s", line);
}

static void open_it(void)
{
	struct adit_open_options o = {.report = on_line};
	int rc = adit_open(path, &o, &pool);

	if (rc != 0)
		fail("open: %d: %s", rc, shared->line);
}

static void close_it(void)
{
	int rc = adit_close(pool);

	if (rc != 0)
		fail("close: %d", rc);
}

static pid_t start(void (*run)(uint64_t), uint64_t arg)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(arg);
		_exit(0);
	}
	return pid;
}

static void end_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || status != 0)
		fail("process %d ended with status %x", (int)pid, status);
}

static uint64_t size_of_pool(void)
{
	struct adit_pool_info info;
	struct statfs st;

	if (adit_info(pool, &info) != 0 || adit_statfs(pool, "/", &st) != 0)
		fail("info");
	if (st.f_blocks * (uint64_t)st.f_bsize != info.size_bytes)
		fail("info says %llu, statfs %llu", (unsigned long long)info.size_bytes,
		     (unsigned long long)st.f_blocks * (uint64_t)st.f_bsize);
	return info.size_bytes;
}

/* ---- one after the other ---------------------------------------------------------------------------- */

/* Two pipes: they tell each other to go on. */
static int here[2], there[2];

static void tell(const int *to)
{
	if (write(to[1], "", 1) != 1)
		fail("pipe");
}

static void wait_for(const int *from)
{
	char c;

	if (read(from[0], &c, 1) != 1)
		fail("the other process is gone");
}

static void fill_and_go_on(uint64_t arg)
{
	static uint8_t some[65536];
	uint64_t was, addr_was;
	void *addr;
	int fd;

	(void)arg;
	open_it();
	was = size_of_pool();
	adit_direct_access(pool, 0, 1, &addr, &addr_was);
	fd = adit_openat(pool, AT_FDCWD, "/full", O_CREAT | O_WRONLY | O_APPEND, 0644);
	while (adit_write(pool, fd, some, sizeof some) == (ssize_t)sizeof some) {
	}
	if (adit_write(pool, fd, some, sizeof some) != -ENOSPC)
		fail("a full pool does not say so");
	tell(here);
	wait_for(there);
	for (unsigned i = 0; i < 16; i++)
		if (adit_write(pool, fd, some, sizeof some) != (ssize_t)sizeof some)
			fail("write %u after the growth", i);
	if (size_of_pool() != was + (2 << 20))
		fail("the size is %llu", (unsigned long long)size_of_pool());
	if (adit_direct_access(pool, was + (1 << 20), 4096, &addr, &addr_was) != 0)
		fail("what is new has no address");
	close_it();
}

static void test_full(void)
{
	pid_t pid = start(fill_and_go_on, 0);

	wait_for(here);
	open_it();
	if (adit_grow(pool, size_of_pool() + (2 << 20)) != 0)
		fail("grow: %s", shared->line);
	tell(there);
	end_of(pid);
	if (adit_unlink(pool, "/full") != 0)
		fail("unlink");
	close_it();
}

static void hold_without_room(uint64_t arg)
{
	const struct rlimit limit = {8ull << 30, 8ull << 30};

	(void)arg;
	prctl(PR_SET_NAME, "narrow");
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		fail("setrlimit");
	open_it();
	tell(here);
	wait_for(there);
	close_it();
}

static void test_no_room(void)
{
	uint64_t was;
	pid_t pid = start(hold_without_room, 0);

	wait_for(here);
	open_it();
	was = size_of_pool();
	if (adit_grow(pool, was + (1 << 20)) != -ENOMEM || strstr(shared->line, "narrow") == NULL)
		fail("grown over somebody's head: %s", shared->line);
	if (size_of_pool() != was || adit_grow(pool, was) != 0)
		fail("the size it has");
	tell(there);
	end_of(pid);
	if (adit_grow(pool, was + (1 << 20)) != 0 || size_of_pool() != was + (1 << 20))
		fail("grow: %s", shared->line);
	close_it();
}

static void test_refused(void)
{
	struct adit_open_options ro = {.flags = ADIT_OPEN_RDONLY, .report = on_line};
	struct stat before, after;

	open_it();
	stat(path, &before);
	if (adit_grow(pool, size_of_pool() - 4096) != -EINVAL ||
	    strstr(shared->line, "shrink") == NULL)
		fail("shrinking: %s", shared->line);
	if (adit_grow(pool, 5ull << 50) != -EFBIG)
		fail("above the format's limit: %s", shared->line);
	if (adit_grow(pool, 3ull << 50) != -ENOMEM)
		fail("above what is reserved: %s", shared->line);
	stat(path, &after);
	if (before.st_size != after.st_size)
		fail("what was refused has changed the file");
	close_it();
	/* The file is longer than the pool: to its end. */
	if (truncate(path, after.st_size + 12345 + 4096) != 0)
		fail("truncate");
	open_it();
	if (adit_grow(pool, 0) != 0 ||
	    size_of_pool() != ((uint64_t)after.st_size + 12345 + 4096) / 4096 * 4096)
		fail("to the end of the file: %s", shared->line);
	close_it();
	if (adit_open(path, &ro, &pool) != 0)
		fail("open read-only");
	if (adit_grow(pool, 1ull << 30) != -EROFS)
		fail("a pool that is open for reading grows");
	close_it();
}

/* ---- all at once ---------------------------------------------------------------------------------------- */

static uint8_t bytes[SIZE_MAX_], found[SIZE_MAX_ + 1];

static void pattern(uint32_t version, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(i * 131 + version * 29 + (i >> 9));
}

struct known {
	uint32_t version, size; /* version 0: it is not there */
};

static void look_at(const char *name, const struct known *k)
{
	int fd = adit_openat(pool, AT_FDCWD, name, O_RDONLY, 0);
	ssize_t n;

	if (k->version == 0) {
		if (fd != -ENOENT)
			fail("%s: %d", name, fd);
		return;
	}
	n = fd >= 0 ? adit_pread(pool, fd, found, sizeof found, 0) : fd;
	pattern(k->version, k->size);
	if (n != (ssize_t)k->size || memcmp(bytes, found, k->size) != 0)
		fail("%s: read %lld, wrote %u", name, (long long)n, k->size);
	if (adit_close_fd(pool, fd) != 0)
		fail("close of %s", name);
}

static void write_anew(const char *name, struct known *k, uint64_t *random)
{
	uint32_t size = 1 + (uint32_t)(chance(random) % SIZE_MAX_);
	int fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	ssize_t n;

	if (fd == -ENOSPC) {
		__atomic_add_fetch(&shared->refused, 1, __ATOMIC_RELAXED);
		return;
	}
	if (fd < 0)
		fail("creation of %s: %d: %s", name, fd, shared->line);
	*k = (struct known){1 + (uint32_t)chance(random), size};
	pattern(k->version, size);
	n = adit_pwrite(pool, fd, bytes, size, 0);
	if (n == -ENOSPC) {
		__atomic_add_fetch(&shared->refused, 1, __ATOMIC_RELAXED);
		k->size = 0;
	} else if (n != (ssize_t)size) {
		fail("write of %s: %lld: %s", name, (long long)n, shared->line);
	}
	if (adit_close_fd(pool, fd) != 0)
		fail("close of %s", name);
}

static void work(uint64_t n)
{
	struct known known[FILES] = {{0, 0}};
	uint64_t random = n * 77 + 1;
	char name[40];

	open_it();
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&shared->failed, __ATOMIC_RELAXED)) {
		unsigned i = (unsigned)(chance(&random) % FILES);

		snprintf(name, sizeof name, "/worker-%d-%u", (int)n, i);
		look_at(name, &known[i]);
		if (chance(&random) % 4 != 0) {
			write_anew(name, &known[i], &random);
		} else if (known[i].version != 0) {
			if (adit_unlink(pool, name) != 0)
				fail("unlink of %s", name);
			known[i].version = 0;
		}
		__atomic_add_fetch(&shared->calls, 1, __ATOMIC_RELAXED);
	}
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "/worker-%d-%u", (int)n, i);
		look_at(name, &known[i]);
	}
	close_it();
}

/* Some steps, then it closes the pool, unless it is killed. */
static void grow_steps(uint64_t seed)
{
	uint64_t random = seed, steps = 1 + chance(&random) % 4;

	open_it();
	while (steps-- > 0) {
		uint64_t was = size_of_pool(),
			 by = 1 + chance(&random) % (chance(&random) % 2 ? 600 : 20);
		int rc;

		if (was >= LAST)
			break;
		rc = adit_grow(pool, was + by * 4096);
		/* The first blocks of a cluster alone. */
		if (rc == -EINVAL && strstr(shared->line, "metadata") != NULL)
			rc = adit_grow(pool, was + (1 << 20));
		if (rc != 0)
			fail("grow from %llu by %llu blocks: %d: %s", (unsigned long long)was,
			     (unsigned long long)by, rc, shared->line);
		if (size_of_pool() <= was)
			fail("it has not grown");
		__atomic_add_fetch(&shared->grown, 1, __ATOMIC_RELAXED);
	}
	close_it();
}

static void check_it(void)
{
	struct adit_fs *fs = adit__pool_fs(pool);
	char text[400];
	int n = adit__check_quiet(fs, text, sizeof text);

	if (n != 0)
		fail("check: %d findings, the first: %s", n, text);
	if (adit__checkpoint(fs) != 0 ||
	    fs->vol->free_blocks + adit__scratch_blocks(fs) != adit__total_free(fs))
		fail("%llu blocks can be had, %llu are free",
		     (unsigned long long)fs->vol->free_blocks,
		     (unsigned long long)adit__total_free(fs));
}

static uint64_t all_at_once(uint64_t seed, uint64_t end)
{
	uint64_t random = seed, kills = 0;
	pid_t worker[WORKERS];

	for (unsigned i = 0; i < WORKERS; i++)
		worker[i] = start(work, seed + i);
	while (now_ns() < end && !__atomic_load_n(&shared->failed, __ATOMIC_RELAXED)) {
		pid_t pid = start(grow_steps, chance(&random));
		int status;

		if (chance(&random) % 2 == 0) {
			end_of(pid);
			continue;
		}
		usleep((useconds_t)(chance(&random) % 6000));
		kill(pid, SIGKILL);
		if (waitpid(pid, &status, 0) < 0)
			fail("wait");
		kills += WIFSIGNALED(status);
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < WORKERS; i++)
		end_of(worker[i]);
	return kills;
}

static void make_pool(void)
{
	struct adit_mkfs_options o = {.size_bytes = FIRST, .group_bytes = 2 << 20, .force = 1};
	int rc = adit_mkfs(path, &o);

	if (rc != 0)
		fail("mkfs: %d", rc);
}

int main(void)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1, kills = 0, rounds = 0;
	uint64_t end = now_ns() + (uint64_t)((limit ? strtod(limit, NULL) : 5) * 1e9), last = 0;
	struct proof *proof = proof_begin(
		"grow", "R10", "a pool grows while processes work on it, and the grower is killed");

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || pipe(here) != 0 || pipe(there) != 0)
		return 2;
	snprintf(path, sizeof path, "%s/adit-grow-%d.adit", dir, (int)getpid());
	make_pool();
	test_full();
	test_no_room();
	test_refused();
	do {
		uint64_t part = now_ns() + 5000000000ull;

		make_pool();
		__atomic_store_n(&shared->stop, 0, __ATOMIC_RELAXED);
		kills += all_at_once(seed + rounds++, part < end ? part : end);
		open_it();
		check_it();
		last = size_of_pool();
		close_it();
		open_it();
		check_it();
		if (size_of_pool() != last)
			fail("it has another size when it is opened again");
		close_it();
	} while (now_ns() < end);
	unlink(path);
	proof_seed(proof, seed);
	proof_count(proof, "growths", shared->grown);
	proof_count(proof, "kills of the grower", kills);
	proof_count(proof, "calls of the others", shared->calls);
	proof_end(proof, shared->failed != 0);
	printf("grow: %llu growths, %llu kills of the grower, %llu calls of %u others, %llu "
	       "refused for space, to %llu "
	       "MiB, seed %llu: %d failures\n",
	       (unsigned long long)shared->grown, (unsigned long long)kills,
	       (unsigned long long)shared->calls, WORKERS, (unsigned long long)shared->refused,
	       (unsigned long long)last >> 20, (unsigned long long)seed, shared->failed);
	return shared->failed != 0;
}
