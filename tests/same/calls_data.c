/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_api_same.c - the calls of adit.h beside the same system calls of Linux on tmpfs: random sequences
 * must return the same values and errors, and leave the same tree.
 *
 * ADIT_TEST_SEED replays one sequence, ADIT_TEST_STEPS makes it longer, ADIT_TEST_EVERY compares the
 * trees more often, ADIT_TEST_VERBOSE prints each step. Needs root (as which Adit's library always acts) and a tmpfs at /dev/shm; else it skips.
 * Not compared: times that nobody set, sizes of directories, allocated blocks, inode numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "adit/adit.h"

#define POOL_BYTES (256ull << 20)
#define FDS 12
#define FILE_MAX_BYTES 300000

struct pair {
	int host, adit; /* -1: not open */
	bool special;	/* FIFO or device: never read or written */
};

static struct {
	struct adit_pool *pool;
	char pool_path[64], host_path[64];
	int host_root, adit_root;
	struct pair fd[FDS];
	uint64_t seed, state;
	unsigned step;
	bool verbose;
	char what[12400];
} t;

static uint64_t rnd(void)
{
	t.state ^= t.state >> 12;
	t.state ^= t.state << 25;
	t.state ^= t.state >> 27;
	return t.state * 0x2545f4914f6cdd1dull;
}

static unsigned pick(unsigned n)
{
	return (unsigned)((rnd() >> 33) % n);
}

static bool chance(unsigned percent)
{
	return pick(100) < percent;
}

#define ONE_OF(array) ((array)[pick(sizeof(array) / sizeof((array)[0]))])

static void describe(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void describe(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(t.what, sizeof t.what, format, args);
	va_end(args);
	if (t.verbose)
		print_message("%u: %s\n", t.step, t.what);
}

static void differ(long host, long adit)
{
	print_error("seed %llu step %u: %s: host %ld, adit %ld\n", (unsigned long long)t.seed, t.step,
		    t.what, host, adit);
	fail();
}

/* The host's result as Adit gives it. */
static long host_rc(long rc)
{
	return rc < 0 ? -errno : rc;
}

static void same(long host, long adit)
{
	if (host != adit)
		differ(host, adit);
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const names[] = {"a", "b", "c", "d", "e", "link", "ln2", "dir", "sub", "x"};

/* Mostly short and sane, so that things meet; sometimes odd. Never above the root. */
static const char *path(char *out)
{
	unsigned depth = 1 + pick(3), level = 0;
	size_t at = 0;

	if (chance(1))
		return strcpy(out, "");
	if (chance(1)) {
		memset(out, 'n', 256);
		out[255 + pick(2)] = '\0';
		return out;
	}
	for (unsigned i = 0; i < depth; i++) {
		const char *part = ONE_OF(names);

		if (chance(3))
			part = ".";
		else if (level > 0 && chance(4))
			part = "..";
		level += part[0] == '.' ? (part[1] ? -1u : 0u) : 1;
		at += (size_t)sprintf(out + at, "%s%s", i ? (chance(3) ? "//" : "/") : "", part);
	}
	if (chance(4))
		strcpy(out + at, chance(80) ? "/" : "//");
	return out;
}

/* A symbolic link must not lead out of the host's directory: no "..", nothing absolute; and not up
 * by itself (".") either, or a ".." behind it would. */
static const char *target(char *out)
{
	static const char *const fixed[] = {"a", "b", "dir", "link", "ln2", "dir/sub", "dir/a/",
					    "sub/x", "./c", "none", "x/"};

	if (chance(3)) {
		memset(out, 'y', 300);
		out[100 + pick(200)] = '\0';
		return out;
	}
	return strcpy(out, ONE_OF(fixed));
}

/* A directory to start from: the root, or an open descriptor. */
static struct pair start(void)
{
	struct pair p = {t.host_root, t.adit_root, false};

	if (chance(8)) {
		p = t.fd[pick(FDS)];
		if (p.host < 0)
			p = (struct pair){-1, -1, false};
	}
	return p;
}

static bool is_special(int host_dir, const char *name)
{
	struct stat st;

	return fstatat(host_dir, name, &st, 0) == 0 &&
	       !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode));
}

static struct pair *some_fd(void)
{
	struct pair *p = &t.fd[pick(FDS)];

	for (unsigned i = 0; i < 4 && p->host < 0; i++)
		p = &t.fd[pick(FDS)];
	return p;
}

/* ---- calls that make and remove descriptors -------------------------------------------------- */

static void close_pair(struct pair *p)
{
	describe("close(%d)", (int)(p - t.fd));
	same(host_rc(close(p->host)), adit_close_fd(t.pool, p->adit));
	*p = (struct pair){-1, -1, false};
}

static int open_flags(void)
{
	static const int mode[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, 3};
	static const int extra[] = {O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_PATH,
				    O_TMPFILE};
	int flags = ONE_OF(mode);

	if (chance(50))
		flags |= O_CREAT;
	for (unsigned n = pick(3); n > 0; n--)
		flags |= ONE_OF(extra);
	return flags;
}

static void do_open(void)
{
	struct pair *p = &t.fd[pick(FDS)], at = start();
	mode_t mode = pick(010000);
	char name[8192];
	int flags = open_flags();
	long host, adit;

	path(name);
	if (is_special(at.host, name) && !(flags & O_PATH))
		return;
	if (p->host >= 0)
		close_pair(p);
	describe("open(\"%s\", %#o, %#o)", name, flags, mode);
	host = host_rc(openat(at.host, name, flags | O_NONBLOCK | O_NOCTTY, mode));
	adit = adit_openat(t.pool, at.adit, name, flags, mode);
	same(host < 0 ? host : 0, adit < 0 ? adit : 0);
	if (host >= 0)
		*p = (struct pair){(int)host, (int)adit, false};
}

static void do_dup(void)
{
	struct pair *from = some_fd(), *to = &t.fd[pick(FDS)];
	long host, adit;

	if (from == to)
		return;
	if (to->host >= 0)
		close_pair(to);
	describe("dup(%d)", (int)(from - t.fd));
	host = host_rc(dup(from->host));
	adit = adit_dup(t.pool, from->adit);
	same(host < 0 ? host : 0, adit < 0 ? adit : 0);
	if (host >= 0)
		*to = (struct pair){(int)host, (int)adit, false};
}

static void do_fcntl(void)
{
	const int known = O_ACCMODE | O_APPEND | O_PATH;
	struct pair *p = some_fd();
	int set = chance(50) ? O_APPEND : 0;
	long host, adit;

	describe("fcntl(%d, SETFL, %#x)", (int)(p - t.fd), set);
	same(host_rc(fcntl(p->host, F_SETFL, set | O_NONBLOCK)),
	     adit_fcntl(t.pool, p->adit, F_SETFL, set));
	describe("fcntl(%d, GETFL)", (int)(p - t.fd));
	host = host_rc(fcntl(p->host, F_GETFL));
	adit = adit_fcntl(t.pool, p->adit, F_GETFL, 0);
	same(host < 0 ? host : host & known, adit < 0 ? adit : adit & known);
}

/* ---- contents -------------------------------------------------------------------------------- */

static uint8_t host_buf[FILE_MAX_BYTES + 65536], adit_buf[FILE_MAX_BYTES + 65536];

static off_t some_offset(void)
{
	static const off_t odd[] = {-1, 0, 1, 111, 112, 113, 4095, 4096, 4097, 8192, 65536};

	return chance(40) ? ONE_OF(odd) : (off_t)pick(FILE_MAX_BYTES / 2);
}

static size_t some_length(void)
{
	static const size_t odd[] = {0, 1, 64, 112, 113, 512, 4096, 8192, 65536};

	return chance(60) ? ONE_OF(odd) : pick(chance(80) ? 5000 : 100000);
}

static void fill(uint8_t *buf, size_t bytes)
{
	uint64_t value = rnd();

	for (size_t i = 0; i < bytes; i++)
		buf[i] = (uint8_t)(value >> (i % 8 * 8)) ^ (uint8_t)(i >> 8);
}

static void same_bytes(long n)
{
	if (n > 0 && memcmp(host_buf, adit_buf, (size_t)n) != 0) {
		print_error("seed %llu step %u: %s: contents differ\n", (unsigned long long)t.seed,
			    t.step, t.what);
		fail();
	}
}

static void do_read(void)
{
	struct pair *p = some_fd();
	size_t bytes = some_length();
	off_t offset = some_offset();
	long host, adit;

	if (chance(30)) {
		describe("read(%d, %zu)", (int)(p - t.fd), bytes);
		host = host_rc(read(p->host, host_buf, bytes));
		adit = adit_read(t.pool, p->adit, adit_buf, bytes);
	} else if (chance(30)) {
		struct iovec v[2][3];

		for (int i = 0; i < 3; i++) {
			size_t at = bytes / 3 * (size_t)i;
			size_t len = i < 2 ? bytes / 3 : bytes - at;

			v[0][i] = (struct iovec){host_buf + at, len};
			v[1][i] = (struct iovec){adit_buf + at, len};
		}
		describe("preadv(%d, %zu, %lld)", (int)(p - t.fd), bytes, (long long)offset);
		host = host_rc(preadv(p->host, v[0], 3, offset));
		adit = adit_preadv(t.pool, p->adit, v[1], 3, offset);
	} else {
		describe("pread(%d, %zu, %lld)", (int)(p - t.fd), bytes, (long long)offset);
		host = host_rc(pread(p->host, host_buf, bytes, offset));
		adit = adit_pread(t.pool, p->adit, adit_buf, bytes, offset);
	}
	same(host, adit);
	same_bytes(host);
}

/* tmpfs refuses RWF_ATOMIC: the host writes without. */
static long pwritev2_both(struct pair *p, struct iovec *v, int n, off_t offset, int flags, long *adit)
{
	long host = host_rc(syscall(SYS_pwritev2, p->host, v, n, offset, 0, flags & ~0x40));

	*adit = adit_pwritev2(t.pool, p->adit, v, n, offset, flags);
	return host;
}

static void do_write(void)
{
	static const int rwf[] = {0, 0x10, 0x20, 0x40, 0x02, 0x04, 0x50};
	struct pair *p = some_fd();
	size_t bytes = some_length();
	off_t offset = some_offset();
	int flags = ONE_OF(rwf);
	struct stat st;
	long host, adit;

	/* Files must stay small for the comparison. */
	if (p->host >= 0 && fstat(p->host, &st) == 0 && st.st_size + (off_t)bytes > FILE_MAX_BYTES)
		return;
	fill(host_buf, bytes);
	if (chance(30)) {
		describe("write(%d, %zu)", (int)(p - t.fd), bytes);
		host = host_rc(write(p->host, host_buf, bytes));
		adit = adit_write(t.pool, p->adit, host_buf, bytes);
	} else if (chance(40)) {
		struct iovec v[2] = {{host_buf, bytes / 4}, {host_buf + bytes / 4, bytes - bytes / 4}};

		describe("pwritev2(%d, %zu, %lld, %#x)", (int)(p - t.fd), bytes, (long long)offset,
			 flags);
		host = pwritev2_both(p, v, 2, offset, flags, &adit);
	} else {
		describe("pwrite(%d, %zu, %lld)", (int)(p - t.fd), bytes, (long long)offset);
		host = host_rc(pwrite(p->host, host_buf, bytes, offset));
		adit = adit_pwrite(t.pool, p->adit, host_buf, bytes, offset);
	}
	same(host, adit);
}

static void do_lseek(void)
{
	static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END, 9};
	struct pair *p = some_fd();
	off_t offset = chance(70) ? some_offset() : -(off_t)pick(5000);
	int from = ONE_OF(whence);
	struct stat st;

	if (p->host >= 0 && fstat(p->host, &st) == 0 && !S_ISREG(st.st_mode))
		return; /* cookies are each file system's own */
	describe("lseek(%d, %lld, %d)", (int)(p - t.fd), (long long)offset, from);
	same(host_rc(lseek(p->host, offset, from)), adit_lseek(t.pool, p->adit, offset, from));
}

/* truncate has no *at form: the paths are made from the root. */
static const char *host_path(char *out, const char *name)
{
	sprintf(out, "%s/%s", t.host_path, name);
	return name[0] == '\0' ? "" : out;
}

static void do_truncate(void)
{
	struct pair *p = some_fd();
	char name[8192], full[9000];
	off_t size = some_offset();

	if (chance(70)) {
		describe("ftruncate(%d, %lld)", (int)(p - t.fd), (long long)size);
		same(host_rc(ftruncate(p->host, size)), adit_ftruncate(t.pool, p->adit, size));
		return;
	}
	path(name);
	describe("truncate(\"%s\", %lld)", name, (long long)size);
	same(host_rc(truncate(host_path(full, name), size)), adit_truncate(t.pool, name, size));
}

static void do_fallocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0x800};
	struct pair *p = some_fd();
	off_t offset = some_offset(), length = (off_t)some_length();
	int mode = ONE_OF(modes);

	describe("fallocate(%d, %#x, %lld, %lld)", (int)(p - t.fd), mode, (long long)offset,
		 (long long)length);
	same(host_rc(fallocate(p->host, mode, offset, length)),
	     adit_fallocate(t.pool, p->adit, mode, offset, length));
}

static void do_copy(void)
{
	struct pair *from = some_fd(), *to = some_fd();
	off_t host_at[2] = {some_offset(), some_offset()}, adit_at[2] = {host_at[0], host_at[1]};
	bool by_position[2] = {chance(30), chance(30)};
	size_t bytes = some_length();
	struct stat st;

	if (from->host < 0 || to->host < 0)
		return;
	if (fstat(to->host, &st) != 0 || st.st_size + (off_t)bytes > FILE_MAX_BYTES)
		return;
	describe("copy_file_range(%d, %lld%s, %d, %lld%s, %zu)", (int)(from - t.fd),
		 (long long)host_at[0], by_position[0] ? " (here)" : "", (int)(to - t.fd),
		 (long long)host_at[1], by_position[1] ? " (here)" : "", bytes);
	same(host_rc(copy_file_range(from->host, by_position[0] ? NULL : &host_at[0], to->host,
				     by_position[1] ? NULL : &host_at[1], bytes, 0)),
	     adit_copy_file_range(t.pool, from->adit, by_position[0] ? NULL : &adit_at[0],
				  to->adit, by_position[1] ? NULL : &adit_at[1], bytes, 0));
	same(host_at[0], adit_at[0]);
	same(host_at[1], adit_at[1]);
}

static void do_sync(void)
{
	struct pair *p = some_fd();

	describe("fsync(%d)", (int)(p - t.fd));
	same(host_rc(fsync(p->host)), adit_fsync(t.pool, p->adit));
	describe("fdatasync(%d)", (int)(p - t.fd));
	same(host_rc(fdatasync(p->host)), adit_fdatasync(t.pool, p->adit));
	describe("syncfs(%d)", (int)(p - t.fd));
	same(host_rc(syncfs(p->host)), adit_syncfs(t.pool, p->adit));
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Not sticky: in such directories Linux restricts O_CREAT for others' files (fs.protected_regular). */
static mode_t mode_not_sticky(void)
{
	return pick(010000) & ~(mode_t)S_ISVTX;
}

static void do_mkdir(void)
{
	struct pair at = start();
	mode_t mode = mode_not_sticky();
	char name[8192];

	path(name);
	describe("mkdirat(\"%s\", %#o)", name, mode);
	same(host_rc(mkdirat(at.host, name, mode)), adit_mkdirat(t.pool, at.adit, name, mode));
}

static void do_mknod(void)
{
	static const mode_t types[] = {0, S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR,
				       S_IFLNK, 0070000};
	struct pair at = start();
	mode_t mode = ONE_OF(types) | pick(010000);
	dev_t dev = makedev(pick(4000), pick(1 << 20));
	char name[8192];

	path(name);
	describe("mknodat(\"%s\", %#o)", name, mode);
	same(host_rc(mknodat(at.host, name, mode, dev)),
	     adit_mknodat(t.pool, at.adit, name, mode, dev));
}

static void do_symlink(void)
{
	struct pair at = start();
	char name[8192], to[8192];

	path(name);
	target(to);
	describe("symlinkat(\"%s\", \"%s\")", to, name);
	same(host_rc(symlinkat(to, at.host, name)), adit_symlinkat(t.pool, to, at.adit, name));
}

static void do_readlink(void)
{
	struct pair at = start();
	size_t bytes = chance(50) ? pick(20) : 4096;
	char name[8192];
	long host, adit;

	path(name);
	describe("readlinkat(\"%s\", %zu)", name, bytes);
	host = host_rc(syscall(SYS_readlinkat, at.host, name, host_buf, bytes));
	adit = adit_readlinkat(t.pool, at.adit, name, (char *)adit_buf, bytes);
	same(host, adit);
	same_bytes(host);
}

static void do_link(void)
{
	static const int flags[] = {0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, 0x40000000};
	struct pair from = start(), to = start();
	int how = ONE_OF(flags);
	char old[8192], new[8192];

	path(old);
	path(new);
	if (how == AT_EMPTY_PATH && chance(80)) {
		from = *some_fd();
		old[0] = '\0';
	}
	describe("linkat(\"%s\", \"%s\", %#x)", old, new, how);
	same(host_rc(linkat(from.host, old, to.host, new, how)),
	     adit_linkat(t.pool, from.adit, old, to.adit, new, how));
}

static void do_unlink(void)
{
	static const int flags[] = {0, 0, 0, AT_REMOVEDIR, AT_REMOVEDIR, 1};
	struct pair at = start();
	int how = ONE_OF(flags);
	char name[8192];

	path(name);
	describe("unlinkat(\"%s\", %#x)", name, how);
	same(host_rc(unlinkat(at.host, name, how)), adit_unlinkat(t.pool, at.adit, name, how));
}

static void do_rename(void)
{
	static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT,
					 RENAME_WHITEOUT | RENAME_NOREPLACE,
					 RENAME_EXCHANGE | RENAME_NOREPLACE, 8};
	struct pair from = start(), to = start();
	unsigned how = ONE_OF(flags);
	char old[8192], new[8192];

	path(old);
	path(new);
	describe("renameat2(\"%s\", \"%s\", %#x)", old, new, how);
	same(host_rc(syscall(SYS_renameat2, from.host, old, to.host, new, how)),
	     adit_renameat2(t.pool, from.adit, old, to.adit, new, how));
}

/* ---- attributes ------------------------------------------------------------------------------ */

static void same_stat(const struct stat *host, const struct stat *adit)
{
	same(host->st_mode, adit->st_mode);
	same((long)host->st_nlink, (long)adit->st_nlink);
	same(host->st_uid, adit->st_uid);
	same(host->st_gid, adit->st_gid);
	if (!S_ISDIR(host->st_mode))
		same(host->st_size, adit->st_size);
	if (S_ISCHR(host->st_mode) || S_ISBLK(host->st_mode))
		same((long)host->st_rdev, (long)adit->st_rdev);
}

static void do_stat(void)
{
	static const int flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH};
	struct pair at = start(), *p = some_fd();
	struct stat host_st, adit_st;
	int how = ONE_OF(flags);
	char name[8192];
	long host;

	path(name);
	if (chance(50)) {
		describe("fstatat(\"%s\", %#x)", name, how);
		host = host_rc(fstatat(at.host, name, &host_st, how));
		same(host, adit_fstatat(t.pool, at.adit, name, &adit_st, how));
	} else {
		describe("fstat(%d)", (int)(p - t.fd));
		host = host_rc(fstat(p->host, &host_st));
		same(host, adit_fstat(t.pool, p->adit, &adit_st));
	}
	if (host == 0)
		same_stat(&host_st, &adit_st);
}

static void do_statx(void)
{
	struct pair at = start();
	struct statx host_st, adit_st;
	int how = chance(50) ? AT_SYMLINK_NOFOLLOW : AT_STATX_DONT_SYNC;
	char name[8192];
	long host;

	path(name);
	describe("statx(\"%s\", %#x)", name, how);
	host = host_rc(statx(at.host, name, how, STATX_BASIC_STATS | STATX_BTIME, &host_st));
	same(host, adit_statx(t.pool, at.adit, name, how, STATX_BASIC_STATS | STATX_BTIME, &adit_st));
	if (host != 0)
		return;
	same(host_st.stx_mode, adit_st.stx_mode);
	same(host_st.stx_nlink, adit_st.stx_nlink);
	same(host_st.stx_uid, adit_st.stx_uid);
	same(host_st.stx_gid, adit_st.stx_gid);
	same(host_st.stx_rdev_major, adit_st.stx_rdev_major);
	same(host_st.stx_rdev_minor, adit_st.stx_rdev_minor);
	if (!S_ISDIR(host_st.stx_mode))
		same((long)host_st.stx_size, (long)adit_st.stx_size);
}

static void do_chmod(void)
{
	struct pair at = start(), *p = some_fd();
	mode_t mode = mode_not_sticky();
	char name[8192];

	path(name);
	if (chance(50)) {
		describe("fchmodat(\"%s\", %#o)", name, mode);
		same(host_rc(syscall(SYS_fchmodat, at.host, name, mode)),
		     adit_fchmodat(t.pool, at.adit, name, mode, 0));
	} else {
		describe("fchmod(%d, %#o)", (int)(p - t.fd), mode);
		same(host_rc(fchmod(p->host, mode)), adit_fchmod(t.pool, p->adit, mode));
	}
}

static void do_chown(void)
{
	static const int flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH};
	struct pair at = start(), *p = some_fd();
	uid_t uid = chance(30) ? (uid_t)-1 : pick(3);
	gid_t gid = chance(30) ? (gid_t)-1 : pick(3);
	int how = ONE_OF(flags);
	char name[8192];

	path(name);
	if (chance(50)) {
		describe("fchownat(\"%s\", %d, %d, %#x)", name, (int)uid, (int)gid, how);
		same(host_rc(fchownat(at.host, name, uid, gid, how)),
		     adit_fchownat(t.pool, at.adit, name, uid, gid, how));
	} else {
		describe("fchown(%d, %d, %d)", (int)(p - t.fd), (int)uid, (int)gid);
		same(host_rc(fchown(p->host, uid, gid)), adit_fchown(t.pool, p->adit, uid, gid));
	}
}

static void do_utimens(void)
{
	static const long special[] = {UTIME_NOW, UTIME_OMIT, 1000000000, -1, 0, 999999999};
	struct pair at = start();
	struct timespec times[2];
	struct stat host_st, adit_st;
	int how = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	char name[8192];
	long host;

	path(name);
	for (int i = 0; i < 2; i++) {
		times[i].tv_sec = chance(20) ? -(time_t)pick(100000) : (time_t)pick(2000000000);
		times[i].tv_nsec = chance(50) ? ONE_OF(special) : (long)pick(1000000000);
	}
	describe("utimensat(\"%s\", %lld.%ld %lld.%ld, %#x)", name, (long long)times[0].tv_sec,
		 times[0].tv_nsec, (long long)times[1].tv_sec, times[1].tv_nsec, how);
	/* The system call: glibc's wrapper refuses what Linux allows. */
	host = host_rc(syscall(SYS_utimensat, at.host, name, times, how));
	same(host, adit_utimensat(t.pool, at.adit, name, times, how));
	if (host != 0 || fstatat(at.host, name, &host_st, how) != 0)
		return;
	same(0, adit_fstatat(t.pool, at.adit, name, &adit_st, how));
	if (times[0].tv_nsec < 1000000000) {
		same(host_st.st_atim.tv_sec, adit_st.st_atim.tv_sec);
		same(host_st.st_atim.tv_nsec, adit_st.st_atim.tv_nsec);
	}
	if (times[1].tv_nsec < 1000000000) {
		same(host_st.st_mtim.tv_sec, adit_st.st_mtim.tv_sec);
		same(host_st.st_mtim.tv_nsec, adit_st.st_mtim.tv_nsec);
	}
}

static void do_access(void)
{
	struct pair at = start();
	int mode = (int)pick(chance(90) ? 8 : 20), how = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	char name[8192];

	path(name);
	describe("faccessat(\"%s\", %#o, %#x)", name, mode, how);
	same(host_rc(syscall(SYS_faccessat2, at.host, name, mode, how)),
	     adit_faccessat(t.pool, at.adit, name, mode, how));
}

/* ---- extended attributes --------------------------------------------------------------------- */

static const char *const attributes[] = {"trusted.a", "trusted.b", "user.x", "user.long", "security.z",
					 "nonsense", "user.", "", "trusted."};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t sort_names(char *list, size_t bytes, char **out)
{
	size_t n = 0;

	for (char *p = list; p < list + bytes; p += strlen(p) + 1)
		out[n++] = p;
	qsort(out, n, sizeof *out, compare_names);
	return n;
}

static void same_lists(char *host, char *adit, long bytes)
{
	char *a[64], *b[64];
	size_t n = sort_names(host, (size_t)bytes, a);

	same((long)n, (long)sort_names(adit, (size_t)bytes, b));
	for (size_t i = 0; i < n; i++)
		same(0, strcmp(a[i], b[i]));
}

static void do_setxattr(void)
{
	static const int flags[] = {0, 0, XATTR_CREATE, XATTR_REPLACE, 4};
	struct pair *p = some_fd();
	const char *attr = ONE_OF(attributes);
	size_t bytes = chance(60) ? pick(100) : chance(50) ? pick(3000) : 65530 + pick(10);
	int how = ONE_OF(flags);
	char name[8192], full[9000];

	fill(host_buf, bytes);
	path(name);
	if (chance(50)) {
		describe("lsetxattr(\"%s\", \"%s\", %zu, %#x)", name, attr, bytes, how);
		same(host_rc(lsetxattr(host_path(full, name), attr, host_buf, bytes, how)),
		     adit_lsetxattr(t.pool, name, attr, host_buf, bytes, how));
	} else {
		describe("fsetxattr(%d, \"%s\", %zu, %#x)", (int)(p - t.fd), attr, bytes, how);
		same(host_rc(fsetxattr(p->host, attr, host_buf, bytes, how)),
		     adit_fsetxattr(t.pool, p->adit, attr, host_buf, bytes, how));
	}
}

static void do_getxattr(void)
{
	struct pair *p = some_fd();
	const char *attr = ONE_OF(attributes);
	size_t bytes = chance(30) ? 0 : chance(50) ? pick(200) : 65536;
	char name[8192], full[9000];
	long host, adit;

	path(name);
	if (chance(50)) {
		describe("getxattr(\"%s\", \"%s\", %zu)", name, attr, bytes);
		host = host_rc(getxattr(host_path(full, name), attr, host_buf, bytes));
		adit = adit_getxattr(t.pool, name, attr, adit_buf, bytes);
	} else {
		describe("fgetxattr(%d, \"%s\", %zu)", (int)(p - t.fd), attr, bytes);
		host = host_rc(fgetxattr(p->host, attr, host_buf, bytes));
		adit = adit_fgetxattr(t.pool, p->adit, attr, adit_buf, bytes);
	}
	same(host, adit);
	if (bytes > 0)
		same_bytes(host);
}

static void do_listxattr(void)
{
	struct pair *p = some_fd();
	size_t bytes = chance(30) ? 0 : chance(50) ? pick(40) : 4096;
	long host, adit;

	describe("flistxattr(%d, %zu)", (int)(p - t.fd), bytes);
	host = host_rc(flistxattr(p->host, (char *)host_buf, bytes));
	adit = adit_flistxattr(t.pool, p->adit, (char *)adit_buf, bytes);
	same(host, adit);
	if (host > 0 && bytes > 0)
		same_lists((char *)host_buf, (char *)adit_buf, host);
}

static void do_removexattr(void)
{
	const char *attr = ONE_OF(attributes);
	char name[8192], full[9000];

	path(name);
	describe("lremovexattr(\"%s\", \"%s\")", name, attr);
	same(host_rc(lremovexattr(host_path(full, name), attr)),
	     adit_lremovexattr(t.pool, name, attr));
}

/* ---- trees ----------------------------------------------------------------------------------- */

#define ENTRIES_MAX 4096
struct entries {
	unsigned n;
	char *name[ENTRIES_MAX];
	unsigned char type[ENTRIES_MAX];
};

static void add_entry(struct entries *e, const char *name, unsigned char type)
{
	assert_true(e->n < ENTRIES_MAX);
	e->type[e->n] = type;
	e->name[e->n++] = strdup(name);
}

static void free_entries(struct entries *e)
{
	for (unsigned i = 0; i < e->n; i++)
		free(e->name[i]);
	free(e);
}

static struct entries *adit_entries(int fd, size_t buf_bytes)
{
	struct entries *e = calloc(1, sizeof *e);
	char buf[4096];
	ssize_t n;

	while ((n = adit_getdents(t.pool, fd, buf, buf_bytes)) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct adit_dirent64 *d = (void *)(buf + at);

			add_entry(e, d->d_name, d->d_type);
			at += d->d_reclen;
		}
	}
	same(0, n);
	return e;
}

static struct entries *host_entries(int fd)
{
	struct entries *e = calloc(1, sizeof *e);
	DIR *dir = fdopendir(fd);
	struct dirent *d;

	while ((d = readdir(dir)) != NULL)
		add_entry(e, d->d_name, d->d_type);
	closedir(dir);
	return e;
}

static void same_trees(int host_dir, int adit_dir, const char *where);

static void same_file(int host_dir, int adit_dir, const char *name)
{
	int host = openat(host_dir, name, O_RDONLY | O_NOFOLLOW);
	int adit = adit_openat(t.pool, adit_dir, name, O_RDONLY | O_NOFOLLOW, 0);
	long n;

	assert_true(host >= 0);
	same(0, adit < 0 ? adit : 0);
	for (;;) {
		n = read(host, host_buf, FILE_MAX_BYTES);
		same(n, adit_read(t.pool, adit, adit_buf, FILE_MAX_BYTES));
		if (n <= 0)
			break;
		same_bytes(n);
	}
	close(host);
	same(0, adit_close_fd(t.pool, adit));
}

static void same_entry(int host_dir, int adit_dir, const char *name, const char *where)
{
	struct stat host, adit;
	long n;

	describe("tree at %.2000s/%s", where, name);
	assert_int_equal(fstatat(host_dir, name, &host, AT_SYMLINK_NOFOLLOW), 0);
	same(0, adit_fstatat(t.pool, adit_dir, name, &adit, AT_SYMLINK_NOFOLLOW));
	same_stat(&host, &adit);
	if (S_ISREG(host.st_mode)) {
		same_file(host_dir, adit_dir, name);
	} else if (S_ISLNK(host.st_mode)) {
		n = readlinkat(host_dir, name, (char *)host_buf, 4096);
		same(n, adit_readlinkat(t.pool, adit_dir, name, (char *)adit_buf, 4096));
		same_bytes(n);
	} else if (S_ISDIR(host.st_mode)) {
		int h = openat(host_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		int a = adit_openat(t.pool, adit_dir, name, O_RDONLY | O_DIRECTORY, 0);
		char deeper[4096];

		snprintf(deeper, sizeof deeper, "%.3000s/%s", where, name);
		assert_true(h >= 0);
		same(0, a < 0 ? a : 0);
		same_trees(h, a, deeper);
		close(h);
		same(0, adit_close_fd(t.pool, a));
	}
}

static void same_trees(int host_dir, int adit_dir, const char *where)
{
	struct entries *h, *a;
	unsigned k;

	assert_int_equal(lseek(host_dir, 0, SEEK_SET), 0);
	same(0, adit_lseek(t.pool, adit_dir, 0, SEEK_SET));
	h = host_entries(dup(host_dir));
	a = adit_entries(adit_dir, 300 + pick(3000));
	describe("entries of %.2000s", where);
	same(h->n, a->n);
	for (unsigned i = 0; i < h->n; i++) {
		for (k = 0; k < a->n && strcmp(h->name[i], a->name[k]) != 0; k++) {
		}
		if (k == a->n)
			describe("entries of %.2000s: %s is missing", where, h->name[i]);
		same(1, k < a->n);
		same(h->type[i], a->type[k]);
		if (strcmp(h->name[i], ".") != 0 && strcmp(h->name[i], "..") != 0)
			same_entry(host_dir, adit_dir, h->name[i], where);
	}
	free_entries(h);
	free_entries(a);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static const struct {
	unsigned weight;
	void (*call)(void);
} calls[] = {
	{14, do_open},	  {2, do_dup},	     {2, do_fcntl},	{9, do_read},
	{12, do_write},	  {3, do_lseek},     {6, do_truncate},	{4, do_fallocate},
	{2, do_copy},	  {1, do_sync},	     {9, do_mkdir},	{4, do_mknod},
	{6, do_symlink},  {2, do_readlink},  {7, do_link},	{9, do_unlink},
	{14, do_rename},  {6, do_stat},	     {2, do_statx},	{4, do_chmod},
	{4, do_chown},	  {3, do_utimens},   {3, do_access},	{5, do_setxattr},
	{3, do_getxattr}, {2, do_listxattr}, {2, do_removexattr},
};

static void one_call(void)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		total += calls[i].weight;
	at = pick(total);
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		if (at < calls[i].weight) {
			calls[i].call();
			return;
		}
		at -= calls[i].weight;
	}
}

static void close_all(void)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (t.fd[i].host >= 0)
			close_pair(&t.fd[i]);
	}
}

static void open_pool(void)
{
	struct adit_open_options options = {.assume = ADIT_ASSUME_PROCESS};

	assert_int_equal(adit_open(t.pool_path, &options, &t.pool), 0);
	adit_umask(t.pool, 0);
	t.adit_root = adit_openat(t.pool, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
	assert_true(t.adit_root >= 0);
}

static void reopen_pool(void)
{
	close_all();
	assert_int_equal(adit_close(t.pool), 0);
	open_pool();
}

static void begin(uint64_t seed)
{
	struct adit_mkfs_options options = {.size_bytes = POOL_BYTES, .force = 1};

	t.seed = seed;
	t.state = seed * 0x9e3779b97f4a7c15ull + 1;
	snprintf(t.pool_path, sizeof t.pool_path, "/dev/shm/adit-same-%d.pool", (int)getpid());
	snprintf(t.host_path, sizeof t.host_path, "/dev/shm/adit-same-XXXXXX");
	assert_non_null(mkdtemp(t.host_path));
	assert_int_equal(chmod(t.host_path, 0755), 0);
	t.host_root = open(t.host_path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(adit_mkfs(t.pool_path, &options), 0);
	open_pool();
	for (unsigned i = 0; i < FDS; i++)
		t.fd[i] = (struct pair){-1, -1, false};
}

static void end(void)
{
	char command[128];

	close_all();
	close(t.host_root);
	assert_int_equal(adit_close(t.pool), 0);
	unlink(t.pool_path);
	snprintf(command, sizeof command, "rm -rf %s", t.host_path);
	assert_int_equal(system(command), 0);
}

static void run(uint64_t seed, unsigned steps, unsigned every)
{
	begin(seed);
	for (t.step = 0; t.step < steps; t.step++) {
		one_call();
		if (t.step % every == every - 1)
			same_trees(t.host_root, t.adit_root, "");
		if (t.step % 1000 == 999)
			reopen_pool();
	}
	same_trees(t.host_root, t.adit_root, "");
	end();
}

static bool cannot_compare(void)
{
	struct statfs fs;

	return geteuid() != 0 || statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC;
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *value = getenv(name);

	return value != NULL && atoi(value) > 0 ? (unsigned)atoi(value) : otherwise;
}

static void test_same_as_tmpfs(void **unused)
{
	const char *seed = getenv("ADIT_TEST_SEED");
	unsigned n = setting("ADIT_TEST_STEPS", 2500), every = setting("ADIT_TEST_EVERY", 250);
	mode_t umask_before = umask(0);

	(void)unused;
	if (cannot_compare())
		skip();
	t.verbose = getenv("ADIT_TEST_VERBOSE") != NULL;
	if (seed != NULL) {
		run(strtoull(seed, NULL, 0), n, every);
	} else {
		for (uint64_t s = 1; s <= 8; s++)
			run(s, n, every);
	}
	umask(umask_before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_tmpfs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
