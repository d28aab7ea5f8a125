/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Advisory locks through the public interface in one process: threads that exclude each other (the thread sanitizer
 * sees whether they do), handles that are participants of their own, pools open for reading only. What the calls
 * answer is compared with the kernel by tests/multi/locks_same.
 */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#define THREADS 4
#define TURNS	1500
#define PLACES	3

static struct api api;
static uint64_t guarded[PLACES][2]; /* plain words */

static int range(int fd, int command, int type, long start, long len)
{
	struct flock l = {.l_type = (short)type, .l_start = start, .l_len = len};

	return adit_fcntl_lock(api.pool, fd, command, &l);
}

/* Places 0 and 1 are bytes of open files' locks, 2 is flock's. */
static int take(int fd, unsigned place, bool alone, bool waits)
{
	if (place == 2)
		return adit_flock(api.pool, fd,
				  (alone ? LOCK_EX : LOCK_SH) | (waits ? 0 : LOCK_NB));
	return range(fd, waits ? F_OFD_SETLKW : F_OFD_SETLK, alone ? F_WRLCK : F_RDLCK, place, 1);
}

static void give_up(int fd, unsigned place)
{
	assert_int_equal(place == 2 ? adit_flock(api.pool, fd, LOCK_UN)
				    : range(fd, F_OFD_SETLK, F_UNLCK, place, 1),
			 0);
}

static void *work(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)arg * 77777 + 1;
	int fd = api_open(&api, "/f", O_RDWR);

	for (unsigned i = 0; i < TURNS; i++) {
		unsigned place = api_random(&state) % PLACES;
		bool alone = api_random(&state) % 2;
		int rc = take(fd, place, alone, api_random(&state) % 2);

		if (rc == -EAGAIN)
			continue;
		assert_int_equal(rc, 0);
		assert_true(guarded[place][0] == guarded[place][1]);
		if (alone) {
			guarded[place][0]++;
			guarded[place][1]++;
		}
		if (api_random(&state) % 16 == 0) {
			assert_int_equal(adit_close_fd(api.pool, fd), 0);
			fd = api_open(&api, "/f", O_RDWR);
		} else {
			give_up(fd, place);
		}
	}
	assert_int_equal(adit_close_fd(api.pool, fd), 0);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[THREADS];
	int fd;

	(void)state;
	api_make(&api, 16 * MIB);
	api_put(&api, "/f", "x", 1);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	/* Nothing is left. */
	fd = api_open(&api, "/f", O_RDWR);
	assert_int_equal(range(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	assert_int_equal(adit_flock(api.pool, fd, LOCK_EX | LOCK_NB), 0);
	api_done(&api);
}

/* Closing the pool gives up everything; a handle is a process of its own. */
static void test_two_handles(void **state)
{
	struct api other;
	struct flock l = {.l_type = F_WRLCK, .l_start = 5, .l_len = 3};
	int fd, theirs;

	(void)state;
	api_make(&api, 16 * MIB);
	api_put(&api, "/f", "x", 1);
	fd = api_open(&api, "/f", O_RDWR);
	other = api;
	assert_int_equal(api_try_open(&other, 0), 0);
	theirs = api_open(&other, "/f", O_RDWR);
	assert_int_equal(adit_fcntl(other.pool, theirs, F_SETLK, (long)&l), 0);
	assert_int_equal(adit_flock(other.pool, theirs, LOCK_SH), 0);
	l.l_start = 0;
	l.l_len = 0;
	assert_int_equal(adit_fcntl(api.pool, fd, F_SETLK, (long)&l), -EAGAIN);
	assert_int_equal(adit_fcntl(api.pool, fd, F_GETLK, (long)&l), 0);
	assert_int_equal(l.l_type, F_WRLCK);
	assert_int_equal(l.l_start, 5);
	assert_int_equal(l.l_len, 3);
	assert_int_equal(l.l_pid, getpid());
	assert_int_equal(adit_flock(api.pool, fd, LOCK_EX | LOCK_NB), -EAGAIN);
	assert_int_equal(adit_close(other.pool), 0);
	assert_int_equal(adit_flock(api.pool, fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(adit_fcntl(api.pool, fd, F_GETLK, (long)&l), 0);
	assert_int_equal(l.l_type, F_UNLCK);
	api_done(&api);
}

/* The thread sanitizer does not know that a child has none of its parent's threads. */
#if defined(__SANITIZE_THREAD__)
#define CAN_FORK false
#else
#define CAN_FORK true
#endif

static void in_a_child(void (*run)(int fd), int fd)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		run(fd);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void locks_both(int fd)
{
	if (adit_flock(api.pool, fd, LOCK_EX) != 0 || range(fd, F_OFD_SETLK, F_WRLCK, 0, 5) != 0 ||
	    range(fd, F_SETLK, F_WRLCK, 100, 5) != 0)
		_exit(1);
}

static void closes_all(int fd)
{
	if (adit_close_fd(api.pool, fd) != 0 || adit_close(api.pool) != 0)
		_exit(1);
}

/* Record locks of processes are not the child's; what an open file has locked is. */
static void is_a_child(int fd)
{
	if (range(fd, F_SETLK, F_WRLCK, 50, 1) != -EAGAIN ||
	    adit_flock(api.pool, fd, LOCK_EX | LOCK_NB) != 0 ||
	    range(fd, F_OFD_SETLK, F_RDLCK, 0, 5) != 0)
		_exit(1);
	kill(getpid(), SIGKILL);
}

/* A child and its parent have the open file, and its locks are there as long as one of them has it. */
static void test_fork(void **state)
{
	struct api other;
	int fd, theirs, status;
	pid_t pid;

	(void)state;
	if (!CAN_FORK)
		skip();
	api_make(&api, 16 * MIB);
	api_put(&api, "/f", "x", 1);
	fd = api_open(&api, "/f", O_RDWR);
	in_a_child(locks_both, fd);
	other = api;
	assert_int_equal(api_try_open(&other, 0), 0);
	theirs = api_open(&other, "/f", O_RDWR);
	assert_int_equal(adit_flock(other.pool, theirs, LOCK_SH | LOCK_NB), -EAGAIN);
	/* Its own record locks went with it. */
	assert_int_equal(range(fd, F_SETLK, F_WRLCK, 100, 5), 0);
	assert_int_equal(range(fd, F_SETLK, F_WRLCK, 0, 5), -EAGAIN);
	in_a_child(closes_all, fd);
	assert_int_equal(adit_flock(other.pool, theirs, LOCK_SH | LOCK_NB), -EAGAIN);
	assert_int_equal(range(fd, F_SETLK, F_RDLCK, 50, 1), 0);
	pid = fork();
	if (pid == 0)
		is_a_child(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(adit_flock(other.pool, theirs, LOCK_SH | LOCK_NB), -EAGAIN);
	assert_int_equal(adit_close_fd(api.pool, fd), 0);
	assert_int_equal(adit_flock(other.pool, theirs, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(adit_close(other.pool), 0);
	api_done(&api);
}

/* The other way round: the parent closes it, the child has it still. */
static void test_fork_and_close(void **state)
{
	int fd, again, to[2], status;
	pid_t pid;

	(void)state;
	if (!CAN_FORK)
		skip();
	api_make(&api, 16 * MIB);
	api_put(&api, "/f", "x", 1);
	fd = api_open(&api, "/f", O_RDWR);
	assert_int_equal(adit_flock(api.pool, fd, LOCK_EX), 0);
	assert_int_equal(pipe(to), 0);
	pid = fork();
	if (pid == 0) {
		close(to[1]);
		_exit(read(to[0], &status, 1) == 0 ? 0 : 1);
	}
	close(to[0]);
	assert_int_equal(adit_close_fd(api.pool, fd), 0);
	again = api_open(&api, "/f", O_RDWR);
	assert_int_equal(adit_flock(api.pool, again, LOCK_SH | LOCK_NB), -EAGAIN);
	close(to[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(adit_flock(api.pool, again, LOCK_SH | LOCK_NB), 0);
	api_done(&api);
}

static void test_read_only(void **state)
{
	struct flock l = {.l_type = F_RDLCK};
	int fd;

	(void)state;
	api_make(&api, 16 * MIB);
	api_put(&api, "/f", "x", 1);
	assert_int_equal(adit_close(api.pool), 0);
	assert_int_equal(api_try_open(&api, ADIT_OPEN_RDONLY), 0);
	fd = api_open(&api, "/f", O_RDONLY);
	assert_int_equal(adit_fcntl_lock(api.pool, fd, F_SETLK, &l), -ENOLCK);
	assert_int_equal(adit_fcntl_lock(api.pool, fd, F_OFD_SETLKW, &l), -ENOLCK);
	assert_int_equal(adit_fcntl_lock(api.pool, fd, F_GETLK, &l), -ENOLCK);
	assert_int_equal(adit_flock(api.pool, fd, LOCK_SH), -ENOLCK);
	l.l_type = F_UNLCK;
	assert_int_equal(adit_fcntl_lock(api.pool, fd, F_SETLK, &l), 0);
	assert_int_equal(adit_flock(api.pool, fd, LOCK_UN), 0);
	assert_int_equal(adit_fcntl_lock(api.pool, fd, F_SETFL, &l), -EINVAL);
	assert_int_equal(adit_fcntl_lock(api.pool, 99, F_SETLK, &l), -EBADF);
	api_done(&api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),	  cmocka_unit_test(test_two_handles),
		cmocka_unit_test(test_fork),	  cmocka_unit_test(test_fork_and_close),
		cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
