/* SPDX-License-Identifier: BSD-3-Clause */
/* acts.c - see acts.h. */
#include "acts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>

#include "core/core.h"
#include "fs/env.h"

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif
#define MANY 60u

struct adit_pool *pool;
uint8_t bytes[1 << 20];
char what[160];
unsigned failures;

const char *const act_names[ACTS_NAMES] = {
	"/d/small", "/d/file", "/d/large", "/d/holes", "/d/two", "/e/two",
	"/e/other", "/e/link", "/empty",   "/second",  "/d/new", "/e/new",
	"/d",	    "/e",      "/e/note",  "/",	       "/d/tag", "/new",
};

void fail(const char *why, long long a, long long b)
{
	fprintf(stderr, "FAILED %s: %s (%lld, %lld)\n", what, why, a, b);
	failures++;
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is there before -------------------------------------------------------------------- */

int open_at(const char *name, int flags)
{
	return adit_openat(pool, AT_FDCWD, name, flags, 0644);
}

static void write_file(const char *name, uint32_t n, int gap)
{
	int fd = open_at(name, O_CREAT | O_WRONLY);

	for (uint32_t at = 0; at < n; at += gap ? 4096 : n)
		if (adit_pwrite(pool, fd, bytes, gap ? 4096 : n, gap ? at * 2ll : at) < 0)
			fail("preparing", fd, n);
	adit_close_fd(pool, fd);
}

void acts_prepare(void)
{
	char name[64];
	int rc;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	rc = adit_mkdir(pool, "/d", 0755) | adit_mkdir(pool, "/e", 0755) |
	     adit_mkdir(pool, "/empty", 0755) | adit_mkdir(pool, "/second", 0755);
	write_file("/d/small", 30, 0);
	write_file("/d/file", 20000, 0);
	write_file("/d/large", 400 << 10, 0);
	write_file("/d/holes", 120 << 10, 1);
	write_file("/d/two", 5000, 0);
	write_file("/e/other", 9000, 0);
	write_file("/e/note", 70, 0);
	rc |= adit_link(pool, "/d/two", "/e/two") | adit_symlink(pool, "../d/file", "/e/link");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "/d/one-of-many-with-a-longer-name-%02u", i);
		rc |= adit_mknod(pool, name, S_IFREG | 0644, 0);
	}
	rc |= adit_setxattr(pool, "/d/file", "user.one", bytes, 100, 0);
	if (rc != 0)
		fail("preparing", rc, 0);
}

/* ---- operations: names ------------------------------------------------------------------------ */

#define ACT(name, expression)                                                                      \
	static int64_t do_##name(void)                                                             \
	{                                                                                          \
		return (expression);                                                               \
	}
#define RENAME(a, b, flags) adit_renameat2(pool, AT_FDCWD, a, AT_FDCWD, b, flags)

static int held = -1; /* opened by what comes before */

static int64_t hold_file(void)
{
	return held = open_at("/d/file", O_RDWR);
}
static int64_t hold_large(void)
{
	return held = open_at("/d/large", O_RDWR);
}
static int64_t hold_holes(void)
{
	return held = open_at("/d/holes", O_RDWR);
}
static int64_t hold_small(void)
{
	return held = open_at("/d/small", O_RDWR);
}
static int64_t hold_end(void)
{
	return held = open_at("/d/file", O_WRONLY | O_APPEND);
}
static int64_t hold_small_end(void)
{
	return held = open_at("/d/small", O_WRONLY | O_APPEND);
}
static int64_t hold_dir(void)
{
	return held = open_at("/d", O_RDONLY | O_DIRECTORY);
}
static int64_t hold_orphan(void)
{
	held = open_at("/d/file", O_RDWR);
	return held < 0 ? held : adit_unlink(pool, "/d/file");
}
static int64_t hold_large_orphan(void)
{
	held = open_at("/d/holes", O_RDWR);
	return held < 0 ? held : adit_unlink(pool, "/d/holes");
}
static int64_t hold_nameless(void)
{
	held = open_at("/d", O_TMPFILE | O_RDWR);
	return held < 0 ? held : adit_pwrite(pool, held, bytes, 10000, 0);
}

ACT(create, open_at("/d/new", O_CREAT | O_EXCL | O_WRONLY))
ACT(create_there, open_at("/d/file", O_CREAT | O_WRONLY))
ACT(open_trunc, open_at("/d/holes", O_TRUNC | O_WRONLY))
ACT(open_close, adit_close_fd(pool, open_at("/d/file", O_RDWR)))
ACT(mkdir, adit_mkdir(pool, "/d/new", 0755))
ACT(mkdir_root, adit_mkdir(pool, "/new", 0755))
ACT(mknod_device, adit_mknod(pool, "/d/new", S_IFCHR | 0600, makedev(3, 4)))
ACT(mknod_fifo, adit_mknod(pool, "/e/new", S_IFIFO | 0600, 0))
ACT(symlink, adit_symlink(pool, "somewhere", "/d/new"))
ACT(link, adit_link(pool, "/d/file", "/e/new"))
ACT(unlink, adit_unlink(pool, "/d/file"))
ACT(unlink_small, adit_unlink(pool, "/d/small"))
ACT(unlink_large, adit_unlink(pool, "/d/holes"))
ACT(unlink_link, adit_unlink(pool, "/e/two"))
ACT(unlink_symlink, adit_unlink(pool, "/e/link"))
ACT(close_held, adit_close_fd(pool, held))
ACT(rmdir, adit_rmdir(pool, "/empty"))
ACT(rename, adit_rename(pool, "/d/file", "/e/new"))
ACT(rename_here, adit_rename(pool, "/d/file", "/d/new"))
ACT(rename_over, adit_rename(pool, "/d/file", "/e/other"))
ACT(rename_over_link, adit_rename(pool, "/d/file", "/e/two"))
ACT(rename_dir, adit_rename(pool, "/empty", "/e/new"))
ACT(rename_dir_over, adit_rename(pool, "/empty", "/second"))
ACT(rename_new, RENAME("/d/file", "/e/new", RENAME_NOREPLACE))
ACT(exchange, RENAME("/d/file", "/e/other", RENAME_EXCHANGE))
ACT(exchange_dir, RENAME("/empty", "/e/other", RENAME_EXCHANGE))
ACT(whiteout, RENAME("/d/file", "/e/new", RENAME_WHITEOUT))
ACT(whiteout_over, RENAME("/d/file", "/e/other", RENAME_WHITEOUT))
ACT(name_it, adit_linkat(pool, held, "", AT_FDCWD, "/d/new", AT_EMPTY_PATH))
ACT(tmpfile, open_at("/d", O_TMPFILE | O_WRONLY))

static int64_t do_symlink_long(void)
{
	char target[2001];

	memset(target, 'l', 2000);
	target[2000] = '\0';
	return adit_symlink(pool, target, "/e/new");
}

static int64_t do_getdents(void)
{
	static char buffer[2000];
	ssize_t n;

	do
		n = adit_getdents(pool, held, buffer, sizeof buffer);
	while (n > 0);
	return n;
}

/* ---- contents --------------------------------------------------------------------------------------- */

ACT(truncate, adit_truncate(pool, "/d/holes", 1000))
ACT(truncate_zero, adit_truncate(pool, "/d/large", 0))
ACT(truncate_inner, adit_ftruncate(pool, held, 12345))
ACT(truncate_up, adit_truncate(pool, "/d/file", 300001))
ACT(truncate_up_small, adit_truncate(pool, "/d/small", 5000))
ACT(append, adit_write(pool, held, bytes, 5000))
ACT(append_small, adit_write(pool, held, bytes, 20))
ACT(append_large, adit_write(pool, held, bytes, 300 << 10))
ACT(overwrite, adit_pwrite(pool, held, bytes + 1000, 9000, 3001))
ACT(overwrite_small, adit_pwrite(pool, held, bytes + 100, 10, 7))
ACT(fill_hole, adit_pwrite(pool, held, bytes + 500, 4096, 4096))
ACT(fill_holes, adit_pwrite(pool, held, bytes + 500, 60000, 200))
ACT(write_beyond, adit_pwrite(pool, held, bytes, 7000, 700001))
ACT(write_big, adit_pwrite(pool, held, bytes, 700 << 10, 100 << 10))
ACT(read, adit_pread(pool, held, bytes, 400 << 10, 0))
ACT(allocate, adit_fallocate(pool, held, 0, 0, 200 << 10))
ACT(allocate_beyond, adit_fallocate(pool, held, FALLOC_FL_KEEP_SIZE, 100000, 500000))
ACT(punch, adit_fallocate(pool, held, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 100000))
ACT(zero, adit_fallocate(pool, held, FALLOC_FL_ZERO_RANGE, 5000, 150000))
ACT(zero_beyond, adit_fallocate(pool, held, FALLOC_FL_ZERO_RANGE, 10000, 600000))
ACT(collapse, adit_fallocate(pool, held, FALLOC_FL_COLLAPSE_RANGE, 8192, 40960))
ACT(insert, adit_fallocate(pool, held, FALLOC_FL_INSERT_RANGE, 8192, 40960))
ACT(checkpoint, adit__checkpoint(adit__pool_fs(pool)))

static int64_t do_atomic(void)
{
	struct iovec v = {bytes + 1000, 9000};

	return adit_pwritev2(pool, held, &v, 1, 3000, RWF_ATOMIC);
}

static int64_t do_copy(void)
{
	int from = open_at("/d/large", O_RDONLY), to = open_at("/d/new", O_CREAT | O_WRONLY);

	return adit_copy_file_range(pool, from, NULL, to, NULL, 200000, 0);
}

static int64_t before_copy(void)
{
	return held = open_at("/d/new", O_CREAT | O_WRONLY);
}

/* ---- attributes -------------------------------------------------------------------------------------- */

ACT(chmod, adit_fchmodat(pool, AT_FDCWD, "/d/file", 0600, 0))
ACT(chmod_dir, adit_chmod(pool, "/d", 0700))
ACT(chown, adit_chown(pool, "/d/file", 12, 34))
ACT(setxattr, adit_setxattr(pool, "/d/file", "user.two", bytes, 300, 0))
ACT(setxattr_large, adit_setxattr(pool, "/d/file", "user.two", bytes, 20000, 0))
ACT(setxattr_again, adit_setxattr(pool, "/d/file", "user.one", bytes + 7, 5000, 0))
ACT(setxattr_dir, adit_setxattr(pool, "/e", "user.one", bytes, 400, 0))
ACT(removexattr, adit_removexattr(pool, "/d/file", "user.one"))
ACT(setflags, adit_setflags(pool, held, ADIT_FL_ATOMIC))
ACT(fsync, adit_fsync(pool, held))

static int64_t do_utimens(void)
{
	static const struct timespec t[2] = {{1000, 1}, {2000, 2}};

	return adit_utimensat(pool, AT_FDCWD, "/e/other", t, 0);
}

const struct act acts[] = {
	{"create", NULL, do_create, NULL},
	{"create-there", NULL, do_create_there, NULL},
	{"open-truncate", NULL, do_open_trunc, NULL},
	{"open-close", NULL, do_open_close, NULL},
	{"mkdir", NULL, do_mkdir, NULL},
	{"mkdir-root", NULL, do_mkdir_root, NULL},
	{"mknod-device", NULL, do_mknod_device, NULL},
	{"mknod-fifo", NULL, do_mknod_fifo, NULL},
	{"symlink", NULL, do_symlink, NULL},
	{"symlink-long", NULL, do_symlink_long, NULL},
	{"link", NULL, do_link, NULL},
	{"unlink", NULL, do_unlink, NULL},
	{"unlink-open", hold_file, do_unlink, NULL},
	{"unlink-small", NULL, do_unlink_small, NULL},
	{"unlink-large", NULL, do_unlink_large, NULL},
	{"unlink-link", NULL, do_unlink_link, NULL},
	{"unlink-symlink", NULL, do_unlink_symlink, NULL},
	{"close-orphan", hold_orphan, do_close_held, NULL},
	{"close-large-orphan", hold_large_orphan, do_close_held, NULL},
	{"close-nameless", hold_nameless, do_close_held, NULL},
	{"write-orphan", hold_orphan, do_append_large, NULL},
	{"rmdir", NULL, do_rmdir, NULL},
	{"rename", NULL, do_rename, NULL},
	{"rename-here", NULL, do_rename_here, NULL},
	{"rename-over", NULL, do_rename_over, NULL},
	{"rename-over-link", NULL, do_rename_over_link, NULL},
	{"rename-dir", NULL, do_rename_dir, NULL},
	{"rename-dir-over", NULL, do_rename_dir_over, NULL},
	{"rename-noreplace", NULL, do_rename_new, NULL},
	{"exchange", NULL, do_exchange, NULL},
	{"exchange-dir", NULL, do_exchange_dir, NULL},
	{"whiteout", NULL, do_whiteout, NULL},
	{"whiteout-over", NULL, do_whiteout_over, NULL},
	{"tmpfile", NULL, do_tmpfile, NULL},
	{"tmpfile-link", hold_nameless, do_name_it, NULL},
	{"getdents", hold_dir, do_getdents, NULL},
	{"truncate", NULL, do_truncate, NULL},
	{"truncate-zero", NULL, do_truncate_zero, NULL},
	{"truncate-inner", hold_file, do_truncate_inner, NULL},
	{"truncate-up", NULL, do_truncate_up, NULL},
	{"truncate-up-small", NULL, do_truncate_up_small, NULL},
	{"append", hold_end, do_append, NULL},
	{"append-small", hold_small_end, do_append_small, NULL},
	{"append-large", hold_end, do_append_large, NULL},
	{"overwrite", hold_large, do_overwrite, "/d/large"},
	{"overwrite-small", hold_small, do_overwrite_small, "/d/small"},
	{"fill-hole", hold_holes, do_fill_hole, NULL},
	{"fill-holes", hold_holes, do_fill_holes, "/d/holes"},
	{"write-beyond", hold_file, do_write_beyond, NULL},
	{"write-big", hold_file, do_write_big, NULL},
	{"atomic-write", hold_large, do_atomic, NULL},
	{"copy-file-range", before_copy, do_copy, NULL},
	{"read", hold_large, do_read, NULL},
	{"allocate", hold_holes, do_allocate, NULL},
	{"allocate-beyond", hold_file, do_allocate_beyond, NULL},
	{"punch", hold_large, do_punch, NULL},
	{"zero", hold_large, do_zero, NULL},
	{"zero-beyond", hold_file, do_zero_beyond, NULL},
	{"collapse", hold_holes, do_collapse, NULL},
	{"insert", hold_holes, do_insert, NULL},
	{"chmod", NULL, do_chmod, NULL},
	{"chmod-dir", NULL, do_chmod_dir, NULL},
	{"chown", NULL, do_chown, NULL},
	{"utimens", NULL, do_utimens, NULL},
	{"setxattr", NULL, do_setxattr, NULL},
	{"setxattr-large", NULL, do_setxattr_large, NULL},
	{"setxattr-again", NULL, do_setxattr_again, NULL},
	{"setxattr-dir", NULL, do_setxattr_dir, NULL},
	{"removexattr", NULL, do_removexattr, NULL},
	{"setflags", hold_file, do_setflags, NULL},
	{"fsync", hold_file, do_fsync, NULL},
	{"checkpoint", NULL, do_checkpoint, NULL},
};
const unsigned acts_count = sizeof acts / sizeof acts[0];

/* ---- how it looks ------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	return adit__hash64(h, p, n);
}

int64_t read_all(const char *name, uint8_t *to, uint64_t room)
{
	int fd = open_at(name, O_RDONLY);
	int64_t n;

	if (fd < 0)
		return -1;
	n = adit_pread(pool, fd, to, room, 0);
	adit_close_fd(pool, fd);
	return n;
}

uint64_t contents_of(int fd)
{
	static uint8_t data[1 << 20];
	ssize_t n = adit_pread(pool, fd, data, sizeof data, 0);

	/* Another one has put a directory in its place meanwhile. */
	if (n < 0 && n != -EISDIR)
		fail("reading", n, 0);
	return n < 0 ? 0 : mix(7, data, (size_t)n);
}

static uint64_t attributes(uint64_t h, const char *name, const struct stat *st)
{
	static const char *const key[] = {"user.one", "user.two"};
	/* Not those of directories: others make subdirectories. */
	uint64_t links = S_ISDIR(st->st_mode) ? 0 : st->st_nlink;
	bool old = st->st_mtim.tv_sec == 2000;
	char value[32 << 10];

	h = mix(h, &st->st_mode, sizeof st->st_mode);
	h = mix(h, &st->st_uid, sizeof st->st_uid);
	h = mix(h, &st->st_gid, sizeof st->st_gid);
	h = mix(h, &st->st_rdev, sizeof st->st_rdev);
	h = mix(h, &links, sizeof links);
	h = mix(h, &old, sizeof old);
	for (unsigned i = 0; i < 2 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)); i++) {
		ssize_t n = adit_lgetxattr(pool, name, key[i], value, sizeof value);

		h = mix(h, &n, sizeof n);
		if (n > 0)
			h = mix(h, value, (size_t)n);
	}
	return h;
}

static uint64_t look_once(const char *name)
{
	unsigned flags = 0;
	char target[4096];
	struct stat st;
	uint64_t h;
	ssize_t n;
	int fd;

	if (adit_lstat(pool, name, &st) != 0)
		return 0;
	h = attributes(1, name, &st);
	if (S_ISLNK(st.st_mode)) {
		n = adit_readlink(pool, name, target, sizeof target);
		if (n > 0)
			h = mix(h, target, (size_t)n);
	}
	if (S_ISREG(st.st_mode)) {
		fd = open_at(name, O_RDONLY);
		if (fd < 0)
			return 1;
		h = mix(h, &st.st_size, sizeof st.st_size);
		h ^= contents_of(fd);
		(void)adit_getflags(pool, fd, &flags);
		h = mix(h, &flags, sizeof flags);
		adit_close_fd(pool, fd);
	}
	return h;
}

uint64_t look_at(unsigned name)
{
	uint64_t h = look_once(act_names[name]), again;

	/* It changes but once. */
	while ((again = look_once(act_names[name])) != h)
		h = again;
	return h;
}

/* ---- and away ------------------------------------------------------------------------------------------ */

/* Of one directory: what can be removed, directories after what is in them. */
static void empty_dir(const char *dir)
{
	static char buffer[8000];
	char name[400];
	int fd = adit_openat(pool, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	ssize_t n;

	while ((n = adit_getdents(pool, fd, buffer, sizeof buffer)) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct adit_dirent64 *e = (const void *)(buffer + at);

			at += e->d_reclen;
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
			if (adit_unlink(pool, name) == -EISDIR)
				(void)adit_rmdir(pool, name);
		}
	if (n < 0 || fd < 0)
		fail("emptying", n, fd);
	adit_close_fd(pool, fd);
}

struct left remove_all(void)
{
	struct adit_fs *fs = adit__pool_fs(pool);
	struct adit_statfs s;

	empty_dir("/d");
	empty_dir("/e");
	empty_dir("/");
	if (adit__checkpoint(fs) != 0)
		fail("checkpoint", 0, 0);
	adit__core_statfs(fs, &s);
	return (struct left){s.free, s.inodes_used};
}
