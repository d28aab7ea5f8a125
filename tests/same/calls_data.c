/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_data.c - descriptors and contents; see same.h. */
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "same.h"

static void do_write_to(struct pair *p);

/* ---- calls that make and remove descriptors -------------------------------------------------- */

void close_pair(struct pair *p)
{
	describe("close(%d)", (int)(p - t.fd));
	same(host_rc(close(p->host)), adit_close_fd(t.pool, p->adit));
	*p = (struct pair){-1, -1};
}

static int open_flags(void)
{
	static const int mode[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, 3};
	static const int extra[] = {O_EXCL,	O_TRUNC, O_APPEND, O_DIRECTORY,
				    O_NOFOLLOW, O_PATH,	 O_TMPFILE};
	int flags = ONE_OF(mode);

	if (chance(50))
		flags |= O_CREAT;
	for (unsigned n = pick(3); n > 0; n--)
		flags |= ONE_OF(extra);
	return flags;
}

/* What opening these does is the driver's, or the other process's, business: Adit has O_PATH only. */
static bool is_special(int host_dir, const char *name)
{
	struct stat st;

	return fstatat(host_dir, name, &st, 0) == 0 &&
	       !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode));
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
	if (same_made(host, adit))
		*p = (struct pair){(int)host, (int)adit};
}

void make_something(void)
{
	static const int how[] = {O_RDWR, O_RDWR, O_RDWR, O_WRONLY, O_RDONLY, O_RDWR | O_APPEND};
	struct pair *p = &t.fd[pick(FDS)];
	mode_t mode = pick(010000);
	int flags = ONE_OF(how) | O_CREAT;
	char name[8192];
	long host, adit;

	path(name);
	if (chance(35)) {
		describe("mkdirat(\"%s\", %#o)", name, mode & 06777);
		same(host_rc(mkdirat(t.root.host, name, mode & 06777)),
		     adit_mkdirat(t.pool, t.root.adit, name, mode & 06777));
		return;
	}
	if (chance(10))
		flags = O_RDONLY | O_DIRECTORY;
	if (p->host >= 0)
		close_pair(p);
	describe("open(\"%s\", %#o, %#o)", name, flags, mode);
	host = host_rc(openat(t.root.host, name, flags, mode));
	adit = adit_openat(t.pool, t.root.adit, name, flags, mode);
	if (!same_made(host, adit))
		return;
	*p = (struct pair){(int)host, (int)adit};
	if (chance(70))
		do_write_to(p);
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
	if (same_made(host, adit))
		*to = (struct pair){(int)host, (int)adit};
}

static void do_fcntl(void)
{
	const int shown = O_ACCMODE | O_APPEND | O_PATH;
	struct pair *p = some_fd();
	int set = chance(50) ? O_APPEND : 0;
	long host, adit;

	describe("fcntl(%d, SETFL, %#x)", (int)(p - t.fd), set);
	same(host_rc(fcntl(p->host, F_SETFL, set | O_NONBLOCK)),
	     adit_fcntl(t.pool, p->adit, F_SETFL, set));
	describe("fcntl(%d, GETFL)", (int)(p - t.fd));
	host = host_rc(fcntl(p->host, F_GETFL));
	adit = adit_fcntl(t.pool, p->adit, F_GETFL, 0);
	same(host < 0 ? host : host & shown, adit < 0 ? adit : adit & shown);
}

/* ---- contents -------------------------------------------------------------------------------- */

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

/* The host writes without RWF_ATOMIC: no host has it for writes of any size. */
static long pwritev2_both(struct pair *p, struct iovec *v, int n, off_t offset, int flags,
			  long *adit)
{
	long host = host_rc(syscall(SYS_pwritev2, p->host, v, n, offset, 0, flags & ~0x40));

	*adit = adit_pwritev2(t.pool, p->adit, v, n, offset, flags);
	return host;
}

/* Files stay small for the comparison, or are so large that they end where all files end. */
static bool too_large(off_t size, size_t bytes)
{
	return size <= 1ll << 50 && size + (off_t)bytes > FILE_MAX_BYTES;
}

static void do_write_to(struct pair *p)
{
	static const int rwf[] = {0, 0x10, 0x20, 0x40, 0x02, 0x04, 0x50};
	size_t bytes = some_length();
	off_t offset = some_offset();
	int flags = ONE_OF(rwf);
	struct stat st;
	long host, adit;

	if (p->host >= 0 && fstat(p->host, &st) == 0 && too_large(st.st_size, bytes))
		return;
	/* At the end of what a file can be Linux writes what fits, which is not atomic. */
	if (p->host >= 0 && fstat(p->host, &st) == 0 && st.st_size > 1ll << 50)
		flags &= ~0x40;
	fill(host_buf, bytes);
	if (chance(30)) {
		describe("write(%d, %zu)", (int)(p - t.fd), bytes);
		host = host_rc(write(p->host, host_buf, bytes));
		adit = adit_write(t.pool, p->adit, host_buf, bytes);
	} else if (chance(40)) {
		struct iovec v[2] = {{host_buf, bytes / 4},
				     {host_buf + bytes / 4, bytes - bytes / 4}};

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

static void do_write(void)
{
	do_write_to(some_fd());
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

static void do_truncate(void)
{
	struct pair *p = some_fd();
	char name[8192], full[9000], apath[9000];
	off_t size = some_offset();
	struct stat st;
	bool same_size;

	if (chance(70)) {
		describe("ftruncate(%d, %lld)", (int)(p - t.fd), (long long)size);
		same(host_rc(ftruncate(p->host, size)), adit_ftruncate(t.pool, p->adit, size));
		return;
	}
	path(name);
	/* truncate(2) changes the times if the size changes; ext4 does always, and Adit. */
	same_size = t.host->kind != HOST_EXT4 && stat(host_path(full, name), &st) == 0 &&
		    st.st_size == size;
	describe("truncate(\"%s\", %lld)", name, (long long)size);
	same(host_rc(truncate(host_path(full, name), size)),
	     adit_truncate(t.pool, adit_path(apath, name), size));
	if (same_size)
		t.no_mtime = t.no_ctime = true;
}

static void do_fallocate(void)
{
	static const int modes[] = {0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    0x800,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_COLLAPSE_RANGE,
				    FALLOC_FL_INSERT_RANGE,
				    FALLOC_FL_COLLAPSE_RANGE,
				    FALLOC_FL_INSERT_RANGE,
				    FALLOC_FL_UNSHARE_RANGE,
				    FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE};
	static const struct timespec times[2] = {{1000, 1}, {2000, 2}};
	struct pair *p = some_fd();
	off_t offset = some_offset(), length = (off_t)some_length();
	long host;
	/* tmpfs knows the first six only. */
	int mode = t.host->kind == HOST_TMPFS ? modes[pick(6)] : ONE_OF(modes);

	/* ext4 has it not; a list ends where they differ. */
	if (mode & FALLOC_FL_UNSHARE_RANGE && t.host->kind == HOST_EXT4 && chance(95))
		mode = 0;
	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) && chance(80)) {
		offset &= ~4095ll;
		length = 4096 * (1 + length / 8192);
	}

	describe("fallocate(%d, %#x, %lld, %lld)", (int)(p - t.fd), mode, (long long)offset,
		 (long long)length);
	host = host_rc(fallocate(p->host, mode, offset, length));
	same(host, adit_fallocate(t.pool, p->adit, mode, offset, length));
	/* Linux changes the times although the call fails; Adit changes nothing then (guarantee G1). */
	if (host == -EINVAL && futimens(p->host, times) == 0)
		same(0, adit_futimens(t.pool, p->adit, times));
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
	if (fstat(to->host, &st) != 0 || too_large(st.st_size, bytes))
		return;
	describe("copy_file_range(%d, %lld%s, %d, %lld%s, %zu)", (int)(from - t.fd),
		 (long long)host_at[0], by_position[0] ? " (here)" : "", (int)(to - t.fd),
		 (long long)host_at[1], by_position[1] ? " (here)" : "", bytes);
	same(host_rc(copy_file_range(from->host, by_position[0] ? NULL : &host_at[0], to->host,
				     by_position[1] ? NULL : &host_at[1], bytes, 0)),
	     adit_copy_file_range(t.pool, from->adit, by_position[0] ? NULL : &adit_at[0], to->adit,
				  by_position[1] ? NULL : &adit_at[1], bytes, 0));
	same(host_at[0], adit_at[0]);
	same(host_at[1], adit_at[1]);
}

/* Where they find data and holes may differ (tree.c says how much); whether they find any may not. */
static void do_seek_data(void)
{
	struct pair *p = some_fd();
	off_t offset = some_offset();
	struct stat st;
	long host, adit;

	if (p->host >= 0 && fstat(p->host, &st) == 0 && !S_ISREG(st.st_mode))
		return;
	describe("lseek(%d, %lld, HOLE)", (int)(p - t.fd), (long long)offset);
	host = host_seek(p->host, offset, SEEK_HOLE, p->host >= 0 ? st.st_size : 0);
	adit = adit_lseek(t.pool, p->adit, offset, SEEK_HOLE);
	if (!same_made(host, adit))
		return;
	describe("lseek(%d, %lld)", (int)(p - t.fd), (long long)offset);
	same(host_rc(lseek(p->host, offset, SEEK_SET)),
	     adit_lseek(t.pool, p->adit, offset, SEEK_SET));
	if (fstat(p->host, &st) == 0)
		same_layout(*p, st.st_size);
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

const struct call data_calls[] = {
	{14, do_open},	{2, do_dup},   {2, do_fcntl},	  {9, do_read},
	{14, do_write}, {3, do_lseek}, {6, do_truncate},  {8, do_fallocate},
	{3, do_copy},	{1, do_sync},  {2, do_seek_data}, {0, NULL},
};
