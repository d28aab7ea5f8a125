/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steps - a process is killed after the n-th instruction of an operation, while another one has the pool open.
 *
 * The other one then works on the very same files: it gets through, finds the operation done or not begun, no block
 * lost or kept, and nothing for the check to say.  The processor traps after each instruction (x86).
 *
 *	steps				some instructions of every operation, by chance
 *	ADIT_SECONDS=n ADIT_SEED=n	others, for so long
 *	steps --only NAME N		one
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <adit/adit.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/scratch.h"
#include "fs/env.h"
#include "fs/pool.h"
#include "proof.h"
#include "share/participant.h"

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

#define POOL_BYTES (8ull << 20)
#define JOBS	   4u

static struct adit_pool *pool;
static uint8_t bytes[512 << 10];
static unsigned failures;
static char what[100];

static void on_alarm(int signal)
{
	(void)signal;
	(void)!write(2, "HANGS: ", 7);
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	_exit(9);
}

static void fail(const char *why, long long a, long long b)
{
	fprintf(stderr, "FAILED %s: %s (%lld, %lld)\n", what, why, a, b);
	failures++;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is there before -------------------------------------------------------------------- */

static void write_file(const char *name, uint32_t n, int gap)
{
	int fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_WRONLY, 0644);

	for (uint32_t at = 0; at < n; at += gap ? 4096 : n)
		if (adit_pwrite(pool, fd, bytes, gap ? 4096 : n, gap ? at * 2ll : at) < 0)
			fail("preparing", fd, n);
	adit_close_fd(pool, fd);
}

static void prepare(void)
{
	char name[64];

	adit_mkdir(pool, "/d", 0755);
	adit_mkdir(pool, "/e", 0755);
	adit_mkdir(pool, "/empty", 0755);
	write_file("/d/small", 30, 0);
	write_file("/d/file", 20000, 0);
	write_file("/d/large", 400 << 10, 0);
	write_file("/d/holes", 120 << 10, 1);
	write_file("/e/other", 9000, 0);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "/d/one-of-many-with-a-longer-name-%02u", i);
		adit_mknod(pool, name, S_IFREG | 0644, 0);
	}
	adit_setxattr(pool, "/d/file", "user.one", bytes, 100, 0);
}

/* ---- operations --------------------------------------------------------------------------------- */

static int open_at(const char *name, int flags)
{
	return adit_openat(pool, AT_FDCWD, name, flags, 0644);
}

static int64_t do_create(void)
{
	return open_at("/d/new", O_CREAT | O_EXCL | O_WRONLY);
}
static int64_t do_mkdir(void)
{
	return adit_mkdir(pool, "/d/new", 0755);
}
static int64_t do_rmdir(void)
{
	return adit_rmdir(pool, "/empty");
}
static int64_t do_unlink(void)
{
	return adit_unlink(pool, "/d/file");
}
static int64_t do_unlink_large(void)
{
	return adit_unlink(pool, "/d/holes");
}
static int64_t do_link(void)
{
	return adit_link(pool, "/d/file", "/e/new");
}
static int64_t do_symlink(void)
{
	return adit_symlink(pool, "somewhere", "/d/new");
}
static int64_t do_rename(void)
{
	return adit_rename(pool, "/d/file", "/e/new");
}
static int64_t do_rename_over(void)
{
	return adit_rename(pool, "/d/file", "/e/other");
}
static int64_t do_rename_dir(void)
{
	return adit_rename(pool, "/empty", "/e/new");
}
static int64_t do_exchange(void)
{
	return adit_renameat2(pool, AT_FDCWD, "/d/file", AT_FDCWD, "/e/other", RENAME_EXCHANGE);
}
static int64_t do_truncate(void)
{
	return adit_truncate(pool, "/d/holes", 1000);
}
static int64_t do_chmod(void)
{
	return adit_fchmodat(pool, AT_FDCWD, "/d/file", 0600, 0);
}
static int64_t do_setxattr(void)
{
	return adit_setxattr(pool, "/d/file", "user.two", bytes, 300, 0);
}
static int64_t do_setxattr_large(void)
{
	return adit_setxattr(pool, "/d/file", "user.two", bytes, 20000, 0);
}
static int64_t append(const char *name, size_t n)
{
	int fd = open_at(name, O_WRONLY | O_APPEND);

	return adit_write(pool, fd, bytes, n);
}
static int64_t do_append(void)
{
	return append("/d/file", 5000);
}
static int64_t do_append_small(void)
{
	return append("/d/small", 20);
}
static int64_t do_append_large(void)
{
	return append("/d/file", 300 << 10);
}
static int64_t do_atomic(void)
{
	struct iovec v = {bytes + 1000, 9000};

	return adit_pwritev2(pool, open_at("/d/large", O_WRONLY), &v, 1, 3000, RWF_ATOMIC);
}
static int64_t do_punch(void)
{
	return adit_fallocate(pool, open_at("/d/large", O_WRONLY),
			      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 100000);
}
static int64_t do_allocate(void)
{
	return adit_fallocate(pool, open_at("/d/holes", O_WRONLY), 0, 0, 200 << 10);
}
static int64_t do_collapse(void)
{
	return adit_fallocate(pool, open_at("/d/holes", O_WRONLY), FALLOC_FL_COLLAPSE_RANGE, 8192,
			      40960);
}
static int64_t do_tmpfile(void)
{
	int fd = open_at("/d", O_TMPFILE | O_WRONLY);

	return adit_linkat(pool, fd, "", AT_FDCWD, "/d/new", AT_EMPTY_PATH);
}
static int64_t do_checkpoint(void)
{
	return adit__checkpoint(adit__pool_fs(pool));
}

static const struct step {
	const char *name;
	int64_t (*run)(void);
} steps[] = {
	{"create", do_create},
	{"mkdir", do_mkdir},
	{"rmdir", do_rmdir},
	{"unlink", do_unlink},
	{"unlink-large", do_unlink_large},
	{"link", do_link},
	{"symlink", do_symlink},
	{"rename", do_rename},
	{"rename-over", do_rename_over},
	{"rename-dir", do_rename_dir},
	{"exchange", do_exchange},
	{"truncate", do_truncate},
	{"chmod", do_chmod},
	{"setxattr", do_setxattr},
	{"setxattr-large", do_setxattr_large},
	{"append", do_append},
	{"append-small", do_append_small},
	{"append-large", do_append_large},
	{"atomic-write", do_atomic},
	{"punch", do_punch},
	{"allocate", do_allocate},
	{"collapse", do_collapse},
	{"tmpfile", do_tmpfile},
	{"checkpoint", do_checkpoint},
};
#define STEPS (sizeof steps / sizeof steps[0])

/* ---- the whole tree in a number ------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	return adit__hash64(h, p, n);
}

static uint64_t of_file(const char *name)
{
	static uint8_t data[1 << 20];
	char value[32 << 10];
	struct stat st;
	uint64_t h = 1;
	ssize_t n;
	int fd;

	if (adit_lstat(pool, name, &st) != 0)
		return 0;
	h = mix(h, &st.st_mode, sizeof st.st_mode);
	h = mix(h, &st.st_nlink, sizeof st.st_nlink);
	if (S_ISREG(st.st_mode)) {
		fd = open_at(name, O_RDONLY);
		n = adit_pread(pool, fd, data, sizeof data, 0);
		if (n != st.st_size)
			fail("reading", n, st.st_size);
		adit_close_fd(pool, fd);
		h = mix(h, data, (size_t)n);
		for (int i = 0; i < 2; i++) {
			n = adit_getxattr(pool, name, i ? "user.two" : "user.one", value,
					  sizeof value);
			h = mix(h, &n, sizeof n);
			if (n > 0)
				h = mix(h, value, (size_t)n);
		}
	}
	return h;
}

static uint64_t of_tree(void)
{
	static const char *const name[] = {"/d/small", "/d/file", "/d/large", "/d/holes",
					   "/e/other", "/empty",  "/d/new",   "/e/new",
					   "/d",       "/e",	  "/"};
	uint64_t h = 0, one;

	for (unsigned i = 0; i < sizeof name / sizeof name[0]; i++) {
		one = of_file(name[i]);
		h = mix(h, &one, sizeof one);
	}
	return h;
}

/* ---- one death ---------------------------------------------------------------------------------------- */

static char path[100];

static void open_it(void)
{
	int rc = adit_open(path, NULL, &pool);

	if (rc != 0) {
		fprintf(stderr, "FAILED %s: open: %d\n", what, rc);
		_exit(1);
	}
}

static uint8_t *image; /* of the prepared pool, closed */

static void fresh_pool(void)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	if (fd < 0 || write(fd, image, POOL_BYTES) != (ssize_t)POOL_BYTES)
		_exit(2);
	close(fd);
}

/* ---- instruction by instruction ------------------------------------------------------------------ */

static uint64_t *count; /* shared */
static uint64_t last;

static void on_trap(int signal)
{
	(void)signal;
	if (++*count == last)
		kill(getpid(), SIGKILL);
}

/* Not a function: it would trap on its way out, too, which does not matter, but on its way in it must not. */
#if defined(__x86_64__)
#define TRAP(flag)                                                                                 \
	__asm__ volatile(                                                                          \
		"lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); orq %0, (%%rsp); popfq; "  \
		"lea 128(%%rsp), %%rsp" ::"r"((uint64_t)(flag))                                    \
		: "memory", "cc")
#define CAN_TRAP true
#else
#define TRAP(flag) ((void)(flag))
#define CAN_TRAP   false
#endif

/* What only the first call of a process does (memory, checksums looked at, bitmaps built) is not what is stepped
 * through. */
static void warm_up(void)
{
	int fd = open_at("/e/warm", O_CREAT | O_WRONLY);

	if (adit_write(pool, fd, bytes, 5000) != 5000 || adit_close_fd(pool, fd) != 0 ||
	    adit_unlink(pool, "/e/warm") != 0)
		_exit(4);
	(void)of_tree();
}

/* In a process of its own, up to and including the n-th instruction: was it killed? */
static bool victim(const struct step *s, uint64_t n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int64_t rc;

		open_it();
		warm_up();
		*count = 0;
		last = n;
		signal(SIGTRAP, on_trap);
		TRAP(0x100);
		rc = s->run();
		TRAP(0);
		_exit(rc < 0 ? 3 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		fail("fork", pid, 0);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		fail("the operation", WEXITSTATUS(status), 0);
	return WIFSIGNALED(status);
}

/* Work that needs whatever the victim may have held. */
static void work_on(void)
{
	int fd, rc;

	rc = adit_mkdir(pool, "/d/peer", 0700);
	if (rc == 0)
		rc = adit_mkdir(pool, "/e/peer", 0700);
	if (rc == 0)
		rc = adit_rename(pool, "/d/peer", "/e/peer");
	if (rc == 0)
		rc = adit_rmdir(pool, "/e/peer");
	if (rc != 0)
		fail("directories", rc, 0);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const name[] = {"/d/small", "/d/file", "/d/large", "/d/holes"};

		fd = open_at(name[i], O_RDWR);
		if (fd == -ENOENT)
			continue;
		rc = fd < 0 ? fd : adit_fchmod(pool, fd, 0644);
		if (rc == 0)
			rc = adit_fsetxattr(pool, fd, "user.peer", "x", 1, 0);
		if (rc == 0)
			rc = adit_fremovexattr(pool, fd, "user.peer");
		if (rc == 0 && adit_close_fd(pool, fd) != 0)
			rc = -1;
		if (rc != 0)
			fail(name[i], rc, 0);
	}
}

/* What the victim had begun and was inherited is finished beside us. */
static void wait_for_inherited(const struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->nops; i++)
		while (fs->ops[i].owner == ((uint64_t)fs->incarnation << 32 | (fs->me + 1)) &&
		       __atomic_load_n(&fs->ops[i].state, __ATOMIC_ACQUIRE) != ADIT_OP_IDLE)
			usleep(100);
}

static void check_it(const char *when)
{
	struct adit_fs *fs = adit__pool_fs(pool);
	char text[400];
	int n;

	/* Perhaps nobody needed what it held. */
	adit__share_look(fs);
	wait_for_inherited(fs);
	n = adit__check_quiet(fs, text, sizeof text);

	if (n != 0) {
		fail(when, n, 0);
		fprintf(stderr, "  %s\n", text);
	}
	if (adit__checkpoint(fs) != 0)
		fail("checkpoint", 0, 0);
	if (fs->vol->free_blocks + adit__scratch_blocks(fs) != adit__total_free(fs))
		fail("blocks that can be had, and that are free", (long long)fs->vol->free_blocks,
		     (long long)adit__total_free(fs));
}

static uint64_t before_op, after_op[STEPS], instructions[STEPS];

static void one_death(unsigned i, uint64_t n)
{
	uint64_t tree;
	double began;
	bool killed;

	snprintf(what, sizeof what, "%s %llu", steps[i].name, (unsigned long long)n);
	alarm(120); /* nothing may hang */
	fresh_pool();
	open_it();
	killed = victim(&steps[i], n);
	began = seconds();
	tree = of_tree();
	if (tree != after_op[i] && (!killed || tree != before_op))
		fail("neither done nor not begun", (long long)*count, killed);
	work_on();
	if (seconds() - began > 60)
		fail("it took long", (long long)(1000 * (seconds() - began)), 0);
	check_it("check by the other one");
	if (adit_close(pool) != 0)
		fail("close", 0, 0);
	open_it();
	check_it("check by the next one");
	if (of_tree() == 0 || adit_close(pool) != 0)
		fail("close", 0, 0);
}

/* ---- all ---------------------------------------------------------------------------------------------- */

/* The trees before and after each, and how many instructions it takes. */
static void learn(void)
{
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};
	int fd;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	if (adit_mkfs(path, &o) != 0)
		_exit(2);
	open_it();
	prepare();
	before_op = of_tree();
	if (adit_close(pool) != 0)
		_exit(2);
	image = malloc(POOL_BYTES);
	fd = open(path, O_RDONLY);
	if (image == NULL || read(fd, image, POOL_BYTES) != (ssize_t)POOL_BYTES)
		_exit(2);
	close(fd);
	for (unsigned i = 0; i < STEPS; i++) {
		snprintf(what, sizeof what, "%s", steps[i].name);
		fresh_pool();
		open_it();
		if (victim(&steps[i], UINT64_MAX))
			fail("it was not to be killed", 0, 0);
		instructions[i] = *count;
		after_op[i] = of_tree();
		if (adit_close(pool) != 0)
			fail("close", 0, 0);
	}
}

struct sums {
	uint64_t deaths, failures;
};

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1, all = 0, total = 0;
	struct sums *sums =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct proof *proof =
		proof_begin("multi-steps", "R9",
			    "a process is killed after the n-th instruction of an "
			    "operation: another one goes on, and finds it done or not begun");
	double until;

	if (!CAN_TRAP)
		return 77;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, on_alarm);
	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof path, "%s/adit-steps-%d.adit", dir, (int)getpid());
	learn();
	for (unsigned i = 0; i < STEPS; i++)
		total += instructions[i];
	if (getenv("ADIT_SAY"))
		for (unsigned i = 0; i < STEPS; i++)
			printf("%s: %llu\n", steps[i].name, (unsigned long long)instructions[i]);
	if (argc > 3 && strcmp(argv[1], "--only") == 0) {
		for (unsigned i = 0; i < STEPS; i++)
			if (strcmp(argv[2], steps[i].name) == 0)
				one_death(i, strtoull(argv[3], NULL, 0));
		unlink(path);
		return failures != 0;
	}
	until = seconds() + (limit ? strtod(limit, NULL) : 15);
	for (unsigned job = 0; job < JOBS; job++) {
		if (fork() == 0) {
			uint64_t random = seed * 0x9e3779b97f4a7c15ull + job;
			unsigned i = job * (STEPS / JOBS);

			count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				     -1, 0);

			snprintf(path, sizeof path, "%s/adit-steps-%d.adit", dir, (int)getpid());
			while (seconds() < until && failures < 5) {
				random = random * 6364136223846793005ull + 1442695040888963407ull;
				i = (i + 1) % STEPS;
				one_death(i, (random >> 20) % instructions[i]);
				__atomic_add_fetch(&sums->deaths, 1, __ATOMIC_RELAXED);
			}
			__atomic_add_fetch(&sums->failures, failures, __ATOMIC_RELAXED);
			unlink(path);
			_exit(0);
		}
	}
	for (unsigned job = 0; job < JOBS; job++) {
		int status;

		wait(&status);
		all += status != 0;
	}
	unlink(path);
	all += failures + sums->failures;
	proof_seed(proof, seed);
	proof_count(proof, "kills after an instruction", sums->deaths);
	proof_end(proof, all);
	printf("steps: %llu deaths in %zu operations of %llu instructions, seed %llu: %llu "
	       "failures\n",
	       (unsigned long long)sums->deaths, STEPS, (unsigned long long)total,
	       (unsigned long long)seed, (unsigned long long)all);
	return all != 0;
}
