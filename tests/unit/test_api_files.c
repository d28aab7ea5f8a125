/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_api_files.c - contents, names and attributes through the public interface: what tmpfs cannot be
 * compared with (tests/same does the rest): all modes of fallocate, holes, atomic writes, flags,
 * paths at the root, unnamed files, cookies, a full pool.
 */
#include "api.h"

#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

static struct api a;

static int setup(void **unused)
{
	(void)unused;
	api_make(&a, 64 * MIB);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	api_reopen(&a); /* whatever the test left must be openable */
	assert_int_equal(a.reports, 0);
	api_done(&a);
	return 0;
}

/* ---- contents -------------------------------------------------------------------------------- */

#define MODEL_BYTES (1 << 20)
struct model {
	uint8_t *bytes;
	uint64_t size;
};

static void same_as_model(int fd, const struct model *m)
{
	uint8_t *have = malloc(MODEL_BYTES + 1);
	struct stat st;

	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_size, m->size);
	assert_int_equal(adit_pread(a.pool, fd, have, MODEL_BYTES + 1, 0), m->size);
	assert_memory_equal(have, m->bytes, m->size);
	free(have);
}

static void model_resize(struct model *m, uint64_t size)
{
	if (size > m->size)
		memset(m->bytes + m->size, 0, size - m->size);
	m->size = size;
}

static int model_fallocate(struct model *m, int mode, uint64_t at, uint64_t len)
{
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;
	uint64_t end = at + len;

	if (kind == FALLOC_FL_COLLAPSE_RANGE || kind == FALLOC_FL_INSERT_RANGE) {
		if (at % 4096 != 0 || len % 4096 != 0)
			return -EINVAL;
		if (kind == FALLOC_FL_COLLAPSE_RANGE ? end >= m->size : at >= m->size)
			return -EINVAL;
		if (kind == FALLOC_FL_COLLAPSE_RANGE) {
			memmove(m->bytes + at, m->bytes + end, m->size - end);
			m->size -= len;
		} else {
			memmove(m->bytes + end, m->bytes + at, m->size - at);
			memset(m->bytes + at, 0, len);
			m->size += len;
		}
		return 0;
	}
	if (end > m->size && !(mode & FALLOC_FL_KEEP_SIZE))
		model_resize(m, end);
	if (kind == FALLOC_FL_PUNCH_HOLE || kind == FALLOC_FL_ZERO_RANGE) {
		if (at < m->size)
			memset(m->bytes + at, 0, (end < m->size ? end : m->size) - at);
	}
	return 0;
}

static void model_write(struct model *m, uint64_t at, const uint8_t *bytes, size_t len)
{
	if (at + len > m->size)
		model_resize(m, at + len);
	memcpy(m->bytes + at, bytes, len);
}

static uint64_t near(uint64_t *state, uint64_t below)
{
	uint64_t x = api_random(state) % below;

	return api_random(state) % 2 ? x & ~4095ull : x;
}

static void test_contents_model(void **unused)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
				    FALLOC_FL_UNSHARE_RANGE};
	static uint8_t data[100000];
	struct model m = {calloc(1, 2 * MODEL_BYTES), 0};
	uint64_t state = 12345;
	int fd = api_open(&a, "f", O_CREAT | O_RDWR);

	(void)unused;
	for (int step = 0; step < 3000; step++) {
		uint64_t at = near(&state, MODEL_BYTES / 2), len = 1 + near(&state, 90000);
		unsigned what = (unsigned)(api_random(&state) >> 40) % 10;

		if (what < 4) {
			struct iovec v = {data, len};
			int flags = api_random(&state) % 3 == 0 ? RWF_ATOMIC : 0;

			for (size_t i = 0; i < len; i++)
				data[i] = (uint8_t)(i * 7 + (size_t)step);
			assert_int_equal(adit_pwritev2(a.pool, fd, &v, 1, (off_t)at, flags), len);
			model_write(&m, at, data, len);
		} else if (what < 5) {
			assert_int_equal(adit_ftruncate(a.pool, fd, (off_t)at), 0);
			model_resize(&m, at);
		} else {
			int mode = modes[api_random(&state) % 8];

			if (mode == FALLOC_FL_INSERT_RANGE && m.size + len > MODEL_BYTES)
				continue;
			assert_int_equal(adit_fallocate(a.pool, fd, mode, (off_t)at, (off_t)len),
					 model_fallocate(&m, mode, at, len));
		}
		if (step % 20 == 0)
			same_as_model(fd, &m);
		if (step % 500 == 499) {
			api_reopen(&a);
			fd = api_open(&a, "f", O_RDWR);
			same_as_model(fd, &m);
		}
	}
	same_as_model(fd, &m);
	free(m.bytes);
}

static void test_fallocate_errors(void **unused)
{
	int fd = api_open(&a, "f", O_CREAT | O_RDWR), ro = api_open(&a, "f", O_RDONLY);
	int dir = api_open(&a, "/", O_RDONLY);
	struct stat st;

	(void)unused;
	assert_int_equal(adit_fallocate(a.pool, fd, 0, -1, 10), -EINVAL);
	assert_int_equal(adit_fallocate(a.pool, fd, 0, 0, 0), -EINVAL);
	assert_int_equal(adit_fallocate(a.pool, fd, 0, INT64_MAX, 10), -EFBIG);
	assert_int_equal(adit_fallocate(a.pool, fd, FALLOC_FL_PUNCH_HOLE, 0, 10), -EOPNOTSUPP);
	assert_int_equal(adit_fallocate(a.pool, fd, 0x1000, 0, 10), -EOPNOTSUPP);
	assert_int_equal(adit_fallocate(a.pool, fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE, 0,
					4096), -EOPNOTSUPP);
	assert_int_equal(adit_fallocate(a.pool, ro, 0, 0, 10), -EBADF);
	assert_int_equal(adit_fallocate(a.pool, dir, 0, 0, 10), -EBADF);
	assert_int_equal(adit_fallocate(a.pool, fd, 0, 0, 1ll << 40), -ENOSPC);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(adit_fallocate(a.pool, fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_blocks, 2048);
}

static void test_seek(void **unused)
{
	int fd = api_open(&a, "f", O_CREAT | O_RDWR);
	char c[4096] = {1};

	(void)unused;
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_DATA), -ENXIO);
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_HOLE), -ENXIO);
	assert_int_equal(adit_pwrite(a.pool, fd, c, 4096, 40960), 4096);
	assert_int_equal(adit_ftruncate(a.pool, fd, 100000), 0);
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_DATA), 40960);
	assert_int_equal(adit_lseek(a.pool, fd, 41000, SEEK_DATA), 41000);
	assert_int_equal(adit_lseek(a.pool, fd, 45056, SEEK_DATA), -ENXIO);
	assert_int_equal(adit_lseek(a.pool, fd, 7, SEEK_HOLE), 7);
	assert_int_equal(adit_lseek(a.pool, fd, 40960, SEEK_HOLE), 45056);
	assert_int_equal(adit_lseek(a.pool, fd, 99999, SEEK_HOLE), 99999);
	assert_int_equal(adit_lseek(a.pool, fd, 100000, SEEK_HOLE), -ENXIO);
	assert_int_equal(adit_lseek(a.pool, fd, -1, SEEK_DATA), -ENXIO);
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_CUR), 99999);
	assert_int_equal(adit_lseek(a.pool, fd, INT64_MAX, SEEK_CUR), -EINVAL);
	assert_int_equal(adit_lseek(a.pool, fd, -100000, SEEK_CUR), -EINVAL);
	assert_int_equal(adit_lseek(a.pool, fd, 0, 77), -EINVAL);
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_CUR), 99999);
}

static void test_limits(void **unused)
{
	int fd = api_open(&a, "f", O_CREAT | O_RDWR), path_fd = api_open(&a, "f", O_PATH);
	struct iovec v[1025] = {{0}};
	char c[16] = "0123456789";

	(void)unused;
	assert_int_equal(adit_pwrite(a.pool, fd, c, 1, -1), -EINVAL);
	assert_int_equal(adit_pread(a.pool, fd, c, 1, -1), -EINVAL);
	assert_int_equal(adit_pread(a.pool, fd, c, (size_t)SSIZE_MAX + 1, 0), -EINVAL);
	assert_int_equal(adit_preadv(a.pool, fd, v, -1, 0), -EINVAL);
	assert_int_equal(adit_preadv(a.pool, fd, v, 1025, 0), -EINVAL);
	assert_int_equal(adit_pwritev(a.pool, fd, v, 1024, 0), 0);
	v[0] = v[1] = (struct iovec){c, SSIZE_MAX};
	assert_int_equal(adit_preadv(a.pool, fd, v, 2, 0), -EINVAL);
	assert_int_equal(adit_preadv2(a.pool, fd, v, 1, 0, RWF_NOWAIT), -EOPNOTSUPP);
	assert_int_equal(adit_pwritev2(a.pool, fd, v, 1, 0, RWF_NOWAIT), -EOPNOTSUPP);
	/* A read that asks for more than a call moves. */
	assert_int_equal(adit_pwrite(a.pool, fd, c, 10, 0), 10);
	v[0] = (struct iovec){c, 10};
	v[1] = (struct iovec){c + 10, 0x7ffff000};
	assert_int_equal(adit_preadv(a.pool, fd, v, 2, 0), 10);
	/* The end of what a file can be. */
	assert_int_equal(adit_pwrite(a.pool, fd, c, 10, INT64_MAX), -EINVAL);
	assert_int_equal(adit_ftruncate(a.pool, fd, -1), -EINVAL);
	assert_int_equal(adit_pread(a.pool, fd, c, 10, INT64_MAX), -EINVAL);
	assert_int_equal(adit_pread(a.pool, fd, c, 10, INT64_MAX - 10), 0);
	/* O_PATH is good for nothing but its place. */
	assert_int_equal(adit_pread(a.pool, path_fd, c, 1, 0), -EBADF);
	assert_int_equal(adit_write(a.pool, path_fd, c, 1), -EBADF);
	assert_int_equal(adit_fchmod(a.pool, path_fd, 0600), -EBADF);
	assert_int_equal(adit_fgetxattr(a.pool, path_fd, "user.a", c, 1), -EBADF);
	assert_int_equal(adit_getdents(a.pool, path_fd, c, 16), -EBADF);
	assert_int_equal(adit_lseek(a.pool, path_fd, 0, SEEK_SET), -EBADF);
	assert_int_equal(adit_fsync(a.pool, path_fd), -EBADF);
	assert_int_equal(adit_fcntl(a.pool, path_fd, F_GETFL, 0), O_PATH);
	struct stat st;

	assert_int_equal(adit_fstat(a.pool, path_fd, &st), 0);
}

static void test_copy_file_range(void **unused)
{
	const size_t bytes = 5 << 20;
	char *data = malloc(bytes), c[10];
	off_t from = 100, to = 7;
	int in, out;

	(void)unused;
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)(i * 31 >> 3);
	api_put(&a, "in", data, bytes);
	in = api_open(&a, "in", O_RDWR);
	out = api_open(&a, "out", O_CREAT | O_RDWR);
	assert_int_equal(adit_copy_file_range(a.pool, in, &from, out, &to, bytes, 0), bytes - 100);
	assert_int_equal(from, bytes);
	assert_int_equal(to, bytes - 93);
	assert_int_equal(adit_lseek(a.pool, in, 0, SEEK_CUR), 0);
	char *have = malloc(bytes);

	assert_int_equal(adit_pread(a.pool, out, have, bytes, 7), bytes - 100);
	assert_memory_equal(have, data + 100, bytes - 100);
	/* Within one file: apart is fine, overlapping is not. */
	from = 0, to = 10;
	assert_int_equal(adit_copy_file_range(a.pool, in, &from, in, &to, 11, 0), -EINVAL);
	assert_int_equal(adit_copy_file_range(a.pool, in, &from, in, &to, 10, 0), 10);
	assert_int_equal(adit_pread(a.pool, in, c, 10, 10), 10);
	assert_memory_equal(c, data, 10);
	assert_int_equal(adit_copy_file_range(a.pool, in, NULL, out, NULL, 10, 1), -EINVAL);
	assert_int_equal(adit_fcntl(a.pool, out, F_SETFL, O_APPEND), 0);
	assert_int_equal(adit_copy_file_range(a.pool, in, NULL, out, NULL, 10, 0), -EBADF);
	free(data);
	free(have);
}

/* Full: nothing is half done, and removing works. */
static void test_full(void **unused)
{
	char *data = malloc(1 << 20), name[32];
	struct statfs fs;
	struct stat st;
	long rc = 0;
	int n, fd;

	(void)unused;
	memset(data, 'f', 1 << 20);
	for (n = 0; n < 1000; n++) {
		snprintf(name, sizeof name, "f%d", n);
		fd = adit_openat(a.pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0644);
		assert_true(fd >= 0);
		rc = adit_write(a.pool, fd, data, 1 << 20);
		assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
		assert_int_equal(adit_close_fd(a.pool, fd), 0);
		if (rc < 0)
			break;
		assert_int_equal(rc, 1 << 20);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(adit_statfs(a.pool, "/", &fs), 0);
	assert_true(fs.f_bavail < 256);
	assert_int_equal(fs.f_type, ADIT_STATFS_MAGIC);
	/* To the last block. */
	fd = api_open(&a, name, O_RDWR);
	for (off_t at = 0; adit_pwrite(a.pool, fd, data, 4096, at) == 4096; at += 4096) {
	}
	for (int i = 0; i < 2000 && rc != 0; i++) {
		snprintf(name, sizeof name, "d%d", i);
		rc = adit_mkdir(a.pool, name, 0755);
	}
	assert_int_equal(adit_ftruncate(a.pool, fd, 5), 0);
	for (int i = n; i >= 0; i--) {
		snprintf(name, sizeof name, "f%d", i);
		assert_int_equal(adit_unlink(a.pool, name), 0);
	}
	assert_int_equal(adit_close_fd(a.pool, fd), 0);
	api_put(&a, "again", data, 1 << 20);
	free(data);
}

/* ---- flags ----------------------------------------------------------------------------------- */

static void test_flags(void **unused)
{
	int fd = api_open(&a, "f", O_CREAT | O_RDWR), app;
	unsigned flags = 99;

	(void)unused;
	assert_int_equal(adit_getflags(a.pool, fd, &flags), 0);
	assert_int_equal(flags, 0);
	assert_int_equal(adit_setflags(a.pool, fd, 0x80), -EOPNOTSUPP);
	assert_int_equal(adit_write(a.pool, fd, "abc", 3), 3);
	assert_int_equal(adit_setflags(a.pool, fd, ADIT_FL_IMMUTABLE), 0);
	assert_int_equal(adit_getflags(a.pool, fd, &flags), 0);
	assert_int_equal(flags, ADIT_FL_IMMUTABLE);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "f", O_WRONLY, 0), -EPERM);
	assert_int_equal(adit_truncate(a.pool, "f", 1), -EPERM);
	assert_int_equal(adit_unlink(a.pool, "f"), -EPERM);
	assert_int_equal(adit_rename(a.pool, "f", "g"), -EPERM);
	assert_int_equal(adit_link(a.pool, "f", "g"), -EPERM);
	assert_int_equal(adit_chmod(a.pool, "f", 0600), -EPERM);
	assert_int_equal(adit_setxattr(a.pool, "f", "user.a", "", 0, 0), -EPERM);
	assert_int_equal(adit_access(a.pool, "f", W_OK), -EPERM);
	assert_int_equal(adit_setflags(a.pool, fd, ADIT_FL_APPEND | ADIT_FL_ATOMIC), 0);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "f", O_WRONLY, 0), -EPERM);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "f", O_WRONLY | O_APPEND | O_TRUNC, 0), -EPERM);
	app = api_open(&a, "f", O_WRONLY | O_APPEND);
	assert_int_equal(adit_fcntl(a.pool, app, F_SETFL, 0), -EPERM);
	assert_int_equal(adit_write(a.pool, app, "def", 3), 3);
	assert_int_equal(adit_truncate(a.pool, "f", 1), -EPERM);
	assert_int_equal(adit_unlink(a.pool, "f"), -EPERM);
	assert_int_equal(adit_setflags(a.pool, fd, 0), 0);
	assert_true(api_is(&a, "f", "abcdef", 6));
	assert_int_equal(adit_unlink(a.pool, "f"), 0);
	struct statx x;

	assert_int_equal(adit_statx(a.pool, fd, "", AT_EMPTY_PATH, STATX_ALL, &x), 0);
	assert_int_equal(x.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND), 0);
	assert_int_equal(x.stx_attributes_mask & STATX_ATTR_IMMUTABLE, STATX_ATTR_IMMUTABLE);
	assert_true(x.stx_btime.tv_sec > 1700000000);
	assert_int_equal(adit_statx(a.pool, fd, "", AT_EMPTY_PATH, 0x80000000u, &x), -EINVAL);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void test_root_and_absolute(void **unused)
{
	struct stat root, st;
	char c[8];
	int fd;

	(void)unused;
	assert_int_equal(adit_mkdir(a.pool, "/d", 0755), 0);
	assert_int_equal(adit_mkdir(a.pool, "d/e", 0755), 0);
	api_put(&a, "/d/f", "file", 4);
	assert_int_equal(adit_stat(a.pool, "/", &root), 0);
	assert_true(S_ISDIR(root.st_mode));
	static const char *const ways[] = {"/..", "..", "/../../..", "d/..", "d/../..", "/d/e/../..//.",
					   "./.", "//"};

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		assert_int_equal(adit_stat(a.pool, ways[i], &st), 0);
		assert_int_equal(st.st_ino, root.st_ino);
		assert_int_equal(st.st_dev, root.st_dev);
	}
	assert_int_equal(adit_symlink(a.pool, "/d/f", "d/e/abs"), 0);
	assert_int_equal(adit_symlink(a.pool, "../../../../d/f", "d/e/up"), 0);
	assert_true(api_is(&a, "d/e/abs", "file", 4));
	assert_true(api_is(&a, "d/e/up", "file", 4));
	fd = api_open(&a, "d/e", O_RDONLY | O_DIRECTORY);
	assert_int_equal(adit_fstatat(a.pool, fd, "..", &st, 0), 0);
	assert_int_equal(adit_fstatat(a.pool, fd, "/d/f", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(adit_fstatat(a.pool, 12345, "/d/f", &st, 0), 0);
	assert_int_equal(adit_readlinkat(a.pool, fd, "abs", c, 3), 3);
	assert_memory_equal(c, "/d/", 3);
	assert_int_equal(adit_rmdir(a.pool, "/"), -EBUSY);
	assert_int_equal(adit_mkdir(a.pool, "/", 0755), -EEXIST);
	assert_int_equal(adit_unlink(a.pool, "/"), -EISDIR);
	assert_int_equal(adit_rename(a.pool, "/", "x"), -EBUSY);
	assert_int_equal(adit_rename(a.pool, "d", "/"), -EBUSY);
	assert_int_equal(adit_rename(a.pool, "d", "d/e/x"), -EINVAL);
	assert_int_equal(adit_rename(a.pool, "d/e", "d"), -ENOTEMPTY);
	assert_int_equal(adit_stat(a.pool, NULL, &st), -EFAULT);
}

static void test_links_limits(void **unused)
{
	char name[16], to[16], longest[5000];
	struct stat st;

	(void)unused;
	api_put(&a, "l0", "end", 3);
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof name, "l%d", i);
		snprintf(to, sizeof to, "l%d", i - 1);
		assert_int_equal(adit_symlink(a.pool, to, name), 0);
	}
	assert_int_equal(adit_stat(a.pool, "l40", &st), 0);
	assert_int_equal(adit_stat(a.pool, "l41", &st), -ELOOP);
	assert_int_equal(adit_lstat(a.pool, "l41", &st), 0);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "l41", O_CREAT | O_RDWR, 0644), -ELOOP);
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "l1", O_NOFOLLOW, 0), -ELOOP);
	/* The longest target and path, and one more. */
	memset(longest, '/', sizeof longest);
	longest[4095] = '\0';
	memcpy(longest + 4093, "l0", 2);
	assert_int_equal(adit_stat(a.pool, longest, &st), 0);
	assert_int_equal(adit_symlink(a.pool, longest, "long"), 0);
	assert_int_equal(adit_stat(a.pool, "long", &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(adit_readlink(a.pool, "long", longest, sizeof longest), 4095);
	memset(longest, '/', sizeof longest);
	longest[4096] = '\0';
	assert_int_equal(adit_stat(a.pool, longest, &st), -ENAMETOOLONG);
	assert_int_equal(adit_symlink(a.pool, longest, "x"), -ENAMETOOLONG);
	assert_int_equal(adit_symlink(a.pool, "", "x"), -ENOENT);
	/* A link in the middle of a long path. */
	assert_int_equal(adit_mkdir(a.pool, "d", 0755), 0);
	memset(longest, '/', 4095);
	longest[4094] = 'd';
	longest[4095] = '\0';
	assert_int_equal(adit_symlink(a.pool, longest, "dl"), 0);
	api_put(&a, "d/f", "", 0);
	memset(longest, '/', 4095);
	memcpy(longest, "dl", 2);
	longest[4094] = 'f';
	assert_int_equal(adit_stat(a.pool, longest, &st), 0);
}

static void test_tmpfile(void **unused)
{
	int fd = api_open(&a, "/", O_TMPFILE | O_RDWR);
	int never = api_open(&a, "/", O_TMPFILE | O_RDWR | O_EXCL), gone;
	struct stat st;

	(void)unused;
	assert_int_equal(adit_openat(a.pool, AT_FDCWD, "/", O_TMPFILE | O_RDONLY, 0600), -EINVAL);
	assert_int_equal(adit_write(a.pool, fd, "unnamed", 7), 7);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(adit_linkat(a.pool, fd, "", AT_FDCWD, "named", AT_EMPTY_PATH), 0);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(adit_linkat(a.pool, fd, "", AT_FDCWD, "named", AT_EMPTY_PATH), -EEXIST);
	assert_int_equal(adit_unlink(a.pool, "named"), 0);
	assert_int_equal(adit_linkat(a.pool, fd, "", AT_FDCWD, "named", AT_EMPTY_PATH), -ENOENT);
	assert_int_equal(adit_close_fd(a.pool, fd), 0);
	fd = api_open(&a, "/", O_TMPFILE | O_RDWR);
	assert_int_equal(adit_write(a.pool, fd, "unnamed", 7), 7);
	assert_int_equal(adit_linkat(a.pool, fd, "", AT_FDCWD, "named", AT_EMPTY_PATH), 0);
	assert_int_equal(adit_linkat(a.pool, never, "", AT_FDCWD, "n", AT_EMPTY_PATH), -ENOENT);
	api_put(&a, "f", "x", 1);
	gone = api_open(&a, "f", O_RDWR);
	assert_int_equal(adit_unlink(a.pool, "f"), 0);
	assert_int_equal(adit_linkat(a.pool, gone, "", AT_FDCWD, "n", AT_EMPTY_PATH), -ENOENT);
	api_reopen(&a);
	assert_true(api_is(&a, "named", "unnamed", 7));
	assert_int_equal(adit_access(a.pool, "n", F_OK), -ENOENT);
}

static void test_special_files(void **unused)
{
	static const mode_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	struct stat st;

	(void)unused;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(adit_mknod(a.pool, "n", types[i] | 0640, makedev(4095, 1048575)), 0);
		assert_int_equal(adit_lstat(a.pool, "n", &st), 0);
		assert_int_equal(st.st_mode, types[i] | 0640);
		assert_int_equal(st.st_rdev, i < 2 ? 0 : makedev(4095, 1048575));
		assert_int_equal(adit_openat(a.pool, AT_FDCWD, "n", O_RDWR, 0), -ENXIO);
		assert_true(adit_openat(a.pool, AT_FDCWD, "n", O_PATH, 0) >= 0);
		assert_int_equal(adit_truncate(a.pool, "n", 0), -EINVAL);
		assert_int_equal(adit_setxattr(a.pool, "n", "user.a", "v", 1, 0), -EPERM);
		assert_int_equal(adit_setxattr(a.pool, "n", "trusted.a", "v", 1, 0), 0);
		assert_int_equal(adit_unlink(a.pool, "n"), 0);
	}
}

static void test_umask(void **unused)
{
	struct stat st;

	(void)unused;
	assert_int_equal(adit_umask(a.pool, 027), 0);
	assert_int_equal(adit_umask(a.pool, 01077), 027);
	assert_int_equal(adit_umask(a.pool, 022), 077);
	assert_int_equal(adit_mkdir(a.pool, "d", 07777), 0);
	assert_int_equal(adit_stat(a.pool, "d", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 01755);
	assert_int_equal(adit_mknod(a.pool, "n", 07777, 0), 0);
	assert_int_equal(adit_stat(a.pool, "n", &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 07755);
	assert_int_equal(adit_symlink(a.pool, "d", "l"), 0);
	assert_int_equal(adit_lstat(a.pool, "l", &st), 0);
	assert_int_equal(st.st_mode, S_IFLNK | 0777);
	assert_int_equal(st.st_uid, geteuid());
}

/* ---- directories ----------------------------------------------------------------------------- */

#define MANY 3000

/* Entries that stay are given exactly once, while others come and go and the buffer is tiny. */
static void test_getdents_stable(void **unused)
{
	static uint8_t seen[MANY];
	uint64_t state = 99;
	char name[32], buf[128];
	unsigned fresh = MANY;
	ssize_t n;
	int fd;

	(void)unused;
	assert_int_equal(adit_mkdir(a.pool, "d", 0755), 0);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "d/%u", i);
		assert_int_equal(adit_mknod(a.pool, name, 0644, 0), 0);
	}
	fd = api_open(&a, "d", O_RDONLY);
	assert_int_equal(adit_getdents(a.pool, fd, buf, 20), -EINVAL);
	memset(seen, 0, sizeof seen);
	while ((n = adit_getdents(a.pool, fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct adit_dirent64 *d = (void *)(buf + at);

			if (d->d_name[0] != '.' && atoi(d->d_name) < MANY)
				seen[atoi(d->d_name)]++;
			assert_int_equal(d->d_reclen % 8, 0);
			at += d->d_reclen;
		}
		/* Odd ones go, new ones come, even ones stay. */
		snprintf(name, sizeof name, "d/%u", (unsigned)(api_random(&state) % (MANY / 2)) * 2 + 1);
		(void)adit_unlink(a.pool, name);
		snprintf(name, sizeof name, "d/%u", fresh++);
		assert_int_equal(adit_mknod(a.pool, name, 0644, 0), 0);
	}
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(i % 2 == 0 ? seen[i] == 1 : seen[i] <= 1);
	/* Back to an entry: what comes next is what came next. */
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_SET), 0);
	assert_true(adit_getdents(a.pool, fd, buf, sizeof buf) > 0);
	off_t here = ((struct adit_dirent64 *)(void *)buf)->d_off;
	char first[128], second[128];

	assert_int_equal(adit_lseek(a.pool, fd, here, SEEK_SET), here);
	assert_true(adit_getdents(a.pool, fd, first, sizeof first) > 0);
	assert_int_equal(adit_lseek(a.pool, fd, here, SEEK_SET), here);
	assert_true(adit_getdents(a.pool, fd, second, sizeof second) > 0);
	assert_string_equal(((struct adit_dirent64 *)(void *)first)->d_name,
			    ((struct adit_dirent64 *)(void *)second)->d_name);
	assert_int_equal(adit_lseek(a.pool, fd, -1, SEEK_SET), -EINVAL);
	assert_int_equal(adit_lseek(a.pool, fd, 0, SEEK_END), -EINVAL);
}

static void test_removed_directory(void **unused)
{
	char buf[256];
	struct stat st;
	int fd;

	(void)unused;
	assert_int_equal(adit_mkdir(a.pool, "d", 0755), 0);
	fd = api_open(&a, "d", O_RDONLY);
	assert_int_equal(adit_rmdir(a.pool, "d"), 0);
	assert_int_equal(adit_openat(a.pool, fd, "f", O_CREAT | O_RDWR, 0644), -ENOENT);
	assert_int_equal(adit_mkdirat(a.pool, fd, "x", 0755), -ENOENT);
	assert_int_equal(adit_openat(a.pool, fd, "f", O_RDONLY, 0), -ENOENT);
	assert_int_equal(adit_fstat(a.pool, fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	(void)adit_getdents(a.pool, fd, buf, sizeof buf);
	assert_int_equal(adit_close_fd(a.pool, fd), 0);
}

/* ---- extended attributes --------------------------------------------------------------------- */

static void test_xattrs(void **unused)
{
	char *big = malloc(65537), list[256], c[8];
	int fd = api_open(&a, "f", O_CREAT | O_RDWR);

	(void)unused;
	memset(big, 'v', 65537);
	assert_int_equal(adit_setxattr(a.pool, "f", "user.big", big, 65536, 0), 0);
	assert_int_equal(adit_setxattr(a.pool, "f", "user.big", big, 65537, 0), -E2BIG);
	assert_int_equal(adit_fsetxattr(a.pool, fd, "user.a", "1", 1, XATTR_CREATE), 0);
	assert_int_equal(adit_fsetxattr(a.pool, fd, "user.a", "2", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(adit_fsetxattr(a.pool, fd, "user.b", "2", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(adit_fsetxattr(a.pool, fd, "other.b", "2", 1, 0), -EOPNOTSUPP);
	assert_int_equal(adit_setxattr(a.pool, "f", "system.posix_acl_default", "x", 1, 0), -EACCES);
	assert_int_equal(adit_getxattr(a.pool, "f", "user.big", c, 8), -ERANGE);
	assert_int_equal(adit_getxattr(a.pool, "f", "user.big", NULL, 0), 65536);
	assert_int_equal(adit_getxattr(a.pool, "f", "user.a", c, 8), 1);
	assert_int_equal(adit_getxattr(a.pool, "f", "user.none", c, 8), -ENODATA);
	api_reopen(&a);
	memset(big, 0, 65536);
	assert_int_equal(adit_getxattr(a.pool, "f", "user.big", big, 65536), 65536);
	assert_int_equal(big[65535], 'v');
	assert_int_equal(adit_listxattr(a.pool, "f", list, sizeof list), 16);
	assert_int_equal(adit_listxattr(a.pool, "f", NULL, 0), 16);
	assert_int_equal(adit_listxattr(a.pool, "f", list, 15), -ERANGE);
	assert_int_equal(adit_symlink(a.pool, "f", "l"), 0);
	assert_int_equal(adit_lsetxattr(a.pool, "l", "user.x", "", 0, 0), -EPERM);
	assert_int_equal(adit_lgetxattr(a.pool, "l", "user.x", c, 8), -ENODATA);
	assert_int_equal(adit_lsetxattr(a.pool, "l", "trusted.x", "y", 1, 0), 0);
	assert_int_equal(adit_llistxattr(a.pool, "l", list, sizeof list), 10);
	assert_int_equal(adit_lremovexattr(a.pool, "l", "trusted.x"), 0);
	assert_int_equal(adit_removexattr(a.pool, "l", "user.big"), 0);
	fd = api_open(&a, "f", O_RDONLY);
	assert_int_equal(adit_fremovexattr(a.pool, fd, "user.a"), 0);
	assert_int_equal(adit_fremovexattr(a.pool, fd, "user.a"), -ENODATA);
	assert_int_equal(adit_flistxattr(a.pool, fd, list, sizeof list), 0);
	free(big);
}

/* ---- times ----------------------------------------------------------------------------------- */

static void test_times(void **unused)
{
	/* Before 1970, after 2038, and what 64 bits of nanoseconds cannot hold. */
	static const time_t secs[] = {0, -1, -2000000000, 4000000000, 9000000000, 9000000000000};
	struct timespec times[2];
	struct stat st;

	(void)unused;
	api_put(&a, "f", "x", 1);
	for (int i = 0; i < 6; i++) {
		times[0] = (struct timespec){secs[i], 123456789};
		times[1] = (struct timespec){secs[i], 999999999};
		assert_int_equal(adit_utimensat(a.pool, AT_FDCWD, "f", times, 0), 0);
		api_reopen(&a);
		assert_int_equal(adit_stat(a.pool, "f", &st), 0);
		assert_int_equal(st.st_atim.tv_sec, i < 5 ? secs[i] : INT64_MAX / 1000000000);
		if (i < 5) {
			assert_int_equal(st.st_atim.tv_nsec, 123456789);
			assert_int_equal(st.st_mtim.tv_nsec, 999999999);
		}
	}
	assert_int_equal(adit_utimensat(a.pool, 999, NULL, NULL, 0), -EBADF);
	assert_int_equal(adit_utimensat(a.pool, AT_FDCWD, "f", NULL, 0), 0);
	assert_int_equal(adit_stat(a.pool, "f", &st), 0);
	assert_true(st.st_mtim.tv_sec < 4000000000 && st.st_mtim.tv_sec > 1700000000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_contents_model), TEST(test_fallocate_errors), TEST(test_seek),
		TEST(test_limits),	   TEST(test_copy_file_range),	TEST(test_full),
		TEST(test_flags),	   TEST(test_root_and_absolute), TEST(test_links_limits),
		TEST(test_tmpfile),	   TEST(test_special_files),	TEST(test_umask),
		TEST(test_getdents_stable), TEST(test_removed_directory), TEST(test_xattrs),
		TEST(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
