/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process with an open pool forks: the child is a participant of its own, shares what fork(2) says is shared, and
 * neither depends on who of the two goes first. A child says what it found by its exit status: the number of the
 * line where it was not as it should be, or 0.
 */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "core/check.h"
#include "core/scratch.h"
#include "fs/pool.h"
#include "share/participant.h"

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition);             \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* The allocators of the sanitizers may stay locked in a child of a process with threads. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FORK_THREADS false
#else
#define CAN_FORK_THREADS true
#endif

typedef void (*child_fn)(struct api *, void *);

static pid_t start(struct api *a, child_fn run, void *arg)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(60);
		run(a, arg);
		_exit(0);
	}
	return pid;
}

static void ends_well(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- what both see --------------------------------------------------------------------------- */

static void child_uses_descriptors(struct api *a, void *arg)
{
	const int *fd = arg;
	char text[16] = "";

	NEED(adit_read(a->pool, fd[0], text, 4) == 4 && memcmp(text, "4567", 4) == 0);
	NEED(adit_fcntl(a->pool, fd[0], F_SETFL, O_APPEND) == 0);
	NEED(adit_write(a->pool, fd[1], "child", 5) == 5);
	NEED(adit_close_fd(a->pool, fd[2]) == 0);
	NEED(adit_close_fd(a->pool, fd[2]) == -EBADF);
	NEED(adit_close(a->pool) == 0);
}

static void test_descriptors(void **state)
{
	struct adit_pool_info info;
	char text[16] = "";
	struct api a;
	int fd[3];

	(void)state;
	api_make(&a, 16 * MIB);
	api_put(&a, "/f", "0123456789abcdef", 16);
	fd[0] = api_open(&a, "/f", O_RDWR);
	fd[1] = api_open(&a, "/g", O_RDWR | O_CREAT);
	fd[2] = adit_dup(a.pool, fd[0]);
	assert_int_equal(adit_read(a.pool, fd[0], text, 4), 4);
	ends_well(start(&a, child_uses_descriptors, fd));
	/* The offset and the flags are the description's, the descriptors are each process's. */
	assert_int_equal(adit_fcntl(a.pool, fd[0], F_GETFL, 0) & O_APPEND, O_APPEND);
	assert_int_equal(adit_read(a.pool, fd[2], text, 4), 4);
	assert_memory_equal(text, "89ab", 4);
	assert_int_equal(adit_write(a.pool, fd[1], "parent", 6), 6);
	assert_true(api_is(&a, "/g", "childparent", 11));
	assert_int_equal(adit_info(a.pool, &info), 0);
	assert_int_equal(info.open_files, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(adit_close_fd(a.pool, fd[i]), 0);
	/* And once more, with what is shared already. */
	fd[0] = api_open(&a, "/f", O_RDWR);
	assert_int_equal(adit_lseek(a.pool, fd[0], 4, SEEK_SET), 4);
	fd[1] = api_open(&a, "/h", O_RDWR | O_CREAT);
	for (unsigned i = 0; i < 3; i++) {
		fd[2] = adit_dup(a.pool, fd[0]);
		assert_int_equal(adit_lseek(a.pool, fd[0], 4, SEEK_SET), 4);
		ends_well(start(&a, child_uses_descriptors, fd));
		assert_int_equal(adit_lseek(a.pool, fd[0], 0, SEEK_CUR), 8);
		assert_int_equal(adit_close_fd(a.pool, fd[2]), 0);
	}
	assert_true(api_is(&a, "/h", "childchildchild", 15));
	api_done(&a);
}

/* ---- nameless files ----------------------------------------------------------------------------- */

struct both {
	int fd;
	int to_child[2], to_parent[2];
};

static void say(int fd)
{
	assert_int_equal(write(fd, "", 1), 1);
}

static void hear(int fd)
{
	char c;

	assert_int_equal(read(fd, &c, 1), 1);
}

static void both_begin(struct both *b, int fd)
{
	b->fd = fd;
	assert_int_equal(pipe(b->to_child), 0);
	assert_int_equal(pipe(b->to_parent), 0);
}

static void both_end(struct both *b)
{
	for (unsigned i = 0; i < 2; i++) {
		close(b->to_child[i]);
		close(b->to_parent[i]);
	}
}

static void child_reads_later(struct api *a, void *arg)
{
	struct both *b = arg;
	char text[8];
	char c;

	NEED(read(b->to_child[0], &c, 1) == 1);
	NEED(adit_pread(a->pool, b->fd, text, 8, 0) == 8 && memcmp(text, "contents", 8) == 0);
	NEED(write(b->to_parent[1], "", 1) == 1);
	(void)read(b->to_child[0], &c, 1);
	pause();
}

#define ANY UINT64_MAX

/* All that is free can be had, no inode is left over, and check finds nothing. */
static void check_whole(struct api *a, uint64_t inodes)
{
	struct adit_fs *fs = adit__pool_fs(a->pool);
	struct adit_statfs now;
	char text[300];

	/* It looks now and then only, and waits for the closing then. */
	usleep(20000);
	adit__share_short_of_space(fs);
	/* A closer of what the dead had open may be at work. */
	for (unsigned i = 0; i < 10000; i++) {
		adit__core_statfs(fs, &now);
		if (inodes == ANY || now.inodes_used == inodes)
			break;
		usleep(1000);
	}
	if (inodes != ANY)
		assert_int_equal(now.inodes_used, inodes);
	assert_int_equal(adit__check_quiet(fs, text, sizeof text), 0);
	assert_int_equal(adit__checkpoint(fs), 0);
	assert_int_equal(fs->vol->free_blocks + adit__scratch_blocks(fs), adit__total_free(fs));
}

static uint64_t inodes_of(struct api *a)
{
	struct adit_statfs now;

	adit__core_statfs(adit__pool_fs(a->pool), &now);
	return now.inodes_used;
}

static void test_nameless(void **state)
{
	uint64_t inodes;
	struct both b;
	struct api a;
	pid_t pid;
	int fd;

	(void)state;
	api_make(&a, 16 * MIB);
	inodes = inodes_of(&a);
	api_put(&a, "/f", "contents", 8);
	fd = api_open(&a, "/f", O_RDWR);
	assert_int_equal(adit_unlink(a.pool, "/f"), 0);
	both_begin(&b, fd);
	pid = start(&a, child_reads_later, &b);
	assert_int_equal(adit_close_fd(a.pool, fd), 0);
	/* Only the child has it now. */
	say(b.to_child[1]);
	hear(b.to_parent[0]);
	assert_int_equal(inodes_of(&a), inodes + 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	check_whole(&a, inodes);
	both_end(&b);
	api_done(&a);
}

/* ---- the parent goes first ------------------------------------------------------------------------- */

static void child_goes_on(struct api *a, void *arg)
{
	struct both *b = arg;
	char name[32];
	char c;

	NEED(read(b->to_child[0], &c, 1) == 1); /* the parent is dead */
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "/after%u", i);
		NEED(adit_close_fd(a->pool, adit_openat(a->pool, AT_FDCWD, name, O_CREAT | O_RDWR,
							0600)) == 0);
	}
	NEED(adit_pwrite(a->pool, b->fd, "later", 5, 0) == 5);
	NEED(adit_close(a->pool) == 0);
	NEED(write(b->to_parent[1], "", 1) == 1);
}

static void opens_and_forks(struct api *a, void *arg)
{
	struct both *b = arg;

	/* A pool of its own: the test's has nothing to do with this one. */
	NEED(adit_open(a->path, NULL, &a->pool) == 0);
	b->fd = adit_openat(a->pool, AT_FDCWD, "/f", O_CREAT | O_RDWR, 0600);
	NEED(b->fd >= 0);
	start(a, child_goes_on, b);
	NEED(write(b->to_parent[1], "", 1) == 1);
	pause();
}

static void test_parent_dies(void **state)
{
	struct adit_pool_info info;
	struct both b;
	struct api a;
	pid_t pid;

	(void)state;
	api_make(&a, 16 * MIB);
	assert_int_equal(adit_close(a.pool), 0);
	both_begin(&b, -1);
	pid = start(&a, opens_and_forks, &b);
	hear(b.to_parent[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	say(b.to_child[1]);
	hear(b.to_parent[0]);
	/* The child was the last one: it left the pool clean. */
	assert_int_equal(api_try_open(&a, 0), 0);
	assert_int_equal(adit_info(a.pool, &info), 0);
	assert_true(info.was_clean);
	assert_true(api_is(&a, "/f", "later", 5));
	assert_int_equal(adit_access(a.pool, "/after99", F_OK), 0);
	check_whole(&a, ANY);
	both_end(&b);
	api_done(&a);
}

/* ---- many ------------------------------------------------------------------------------------------- */

/* More children than there are places, none of which says that it goes: as programs that fork and exec do. */
static void test_places(void **state)
{
	unsigned places;
	uint64_t inodes;
	struct api a;
	int fd;

	(void)state;
	api_make(&a, 16 * MIB);
	places = adit__pool_fs(a.pool)->nparticipants;
	fd = api_open(&a, "/f", O_CREAT | O_RDWR);
	inodes = inodes_of(&a);
	for (unsigned i = 0; i < 3 * places; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0 && i % 2)
			execl("/bin/true", "true", NULL);
		if (pid == 0)
			_exit(adit_fcntl(a.pool, fd, F_GETFL, 0) < 0);
		ends_well(pid);
	}
	check_whole(&a, inodes);
	assert_in_range(adit__scratch_blocks(adit__pool_fs(a.pool)), 1, places + 2);
	api_done(&a);
}

static volatile bool enough;

static void *hammer(void *arg)
{
	struct api *a = arg;

	for (unsigned i = 0; !enough; i++) {
		char name[32] = "", text[32];
		int fd, rc = 0;

		snprintf(name, sizeof name, "/t%u", i % 50);
		fd = adit_openat(a->pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0600);
		if (fd < 0 || adit_write(a->pool, fd, name, sizeof name) != sizeof name ||
		    adit_pread(a->pool, fd, text, sizeof text, 0) != sizeof text ||
		    memcmp(name, text, sizeof text) != 0)
			abort();
		if (i % 3 == 0)
			rc = adit_unlink(a->pool, name); /* another thread may have been quicker */
		if ((rc != 0 && rc != -ENOENT) || adit_close_fd(a->pool, fd) != 0)
			abort();
	}
	return NULL;
}

static void child_works(struct api *a, void *arg)
{
	unsigned n = *(const unsigned *)arg;
	char name[32];

	for (unsigned i = 0; i < 20; i++) {
		int fd;

		snprintf(name, sizeof name, "/c%u-%u", n, i);
		fd = adit_openat(a->pool, AT_FDCWD, name, O_CREAT | O_EXCL | O_RDWR, 0600);
		NEED(fd >= 0);
		NEED(adit_write(a->pool, fd, name, 8) == 8);
		NEED(adit_close_fd(a->pool, fd) == 0);
		if (i % 2)
			NEED(adit_unlink(a->pool, name) == 0);
	}
	if (n % 3 == 0)
		kill(getpid(), SIGKILL);
	if (n % 3 == 1)
		NEED(adit_close(a->pool) == 0);
}

/* Other threads are anywhere in the library when the process forks. */
static void test_threads(void **state)
{
	pthread_t thread[3];
	struct api a;

	(void)state;
	if (!CAN_FORK_THREADS)
		skip();
	api_make(&a, 64 * MIB);
	enough = false;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer, &a), 0);
	for (unsigned n = 0; n < 100; n++) {
		pid_t pid = start(&a, child_works, &n);
		int status;

		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (n % 3 == 0)
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		else
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	enough = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	for (unsigned n = 0; n < 100; n += 33)
		for (unsigned i = 0; i < 20; i++) {
			char name[32];

			snprintf(name, sizeof name, "/c%u-%u", n, i);
			assert_int_equal(adit_access(a.pool, name, F_OK), i % 2 ? -ENOENT : 0);
		}
	check_whole(&a, ANY);
	api_done(&a);
}

/* ---- pools that a child cannot share ----------------------------------------------------------------- */

static void child_reads(struct api *a, void *arg)
{
	(void)arg;
	NEED(api_is(a, "/f", "contents", 8));
	NEED(adit_close(a->pool) == 0);
}

static void *reader(void *arg)
{
	while (!enough)
		if (!api_is(arg, "/f", "contents", 8))
			abort();
	return NULL;
}

static void test_read_only(void **state)
{
	pthread_t thread;
	struct api a;

	(void)state;
	if (!CAN_FORK_THREADS)
		skip();
	api_make(&a, 16 * MIB);
	api_put(&a, "/f", "contents", 8);
	assert_int_equal(adit_close(a.pool), 0);
	assert_int_equal(api_try_open(&a, ADIT_OPEN_RDONLY), 0);
	enough = false;
	assert_int_equal(pthread_create(&thread, NULL, reader, &a), 0);
	for (unsigned i = 0; i < 50; i++)
		ends_well(start(&a, child_reads, NULL));
	enough = true;
	pthread_join(thread, NULL);
	assert_true(api_is(&a, "/f", "contents", 8));
	api_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptors), cmocka_unit_test(test_nameless),
		cmocka_unit_test(test_parent_dies), cmocka_unit_test(test_places),
		cmocka_unit_test(test_threads),	    cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
