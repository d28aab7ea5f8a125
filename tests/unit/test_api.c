/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_api.c - pools through the public interface: making, opening, refusing, recovering, closing; media
 * errors; descriptors; threads. Contents and names: test_api_files.c; beside Linux: tests/same.
 */
#include "api.h"
#include "core/log.h"
#include "fs/pool.h"
#include "share/lock.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* ---- mkfs ------------------------------------------------------------------------------------ */

static void write_file(const char *path, off_t at, const void *bytes, size_t len, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static void test_mkfs_refuses(void **unused)
{
	static const struct {
		off_t at;
		const char *bytes;
		const char *word;
	} there[] = {
		{1080, "\x53\xef", "ext"},	{0, "XFSB", "XFS"},    {65600, "_BHRfS_M", "btrfs"},
		{4086, "SWAPSPACE2", "swap"},	{82, "FAT32", "FAT"},  {510, "\x55\xaa", "boot"},
		{70000, "my thesis", "contents"}, {0, "x", "contents"},
	};
	struct api a;

	(void)unused;
	api_name(&a);
	for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
		struct stat st;
		char now[16];
		int fd;

		write_file(a.path, there[i].at, there[i].bytes, strlen(there[i].bytes), 16 << 20);
		assert_int_equal(api_mkfs(&a, 32 * MIB, 0), -EEXIST);
		assert_non_null(strstr(a.report, there[i].word));
		/* Untouched. */
		fd = open(a.path, O_RDONLY);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, 16 << 20);
		assert_int_equal(pread(fd, now, strlen(there[i].bytes), there[i].at),
				 strlen(there[i].bytes));
		assert_memory_equal(now, there[i].bytes, strlen(there[i].bytes));
		close(fd);
		assert_int_equal(api_mkfs(&a, 32 * MIB, 1), 0);
		assert_int_equal(api_mkfs(&a, 32 * MIB, 0), -EEXIST);
		assert_non_null(strstr(a.report, "Adit pool"));
		assert_int_equal(api_try_open(&a, 0), 0);
		assert_int_equal(adit_close(a.pool), 0);
		unlink(a.path);
	}
	/* A file of zeros, sparse or not, is free for use. */
	write_file(a.path, 4096, "\0\0\0", 3, 16 << 20);
	assert_int_equal(api_mkfs(&a, 0, 0), 0);
	unlink(a.path);
}

static void test_mkfs_arguments(void **unused)
{
	const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	char long_label[65];
	struct adit_pool_info info;
	struct api a;

	(void)unused;
	api_name(&a);
	memset(long_label, 'l', 64);
	long_label[64] = '\0';
	struct adit_mkfs_options bad[] = {
		{.size_bytes = 0},
		{.size_bytes = 4 * MIB - 1},
		{.size_bytes = UINT64_MAX},
		{.size_bytes = 64 * MIB, .label = long_label},
		{.size_bytes = 64 * MIB, .lanes = 257},
		{.size_bytes = 64 * MIB, .group_bytes = 3 * MIB},
		{.size_bytes = 64 * MIB, .group_bytes = 1 * MIB},
		{.size_bytes = 64 * MIB, .group_bytes = 2048 * MIB},
		{.size_bytes = 64 * MIB, .assume = 9},
		{.size_bytes = 64 * MIB, .reserved = {1}},
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int rc = adit_mkfs(a.path, &bad[i]);

		assert_true(rc == -EINVAL || (i == 2 && rc < 0));
		assert_int_equal(access(a.path, F_OK), -1); /* nothing left */
	}
	struct adit_mkfs_options good = {.size_bytes = 64 * MIB, .label = "a label", .uuid = uuid,
					 .lanes = 3, .group_bytes = 8 * MIB};
	assert_int_equal(adit_mkfs("/nonexistent/pool", &good), -ENOENT);
	assert_int_equal(adit_mkfs("/", &good), -EISDIR);
	assert_int_equal(adit_mkfs(a.path, &good), 0);
	assert_int_equal(api_try_open(&a, 0), 0);
	assert_int_equal(adit_info(a.pool, &info), 0);
	assert_memory_equal(info.uuid, uuid, 16);
	assert_string_equal(info.label, "a label");
	assert_int_equal(info.lanes, 3);
	assert_int_equal(info.group_bytes, 8 * MIB);
	assert_int_equal(info.size_bytes, 64 * MIB);
	assert_int_equal(info.was_clean, 1);
	assert_int_equal(info.failed, 0);
	assert_int_equal(info.inodes_used, 1);
	assert_true(info.created_ns > 1700000000000000000);
	api_done(&a);
}

static void test_smallest_pool(void **unused)
{
	struct api a;

	(void)unused;
	api_make(&a, 4 * MIB);
	api_put(&a, "/f", "hello", 5);
	api_reopen(&a);
	assert_true(api_is(&a, "/f", "hello", 5));
	api_done(&a);
}

/* ---- open ------------------------------------------------------------------------------------ */

static void test_open_refuses(void **unused)
{
	struct adit_open_options o = {.flags = 8};
	struct adit_pool *pool = (void *)1;
	struct api a;

	(void)unused;
	api_name(&a);
	assert_int_equal(adit_open(a.path, NULL, &pool), -ENOENT);
	assert_int_equal(adit_open("/", NULL, &pool), -EISDIR);
	write_file(a.path, 0, "x", 1, 16 << 20);
	assert_int_equal(adit_open(a.path, NULL, &pool), -EMEDIUMTYPE);
	write_file(a.path, 0, "x", 1, 1);
	assert_int_equal(adit_open(a.path, NULL, &pool), -EMEDIUMTYPE);
	assert_int_equal(adit_open(a.path, &o, &pool), -EINVAL);
	o = (struct adit_open_options){.flags = ADIT_OPEN_NO_RECOVERY};
	assert_int_equal(adit_open(a.path, &o, &pool), -EINVAL);
	o = (struct adit_open_options){.assume = 17};
	assert_int_equal(adit_open(a.path, &o, &pool), -EINVAL);
	assert_int_equal(adit_open_fd(-1, NULL, &pool), -EBADF);
	unlink(a.path);
	/* A pool that ends early. */
	assert_int_equal(api_mkfs(&a, 64 * MIB, 0), 0);
	assert_int_equal(truncate(a.path, 32 << 20), 0);
	assert_true(api_try_open(&a, 0) < 0);
	assert_ptr_equal(pool, (void *)1);
	unlink(a.path);
}

static void test_busy(void **unused)
{
	struct api a, b;
	struct adit_pool *other;
	int fd;

	(void)unused;
	api_make(&a, 32 * MIB);
	b = a;
	assert_int_equal(api_try_open(&b, ADIT_OPEN_RDONLY), -EBUSY);
	assert_int_equal(api_mkfs(&b, 32 * MIB, 1), -EBUSY);
	/* A second handle, by path and by descriptor: what one changes the other sees. */
	assert_int_equal(adit_open(a.path, NULL, &other), 0);
	assert_int_equal(adit_mkdir(a.pool, "by-one", 0755), 0);
	assert_int_equal(adit_rename(other, "by-one", "by-the-other"), 0);
	assert_int_equal(adit_faccessat(a.pool, AT_FDCWD, "by-one", F_OK, 0), -ENOENT);
	assert_int_equal(adit_faccessat(a.pool, AT_FDCWD, "by-the-other", F_OK, 0), 0);
	assert_int_equal(adit_close(other), 0);
	fd = open(a.path, O_RDWR);
	assert_int_equal(adit_open_fd(fd, NULL, &other), 0);
	assert_int_equal(adit_rmdir(other, "by-the-other"), 0);
	assert_int_equal(adit_close(other), 0);
	if (fork() == 0)
		_exit(adit_open(a.path, NULL, &other) != 0 || adit_mkdir(other, "child's", 0755) != 0 ||
		      adit_close(other) != 0);
	int status;

	wait(&status);
	assert_int_equal(status, 0);
	assert_int_equal(adit_rmdir(a.pool, "child's"), 0);
	assert_int_equal(adit_close(a.pool), 0);
	/* Readers beside each other, but not beside a writer. */
	assert_int_equal(api_try_open(&a, ADIT_OPEN_RDONLY), 0);
	assert_int_equal(api_try_open(&b, ADIT_OPEN_RDONLY), 0);
	assert_int_equal(adit_open(a.path, NULL, &other), -EBUSY);
	assert_int_equal(adit_close(b.pool), 0);
	assert_int_equal(adit_close(a.pool), 0);
	assert_int_equal(adit_open_fd(fd, NULL, &other), 0);
	close(fd);
	assert_int_equal(adit_close(other), 0);
	unlink(a.path);
}

/* Each begins to look for inodes, lanes and space in a place of its own: what they make does not share lines. */
static void test_participants_apart(void **unused)
{
	struct stat first[2], st;
	struct api a, b;
	char name[16];

	(void)unused;
	api_make(&a, 64 * MIB);
	b = a;
	assert_int_equal(api_try_open(&b, 0), 0);
	for (int i = 0; i < 40; i++) {
		struct api *who = i % 2 ? &b : &a;

		snprintf(name, sizeof name, "/f%d", i);
		api_put(who, name, name, sizeof name);
		assert_int_equal(adit_stat(who->pool, name, &st), 0);
		if (i < 2)
			first[i] = st;
		/* A cluster of the inode table is 64. */
		assert_int_equal(st.st_ino / 64, first[i % 2].st_ino / 64);
	}
	assert_int_not_equal(first[0].st_ino / 64, first[1].st_ino / 64);
	assert_int_equal(adit_close(b.pool), 0);
	api_done(&a);
}

/* A process dies in a call, and had files open which nobody else has ever looked at: who repairs must find where they lie
 * without beginning an operation, which would wait for the repair. */
static void test_death_with_files_open(void **unused)
{
	struct api a, b;
	char name[16], byte;
	int ready[2], status;
	pid_t pid;

	(void)unused;
	api_make(&a, 64 * MIB);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		b = a;
		if (api_try_open(&b, 0) != 0)
			_exit(1);
		for (int i = 0; i < 200; i++) {
			snprintf(name, sizeof name, "/f%d", i);
			if (adit_openat(b.pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0644) < 0)
				_exit(1);
		}
		/* On and on: so it dies in a call, when the log no longer tells of the files. */
		for (unsigned i = 0;; i++)
			if (adit_chmod(b.pool, "/", 0755 - i % 2) != 0 ||
			    (i == 20000 && write(ready[1], "x", 1) != 1))
				_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	alarm(20); /* else it hangs */
	api_reopen(&a);
	alarm(0);
	assert_int_equal(adit_access(a.pool, "/f199", F_OK), 0);
	assert_int_equal(adit_unlink(a.pool, "/f199"), 0);
	close(ready[0]);
	close(ready[1]);
	api_done(&a);
}

static void test_memfd(void **unused)
{
	struct adit_mkfs_options o = {.size_bytes = 32 * MIB};
	int fd = memfd_create("pool", MFD_CLOEXEC);
	struct adit_pool_info info;
	struct adit_pool *pool;
	int f;

	(void)unused;
	assert_true(fd >= 0);
	assert_int_equal(adit_mkfs_fd(fd, &o), 0);
	assert_int_equal(adit_mkfs_fd(fd, &o), -EEXIST);
	assert_int_equal(adit_open_fd(fd, NULL, &pool), 0);
	assert_int_equal(adit_info(pool, &info), 0);
	assert_string_equal(info.medium, "memfd");
	assert_string_equal(info.domain_name, "process");
	f = adit_creat(pool, "x", 0600);
	assert_int_equal(adit_write(pool, f, "abc", 3), 3);
	assert_int_equal(adit_close(pool), 0);
	assert_int_equal(adit_open_fd(fd, NULL, &pool), 0);
	struct stat st;

	assert_int_equal(adit_stat(pool, "x", &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(adit_close(pool), 0);
	close(fd);
}

/* What a kill leaves, taken from under an open pool. */
static void copy_file(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof command, "cp --sparse=always %s %s", from, to);
	assert_int_equal(system(command), 0);
}

static void test_crash_and_copy(void **unused)
{
	struct adit_pool_info info;
	struct api a, b;

	(void)unused;
	api_make(&a, 64 * MIB);
	for (int i = 0; i < 500; i++) {
		char name[32];

		snprintf(name, sizeof name, "/f%d", i);
		api_put(&a, name, name, strlen(name));
	}
	assert_int_equal(adit_unlink(a.pool, "/f7"), 0);
	assert_int_equal(adit_rename(a.pool, "/f8", "/g"), 0);
	api_name(&b);
	copy_file(a.path, b.path);
	/* Beside its original. */
	assert_int_equal(api_try_open(&b, 0), 0);
	assert_int_equal(adit_info(b.pool, &info), 0);
	assert_int_equal(info.was_clean, 0);
	assert_true(api_is(&b, "/f499", "/f499", 5));
	assert_true(api_is(&b, "/g", "/f8", 3));
	assert_int_equal(adit_access(b.pool, "/f7", F_OK), -ENOENT);
	assert_int_equal(b.reports, 0);
	api_done(&b);
	/* Reading only, the copy is not touched and shows the same. */
	copy_file(a.path, b.path);
	assert_int_equal(chmod(b.path, 0400), 0);
	assert_int_equal(api_try_open(&b, ADIT_OPEN_RDONLY), 0);
	assert_true(api_is(&b, "/g", "/f8", 3));
	assert_int_equal(adit_mkdir(b.pool, "/d", 0755), -EROFS);
	assert_int_equal(adit_openat(b.pool, AT_FDCWD, "/g", O_WRONLY, 0), -EROFS);
	assert_int_equal(adit_openat(b.pool, AT_FDCWD, "/new", O_CREAT, 0644), -EROFS);
	assert_int_equal(adit_openat(b.pool, AT_FDCWD, "/g", O_CREAT | O_EXCL, 0644), -EEXIST);
	assert_int_equal(adit_openat(b.pool, AT_FDCWD, "/g", O_CREAT, 0644), 0);
	assert_int_equal(adit_access(b.pool, "/g", W_OK), -EROFS);
	assert_int_equal(adit_close(b.pool), 0);
	assert_int_equal(api_try_open(&b, 0), 0);
	assert_int_equal(adit_info(b.pool, &info), 0);
	assert_int_equal(info.was_clean, 0); /* the reader left it as it was */
	api_done(&b);
	api_done(&a);
}

static void test_direct_access(void **unused)
{
	uint64_t contiguous;
	struct api a;
	void *p;

	(void)unused;
	api_make(&a, 32 * MIB);
	assert_int_equal(adit_direct_access(a.pool, 4, 4, &p, &contiguous), 0);
	assert_memory_equal(p, "ADIT", 4);
	assert_int_equal(contiguous, 4);
	assert_int_equal(adit_direct_access(a.pool, 32 * MIB, 1, &p, &contiguous), -ERANGE);
	api_done(&a);
}

/* ---- media errors ---------------------------------------------------------------------------- */

/* The pool file is cut short while open: calls fail with EIO, none crashes, none leaves a lock held. */
static void test_truncated_away(void **unused)
{
	char big[65536];
	struct stat st;
	struct api a;
	int fd, errors = 0;

	(void)unused;
	api_make(&a, 64 * MIB);
	memset(big, 'b', sizeof big);
	for (int i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof name, "/f%d", i);
		api_put(&a, name, big, sizeof big);
	}
	fd = api_open(&a, "/f299", O_RDWR);
	assert_int_equal(truncate(a.path, 8 << 20), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 300; i++) {
			char name[32];
			int f;

			snprintf(name, sizeof name, "/f%d", i);
			f = adit_openat(a.pool, AT_FDCWD, name, O_RDWR, 0);
			if (f < 0) {
				errors++;
				continue;
			}
			errors += adit_pread(a.pool, f, big, sizeof big, 0) == -EIO;
			errors += adit_pwrite(a.pool, f, big, 4096, 0) == -EIO;
			errors += adit_ftruncate(a.pool, f, 100) == -EIO;
			(void)adit_close_fd(a.pool, f);
			(void)adit_stat(a.pool, name, &st);
		}
	}
	assert_true(errors > 0);
	(void)adit_pread(a.pool, fd, big, sizeof big, 0);
	assert_true(a.reports > 0);
	(void)adit_close(a.pool);
	unlink(a.path);
}

/* What statfs counts lies in the pool, too. */
static void test_statfs_of_lost_pool(void **unused)
{
	struct statfs st;
	struct api a;
	int fd;

	(void)unused;
	api_make(&a, 32 * MIB);
	fd = api_open(&a, "/f", O_RDWR | O_CREAT);
	assert_int_equal(adit_fstatfs(a.pool, fd, &st), 0);
	assert_int_equal(truncate(a.path, 0), 0);
	assert_int_equal(adit_fstatfs(a.pool, fd, &st), -EIO);
	assert_int_equal(adit_statfs(a.pool, "/", &st), -EIO);
	(void)adit_close(a.pool);
	unlink(a.path);
}

/* A fault in the middle of applying a record leaves half a change in place: nobody may look at it, not
 * even those who only read, until the next open has replayed the record. */
static void test_stopped_pool_shows_nothing(void **unused)
{
	struct adit_open_options o = {0};
	struct adit_sigbus_frame frame;
	char byte[1];
	struct stat st;
	struct api a;
	int fd;

	(void)unused;
	api_make(&a, 8 * MIB);
	api_put(&a, "/f", "x", 1);
	fd = api_open(&a, "/f", O_RDWR);
	api_stores_begin(&a, &frame);
	adit__stop(adit__pool_fs(a.pool));
	api_stores_end(&frame);
	assert_int_equal(adit_stat(a.pool, "/f", &st), -EIO);
	assert_int_equal(adit_fstat(a.pool, fd, &st), -EIO);
	assert_int_equal(adit_pread(a.pool, fd, byte, 1, 0), -EIO);
	assert_int_equal(adit_pwrite(a.pool, fd, "y", 1, 0), -EIO);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "/f", O_RDONLY, 0), -EIO);
	assert_int_equal(adit_close(a.pool), -EIO);
	assert_int_equal(adit_open(a.path, &o, &a.pool), 0);
	assert_int_equal(adit_stat(a.pool, "/f", &st), 0);
	api_done(&a);
}

struct waiter {
	struct api *a;
	int fd;
	bool writes;
	ssize_t rc;
};

static void *wait_for_file(void *arg)
{
	struct waiter *w = arg;
	char bytes[32768];

	memset(bytes, 'n', sizeof bytes);
	w->rc = w->writes ? adit_pwrite(w->a->pool, w->fd, bytes, sizeof bytes, 0)
			  : adit_pread(w->a->pool, w->fd, bytes, sizeof bytes, 0);
	return NULL;
}

/* Who waits for the file while its holder meets the fault was let in before the pool stopped: it may
 * not look or write either. */
static void test_stopped_pool_turns_away_who_waited(void **unused)
{
	static char old[32768], got[32768];
	struct adit_sigbus_frame frame;
	struct waiter w[2];
	pthread_t thread[2];
	struct adit_lock *lock;
	struct adit_fs *fs;
	struct stat st;
	struct api a;
	int fd;

	(void)unused;
	memset(old, 'o', sizeof old);
	api_make(&a, 8 * MIB);
	api_put(&a, "/f", old, sizeof old);
	fd = api_open(&a, "/f", O_RDWR);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	fs = adit__pool_fs(a.pool);
	lock = adit__inode_lock_of(fs, st.st_ino);
	api_stores_begin(&a, &frame);
	adit__lock(lock, fs->incarnation, true);
	for (int i = 0; i < 2; i++) {
		w[i] = (struct waiter){.a = &a, .fd = fd, .writes = i};
		assert_int_equal(pthread_create(&thread[i], NULL, wait_for_file, &w[i]), 0);
	}
	/* Both have gone to sleep: the word says so, or the second comes late and is turned away. */
	usleep(50000);
	adit__stop(fs);
	adit__unlock(lock, true);
	api_stores_end(&frame);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(w[i].rc, -EIO);
	}
	assert_int_equal(adit_close(a.pool), -EIO);
	assert_int_equal(api_try_open(&a, 0), 0);
	fd = api_open(&a, "/f", O_RDWR);
	assert_int_equal(adit_pread(a.pool, fd, got, sizeof got, 0), sizeof got);
	assert_memory_equal(got, old, sizeof got);
	api_done(&a);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static void test_numbers(void **unused)
{
	struct api a;
	int fd[600];

	(void)unused;
	api_make(&a, 32 * MIB);
	api_put(&a, "f", "0123456789", 10);
	for (int i = 0; i < 600; i++) {
		fd[i] = api_open(&a, "f", O_RDONLY);
		assert_int_equal(fd[i], i);
	}
	assert_int_equal(adit_close_fd(a.pool, 300), 0);
	assert_int_equal(adit_close_fd(a.pool, 300), -EBADF);
	assert_int_equal(adit_close_fd(a.pool, 17), 0);
	assert_int_equal(adit_dup(a.pool, 5), 17);
	assert_int_equal(adit_dup(a.pool, 5), 300);
	assert_int_equal(adit_dup(a.pool, 5), 600);
	assert_int_equal(adit_fcntl(a.pool, 5, F_DUPFD, 1000), 1000);
	assert_int_equal(adit_fcntl(a.pool, 5, F_DUPFD, 1000), 1001);
	assert_int_equal(adit_dup2(a.pool, 5, 3), 3);
	assert_int_equal(adit_dup2(a.pool, 5, 5), 5);
	assert_int_equal(adit_dup2(a.pool, 5, 5000), 5000);
	assert_int_equal(adit_dup2(a.pool, 5, 1 << 20), -EBADF);
	assert_int_equal(adit_dup2(a.pool, 4999, 5), -EBADF);
	/* One position for all duplicates, another for another open. */
	char c[4];

	assert_int_equal(adit_read(a.pool, 5, c, 3), 3);
	assert_int_equal(adit_read(a.pool, 5000, c, 3), 3);
	assert_memory_equal(c, "345", 3);
	assert_int_equal(adit_lseek(a.pool, 3, 0, SEEK_CUR), 6);
	assert_int_equal(adit_lseek(a.pool, 6, 0, SEEK_CUR), 0);
	for (int bad = -1; bad < 2; bad++) {
		int n = bad < 0 ? -1 : bad == 0 ? 999999 : INT32_MAX;

		assert_int_equal(adit_pread(a.pool, n, c, 1, 0), -EBADF);
		assert_int_equal(adit_pwrite(a.pool, n, c, 1, 0), -EBADF);
		assert_int_equal(adit_close_fd(a.pool, n), -EBADF);
		assert_int_equal(adit_dup(a.pool, n), -EBADF);
		assert_int_equal(adit_lseek(a.pool, n, 0, SEEK_SET), -EBADF);
	}
	api_done(&a); /* closes them all */
}

/* Unlinked but open; then gone, with its blocks, after close, after closing the pool, after a kill. */
static void test_unlinked_open(void **unused)
{
	struct adit_pool_info before, after;
	static char big[3 << 20];
	struct api a, b;
	int fd;

	(void)unused;
	api_make(&a, 64 * MIB);
	api_reopen(&a);
	assert_int_equal(adit_info(a.pool, &before), 0);
	for (int round = 0; round < 2; round++) {
		struct stat st;

		api_put(&a, "f", big, sizeof big);
		fd = api_open(&a, "f", O_RDWR);
		assert_int_equal(adit_unlink(a.pool, "f"), 0);
		assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
		assert_int_equal(st.st_nlink, 0);
		assert_int_equal(adit_pread(a.pool, fd, big, 100, sizeof big - 100), 100);
		assert_int_equal(adit_pwrite(a.pool, fd, "x", 1, 5000000), 1);
		if (round == 0)
			assert_int_equal(adit_close_fd(a.pool, fd), 0);
	}
	api_name(&b);
	copy_file(a.path, b.path);
	api_reopen(&a);
	assert_int_equal(adit_info(a.pool, &after), 0);
	assert_int_equal(after.inodes_used, before.inodes_used);
	assert_int_equal(after.free_blocks, before.free_blocks);
	assert_int_equal(api_try_open(&b, 0), 0);
	api_reopen(&b);
	assert_int_equal(adit_info(b.pool, &after), 0);
	assert_int_equal(after.inodes_used, before.inodes_used);
	assert_int_equal(after.free_blocks, before.free_blocks);
	api_done(&b);
	api_done(&a);
}

static void test_handles(void **unused)
{
	struct adit_handle h, gone;
	struct api a;
	char c[16];
	int fd;

	(void)unused;
	api_make(&a, 32 * MIB);
	api_put(&a, "f", "hello", 5);
	api_put(&a, "g", "other", 5);
	assert_int_equal(adit_name_to_handle_at(a.pool, AT_FDCWD, "g", &gone, 0), 0);
	assert_int_equal(adit_unlink(a.pool, "g"), 0);
	assert_int_equal(adit_name_to_handle_at(a.pool, AT_FDCWD, "f", &h, 0), 0);
	assert_int_equal(adit_name_to_handle_at(a.pool, AT_FDCWD, "g", &h, 0), -ENOENT);
	assert_int_equal(adit_rename(a.pool, "f", "elsewhere"), 0);
	api_reopen(&a);
	fd = adit_open_by_handle_at(a.pool, &h, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(adit_read(a.pool, fd, c, sizeof c), 5);
	assert_memory_equal(c, "hello", 5);
	for (int i = 0; i < 200; i++) { /* the number may be another's by now */
		snprintf(c, sizeof c, "n%d", i);
		api_put(&a, c, c, 1);
	}
	assert_int_equal(adit_open_by_handle_at(a.pool, &gone, O_RDONLY), -ESTALE);
	h.ino = 1ull << 40;
	assert_int_equal(adit_open_by_handle_at(a.pool, &h, O_RDONLY), -ESTALE);
	h.ino = UINT64_MAX;
	assert_int_equal(adit_open_by_handle_at(a.pool, &h, O_RDONLY), -ESTALE);
	h.ino = 1;
	assert_int_equal(adit_open_by_handle_at(a.pool, &h, O_RDONLY), -ESTALE);
	api_done(&a);
}

/* ---- threads --------------------------------------------------------------------------------- */

#define ROUNDS 400
struct worker {
	struct api *a;
	unsigned n;
	pthread_t thread;
};

/* Everything in a directory of its own, and some things in one that all share. */
static void *works(void *arg)
{
	struct worker *w = arg;
	struct adit_pool *pool = w->a->pool;
	char name[64], shared[64], c[128];

	snprintf(name, sizeof name, "/own%u", w->n);
	assert_int_equal(adit_mkdir(pool, name, 0755), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int fd;

		snprintf(name, sizeof name, "/own%u/f%u", w->n, i);
		snprintf(shared, sizeof shared, "/shared/f%u", i % 7);
		fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_EXCL | O_RDWR, 0644);
		assert_true(fd >= 0);
		assert_int_equal(adit_write(pool, fd, name, sizeof name), sizeof name);
		assert_int_equal(adit_pread(pool, fd, c, sizeof c, 0), sizeof name);
		assert_memory_equal(c, name, sizeof name);
		assert_int_equal(adit_close_fd(pool, fd), 0);
		if (i % 3 == 0) {
			assert_int_equal(adit_unlink(pool, name), 0);
		} else {
			int rc = adit_rename(pool, name, shared);

			assert_int_equal(rc, 0);
		}
		fd = adit_openat(pool, AT_FDCWD, shared, O_RDWR, 0);
		if (fd >= 0) {
			ssize_t n = adit_pread(pool, fd, c, sizeof c, 0);

			assert_int_equal(n, sizeof name);
			assert_memory_equal(c, "/own", 4);
			assert_int_equal(adit_pwrite(pool, fd, "/own", 4, 0), 4);
			assert_int_equal(adit_close_fd(pool, fd), 0);
		} else {
			assert_int_equal(fd, -ENOENT);
		}
		(void)adit_unlink(pool, shared);
	}
	return NULL;
}

static void test_threads(void **unused)
{
	struct adit_pool_info info;
	struct worker w[4];
	struct api a;

	(void)unused;
	api_make(&a, 128 * MIB);
	assert_int_equal(adit_mkdir(a.pool, "/shared", 0755), 0);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){.a = &a, .n = i};
		assert_int_equal(pthread_create(&w[i].thread, NULL, works, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < 7; i++) {
		char name[32];

		snprintf(name, sizeof name, "/shared/f%u", i);
		(void)adit_unlink(a.pool, name);
	}
	for (unsigned i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof name, "/own%u", i);
		assert_int_equal(adit_rmdir(a.pool, name), 0);
	}
	assert_int_equal(adit_rmdir(a.pool, "/shared"), 0);
	assert_int_equal(adit_info(a.pool, &info), 0);
	assert_int_equal(info.inodes_used, 1);
	assert_int_equal(info.open_files, 0);
	assert_int_equal(a.reports, 0);
	api_done(&a);
}

/* One number, opened, closed and read by everybody: bytes of the right file or EBADF. */
static void *fights(void *arg)
{
	struct worker *w = arg;
	struct adit_pool *pool = w->a->pool;

	for (unsigned i = 0; i < 3000; i++) {
		char name[2] = {(char)('a' + i % 2), '\0'}, c[64];
		struct stat st;
		ssize_t n;

		switch ((i + w->n) % 5) {
		case 0:
			(void)adit_openat(pool, AT_FDCWD, name, O_RDWR, 0);
			break;
		case 1:
			(void)adit_close_fd(pool, (int)(i % 3));
			break;
		case 2:
			n = adit_pread(pool, (int)(i % 3), c, sizeof c, 0);
			assert_true(n == -EBADF || n == sizeof c);
			for (ssize_t k = 1; k < n; k++)
				assert_int_equal(c[k], c[0]);
			break;
		case 3:
			n = adit_fstat(pool, (int)(i % 3), &st);
			assert_true(n == -EBADF || (n == 0 && st.st_size == sizeof c));
			break;
		default:
			(void)adit_dup2(pool, (int)(i % 3), (int)((i + 1) % 3));
		}
	}
	return NULL;
}

static void test_descriptor_races(void **unused)
{
	struct worker w[4];
	struct api a;
	char c[64];

	(void)unused;
	api_make(&a, 32 * MIB);
	api_put(&a, "a", memset(c, 'a', sizeof c), sizeof c);
	api_put(&a, "b", memset(c, 'b', sizeof c), sizeof c);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){.a = &a, .n = i};
		assert_int_equal(pthread_create(&w[i].thread, NULL, fights, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);
	for (int fd = 0; fd < 3000; fd++)
		(void)adit_close_fd(a.pool, fd);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "a", O_RDONLY, 0), 0);
	api_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mkfs_refuses),
		cmocka_unit_test(test_mkfs_arguments),
		cmocka_unit_test(test_smallest_pool),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_participants_apart),
		cmocka_unit_test(test_death_with_files_open),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_crash_and_copy),
		cmocka_unit_test(test_direct_access),
		cmocka_unit_test(test_truncated_away),
		cmocka_unit_test(test_statfs_of_lost_pool),
		cmocka_unit_test(test_stopped_pool_shows_nothing),
		cmocka_unit_test(test_stopped_pool_turns_away_who_waited),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_unlinked_open),
		cmocka_unit_test(test_handles),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_descriptor_races),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
