/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * system - the system calls and allocations that making, opening and closing a pool needs, and the
 * descriptors of an open one: the n-th one fails, n = 1, 2, ... until all goes well.
 *
 * Shown: an error number of the call that failed (or success, where the library can do without it); no
 * descriptor, mapping or memory of the process is kept; mkfs leaves no pool and no file behind; a pool that
 * did not open or close opens afterwards and holds what it held.
 * Also: the descriptor table full (EMFILE); RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_AS when a pool is made and
 * opened.
 *
 * The calls are wrapped by the linker (meson.build), so what libc does inside is not counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "adit/adit.h"
#include "fs/fd.h"
#include "proof.h"

#define POOL_BYTES (4ull << 20)

enum call {
	OPEN,
	FSTAT,
	FSTATFS,
	MMAP,
	FTRUNCATE,
	FCNTL,
	FSYNC,
	SIGACTION,
	CALLOC,
	MALLOC,
	STRDUP,
	CALLS
};
static const char *const call_name[CALLS] = {
	"open",	 "fstat",     "fstatfs", "mmap",   "ftruncate", "fcntl",
	"fsync", "sigaction", "calloc",	 "malloc", "strdup",
};
static const int errors[CALLS] = {EMFILE, EIO,	  EIO,	  ENOMEM, EFBIG, ENOLCK,
				  EIO,	  EINVAL, ENOMEM, ENOMEM, ENOMEM};
static uint64_t refused[CALLS][6];
static unsigned failures;

/* ---- the wrapped calls ------------------------------------------------------------------- */

static unsigned fail_at[CALLS]; /* counts down; 0: never */
static bool struck;
static int64_t held; /* allocations that were not freed */

static bool fails(enum call c)
{
	if (fail_at[c] == 0 || --fail_at[c] > 0)
		return false;
	struck = true;
	errno = errors[c];
	return true;
}

#define WRAP(type, name, call, failed, args, params)                                               \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return fails(call) ? failed : __real_##name args;                                  \
	}
WRAP(int, fstat64, FSTAT, -1, (fd, st), (int fd, struct stat *st))
WRAP(int, fstatfs64, FSTATFS, -1, (fd, st), (int fd, void *st))
WRAP(void *, mmap64, MMAP, MAP_FAILED, (at, len, prot, flags, fd, offset),
     (void *at, size_t len, int prot, int flags, int fd, off_t offset))
WRAP(int, ftruncate64, FTRUNCATE, -1, (fd, len), (int fd, off_t len))
WRAP(int, fsync, FSYNC, -1, (fd), (int fd))
WRAP(int, sigaction, SIGACTION, -1, (sig, new, old),
     (int sig, const struct sigaction *new, struct sigaction *old))

int __real_open64(const char *, int, ...);
int __wrap_open64(const char *, int, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
	va_end(args);
	return fails(OPEN) ? -1 : __real_open64(path, flags, mode);
}

int __real_fcntl64(int, int, ...);
int __wrap_fcntl64(int, int, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(FCNTL) ? -1 : __real_fcntl64(fd, command, arg);
}

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_calloc(size_t n, size_t bytes)
{
	void *p = fails(CALLOC) ? NULL : __real_calloc(n, bytes);

	held += p != NULL;
	return p;
}

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__wrap_malloc(size_t bytes)
{
	void *p = fails(MALLOC) ? NULL : __real_malloc(bytes);

	held += p != NULL;
	return p;
}

void *__real_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	void *p = fails(MALLOC) ? NULL : __real_aligned_alloc(align, bytes);

	held += p != NULL;
	return p;
}

char *__real_strdup(const char *);
char *__wrap_strdup(const char *);
char *__wrap_strdup(const char *s)
{
	char *p = fails(STRDUP) ? NULL : __real_strdup(s);

	held += p != NULL;
	return p;
}

void __real_free(void *);
void __wrap_free(void *);
void __wrap_free(void *p)
{
	held -= p != NULL;
	__real_free(p);
}

/* ---- what is left behind ------------------------------------------------------------------- */

static char path[100];

static unsigned descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += __real_fcntl64(fd, F_GETFD) >= 0;
	return n;
}

static unsigned mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[600];
	unsigned n = 0;

	while (maps && fgets(line, sizeof line, maps))
		n += strstr(line, path) != NULL;
	if (maps)
		fclose(maps);
	return n;
}

static void failed(const char *what, enum call c, unsigned n, const char *wrong)
{
	failures++;
	printf("FAILED %s, %s %u fails: %s\n", what, call_name[c], n, wrong);
}

/* ---- what is done ------------------------------------------------------------------------------ */

static void on_report(void *ctx, const char *line)
{
	(void)ctx, (void)line;
}

static const struct adit_mkfs_options make = {.size_bytes = POOL_BYTES, .report = on_report};
static const struct adit_mkfs_options force = {
	.size_bytes = POOL_BYTES, .report = on_report, .force = 1};
static const struct adit_open_options quiet = {.report = on_report};
static const struct adit_open_options reading = {.report = on_report, .flags = ADIT_OPEN_RDONLY};

static int do_mkfs(void)
{
	return adit_mkfs(path, &make);
}

static int do_force(void)
{
	return adit_mkfs(path, &force);
}

static int open_and_close(const struct adit_open_options *o)
{
	struct adit_pool *pool;
	int err = adit_open(path, o, &pool);

	return err ? err : adit_close(pool);
}

static int do_open(void)
{
	return open_and_close(&quiet);
}

static int do_read(void)
{
	return open_and_close(&reading);
}

static int do_open_fd(void)
{
	int fd = __real_open64(path, O_RDWR | O_CLOEXEC), err;
	struct adit_pool *pool;

	err = adit_open_fd(fd, &quiet, &pool);
	close(fd);
	return err ? err : adit_close(pool);
}

/* Calls on an open pool that allocate. */
static int do_work(void)
{
	struct adit_pool *pool;
	int err = adit_open(path, &quiet, &pool), fd, copy;

	if (err)
		return err;
	fd = adit_openat(pool, AT_FDCWD, "/kept", O_RDWR, 0);
	copy = adit_openat(pool, AT_FDCWD, "/copy", O_CREAT | O_RDWR, 0600);
	err = fd < 0 ? fd : copy < 0 ? copy : 0;
	if (err == 0) {
		int64_t n = adit_copy_file_range(pool, fd, NULL, copy, NULL, 100, 0);

		err = n < 0 ? (int)n : 0;
	}
	if (err == 0)
		err = adit_dup2(pool, fd, 5000) < 0 ? -ENOMEM : 0;
	(void)adit_unlink(pool, "/copy");
	(void)adit_close(pool);
	return err;
}

static bool holds_file(void)
{
	struct adit_pool *pool;
	char text[8] = "";
	int fd;

	if (adit_open(path, &quiet, &pool) != 0)
		return false;
	fd = adit_openat(pool, AT_FDCWD, "/kept", O_RDONLY, 0);
	(void)adit_read(pool, fd, text, sizeof text - 1);
	return adit_close(pool) == 0 && strcmp(text, "kept") == 0;
}

static void make_pool(void)
{
	struct adit_pool *pool;
	int fd;

	unlink(path);
	if (adit_mkfs(path, &make) != 0 || adit_open(path, &quiet, &pool) != 0)
		abort();
	fd = adit_openat(pool, AT_FDCWD, "/kept", O_CREAT | O_WRONLY, 0600);
	if (adit_write(pool, fd, "kept", 4) != 4 || adit_close(pool) != 0)
		abort();
}

static const struct {
	const char *name;
	int (*run)(void);
	bool making, old; /* old: there is a pool before */
} things[6] = {
	{"mkfs", do_mkfs, true, false},	      {"mkfs over a pool", do_force, true, true},
	{"open", do_open, false, true},	      {"open read-only", do_read, false, true},
	{"open_fd", do_open_fd, false, true}, {"calls", do_work, false, true},
};

/* An error leaves nothing; success is possible where the call is not needed. */
static const char *judge(unsigned thing, int err, enum call c, unsigned fds, unsigned maps,
			 int64_t before)
{
	if (err > 0 || (!struck && err))
		return "wrong result";
	if (struck && err && err != -errors[c] && err != -EIO && (c != FCNTL || err != -EBADF))
		return "another error than the call's";
	if (descriptors() != fds)
		return "a descriptor is left";
	if (mappings() != maps)
		return "a mapping is left";
	if (held != before)
		return "memory is left";
	if (things[thing].making && err && !things[thing].old && access(path, F_OK) == 0)
		return "a file is left";
	if (things[thing].making && !err && do_open() != 0)
		return "what was made does not open";
	if (!things[thing].making && !holds_file())
		return "the pool does not hold what it held";
	return NULL;
}

static void nth(unsigned thing, enum call c)
{
	for (unsigned n = 1; n < 500; n++) {
		unsigned fds, maps;
		const char *wrong;
		int64_t before;
		int err;

		if (things[thing].old)
			make_pool();
		else
			unlink(path);
		fds = descriptors();
		maps = mappings();
		before = held;
		struck = false;
		fail_at[c] = n;
		err = things[thing].run();
		fail_at[c] = 0;
		wrong = judge(thing, err, c, fds, maps, before);
		if (wrong)
			failed(things[thing].name, c, n, wrong);
		if (!struck || wrong)
			return;
		refused[c][thing]++;
	}
}

/* ---- limits -------------------------------------------------------------------------------------- */

/* In a child: the error, or -1000 when something is wrong. */
static int limited(int resource, rlim_t to, int (*run)(void))
{
	const struct rlimit limit = {to, to};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(resource, &limit) != 0)
			_exit(255);
		_exit(-run());
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)
		       ? -WEXITSTATUS(status)
		       : -1000;
}

static void limits(void)
{
	static const struct {
		const char *name;
		int resource;
		rlim_t to;
		int (*run)(void);
		int want;
		bool old;
	} table[] = {
		{"mkfs with RLIMIT_FSIZE", RLIMIT_FSIZE, 1 << 20, do_mkfs, -EFBIG, false},
		{"mkfs with RLIMIT_NOFILE", RLIMIT_NOFILE, 3, do_mkfs, -EMFILE, false},
		{"open with RLIMIT_NOFILE", RLIMIT_NOFILE, 3, do_open, -EMFILE, true},
#ifndef __SANITIZE_ADDRESS__
		{"open with RLIMIT_AS", RLIMIT_AS, 1 << 20, do_open, -ENOMEM, true},
#endif
		{"calls with RLIMIT_FSIZE: a pool's files are not the process's", RLIMIT_FSIZE, 10,
		 do_work, 0, true},
	};

	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		int got;

		if (table[i].old)
			make_pool();
		else
			unlink(path);
		got = limited(table[i].resource, table[i].to, table[i].run);
		if (got != table[i].want) {
			failures++;
			printf("FAILED %s: %d\n", table[i].name, got);
		}
		if (!table[i].old && access(path, F_OK) == 0) {
			failures++;
			printf("FAILED %s: a file is left\n", table[i].name);
		}
	}
}

static void descriptor_table(void)
{
	struct adit_pool *pool;
	int fd = 0;

	make_pool();
	if (adit_open(path, &quiet, &pool) != 0)
		abort();
	while (fd >= 0)
		fd = adit_openat(pool, AT_FDCWD, "/kept", O_RDONLY, 0);
	if (fd != -EMFILE || adit_dup(pool, 0) != -EMFILE ||
	    adit_creat(pool, "/new", 0600) != -EMFILE ||
	    adit_access(pool, "/new", F_OK) != -ENOENT) {
		failures++;
		printf("FAILED descriptor table: error %d, or a file was made without a "
		       "descriptor\n",
		       fd);
	}
	if (adit_close_fd(pool, 77) != 0 || adit_dup(pool, 0) != 77 ||
	    adit_close_fd(pool, (int)ADIT_FD_MAX - 1) != 0) {
		failures++;
		printf("FAILED descriptor table: no descriptor after one was closed\n");
	}
	if (adit_close(pool) != 0 || !holds_file()) {
		failures++;
		printf("FAILED descriptor table: the pool does not close\n");
	}
}

/* ---- the end ----------------------------------------------------------------------------------- */

int main(void)
{
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	const char *columns[6];
	struct proof *p = proof_begin(
		"fault-system", "R21",
		"the n-th system call or allocation of mkfs, open, close and calls fails");
	uint64_t sum = 0;

	snprintf(path, sizeof path, "%s/adit-fault-system-%d", dir, (int)getpid());
	for (unsigned thing = 0; thing < 6; thing++) {
		columns[thing] = things[thing].name;
		for (unsigned c = 0; c < CALLS; c++)
			nth(thing, (enum call)c);
	}
	limits();
	descriptor_table();
	unlink(path);
	proof_matrix(p, "failures per call", columns, 6);
	for (unsigned c = 0; c < CALLS; c++) {
		proof_row(p, call_name[c], refused[c]);
		for (unsigned thing = 0; thing < 6; thing++)
			sum += refused[c][thing];
	}
	proof_count(p, "system calls and allocations that failed", sum);
	proof_note(p, "EINTR does not apply: no call of the library waits in the kernel; its locks "
		      "are spun and "
		      "yielded for. RLIMIT_FSIZE does not apply to files in a pool.");
	proof_end(p, failures);
	printf("fault_system: %llu calls failed in turn, %u failures\n", (unsigned long long)sum,
	       failures);
	return failures != 0;
}
