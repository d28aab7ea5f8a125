/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * multi - processes that share a pool and directories, each with files of its own whose state it knows, killed at
 * random moments while the others go on.
 *
 * Whoever takes a dead worker's place finds each of its files as it was before or after the call that was running.
 * Others go on all the time: how soon is printed, only a minute counts as a failure.  In the end everything is
 * removed, all that is free can be had, and the check finds nothing.
 *
 *	multi				some seconds
 *	multi WORKERS			as many processes (4)
 *	ADIT_SECONDS=n ADIT_SEED=n
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <adit/adit.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/scratch.h"
#include "fs/env.h"
#include "fs/pool.h"
#include "media/sigbus.h"
#include "proof.h"

#define WORKERS_MAX 200u
#define FILES	    12
#define DIRS	   4
#define POOL_BYTES  (64ull << 20)
#define SIZE_MAX_  (400u << 10)

/* What a worker's file is: in a directory, so many bytes of a pattern. */
struct file {
	int dir; /* -1: it is not there */
	uint32_t size;
	uint32_t pattern;
};

struct worker {
	pid_t pid;
	struct file file[FILES];
	/* The running call changes this one from file[] to next. */
	int running; /* -1: none */
	struct file next;
	uint64_t calls; /* atomic */
	uint64_t seed;
	uint64_t longest_ns; /* a call */
};

static struct shared {
	struct worker worker[WORKERS_MAX];
	int stop; /* atomic */
	int failed;
	uint64_t refused; /* atomic: for want of space */
} * shared;

static char path[100];
static struct adit_pool *pool;
static struct worker *me;
static unsigned number;
static unsigned workers = 4, files = FILES;
static uint8_t bytes[SIZE_MAX_], found[SIZE_MAX_];

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
	shared->failed = 1;
	_exit(1);
}

static uint64_t chance(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static void fill(uint8_t *to, uint32_t pattern, uint32_t from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = (uint8_t)((from + i) * 131 + pattern * 29 + ((from + i) >> 9));
}

static const char *name_of(unsigned worker, unsigned i, int dir)
{
	static char name[2][64];
	static unsigned turn;

	turn = !turn;
	snprintf(name[turn], sizeof name[turn], "/dir-%d/worker-%u-file-%u", dir, worker, i);
	return name[turn];
}

/* ---- what is there ----------------------------------------------------------------------- */

/* Is file i of a worker as f says?  Only in that directory. */
static bool is_as(unsigned worker, unsigned i, const struct file *f)
{
	struct stat st;

	for (int dir = 0; dir < DIRS; dir++) {
		int rc = adit_fstatat(pool, AT_FDCWD, name_of(worker, i, dir), &st, 0), fd;

		if (rc != 0 && rc != -ENOENT)
			fail("stat of %s: %d", name_of(worker, i, dir), rc);
		if ((rc == 0) != (dir == f->dir))
			return false;
		if (rc != 0)
			continue;
		if (st.st_size != f->size)
			return false;
		fd = adit_openat(pool, AT_FDCWD, name_of(worker, i, dir), O_RDONLY, 0);
		if (fd < 0)
			fail("open of %s: %d", name_of(worker, i, dir), fd);
		if (adit_pread(pool, fd, found, sizeof found, 0) != f->size)
			fail("read of %s", name_of(worker, i, dir));
		fill(bytes, f->pattern, 0, f->size);
		rc = adit_close_fd(pool, fd);
		if (rc != 0)
			fail("close: %d", rc);
		if (memcmp(bytes, found, f->size) != 0)
			return false;
	}
	return true;
}

static void say(const char *what, const struct file *f)
{
	fprintf(stderr, "  %s: directory %d, %u bytes, pattern %u\n", what, f->dir, f->size,
		f->pattern);
}

/* After a death: each file is as it was; the one that was being changed perhaps as it was to be. */
static void settle_files(struct worker *w, unsigned n)
{
	for (unsigned i = 0; i < files; i++) {
		if (is_as(n, i, &w->file[i]))
			continue;
		if ((int)i == w->running && is_as(n, i, &w->next)) {
			w->file[i] = w->next;
			continue;
		}
		say("it was", &w->file[i]);
		if ((int)i == w->running)
			say("to be", &w->next);
		for (int d = 0; d < DIRS; d++) {
			struct stat st;

			if (adit_fstatat(pool, AT_FDCWD, name_of(n, i, d), &st, 0) == 0)
				fprintf(stderr, "  it is in %d, %llu bytes\n", d,
					(unsigned long long)st.st_size);
		}
		fail("file %u of worker %u is neither", i, n);
	}
	w->running = -1;
}

/* ---- calls --------------------------------------------------------------------------------- */

static void expect(int64_t rc, int64_t want, const char *what, unsigned i)
{
	if (rc != want)
		fail("%s of file %u: %lld instead of %lld", what, i, (long long)rc,
		     (long long)want);
}

static void refused(unsigned i, struct file *next)
{
	*next = me->file[i];
	__atomic_add_fetch(&shared->refused, 1, __ATOMIC_RELAXED);
}

static void make(unsigned i, struct file *next, uint64_t *random)
{
	int fd;

	*next = (struct file){(int)(chance(random) % DIRS), 0, (uint32_t)chance(random)};
	me->next = *next;
	me->running = (int)i;
	fd = adit_openat(pool, AT_FDCWD, name_of(number, i, next->dir), O_CREAT | O_EXCL | O_WRONLY,
			 0644);
	if (fd == -ENOSPC) {
		refused(i, next);
		return;
	}
	if (fd < 0)
		fail("creation of file %u: %d", i, fd);
	expect(adit_close_fd(pool, fd), 0, "close", i);
}

static void append(unsigned i, struct file *next, uint64_t *random)
{
	uint32_t n = (uint32_t)(chance(random) % (chance(random) % 8 == 0 ? 300000 : 9000)) + 1;
	int fd = adit_openat(pool, AT_FDCWD, name_of(number, i, next->dir), O_WRONLY | O_APPEND, 0);
	ssize_t rc;

	if (fd < 0)
		fail("open of file %u: %d", i, fd);
	if (next->size + n > SIZE_MAX_)
		n = SIZE_MAX_ - next->size;
	fill(bytes, next->pattern, next->size, n);
	next->size += n;
	me->next = *next;
	me->running = (int)i;
	rc = adit_write(pool, fd, bytes, n);
	if (rc == -ENOSPC) {
		refused(i, next);
	} else {
		expect(rc, n, "append", i);
	}
	expect(adit_close_fd(pool, fd), 0, "close", i);
}

static void shorten(unsigned i, struct file *next, uint64_t *random)
{
	next->size = (uint32_t)(chance(random) % (next->size + 1));
	me->next = *next;
	me->running = (int)i;
	expect(adit_truncate(pool, name_of(number, i, next->dir), next->size), 0, "truncate", i);
}

static void move(unsigned i, struct file *next, uint64_t *random)
{
	int from = next->dir, rc;

	next->dir = (int)(chance(random) % DIRS);
	me->next = *next;
	me->running = (int)i;
	rc = adit_rename(pool, name_of(number, i, from), name_of(number, i, next->dir));
	if (rc == -ENOSPC)
		refused(i, next);
	else
		expect(rc, 0, "rename", i);
}

static void forget(unsigned i, struct file *next)
{
	int dir = next->dir, fd = -1;

	/* Half of them while open. */
	if (i % 2) {
		fd = adit_openat(pool, AT_FDCWD, name_of(number, i, dir), O_RDONLY, 0);
		if (fd < 0)
			fail("open of file %u: %d", i, fd);
	}
	next->dir = -1;
	me->next = *next;
	me->running = (int)i;
	expect(adit_unlink(pool, name_of(number, i, dir)), 0, "unlink", i);
	if (fd >= 0)
		expect(adit_close_fd(pool, fd), 0, "close", i);
}

/* Names that all workers fight over: any outcome is right that a single process could see. */
static void fight(uint64_t *random)
{
	char a[64], b[64];
	int rc;

	snprintf(a, sizeof a, "/dir-%d/anybody-%d", (int)(chance(random) % DIRS),
		 (int)(chance(random) % 3));
	snprintf(b, sizeof b, "/dir-%d/anybody-%d", (int)(chance(random) % DIRS),
		 (int)(chance(random) % 3));
	switch (chance(random) % 4) {
	case 0:
		rc = adit_mknod(pool, a, S_IFREG | 0644, 0);
		break;
	case 1:
		rc = adit_rename(pool, a, b);
		break;
	case 2:
		rc = adit_link(pool, a, b);
		break;
	default:
		rc = adit_unlink(pool, a);
	}
	if (rc != 0 && rc != -ENOENT && rc != -EEXIST && rc != -ENOSPC)
		fail("a fight over %s, %s: %d", a, b, rc);
}

static void one_call(uint64_t *random)
{
	unsigned i = (unsigned)(chance(random) % files);
	struct file next = me->file[i];
	uint64_t began = now_ns();

	if (next.dir < 0)
		make(i, &next, random);
	else
		switch (chance(random) % 8) {
		case 0:
		case 1:
		case 2:
			append(i, &next, random);
			break;
		case 3:
			shorten(i, &next, random);
			break;
		case 4:
			move(i, &next, random);
			break;
		case 5:
			forget(i, &next);
			break;
		case 6:
			if (!is_as(number, i, &next))
				fail("file %u is not as it was", i);
			return;
		default:
			fight(random);
			return;
		}
	me->file[i] = next;
	__atomic_store_n(&me->running, -1, __ATOMIC_RELEASE);
	began = now_ns() - began;
	if (began > me->longest_ns)
		me->longest_ns = began;
	__atomic_add_fetch(&me->calls, 1, __ATOMIC_RELAXED);
}

static void open_it(void)
{
	int rc = adit_open(path, NULL, &pool);

	if (rc != 0)
		fail("open: %d", rc);
}

static void work(unsigned n)
{
	uint64_t random;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	number = n;
	me = &shared->worker[n];
	random = me->seed;
	open_it();
	settle_files(me, n);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED) && !shared->failed)
		one_call(&random);
	if (adit_close(pool) != 0)
		fail("close of the pool");
	_exit(0);
}

/* ---- the parent -------------------------------------------------------------------------------- */

static void start(unsigned n, uint64_t seed)
{
	struct worker *w = &shared->worker[n];
	pid_t pid;

	w->seed = seed;
	pid = fork();
	if (pid == 0)
		work(n);
	if (pid < 0)
		fail("fork");
	w->pid = pid;
}

/* Everybody but n does something, in at most so many ms. */
static uint64_t wait_for_others(unsigned n, unsigned limit_ms)
{
	uint64_t before[WORKERS_MAX], began = now_ns();

	for (unsigned i = 0; i < workers; i++)
		before[i] = __atomic_load_n(&shared->worker[i].calls, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < workers; i++)
		while (i != n && !shared->failed &&
		       __atomic_load_n(&shared->worker[i].calls, __ATOMIC_RELAXED) == before[i]) {
			usleep(200);
			if (now_ns() - began > limit_ms * 1000000ull)
				fail("worker %u (process %d) does not go on", i,
				     (int)shared->worker[i].pid);
		}
	return now_ns() - began;
}

/* The core's functions may store, whatever protects the pool (ADIT_PROTECT). */
static void stores_begin(struct adit_sigbus_frame *frame)
{
	adit__sigbus_push(frame, &pool->media);
	adit__allow_stores(frame);
}

static void check_it(void)
{
	struct adit_sigbus_frame frame;
	char text[400];
	int n;

	stores_begin(&frame);
	n = adit__check_quiet(adit__pool_fs(pool), text, sizeof text);
	adit__sigbus_pop(&frame);
	if (n != 0)
		fail("check: %d findings, the first: %s", n, text);
}

/* All that is free can be had: nothing is kept for the dead, neither counted nor in a group's bitmap. */
static void check_space(void)
{
	struct adit_fs *fs = adit__pool_fs(pool);
	struct adit_sigbus_frame frame;
	uint64_t sum = adit__scratch_blocks(adit__pool_fs(pool)), may;
	int rc;

	stores_begin(&frame);
	rc = adit__checkpoint(fs);
	adit__sigbus_pop(&frame);
	if (rc != 0)
		fail("checkpoint");
	may = fs->vol->free_blocks + adit__scratch_blocks(fs);
	if (may != adit__total_free(fs))
		fail("%llu blocks can be had, %llu are free", (unsigned long long)may,
		     (unsigned long long)adit__total_free(fs));
	for (uint32_t i = 0; i < fs->groups; i++) {
		const struct adit_vol_group *v = adit__group_vol(fs, i);

		if (v->incarnation != fs->incarnation)
			return; /* its share is not known: never touched */
		sum += v->free;
	}
	if (sum != may)
		fail("%llu blocks can be had, the groups have %llu", (unsigned long long)may,
		     (unsigned long long)sum);
}

static void make_pool(void)
{
	struct adit_mkfs_options o = {.size_bytes = workers > 16 ? 4 * POOL_BYTES : POOL_BYTES, .force = 1};
	int rc = adit_mkfs(path, &o);
	char dir[32];

	if (rc != 0)
		fail("mkfs: %d", rc);
	open_it();
	for (int i = 0; i < DIRS; i++) {
		snprintf(dir, sizeof dir, "/dir-%d", i);
		if (adit_mkdir(pool, dir, 0755) != 0)
			fail("mkdir");
	}
}

/* All files are known and go; what was fought over, too. */
static void clean_up(void)
{
	char name[64];

	for (unsigned n = 0; n < workers; n++) {
		settle_files(&shared->worker[n], n);
		for (unsigned i = 0; i < files; i++)
			if (shared->worker[n].file[i].dir >= 0 &&
			    adit_unlink(pool, name_of(n, i, shared->worker[n].file[i].dir)) != 0)
				fail("unlink");
	}
	for (int dir = 0; dir < DIRS; dir++)
		for (unsigned k = 0; k < 3; k++) {
			snprintf(name, sizeof name, "/dir-%d/anybody-%u", dir, k);
			(void)adit_unlink(pool, name);
		}
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t random = chosen ? strtoull(chosen, NULL, 0) : 1, seed = random, kills = 0;
	uint64_t calls = 0, longest_call = 0, longest = 0, end;
	struct proof *proof =
		proof_begin(argc > 1 ? "multi-crowd" : "multi", "R10",
			    "processes that share a pool are killed at random moments: "
			    "acknowledged changes are there, the others go on");

	if (argc > 1)
		workers = (unsigned)atoi(argv[1]);
	if (workers < 2 || workers > WORKERS_MAX)
		return 2;
	if (workers > 16)
		files = 3;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 2;
	snprintf(path, sizeof path, "%s/adit-multi-%d.adit", dir, (int)getpid());
	make_pool();
	for (unsigned n = 0; n < workers; n++) {
		shared->worker[n].running = -1;
		for (unsigned i = 0; i < files; i++)
			shared->worker[n].file[i].dir = -1;
		start(n, chance(&random));
	}
	/* From now on: to start a crowd takes seconds. */
	end = now_ns() + (uint64_t)((limit ? strtod(limit, NULL) : 6) * 1e9);
	while (now_ns() < end && !shared->failed) {
		unsigned n = (unsigned)(chance(&random) % workers);
		int status;

		usleep((useconds_t)(chance(&random) % 20000));
		if (kill(shared->worker[n].pid, SIGKILL) != 0)
			fail("kill");
		if (waitpid(shared->worker[n].pid, &status, 0) < 0 || !WIFSIGNALED(status))
			fail("worker %u ended by itself", n);
		kills++;
		if (workers < 16 || kills % 200 == 0) {
			uint64_t took = wait_for_others(n, 60000);

			longest = took > longest ? took : longest;
		}
		start(n, chance(&random));
	}
	shared->stop = 1;
	for (unsigned n = 0; n < workers; n++) {
		int status;

		if (waitpid(shared->worker[n].pid, &status, 0) < 0 || status != 0)
			shared->failed = 1;
		calls += shared->worker[n].calls;
		if (shared->worker[n].longest_ns > longest_call)
			longest_call = shared->worker[n].longest_ns;
	}
	if (!shared->failed) {
		clean_up();
		check_it();
		check_space();
		if (adit_close(pool) != 0)
			fail("close");
		open_it();
		check_it();
		if (adit_close(pool) != 0)
			fail("close");
		unlink(path);
	}
	proof_seed(proof, seed);
	proof_count(proof, "kills", kills);
	proof_count(proof, "calls", calls);
	proof_end(proof, shared->failed != 0);
	printf("multi: %llu kills among %u processes, %llu calls, others went on within %.1f ms, "
	       "longest call %.1f ms, "
	       "%llu refused for space, seed %llu: %d failures\n",
	       (unsigned long long)kills, workers, (unsigned long long)calls, (double)longest / 1e6,
	       (double)longest_call / 1e6, (unsigned long long)shared->refused, (unsigned long long)seed, shared->failed != 0);
	return shared->failed != 0;
}
