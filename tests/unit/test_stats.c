/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stats.c - adit_stats: each kind of call is counted once, with its bytes and errors; flushes, fences and
 * streamed lines are what the recorder sees; sums over threads, processes, those that left and those that were
 * killed are exact and never go down; a full pool and a pool that is open for reading count privately.
 *
 * Neighbours: api.h; media/record.h (the recorder), share/counts.h, core/stats.h.
 */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "core/scratch.h"
#include "core/stats.h"
#include "fs/pool.h"
#include "media/record.h"
#include "share/participant.h"

static struct adit_pool_stats stats_of(struct api *a)
{
	struct adit_pool_stats s;

	memset(&s, 0xff, sizeof s);
	assert_int_equal(adit_stats(a->pool, &s), 0);
	for (unsigned i = 0; i < sizeof s.reserved / sizeof s.reserved[0]; i++)
		assert_int_equal(s.reserved[i], 0);
	return s;
}

/* ---- kinds ------------------------------------------------------------------------------------- */

static const char *changed(const struct adit_pool_stats *was, const struct adit_pool_stats *now)
{
	static char text[512];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++) {
		uint64_t calls = now->calls[i] - was->calls[i],
			 failed = now->failed[i] - was->failed[i];

		if (calls != 0)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %u", n ? ", " : "",
					      adit_stats_name(i), (unsigned)calls);
		if (failed != 0)
			n += (size_t)snprintf(text + n, sizeof text - n, " (%u failed)",
					      (unsigned)failed);
	}
	return text;
}

#define COUNTS(a, text, work)                                                                      \
	do {                                                                                       \
		struct adit_pool_stats was_ = stats_of(a), now_;                                   \
                                                                                                   \
		work;                                                                              \
		now_ = stats_of(a);                                                                \
		assert_string_equal(changed(&was_, &now_), text);                                  \
	} while (0)

static void names(struct api *a)
{
	struct adit_pool *p = a->pool;
	char buf[64];
	int fd;

	COUNTS(a, "open 1, create 1", fd = adit_openat(p, AT_FDCWD, "f", O_CREAT | O_RDWR, 0644));
	COUNTS(a, "", adit_dup(p, fd); adit_close_fd(p, fd + 1));
	COUNTS(a, "close 1", adit_close_fd(p, fd));
	COUNTS(a, "open 1, close 1",
	       adit_close_fd(p, adit_openat(p, AT_FDCWD, "f", O_CREAT | O_RDWR, 0644)));
	COUNTS(a, "open 1 (1 failed)",
	       assert_int_equal(adit_openat(p, AT_FDCWD, "g", O_RDONLY, 0), -ENOENT));
	COUNTS(a, "",
	       assert_int_equal(adit_openat(p, AT_FDCWD, "g", O_CREAT | O_DIRECTORY, 0), -EINVAL));
	COUNTS(a, "create 1", assert_int_equal(adit_mknod(p, "fifo", S_IFIFO | 0600, 0), 0));
	COUNTS(a, "mkdir 1", assert_int_equal(adit_mkdir(p, "d", 0755), 0));
	COUNTS(a, "mkdir 1 (1 failed)", assert_int_equal(adit_mkdir(p, "d", 0755), -EEXIST));
	COUNTS(a, "symlink 1", assert_int_equal(adit_symlink(p, "f", "s"), 0));
	COUNTS(a, "link 1", assert_int_equal(adit_link(p, "f", "l"), 0));
	COUNTS(a, "readlink 1", assert_int_equal(adit_readlink(p, "s", buf, sizeof buf), 1));
	COUNTS(a, "rename 1", assert_int_equal(adit_rename(p, "l", "m"), 0));
	COUNTS(a, "unlink 1", assert_int_equal(adit_unlink(p, "m"), 0));
	COUNTS(a, "unlink 1 (1 failed)", assert_int_equal(adit_unlink(p, "m"), -ENOENT));
	COUNTS(a, "rmdir 1", assert_int_equal(adit_rmdir(p, "d"), 0));
}

static void attributes(struct api *a)
{
	struct adit_pool *p = a->pool;
	struct adit_handle handle;
	struct statfs sfs;
	struct statx stx;
	struct stat st;
	char buf[64];
	int fd = api_open(a, "f", O_RDWR);

	COUNTS(a, "getattr 3", adit_stat(p, "f", &st); adit_lstat(p, "f", &st);
	       adit_fstat(p, fd, &st));
	COUNTS(a, "getattr 2", adit_statx(p, AT_FDCWD, "f", 0, STATX_ALL, &stx);
	       adit_access(p, "f", R_OK));
	COUNTS(a, "getattr 2", adit_statfs(p, "f", &sfs);
	       adit_name_to_handle_at(p, AT_FDCWD, "f", &handle, 0));
	COUNTS(a, "open 1, close 1",
	       adit_close_fd(p, adit_open_by_handle_at(p, &handle, O_RDONLY)));
	COUNTS(a, "setattr 4", adit_chmod(p, "f", 0600); adit_fchmod(p, fd, 0644);
	       adit_chown(p, "f", 1, 1); adit_futimens(p, fd, NULL));
	COUNTS(a, "setxattr 1", assert_int_equal(adit_setxattr(p, "f", "user.a", "x", 1, 0), 0));
	COUNTS(a, "getxattr 2 (1 failed)", adit_getxattr(p, "f", "user.a", buf, sizeof buf);
	       adit_fgetxattr(p, fd, "user.b", buf, sizeof buf));
	COUNTS(a, "listxattr 1", adit_flistxattr(p, fd, buf, sizeof buf));
	COUNTS(a, "removexattr 1", adit_fremovexattr(p, fd, "user.a"));
	assert_int_equal(adit_close_fd(p, fd), 0);
}

static void contents(struct api *a)
{
	struct adit_pool *p = a->pool;
	struct adit_pool_stats was = stats_of(a), now;
	off_t from = 0, to = 8192;
	char buf[8192] = "";
	int fd = api_open(a, "f", O_RDWR), dir = api_open(a, "/", O_RDONLY);
	struct iovec two[2] = {{buf, 100}, {buf + 100, 50}};

	COUNTS(a, "write 3", adit_write(p, fd, buf, 4096); adit_pwrite(p, fd, buf, 10, 5);
	       adit_writev(p, fd, two, 2));
	COUNTS(a, "read 3", adit_pread(p, fd, buf, 8192, 0); adit_read(p, fd, buf, 8192);
	       adit_preadv(p, fd, two, 2, 4096));
	now = stats_of(a);
	assert_int_equal(now.bytes_written - was.bytes_written, 4096 + 10 + 150);
	assert_int_equal(now.bytes_read - was.bytes_read, 4246 + 0 + 150);
	COUNTS(a, "", adit_pread(p, fd, buf, 0, 0); adit_pread(p, 999, buf, 1, 0);
	       adit_pread(p, fd, buf, 1, -1));
	COUNTS(a, "read 1", assert_int_equal(adit_read(p, fd, buf, 1), 0));
	COUNTS(a, "", assert_int_equal(adit_pread(p, dir, buf, 1, 0), -EISDIR));
	was = stats_of(a);
	COUNTS(a, "copy 1",
	       assert_int_equal(adit_copy_file_range(p, fd, &from, fd, &to, 1000, 0), 1000));
	now = stats_of(a);
	assert_int_equal(now.bytes_written - was.bytes_written, 1000);
	assert_int_equal(now.bytes_read - was.bytes_read, 1000);
	COUNTS(a, "truncate 2", adit_ftruncate(p, fd, 100); adit_truncate(p, "f", 5000));
	COUNTS(a, "fallocate 1", adit_fallocate(p, fd, 0, 0, 8192));
	COUNTS(a, "seek 1", adit_lseek(p, fd, 0, SEEK_SET));
	COUNTS(a, "readdir 2", adit_getdents(p, dir, buf, sizeof buf);
	       adit_getdents(p, dir, buf, sizeof buf));
	COUNTS(a, "fsync 3", adit_fsync(p, fd); adit_fdatasync(p, fd); adit_syncfs(p, fd));
	assert_int_equal(adit_close_fd(p, fd), 0);
	assert_int_equal(adit_close_fd(p, dir), 0);
}

static void test_kinds(void **state)
{
	struct api a;

	(void)state;
	api_make(&a, 16 * MIB);
	names(&a);
	attributes(&a);
	contents(&a);
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		assert_non_null(adit_stats_name(i));
	assert_null(adit_stats_name(ADIT_CALL_KINDS));
	assert_int_equal(stats_of(&a).participants, 1);
	api_done(&a);
}

/* ---- flushes and fences -------------------------------------------------------------------------- */

static uint64_t streamed_bytes;

static void on_nt(struct adit_pm *pm, const void *dst, size_t len)
{
	(void)pm, (void)dst;
	__atomic_fetch_add(&streamed_bytes, len, __ATOMIC_RELAXED);
}

static void some_work(struct api *a)
{
	static char buf[70000];
	char name[32], other[32];
	int fd;

	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "f%u", i);
		snprintf(other, sizeof other, "g%u", i / 2);
		fd = api_open(a, name, O_CREAT | O_RDWR);
		assert_int_equal(adit_pwrite(a->pool, fd, buf, 1 + i * 200, i % 5000), 1 + i * 200);
		assert_int_equal(adit_ftruncate(a->pool, fd, i * 3), 0);
		assert_int_equal(adit_close_fd(a->pool, fd), 0);
		assert_int_equal(adit_rename(a->pool, name, other), 0);
		assert_int_equal(adit_setxattr(a->pool, other, "user.x", buf, i * 20, 0), 0);
	}
	for (unsigned i = 0; i < 150; i++) {
		snprintf(other, sizeof other, "g%u", i);
		assert_int_equal(adit_unlink(a->pool, other), 0);
	}
}

static void test_flushes(void **state)
{
	static const char *const domains[] = {"memory", "cpu-cache", "file", "process"};
	static struct adit_record_hooks hooks = {.nt = on_nt};

	(void)state;
	adit__record = &hooks;
	for (unsigned i = 0; i < 4; i++) {
		struct adit_pm_counts was, now;
		struct adit_pool_stats s0, s1;
		uint64_t bytes_was;
		struct api a;

		setenv("ADIT_ASSUME", domains[i], 1);
		api_make(&a, 16 * MIB);
		/* The file domain flushes nothing in between; nothing is counted outside of calls. */
		api_put(&a, "first", "x", 1);
		s0 = stats_of(&a);
		adit__counts_get(&was);
		bytes_was = streamed_bytes;
		some_work(&a);
		adit__counts_get(&now);
		s1 = stats_of(&a);
		assert_true(s1.checkpoints > s0.checkpoints);
		assert_int_equal(s1.fences - s0.fences, now.fences - was.fences);
		assert_int_equal(s1.flushed_lines - s0.flushed_lines,
				 now.flushed_lines - was.flushed_lines);
		assert_int_equal(s1.streamed_lines - s0.streamed_lines,
				 now.nt_lines - was.nt_lines);
		assert_int_equal(s1.streamed_bytes - s0.streamed_bytes, streamed_bytes - bytes_was);
		assert_true(s1.flushed_lines > s0.flushed_lines && s1.records - s0.records > 1000);
		assert_true(s1.record_bytes - s0.record_bytes >= 64 * (s1.records - s0.records));
		api_done(&a);
	}
	unsetenv("ADIT_ASSUME");
	adit__record = NULL;
}

/* ---- threads --------------------------------------------------------------------------------------- */

#define THREADS 12u
#define ROUNDS	500u

struct worker {
	struct api *a;
	int fd;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char buf[64] = "";

	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(adit_pwrite(w->a->pool, w->fd, buf, 3, i), 3);
		assert_int_equal(adit_pread(w->a->pool, w->fd, buf, 2, 0), 2);
	}
	return NULL;
}

static void run_threads(struct api *a, int fd, unsigned n)
{
	struct worker w = {a, fd};
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, &w), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
}

/* Rounds of threads that end: the next ones go on in their shards. */
static void test_threads(void **state)
{
	struct adit_pool_stats s;
	struct api a, b;
	uint64_t lent;
	int fd, fd_b;

	(void)state;
	api_make(&a, 64 * MIB);
	api_make(&b, 16 * MIB);
	fd = api_open(&a, "f", O_CREAT | O_RDWR);
	fd_b = api_open(&b, "f", O_CREAT | O_RDWR);
	for (unsigned round = 1; round <= 4; round++) {
		run_threads(&a, fd, THREADS);
		s = stats_of(&a);
		assert_int_equal(s.calls[ADIT_CALL_WRITE], round * THREADS * ROUNDS);
		assert_int_equal(s.calls[ADIT_CALL_READ], round * THREADS * ROUNDS);
		assert_int_equal(s.bytes_written, 3 * s.calls[ADIT_CALL_WRITE]);
		assert_int_equal(s.bytes_read, 2 * s.calls[ADIT_CALL_READ]);
		/* At most as many shards as threads at once, and a block of holds. */
		lent = 1 + (THREADS + 1 + ADIT_SHARDS_OF_BLOCK - 1) / ADIT_SHARDS_OF_BLOCK;
		assert_in_range(s.lent_blocks, 2, lent);
		/* The main thread, by turns in two pools. */
		assert_int_equal(adit_pwrite(b.pool, fd_b, "x", 1, 0), 1);
		assert_int_equal(adit_fsync(a.pool, fd), 0);
		assert_int_equal(stats_of(&b).calls[ADIT_CALL_WRITE], round);
		assert_int_equal(stats_of(&a).calls[ADIT_CALL_FSYNC], round);
	}
	assert_int_equal(s.uncounted, 0);
	api_done(&a);
	/* This thread's shard of a is gone, and b goes on. */
	assert_int_equal(adit_pwrite(b.pool, fd_b, "x", 1, 0), 1);
	assert_int_equal(stats_of(&b).calls[ADIT_CALL_WRITE], 5);
	api_reopen(&b);
	assert_int_equal(stats_of(&b).calls[ADIT_CALL_WRITE], 0);
	api_done(&b);
}

/* Threads that have a shard when the pool is closed under them, and end later. */
static void *idle(void *arg)
{
	struct {
		struct worker w;
		pthread_barrier_t *barrier;
	} *x = arg;

	work(&x->w);
	pthread_barrier_wait(x->barrier);
	pthread_barrier_wait(x->barrier); /* closed */
	return NULL;
}

static void test_closed_under_threads(void **state)
{
	pthread_barrier_t barrier;
	struct {
		struct worker w;
		pthread_barrier_t *barrier;
	} x;
	pthread_t thread[3];
	struct api a;

	(void)state;
	assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
	api_make(&a, 16 * MIB);
	x.w.a = &a;
	x.w.fd = api_open(&a, "f", O_CREAT | O_RDWR);
	x.barrier = &barrier;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, idle, &x), 0);
	pthread_barrier_wait(&barrier);
	api_done(&a);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	pthread_barrier_destroy(&barrier);
}

/* ---- processes ----------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int to, from; /* pipes */
};

/* What a worker knows to be done: in memory that outlives it. */
struct done {
	uint64_t calls[THREADS]; /* writes, reads */
};

struct in_process {
	struct api *a;
	int fd;
	uint64_t *calls;
};

static void *forever(void *arg)
{
	struct in_process *x = arg;
	char buf[8] = "";

	for (;;) {
		if (adit_pwrite(x->a->pool, x->fd, buf, 5, 0) != 5)
			_exit(5);
		__atomic_fetch_add(x->calls, 1, __ATOMIC_RELAXED);
		if (adit_pread(x->a->pool, x->fd, buf, 1, 0) != 1)
			_exit(6);
		__atomic_fetch_add(x->calls, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Does rounds of calls when told to ('w', 't': by four threads), closes ('c'), goes on until it is killed ('f') or waits
 * to be. */
static void child_main(struct api *a, int in, int out, struct done *done)
{
	struct in_process x[3];
	char c, buf[64] = "";
	pthread_t thread;
	int fd = -1;

	while (read(in, &c, 1) == 1) {
		if (c == 'o' && (api_try_open(a, 0) != 0 ||
				 (fd = adit_openat(a->pool, AT_FDCWD, "f", O_RDWR, 0)) < 0))
			_exit(2);
		if (c == 't')
			run_threads(a, fd, 4);
		if (c == 'w')
			for (unsigned i = 0; i < ROUNDS; i++)
				if (adit_pwrite(a->pool, fd, buf, 5, i) != 5 ||
				    adit_pread(a->pool, fd, buf, 1, 0) != 1)
					_exit(3);
		for (unsigned i = 0; c == 'f' && i < 3; i++) {
			x[i] = (struct in_process){a, fd, &done->calls[i]};
			if (pthread_create(&thread, NULL, forever, &x[i]) != 0)
				_exit(7);
		}
		if (c == 'c' && adit_close(a->pool) != 0)
			_exit(4);
		if (write(out, &c, 1) != 1 || c == 'c')
			break;
	}
	_exit(0);
}

static struct child start(struct api *a, struct done *done)
{
	int to[2], from[2];
	struct child c;

	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		close(to[1]);
		close(from[0]);
		child_main(a, to[0], from[1], done);
	}
	close(to[0]);
	close(from[1]);
	c.to = to[1];
	c.from = from[0];
	return c;
}

static void tell(struct child *c, char what)
{
	char back;

	assert_int_equal(write(c->to, &what, 1), 1);
	assert_int_equal(read(c->from, &back, 1), 1);
	assert_int_equal(back, what);
}

static void ends(struct child *c, bool killed)
{
	int status;

	if (killed)
		assert_int_equal(kill(c->pid, SIGKILL), 0);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_int_equal(killed ? WIFSIGNALED(status) : status, killed ? 1 : 0);
	close(c->to);
	close(c->from);
}

static void test_processes(void **state)
{
	struct child leaves, dies, last;
	struct adit_pool_stats s;
	struct api a, b;
	uint64_t lent;

	(void)state;
	api_name(&a);
	leaves = start(&a, NULL);
	dies = start(&a, NULL);
	last = start(&a, NULL);
	assert_int_equal(api_mkfs(&a, 64 * MIB, 0), 0);
	assert_int_equal(api_try_open(&a, 0), 0);
	api_put(&a, "f", "1234567", 7);
	tell(&leaves, 'o');
	tell(&dies, 'o');
	assert_int_equal(stats_of(&a).participants, 3);
	assert_int_equal(write(leaves.to, "w", 1), 1); /* at the same time */
	tell(&dies, 'w');
	tell(&dies, 'w');
	assert_int_equal(read(leaves.from, b.path, 1), 1);
	s = stats_of(&a);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 1 + 3 * ROUNDS);
	assert_int_equal(s.bytes_written, 7 + 5 * 3 * ROUNDS);
	assert_int_equal(s.calls[ADIT_CALL_READ], 3 * ROUNDS);
	assert_int_equal(s.calls[ADIT_CALL_OPEN], 3);
	assert_int_equal(s.repairs, 0);
	lent = s.lent_blocks;

	tell(&leaves, 'c');
	ends(&leaves, false);
	assert_int_equal(stats_of(&a).calls[ADIT_CALL_WRITE], 1 + 3 * ROUNDS);
	assert_int_equal(stats_of(&a).participants, 2);
	ends(&dies, true);
	assert_int_equal(stats_of(&a).calls[ADIT_CALL_WRITE], 1 + 3 * ROUNDS);

	/* Once it has been looked after, who comes goes on where they have been. */
	adit__share_look(adit__pool_fs(a.pool));
	tell(&last, 'o');
	tell(&last, 'w');
	s = stats_of(&a);
	assert_int_equal(s.participants, 2);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 1 + 4 * ROUNDS);
	assert_int_equal(s.calls[ADIT_CALL_READ], 4 * ROUNDS);
	assert_int_equal(s.bytes_read, 4 * ROUNDS);
	assert_int_equal(s.participants, 2);
	assert_int_equal(s.lent_blocks, lent);
	lent = stats_of(&a).bytes_written;
	tell(&last, 't');
	s = stats_of(&a);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 1 + 4 * ROUNDS + 4 * ROUNDS);
	assert_int_equal(s.bytes_written - lent, 3 * 4 * ROUNDS);
	ends(&last, true);
	adit__share_look(adit__pool_fs(a.pool));
	b = a;
	assert_int_equal(api_try_open(&b, 0), 0);
	s = stats_of(&b);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 1 + 8 * ROUNDS);
	assert_int_equal(s.participants, 2);
	assert_int_equal(adit_close(b.pool), 0);
	api_reopen(&a);
	s = stats_of(&a);
	assert_int_equal(s.calls[ADIT_CALL_WRITE] + s.repairs + s.records, 0);
	api_done(&a);
}

static unsigned blocks_of_shards(const struct adit_fs *fs)
{
	unsigned n = 0;

	for (struct adit_scratch *b = NULL; (b = adit__scratch_next(fs, b));)
		n += adit__scratch_kind(b) == ADIT_SCRATCH_STATS;
	return n;
}

/* Every number that only grows. */
static void assert_grew(const struct adit_pool_stats *was, const struct adit_pool_stats *now)
{
	const uint64_t *a = was->calls, *b = now->calls;

	for (size_t i = 0; &a[i] < &was->blocks; i++)
		assert_true(b[i] >= a[i]);
}

#define MORTALS 6u

/* Processes are killed in the middle of whatever they do, while somebody watches: no call that returned is lost, none is
 * counted that did not begin, no sum goes down. */
static void test_deaths(void **state)
{
	struct done *done = mmap(NULL, MORTALS * sizeof *done, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct adit_pool_stats was, now;
	struct child child[MORTALS];
	uint64_t calls = 0;
	struct api a;

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* of a lock that the child makes anew it believes that the parent's thread has it */
#endif
	assert_true(done != MAP_FAILED);
	api_name(&a);
	for (unsigned i = 0; i < MORTALS; i++)
		child[i] = start(&a, &done[i]);
	assert_int_equal(api_mkfs(&a, 64 * MIB, 0), 0);
	assert_int_equal(api_try_open(&a, 0), 0);
	api_put(&a, "f", "1234567", 7);
	was = stats_of(&a);
	for (unsigned i = 0; i < MORTALS; i++) {
		tell(&child[i], 'o');
		tell(&child[i], 'f');
		for (unsigned k = 0; k < 200; k++) {
			now = stats_of(&a);
			assert_grew(&was, &now);
			was = now;
			usleep(100);
		}
		/* Two are always at work, but for the first and the last. */
		if (i > 0)
			ends(&child[i - 1], true);
		adit__share_look(adit__pool_fs(a.pool));
	}
	ends(&child[MORTALS - 1], true);
	adit__share_look(adit__pool_fs(a.pool));
	now = stats_of(&a);
	assert_grew(&was, &now);
	/* Who died between two calls needs none. */
	assert_in_range(now.repairs, 0, MORTALS);
	/* This process, and the two that were there at a time: each went on where somebody had died. */
	assert_int_equal(blocks_of_shards(adit__pool_fs(a.pool)), 3);
	for (unsigned i = 0; i < MORTALS; i++)
		for (unsigned k = 0; k < 3; k++)
			calls += done[i].calls[k];
	assert_true(calls > 0);
	/* Each of their threads may have been in a call that is counted already, or returned and not noted. */
	assert_in_range(now.calls[ADIT_CALL_WRITE] - 1 + now.calls[ADIT_CALL_READ], calls,
			calls + 3 * MORTALS);
	api_done(&a);
	munmap(done, MORTALS * sizeof *done);
}

/* A child of fork counts for itself in the same pool, whatever its parent's threads did at that moment. */
static void test_fork(void **state)
{
	struct worker w;
	struct adit_pool_stats s;
	pthread_t thread;
	struct api a;
	int status;
	pid_t pid;

	(void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	skip(); /* they know no threads after a fork of threads; their allocator stays locked in the child */
#endif
	api_make(&a, 64 * MIB);
	w = (struct worker){&a, api_open(&a, "f", O_CREAT | O_RDWR)};
	work(&w);
	for (unsigned i = 1; i <= 4; i++) {
		assert_int_equal(pthread_create(&thread, NULL, work, &w), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			run_threads(&a, w.fd, 2);
			work(&w);
			_exit(i % 2 ? adit_close(a.pool) != 0 : 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		s = stats_of(&a);
		assert_int_equal(s.calls[ADIT_CALL_WRITE], (1 + 4 * i) * ROUNDS);
		assert_int_equal(s.bytes_read, 2 * (1 + 4 * i) * ROUNDS);
		assert_int_equal(s.uncounted, 0);
	}
	adit__share_look(adit__pool_fs(a.pool));
	assert_int_equal(stats_of(&a).participants, 1);
	api_done(&a);
}

/* ---- without room, without the right to write, after faults ----------------------------------------------- */

static void take_all(struct adit_fs *fs)
{
	struct adit_op op;

	adit__op_begin(&op, fs);
	while (adit__scratch_get(fs, ADIT_SCRATCH_HOLDS, fs->me + 1))
		;
	adit__op_end(&op);
}

static void test_full(void **state)
{
	struct adit_pool_stats s;
	char buf[4096] = "";
	struct api a;
	int fd;

	(void)state;
	api_make(&a, 4 * MIB);
	fd = api_open(&a, "f", O_CREAT | O_RDWR);
	assert_int_equal(adit_pwrite(a.pool, fd, buf, sizeof buf, 0), sizeof buf);
	take_all(adit__pool_fs(a.pool));
	assert_int_equal(adit_pwrite(a.pool, fd, buf, sizeof buf, 1 << 20), -ENOSPC);
	s = stats_of(&a);
	assert_int_equal(s.no_space, 1);
	assert_int_equal(s.failed[ADIT_CALL_WRITE], 1);
	assert_int_equal(s.uncounted, 0);
	run_threads(&a, fd, THREADS);
	run_threads(&a, fd, THREADS);
	s = stats_of(&a);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 2 + 2 * THREADS * ROUNDS);
	assert_int_equal(s.bytes_read, 2 * 2 * THREADS * ROUNDS);
	api_done(&a);
}

static void test_read_only(void **state)
{
	struct adit_pool_stats s;
	char buf[16];
	struct api a;
	int fd;

	(void)state;
	api_make(&a, 16 * MIB);
	api_put(&a, "f", "12345", 5);
	assert_int_equal(adit_close(a.pool), 0);
	assert_int_equal(api_try_open(&a, ADIT_OPEN_RDONLY), 0);
	fd = api_open(&a, "f", O_RDONLY);
	assert_int_equal(adit_pread(a.pool, fd, buf, sizeof buf, 0), 5);
	s = stats_of(&a);
	assert_int_equal(s.calls[ADIT_CALL_READ], 1);
	assert_int_equal(s.bytes_read, 5);
	assert_int_equal(s.calls[ADIT_CALL_WRITE], 0);
	api_done(&a);
}

static uint64_t first_shards(const struct adit_fs *fs)
{
	struct adit_scratch *s = NULL;

	while ((s = adit__scratch_next(fs, s)))
		if (adit__scratch_kind(s) == ADIT_SCRATCH_STATS)
			return adit__offset_of(fs, s);
	fail_msg("no block of shards");
	return 0;
}

/* The pool file is cut short: the block with the shards is gone, the file's own blocks are there. */
static void test_shard_is_lost(void **state)
{
	struct adit_pool_stats s;
	char buf[16];
	struct api a;
	int fd;

	(void)state;
	api_make(&a, 16 * MIB);
	fd = api_open(&a, "f", O_CREAT | O_RDWR);
	assert_int_equal(adit_pwrite(a.pool, fd, "12345", 5, 0), 5);
	assert_int_equal(adit_pread(a.pool, fd, buf, 5, 0), 5);
	assert_int_equal(truncate(a.path, (off_t)first_shards(adit__pool_fs(a.pool))), 0);
	assert_int_equal(adit_pread(a.pool, fd, buf, 5, 0), -EIO);
	assert_int_equal(adit_pread(a.pool, fd, buf, 5, 0), 5);
	assert_int_equal(adit_stats(a.pool, &s), -EUCLEAN);
	assert_int_equal(truncate(a.path, 16 * MIB), 0);
	(void)adit_close(a.pool);
	unlink(a.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_processes), /* forks: before there are threads */
		cmocka_unit_test(test_deaths),	      cmocka_unit_test(test_fork),
		cmocka_unit_test(test_kinds),	      cmocka_unit_test(test_flushes),
		cmocka_unit_test(test_threads),	      cmocka_unit_test(test_closed_under_threads),
		cmocka_unit_test(test_full),	      cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_shard_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
